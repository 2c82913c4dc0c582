"""Random draws in the database: who is drawn, what is known when, and several reviewers, audits and processes."""

from __future__ import annotations

import multiprocessing
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import duckdb
import numpy as np
import pytest

from gradattn_core.errors import RankingError, StoreError
from gradattn_core.ranking.certainty import PAGE, Sample, hypergeometric_interval, most_wrong
from gradattn_core.store import draws
from gradattn_core.store.known import Drawn, Known, replay
from gradattn_core.store.proof import spot_check
from gradattn_core.store.store import Store
from tests.helpers.sample_audit import audit_row, tables
from tests.store.test_migration import older_database

SPAWN = multiprocessing.get_context("spawn")
PATHS = [f"{'kite' if row % 2 == 0 else 'albatross'}/{row:03d}.jpg" for row in range(200)]
WRONG = set(PATHS[:12]) | {PATHS[60]}


def merged(store: Store, audit_id: str = "first", paths: list[str] = PATHS, copies: int = 0) -> Store:
    """An audit of these paths, of which the last ``copies`` are copies of the first ones, under the same labels."""
    frames = tables(paths, suspects=40, interpreted=1)
    images = frames["images"]
    images.loc[images.index[len(paths) - copies :], "content_hash"] = images["content_hash"][:copies].tolist()
    images.loc[images.index[len(paths) - copies :], "given_label"] = images["given_label"][:copies].tolist()
    store.audits.merge(audit_row(audit_id, images=len(paths), suspects=40), frames)
    return store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return merged(Store(tmp_path))


def answer(store: Store, paths: tuple[str, ...] | list[str], audit_id: str = "first", reviewer: str = "ann") -> None:
    for decision in ("keep", "remove"):
        said = [path for path in paths if (path in WRONG) == (decision == "remove")]
        store.decisions.append_many(audit_id, said, decision, reviewer=reviewer)


def sampled(store: Store, audit_id: str = "first") -> int:
    """How many draws prove something."""
    with duckdb.connect(store.database, read_only=True) as connection:
        draws = connection.execute(
            "SELECT content_hash, given_label, number, batch, purpose, pool, expected, after FROM draws "
            "WHERE population = (SELECT population FROM audits WHERE audit_id = ?) ORDER BY number",
            [audit_id],
        ).fetchall()
        log = connection.execute(
            "SELECT content_hash, given_label, sequence, decision FROM decisions ORDER BY sequence"
        ).fetchall()
    return len(Known(replay(log), [Drawn((content, label), *facts) for content, label, *facts in draws]).sample)


def test_all_that_nobody_decided_is_drawn_from_and_nothing_twice(store: Store) -> None:
    answer(store, PATHS[:30])
    first, second = store.draws.spot_check("first", 70, seed=1), store.draws.spot_check("first", 100, seed=2)
    assert (first.first, first.pool, second.first, second.pool) == (1, 170, 71, 100)
    assert sorted([*first.paths, *second.paths]) == sorted(PATHS[30:])
    assert store.draws.waiting("first") == store.draws.drawn("first") == [*first.paths, *second.paths]
    assert store.draws.count("first") == len(first.paths) + len(second.paths)
    with pytest.raises(StoreError, match=r"none is left"):
        store.draws.spot_check("first", 1)


def test_a_draw_is_random_but_for_its_seed_and_knows_no_suspicion(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in "abcd"]
    for folder in folders:
        folder.mkdir()
    seeds = (5, 5, 6, None)
    drawn = [
        merged(Store(folder)).draws.spot_check("first", 100, seed=seed).paths
        for folder, seed in zip(folders, seeds, strict=True)
    ]
    assert drawn[0] == drawn[1] and len({*drawn}) == 3
    for paths in drawn[:3]:
        ranks = np.array([PATHS.index(path) for path in paths])
        # The mean of 100 of 0 … 199 without replacement: 99.5, give or take 4.1; and in no order.
        assert abs(ranks.mean() - 99.5) < 4 * 4.1
        assert abs(np.corrcoef(ranks, np.arange(100))[0, 1]) < 0.4


