"""What a forward pass in half precision on a CPU is made of: the products of attention, and sums of two precisions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from gradattn_core.model import products
from gradattn_core.model.forward import forward
from gradattn_core.model.products import PlainProducts
from tests.helpers.explicit_maps import vit

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
