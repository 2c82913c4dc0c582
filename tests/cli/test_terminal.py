"""The style of an answer, and what may not reach JSON or a terminal."""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from gradattn_core.cli.terminal import console, escape, is_number, print_json, tell


@dataclass(frozen=True)
class Found:
    label: str
    share: float
    files: tuple[Path, ...]


FOUND = Found("Möwe \x1b[2J:car: 🦅", float("nan"), (Path("a.jpg"),))


@pytest.mark.parametrize(
    ("style", "said"),
    [
        ({"json": False, "quiet": False}, "found [bold]Möwe\n"),
        ({"json": False}, "found [bold]Möwe\n"),
        ({"json": False, "quiet": True}, ""),
        ({"json": True, "quiet": True}, '{"n": 1}\n'),
        ({"json": True}, '{"n": 1}\n'),
    ],
)
def test_an_answer_is_sentences_one_json_object_or_nothing(
    style: dict[str, bool], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    tell(argparse.Namespace(**style), {"n": 1}, ["found [bold]\x1bM\x9b\x07öwe"])
    assert capsys.readouterr() == (said, "")
    tell(argparse.Namespace(**style), {"n": 1}, lambda: print("found [bold]Möwe"))
    assert capsys.readouterr() == (said, "")


def test_in_json_records_are_objects_and_what_is_no_number_is_null(capsys: pytest.CaptureFixture[str]) -> None:
    numbers = [np.float32("inf"), np.int64(3), np.float64(0.5), np.bool_(True), float("-inf"), None, 2, False]
    print_json({"found": [FOUND], "numbers": numbers, "array": np.array([1.0, np.nan]), 7: ()})
    written = capsys.readouterr().out
    assert "Möwe" in written and "🦅" in written and "\x1b" not in written
    assert json.loads(written) == {
        "found": [{"label": FOUND.label, "share": None, "files": ["a.jpg"]}],
        "numbers": [None, 3, 0.5, True, None, None, 2, False],
        "array": [1.0, None],
        "7": [],
    }


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_json_is_whole_where_standard_output_lacks_letters(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding))
    # A file name that is not Unicode is half a character to Python.
    print_json({"label": "Möwe 🦅", "file": "\udcff"})
    sys.stdout.flush()
    assert json.loads(written.getvalue().decode(encoding)) == {"label": "Möwe 🦅", "file": "\udcff"}


def test_a_label_is_neither_markup_nor_a_picture_nor_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    console().print(escape("[red]a[/] :car: \x1b[31mb\x9b0m\a\tc\r"))
    assert capsys.readouterr().out.expandtabs() == "[red]a[/] :car: [31mb0m\tc\n".expandtabs()


def test_an_absent_number_is_none_or_nan() -> None:
    assert [is_number(value) for value in (0.0, -1.5, float("nan"), None)] == [True, True, False, False]


def test_the_whole_command_line_is_read_without_what_is_slow() -> None:
    check = "import sys; from gradattn_core.cli import build_parser; build_parser(); print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", check], check=True, capture_output=True, text=True).stdout.split()
    assert not {"torch", "numpy", "pandas", "duckdb", "pyarrow", "prefect", "streamlit", "PIL"} & set(modules)