def test_copies_are_one_picture(tmp_path: Path) -> None:
    store = merged(Store(tmp_path), copies=20)
    draw = store.draws.spot_check("first", 180)
    assert draw.pool == 180 and sorted(draw.paths) == sorted(PATHS[:180])
    # A verdict on a copy is one on the picture.
    store.decisions.append("first", PATHS[199], "keep", reviewer="ann")
    assert PATHS[19] not in store.draws.waiting("first")
    until = store.draws.until("first", 0.01)
    assert (until.pictures, until.reviewed, until.unseen, until.drawn) == (180, 1, 179, 180)
    checked = store.draws.checked("first")
    assert checked is not None and (checked.total.pictures, checked.total.checked) == (180, 1)


def test_the_interval_is_the_exact_one_in_total_and_per_class(store: Store) -> None:
    answer(store, PATHS[:6])
    draw = store.draws.spot_check("first", 60, seed=3)
    answer(store, draw.paths[:50])
    store.decisions.append("first", draw.paths[50], "unsure", reviewer="ann")
    checked = store.draws.checked("first")
    assert checked is not None and (checked.drawn, checked.unsure, checked.waiting) == (60, 1, 9)
    wrong = sum(path in WRONG for path in draw.paths[:50])
    low, high = hypergeometric_interval(194, 50, wrong)
    assert (checked.total.checked, checked.total.wrong) == (50, wrong)
    assert (checked.total.low, checked.total.high) == (low + 6, high + 6)
    for each in checked.classes:
        mine = [path for path in draw.paths[:50] if path.startswith(each.label)]
        wrong = sum(path in WRONG for path in mine)
        low, high = hypergeometric_interval(97, len(mine), wrong)
        assert (each.pictures, each.checked, each.wrong) == (100, len(mine), wrong)
        assert (each.low, each.high) == (low + 3, high + 3)
    assert {each.label for each in checked.classes} == {"kite", "albatross"}


def test_batches_are_one_sample_unless_something_was_chosen_between(store: Store) -> None:
    first = store.draws.spot_check("first", 30, seed=1)
    answer(store, first.paths)
    second = store.draws.spot_check("first", 20, seed=2)
    answer(store, second.paths)
    together = store.draws.checked("first")
    wrong = sum(path in WRONG for path in (*first.paths, *second.paths))
    assert together is not None and (together.total.checked, together.total.wrong) == (50, wrong)
    chosen = [path for path in PATHS if path not in store.draws.drawn("first")][:10]
    answer(store, chosen)
    answer(store, store.draws.spot_check("first", 40, seed=3).paths)
    apart = store.draws.checked("first")
    # The larger of the two samples speaks, and what was found since is known.
    assert apart is not None and (apart.total.checked, apart.total.wrong) == (50, wrong)
    assert apart.total.low >= store.draws.until("first", 0.5).wrong


def test_what_was_found_since_takes_the_place_of_a_sample_that_it_refutes() -> None:
    keys = [(f"hash {row}", "kite") for row in range(100)]
    draws = [Drawn(keys[row], row + 1, 1, "spot check", 100 - row, 0.1, 0) for row in range(30)]
    log = [(*keys[row], row + 1, "keep") for row in range(30)]
    high = hypergeometric_interval(100, 30, 0)[1]
    log += [(*keys[row], row + 1, "remove") for row in range(30, 30 + high + 5)]
    told = spot_check(Known(replay(log), draws), {"kite": 100}, 0.95)
    assert (told.total.low, told.total.high) == (high + 5, 70)


def test_an_undone_draw_waits_again_is_never_drawn_again_and_counts_as_what_stands(store: Store) -> None:
    draw = store.draws.spot_check("first", 40, seed=1)
    answer(store, draw.paths)
    before = store.draws.until("first", 0.01)
    assert sampled(store) == 40 and before.waiting == 0
    store.decisions.undo("first", draw.paths[10], reviewer="bob")
    assert store.draws.waiting("first") == [draw.paths[10]] and sampled(store) == 10
    assert store.draws.until("first", 0.01).high > before.high
    kind, page = store.draws.next_page("first", 0.01)
    assert (kind, page) == ("random", (draw.paths[10],))
    rest = store.draws.spot_check("first", 160)
    assert draw.paths[10] not in rest.paths
    store.decisions.append("first", draw.paths[10], "remove", reviewer="bob")
    assert sampled(store) == 40
    after = store.draws.until("first", 0.01)
    assert after.wrong == before.wrong + 1 and after.high > before.high


