"""Suspects ranked anew in the database: what every reader sees then, and the way back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest

from gradattn_core.errors import StoreError
from gradattn_core.estimates import ASSUMPTIONS
from gradattn_core.ranking.noise import class_pairs, shifted
from gradattn_core.store.order import Learning
from gradattn_core.store.schema import RANKED
from gradattn_core.store.store import Store
from tests.helpers.hostile import HOSTILE
from tests.helpers.sample_audit import audit_row, tables

PATHS = [f"{label}/{row:02d}.jpg" for row, label in enumerate(["kite", "albatross"] * 10)]
SUSPECTS = 12
DECIDED = (1, 4)


def sample(folder: Path, audit_id: str = "first", paths: list[str] | None = None) -> Store:
    """Twelve suspects of twenty images, the second and the fifth of them decided."""
    frames = tables(paths or PATHS, suspects=SUSPECTS)
    scores = frames["scores"]
    frames["class_pairs"] = class_pairs(frames["images"]["given_label"], scores, suspects=scores["is_suspect"])
    folder.mkdir(exist_ok=True)
    store = Store(folder)
    store.audits.merge(audit_row(audit_id, images=len(frames["images"]), suspects=SUSPECTS), frames)
    for row in DECIDED:
        store.decisions.append(audit_id, (paths or PATHS)[row], "keep", reviewer="ann")
    return store


def undecided(paths: list[str] = PATHS) -> list[str]:
    return [path for row, path in enumerate(paths[:SUSPECTS]) if row not in DECIDED]


def content(store: Store) -> dict[str, list[Any]]:
    """All rows of all tables in an order of their own, numbers to twelve digits."""
    with duckdb.connect(store.database, read_only=True) as connection:
        found = {}
        for (table,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall():
            rows = connection.execute(f"SELECT * FROM {table}").fetchall()
            found[table] = sorted(
                [str(round(cell, 12) if isinstance(cell, float) else cell) for cell in row] for row in rows
            )
    return found


def test_undecided_suspects_change_places_and_all_others_stay(tmp_path: Path) -> None:
    store = sample(tmp_path)
    moving = undecided()
    store.review.rerank("first", moving, np.linspace(0.1, 0.9, len(moving)), decisions=2, learnt_by="near")
    page = store.candidates.page("first", everything=True)
    expected = moving[::-1]
    for row in DECIDED:
        expected.insert(row, PATHS[row])
    assert list(page["path"]) == expected + PATHS[SUSPECTS:]
    assert list(page["rank"]) == list(range(1, len(PATHS) + 1))
    before = dict(zip(PATHS, np.linspace(1, 0, len(PATHS)), strict=True))
    after = before | dict(zip(moving, np.linspace(0.1, 0.9, len(moving)), strict=True))
    assert list(page["suspicion"]) == pytest.approx([after[path] for path in page["path"]])
    assert store.review.progress("first").reranked == 2


def test_what_is_left_moves_under_every_assumption(tmp_path: Path) -> None:
    store = sample(tmp_path)
    moving = undecided()
    before = pd.DataFrame(tables(PATHS, suspects=SUSPECTS)["scores"]).set_index("path").loc[moving]
    after = np.linspace(0.1, 0.9, len(moving))
    store.review.rerank("first", moving, after, decisions=2, learnt_by="near")
    progress = store.review.progress("first")
    assumed = [shifted(before[name].to_numpy(), before["suspicion"].to_numpy(), after).sum() for name in ASSUMPTIONS]
    assert progress.estimated_left == pytest.approx(after.sum())
    assert (progress.left_low, progress.left_high) == pytest.approx((min(assumed), max(assumed)))
    health = store.audits.class_health("first")
    rest = 1 - before["suspicion"].sum() + np.linspace(1, 0, len(PATHS)).sum() - 1
    assert health["wrong"].sum() == pytest.approx(after.sum() + rest)
    assert (health["low"] < health["high"]).all()
    store.review.reset("first")
    expected = sample(tmp_path / "again")
    pd.testing.assert_frame_equal(store.audits.class_health("first"), expected.audits.class_health("first"))


def test_whatever_is_kept_by_rank_moves_along(tmp_path: Path) -> None:
    store = sample(tmp_path)
    store.review.rerank("first", undecided(), np.linspace(0.1, 0.9, len(undecided())), decisions=2, learnt_by="near")
    with duckdb.connect(store.database, read_only=True) as connection:
        for table in RANKED:
            apart = connection.execute(
                f"SELECT count(*), count(*) FILTER (t.image_rank IS DISTINCT FROM s.rank) "
                f"FROM {table} t LEFT JOIN scores s USING (audit_id, path)"
            ).fetchall()[0]
            assert apart[0] > 0 and apart[1] == 0, table
    pairs = store.audits.class_pairs("first").set_index(["given_label", "suggested_label"])
    page = store.candidates.page("first")
    sums = page.groupby(["given_label", "suggested_label"])["suspicion"].agg(["sum", "mean"])
    pd.testing.assert_frame_equal(
        pairs[["expected", "mean_suspicion"]].sort_index(),
        sums.set_axis(["expected", "mean_suspicion"], axis=1).sort_index(),
    )


def test_what_is_learnt_from_is_the_audits_own_order_whatever_was_made_of_it(tmp_path: Path) -> None:
    store = sample(tmp_path)
    suspects, alike = store.review.suspects("first", 0.5)
    assert list(suspects["path"]) == PATHS[:SUSPECTS]
    assert list(suspects["decision"]) == ["keep" if row in DECIDED else "" for row in range(SUSPECTS)]
    numbers = suspects.loc[2, ["neighbours", "margin", "map_margin", "blue_log_odds", "overlap"]]
    assert list(numbers) == [2.0, -3.0, -2.5, -6.0, 0.75]
    # Neighbours are the images that follow, of similarity 7/8, 6/8 … 2/8.
    assert alike[alike["path"] == PATHS[0]]["neighbour_path"].tolist() == sorted(PATHS[1:5])
    store.review.rerank("first", undecided(), np.linspace(0.1, 0.9, len(undecided())), decisions=2, learnt_by="near")
    again, alike_again = store.review.suspects("first", 0.5)
    pd.testing.assert_frame_equal(again, suspects)
    pd.testing.assert_frame_equal(alike_again, alike)


def test_twice_is_as_good_as_once_and_the_last_word_counts(tmp_path: Path) -> None:
    store = sample(tmp_path / "once")
    twice = sample(tmp_path / "twice")
    wanted = np.random.default_rng(3).random(len(undecided()))
    store.review.rerank("first", undecided(), wanted, decisions=2, learnt_by="near")
    twice.review.rerank(
        "first", undecided()[::-1], np.linspace(0.9, 0.1, len(undecided())), decisions=7, learnt_by="near"
    )
    for _ in range(2):
        twice.review.rerank("first", undecided(), wanted, decisions=2, learnt_by="near")
    once, again = content(store), content(twice)
    del once["decisions"], again["decisions"]
    assert once == again


def test_the_audits_own_order_comes_back_with_later_decisions_kept(tmp_path: Path) -> None:
    store = sample(tmp_path)
    before = content(store)
    assert store.review.reset("first") is False
    store.review.rerank("first", undecided(), np.linspace(0.1, 0.9, len(undecided())), decisions=2, learnt_by="near")
    assert content(store) != before
    assert store.review.reset("first") is True
    assert content(store) == before
    store.review.rerank("first", undecided(), np.linspace(0.1, 0.9, len(undecided())), decisions=2, learnt_by="near")
    store.decisions.append("first", PATHS[0], "remove", reviewer="bob")
    assert store.candidates.page("first", decided="remove")["rank"].tolist() == [12]
    store.review.reset("first")
    assert store.candidates.page("first", decided="remove")["rank"].tolist() == [1]
    assert store.candidates.page("first")["path"].tolist() == PATHS[:SUSPECTS]


def test_equal_suspicions_keep_the_audits_order(tmp_path: Path) -> None:
    store = sample(tmp_path)
    store.review.rerank("first", undecided()[::-1], np.full(len(undecided()), 0.5), decisions=2, learnt_by="near")
    assert store.candidates.page("first")["path"].tolist() == PATHS[:SUSPECTS]


def test_a_second_audit_of_the_same_images_is_left_alone(tmp_path: Path) -> None:
    store = sample(tmp_path)
    store.audits.merge(audit_row("second"), tables(PATHS, suspects=SUSPECTS))
    before = store.candidates.page("second", everything=True), store.images.neighbours("second", PATHS[0])
    store.review.rerank("first", undecided(), np.linspace(0.1, 0.9, len(undecided())), decisions=2, learnt_by="near")
    pd.testing.assert_frame_equal(store.candidates.page("second", everything=True), before[0])
    pd.testing.assert_frame_equal(store.images.neighbours("second", PATHS[0]), before[1])
    assert store.review.progress("second").reranked == 0


def test_an_audit_that_is_merged_again_has_its_own_order(tmp_path: Path) -> None:
    store = sample(tmp_path)
    store.review.rerank("first", undecided(), np.linspace(0.1, 0.9, len(undecided())), decisions=2, learnt_by="near")
    sample(tmp_path)
    assert store.candidates.page("first")["path"].tolist() == PATHS[:SUSPECTS]
    assert store.review.progress("first").reranked == 0


def test_what_was_learnt_makes_suspects_and_the_way_back_takes_them_away(tmp_path: Path) -> None:
    store = sample(tmp_path)
    before = content(store)
    rising = PATHS[SUSPECTS + 2 : SUSPECTS + 4]
    moving = [*undecided(), *rising]
    wanted = np.append(np.linspace(0.9, 0.3, len(undecided())), [0.95, 0.5])
    store.review.rerank("first", moving, wanted, decisions=2, learnt_by="refit")
    page = store.candidates.page("first")
    assert len(page) == SUSPECTS + 2 and page["path"].iloc[0] == rising[0]
    left = page[page["decision"] == ""]
    assert list(left["suspicion"]) == sorted(wanted, reverse=True)
    everything = store.candidates.page("first", everything=True)
    assert sorted(everything["path"]) == sorted(PATHS)
    assert list(everything["rank"]) == list(range(1, len(PATHS) + 1))
    pairs = class_pairs(everything["given_label"], everything, suspects=everything["is_suspect"])
    stored = store.audits.class_pairs("first")
    key = ["given_label", "suggested_label"]
    pd.testing.assert_frame_equal(
        stored[list(pairs)].sort_values(key, ignore_index=True),
        pairs.sort_values(key, ignore_index=True),
        check_dtype=False,
    )
    assert store.audits.one("first").suspects == store.review.progress("first").suspects == SUSPECTS + 2
    assert store.review.learning("first") == Learning(True, 2, "refit", 2, 2)
    suspects, _ = store.review.suspects("first", 0.5)
    assert list(suspects["path"]) == PATHS[:SUSPECTS]
    images = store.review.images("first")
    assert list(images["path"]) == PATHS and images["is_suspect"].sum() == SUSPECTS
    store.review.rerank("first", undecided(), wanted[: len(undecided())], decisions=2, learnt_by="refit")
    assert len(store.candidates.page("first")) == SUSPECTS
    assert store.review.reset("first") is True
    assert content(store) == before


def test_learning_is_on_until_it_is_switched_off(tmp_path: Path) -> None:
    store = sample(tmp_path)
    assert store.review.learning("first") == Learning(True, 0, "", 2, 0)
    store.review.switch_learning("first", False)
    store.decisions.append("first", PATHS[0], "unsure", reviewer="ann")
    assert Store(tmp_path).review.learning("first") == Learning(False, 0, "", 2, 0)
    store.review.switch_learning("first", True)
    assert store.review.learning("first").on


def test_paths_that_the_audit_lacks_change_nothing(tmp_path: Path) -> None:
    store = sample(tmp_path)
    before = content(store)
    with pytest.raises(StoreError, match="rerank it again"):
        store.review.rerank("first", [PATHS[0], "elsewhere.jpg"], [0.5, 0.4], decisions=2, learnt_by="near")
    with pytest.raises(StoreError, match="no audit 'other'"):
        store.review.rerank("other", [PATHS[0]], [0.5], decisions=2, learnt_by="near")
    with pytest.raises(StoreError, match="read-only"):
        Store(tmp_path, read_only=True).review.rerank("first", [PATHS[0]], [0.5], decisions=2, learnt_by="near")
    assert content(store) == before


def test_paths_are_text_whatever_is_in_them(tmp_path: Path) -> None:
    paths = [*HOSTILE[:20], *(path for path in HOSTILE[20:] if "\0" not in path)]
    store = sample(tmp_path, paths=paths)
    store.review.rerank("first", undecided(paths), np.linspace(0.1, 0.9, SUSPECTS - 2), decisions=2, learnt_by="near")
    assert store.candidates.page("first")["path"].tolist()[0] == paths[SUSPECTS - 1]


def test_of_the_first_images_come_the_suspects_and_what_is_decided_too(tmp_path: Path) -> None:
    store = sample(tmp_path)
    store.decisions.append("first", PATHS[-1], "keep", reviewer="ann")
    whole = store.review.images("first")
    some = store.review.images("first", first=1)
    wanted = whole[(whole.index < 1) | whole["is_suspect"] | (whole["decision"] != "")]
    assert SUSPECTS < len(some) < len(whole) and PATHS[-1] in set(some["path"])
    pd.testing.assert_frame_equal(some, wanted.reset_index(drop=True))
    pd.testing.assert_frame_equal(store.review.images("first", first=len(PATHS)), whole)
