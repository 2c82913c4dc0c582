"""Features on their principal axes: where every later product is smaller and the loss of a linear fit nearly round."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradattn_core.ranking.blocks import for_each, row_blocks, side_by_side
from gradattn_core.records import FloatArray

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
