"""How well a signed map agrees with what is known or was measured: one picture in, numbers out.

Maps are [rows, columns]; positive speaks for the target, negative for the other class. Numbers that a map cannot have,
for want of a sign or of any value, are nan; means over pictures leave these out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from gradattn_core.evaluate.coalitions import FloatArray
from gradattn_core.interpret.regions import region_masks

BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Localisation:
    """How a map finds the one part in which two classes differ.

    Attributes:
        energy: |S| on the part / |S|, in [0, 1].
        right: S of the right sign on the part / |S|, in [0, 1].
        pointing: 1 where the strongest value of the right sign lies on the part, else 0.
        auroc: of S, turned so that the right sign is up, for the part against the rest, in [0, 1].
        sign: 1 where the part's sum has the right sign, else 0.
        leak: |S| on parts that say nothing / |S| on these and on the part, in [0, 1].
    """

    energy: float
    right: float
    pointing: float
    auroc: float
    sign: float
    leak: float


def localisation(scores: FloatArray, part: BoolArray, distractors: BoolArray, sign: int = 1) -> Localisation:
    """Scores of a map against the part that is known to tell the two classes apart.

    Args:
        scores: [rows, columns].
        part, distractors: bool [rows, columns], apart from each other.
        sign: what the part speaks for: 1 the target, −1 the other class.
    """
    turned = sign * np.asarray(scores, dtype=np.float64)
    weight = np.abs(turned)
    total = weight.sum()
    if total == 0:
        return Localisation(0.0, 0.0, 0.0, 0.5, 0.0, float("nan"))
    on, off = float(weight[part].sum()), float(weight[distractors].sum())
    return Localisation(
        energy=on / total,
        right=float(turned[part].clip(0).sum() / total),
        pointing=float(part.ravel()[turned.argmax()]),
        auroc=float(roc_auc_score(part.ravel(), turned.ravel())),
        sign=float(turned[part].sum() > 0),
        leak=off / (on + off) if on + off > 0 else float("nan"),
    )


@dataclass(frozen=True, slots=True)
class Sides:
    """How a map parts a picture made of two.

    Attributes:
        share: of the evidence that lies on its own class's side: (S⁺ on the target's + |S⁻| on the other's) / |S|.
        auroc: of S for the target's side against the other's.
        sums: Σ S of the target's side and of the other's.
    """

    share: float
    auroc: float
    sums: tuple[float, float]


def sides(scores: FloatArray, own: BoolArray) -> Sides:
    """Scores of a map of a picture whose patches ``own`` [rows, columns] show the target, the rest the other class."""
    values = np.asarray(scores, dtype=np.float64)
    right = values[own].clip(0).sum() - values[~own].clip(None, 0).sum()
    total = np.abs(values).sum()
    sums = float(values[own].sum()), float(values[~own].sum())
    return Sides(float(right / total) if total > 0 else 0.5, float(roc_auc_score(own.ravel(), values.ravel())), sums)


def half_values(whole: float, nothing: float, first: float, second: float) -> tuple[float, float]:
    """What two halves are worth, measured: their Shapley values, which sum to f − f₀.

    Args:
        whole, nothing: f of the whole picture and of none.
        first, second: f of either half alone.
    """
    return ((first - nothing) + (whole - second)) / 2, ((second - nothing) + (whole - first)) / 2


def strongest(scores: FloatArray) -> dict[int, BoolArray]:
    """The patches [rows, columns] of the strongest region of each sign, where there is one: 1 is red, −1 blue."""
    masks = region_masks(np.asarray(scores, dtype=np.float32))
    return {sign: masks[sign, 1] for sign in (1, -1) if (sign, 1) in masks}


def explained(predicted: FloatArray, measured: FloatArray) -> float:
    """R² of measured numbers by predicted ones in the best unit: 1 − Σ(m − c·p)²/Σm², c ≥ 0 the same for all.

    Around zero and not around the mean, for a map that says nothing predicts zero.
    """
    p, m = np.asarray(predicted, dtype=np.float64).ravel(), np.asarray(measured, dtype=np.float64).ravel()
    scale = max(0.0, float(p @ m) / float(p @ p)) if p.any() else 0.0
    return 1 - float(np.square(m - scale * p).sum() / np.square(m).sum())
