"""What a forward pass in half precision on a CPU is made of: layers, the products of attention, sums."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from timm.layers import Mlp, SwiGLUPacked
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from gradattn_core.model import half, products
from gradattn_core.model.forward import forward
from gradattn_core.model.half import half_layers, release_half_copies
from gradattn_core.model.products import PlainProducts
from tests.helpers.explicit_maps import tiny, vit

HALF = torch.bfloat16


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def attended(query: Tensor, key: Tensor, value: Tensor, **more: Any) -> Tensor:
    with PlainProducts(HALF):
        return F.scaled_dot_product_attention(query, key, value, **more)


@pytest.mark.parametrize(
    ("batch", "heads", "queries", "keys", "width"),
    [(1, 1, 1, 1, 8), (5, 3, 197, 197, 64), (3, 2, 50, 50, 48), (2, 4, 1, 65, 80), (7, 1, 17, 33, 20)],
)
def test_attention_is_as_near_to_the_exact_one_as_the_rounding_of_its_products(
    batch: int, heads: int, queries: int, keys: int, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Of two pictures at a time, and one is left over.
    monkeypatch.setattr(products, "_ROOM", 2 * heads * queries * keys)
    query, key, value = (drawn(batch, heads, n, width, seed=n).to(HALF) for n in (queries, keys, keys))
    found = attended(query, key, value)
    scores = query.double() @ key.double().transpose(-2, -1) / math.sqrt(width)
    exact = scores.softmax(dim=-1) @ value.double()
    assert found.dtype == HALF and found.shape == exact.shape
    # Half a step of 8 bits in each score and each weight, and in the result.
    step = 2.0**-8
    most = step * (2 * float(scores.abs().max()) + 2) * float(value.abs().max())
    assert float((found.double() - exact).abs().max()) < most
    assert float((found.double() - exact).square().mean().sqrt()) < 2 * step
    assert torch.equal(attended(query.float(), key.float(), value.float()), found), (
        "float32 becomes half, as by autocast"
    )


def test_a_scale_is_kept() -> None:
    query, key, value = (drawn(2, 2, 9, 16, seed=n).to(HALF) for n in range(3))
    exact = (query.double() @ key.double().transpose(-2, -1) * 0.5).softmax(dim=-1) @ value.double()
    assert float((attended(query, key, value, scale=0.5).double() - exact).abs().max()) < 0.05


@pytest.mark.parametrize(
    "more",
    [{"attn_mask": torch.eye(9, dtype=torch.bool)}, {"is_causal": True}, {"attn_mask": drawn(9, 9)}],
    ids=["allowed", "causal", "added"],
)
def test_what_asks_for_more_is_left_to_torch(more: dict[str, Any]) -> None:
    query, key, value = (drawn(2, 2, 9, 16, seed=n) for n in range(3))
    plain = F.scaled_dot_product_attention(query, key, value, **more)
    assert torch.equal(attended(query, key, value, **more), plain)


@pytest.mark.parametrize(("one", "other"), [(torch.float32, HALF), (HALF, torch.float32), (HALF, HALF)])
def test_sums_are_the_same_to_the_bit(one: torch.dtype, other: torch.dtype) -> None:
    a, b = drawn(3, 5, 7).to(one), drawn(3, 5, 7, seed=1).to(other)
    plain = a + b
    with PlainProducts(HALF):
        assert torch.equal(a + b, plain) and torch.equal(a.add(b), plain) and torch.equal(torch.add(a, b), plain)
        assert torch.equal(a + 1, a.add(1)) and (a + b).dtype == plain.dtype


class Fused(TorchFunctionMode):
    """Counts calls of torch's fused attention."""

    calls = 0

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.calls += func is F.scaled_dot_product_attention
        return func(*args, **(kwargs or {}))


def test_only_a_sweep_in_bfloat16_on_a_cpu_is_computed_so() -> None:
    model = vit().float()
    images = drawn(3, 3, 64, 64)
    calls = {}
    for precision in ("bfloat16", "float32"):
        with Fused() as fused:
            forward(model, images, precision)
        calls[precision] = fused.calls
    blocks = len(model.blocks)  # type: ignore[arg-type]
    assert calls == {"bfloat16": 0, "float32": blocks}


def test_a_picture_has_the_same_numbers_in_any_batch_and_with_any_number_of_threads() -> None:
    model = vit().float()
    images = drawn(6, 3, 64, 64)
    threads = torch.get_num_threads()
    found = forward(model, images, "bfloat16").features
    try:
        torch.set_num_threads(2 if threads == 1 else 1)
        assert torch.equal(forward(model, images, "bfloat16").features, found)
    finally:
        torch.set_num_threads(threads)
    one = forward(model, images[2:3], "bfloat16").features
    assert float((one - found[2:3]).norm() / one.norm()) < 0.02


