"""Groups of near-duplicates, and cross-validation folds that never split one.

A wrong label rarely comes alone: near-duplicates share it. If one of them trains the model that judges the other, the
error vouches for itself. So near-duplicates are judged together and do not vote on each other.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gradattn_core.ranking.discriminant import fit_discriminant
from gradattn_core.ranking.neighbours import Neighbours
from gradattn_core.ranking.shortlist import given_class
from gradattn_core.records import FloatArray, IntArray

NEAR_DUPLICATE = 0.8
"""Cosine of centred, standardised features from which two images count as near-duplicates."""
ERRING_TOGETHER = 0.5
"""Share of the variance of doubt that near-duplicates must have in common to count as one witness. This and the cosine
were chosen on labelled development sets (docs/ranking.md)."""
FOLDS = 5
LISTED = 40
"""Neighbours that are looked up per image."""


def near_duplicate_groups(neighbours: Neighbours, codes: IntArray) -> IntArray:
    """Group number of every image: single linkage over neighbours of cosine >= ``NEAR_DUPLICATE``, closest pairs first.

    A group never grows beyond 1 / ``FOLDS`` of the smallest class in it, so that every class keeps training images.
    """
    rows, columns = np.nonzero(neighbours.similarity >= NEAR_DUPLICATE)
    order = np.argsort(-neighbours.similarity[rows, columns], kind="stable")
    others = neighbours.index[rows, columns]
    parent = np.arange(len(codes))
    size = np.ones(len(codes), dtype=np.int64)
    limit = np.maximum(np.bincount(codes)[codes] // FOLDS, 1)

    def root(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = int(parent[node])
        return node

    for edge in order:
        first, second = root(int(rows[edge])), root(int(others[edge]))
        smaller = min(limit[first], limit[second])
        if first != second and size[first] + size[second] <= smaller:
            parent[second] = first
            size[first] += size[second]
            limit[first] = smaller
    return np.unique([root(node) for node in range(len(codes))], return_inverse=True)[1].astype(np.int64)


def group_folds(codes: IntArray, groups: IntArray, seed: int) -> IntArray:
    """Fold of every image [N]: whole groups, every class as even as they allow; ties shuffled by ``seed``.

    Large groups are placed first; each goes where the images of its classes are fewest relative to the class sizes.
    """
    classes = int(codes.max()) + 1
    share = 1 / np.maximum(np.bincount(codes, minlength=classes), 1)
    sizes = np.bincount(groups)
    shuffled = np.random.default_rng(seed).permutation(len(sizes))
    order = shuffled[np.argsort(-sizes[shuffled], kind="stable")]
    members = np.argsort(groups, kind="stable")
    starts = np.cumsum(sizes) - sizes
    load = np.zeros((FOLDS, classes))
    total = np.zeros(FOLDS)
    fold_of = np.empty(len(sizes), dtype=np.int64)
    several = int(np.count_nonzero(sizes > 1))
    for group in order[:several]:
        present = codes[members[starts[group] : starts[group] + sizes[group]]]
        cost = (load[:, present] * share[present]).sum(axis=1) + total / len(codes)
        chosen = int(cost.argmin())
        fold_of[group] = chosen
        np.add.at(load[chosen], present, 1)
        total[chosen] += len(present)
    single = order[several:]
    fold_of[single] = _folds_of_single(codes[members[starts[single]]], load, total, share, len(codes))
    return np.asarray(fold_of[groups])


def _folds_of_single(
    codes: IntArray, load: NDArray[np.float64], total: NDArray[np.float64], share: NDArray[np.float64], images: int
) -> list[int]:
    """The same for groups of one image, in order, in plain numbers: small arrays would take most of the time."""
    loads, totals, shares = load.T.tolist(), total.tolist(), share.tolist()
    folds = []
    for code in codes.tolist():
        row, part = loads[code], shares[code]
        costs = [count * part + all_images / images for count, all_images in zip(row, totals, strict=True)]
        chosen = costs.index(min(costs))
        row[chosen] += 1
        totals[chosen] += 1
        folds.append(chosen)
    return folds


def doubt_correlation(doubt: FloatArray, groups: IntArray) -> float:
    """Intraclass correlation of ``doubt`` [N] within groups of two or more, in [−1, 1]; 0 without such groups.

    Mean product of the centred doubts over the pairs of a group, each image counting once, by their variance.
    """
    centred = doubt - doubt.mean()
    sums, squares = np.bincount(groups, centred), np.bincount(groups, centred**2)
    sizes = np.bincount(groups)
    several = sizes > 1
    variance = float(squares[several].sum())
    products = (sums**2 - squares)[several] / (sizes[several] - 1)
    return float(products.sum()) / variance if variance > 1e-12 else 0.0


def dependent_groups(points: FloatArray, neighbours: Neighbours, codes: IntArray, seed: int) -> IntArray:
    """Near-duplicate groups where near-duplicates err together, else every image on its own [N].

    Whether they do is asked of the data: judged with groups kept together, near-duplicates of one mistake are doubted
    alike. Images that are merely similar are not, and are too valuable as witnesses for one another to be kept apart.
    """
    groups = near_duplicate_groups(neighbours, codes)
    alone = np.arange(len(codes), dtype=np.int64)
    if groups.max() + 1 == len(codes):
        return alone
    classes = int(codes.max()) + 1
    discriminant = fit_discriminant(points, codes, classes, group_folds(codes, groups, seed))
    doubt = 1 - np.exp(discriminant.log_p(given_class(codes, classes))[:, 0])
    return groups if doubt_correlation(doubt, groups) >= ERRING_TOGETHER else alone
