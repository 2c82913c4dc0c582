"""The single scores: published formulas, one function each. All return [N] float32, higher = more suspect.

``log_p`` is [N, K], held-out natural-log probabilities; ``codes`` [N] the given classes.
"""

from __future__ import annotations

import numpy as np

from gradattn_core.ranking.probe import softmax
from gradattn_core.ranking.validate import IntArray
from gradattn_core.records import FloatArray


def given_and_best_other(log_p: FloatArray, codes: IntArray) -> tuple[FloatArray, FloatArray]:
    """log p of the given class and of the strongest other class, each [N]."""
    rows = np.arange(len(codes))
    others = log_p.copy()
    others[rows, codes] = -np.inf
    return log_p[rows, codes], others.max(axis=1)


def self_confidence(log_p: FloatArray, codes: IntArray) -> FloatArray:
    """1 − p(given), in [0, 1]. Northcutt et al. 2021, "Confident learning", self-confidence turned round."""
    return np.asarray(1 - np.exp(given_and_best_other(log_p, codes)[0]), dtype=np.float32)


def log_margin(log_p: FloatArray, codes: IntArray) -> FloatArray:
    """log p(best other) − log p(given), any real. The log form of cleanlab's normalised margin."""
    given, other = given_and_best_other(log_p, codes)
    return np.asarray(other - given, dtype=np.float32)


def adjusted_margin(log_p: FloatArray, codes: IntArray) -> FloatArray:
    """Margin of p′ = p − mean p over the images given that class, in [−2, 2].

    max_{k≠g} p′_k − p′_g; a class the model is timid about is not suspect as a whole. Kuan & Mueller 2022,
    "Model-agnostic label quality scoring" (adjusted predicted probabilities).
    """
    p = np.exp(log_p)
    thresholds = np.array([p[codes == k, k].mean() if (codes == k).any() else 0.0 for k in range(p.shape[1])])
    given, other = given_and_best_other((p - thresholds).astype(np.float32), codes)
    return np.asarray(other - given, dtype=np.float32)


def cwe(log_p: FloatArray, codes: IntArray) -> FloatArray:
    """Confidence-weighted entropy: (−Σ p log p / log K) / p(given), >= 0. Kuan & Mueller 2022."""
    p = np.exp(log_p)
    entropy = -(p * log_p).sum(axis=1) / np.log(p.shape[1])
    rows = np.arange(len(codes))
    return np.asarray(entropy / np.maximum(p[rows, codes], 1e-12), dtype=np.float32)


def mistakenness(log_p: FloatArray, codes: IntArray) -> FloatArray:
    """½ (1 + m c), in [0, 1]: m = +1 where the predicted class differs from the given one and −1 where it agrees,
    c = 1 − entropy / log K. FiftyOne brain, ``compute_mistakenness``.
    """
    p = np.exp(log_p)
    certainty = 1 + (p * log_p).sum(axis=1) / np.log(p.shape[1])
    differs = np.where(p.argmax(axis=1) == codes, -1.0, 1.0)
    return np.asarray(0.5 * (1 + differs * certainty), dtype=np.float32)


def neighbour_vote(votes: FloatArray, codes: IntArray) -> FloatArray:
    """1 − share of the neighbours' votes [N, K] for the given class, in [0, 1]; the image itself is left out."""
    return np.asarray(1 - votes[np.arange(len(codes)), codes], dtype=np.float32)


def neighbour_margin(votes: FloatArray, codes: IntArray) -> FloatArray:
    """Share of the votes for the strongest other class minus the share for the given one, in [−1, 1]."""
    given, other = given_and_best_other(votes, codes)
    return np.asarray(other - given, dtype=np.float32)


def prototype_margin(features: FloatArray, codes: IntArray, classes: int) -> FloatArray:
    """Cosine to the nearest other class mean minus cosine to the given class's mean without the image, in [−2, 2].

    0 where the given class has no other image. Features [N, D] should be centred.
    """
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    sums = np.stack([unit[codes == k].sum(axis=0) for k in range(classes)])
    cosines = unit @ (sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)).T
    own = sums[codes] - unit
    own_norm = np.linalg.norm(own, axis=1)
    own_cosine = np.einsum("nd,nd->n", unit, own) / np.maximum(own_norm, 1e-12)
    cosines[:, np.bincount(codes, minlength=classes) == 0] = -1
    other = given_and_best_other(cosines.astype(np.float32), codes)[1]
    alone = np.bincount(codes, minlength=classes)[codes] < 2
    return np.asarray(np.where(alone, 0, other - own_cosine), dtype=np.float32)


def log_probabilities(logits: FloatArray | None, probabilities: FloatArray | None) -> FloatArray:
    """Natural-log probabilities [N, K] of ``logits`` or ``probabilities`` (rows renormalised, floored at 1e-7)."""
    if logits is not None:
        p = softmax(logits)
    else:
        assert probabilities is not None
        p = probabilities / np.maximum(probabilities.sum(axis=1, keepdims=True), 1e-12)
    floored = np.maximum(p, 1e-7)
    return np.asarray(np.log(floored / floored.sum(axis=1, keepdims=True)), dtype=np.float32)
