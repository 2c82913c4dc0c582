"""Every family of Vision Transformers gives the map that its slow twin gives, or is refused by name."""

from __future__ import annotations

import itertools
from functools import cache
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from gradattn_core.errors import ModelError
from gradattn_core.interpret.maps import interpret
from gradattn_core.methods import AGGREGATIONS, CORRECTIONS, OBJECTIVES, PAPER_CORRECTIONS
from tests.helpers.explicit_maps import attention_maps, explicit_scores, scalar, tiny

SMALL: dict[str, Any] = {"embed_dim": 32, "depth": 3, "num_heads": 2}
SIXTEEN: dict[str, Any] = {**SMALL, "img_size": 64}
FOURTEEN: dict[str, Any] = {**SMALL, "img_size": 56}

# name, arguments of create_model, input (height, width), expected readout, expected prefix tokens
FAMILIES: dict[str, tuple[str, dict[str, Any], tuple[int, int], str, int]] = {
    "vit": ("vit_tiny_patch16_224", SIXTEEN, (64, 64), "cls", 1),
    "vit-mean": ("vit_tiny_patch16_224", {**SIXTEEN, "global_pool": "avg"}, (64, 64), "mean", 1),
    "vit-registers": ("vit_medium_patch16_reg4_gap_256", SIXTEEN, (64, 64), "mean", 4),
    "vit-qk-norm-parallel": ("vit_base_patch16_xp_224", SIXTEEN, (64, 64), "cls", 1),
    "vit-hybrid": ("vit_tiny_r_s16_p8_224", SIXTEEN, (64, 64), "cls", 1),
    "vit-non-square": ("vit_tiny_patch16_224", {**SMALL, "img_size": (48, 96)}, (48, 96), "cls", 1),
    "vit-other-resolution": ("vit_tiny_patch16_224", {**SIXTEEN, "dynamic_img_size": True}, (96, 80), "cls", 1),
    "vit-padded": (
        "vit_tiny_patch16_224",
        {**SIXTEEN, "dynamic_img_size": True, "dynamic_img_pad": True},
        (70, 50),
        "cls",
        1,
    ),
    "deit": ("deit_tiny_patch16_224", SIXTEEN, (64, 64), "cls", 1),
    "deit-distilled": ("deit_tiny_distilled_patch16_224", SIXTEEN, (64, 64), "distilled", 2),
    "deit3": ("deit3_small_patch16_224", SIXTEEN, (64, 64), "cls", 1),
    "beit": ("beit_base_patch16_224", SIXTEEN, (64, 64), "mean", 1),
    "beitv2": ("beitv2_base_patch16_224", SIXTEEN, (64, 64), "mean", 1),
    "eva": ("eva_giant_patch14_224", FOURTEEN, (56, 56), "mean", 1),
    "eva02": ("eva02_tiny_patch14_224", FOURTEEN, (56, 56), "mean", 1),
    "eva02-other-resolution": ("eva02_tiny_patch14_224", {**FOURTEEN, "dynamic_img_size": True}, (84, 56), "mean", 1),
    "dinov2": ("vit_small_patch14_dinov2", FOURTEEN, (56, 56), "cls", 1),
    "dinov2-registers": ("vit_small_patch14_reg4_dinov2", FOURTEEN, (56, 56), "cls", 5),
    "dinov3": ("vit_small_patch16_dinov3", SIXTEEN, (64, 64), "mean", 5),
    "clip": ("vit_base_patch16_clip_224", SIXTEEN, (64, 64), "cls", 1),
    "eva02-clip": ("eva02_base_patch16_clip_224", SIXTEEN, (64, 64), "cls", 1),
    "siglip": ("vit_base_patch16_siglip_224", SIXTEEN, (64, 64), "attention-pool", 0),
    "siglip-mean": ("vit_base_patch16_siglip_gap_224", SIXTEEN, (64, 64), "mean", 0),
    "pool-without-prefix": ("vit_so150m_patch16_reg4_map_256", SIXTEEN, (64, 64), "attention-pool", 4),
    "pool-with-prefix": ("vit_pe_core_tiny_patch16_384", SIXTEEN, (64, 64), "attention-pool", 1),
    "flexivit": ("flexivit_small", SIXTEEN, (64, 64), "cls", 1),
    "relpos": ("vit_relpos_small_patch16_224", SIXTEEN, (64, 64), "mean", 0),
    "relpos-cls": ("vit_relpos_medium_patch16_cls_224", SIXTEEN, (64, 64), "cls", 1),
    "rope": ("vit_base_patch16_rope_reg1_gap_256", SIXTEEN, (64, 64), "mean", 1),
    "aimv2": ("aimv2_large_patch14_224", FOURTEEN, (56, 56), "mean", 0),
}


