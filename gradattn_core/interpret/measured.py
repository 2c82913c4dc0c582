"""Numbers that are measured: what the model answers with parts of a picture left out.

Leaving a patch out means leaving its token out of every softmax, see :mod:`gradattn_core.interpret.absence`. With
f the model's log-odds, the effect of a region is f minus f without the region: positive where the region speaks for
the class that red stands for, so it has the sign that its number in a map should have.

A map's numbers for whole groups of patches can be measured too. Let the strongest red region, the rest of red, the
strongest blue region and the rest of blue be the players of a game whose outcome is f with the patches of the others
left out. Its Shapley values add up to f − f₀ whatever the model does, so each group's patches can be scaled to its
value, and the map still adds up.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from gradattn_core.interpret.asking import CHUNK, Asker, Mask
from gradattn_core.interpret.maps import Classes, Objective
from gradattn_core.interpret.regions import map_statistics, region_masks
from gradattn_core.model.forward import Head
from gradattn_core.records import Evidence, FloatArray
from gradattn_core.sums import Sums

GROUPS = ("strongest red", "rest of red", "strongest blue", "rest of blue")


@dataclass(frozen=True)
class Shapley:
    """Maps whose groups were scaled to what they were measured to do.

    Attributes:
        scores: [B, grid height, grid width] float32 on the CPU; the sum is f − f₀. An image whose answers are not
            finite keeps the map it had.
        values: [B, 4] float64, Shapley values of ``GROUPS`` in log-odds; 0 for a group without patches, not finite
            where an answer was not.
        effects: [B, 4] float64, f minus f without the group alone.
    """

    scores: Tensor
    values: Tensor
    effects: Tensor


def region_effects(
    model: nn.Module,
    images: Tensor,
    masks: Sequence[Sequence[Mask]],
    target: Classes,
    against: Classes | None = None,
    *,
    objective: Objective = "difference",
    head: Head | None = None,
    log_odds: Tensor | None = None,
    chunk_size: int = CHUNK,
) -> list[list[float]]:
    """f minus f without the region, for each region of each image; a forward pass each.

    Args:
        model: a timm Vision Transformer with global self-attention. It is left as it was found.
        images: [B, channels, H, W], preprocessed.
        masks: of each image any number of regions, bool [grid height, grid width]; see
            :func:`~gradattn_core.interpret.regions.region_masks`.
        target, against: as for :func:`~gradattn_core.interpret.interpret`; ``difference`` needs both.
        objective: ``difference``, ``logit`` or a callable from logits [M, K] to [M], row by row.
        head: maps the model's pre-logit features to logits, row by row; one that differs from image to image is fine.
        log_odds: [B], f where it is known; one more pass each where it is not.
        chunk_size: images in one forward pass.

    Returns:
        for each image a number for each of its regions, any real; not finite where the model's answer is not.

    Raises:
        InterpretError: an argument is unusable, or nothing can be left out of this model; the message says so.
    """
    ask = Asker(model, images, target, against, objective, head, chunk_size)
    whole = ask.whole() if log_odds is None else log_odds.double().cpu()
    answers = iter(ask([(row, mask) for row, of_image in enumerate(masks) for mask in of_image]))
    return [[float(whole[row]) - next(answers) for _ in of_image] for row, of_image in enumerate(masks)]


def shapley_groups(
    model: nn.Module,
    images: Tensor,
    scores: Tensor,
    target: Classes,
    against: Classes | None = None,
    *,
    objective: Objective = "difference",
    head: Head | None = None,
    log_odds: Tensor | None = None,
    base: Tensor | None = None,
    chunk_size: int = CHUNK,
) -> Shapley:
    """Scale the four groups of each map to their Shapley values: 14 forward passes an image, less for absent groups.

    Patches keep their share of their group. Where a group's value has another sign than the group, its patches turn
    sign; a group of nothing but zeros shares its value evenly.

    Args:
        scores: [B, grid height, grid width] the maps.
        base: [B], f₀ without any picture, where it is known.
        model, images, target, against, objective, head, log_odds, chunk_size: as for :func:`region_effects`.

    Raises:
        InterpretError: as :func:`region_effects`.
    """
    ask = Asker(model, images, target, against, objective, head, chunk_size)
    maps: list[FloatArray] = [each.float().cpu().numpy() for each in scores]
    groups = [group_masks(each) for each in maps]
    present = [sum(1 << player for player, mask in enumerate(of_image) if mask.any()) for of_image in groups]
    full = (1 << len(GROUPS)) - 1
    # A coalition is the players whose patches are left in; one that differs by an absent player is the same picture.
    wanted = [
        (row, coalition)
        for row, players in enumerate(present)
        for coalition in range(1, full)
        if coalition & players == coalition and coalition not in (0, players)
    ]
    absent = [(row, _union(groups[row], full & ~coalition)) for row, coalition in wanted]
    outcomes = dict(zip(wanted, ask(absent), strict=True))
    whole = ask.whole() if log_odds is None else log_odds
    empty = ask([(row, np.ones_like(mask[0])) for row, mask in enumerate(groups)]) if base is None else base.tolist()
    values, effects, scaled = [], [], []
    for row, players in enumerate(present):
        outcomes |= {(row, 0): float(empty[row]), (row, players): float(whole[row])}
        game = [outcomes[row, coalition & players] for coalition in range(full + 1)]
        worth = shapley_values(game)
        values.append(worth)
        effects.append([game[full] - game[full & ~(1 << player)] for player in range(len(GROUPS))])
        finite = all(map(math.isfinite, worth))
        scaled.append(torch.from_numpy(_scaled(maps[row], groups[row], worth) if finite else maps[row]))
    exact = torch.float64
    return Shapley(torch.stack(scaled), torch.tensor(values, dtype=exact), torch.tensor(effects, dtype=exact))


def measured_regions(
    model: nn.Module,
    images: Tensor,
    evidence: Sequence[Evidence],
    target: Classes,
    against: Classes,
    *,
    head: Head | None = None,
    ranks: int = 1,
    chunk_size: int = CHUNK,
) -> list[Evidence]:
    """The evidence of each image with the effect of hiding its strongest regions; what is known already is kept.

    Args:
        evidence: of each image of the batch, between ``target`` and ``against``.
        ranks: how many regions of each sign, the strongest first.
        model, images, target, against, head, chunk_size: as for :func:`region_effects`.

    Returns:
        the evidence with ``Region.measured`` filled in, but for answers that are not finite.

    Raises:
        InterpretError: as :func:`region_effects`.
    """
    asked = [
        {
            (region.sign, region.rank): masks[region.sign, region.rank]
            for region in each.statistics.regions
            if region.rank <= ranks and region.measured is None
        }
        for each, masks in zip(evidence, (region_masks(each.scores) for each in evidence), strict=True)
    ]
    known = torch.tensor([_log_odds(each) for each in evidence], dtype=torch.float64)
    masks = [list(of_image.values()) for of_image in asked]
    effects = region_effects(model, images, masks, target, against, head=head, log_odds=known, chunk_size=chunk_size)
    return [
        _with_effects(each, dict(zip(of_image, numbers, strict=True)))
        for each, of_image, numbers in zip(evidence, asked, effects, strict=True)
    ]


def measured_evidence(
    model: nn.Module,
    images: Tensor,
    evidence: Sequence[Evidence],
    sizes: Sequence[tuple[int, int]],
    target: Classes,
    against: Classes,
    *,
    head: Head | None = None,
    ranks: int = 1,
    chunk_size: int = CHUNK,
) -> list[Evidence]:
    """The evidence of each image with its groups' numbers measured: :func:`shapley_groups`, then the hidden regions.

    The regions are told anew from the scaled map, so that map, sums and regions belong together as they always do.

    Args:
        evidence: that adds up, of each image of the batch.
        sizes: (width, height) of each upright original in pixels.
        model, images, target, against, head, ranks, chunk_size: as for :func:`measured_regions`.

    Returns:
        the evidence with ``numbers`` "measured"; where an answer was not finite it keeps its map's numbers.

    Raises:
        InterpretError: as :func:`region_effects`.
        ValueError: a map does not add up.
    """
    scores = torch.from_numpy(np.stack([each.scores for each in evidence]))
    log_odds = torch.tensor([_sums(each).log_odds for each in evidence], dtype=torch.float64)
    base = torch.tensor([_sums(each).base for each in evidence], dtype=torch.float64)
    found = shapley_groups(
        model, images, scores, target, against, head=head, log_odds=log_odds, base=base, chunk_size=chunk_size
    )
    scaled = []
    for row, (each, size) in enumerate(zip(evidence, sizes, strict=True)):
        if not bool(found.values[row].isfinite().all()):
            scaled.append(each)
            continue
        values = found.scores[row].numpy()
        sums = replace(
            _sums(each),
            red=float(values.clip(0, None).sum(dtype=np.float64)),
            blue=float(values.clip(None, 0).sum(dtype=np.float64)),
        )
        statistics = map_statistics(values, each.crop, *size, adds_up=True)
        whole = replace(each, scores=values, statistics=statistics, sums=sums, numbers="measured")
        # A region that is one of the four groups still has had its hiding measured among the coalitions.
        groups = zip(group_masks(each.scores), found.effects[row].tolist(), strict=True)
        known = {mask.tobytes(): effect for mask, effect in groups}
        regions = {key: known.get(mask.tobytes()) for key, mask in region_masks(values).items()}
        scaled.append(_with_effects(whole, {key: effect for key, effect in regions.items() if effect is not None}))
    return measured_regions(model, images, scaled, target, against, head=head, ranks=ranks, chunk_size=chunk_size)


def _with_effects(evidence: Evidence, effects: Mapping[tuple[int, int], float]) -> Evidence:
    regions = tuple(
        replace(region, measured=effect)
        if (effect := effects.get((region.sign, region.rank))) is not None and math.isfinite(effect)
        else region
        for region in evidence.statistics.regions
    )
    return replace(evidence, statistics=replace(evidence.statistics, regions=regions))


def _log_odds(evidence: Evidence) -> float:
    if evidence.sums is not None:
        return evidence.sums.log_odds
    return evidence.for_logit - evidence.against_logit


def _sums(evidence: Evidence) -> Sums:
    if evidence.sums is None:
        raise ValueError("the map does not add up to log-odds, so its groups have no numbers to be scaled")
    return evidence.sums


def group_masks(scores: FloatArray) -> list[Mask]:
    """The patches [grid height, grid width] of each of ``GROUPS``; every patch belongs to exactly one.

    Patches that say nothing (0) join the larger rest, where they weigh least and no region that has a name changes.
    """
    regions = region_masks(scores)
    nowhere = np.zeros(scores.shape, dtype=bool)
    strongest = [regions.get((sign, 1), nowhere) for sign in (+1, -1)]
    rests = [(sign * scores > 0) & ~mask for sign, mask in zip((+1, -1), strongest, strict=True)]
    # Of two rests alike, red's.
    larger = max((0, 1), key=lambda side: int(rests[side].sum()) - side / 2)
    rests[larger] = rests[larger] | (scores == 0)
    return [strongest[0], rests[0], strongest[1], rests[1]]


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


def _union(groups: Sequence[Mask], coalition: int) -> Mask:
    chosen = [mask for player, mask in enumerate(groups) if coalition >> player & 1]
    union: Mask = np.logical_or.reduce(chosen, axis=0)
    return union


def _scaled(scores: FloatArray, groups: Sequence[Mask], values: Sequence[float]) -> FloatArray:
    result = scores.astype(np.float64)
    for mask, value in zip(groups, values, strict=True):
        total = result[mask].sum()
        # Of one sign and joined by zeros only, a group's patches cannot cancel.
        result[mask] = value / max(int(mask.sum()), 1) if total == 0 else result[mask] * (value / total)
    return result.astype(np.float32)
