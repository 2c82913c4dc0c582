"""Linear discriminant analysis out of sample: class means under one shrunk covariance, in closed form.

Means and a covariance forgive wrong training labels better than a likelihood fit does: strong on noisy sets.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from scipy.sparse import csr_matrix

from gradattn_core.ranking.arrays import row_blocks, sample_rows, side_by_side
from gradattn_core.ranking.few import cut_short
from gradattn_core.ranking.linear import FoldClassifiers, temperature
from gradattn_core.records import FloatArray, IntArray

SHRINKAGES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
"""Multiples of the mean variance that are added to every axis of the within-class covariance."""
DEAR = 2**30
"""Classes by axes by axes beyond which a solution is dear, and the multiple is sought in one fold."""
ROUNDING = 1e-5
"""The least that is added, of the largest variance: sums of float32 can leave a covariance slightly indefinite."""


def fit_discriminant(
    points: FloatArray, codes: IntArray, classes: int, fold_index: IntArray, trust: FloatArray | None = None
) -> FoldClassifiers:
    """The discriminant of each fold, trained on the others.

    z_k = m_kᵀ P x − ½ m_kᵀ P m_k + log prior_k with P = (Σ + s·tr(Σ)/d·I)⁻¹ and the means m, the within-class
    covariance Σ and the priors of the training part. s and one temperature for all are chosen by the held-out
    likelihood of the given labels. Everywhere an image counts ``trust`` [N] (in [0, 1], default one). A class without
    training images gets the overall mean and the prior of half an image.

    Args:
        points: [N, d] centred features, ideally on principal axes.
    """
    weight = np.ones(len(codes), dtype=np.float32) if trust is None else trust
    folds, axes = int(fold_index.max()) + 1, points.shape[1]
    short = cut_short(len(codes), classes, axes)
    # What a fold's training part adds up to is everything but the fold: each image is summed once.
    members = [np.flatnonzero(fold_index == fold) for fold in range(folds)]
    moments = list(side_by_side(lambda rows: _moments(points, codes, classes, weight, rows), members))
    counts = np.stack([count for count, _, _ in moments])
    sums = np.stack([total for _, total, _ in moments])
    squares = sum(square for _, _, square in moments)

    def fit(fold: int, shrinkages: tuple[float, ...]) -> FloatArray:
        count, total = counts.sum(axis=0) - counts[fold], sums.sum(axis=0) - sums[fold]
        images = max(float(count.sum()), 1e-6)
        present = count > 1e-6
        means = np.where(present[:, None], total / np.maximum(count, 1e-6)[:, None], total.sum(axis=0) / images)
        square = (squares - moments[fold][2]) / images
        weighed = means.astype(np.float32) if short else means
        within = square - (weighed.T * (count / images).astype(weighed.dtype)) @ weighed
        prior = np.log(np.maximum(count, 0.5) / images)
        variances = np.diagonal(within)
        least = max(ROUNDING * float(np.diagonal(square).max(initial=0)), 1e-12)
        coefficients = np.empty((len(shrinkages), classes, axes + 1), dtype=np.float32)
        for number, shrinkage in enumerate(shrinkages):
            added_variance = max(shrinkage * float(np.maximum(variances, 0).mean()) if axes else 0.0, least)
            weights = _solve(within + added_variance * np.eye(axes), means.T).T
            coefficients[number, :, :-1] = weights
            coefficients[number, :, -1] = prior - 0.5 * np.einsum("kd,kd->k", weights, means)
        return coefficients

    tried: tuple[float, ...] = SHRINKAGES
    fitted: dict[int, FloatArray] = {}
    if classes * axes**2 > DEAR:
        asked = members[0][sample_rows(len(members[0]), classes)]

        def loss(tried: FloatArray) -> float:
            return temperature(points[asked] @ tried[:, :-1].T + tried[:, -1], codes[asked], weight[asked])[1]

        searched = fit(0, SHRINKAGES)
        least_loss = int(np.argmin(list(side_by_side(loss, list(searched)))))
        tried, fitted = (SHRINKAGES[least_loss],), {0: searched[least_loss : least_loss + 1].copy()}
        del searched  # many times as much
    others = [fold for fold in range(folds) if fold not in fitted]
    fitted |= zip(others, side_by_side(lambda fold: fit(fold, tried), others), strict=True)
    of_folds = np.stack([fitted.pop(fold) for fold in range(folds)], axis=1)
    sample = sample_rows(len(codes), classes)

    def calibrate(weights: FloatArray) -> tuple[float, float]:
        return temperature(FoldClassifiers(points, fold_index, weights).logits(sample), codes[sample], weight[sample])

    found = list(side_by_side(calibrate, list(of_folds)))
    best = min(range(len(tried)), key=lambda number: found[number][1])
    return FoldClassifiers(points, fold_index, of_folds[best] * np.float32(found[best][0]))


def _moments(
    points: FloatArray, codes: IntArray, classes: int, weight: FloatArray, rows: IntArray
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Of the images ``rows``: weight [K] and sum [K, d] of each class, and Σ w·x·xᵀ [d, d]."""
    axes = points.shape[1]
    count = np.bincount(codes[rows], weight[rows].astype(np.float64), minlength=classes).astype(np.float64)
    sums, square = np.zeros((classes, axes)), np.zeros((axes, axes))
    for block in row_blocks(len(rows), axes, coarse=True):
        part = rows[block]
        x, w = points[part], weight[part]
        sums += csr_matrix((w, (codes[part], np.arange(len(part)))), shape=(classes, len(part))) @ x
        if len(part) < len(rows):
            # Of many images half the product is computed: a matrix's with itself. To rounding it is the same.
            x *= np.sqrt(w)[:, None]
            square += x.T @ x
        else:
            square += (x.T * w) @ x
    return count, sums, square


def _solve(matrix: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    """``matrix``⁻¹ ``right`` in float32, which takes half the time, or in float64 where that is not precise enough.

    Where hardly any image is trusted the sums are mostly rounding and the matrix may be indefinite; its greatest number
    on the diagonal outweighs that.
    """
    try:
        factor = cho_factor(matrix.astype(np.float32), lower=True, overwrite_a=True, check_finite=False)
    except LinAlgError:
        try:
            factor = cho_factor(matrix, lower=True, check_finite=False)
        except LinAlgError:
            size = 2 * len(matrix) * max(float(np.abs(matrix).max()), 1e-30)
            factor = cho_factor(matrix + size * np.eye(len(matrix)), lower=True, check_finite=False)
    return np.asarray(cho_solve(factor, right.astype(factor[0].dtype), check_finite=False))
