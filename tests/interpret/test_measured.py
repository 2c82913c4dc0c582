"""What is measured: against permutations written out, tokens gathered by hand, and identities that any model keeps."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn

from gradattn_core.errors import InterpretError
from gradattn_core.interpret.asking import Mask
from gradattn_core.interpret.groups import GROUPS, group_masks, shapley_values
from gradattn_core.interpret.measured import measured_evidence, measured_regions, region_effects, shapley_groups
from gradattn_core.interpret.regions import map_statistics, region_masks
from gradattn_core.records import Box, Evidence
from gradattn_core.sums import Sums
from tests.helpers.explicit_maps import pictures, vit
from tests.helpers.tiny import TINY_VIT
from tests.interpret.test_families import FAMILIES, family

WHOLE = Box(0, 0, 64, 64)
CHEAP = ("vit", "vit-mean", "vit-registers", "deit-distilled", "beit", "eva02", "dinov2-registers", "siglip", "relpos")


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    # Random weights of the usual size hardly listen to the picture.
    built: nn.Module = timm.create_model("vit_tiny_patch16_224", **TINY_VIT).eval()
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.mul_(3 if parameter.ndim > 1 else 1)
    return built


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def scores() -> Tensor:
    return smooth_maps(3, 8, 8)


@cache
def smooth_maps(count: int, rows: int, columns: int) -> Tensor:
    """Maps with several regions of either sign."""
    rough = torch.randn(count, 1, 3, 3, generator=torch.Generator().manual_seed(2))
    return nn.functional.interpolate(rough, (rows, columns), mode="bilinear")[:, 0]


def answer_of(model: nn.Module, image: Tensor, left: Mask) -> Tensor:
    """Logits [K] of a plain Vision Transformer once the other tokens are gathered out of the sequence."""
    with torch.no_grad():
        tokens = model._pos_embed(model.patch_embed(image[None]))  # type: ignore[operator]
        keep = [0, *(1 + np.flatnonzero(left.ravel())).tolist()]
        tokens = tokens[:, keep]
        for block in model.blocks:  # type: ignore[union-attr]
            tokens = block(tokens)
        logits: Tensor = model.forward_head(model.norm(tokens))[0]  # type: ignore[operator]
    return logits


def by_permutations(outcome: dict[frozenset[int], float], players: int) -> list[float]:
    """Each player's mean gain over all orders in which they may join."""
    gains = [0.0] * players
    for order in itertools.permutations(range(players)):
        for place, player in enumerate(order):
            before = frozenset(order[:place])
            gains[player] += outcome[before | {player}] - outcome[before]
    return [gain / math.factorial(players) for gain in gains]


@pytest.mark.parametrize("players", [1, 2, 3, 4])
def test_shapley_values_are_the_mean_gain_over_all_orders(players: int) -> None:
    game = np.random.default_rng(players).normal(size=2**players).tolist()
    outcome = {
        frozenset(player for player in range(players) if coalition >> player & 1): game[coalition]
        for coalition in range(2**players)
    }
    assert shapley_values(game) == pytest.approx(by_permutations(outcome, players), abs=1e-12)


def test_groups_are_worth_what_gathering_their_tokens_in_every_order_says(
    model: nn.Module, images: Tensor, scores: Tensor
) -> None:
    found = shapley_groups(model, images, scores, 0, torch.tensor([1, 2, 1]))
    for row, against in enumerate((1, 2, 1)):
        groups = group_masks(scores[row].numpy())
        outcome = {}
        for size in range(5):
            for chosen in itertools.combinations(range(4), size):
                left = np.logical_or.reduce([np.zeros((8, 8), dtype=bool), *(groups[player] for player in chosen)])
                logits = answer_of(model, images[row], left)
                outcome[frozenset(chosen)] = float(logits[0] - logits[against])
        everyone = frozenset(range(4))
        effects = [outcome[everyone] - outcome[everyone - {player}] for player in range(4)]
        assert found.values[row].tolist() == pytest.approx(by_permutations(outcome, 4), abs=1e-5)
        assert found.effects[row].tolist() == pytest.approx(effects, abs=1e-5)
        assert min(map(abs, effects)) > 1e-3
        for mask, value in zip(groups, found.values[row].tolist(), strict=True):
            assert float(found.scores[row].numpy()[mask].sum()) == pytest.approx(value, abs=1e-5)


