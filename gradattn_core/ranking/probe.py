"""The K-fold linear probe: multinomial logistic regression on frozen features, judged out of sample."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from gradattn_core.ranking.accelerator import SoftmaxLoss, graphics_card
from gradattn_core.ranking.arrays import for_each, log_softmax, row_blocks, sample_rows
from gradattn_core.ranking.few import cut_short
from gradattn_core.ranking.inputs import check_class_count, check_codes, check_folds, check_matrix
from gradattn_core.ranking.linear import LEAST_TRUST, Basis, FoldClassifiers, make_basis
from gradattn_core.records import FloatArray, IntArray

PENALTIES = (3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0003, 0.0001)
"""Ridge penalties, per image (the loss is a mean over images), tried from the strongest to the weakest."""
HANDFUL = 5
"""Images per class of fewer than which every second penalty is tried: their search takes long."""
OUTPUTS, INPUTS = 2**25, 2**27
"""What a probe is trained on at most, images by classes and images by axes: it bounds its time and its memory."""
DEAR = 2**29
"""Images by classes by axes beyond which the probe is dear: its penalty is sought in one fold, and no fit is fine."""
IDLE = 2.0
"""A dear probe leaves out axes of less variance than so many penalties times classes: the mean over the classes of
p · (1 − p) is at most one over their number, so the penalty outweighs what such an axis says. With .1 to 5 the order of
a hundred classes of six pictures was the same (rank correlation with all axes .996 to .999)."""
LEADING = 2**33
"""Images by classes by axes of a probe that is cut short: it sees as many of the leading axes as make so much."""
FINE, COARSE, SHORT, ROUGH = 1e-6, 1e-5, 3e-4, 1e-3
"""A fit ends when a step improves its loss by less than this part of it: usually, a dear one, one that is cut short,
and while the penalty of a dear one is sought. Which penalty predicts best shows early; with 1e-4 for 1e-5 the order of
small classes lost, but not where the voters are fitted once."""


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


def crossval_probe(
    features: ArrayLike,
    given: ArrayLike,
    folds: ArrayLike,
    *,
    classes: int | None = None,
    out: FloatArray | None = None,
    device: str = "cpu",
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
        out: [N, K] float32 that becomes the logits, such as a memory map.
        device: a GPU that a dear fit may use, as torch calls it; ``auto`` is the first usable one.

    Raises:
        RankingError: NaN, a wrong shape, a single class or a single fold.
    """
    codes = check_codes(given)
    count = check_class_count(codes, classes)
    matrix = check_matrix(features, "features", len(codes))
    fold_index, names = check_folds(folds, len(codes))
    basis = make_basis(matrix)
    fit = fit_probe(basis, codes, count, fold_index, device=device)
    coefficients = fit.classifiers.coefficients
    weights = coefficients[:, :, :-1] @ (basis.axes / basis.scale[:, None]).T
    bias = (coefficients[:, :, -1] - weights @ basis.mean).astype(np.float32)
    raw = FoldClassifiers(matrix, fold_index, np.concatenate([weights, bias[:, :, None]], axis=2))
    return ProbeResult(raw.logits(slice(None), out), weights, bias, fold_index, names, fit.penalty, fit.log_loss)


@dataclass(frozen=True, slots=True)
class ProbeFit:
    """The probe of each fold, the ridge penalty that they share, and its held-out loss in nats."""

    classifiers: FoldClassifiers
    penalty: float
    log_loss: float


