"""Features on their principal axes: where every later product is smaller and the loss of a linear fit nearly round."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradattn_core.ranking.blocks import row_blocks, side_by_side
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

    wide = rows < width
    if wide:
        whole = standard(slice(None))
        gram = (whole @ whole.T).astype(np.float64)
    else:
        gram = np.zeros((width, width))
        blocks = row_blocks(rows, width)

        def product(number: int) -> FloatArray:
            part = standard(blocks[number])
            return np.asarray(part.T @ part)

        for part in side_by_side(product, len(blocks)):
            gram += part
    values, vectors = np.linalg.eigh(gram)
    kept = np.flatnonzero(values > 1e-6 * max(values[-1], 1e-30))[::-1][: max(numbers // rows, 1)]
    values, vectors = values[kept], vectors[:, kept]
    axes = whole.T @ (vectors / np.sqrt(values)).astype(np.float32) if wide else vectors.astype(np.float32)
    axes = np.ascontiguousarray(axes)
    points = np.empty((rows, len(kept)), dtype=np.float32)
    blocks = row_blocks(rows, width)

    def rotate(number: int) -> None:
        points[blocks[number]] = standard(blocks[number]) @ axes

    for _ in side_by_side(rotate, len(blocks)):
        pass
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
