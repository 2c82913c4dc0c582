"""LeGrad, Grad-ECLIP and ALTI against their formulas and the identities that they must keep."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gradattn_core.errors import InterpretError
from gradattn_core.peers.registry import peer_maps
from tests.helpers.explicit_maps import attention_maps, pictures, relative, tiny
from tests.helpers.peer_models import small

PREFIX = {"vit": 1, "distilled": 2, "average": 4, "pool": 0}


def streams_and_maps(model: Any, images: Tensor) -> tuple[list[Tensor], Tensor, list[Tensor]]:
    """The tokens behind every block, the logits, and every attention map, connected by autograd."""
    streams: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        streams.append(output)

    hooks = [block.register_forward_hook(keep) for block in model.blocks]
    logits, maps = attention_maps(model, images)
    for hook in hooks:
        hook.remove()
    return streams, logits, maps


@pytest.mark.parametrize("key", ["vit", "distilled", "average"])
def test_legrad_differentiates_what_each_block_says_by_its_own_attention(key: str) -> None:
    model: Any = small(key)
    streams, _, maps = streams_and_maps(model, pictures())
    rows = []
    for stream, attention in zip(streams, maps, strict=True):
        said = model.forward_head(model.norm(stream))[:, 5].sum()
        rows.append(torch.autograd.grad(said, attention, retain_graph=True)[0])
    for name, slopes in (("legrad", [row.clamp(min=0) for row in rows]), ("legrad-signed", rows)):
        expected = torch.stack([row.mean(1).mean(1)[:, PREFIX[key] :] for row in slopes]).mean(0)
        assert relative(peer_maps(name, model, pictures(), 5).flatten(1), expected) < 1e-5


def test_legrad_behind_a_pool_is_the_gradient_of_the_pools_attention() -> None:
    model: Any = small("pool")
    streams, _, _ = streams_and_maps(model, pictures())
    rows = []
    for stream in streams:
        # The pool written out, as its module does it without a fused kernel.
        tokens, pool = model.norm(stream.detach()), model.attn_pool
        latent = pool.q(pool.latent).reshape(1, 1, 2, 16).transpose(1, 2)
        key, value = pool.kv(tokens).reshape(2, 16, 2, 2, 16).permute(2, 0, 3, 1, 4)
        weights = (pool.q_norm(latent) @ pool.k_norm(key).mT / 4).softmax(-1)
        pooled = pool.proj((weights @ value).transpose(1, 2).reshape(2, 1, 32))
        pooled = (pooled + pool.mlp(pool.norm(pooled)))[:, 0]
        rows.append(torch.autograd.grad(model.head(model.fc_norm(pooled))[:, 5].sum(), weights)[0])
    expected = torch.stack([row.clamp(min=0).mean((1, 2)) for row in rows]).mean(0)
    assert relative(peer_maps("legrad", model, pictures(), 5).flatten(1), expected) < 1e-5


@pytest.mark.parametrize("key", ["vit", "distilled", "average"])
def test_grad_eclip_weighs_the_channels_of_the_values_by_the_gradient_of_the_output(key: str) -> None:
    model: Any = small(key)
    attention = model.blocks[-1].attn
    seen: dict[str, Tensor] = {}
    hooks = [
        attention.qkv.register_forward_hook(lambda _module, _inputs, output: seen.update(qkv=output)),
        attention.proj.register_forward_pre_hook(lambda _module, inputs: seen.update(output=inputs[0])),
    ]
    logits = model(pictures().requires_grad_(True))
    slope = torch.autograd.grad(logits[:, 5].sum(), seen["output"])[0]
    for hook in hooks:
        hook.remove()
    query, key_, value = seen["qkv"].detach().split(32, dim=2)
    prefix = PREFIX[key]
    for name in ("grad-eclip", "grad-eclip-strict"):
        expected = torch.zeros(2, 16, dtype=torch.float64)
        for image in range(2):
            for row in range(query.shape[1]):
                alike = torch.cosine_similarity(query[image, row][None], key_[image, prefix:], dim=1)
                loose = (alike - alike.min()) / (alike.max() - alike.min()) if name == "grad-eclip" else 1
                expected[image] += loose * (slope[image, row] * value[image, prefix:]).sum(1)
        assert relative(peer_maps(name, model, pictures(), 5).flatten(1), expected.clamp(min=0)) < 1e-5


def contributions(key: str, model: Any) -> list[Tensor]:
    """C of every block for one picture, from the tokens and weights themselves."""
    entering: list[Tensor] = []
    values: list[Tensor] = []

    def keep(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        entering.append(inputs[0][0])

    def keep_values(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        values.append(output[0, :, 64:])

    hooks = [block.register_forward_pre_hook(keep) for block in model.blocks]
    hooks += [block.attn.qkv.register_forward_hook(keep_values) for block in model.blocks]
    with torch.no_grad():
        _, maps = attention_maps(model, pictures(1))
    for hook in hooks:
        hook.remove()
    found = []
    for block, stream, value, attention in zip(model.blocks, entering, values, maps, strict=False):
        tokens, scale = len(stream), getattr(block.ls1, "gamma", 1)
        shares = torch.zeros(tokens, tokens, dtype=torch.float64)
        for i in range(tokens):
            handed = []
            for j in range(tokens):
                heads = torch.cat([attention[0, head, i, j] * value[j, 16 * head : 16 * head + 16] for head in (0, 1)])
                handed.append(scale * (heads @ block.attn.proj.weight.T) + (stream[i] if i == j else 0))
            total = torch.stack(handed).sum(0)
            for j in range(tokens):
                shares[i, j] = (total.abs().sum() - (total - handed[j]).abs().sum()).clamp(min=0)
        found.append((shares / shares.sum(1, keepdim=True)).detach())
    return found


@pytest.mark.parametrize("key", ["vit", "distilled", "average"])
def test_alti_multiplies_how_close_each_vector_comes_to_the_sum(key: str) -> None:
    model = small(key)
    layers = contributions(key, model)
    prefix, tokens = PREFIX[key], len(layers[0])
    row = torch.zeros(tokens, dtype=torch.float64)
    row[{"vit": slice(0, 1), "distilled": slice(0, 2), "average": slice(prefix, None)}[key]] = 1
    row = row / row.sum()
    for layer in reversed(layers):
        row = row @ layer
    found = peer_maps("alti", model, pictures(1), 0).flatten()
    assert relative(found, row[prefix:]) < 1e-5
    # Rows of C are distributions, so what is not on the patches is on the prefix.
    assert 0 < float(found.sum()) <= 1 + 1e-5


def test_alti_shares_the_whole_of_a_model_without_prefix() -> None:
    found = peer_maps("alti", small("pool"), pictures(2), 0)
    torch.testing.assert_close(found.sum((1, 2)), torch.ones(2))
    assert float(found.min()) >= 0


def test_blocks_whose_sums_are_not_of_tokens_are_refused() -> None:
    model = tiny("eva02_base_patch16_clip_224", img_size=64, embed_dim=32, depth=2, num_heads=2)
    with pytest.raises(InterpretError, match=r"method 'alti': eva02_base.* normalises what attention gives"):
        peer_maps("alti", model, pictures(1), 0)
