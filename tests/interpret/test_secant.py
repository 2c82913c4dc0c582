"""The map that adds up: against its slow twin, and every property by which it is true of the model."""

from __future__ import annotations

import copy
import gc
import weakref
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

from gradattn_core.attention.readout import find_readout
from gradattn_core.attention.secant import A1, B1, B3, PLAIN, Secant, scaled, secant_terms
from gradattn_core.demo.model import create_glyph_vit
from gradattn_core.errors import InterpretError, ModelError
from gradattn_core.interpret.absence import without_patches, without_picture
from gradattn_core.interpret.maps import Interpretation, interpret, signed_maps
from gradattn_core.methods import Method
from gradattn_core.model.forward import answer
from gradattn_core.model.preprocessing import preprocessed
from tests.helpers.explicit_maps import pictures, relative, tiny, vit
from tests.helpers.explicit_secant import explicit_scales, explicit_secant, weighted_answer
from tests.interpret.test_families import FAMILIES, SMALL, family
from tests.interpret.test_safety import mixed_state_model, state_of

# Class token, distilled, registers with layer scale, average pool, attention pools with and without a prefix token,
# RoPE with SwiGLU and a scaled norm, RoPE with registers, qk-norm, relative positions, RMS norm, non-square input.
CHOSEN = (
    "vit",
    "deit-distilled",
    "dinov2-registers",
    "vit-mean",
    "siglip",
    "pool-with-prefix",
    "eva02",
    "dinov3",
    "vit-qk-norm-parallel",
    "relpos-cls",
    "beit",
    "aimv2",
    "vit-non-square",
)
POOLED = ("mean", "attention-pool")
secant = partial(interpret, correction="secant")


def of_setting(model: nn.Module, images: Tensor, setting: Secant, **options: Any) -> Interpretation:
    return signed_maps(model, images, 1, 4, Method(correction="secant"), setting=setting, **options)


def difference(logits: Tensor) -> Tensor:
    return logits[:, 1] - logits[:, 4]


def sums(found: Interpretation) -> Tensor:
    return found.scores.double().sum((1, 2))


def gap(found: Interpretation) -> float:
    """By how much the maps miss f − f₀, as a share of f."""
    assert found.log_odds is not None and found.base is not None
    missing = sums(found) - (found.log_odds.double() - found.base.double())
    return float((missing.abs() / found.log_odds.abs().clamp_min(1e-3)).max())


def correlations(one: Tensor, other: Tensor) -> Tensor:
    one, other = (maps.flatten(1).double() - maps.flatten(1).double().mean(1, keepdim=True) for maps in (one, other))
    return F.cosine_similarity(one, other)


@pytest.mark.parametrize("key", FAMILIES)
def test_the_map_adds_up_to_the_answer_less_that_without_a_picture(key: str) -> None:
    model, images = family(key)
    kind = FAMILIES[key][3]
    weights = torch.randn(2, 5, answer_features(model, images), dtype=torch.float64, generator=seeded(5))

    def head(features: Tensor) -> Tensor:
        return torch.einsum("bd,bkd->bk", features, weights[: len(features)])

    cases: tuple[dict[str, Any], ...] = ({}, {"head": head})
    for options in cases:
        found = secant(model, images, 1, 4, **options)
        exact = answer(model, images, **options)
        assert gap(found) < 1e-4
        torch.testing.assert_close(found.log_odds, difference(exact))
        nothing = torch.zeros_like(images)
        if kind in POOLED and key != "pool-with-prefix":
            expected = answer(model, nothing, **options)
        else:
            expected = without_patches(model, nothing, torch.ones_like(found.scores, dtype=torch.bool), **options)
        assert found.base is not None
        torch.testing.assert_close(found.base, difference(expected), rtol=1e-4, atol=1e-5)
        assert bool((found.scores > 0).any() and (found.scores < 0).any()) or key == "vit-hybrid"


