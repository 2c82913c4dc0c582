"""What is stored about a stretch of a list is what is stored about each of its pictures, asked one by one."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gradattn_core.store.store import Store
from tests.helpers.hostile import HOSTILE
from tests.helpers.sample_audit import audit_row, tables

COUNT, SUSPECTS, INTERPRETED = 60, 24, 20
REVIEWERS = ("ann", "bob", HOSTILE[3])


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    random = np.random.default_rng(11)
    labels = ["kite", "bald eagle", HOSTILE[12]]
    paths = [f"{row:02d}.jpg" for row in range(COUNT)]
    frames = tables(paths, suspects=SUSPECTS, interpreted=INTERPRETED)
    frames["images"]["given_label"] = [labels[number] for number in random.integers(0, 3, COUNT)]
    frames["images"]["content_hash"] = [f"content {number}" for number in random.integers(0, COUNT // 2, COUNT)]
    frames["scores"]["kind_numbers"] = pd.Series([{"identical": float(row % 2)} for row in range(COUNT)])
    store = Store(tmp_path_factory.mktemp("showing"))
    store.audits.merge(audit_row(), frames)
    store.audits.merge(audit_row("other"), tables(paths, suspects=6))
    for _ in range(80):
        reviewer, path = random.choice(REVIEWERS), str(random.choice(paths))
        if random.random() < 0.3:
            store.decisions.undo("first", path, reviewer=reviewer)
        else:
            store.decisions.append("first", path, str(random.choice(["keep", "remove", "unsure"])), reviewer=reviewer)
    return store


@pytest.fixture(scope="module")
def paths(store: Store) -> list[str]:
    return [str(path) for path in store.candidates.page("first", everything=True)["path"]]


def test_maps_and_predictions_are_those_of_each_picture(store: Store, paths: list[str]) -> None:
    found = store.showing.surroundings("first", paths)
    assert sorted(found) == sorted(paths)
    for path, around in found.items():
        alone, facts = store.images.evidence("first", path), store.images.prediction("first", path)
        assert (around.evidence is None) == (alone is None) and facts is not None
        if alone is not None and around.evidence is not None:
            assert np.array_equal(alone.scores, around.evidence.scores)
            assert alone.statistics == around.evidence.statistics and alone.sums == around.evidence.sums
        assert dict(around.kind_numbers) == dict(facts.kind_numbers or {})
        assert around.head[facts.given_label] == pytest.approx(facts.head_given_probability)


def test_similar_pictures_come_in_their_order_with_what_stands_about_them(store: Store, paths: list[str]) -> None:
    rows = store.candidates.page("first", everything=True).set_index("path")
    some = 0
    for path, around in store.showing.surroundings("first", paths).items():
        alone = store.images.neighbours("first", path)
        assert [near.path for near in around.near] == alone["path"].tolist()
        for near in around.near:
            some += 1
            row = rows.loc[near.path]
            assert (near.given_label, near.content_hash) == (row["given_label"], row["content_hash"])
            assert (near.is_suspect, near.decision) == (bool(row["is_suspect"]), row["decision"])
    assert some


def test_what_stands_and_what_was_said_last_are_those_of_the_log(store: Store, paths: list[str]) -> None:
    rows = store.candidates.page("first", everything=True).set_index("path")
    log = store.decisions.page()
    decided = 0
    for path, around in store.showing.surroundings("first", paths).items():
        row = rows.loc[path]
        about = log[(log["content_hash"] == row["content_hash"]) & (log["given_label"] == row["given_label"])]
        assert around.seen == (about["decision_id"].iloc[0] if len(about) else "")
        assert (around.stands.decision if around.stands else "") == row["decision"]
        if around.stands is not None:
            decided += 1
            [standing] = about[about["stands"]].to_dict("records")
            assert around.stands.decision_id == standing["decision_id"]
            assert (around.stands.reviewer, around.stands.decided_at) == (standing["reviewer"], standing["decided_at"])
        assert [word.decision_id for word in around.dispute] == about.loc[about["conflict"], "decision_id"].tolist()
        assert bool(around.dispute) == bool(row["conflict"])
    assert decided > 5


def test_copies_are_told_with_their_labels_where_the_audit_knows_of_some(store: Store, paths: list[str]) -> None:
    rows = store.candidates.page("first", everything=True)
    for path, around in store.showing.surroundings("first", paths).items():
        row = rows[rows["path"] == path].iloc[0]
        if not around.kind_numbers["identical"] and not around.filed:
            continue
        same = rows.loc[rows["content_hash"] == row["content_hash"], "given_label"]
        assert Counter(around.filed) == Counter(same) and around.filed[0] == row["given_label"]


def test_typical_pictures_and_sizes_are_those_of_each_class(store: Store) -> None:
    rows = store.candidates.page("first", everything=True).set_index("path")
    assert store.showing.class_sizes("first") == dict(Counter(rows["given_label"]))
    for most in (2, 6):
        typical = store.showing.exemplars("first", most)
        assert typical
        for label in rows["given_label"].unique():
            alone = store.images.exemplars("first", label)["path"].tolist()
            assert [path for path, _ in typical.get(label, [])] == alone[:most]
    for label in typical:
        assert all(content == rows.loc[path, "content_hash"] for path, content in typical[label])


def test_a_pair_of_classes_is_counted_both_ways(store: Store, paths: list[str]) -> None:
    pairs = store.audits.class_pairs("first")
    counts = {(row["given_label"], row["suggested_label"]): row["suspects"] for row in pairs.to_dict("records")}
    rows = store.candidates.page("first", everything=True).set_index("path")
    for path, around in store.showing.surroundings("first", paths).items():
        pair = (rows.loc[path, "given_label"], rows.loc[path, "suggested_label"])
        assert around.mixed == (counts.get(pair, 0), counts.get(pair[::-1], 0))


def test_a_path_that_the_audit_does_not_list_is_absent(store: Store, tmp_path: Path) -> None:
    assert store.showing.surroundings("first", ["nowhere.jpg"]) == {}
    assert store.showing.surroundings("first", []) == {}


def test_a_rank_that_a_picture_had_a_moment_ago_is_a_hint_and_no_more(store: Store, paths: list[str]) -> None:
    there, moved = paths[:4], paths[5:9]
    ranks = [int(store.candidates.page("first", paths=[path])["rank"][0]) for path in there]
    assert sorted(store.showing.surroundings("first", there + moved, ranks)) == sorted(there + moved)