def test_the_effect_of_a_region_is_that_of_gathering_the_other_tokens(
    model: nn.Module, images: Tensor, scores: Tensor
) -> None:
    masks = [list(region_masks(each.numpy()).values())[: 3 - row] for row, each in enumerate(scores)]
    found = region_effects(model, images, masks, 0, 1)
    for image, of_image, effects in zip(images, masks, found, strict=True):
        whole = answer_of(model, image, np.ones((8, 8), dtype=bool))
        parts = [answer_of(model, image, ~mask) for mask in of_image]
        assert effects == pytest.approx([float((whole - part)[0] - (whole - part)[1]) for part in parts], abs=1e-5)
    logit = region_effects(model, images, masks, 2, objective="logit")
    called = region_effects(model, images, masks, 0, objective=lambda logits: logits[:, 2])
    assert called == logit != found


@pytest.mark.parametrize("key", CHEAP)
def test_a_measured_map_adds_up_to_what_the_picture_changes(key: str) -> None:
    model, images = family(key)
    rows, columns = model.patch_embed.dynamic_feat_size(FAMILIES[key][2])  # type: ignore[operator, union-attr]
    scores = smooth_maps(2, rows, columns)
    found = shapley_groups(model, images, scores, 0, 1)
    with torch.no_grad():
        logits = model(images)
    everything = [[np.ones((rows, columns), dtype=bool)]] * 2
    [[first], [second]] = region_effects(model, images, everything, 0, 1, log_odds=logits[:, 0] - logits[:, 1])
    assert found.scores.double().sum(dim=(1, 2)).tolist() == pytest.approx([first, second], abs=1e-5)
    assert found.values.abs().amax(dim=1).min() > 1e-5


def test_only_the_groups_matter_and_not_the_scale_or_the_signs_of_their_numbers(
    model: nn.Module, images: Tensor, scores: Tensor
) -> None:
    found = shapley_groups(model, images, scores, 0, 1).scores
    torch.testing.assert_close(shapley_groups(model, images, 7 * scores, 0, 1).scores, found)
    torch.testing.assert_close(shapley_groups(model, images, -scores, 0, 1).scores, found)


def test_chunks_and_known_answers_change_nothing(model: nn.Module, images: Tensor, scores: Tensor) -> None:
    with torch.no_grad():
        logits = model(images)
    f = logits[:, 0] - logits[:, 1]
    found = shapley_groups(model, images, scores, 0, 1)
    base = f - found.values.sum(dim=1)
    told = shapley_groups(model, images, scores, 0, 1, log_odds=f, base=base, chunk_size=4)
    torch.testing.assert_close(told.values, found.values, atol=1e-5, rtol=1e-5)
    masks = [list(region_masks(each.numpy()).values()) for each in scores]
    one_by_one = region_effects(model, images, masks, 0, 1, chunk_size=1)
    for some, others in zip(one_by_one, region_effects(model, images, masks, 0, 1, log_odds=f), strict=True):
        assert some == pytest.approx(others, abs=1e-5)


def test_every_image_is_asked_with_its_own_head(model: nn.Module, images: Tensor, scores: Tensor) -> None:
    weights = torch.randn(3, 2, 48, generator=torch.Generator().manual_seed(4))

    def heads(features: Tensor) -> Tensor:
        return torch.einsum("bd,bkd->bk", features, weights)

    masks = [list(region_masks(each.numpy()).values()) for each in scores]
    together = region_effects(model, images, masks, 0, 1, head=heads, chunk_size=5)
    both = shapley_groups(model, images, scores, 0, 1, head=heads)
    for row, mask in enumerate(masks):
        one, own = images[row : row + 1], nn.Linear(48, 2, bias=False)
        own.weight.data = weights[row]
        [alone] = region_effects(model, one, [mask], 0, 1, head=own)
        assert together[row] == pytest.approx(alone, abs=1e-5)
        single = shapley_groups(model, one, scores[row : row + 1], 0, 1, head=own)
        torch.testing.assert_close(both.values[row], single.values[0], atol=1e-5, rtol=1e-5)


