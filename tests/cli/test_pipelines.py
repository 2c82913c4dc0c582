"""What programs around a command hold on to: exit codes, whole JSON, log lines, streams of any encoding, one line."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gradattn_core.cli import main
from gradattn_core.cli.audit import limit
from tests.helpers.sample_audit import sample_store
from tests.helpers.tiny import Tiny, make_tiny, model_options


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return make_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """An output folder with a finished, made-up audit."""
    sample_store(tmp_path)
    return tmp_path


def run(*arguments: object, encoding: str | None = None) -> subprocess.CompletedProcess[bytes]:
    environment = os.environ | ({"PYTHONIOENCODING": encoding} if encoding else {})
    command = [sys.executable, "-m", "gradattn_core", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, timeout=120, env=environment)


def test_an_audit_of_more_suspects_than_allowed_ends_with_3_and_logs_objects(tiny: Tiny, tmp_path: Path) -> None:
    arguments = ("audit", tiny.dataset, *model_options(tiny), "--out", tmp_path)
    first = run(*arguments, "--json", "--log-format", "json", "--fail-above", "0")
    summary = json.loads(first.stdout)
    assert summary["suspects"] > 0 and first.returncode == 3
    entries = [json.loads(line) for line in first.stderr.splitlines()]
    steps = {entry["step"] for entry in entries if entry["event"] == "progress"}
    assert {"sweep", "interpret"} <= steps
    assert all({"time", "event", "message"} <= set(entry) for entry in entries)
    found = summary["suspects"] + summary["failures"]
    for allowed, status in ((str(found), 0), (str(found - 1), 3), ("100%", 0), ("0%", 3)):
        assert run(*arguments, "--quiet", "--fail-above", allowed).returncode == status
    refused = run("audit", tmp_path / "nowhere", "--log-format", "json", "--quiet")
    assert refused.returncode == 2
    assert json.loads(refused.stderr)["event"] == "error" and "nowhere" in json.loads(refused.stderr)["message"]


@pytest.mark.parametrize("text", ["", "-1", "nan", "inf", "101%", "many", "5 %%"])
def test_a_limit_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="neither a number of images"):
        limit(text)


def test_json_holds_all_that_there_is_unless_a_number_is_asked_for(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from gradattn_core.store.store import Store

    store = Store(out)
    classes, pairs = len(store.audits.class_health("first")), len(store.audits.class_pairs("first"))
    for command, count in (("summary", classes), ("pairs", pairs)):
        assert count > 1
        for top, expected in (((), count), (("--top", "1"), 1)):
            assert main([command, "--out", str(out), "--json", *top]) == 0
            facts = json.loads(capsys.readouterr().out)
            assert len(facts["classes"] if command == "summary" else facts) == expected
    assert main(["export", "--out", str(out), "--json"]) == 0
    whole = capsys.readouterr().out
    assert main(["export", "--out", str(out), "--format", "json"]) == 0
    assert capsys.readouterr().out == whole


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_every_encoding_of_the_streams_is_written_to(out: Path, encoding: str) -> None:
    for arguments in (("summary",), ("pairs",), ("export",), ("pairs", "--json")):
        ended = run(*arguments, "--out", out, encoding=encoding)
        assert ended.returncode == 0 and b"Traceback" not in ended.stderr
        if "--json" in arguments:
            json.loads(ended.stdout.decode(encoding))
    assert run("export", "--out", out, encoding=encoding).stdout == run("export", "--out", out).stdout


def test_a_closed_standard_output_is_no_traceback(out: Path) -> None:
    command = f"{sys.executable} -m gradattn_core summary --out {out} >&-"
    ended = subprocess.run(command, shell=True, capture_output=True, timeout=120)
    assert ended.returncode == 0 and ended.stderr == b""


def test_a_table_in_a_pipe_has_whole_cells(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pairs", "--out", str(out)]) == 0
    assert "…" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("export", "--given", "no\x1b[2Jsuch"), "has no class"),
        (("export", "--kind", "mislable"), "Did you mean 'mislabel'?"),
        (("export", "--reviewer", "nobody"), "there is no reviewer 'nobody'"),
        (("export", "--min-suspicion", "2"), "--min-suspicion 2 is no probability"),
        (("export", "--max-suspicion", "nan"), "--max-suspicion nan is no probability"),
        (("export", "--min-suspicion", ".9", "--max-suspicion", ".1"), "nothing is left"),
        (("export", "decisions", "--audit", "nope"), "there is no audit 'nope'"),
        (("pairs", "--given", "\x1b[31mred"), "has no class"),
    ],
)
def test_a_choice_that_can_choose_nothing_is_refused(
    out: Path, words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--out", str(out)]) == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1 and "\x1b" not in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("audit", ""), "dataset is empty"),
        (("audit", "x", "--out", " "), "out is empty"),
        (("audit", "x", "--out", "~nouser/x"), "x"),
        (("audit", "x", "--out", "s3://bucket/x"), "s3://bucket/x"),
        (("audit", "x", "--out", "a\0b"), "cannot be written"),
        (("explain", "x.png", "--checkpoint", "~nouser/x.pth"), "x.png"),
        (("explain", "x.png", "-o", "y" * 300 + ".png"), "x.png"),
    ],
)
def test_what_the_system_refuses_is_one_sentence(
    tmp_path: Path,
    words: tuple[str, ...],
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    err = capsys.readouterr().err
    assert err.startswith("gradattn: ") and said in err and err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_dataset_of_a_user_who_is_not_here_does_not_exist(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "~nouser/x", "--out", str(tmp_path)]) == 2
    err = capsys.readouterr().err
    assert "~nouser/x" in err and "does not exist" in err and "Traceback" not in err


def test_two_dashes_for_a_value_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["audit", "x", "--out=--"])
    assert ended.value.code == 2 and "argument --out: expected one argument" in capsys.readouterr().err


def test_a_file_of_a_later_century_is_audited(tiny: Tiny, tmp_path: Path) -> None:
    dataset = shutil.copytree(tiny.dataset, tmp_path / "dataset")
    picture = next(dataset.rglob("*.png"))
    os.utime(picture, (10_413_792_000, 10_413_792_000))
    if picture.stat().st_mtime_ns < 2**63:
        pytest.skip("this file system keeps no such time")
    assert run("audit", dataset, *model_options(tiny), "--out", tmp_path / "out", "--quiet").returncode == 0


def test_a_lock_that_is_a_folder_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out" / ".audit.lock").mkdir(parents=True)
    (tmp_path / "data").mkdir()
    assert main(["audit", str(tmp_path / "data"), "--out", str(tmp_path / "out")]) == 2
    err = capsys.readouterr().err
    assert ".audit.lock" in err and err.count("\n") == 1


@pytest.mark.parametrize(
    "words",
    [
        ("audit", ".", "--out", "loop"),
        ("check", "x.csv", "--image-root", "loop"),
        ("audit", "loop"),
        ("summary", "--out", "loop"),
    ],
    ids=["out", "root", "dataset", "summary"],
)
def test_links_in_a_circle_are_one_sentence(
    tmp_path: Path, words: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "x.csv").write_text("path,label\n1.png,a\n2.png,b\n")
    assert main(words) == 2
    err = capsys.readouterr().err
    assert err.startswith("gradattn: ") and "loop" in err and err.count("\n") == 1