@cache
def family(key: str) -> tuple[nn.Module, Tensor]:
    name, arguments, (height, width), _, _ = FAMILIES[key]
    generator = torch.Generator().manual_seed(3)
    return tiny(name, **arguments), torch.randn(2, 3, height, width, dtype=torch.float64, generator=generator)


@cache
def twin(key: str) -> tuple[Tensor, list[Tensor]]:
    return attention_maps(*family(key))


def readout_row(kind: str, tokens: int, prefix: int) -> Tensor | None:
    """r0 as the documentation states it, spelled out."""
    row = torch.zeros(tokens, dtype=torch.float64)
    if kind == "cls":
        row[0] = 1
    elif kind == "distilled":
        row[0] = row[1] = 0.5
    elif kind == "mean":
        row[prefix:] = 1 / (tokens - prefix)
    else:
        return None
    return row


@pytest.mark.filterwarnings("ignore:objective=")
@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("key", FAMILIES)
def test_map_equals_the_explicit_matrix_product(key: str, objective: str) -> None:
    model, images = family(key)
    logits, maps = twin(key)
    _, _, _, kind, prefix = FAMILIES[key]
    a, b = logits.detach().abs().topk(2).indices.unbind(1)
    gradients = list(torch.autograd.grad(scalar(objective, logits, a, b).sum(), maps, retain_graph=True))
    start = readout_row(kind, maps[0].shape[-1], prefix)
    for correction in PAPER_CORRECTIONS:
        for aggregation in AGGREGATIONS:
            expected = explicit_scores(maps, gradients, correction, aggregation, start, prefix)
            found = interpret(model, images, a, b, objective=objective, correction=correction, aggregation=aggregation)
            assert found.provenance.readout == kind
            torch.testing.assert_close(found.logits, logits.float(), rtol=1e-5, atol=1e-5)
            scores = found.scores.flatten(1)
            error = (scores - expected).abs().amax(1) / expected.abs().amax(1)
            assert scores.shape == expected.shape
            assert float(error.max()) < 1e-5, f"{correction} {aggregation}"


@pytest.mark.parametrize("readout", ["cls", "distilled", "mean"])
def test_a_forced_readout_starts_from_its_own_row(readout: str) -> None:
    model, images = family("deit-distilled")
    logits, maps = twin("deit-distilled")
    gradients = list(torch.autograd.grad((logits[:, 1] - logits[:, 4]).sum(), maps, retain_graph=True))
    start = readout_row(readout, maps[0].shape[-1], 2)
    expected = explicit_scores(maps, gradients, "complete", "product", start, 2)
    found = interpret(model, images, 1, 4, readout=readout).scores.flatten(1)
    assert float((found - expected).abs().max()) < 1e-5 * float(expected.abs().max())


@pytest.mark.parametrize("key", ["vit", "beit", "eva02", "dinov3", "siglip"])
def test_single_precision_stays_close_to_the_double_precision_twin(key: str) -> None:
    # What is left is the rounding of the model's own forward and backward pass, which the twin shows in float32 too.
    images = family(key)[1]
    logits, maps = twin(key)
    _, _, _, kind, prefix = FAMILIES[key]
    name, arguments = FAMILIES[key][:2]
    single = tiny(name, **arguments).float()
    gradients = list(torch.autograd.grad((logits[:, 0] - logits[:, 3]).sum(), maps, retain_graph=True))
    start = readout_row(kind, maps[0].shape[-1], prefix)
    for correction in PAPER_CORRECTIONS:
        expected = explicit_scores(maps, gradients, correction, "product", start, prefix)
        found = interpret(single, images.float(), 0, 3, correction=correction).scores.flatten(1)
        assert float((found - expected).abs().max()) < 5e-5 * float(expected.abs().max())


