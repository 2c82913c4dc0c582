"""Which classes are weighed for each image. Of a thousand, all but a few are out of the question."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gradattn_core.ranking.arrays import for_each, row_blocks
from gradattn_core.records import FloatArray, IntArray

LENGTH = 24
"""Classes weighed per image, the given one among them; with as many classes or fewer, all of them."""

Predictor = Callable[[slice], FloatArray]
"""log p(class), or what orders the classes alike, of a block of images: [B, K]."""


@dataclass(frozen=True, slots=True)
class Shortlist:
    """The classes that are weighed for each image.

    Attributes:
        index: [N, C] class numbers, ascending in each row.
        own: [N] the column of the given class.
        classes: K, how many classes there are in all.
        possible: [N, C] which of them the true class may be, where reviewers have said; None where nobody has.
    """

    index: NDArray[np.int32]
    own: IntArray
    classes: int
    possible: NDArray[np.bool_] | None = None

    @property
    def rows(self) -> IntArray:
        """The row numbers 0 … N − 1: ``table[rows, own]`` of a table [N, C] is its column of the given class."""
        return np.arange(len(self.own))

    @property
    def given(self) -> NDArray[np.int32]:
        """[N] the given class."""
        return self.index[self.rows, self.own]

    def at(self, rows: IntArray) -> Shortlist:
        """That of some images only."""
        possible = None if self.possible is None else self.possible[rows]
        return Shortlist(self.index[rows], self.own[rows], self.classes, possible)

    def take(self, table: FloatArray, block: slice) -> FloatArray:
        """Of the images ``block``, their ``table`` [B, K] at the shortlisted classes: [B, C]."""
        if self.index.shape[1] == self.classes:
            return table
        return np.take_along_axis(table, self.index[block], axis=1)

    def take_all(self, predictor: Predictor) -> FloatArray:
        """What ``predictor`` says of every image at its shortlisted classes: [N, C]."""
        return self.of_all(lambda block: self.take(predictor(block), block))

    def of_all(self, weighed: Predictor) -> FloatArray:
        """The same where the answer [B, C] is of the shortlisted classes already."""
        result = np.empty(self.index.shape, dtype=np.float32)

        def ask(block: slice) -> None:
            result[block] = weighed(block)

        for_each(ask, row_blocks(len(result), self.classes))
        return result


def every_class(codes: IntArray, classes: int) -> Shortlist:
    """All classes, for every image of the given classes ``codes`` [N]."""
    every = np.broadcast_to(np.arange(classes, dtype=np.int32), (len(codes), classes))
    return Shortlist(every, codes, classes)


def given_class(codes: IntArray, classes: int) -> Shortlist:
    """The given class of each image alone."""
    return Shortlist(codes[:, None].astype(np.int32), np.zeros_like(codes), classes)


def likeliest(predictor: Predictor, codes: IntArray, classes: int) -> Shortlist:
    """The given class of each image and those that ``predictor`` finds likeliest."""
    if classes <= LENGTH:
        return every_class(codes, classes)
    index = np.empty((len(codes), LENGTH), dtype=np.int32)
    own = np.empty(len(codes), dtype=np.int64)

    def choose(block: slice) -> None:
        table = predictor(block).copy()
        given = codes[block, None]
        np.put_along_axis(table, given, np.inf, axis=1)
        chosen = np.sort(np.argpartition(-table, LENGTH - 1, axis=1)[:, :LENGTH], axis=1)
        index[block] = chosen
        own[block] = (chosen == given).argmax(axis=1)

    for_each(choose, row_blocks(len(codes), classes))
    return Shortlist(index, own, classes)
