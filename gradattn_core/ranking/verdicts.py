"""What reviewers found out about some images, for fits that are to learn from it.

Of a reviewed image the true class is known: its posterior is certain, so T and the reliabilities are learnt from it
as from a labelled example, and it trains its true class with full weight. An image of none of the classes trains none.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from gradattn_core.errors import RankingError
from gradattn_core.ranking.shortlist import Shortlist
from gradattn_core.records import FloatArray, IntArray

UNKNOWN, NONE = -1, -2
"""In place of a class number: nobody has said; it is none of the classes, or nobody knows which other one."""


@dataclass(frozen=True, slots=True)
class Known:
    """The labels that fits train on, and what is sure of them.

    Attributes:
        given: [N] class numbers as given.
        true: [N] class numbers as reviewers found them, or ``UNKNOWN`` or ``NONE``.
    """

    given: IntArray
    true: IntArray

    @property
    def anything(self) -> bool:
        return bool((self.true != UNKNOWN).any())

    @property
    def labels(self) -> IntArray:
        """[N] the class that each image trains: the true one where it is known, else the given one."""
        return np.where(self.true >= 0, self.true, self.given) if self.anything else self.given

    def weight(self, trust: FloatArray | None = None) -> FloatArray | None:
        """[N] what each image weighs: ``trust`` (None: 1) where nobody has said, 1 or 0 where somebody has."""
        if not self.anything:
            return trust
        unknown = np.ones(len(self.true), np.float32) if trust is None else trust
        return np.where(self.true == UNKNOWN, unknown, (self.true >= 0).astype(np.float32))

    def restrict(self, shortlist: Shortlist) -> Shortlist:
        """The shortlist with the classes that are still possible; any but the given one where the true one is not on
        it, as where there is none."""
        if not self.anything:
            return shortlist
        known = (self.true != UNKNOWN)[:, None]
        true = shortlist.index == self.true[:, None]
        other = ~true.any(axis=1, keepdims=True) & (shortlist.index != self.given[:, None])
        return replace(shortlist, possible=~known | true | other)


def check_known(known: ArrayLike | None, given: IntArray, classes: int) -> Known:
    """``known`` [N] as :class:`Known`; None is nothing.

    Raises:
        RankingError: not one integer per label, or one that is no class.
    """
    if known is None:
        return Known(given, np.full(len(given), UNKNOWN, dtype=np.int64))
    true = np.asarray(known)
    if true.shape != given.shape or true.dtype.kind not in "iu":
        raise RankingError(f"known must be {len(given)} integers, one per label; got {true.dtype} {true.shape}")
    outside = np.flatnonzero((true < NONE) | (true >= classes))
    if len(outside):
        raise RankingError(
            f"known[{outside[0]}] is {true[outside[0]]}; it must be a class number 0 to {classes - 1}, {UNKNOWN} where "
            f"nobody has said, or {NONE} where it is none of the classes"
        )
    return Known(given, true.astype(np.int64))
