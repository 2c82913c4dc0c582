"""Pictures of none of the dataset's classes, told by a model that has more outputs than the dataset has classes.

The share of such pictures is learnt by EM on the audited images themselves (Saerens, Latinne & Decaestecker 2002,
"Adjusting the outputs of a classifier to new a priori probabilities"): with r(x) the model's mass outside the dataset's
classes over its mass inside, o(x) = w r / (1 + w r) is the probability that x is of an outside class, w the prior odds.

A model takes pictures of some classes for an outside class as a habit: every third cassette player for a tape player.
What it says of most pictures with a label is no evidence against one of them, so an outside class counts the less the
more of its mass the other pictures of the same label have, each weighed by the probability that it is inside. Many
pictures of one outside class under one label are therefore no habit: they are found outside first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit, logsumexp

from gradattn_core.estimates import ASSUMPTIONS
from gradattn_core.ranking.inputs import check_given
from gradattn_core.records import FloatArray, IntArray

KEPT = 8
"""Likeliest outside outputs that are kept of each image."""
START, CAP = 0.05, 0.5
"""The share of outside pictures that EM starts from, and the most it may find."""
FLOOR = 0.5
"""The least it may find, in pictures: that none was found does not prove that there is none."""
ROUNDS = 100
TOLERANCE = 1e-6
"""EM ends when a round changes the share by less,"""
HABIT_ROUNDS, SETTLED = 20, 1e-3
"""and the habits are known when no probability changes by more."""
HABIT = 3.0
"""Mass of an outside class over other pictures of the label, in even shares of all outputs, at which it counts half."""
COMBINED = ("suspicion", *ASSUMPTIONS)
"""The columns of a ranking that are probabilities of a wrong label."""


@dataclass(frozen=True, eq=False)
class Outside:
    """What a model's outputs say beyond the dataset's classes, of N images.

    Attributes:
        log_odds: [N] log r, the log of the mass of all outside outputs over that of the dataset's classes; any real.
        outputs: [N, T] the likeliest outside outputs, the likeliest first,
        log_p: [N, T] and the log of their probabilities among all of the model's outputs, <= 0.
        leads: [N] whether the likeliest of them is likelier than every class of the dataset.
        inside, outside: how many of the model's outputs are classes of the dataset, and how many are not.
    """

    log_odds: FloatArray
    outputs: IntArray
    log_p: FloatArray
    leads: NDArray[np.bool_]
    inside: int
    outside: int


def outside_of(logits: FloatArray, inside: Sequence[int]) -> Outside:
    """What is kept of logits [N, M], of which the outputs ``inside`` are the dataset's classes; M must be more."""
    others = np.setdiff1d(np.arange(logits.shape[1]), np.asarray(inside))
    table = logits[:, others].astype(np.float64)
    total = logsumexp(table, axis=1)
    own = logits[:, list(inside)].astype(np.float64)
    within = logsumexp(own, axis=1)
    top = np.argsort(-table, axis=1, kind="stable")[:, :KEPT]
    likeliest = np.take_along_axis(table, top, axis=1)
    log_p = (likeliest - np.logaddexp(total, within)[:, None]).astype(np.float32)
    leads = likeliest[:, 0] > own.max(axis=1)
    return Outside((total - within).astype(np.float32), others[top], log_p, leads, len(inside), len(others))


def outside_suspicion(given: Any, outside: Outside) -> NDArray[np.float64]:
    """[N] o: the probability in (0, 1) that a picture shows none of the dataset's classes.

    Args:
        given: [N] labels, of which the model's habits are learnt.

    Raises:
        RankingError: the labels are unusable.
    """
    codes, _ = check_given(given, None)
    log_odds = outside.log_odds.astype(np.float64)
    probability = _after_em(log_odds, outside)
    for _ in range(HABIT_ROUNDS):
        before = probability
        probability = _after_em(log_odds + _log_kept(codes, outside, 1 - before), outside)
        if np.abs(probability - before).max() < SETTLED:
            break
    return probability


