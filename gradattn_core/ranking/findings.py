"""What the ranked images say together: which class is polluted by which, and how many labels are wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd


def class_pairs(given: Any, ranked: pd.DataFrame, threshold: float = 0.5) -> pd.DataFrame:
    """Ordered pairs (given → suggested) of the suspects, most harmful first.

    Args:
        given: [N] labels, in the row order of ``ranked``.
        ranked: what ``rank_labels`` returned.
        threshold: images of at least this suspicion are suspects.

    Returns:
        ``given_label``, ``suggested_label``, ``suspects`` (how many), ``class_size`` (images given that label), ``share``
        (suspects / class_size), ``mean_suspicion`` and ``expected`` (Σ suspicion of the suspects: wrong labels expected
        among them), ordered by ``expected``, then share, then the labels as text.
    """
    frame = pd.DataFrame({"given_label": list(given), "suggested_label": ranked["suggested"].to_list()})
    frame["suspicion"] = ranked["suspicion"].to_numpy()
    sizes = frame["given_label"].value_counts()
    groups = frame[frame["suspicion"] >= threshold].groupby(["given_label", "suggested_label"], sort=True)["suspicion"]
    pairs = groups.agg(suspects="size", mean_suspicion="mean", expected="sum").reset_index()
    pairs["class_size"] = pairs["given_label"].map(sizes).astype(np.int64)
    pairs["share"] = pairs["suspects"] / pairs["class_size"]
    pairs = pairs.sort_values(["expected", "share"], ascending=False, kind="stable", ignore_index=True)
    columns = ["given_label", "suggested_label", "suspects", "class_size", "share", "mean_suspicion", "expected"]
    return pairs[columns]
