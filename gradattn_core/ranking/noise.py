"""What the ranked images say together: which class is polluted by which, and how many labels are wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from gradattn_core.errors import RankingError
from gradattn_core.estimates import ASSUMPTIONS, SUREST, assumed_range
from gradattn_core.ranking.arguments import in_order

_PAIR_COLUMNS = [
    *("given_label", "suggested_label", "suspects", "class_size", "share", "mean_suspicion", "expected", "lift"),
]


@dataclass(frozen=True, slots=True)
class NoiseEstimate:
    """How many given labels are wrong, as the model believes; only a random check measures it.

    Attributes:
        images: how many labels there are.
        total: expected number of wrong ones, the sum of the suspicions.
        low, high: the least and the greatest of three sums: ``total``, that if the label noise is as fitted, and that
            if annotators err where the model doubts. No interval; NaN where ``ranked`` was without the two.
        classes: one row per given label, most wrong first: ``given_label``, ``images``, ``wrong``, ``low``, ``high``.
    """

    images: int
    total: float
    low: float
    high: float
    classes: pd.DataFrame


def noise_estimate(given: Any, ranked: pd.DataFrame) -> NoiseEstimate:
    """Expected number of wrong labels in total and per class.

    Args:
        given: [N] labels, in the row order of ``ranked``.
        ranked: what ``rank_labels`` returned.

    Raises:
        RankingError: the two do not have the same length.
    """
    beliefs = ["suspicion", *ASSUMPTIONS]
    frame = _labelled(given, ranked)
    grouped = frame.groupby("given_label", sort=True)
    classes = grouped[beliefs].sum(skipna=False)
    classes.insert(0, "images", grouped.size())
    classes[["low", "high"]] = [assumed_range(*row) for row in classes[beliefs].itertuples(index=False)]
    classes = classes.rename(columns={"suspicion": "wrong"}).drop(columns=list(ASSUMPTIONS)).reset_index()
    classes = classes.sort_values("wrong", ascending=False, kind="stable", ignore_index=True)
    total, *assumed = (float(frame[belief].sum(skipna=False)) for belief in beliefs)
    return NoiseEstimate(len(frame), total, *assumed_range(total, *assumed), classes)


def class_pairs(
    given: Any, ranked: pd.DataFrame, threshold: float = 0.5, suspects: ArrayLike | None = None
) -> pd.DataFrame:
    """Ordered pairs (given → suggested) of the suspects, most harmful first.

    Args:
        given: [N] labels, in the row order of ``ranked``.
        ranked: what ``rank_labels`` returned.
        threshold: images of at least this suspicion are suspects,
        suspects: or those where this [N] is true.

    Returns:
        ``given_label``, ``suggested_label``, ``suspects`` (how many), ``class_size`` (images given that label),
        ``share`` (suspects / class_size), ``mean_suspicion``, ``expected`` (Σ suspicion of the suspects: the wrong
        labels expected among them) and ``lift``, ordered by ``expected``, then ``share``, then the labels.

        ``lift`` is the number of suspects over the number that independence of given and suggested label would give,
        n_g · m_s / (S − m_g): n_g suspects are given g, m_s are suggested s, S there are in all; no image is suggested
        its own label, so what is suggested as g is left out. 1 means that the suspects of g look like s as often as
        other suspects do, 3 three times as often; with two classes it is always 1.

    Raises:
        RankingError: ``given`` and ``ranked`` do not have the same length.
    """
    frame = _labelled(given, ranked)
    sizes = frame["given_label"].value_counts()
    is_suspect = (
        frame["suspicion"] >= threshold
        if suspects is None
        else np.asarray(_in_order_of(given, suspects, "suspects"), bool)
    )
    groups = frame[is_suspect].groupby(["given_label", "suggested_label"], sort=True)["suspicion"]
    pairs = groups.agg(suspects="size", mean_suspicion="mean", expected="sum").reset_index()
    pairs["class_size"] = pairs["given_label"].map(sizes).astype(np.int64)
    pairs["share"] = pairs["suspects"] / pairs["class_size"]
    pairs["lift"] = _lift(pairs)
    pairs = pairs.sort_values(["expected", "share"], ascending=False, kind="stable", ignore_index=True)
    return pairs[_PAIR_COLUMNS]


def _labelled(given: Any, ranked: pd.DataFrame) -> pd.DataFrame:
    """What the ranking says of each of the labels ``given``, in their order, beside the label."""
    labels = list(given)
    if len(labels) != len(ranked):
        raise RankingError(f"given holds {len(labels)} labels, but ranked has {len(ranked)} rows: pass the same images")
    frame: pd.DataFrame = _in_order_of(given, ranked, "ranked")
    frame = frame.reindex(columns=["suggested_label", "suspicion", *ASSUMPTIONS])
    return frame.reset_index(drop=True).assign(given_label=labels)


def _in_order_of(given: Any, table: Any, name: str) -> Any:
    """``table`` in the order of ``given`` where both name their rows; rows that are only numbered have no names."""
    index = given.index if isinstance(given, pd.Series) else None
    numbered = isinstance(table, pd.Series | pd.DataFrame) and isinstance(table.index, pd.RangeIndex)
    return table if numbered or isinstance(index, pd.RangeIndex) else in_order(table, name, index)


def _lift(pairs: pd.DataFrame) -> pd.Series:
    """Observed over expected number of suspects of every pair; the formula stands in :func:`class_pairs`."""
    suggested = pairs.groupby("suggested_label")["suspects"].sum()
    of_given = pairs.groupby("given_label")["suspects"].transform("sum")
    of_suggested = pairs.groupby("suggested_label")["suspects"].transform("sum")
    as_given = pairs["given_label"].map(suggested).astype(float).fillna(0)
    return pairs["suspects"] * (pairs["suspects"].sum() - as_given) / (of_given * of_suggested)


def shifted(
    probability: NDArray[np.float64], before: NDArray[np.float64], after: NDArray[np.float64]
) -> NDArray[np.float64]:
    """``probability`` [N] with its odds multiplied as those of ``before`` were to become those of ``after``.

    What other evidence says of a label is the same factor of its odds under whatever assumption about the noise.
    """
    before, after = (np.clip(each, SUREST, 1 - SUREST) for each in (before, after))
    wrong = probability * after * (1 - before)
    return np.asarray(wrong / (wrong + (1 - probability) * (1 - after) * before))
