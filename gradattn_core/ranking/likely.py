"""The classes that the voters find likeliest for an image, before they look at its given label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradattn_core.ranking.shortlist import Shortlist
from gradattn_core.records import FloatArray, IntArray

KEPT = 8
"""Likeliest classes that are kept of an image, beside the given one."""


@dataclass(frozen=True, eq=False)
class Likely:
    """What the voters think of each image's classes.

    Attributes:
        shortlist: the classes that were weighed,
        log_clean: [N, C] and the logarithm of their probabilities but for a constant per image.
        names: [K] the labels in the order of the classes.
    """

    shortlist: Shortlist
    log_clean: FloatArray
    names: NDArray[np.object_]

    def of(
        self, rows: IntArray, outside: NDArray[np.float64] | None = None
    ) -> tuple[list[list[Any]], list[NDArray[np.float64]]]:
        """Labels and probabilities of some images: the ``KEPT`` likeliest classes and the given one, likeliest first.

        Args:
            rows: [R] which images.
            outside: [N] probability that a picture is of none of the classes: it becomes the class ``""``, and what
                it leaves is shared by the others.

        Returns:
            Of each image at most ``KEPT`` + 2 labels and as many probabilities in [0, 1]; what these lack of 1 is of
            classes that are not named.
        """
        table = self.log_clean[rows].astype(np.float64)
        table -= table.max(axis=1, keepdims=True)
        shares = np.exp(table)
        shares /= shares.sum(axis=1, keepdims=True)
        own, index = self.shortlist.own[rows], self.shortlist.index[rows]
        # By the logarithms, which order classes whose share is too small for a number.
        order = np.argsort(-table, axis=1, kind="stable")
        is_own = order == own[:, None]
        kept = is_own | (np.cumsum(~is_own, axis=1) <= KEPT)
        labels, probabilities = [], []
        for place, row in enumerate(rows.tolist()):
            chosen = order[place, kept[place]]
            names, values = list(self.names[index[place, chosen]]), shares[place, chosen]
            if outside is not None:
                values = values * (1 - outside[row])
                at = int(np.searchsorted(-values, -outside[row]))
                names.insert(at, "")
                values = np.insert(values, at, outside[row])
            labels.append(names)
            probabilities.append(values)
        return labels, probabilities


@dataclass(frozen=True, eq=False)
class Judgement:
    """A ranking, and the classes that its voters find likeliest.

    Attributes:
        frame: as ``rank_labels`` gives it.
    """

    frame: pd.DataFrame
    likely: Likely