def fit_probe(
    basis: Basis,
    codes: IntArray,
    classes: int,
    fold_index: IntArray,
    trust: FloatArray | None = None,
    start: ProbeFit | None = None,
    device: str = "cpu",
) -> ProbeFit:
    """Train on all folds but one, judge that one, keep the penalty that predicts the given labels best.

    ``PENALTIES`` are tried from strong to weak, each starting from the one before, until the held-out loss
    −Σ trust·log p(given) / N has risen. One number is chosen from all folds together, so hardly anything of a label
    leaks; where a fit is ``DEAR`` it is chosen roughly from one fold. ``start``, a fit to other trust, gives the first
    coefficients and the penalty, and nothing is searched. Where ``OUTPUTS`` or ``INPUTS`` allow fewer images, the same
    number at most of each class trains, drawn at random, and stands for the rest.

    Args:
        trust: [N] in [0, 1], what each image weighs; default one.
        device: a GPU that computes a dear fit.
    """
    weight = np.ones(len(codes), dtype=np.float32) if trust is None else trust
    folds, axes = int(fold_index.max()) + 1, basis.points.shape[1]
    training, represented = _training_rows(codes, min(OUTPUTS // classes, INPUTS // max(axes, 1)))
    dear = len(training) * classes * axes > DEAR
    short = cut_short(len(codes), classes, axes)
    fine = SHORT if short else COARSE if dear else FINE
    current = np.zeros((folds, classes, axes + 1), dtype=np.float32)

    def used(penalty: float) -> int:
        wanted = int(np.count_nonzero(basis.variances >= IDLE * penalty * classes)) if dear else axes
        return min(wanted, max(LEADING // (len(training) * classes), 1)) if short else wanted

    def step(penalty: float, tolerance: float, asked: Sequence[int]) -> None:
        def fit_fold(fold: int) -> None:
            rows = training[fold_index[training] != fold]
            share, card = (weight * represented)[rows], device if dear else "cpu"
            _fit_present(basis, codes[rows], share, rows, penalty, current[fold], tolerance, used(penalty), card)

        for_each(fit_fold, asked)

    def fit(penalty: float, tolerance: float, asked: Sequence[int], sample: IntArray) -> ProbeFit:
        step(penalty, tolerance, asked)
        classifiers = FoldClassifiers(basis.points, fold_index, current.copy())
        log_p = log_softmax(classifiers.logits(sample))[np.arange(len(sample)), codes[sample]]
        return ProbeFit(classifiers, penalty, -float((log_p * weight[sample]).mean(dtype=np.float64)))

    every, sample = range(folds), sample_rows(len(codes), classes)
    if start is not None:
        current[:] = start.classifiers.coefficients
        return fit(start.penalty, fine, every, sample)
    held_out = np.flatnonzero(fold_index == 0)
    part = held_out[sample_rows(len(held_out), classes)] if dear else sample
    tried: tuple[float, ...] = PENALTIES if len(codes) >= HANDFUL * classes else PENALTIES[1::2]
    if dear:
        tried = tuple(penalty for penalty in tried if used(penalty)) or tried[-1:]
    best: ProbeFit | None = None
    for penalty in tried:
        fitted = fit(penalty, ROUGH, every[:1], part) if dear else fit(penalty, FINE, every, part)
        # Of a rough fit a rise that is no more than rough says nothing yet.
        if best is not None and fitted.log_loss >= best.log_loss * (1 + ROUGH * dear):
            break
        if best is None or fitted.log_loss < best.log_loss:
            best = fitted
    assert best is not None
    if not dear:
        return best
    current[:] = best.classifiers.coefficients
    if short:
        # The other folds come the same way as the first: on the few axes that a strong penalty leaves most is learnt.
        for penalty in tried[: tried.index(best.penalty)]:
            step(penalty, ROUGH, every[1:])
    return fit(best.penalty, fine, every, sample)


def fit_softmax(
    points: FloatArray,
    codes: IntArray,
    weight: FloatArray,
    classes: int,
    variances: FloatArray,
    penalty: float,
    start: FloatArray | None = None,
    tolerance: float = FINE,
    device: str = "cpu",
) -> FloatArray:
    """Coefficients [K, d+1] (bias last) of ridge-penalised multinomial logistic regression.

    Minimises Σ_n w_n·(−log softmax(z_n)[code_n]) / Σ w + ½·penalty·‖W‖² (bias free) with L-BFGS; every axis is first
    scaled by its approximate curvature, so few steps suffice.

    Args:
        points: [N, d]; codes: [N] in [0, classes); weight: [N] >= 0; variances: [d] of the points.
        start: coefficients to begin with.
        tolerance: the part of the loss by which a step must improve it for another to follow.
        device: a GPU that computes the losses; on it the same to rounding.
    """
    axes = points.shape[1]
    share = weight / np.float32(max(float(weight.sum(dtype=np.float64)), 1e-6))
    curvature = (1 - 1 / max(classes, 2)) / max(classes, 2)
    spread = np.append(1 / np.sqrt(curvature * variances + penalty), 1 / np.sqrt(curvature)).astype(np.float32)

    card = graphics_card(device)
    loss_of = _loss(points, codes, share) if card is None else SoftmaxLoss(points, codes, share, card)

    def objective(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        coefficients = (flat.reshape(classes, axes + 1) * spread).astype(np.float32)
        loss, gradient = loss_of(coefficients)
        gradient[:, :-1] += np.float32(penalty) * coefficients[:, :-1]
        loss += 0.5 * penalty * float(np.square(coefficients[:, :-1], dtype=np.float64).sum())
        return loss, (gradient * spread).astype(np.float64).ravel()

    initial = np.zeros((classes, axes + 1)) if start is None else start / spread
    best = scipy.optimize.minimize(
        objective,
        initial.astype(np.float64).ravel(),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": 200, "maxcor": 10, "ftol": tolerance, "gtol": 1e-5},
    )
    return np.asarray(best.x.reshape(classes, axes + 1) * spread, dtype=np.float32)


def _loss(points: FloatArray, codes: IntArray, share: FloatArray) -> Callable[[FloatArray], tuple[float, FloatArray]]:
    """Σ share · (−log softmax(z)[code]) of z = points · Wᵀ + b and its gradient, of coefficients [K, d+1]."""

    def loss_of(coefficients: FloatArray) -> tuple[float, FloatArray]:
        loss, gradient = 0.0, np.zeros_like(coefficients)
        for block in row_blocks(len(points), len(coefficients)):
            some, given, part = points[block], codes[block], share[block]
            rows = np.arange(len(some))
            # It becomes the log-probabilities, and then the residuals.
            table = some @ coefficients[:, :-1].T
            table += coefficients[:, -1]
            table -= table.max(axis=1, keepdims=True)
            own = table[rows, given]
            np.exp(table, out=table)
            total = table.sum(axis=1)
            loss += float(np.dot(part.astype(np.float64), np.log(total) - own))
            table *= (part / total)[:, None]
            table[rows, given] -= part
            gradient[:, :-1] += table.T @ some
            gradient[:, -1] += table.sum(axis=0)
        return loss, gradient

    return loss_of


def _fit_present(
    basis: Basis,
    codes: IntArray,
    weight: FloatArray,
    rows: IntArray,
    penalty: float,
    coefficients: FloatArray,
    tolerance: float,
    used: int,
    device: str,
) -> None:
    """Fit the classes that the training images ``rows`` have, in place, on the first ``used`` axes; the other classes
    get weight zero and the mean probability 1/(n + K). Where no image is trusted, all classes are equally likely."""
    points, known = basis.points[rows, :used], np.append(np.arange(used), coefficients.shape[1] - 1)
    present = np.bincount(codes, weight, minlength=len(coefficients)) > 0
    if weight.sum(dtype=np.float64) <= LEAST_TRUST:
        coefficients[:] = 0
        return
    place = np.cumsum(present) - 1
    usable = present[codes]
    if not usable.all():
        points, codes, weight = points[usable], codes[usable], weight[usable]
    variances, start = basis.variances[:used], coefficients[np.ix_(present, known)]
    fitted = fit_softmax(points, place[codes], weight, int(present.sum()), variances, penalty, start, tolerance, device)
    coefficients[np.ix_(present, known)] = fitted
    if not present.all():
        logits = points @ fitted[:, :-1].T + fitted[:, -1]
        level = float(np.mean(logits.max(axis=1) - log_softmax(logits).max(axis=1)))
        coefficients[~present] = 0
        coefficients[~present, -1] = level - np.log(len(rows) + len(coefficients))


def _training_rows(codes: IntArray, limit: int) -> tuple[IntArray, FloatArray]:
    """At most about ``limit`` rows, ascending, and [N] how many images of its class each of them stands for."""
    represented = np.ones(len(codes), dtype=np.float32)
    if len(codes) <= limit:
        return np.arange(len(codes)), represented
    counts = np.bincount(codes)
    most = max(limit // int((counts > 0).sum()), 1)
    shuffled = np.random.default_rng(0).permutation(len(codes))
    order = shuffled[np.argsort(codes[shuffled], kind="stable")]
    place = np.arange(len(codes)) - np.repeat(np.cumsum(counts) - counts, counts)
    represented = (counts / np.minimum(np.maximum(counts, 1), most)).astype(np.float32)[codes]
    return np.sort(order[place < most]), represented