# The sizes of published weights, between the least and the largest that audits are asked for: name, (height, width).
SHAPES = (
    ("vit_tiny_patch16_224", (224, 224)),
    ("vit_medium_patch16_reg4_gap_256", (256, 256)),
    ("vit_base_patch16_siglip_224", (384, 224)),
    ("vit_relpos_medium_patch16_cls_224", (224, 288)),
    ("eva02_tiny_patch14_224", (224, 448)),
    ("vit_small_patch16_dinov3", (512, 256)),
    ("vit_tiny_patch16_224", (384, 384)),
    ("vit_small_patch14_reg4_dinov2", (518, 518)),
)


@pytest.mark.parametrize(("name", "shape"), SHAPES, ids=[f"{high}x{wide}" for _, (high, wide) in SHAPES])
def test_it_adds_up_at_the_sizes_that_models_are_published_for(name: str, shape: tuple[int, int]) -> None:
    """The map in single precision, as audits draw it; f and f₀ in double, which the map's passes never see."""
    exact = tiny(name, img_size=shape, embed_dim=32, depth=2, num_heads=2)
    image = torch.randn(1, 3, *shape, dtype=torch.float64, generator=seeded(7))
    found = secant(copy.deepcopy(exact).float(), image.float(), 1, 4)
    patch = 14 if "patch14" in name else 16
    assert found.scores.shape == (1, shape[0] // patch, shape[1] // patch)
    given = difference(answer(exact, image))
    if find_readout(exact).kind == "cls":
        nothing = difference(without_patches(exact, image, torch.ones_like(found.scores, dtype=torch.bool)))
    else:
        nothing = difference(answer(exact, torch.zeros_like(image)))
    assert abs(float(sums(found) - (given - nothing))) < 1e-4 * max(1.0, abs(float(given)))
    assert abs(float(given - nothing)) > 1e-2, "there is something to add up to"
    assert bool((found.scores > 0).any() and (found.scores < 0).any())


def test_a_mean_may_read_the_class_token_too() -> None:
    model, images = vit(global_pool="avg", pool_include_prefix=True), pictures()
    terms = explicit_secant(model, images, 1, 4, 1, 16, pooled=True)
    nothing = weighted_answer(model, images, torch.zeros(16, dtype=torch.float64), 1, pooled=True)[0].detach()
    found = secant(model, images, 1, 4)
    assert found.log_odds is not None
    torch.testing.assert_close(found.base, difference(nothing).float(), rtol=1e-4, atol=1e-5)
    totals = found.log_odds.double() - difference(nothing)
    assert relative(found.scores.flatten(1), explicit_scales(terms, totals)) < 1e-5


def answer_features(model: Any, images: Tensor) -> int:
    return int(without_picture(model, images).shape[1])


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("key", CHOSEN)
def test_the_map_equals_its_slow_twin(key: str) -> None:
    model, images = family(key)
    kind, prefix = FAMILIES[key][3:]
    settings: list[tuple[Secant, dict[str, Any]]] = [(B1, {}), (A1, {"even": 0.0}), (B3, {"passes": B3.passes})]
    settings.append((Secant(damping=0.0), {"alpha": 0.0}))
    for setting, options in settings:
        found = of_setting(model, images, setting)
        patches = found.scores[0].numel()
        terms = explicit_secant(model, images, 1, 4, prefix, patches, pooled=kind in POOLED, **options)
        assert found.log_odds is not None and found.base is not None
        expected = explicit_scales(terms, (found.log_odds - found.base).double())
        assert relative(found.scores.flatten(1), expected) < 1e-5, setting


def test_a_quick_gelu_is_damped_like_any_other() -> None:
    model = tiny("vit_base_patch16_clip_quickgelu_224", img_size=64, **SMALL)
    terms = explicit_secant(model, pictures(), 1, 4, 1, 16)
    found = secant(model, pictures(), 1, 4)
    assert found.log_odds is not None and found.base is not None
    expected = explicit_scales(terms, (found.log_odds - found.base).double())
    assert relative(found.scores.flatten(1), expected) < 1e-5


def test_scores_that_the_picture_biases_are_damped_too() -> None:
    def biased(_module: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Any]) -> Any:
        return args, {**kwargs, "attn_mask": 3 * args[0].mean(-1)[:, None, None, :]}

    model: Any = vit()
    for block in model.blocks:
        block.attn.register_forward_pre_hook(biased, with_kwargs=True)
    found = secant(model, pictures(), 1, 4)
    assert found.log_odds is not None and found.base is not None
    terms = explicit_secant(model, pictures(), 1, 4, 1, 16)
    assert relative(found.scores.flatten(1), explicit_scales(terms, (found.log_odds - found.base).double())) < 1e-5


