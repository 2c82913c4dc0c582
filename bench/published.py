"""Published ways to find wrong labels, written anew from their papers, on one table of frozen features for all.

Every function returns [N] numbers, higher = more suspect. ``unit`` [N, D] are standardised features of length one, so
that products are cosines; ``given`` [N] are class numbers in [0, K). What a paper trains anew, augments or asks a text
model for is replaced as each docstring says: what is compared is the rule, not the network under it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores
from numpy.typing import NDArray

from gradattn_core.ranking import formulas
from gradattn_core.ranking.arrays import log_softmax, unit_rows
from gradattn_core.ranking.linear import Basis, make_basis
from gradattn_core.ranking.neighbours import find_neighbours
from gradattn_core.ranking.probe import ProbeFit, fit_probe
from gradattn_core.records import FloatArray, IntArray

CLEANLAB = "cleanlab, "
"""Its scores and filters begin with this; a table may show the best of them only."""


def comparisons(unit: FloatArray, rows: int = 1000) -> Iterator[tuple[slice, FloatArray]]:
    """Cosines [B, N] of each block of images to all; to itself an image has −∞."""
    for start in range(0, len(unit), rows):
        block = slice(start, start + rows)
        table = unit[block] @ unit.T
        own = np.arange(len(table))
        table[own, start + own] = -np.inf
        yield block, table


def selfclean(unit: FloatArray, given: IntArray) -> FloatArray:
    """d(nearest other image of the own label)² / (that + d(nearest image of another label)²), in [0, 1].

    d = 1 − cosine. Gröger et al. 2024, "Intrinsic self-supervision for data quality audits" (SelfClean), label errors.
    Their features are trained on the dataset by itself; here they are those of everybody else.
    """
    ratio = np.empty(len(given), dtype=np.float32)
    for block, cosine in comparisons(unit):
        same = given[block, None] == given
        inside = (1 - np.where(same, cosine, -np.inf).max(axis=1)) ** 2
        outside = (1 - np.where(same, -np.inf, cosine).max(axis=1)) ** 2
        # A class of one image has no other: nothing speaks for its label, and the ratio is 1.
        ratio[block] = np.minimum(inside, 1e12) / np.maximum(np.minimum(inside, 1e12) + outside, 1e-12)
    return ratio


def class_similarity(unit: FloatArray, given: IntArray, nearest: int = 10) -> FloatArray:
    """Mean cosine to the ten nearest images of the best other class minus that of the own class, in [−2, 2].

    The idea of Jiang et al. 2018, "To trust or not to trust a classifier" (trust score: distance to the nearest other
    class over distance to the predicted class), with the given label for the prediction, the mean of ten cosines for
    a distance, and a difference for the ratio. Of a smaller class all other images count; without any, −1.
    """
    classes = int(given.max()) + 1
    table = np.full((len(given), classes), -1, dtype=np.float32)
    members = [np.flatnonzero(given == number) for number in range(classes)]
    for block, cosine in comparisons(unit):
        for number, rows in enumerate(members):
            count = min(nearest, len(rows) - 1)
            if count > 0:
                table[block, number] = np.partition(cosine[:, rows], -count, axis=1)[:, -count:].mean(axis=1)
    own, other = formulas.given_and_best_other(table, given)
    return np.asarray(other - own, dtype=np.float32)


def local_vote(unit: FloatArray, given: IntArray, nearest: int = 10) -> FloatArray:
    """Whether the vote of the ten nearest is for another class (+1), plus 1 − share of the given one, in [0, 2].

    Zhu, Dong and Liu 2022, "Detecting corrupted labels without training a model to predict": voting of k nearest
    labels, weighed by cosine (SimiFeat-V), and the cosine of the voted label vector to the given one orders (as in
    SimiFeat-R); Docta is its successor. As there the image votes too, as if it were as much nearer than the first
    neighbour as that is than the second. They vote over many augmented views; there is one here.
    """
    found = find_neighbours(unit, nearest)
    similarity = np.maximum(found.similarity, 0)
    votes = np.zeros((len(given), int(given.max()) + 1), dtype=np.float32)
    rows = np.arange(len(given))
    np.add.at(votes, (rows[:, None], given[found.index]), similarity)
    votes[rows, given] += 2 * similarity[:, 0] - similarity[:, 1]
    votes /= np.maximum(np.linalg.norm(votes, axis=1, keepdims=True), 1e-12)
    return np.asarray((votes.argmax(axis=1) != given) + 1 - votes[rows, given], dtype=np.float32)


def relation_graph(unit: FloatArray, given: IntArray, p: FloatArray, power: int = 4) -> FloatArray:
    """Minus the sum of an image's relations to all others, any real; conflicts count, agreement is taken off.

    Kim et al. 2023, "Neural relation graph": relation = ±(max(cosine, 0) · p_i·p_j)^4, + where the labels agree, of at
    least .03 before the power. Images whose sum is below −.05 of the greatest are taken for wrong, and once their
    relations change sign. ``p`` [N, K] are held-out here (there those of the trained network), and an image has no
    relation to itself.
    """

    def sums(rows: NDArray[np.bool_]) -> FloatArray:
        total = np.empty(len(given), dtype=np.float32)
        for block, cosine in comparisons(unit):
            strength = np.maximum(cosine[:, rows], 0) * (p[block] @ p[rows].T)
            strength[strength <= 0.03] = 0
            agreeing = np.where(given[block, None] == given[rows], 1, -1)
            total[block] = (agreeing * strength**power).sum(axis=1)
        return total

    first = sums(np.ones(len(given), dtype=bool))
    wrong = first < -0.05 * np.abs(first).max()
    return -(first - 2 * sums(wrong)) if wrong.any() else -first


def lemon(
    unit: FloatArray, given: IntArray, nearest: int = 30, weight: float = 5, near: float = 0.1, sure: float = 5
) -> FloatArray:
    """d(x, y) + β s_n + γ s_m, any real >= 0.

    Zhang et al. 2025, "LEMoN: label error detection using multimodal neighbors":
    d(x, y) = 1 − cosine to the text of the label; s_n = mean over the nearest images j of
    [y_j ≠ y] · exp(−τ1 d(x, x_j)) · exp(−τ2 d(x_j, y_j)); s_m = the same of the nearest texts, with d(x, x_j) for what
    is averaged. Without text, the middle of a class's other images stands for its label, labels are equal or not, and
    s_m goes over all other images of the own label, which are all equally near. β = γ = ``weight``, τ1 = ``near``,
    τ2 = ``sure``, for all sets.
    """
    classes = int(given.max()) + 1
    total = np.zeros((classes, unit.shape[1]), dtype=np.float32)
    np.add.at(total, given, unit)
    text = 1 - (unit * unit_rows(total[given] - unit)).sum(axis=1)
    found = find_neighbours(unit, nearest)
    differs = given[found.index] != given[:, None]
    by_images = (differs * np.exp(-near * (1 - found.similarity) - sure * text[found.index])).mean(axis=1)
    trust = np.exp(-sure * text)
    mass = np.bincount(given, trust, classes)[given] - trust
    trusted = np.zeros_like(total)
    np.add.at(trusted, given, trust[:, None] * unit)
    others = np.maximum(np.bincount(given)[given] - 1, 1)
    by_texts = (mass - (unit * (trusted[given] - trust[:, None] * unit)).sum(axis=1)) / others
    return np.asarray(text + weight * (by_images + by_texts), dtype=np.float32)


def smooth_step(x: FloatArray) -> FloatArray:
    """3x² − 2x³ of x cut to [0, 1]."""
    cut = np.clip(x, 0, 1)
    return np.asarray(cut * cut * (3 - 2 * cut), dtype=np.float32)


def cyclic_filter(basis: Basis, given: IntArray, probe: ProbeFit, cycles: int = 4, damping: float = 0.5) -> FloatArray:
    """Held-out logit margin after cycles of damping and filtering, any real.

    Gilal et al. 2025, "CYFLOD: cyclic filtering and loss damping": the loss of an image is multiplied by a smooth step
    of its label's probability p over δ, and images that the model takes for wrong are left out for a cycle, after
    which all are asked again. Here a cycle is a linear probe of each fold, first ``probe``, that of all; an image's p
    is the held-out one of the cycle before, its weight is the smooth step of p / ``damping``, and none where another
    class is likelier.
    """
    rows, classes = np.arange(len(given)), int(given.max()) + 1
    fit, folds = probe, probe.classifiers.fold_index
    for _ in range(cycles):
        logits = fit.classifiers.logits(slice(None))
        own = np.asarray(np.exp(log_softmax(logits)[rows, given]) / damping, dtype=np.float32)
        weight = smooth_step(own) * (logits.argmax(axis=1) == given)
        fit = fit_probe(basis, given, classes, folds, weight, start=fit)
    own, other = formulas.given_and_best_other(fit.classifiers.logits(slice(None)), given)
    return np.asarray(other - own, dtype=np.float32)


def two_clusters(curves: FloatArray, copies: IntArray, originals: IntArray, rounds: int = 10) -> FloatArray:
    """[M] share in [0, 1] of the cluster that begins at the mean of the ``copies`` among the ``curves`` [M, E].

    The other begins at the mean of the rest. Student's t with one degree of freedom of the distance, over standardised
    columns; middles move to the sharpened shares (Xie et al. 2016, deep embedded clustering). The round counts that
    tells copies best from their ``originals``: the greatest difference of their mean shares.
    """
    points = (curves - curves.mean(axis=0)) / np.maximum(curves.std(axis=0), 1e-6)
    rest = np.setdiff1d(np.arange(len(points)), copies)
    middles = np.stack([points[copies].mean(axis=0), points[rest].mean(axis=0)])
    best, apart = np.zeros(len(points)), -np.inf
    for _ in range(rounds):
        square = np.stack([((points - middle) ** 2).mean(axis=1) for middle in middles], axis=1)
        share = 1 / (1 + square)
        share /= share.sum(axis=1, keepdims=True)
        difference = float(share[copies, 0].mean() - share[originals, 0].mean())
        if difference > apart:
            best, apart = share[:, 0], difference
        sharp = share**2 / share.sum(axis=0)
        sharp /= sharp.sum(axis=1, keepdims=True)
        middles = (sharp.T @ points) / sharp.sum(axis=0)[:, None]
    return np.asarray(best, dtype=np.float32)


def corruption_dynamics(points: FloatArray, given: IntArray, epochs: int = 30, planted: float = 0.1) -> FloatArray:
    """How much the training curve of an image's label is like those of labels that were made wrong, in [0, 1].

    Kim et al. 2024, "Learning discriminative dynamics with label corruption" (DynaCor): a tenth of the images is copied
    under another label, a perceptron (here of 128 hidden units) is trained on all, and each one's logit margin over
    the epochs goes to one of two clusters. They encode the curves by a network that is trained with the clusters, and
    copy augmented images; here the copies are exact and the curves themselves are clustered (:func:`two_clusters`).
    """
    rng = np.random.default_rng(0)
    classes, count = int(given.max()) + 1, len(given)
    originals = rng.permutation(count)[: max(int(planted * count), 1)]
    corrupted = (given[originals] + rng.integers(1, classes, len(originals))) % classes
    labels = np.concatenate([given, corrupted])
    x = torch.from_numpy(np.concatenate([points, points[originals]]) / np.float32(np.sqrt(points.shape[1])))
    y = torch.from_numpy(labels)
    torch.manual_seed(0)
    layers = torch.nn.Linear(points.shape[1], 128), torch.nn.ReLU(), torch.nn.Linear(128, classes)
    network = torch.nn.Sequential(*layers)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    curves = np.empty((len(labels), epochs), dtype=np.float32)
    for epoch in range(epochs):
        for batch in torch.randperm(len(y)).split(128):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(network(x[batch]), y[batch]).backward()
            optimiser.step()
        with torch.no_grad():
            own, other = formulas.given_and_best_other(network(x).numpy(), labels)
        curves[:, epoch] = own - other
    return two_clusters(curves, np.arange(count, len(labels)), originals)[:count]


def stratified_folds(given: IntArray, folds: int = 5) -> IntArray:
    """[N] fold numbers, each class spread evenly over the folds, drawn with seed 0."""
    order = np.argsort(np.random.default_rng(0).permutation(len(given)))
    by_class = np.lexsort((order, given))
    fold = np.empty(len(given), dtype=np.int64)
    fold[by_class] = np.arange(len(by_class)) % folds
    return fold


def published_scores(features: FloatArray, given: IntArray) -> dict[str, FloatArray]:
    """Every published score by name; those of predictions read one plain probe, the others the same features."""
    basis = make_basis(features)
    unit = unit_rows(basis.points)
    probe = fit_probe(basis, given, int(given.max()) + 1, stratified_folds(given))
    logits = probe.classifiers.logits(slice(None))
    log_p = log_softmax(logits)
    p = np.exp(log_p.astype(np.float64))
    p /= p.sum(axis=1, keepdims=True)
    scores: dict[str, FloatArray] = {}
    for method in ("self_confidence", "normalized_margin", "confidence_weighted_entropy"):
        for adjusted in (False, True):
            if adjusted and method == "confidence_weighted_entropy":
                continue  # cleanlab refuses this pair
            quality = get_label_quality_scores(given, p, method=method, adjust_pred_probs=adjusted)
            scores[f"{CLEANLAB}{method}{', adjusted' if adjusted else ''}"] = -quality
    for flagged in ("prune_by_noise_rate", "confident_learning", "both"):
        issues = find_label_issues(given, p, filter_by=flagged, n_jobs=1)
        scores[f"{CLEANLAB}filter {flagged}"] = issues + 1e-3 * formulas.self_confidence(log_p, given)
    own, other = formulas.given_and_best_other(logits, given)
    scores["logit margin, held out"] = other - own
    scores["CYFLOD"] = cyclic_filter(basis, given, probe)
    scores["LEMoN without text"] = lemon(unit, given)
    scores["SimiFeat-V / Docta"] = local_vote(unit, given)
    scores["neural relation graph"] = relation_graph(unit, given, p.astype(np.float32))
    scores["DynaCor"] = corruption_dynamics(basis.points, given)
    scores["similarity of the 10 nearest of each class"] = class_similarity(unit, given)
    scores["FiftyOne mistakenness"] = formulas.mistakenness(log_p, given)
    scores["SelfClean ratio"] = selfclean(unit, given)
    vote = find_neighbours(unit, 20).index
    scores["kNN vote (20)"] = (given[vote] != given[:, None]).mean(axis=1).astype(np.float32)
    return scores