@pytest.mark.parametrize(("batch", "side", "heads"), [(1, 448, 2), (5, 256, 4)])
def test_map_is_the_same_when_attention_is_visited_in_several_blocks(batch: int, side: int, heads: int) -> None:
    # 785 tokens of one image and 257 tokens of five images are both more than one block of weights.
    model = tiny("vit_tiny_patch16_224", img_size=side, embed_dim=16, depth=2, num_heads=heads)
    images = torch.randn(batch, 3, side, side, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    logits, maps = attention_maps(model, images)
    gradients = list(torch.autograd.grad((logits[:, 2] - logits[:, 6]).sum(), maps))
    start = readout_row("cls", maps[0].shape[-1], 1)
    for correction in PAPER_CORRECTIONS:
        expected = explicit_scores(maps, gradients, correction, "product", start, 1)
        found = interpret(model, images, 2, 6, correction=correction).scores.flatten(1)
        assert float((found - expected).abs().max()) < 1e-5 * float(expected.abs().max())


@pytest.mark.parametrize("key", ["vit", "vit-mean", "deit-distilled", "beit", "eva02", "dinov3", "siglip", "relpos"])
def test_map_does_not_depend_on_the_attention_kernel(key: str) -> None:
    # The unfused kernel keeps no log-sum-exp: the row is then computed beside torch's own backward pass, as on a GPU.
    model, images = family(key)
    for correction, aggregation in (("secant", None), *itertools.product(PAPER_CORRECTIONS, AGGREGATIONS)):
        options: dict[str, Any] = {"correction": correction, "aggregation": aggregation}
        expected = interpret(model, images, 0, 1, **options).scores
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
            found = interpret(model, images, 0, 1, **options).scores
        assert float((found - expected).abs().max()) < 1e-5 * float(expected.abs().max())


@pytest.mark.parametrize(
    ("name", "arguments", "reason"),
    [
        ("swin_tiny_patch4_window7_224", {"embed_dim": 12, "depths": (1, 1), "num_heads": (1, 1)}, "grid of patches"),
        ("samvit_base_patch16_224", {**SMALL, "global_attn_indexes": ()}, "windowed"),
        ("xcit_nano_12_p16_224", {"embed_dim": 32, "depth": 1, "num_heads": 2}, "grid of patches"),
        ("cait_xxs24_224", {"embed_dim": 32, "depth": 2, "num_heads": 2}, "tokens"),
        ("convit_tiny", {"embed_dim": 16, "depth": 2, "num_heads": 2}, "attention calls"),
        ("levit_128s", {}, "grid of patches"),
        ("mvitv2_tiny", {}, "grid of patches"),
        ("pit_ti_224", {}, "grid of patches"),
        ("hiera_tiny_224", {"embed_dim": 16, "stages": (1, 1, 1, 1)}, "grid of patches"),
        ("naflexvit_base_patch16_gap", SMALL, "grid of patches"),
        ("resnet18", {}, "grid of patches"),
        ("vit_base_patch16_18x2_224", SIXTEEN, "attention calls"),
    ],
)
def test_a_model_without_one_global_attention_is_refused_by_name(
    name: str, arguments: dict[str, Any], reason: str
) -> None:
    model = timm.create_model(name, num_classes=4, **arguments)
    side = 64 if arguments is SIXTEEN else model.pretrained_cfg["input_size"][-1]
    with pytest.raises(ModelError, match=reason) as refused:
        interpret(model, torch.zeros(1, 3, side, side), 0, 1)
    assert name in str(refused.value)
    assert "SigLIP" in str(refused.value), "it says what works"


@pytest.mark.parametrize("pool", ["max", "avgmax", "prr", ""])
def test_a_pooling_without_a_readout_row_is_refused(pool: str) -> None:
    model = timm.create_model("vit_tiny_patch16_224", global_pool=pool, class_token=False, num_classes=3, **SIXTEEN)
    with pytest.raises(ModelError, match=r"pooling .* 'avg' and attention pooling"):
        interpret(model, torch.zeros(1, 3, 64, 64), 0, 1)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-3), (torch.float16, 0.05), (torch.bfloat16, 0.3)], ids=str
)
@pytest.mark.parametrize("key", ["vit", "beit", "eva02", "dinov3", "siglip"])
def test_a_gpu_gives_the_map_of_the_cpu(key: str, dtype: torch.dtype, tolerance: float) -> None:
    model, images = family(key)
    name, arguments = FAMILIES[key][:2]
    moved = tiny(name, **arguments).to("cuda", dtype)
    for correction in CORRECTIONS:
        options: dict[str, Any] = {"correction": correction}
        if correction in PAPER_CORRECTIONS:
            options["aggregation"] = "sum"
        expected = interpret(model, images, 0, 3, **options).scores
        found = interpret(moved, images.to("cuda", dtype), 0, 3, **options).scores
        assert found.is_cuda and found.dtype == torch.float32
        assert float((found.cpu() - expected).abs().max()) < tolerance * float(expected.abs().max())
