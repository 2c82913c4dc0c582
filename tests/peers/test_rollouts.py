"""Attention, rollout and GAE are the matrix products that their papers print, with nothing shared but the model."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from gradattn_core.peers.registry import peer_maps
from tests.helpers.explicit_maps import attention_maps, explicit_scores, pictures, relative, tiny
from tests.helpers.peer_models import small

Matrices = list[Tensor]
# The readout row of each kind, as documented; None where the pool's own row takes its place.
STARTS: dict[str, Callable[[int], Tensor | None]] = {
    "vit": lambda tokens: torch.eye(tokens, dtype=torch.float64)[0],
    "distilled": lambda tokens: torch.eye(tokens, dtype=torch.float64)[:2].mean(0),
    "average": lambda tokens: torch.cat((torch.zeros(4), torch.full((tokens - 4,), 1 / 16))).double(),
    "pool": lambda tokens: None,
}
PREFIX = {"vit": 1, "distilled": 2, "average": 4, "pool": 0}


def twin(key: str, probability: bool = False) -> tuple[Matrices, Matrices, Tensor | None]:
    """A and G of every layer of two pictures, f the first class; and r0."""
    logits, maps = attention_maps(small(key), pictures())
    f = (logits.softmax(1) if probability else logits)[:, 0].sum()
    return [a.detach() for a in maps], list(torch.autograd.grad(f, maps)), STARTS[key](maps[0].shape[-1])


def normalised_product(mixed: Matrices, start: Tensor | None, prefix: int) -> Tensor:
    """r0ᵀ R(I+M_L)…R(I+M_1), R dividing rows by their sum, without what the diagonal path leaves on r0's own tokens."""
    pool = None if start is not None else mixed.pop().mean(1)
    identity = torch.eye(mixed[0].shape[-1], dtype=torch.float64)
    product, alone = identity.expand_as(mixed[0]), identity.expand_as(mixed[0])
    for matrix in mixed:
        total = (identity + matrix).sum(-1, keepdim=True)
        product, alone = ((identity + matrix) / total) @ product, (identity / total) @ alone
    if pool is not None:
        return torch.einsum("bi,bij->bj", pool, product)[:, prefix:]
    return torch.einsum("i,bij->bj", start, product - alone)[:, prefix:]


@pytest.mark.parametrize("key", STARTS)
def test_rollouts_are_products_of_normalised_matrices(key: str) -> None:
    maps, _, start = twin(key)
    mean = [a.mean(1) for a in maps]
    discarded = [a.clone() for a in mean]
    for matrix in discarded:
        for one in matrix:
            floor = one.flatten().sort().values[int(0.9 * one.numel())]
            first = one[0, 0].clone()
            one[one < floor] = 0
            one[0, 0] = first
    expected = {
        "rollout": normalised_product(list(mean), start, PREFIX[key]),
        "rollout-max": normalised_product([a.amax(1) for a in maps], start, PREFIX[key]),
        "rollout-discard": normalised_product(discarded, start, PREFIX[key]),
    }
    for name, wanted in expected.items():
        assert relative(peer_maps(name, small(key), pictures(), 0).flatten(1), wanted) < 1e-5, name


@pytest.mark.parametrize("key", STARTS)
def test_gae_is_the_product_with_positive_gradients(key: str) -> None:
    maps, gradients, start = twin(key)
    expected = explicit_scores(maps, gradients, "positive", "product", start, PREFIX[key])
    found = peer_maps("gae", small(key), pictures(), 0)
    assert relative(found.flatten(1), expected) < 1e-5
    # On one logit the authors' GAE is our own map of that name.
    assert relative(found, peer_maps("positive", small(key), pictures(), 0)) < 1e-5


def test_the_other_two_ways_differ_in_where_the_mean_is_taken_and_where_they_start() -> None:
    # With six blocks the published starts, 1 and 3 of 12, leave out none or one and two.
    model = tiny("vit_tiny_patch16_224", img_size=64, embed_dim=32, depth=6, num_heads=2)
    logits, maps = attention_maps(model, pictures())
    held = [a.detach() for a in maps]
    ways: dict[str, tuple[Tensor, Callable[[Tensor, Tensor], Tensor], int]] = {
        "gae-mean-first": (logits, lambda a, g: (a * g).mean(1), 0),
        "gae-means": (logits.softmax(1), lambda a, g: a.mean(1) * g.mean(1), 2),
    }
    for name, (value, mix, first) in ways.items():
        gradients = torch.autograd.grad(value[:, 0].sum(), maps, retain_graph=True)
        mixed = [mix(a, g).clamp(min=0) for a, g in zip(held, gradients, strict=True)][first:]
        row = torch.eye(17, dtype=torch.float64)[0].expand(2, -1)
        for matrix in reversed(mixed):
            row = row + torch.einsum("bi,bij->bj", row, matrix)
        assert relative(peer_maps(name, model, pictures(), 0).flatten(1), row[:, 1:]) < 1e-5, name


def test_attention_grad_cam_weighs_the_last_heads_by_their_mean_gradient() -> None:
    maps, gradients, _ = twin("vit")
    row, slope = maps[-1][:, :, 0, 1:], gradients[-1][:, :, 0, 1:]
    expected = (slope.mean(2, keepdim=True) * row).mean(1).clamp(min=0)
    found = peer_maps("grad-cam-attention", small("vit"), pictures(), 0)
    assert relative(found.flatten(1), expected) < 1e-5


@pytest.mark.parametrize("key", ["vit", "distilled", "average", "pool"])
def test_raw_attention_is_the_last_row_that_is_read(key: str) -> None:
    maps, _, start = twin(key)
    last = maps[-1].mean(1)
    expected = last.mean(1) if start is None else torch.einsum("i,bij->bj", start, last)
    found = peer_maps("attention", small(key), pictures(), 0).flatten(1)
    assert relative(found, expected[:, PREFIX[key] :]) < 1e-5
