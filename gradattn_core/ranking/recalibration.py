"""Learn from a reviewer's verdicts which suspects to look at next.

log-odds(wrong) = log-odds(suspicion) + b + w · z: the suspicion is the offset of a ridge-penalised logistic regression,
so that the penalty shrinks towards the order that was there and few verdicts change little. z are the suspects' numbers
as quantiles and their names (class, pair, cluster) as indicators; ridge-penalised indicators are random effects, a
class's own error rate drawn to that of all, and need no leave-one-out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit, log_expit, logit
from scipy.stats import rankdata

from gradattn_core.estimates import SUREST
from gradattn_core.ranking.folds import FOLDS, group_folds
from gradattn_core.records import IntArray

Array = NDArray[np.float64]

FEWEST_EACH = 20
"""Labels found right, and labels found wrong, that are needed, so 40 verdicts at least. With about 15 of the rarer kind
orders passed the cross-validation that then were worse on the rest (docs/ranking.md)."""
REPEATS = 4
ENOUGH = 2000
"""Verdicts, counted once per repeat, from which another repeat of the cross-validation would only take time."""
PENALTIES = (3.0, 10.0, 30.0, 100.0)
"""Of the squared weights, from which the verdicts choose; the last leaves the order nearly as it was."""
SHIFT_PENALTY = 0.5
"""Of the common shift b: a prior of 1.4 in log-odds, so that verdicts of one kind cannot push it without bound."""
CLEAR = 1.64
"""Standard errors by which the new order has to be better, in average precision and in log-loss: chance alone passes
either in one of twenty cases."""
BOOTSTRAP = 500
SEVERAL = 2
"""Verdicts that a name needs to have an effect of its own."""
MOST_NAMES = 200
"""Names that may have one, those with the most verdicts: a fit takes the square of their number."""


@dataclass(frozen=True, slots=True)
class Influence:
    """What a feature does to the order: ``weight`` is the change of log-odds for a spread more, or for having the name.

    Attributes:
        feature: the column of ``numbers``, ``suspicion``, or the column of ``names``.
        name: the value in a column of ``names``; ``""`` for a number.
    """

    feature: str
    name: str
    weight: float


@dataclass(frozen=True, slots=True)
class Recalibration:
    """What the verdicts taught.

    Attributes:
        used: whether the new order was clearly better than the old one on verdicts that it had not seen.
        reason: one sentence on why it was used, or was not.
        suspicion: [N] in (0, 1), recalibrated; the given one where ``used`` is false.
        decisions, wrong: how many verdicts there were to learn from, and how many of these were "label wrong".
        precision_before, precision_after: average precision over the decided suspects, 0 to 1, the latter
            cross-validated; NaN where nothing was tried, as are
        gain, gain_error: its increase and the standard error of that over the decided suspects.
        influences: of the model on all verdicts, the strongest first; empty where nothing was tried.
    """

    used: bool
    reason: str
    suspicion: Array
    decisions: int
    wrong: int
    precision_before: float = float("nan")
    precision_after: float = float("nan")
    gain: float = float("nan")
    gain_error: float = float("nan")
    influences: tuple[Influence, ...] = ()


def recalibrate(
    suspicion: Array, numbers: pd.DataFrame, names: pd.DataFrame, verdict: Array, groups: IntArray
) -> Recalibration:
    """Recalibrate the suspicions of all suspects by the verdicts on some, if that is clearly better.

    Better is decided by cross-validation, repeated and nested: each verdict is predicted by models, penalty and all,
    that never saw it or any of its group. The mean gain must exceed ``CLEAR`` standard errors both in average precision
    and in log-loss, the latter against the suspicions shifted by what their verdicts teach.

    Beyond the range of the decided suspects a number counts as at the range's end, so the correction of suspects that
    are unlike all decided ones is bounded by that of the nearest.

    Args:
        suspicion: [N] in [0, 1], in the order in which suspects are shown (ties keep it).
        numbers: [N, F] any real numbers; NaN says nothing.
        names: [N, C] text.
        verdict: [N] 1 where a reviewer found the label wrong, 0 where right, NaN where there is no verdict.
        groups: [N] integers; suspects of one number are near-duplicates and judged together.
    """
    decided = np.flatnonzero(~np.isnan(verdict))
    y = verdict[decided]
    decisions, wrong = len(decided), int(y.sum())
    if refusal := too_few(wrong, decisions - wrong):
        return Recalibration(False, refusal, suspicion, decisions, wrong)
    offset = logit(np.clip(suspicion, SUREST, 1 - SUREST))
    values = pd.concat([pd.DataFrame({"suspicion": offset}), numbers.reset_index(drop=True)], axis=1)
    design = _Design(_quantiles(values), names.reset_index(drop=True), decided)
    x, prior = design.rows(decided), offset[decided]
    together = _break_up_large(groups[decided])
    predicted = _held_out(x, prior, y, together)
    shifted = _held_out(x[:, :1], prior, y, together)
    before, after = np.argsort(-suspicion[decided], kind="stable"), np.argsort(-predicted, kind="stable")
    gain, gain_error = _gain(y, before, after)
    better = _losses(shifted, y) - _losses(predicted, y)
    error = better.std(ddof=1) / np.sqrt(decisions)
    used = bool(gain > CLEAR * gain_error and better.mean() > CLEAR * error)
    weights = fit(x, prior, y, _choose_penalty(x, prior, y, group_folds(y.astype(np.int64), together, seed=0)))
    everyone = np.arange(len(suspicion))
    first, second = _average_precision(y, before), _average_precision(y, after)
    return Recalibration(
        used=used,
        reason=_reason(used, first, second),
        suspicion=expit(offset + design.rows(everyone, decided) @ weights) if used else suspicion,
        decisions=decisions,
        wrong=wrong,
        precision_before=first,
        precision_after=second,
        gain=gain,
        gain_error=gain_error,
        influences=design.influences(weights),
    )


def too_few(wrong: int, right: int) -> str:
    """Why so many verdicts cannot be learnt from, in one sentence; empty where they can."""
    if min(wrong, right) >= FEWEST_EACH:
        return ""
    return (
        f"{wrong + right} decisions, {wrong} wrong labels and {right} right ones, are too few to learn from: "
        f"{FEWEST_EACH} of each are needed."
    )


def _reason(used: bool, before: float, after: float) -> str:
    precision = f"average precision {before:.3f} → {after:.3f}"
    if used:
        return f"On decisions that it had not seen, the new order is clearly better: {precision}."
    return f"The audit's own order stays: on decisions that it had not seen, no other is clearly better ({precision})."


def _quantiles(numbers: pd.DataFrame) -> pd.DataFrame:
    """Every column as quantiles, of mean 0 and spread 1; 0 where there is no number."""
    ranks = numbers.apply(lambda column: rankdata(column, nan_policy="omit") / max(column.notna().sum(), 1))
    spread = ranks.std(ddof=0)
    varies = spread > 1e-9
    varying = ranks.loc[:, varies]
    scaled: pd.DataFrame = (varying - varying.mean()) / spread[varies]
    return scaled.fillna(0.0)


class _Design:
    """The columns of the regression: 1, the numbers, an indicator for every name that several decided suspects have."""

    def __init__(self, numbers: pd.DataFrame, names: pd.DataFrame, decided: IntArray) -> None:
        self.numbers = numbers
        self.names = names
        levels = []
        for column in names.columns:
            counts = names[column].iloc[decided].value_counts()
            several = counts[(counts >= SEVERAL) & (counts < len(decided)) & (counts.index != "")]
            levels += [(int(count), (str(column), str(level))) for level, count in several.items()]
        levels.sort(key=lambda level: -level[0])
        self.levels = [level for _, level in levels[:MOST_NAMES]]

    def rows(self, suspects: IntArray, within: IntArray | None = None) -> Array:
        """[S, 1 + F + L] of ``suspects`` [S]; numbers no further out than those of the suspects ``within``."""
        values = self.numbers.to_numpy()[suspects]
        if within is not None:
            inside = self.numbers.to_numpy()[within]
            values = np.clip(values, inside.min(axis=0), inside.max(axis=0))
        indicators = [self.names[column].to_numpy()[suspects] == level for column, level in self.levels]
        # One penalty for all: the numbers together may say as much as one name.
        scaled = values / np.sqrt(max(values.shape[1], 1))
        return np.column_stack([np.ones(len(suspects)), scaled, *indicators]).astype(np.float64)

    def influences(self, weights: Array) -> tuple[Influence, ...]:
        features = [(str(column), "") for column in self.numbers.columns] + self.levels
        influences = [Influence(*feature, float(weight)) for feature, weight in zip(features, weights[1:], strict=True)]
        return tuple(sorted(influences, key=lambda influence: -abs(influence.weight)))


def _break_up_large(groups: IntArray) -> IntArray:
    """Groups that would fill a fold are no groups: left whole they would leave nothing to compare with."""
    _, codes, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    alone = codes.max() + 1 + np.arange(len(groups))
    small = np.where(sizes[codes] <= len(groups) // FOLDS, codes, alone)
    return np.unique(small, return_inverse=True)[1].astype(np.int64)


def _held_out(x: Array, offset: Array, y: Array, groups: IntArray) -> Array:
    """Log-odds [n] of each row by models that never saw its group, the mean over some divisions into folds."""
    codes = y.astype(np.int64)
    total = np.zeros(len(y))
    repeats = min(max(ENOUGH // len(y), 1), REPEATS)
    for repeat in range(repeats):
        folds = group_folds(codes, groups, seed=repeat)
        for fold in range(FOLDS):
            out, train = folds == fold, folds != fold
            inner = group_folds(codes[train], np.unique(groups[train], return_inverse=True)[1], seed=repeat)
            seen = x[train], offset[train], y[train]
            weights = fit(*seen, _choose_penalty(*seen, inner))
            low, high = x[train].min(axis=0), x[train].max(axis=0)
            total[out] += offset[out] + np.clip(x[out], low, high) @ weights
    return total / repeats


def _choose_penalty(x: Array, offset: Array, y: Array, folds: IntArray) -> float:
    """The greatest penalty whose held-out log-loss is within one standard error of the least."""
    if x.shape[1] == 1:
        return PENALTIES[-1]
    losses = np.empty((len(PENALTIES), len(y)))
    for fold in range(FOLDS):
        out, train = folds == fold, folds != fold
        weights = None
        for row in reversed(range(len(PENALTIES))):
            weights = fit(x[train], offset[train], y[train], PENALTIES[row], weights)
            losses[row, out] = _losses(offset[out] + x[out] @ weights, y[out])
    worse = losses - losses[losses.mean(axis=1).argmin()]
    error = worse.std(axis=1, ddof=1) / np.sqrt(len(y))
    return PENALTIES[int(np.flatnonzero(worse.mean(axis=1) <= error).max())]


def fit(x: Array, offset: Array, y: Array, penalty: float, start: Array | None = None) -> Array:
    """Weights [p] that minimise Σ log-loss + ½ penalty |w|², the first with ``SHIFT_PENALTY``: Newton, step halved."""
    ridge = np.full(x.shape[1], penalty)
    ridge[0] = SHIFT_PENALTY
    weights = np.zeros(x.shape[1]) if start is None else start
    value = _objective(x, offset, y, ridge, weights)
    for _ in range(50):
        p = expit(offset + x @ weights)
        gradient = x.T @ (p - y) + ridge * weights
        hessian = (x * (p * (1 - p))[:, None]).T @ x + np.diag(ridge)
        step = np.linalg.solve(hessian, gradient)
        length = 1.0
        while (new := _objective(x, offset, y, ridge, weights - length * step)) > value and length > 1e-6:
            length /= 2
        weights = weights - length * step
        if value - new < 1e-9 * max(1.0, abs(value)):
            break
        value = new
    return weights


def _objective(x: Array, offset: Array, y: Array, ridge: Array, weights: Array) -> float:
    return float(_losses(offset + x @ weights, y).sum() + 0.5 * (ridge * weights**2).sum())


def _losses(log_odds: Array, y: Array) -> Array:
    return np.asarray(-log_expit(np.where(y > 0.5, log_odds, -log_odds)))


def _average_precision(y: Array, order: IntArray) -> float:
    wrong = y[order]
    return float((wrong * np.cumsum(wrong) / np.arange(1, len(y) + 1)).sum() / wrong.sum())


def _gain(y: Array, before: IntArray, after: IntArray) -> tuple[float, float]:
    """By how much the average precision of the second order is greater, and the standard error of that (bootstrap)."""
    counts = np.random.default_rng(0).multinomial(len(y), np.full(len(y), 1 / len(y)), size=BOOTSTRAP)

    def precisions(order: IntArray) -> Array:
        weight, wrong = counts[:, order], counts[:, order] * y[order]
        above = np.cumsum(wrong, axis=1) / np.maximum(np.cumsum(weight, axis=1), 1)
        return np.asarray((wrong * above).sum(axis=1) / np.maximum(wrong.sum(axis=1), 1))

    difference = precisions(after) - precisions(before)
    return _average_precision(y, after) - _average_precision(y, before), float(difference.std(ddof=1))
