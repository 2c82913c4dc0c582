"""Patches that are left out exactly: against the tokens that are left, and against the twin at weight zero."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gradattn_core.errors import InterpretError
from gradattn_core.interpret.absence import answer_without_picture, without_patches, without_picture
from gradattn_core.interpret.maps import interpret
from gradattn_core.model.forward import answer
from tests.helpers.explicit_maps import pictures, tiny, vit
from tests.helpers.explicit_secant import weighted_answer
from tests.interpret.test_families import FAMILIES, SMALL, family
from tests.interpret.test_secant import CHOSEN, POOLED, seeded


@pytest.mark.parametrize("key", CHOSEN)
def test_without_patches_equals_the_twin_at_weight_zero(key: str) -> None:
    model, images = family(key)
    kind, prefix = FAMILIES[key][3:]
    grid = interpret(model, images, 1, 4).scores.shape[1:]
    absent = torch.rand(2, *grid, generator=seeded(2)) < 0.5
    none = torch.zeros_like(absent)
    torch.testing.assert_close(without_patches(model, images, none), answer(model, images))
    found = without_patches(model, images, absent)
    for image in range(2):
        weights = (~absent[image]).flatten().double()
        expected = weighted_answer(model, images[image : image + 1], weights, prefix, pooled=kind in POOLED)[0]
        torch.testing.assert_close(found[image : image + 1], expected.detach().float(), rtol=1e-4, atol=1e-5)
    everything = without_patches(model, images, torch.ones_like(absent))
    assert bool(torch.isfinite(everything).all())
    torch.testing.assert_close(everything, answer_without_picture(model, images), rtol=1e-4, atol=1e-5)


def gathered(model: Any, images: Tensor, present: Tensor) -> Tensor:
    """Logits of the model run on the present patches' tokens only, positions and rotations with their tokens."""
    prefix = model.num_prefix_tokens
    keep = torch.cat((torch.arange(prefix), prefix + present.flatten().nonzero()[:, 0]))
    tokens = model.patch_embed(images)
    if hasattr(model, "rope"):
        tokens, rope = model._pos_embed(tokens)
        tokens = tokens[:, keep]
        for block in model.blocks:
            tokens = block(tokens, rope=rope[keep[prefix:] - prefix])
    else:
        tokens = model.norm_pre(model._pos_embed(tokens))[:, keep]
        for block in model.blocks:
            tokens = block(tokens)
    logits: Tensor = model.forward_head(model.norm(tokens))
    return logits


@pytest.mark.parametrize("key", ["vit", "deit-distilled", "dinov2-registers", "eva02-cls", "clip"])
def test_a_patch_left_out_is_a_token_gathered_out_of_the_sequence(key: str) -> None:
    if key == "eva02-cls":
        model: nn.Module = tiny("eva02_tiny_patch14_224", **SMALL, img_size=56, global_pool="token")
        images = pictures(side=56)
    else:
        model, images = family(key)
    absent = torch.rand(2, 4, 4, generator=seeded(3)) < 0.6
    absent[1] = True
    found = without_patches(model, images, absent)
    for image in range(2):
        with torch.no_grad():
            expected = gathered(model, images[image : image + 1], ~absent[image])
        torch.testing.assert_close(found[image : image + 1], expected.float(), rtol=1e-4, atol=1e-5)


def test_features_without_a_picture_give_any_heads_answer() -> None:
    for pool in ("token", "avg"):
        model: Any = vit(global_pool=pool)
        images = pictures(3)
        features = without_picture(model, images)
        assert features.shape == (1, 32) and features.dtype == torch.float32 and not features.requires_grad
        weights = torch.randn(3, 5, 32, generator=seeded(1))

        def head(rows: Tensor, weights: Tensor = weights) -> Tensor:
            return torch.einsum("bd,bkd->bk", rows.float(), weights)

        torch.testing.assert_close(head(features.expand(3, -1)), answer_without_picture(model, images, head))
        torch.testing.assert_close(
            model.head.float()(features).expand(3, -1), answer_without_picture(vit(global_pool=pool), images)
        )


def test_patches_that_are_no_patches_are_refused() -> None:
    for absent in (torch.zeros(2, 4, 4), torch.zeros(2, 4, 5, dtype=torch.bool), [[True]]):
        with pytest.raises(InterpretError, match=r"absent: expected a tensor of booleans \[2, 4, 4\]"):
            without_patches(vit(), pictures(), absent)  # type: ignore[arg-type]
    with pytest.raises(InterpretError, match=r"images: expected a batch .*, got list"):
        without_patches(vit(), [1.0], torch.zeros(1, 4, 4, dtype=torch.bool))  # type: ignore[arg-type]
