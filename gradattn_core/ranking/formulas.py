"""The single scores: published formulas, one function each. All return [N] float32, higher = more suspect.

``log_p`` is [N, K], held-out natural-log probabilities; ``codes`` [N] the given classes, as columns. Where only some
classes were weighed for each image, the others are taken to have no probability: the table is then [N, C] over the
shortlist and ``classes`` is K.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_matrix

from gradattn_core.ranking.arrays import for_each, row_blocks, unit_rows
from gradattn_core.ranking.shortlist import Shortlist, every_class
from gradattn_core.records import FloatArray, IntArray


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


def adjusted_margin(log_p: FloatArray, codes: IntArray, shortlist: Shortlist | None = None) -> FloatArray:
    """Margin of p′ = p − mean p over the images given that class, in [−2, 2].

    max_{k≠g} p′_k − p′_g; a class the model is timid about is not suspect as a whole. Kuan & Mueller 2022,
    "Model-agnostic label quality scoring" (adjusted predicted probabilities).
    """
    weighed = shortlist or every_class(codes, log_p.shape[1])
    p = np.exp(log_p)
    given = weighed.given
    sums = np.bincount(given, p[weighed.rows, weighed.own], minlength=weighed.classes)
    thresholds = sums / np.maximum(np.bincount(given, minlength=weighed.classes), 1)
    own, other = given_and_best_other((p - thresholds[weighed.index]).astype(np.float32), weighed.own)
    return np.asarray(other - own, dtype=np.float32)


def cwe(log_p: FloatArray, codes: IntArray, classes: int | None = None) -> FloatArray:
    """Confidence-weighted entropy: (−Σ p log p / log K) / p(given), >= 0. Kuan & Mueller 2022."""
    p = np.exp(log_p)
    entropy = -(p * log_p).sum(axis=1) / np.log(classes or p.shape[1])
    rows = np.arange(len(codes))
    return np.asarray(entropy / np.maximum(p[rows, codes], 1e-12), dtype=np.float32)


def mistakenness(log_p: FloatArray, codes: IntArray, classes: int | None = None) -> FloatArray:
    """½ (1 + m c), in [0, 1]: m = +1 where the predicted class differs from the given one and −1 where it agrees,
    c = 1 − entropy / log K. FiftyOne brain, ``compute_mistakenness``.
    """
    p = np.exp(log_p)
    certainty = 1 + (p * log_p).sum(axis=1) / np.log(classes or p.shape[1])
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
    sums = np.zeros((classes, features.shape[1]))
    blocks = row_blocks(len(codes), max(classes, features.shape[1]))
    for block in blocks:
        unit = unit_rows(features[block])
        one = (np.ones(len(unit), np.float32), (codes[block], np.arange(len(unit))))
        sums += csr_matrix(one, shape=(classes, len(unit))) @ unit
    sums = sums.astype(np.float32)
    sizes = np.bincount(codes, minlength=classes)
    middles = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
    margin = np.empty(len(codes), dtype=np.float32)

    def measure(block: slice) -> None:
        unit, given = unit_rows(features[block]), codes[block]
        own = sums[given] - unit
        own_cosine = np.einsum("nd,nd->n", unit, own) / np.maximum(np.linalg.norm(own, axis=1), 1e-12)
        cosines = unit @ middles.T
        cosines[:, sizes == 0] = -1
        other = given_and_best_other(cosines, given)[1]
        margin[block] = np.where(sizes[given] < 2, 0, other - own_cosine)

    for_each(measure, blocks)
    return margin


def log_probabilities(p: FloatArray) -> FloatArray:
    """Natural logarithms of probabilities [N, K], none less than that of 1e-7."""
    floored = np.maximum(p, 1e-7)
    return np.asarray(np.log(floored / floored.sum(axis=1, keepdims=True)), dtype=np.float32)