def test_every_patch_belongs_to_one_group_also_where_it_says_nothing() -> None:
    values = np.zeros((4, 5), dtype=np.float32)
    values[0, :2], values[3, 3:], values[1, 4], values[2, 0] = 3, -2, 0.1, -0.1
    strongest_red, red, strongest_blue, blue = group_masks(values)
    assert (np.stack([strongest_red, red, strongest_blue, blue]).sum(axis=0) == 1).all()
    assert np.argwhere(strongest_red).tolist() == [[0, 0], [0, 1]]
    assert np.argwhere(strongest_blue).tolist() == [[3, 3], [3, 4]]
    assert np.argwhere(blue).tolist() == [[2, 0]] and red[1, 4] and red[0, 2]


def test_a_map_of_one_sign_or_of_nothing_still_adds_up(model: nn.Module, images: Tensor, scores: Tensor) -> None:
    maps = torch.stack([scores[0].abs(), torch.zeros(8, 8), -torch.eye(8)])
    found = shapley_groups(model, images, maps, 0, 1)
    torch.testing.assert_close(found.scores.double().sum(dim=(1, 2)), found.values.sum(dim=1), atol=1e-5, rtol=0)
    assert found.values[0, 2:].tolist() == [0, 0] and found.values[1, [0, 2, 3]].tolist() == [0, 0, 0]
    assert float(found.scores[1].std()) < 1e-6 < float(found.scores[1].abs().min())
    assert dict(zip(GROUPS, found.values[2].tolist(), strict=True))["strongest red"] == 0


def evidence_of(model: nn.Module, images: Tensor, scores: Tensor) -> list[Evidence]:
    """As an audit makes it, of maps that do not add up yet."""
    whole = np.ones((8, 8), dtype=bool)
    with torch.no_grad():
        logits = model(images)
    log_odds = (logits[:, 0] - logits[:, 1]).tolist()
    found = []
    for values, f, [effect] in zip(
        scores.numpy(), log_odds, region_effects(model, images, [[whole]] * 3, 0, 1), strict=True
    ):
        red, blue = float(values.clip(0, None).sum()), float(values.clip(None, 0).sum())
        statistics = map_statistics(values, WHOLE, 64, 64, adds_up=True)
        sums = Sums(log_odds=f, base=f - effect, average=0.5, red=red, blue=blue, head="head")
        found.append(Evidence("a", "b", 1.0, 2.0, values, WHOLE, "difference", "secant", statistics, sums=sums))
    return found


