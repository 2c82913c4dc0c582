"""Class activation maps are their formulas, written out beside them on hooks of our own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from timm.models.vision_transformer import ResPostBlock
from torch import Tensor, nn

from gradattn_core.errors import InterpretError
from gradattn_core.peers.registry import peer_maps
from tests.helpers.explicit_maps import pictures, relative, vit
from tests.helpers.peer_models import small

KINDS = ("vit", "distilled", "average", "pool")


def features_and_slopes(model: nn.Module, images: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """The patches' X after blocks[-1].norm1 and ∂Σ(weights · logits)/∂X, both [B, 16, D]."""
    kept: list[Tensor] = []
    network: Any = model
    hook = network.blocks[-1].norm1.register_forward_hook(lambda _module, _inputs, output: kept.append(output))
    logits = model(images.clone().requires_grad_(True))
    hook.remove()
    [slopes] = torch.autograd.grad((logits * weights).sum(), kept)
    return kept[0][:, -16:].detach(), slopes[:, -16:]


@pytest.mark.parametrize("key", KINDS)
def test_every_weighting_is_its_formula(key: str) -> None:
    model, images = small(key), pictures()
    one = torch.zeros(7, dtype=torch.float64)
    one[2] = 1
    x, g = features_and_slopes(model, images, one)
    expected = {
        "grad-cam": (g.mean(dim=1, keepdim=True) * x).sum(-1).clamp(min=0),
        "layer-cam": (g.clamp(min=0) * x).sum(-1).clamp(min=0),
        "hires-cam": (g * x).sum(-1).clamp(min=0),
    }
    for name, maps in expected.items():
        assert relative(peer_maps(name, model, images, 2), maps.unflatten(1, (4, 4))) < 1e-5, name


@pytest.mark.parametrize("key", KINDS)
def test_finer_cam_contrasts_the_target_with_one_class_or_the_nearest(key: str) -> None:
    model, images = small(key), pictures()
    pair = torch.zeros(7, dtype=torch.float64)
    pair[2], pair[5] = 1, -1
    x, g = features_and_slopes(model, images, pair)
    maps = (g.mean(dim=1, keepdim=True) * x).sum(-1).clamp(min=0).unflatten(1, (4, 4))
    assert relative(peer_maps("finer-cam", model, images, 2, 5), maps) < 1e-5

    # Σ_b p_b (z_a − z_b) / Σ_b p_b is differentiated with its p: ∂/∂z by finite differences.
    logits = model(images).detach()
    nearest = (logits - logits[:, 2:3]).abs().argsort(dim=1)[:, 1:4]

    def contrast(z: Tensor) -> Tensor:
        p = z.softmax(1).gather(1, nearest)
        return (p * (z[:, 2:3] - z.gather(1, nearest))).sum(1) / p.sum(1)

    step = 1e-5 * torch.eye(7, dtype=torch.float64)
    weights = torch.stack([(contrast(logits + d) - contrast(logits - d)) / 2e-5 for d in step], dim=1)
    x, g = features_and_slopes(model, images, weights)
    maps = (g.mean(dim=1, keepdim=True) * x).sum(-1).clamp(min=0).unflatten(1, (4, 4))
    assert relative(peer_maps("finer-cam", model, images, 2), maps) < 1e-4


def test_a_model_without_such_a_layer_is_refused_in_a_sentence() -> None:
    model: Any = vit()
    model.blocks[-1].norm1 = nn.Identity()
    with pytest.raises(InterpretError, match="method 'layer-cam': vit_tiny_patch16_224 has no norm before its last"):
        peer_maps("layer-cam", model, pictures(), 1)


def test_a_norm_behind_the_attention_is_refused_as_no_gradient_reaches_its_patches() -> None:
    with pytest.raises(InterpretError, match="passes no gradient to the patches before its last attention"):
        peer_maps("grad-cam", vit(block_fn=ResPostBlock), pictures(), 1)
