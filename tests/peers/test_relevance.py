"""Relevance is handed back as the rules say: against a twin that walks one picture layer by layer, and its sum."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from gradattn_core.errors import InterpretError
from gradattn_core.peers.registry import PEERS, peer_maps
from tests.helpers.explicit_maps import attention_maps, pictures, relative, tiny, vit
from tests.helpers.peer_models import small

PREFIX = {"vit": 1, "distilled": 2, "average": 4}


def of_linear(x: Tensor, weight: Tensor, relevance: Tensor) -> Tensor:
    """Every product x_j w_ij that pushes up takes its part of R_i."""
    pushes = (x[:, None, :] * weight).clamp(min=0)
    return (pushes / (pushes.sum(2, keepdim=True) + 1e-9) * relevance[:, :, None]).sum(1)


def of_product(left: Tensor, right: Tensor, relevance: Tensor) -> tuple[Tensor, Tensor]:
    """Z = left · right, every product of two numbers takes its part; half of it to each."""
    products = left[:, :, None] * right[None]
    parts = products / (products.sum(1, keepdim=True) + 1e-9) * relevance[:, None, :] / 2
    return parts.sum(2), parts.sum(0)


def of_sum(a: Tensor, b: Tensor, relevance: Tensor) -> tuple[Tensor, Tensor]:
    parts = [part * relevance / (a + b + 1e-9) for part in (a, b)]
    sizes = [part.sum().abs() for part in parts]
    return tuple(  # type: ignore[return-value]
        part * (size / (sum(sizes) + 1e-9) * relevance.sum()) / (part.sum() + 1e-9)
        for part, size in zip(parts, sizes, strict=True)
    )


def of_block(block: Any, x: Tensor, relevance: Tensor, attentions: list[Tensor]) -> Tensor:
    """Through one block of two heads; ``attentions`` takes the relevance of its attention."""
    scale = [getattr(part, "gamma", torch.ones(32, dtype=torch.float64)) for part in (block.ls1, block.ls2)]
    qkv = functional.linear(block.norm1(x), block.attn.qkv.weight, block.attn.qkv.bias)
    query, key, value = qkv.reshape(len(x), 3, 2, 16).permute(1, 2, 0, 3)
    weights = (query @ key.mT / 4).softmax(2)
    joined = (weights @ value).transpose(0, 1).reshape(len(x), 32)
    given = scale[0] * block.attn.proj(joined)
    middle = x + given
    hidden = block.mlp.fc1(block.norm2(middle))
    made = scale[1] * block.mlp.fc2(functional.gelu(hidden))

    stays, goes = of_sum(middle, made, relevance)
    goes = of_linear(functional.gelu(hidden), block.mlp.fc2.weight, goes)
    relevance = stays + of_linear(block.norm2(middle), block.mlp.fc1.weight, goes)
    stays, goes = of_sum(x, given, relevance)
    goes = of_linear(joined, block.attn.proj.weight, goes).reshape(len(x), 2, 16)
    thirds: list[list[Tensor]] = [[], [], []]
    found = []
    for head in (0, 1):
        of_weights, of_value = of_product(weights[head], value[head], goes[:, head])
        of_query, of_key = of_product(query[head], key[head].T, of_weights)
        found.append(of_weights)
        for third, part in zip(thirds, (of_query, of_key.T, of_value), strict=True):
            third.append(part)
    attentions.insert(0, torch.stack(found))
    together = torch.cat([torch.cat(third, 1) for third in thirds], 1)
    return stays + of_linear(block.norm1(x), block.attn.qkv.weight, together)


@torch.no_grad()
def twin(key: str, target: int) -> tuple[Tensor, list[Tensor]]:
    """The relevance of every patch, and of every attention matrix [2, N, N], of one picture."""
    model: Any = small(key)
    entering: list[Tensor] = []

    def keep(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        entering.append(inputs[0][0])

    hooks = [block.register_forward_pre_hook(keep) for block in model.blocks]
    patches = model.patch_embed(pictures(1))[0]
    tokens = model.forward_features(pictures(1))[0]
    for hook in hooks:
        hook.remove()
    chosen = torch.eye(7, dtype=torch.float64)[target][None]
    relevance = torch.zeros_like(tokens)
    if key == "vit":
        relevance[:1] = of_linear(tokens[:1], model.head.weight, chosen)
    elif key == "distilled":
        shares = of_sum(model.head(tokens[:1]), model.head_dist(tokens[1:2]), chosen)
        for place, (head, share) in enumerate(zip((model.head, model.head_dist), shares, strict=True)):
            relevance[place] = of_linear(tokens[place][None], head.weight, share)[0]
    else:
        seen = tokens[4:]
        pooled = model.fc_norm(seen.mean(0, keepdim=True))
        positive = seen.clamp(min=0)
        handed = of_linear(pooled, model.head.weight, chosen)
        relevance[4:] = positive / (positive.sum(0) + 1e-9) * handed * (positive.sum(0) > 0)
    attentions: list[Tensor] = []
    for block, x in zip(reversed(list(model.blocks)), reversed(entering), strict=True):
        relevance = of_block(block, x, relevance, attentions)
    prefix = PREFIX[key]
    if key == "average":
        relevance = of_sum(patches, model.pos_embed[0], relevance[prefix:])[0]
    else:
        inside = torch.cat((entering[0][:prefix] - model.pos_embed[0, :prefix], patches))
        relevance = of_sum(inside, model.pos_embed[0], relevance)[0][prefix:]
    return relevance.sum(1), attentions


def row_of(key: str, tokens: int) -> Tensor:
    row = torch.zeros(tokens, dtype=torch.float64)
    row[{"vit": slice(0, 1), "distilled": slice(0, 2), "average": slice(4, None)}[key]] = 1
    return row / row.sum()


@pytest.mark.parametrize("key", PREFIX)
def test_relevance_walks_back_by_its_rules(key: str) -> None:
    model, prefix = small(key), PREFIX[key]
    patches, attentions = twin(key, 3)
    assert relative(peer_maps("lrp", model, pictures(1), 3).flatten(), patches) < 1e-4
    start = row_of(key, attentions[0].shape[-1])
    last = start @ attentions[-1].clamp(min=0).mean(0)
    assert relative(peer_maps("partial-lrp", model, pictures(1), 3).flatten(), last[prefix:]) < 1e-4
    logits, maps = attention_maps(model, pictures(1))
    gradients = torch.autograd.grad(logits[0, 3], maps)
    row = start
    for found, gradient in zip(reversed(attentions), reversed(gradients), strict=True):
        row = row + row @ (gradient[0] * found).clamp(min=0).mean(0)
    assert relative(peer_maps("t-attr", model, pictures(1), 3).flatten(), (row - start)[prefix:]) < 1e-4


def test_nothing_is_lost_where_every_token_is_a_patch() -> None:
    # Relative positions take no relevance; a mean over tokens keeps it where each channel has something positive.
    model: Any = tiny("vit_relpos_small_patch16_224", img_size=64, embed_dim=32, depth=3, num_heads=2)
    with torch.no_grad():
        model.blocks[-1].mlp.fc2.bias.add_(100)
    found = peer_maps("lrp", model, pictures(3), 2)
    torch.testing.assert_close(found.sum((1, 2)), torch.ones(3), rtol=1e-4, atol=1e-4)


def test_the_share_of_a_sum_is_each_pictures_own() -> None:
    together = peer_maps("lrp", vit(), pictures(3), 1)
    alone = torch.cat([peer_maps("lrp", vit(), picture[None], 1) for picture in pictures(3)])
    torch.testing.assert_close(together, alone)


def test_an_operation_without_a_rule_is_refused_by_its_name() -> None:
    class Squared(nn.Module):
        def forward(self, features: Tensor) -> Tensor:
            return features.square()

    with pytest.raises(InterpretError, match=r"method 'lrp': vit_.* computes torch.Tensor.square, for which relevance"):
        peer_maps("lrp", vit(), pictures(1), 1, head=Squared())


def test_a_sum_in_place_is_a_sum() -> None:
    class Twice(nn.Module):
        def __init__(self, in_place: bool) -> None:
            super().__init__()
            self.in_place = in_place

        def forward(self, features: Tensor) -> Tensor:
            turned = features.flip(1) * 3
            if self.in_place:
                turned += features
                return turned
            return turned + features

    in_place, plain = (peer_maps("lrp", vit(), pictures(1), 1, head=Twice(way)) for way in (True, False))
    torch.testing.assert_close(in_place, plain)


def test_half_precision_is_refused() -> None:
    with pytest.raises(InterpretError, match=r"method 'lrp': .* computes in half precision"):
        peer_maps("lrp", vit(dtype=torch.bfloat16), pictures(1, dtype=torch.bfloat16), 1)


def test_the_patent_is_named() -> None:
    for name in ("t-attr", "partial-lrp", "lrp"):
        assert "patented" in PEERS[name].notes
