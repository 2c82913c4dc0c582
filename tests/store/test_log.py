"""The log of decisions: many at once, who differs with whom, and its pages, against a naive reading of the log."""

from __future__ import annotations

import multiprocessing
import random
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score

from gradattn_core.errors import StoreError
from gradattn_core.store.connection import transaction
from gradattn_core.store.store import Store
from tests.helpers.hostile import HOSTILE
from tests.helpers.sample_audit import PATHS, audit_row, sample_store, tables

SPAWN = multiprocessing.get_context("spawn")
Key = tuple[str, str]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return sample_store(tmp_path)


def naive_stacks(log: pd.DataFrame) -> dict[Key, list[dict[str, Any]]]:
    """The decisions that no undo has taken back, oldest first, read row by row."""
    stacks: dict[Key, list[dict[str, Any]]] = {}
    rows: Any = log.iloc[::-1].to_dict("records")
    for row in rows:
        stack = stacks.setdefault((row["content_hash"], row["given_label"]), [])
        stack.pop() if row["decision"] == "undo" else stack.append(row)
    return stacks


def naive_disputes(stack: list[dict[str, Any]]) -> set[str]:
    """Ids of the reviewers' last words, where any two differ."""
    last = {row["reviewer"]: row for row in stack}
    words = {(row["decision"], row["new_label"]) for row in last.values()}
    return {row["decision_id"] for row in last.values()} if len(words) > 1 else set()


