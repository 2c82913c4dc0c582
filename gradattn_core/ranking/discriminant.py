"""Linear discriminant analysis out of sample: class means under one shrunk covariance, in closed form.

Means and a covariance forgive wrong training labels better than a likelihood fit does: strong on noisy sets.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize_scalar

from gradattn_core.ranking.probe import log_softmax, side_by_side
from gradattn_core.ranking.validate import IntArray
from gradattn_core.records import FloatArray

SHRINKAGES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
"""Multiples of the mean variance that are added to every axis of the within-class covariance."""


def tempered(scores: FloatArray, codes: IntArray, trust: FloatArray | None = None) -> tuple[FloatArray, float]:
    """log-softmax of ``scores`` [N, K] times the one positive factor under which the given labels are likeliest.

    Returns the log-probabilities and the mean −log p(given label), in nats; images weigh ``trust`` [N].
    """
    rows = np.arange(len(codes))

    def loss(log_factor: float) -> float:
        log_p = log_softmax(scores * np.float32(np.exp(log_factor)))[rows, codes]
        return -float(np.average(log_p.astype(np.float64), weights=trust))

    found = minimize_scalar(loss, bounds=(-7, 3), method="bounded", options={"xatol": 1e-3})
    return log_softmax(scores * np.float32(np.exp(found.x))), float(found.fun)


def held_out_discriminant(
    points: FloatArray, codes: IntArray, classes: int, fold_index: IntArray, trust: FloatArray | None = None
) -> FloatArray:
    """log p(class | features) [N, K], each row by a discriminant trained without the row's fold.

    z_k = m_kᵀ P x − ½ m_kᵀ P m_k + log prior_k with P = (Σ + s·tr(Σ)/d·I)⁻¹ and the means m, the within-class
    covariance Σ and the priors of the training part. s and one temperature for all are chosen by the held-out
    likelihood of the given labels. Everywhere an image counts ``trust`` [N] (in [0, 1], default one). A class without
    training images gets the overall mean and the prior of half an image.

    Args:
        points: [N, d] centred features, ideally on principal axes.
    """
    weight = np.ones(len(codes), dtype=np.float32) if trust is None else trust
    scores = np.empty((len(SHRINKAGES), len(codes), classes), dtype=np.float32)
    targets = np.eye(classes, dtype=np.float32)[codes] * weight[:, None]

    def fit(fold: int) -> None:
        held = fold_index == fold
        train, wanted = points[~held], targets[~held]
        count = wanted.sum(axis=0)
        total = max(float(count.sum()), 1e-6)
        overall = train.mean(axis=0)
        means = np.where(count[:, None] > 1e-6, wanted.T @ train / np.maximum(count, 1e-6)[:, None], overall)
        within = (train.T * (weight[~held] / total)) @ train - (means.T * (count / total)) @ means
        values, axes = np.linalg.eigh(within)
        values = np.maximum(values, 0)
        judged, centres = points[held] @ axes, means @ axes
        prior = np.log(np.maximum(count, 0.5) / total)
        for number, shrinkage in enumerate(SHRINKAGES):
            precision = 1 / (values + max(shrinkage * float(values.sum()) / max(len(values), 1), 1e-12))
            scores[number, held] = (judged * precision) @ centres.T - 0.5 * (centres**2 @ precision) + prior

    side_by_side(fit, int(fold_index.max()) + 1, points.size + scores[0].size)
    candidates = [tempered(score, codes, weight) for score in scores]
    return min(candidates, key=lambda candidate: candidate[1])[0]
