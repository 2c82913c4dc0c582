"""One linear classifier per fold, each asked only about the images that it has not seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar

from gradattn_core.ranking.blocks import for_each, row_blocks, side_by_side
from gradattn_core.ranking.inputs import IntArray
from gradattn_core.ranking.shortlist import Candidates
from gradattn_core.records import FloatArray


def softmax(logits: FloatArray) -> FloatArray:
    """Row-wise softmax of [N, K] logits."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True), dtype=np.float32)


def log_softmax(logits: FloatArray) -> FloatArray:
    """Row-wise log-softmax of [N, K] logits."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)), dtype=np.float32)


def temperature(logits: FloatArray, codes: IntArray, trust: FloatArray | None = None) -> tuple[float, float]:
    """The one positive factor on ``logits`` [N, K] under which the given labels are likeliest, and their loss.

    The loss is the mean −log p(given label), in nats; images weigh ``trust`` [N].
    """
    rows = np.arange(len(codes))

    def loss(log_factor: float) -> float:
        log_p = log_softmax(logits * np.float32(np.exp(log_factor)))[rows, codes]
        return -float(np.average(log_p.astype(np.float64), weights=trust))

    found = minimize_scalar(loss, bounds=(-7, 3), method="bounded", options={"xatol": 1e-3})
    return float(np.exp(found.x)), float(found.fun)


@dataclass(frozen=True, slots=True)
class HeldOut:
    """What the classifier of each fold says about the images of that fold.

    Attributes:
        points: [N, d].
        fold_index: [N] in [0, F).
        coefficients: [F, K, d + 1], the bias last; trained without the images of the fold.
    """

    points: FloatArray
    fold_index: IntArray
    coefficients: FloatArray

    def logits(self, rows: slice | IntArray, out: FloatArray | None = None) -> FloatArray:
        """[B, K] of the images ``rows``, in ``out`` if there is one."""
        chosen = np.arange(len(self.points))[rows]
        shape = (len(chosen), self.coefficients.shape[1])
        table = np.empty(shape, dtype=np.float32) if out is None else out
        for block in row_blocks(len(chosen), self.points.shape[1]):
            points, fold_index = self.points[chosen[block]], self.fold_index[chosen[block]]
            for fold in np.unique(fold_index):
                held = fold_index == fold
                weights = self.coefficients[fold]
                table[block][held] = points[held] @ weights[:, :-1].T + weights[:, -1]
        return table

    def log_p(self, candidates: Candidates) -> FloatArray:
        """log p(class | image) over all classes, [N, C] at the candidates."""
        return candidates.take_all(lambda rows: log_softmax(self.logits(rows)))


POINTS = 2**29
"""Numbers of all points together, 2 GiB: of more images than fit, the axes of least variance are left out."""


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


def make_basis(features: FloatArray, numbers: int = POINTS) -> Basis:
    """The rotation of ``features`` [N, D] to principal axes, read a block at a time (a memory map will do).

    It is exact, every axis of variance is kept, as long as the points have at most ``numbers`` numbers in all.
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
    kept = np.flatnonzero(values > 1e-6 * max(values[-1], 1e-30))[::-1][: max(numbers // rows, 1)]
    values, vectors = values[kept], vectors[:, kept]
    axes = whole.T @ (vectors / np.sqrt(values)).astype(np.float32) if wide else vectors.astype(np.float32)
    axes = np.ascontiguousarray(axes)
    points = np.empty((rows, len(kept)), dtype=np.float32)

    def rotate(block: slice) -> None:
        points[block] = standard(block) @ axes

    for_each(rotate, blocks)
    return Basis(mean, scale, axes, points, (values / rows).astype(np.float32))


def standardisation(features: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mean and standard deviation [D] of ``features`` [N, D]; the latter infinite where a column is constant."""
    blocks = row_blocks(*features.shape)
    mean = sum(features[block].sum(axis=0, dtype=np.float64) for block in blocks) / len(features)
    squares = sum(np.square(features[block] - mean).sum(axis=0) for block in blocks)
    scale = np.sqrt(squares / len(features)).astype(np.float32)
    mean = np.asarray(mean, dtype=np.float32)
    scale[scale <= 1e-6 * np.maximum(np.abs(mean), 1e-30)] = np.inf
    return mean, scale