@pytest.mark.parametrize("key", ["vit", "siglip", "eva02", "relpos-cls"])
def test_key_weights_alone_are_the_derivative_by_the_weights(key: str) -> None:
    model, images = family(key)
    kind, prefix = FAMILIES[key][3:]
    found = of_setting(model, images, PLAIN).scores.flatten(1)
    step = 1e-4
    for patch in (0, 5, found.shape[1] - 1):
        values = []
        for sign in (1, -1):
            weights = torch.full((found.shape[1],), 0.5, dtype=torch.float64)
            weights[patch] += sign * step
            values.append(difference(weighted_answer(model, images, weights, prefix, pooled=kind in POOLED)[0]))
        expected = (values[0] - values[1]).detach() / (2 * step)
        torch.testing.assert_close(found[:, patch].double(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("key", CHOSEN)
def test_at_full_weight_the_answer_is_the_models_own(key: str) -> None:
    model, images = family(key)
    seen: list[Tensor] = []

    def value(tokens: Tensor) -> Tensor:
        seen.append(model.forward_head(tokens))  # type: ignore[operator]
        return difference(seen[-1])

    readout = find_readout(model)
    grey = model.forward_features(torch.zeros_like(images[:1])) if readout.kind in POOLED else None  # type: ignore[operator]
    setting = Secant(passes=((1.0, 1.0),))
    secant_terms(model, images, value, readout, grey=None if grey is None else grey.detach(), setting=setting)
    torch.testing.assert_close(seen[0].detach().float(), answer(model, images))


# Changes of the weights that leave every logit as it was.


def shift_values(model: Any) -> None:
    for block in model.blocks:
        constant = torch.randn(32, dtype=torch.float64, generator=seeded(1))
        block.attn.qkv.bias[64:] += constant
        block.attn.proj.bias -= block.attn.proj.weight @ constant


def shift_keys(model: Any) -> None:
    for block in model.blocks:
        block.attn.qkv.bias[32:64] += torch.randn(32, dtype=torch.float64, generator=seeded(1))


def move_patch_bias(model: Any) -> None:
    model.pos_embed[:, 1:] += model.patch_embed.proj.bias
    model.patch_embed.proj.bias.zero_()


def scale_stream(model: Any) -> None:
    for tensor in (model.patch_embed.proj.weight, model.patch_embed.proj.bias, model.cls_token, model.pos_embed):
        tensor *= 3
    for block in model.blocks:
        for layer in (block.attn.proj, block.mlp.fc2):
            layer.weight *= 3
            layer.bias *= 3
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps *= 9


@pytest.mark.parametrize("rewrite", [shift_values, shift_keys, move_patch_bias, scale_stream])
@pytest.mark.parametrize("pool", ["token", "avg"])
def test_it_depends_on_the_function_only(rewrite: Callable[[Any], None], pool: str) -> None:
    model, images = vit(global_pool=pool), pictures(4)
    before = secant(model, images, 1, 4)
    with torch.no_grad():
        rewrite(model)
    after = secant(model, images, 1, 4)
    torch.testing.assert_close(after.logits, before.logits, rtol=1e-4, atol=1e-5)
    assert float(correlations(after.scores, before.scores).min()) > 0.999
    assert bool((after.scores.sign() == before.scores.sign()).all())


def test_swapping_the_classes_turns_every_sign() -> None:
    for key in ("vit", "siglip"):
        model, images = family(key)
        one, other = secant(model, images, 1, 4), secant(model, images, 4, 1)
        assert relative(one.scores, -other.scores) < 1e-5
        torch.testing.assert_close(one.base, -other.base)  # type: ignore[operator]


@pytest.mark.parametrize("key", ["vit", "siglip", "relpos-cls"])
def test_an_image_has_the_same_map_in_any_batch(key: str) -> None:
    model, images = family(key)
    images = torch.cat((images, images.flip(3)))
    a, b = torch.tensor([0, 1, 2, 3]), torch.tensor([5, 6, 0, 1])
    together = secant(model, images, a, b)
    for i in range(4):
        alone = secant(model, images[i : i + 1], a[i : i + 1], int(b[i]))
        assert relative(together.scores[i : i + 1], alone.scores) < 1e-5


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 0.2), (torch.float16, 0.03)])
def test_half_precision_stays_close_and_answers_in_single_precision(dtype: torch.dtype, tolerance: float) -> None:
    for pool in ("token", "avg"):
        model, images = vit(global_pool=pool), pictures().to(dtype)
        expected = secant(model, images.double(), 1, 4)
        found = secant(model.to(dtype), images, 1, 4)
        assert found.scores.dtype == torch.float32 and gap(found) < 1e-4
        assert relative(found.scores, expected.scores) < tolerance