def test_what_stood_when_something_was_drawn_and_was_taken_back_is_asked_for(store: Store) -> None:
    store.decisions.append("first", PATHS[100], "keep", reviewer="ann")
    draw = store.draws.spot_check("first", 30, seed=1)
    answer(store, draw.paths)
    assert draw.pool == 199 and sampled(store) == 30
    store.decisions.undo("first", PATHS[100], reviewer="ann")
    assert sampled(store) == 0
    assert store.draws.next_page("first", 0.01) == ("random", (PATHS[100],))
    assert store.draws.waiting("first") == []
    store.decisions.append("first", PATHS[100], "remove", reviewer="ann")
    assert sampled(store) == 30


def test_what_was_taken_back_before_is_drawn_like_any_other(store: Store) -> None:
    answer(store, PATHS)
    store.decisions.undo_many("first", PATHS[50:60], reviewer="ann")
    draw = store.draws.spot_check("first", 10)
    assert draw.pool == 10 and sorted(draw.paths) == sorted(PATHS[50:60])


def test_unsure_is_wrong_in_the_bound_and_not_reviewed_in_the_interval(store: Store) -> None:
    draw = store.draws.spot_check("first", 40, seed=1)
    answer(store, draw.paths[:39])
    store.decisions.append("first", draw.paths[39], "unsure", reviewer="ann")
    doubtful, checked = store.draws.until("first", 0.05), store.draws.checked("first")
    assert checked is not None and (checked.total.checked, checked.unsure) == (39, 1)
    assert doubtful.unsure == 1 and "reviewers are unsure of 1 more" in doubtful.sentence
    store.decisions.append("first", draw.paths[39], "remove", reviewer="ann")
    sure = store.draws.until("first", 0.05)
    assert sure.high == doubtful.high and (sure.wrong, sure.unsure) == (doubtful.wrong + 1, 0)


def test_a_review_until_few_are_left_goes_to_its_end_and_is_taken_up_by_anybody(store: Store) -> None:
    reviewers, kinds, share = ("ann", "bob"), [], 0.1
    for turn in range(100):
        # Each turn is another program, and another person.
        mine = Store(store.directory)
        kind, page = mine.draws.next_page("first", share)
        kinds.append(kind)
        if kind == "done":
            break
        assert len(page) == PAGE and mine.draws.next_page("first", share) == (kind, page)
        answer(mine, page, reviewer=reviewers[turn % 2])
    until = store.draws.until("first", share)
    assert kinds[0] == "suspects" and "random" in kinds and kinds[-1] == until.kind == "done"
    assert until.paths == () and until.expected == 0
    left = len(WRONG) - until.wrong
    assert left <= until.high <= until.target == 20
    assert until.reviewed == (len(kinds) - 1) * PAGE and until.drawn == kinds.count("random") * PAGE
    assert until.history_reviewed[-1] == until.reviewed and until.history_found[-1] == until.wrong
    assert until.history_high[-1] == until.high and until.history_high[0] == 200
    assert (np.diff(until.history_reviewed) > 0).all() and (np.diff(until.history_found) >= 0).all()


def test_a_page_half_done_is_given_to_the_end(store: Store) -> None:
    answer(store, [path for path in PATHS if path not in WRONG][:25])
    kind, page = store.draws.next_page("first", 0.02)
    assert kind == "random"
    answer(store, page[20:])
    answer(store, page[:3])
    assert store.draws.next_page("first", 0.02) == ("random", page[3:20])
    assert store.draws.until("first", 0.02).paths == page[3:20]
    assert sampled(store) == 3


def test_an_audit_of_the_same_pictures_inherits_and_one_of_others_begins_anew(store: Store) -> None:
    draw = store.draws.spot_check("first", 40, seed=1)
    answer(store, draw.paths)
    first = store.draws.checked("first")
    same = list(reversed(PATHS))
    frames = tables(same, suspects=40, interpreted=1)
    frames["images"]["given_label"] = ["albatross" if path.startswith("a") else "kite" for path in same]
    store.audits.merge(audit_row("again", images=200), frames)
    assert store.draws.checked("again") == first
    merged(store, "more", [*PATHS, "kite/new.jpg"])
    assert store.draws.checked("more") is None
    more = store.draws.until("more", 0.01)
    assert (more.pictures, more.reviewed, more.drawn, more.high) == (201, 40, 0, 161)
    # What was decided is known there, and is not drawn.
    assert store.draws.spot_check("more", 161).pool == 161
    # The same audit once more, and its draws are still there.
    merged(store, "first")
    assert store.draws.checked("first") == first


