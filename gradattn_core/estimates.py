"""How sure a share or a number of wrong labels is, importing nothing that is slow: intervals of about 95 %."""

from __future__ import annotations

import math

MODEL_ERROR = 0.2
"""Relative error of a sum of suspicions itself, seen on real and on planted noise (docs/ranking.md)."""
TWO_SIDED = 1.96
"""Standard deviations of a normal distribution that hold 95 %."""


def wrong_labels(total: float, variance: float, images: int) -> tuple[float, float]:
    """Interval of the number of wrong labels: chance (Poisson-binomial) and the estimate's own error together.

    Args:
        total: the expected number, Σ suspicion.
        variance: Σ suspicion · (1 − suspicion).
        images: how many labels were summed, the most that can be wrong.
    """
    width = math.hypot(TWO_SIDED * math.sqrt(variance), MODEL_ERROR * total)
    return max(total - width, 0.0), min(total + width, float(images))


def share(part: int, whole: int) -> tuple[float, float]:
    """Wilson's interval of the share that ``part`` of ``whole`` came from; (NaN, NaN) for none of none."""
    if whole == 0:
        return math.nan, math.nan
    z = TWO_SIDED**2
    middle = (part + z / 2) / (whole + z)
    width = TWO_SIDED * math.sqrt(part * (whole - part) / whole + z / 4) / (whole + z)
    # At the ends Wilson's bound is the share itself, which rounding misses.
    return (0.0 if part == 0 else middle - width), (1.0 if part == whole else middle + width)
