"""The four groups of a map's patches as players of a game, and what a game gives to each of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from gradattn_core.interpret.regions import region_masks
from gradattn_core.records import Evidence, FloatArray

if TYPE_CHECKING:
    # Whoever only counts passes does not wait for torch.
    from gradattn_core.interpret.asking import Mask

GROUPS = ("strongest red", "rest of red", "strongest blue", "rest of blue")


def group_masks(scores: FloatArray, regions: Mapping[tuple[int, int], Mask] | None = None) -> list[Mask]:
    """The patches [grid height, grid width] of each of ``GROUPS``; every patch belongs to exactly one.

    Patches that say nothing (0) join the larger rest, where they weigh least and no region that has a name changes.

    Args:
        regions: the map's ``region_masks``, where they are at hand.
    """
    regions = region_masks(scores) if regions is None else regions
    nowhere = np.zeros(scores.shape, dtype=bool)
    strongest = [regions.get((sign, 1), nowhere) for sign in (+1, -1)]
    rests = [(sign * scores > 0) & ~mask for sign, mask in zip((+1, -1), strongest, strict=True)]
    # Of two rests alike, red's.
    larger = max((0, 1), key=lambda side: int(rests[side].sum()) - side / 2)
    rests[larger] = rests[larger] | (scores == 0)
    return [strongest[0], rests[0], strongest[1], rests[1]]


def measuring_passes(evidence: Evidence, masks: Mapping[tuple[int, int], Mask] | None = None) -> int:
    """Forward passes that measuring all of an image's numbers takes, with the one that asks whether the model is still
    the same; 0 where they were measured already, or the map has none to measure. ``masks``: as of :func:`group_masks`.
    """
    if evidence.numbers == "measured" or evidence.sums is None:
        return 0
    masks = region_masks(evidence.scores) if masks is None else masks
    groups = [mask.tobytes() for mask in group_masks(evidence.scores, masks) if mask.any()]
    alone = [
        region
        for region in evidence.statistics.regions
        if region.measured is None and masks[region.sign, region.rank].tobytes() not in groups
    ]
    return 1 + (1 << len(groups)) - 2 + len(alone)


def shapley_values(game: Sequence[float]) -> list[float]:
    """The Shapley value of each player of a game with 2^n outcomes.

    Args:
        game: the outcome of each coalition, at the place whose bits are its players: player 0 is bit 0.
    """
    players = len(game).bit_length() - 1
    values = []
    for player in range(players):
        others = [coalition for coalition in range(len(game)) if not coalition >> player & 1]
        weights = [1 / (players * math.comb(players - 1, coalition.bit_count())) for coalition in others]
        gains = (game[coalition | 1 << player] - game[coalition] for coalition in others)
        values.append(math.fsum(weight * gain for weight, gain in zip(weights, gains, strict=True)))
    return values


def union(groups: Sequence[Mask], coalition: int) -> Mask:
    """The patches of all players of a coalition, whose bits they are."""
    chosen = [mask for player, mask in enumerate(groups) if coalition >> player & 1]
    union: Mask = np.logical_or.reduce(chosen, axis=0)
    return union


def scaled_groups(scores: FloatArray, groups: Sequence[Mask], values: Sequence[float]) -> FloatArray:
    """The map with each group's patches scaled to its value; a group of nothing but zeros shares it evenly."""
    result = scores.astype(np.float64)
    for mask, value in zip(groups, values, strict=True):
        total = result[mask].sum()
        # Of one sign and joined by zeros only, a group's patches cannot cancel.
        result[mask] = value / max(int(mask.sum()), 1) if total == 0 else result[mask] * (value / total)
    return result.astype(np.float32)
