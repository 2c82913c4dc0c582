"""How many labels are wrong under which assumption, shares and their intervals of 95 %, and how shares are said."""

from __future__ import annotations

import math

ASSUMPTIONS = ("class_noise_suspicion", "instance_noise_suspicion")
"""The probability that a label is wrong if the label noise is as fitted: annotators mix up classes, whatever the
picture; and if annotators err where the model doubts: the given label then tells nothing that the picture does not.
The suspicion lies between the two notions (docs/ranking.md)."""
SUREST = 1e-3
"""Where the odds of a suspicion are reckoned with, it is taken as at least this and at most 1 minus this."""
TWO_SIDED = 1.96
"""Standard deviations of a normal distribution that hold 95 %."""


def assumed_range(total: float, class_noise: float, instance_noise: float) -> tuple[float, float]:
    """From the least to the greatest number of wrong labels that the model believes in, whatever is assumed of noise.

    No interval: it says how much the belief depends on what is assumed, not how sure it is. (NaN, NaN) where an audit
    of an older version lacks what the assumptions say.

    Args:
        total: Σ suspicion; class_noise, instance_noise: the sums under each of ``ASSUMPTIONS``. All >= 0.
    """
    sums = (total, class_noise, instance_noise)
    return (math.nan, math.nan) if any(map(math.isnan, sums)) else (min(sums), max(sums))


def share(part: int, whole: int) -> tuple[float, float]:
    """Wilson's interval of the share that ``part`` of ``whole`` came from; (NaN, NaN) for none of none."""
    if whole == 0:
        return math.nan, math.nan
    z = TWO_SIDED**2
    middle = (part + z / 2) / (whole + z)
    width = TWO_SIDED * math.sqrt(part * (whole - part) / whole + z / 4) / (whole + z)
    # At the ends Wilson's bound is the share itself, which rounding misses.
    return (0.0 if part == 0 else middle - width), (1.0 if part == whole else middle + width)


def first_to_review(suspects: int, images: int) -> int:
    """How many of the most suspect images to speak of: all suspects, in round numbers (two digits, upwards)."""
    unit = int(10 ** max(len(str(suspects)) - 2, 0))
    return min(-(-suspects // unit) * unit, images)


def percent(share: float, digits: int = 0, *, counted: bool = False) -> str:
    """A share in [0, 1] in per cent, never rounded to none or all: ``<1%``, ``37%``, ``>99%``; a dash for NaN.

    Args:
        share: an estimate, which is never said to be certain, so 0 and 1 too are written as ``<1%`` and ``>99%``;
        digits: how many after the point: with one, ``<0.1%``, ``12.3%``, ``>99.9%``.
        counted: it is no estimate; then exactly 0 and 1 are ``0%`` and ``100%``.
    """
    if math.isnan(share):
        return "–"
    least = 10.0 ** -(digits + 2)
    certain = counted and share in (0, 1)
    if share < least and not certain:
        return f"<{least:.{digits}%}"
    if share > 1 - least and not certain:
        return f">{1 - least:.{digits}%}"
    return f"{share:.{digits}%}"


def agreement(agreeing: int, measured: int) -> str:
    """In how many of the measured suspects the strongest region does what its number says; empty for none measured."""
    if not measured:
        return ""
    share = percent(agreeing / measured, 0 if agreeing in (0, measured) else 1, counted=True)
    return f"in {agreeing:,} of {measured:,} measured suspects the strongest region does what its number says ({share})"
