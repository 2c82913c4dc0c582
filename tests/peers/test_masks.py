"""Masks and subsets: each method against its sum written out, mask by mask."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from sklearn.cluster import AgglomerativeClustering, KMeans
from torch import Tensor, nn

from gradattn_core.attention.readout import find_readout, patch_grid
from gradattn_core.attention.rollout import prepared
from gradattn_core.errors import InterpretError
from gradattn_core.interpret.absence import without_patches
from gradattn_core.peers.masks import shapley_plane
from gradattn_core.peers.question import Question
from gradattn_core.peers.registry import peer_maps
from tests.helpers.explicit_maps import pictures, relative, tiny, vit
from tests.helpers.peer_models import MODELS, small

KINDS = ("vit", "distilled", "pool")


def outputs(module: nn.Module, model: nn.Module, images: Tensor) -> Tensor:
    """What a part of the model gives for the patches, [channels, 16]."""
    kept: list[Tensor] = []
    hook = module.register_forward_hook(lambda _module, _inputs, output: kept.append(output.detach()))
    model(images)
    hook.remove()
    return kept[0][0, -16:].float().mT


@pytest.mark.parametrize("key", KINDS)
def test_vit_cx_is_its_sum_over_clusters(key: str) -> None:
    model, images = small(key), pictures(1)
    network: Any = model
    maps = nn.Upsample(size=(64, 64), mode="bilinear")(
        outputs(network.blocks[-1].norm1, model, images).reshape(1, -1, 4, 4)
    )[0]
    channels = [(m - m.min()) / (m.max() - m.min()) for m in maps]
    near = torch.tensor([[float(nn.CosineSimilarity(0)(a.flatten(), b.flatten())) for a in channels] for b in channels])
    groups = AgglomerativeClustering(
        None, metric="precomputed", linkage="complete", distance_threshold=0.1
    ).fit_predict(1 - near)
    generator, total, coverage = torch.Generator().manual_seed(5), torch.zeros(64, 64), torch.zeros(64, 64)
    count = int(groups.max()) + 1
    assert 1 < count < len(channels)
    whole = model(images).softmax(1)[0, 2].detach()
    for group in range(count):
        mask = sum(channel for channel, label in zip(channels, groups, strict=True) if label == group)
        mask = (mask - mask.min()) / (mask.max() - mask.min())
        noise = 0.1 * torch.randn(3, 64, 64, generator=generator)
        shown = model(mask * images + (1 - mask) * noise).softmax(1)[0, 2].detach()
        score = shown - model(images + (1 - mask) * noise).softmax(1)[0, 2].detach() + whole
        total, coverage = total + score * mask / count, coverage + mask
    expected = (total / coverage).unflatten(1, (4, 16)).unflatten(0, (4, 16)).mean(dim=(1, 3))
    assert relative(peer_maps("vit-cx", model, images, 2, seed=5, chunk_size=7)[0], expected) < 1e-4


@pytest.mark.parametrize("key", KINDS)
def test_tis_is_its_mean_over_the_masks_that_keep_a_patch(key: str) -> None:
    model, images = small(key), pictures(1)
    network: Any = model
    points = torch.cat([outputs(block, model, images) for block in network.blocks])
    centroids = KMeans(len(points), n_init=1, random_state=5).fit(points.numpy()).cluster_centers_
    total, kept = torch.zeros(16), torch.zeros(16)
    for centroid in torch.from_numpy(centroids):
        mask = torch.zeros(16, dtype=torch.bool)
        mask[centroid.argsort(descending=True)[:8]] = True
        p = without_patches(model, images, ~mask.view(1, 4, 4)).softmax(1)[0, 2]
        total, kept = total + p * mask, kept + mask
    expected = (total / kept).view(4, 4)
    assert relative(peer_maps("tis", model, images, 2, seed=5, chunk_size=7)[0], expected) < 1e-4


def test_probabilities_of_a_pair_are_the_difference_of_two_maps() -> None:
    model, images = vit(), pictures()
    for name in ("vit-cx", "tis"):
        pair = peer_maps(name, model, images, 2, 5, seed=1)
        one, other = (peer_maps(name, model, images, wanted, seed=1) for wanted in (2, 5))
        torch.testing.assert_close(pair, one - other, rtol=1e-4, atol=1e-6)
        alone = peer_maps(name, model, images[:1], 2, 5, seed=1, chunk_size=3)
        torch.testing.assert_close(alone, pair[:1], rtol=1e-4, atol=1e-6)


def test_any_whole_number_is_a_seed() -> None:
    for seed in (-1, 1 << 40):
        assert bool(peer_maps("tis", small("vit"), pictures(2), 2, seed=seed).isfinite().all())


@pytest.mark.parametrize("name", ["vit-cx", "tis"])
def test_half_precision_comes_near(name: str) -> None:
    images = pictures(1)
    found = peer_maps(name, vit().bfloat16(), images.bfloat16(), 2).flatten()
    assert float(torch.stack([found, peer_maps(name, vit(), images, 2).flatten()]).corrcoef()[0, 1]) > 0.95


def of_four(key: str) -> tuple[nn.Module, Question]:
    """A model on a 2 x 2 grid, and one picture in it."""
    name, arguments = MODELS[key]
    model = tiny(name, **{"embed_dim": 32, "depth": 2, "num_heads": 2, "img_size": 32, **arguments})
    images, classes = pictures(1, side=32), torch.tensor([1])
    return model, Question(model, images, patch_grid(model, images), find_readout(model), classes, None, None, 64, (0,))


def test_kernel_shap_finds_the_shapley_values_of_four_patches() -> None:
    model, question = of_four("vit")
    question = replace(question, against=torch.tensor([4]))
    value: dict[tuple[bool, ...], float] = {}
    for present in itertools.product((False, True), repeat=4):
        absent = ~torch.tensor(present).view(1, 2, 2)
        value[present] = float(question.value(without_patches(model, question.images, absent)))
    expected = torch.zeros(4)
    for order in itertools.permutations(range(4)):
        here = [False] * 4
        for player in order:
            before = value[tuple(here)]
            here[player] = True
            expected[player] += (value[tuple(here)] - before) / math.factorial(4)
    with prepared(model):
        found = shapley_plane(question, seed=0, samples=1500)
    # Efficiency holds by weight, the values by number.
    assert abs(float(found.sum()) - (value[(True,) * 4] - value[(False,) * 4])) < 1e-3
    assert float((found - expected).abs().max()) < 0.1 * float(expected.abs().max())


def test_kernel_shap_draws_from_its_seed_alone_whatever_the_chunks() -> None:
    model, question = of_four("vit")
    state = torch.get_rng_state()
    with prepared(model):
        found = shapley_plane(question, seed=3, samples=60)
        chunked = shapley_plane(replace(question, chunk_size=7), seed=3, samples=60)
        other = shapley_plane(question, seed=4, samples=60)
    assert torch.equal(torch.get_rng_state(), state)
    torch.testing.assert_close(chunked, found, rtol=1e-4, atol=1e-6)
    assert relative(other, found) > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("key", ["vit", "average"])
def test_kernel_shap_adds_up_by_its_name(key: str) -> None:
    model, images = small(key), pictures()
    found = peer_maps("kernel-shap", model, images, 1, 4)
    whole = model(images).detach()
    empty = without_patches(model, images, torch.ones(2, 4, 4, dtype=torch.bool))
    expected = (whole - empty)[:, 1] - (whole - empty)[:, 4]
    assert relative(found.sum(dim=(1, 2)), expected) < 1e-2


def test_channels_without_contrast_make_no_mask() -> None:
    model: Any = vit()
    nn.init.zeros_(model.blocks[-1].norm1.weight)
    with pytest.raises(InterpretError, match="method 'vit-cx': vit_tiny_patch16_224 has no two channels before its"):
        peer_maps("vit-cx", model, pictures(1), 1)