def is_named(outside: Outside, probability: NDArray[np.float64]) -> NDArray[np.bool_]:
    """[N] where the model names an outside class, and o is at least its mean, as of a picture at large.

    Where the evidence for each is weak the mean is small, and with it every o: what stands out of it is worth a look.
    """
    return np.asarray(outside.leads & (probability >= probability.mean()))


def with_outside(ranked: pd.DataFrame, outside: Outside, probability: NDArray[np.float64]) -> pd.DataFrame:
    """A ranking of ``rank_labels`` that also knows of pictures of none of its classes.

    A label is right only if the picture is of a class of the dataset and of this one: s = 1 − (1 − s_in)(1 − o).

    Args:
        ranked: of N images.
        probability: [N] o, of :func:`outside_suspicion`.

    Returns:
        The same columns, the probabilities with o in them, ``rank`` anew, and ``outside_suspicion``, o. Where the model
        names an outside class, and no other class of the dataset is as likely as o, ``suggested_label`` is ``""`` with
        o as its probability, and the class suggested before is the runner-up.
    """
    inside = 1 - probability
    # Not 1 − (1 − s)(1 − o), in which small numbers would lose their digits.
    result = ranked.assign(**{name: ranked[name] * inside + probability for name in COMBINED if name in ranked})
    order = np.argsort(-result["suspicion"].to_numpy(), kind="stable")
    result.loc[result.index[order], "rank"] = np.arange(1, len(result) + 1)
    others = np.maximum(1 - ranked["given_probability"].to_numpy(), 1e-12)
    share = np.minimum(ranked["suggested_probability"].to_numpy() / others, 1)
    foreign = outside.leads & (probability >= inside * ranked["suspicion"].to_numpy() * share)
    for name in ("given_probability", "suggested_probability", "runner_up_probability"):
        result[name] = ranked[name] * inside
    for name, value in (("label", ""), ("probability", probability)):
        result[f"runner_up_{name}"] = result[f"runner_up_{name}"].mask(foreign, result[f"suggested_{name}"])
        result[f"suggested_{name}"] = result[f"suggested_{name}"].mask(foreign, value)
    return result.assign(outside_suspicion=probability)


def _after_em(log_odds: NDArray[np.float64], outside: Outside) -> NDArray[np.float64]:
    """[N] o under the share of outside pictures that explains itself: the mean of o."""
    least = min(FLOOR / len(log_odds), CAP)
    share = START
    for _ in range(ROUNDS):
        before = share
        # Of one outside class against one of the dataset, as the model's own prior has them alike.
        odds = np.log(share / (1 - share) * outside.inside / outside.outside)
        probability: NDArray[np.float64] = expit(odds + log_odds)
        share = min(max(float(probability.mean()), least), CAP)
        if abs(share - before) < TOLERANCE:
            break
    return probability


def _log_kept(codes: IntArray, outside: Outside, weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """[N] log of the share of the outside mass that is no habit of the model's; <= 0.

    Of an outside class with mean mass h over the other pictures of the same label (``weight`` [N] each) the share
    e / (e + h) counts, e being ``HABIT`` even shares of all the model's outputs.
    """
    even = HABIT / (outside.inside + outside.outside)
    mass = np.exp(outside.log_p.astype(np.float64))
    pairs = codes[:, None].astype(np.int64) * (int(outside.outputs.max()) + 1) + outside.outputs
    _, pair = np.unique(pairs, return_inverse=True)
    pair = pair.reshape(pairs.shape)
    weighed = mass * weight[:, None]
    others = np.bincount(pair.ravel(), weighed.ravel())[pair] - weighed
    total = np.bincount(codes, weight)[codes] - weight
    habit = np.maximum(others, 0) / np.maximum(total, 1e-9)[:, None]
    share = mass / np.maximum(expit(outside.log_odds.astype(np.float64)), 1e-300)[:, None]
    dropped = (share * habit / (even + habit)).sum(axis=1)
    # By rounding the shares may add up to more than one.
    return np.asarray(np.log1p(-np.minimum(dropped, 1 / (1 + even))))
