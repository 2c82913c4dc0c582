"""The K-fold linear probe: multinomial logistic regression on frozen features, judged out of sample."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits

from gradattn_core.ranking.validate import IntArray, check_class_count, check_codes, check_features, check_folds
from gradattn_core.records import FloatArray

PENALTIES = (3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0003, 0.0001)
"""Ridge penalties, per image (the loss is a mean over images), tried from the strongest to the weakest."""

SIDE_BY_SIDE = 100_000_000
"""Numbers of a matrix, 400 MB, up to which every core may work on a copy of its own."""


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What the probe of each fold learned, and what it says about the images it never saw.

    Attributes:
        logits: [N, K] float32; row n comes from the probe that was trained without the fold of n and equals
            ``features[n] @ weights[f].T + bias[f]`` for ``f = fold_index[n]``, on the raw features.
        weights: [F, K, D] float32.
        bias: [F, K] float32.
        fold_index: [N] position of each image's fold in the first axis of ``weights``.
        folds: [F] the caller's number of each fold, ascending.
        penalty: the ridge penalty that the held-out likelihood chose.
        log_loss: mean held-out −log p(given label), in nats.
    """

    logits: FloatArray
    weights: FloatArray
    bias: FloatArray
    fold_index: IntArray
    folds: IntArray
    penalty: float
    log_loss: float


@dataclass(frozen=True, slots=True)
class Basis:
    """Standardised features, rotated to their principal axes, where the loss is nearly round.

    ``axes`` is [D, d], ``points`` [N, d] and ``variances`` [d]; ``points = (features − mean) / scale @ axes``.
    Axes of no variance are left out, so constant features get weight zero.
    """

    mean: FloatArray
    scale: FloatArray
    axes: FloatArray
    points: FloatArray
    variances: FloatArray


def make_basis(features: FloatArray) -> Basis:
    """The rotation of ``features`` [N, D] to principal axes; exact, no axis of variance is dropped."""
    mean = features.mean(axis=0, dtype=np.float64).astype(np.float32)
    scale = features.std(axis=0, dtype=np.float64).astype(np.float32)
    scale[scale <= 1e-6 * np.maximum(np.abs(mean), 1e-30)] = np.inf
    standard = (features - mean) / scale
    wide = standard.shape[0] < standard.shape[1]
    gram = (standard @ standard.T if wide else standard.T @ standard).astype(np.float64)
    values, vectors = np.linalg.eigh(gram)
    kept = values > 1e-6 * max(values[-1], 1e-30)
    values, vectors = values[kept][::-1], vectors[:, kept][:, ::-1]
    axes = (standard.T @ (vectors / np.sqrt(values)).astype(np.float32)) if wide else vectors.astype(np.float32)
    points = np.ascontiguousarray(standard @ axes)
    return Basis(mean, scale, np.ascontiguousarray(axes), points, (values / len(features)).astype(np.float32))


def softmax(logits: FloatArray) -> FloatArray:
    """Row-wise softmax of [N, K] logits."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True), dtype=np.float32)


def log_softmax(logits: FloatArray) -> FloatArray:
    """Row-wise log-softmax of [N, K] logits."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)), dtype=np.float32)