def test_decisions_know_whether_their_picture_was_drawn(store: Store) -> None:
    store.decisions.append("first", PATHS[0], "keep", reviewer="ann")
    store.decisions.append("first", PATHS[1], "keep", reviewer="ann")
    store.decisions.undo("first", PATHS[1], reviewer="ann")
    draw = store.draws.spot_check("first", 199)
    store.decisions.append("first", PATHS[1], "remove", reviewer="ann")
    assert PATHS[1] in draw.paths
    log = store.decisions.page().set_index("decision")
    assert list(log["drawn"]) == [True, False, False, False]
    assert list(log.index) == ["remove", "undo", "keep", "keep"]


def test_chosen_decisions_that_stood_before_prove_nothing(store: Store) -> None:
    answer(store, PATHS[40:])
    until = store.draws.until("first", 0.01)
    assert (until.high, until.reviewed, until.drawn) == (40, 160, 0)
    assert "nothing is proved about the 40 unseen labels" in until.sentence
    # Where so many may be left that no draw is needed, it does not say that nothing is proved.
    until = store.draws.until("first", 0.21)
    assert (until.kind, until.high, until.target) == ("done", 40, 42)
    assert until.sentence == "Even if all 40 unseen labels were wrong, no more than 42 would be left"


def test_bad_numbers_are_refused_in_a_sentence(store: Store) -> None:
    for share in (0.0, 1.0, -1.0, float("nan")):
        with pytest.raises(RankingError, match="is not between 0 and 1"):
            store.draws.until("first", share)
    with pytest.raises(RankingError, match="confidence 1"):
        store.draws.next_page("first", 0.01, confidence=1.0)
    with pytest.raises(StoreError, match="there is no audit 'other'"):
        store.draws.until("other", 0.01)
    with pytest.raises(StoreError, match="read-only"):
        Store(store.directory, read_only=True).draws.spot_check("first", 5)


@pytest.mark.parametrize("version", [1, 5])
def test_an_older_database_is_drawn_from(tmp_path: Path, version: int) -> None:
    store = Store(older_database(tmp_path, version))
    before = store.draws.until("first", 0.2)
    assert (before.pictures, before.reviewed, before.drawn) == (10, 3, 0)
    assert not store.decisions.page()["drawn"].any()
    assert store.draws.spot_check("first", 7).pool == 7


def draw_and_answer(folder: Path, reviewer: str) -> None:
    store = Store(folder, patience=120)
    for _ in range(4):
        answer(store, store.draws.spot_check("first", 5).paths, reviewer=reviewer)
        kind, page = store.draws.next_page("first", 0.05)
        if kind != "done":
            answer(store, page[:8], reviewer=reviewer)


def test_two_processes_draw_at_once_and_nothing_is_drawn_twice(store: Store) -> None:
    workers = [SPAWN.Process(target=draw_and_answer, args=(store.directory, name)) for name in ("ann", "bob")]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    drawn = store.draws.drawn("first")
    assert len(set(drawn)) == len(drawn) >= 40
    with duckdb.connect(store.database, read_only=True) as connection:
        rows = connection.execute("SELECT number, pool, batch FROM draws ORDER BY number").fetchall()
    assert [number for number, _, _ in rows] == list(range(1, len(drawn) + 1))
    sizes = Counter(batch for _, _, batch in rows)
    assert set(sizes.values()) <= {5, PAGE}
    while store.draws.waiting("first"):
        answer(store, store.draws.waiting("first"))
    assert sampled(store) == len(drawn)


