"""Exact intervals against counting, the bound that holds at all times against fractions, and how often it is broken."""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from math import comb

import numpy as np
import pytest

from gradattn_core.errors import RankingError
from gradattn_core.ranking.certainty import (
    NO_DRAWS,
    PAGE,
    BoolArray,
    Doubles,
    Sample,
    hypergeometric_interval,
    least_wrong,
    log_stake,
    most_wrong,
    refuted,
    simulate,
    suspects_next,
    target,
    too_few,
)

KINDS = ("honest", "constant", "reversed", "random", "zero", "one")


def at_most(wrong: int, pool: int, many: int, drawn: int) -> Fraction:
    ways = sum(comb(many, count) * comb(pool - many, drawn - count) for count in range(wrong + 1))
    return Fraction(ways, comb(pool, drawn))


def test_the_exact_interval_is_what_counting_gives() -> None:
    for pool in range(9):
        for drawn in range(pool + 1):
            for wrong in range(drawn + 1):
                held = [
                    many
                    for many in range(wrong, pool - drawn + wrong + 1)
                    if at_most(wrong, pool, many, drawn) > Fraction(1, 20)
                    and 1 - (at_most(wrong - 1, pool, many, drawn) if wrong else 0) > Fraction(1, 20)
                ]
                assert hypergeometric_interval(pool, drawn, wrong, 0.9) == (held[0], held[-1]), (pool, drawn, wrong)


def test_the_exact_interval_holds_as_often_as_it_says() -> None:
    for many in (0, 1, 7, 30, 60):
        intervals = [hypergeometric_interval(60, 20, wrong) for wrong in range(21)]
        chances = [Fraction(comb(many, wrong) * comb(60 - many, 20 - wrong), comb(60, 20)) for wrong in range(21)]
        held = sum(chance for (low, high), chance in zip(intervals, chances, strict=True) if low <= many <= high)
        assert held >= Fraction(95, 100)


def test_the_exact_interval_of_many_pictures() -> None:
    low, high = hypergeometric_interval(1_000_000, 1_000, 50)
    # Clopper-Pearson of 50 in 1,000: 3.73 % to 6.54 %; without replacement it is a little narrower.
    assert 37_000 < low < 38_000 and 65_000 < high < 65_500
    assert hypergeometric_interval(1_000_000, 500_000, 0) == (0, 5)
    assert hypergeometric_interval(40, 40, 13) == (13, 13)


@pytest.mark.parametrize(("pool", "drawn", "wrong"), [(10, 11, 0), (10, 5, 6), (10, 5, -1)])
def test_an_impossible_sample_is_refused(pool: int, drawn: int, wrong: int) -> None:
    with pytest.raises(RankingError, match="is not possible"):
        hypergeometric_interval(pool, drawn, wrong)


@pytest.mark.parametrize("number", [0.0, 1.0, -0.1, float("nan")])
def test_a_share_is_between_none_and_all(number: float) -> None:
    with pytest.raises(RankingError, match="is not between 0 and 1"):
        target(number, 100)
    with pytest.raises(RankingError, match="is not between 0 and 1"):
        hypergeometric_interval(10, 5, 1, number)


def test_a_share_of_pictures_is_rounded_down_but_not_by_the_machine() -> None:
    assert [target(share / 100, 100) for share in range(1, 100)] == list(range(1, 100))
    assert target(0.01, 1797) == 17


def some_review(random: np.random.Generator, pictures: int) -> tuple[Sample, int, int]:
    """A review of made-up pictures, chosen ones and random ones by turns; with how many are wrong, and known to be."""
    wrong = random.random(pictures) < random.random()
    unseen, draws, known = list(range(pictures)), [], 0
    for _ in range(random.integers(1, pictures)):
        picture = unseen.pop(int(random.integers(len(unseen))))
        if random.random() < 0.7:
            draws.append((bool(wrong[picture]), len(unseen) + 1, known, float(random.random())))
        known += int(wrong[picture])
    columns = list(zip(*draws, strict=True)) or [(), (), (), ()]
    kinds = (bool, np.int64, np.int64, float)
    arrays = [np.array(column, kind) for column, kind in zip(columns, kinds, strict=True)]
    return Sample(*arrays), int(wrong.sum()), known


def evidence(sample: Sample, many: int) -> list[Fraction | None]:
    """E_t(M) exactly, None where the draws are impossible if so many are wrong."""
    halves, found, result = [Fraction(1, 2), Fraction(1, 2)], 0, []
    chance = Fraction(1)
    for step in range(len(sample)):
        is_wrong, mean = bool(sample.wrong[step]), Fraction(float(np.clip(sample.suspicion[step], 0.01, 0.99)))
        here = Fraction(many - int(sample.known[step]), int(sample.pool[step]))
        chance *= here if is_wrong else 1 - here
        for half, weight in enumerate((4, 40)):
            forecast = (weight * mean + found) / (weight + step)
            halves[half] *= forecast if is_wrong else 1 - forecast
        found += is_wrong
        result.append(Fraction(2, 5) + Fraction(3, 5) * sum(halves) / chance if chance > 0 else None)
    return result


