"""What reviewers say, and how long and for what it holds."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gradattn_core.errors import StoreError
from gradattn_core.store import log
from gradattn_core.store.store import Store
from tests.helpers.sample_audit import PATHS, audit_row, sample_store, tables


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return sample_store(tmp_path)


def standing(store: Store, path: str, audit_id: str = "first") -> tuple[str, str]:
    row = store.candidates.page(audit_id, everything=True).set_index("path").loc[path]
    return str(row["decision"]), str(row["reviewer"])


def test_a_decision_is_shown_with_its_reviewer_note_and_new_label(store: Store) -> None:
    decision_id = store.decisions.append(
        "first", PATHS[0], "relabel", new_label="bald eagle", reviewer="ann", note="white head"
    )
    row = store.candidates.page("first").iloc[0]
    assert (row["decision"], row["new_label"], row["reviewer"], row["note"]) == (
        "relabel", "bald eagle", "ann", "white head",
    )  # fmt: skip
    logged = store.decisions.page().iloc[0]
    assert (logged["decision_id"], logged["audit_id"], logged["path"]) == (decision_id, "first", PATHS[0])
    assert abs((datetime.fromisoformat(logged["decided_at"]) - datetime.now(UTC)).total_seconds()) < 60


def test_decisions_hold_for_the_same_content_and_label_in_every_audit_and_for_nothing_else(store: Store) -> None:
    store.decisions.append("first", PATHS[0], "keep", reviewer="ann")
    moved = ["new/place.jpg", "new/copy.jpg", "new/relabelled.jpg", "new/other.jpg"]
    frames = tables(moved, suspects=4, given=["kite", "kite", "bald eagle", "kite"])
    frames["images"]["content_hash"] = [f"hash of {PATHS[0]}"] * 3 + ["another"]
    store.audits.merge(audit_row("second"), frames)
    assert list(store.candidates.page("second")["decision"]) == ["keep", "keep", "", ""]
    store.decisions.append("second", moved[1], "remove", reviewer="bob")
    assert standing(store, PATHS[0]) == ("remove", "bob")


def test_merging_an_audit_again_leaves_the_decisions(store: Store) -> None:
    store.decisions.append("first", PATHS[0], "keep", reviewer="ann")
    before = store.decisions.page()
    store.audits.merge(audit_row(), tables(PATHS, suspects=3))
    assert store.decisions.page().equals(before)
    assert standing(store, PATHS[0]) == ("keep", "ann")


def test_the_newest_of_two_reviewers_stands_and_both_stay_in_the_log(store: Store) -> None:
    store.decisions.append("first", PATHS[0], "keep", reviewer="ann")
    store.decisions.append("first", PATHS[0], "remove", reviewer="bob")
    assert standing(store, PATHS[0]) == ("remove", "bob")
    assert list(store.decisions.page()["reviewer"]) == ["bob", "ann"]


def test_undo_walks_back_like_a_stack_for_each_image_alone(store: Store) -> None:
    chooser = random.Random(3)
    stacks: dict[str, list[str]] = {path: [] for path in PATHS[:3]}
    rows = 0
    for _ in range(40):
        path = chooser.choice(PATHS[:3])
        if chooser.random() < 0.5:
            undone = store.decisions.undo("first", path, reviewer="bob")
            assert (undone is not None) == bool(stacks[path])
            rows += undone is not None
            stacks[path] = stacks[path][:-1]
        else:
            stacks[path].append(chooser.choice(["keep", "remove", "unsure"]))
            store.decisions.append("first", path, stacks[path][-1], reviewer="ann")
            rows += 1
        assert standing(store, path)[0] == (stacks[path][-1] if stacks[path] else "")
    assert len(store.decisions.page()) == rows
    assert [standing(store, path)[0] for path in stacks] == [(stack or [""])[-1] for stack in stacks.values()]


def test_an_undo_can_follow_an_undo_and_new_decisions_come_on_top(store: Store) -> None:
    for decision in ("keep", "remove", "unsure"):
        store.decisions.append("first", PATHS[0], decision, reviewer="ann")
    seen = []
    for _ in range(2):
        store.decisions.undo("first", PATHS[0], reviewer="ann")
        seen.append(standing(store, PATHS[0])[0])
    store.decisions.append("first", PATHS[0], "remove", reviewer="ann")
    seen.append(standing(store, PATHS[0])[0])
    store.decisions.undo("first", PATHS[0], reviewer="ann")
    seen.append(standing(store, PATHS[0])[0])
    assert seen == ["remove", "keep", "remove", "keep"]


def test_order_holds_when_the_clock_stands_still_or_is_set_back(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock:
        times = iter([2026, 2026, 2020])

        @classmethod
        def now(cls, zone: Any) -> datetime:
            return datetime(next(cls.times), 1, 1, tzinfo=zone)

    monkeypatch.setattr(log, "datetime", Clock)
    for decision in ("keep", "remove", "unsure"):
        store.decisions.append("first", PATHS[0], decision, reviewer="ann")
    assert list(store.decisions.page()["decision"]) == ["unsure", "remove", "keep"]
    assert standing(store, PATHS[0])[0] == "unsure"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"decision": "maybe"}, "'maybe' is no decision.*keep, relabel, remove, unsure"),
        ({"decision": "undo"}, "'undo' is no decision"),
        ({"decision": "relabel"}, "needs the new label"),
        ({"decision": "relabel", "new_label": "  "}, "needs the new label"),
        ({"decision": "keep", "new_label": "kite"}, "'kite'.*belongs to a relabel"),
        ({"decision": "keep", "reviewer": " "}, "reviewer's name"),
        ({"decision": "keep", "path": "kite/unknown.jpg"}, "no image 'kite/unknown.jpg'"),
        ({"decision": "keep", "note": "half a \udcff character"}, "surrogate"),
    ],
)
def test_an_unusable_decision_is_refused_and_not_logged(store: Store, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(StoreError, match=message):
        store.decisions.append(**({"audit_id": "first", "path": PATHS[0], "reviewer": "ann"} | arguments))
    assert store.decisions.page().empty


def test_a_read_only_store_reads_and_refuses_to_write(store: Store) -> None:
    reader = Store(store.directory, read_only=True)
    assert len(reader.candidates.page("first")) == 6
    with pytest.raises(StoreError, match="read-only"):
        reader.decisions.append("first", PATHS[0], "keep", reviewer="ann")
    with pytest.raises(StoreError, match="read-only"):
        reader.decisions.undo("first", PATHS[0], reviewer="ann")
    with pytest.raises(StoreError, match="read-only"):
        reader.audits.merge(audit_row(), {})
    with pytest.raises(StoreError, match="read-only"):
        reader.prepare()
    assert store.decisions.page().empty
