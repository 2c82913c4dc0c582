"""What the numbers of an audit say in words, for the command line and the page. Imports nothing slower than numpy."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gradattn_core.estimates import percent
from gradattn_core.records import FloatArray

STANDS_OUT = 2 / 9
"""The share of a map's mass from which one ninth of the picture stands out: spread evenly, each holds a ninth."""

_NAMES = (("upper left", "top", "upper right"), ("left", "middle", "right"), ("lower left", "bottom", "lower right"))
_PREPOSITIONS = (("at", "at", "at"), ("on", "in", "on"), ("at", "at", "at"))


@dataclass(frozen=True, slots=True)
class Ninth:
    """One of nine equal parts of a picture, three by three.

    Attributes:
        row, column: 0, 1 or 2, from the top and from the left.
    """

    row: int
    column: int

    @property
    def name(self) -> str:
        """``upper left``, ``top``, ``left``, ``middle`` …"""
        return _NAMES[self.row][self.column]

    @property
    def phrase(self) -> str:
        """``at the upper left``, ``at the top``, ``on the left``, ``in the middle`` …"""
        return f"{_PREPOSITIONS[self.row][self.column]} the {self.name}"


def ninth_of(across: float, down: float) -> Ninth:
    """The ninth that a point lies in, given in shares of the picture's width and height, each in [0, 1]."""
    row, column = ((share >= 1 / 3) + (share > 2 / 3) for share in (down, across))
    return Ninth(row, column)


def heaviest_ninth(mass: FloatArray) -> tuple[Ninth, float] | None:
    """The ninth of the picture that holds most of a map's mass, and its share of it, from 1/9 to 1.

    Args:
        mass: [grid height, grid width], all >= 0, such as the evidence for one class.

    Returns:
        None where there is no mass.
    """
    total = float(mass.sum(dtype=np.float64))
    if not math.isfinite(total) or total <= 0:
        return None
    # A patch on the border of two ninths counts for both in proportion.
    rows, columns = (_thirds(side) for side in mass.shape)
    shares = rows @ mass.astype(np.float64) @ columns.T / total
    row, column = divmod(int(shares.argmax()), 3)
    return Ninth(row, column), float(shares[row, column])


def estimate(errors: float, low: float | None, high: float | None, *, images: int, first: int, found: float) -> str:
    """How many labels are wrong, as a sentence: ``about 12 (8 to 16) of 100 labels are wrong; …``.

    Args:
        errors, low, high: the estimate and its interval; None where an older audit has none.
        first, found: reviewing the ``first`` most suspect images finds this share of all wrong labels, 0 to 1.
    """
    interval = "" if low is None or high is None else f" ({low:,.0f} to {high:,.0f})"
    sentence = f"about {errors:,.0f}{interval} of {images:,} labels are wrong"
    return (
        f"{sentence}; reviewing the first {first:,} finds {percent(found)} of them"
        if first and errors >= 0.5
        else sentence
    )


def _thirds(side: int) -> NDArray[np.float64]:
    """[3, side]: how much of each patch lies in each third."""
    edges = np.linspace(0, side, 4)
    start = np.arange(side)
    overlap = np.minimum(start + 1, edges[1:, None]) - np.maximum(start, edges[:-1, None])
    return np.asarray(np.clip(overlap, 0, None))
