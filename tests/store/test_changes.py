"""What differs between two audits of a dataset, against a count by hand and a naive one."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from gradattn_core.errors import StoreError
from gradattn_core.records import Difference
from gradattn_core.store.store import Store
from tests.helpers.hostile import HOSTILE
from tests.helpers.sample_audit import audit_row, tables

Row = tuple[str, str, str, bool]
"""path, content, given label, whether it is a suspect"""


def merge(store: Store, audit_id: str, rows: list[Row], **changes: Any) -> None:
    """An audit of these images, ranked in their order."""
    frames = tables([row[0] for row in rows], suspects=0, given=[row[2] for row in rows])
    frames["images"]["content_hash"] = [row[1] for row in rows]
    frames["scores"]["is_suspect"] = [row[3] for row in rows]
    store.audits.merge(audit_row(audit_id, **changes), {name: frames[name] for name in ("images", "scores")})


def listed(store: Store, name: str, *columns: str) -> list[tuple[Any, ...]]:
    return list(store.audits.changes("before", "after")[name][list(columns)].itertuples(index=False, name=None))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def test_each_image_that_differs_is_named_once_with_what_became_of_it(store: Store) -> None:
    merge(
        store,
        "before",
        [
            ("kite/relabelled.jpg", "A", "kite", True),
            ("kite/edited.jpg", "B", "kite", True),
            ("kite/removed.jpg", "C", "kite", True),
            ("kite/renamed.jpg", "D", "kite", True),
            ("kite/cleared.jpg", "E", "kite", True),
            ("kite/doubted.jpg", "F", "kite", False),
            ("kite/same.jpg", "G", "kite", True),
        ],
    )
    merge(
        store,
        "after",
        [
            ("owl/relabelled.jpg", "A", "owl", True),
            ("kite/edited.jpg", "B2", "kite", False),
            ("kite/sub/renamed.jpg", "D", "kite", True),
            ("kite/cleared.jpg", "E", "kite", False),
            ("kite/doubted.jpg", "F", "kite", True),
            ("kite/same.jpg", "G", "kite", True),
            ("owl/new.jpg", "H", "owl", True),
        ],
    )
    assert store.audits.difference("before", "after") == Difference(
        "before", new_suspects=3, gone_suspects=4, new_images=3, gone_images=3,
        changed_images=1, relabelled_images=1, moved_images=1,
    )  # fmt: skip
    assert listed(store, "new_suspects", "rank", "path", "given_label", "why") == [
        (1, "owl/relabelled.jpg", "owl", "relabelled"),
        (5, "kite/doubted.jpg", "kite", "judged anew"),
        (7, "owl/new.jpg", "owl", "new image"),
    ]
    assert listed(store, "gone_suspects", "rank", "path", "why", "label_now") == [
        (1, "kite/relabelled.jpg", "relabelled", "owl"),
        (2, "kite/edited.jpg", "changed", "kite"),
        (3, "kite/removed.jpg", "removed", ""),
        (5, "kite/cleared.jpg", "judged anew", "kite"),
    ]
    assert listed(store, "new_images", "path", "given_label") == [("owl/new.jpg", "owl")]
    assert listed(store, "gone_images", "path", "given_label") == [("kite/removed.jpg", "kite")]
    assert listed(store, "changed_images", "path", "given_label", "old_label") == [("kite/edited.jpg", "kite", "kite")]
    assert listed(store, "relabelled_images", "path", "given_label", "old_path", "old_label") == [
        ("owl/relabelled.jpg", "owl", "kite/relabelled.jpg", "kite")
    ]
    assert listed(store, "moved_images", "path", "old_path") == [("kite/sub/renamed.jpg", "kite/renamed.jpg")]
    assert [len(frame) for frame in store.audits.changes("before", "after", top=1).values()] == [1] * 7
    assert {len(frame) for frame in store.audits.changes("after", "after").values()} == {0}


def test_renumbered_files_are_moves_and_one_new_image_not_a_thousand_changes(store: Store) -> None:
    merge(store, "before", [(f"kite/{row:04d}.jpg", f"content {row}", "kite", False) for row in range(1000)])
    shifted = [(f"kite/{row + 1:04d}.jpg", f"content {row}", "kite", False) for row in range(1000)]
    merge(store, "after", [("kite/0000.jpg", "fresh", "kite", False), *shifted])
    found = store.audits.difference("before", "after")
    assert (found.new_images, found.changed_images, found.moved_images) == (1, 0, 1000)


def test_a_suspect_that_went_away_shows_what_reviewers_said_about_it(store: Store) -> None:
    merge(store, "before", [(f"kite/{name}.jpg", name, "kite", True) for name in "abc"])
    merge(store, "after", [("owl/a.jpg", "a", "owl", False), ("kite/c.jpg", "c", "kite", False)])
    store.decisions.append("before", "kite/a.jpg", "relabel", new_label="owl", reviewer="ann")
    store.decisions.append("before", "kite/b.jpg", "remove", reviewer="ann")
    assert listed(store, "gone_suspects", "path", "why", "decision", "new_label") == [
        ("kite/a.jpg", "relabelled", "relabel", "owl"),
        ("kite/b.jpg", "removed", "remove", ""),
        ("kite/c.jpg", "judged anew", "", ""),
    ]


def test_counts_and_lists_agree_with_a_naive_comparison_of_random_audits(store: Store) -> None:
    random = np.random.default_rng(3)

    def images() -> list[Row]:
        chosen = random.choice(400, 300, replace=False)
        labels = ["kite", "owl", HOSTILE[12]]
        return [
            (f"{path}.jpg", f"{random.integers(200)}", labels[random.integers(3)], bool(random.integers(2)))
            for path in chosen
        ]

    was, now = images(), images()
    merge(store, "before", was)
    merge(store, "after", now)

    def by_key(rows: list[Row]) -> dict[tuple[str, str], list[Row]]:
        found = defaultdict(list)
        for row in rows:
            found[row[1:3]].append(row)
        return found

    old, new = by_key(was), by_key(now)
    lost, fresh = old.keys() - new.keys(), new.keys() - old.keys()
    found, lists = store.audits.difference("before", "after"), store.audits.changes("before", "after")
    assert (found.new_images, found.gone_images) == (len(fresh), len(lost))

    relabelled = sum(
        min(len({key for key in fresh if key[0] == content}), len({key for key in lost if key[0] == content}))
        for content in {content for content, _ in lost}
    )
    assert found.relabelled_images == len(lists["relabelled_images"]) == relabelled > 20
    assert found.changed_images == len(lists["changed_images"]) > 20
    assert found.new_images == sum(len(lists[f"{name}_images"]) for name in ("new", "changed", "relabelled"))
    assert found.gone_images == sum(len(lists[f"{name}_images"]) for name in ("gone", "changed", "relabelled"))

    content_was, content_now = ({row[0]: row[1:3] for row in rows} for rows in (was, now))
    for path, label, old_label in lists["changed_images"].itertuples(index=False, name=None):
        assert (content_was[path][1], content_now[path][1]) == (old_label, label)
        assert content_was[path][0] != content_now[path][0]
    for path, label, old_path, old_label in lists["relabelled_images"].itertuples(index=False, name=None):
        assert content_was[old_path][0] == content_now[path][0] and label != old_label
    moved = {key for key in old.keys() & new.keys() if not {row[0] for row in old[key]} & {row[0] for row in new[key]}}
    assert {content_now[path] for path in lists["moved_images"]["path"]} == moved
    assert found.moved_images == len(moved)

    suspect_was, suspect_now = ({key for key in rows if any(row[3] for row in rows[key])} for rows in (old, new))
    assert found.new_suspects == len(lists["new_suspects"]) == len(suspect_now - suspect_was)
    assert found.gone_suspects == len(lists["gone_suspects"]) == len(suspect_was - suspect_now)
    assert {content_now[path] for path in lists["new_suspects"]["path"]} == suspect_now - suspect_was
    assert {content_was[path] for path in lists["gone_suspects"]["path"]} == suspect_was - suspect_now


def test_the_audit_before_is_the_nearest_one_of_the_same_dataset(store: Store) -> None:
    rows: list[Row] = [("kite/a.jpg", "a", "kite", False), ("owl/b.jpg", "b", "owl", False)]
    audits: dict[str, dict[str, Any]] = {
        "folder 1": {"dataset": "birds"},
        "manifest": {"dataset": "birds/labels.csv"},
        "train": {"dataset": "birds/labels.csv", "parameters": {"split": "train"}},
        "folder 2": {"dataset": "/data/birds/"},
        "elsewhere": {"dataset": "birds", "root": "/old/birds"},
        "folder 3": {"dataset": "birds"},
        "manifest 2": {"dataset": "labels.csv"},
    }
    for day, (audit_id, changes) in enumerate(audits.items(), 1):
        merge(store, audit_id, rows, finished_at=pd.Timestamp(2026, 11, day, tz="UTC"), **changes)
    assert store.audits.previous_id("folder 3") == "folder 2"
    assert store.audits.previous_id("folder 2") == "folder 1"
    assert store.audits.previous_id("manifest 2") == "manifest"
    # Of what was moved, or is audited in another form, the newest with a picture in common.
    other_day = {"dataset": "others", "root": "/others", "finished_at": pd.Timestamp(2026, 11, 2, 12, tz="UTC")}
    merge(store, "others", [("x.jpg", "x", "kite", False)], **other_day)
    before = {"manifest": "folder 1", "train": "manifest", "elsewhere": "folder 2"}
    assert {name: store.audits.previous_id(name) for name in before} == before
    assert not store.audits.are_of_one_dataset("elsewhere", "folder 2")
    assert store.audits.are_of_one_dataset("folder 3", "folder 1")
    for first in ("folder 1", "others"):
        with pytest.raises(StoreError, match=f"before {first}; audit it again after a change, or name two audits"):
            store.audits.previous_id(first)


def test_a_mistyped_audit_gets_the_nearest_one(store: Store) -> None:
    merge(store, "20261122T140300-0a1b2c3d", [("kite/a.jpg", "a", "kite", False)])
    for typed in ("20261122T140300-0a1b2c3e", "0a1b2c3d"):
        with pytest.raises(StoreError, match=f"no audit '{typed}'.*Did you mean 20261122T140300-0a1b2c3d\\?$"):
            store.audits.difference(typed, typed)
    with pytest.raises(StoreError, match=r"finished are 20261122T140300-0a1b2c3d$"):
        store.audits.difference("zzz", "zzz")


def test_corrections_are_the_images_that_standing_decisions_change_and_their_copies(store: Store) -> None:
    copies: list[Row] = [("kite/copy.jpg", "a", "kite", False), ("kite/a.jpg", "a", "kite", True)]
    others: list[Row] = [(f"kite/{name}.jpg", name, "kite", True) for name in "bcde"]
    merge(store, "before", [*copies, ("owl/a.jpg", "a", "owl", False), *others])
    store.decisions.append("before", "kite/a.jpg", "relabel", new_label=HOSTILE[0], reviewer="ann")
    store.decisions.append("before", "kite/b.jpg", "remove", reviewer="ann")
    store.decisions.append("before", "kite/c.jpg", "keep", reviewer="ann")
    store.decisions.append("before", "kite/d.jpg", "remove", reviewer="ann")
    store.decisions.undo("before", "kite/d.jpg", reviewer="bob")
    store.decisions.append("before", "kite/e.jpg", "relabel", new_label="kite", reviewer="ann")
    changed = store.review.corrections("before")
    assert list(changed.columns) == ["path", "content_hash", "given_label", "decision", "label"]
    assert changed[["path", "decision", "label"]].to_numpy().tolist() == [
        ["kite/a.jpg", "relabel", HOSTILE[0]],
        ["kite/b.jpg", "remove", ""],
        ["kite/copy.jpg", "relabel", HOSTILE[0]],
    ]
    every = store.review.corrections("before", everything=True)
    left = every[every["label"] != ""]
    assert len(every) == 7
    pd.testing.assert_frame_equal(
        left[["path", "label"]].assign(path="/data/birds/" + left["path"]).reset_index(drop=True),
        store.review.corrected("before"),
        check_dtype=False,
    )
