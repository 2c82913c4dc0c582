"""Linear discriminant analysis out of sample: class means under one shrunk covariance, in closed form.

Squared distances forgive wrong training labels better than a likelihood fit does, so this voter is strong on noisy sets.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize_scalar

from gradattn_core.ranking.probe import log_softmax
from gradattn_core.ranking.validate import IntArray
from gradattn_core.records import FloatArray

SHRINKAGES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
"""Multiples of the mean variance that are added to every axis of the within-class covariance."""


def tempered(scores: FloatArray, codes: IntArray) -> tuple[FloatArray, float]:
    """log-softmax of ``scores`` [N, K] times the one positive factor under which the given labels are likeliest.

    Returns the log-probabilities and the mean −log p(given label), in nats.
    """
    rows = np.arange(len(codes))

    def loss(log_factor: float) -> float:
        return -float(log_softmax(scores * np.float32(np.exp(log_factor)))[rows, codes].mean(dtype=np.float64))

    found = minimize_scalar(loss, bounds=(-7, 3), method="bounded", options={"xatol": 1e-3})
    return log_softmax(scores * np.float32(np.exp(found.x))), float(found.fun)


def held_out_discriminant(points: FloatArray, codes: IntArray, classes: int, fold_index: IntArray) -> FloatArray:
    """log p(class | features) [N, K], each row by a discriminant trained without the row's fold.

    z_k = −½ (x − m_k)ᵀ(Σ + s·tr(Σ)/d·I)⁻¹(x − m_k) + log prior_k with means, within-class covariance Σ and priors of the
    training part; s and one temperature for all are chosen by the held-out likelihood of the given labels. A class without
    training images gets the overall mean and the prior of half an image.

    Args:
        points: [N, d] centred features, ideally on principal axes.
    """
    scores = np.empty((len(SHRINKAGES), len(codes), classes), dtype=np.float32)
    targets = np.eye(classes, dtype=np.float32)[codes]
    for fold in range(int(fold_index.max()) + 1):
        held = fold_index == fold
        train, wanted = points[~held], targets[~held]
        count = wanted.sum(axis=0)
        overall = train.mean(axis=0)
        means = np.where(count[:, None] > 0, wanted.T @ train / np.maximum(count, 1)[:, None], overall)
        within = train.T @ train / len(train) - (means.T * (count / len(train))) @ means
        values, axes = np.linalg.eigh(within)
        values = np.maximum(values, 0)
        judged, centres = points[held] @ axes, means @ axes
        prior = np.log(np.maximum(count, 0.5) / len(train))
        for number, shrinkage in enumerate(SHRINKAGES):
            precision = 1 / (values + max(shrinkage * float(values.mean()), 1e-12))
            linear = (judged * precision) @ centres.T
            scores[number, held] = linear - 0.5 * (centres**2 @ precision) + prior
    candidates = [tempered(score, codes) for score in scores]
    return min(candidates, key=lambda candidate: candidate[1])[0]
