"""Whether predictions were made by a model that knows the given labels, the wrong ones too, by heart."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from gradattn_core.ranking.discriminant import held_out_discriminant
from gradattn_core.ranking.folds import group_folds
from gradattn_core.ranking.fusion import fuse
from gradattn_core.ranking.inputs import check_given, check_matrix
from gradattn_core.ranking.linear import make_basis
from gradattn_core.ranking.shortlist import likeliest

AGREEING = 0.95
"""Share of all labels that the model names at least."""
DOUBTED, DOUBTED_SHARE = 30, 0.02
"""Images whose label must be in doubt: of a few, or of a hundred clean labels' one or two, a fair model names many."""
KNOWN = 0.9
"""Share of the labels in doubt that the model names at least: one that was trained on the labels until it agreed with
nearly all of them names the wrong ones too (docs/ranking.md), a fair one can name most of what is clean."""


def knows_by_heart(given: Any, predicted: Any, features: ArrayLike, classes: Any = None, seed: int = 0) -> bool:
    """Whether a model names the given label even where it is most likely wrong.

    A discriminant on ``features`` that has not seen an image's label tells which labels are more likely wrong than
    right. A fair model names few of those. One trained on these very labels names them all, and what it says of any
    label is worth nothing. A model that knows part of them is not told.

    Args:
        given: [N] labels; predicted: [N] the model's best class of each image.
        features: [N, D], of a depth that knows the labels least: the shallowest there is.
        classes: the labels in column order; by default the sorted distinct given ones.
        seed: shuffles the folds.

    Raises:
        RankingError: an unusable argument, named in the message.
    """
    codes, names = check_given(given, classes)
    matrix = check_matrix(features, "features", len(codes))
    agreeing = np.asarray(given, dtype=object) == np.asarray(predicted, dtype=object)
    if agreeing.mean() < AGREEING:
        return False
    points = make_basis(matrix).points
    folds = group_folds(codes, np.arange(len(codes)), seed)
    opinion = held_out_discriminant(points, codes, len(names), folds)
    candidates = likeliest(opinion.logits, codes, len(names))
    fusion = fuse(opinion.log_p(candidates)[None], candidates)
    doubted = fusion.posterior[candidates.rows, candidates.own] < 0.5
    enough = doubted.sum() >= max(DOUBTED, DOUBTED_SHARE * len(codes))
    return bool(enough and agreeing[doubted].mean() >= KNOWN)
