"""Lists of suspects from a place on: filters, orders and parts, against the same read slowly in Python."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from gradattn_core.belief import of_row
from gradattn_core.errors import StoreError
from gradattn_core.store.candidates import ORDERS
from gradattn_core.store.store import Store
from tests.helpers.hostile import HOSTILE
from tests.helpers.sample_audit import audit_row, tables

COUNT, SUSPECTS = 240, 180
PATHS = [f"{'kite' if row % 2 == 0 else 'albatross'}/{row:03d}.jpg" for row in range(COUNT)]
Row = dict[str, Any]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Suspects with ties in every number, copies, and a log of three reviewers in it."""
    chooser = np.random.default_rng(11)
    frames = tables(PATHS, suspects=SUSPECTS)
    contents = frames["images"]["content_hash"]
    contents[20:26] = contents[0:6].to_numpy()
    scores = frames["scores"]
    scores["suspicion"] = np.sort(chooser.integers(1, 20, COUNT) / 20)[::-1]
    scores["suggested_label"] = chooser.choice(["bald eagle", "osprey", ""], COUNT)
    scores["suggested_probability"] = chooser.integers(1, 5, COUNT) / 10
    scores["outside_suspicion"] = scores["suspicion"] / 10
    scores["given_probability"], scores["runner_up_label"] = 0.25, "crow"
    scores["cluster"] = pd.array(
        [int(chooser.integers(0, 5)) if row < SUSPECTS - 9 else None for row in range(COUNT)], dtype="Int32"
    )
    store = Store(tmp_path_factory.mktemp("lists"))
    store.audits.merge(audit_row(images=COUNT, suspects=SUSPECTS), frames)
    turns = random.Random(4)
    for reviewer in ("ann", "bob", "cy"):
        for decision in ("keep", "remove", "unsure"):
            store.decisions.append_many("first", turns.sample(PATHS, 12), decision, reviewer=reviewer)
        store.decisions.undo_many("first", turns.sample(PATHS[:60], 20), reviewer=reviewer)
    store.tags.change("first", turns.sample(PATHS, 30), add=["ask the lab", HOSTILE[0]], reviewer="ann")
    return store


@pytest.fixture(scope="module")
def rows(store: Store) -> list[Row]:
    """Every image, most suspect first."""
    records: Any = store.candidates.page("first", everything=True).to_dict("records")
    assert len(records) == COUNT
    return list(records)


def chance(row: Row) -> float:
    return of_row(row).of(row["suggested_label"])


def mixed(text: str) -> float:
    digest = hashlib.md5(text.encode(), usedforsecurity=False).digest()
    # DuckDB's lower half of the number, as its bytes lie.
    return int.from_bytes(digest[8:], "little") / 2**64


NAIVE: dict[str, Callable[[Row], Any]] = {
    "rank": lambda row: (),
    "surest": lambda row: (-chance(row),),
    "confusable": lambda row: (abs(chance(row) - (1 - row["suspicion"])),),
    "pair": lambda row: (row["given_label"], row["suggested_label"]),
    "similar": lambda row: (row["cluster"] < 0, row["cluster"]),
    "path": lambda row: (row["path"],),
    "mixed": lambda row: (mixed(f"mixed {row['content_hash']}"),),
}


def walk(store: Store, count: int, **asked: Any) -> list[str]:
    """All paths of a list, stretch by stretch; places travel as JSON."""
    paths: list[str] = []
    place = None
    while True:
        stretch = store.candidates.stretch("first", after=place, count=count, **asked)
        assert list(stretch.rows["path"]) == [each[-1] for each in stretch.places]
        assert [each[-2] for each in stretch.places] == list(stretch.rows["rank"])
        paths += stretch.rows["path"].tolist()
        if not stretch.more:
            return paths
        place = tuple(json.loads(json.dumps(stretch.places[-1])))


@pytest.mark.parametrize("order", sorted(ORDERS))
def test_stretches_together_are_the_page_in_every_order(store: Store, rows: list[Row], order: str) -> None:
    whole = store.candidates.page("first", order=order, decided="no")["path"].tolist()
    assert walk(store, 60, order=order, decided="no") == whole
    assert walk(store, 79, order=order, everything=True) == (
        store.candidates.page("first", order=order, everything=True)["path"].tolist()
    )
    if order == "decided":
        return
    kept = [row for row in rows if row["is_suspect"] and not row["decision"]]
    if order in ("surest", "confusable"):
        # Ties of the database's numbers may be none of Python's.
        keys = [NAIVE[order](row)[0] for path in whole for row in kept if row["path"] == path]
        assert len(whole) == len(kept) and np.diff(keys).min() > -1e-12
    else:
        assert whole == [row["path"] for row in sorted(kept, key=lambda row: (*NAIVE[order](row), row["rank"]))]


