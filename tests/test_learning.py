"""What decisions teach about all images, from features that an audit has kept; and what when they are gone."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gradattn_core import learning
from gradattn_core.cli import main
from gradattn_core.learning import Lesson, learn_from_features, lessons
from gradattn_core.ranking.suspicion import rank_labels
from gradattn_core.rerank import rerank, reset
from gradattn_core.store.order import Learning
from gradattn_core.store.store import Store
from tests.helpers.sample_audit import audit_row, tables

COUNT, ODD, HIDDEN, OTHERS = 240, 48, 24, 20


def planted() -> tuple[np.ndarray, list[str], np.ndarray]:
    """Features, given labels and which are wrong: half of 48 odd kites are labelled albatross, so that most of these
    are not suspected; and twenty others are wrong by chance."""
    rng = np.random.default_rng(2)
    true = np.arange(COUNT) % 2
    features = rng.normal(size=(2, 12))[true] * 0.9 + rng.normal(size=(COUNT, 12))
    odd = np.flatnonzero(true == 0)[:ODD]
    features[odd, :3] += 3
    wrong = np.zeros(COUNT, dtype=bool)
    wrong[odd[:HIDDEN]] = True
    wrong[rng.choice(np.arange(2 * ODD, COUNT), OTHERS, replace=False)] = True
    given = np.where(true ^ wrong, "albatross", "kite")
    return features.astype(np.float32), given.tolist(), wrong


def store_of(folder: Path) -> tuple[Store, pd.Series]:
    """The audit of :func:`planted` with its features, in the order of its own ranking; and what is wrong, by path."""
    features, given, wrong = planted()
    ranked = rank_labels(given, features)
    order = np.argsort(ranked["rank"].to_numpy())
    paths = [f"{row:03d}.jpg" for row in order]
    suspicion = ranked["suspicion"].to_numpy()[order]
    frames = tables(paths, suspects=COUNT, interpreted=4, given=[given[row] for row in order])
    frames["scores"]["suspicion"] = suspicion
    frames["scores"]["is_suspect"] = suspicion >= 0.25
    folder.mkdir(exist_ok=True)
    store = Store(folder)
    store.audits.merge(audit_row(images=COUNT, suspects=int((suspicion >= 0.25).sum())), frames)
    sweeps = folder / "features" / "first"
    sweeps.mkdir(parents=True)
    for shard, rows in enumerate(np.array_split(np.random.default_rng(0).permutation(COUNT), 3)):
        values = pa.array(list(features[rows].astype(np.float16)))
        table = pa.table({"path": [f"{row:03d}.jpg" for row in rows], "features": values})
        pq.write_table(table, sweeps / f"sweep-{shard:05d}.parquet")
    return store, pd.Series(wrong, index=[f"{row:03d}.jpg" for row in range(COUNT)])


def decide(store: Store, wrong: pd.Series, paths: list[str]) -> None:
    for path in paths:
        # An even number is a kite.
        decision, label = ("relabel", ("kite", "albatross")[int(path[:3]) % 2]) if wrong[path] else ("keep", None)
        store.decisions.append("first", path, decision, new_label=label, reviewer="ann")


@pytest.fixture
def prepared(tmp_path: Path) -> tuple[Store, pd.Series]:
    return store_of(tmp_path / "out")


def test_what_looks_like_found_errors_comes_up_and_becomes_suspect(prepared: tuple[Store, pd.Series]) -> None:
    store, wrong = prepared
    before = store.candidates.page("first", everything=True)
    hidden = [path for path in before["path"][~before["is_suspect"]] if wrong[path]]
    assert len(hidden) > 5
    decide(store, wrong, before["path"].tolist()[:20] + hidden[:4])
    result = rerank(store, "first")
    assert (result.method, result.used, result.decisions) == ("refit", True, 24)
    page = store.candidates.page("first", decided="no")
    risen = set(page["path"]) & set(hidden)
    assert len(risen) >= 0.7 * (len(hidden) - 4) and result.risen < 1.5 * len(hidden)
    assert list(page["suspicion"]) == sorted(page["suspicion"], reverse=True)
    assert result.undecided == len(page) and result.estimated_left == pytest.approx(page["suspicion"].sum())
    assert store.review.learning("first") == Learning(True, 24, "refit", 24, result.risen)
    reset(store, "first")
    pd.testing.assert_frame_equal(
        store.candidates.page("first", everything=True)[["path", "rank", "suspicion", "is_suspect"]],
        before[["path", "rank", "suspicion", "is_suspect"]],
    )
    assert not store.review.learning("first").on


def test_the_same_decisions_in_another_order_and_after_other_words_give_the_same_ranking(tmp_path: Path) -> None:
    pages = []
    for name in ("one", "two"):
        store, wrong = store_of(tmp_path / name)
        paths = store.candidates.page("first")["path"].tolist()[:14]
        if name == "two":
            store.decisions.append_many("first", paths[:5], "unsure", reviewer="ann")
            store.decisions.append_many("first", paths[2:9], "remove", reviewer="bob")
            rerank(store, "first")
            paths = paths[::-1]
        decide(store, wrong, paths)
        rerank(store, "first")
        pages.append(store.candidates.page("first", everything=True)[["path", "rank", "suspicion", "is_suspect"]])
    pd.testing.assert_frame_equal(pages[0], pages[1])


def test_of_too_many_images_only_what_is_near_moves(
    prepared: tuple[Store, pd.Series], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, wrong = prepared
    paths = store.candidates.page("first")["path"].tolist()
    decide(store, wrong, [*paths[:10], "010.jpg"])
    images = store.review.images("first")
    folder = store.directory / "features" / "first"
    monkeypatch.setattr(learning, "REFITTED", 10)
    near = learn_from_features(images, folder)
    assert near is not None and near.method == "near"
    assert (near.suspicion != images["suspicion"]).sum() > 50
    part = learn_from_features(images, folder, whole=False)
    assert part is not None and part.method == "near"
    monkeypatch.setattr(learning, "NEAR", 40)
    few = learn_from_features(images, folder)
    assert few is not None
    moved = np.flatnonzero(few.suspicion != images["suspicion"])
    beyond = moved[moved >= 40]
    assert len(moved) > 20 and set(images["path"].iloc[beyond]) <= {"010.jpg"}


def test_without_features_the_numbers_of_the_suspects_are_left(prepared: tuple[Store, pd.Series]) -> None:
    store, wrong = prepared
    decide(store, wrong, store.candidates.page("first")["path"].tolist()[:10])
    [file, *_] = sorted((store.directory / "features" / "first").glob("sweep-*"))
    file.write_bytes(b"no parquet")
    assert rerank(store, "first").method == "numbers"
    shutil.rmtree(store.directory / "features")
    result = rerank(store, "first")
    assert (result.method, result.used, result.lessons) == ("numbers", False, ())
    assert "too few to learn from" in result.reason


def test_due_learns_after_so_many_decisions_while_learning_is_on(
    prepared: tuple[Store, pd.Series], capsys: pytest.CaptureFixture[str]
) -> None:
    store, wrong = prepared
    command = ["rerank", str(store.directory), "--due"]
    store.decisions.append_many("first", list(wrong.index[:49]), "keep", reviewer="ann")
    assert main(command) == 0
    assert "fewer than 50 decisions" in capsys.readouterr().out
    store.decisions.append("first", wrong.index[49], "keep", reviewer="ann")
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "Learnt from 50 decisions" in said and "learnt       labelled " in said
    assert store.review.learning("first").learnt_from == 50
    reset(store, "first")
    assert main(command) == 0
    assert "learning is off" in capsys.readouterr().out and not store.review.learning("first").learnt_from
    assert main(command[:2]) == 0
    assert store.review.learning("first").on and store.review.learning("first").learnt_from == 50


def test_nothing_decided_or_only_unsure_leaves_the_audits_order(prepared: tuple[Store, pd.Series]) -> None:
    store, _ = prepared
    before = store.candidates.page("first")["path"].tolist()
    store.decisions.append("first", before[3], "unsure", reviewer="ann")
    assert not rerank(store, "first").used
    assert store.candidates.page("first")["path"].tolist() == before


def test_lessons_are_what_was_found_against_what_was_expected_copies_once() -> None:
    images = pd.DataFrame(
        {
            "given_label": ["a"] * 7 + ["b"] * 6 + ["c"] * 3,
            "content_hash": ["x", "x", *"123456789abcde"],
            "suspicion": [0.2] * 7 + [0.5] * 6 + [0.1] * 3,
            "decision": ["remove"] * 6 + ["keep"] + ["keep", "relabel"] * 3 + ["remove"] * 3,
        }
    )
    [lesson] = lessons(images)
    assert replace(lesson, expected=round(lesson.expected, 9)) == Lesson("a", 6, 5, 1.2)
    assert lesson.words == ("labelled a: more often wrong than believed, 5 of 6 where 1.2 were expected")
