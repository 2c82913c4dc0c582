"""Gradients at the pixels: against autograd alone, and against the sums that they must have."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gradattn_core.errors import InterpretError
from gradattn_core.model.preprocessing import Preprocessing
from gradattn_core.peers.gradients import patch_pixels
from gradattn_core.peers.registry import peer_maps
from tests.helpers.explicit_maps import pictures, relative, tiny, vit
from tests.helpers.peer_models import small

KINDS = ("vit", "distilled", "average", "pool")


def slopes(model: nn.Module, images: Tensor) -> Tensor:
    """∂(z_1 − z_4)/∂x."""
    pixels = images.clone().requires_grad_(True)
    logits = model(pixels)
    return torch.autograd.grad((logits[:, 1] - logits[:, 4]).sum(), pixels)[0]


def patch_by_patch(pixels: Tensor) -> Tensor:
    """[B, C, 64, 64] as a list of rows of [B, C, 16, 16], stacked."""
    rows = [torch.stack(row.split(16, dim=3), dim=2) for row in pixels.split(16, dim=2)]
    return torch.stack(rows, dim=2)


@pytest.mark.parametrize("key", KINDS)
def test_every_reference_gives_gradient_times_difference(key: str) -> None:
    model, images = small(key), pictures()
    g = slopes(model, images)
    grey = Preprocessing.of(model).normalised(torch.full_like(images, 127.5))
    mean = images.mean(dim=(2, 3), keepdim=True)
    for name, reference in (("", torch.zeros_like(images)), ("-grey", grey), ("-mean", mean)):
        expected = patch_by_patch(g * (images - reference)).sum(dim=(1, 4, 5))
        assert relative(peer_maps(f"gradient-x-input{name}", model, images, 1, 4), expected) < 1e-5
    size = patch_by_patch(g.abs().amax(dim=1, keepdim=True)).mean(dim=(1, 4, 5))
    assert relative(peer_maps("gradient", model, images, 1, 4), size) < 1e-5


class _Linear(nn.Module):
    """A classifier that is linear in the pixels, with the face of a Vision Transformer."""

    def __init__(self, like: nn.Module) -> None:
        super().__init__()
        self.patch_embed, self.blocks, self.pretrained_cfg = like.patch_embed, like.blocks, like.pretrained_cfg
        self.num_prefix_tokens, self.global_pool, self.num_classes = 1, "token", 7
        self.weight = nn.Parameter(torch.randn(7, 3 * 64 * 64, dtype=torch.float64))

    def forward_features(self, images: Tensor) -> Tensor:
        return images.flatten(1)

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        return features if pre_logits else features @ self.weight.T


@pytest.mark.parametrize(
    ("name", "reference"),
    [("gradient-x-input", 0), ("gradient-x-input-mean", 1), ("integrated-gradients", 1), ("smooth-grad-x-input", 1)],
)
def test_of_a_linear_model_the_sum_is_what_the_reference_loses(name: str, reference: int) -> None:
    torch.manual_seed(0)
    model, images = _Linear(vit()), pictures()
    absent = images.mean(dim=(2, 3), keepdim=True).expand_as(images) * reference
    logits = model.forward_head(images.flatten(1) - absent.flatten(1))
    found = peer_maps(name, model, images, 1, 4).sum(dim=(1, 2))
    torch.testing.assert_close(found.double(), (logits[:, 1] - logits[:, 4]).detach(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("key", KINDS)
def test_integrated_gradients_take_eight_points_of_gauss_and_legendre(key: str) -> None:
    model, images = small(key), pictures()
    mean = images.mean(dim=(2, 3), keepdim=True)
    points, weights = np.polynomial.legendre.leggauss(8)
    way = [slopes(model, mean + (1 + t) / 2 * (images - mean)) * w / 2 for t, w in zip(points, weights, strict=True)]
    expected = patch_by_patch(torch.stack(way).sum(0) * (images - mean)).sum(dim=(1, 4, 5))
    found = peer_maps("integrated-gradients", model, images, 1, 4)
    assert relative(found, expected) < 1e-5
    chunked = peer_maps("integrated-gradients", model, images, 1, 4, chunk_size=5)
    torch.testing.assert_close(chunked, found, rtol=1e-4, atol=1e-6)


def test_noise_comes_from_the_seed_and_is_the_picture_s_own() -> None:
    model, images = vit(), pictures()
    for name in ("smooth-grad", "smooth-grad-x-input"):
        found = peer_maps(name, model, images, 1, 4, seed=3)
        assert relative(peer_maps(name, model, images, 1, 4, seed=4), found) > 1e-3
        state = torch.get_rng_state()
        torch.testing.assert_close(peer_maps(name, model, images[:1], 1, 4, seed=3), found[:1], rtol=1e-4, atol=1e-6)
        assert torch.equal(torch.get_rng_state(), state)


def test_the_blur_is_a_mean_of_the_picture() -> None:
    model = vit()
    flat = torch.full((1, 3, 64, 64), 0.7, dtype=torch.float64)
    assert float(peer_maps("gradient-x-input-blur", model, flat, 1, 4).abs().max()) < 1e-6
    assert float(peer_maps("gradient-x-input", model, flat, 1, 4).abs().max()) > 1e-3


def test_patches_of_a_padded_picture_are_the_model_s_own() -> None:
    model = tiny(
        "vit_tiny_patch16_224", embed_dim=32, depth=1, num_heads=2, dynamic_img_size=True, dynamic_img_pad=True
    )
    pixels = torch.arange(70.0 * 50).view(1, 1, 70, 50)
    cut = patch_pixels(model, pixels)
    assert cut.shape == (1, 1, 5, 4, 16, 16)
    assert torch.equal(cut[0, 0, 1, 2], pixels[0, 0, 16:32, 32:48])
    assert cut[0, 0, 4, 3].count_nonzero() == 6 * 2 and float(cut.sum()) == float(pixels.sum())


@pytest.mark.parametrize(("name", "library"), [("grad-cam", "pytorch_grad_cam"), ("gradient", "captum")])
def test_a_missing_library_is_one_sentence_that_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, name: str, library: str
) -> None:
    for loaded in [library, *sys.modules]:
        if loaded.partition(".")[0] == library:
            monkeypatch.setitem(sys.modules, loaded, None)
    with pytest.raises(InterpretError, match=rf"^method '{name}': .*{library}.*; pip install 'gradattn\[peers\]'"):
        peer_maps(name, vit(), pictures(1), 1, 4)
