"""From a signed map to numbers: how it is spread, and its connected regions in pixels of the original image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from gradattn_core.records import Box, FloatArray, MapStatistics, Region

# Patches weaker than this share of the strongest are left out of the regions: without a floor the faint background of
# either sign would join everything into two regions.
_FLOOR = 0.2
MOST_REGIONS = 5
"""Of either sign."""
_NEIGHBOURS = np.ones((3, 3), dtype=int)


def map_statistics(scores: FloatArray, crop: Box, width: int, height: int, *, adds_up: bool = False) -> MapStatistics:
    """What a signed map says in numbers; the ranges are those of :class:`~gradattn_core.records.MapStatistics`.

    Args:
        scores: [grid height, grid width] raw signed scores.
        crop: the part of the original image that the map covers, in original pixels.
        width, height: of the upright original image; boxes are cut to it.
        adds_up: the scores are log-odds: each region gets the sum of its own.
    """
    values = scores.astype(np.float64)
    positive, negative = np.clip(values, 0, None), np.clip(-values, 0, None)
    total = positive.sum() + negative.sum()
    if total == 0:
        return MapStatistics(0.0, 0.0)
    strongest = np.sort(np.abs(values).ravel())[::-1]
    tenth = max(1, round(values.size / 10))
    return MapStatistics(
        concentration=float(strongest[:tenth].sum() / total),
        overlap=_overlap(positive, negative),
        regions=tuple(
            region
            for sign, mass in ((+1, positive), (-1, negative))
            for region in _regions(mass, sign, total, crop, width, height, adds_up)
        ),
    )


def region_masks(scores: FloatArray) -> dict[tuple[int, int], NDArray[np.bool_]]:
    """The patches [grid height, grid width] of every region that :func:`map_statistics` finds, by sign and rank.

    Args:
        scores: [grid height, grid width]; the same map always has the same regions.
    """
    values = scores.astype(np.float64)
    parts = {sign: _parts(np.clip(sign * values, 0, None)) for sign in (+1, -1)}
    return {(sign, rank): part.inside for sign in parts for rank, part in enumerate(parts[sign], start=1)}


def red_and_blue(scores: FloatArray) -> tuple[float, float]:
    """The sum of a map's positive scores, >= 0, and of its negative ones, <= 0."""
    values = scores.astype(np.float64)
    return float(values.clip(0, None).sum()), float(values.clip(None, 0).sum())


def _overlap(positive: NDArray[np.float64], negative: NDArray[np.float64]) -> float:
    """Bhattacharyya coefficient Σ√(p·q) of the two mass distributions after a 3x3 box blur."""
    if positive.sum() == 0 or negative.sum() == 0:
        return 0.0
    # The filter runs on sums and differences, so an empty place can come out a rounding error below zero.
    p, q = (np.clip(ndimage.uniform_filter(mass, size=3, mode="constant"), 0, None) for mass in (positive, negative))
    return float(min(1.0, np.sqrt((p / p.sum()) * (q / q.sum())).sum()))


@dataclass(frozen=True, slots=True)
class _Part:
    """Connected patches of one sign: their sum, the greatest of them, how many, and where they are."""

    mass: float
    peak: float
    patches: int
    rows: slice
    columns: slice
    inside: NDArray[np.bool_]


def _regions(
    mass: NDArray[np.float64], sign: int, total: float, crop: Box, width: int, height: int, adds_up: bool
) -> list[Region]:
    """Connected patches (8 neighbours) of one sign, the heaviest first."""
    return [
        Region(
            sign=sign,
            rank=rank,
            mass_share=(share := part.mass / total),
            area_share=part.patches / mass.size,
            peak=sign * part.peak,
            box=patch_box(part.rows, part.columns, mass.shape, crop, width, height),
            log_odds=sign * share * total if adds_up else None,
        )
        for rank, part in enumerate(_parts(mass), start=1)
    ]


def _parts(mass: NDArray[np.float64]) -> list[_Part]:
    """The regions of one sign, the heaviest first."""
    most = mass.max()
    if most <= 0:
        return []
    labels, _ = ndimage.label(mass >= _FLOOR * most, structure=_NEIGHBOURS)
    parts = []
    for number, (rows, columns) in enumerate(ndimage.find_objects(labels), start=1):
        inside = labels == number
        values = mass[inside]
        parts.append(_Part(float(values.sum()), float(values.max()), len(values), rows, columns, inside))
    # Ties are broken by position, so that the same map always gives the same order.
    parts.sort(key=lambda part: (-part.mass, part.rows.start, part.columns.start))
    return parts[:MOST_REGIONS]


def patch_box(rows: slice, columns: slice, grid: tuple[int, ...], crop: Box, width: int, height: int) -> Box:
    """The rectangle of the patches [rows, columns] in original pixels, cut to the picture."""
    down, across = crop.height / grid[0], crop.width / grid[1]
    return Box(
        left=min(max(crop.left + columns.start * across, 0.0), float(width)),
        top=min(max(crop.top + rows.start * down, 0.0), float(height)),
        right=min(max(crop.left + columns.stop * across, 0.0), float(width)),
        bottom=min(max(crop.top + rows.stop * down, 0.0), float(height)),
    )