@pytest.fixture(scope="module")
def quarrel(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Three reviewers over six images, two of them copies, at random."""
    store = Store(tmp_path_factory.mktemp("quarrel"))
    frames = tables(PATHS, suspects=8)
    frames["images"].loc[2, "content_hash"] = frames["images"]["content_hash"][0]
    store.audits.merge(audit_row(), frames)
    store.audits.merge(audit_row("second"), frames)
    chooser = random.Random(8)
    for _ in range(60):
        reviewer, paths = chooser.choice(["ann", "bob", HOSTILE[14]]), chooser.sample(PATHS[:6], 2)
        audit = chooser.choice(["first", "second"])
        if chooser.random() < 0.3:
            store.decisions.undo_many(audit, paths, reviewer=reviewer)
        else:
            decision = chooser.choice(["keep", "remove", "relabel"])
            label = chooser.choice(["heron", "osprey"]) if decision == "relabel" else None
            store.decisions.append_many(
                audit, paths, decision, new_label=label, reviewer=reviewer, note=chooser.choice("xy")
            )
    return store


def test_each_row_of_the_log_says_whether_it_stands_and_whether_it_is_disputed(quarrel: Store) -> None:
    log = quarrel.decisions.page()
    stacks = naive_stacks(log)
    standing = {stack[-1]["decision_id"] for stack in stacks.values() if stack}
    disputed = set().union(*(naive_disputes(stack) for stack in stacks.values()))
    assert set(log[log["stands"]]["decision_id"]) == standing
    assert set(log[log["conflict"]]["decision_id"]) == disputed
    assert 0 < len(disputed) < len(log) and len(standing) > 2


def test_the_view_of_what_stands_is_a_naive_reading_of_the_log(quarrel: Store) -> None:
    stacks = naive_stacks(quarrel.decisions.page())
    with transaction(quarrel.database, write=False, patience=5) as connection:
        found = connection.execute(
            "SELECT content_hash, given_label, decision_id, decision, coalesce(new_label, ''), reviewer, note "
            "FROM current_decisions"
        ).fetchall()
    columns = ("decision_id", "decision", "new_label", "reviewer", "note")
    assert {(content, label): tuple(said) for content, label, *said in found} == {
        key: tuple(stack[-1][column] for column in columns) for key, stack in stacks.items() if stack
    }


def test_candidates_show_the_standing_word_and_the_dispute(quarrel: Store) -> None:
    stacks = naive_stacks(quarrel.decisions.page())
    for row in quarrel.candidates.page("first", everything=True).to_dict("records"):
        stack = stacks.get((row["content_hash"], row["given_label"]), [])
        wanted = ["decision", "reviewer", "note", "new_label"]
        assert [row[name] for name in wanted] == ([stack[-1][name] for name in wanted] if stack else [""] * 4)
        assert row["conflict"] == bool(naive_disputes(stack))


def test_every_combination_of_log_filters_selects_what_a_naive_selection_does(quarrel: Store) -> None:
    log = quarrel.decisions.page()
    choices: list[list[Any]] = [
        [None, "second"], [None, HOSTILE[14]], [None, "undo", "relabel"], [None, "te/0"],
        [None, log["content_hash"][0]], [False, True], [False, True],
    ]  # fmt: skip
    for audit, reviewer, decision, part, content, standing, conflicts in list(product(*choices))[::5]:
        wanted = log[
            (log["audit_id"].eq(audit) if audit else True)
            & (log["reviewer"].eq(reviewer) if reviewer else True)
            & (log["decision"].eq(decision) if decision else True)
            & log["path"].map(lambda path, part=part: part is None or part in path)
            & (log["content_hash"].eq(content) if content else True)
            & (log["stands"] | (not standing))
            & (log["conflict"] | (not conflicts))
        ].reset_index(drop=True)
        filters: dict[str, Any] = {
            "audit_id": audit, "reviewer": reviewer, "decision": decision, "path_contains": part,
            "content_hash": content, "standing": standing, "conflicts": conflicts,
        }  # fmt: skip
        pd.testing.assert_frame_equal(quarrel.decisions.page(**filters), wanted, check_dtype=not wanted.empty)
        assert quarrel.decisions.count(**filters) == len(wanted)
        pages = [quarrel.decisions.page(**filters, top=7, offset=offset) for offset in range(0, len(wanted), 7)]
        assert not pages or pd.concat(pages, ignore_index=True).equals(wanted)


def test_agreement_compares_the_last_words_of_each_two_reviewers(quarrel: Store) -> None:
    stacks = naive_stacks(quarrel.decisions.page()).values()
    names = ["ann", "bob", HOSTILE[14]]
    assert quarrel.decisions.reviewers() == sorted(names)
    agreement = quarrel.decisions.agreement()
    for row in agreement.to_dict("records"):
        assert row["reviewer_a"] < row["reviewer_b"]
        said: dict[str, list[str]] = {"reviewer_a": [], "reviewer_b": []}
        for stack in stacks:
            last = {word["reviewer"]: f"{word['decision']} {word['new_label']}" for word in stack}
            if row["reviewer_a"] in last and row["reviewer_b"] in last:
                for who, words in said.items():
                    words.append(last[row[who]])
        both = len(said["reviewer_a"])
        agree = sum(a == b for a, b in zip(*said.values(), strict=True))
        assert (row["both"], row["agree"], row["share"]) == (both, agree, agree / both)
        assert row["kappa"] == pytest.approx(cohen_kappa_score(*said.values()), abs=1e-12)
    assert len(agreement) > 1 and agreement["both"].is_monotonic_decreasing


def test_kappa_tells_agreement_from_chance_and_is_not_defined_where_nothing_tells_them_apart(store: Store) -> None:
    def kappa(*said: tuple[str, str]) -> float:
        for path, pair in zip(PATHS, said, strict=False):
            for reviewer, decision in zip(("ann", "bob"), pair, strict=True):
                label = "bald eagle" if decision == "relabel" else None
                store.decisions.append("first", path, decision, new_label=label, reviewer=reviewer)
        [row] = store.decisions.agreement().to_dict("records")
        return float(row["kappa"])

    assert np.isnan(kappa(("keep", "keep"), ("keep", "keep")))
    assert kappa(("keep", "remove"), ("keep", "remove")) == 0
    assert kappa(("keep", "keep"), ("remove", "remove")) == 1
    assert kappa(("keep", "remove"), ("remove", "keep")) == -1
    # 3 of 4 the same; by chance (2 * 1 + 2 * 3) of 16.
    assert kappa(("keep", "keep"), ("keep", "relabel"), ("relabel",) * 2, ("relabel",) * 2) == pytest.approx(0.5)


def test_the_columns_of_log_and_agreement_are_plain_with_and_without_rows(store: Store) -> None:
    for _ in range(2):
        log, agreement = store.decisions.page(), store.decisions.agreement()
        assert list(log.columns) == [
            "decision_id", "path", "given_label", "decision", "new_label", "reviewer", "note", "decided_at",
            "audit_id", "content_hash", "drawn", "stands", "conflict",
        ]  # fmt: skip
        assert (log.dtypes[["drawn", "stands", "conflict"]] == "bool").all()
        assert list(agreement.columns) == ["reviewer_a", "reviewer_b", "both", "agree", "share", "kappa"]
        assert list(agreement.dtypes[-4:]) == ["int64", "int64", "float64", "float64"]
        for reviewer in ("ann", "bob"):
            store.decisions.append("first", PATHS[0], "keep", reviewer=reviewer)


def test_a_dispute_ends_when_one_gives_in_or_takes_it_back(store: Store) -> None:
    def disputed() -> list[bool]:
        return [bool(value) for value in store.candidates.page("first", top=1)["conflict"]]

    store.decisions.append("first", PATHS[0], "relabel", new_label="heron", reviewer="ann")
    store.decisions.append("first", PATHS[0], "relabel", new_label="osprey", reviewer="bob")
    assert disputed() == [True] and store.decisions.count(conflicts=True) == 2
    store.decisions.append("first", PATHS[0], "relabel", new_label="osprey", reviewer="ann")
    assert disputed() == [False] and store.decisions.count(conflicts=True) == 0
    store.decisions.undo("first", PATHS[0], reviewer="ann")
    assert disputed() == [True]
    store.decisions.undo("first", PATHS[0], reviewer="ann")
    assert disputed() == [False]
    assert store.candidates.page("first", top=1)["reviewer"][0] == "ann"


def test_many_decisions_are_rows_of_one_moment_in_the_order_of_the_paths(store: Store) -> None:
    paths = [PATHS[4], PATHS[0], PATHS[9], PATHS[0]]
    assert store.decisions.append_many("first", paths, "relabel", new_label="heron", reviewer="ann", note="all") == 3
    log = store.decisions.page()
    assert list(log["path"]) == [PATHS[9], PATHS[0], PATHS[4]]
    assert log["decided_at"].nunique() == 1 and log["decision_id"].is_unique
    assert (log[["new_label", "reviewer", "note"]] == ["heron", "ann", "all"]).all(axis=None)
    assert store.decisions.append_many("first", [], "keep", reviewer="ann") == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"paths": [*PATHS[:3], "kite/unknown.jpg"]}, "no image 'kite/unknown.jpg'"),
        ({"decision": "maybe"}, "'maybe' is no decision"),
        ({"reviewer": " "}, "reviewer's name"),
        ({"new_label": "heron"}, "belongs to a relabel"),
        ({"note": "half a \udcff character"}, "surrogate"),
    ],
)
def test_of_many_decisions_all_are_written_or_none(store: Store, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(StoreError, match=message):
        store.decisions.append_many(
            **({"audit_id": "first", "paths": PATHS, "decision": "keep", "reviewer": "ann"} | arguments)
        )
    assert store.decisions.page().empty
    with pytest.raises(StoreError, match="has no image"):
        store.decisions.undo_many("first", [PATHS[0], "kite/unknown.jpg"], reviewer="ann")


def test_undoing_many_takes_back_one_decision_of_each_image_that_has_any(store: Store) -> None:
    store.decisions.append_many("first", PATHS[:4], "keep", reviewer="ann")
    store.decisions.append_many("first", PATHS[2:4], "remove", reviewer="bob")
    assert store.decisions.undo_many("first", PATHS[1:6], reviewer="cy") == 3
    assert list(store.candidates.page("first")["decision"]) == ["keep", "", "keep", "keep", "", ""]
    assert list(store.decisions.page(decision="undo")["path"]) == [PATHS[3], PATHS[2], PATHS[1]]


def test_undoing_many_reverses_deciding_many_for_copies_of_one_picture_too(tmp_path: Path) -> None:
    store = Store(tmp_path)
    frames = tables(["kite/a.jpg", "kite/b.jpg", "kite/c.jpg"], suspects=3, given=["kite"] * 3)
    frames["images"]["content_hash"] = ["same", "same", "other"]
    store.audits.merge(audit_row(), frames)
    paths = list(frames["images"]["path"])
    store.decisions.append("first", "kite/a.jpg", "unsure", reviewer="ann")
    assert store.decisions.append_many("first", paths, "keep", reviewer="ann") == 3
    assert store.decisions.undo_many("first", paths, reviewer="ann") == 3
    assert list(store.candidates.page("first")["decision"]) == ["unsure", "unsure", ""]
    assert store.decisions.undo_many("first", paths, reviewer="ann") == 1
    assert store.decisions.undo_many("first", paths, reviewer="ann") == 0


def test_hostile_text_survives_in_bulk(tmp_path: Path) -> None:
    paths = [f"{text}/{row}" for row, text in enumerate(HOSTILE)]
    store = Store(tmp_path)
    store.audits.merge(audit_row(), tables(paths, suspects=len(paths), given=HOSTILE))
    text = HOSTILE[16]
    assert store.decisions.append_many("first", paths, "relabel", new_label=text, reviewer=text, note=text) == len(
        paths
    )
    page = store.candidates.page("first", reviewer=text)
    assert list(page["path"]) == paths and set(page["note"]) == set(page["new_label"]) == {text}
    log = store.decisions.page(reviewer=text, path_contains=HOSTILE[11])
    assert list(log["given_label"]) == [HOSTILE[11]]
    assert store.review.removals("first").empty and list(store.review.corrected("first")["label"]) == [text] * len(
        paths
    )


def decide_in_bulk(folder: Path, reviewer: str) -> None:
    store = Store(folder, patience=120)
    for number in range(15):
        store.decisions.append_many(
            "first", PATHS[:8], "keep" if number % 2 else "remove", reviewer=reviewer, note=str(number)
        )


def test_two_processes_that_decide_in_bulk_lose_nothing_and_never_mix(store: Store) -> None:
    processes = [SPAWN.Process(target=decide_in_bulk, args=(store.directory, name)) for name in ("ann", "bob")]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    log = store.decisions.page().iloc[::-1]
    assert len(log) == 2 * 15 * 8
    batches = [log.iloc[start : start + 8] for start in range(0, len(log), 8)]
    assert all(batch["note"].nunique() == batch["reviewer"].nunique() == 1 for batch in batches)
    for reviewer in ("ann", "bob"):
        assert list(log[log["reviewer"] == reviewer]["note"])[::8] == [str(number) for number in range(15)]
    assert not store.candidates.page("first")["conflict"].any()


@pytest.mark.parametrize("arguments", [{"decision": "maybe"}, {"top": -1}, {"offset": -1}])
def test_an_unusable_log_filter_is_refused_with_what_would_work(store: Store, arguments: dict[str, Any]) -> None:
    with pytest.raises(StoreError, match=str(next(iter(arguments.values())))):
        store.decisions.page(**arguments)
