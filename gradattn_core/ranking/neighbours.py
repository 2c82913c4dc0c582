"""Exact nearest neighbours, block by block, and what their labels say; an image never votes on itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradattn_core.ranking.validate import IntArray
from gradattn_core.records import FloatArray

BLOCK_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The ``count`` most similar other images: ``index`` [N, count], ``similarity`` [N, count] (cosine), best first."""

    index: IntArray
    similarity: FloatArray


def find_neighbours(features: FloatArray, count: int) -> Neighbours:
    """Cosine neighbours of every row of ``features`` [N, D] among the others; ties go to the earlier row."""
    rows = len(features)
    count = min(count, rows - 1)
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    index = np.empty((rows, count), dtype=np.int64)
    similarity = np.empty((rows, count), dtype=np.float32)
    step = max(1, BLOCK_BYTES // (4 * rows))
    for start in range(0, rows, step):
        block = unit[start : start + step] @ unit.T
        own = np.arange(len(block))
        block[own, start + own] = -np.inf
        nearest = np.argpartition(-block, count - 1, axis=1)[:, :count]
        nearest.sort(axis=1)
        values = np.take_along_axis(block, nearest, axis=1)
        order = np.argsort(-values, axis=1, kind="stable")
        index[start : start + step] = np.take_along_axis(nearest, order, axis=1)
        similarity[start : start + step] = np.take_along_axis(values, order, axis=1)
    return Neighbours(index, similarity)


def neighbour_probabilities(neighbours: Neighbours, targets: FloatArray, groups: IntArray, count: int) -> FloatArray:
    """p(class) [N, K] by the labels ``targets`` [N, K] of the ``count`` nearest neighbours outside the own group.

    One further vote is shared out by the class sizes, so that no class gets probability zero.
    """
    foreign = groups[neighbours.index] != groups[:, None]
    voting = foreign & (np.cumsum(foreign, axis=1) <= count)
    votes = np.zeros(targets.shape, dtype=np.float32)
    for column, counts in zip(neighbours.index.T, voting.T, strict=True):
        votes += targets[column] * counts[:, None]
    prior = targets.mean(axis=0, dtype=np.float64).astype(np.float32)
    return np.asarray((votes + prior) / (voting.sum(axis=1, keepdims=True) + 1), dtype=np.float32)
