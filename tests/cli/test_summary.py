"""``gradattn summary`` and ``gradattn pairs`` as processes, and where in a picture they say that evidence lies."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from gradattn_core.cli import main
from gradattn_core.health import place
from gradattn_core.store.store import Store
from tests.helpers.command_line import gradattn, json_here
from tests.helpers.sample_audit import KINDS, PATHS, audit_row, sample_store, tables


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return sample_store(tmp_path)


def test_the_summary_says_how_many_labels_are_wrong_what_kinds_and_how_far_the_review_is(store: Store) -> None:
    store.decisions.append("first", PATHS[0], "remove", reviewer="ann")
    store.decisions.append("first", PATHS[1], "keep", reviewer="ann")
    shown = gradattn("summary", out=store.directory)
    assert shown.returncode == 0 and shown.stderr == ""
    # Of the suspicions 1, 8/9 … 0 the first six hold 39/45.
    assert "the model believes about 4 of 10 labels are wrong; 2 to 7, depending on whether" in shown.stdout
    assert "it believes 87% of them to be among the first 6" in shown.stdout
    # Left are 7/9, 6/9, 5/9 and 4/9; squared if the noise is as fitted, and 10/12 … 7/12 if labels tell nothing.
    left = "0 unsure; the model believes about 2 of 4 undecided suspects are wrong; 2 to 3, depending on whether"
    assert left in shown.stdout
    assert "in 4 of 4 measured suspects the strongest region does what its number says (100%)" in shown.stdout
    assert "2 decided (50% of the clear ones were wrong): 1 wrong, 1 right, 0 unsure; the model" in shown.stdout
    assert "note one class is small" in shown.stdout
    lines = [line.split() for line in shown.stdout.splitlines()]
    # Suspicions 1, 7/9, 5/9, 3/9 and 1/9: 2.78 wrong; their squares: 2.04; 1, 10/12, 8/12, 6/12 and 4/12: 3.33.
    assert ["kite", "5", "3", "2.8", "2.0–3.3", "55.6%", "1"] in lines
    assert all(kind in shown.stdout for kind in KINDS)


def test_the_summary_as_json_has_the_same_numbers(store: Store) -> None:
    shown = json_here("summary", "--top", "1", out=store.directory)
    assert (shown["audit_id"], shown["images"], shown["suspects"], shown["first"]) == ("first", 10, 6, 6)
    assert (shown["estimated_errors"], shown["estimated_low"], shown["estimated_high"]) == (4.5, 2.5, 7.0)
    assert shown["expected_found"] == pytest.approx(39 / 45)
    assert shown["kinds"] == dict.fromkeys(sorted(KINDS), 1)
    assert [row["given_label"] for row in shown["classes"]] == ["kite"]
    assert (shown["measured_suspects"], shown["agreeing_suspects"]) == (4, 4)
    assert shown["review"]["reviewed"] == 0 and shown["review"]["precision"] is None


def test_pairs_show_count_lift_place_and_files(store: Store) -> None:
    shown = gradattn("pairs", out=store.directory)
    assert shown.returncode == 0
    assert ["kite", "bald", "eagle", "4", "3.5", "2.5×", "80.0%", "lower", "left"] in [
        line.split() for line in shown.stdout.splitlines()
    ]
    sure = store.images.exemplars("first", "kite")["path"][0]
    assert "kite → bald eagle" in shown.stdout and f"a sure kite: {sure}" in shown.stdout


def test_pairs_as_json_can_be_chosen(store: Store) -> None:
    pairs = json.loads(gradattn("pairs", "--json", out=store.directory).stdout)
    assert pairs == json_here("pairs", out=store.directory)
    assert [(pair["given_label"], pair["suspects"], pair["lift"]) for pair in pairs] == [
        ("kite", 4, 2.5), ("albatross", 2, 0.75),
    ]  # fmt: skip
    most = store.candidates.page("first", given="kite", suggested="bald eagle")["path"]
    assert pairs[0]["most_suspect"] == list(most[:3]) and set(pairs[0]["exemplars"]) == {"kite", "bald eagle"}
    assert json_here("pairs", "--given", "albatross", out=store.directory) == pairs[1:]
    assert json_here("pairs", "--top", "1", out=store.directory) == pairs[:1]
    assert json_here("pairs", "--suggested", "kite", out=store.directory) == []


def test_hostile_labels_are_shown_as_they_are(tmp_path: Path) -> None:
    label = "[bold]\x1b[31mred[/] <b> 🦅"
    frames = tables(PATHS, suspects=4, given=[label] * 10)
    frames["class_pairs"] = frames["class_pairs"].iloc[:1].assign(given_label=label)
    Store(tmp_path).audits.merge(audit_row(classes=[label, "bald eagle"], dataset=label), frames)
    for command in ("summary", "pairs"):
        shown = gradattn(command, out=tmp_path)
        assert shown.returncode == 0 and "\x1b" not in shown.stdout, shown.stderr
        assert "[bold]" in shown.stdout and "<b>" in shown.stdout
        assert label in json.dumps(json_here(command, out=tmp_path), ensure_ascii=False).replace("\\u001b", "\x1b")


@pytest.mark.parametrize("command", ["summary", "pairs"])
@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["--top", "0"], "--top 0"), (["--audit", "none"], "no audit 'none'")],
)
def test_unusable_arguments_are_one_sentence(
    store: Store, capsys: pytest.CaptureFixture[str], command: str, arguments: list[str], words: str
) -> None:
    assert main([command, *arguments, "--out", str(store.directory)]) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and words in shown.err and shown.err.count("\n") == 1


def test_a_label_that_is_no_class_and_a_folder_that_is_none_are_named(store: Store, tmp_path: Path) -> None:
    shown = gradattn("pairs", "--given", "owl", out=store.directory)
    assert shown.returncode == 2 and "no class 'owl'; there are 'albatross', 'bald eagle', 'kite'" in shown.stderr
    shown = gradattn("summary", out=tmp_path / "nowhere")
    assert shown.returncode == 2 and "nowhere: there is none" in shown.stderr


@pytest.mark.parametrize(
    ("row", "column", "words"),
    [
        (0, 0, "upper left"), (0, 4, "top"), (1, 8, "upper right"), (4, 0, "left"), (4, 4, "middle"),
        (4, 7, "right"), (8, 0, "lower left"), (7, 5, "bottom"), (8, 8, "lower right"),
    ],
)  # fmt: skip
def test_the_place_of_the_evidence_for_the_other_class_is_said(row: int, column: int, words: str) -> None:
    evidence = np.full((9, 9), 0.5, np.float32)
    evidence[row, column] = -1
    assert place(evidence) == words


def test_evidence_that_lies_everywhere_or_nowhere_has_no_place() -> None:
    assert place(np.full((14, 14), -0.1, np.float32)) == "all over"
    assert place(np.ones((14, 14), np.float32)) == ""
    # A grid that does not divide by three: the patch in the middle belongs to the middle.
    assert place(np.diag([0.0, 0.0, -1.0, 0.0, 0.0]).astype(np.float32)) == "middle"