def test_autocast_and_inference_mode_outside_do_not_reach_in() -> None:
    model, images = vit(global_pool="avg").float(), pictures(dtype=torch.float32)
    expected = secant(model, images, 1, 4)
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        inside = pictures(dtype=torch.float32)
        found = secant(model, inside, torch.tensor([1, 1]), torch.tensor([4, 4]))
        left = without_patches(model, inside, torch.zeros(2, 4, 4, dtype=torch.bool))
    for one, other in ((found.scores, expected.scores), (found.base, expected.base), (left, expected.logits)):
        assert one is not None and not one.is_inference()
        torch.testing.assert_close(one, other)


def test_a_head_of_ones_own_equals_a_model_with_that_classifier() -> None:
    model, images = vit(), pictures(3)
    weights = torch.randn(3, 5, 32, dtype=torch.float64, generator=seeded(6))
    found = secant(model, images, 2, 4, head=lambda features: torch.einsum("bd,bkd->bk", features, weights))
    assert found.base is not None
    for i in range(3):
        swapped: Any = vit()
        swapped.reset_classifier(5)
        swapped.head.to(torch.float64)
        with torch.no_grad():
            swapped.head.weight.copy_(weights[i])
            swapped.head.bias.zero_()
        expected = secant(swapped, images[i : i + 1], 2, 4)
        assert relative(found.scores[i : i + 1], expected.scores) < 1e-5
        torch.testing.assert_close(found.base[i : i + 1], expected.base)


def test_a_callable_objective_equals_the_named_one() -> None:
    model, images = vit(), pictures()
    named, own = secant(model, images, 1, 4), secant(model, images, objective=difference)
    torch.testing.assert_close(own.scores, named.scores)
    torch.testing.assert_close(own.base, named.base)
    bent = secant(model, images, objective=lambda z: difference(z).tanh())
    assert gap(bent) < 1e-4 and float(bent.log_odds.abs().max()) < 1  # type: ignore[union-attr]
    logit = secant(model, images, 1, objective="logit")
    torch.testing.assert_close(logit.log_odds, logit.logits[:, 1])


def test_without_a_second_class_the_strongest_other_of_the_exact_answer_is_taken() -> None:
    model, images = vit(), pictures(6)
    best, second = answer(model, images).topk(2).indices.unbind(1)
    torch.testing.assert_close(secant(model, images, best).scores, secant(model, images, best, second).scores)


def test_what_is_known_is_taken_as_it_is() -> None:
    model, images = vit(), pictures()
    plain = secant(model, images, 1, 4)
    known = secant(model, images, 1, 4, logits=plain.logits, base=plain.base)
    torch.testing.assert_close(known.scores, plain.scores)
    other = secant(model, images, 1, 4, logits=plain.logits, base=torch.tensor([5.0, -5.0]))
    assert other.base is not None and other.base.tolist() == [5, -5] and gap(other) < 1e-4
    assert bool((other.scores.sign() == plain.scores.sign()).all()), "an origin changes no sign"
    assert known.provenance.aggregation == "" and known.provenance.correction == "secant"
    assert interpret(model, images, 1, 4).log_odds is None


