"""Patches that are gone: painted over, in-painted, or left out of the sequence."""

from __future__ import annotations

import pytest
import torch

from gradattn_core.evaluate.replacing import REPLACEMENTS, log_odds_without, masked_logits, push_pull
from gradattn_core.interpret.absence import without_patches
from tests.helpers.explicit_maps import pictures, tiny, vit


def hidden(*boxes: tuple[slice, slice], size: tuple[int, int] = (30, 44)) -> torch.Tensor:
    mask = torch.zeros(1, 1, *size, dtype=torch.bool)
    for rows, columns in boxes:
        mask[0, 0, rows, columns] = True
    return mask


def test_in_painting_leaves_what_is_visible_and_uses_nothing_of_what_is_hidden() -> None:
    image, mask = torch.randn(1, 3, 30, 44), hidden((slice(3, 17), slice(10, 31)), (slice(20, 30), slice(0, 9)))
    filled = push_pull(image, mask)
    other = torch.where(mask, torch.randn_like(image) * 50, image)
    torch.testing.assert_close(push_pull(other, mask), filled)
    assert torch.equal(filled[~mask.expand_as(image)], image[~mask.expand_as(image)])
    assert bool(torch.isfinite(filled).all()) and filled.abs().max() <= image.abs().max()


def test_in_painting_continues_what_is_around() -> None:
    mask = hidden((slice(8, 20), slice(12, 30)))
    flat = torch.full((1, 3, 30, 44), 0.7)
    torch.testing.assert_close(push_pull(torch.where(mask, torch.zeros(()), flat), mask), flat)
    ramp = torch.linspace(-1, 1, 44).expand(1, 3, 30, 44)
    filled = push_pull(ramp, mask)
    assert filled[0, 0, 14, 13] < -0.1 < 0.1 < filled[0, 0, 14, 28], "left stays darker than right"
    assert push_pull(ramp, torch.ones_like(mask)).abs().max() == 0


@pytest.mark.parametrize("replace", REPLACEMENTS)
def test_masks_of_any_sizes_go_through_together(replace: str) -> None:
    model, image = vit().float(), pictures(1, dtype=torch.float32)[0]
    masks = torch.rand(9, 4, 4, generator=torch.Generator().manual_seed(0)) < torch.linspace(0, 1, 9)[:, None, None]
    masks[-1] = True
    together = log_odds_without(model, image, masks, 1, 3, replace=replace, batch_size=4)
    with torch.no_grad():
        for mask, found in zip(masks, together, strict=True):
            logits = masked_logits(model, image[None], mask[None], replace)[0]
            assert float(found) == pytest.approx(float(logits[1] - logits[3]), abs=1e-4)
        whole = model(image[None])[0]
    assert float(together[0]) == pytest.approx(float(whole[1] - whole[3]), abs=1e-4)


def test_leaving_a_token_out_is_the_model_on_the_tokens_that_stay() -> None:
    model, image = vit().float(), pictures(1, dtype=torch.float32)
    mask = torch.zeros(1, 4, 4, dtype=torch.bool)
    mask[0, 1, 2] = mask[0, 3, 0] = True
    with torch.no_grad():
        tokens = model._pos_embed(model.patch_embed(image))  # type: ignore[operator]
        tokens = tokens[:, [i for i in range(17) if i not in (1 + 6, 1 + 12)]]
        expected = model.forward_head(model.norm(model.blocks(tokens)))  # type: ignore[operator]
        torch.testing.assert_close(masked_logits(model, image, mask, "drop"), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "beit_base_patch16_224", "vit_base_patch16_siglip_224"])
def test_leaving_out_means_the_same_on_every_family(name: str) -> None:
    model = tiny(name, img_size=64, embed_dim=32, depth=2, num_heads=2).float()
    images, masks = pictures(3, dtype=torch.float32), torch.rand(3, 4, 4) < torch.tensor([0.2, 0.5, 0.9])[:, None, None]
    with torch.no_grad():
        found = masked_logits(model, images, masks, "drop")
    torch.testing.assert_close(found, without_patches(model, images, masks), atol=1e-4, rtol=1e-4)
    assert not torch.allclose(found, masked_logits(model, images, ~masks, "drop"), atol=1e-3)