def fit_softmax(
    points: FloatArray, targets: FloatArray, variances: FloatArray, penalty: float, start: FloatArray | None = None
) -> FloatArray:
    """Coefficients [K, d+1] (bias last) of ridge-penalised multinomial logistic regression.

    Minimises Σ_n Σ_k targets_nk·(−log softmax(z_n)_k) / Σ targets + ½·penalty·‖W‖² (bias free) with L-BFGS;
    every axis is first scaled by its approximate curvature, so few steps suffice. Targets may be soft and
    rows may weigh unequally.
    """
    classes, axes = targets.shape[1], points.shape[1]
    weight = targets.sum(axis=1, keepdims=True)
    total = float(weight.sum(dtype=np.float64))
    curvature = (1 - 1 / max(classes, 2)) / max(classes, 2)
    spread = np.append(1 / np.sqrt(curvature * variances + penalty), 1 / np.sqrt(curvature)).astype(np.float32)

    def objective(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        coefficients = (flat.reshape(classes, axes + 1) * spread).astype(np.float32)
        log_p = log_softmax(points @ coefficients[:, :-1].T + coefficients[:, -1])
        loss = -float(np.einsum("nk,nk->", targets, log_p, dtype=np.float64)) / total
        residual = (np.exp(log_p) * weight - targets) / np.float32(total)
        gradient = np.empty_like(coefficients)
        gradient[:, :-1] = residual.T @ points + np.float32(penalty) * coefficients[:, :-1]
        gradient[:, -1] = residual.sum(axis=0)
        loss += 0.5 * penalty * float(np.square(coefficients[:, :-1], dtype=np.float64).sum())
        return loss, (gradient * spread).astype(np.float64).ravel()

    initial = np.zeros((classes, axes + 1)) if start is None else start / spread
    found = minimize(
        objective,
        initial.astype(np.float64).ravel(),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": 200, "maxcor": 10, "ftol": 1e-6, "gtol": 1e-5},
    )
    return np.asarray(found.x.reshape(classes, axes + 1) * spread, dtype=np.float32)


def side_by_side(work: Callable[[int], None], folds: int, numbers: int) -> None:
    """Do the work of each fold, as many at a time as there are cores, each of them on one.

    A fold is many small products, on which the threads of one product would wait for one another more than they work.
    Folds that copy more than ``SIDE_BY_SIDE`` ``numbers`` are done one after the other: memory counts for more there.
    """
    if numbers > SIDE_BY_SIDE:
        for fold in range(folds):
            work(fold)
        return
    with threadpool_limits(limits=1), ThreadPoolExecutor(min(folds, os.cpu_count() or 1)) as pool:
        list(pool.map(work, range(folds)))


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Held-out predictions on one basis: ``logits`` [N, K], ``coefficients`` [F, K, d+1], the penalty and its loss."""

    logits: FloatArray
    coefficients: FloatArray
    penalty: float
    log_loss: float


def _absent_to_prior(coefficients: FloatArray, points: FloatArray, absent: NDArray[np.bool_]) -> None:
    """Give classes without a training image weight zero and the mean probability 1/(n + K), in place."""
    present = ~absent
    logits = points @ coefficients[present, :-1].T + coefficients[present, -1]
    level = float(np.mean(logits.max(axis=1) - log_softmax(logits).max(axis=1)))
    coefficients[absent] = 0
    coefficients[absent, -1] = level - np.log(len(points) + len(absent))


def held_out(
    basis: Basis,
    targets: FloatArray,
    judged: FloatArray,
    fold_index: IntArray,
    penalties: tuple[float, ...] = PENALTIES,
) -> HeldOut:
    """Fit ``targets`` [N, K] on all folds but one, predict that one, keep the penalty that predicts ``judged`` best.

    Penalties are tried from strong to weak, each starting from the one before, until the held-out loss
    −Σ judged·log p / N has risen. One number is chosen from all folds together, so hardly anything of a label leaks.
    """
    folds, classes = int(fold_index.max()) + 1, targets.shape[1]
    best: HeldOut | None = None
    current = np.zeros((folds, classes, basis.points.shape[1] + 1), dtype=np.float32)
    for penalty in penalties:
        logits = np.empty(targets.shape, dtype=np.float32)

        def fit(fold: int, penalty: float = penalty, logits: FloatArray = logits) -> None:
            held = fold_index == fold
            points, wanted = basis.points[~held], targets[~held]
            absent = wanted.sum(axis=0) <= 0
            fitted = fit_softmax(points, wanted[:, ~absent], basis.variances, penalty, current[fold, ~absent])
            current[fold, ~absent] = fitted
            if absent.any():
                _absent_to_prior(current[fold], points, absent)
            logits[held] = basis.points[held] @ current[fold, :, :-1].T + current[fold, :, -1]

        side_by_side(fit, folds, basis.points.size + targets.size)
        loss = -float(np.einsum("nk,nk->", judged, log_softmax(logits), dtype=np.float64)) / len(judged)
        if best is not None and loss >= best.log_loss:
            break
        best = HeldOut(logits, current.copy(), penalty, loss)
    assert best is not None
    return best


def crossval_probe(
    features: ArrayLike,
    given: ArrayLike,
    folds: ArrayLike,
    *,
    classes: int | None = None,
    penalties: tuple[float, ...] = PENALTIES,
) -> ProbeResult:
    """Judge every image by a linear classifier on frozen features that never saw its label.

    Features are standardised, one multinomial logistic regression is trained per fold on the other folds, and the ridge
    penalty is the one whose held-out likelihood of the given labels is best. The standardisation is undone in the
    returned weights. A class that a fold's training part lacks gets weight zero and a constant logit of prior
    probability.

    Args:
        features: [N, D] finite numbers.
        given: [N] class numbers in [0, K).
        folds: [N] integers; images of one number are judged together (near-duplicates belong into the same fold).
        classes: K, when the highest class number may be missing in ``given``.
        penalties: candidates from strong to weak, per image.

    Raises:
        RankingError: NaN, a wrong shape, a single class or a single fold.
    """
    codes = check_codes(given)
    count = check_class_count(codes, classes)
    matrix = check_features(features, len(codes))
    fold_index, names = check_folds(folds, len(codes))
    basis = make_basis(matrix)
    targets = np.eye(count, dtype=np.float32)[codes]
    fit = held_out(basis, targets, targets, fold_index, penalties)
    weights = fit.coefficients[:, :, :-1] @ (basis.axes / basis.scale[:, None]).T
    bias = fit.coefficients[:, :, -1] - weights @ basis.mean
    logits = np.empty((len(codes), count), dtype=np.float32)
    for fold in range(len(names)):
        held = fold_index == fold
        logits[held] = matrix[held] @ weights[fold].T + bias[fold]
    return ProbeResult(logits, weights, bias.astype(np.float32), fold_index, names, fit.penalty, fit.log_loss)
