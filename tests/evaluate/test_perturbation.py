"""The perturbation test: masks in the order of a map, curves, areas, and how sure they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gradattn_core.errors import EvaluateError
from gradattn_core.evaluate.perturbation import ORDERS, perturbation_curve, random_maps
from gradattn_core.evaluate.replacing import REPLACEMENTS
from gradattn_core.evaluate.statistics import area, bootstrap, paired_difference
from tests.helpers.explicit_maps import pictures, vit

SHARES = (0.0, 0.25, 0.5, 1.0)


class Counting(nn.Module):
    """Logit 0 is how much of the first channel is left in some patches of 8 x 8 pixels, logit 1 is constant."""

    def __init__(self, decisive: Tensor) -> None:
        super().__init__()
        self.decisive = nn.Parameter(decisive.float())

    def forward(self, images: Tensor) -> Tensor:
        patches = nn.functional.avg_pool2d(images[:, 0], 8)
        return torch.stack(((patches * self.decisive).sum((1, 2)), torch.full((len(images),), 2.5)), 1)


def counting(images: int = 6) -> tuple[Counting, Tensor, Tensor, Tensor]:
    """A model that reads five known patches of a 4 x 6 grid, pictures of ones, their labels and the perfect map."""
    decisive = torch.zeros(4, 6)
    decisive[1, 2:5] = decisive[2, 3:5] = 1
    return Counting(decisive), torch.ones(images, 3, 32, 48), torch.zeros(images).long(), decisive.expand(images, 4, 6)


def by_hand(model: nn.Module, image: Tensor, scores: Tensor, order: str, share: float, replace: str) -> Tensor:
    """Logits of one image, masked patch by patch."""
    rows, columns = scores.shape
    high, wide = image.shape[1] // rows, image.shape[2] // columns
    ordered = sorted(range(rows * columns), key=lambda place: float(scores.flatten()[place]), reverse=order == "most")
    masked = image.clone()
    for place in ordered[: round(share * rows * columns)]:
        top, left = place // columns * high, place % columns * wide
        colour = torch.zeros(3) if replace == "zero" else image.mean((1, 2))
        masked[:, top : top + high, left : left + wide] = colour[:, None, None]
    with torch.no_grad():
        logits: Tensor = model(masked[None])[0]
    return logits


@pytest.mark.parametrize("replace", ["zero", "mean"])
@pytest.mark.parametrize("order", ORDERS)
def test_a_curve_is_that_of_a_loop_over_patches(order: str, replace: str) -> None:
    model, images = vit().float(), pictures(3, dtype=torch.float32)
    labels, maps = torch.tensor([0, 4, 2]), random_maps(torch.zeros(3, 4, 4), seed=3)
    curve = perturbation_curve(model, images, maps, labels, order=order, shares=SHARES, replace=replace, batch_size=2)
    for i, label in enumerate(labels.tolist()):
        for s, share in enumerate(SHARES):
            logits = by_hand(model, images[i], maps[i], order, share, replace)
            assert curve.logit[i, s] == pytest.approx(float(logits[label]), abs=1e-4)
            assert curve.probability[i, s] == pytest.approx(float(logits.softmax(0)[label]), abs=1e-5)
            assert curve.accuracy[i, s] == float(logits.argmax() == label)
    assert (curve.order, curve.replace, curve.patches) == (order, replace, 16)


def test_a_perfect_map_beats_random_and_random_beats_its_opposite() -> None:
    model, images, labels, perfect = counting()
    areas = {}
    for name, maps in {"perfect": perfect, "random": random_maps(perfect), "opposite": -perfect}.items():
        for order in ORDERS:
            areas[name, order] = area(perturbation_curve(model, images, maps, labels, order=order), "probability")
    assert paired_difference(areas["random", "most"], areas["perfect", "most"]).low > 0, "it loses the label sooner"
    assert paired_difference(areas["perfect", "least"], areas["random", "least"]).low > 0, "it keeps it for longer"
    assert paired_difference(areas["opposite", "most"], areas["random", "most"]).low > 0
    np.testing.assert_allclose(areas["opposite", "most"], areas["perfect", "least"])


def test_the_label_is_lost_just_when_too_few_decisive_patches_are_left() -> None:
    model, images, labels, perfect = counting(1)
    shares = tuple(count / 24 for count in range(7))
    curve = perturbation_curve(model, images, perfect, labels, shares=shares)
    assert curve.logit[0].tolist() == [5, 4, 3, 2, 1, 0, 0]
    assert curve.accuracy[0].tolist() == [1, 1, 1, 0, 0, 0, 0]


def test_patches_that_are_not_allowed_are_never_masked() -> None:
    model, images, labels, perfect = counting()
    left = torch.zeros(4, 6, dtype=torch.bool)
    left[:, :3] = True
    curve = perturbation_curve(model, images, perfect, labels, shares=(0.0, 1.0), allowed=left)
    assert curve.patches == 12
    assert curve.logit[:, 1].tolist() == [4.0] * 6, "one of the five decisive patches is in the left half"
    first = perturbation_curve(model, images, perfect, labels, shares=(0.0, 1 / 12), allowed=left)
    assert first.logit[:, 1].tolist() == [4.0] * 6, "and it is the first of that half"


def test_equal_values_are_masked_in_a_random_order_that_a_seed_repeats() -> None:
    model, images, labels, _ = counting(40)
    flat = torch.zeros(40, 4, 6)
    curves = [perturbation_curve(model, images, flat, labels, shares=(0.0, 0.5), seed=seed) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(curves[0].logit, curves[1].logit)
    assert (curves[0].logit != curves[2].logit).any()
    assert 2 < curves[0].logit[:, 1].mean() < 3, "half of the five decisive patches are left, not all of the lower half"


def test_a_blurred_patch_keeps_its_mean_but_loses_its_detail() -> None:
    images = (torch.arange(32) % 2).float().expand(1, 3, 32, 32).clone()

    class Detail(nn.Module):
        def forward(self, batch: Tensor) -> Tensor:
            return torch.stack((batch.mean((1, 2, 3)), batch.var((1, 2, 3))), 1)

    maps, labels = torch.zeros(1, 2, 2), torch.tensor([1])
    curve = perturbation_curve(Detail(), images, maps, labels, shares=(0.0, 1.0), replace="blur")
    assert curve.logit[0, 1] < 0.05 * curve.logit[0, 0]
    mean = perturbation_curve(Detail(), images, maps, torch.tensor([0]), shares=(0.0, 1.0), replace="blur")
    assert mean.logit[0, 1] == pytest.approx(0.5, abs=0.02)


def test_dropping_tokens_is_a_shorter_sequence() -> None:
    model: Any = vit().float()
    images, maps = pictures(2, dtype=torch.float32), random_maps(torch.zeros(2, 4, 4))
    curve = perturbation_curve(model, images, maps, [1, 1], shares=(0.0, 0.75), replace="drop")
    with torch.no_grad():
        tokens = model._pos_embed(model.patch_embed(images))
        kept = maps.flatten(1).argsort(dim=1)[:, :4].sort(dim=1).values + 1
        index = torch.cat((torch.zeros(2, 1, dtype=torch.long), kept), 1)
        short = model.forward_head(model.norm(model.blocks(tokens.gather(1, index[..., None].expand(-1, -1, 32)))))
        whole = model(images)
    np.testing.assert_allclose(curve.logit, torch.stack((whole[:, 1], short[:, 1]), 1), atol=1e-5)
    assert not model.pos_drop._forward_hooks


@pytest.mark.parametrize("replace", REPLACEMENTS)
def test_the_model_is_left_as_it_was_found(replace: str) -> None:
    model = vit().float().train()
    before = [(module.training, len(module._forward_hooks)) for module in model.modules()]
    perturbation_curve(model, pictures(2, dtype=torch.float32), torch.rand(2, 4, 4), [1, 2], replace=replace)
    assert [(module.training, len(module._forward_hooks)) for module in model.modules()] == before
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_the_area_of_a_constant_curve_is_its_value_whatever_the_shares() -> None:
    model, images, labels, perfect = counting(2)
    constant = torch.ones(2).long()
    for shares in ((0.0, 0.9), (0.1, 0.15, 0.8), (0.0, 0.5, 1.0)):
        curve = perturbation_curve(model, images, perfect, constant, shares=shares)
        np.testing.assert_allclose(area(curve, "logit"), 2.5)
    falling = perturbation_curve(model, images, perfect, labels, shares=(0.0, 1 / 24, 5 / 24))
    np.testing.assert_allclose(area(falling, "logit"), (4.5 * 1 + (4 + 0) / 2 * 4) / 5)


def test_a_bootstrap_interval_covers_the_true_mean_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for repeat in range(200):
        found = bootstrap(rng.exponential(size=60), resamples=400, level=0.9, seed=repeat)
        assert found.low <= found.mean <= found.high
        covered += found.low <= 1.0 <= found.high
    assert 0.82 < covered / 200 < 0.96


def test_a_bootstrap_interval_is_repeatable_and_narrows_with_more_images() -> None:
    values = np.random.default_rng(2).normal(size=400)
    assert bootstrap(values, resamples=500) == bootstrap(values, resamples=500)
    assert bootstrap(values, resamples=500) != bootstrap(values, resamples=500, seed=1)
    few, many = bootstrap(values[:25], resamples=500), bootstrap(values, resamples=500)
    assert many.high - many.low < 0.5 * (few.high - few.low)


def test_a_paired_difference_sees_what_the_single_intervals_hide() -> None:
    rng = np.random.default_rng(3)
    common = rng.normal(size=100)
    first, second = common + 0.1 + 0.05 * rng.normal(size=100), common
    assert bootstrap(first, resamples=500).low < bootstrap(second, resamples=500).high
    difference = paired_difference(first, second)
    assert difference.low > 0 and difference.mean == pytest.approx(0.1, abs=0.02)


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "order": ({"order": "random"}, "order='random' is unknown; choose one of most, least"),
    "replace": ({"replace": "black"}, "replace='black' is unknown; choose one of zero, mean, blur, inpaint, drop"),
    "shares falling": ({"shares": (0.5, 0.1)}, "shares=.*: expected ascending numbers from 0 to 1"),
    "shares too great": ({"shares": (0.5, 1.1)}, "shares="),
    "shares none": ({"shares": ()}, "shares="),
    "shares NaN": ({"shares": (0.1, float("nan"))}, "shares="),
    "images unbatched": ({"images": pictures()[0]}, r"images: expected a batch .* got \[3, 64, 64\]"),
    "maps of another batch": ({"maps": torch.zeros(3, 4, 4)}, r"maps: expected \[2, rows, columns\], got \[3, 4, 4\]"),
    "maps of another grid": ({"maps": torch.zeros(2, 5, 4)}, "maps: 5 x 4 patches do not divide images of 64 x 64"),
    "maps NaN": ({"maps": torch.full((2, 4, 4), torch.nan)}, "maps: some values are not finite"),
    "labels too few": ({"labels": [1]}, "labels: expected 2 class indices"),
    "labels float": ({"labels": torch.ones(2)}, "labels: expected 2 class indices, got torch.float32"),
    "labels too great": ({"labels": [1, 7]}, "labels: a class is out of range, the model has classes 0 to 6"),
    "labels negative": ({"labels": [1, -1]}, "labels: a class is out of range"),
    "allowed of another grid": ({"allowed": torch.ones(3, 4).bool()}, r"allowed: expected booleans \[4, 4\]"),
    "allowed nothing": ({"allowed": torch.zeros(4, 4, dtype=torch.bool)}, "allowed: expected booleans"),
    "model broken": ({"images": pictures() * torch.nan}, "model: vit_tiny_patch16_224 gave no finite logits"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_by_the_arguments_name(case: str) -> None:
    changes, message = BAD[case]
    arguments: dict[str, Any] = {"images": pictures(), "maps": torch.rand(2, 4, 4), "labels": [1, 2], **changes}
    with pytest.raises(EvaluateError, match=message):
        perturbation_curve(vit(), **arguments)


def test_values_that_make_no_statistic_are_refused() -> None:
    model, images, labels, perfect = counting(2)
    with pytest.raises(EvaluateError, match="curve: an area needs at least two shares"):
        area(perturbation_curve(model, images, perfect, labels, shares=(0.5,)))
    with pytest.raises(EvaluateError, match="measure='auc' is unknown; choose one of accuracy"):
        area(perturbation_curve(model, images, perfect, labels), "auc")
    with pytest.raises(EvaluateError, match="values: expected one finite number per image"):
        bootstrap([1.0, float("nan")])
    with pytest.raises(EvaluateError, match="level=95"):
        bootstrap([1.0, 2.0], level=95)
    with pytest.raises(EvaluateError, match=r"second: expected values of the same images \[2\], got \[3\]"):
        paired_difference([1.0, 2.0], [1.0, 2.0, 3.0])
