"""The numbers of a map that adds up: an origin, what red adds, what blue takes, and the model's answer, in log-odds.

With f = z_a − z_b the model's log-odds of class a against class b and f₀ an origin, a map S whose sum is f − f₀ says

    f₀ + Σ S⁺ + Σ S⁻ = f.

Two origins make sense: f without any picture, and the mean of f over the audited pictures, which is what the same head
says about an average picture. Two scales, one for either sign, carry a map from one to the other: every sign stays.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

Origin = Literal["picture", "average"]
"""Where a waterfall begins: the answer without any picture, or the average answer."""

DEFAULT_ORIGIN: Origin = "average"
"""Where it begins unless asked otherwise: from there "more red than blue" contradicts the answer less often.
Measured in ``docs/interpretation.md``, made by ``bench/evidence.py``."""


@dataclass(frozen=True, slots=True)
class Sums:
    """What a map adds up to, in log-odds: ``base + red + blue = log_odds``.

    Attributes:
        log_odds: f, the model's answer in the map's own pass: positive where it prefers the class that red speaks for.
        base: the origin: f without any picture.
        average: the mean of f over the audited pictures under the same head; None outside an audit.
        red: the sum of the map's positive scores, >= 0.
        blue: the sum of its negative scores, <= 0.
        head: which head was explained; maps with the same one have the same ``base``, and those drawn by one audit the
            same ``average``. Empty outside an audit.
    """

    log_odds: float
    base: float
    average: float | None
    red: float
    blue: float
    head: str = ""

    def seen_from(self, origin: Origin = DEFAULT_ORIGIN) -> Sums:
        """The same with this origin as the ``base``; from *no picture* where there is no average answer."""
        return self.from_average() if origin == "average" and self.average is not None else self

    def from_average(self) -> Sums:
        """The same with the average answer as the origin: its ``base`` is the ``average``.

        Raises:
            ValueError: there is no average.
        """
        if self.average is None:
            raise ValueError("these sums know no average answer")
        total = self.log_odds - self.average
        up, down = two_scales(self.red, -self.blue, total)
        if not self.red or not self.blue:
            # One sign alone: what its scale cannot reach is said as it is, and the sum still holds.
            return replace(self, base=self.average, red=max(total, 0.0), blue=min(total, 0.0))
        return replace(self, base=self.average, red=self.red * up, blue=self.blue * down)


def two_scales(positive: float, negative: float, total: float) -> tuple[float, float]:
    """s and 1/s, by which both signs of a map are scaled so that s·positive − negative/s = ``total``.

    Args:
        positive: Σ S⁺, >= 0.
        negative: Σ |S⁻|, >= 0.
        total: any real number.

    Returns:
        both scales, > 0; (1, 1) where one of the sums is zero, as no scale reaches every total then.
    """
    if positive <= 0 or negative <= 0:
        return 1.0, 1.0
    root = math.hypot(total, 2 * math.sqrt(positive * negative))
    # Of the two forms of the root, the one that subtracts nothing.
    scale = (total + root) / (2 * positive) if total >= 0 else 2 * negative / (root - total)
    return scale, 1 / scale
