"""What parts of a picture are worth, measured: Shapley values of its blocks, and how far they can be trusted.

A part is a *player*; the worth of a set of players is the model's log-odds with these parts seen and the others left
out. Nothing here knows a model: a worth is a function from what is seen, bool [sets, players], to numbers [sets].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradattn_core.errors import EvaluateError

FloatArray = NDArray[np.float64]
Worth = Callable[[NDArray[np.bool_]], FloatArray]


@dataclass(frozen=True)
class Shapley:
    """Estimated Shapley values.

    Attributes:
        values: [players]; they sum to what all players together are worth, less what none is.
        halves: [2, players], the same from the even and from the odd pairs of sets alone.
        passes: how many sets were asked about.
    """

    values: FloatArray
    halves: FloatArray
    passes: int

    @property
    def reliability(self) -> float:
        """Of ``values`` as a measurement, at most 1; see :func:`split_half`."""
        return split_half(self.halves[0], self.halves[1])


def shapley(worth: Worth, players: int, pairs: int, seed: int = 0) -> Shapley:
    """Shapley values by least squares over random sets of players and their complements.

    Sizes are drawn as the Shapley kernel weighs them, ∝ 1/(s(n − s)); of sets drawn so, the additive game that fits
    best, with the sum held, is the Shapley value in the limit (Lundberg & Lee 2017, Covert & Lee 2021). A set and its
    complement together cancel what is even in the game.

    Args:
        worth: bool [sets, players] → [sets].
        players: two or more.
        pairs: how many sets are drawn; as many complements are asked about, and the full and the empty set.
        seed: of the sets.

    Raises:
        EvaluateError: too few pairs to tell the players apart in each half.
    """
    if players < 2 or pairs < 2 * players:
        raise EvaluateError(f"pairs={pairs}: {players} players need two players or more, and twice as many pairs")
    rng = np.random.default_rng(seed)
    sizes = np.arange(1, players)
    kernel = 1 / (sizes * (players - sizes))
    drawn = rng.choice(sizes, size=pairs, p=kernel / kernel.sum())
    places = rng.random((pairs, players)).argsort(axis=1).argsort(axis=1)
    seen = places < drawn[:, None]
    everyone = np.ones((1, players), dtype=bool)
    answers = worth(np.concatenate((seen, ~seen, everyone, ~everyone)))
    full, none = answers[-2:]
    both = np.stack((answers[:pairs], answers[pairs:-2])) - none

    def fitted(which: slice) -> FloatArray:
        sets = np.concatenate((seen[which], ~seen[which])).astype(np.float64)
        return additive_fit(sets, both[:, which].ravel(), np.ones(len(sets)), full - none)

    halves = np.stack([fitted(slice(0, None, 2)), fitted(slice(1, None, 2))])
    return Shapley(fitted(slice(None)), halves, len(answers))


def additive_fit(sets: FloatArray, worths: FloatArray, weights: FloatArray, total: float) -> FloatArray:
    """The additive game nearest to a game: φ [players] of least Σ w (worth − Σ_{i in set} φ_i)² with Σ φ = total.

    Args:
        sets: [sets, players], 1 where a player takes part.
        worths, weights: [sets]; the empty set is worth 0.
        total: what all players together are worth.
    """
    weighted = sets * weights[:, None]
    gram, moment = weighted.T @ sets, weighted.T @ worths
    # A set too few would leave the system singular; so little does not show beside it.
    gram += 1e-9 * np.trace(gram) / len(gram) * np.eye(len(gram))
    free, ones = np.linalg.solve(gram, np.stack((moment, np.ones(len(gram))), axis=1)).T
    found: FloatArray = free + ones * (total - free.sum()) / ones.sum()
    return found


def split_half(first: FloatArray, second: FloatArray) -> float:
    """Reliability of a measurement from its two halves, by Spearman and Brown: 2r/(1 + r), and 0 where r ≤ 0."""
    r = max(0.0, correlation(first, second))
    return 2 * r / (1 + r)


def corrected(r: FloatArray, reliability: FloatArray) -> FloatArray:
    """Correlations with noisy measurements of several pictures, [pictures], as they would be with perfect ones.

    Spearman's correction for attenuation, r / √reliability, with the mean over pictures of the root: a single picture
    whose measurement failed would otherwise be blown up. Nan where nothing was reliable.
    """
    root = np.sqrt(reliability).mean()
    return np.asarray(r / root if root > 0 else np.full_like(r, np.nan))


def correlation(first: FloatArray, second: FloatArray) -> float:
    """Pearson's r of two arrays of one shape; 0 where one of them is constant."""
    a, b = (np.asarray(x, dtype=np.float64).ravel() for x in (first, second))
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / scale if scale > 0 else 0.0


def blocks(rows: int, columns: int, side: int = 2) -> Tensor:
    """A grid of patches cut into blocks of ``side`` x ``side``, [blocks, rows, columns] bool.

    Those at the lower and the right end are smaller where the grid does not divide.
    """
    down = torch.arange(rows) // side
    across = torch.arange(columns) // side
    number = down[:, None] * (int(across[-1]) + 1) + across
    return number == torch.arange(int(number.max()) + 1)[:, None, None]


def rectangles(rows: int, columns: int, count: int, seed: int = 0) -> Tensor:
    """Random rectangles of patches, [count, rows, columns] bool, a seventh to five sevenths of the grid each way."""
    rng = np.random.default_rng(seed)
    result = torch.zeros(count, rows, columns, dtype=torch.bool)
    for rectangle in result:
        high, wide = (int(rng.integers(max(1, round(n / 7)), round(5 * n / 7) + 1)) for n in (rows, columns))
        top, left = int(rng.integers(rows - high + 1)), int(rng.integers(columns - wide + 1))
        rectangle[top : top + high, left : left + wide] = True
    return result


def sums_over(scores: FloatArray, parts: NDArray[np.bool_]) -> FloatArray:
    """Σ of a map [rows, columns] over each part [parts, rows, columns], [parts]."""
    total: FloatArray = parts.reshape(len(parts), -1).astype(np.float64) @ np.asarray(scores, np.float64).ravel()
    return total