def test_what_was_known_at_each_draw_is_what_a_reviewer_with_a_list_would_know() -> None:
    """A random life of forty pictures, written down as it happens, against the log and the draws afterwards."""
    random = np.random.default_rng(0)
    for _ in range(60):
        keys = [(f"hash {row}", "kite") for row in range(40)]
        truth = {key: str(random.choice(["keep", "keep", "remove", "unsure"])) for key in keys}
        log: list[tuple[str, str, int, str]] = []
        standing: Counter[tuple[str, str]] = Counter()
        draws: list[Drawn] = []
        outside: list[set[tuple[str, str]]] = []
        for _ in range(80):
            drawn = {draw.key for draw in draws}
            undecided = [key for key in keys if not standing[key]]
            pool = [key for key in undecided if key not in drawn]
            event = random.random()
            if event < 0.5:
                key = keys[int(random.integers(len(keys)))]
                log.append((*key, len(log) + 1, truth[key]))
                standing[key] += 1
            elif event < 0.7 and +standing:
                key = list(+standing)[int(random.integers(len(+standing)))]
                log.append((*key, len(log) + 1, "undo"))
                standing[key] -= 1
            elif len(pool) > 2:
                for step, place in enumerate(random.permutation(len(pool))[:2].tolist()):
                    outside.append((set(keys) - set(pool)) | {draw.key for draw in draws[len(draws) - step :]})
                    batch = len(draws) + 1 - step
                    draws.append(Drawn(pool[place], len(draws) + 1, batch, "until", len(pool) - step, 0.1, len(log)))
        known = Known(replay(log), draws)
        assert known.standing.keys() == (+standing).keys()
        unknown = [
            any(key not in known.standing for key in {*others, draw.key})
            for draw, others in zip(draws, outside, strict=True)
        ]
        end = unknown.index(True) if True in unknown else len(draws)
        sample = known.sample
        assert len(sample) == end
        assert sample.pool.tolist() == [40 - len(others) for others in outside[:end]]
        assert sample.known.tolist() == [sum(truth[key] != "keep" for key in others) for others in outside[:end]]
        assert sample.wrong.tolist() == [truth[draw.key] != "keep" for draw in draws[:end]]
        owed = {draw.key for draw in known.waiting} | set(known.taken_back)
        # Once all that is owed has a verdict, every draw counts.
        log += [(*key, len(log) + 1 + row, truth[key]) for row, key in enumerate(sorted(owed))]
        assert len(Known(replay(log), draws).sample) == len(draws)


def test_the_bound_of_the_store_is_that_of_its_sample(store: Store) -> None:
    answer(store, PATHS[20:40])
    draw = store.draws.spot_check("first", 50, seed=4)
    answer(store, draw.paths)
    until = store.draws.until("first", 0.01, confidence=0.9)
    with duckdb.connect(store.database, read_only=True) as connection:
        facts = np.array(connection.execute("SELECT pool, expected FROM draws ORDER BY number").fetchall())
    pool = facts[:, 0].astype(np.int64)
    wrong = np.array([path in WRONG for path in draw.paths])
    sample = Sample(wrong, pool, np.cumsum(wrong) - wrong, facts[:, 1])
    rest = np.delete(np.linspace(1, 0, 200), range(20, 40))
    assert pool.tolist() == list(range(180, 130, -1)) and facts[:, 1] == pytest.approx(rest.mean())
    right = until.reviewed - until.wrong
    assert until.high == most_wrong(sample, until.wrong, 200 - right, 0.9) - until.wrong
    assert until.believed == pytest.approx(rest.sum() - sum(1 - PATHS.index(path) / 199 for path in draw.paths))


def test_what_is_told_again_is_what_a_fresh_process_tells(tmp_path: Path) -> None:
    """Whatever changes an answer, it is told anew; asked twice, it is the same answer."""
    store = merged(Store(tmp_path))

    def fresh() -> tuple[object, object]:
        draws._checked.clear()
        draws._until.clear()
        return store.draws.checked("first"), store.draws.until("first", 0.2)

    changes: list[Callable[[], object]] = [
        lambda: store.draws.spot_check("first", 3, seed=1),
        lambda: store.decisions.append("first", store.draws.waiting("first")[0], "remove", reviewer="ann"),
        lambda: store.decisions.undo_last("first", "ann", "undo"),
        lambda: store.decisions.append_many("first", store.draws.waiting("first"), "keep", reviewer="ann"),
        lambda: store.review.rerank("first", PATHS[:3], [0.1, 0.2, 0.3], decisions=3, learnt_by="near"),
        lambda: store.review.rerank("first", PATHS[:3], [0.1, 0.2, 0.4], decisions=3, learnt_by="near"),
        lambda: store.draws.next_page("first", 0.2, seed=2),
    ]
    for change in changes:
        change()
        told = [(store.draws.checked("first"), store.draws.until("first", 0.2)) for _ in range(2)]
        assert told[0][0] is told[1][0] and told[0][1] is told[1][1]
        assert repr(told[0]) == repr(fresh())
