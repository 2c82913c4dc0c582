"""What few pictures of a class can say: how many labels seem wrong only because classes are small and overlap.

A voter that has seen ten pictures of a class contradicts many right labels of it, and is sure of itself. Nothing in its
probabilities tells that from wrong labels, but the margins of a class do: where classes merely overlap they lie about
their middle alike on both sides, where labels are wrong there are more far below than far above.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from gradattn_core.ranking.shortlist import Shortlist
from gradattn_core.records import FloatArray

SMALL, LARGE = 36, 46
"""Pictures of a class up to which this is asked, and from which its probabilities are taken as they are; in between
partly. Chosen on generated classes and on digits, below any class of the sets that the ranking was developed on."""
LEAST = 0.02
"""What is left of a suspicion at least, so that the order stays."""
_UPPER = 0.6745
"""Standard deviations from the median of a normal distribution to its upper quartile."""

SPARSE, COSTLY = 10, 2**32
"""Average pictures of a class below which, and pictures by classes by axes beyond which, fits are cut short: 2,000
classes of 5 pictures and 1,536 features took three minutes. Larger classes and smaller tasks are not touched."""

FEW, MANY = 5, 50
"""Pictures per label, in the middle, up to which little can be told, and from how many labels on it is said."""


def cut_short(pictures: int, classes: int, axes: int) -> bool:
    """Whether there are so many classes of so few pictures that their voters are fitted less finely and less often."""
    return pictures < SPARSE * classes and pictures * classes * axes > COSTLY


def too_few(labels: Sequence[str], column: str) -> tuple[str, str]:
    """Whether labels can be judged at all: a refusal, or else a note; empty where there is nothing to say.

    Args:
        labels: of every picture.
        column: where they were read, as it may stand in a sentence.
    """
    sizes = sorted(Counter(labels).values())
    pictures, classes = len(labels), len(sizes)
    if classes < 2:
        return "", ""
    if sizes[-1] == 1:
        return (
            f"{classes:,} labels for {pictures:,} pictures, one each: a label is judged by other pictures of that "
            f"label; is {column} the right place for it?"
        ), ""
    middle = sizes[classes // 2]
    if middle > FEW or classes < MANY:
        return "", ""
    return "", (
        f"{classes:,} labels for {pictures:,} pictures, most of them with {middle} or fewer: of so few little can be "
        f"told, and many wrong labels may not be found; is {column} the right place for labels?"
    )


def overlap_factor(log_clean: FloatArray, shortlist: Shortlist) -> NDArray[np.float64]:
    """[N] in [``LEAST``, 1]: what share of its suspicion each image keeps, 1 in classes of ``LARGE`` or more pictures.

    With m = log q(given) − log q(best other) out of sample, c counts the images of small classes with m < 0. e is how
    many right labels would have it: the mean of how many have m > 2 · median of their class (the mirror image of m < 0)
    and of Σ Φ(−median / spread), the spread being that of the upper half, which wrong labels do not reach. Of c
    contradictions c − e − ½√e are more than overlap explains, and their share of c is kept. A class whose median is
    below 0 is not recognised: nothing can be said of its labels, and all of them count as explained.

    Args:
        log_clean: [N, C] log q at the shortlist, but for a constant per image, of voters that trust every label.
    """
    rows, own, given = shortlist.rows, shortlist.own, shortlist.given
    sizes = np.bincount(given, minlength=shortlist.classes)
    degree = np.clip((LARGE - sizes) / (LARGE - SMALL), 0, 1)
    factor = np.ones(len(rows))
    if not degree[given].any():
        return factor
    others = log_clean.astype(np.float64)
    margin = others[rows, own].copy()
    others[rows, own] = -np.inf
    margin -= others.max(axis=1)
    small = np.flatnonzero(degree[given] > 0)
    order = small[np.argsort(given[small], kind="stable")]
    contradicted = mirrored = expected = 0.0
    for members in np.split(order, np.flatnonzero(np.diff(given[order])) + 1):
        values = margin[members]
        middle, upper = np.quantile(values, [0.5, 0.75])
        contradicted += float((values < 0).sum())
        mirrored += float((values > 2 * middle).sum()) if middle > 0 else len(values)
        expected += len(values) * float(ndtr(-middle * _UPPER / max(upper - middle, 1e-9)))
    explained = (mirrored + expected) / 2
    left = contradicted - explained - np.sqrt(explained) / 2
    kept = float(np.clip(left / contradicted, LEAST, 1)) if contradicted else 1.0
    factor[small] = 1 - degree[given[small]] * (1 - kept)
    return factor
