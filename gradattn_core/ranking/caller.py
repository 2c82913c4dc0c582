"""What the caller's own predictions say: as a voter, as features for other voters, and where pictures are few."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gradattn_core.ranking.arrays import log_softmax, row_blocks, sample_rows, softmax
from gradattn_core.ranking.formulas import log_probabilities
from gradattn_core.ranking.linear import temperature
from gradattn_core.ranking.shortlist import Predictor
from gradattn_core.records import FloatArray, IntArray

CUT_OFF = 0.05
"""Of the tables that hold zeros: the share whose smallest number is less than the one that zeros are taken to be below.
The very smallest of all may be an accident."""
LEAST = 1e-30
"""Probability below which none is told apart, in tables that hold no zeros."""
ASTRAY = 0.05
"""Share of a prediction that is spread over all classes before it votes: how sure of itself a model is at its surest
says least about it. Chosen together with FEW on development sets (docs/ranking.md)."""
FEW = 20.0
"""Pictures per class at which the caller's own doubt counts once more in the order: of few, the other voters and the
noise matrix learn little. After the harmonic mean of the class sizes, so that small classes decide."""
SURE = 30.0
"""Log odds beyond which a judgement is no surer, of classes of ``EACH`` pictures or more; of smaller in proportion:
of a handful, a noise matrix can make anything impossible."""
EACH = 20
"""Pictures per class, on average, from which classifiers are trained on what the caller says."""
WIDEST, AXES = 256, 128
"""Classes up to which they are (of more it takes minutes), and the principal axes of their logarithms that they see."""


def caller_predictor(table: FloatArray, logits: bool, codes: IntArray) -> Predictor:
    """The predictions ``table`` [N, K] at the temperature under which the given labels are likeliest, in blocks.

    They stand beside features here: none is less than 1e-7.
    """

    def log_p(rows: slice | IntArray) -> FloatArray:
        block = table[rows]
        mass = np.maximum(block.sum(axis=1, keepdims=True), 1e-12)
        return log_probabilities(softmax(block) if logits else block / mass)

    return _tempered(log_p, table.shape, codes)


def lone_predictor(table: FloatArray, logits: bool, codes: IntArray) -> Predictor:
    """The same where nothing else is known of the images, and the least differences count.

    A zero of a table of probabilities is what was rounded or cut off: half as much as the smallest number of its row,
    or of most rows that hold a zero, whichever is less.
    """
    least = None if logits else _least(table)

    def log_p(rows: slice | IntArray) -> FloatArray:
        block = table[rows]
        if least is None:
            return log_softmax(block)
        return np.asarray(np.log(np.maximum(block, least[rows, None])), dtype=np.float32)

    return _tempered(log_p, table.shape, codes)


def _least(table: FloatArray) -> FloatArray:
    """[N] what the zeros of each row are taken to be."""
    smallest = np.empty(len(table), dtype=np.float32)
    cut = np.empty(len(table), dtype=bool)
    for block in row_blocks(*table.shape):
        part = table[block]
        positive = part > 0
        smallest[block] = np.min(part, axis=1, where=positive, initial=np.inf)
        # A row of one and zeros says only that the rest is less than 1.
        cut[block] = ~positive.all(axis=1) & (positive.sum(axis=1) > 1)
    usual = float(np.quantile(smallest[cut], CUT_OFF)) if cut.any() else 1e-3
    return np.maximum(np.minimum(smallest, usual) / 2, LEAST).astype(np.float32)


def _tempered(log_p: Callable[[slice | IntArray], FloatArray], shape: tuple[int, ...], codes: IntArray) -> Predictor:
    sample = sample_rows(shape[0], shape[1])
    factor = np.float32(temperature(log_p(sample), codes[sample])[0])
    return lambda rows: log_softmax(log_p(rows) * factor)


def spread(caller: Predictor, classes: int) -> Predictor:
    """log of p and ``ASTRAY`` of it for all classes alike: what votes."""

    def log_p(rows: slice) -> FloatArray:
        return np.asarray(np.log((1 - ASTRAY) * np.exp(caller(rows)) + np.float32(ASTRAY / classes)))

    return log_p


@dataclass(frozen=True, slots=True)
class CentredLogarithms:
    """log p less its mean over the classes, [N, K], read as an array is: a table of its own it never becomes."""

    caller: Predictor
    shape: tuple[int, int]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> FloatArray:
        log_p = self.caller(rows)
        return np.asarray(log_p - log_p.mean(axis=1, keepdims=True))


def teaches(codes: IntArray, classes: int) -> bool:
    """Whether classifiers can learn from the predictions: enough pictures, of every class, and not too many classes.

    Of a class that no label names they would learn that its pictures belong to those they were filed under.
    """
    every = np.count_nonzero(np.bincount(codes)) == classes
    return bool(every and len(codes) >= EACH * classes and classes <= WIDEST)


def doubts_of_few(odds: NDArray[np.float64], caller: Predictor, codes: IntArray, classes: int) -> NDArray[np.float64]:
    """Log odds [N] that a label is wrong, for an order where classes are small.

    ``odds`` [N], none beyond ``SURE``, + FEW / n · log((1 − p) / p): n is the harmonic mean of the sizes of the classes
    that are given, p the caller's own probability of the given class.
    """
    sizes = np.bincount(codes)
    mean = 1 / (1 / sizes[sizes > 0]).mean()
    sure = SURE * min(1, mean / EACH)
    own = np.empty(len(codes))
    for block in row_blocks(len(codes), classes):
        table = caller(block)
        own[block] = table[np.arange(len(table)), codes[block]]
    other = np.log(np.maximum(-np.expm1(np.minimum(own, -1e-9)), 1e-12))
    return np.asarray(np.clip(odds, -sure, sure) + FEW / mean * (other - own))


def dealt(values: NDArray[np.float64], order_by: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same ``values`` [N], the greatest where ``order_by`` [N] is greatest; ties go to the earlier row."""
    result = np.empty_like(values)
    result[np.argsort(-order_by, kind="stable")] = np.sort(values)[::-1]
    return result