has_units = pytest.mark.skipif(not half_layers(nn.Linear(1, 1)), reason="no x86 processor with units for bfloat16")


class Calls(TorchDispatchMode):
    """Counts what is computed, by its name."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.of: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.of[str(func).split(".")[1]] += 1
        return func(*args, **(kwargs or {}))


@has_units
@pytest.mark.parametrize("gelu", ["none", "tanh", ""])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(3, 17, 48), (5, 48), (1, 2, 3, 48)])
def test_a_layer_and_the_gelu_behind_it_are_as_near_as_rounding(gelu: str, bias: bool, shape: tuple[int, ...]) -> None:
    act = {"none": nn.GELU, "tanh": lambda: nn.GELU("tanh"), "": nn.SiLU}[gelu]
    block = Mlp(48, 96, 32, act_layer=act, bias=bias).eval().requires_grad_(False)
    rows = drawn(*shape)
    with torch.inference_mode(), torch.autocast("cpu", HALF), Calls() as calls:
        with PlainProducts(HALF, half_layers(block)):
            found = block(rows)
        assert (calls.of["_linear_pointwise"], calls.of["gelu"]) == (2, 0)
        plain = block(rows)
    exact = block.double()(rows.double())
    assert found.shape == exact.shape and found.dtype == plain.dtype == HALF
    off, was = (float((each.double() - exact).norm() / exact.norm()) for each in (found, plain))
    assert off < 2.0**-7 and off < 1.2 * was


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_batch_is_the_same_as_its_parts(precision: str) -> None:
    model = vit().float()
    images = drawn(19, 3, 64, 64)
    whole, parts = forward(model, images, precision), [forward(model, some, precision) for some in images.split(8)]
    for name in ("logits", "readout", "features"):
        assert torch.equal(getattr(whole, name), torch.cat([getattr(part, name) for part in parts]))
    assert whole.precision == precision and len(whole.features) == 19


@has_units
def test_whoever_looks_between_layer_and_gelu_sees_what_is_there() -> None:
    block = Mlp(48, 96).eval().requires_grad_(False)
    seen: list[Tensor] = []
    block.fc1.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    with torch.inference_mode(), torch.autocast("cpu", HALF), PlainProducts(HALF, half_layers(block)):
        answer = block(drawn(3, 48))
    assert float(seen[0].min()) < -0.5
    assert float((answer.float() - block(drawn(3, 48))).abs().max()) < 0.02


@has_units
def test_a_bias_of_ones_own_and_rows_of_none() -> None:
    layer = nn.Linear(48, 96).requires_grad_(False)
    other = drawn(96, seed=3)
    with torch.inference_mode(), torch.autocast("cpu", HALF), PlainProducts(HALF, half_layers(layer)):
        found = F.linear(drawn(5, 48), weight=layer.weight, bias=other)
        assert layer(drawn(0, 48)).shape == (0, 96) and layer(drawn(48)).shape == (96,)
        assert F.linear(drawn(5, 48), layer.weight.clone()).dtype == HALF
    assert float((found.float() - F.linear(drawn(5, 48), layer.weight, other)).abs().max()) < 0.05


@has_units
def test_a_pass_casts_its_weights_once_and_changed_ones_anew() -> None:
    model = vit().float()
    images = drawn(3, 3, 64, 64)
    before = forward(model, images, "bfloat16")
    layers = half_layers(model)
    with Calls() as calls:
        assert torch.equal(forward(model, images, "bfloat16").features, before.features)
    linear = sum(type(module) is nn.Linear for module in model.modules())
    assert half_layers(model) is layers and len(layers) == linear
    assert (calls.of["_linear_pointwise"], calls.of["gelu"], calls.of["addmm"]) == (linear, 0, 0)
    exact = forward(model, images)
    assert float((before.features - exact.features).norm() / exact.features.norm()) < 0.02
    with torch.no_grad():
        model.head.bias += 1  # type: ignore[operator, union-attr]
    assert float((forward(model, images, "bfloat16").logits - before.logits - 1).abs().max()) < 0.05
    assert half_layers(model) is not layers
    release_half_copies()
    assert model not in half._layers._made


@has_units
@pytest.mark.parametrize("name", ["eva02_base_patch16_clip_224", "eva02_tiny_patch14_224", "vit_tiny_patch16_224"])
def test_gated_blocks_are_computed_right_too(name: str) -> None:
    more: dict[str, Any] = {"mlp_layer": SwiGLUPacked, "act_layer": nn.SiLU} if name.startswith("vit") else {}
    model = tiny(name, img_size=64, patch_size=16, embed_dim=32, depth=2, num_heads=2, **more).float()
    exact, found = (forward(model, drawn(3, 3, 64, 64), way).features for way in ("float32", "bfloat16"))
    assert float((found - exact).norm() / exact.norm()) < 0.02
