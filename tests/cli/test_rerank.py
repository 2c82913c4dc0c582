"""``gradattn rerank`` as a process: what it says, what it changes, and the way back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gradattn_core import outfolder
from gradattn_core.csv_tables import read_candidates
from gradattn_core.store.store import Store
from tests.helpers.command_line import gradattn
from tests.helpers.sample_audit import audit_row, tables

PATHS = [f"{'kite' if row % 2 == 0 else 'albatross'}/{row:02d}.jpg" for row in range(80)]
SUSPECTS, DECIDED = 60, 40


def as_json(*arguments: str) -> dict[str, Any]:
    done = gradattn("rerank", *arguments, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Sixty suspects by turns labelled kite and albatross, none decided."""
    store = Store(tmp_path)
    store.audits.merge(audit_row(images=80, suspects=SUSPECTS), tables(PATHS, suspects=SUSPECTS))
    return store


def decide(store: Store) -> None:
    """Of the first forty every kite is wrong and every albatross right."""
    store.decisions.append_many("first", PATHS[0:DECIDED:2], "remove", reviewer="ann")
    store.decisions.append_many("first", PATHS[1:DECIDED:2], "keep", reviewer="ann")


def kites_first(paths: list[str]) -> bool:
    """The decided suspects where they were, then the undecided kites, then the undecided albatrosses."""
    kites = DECIDED + (SUSPECTS - DECIDED) // 2
    return (
        paths[:DECIDED] == PATHS[:DECIDED]
        and sorted(paths[DECIDED:kites]) == PATHS[DECIDED:SUSPECTS:2]
        and sorted(paths[kites:]) == PATHS[DECIDED + 1 : SUSPECTS : 2]
    )


def test_it_says_what_was_learnt_and_every_reader_sees_the_new_order(store: Store) -> None:
    decide(store)
    done = gradattn("rerank", str(store.directory))
    assert (done.returncode, done.stderr) == (0, "")
    for part in (
        "40 about suspects: 20 wrong labels, 20 right ones",
        "50% of what was decided was wrong (35% to 65%)",
        "clearly better: average precision 0.5",
        "labelled albatross: less often wrong",
        "of 20 undecided suspects are wrong",
        str(outfolder.candidates(store.directory)),
    ):
        assert part in done.stdout
    order = store.candidates.page("first")["path"].tolist()
    assert kites_first(order)
    assert read_candidates(outfolder.candidates(store.directory))["path"].tolist() == order


def test_as_json_it_has_the_same_numbers_as_the_page(store: Store) -> None:
    decide(store)
    facts = as_json(str(store.directory), "--audit", "first")
    review = store.review.progress("first")
    assert facts["used"] is True and facts["dry_run"] is False and facts["audit_id"] == "first"
    assert (facts["decisions"], facts["wrong"], review.reranked) == (40, 20, 40)
    for shown, stored in (("left", "estimated_left"), ("left_low", "left_low"), ("left_high", "left_high")):
        assert facts[shown] == pytest.approx(getattr(review, stored))
    assert facts["precision"] == 0.5
    assert facts["average_precision_before"] < facts["average_precision_after"] <= 1
    assert len(facts["strongest"]) == 3 and facts["strongest"][0]["words"].startswith("labelled ")
    assert as_json("--out", str(store.directory))["left"] == pytest.approx(facts["left"])


def test_a_dry_run_changes_nothing_and_reset_takes_it_back(store: Store) -> None:
    decide(store)
    out = str(store.directory)
    before = store.database.read_bytes()
    assert "nothing was changed" in gradattn("rerank", out, "--dry-run").stdout
    assert store.database.read_bytes() == before and not outfolder.candidates(store.directory).exists()
    quiet = gradattn("rerank", out, "--quiet")
    assert (quiet.returncode, quiet.stdout) == (0, "")
    assert kites_first(store.candidates.page("first")["path"].tolist())
    assert as_json(out, "--reset") == {"audit_id": "first", "reset": True, "learning": False}
    assert store.candidates.page("first")["path"].tolist() == PATHS[:SUSPECTS]
    assert read_candidates(outfolder.candidates(store.directory))["path"].tolist() == PATHS[:SUSPECTS]
    assert "in force already" in gradattn("rerank", out, "--reset").stdout


def test_an_order_whose_decisions_were_undone_goes_with_them(store: Store) -> None:
    decide(store)
    gradattn("rerank", str(store.directory), "--quiet")
    store.decisions.undo_many("first", PATHS[:30], reviewer="ann")
    facts = as_json(str(store.directory))
    assert facts["used"] is False and "5 wrong labels and 5 right ones, are too few to learn from" in facts["reason"]
    assert facts["average_precision_after"] is None and facts["strongest"] == []
    assert store.candidates.page("first")["path"].tolist() == PATHS[:SUSPECTS]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["{out}/elsewhere"], "there is none"),
        (["{out}", "--audit", "firts"], "Did you mean first?"),
        (["{out}", "--reset", "--dry-run"], "not allowed with"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(store: Store, arguments: list[str], sentence: str) -> None:
    done = gradattn("rerank", *(argument.format(out=store.directory) for argument in arguments))
    assert done.returncode == 2 and done.stdout == "" and sentence in done.stderr
    assert "Traceback" not in done.stderr