def test_a_stretch_counts_its_list_and_what_is_held_belongs_to_it(store: Store, rows: list[Row]) -> None:
    kites = [row for row in rows if row["is_suspect"] and row["given_label"] == "kite"]
    left = [row["path"] for row in kites if not row["decision"]]
    stretch = store.candidates.stretch("first", given="kite", decided="no", held=left[:5], count=3)
    assert stretch.rows["path"].tolist() == left[5:8] and stretch.more
    assert (stretch.total, stretch.decided, stretch.left) == (len(kites), len(kites) - len(left), len(left))
    assert stretch.outside == 0
    stretch = store.candidates.stretch("first", given="kite", decided="keep")
    assert stretch.rows["path"].tolist() == [row["path"] for row in kites if row["decision"] == "keep"]
    assert stretch.left == len(left)


def test_a_list_without_rows_says_what_is_undecided_outside(store: Store, rows: list[Row]) -> None:
    stretch = store.candidates.stretch("first", path_contains="nothing of that name", decided="no")
    undecided = sum(row["is_suspect"] and not row["decision"] for row in rows)
    assert (len(stretch.rows), stretch.places, stretch.more) == (0, (), False)
    assert (stretch.total, stretch.left, stretch.outside) == (0, 0, undecided)


def test_a_list_begins_with_the_image_that_is_asked_for_and_goes_on_behind_it(store: Store, rows: list[Row]) -> None:
    decided = next(row["path"] for row in rows[30:] if row["decision"])
    order = store.candidates.page("first", order="pair", everything=True)["path"].tolist()
    for path in (PATHS[50], decided, PATHS[-1]):
        stretch = store.candidates.stretch("first", order="pair", decided="no", at=path, count=6)
        behind = [each for each in order[order.index(path) + 1 :] if each in set(PATHS[:SUSPECTS])]
        expected = [each for each in behind if not rows[PATHS.index(each)]["decision"]]
        assert stretch.rows["path"].tolist() == [path, *expected[:5]]
        assert stretch.more == (len(expected) > 5)
        following = store.candidates.stretch("first", order="pair", decided="no", after=stretch.places[-1], count=4)
        assert following.rows["path"].tolist() == expected[5:9]
    assert store.candidates.stretch("first", at="elsewhere.jpg").rows["path"].tolist() == PATHS[:24]


def test_what_is_decided_and_learnt_meanwhile_moves_no_place(tmp_path: Path) -> None:
    paths = [f"kite/{row:02d}.jpg" for row in range(40)]
    store = Store(tmp_path)
    store.audits.merge(audit_row(), tables(paths, suspects=30))
    first = store.candidates.stretch("first", decided="no", count=10)
    store.decisions.append_many("first", [*paths[:4], paths[9], paths[12]], "keep", reviewer="ann")
    following = store.candidates.stretch("first", decided="no", count=10, after=first.places[-1])
    assert following.rows["path"].tolist() == [*paths[10:12], *paths[13:21]]
    # Those behind the place change among themselves; what came before the place is not sent again.
    store.review.rerank("first", paths[21:30], np.linspace(0.01, 0.02, 9), decisions=6, learnt_by="near")
    last = store.candidates.stretch("first", decided="no", count=10, after=following.places[-1])
    assert last.rows["path"].tolist() == paths[29:20:-1] and not last.more


@pytest.mark.parametrize(
    "place",
    [(), (1,), ("1", "x"), (1, 2, "x"), (True, "x"), (1.5, "x"), (None, "x"), ("kite", "osprey", 3, 4, "x")],
)
def test_a_place_of_another_order_is_refused(store: Store, place: Any) -> None:
    with pytest.raises(StoreError, match="no such place to go on from"):
        store.candidates.stretch("first", after=place)


@pytest.mark.parametrize(("parts", "overlap"), [(1, 0.0), (3, 0.0), (3, 0.25), (7, 1.0)])
def test_parts_share_out_all_pictures_and_copies_stay_together(
    store: Store, rows: list[Row], parts: int, overlap: float
) -> None:
    found = [
        set(store.candidates.page("first", everything=True, part=(part, parts), overlap=overlap)["path"])
        for part in range(1, parts + 1)
    ]
    for row in rows:
        own = int(mixed(row["content_hash"]) * parts) + 1
        shared = mixed(f"overlap {row['content_hash']}") < overlap
        assert {part for part in range(1, parts + 1) if row["path"] in found[part - 1]} == (
            set(range(1, parts + 1)) if shared else {own}
        )
    if overlap == 0:
        assert sum(map(len, found)) == COUNT and min(map(len, found)) > COUNT / parts / 2