def test_measured_evidence_adds_up_and_the_strongest_regions_have_their_shapley_values(
    model: nn.Module, images: Tensor, scores: Tensor
) -> None:
    before = evidence_of(model, images, scores)
    found = measured_evidence(model, images, before, [(64, 64)] * 3, 0, 1, ranks=9)
    shapley = shapley_groups(model, images, scores, 0, 1)
    turned = 0
    for row, (old, new) in enumerate(zip(before, found, strict=True)):
        assert new.numbers == "measured" and new.sums is not None and old.sums is not None
        assert new.sums.base + new.sums.red + new.sums.blue == pytest.approx(new.sums.log_odds, abs=1e-5)
        assert (new.sums.base, new.sums.log_odds, new.sums.average) == (old.sums.base, old.sums.log_odds, 0.5)
        torch.testing.assert_close(torch.from_numpy(new.scores), shapley.scores[row], atol=1e-5, rtol=1e-5)
        masks = region_masks(old.scores)
        [effects] = region_effects(model, images[row : row + 1], [list(masks.values())], 0, 1)
        by_place = {region.box: region for region in new.statistics.regions}
        assert len(by_place) == len(new.statistics.regions) == len(masks)
        keys = [(region.sign, region.rank) for region in new.statistics.regions]
        assert keys == sorted(keys, key=lambda key: (-key[0], key[1])) and len(set(keys)) == len(keys)
        for region, (key, mask), effect in zip(old.statistics.regions, masks.items(), effects, strict=True):
            again = by_place[region.box]
            number = float(new.scores[mask].sum(dtype=np.float64))
            assert again.log_odds == pytest.approx(number, abs=1e-5) and again.sign * number > 0
            assert again.measured == pytest.approx(effect, abs=1e-5)
            assert abs(again.peak) == pytest.approx(float(np.abs(new.scores[mask]).max()))
            turned += again.sign != key[0]
            if key[1] == 1:
                value = float(shapley.values[row, 0 if key[0] > 0 else 2])
                assert number == pytest.approx(value, abs=1e-5)
    assert turned, "no group of this model turns its sign, so that what then happens is not seen"


def test_what_is_known_is_not_measured_again_and_what_is_not_finite_is_not_kept(
    model: nn.Module, images: Tensor, scores: Tensor
) -> None:
    before = evidence_of(model, images, scores)
    once = measured_regions(model, images, before, 0, 1)
    more = measured_regions(model, images, once, 1, 0, ranks=2)
    for some, others in zip(once, more, strict=True):
        for region, other in zip(some.statistics.regions, others.statistics.regions, strict=True):
            assert (region.measured is None) is (region.rank > 1)
            assert (
                other.measured == region.measured if region.rank == 1 else other.measured is not None or other.rank > 2
            )

    def broken(features: Tensor) -> Tensor:
        return torch.full((len(features), 2), torch.nan)

    assert measured_evidence(model, images, before, [(64, 64)] * 3, 0, 1, head=broken) == before
    with pytest.raises(ValueError, match="does not add up"):
        measured_evidence(model, images[:1], [replace(before[0], sums=None)], [(64, 64)], 0, 1)
    with pytest.raises(ValueError, match="measured already"):
        measured_regions(model, images[:1], [replace(before[0], numbers="measured")], 0, 1)


def test_what_cannot_be_measured_is_refused_by_name(model: nn.Module, images: Tensor) -> None:
    nothing: list[list[Mask]] = [[], [], []]
    assert region_effects(model, images, nothing, 0, 1) == nothing
    with pytest.raises(InterpretError, match="objective='ratio'"):
        region_effects(model, images, nothing, 0, 1, objective="ratio")
    with pytest.raises(InterpretError, match="against"):
        region_effects(model, images, nothing, 0)
    with pytest.raises(InterpretError, match="chunk_size=0"):
        region_effects(model, images, nothing, 0, 1, chunk_size=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target": 99}, "target: class 99 is out of range"),
        ({"against": -1}, "against: class -1 is out of range"),
        ({"target": 1.5}, "target: expected class indices as integers"),
        ({"target": torch.tensor([1, 2, 3])}, r"target: expected one class or 2 of them, got shape \[3\]"),
        ({"target": None}, "target: objective 'difference' needs a class"),
        ({"images": [1.0]}, "images: expected a batch"),
        ({"head": 5}, "head: expected a callable"),
        ({"masks": [[np.eye(5, dtype=bool)], [np.eye(4, dtype=bool)]]}, "masks: the regions are of grids of"),
    ],
    ids=str,
)
def test_a_question_that_cannot_be_asked_is_refused_by_the_arguments_name(
    changes: dict[str, Any], message: str
) -> None:
    asked = {"images": pictures(2), "masks": [[np.eye(4, dtype=bool)], []], "target": 1, "against": 4, **changes}
    with pytest.raises(InterpretError, match=message):
        region_effects(vit(), **asked)
