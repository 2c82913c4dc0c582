"""What is found and believed left, against plain loops over the tables, and the pace of reviewers."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import duckdb
import pytest

from gradattn_core.store.store import Store
from gradattn_core.store.tally import BREAK, PairTally
from tests.helpers.pictured_audit import AUDIT_ID, copied_store, path_of


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return copied_store(tmp_path)


def decide(store: Store) -> None:
    store.decisions.append(AUDIT_ID, path_of(0), "relabel", new_label="owl", reviewer="Ada")
    store.decisions.append(AUDIT_ID, path_of(1), "remove", reviewer="Ada")
    store.decisions.append(AUDIT_ID, path_of(2), "keep", reviewer="Ada")
    store.decisions.append(AUDIT_ID, path_of(3), "keep", reviewer="Ada")
    store.decisions.undo(AUDIT_ID, path_of(3), reviewer="Ada")
    store.decisions.append(AUDIT_ID, path_of(5), "unsure", reviewer="Bob")
    store.decisions.append(AUDIT_ID, path_of(20), "relabel", new_label="kite", reviewer="Bob")


def test_counts_are_those_of_a_loop_over_all_images(store: Store) -> None:
    decide(store)
    tally = store.tally.of(AUDIT_ID)
    every = store.candidates.page(AUDIT_ID, everything=True, decided="any").to_dict("records")
    found: Counter[tuple[str, str]] = Counter()
    undecided: Counter[tuple[str, str]] = Counter()
    expected: Counter[str] = Counter()
    elsewhere: Counter[str] = Counter()
    for row in every:
        label = row["given_label"]
        if row["decision"] in ("relabel", "remove"):
            found[label, row["new_label"] if row["decision"] == "relabel" else ""] += 1
        elif not row["decision"] and row["rank"] <= 12:
            undecided[label, row["suggested_label"]] += 1
            expected[label] += row["suspicion"]
        elif not row["decision"]:
            elsewhere[label] += row["suspicion"]
    assert {(pair.given, pair.other): pair.found for pair in tally.pairs if pair.found} == found
    assert {(pair.given, pair.other): pair.undecided for pair in tally.pairs if pair.undecided} == undecided
    sizes = Counter(row["given_label"] for row in every)
    for each in tally.classes:
        assert each.images == sizes[each.label]
        assert each.expected == pytest.approx(expected[each.label])
        assert each.elsewhere == pytest.approx(elsewhere[each.label])
        assert each.undecided == sum(count for (label, _), count in undecided.items() if label == each.label)
    assert (tally.images, tally.decided, tally.found, tally.unsure, tally.undecided) == (40, 5, 3, 1, 8)
    assert tally.believed == pytest.approx(3 + sum(expected.values()) + sum(elsewhere.values()))
    assert tally.low < tally.believed < tally.high


def test_counts_agree_with_how_far_the_review_is(store: Store) -> None:
    decide(store)
    tally, review = store.tally.of(AUDIT_ID), store.review.progress(AUDIT_ID)
    assert (tally.decided, tally.found, tally.unsure) == (review.reviewed, review.wrong, review.unsure)
    assert tally.undecided == review.suspects - review.suspects_decided
    assert tally.expected == pytest.approx(review.estimated_left)
    assert sum(tally.kinds.values()) <= tally.undecided < sum(store.audits.kinds(AUDIT_ID).values())


def test_suspects_that_are_all_right_leave_nothing_to_expect_among_them(store: Store) -> None:
    store.decisions.append_many(AUDIT_ID, [path_of(index) for index in range(12)], "keep", reviewer="Ada")
    tally = store.tally.of(AUDIT_ID)
    assert (tally.found, tally.undecided, tally.expected, tally.pairs, tally.kinds) == (0, 0, 0.0, (), {})
    assert tally.believed == pytest.approx(tally.elsewhere)


def test_what_is_removed_is_found_as_none_of_the_classes(store: Store) -> None:
    store.decisions.append(AUDIT_ID, path_of(1), "remove", reviewer="Ada")
    [pair] = [pair for pair in store.tally.of(AUDIT_ID).pairs if pair.found]
    assert pair == PairTally("owl", "", 1, pair.undecided, pair.expected)


def test_a_rule_runs_once_pictures_were_drawn_for_it(store: Store) -> None:
    store.draws.spot_check(AUDIT_ID, 5, seed=1)
    assert not store.tally.rule_runs(AUDIT_ID)
    store.decisions.append_many(AUDIT_ID, store.draws.waiting(AUDIT_ID), "keep", reviewer="Ada")
    kind, page = store.draws.next_page(AUDIT_ID, 0.01)
    assert kind == "suspects" and not store.tally.rule_runs(AUDIT_ID)
    store.decisions.append_many(AUDIT_ID, page, "keep", reviewer="Ada")
    assert store.draws.next_page(AUDIT_ID, 0.01)[0] == "random"
    assert store.tally.rule_runs(AUDIT_ID)


def test_the_pace_counts_looks_and_leaves_breaks_out(store: Store) -> None:
    for index in range(30):
        store.decisions.append(AUDIT_ID, path_of(index), "keep", reviewer="Ada")
    store.decisions.append(AUDIT_ID, path_of(30), "keep", reviewer="Bob")
    assert all(each.a_minute is None for each in store.tally.pace())  # nobody works so fast: a script
    start = datetime(2026, 11, 25, 23, 50, tzinfo=UTC)
    # Fifteen decisions ten seconds apart, a break of a day, fifteen twenty seconds apart.
    moments = [start + timedelta(seconds=10 * index) for index in range(15)]
    moments += [start + timedelta(days=1, seconds=20 * index) for index in range(15)]
    with duckdb.connect(str(store.database)) as connection:
        log = "SELECT decision_id FROM decisions WHERE reviewer = 'Ada' ORDER BY sequence"
        for (decision,), moment in zip(connection.execute(log).fetchall(), moments, strict=True):
            connection.execute("UPDATE decisions SET decided_at = ? WHERE decision_id = ?", [moment, decision])
    ada, bob = store.tally.pace(zone=timezone(timedelta(hours=1)))
    assert (ada.reviewer, ada.decisions, bob.reviewer, bob.decisions) == ("Ada", 30, "Bob", 1)
    assert ada.a_minute == pytest.approx(60 * 28 / (14 * 10 + 14 * 20))
    assert bob.a_minute is None
    assert BREAK < 24 * 3600


def test_today_begins_at_midnight_where_the_reviewer_is(store: Store) -> None:
    store.decisions.append(AUDIT_ID, path_of(0), "keep", reviewer="Ada")
    store.decisions.append(AUDIT_ID, path_of(1), "keep", reviewer="Ada")
    zone = timezone(timedelta(hours=5))
    midnight = datetime.now(zone).replace(hour=0, minute=0, second=0, microsecond=0)
    with duckdb.connect(str(store.database)) as connection:
        connection.execute(
            "UPDATE decisions SET decided_at = ? WHERE path = ?", [midnight - timedelta(seconds=1), path_of(0)]
        )
    [ada] = store.tally.pace(zone=zone)
    assert (ada.decisions, ada.today) == (2, 1)
