"""Held gains: a network that is linear already is explained exactly, and what is held adds up in every other."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gradattn_core.attention.readout import find_readout, patch_grid
from gradattn_core.attention.rollout import prepared
from gradattn_core.interpret.absence import answer_without_picture
from gradattn_core.peers.linearised import full_gradient
from gradattn_core.peers.question import Question
from gradattn_core.peers.registry import peer_maps
from tests.helpers.explicit_maps import pictures, relative, tiny
from tests.helpers.peer_models import MODELS, small
from tests.interpret.test_families import FAMILIES, family


def log_odds(logits: Tensor) -> Tensor:
    return (logits[:, 1] - logits[:, 4]).detach()


def asked(model: nn.Module, images: Tensor) -> Question:
    classes = torch.ones(len(images), dtype=torch.long)
    grid, readout = patch_grid(model, images), find_readout(model)
    return Question(model, images.clone(), grid, readout, classes, classes + 3, None, 32, tuple(range(len(images))))


@pytest.mark.parametrize("key", FAMILIES)
def test_full_gradients_of_tokens_and_constants_add_up_to_the_answer(key: str) -> None:
    model, images = family(key)
    with prepared(model):
        tokens, rest = full_gradient(asked(model, images))
    expected = log_odds(model(images))
    torch.testing.assert_close((tokens.sum(dim=1) + rest).double(), expected, rtol=1e-5, atol=1e-5)
    patches = peer_maps("libra-grad", model, images, 1, 4).flatten(1)
    torch.testing.assert_close(patches, tokens[:, -patches.shape[1] :])


def linear_vit(name: str, arguments: dict[str, Any]) -> nn.Module:
    """A model whose attention looks everywhere alike, without norms and activations: affine in its picture."""
    model = tiny(name, **{"img_size": 64, "embed_dim": 32, "depth": 3, "num_heads": 2, **arguments})
    for parent in list(model.modules()):
        for child, module in list(parent.named_children()):
            if isinstance(module, nn.LayerNorm | nn.GELU):
                setattr(parent, child, nn.Identity())
            if child == "qkv":
                # Queries of zero.
                for parameter in module.parameters():
                    parameter.data[:32] = 0
    return model


@pytest.mark.parametrize("key", ["vit", "distilled", "average"])
def test_a_linear_network_is_explained_exactly(key: str) -> None:
    model, images = linear_vit(*MODELS[key]), pictures()
    mean = images.mean(dim=(2, 3), keepdim=True).expand_as(images)
    found = peer_maps("frozen", model, images, 1, 4)
    assert relative(found.sum(dim=(1, 2)), log_odds(model(images)) - log_odds(model(mean))) < 1e-5
    # A patch alone makes its own difference, too.
    one = images.clone()
    one[:, :, 16:32, 48:64] = mean[:, :, 16:32, 48:64]
    assert relative(found[:, 1, 3], log_odds(model(images)) - log_odds(model(one))) < 1e-5


class _HeldByHand(nn.Module):
    """One block of a class-token ViT, written out with gains detached and the shares of q, k and v as asked."""

    def __init__(self, model: nn.Module, query_key: float, value: float) -> None:
        super().__init__()
        self.model: Any = model
        self.shares = (query_key, query_key, value)

    def forward(self, embedded: Tensor) -> Tensor:
        model = self.model
        x: Tensor = torch.cat([model.cls_token.expand(len(embedded), -1, -1), embedded], dim=1) + model.pos_embed
        for block in model.blocks:
            x = x + self.attention(block.attn, self.norm(block.norm1, x))
            hidden = block.mlp.fc1(self.norm(block.norm2, x))
            gate = 0.5 * (1 + torch.erf(hidden / 2**0.5))
            x = x + block.mlp.fc2(hidden * gate.detach())
        logits: Tensor = model.head(self.norm(model.norm, x)[:, 0])
        return logits

    def norm(self, norm: Any, x: Tensor) -> Tensor:
        spread = (x.var(dim=-1, unbiased=False, keepdim=True) + norm.eps).sqrt().detach()
        normed: Tensor = (x - x.mean(dim=-1, keepdim=True)) / spread * norm.weight + norm.bias
        return normed

    def attention(self, layer: Any, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        parts = layer.qkv(x).reshape(batch, tokens, 3, layer.num_heads, -1).permute(2, 0, 3, 1, 4)
        q, k, v = (s * part + (1 - s) * part.detach() for s, part in zip(self.shares, parts, strict=True))
        weights = (q @ k.mT * q.shape[-1] ** -0.5).softmax(dim=-1)
        mixed: Tensor = layer.proj((weights @ v).transpose(1, 2).reshape(batch, tokens, width))
        return mixed


@pytest.mark.parametrize(("name", "query_key", "value"), [("frozen", 0.0, 1.0), ("attn-lrp", 0.25, 0.5)])
def test_the_backward_pass_is_that_of_the_network_written_out(name: str, query_key: float, value: float) -> None:
    model, images = small("vit"), pictures()
    network: Any = model
    embedded = network.patch_embed(images).detach().requires_grad_(True)
    logits = _HeldByHand(model, query_key, value)(embedded)
    torch.testing.assert_close(logits, model(images))
    [slopes] = torch.autograd.grad((logits[:, 1] - logits[:, 4]).sum(), embedded)
    absent = network.patch_embed(images.mean(dim=(2, 3), keepdim=True).expand_as(images)).detach()
    expected = (slopes * (embedded.detach() - absent)).sum(-1).unflatten(1, (4, 4))
    assert relative(peer_maps(name, model, images, 1, 4), expected) < 1e-5


@pytest.mark.parametrize("key", MODELS)
def test_two_scales_make_the_map_add_up_and_keep_its_signs(key: str) -> None:
    model, images = small(key), pictures()
    absent = answer_without_picture(model, images)
    found, plain = (peer_maps(name, model, images, 1, 4) for name in ("linearised", "attn-lrp"))
    expected = log_odds(model(images)) - log_odds(absent)
    torch.testing.assert_close(found.sum(dim=(1, 2)).double(), expected, rtol=1e-4, atol=1e-4)
    for map_, before in zip(found, plain, strict=True):
        up, down = (map_ / before)[before > 0], (map_ / before)[before < 0]
        assert float(up.std() + down.std()) < 1e-4 and float(up.mean() * down.mean()) == pytest.approx(1, rel=1e-4)
