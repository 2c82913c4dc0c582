"""A half copy of a model: it says what autocast says without its casts; none of weights that would lose digits."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from gradattn_core.model import half
from gradattn_core.model.forward import Forward, _forward
from gradattn_core.model.half import half_copy, release_half_copies
from tests.helpers.explicit_maps import tiny

SMALL: dict[str, Any] = {"embed_dim": 32, "depth": 3, "num_heads": 2, "img_size": 64}
# What is peculiar: two kinds of biases beside q and v, rotary angles, a pool, batch-free stems, registers, two heads.
FAMILIES = {
    "vit": "vit_tiny_patch16_224",
    "beit": "beit_base_patch16_224",
    "eva02": "eva02_base_patch16_clip_224",
    "dinov3": "vit_small_patch16_dinov3",
    "siglip": "vit_base_patch16_siglip_224",
    "hybrid": "vit_tiny_r_s16_p8_224",
    "relpos": "vit_relpos_small_patch16_224",
    "distilled": "deit_tiny_distilled_patch16_224",
}
HALVES = {"float16": torch.float16, "bfloat16": torch.bfloat16}


@pytest.fixture(autouse=True)
def none_stays() -> Iterator[None]:
    yield
    release_half_copies()


def family(key: str) -> tuple[nn.Module, Tensor]:
    generator = torch.Generator().manual_seed(3)
    return tiny(FAMILIES[key], **SMALL).float().requires_grad_(False), torch.randn(4, 3, 64, 64, generator=generator)


def off(found: Forward, exact: Forward, name: str) -> float:
    one, two = getattr(found, name), getattr(exact, name)
    assert one.dtype == torch.float32 and one.shape == two.shape
    return float((one - two).norm() / two.norm())


@pytest.mark.parametrize("precision", HALVES)
@pytest.mark.parametrize("key", FAMILIES)
def test_a_copy_is_as_near_to_float32_as_autocast_is(key: str, precision: str) -> None:
    model, images = family(key)
    assert half_copy(model, HALVES[precision]) is not None
    exact, cast = _forward(model, images, "float32")(), _forward(model, images, precision)()
    copied = _forward(model, images, precision, by_copy=True)()
    assert copied.precision == precision and not torch.equal(copied.features, cast.features)
    for name in ("logits", "readout", "features"):
        # Roundings of three blocks; a number in a wrong place would be off by about one.
        assert off(copied, exact, name) < max(4 * off(cast, exact, name), 8 * torch.finfo(HALVES[precision]).eps)
    assert {each.dtype for each in model.parameters()} == {torch.float32}


class Casts(TorchDispatchMode):
    """Counts what is made of numbers of one precision in another."""

    casts = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        # Inference mode shows "to", which is one cast or nothing; elsewhere "_to_copy" is shown, which is one.
        casts = function.overloadpacket in (torch.ops.aten.to, torch.ops.aten._to_copy)
        self.casts += casts and result.dtype != args[0].dtype
        return result


def test_no_weight_is_cast_at_a_pass() -> None:
    model, images = family("vit")
    half_copy(model, torch.float16)
    counted = {by_copy: Casts() for by_copy in (False, True)}  # type: ignore[no-untyped-call]
    for by_copy, casts in counted.items():
        with casts:
            _forward(model, images, "float16", by_copy)
    weights = sum(isinstance(module, nn.Linear | nn.Conv2d) for module in model.modules())
    # The images; class token and patches after the second and the last block; logits and readout.
    assert counted[True].casts == 1 + 2 * 2 + 2
    assert counted[False].casts > 2 * weights + counted[True].casts


def test_a_copy_takes_two_bytes_a_number_and_is_gone_with_its_model_or_when_it_is_let_go() -> None:
    model, _ = family("vit")
    made = half_copy(model, torch.float16)
    assert made is not None and made is half_copy(model, torch.float16)
    bytes_of = [sum(each.nbytes for each in one.parameters()) for one in (model, made)]
    assert bytes_of[1] * 2 == bytes_of[0]
    seen = weakref.ref(made)
    del made
    release_half_copies()
    gc.collect()
    assert seen() is None
    assert half_copy(model, torch.float16) is not None and len(half._copies._made) == 1
    del model
    gc.collect()
    assert not half._copies._made


def test_a_weight_that_changes_makes_another_copy() -> None:
    model, images = family("vit")
    before = _forward(model, images, "bfloat16", by_copy=True)()
    model.get_parameter("blocks.1.mlp.fc1.weight").mul_(2)
    after = _forward(model, images, "bfloat16", by_copy=True)()
    assert not torch.equal(before.logits, after.logits)
    assert off(after, _forward(model, images, "float32")(), "logits") < 0.1


@pytest.mark.parametrize(("factor", "precision"), [(1e7, "float16"), (1e-7, "float16"), (torch.inf, "bfloat16")])
def test_weights_for_which_half_precision_has_no_digits_are_not_copied(factor: float, precision: str) -> None:
    model, images = family("vit")
    model.get_parameter("blocks.1.attn.proj.bias").mul_(factor)
    assert half_copy(model, HALVES[precision]) is None
    found, cast = _forward(model, images, precision, by_copy=True)(), _forward(model, images, precision)()
    torch.testing.assert_close(found.logits, cast.logits, rtol=0, atol=0, equal_nan=True)
    assert factor > 1 or half_copy(model, torch.bfloat16) is not None, "which has the digits of small numbers"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("key", FAMILIES)
def test_a_gpu_s_copy_says_what_a_cpu_says_and_its_memory_comes_back(key: str) -> None:
    model, images = family(key)
    exact = _forward(model, images, "float32")()
    model, images = model.cuda(), images.cuda()

    def released() -> int:
        release_half_copies()
        gc.collect()
        return torch.cuda.memory_allocated()

    # What the libraries keep for themselves is there after the first pass.
    _forward(model, images, "float16", by_copy=True)()
    before = released()
    found = _forward(model, images, "float16", by_copy=True)()
    assert off(found, exact, "features") < 0.02
    assert torch.cuda.memory_allocated() > before >= released()
