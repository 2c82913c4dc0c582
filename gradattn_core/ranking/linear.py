"""One linear classifier per fold, each asked only about the images that it has not seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar

from gradattn_core.ranking.blocks import row_blocks
from gradattn_core.ranking.candidates import Candidates
from gradattn_core.ranking.validate import IntArray
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
