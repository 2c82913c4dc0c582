"""Other images that help to judge a suspect: those that look like it, and sure images of the classes in question."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gradattn_core.ranking.arrays import MANY, row_blocks, standardisation, unit_rows
from gradattn_core.ranking.neighbours import Neighbours, find_neighbours
from gradattn_core.records import FloatArray, IntArray

NEIGHBOURS = 6
EXEMPLARS = 8
ALIKE = 0.4
"""Cosine from which two suspects look alike enough to share a cluster: mostly pictures that look like one class."""
_FEW = 8
"""Of fewer images the spread of a class cannot be told."""


def directions(features: FloatArray, out: FloatArray | None = None) -> FloatArray:
    """``features`` [N, D], standardised per column, as unit vectors [N, D]: their products are cosines.

    Without standardising, what all images have in common would make any two of them alike. It is done block by
    block, for this is the largest array there is; ``out`` is where to, and may be ``features`` itself.
    """
    mean, scale = standardisation(features)
    unit = np.empty(features.shape, features.dtype) if out is None else out
    for block in row_blocks(*features.shape):
        unit[block] = unit_rows((features[block] - mean) / scale)
    return unit


def similar_images(unit: FloatArray, rows: IntArray) -> Neighbours:
    """The ``NEIGHBOURS`` images most like each of the ``rows`` [R] of ``unit`` [N, D], itself left out.

    ``index`` and ``similarity`` are [R, min(``NEIGHBOURS``, N − 1)], most alike first, ties to the earlier row.
    """
    nearest = find_neighbours(unit, NEIGHBOURS, rows)
    return Neighbours(nearest.index, np.minimum(nearest.similarity, 1.0))


def clusters(unit: FloatArray, suspects: IntArray) -> IntArray:
    """Cluster number [S] of each of ``suspects`` [S], rows of ``unit`` [N, D] in order of rank.

    The most suspect image that has no cluster yet founds the next one, and every other without a cluster whose cosine
    to it is at least ``ALIKE`` joins. So nothing is random, all members look like one image, and number 0 is that of
    the most suspect one.
    """
    cluster = np.full(len(suspects), -1, dtype=np.int64)
    rest = np.arange(len(suspects))
    rows = unit[suspects]
    founders = 0
    while len(rest):
        # The founders of a block are told from one matrix product: one product per founder would be all overhead.
        block = rest[: max(1, MANY // len(rest))]
        alike = rows[block] @ rows[rest].T >= ALIKE
        for position, suspect in enumerate(block):
            if cluster[suspect] >= 0:
                continue
            members = alike[position] & (cluster[rest] < 0)
            cluster[rest[members]] = founders
            cluster[suspect] = founders
            founders += 1
        rest = rest[cluster[rest] < 0]
    return cluster


def unlikeness(
    unit: FloatArray, codes: IntArray, trust: FloatArray, rows: IntArray, sure: IntArray
) -> tuple[FloatArray, FloatArray]:
    """How far ``rows`` [R] of ``unit`` [N, D] are from every class, and the share of ``sure`` images that are farther.

    min over classes k of (median_k − cos(x, centre_k)) / spread_k, any real, larger is more unlike: the centre is the
    class's mean direction, an image weighing ``trust`` [N] in [0, 1], and median and spread (1.4826 × median absolute
    deviation) are those of the cosines of its ``sure`` members. Classes of fewer than ``_FEW`` of these have the median
    of the other classes' spreads; with none such in any class both results are NaN.
    """
    classes = int(codes.max()) + 1
    centres = np.zeros((classes, unit.shape[1]), dtype=np.float32)
    middle, spread = np.full(classes, np.nan, np.float32), np.full(classes, np.nan, np.float32)
    for code in range(classes):
        members = np.flatnonzero(codes == code)
        centre = trust[members].astype(np.float32) @ unit[members]
        centres[code] = centre / max(float(np.linalg.norm(centre)), 1e-12)
        own = unit[sure[codes[sure] == code]] @ centres[code]
        if len(own):
            middle[code] = np.median(own)
        if len(own) >= _FEW:
            spread[code] = 1.4826 * np.median(np.abs(own - middle[code]))
    if np.isnan(spread).all():
        return np.full(len(rows), np.nan, np.float32), np.full(len(rows), np.nan, np.float32)
    spread = np.maximum(np.where(np.isnan(spread), np.nanmedian(spread), spread), 1e-6)

    def distance(images: IntArray) -> FloatArray:
        values = np.empty(len(images), dtype=np.float32)
        for block in row_blocks(len(images), max(classes, unit.shape[1])):
            cosines = unit[images[block]] @ centres.T
            values[block] = np.nanmin((middle - cosines) / spread, axis=1)
        return values

    usual = np.sort(distance(sure))
    value = distance(rows)
    return value, np.asarray(1 - np.searchsorted(usual, value, side="left") / len(usual), dtype=np.float32)


def exemplars(
    unit: FloatArray | None,
    codes: IntArray,
    suspicion: NDArray[np.float64],
    suspects: NDArray[np.bool_],
    contents: Sequence[str],
    near_duplicate: float,
) -> list[IntArray]:
    """Per class up to ``EXEMPLARS`` rows of sure and typical images, the most typical first.

    Sure: no suspect, and of at most the median suspicion of its class. Typical: of large cosine to the class's mean
    direction, in which an image weighs 1 − suspicion. Distinct: no two of the same content or, by their cosine, near
    duplicates. Without ``unit`` [N, D] the least suspect are taken.

    Args:
        codes: [N] given classes; suspicion: [N]; suspects: [N]; contents: [N] content hashes.
        near_duplicate: cosine from which two images are near-duplicates.
    """
    chosen = []
    for code in range(int(codes.max()) + 1):
        members = np.flatnonzero(codes == code)
        sure = members[~suspects[members]]
        sure = sure[suspicion[sure] <= np.median(suspicion[members])] if len(sure) else sure
        if unit is None:
            order = sure[np.argsort(suspicion[sure], kind="stable")]
        else:
            centre = (1 - suspicion[members]).astype(np.float32) @ unit[members]
            order = sure[np.argsort(-(unit[sure] @ centre), kind="stable")]
        chosen.append(_distinct(unit, order, contents, near_duplicate))
    return chosen


def _distinct(unit: FloatArray | None, order: IntArray, contents: Sequence[str], near_duplicate: float) -> IntArray:
    rows: list[int] = []
    seen: set[str] = set()
    for row in order.tolist():
        double = contents[row] in seen
        double |= unit is not None and bool(rows) and float((unit[rows] @ unit[row]).max()) >= near_duplicate
        if not double:
            rows.append(row)
            seen.add(contents[row])
        if len(rows) == EXEMPLARS:
            break
    return np.array(rows, dtype=np.int64)
