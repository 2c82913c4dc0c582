"""What kind of doubt a suspect is: a few rules on stored numbers, the first that applies decides.

The order goes from what is nearly certain to what is left over: two spellings of one class, an empty picture (all of
which look alike) and a copy under another label are facts; a picture unlike every class makes the two classes' evidence
meaningless; only then is asked whether both classes are in the picture, and last whether they can be told apart at all.
Nothing here was fitted; how well the rules part pictures of known kind, ``bench/kinds.py`` prints.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from numpy.typing import NDArray

SAME = 0.9
"""Cosine of standardised features from which two pictures can be one: copies of photographs that were recompressed
(JPEG quality 30), scaled to 60 %, mirrored or trimmed by 5 % a side mostly stay above, other photographs below."""
CLOSER = 0.4
"""A copy must also be nearer (1 − cosine) than this multiple of the sixth nearest image's distance, or pictures of a
narrow world such as digits would all be copies of one another."""
DETAIL = 0.03
"""Contrast within the busiest patches, of black to white, below which there is nothing to see: flat colours, gradients,
photographs blurred past recognition. A background with texture in it is not told from other pictures that are out of
place."""
UNLIKE = 0.02
"""A picture is out of place where at most this share of the unsuspicious images is as far from every class."""
BOTH = math.log(2)
"""Logits by which the given label must lead, once the evidence for the other class is hidden, to be in the picture too:
it is then twice as likely."""
POSSIBLE = 0.001
"""Probability of the given label, before it was looked at, below which it is not in the picture, whatever is seen once
a part is hidden: of one thing of a narrow world, a digit without one of its strokes, another can be left."""
CLOSE = 3.0
"""Odds of suggested to given label up to which the two are hardly told apart."""
NUMBERS = (
    *("given_probability", "suggested_probability", "runner_up_probability"),
    *("same_class", "identical", "similarity", "usual_similarity", "detail", "unlikeness", "more_unlike"),
    *("hidden_margin", "hidden_is_given", "hidden_probability", "lift", "reverse_lift"),
)
"""What the rules ask for; see :func:`kinds_of`."""
OUTSIDE = "outside_suspicion"
"""And what they ask for where the head has other outputs than the dataset's classes."""


def kinds_of(facts: pd.DataFrame) -> pd.DataFrame:
    """The kind of doubt of each suspect, and the numbers it was told from.

    Args:
        facts: one row per suspect; columns that are missing or NaN count as not known.
            ``given_probability``, ``suggested_probability``: of the ranking, before it looked at the label.
            ``same_class``: whether the given and the suggested label are one but for their spelling.
            ``identical``: whether the same content is in the dataset under another label.
            ``similarity``, ``usual_similarity``: cosine to the nearest of its neighbours under another label, and to
            the sixth neighbour.
            ``detail``: contrast within the busiest patches, in [0, 0.5].
            ``unlikeness``, ``more_unlike``: distance to the nearest class in spreads of that class, and the share of
            unsuspicious images that are farther from theirs.
            ``hidden_margin``, ``hidden_is_given``, ``hidden_probability``: with the evidence for the other class
            hidden, the logit of the given label minus that of the other, whether the given label is then the best of
            all classes, and the probability of the best.
            ``outside_suspicion``: of a picture for which no class of the dataset is suggested, the probability that it
            is of none; not known of the others.
            ``lift``, ``reverse_lift``: of the pair (given, suggested) and of (suggested, given).

    Returns:
        ``kind``, one of ``gradattn_core.kinds.KINDS``, and ``kind_numbers``, a dict of the known numbers among the
        above; truth is 1.

    The rules, in this order: *two spellings* same class. *nothing to see* detail < ``DETAIL``. *duplicate* identical,
    or similarity ≥ ``SAME`` and (1 − similarity) ≤ ``CLOSER`` · (1 − usual similarity). *out of place* more unlike ≤
    ``UNLIKE``, or no class of the dataset is suggested. *two objects* hidden is given, hidden margin ≥ ``BOTH`` and
    given probability not below ``POSSIBLE``. *confusable* the given label is at least as probable as the suggested one,
    or their odds are at most ``CLOSE`` and both lifts at least 1: the classes are taken for one another more than for
    others, both ways. *mislabel* all else.
    """
    columns = {name: _column(facts, name) for name in (*NUMBERS, OUTSIDE)}
    odds = columns["suggested_probability"] / np.maximum(columns["given_probability"], 1e-12)
    nearer = 1 - columns["similarity"] <= CLOSER * (1 - columns["usual_similarity"])
    # Comparisons with NaN are false: what is not known decides nothing.
    possible = ~(columns["given_probability"] < POSSIBLE)
    both_ways = (columns["lift"] >= 1 - 1e-9) & (columns["reverse_lift"] >= 1 - 1e-9)
    rules = {
        "two spellings": columns["same_class"] == 1,
        "nothing to see": columns["detail"] < DETAIL,
        "duplicate": (columns["identical"] == 1) | ((columns["similarity"] >= SAME) & nearer),
        "out of place": (columns["more_unlike"] <= UNLIKE) | ~np.isnan(columns[OUTSIDE]),
        "two objects": (columns["hidden_is_given"] == 1) & (columns["hidden_margin"] >= BOTH) & possible,
        "confusable": (odds <= 1) | ((odds <= CLOSE) & both_ways),
    }
    kind = np.select(list(rules.values()), list(rules), default="mislabel")
    table = np.stack(list(columns.values()), axis=1)
    numbers = [
        {name: float(value) for name, value in zip(columns, row, strict=True) if not math.isnan(value)} for row in table
    ]
    return pd.DataFrame({"kind": kind.astype(object), "kind_numbers": pd.Series(numbers, dtype=object)})


def _column(facts: pd.DataFrame, name: str) -> NDArray[np.float64]:
    if name not in facts:
        return np.full(len(facts), np.nan)
    return np.asarray(facts[name].astype("Float64").to_numpy(dtype=np.float64, na_value=np.nan))