def test_scales_reach_every_total_and_keep_every_sign() -> None:
    terms = torch.tensor([[1.0, -2.0, 0.0, 3.0], [1.0, 2.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0], [1e-9, -1e4, 2.0, 7.0]])
    totals = torch.tensor([-7.0, 5.0, 2.0, 3.0])
    found = scaled(terms, totals)
    torch.testing.assert_close(found.double().sum(1).float(), totals, rtol=1e-4, atol=1e-3)
    assert bool((found[[0, 3]].sign() == terms[[0, 3]].sign()).all())
    torch.testing.assert_close(found[1], torch.tensor([1.5, 2.5, 0.5, 0.5]))
    torch.testing.assert_close(found[2], torch.full((4,), 0.5))
    with pytest.raises(InterpretError, match=r"image 1 of the batch .* nothing to explain"):
        scaled(torch.tensor([[1.0, 0.0], [0.0, 0.0]]), torch.tensor([0.0, 0.0]))


@cache
def digits() -> tuple[nn.Module, Tensor]:
    """The demo's trained model and eight digits."""
    model = create_glyph_vit()
    drawn = [Image.fromarray(np.uint8(image * 15.9)).convert("RGB") for image in load_digits().images[:8]]
    return model, preprocessed(model, [picture.resize((64, 64), Image.Resampling.BICUBIC) for picture in drawn])


def leave_one_out(model: nn.Module, images: Tensor, a: Tensor, b: Tensor, side: int) -> Tensor:
    """What each patch is worth: f less f without it, [B, patches]."""
    rows = torch.arange(len(images))
    exact = answer(model, images)
    drops = []
    for patch in range(side * side):
        absent = torch.zeros(len(images), side * side, dtype=torch.bool)
        absent[:, patch] = True
        left = without_patches(model, images, absent.view(-1, side, side))
        drops.append((exact - left)[rows, a] - (exact - left)[rows, b])
    return torch.stack(drops, dim=1)


def test_on_a_trained_model_it_agrees_with_leaving_patches_out() -> None:
    model, images = digits()
    a, b = answer(model, images).topk(2).indices.unbind(1)
    truth = leave_one_out(model, images, a, b, 8)
    ours = correlations(secant(model, images, a, b).scores, truth).mean()
    complete = correlations(interpret(model, images, a, b).scores, truth).mean()
    assert float(ours) > max(0.75, float(complete) + 0.1)


def test_it_depends_on_what_was_learnt() -> None:
    model, images = digits()
    a, b = answer(model, images).topk(2).indices.unbind(1)
    before = secant(model, images, a, b).scores
    for disturb in (permute_classes, shuffle_blocks):
        disturbed: Any = create_glyph_vit()
        with torch.no_grad():
            disturb(disturbed)
        after = secant(disturbed, images, a, b).scores
        assert abs(float(correlations(before, after).mean())) < 0.35, disturb


def permute_classes(model: Any) -> None:
    order = torch.roll(torch.arange(10), 3)
    model.head.weight.copy_(model.head.weight[order])
    model.head.bias.copy_(model.head.bias[order])


