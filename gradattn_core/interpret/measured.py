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
from gradattn_core.interpret.groups import GROUPS, group_masks, scaled_groups, shapley_values, union
from gradattn_core.interpret.objective import Classes, Objective
from gradattn_core.interpret.regions import MOST_REGIONS, map_statistics, red_and_blue, region_masks
from gradattn_core.model.forward import Head
from gradattn_core.records import Evidence, FloatArray, Region
from gradattn_core.sums import Sums

ALL_REGIONS = 2 * MOST_REGIONS
"""Ranks of one sign, should all regions of the other turn."""


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
    absent = [(row, union(groups[row], full & ~coalition)) for row, coalition in wanted]
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
        scaled.append(torch.from_numpy(scaled_groups(maps[row], groups[row], worth) if finite else maps[row]))
    exact = torch.float64
    return Shapley(torch.stack(scaled), torch.tensor(values, dtype=exact), torch.tensor(effects, dtype=exact))


def measured_regions(
    model: nn.Module,
    images: Tensor,
    evidence: Sequence[Evidence],
    target: Classes,
    against: Classes,
    *,
    objective: Objective = "difference",
    head: Head | None = None,
    ranks: int = 1,
    chunk_size: int = CHUNK,
) -> list[Evidence]:
    """The evidence of each image with the effect of hiding its strongest regions; what is known already is kept.

    Args:
        evidence: of each image of the batch, between ``target`` and ``against``, its numbers those of the map.
        ranks: how many regions of each sign, the strongest first.
        model, images, target, against, objective, head, chunk_size: as for :func:`region_effects`.

    Returns:
        the evidence with ``Region.measured`` filled in, but for answers that are not finite.

    Raises:
        InterpretError: as :func:`region_effects`.
    """
    found = [_found_again(each) for each in evidence]
    ask = Asker(model, images, target, against, objective, head, chunk_size)
    return [
        _with_regions(each, parts) for each, parts in zip(evidence, _hidden(ask, evidence, found, ranks), strict=True)
    ]


def measured_evidence(
    model: nn.Module,
    images: Tensor,
    evidence: Sequence[Evidence],
    sizes: Sequence[tuple[int, int]],
    target: Classes,
    against: Classes,
    *,
    objective: Objective = "difference",
    head: Head | None = None,
    ranks: int = 1,
    chunk_size: int = CHUNK,
) -> list[Evidence]:
    """The evidence of each image with its groups' numbers measured: :func:`shapley_groups`, then the hidden regions.

    The regions stay where the map had found them, so the number of the strongest of either sign is its Shapley value;
    one whose patches turn sign comes last among those of its new sign.

    Args:
        evidence: that adds up, of each image of the batch, its numbers those of the map.
        sizes: (width, height) of each upright original in pixels.
        model, images, target, against, objective, head, ranks, chunk_size: as for :func:`measured_regions`.

    Returns:
        the evidence with ``numbers`` "measured"; where an answer was not finite it keeps its map's numbers.

    Raises:
        InterpretError: as :func:`region_effects`.
        ValueError: a map does not add up.
    """
    scores = torch.from_numpy(np.stack([each.scores for each in evidence]))
    log_odds = torch.tensor([_sums(each).log_odds for each in evidence], dtype=torch.float64)
    base = torch.tensor([_sums(each).base for each in evidence], dtype=torch.float64)
    told = (model, images, scores, target, against)
    shapley = shapley_groups(*told, objective=objective, head=head, log_odds=log_odds, base=base, chunk_size=chunk_size)
    scaled, found = [], []
    for row, (each, size) in enumerate(zip(evidence, sizes, strict=True)):
        parts = _found_again(each)
        if bool(shapley.values[row].isfinite().all()):
            values = shapley.scores[row].numpy()
            # A region that is a group was hidden among the coalitions.
            groups = zip(group_masks(each.scores), shapley.effects[row].tolist(), strict=True)
            parts = _renumbered(parts, values, {mask.tobytes(): effect for mask, effect in groups})
            red, blue = red_and_blue(values)
            sums = replace(_sums(each), red=red, blue=blue)
            spread = map_statistics(values, each.crop, *size)
            each = replace(each, scores=values, statistics=spread, sums=sums, numbers="measured")
        scaled.append(each)
        found.append(parts)
    ask = Asker(model, images, target, against, objective, head, chunk_size)
    return [_with_regions(each, parts) for each, parts in zip(scaled, _hidden(ask, scaled, found, ranks), strict=True)]


Found = list[tuple[Region, Mask]]


def _found_again(evidence: Evidence) -> Found:
    """The regions of a map whose numbers are its own, with their patches.

    Raises:
        ValueError: they were measured: the map was scaled since its regions were found.
    """
    if evidence.numbers == "measured":
        raise ValueError("the numbers of this map were measured already")
    masks = region_masks(evidence.scores)
    return [(region, masks[region.sign, region.rank]) for region in evidence.statistics.regions]


def _renumbered(parts: Found, scores: FloatArray, effects: Mapping[bytes, float]) -> Found:
    """The regions with the numbers of a scaled map, in which the patches of each are of one sign still."""
    total = float(np.abs(scores).sum(dtype=np.float64))
    turned = []
    for region, mask in parts:
        own = scores[mask].astype(np.float64)
        number = float(own.sum())
        changed = replace(
            region,
            sign=region.sign if number * region.sign >= 0 else -region.sign,
            mass_share=abs(number) / total if total else 0.0,
            peak=float(own[np.abs(own).argmax()]),
            log_odds=number,
            measured=effects.get(mask.tobytes(), region.measured),
        )
        turned.append((changed.sign != region.sign, changed, mask))
    result = []
    for sign in (+1, -1):
        of_sign = sorted((part for part in turned if part[1].sign == sign), key=lambda part: part[0])
        result += [(replace(region, rank=rank), mask) for rank, (_, region, mask) in enumerate(of_sign, start=1)]
    return result


def _hidden(ask: Asker, evidence: Sequence[Evidence], found: Sequence[Found], ranks: int) -> list[list[Region]]:
    """The regions of each image, with the effect of hiding those of the first ranks that have none yet."""
    asked = [
        (row, place, mask)
        for row, parts in enumerate(found)
        for place, (region, mask) in enumerate(parts)
        if region.rank <= ranks and region.measured is None
    ]
    answers = ask([(row, mask) for row, _, mask in asked])
    regions = [[region for region, _ in parts] for parts in found]
    for (row, place, _), answer in zip(asked, answers, strict=True):
        effect = _log_odds(evidence[row]) - answer
        regions[row][place] = replace(regions[row][place], measured=effect if math.isfinite(effect) else None)
    return regions


def _with_regions(evidence: Evidence, regions: Sequence[Region]) -> Evidence:
    return replace(evidence, statistics=replace(evidence.statistics, regions=tuple(regions)))


def _log_odds(evidence: Evidence) -> float:
    if evidence.sums is not None:
        return evidence.sums.log_odds
    return evidence.for_logit - evidence.against_logit


def _sums(evidence: Evidence) -> Sums:
    if evidence.sums is None:
        raise ValueError("the map does not add up to log-odds, so its groups have no numbers to be scaled")
    return evidence.sums
