"""One number per curve, and how sure it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from gradattn_core.errors import EvaluateError
from gradattn_core.evaluate.perturbation import PerturbationCurve

FloatArray = NDArray[np.float64]
_HELD = 1 << 20


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean over images and the ends of its bootstrap interval at ``level``."""

    mean: float
    low: float
    high: float
    level: float


def area(curve: PerturbationCurve, measure: str = "accuracy") -> FloatArray:
    """Area under each image's curve, [images], by trapezoids from the first to the last share.

    It is divided by that range, so a constant curve has its own value as area, whatever the shares are. The published
    figures of other protocols (trapezoids from 0 to 0.9, times 100) are this times 0.9 times 100 there.

    Raises:
        EvaluateError: a curve of one share, or another measure.
    """
    if len(curve.shares) < 2:
        raise EvaluateError("curve: an area needs at least two shares")
    values = curve.values(measure)
    return np.asarray(np.trapezoid(values, curve.shares, axis=1) / (curve.shares[-1] - curve.shares[0]))


def bootstrap(values: ArrayLike, *, resamples: int = 10_000, level: float = 0.95, seed: int = 0) -> Interval:
    """The mean of one value per image, and its percentile bootstrap interval over images.

    Args:
        values: [images].
        resamples: how often as many images are drawn again with replacement.
        level: coverage of the interval, in (0, 1).
        seed: the same seed draws the same images, whatever the values.

    Raises:
        EvaluateError: an argument is unusable; the message names it.
    """
    sample = np.asarray(values, dtype=np.float64)
    if sample.ndim != 1 or not len(sample) or not np.isfinite(sample).all():
        raise EvaluateError(f"values: expected one finite number per image, got shape {list(sample.shape)}")
    if not 0 < level < 1 or resamples < 1:
        raise EvaluateError(f"level={level}, resamples={resamples}: expected a level in (0, 1) and at least 1 resample")
    mean = float(sample.mean())
    if len(sample) == 1:
        return Interval(mean, mean, mean, level)
    low, high = stats.bootstrap(
        (sample,),
        np.mean,
        n_resamples=resamples,
        # All of them at once would be images x resamples numbers.
        batch=max(1, _HELD // len(sample)),
        confidence_level=level,
        method="percentile",
        random_state=np.random.default_rng(seed),
    ).confidence_interval
    return Interval(mean, float(low), float(high), level)


def paired_difference(first: ArrayLike, second: ArrayLike) -> Interval:
    """Mean of ``first − second`` of the same images, and its 95 % bootstrap interval.

    An interval that leaves out zero tells two methods apart even where their own intervals overlap, because most of
    what varies between images is the same for both.

    Raises:
        EvaluateError: the two are not values of the same images.
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.shape != b.shape:
        raise EvaluateError(f"second: expected values of the same images {list(a.shape)}, got {list(b.shape)}")
    return bootstrap(a - b)
