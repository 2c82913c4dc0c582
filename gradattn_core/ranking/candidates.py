"""Which classes are weighed for each image. Of a thousand, all but a few are out of the question."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gradattn_core.ranking.blocks import row_blocks, side_by_side
from gradattn_core.ranking.validate import IntArray
from gradattn_core.records import FloatArray

CANDIDATES = 24
"""Classes weighed per image, the given one among them; with as many classes or fewer, all of them."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """The classes that are weighed for each image.

    Attributes:
        index: [N, C] class numbers, ascending in each row.
        own: [N] the column of the given class.
        classes: K, how many classes there are in all.
    """

    index: NDArray[np.int32]
    own: IntArray
    classes: int

    @property
    def rows(self) -> IntArray:
        return np.arange(len(self.own))

    def of(self, rows: IntArray) -> Candidates:
        """Those of some images only."""
        return Candidates(self.index[rows], self.own[rows], self.classes)

    def take(self, table: FloatArray, block: slice) -> FloatArray:
        """Of the rows ``block``, their ``table`` [B, K] at the candidates: [B, C]."""
        if self.index.shape[1] == self.classes:
            return table
        return np.take_along_axis(table, self.index[block], axis=1)


def every_class(codes: IntArray, classes: int) -> Candidates:
    """All classes, for every image."""
    every = np.broadcast_to(np.arange(classes, dtype=np.int32), (len(codes), classes))
    return Candidates(every, codes, classes)


def likeliest(opinion: Callable[[slice], FloatArray], codes: IntArray, classes: int) -> Candidates:
    """The given class of each image and those of the highest ``opinion``, which gives [B, K] for a block of rows."""
    count = CANDIDATES
    if classes <= count:
        return every_class(codes, classes)
    index = np.empty((len(codes), count), dtype=np.int32)
    own = np.empty(len(codes), dtype=np.int64)
    blocks = row_blocks(len(codes), classes)

    def choose(number: int) -> None:
        block = blocks[number]
        table = opinion(block).copy()
        given = codes[block, None]
        np.put_along_axis(table, given, np.inf, axis=1)
        chosen = np.sort(np.argpartition(-table, count - 1, axis=1)[:, :count], axis=1)
        index[block] = chosen
        own[block] = (chosen == given).argmax(axis=1)

    for _ in side_by_side(choose, len(blocks)):
        pass
    return Candidates(index, own, classes)
