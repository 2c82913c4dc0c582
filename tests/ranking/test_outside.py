"""Pictures of none of the dataset's classes: against the slow twin on all logits, and what becomes of a ranking."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from gradattn_core.ranking.outside import KEPT, Outside, is_named, outside_of, outside_suspicion, with_outside
from gradattn_core.ranking.suspicion import rank_labels
from gradattn_core.records import FloatArray
from tests.helpers.explicit_outside import outside_by_hand

OUTPUTS, INSIDE = 30, (4, 7, 21)


def answers(seed: int, *, per_class: int = 25, foreign: int = 6) -> tuple[list[str], FloatArray, np.ndarray]:
    """Given labels, logits of all outputs, and who is foreign: filed under the classes by turns, clearly of output 9.

    Of class ``b`` every other picture is taken for output 12, by habit.
    """
    rng = np.random.default_rng(seed)
    true = np.r_[np.repeat(INSIDE, per_class), np.full(foreign, 9)]
    logits = rng.normal(0, 1, (len(true), OUTPUTS))
    logits[np.arange(len(true)), true] += np.where(true == 9, 10, rng.uniform(4, 9, len(true)))
    habit = np.flatnonzero(true == INSIDE[1])[::2]
    logits[habit, 12] = logits[habit, INSIDE[1]] + rng.normal(1.5, 1, len(habit))
    given = np.r_[np.repeat(["a", "b", "none"], per_class), np.resize(["a", "b", "none"], foreign)]
    return given.tolist(), logits.astype(np.float32), np.arange(len(true)) >= 3 * per_class


@pytest.mark.parametrize(("seed", "foreign"), [(0, 6), (1, 0), (2, 40)])
def test_as_the_slow_twin_on_all_logits(seed: int, foreign: int) -> None:
    given, logits, _ = answers(seed, per_class=12, foreign=foreign)
    found = outside_suspicion(given, outside_of(logits, INSIDE))
    np.testing.assert_allclose(found, outside_by_hand(given, logits.tolist(), INSIDE, KEPT), rtol=2e-4, atol=1e-9)


def test_what_is_kept_of_the_logits() -> None:
    _, logits, _ = answers(3)
    kept = outside_of(logits, INSIDE)
    p = np.exp(logits.astype(float))
    p /= p.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(kept.log_odds, np.log((1 - p[:, INSIDE].sum(1)) / p[:, INSIDE].sum(1)), rtol=1e-4)
    assert not np.isin(kept.outputs, INSIDE).any() and (np.diff(kept.log_p, axis=1) <= 0).all()
    np.testing.assert_allclose(np.exp(kept.log_p), np.take_along_axis(p, kept.outputs, axis=1), rtol=1e-4)
    assert (kept.inside, kept.outside) == (3, OUTPUTS - 3)
    assert kept.leads.tolist() == [best not in INSIDE for best in logits.argmax(axis=1)]


def test_foreign_pictures_come_first_and_a_habit_is_none() -> None:
    given, logits, foreign = answers(4)
    found = outside_suspicion(given, outside_of(logits, INSIDE))
    assert found[foreign].min() > 0.5 > 10 * found[~foreign].max()
    assert 5 < found.sum() < 8


def test_many_pictures_of_one_foreign_class_under_one_label_are_no_habit() -> None:
    given, logits, foreign = answers(5, foreign=15)
    given = [("a" if other else label) for label, other in zip(given, foreign, strict=True)]
    found = outside_suspicion(given, outside_of(logits, INSIDE))
    assert np.median(found[foreign]) > 0.9 and found[~foreign].max() < 0.1


def test_what_stands_out_is_named_however_weak_the_evidence_is() -> None:
    given, logits, foreign = answers(7)
    logits[foreign, 9] -= 5
    outside = outside_of(logits, INSIDE)
    found = outside_suspicion(given, outside)
    named = is_named(outside, found)
    assert found.max() < 0.5 and named[foreign].mean() > 0.5 and named.sum() < len(given) / 5
    assert named.tolist() == [
        lead and o >= sum(found) / len(found) for lead, o in zip(outside.leads, found, strict=True)
    ]


def test_extreme_answers_stay_probabilities() -> None:
    log_odds = np.array([-1e4, 1e4, 0, 200, -200], np.float32)
    outputs, log_p = np.array([[3, 5]] * 5), np.array([[-1e4, -2e4], [-0.1, -3]] + [[-1, -2]] * 3, np.float32)
    found = outside_suspicion(["a", "a", "b", "b", "c"], Outside(log_odds, outputs, log_p, log_odds > 0, 3, 997))
    assert np.isfinite(found).all() and ((found >= 0) & (found <= 1)).all() and found[1] > 0.5 > found[0]


def ranked() -> tuple[pd.DataFrame, pd.DataFrame, Outside, np.ndarray]:
    given, logits, _ = answers(6)
    before = rank_labels(given, logits=logits[:, INSIDE], classes=["a", "b", "none"])
    outside = outside_of(logits, INSIDE)
    o = outside_suspicion(given, outside)
    return before, with_outside(before, outside, o), outside, o


def test_a_label_is_right_only_if_the_picture_is_of_a_class_and_of_this_one() -> None:
    before, after, _, o = ranked()
    for name in ("suspicion", "class_noise_suspicion", "instance_noise_suspicion"):
        np.testing.assert_allclose(after[name], 1 - (1 - before[name]) * (1 - o), rtol=1e-9)
    for name in ("given_probability", "runner_up_probability"):
        assert (after[name] <= before[name] + o).all()
    np.testing.assert_allclose(after["given_probability"], before["given_probability"] * (1 - o))
    assert after["outside_suspicion"].tolist() == o.tolist()
    order = after.sort_values("rank")["suspicion"]
    assert order.is_monotonic_decreasing and sorted(after["rank"]) == list(range(1, len(after) + 1))
    assert list(before.columns) == list(after.columns)[: len(before.columns)]


def test_where_nothing_here_is_likelier_nothing_is_suggested_and_the_best_class_is_the_runner_up() -> None:
    before, after, outside, o = ranked()
    p_other = before["suspicion"] * (before["suggested_probability"] / (1 - before["given_probability"])).clip(upper=1)
    foreign = outside.leads & (o >= (1 - o) * p_other).to_numpy()
    assert foreign[-6:].all() and 6 < foreign.sum() < len(foreign) / 2
    assert set(after["suggested_label"][foreign]) == {""}
    assert after["suggested_probability"][foreign].tolist() == o[foreign].tolist()
    assert after["runner_up_label"][foreign].tolist() == before["suggested_label"][foreign].tolist()
    for name in ("suggested_label", "runner_up_label"):
        assert after[name][~foreign].tolist() == before[name][~foreign].tolist()


def test_without_outside_mass_nothing_changes() -> None:
    before, _, outside, _ = ranked()
    after = with_outside(before, outside, np.full(len(before), 1e-300))
    pd.testing.assert_frame_equal(after.drop(columns="outside_suspicion"), before)