def shuffle_blocks(model: Any) -> None:
    model.blocks = nn.Sequential(*[model.blocks[i] for i in (3, 5, 0, 4, 1, 2)])


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "aggregation": ({"aggregation": "product"}, "aggregation='product': the correction 'secant' adds"),
    "ratio": ({"objective": "ratio"}, "objective='ratio': the correction 'secant' explains"),
    "readout": ({"readout": "mean"}, "readout='mean': a map that adds up follows what the model reads, which is 'cls'"),
    "logits": ({"logits": torch.zeros(3, 7)}, r"logits: expected finite numbers \[2, K\], got \[3, 7\]"),
    "logits with NaN": ({"logits": torch.full((2, 7), torch.nan)}, "logits: expected finite numbers"),
    "base": ({"base": torch.zeros(())}, r"base: expected finite numbers \[2\], got \[\]"),
    "target too high": ({"target": 7}, "target: class 7 is out of range, the head has classes 0 to 6"),
    "against the same": ({"against": 1}, "against: is the same class as target"),
    "head not callable": ({"head": torch.zeros(3, 32)}, "head: expected a callable"),
    "head of another shape": ({"head": lambda x: x.sum(1)}, r"head: expected logits \[2, K\], got \[2\]"),
    "head detached": ({"head": lambda x: x.detach()}, "head: its logits carry no gradient"),
    "head blind": (
        {"head": lambda x: torch.zeros(2, 7, requires_grad=True) * 1},
        "head: what it returns does not depend",
    ),
    "one value": ({"objective": lambda z: difference(z).sum()}, "must return one value per image"),
    "whole numbers": ({"logits": torch.ones(2, 7, dtype=torch.long)}, "logits: expected finite numbers"),
    "one class": ({"target": 0, "against": None, "head": lambda x: x[:, :1]}, "against: there is one class alone"),
    "infinite": ({"objective": lambda z: z[:, 0] / 0}, "its value is not finite"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_by_the_arguments_name(case: str) -> None:
    changes, message = BAD[case]
    arguments: dict[str, Any] = {"target": 1, "against": 4, **changes}
    with pytest.raises(InterpretError, match=message):
        secant(vit(), pictures(), **arguments)


@pytest.mark.parametrize(
    ("name", "arguments", "side", "reason"),
    [
        ("samvit_base_patch16_224", {**SMALL, "img_size": 64, "global_attn_indexes": ()}, 64, "windowed"),
        (
            "swin_tiny_patch4_window7_224",
            {"embed_dim": 12, "depths": (1, 1), "num_heads": (1, 1)},
            224,
            "grid of patches",
        ),
        ("vit_tiny_patch16_224", {**SMALL, "img_size": 64, "global_pool": "max"}, 64, "pooling 'max'"),
        ("vit_tiny_patch16_224", {**SMALL, "img_size": 64, "depth": 0}, 64, "0 global attention calls"),
        ("cait_xxs24_224", {"embed_dim": 32, "depth": 2, "num_heads": 2, "img_size": 64}, 64, "attention calls|tokens"),
    ],
)
def test_what_nothing_can_be_left_out_of_is_refused(name: str, arguments: Any, side: int, reason: str) -> None:
    model, images = timm.create_model(name, **arguments), torch.randn(1, 3, side, side)
    with pytest.raises(ModelError, match=reason):
        secant(model, images, 0, 1)
    with pytest.raises(ModelError, match=reason):
        without_patches(model, images, torch.ones(1, side // 16, side // 16, dtype=torch.bool))


def test_a_picture_with_nothing_to_explain_is_refused() -> None:
    model: Any = vit()
    with torch.no_grad():
        for block in model.blocks:
            block.attn.proj.weight.zero_()
    with pytest.raises(InterpretError, match=r"image 0 of the batch .* nothing to explain"):
        secant(model, pictures(), 1, 4)


def test_gradients_that_are_not_finite_are_refused() -> None:
    with pytest.raises(InterpretError, match="the map is not finite"):
        secant(vit(), pictures(), objective=lambda z: difference(z) + (z[:, 0] * 0).sqrt())


def test_the_model_is_left_as_it_was_found_and_nothing_stays() -> None:
    model, images = mixed_state_model(), pictures().requires_grad_(True)
    before, copy = state_of(model), images.detach().clone()
    kept: list[weakref.ref[Tensor]] = []

    def objective(logits: Tensor) -> Tensor:
        kept.append(weakref.ref(logits))
        return difference(logits)

    gc.collect()
    gc.disable()
    try:
        found = secant(model, images, objective=objective)
        assert all(reference() is None for reference in kept), "freed without the garbage collector"
    finally:
        gc.enable()
    torch.testing.assert_close(found.scores, secant(vit(), images.detach(), 1, 4).scores)
    assert not found.scores.requires_grad and images.grad is None and torch.equal(images.detach(), copy)
    without_patches(model, images.detach(), torch.ones(2, 4, 4, dtype=torch.bool))
    for broken in (lambda z: z[:, :, 5], lambda z: difference(z).detach()):
        with pytest.raises((InterpretError, IndexError)):
            secant(model, images, objective=broken)
    assert state_of(model) == before
