"""Estimated numbers as they are read: never with more digits than they deserve."""

from __future__ import annotations

import math

_ABSENT = "–"


def about(number: float) -> str:
    """A count in two significant digits, at least whole: ``1,700`` for 1,684; a dash where there is none."""
    return _rounded(number, 2)


def interval(low: float, high: float) -> str:
    """Both ends in three significant digits: ``1,480–1,920``; a dash where there is none."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return _ABSENT
    return f"{_rounded(low, 3)}–{_rounded(high, 3)}"


def share(part: float) -> str:
    """A share in per cent, never rounded to none or all of it."""
    if not math.isfinite(part):
        return _ABSENT
    if 0 < part < 0.005:
        return "<1%"
    if 0.995 <= part < 1:
        return ">99%"
    return f"{part:.0%}"


def duration(seconds: float) -> str:
    """A length of time in its two largest units: ``45 s``, ``12 min``, ``3 h 5 min``."""
    minutes = round(seconds / 60)
    if minutes < 2:
        return f"{max(0, round(seconds))} s"
    hours, rest = divmod(minutes, 60)
    return f"{minutes} min" if not hours else f"{hours} h {rest} min"


def review_points(images: int, suspects: int) -> list[int]:
    """Lengths of a list worth asking about: 10, 20, 50, 100 … below the number of images, and both numbers."""
    steps = {digit * 10**power for power in range(1, 10) for digit in (1, 2, 5)}
    return sorted({step for step in steps if step < images} | {suspects, images})


def _rounded(number: float, digits: int) -> str:
    if not math.isfinite(number):
        return _ABSENT
    surplus = max(0, len(str(int(abs(number)))) - digits)
    return f"{round(number, -surplus):,.0f}"