def test_the_bound_is_that_of_fractions() -> None:
    random, checked = np.random.default_rng(0), 0
    for _ in range(60):
        pictures = int(random.integers(2, 40))
        sample, _, known = some_review(random, pictures)
        values = {many: evidence(sample, many) for many in range(known, pictures + 1)}
        possible = [
            many for many, path in values.items() if all(value is not None and value < Fraction(10) for value in path)
        ]
        if possible:
            checked += 1
            assert most_wrong(sample, known, pictures, 0.9) == max(possible)
            assert least_wrong(sample, known, pictures, 0.9) == min(possible)
    assert checked > 50


def test_the_forecasts_are_bets_that_neither_win_nor_lose_in_the_mean() -> None:
    """The stake is 1 over all ways a sample may turn out, and so is the evidence over the chances of any truth."""
    pool = np.arange(6, 1, -1)
    orders = [np.array(order) for order in product((False, True), repeat=5)]
    samples = [Sample(order, pool, np.cumsum(order) - order, np.linspace(0.1, 0.5, 5)) for order in orders]
    assert sum(np.exp(log_stake(sample)[-1]) for sample in samples) == pytest.approx(1.0)
    # With two wrong of six: an order's chance is what the evidence against two divides by.
    left = [2 - sample.known for sample in samples]
    chances = [
        np.prod(np.where(sample.wrong, many, sample.pool - many) / sample.pool)
        for sample, many in zip(samples, left, strict=True)
    ]
    assert sum(chance for chance in chances if chance > 0) == pytest.approx(1.0)


def test_no_draws_prove_nothing() -> None:
    assert (least_wrong(NO_DRAWS, 3, 90), most_wrong(NO_DRAWS, 3, 90)) == (3, 90)
    assert len(refuted(NO_DRAWS, 5)) == 0


def test_suspects_come_while_they_are_worth_it() -> None:
    assert suspects_next("suspects", PAGE, 0.01)
    assert suspects_next("suspects", 1, 0.01) and not suspects_next("suspects", 0, 0.01)
    assert suspects_next("suspects", 2, 0.03) and not suspects_next("suspects", 1, 0.03)
    assert suspects_next("random", 1, 0.03) and not suspects_next("random", 0, 0.03)


def suspicions(kind: str, wrong: BoolArray, random: np.random.Generator) -> Doubles:
    honest = np.where(wrong, random.beta(4, 2, len(wrong)), random.beta(1, 14, len(wrong)))
    made = {
        "honest": honest,
        "constant": np.full(len(wrong), 0.1),
        "reversed": 1 - honest,
        "random": random.random(len(wrong)),
        "zero": np.zeros(len(wrong)),
        "one": np.ones(len(wrong)),
    }
    return np.asarray(made[kind])


def coverage(kind: str, pictures: int, rate: float, share: float, runs: int) -> tuple[float, float, float]:
    """Shares of runs in which either end ever missed the truth and that stopped too early; and the mean reviews."""
    broken = early = reviews = 0
    for run in range(runs):
        random = np.random.default_rng(run)
        wrong = random.random(pictures) < rate
        review = simulate(suspicions(kind, wrong, random), wrong, share, random)
        # The number of wrong pictures is at least one more than none, or nothing can be below it.
        truth, drawn = int(wrong.sum()), len(review.sample)
        broken += bool(drawn and (too_few(review.sample, truth)[-1] or (truth and refuted(review.sample, truth)[-1])))
        early += review.left > target(share, pictures)
        reviews += review.reviews
    return broken / runs, early / runs, reviews / runs


@pytest.mark.parametrize("kind", KINDS)
def test_the_bound_holds_for_any_suspicion(kind: str) -> None:
    broken, early, reviews = coverage(kind, 300, 0.08, 0.03, 40)
    assert broken <= 0.05 and early <= 0.05 and reviews <= 300


@pytest.mark.slow
@pytest.mark.parametrize("rate", [0.0, 0.02, 0.1, 0.3])
@pytest.mark.parametrize("kind", KINDS)
def test_the_bound_holds_in_two_hundred_reviews(kind: str, rate: float) -> None:
    broken, early, _ = coverage(kind, 1_797, rate, 0.03, 200)
    assert broken <= 0.05 and early <= 0.05


def test_good_suspicions_save_reviews() -> None:
    _, _, honest = coverage("honest", 1_000, 0.08, 0.03, 10)
    _, _, reversed_ = coverage("reversed", 1_000, 0.08, 0.03, 10)
    _, _, clean = coverage("honest", 1_000, 0.0, 0.03, 10)
    assert clean < 200 and honest < 450 and reversed_ > 900
