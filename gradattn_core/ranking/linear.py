"""Linear classifiers out of sample: the features that they see, and what those of each fold say about its images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy

from gradattn_core.ranking.arrays import Table, for_each, row_blocks, side_by_side, standardisation
from gradattn_core.ranking.shortlist import Shortlist
from gradattn_core.records import FloatArray, IntArray

POINTS = 2**29
"""Numbers of all points together, 2 GiB: of more images than fit, the axes of least variance are left out."""
CACHED = 2**16
"""Numbers of a block that is gone over many times, 256 kB: it stays in a core's own memory."""
LEAST_TRUST = 1e-6
"""Trust in images, all together, of which less teaches nothing."""


@dataclass(frozen=True, slots=True)
class Basis:
    """Standardised features, rotated to their principal axes.

    ``axes`` is [D, d], ``points`` [N, d] and ``variances`` [d]; ``points = (features − mean) / scale @ axes``.
    Axes of no variance are left out, so constant features get weight zero.
    """

    mean: FloatArray
    scale: FloatArray
    axes: FloatArray
    points: FloatArray
    variances: FloatArray


def make_basis(features: Table, most: int | None = None) -> Basis:
    """The rotation of ``features`` [N, D] to principal axes, read a block at a time (a memory map will do).

    It is exact, every axis of variance is columns, as long as the points have at most ``POINTS`` numbers in all and
    there are no more than ``most``.
    """
    rows, width = features.shape
    mean, scale = standardisation(features)

    def standard(block: slice) -> FloatArray:
        return np.asarray((features[block] - mean) / scale)

    blocks = row_blocks(rows, width)
    wide = rows < width
    if wide:
        whole = standard(slice(None))
        gram = (whole @ whole.T).astype(np.float64)
    else:
        gram = np.zeros((width, width))

        def product(block: slice) -> FloatArray:
            part = standard(block)
            return np.asarray(part.T @ part)

        for part in side_by_side(product, blocks):
            gram += part
    values, vectors = np.linalg.eigh(gram)
    limit = min(max(POINTS // rows, 1), width if most is None else most)
    columns = np.flatnonzero(values > 1e-6 * max(values[-1], 1e-30))[::-1][:limit]
    values, vectors = values[columns], vectors[:, columns]
    axes = whole.T @ (vectors / np.sqrt(values)).astype(np.float32) if wide else vectors.astype(np.float32)
    axes = np.ascontiguousarray(axes)
    points = np.empty((rows, len(columns)), dtype=np.float32)

    def rotate(block: slice) -> None:
        points[block] = standard(block) @ axes

    for_each(rotate, blocks)
    return Basis(mean, scale, axes, points, (values / rows).astype(np.float32))


@dataclass(frozen=True, slots=True)
class FoldClassifiers:
    """A linear classifier for each fold, trained without the images of the fold and asked about these only.

    Attributes:
        points: [N, d].
        fold_index: [N] in [0, F).
        coefficients: [F, K, d + 1], the bias last.
    """

    points: FloatArray
    fold_index: IntArray
    coefficients: FloatArray

    def logits(self, rows: slice | IntArray, out: FloatArray | None = None) -> FloatArray:
        """[B, K] of the images ``rows``, in ``out`` if there is one."""
        numbers = np.arange(len(self.points))[rows]
        shape = (len(numbers), self.coefficients.shape[1])
        table = np.empty(shape, dtype=np.float32) if out is None else out
        for block in row_blocks(len(numbers), self.points.shape[1]):
            points, fold_index = self.points[numbers[block]], self.fold_index[numbers[block]]
            for fold in np.unique(fold_index):
                held_out = fold_index == fold
                weights = self.coefficients[fold]
                said = points[held_out] @ weights[:, :-1].T
                said += weights[:, -1]
                table[block][held_out] = said
        return table

    def log_p(self, shortlist: Shortlist) -> FloatArray:
        """log p(class | image) over all classes, [N, C] at the shortlisted ones."""

        def weighed(block: slice) -> FloatArray:
            # As log_softmax, but the logarithm is subtracted only where it is asked for.
            table = self.logits(block)
            table -= table.max(axis=1, keepdims=True)
            chosen = shortlist.take(table, block).copy()
            chosen -= np.log(np.exp(table, out=table).sum(axis=1, keepdims=True))
            return chosen

        return shortlist.of_all(weighed)


def temperature(logits: FloatArray, codes: IntArray, trust: FloatArray | None = None) -> tuple[float, float]:
    """The one positive factor on ``logits`` [N, K] under which the given labels are likeliest, and their loss.

    The loss is the mean −log p(given label), in nats; images weigh ``trust`` [N], and all the same where none is
    trusted.
    """
    trust = trust if trust is not None and trust.sum(dtype=np.float64) > LEAST_TRUST else None
    greatest, given = logits.max(axis=1), logits[np.arange(len(codes)), codes]
    step = max(CACHED // logits.shape[1], 1)
    blocks = [slice(start, start + step) for start in range(0, len(codes), step)]
    buffer, log_p = np.empty((step, logits.shape[1]), dtype=np.float32), np.empty(len(codes), dtype=np.float32)

    def loss(log_factor: float) -> float:
        factor = np.float32(np.exp(log_factor))
        for block in blocks:
            # As log_softmax of the block, but only where it is asked for, and without a table of its own.
            top = greatest[block] * factor
            said = np.multiply(logits[block], factor, out=buffer[: len(top)])
            said -= top[:, None]
            total = np.exp(said, out=said).sum(axis=1)
            log_p[block] = given[block] * factor - top - np.log(total)
        return -float(np.average(log_p.astype(np.float64), weights=trust))

    best = scipy.optimize.minimize_scalar(loss, bounds=(-7, 3), method="bounded", options={"xatol": 1e-3})
    return float(np.exp(best.x)), float(best.fun)
