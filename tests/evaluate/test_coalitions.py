"""Measured worth of parts: against exact Shapley values, and how far a noisy measurement can be trusted."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest

from gradattn_core.errors import EvaluateError
from gradattn_core.evaluate.coalitions import (
    FloatArray,
    Worth,
    additive_fit,
    blocks,
    corrected,
    correlation,
    rectangles,
    shapley,
    split_half,
    sums_over,
)

PLAYERS = 6


def game(seed: int) -> Worth:
    """Players are worth something alone, and pairs of them something more or less; the empty set is worth 1.5."""
    rng = np.random.default_rng(seed)
    alone, together = rng.normal(size=PLAYERS), np.triu(rng.normal(size=(PLAYERS, PLAYERS)), 1)

    def worth(seen: np.ndarray[tuple[int, int], np.dtype[np.bool_]]) -> FloatArray:
        sets = seen.astype(np.float64)
        triple = sets[:, 0] * sets[:, 2] * sets[:, 5]
        value: FloatArray = 1.5 + sets @ alone + ((sets @ together) * sets).sum(1) + 2 * triple
        return value

    return worth


def brute_force(worth: Worth) -> FloatArray:
    """Σ over sets without i of |S|! (n − |S| − 1)! / n! · (v(S with i) − v(S))."""
    values = np.zeros(PLAYERS)
    for player in range(PLAYERS):
        others = [other for other in range(PLAYERS) if other != player]
        for size in range(PLAYERS):
            for chosen in combinations(others, size):
                without, joined = np.zeros((1, PLAYERS), bool), np.zeros((1, PLAYERS), bool)
                without[0, list(chosen)] = joined[0, [*chosen, player]] = True
                weight = math.factorial(size) * math.factorial(PLAYERS - size - 1) / math.factorial(PLAYERS)
                values[player] += weight * float(worth(joined)[0] - worth(without)[0])
    return values


@pytest.mark.parametrize("seed", range(3))
def test_the_estimate_nears_the_exact_values_and_sums_to_the_whole(seed: int) -> None:
    worth, exact = game(seed), brute_force(game(seed))
    found = shapley(worth, PLAYERS, pairs=3000, seed=seed)
    np.testing.assert_allclose(found.values, exact, atol=0.06)
    full, none = worth(np.array([[True] * PLAYERS, [False] * PLAYERS]))
    assert found.values.sum() == pytest.approx(full - none)
    np.testing.assert_allclose(found.halves.sum(1), [full - none] * 2)
    assert found.reliability > 0.99 and found.passes == 6002


def test_all_sets_with_the_kernels_weights_give_the_exact_values() -> None:
    worth, exact = game(7), brute_force(game(7))
    sets = (np.arange(1, 2**PLAYERS - 1)[:, None] >> np.arange(PLAYERS)) & 1 > 0
    sizes = sets.sum(1)
    weights = np.array([1 / (math.comb(PLAYERS, size) * size * (PLAYERS - size)) for size in sizes])
    none, full = worth(np.array([[False] * PLAYERS, [True] * PLAYERS]))
    found = additive_fit(sets.astype(float), worth(sets) - none, weights, full - none)
    np.testing.assert_allclose(found, exact, atol=1e-6)


def test_few_pairs_are_refused_and_few_sets_are_less_reliable() -> None:
    with pytest.raises(EvaluateError, match="pairs=11: 6 players need"):
        shapley(game(0), PLAYERS, pairs=11)
    noise = np.random.default_rng(0)

    def noisy(seen: np.ndarray[tuple[int, int], np.dtype[np.bool_]]) -> FloatArray:
        value: FloatArray = game(0)(seen) + noise.normal(scale=3, size=len(seen))
        return value

    few, many = (shapley(noisy, PLAYERS, pairs).reliability for pairs in (12, 4000))
    assert few < many and many > 0.9


def test_the_correction_recovers_the_correlation_without_noise() -> None:
    rng = np.random.default_rng(1)
    truth = rng.normal(size=20_000)
    claim = 0.6 * truth + 0.8 * rng.normal(size=20_000)
    first, second = (truth + rng.normal(scale=1.5, size=20_000) for _ in range(2))
    reliability, seen = split_half(first, second), correlation(claim, (first + second) / 2)
    assert seen < 0.45
    assert reliability == pytest.approx(1 / (1 + 1.5**2 / 2), abs=0.02)
    assert corrected(np.array([seen]), np.array([reliability])) == pytest.approx(0.6, abs=0.02)
    np.testing.assert_allclose(corrected(np.array([0.3, 0.5]), np.array([0.25, 0.81])), [0.3 / 0.7, 0.5 / 0.7])
    assert split_half(truth, -truth) == 0 and np.isnan(corrected(np.array([0.3]), np.zeros(1))).all()


def test_a_constant_agrees_with_nothing() -> None:
    assert correlation(np.ones(5), np.arange(5.0)) == 0
    first, second = np.random.default_rng(0).normal(size=(2, 9))
    assert correlation(first, second) == pytest.approx(np.corrcoef(first, second)[0, 1])


@pytest.mark.parametrize(("grid", "count"), [((14, 14), 49), ((7, 7), 16), ((4, 6), 6)])
def test_blocks_cover_every_patch_once(grid: tuple[int, int], count: int) -> None:
    parts = blocks(*grid)
    assert parts.shape == (count, *grid) and bool((parts.sum(0) == 1).all())
    assert parts[0].nonzero().tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    scores = np.arange(grid[0] * grid[1], dtype=float).reshape(grid)
    assert sums_over(scores, parts.numpy()).sum() == scores.sum()
    assert sums_over(scores, parts.numpy())[0] == scores[:2, :2].sum()


def test_rectangles_are_rectangles_of_many_sizes() -> None:
    found = rectangles(14, 14, 200, seed=3).numpy()
    for rectangle in found:
        rows, columns = np.nonzero(rectangle.any(1))[0], np.nonzero(rectangle.any(0))[0]
        assert rectangle.sum() == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
    areas = found.sum((1, 2))
    assert areas.min() <= 12 and areas.max() >= 64 and areas.max() <= 100
    assert (rectangles(14, 14, 5, seed=1) == rectangles(14, 14, 5, seed=1)).all()
