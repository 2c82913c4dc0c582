"""The backward pass of attention that carries the row, against automatic differentiation of the written-out formula."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gradattn_core.attention.backward import attention_backward
from gradattn_core.attention.columns import kept_by
from gradattn_core.attention.rows import AttentionCall, corrected_row
from gradattn_core.methods import PAPER_CORRECTIONS
from tests.helpers.explicit_maps import relative, weighted


@pytest.fixture(params=[1, 3], ids=["one thread", "three threads"])
def threads(request: pytest.FixtureRequest) -> Iterator[None]:
    """How many heads are visited together depends on the threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


def mask_of(kind: str, heads: int, queries: int, keys: int, generator: torch.Generator) -> Tensor | None:
    if kind == "none":
        return None
    noise = torch.randn(1, heads, queries, keys, generator=generator)
    return noise if kind == "added" else noise > -1


def recorded(
    shape: tuple[int, int, int, int], kind: str, dtype: torch.dtype, depth: int = 8
) -> tuple[AttentionCall, Tensor, Tensor, list[Tensor], dict[str, Tensor]]:
    """A call, ∂f/∂O, r, and the expected gradients of q, k, v and rows of every correction, in double precision."""
    batch, heads, queries, keys = shape
    generator = torch.Generator().manual_seed(9)
    q, k, v = (torch.randn(batch, heads, n, depth, generator=generator).to(dtype) for n in (queries, keys, keys))
    mask = mask_of(kind, heads, queries, keys, generator)
    gradient = torch.randn(q.shape, generator=generator).to(dtype)
    row = torch.randn(batch, queries, generator=generator)
    added = mask.to(dtype) if mask is not None and kind == "added" else mask
    fast = [tensor.clone().requires_grad_(True) for tensor in (q, k, v)]
    output = F.scaled_dot_product_attention(fast[0], fast[1], fast[2], attn_mask=added)
    logsumexp = output.grad_fn._saved_logsumexp  # type: ignore[union-attr]
    expanded = None if mask is None else mask.expand(shape)
    call = AttentionCall(q, k, v, expanded, depth**-0.5, output.detach(), logsumexp.detach(), "tiles", kept_by(output))

    exact = [tensor.double().clone().requires_grad_(True) for tensor in (q, k, v)]
    scores = exact[0] @ exact[1].mT / math.sqrt(depth)
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf) if kind == "kept" else scores + mask
    maps = scores.softmax(-1)
    of_maps, *gradients = torch.autograd.grad(((maps @ exact[2]) * gradient).sum(), (maps, *exact))
    rows = {
        c: torch.einsum("bi,bhij->bj", row.double(), weighted(c, maps, of_maps) * maps) / heads
        for c in PAPER_CORRECTIONS
    }
    return call, gradient, row, gradients, rows


@pytest.mark.parametrize("kind", ["none", "added", "kept"])
@pytest.mark.parametrize("shape", [(2, 3, 300, 600), (3, 2, 40, 40), (5, 2, 1, 20)], ids=str)
@pytest.mark.usefixtures("threads")
def test_gradients_and_rows_are_those_of_the_written_out_formula(shape: tuple[int, int, int, int], kind: str) -> None:
    for dtype, tolerance in ((torch.float64, 1e-6), (torch.float32, 2e-5), (torch.bfloat16, 4e-2)):
        call, gradient, row, gradients, rows = recorded(shape, kind, dtype)
        for correction in PAPER_CORRECTIONS:
            found, followed = attention_backward(call, gradient, row, correction, shape[2])
            assert found is not None and followed.dtype == torch.float32
            for one, expected in zip(found, gradients, strict=True):
                assert one.dtype == dtype
                assert relative(one, expected) < tolerance
            assert relative(followed, rows[correction].detach()) < tolerance
            alone, same = attention_backward(call, gradient, row, correction, shape[2], inputs=False)
            assert alone is None and torch.equal(same, followed)
            beside = corrected_row(call, gradient, row, slice(0, shape[2]), correction)
            assert relative(beside, followed) < max(tolerance, 1e-5)


def test_queries_without_gradient_need_no_visit() -> None:
    call, gradient, row, _, _ = recorded((2, 2, 300, 300), "none", torch.float32)
    gradient[:, :, 3:] = 0
    whole, few = (attention_backward(call, gradient, row, "complete", queries) for queries in (300, 3))
    assert whole[0] is not None and few[0] is not None
    for one, other in zip((*whole[0], whole[1]), (*few[0], few[1]), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    assert float(few[0][0][:, :, 3:].abs().max()) == 0