def test_the_second_half_of_a_hash_is_read_as_it_was_written() -> None:
    # Of this version and of every other: who reviews part 2 of 3 has it tomorrow as well.
    assert int.from_bytes(hashlib.md5(b"abc", usedforsecurity=False).digest()[8:], "little") == 8250560606382298838


def test_what_nobody_has_ever_decided(store: Store, rows: list[Row]) -> None:
    log = store.decisions.page()
    said = set(zip(log["content_hash"], log["given_label"], strict=True))
    never = [row["path"] for row in rows if (row["content_hash"], row["given_label"]) not in said]
    assert store.candidates.page("first", everything=True, nobody=True)["path"].tolist() == never
    undecided = sum(not row["decision"] for row in rows)
    assert 0 < len(never) < undecided


def test_a_second_look_is_at_what_others_have_said_and_oneself_has_not(store: Store, rows: list[Row]) -> None:
    stacks: dict[tuple[str, str], list[str]] = {}
    for row in store.decisions.page().iloc[::-1].to_dict("records"):
        stack = stacks.setdefault((row["content_hash"], row["given_label"]), [])
        stack.pop() if row["decision"] == "undo" else stack.append(row["reviewer"])
    expected = {
        row["path"]
        for row in rows
        for who in [set(stacks.get((row["content_hash"], row["given_label"]), []))]
        if who - {"bob"} and "bob" not in who
    }
    looks = walk(store, 30, order="mixed", everything=True, second_look="bob")
    assert set(looks) == expected and len(looks) == len(expected) > 5
    assert looks != sorted(looks, key=PATHS.index)
    # The list shortens as bob goes on, and its length stays.
    both = {
        row["path"]
        for row in rows
        for who in [set(stacks.get((row["content_hash"], row["given_label"]), []))]
        if "bob" in who and who != {"bob"}
    }
    stretch = store.candidates.stretch("first", order="mixed", everything=True, second_look="bob")
    assert (stretch.total, stretch.decided, stretch.left) == (len(looks) + len(both), len(both), len(looks))


def test_lists_by_tag_and_by_selection(store: Store, rows: list[Row]) -> None:
    for tag in ("ask the lab", HOSTILE[0]):
        tagged = [row["path"] for row in rows if tag in row["tags"]]
        assert len(tagged) >= 30
        assert store.candidates.page("first", everything=True, tag=tag)["path"].tolist() == tagged
    assert store.candidates.count("first", tag="of nobody") == 0
    chosen = [PATHS[-1], *PATHS[4:60:5]]
    selection = store.selections.keep("first", chosen, reviewer="ann")
    assert store.candidates.page("first", selection=selection)["path"].tolist() == [*PATHS[4:60:5], PATHS[-1]]
    assert store.candidates.page("first", selection=selection, paths=PATHS[:5])["path"].tolist() == [PATHS[4]]
    with pytest.raises(StoreError, match="not kept here any more"):
        store.candidates.count("first", selection="other")


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"part": (0, 3)}, "no part 0 of 3"),
        ({"part": (4, 3)}, "no part 4 of 3"),
        ({"part": (1, 3), "overlap": 1.5}, "overlap of 1.5"),
        ({"order": "beauty"}, "order='beauty' is unknown"),
        ({"decided": "perhaps"}, "decided='perhaps' is unknown"),
        ({"count": -1}, "count=-1 is negative|top=-1 is negative"),
    ],
)
def test_what_is_no_list_is_refused(store: Store, filters: dict[str, Any], message: str) -> None:
    with pytest.raises(StoreError, match=message):
        store.candidates.stretch("first", **filters)


def test_a_row_tells_the_newest_entry_even_where_nothing_stands(store: Store, rows: list[Row]) -> None:
    log = store.decisions.page().drop_duplicates(["content_hash", "given_label"])
    newest = {(row.content_hash, row.given_label): row.decision_id for row in log.itertuples()}
    assert {row["path"]: row["seen"] for row in rows} == {
        row["path"]: newest.get((row["content_hash"], row["given_label"]), "") for row in rows
    }
    assert any(row["seen"] and not row["decision"] for row in rows)
