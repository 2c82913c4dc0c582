"""How many labels are wrong, and how many at most are left, from pictures that were drawn at random.

What a reviewer chose to look at is known and says nothing about the rest. What was drawn does: of N pictures M are
wrong, and when draw t is taken from the ``pool`` of those that nobody had seen, of the others f are wrong, so the draw
is wrong with probability P_M = (M - f) / pool, whatever was chosen before and why.

*A sample of fixed size* gives the exact (Clopper-Pearson) interval of the hypergeometric distribution.

*At all times* holds the prior-posterior ratio E_t(M) = prod q_s / P_M: for the true M it is a martingale with mean 1,
whatever forecast q_s was made before draw s, so with probability 1 - a it never reaches 1/a (Ville), and every M for
which it did is refuted for good, however often one looks, and whenever one stops. The forecasts are the posterior means
of two beta-binomial priors about the pool's mean suspicion, half of the stake on each, but for a part that is held
back: a bad suspicion makes the bound wide, never wrong. Source: Waudby-Smith and Ramdas, Confidence sequences for
sampling without replacement, 2020.

Labels are taken as fixed: a wrong one is what its reviewers find wrong.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gradattn_core.errors import RankingError
from gradattn_core.records import IntArray

BoolArray: TypeAlias = NDArray[np.bool_]
Doubles: TypeAlias = NDArray[np.float64]

PAGE = 25
"""Pictures that are reviewed before it is asked anew whether suspects or random ones come next."""
WEIGHTS = (4.0, 40.0)
"""How many draws the suspicions count for in the forecasts, one for each half of the stake."""
LEAST_CHECKED = 10
"""Of so many checked pictures of a class its own interval is told; of fewer it says next to nothing."""
HELD_BACK = 0.4
"""Part of the stake that is bet on nothing. Without it the worst suspicions (none for all) use up the whole 5 %: the
bound would be broken in 5 of 100 reviews, which is what it says, but no less. It costs 3 to 7 % more reviews."""
# A forecast of exactly none or all would lose everything at the first surprise.
_LEAST_FORECAST = 0.01

Kind = Literal["suspects", "random"]


@dataclass(frozen=True, slots=True)
class Sample:
    """Random draws in the order of their numbers, with what was known before each.

    Attributes:
        wrong: [draws] whether its label was found wrong.
        pool: [draws] how many pictures it was drawn from.
        known: [draws] how many pictures outside the pool are wrong.
        suspicion: [draws] mean suspicion of the pool in [0, 1], as it was before the draw.
    """

    wrong: BoolArray
    pool: IntArray
    known: IntArray
    suspicion: Doubles

    def __len__(self) -> int:
        return len(self.wrong)

    def first(self, draws: int) -> Sample:
        """The first so many draws."""
        return Sample(self.wrong[:draws], self.pool[:draws], self.known[:draws], self.suspicion[:draws])

    def and_then(self, other: Sample) -> Sample:
        """These draws and later ones."""
        return Sample(
            np.concatenate([self.wrong, other.wrong]),
            np.concatenate([self.pool, other.pool]),
            np.concatenate([self.known, other.known]),
            np.concatenate([self.suspicion, other.suspicion]),
        )


NO_DRAWS = Sample(np.empty(0, bool), np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))


def hypergeometric_interval(pool: int, drawn: int, wrong: int, confidence: float = 0.95) -> tuple[int, int]:
    """Exact interval of how many of ``pool`` pictures are wrong, where ``wrong`` of ``drawn`` random ones are.

    Each end is refuted by itself with (1 - confidence) / 2, so the interval holds at least as often as it says.

    Raises:
        RankingError: unless 0 <= wrong <= drawn <= pool and 0 < confidence < 1.
    """
    if not 0 <= wrong <= drawn <= pool:
        raise RankingError(f"{wrong} wrong of {drawn} drawn from {pool} pictures is not possible")
    check_share("confidence", confidence)
    doubt = (1 - confidence) / 2
    least, most = wrong, pool - (drawn - wrong)
    # P(at most `wrong`) falls with the number of wrong ones in the pool, P(at least `wrong`) rises.
    high = _last(least, most, lambda many: _at_most(wrong, pool, many, drawn) > doubt)
    right = _last(drawn - wrong, pool - wrong, lambda many: _at_most(drawn - wrong, pool, many, drawn) > doubt)
    return pool - right, high


def refuted(sample: Sample, least: int, confidence: float = 0.95) -> BoolArray:
    """[draws] whether it is refuted at draw t, or was before, that ``least`` or more pictures are wrong.

    Args:
        least: more than the wrong ones that are known.
    """
    possible, strong, slope = _evidence(sample, least, confidence)
    # The evidence against M is convex in M: where it grows, all that is more than M is refuted with M.
    return np.logical_or.accumulate(~possible | (strong & (slope > 0)))


def too_few(sample: Sample, most: int, confidence: float = 0.95) -> BoolArray:
    """[draws] whether it is refuted at draw t, or was before, that ``most`` or fewer pictures are wrong."""
    left = most - sample.known
    possible, strong, slope = _evidence(sample, most, confidence)
    short = (left < 0) | (sample.wrong & (left == 0))
    # Where the evidence falls as M grows, all that is less than M is refuted with M.
    return np.logical_or.accumulate(short | (possible & strong & (slope < 0)))


def _evidence(sample: Sample, many: int, confidence: float) -> tuple[BoolArray, BoolArray, Doubles]:
    """[draws] whether ``many`` wrong pictures are possible, whether they are refuted, and how that grows with them."""
    left = (many - sample.known).astype(float)
    odds = np.where(sample.wrong, left, sample.pool - left)
    possible = np.logical_and.accumulate(odds > 0)
    odds = np.where(possible, odds, 1.0)
    evidence = log_stake(sample) - np.cumsum(np.log(odds / sample.pool))
    enough = math.log((1 / (1 - confidence) - HELD_BACK) / (1 - HELD_BACK))
    return possible, evidence >= enough, np.cumsum(np.where(sample.wrong, -1.0, 1.0) / odds)


def most_wrong(sample: Sample, known: int, pictures: int, confidence: float = 0.95) -> int:
    """The upper bound that holds at all times: the largest number of wrong pictures in all that was never refuted.

    Args:
        sample: as far as every draw in it, and all that was known before, has a verdict.
        known: how many are known to be wrong by now.
        pictures: the largest number to think of, all pictures but those that are known to be right.
    """
    if not len(sample):
        return pictures
    return _last(known, pictures, lambda many: many <= known or not refuted(sample, many, confidence)[-1])


def least_wrong(sample: Sample, known: int, pictures: int, confidence: float = 0.95) -> int:
    """The lower bound that holds at all times, and together with :func:`most_wrong` of the same sample: the smallest
    number of wrong pictures in all that was never refuted. As there, but ``known`` where nothing was drawn."""
    if not len(sample):
        return known
    return _last(known, pictures, lambda many: many <= known or bool(too_few(sample, many - 1, confidence)[-1]))


def log_stake(sample: Sample) -> Doubles:
    """[draws] logarithm of what the forecasts gave to the first t draws, half by half; nothing is held back here."""
    before = np.arange(len(sample))
    found: IntArray = np.cumsum(sample.wrong) - sample.wrong
    mean = np.clip(sample.suspicion, _LEAST_FORECAST, 1 - _LEAST_FORECAST)
    halves = []
    for weight in WEIGHTS:
        forecast = (weight * mean + found) / (weight + before)
        halves.append(np.cumsum(np.log(np.where(sample.wrong, forecast, 1 - forecast))))
    return np.asarray(np.logaddexp(*halves) - math.log(2))


def suspects_next(last: Kind, wrong: int, share: float) -> bool:
    """Whether suspects come next, after a page of that kind of which so many were wrong; else random ones do.

    Suspects are worth it while they are clearly worse than the share that may be left, or where a random page has
    found what they should have shown.
    """
    return wrong > 0 if last == "random" else wrong > PAGE * max(2 * share, 0.02)


def target(share: float, pictures: int) -> int:
    """How many wrong labels may be left.

    Raises:
        RankingError: for a share that is not between 0 and 1.
    """
    check_share("share", share)
    # 0.07 * 100 is a little more than 7, and 0.29 * 100 a little less than 29.
    return math.floor(share * pictures + 1e-9)


def check_share(name: str, share: float) -> None:
    if not 0 < share < 1:
        raise RankingError(f"{name} {share:g} is not between 0 and 1; 0.01 is 1 %")


@dataclass(frozen=True, slots=True)
class Review:
    """A review that went on until it stopped by itself.

    Attributes:
        reviews: how many pictures were reviewed.
        left: how many wrong ones nobody had seen then.
        sample: the draws of it, and those before.
    """

    reviews: int
    left: int
    sample: Sample


def simulate(
    suspicion: Doubles,
    wrong: BoolArray,
    share: float,
    random: np.random.Generator,
    *,
    confidence: float = 0.95,
    first: Kind = "suspects",
    seen: int = 0,
    known: int = 0,
    unsure: int = 0,
    sample: Sample = NO_DRAWS,
) -> Review:
    """Review pictures until at most ``share`` of all is wrong, as :meth:`Draws.next_page` hands them out.

    Args:
        suspicion: [pictures] of those that nobody has reviewed yet.
        wrong: [pictures] whether their reviewer finds them wrong.
        first: where the first page comes from.
        seen, known, unsure: how many pictures were reviewed before, are known to be wrong (unsure ones among them), and
            are unsure.
        sample: the draws before.
    """
    order, mixed = np.argsort(-suspicion, kind="stable"), random.permutation(len(suspicion))
    allowed = target(share, len(suspicion) + seen) - unsure
    unseen = np.ones(len(suspicion), bool)
    believed, pool, kind = float(suspicion.sum()), len(suspicion), first
    places = {"suspects": 0, "random": 0}
    while pool > max(allowed, 0):
        if allowed >= 0 and len(sample) and refuted(sample, known + allowed + 1, confidence)[-1]:
            break
        queue = order if kind == "suspects" else mixed
        page, places[kind] = _next_page(queue, places[kind], unseen)
        found = int(wrong[page].sum())
        if kind == "random":
            steps = np.arange(len(page))
            earlier: IntArray = np.cumsum(wrong[page]) - wrong[page]
            mean = np.full(len(page), believed / pool)
            sample = sample.and_then(Sample(wrong[page], pool - steps, known + earlier, mean))
        unseen[page] = False
        pool, known, believed = pool - len(page), known + found, believed - float(suspicion[page].sum())
        kind = "suspects" if suspects_next(kind, found, share) else "random"
    return Review(len(suspicion) - pool, int(wrong[unseen].sum()), sample)


def _next_page(queue: IntArray, place: int, unseen: BoolArray) -> tuple[IntArray, int]:
    """The first unseen pictures of a queue from a place on, and the place after them."""
    page = np.empty(0, np.int64)
    while len(page) < PAGE and place < len(queue):
        piece = queue[place : place + PAGE - len(page)]
        page, place = np.concatenate([page, piece[unseen[piece]]]), place + len(piece)
    return page, place


def _at_most(wrong: int, pool: int, many: int, drawn: int) -> float:
    """P(at most ``wrong`` of ``drawn`` pictures are wrong, if ``many`` of ``pool`` are)."""
    counts = np.arange(max(0, drawn - (pool - many)), min(wrong, many, drawn) + 1)
    ways = _choose(many, counts) + _choose(pool - many, drawn - counts) - _choose(pool, np.array([drawn]))
    return min(float(np.exp(ways).sum()), 1.0)


def _choose(of: int, taken: IntArray) -> Doubles:
    """[numbers] logarithm of the binomial coefficients."""
    # As heavy as the rest of a summary, most of which count nothing.
    from scipy.special import gammaln

    return np.asarray(gammaln(of + 1) - gammaln(taken + 1) - gammaln(of - taken + 1))


def _last(low: int, high: int, holds: Callable[[int], bool]) -> int:
    """The largest number from ``low`` to ``high`` for which something holds that holds up to it, and for ``low``."""
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if holds(middle) else (low, middle - 1)
    return low
