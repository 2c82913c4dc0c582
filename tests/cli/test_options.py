"""A command beside its forms: which of them is meant, and what is said to those who mix them up."""

from __future__ import annotations

import argparse
from typing import Any

import pytest

from gradattn_core.cli.options import CommandParser, json_object
from gradattn_core.errors import GradattnError


def run(options: argparse.Namespace) -> int:
    return 0


@pytest.fixture
def parser() -> CommandParser:
    """``tool paint FILE``, which is also ``tool paint one FILE``, beside ``tool paint many FILE FILE``."""
    tool = CommandParser(prog="tool")
    commands: Any = tool.add_subparsers(required=True)
    paint = commands.add_parser("paint")
    paint.add_argument("file")
    paint.add_argument("--out")
    paint.add_argument("--colour", choices=("red", "blue"), default="red")
    paint.add_argument("--dry", action="store_true")
    paint.forms["one"] = paint
    many = paint.add_form("many", run, "Several at a time.", "  tool paint many a b")
    many.add_argument("files", nargs=2)
    many.add_argument("-o", "--out")
    many.add_argument("--limit", type=int)
    many.add_argument("--colour", choices=("red", "green"), default="green")
    return tool


@pytest.mark.parametrize(
    ("words", "read"),
    [
        ("paint a", {"file": "a", "colour": "red"}),
        ("paint one a", {"file": "a"}),
        ("paint a many", None),
        ("paint -- many", {"file": "many"}),
        ("paint many a b", {"files": ["a", "b"], "colour": "green", "run": run}),
        ("paint --out x many a b", {"out": "x", "files": ["a", "b"]}),
        ("paint --ou x --limit -1 many a b", {"out": "x", "limit": -1}),
        ("paint --out=x many a b", {"out": "x"}),
        ("paint -o many many a b", {"out": "many"}),
        ("paint --dry one", None),
        ("paint --out many a", {"out": "many", "file": "a"}),
    ],
)
def test_the_first_word_that_is_no_option_says_which_form_is_meant(
    parser: CommandParser, words: str, read: dict[str, Any] | None
) -> None:
    if read is None:
        with pytest.raises(SystemExit):
            parser.parse_args(words.split())
    else:
        found = vars(parser.parse_args(words.split()))
        assert {name: found[name] for name in read} == read


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("paint a --limit 3", "--limit goes with tool paint many, not with tool paint"),
        ("paint many a b --dry", "--dry goes with tool paint, not with tool paint many"),
        ("paint a --many b c", "--many is a form of its own: tool paint many (see tool paint many --help)"),
        ("paint a --colour green", "--colour green goes with tool paint many; tool paint takes red, blue"),
        ("paint many a b --limit=3 --dry=yes", "--dry goes with tool paint, not with tool paint many"),
    ],
)
def test_what_belongs_to_another_form_is_refused_by_its_name(parser: CommandParser, words: str, sentence: str) -> None:
    with pytest.raises(GradattnError) as refused:
        parser.parse_args(words.split())
    assert str(refused.value) == sentence


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("paint a --modle x", "tool paint: unrecognized arguments: --modle x (see tool paint --help)"),
        ("paint many a b c", "unrecognized arguments: c"),
        ("paint many a b --colour black", "invalid choice: 'black'"),
        ("--fast paint a", "unrecognized arguments: --fast"),
    ],
)
def test_what_no_form_knows_is_told_in_one_line(
    parser: CommandParser, words: str, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parser.parse_args(words.split())
    assert ended.value.code == 2 and shown in capsys.readouterr().err


def test_the_help_of_a_command_names_its_forms(parser: CommandParser, capsys: pytest.CaptureFixture[str]) -> None:
    for words, shown in (("paint --help", "  tool paint many\n      Several at a time."), ("paint many -h", "--limit")):
        with pytest.raises(SystemExit) as ended:
            parser.parse_args(words.split())
        assert ended.value.code == 0 and shown in capsys.readouterr().out


@pytest.mark.parametrize("text", ["{", "[1]", "3"])
def test_a_json_object_is_asked_for_by_example(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="JSON"):
        json_object(text)
