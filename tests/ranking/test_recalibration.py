"""What verdicts teach about the order of the other suspects, and when they teach nothing."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, logit
from sklearn.metrics import average_precision_score

from gradattn_core.ranking.recalibration import FEWEST_EACH, MOST_NAMES, SHIFT_PENALTY, fit, recalibrate, too_few
from gradattn_core.records import IntArray

Array = NDArray[np.float64]
SUSPECTS, DECIDED = 400, 160
NONE = pd.DataFrame(index=range(SUSPECTS))


def suspects(seed: int, effect: float) -> tuple[Array, pd.DataFrame, Array]:
    """Suspicions in falling order, numbers of which ``tells`` moves the log-odds by ``effect``, and who is wrong."""
    random = np.random.default_rng(seed)
    suspicion = np.linspace(0.9, 0.2, SUSPECTS)
    numbers = pd.DataFrame(random.normal(size=(SUSPECTS, 5)), columns=["tells", "b", "c", "d", "e"])
    wrong = random.random(SUSPECTS) < expit(logit(suspicion) + effect * numbers["tells"].to_numpy())
    return suspicion, numbers, wrong.astype(np.float64)


def first(wrong: Array, decided: int = DECIDED) -> Array:
    return np.where(np.arange(len(wrong)) < decided, wrong, np.nan)


def alone(count: int = SUSPECTS) -> IntArray:
    return np.arange(count, dtype=np.int64)


@pytest.mark.parametrize("penalty", [0.5, 10.0])
def test_the_fit_minimises_the_penalised_loss(penalty: float) -> None:
    random = np.random.default_rng(5)
    x = np.column_stack([np.ones(80), random.normal(size=(80, 6))])
    offset, y = random.normal(size=80) * 2, (random.random(80) < 0.7).astype(np.float64)

    def loss(weights: Array) -> float:
        p = expit(offset + x @ weights)
        likelihood = sum(np.log(p[row] if y[row] else 1 - p[row]) for row in range(80))
        return float(-likelihood + 0.5 * SHIFT_PENALTY * weights[0] ** 2 + 0.5 * penalty * (weights[1:] ** 2).sum())

    slow = minimize(loss, np.zeros(7), method="BFGS", options={"gtol": 1e-7}).x
    np.testing.assert_allclose(fit(x, offset, y, penalty), slow, atol=1e-4)


def test_without_penalty_to_speak_of_the_fit_is_scikit_learns() -> None:
    from sklearn.linear_model import LogisticRegression

    random = np.random.default_rng(6)
    x = np.column_stack([np.ones(200), random.normal(size=(200, 3))])
    y = (random.random(200) < expit(x @ [0.0, 1.0, -0.5, 0.2])).astype(np.float64)
    # Its penalty spares the intercept, ours does not: symmetrised data have none.
    x, y = np.vstack([x, x * [1, -1, -1, -1]]), np.concatenate([y, 1 - y])
    twin = LogisticRegression(C=1 / 3.0, tol=1e-8).fit(x[:, 1:], y)
    np.testing.assert_allclose(fit(x, np.zeros(400), y, 3.0)[1:], twin.coef_[0], atol=1e-4)


@pytest.mark.parametrize("seed", range(4))
def test_a_number_that_tells_who_is_right_is_learnt_and_orders_the_rest_better(seed: int) -> None:
    suspicion, numbers, wrong = suspects(seed, effect=2.0)
    result = recalibrate(suspicion, numbers, NONE, first(wrong), alone())
    assert result.used and "clearly better" in result.reason
    assert result.precision_after > result.precision_before and result.gain > result.gain_error
    assert (result.influences[0].feature, result.influences[0].weight > 0) == ("tells", True)
    rest = slice(DECIDED, None)
    before = average_precision_score(wrong[rest], suspicion[rest])
    assert average_precision_score(wrong[rest], result.suspicion[rest]) > before + 0.05
    assert ((result.suspicion > 0) & (result.suspicion < 1)).all()


def test_a_class_that_is_often_right_is_learnt(seed: int = 1) -> None:
    random = np.random.default_rng(seed)
    suspicion = np.linspace(0.9, 0.2, SUSPECTS)
    label = random.choice(["kite", "owl", "=1+1", "<b>x</b>"], SUSPECTS)
    wrong = (random.random(SUSPECTS) < np.where(label == "kite", 0.1, 0.9)).astype(np.float64)
    names = pd.DataFrame({"given_label": label})
    result = recalibrate(suspicion, NONE, names, first(wrong), alone())
    assert result.used
    strongest = result.influences[0]
    assert (strongest.feature, strongest.name, strongest.weight < 0) == ("given_label", "kite", True)
    kite = label[DECIDED:] == "kite"
    assert result.suspicion[DECIDED:][kite].mean() < result.suspicion[DECIDED:][~kite].mean() - 0.2


def test_noise_teaches_nothing() -> None:
    used = 0
    for seed in range(12):
        suspicion, numbers, wrong = suspects(seed, effect=0.0)
        names = pd.DataFrame({"given_label": np.random.default_rng(seed).choice(list("abcdef"), SUSPECTS)})
        result = recalibrate(suspicion, numbers, names, first(wrong), alone())
        used += result.used
        if not result.used:
            assert result.suspicion is suspicion
            assert result.reason.startswith("The audit's own order stays")
    assert used <= 1


def test_near_duplicates_do_not_vouch_for_one_another() -> None:
    copies = np.repeat(np.arange(SUSPECTS // 4), 4)
    random = np.random.default_rng(2)
    wrong = (random.random(SUSPECTS // 4) < 0.6)[copies].astype(np.float64)
    # The look tells the verdict on a copy, and on nothing else.
    names = pd.DataFrame({"cluster": [f"look {number}" for number in copies]})
    suspicion = np.full(SUSPECTS, 0.6)
    assert recalibrate(suspicion, NONE, names, first(wrong), alone()).used
    assert not recalibrate(suspicion, NONE, names, first(wrong), copies.astype(np.int64)).used


def test_beyond_what_was_decided_a_number_counts_as_the_most_extreme_decided_one() -> None:
    suspicion, numbers, wrong = suspects(0, effect=2.0)
    numbers.iloc[:DECIDED] = numbers.iloc[:DECIDED].clip(-1, 1)
    suspicion[-2:] = 0.2
    numbers.iloc[-2] = numbers.iloc[:DECIDED].max()
    numbers.iloc[-1] = 1e9
    result = recalibrate(suspicion, numbers, NONE, first(wrong), alone())
    assert result.used
    assert result.suspicion[-1] == pytest.approx(result.suspicion[-2])


def test_absent_numbers_and_numbers_that_are_all_the_same_are_no_obstacle() -> None:
    suspicion, numbers, wrong = suspects(3, effect=2.0)
    numbers.loc[::3, "b"] = np.nan
    numbers["c"] = 7.0
    numbers["d"] = np.nan
    result = recalibrate(suspicion, numbers, NONE, first(wrong), alone())
    assert result.used and np.isfinite(result.suspicion).all()
    assert {influence.feature for influence in result.influences} == {"suspicion", "tells", "b", "e"}


@pytest.mark.parametrize(("wrong", "right"), [(0, 0), (200, 0), (0, 200), (FEWEST_EACH - 1, 300), (300, 3)])
def test_too_few_verdicts_of_either_kind_teach_nothing(wrong: int, right: int) -> None:
    count = wrong + right + 50
    verdict = np.concatenate([np.ones(wrong), np.zeros(right), np.full(50, np.nan)])
    suspicion = np.linspace(1, 0, count)
    result = recalibrate(
        suspicion, pd.DataFrame(index=range(count)), pd.DataFrame(index=range(count)), verdict, alone(count)
    )
    assert not result.used and result.suspicion is suspicion and np.isnan(result.precision_after)
    assert result.reason == too_few(wrong, right)
    assert f"{wrong} wrong labels and {right} right ones" in result.reason and str(FEWEST_EACH) in result.reason


def test_the_same_verdicts_teach_the_same() -> None:
    suspicion, numbers, wrong = suspects(7, effect=1.5)
    once, again = (recalibrate(suspicion, numbers, NONE, first(wrong), alone()) for _ in range(2))
    np.testing.assert_array_equal(once.suspicion, again.suspicion)
    assert (once.reason, once.influences) == (again.reason, again.influences)


def test_of_many_names_those_with_the_most_verdicts_count() -> None:
    count = 3 * MOST_NAMES
    random = np.random.default_rng(4)
    wrong = (random.random(count) < 0.5).astype(np.float64)
    pairs = np.array([f"pair {row // 2}" for row in range(count)], dtype=object)
    pairs[-30:] = "zebra"
    names = pd.DataFrame({"pair": pairs})
    result = recalibrate(np.full(count, 0.5), pd.DataFrame(index=range(count)), names, wrong, alone(count))
    named = [influence.name for influence in result.influences if influence.name]
    assert len(named) == MOST_NAMES and "zebra" in named
