"""Exact copies of a picture: evidence once, and where they bear different labels at most one of these is right.

Copies would vouch for one another, and those under two labels would teach the voters that the two are confused
everywhere. So every picture is judged once, under one of its labels; what is found is then said of all its copies.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradattn_core.errors import RankingError
from gradattn_core.ranking.arguments import Arguments
from gradattn_core.ranking.arrays import row_blocks, softmax
from gradattn_core.ranking.fusion import TEMPER, Fusion
from gradattn_core.ranking.inputs import check_folds, values_of
from gradattn_core.ranking.shortlist import Shortlist
from gradattn_core.records import FloatArray, IntArray


@dataclass(frozen=True, slots=True)
class Copies:
    """Which rows are one picture; pictures in the order of their first rows.

    Attributes:
        first: [R] the first row of each picture.
        place: [N] the picture of each row.
        disputed: [P] pictures of several labels, once for each of these, ascending.
        said: [P] that label, ascending for each picture.
        turn: [R] a number that depends on what the picture is and not on where it stands.
    """

    first: IntArray
    place: IntArray
    disputed: IntArray
    said: IntArray
    turn: IntArray

    @property
    def in_dispute(self) -> NDArray[np.bool_]:
        """[R] whether a picture has several labels."""
        return np.isin(np.arange(len(self.first)), self.disputed)

    @property
    def least_doubt(self) -> NDArray[np.float64]:
        """[N] 1 − 1 / number of labels of the picture."""
        return np.asarray(1 - 1 / np.maximum(np.bincount(self.disputed, minlength=len(self.first)), 1))[self.place]

    def labels(self, codes: IntArray) -> IntArray:
        """[R] a label of each picture: of several a different one from picture to picture."""
        chosen = codes[self.first]
        pictures, starts, counts = np.unique(self.disputed, return_index=True, return_counts=True)
        chosen[pictures] = self.said[starts + self.turn[pictures] % counts]
        return chosen

    def likeliest(self, posterior: FloatArray, shortlist: Shortlist, labels: IntArray) -> IntArray:
        """[R] ``labels`` with, of the disputed pictures, the one of theirs of greatest ``posterior`` [R, C]."""
        chosen = labels.copy()
        on_list = shortlist.index[self.disputed] == self.said[:, None]
        chance = np.where(on_list, posterior[self.disputed], 0).sum(axis=1)
        # The last of each picture in this order; of equals the first label.
        order = np.lexsort((-self.said, chance, self.disputed))
        last = order[np.append(np.diff(self.disputed[order]) > 0, True)] if len(order) else order
        chosen[self.disputed[last]] = self.said[last]
        return chosen


def find_copies(arguments: Arguments) -> Copies | None:
    """The copies among the rows, by the group that each was said to be of, else by equal features; None without any."""
    rows = len(arguments.codes)
    if arguments.copies is not None:
        keys = [repr(value) for value in values_of(arguments.copies, "copies")]
        if len(keys) != rows:
            raise RankingError(f"copies holds {len(keys)} groups, but given has {rows} labels: one for each image")
        if len(set(keys)) == rows:
            return None
    elif arguments.features is not None:
        if len(np.unique(_sums(arguments.features))) == rows:
            return None
        keys = _digests(arguments.features)
    else:
        return None
    _, first, turn = np.unique(np.array(keys), return_index=True, return_inverse=True)
    if len(first) == rows:
        return None
    order = np.argsort(first)
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    pictures = place[turn]
    pairs = np.unique(np.stack([pictures, arguments.codes], axis=1), axis=0)
    several = np.bincount(pairs[:, 0])[pairs[:, 0]] > 1
    return Copies(first[order], pictures, pairs[several, 0], pairs[several, 1], order)


def _sums(features: FloatArray) -> NDArray[np.uint64]:
    """[N] the same for the same features, and hardly ever for others: a tenth of the work of digests."""
    odd = np.random.default_rng(0).integers(0, 2**63, features.shape[1], dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    sums = np.empty(len(features), dtype=np.uint64)
    for block in row_blocks(*features.shape):
        # Minus zero is zero.
        bits = np.asarray(features[block] + np.float32(0)).view(np.uint32)
        sums[block] = (bits * odd).sum(axis=1)
    return sums


def _digests(features: FloatArray) -> list[str]:
    found: list[str] = []
    for block in row_blocks(*features.shape):
        # Minus zero is zero.
        part = np.ascontiguousarray(features[block] + np.float32(0))
        found += [blake2b(row.data, digest_size=16).hexdigest() for row in part]
    return found


def once_each(arguments: Arguments, copies: Copies, labels: IntArray) -> Arguments:
    """The arguments with one row for each picture, under ``labels`` [R]."""

    def of(table: Any) -> Any:
        return None if table is None else np.asarray(table)[copies.first]

    folds = None if arguments.folds is None else of(check_folds(arguments.folds, len(arguments.codes))[0])
    if folds is not None and (folds == folds[0]).all():
        folds = None
    return replace(
        arguments,
        codes=labels,
        features=of(arguments.features),
        predictions=of(arguments.predictions),
        folds=folds,
        copies=None,
    )


def judged_jointly(fusion: Fusion, shortlist: Shortlist, copies: Copies, power: float = TEMPER) -> FloatArray:
    """[R, C] p(true class | picture, all its labels) ∝ q(t) · Π_g T[t, g] ** power over its distinct labels g.

    The probabilities of its labels together are at most 1, however many there are.

    Args:
        fusion: of one row for each picture.
        power: of T; 1 if the label noise is as fitted.
    """
    evidence = np.zeros(fusion.log_clean.shape)
    log_noise = np.log(np.maximum(fusion.noise.astype(np.float64), 1e-9))
    np.add.at(evidence, copies.disputed, log_noise[shortlist.index[copies.disputed], copies.said[:, None]])
    return np.asarray(softmax(fusion.log_clean + (power * evidence).astype(np.float32)))
