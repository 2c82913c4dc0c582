"""The row in columns of torch's own backward pass: its formula, each kernel's operator, what is tried out first."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradattn_core.attention import columns, routes
from gradattn_core.attention.columns import CORRECTIONS, FUSED, columns_backward, kept_by
from gradattn_core.attention.routes import choose_route, only
from gradattn_core.attention.rows import AttentionCall, Kept
from gradattn_core.interpret.maps import interpret
from gradattn_core.methods import AGGREGATIONS
from tests.attention.test_backward import recorded
from tests.helpers.explicit_maps import relative, tiny


@pytest.fixture(autouse=True)
def untried() -> Iterator[None]:
    routes._tried.clear()
    yield
    routes._tried.clear()


def small() -> tuple[nn.Module, Tensor]:
    model = tiny("vit_tiny_patch16_224", embed_dim=32, depth=3, num_heads=2, img_size=64).float()
    return model, torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("kind", ["none", "added", "kept"])
@pytest.mark.parametrize("shape", [(2, 3, 197, 197), (5, 2, 1, 20), (1, 2, 33, 70)], ids=str)
def test_gradients_and_rows_are_those_of_the_written_out_formula(shape: tuple[int, int, int, int], kind: str) -> None:
    for depth in (8, 32, 80):
        for dtype, tolerance in ((torch.float64, 1e-6), (torch.float32, 2e-5), (torch.float16, 5e-3)):
            call, gradient, row, gradients, rows = recorded(shape, kind, dtype, depth)
            for correction in CORRECTIONS:
                found, followed = columns_backward(call, gradient, row, correction)
                assert followed.dtype == torch.float32 and followed.shape == (shape[0], shape[3])
                assert relative(followed, rows[correction].detach()) < tolerance
                for one, expected in zip(found, gradients, strict=True):
                    assert one.dtype == dtype and relative(one, expected) < tolerance


def test_a_row_of_any_size_and_of_zeros_is_carried_in_half_precision() -> None:
    call, gradient, row, _, rows = recorded((2, 2, 40, 40), "none", torch.float16, 32)
    row[1] = 0
    for size in (1e-6, 1e6):
        for correction in CORRECTIONS:
            _, followed = columns_backward(call, gradient, row * size, correction)
            assert relative(followed[0] / size, rows[correction].detach()[0]) < 5e-3
            assert not followed[1].any()


def test_the_columns_leave_the_gradients_as_they_are_to_the_last_bit() -> None:
    generator = torch.Generator().manual_seed(5)
    q, k, v = (torch.randn(2, 3, 50, 64, generator=generator).requires_grad_(True) for _ in range(3))
    output = F.scaled_dot_product_attention(q, k, v)
    gradient, row = torch.randn(output.shape, generator=generator), torch.randn(2, 50, generator=generator)
    call = AttentionCall(
        q.detach(), k.detach(), v.detach(), None, 64**-0.5, output.detach(), None, "columns", kept_by(output)
    )
    found, _ = columns_backward(call, gradient, row, "complete")
    for one, other in zip(found, torch.autograd.grad(output, (q, k, v), gradient), strict=True):
        assert torch.equal(one, other)


FORWARD: dict[str, tuple[Any, tuple[Any, ...], torch.dtype]] = {
    "flash": (torch.ops.aten._scaled_dot_product_flash_attention, (), torch.float16),
    "efficient": (torch.ops.aten._scaled_dot_product_efficient_attention, (None, True), torch.float32),
    "cudnn": (torch.ops.aten._scaled_dot_product_cudnn_attention, (None, True), torch.bfloat16),
}


@pytest.mark.parametrize("name", FORWARD)
def test_the_operators_of_a_gpu_take_the_columns(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On torch's device without numbers: what each node keeps, and the arguments and shapes of its backward pass."""
    # That device has no autocast to be turned off.
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
    operator, arguments, dtype = FORWARD[name]
    q, k, v = (torch.empty(2, 3, 197, 64, dtype=dtype, device="meta", requires_grad=True) for _ in range(3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        output = operator(q, k, v, *arguments)[0]
    kept = kept_by(output)
    assert kept is not None and kept.kernel == name
    assert kept.logsumexp(197).shape == (2, 3, 197)
    call = AttentionCall(q.detach(), k.detach(), v.detach(), None, 0.125, output.detach(), None, "columns", kept)
    gradients, row = columns_backward(call, output.detach(), torch.empty(2, 197, device="meta"), "complete")
    assert row.shape == (2, 197) and row.dtype == torch.float32
    assert all(each.shape == (2, 3, 197, 64) and each.dtype == dtype for each in gradients)


def test_room_behind_the_last_query_and_an_axis_more_are_left_out() -> None:
    values = torch.arange(24.0).view(1, 2, 12)
    for statistics in (values, values[..., None]):
        assert torch.equal(Kept("any", statistics, (), lambda: ()).logsumexp(5), values[..., :5])


@pytest.mark.parametrize("correction", CORRECTIONS)
@pytest.mark.parametrize("pool", ["token", "avg"])
def test_a_map_that_rides_in_columns_is_the_same_map(correction: str, pool: str) -> None:
    model, images = small()
    if pool == "avg":
        model = tiny("vit_medium_patch16_reg4_gap_256", embed_dim=32, depth=3, num_heads=2, img_size=64).float()
    for aggregation in AGGREGATIONS:
        expected = interpret(model, images, 0, 3, correction=correction, aggregation=aggregation)
        with only("columns"):
            found = interpret(model, images, 0, 3, correction=correction, aggregation=aggregation)
        assert float((found.scores - expected.scores).abs().max()) < 2e-5 * float(expected.scores.abs().max())
    assert list(routes._tried.values()) == [True], "tried out once"


def a_call() -> AttentionCall:
    return replace(recorded((1, 2, 20, 20), "none", torch.float32, 16)[0], logsumexp=None)


@pytest.mark.parametrize("fault", ["another logarithm", "other gradients", "other arguments", "not finite"])
def test_a_kernel_that_is_not_as_expected_is_found_out_and_not_used(
    fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What only a GPU could show: layouts and conventions of kernels of other versions of torch."""
    name = "ScaledDotProductFlashAttentionForCpuBackward0"
    own = FUSED[name].backward

    def broken(g: Tensor, q: Tensor, k: Tensor, v: Tensor, o: Tensor, lse: Tensor, others: Any, scale: float) -> Any:
        if fault == "other arguments":
            raise RuntimeError("expected 14 arguments")
        lse = lse / 0.6931 if fault == "another logarithm" else lse
        result = own(g, q, k, v, o, lse, others, scale)
        factor = {"other gradients": 1.1, "not finite": float("nan")}.get(fault, 1.0)
        return (result[0] * factor, *result[1:])

    model, images = small()
    expected = interpret(model, images, 0, 3).scores
    monkeypatch.setitem(columns.FUSED, name, replace(FUSED[name], backward=broken))
    with only("columns"):
        found = interpret(model, images, 0, 3).scores
    assert list(routes._tried.values()) == [False], "and is not tried again"
    assert float((found - expected).abs().max()) < 2e-5 * float(expected.abs().max())


def test_memory_that_runs_out_in_the_trial_is_no_fault_of_the_route(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(routes, "columns_backward", full)
    with only("columns"), pytest.raises(torch.OutOfMemoryError):
        choose_route(a_call(), "complete", replaces=True)
    monkeypatch.undo()
    with only("columns"):
        assert choose_route(a_call(), "complete", replaces=True).route == "columns"


def test_which_route_is_taken_where(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretended: this CPU is a GPU with units, or an older one. Whatever is not told what it is for stays as it was."""
    call = a_call()
    whole = replace(call, logsumexp=torch.zeros(1, 2, 20))
    assert choose_route(whole, "complete", replaces=True).route == "tiles"
    assert choose_route(whole, "", replaces=True).route == "tiles"
    assert choose_route(whole, "complete", replaces=False).route == "blocks", "a mask that wants a gradient"
    assert choose_route(call, "complete", replaces=True).route == "blocks", "a card of before Ampere"
    assert not routes._tried, "nothing is tried out where it is not used"
    monkeypatch.setattr(routes, "computes_tf32", lambda device: True)
    monkeypatch.setattr(routes, "_works", lambda route, *_: True)
    assert choose_route(call, "complete", replaces=True).route == "columns"
    assert choose_route(call, "complete", replaces=False).route == "kernel"
    assert choose_route(call, "positive", replaces=True).route == "kernel"
    assert choose_route(call, "", replaces=True).route == "blocks"
    deep = replace(call, query=torch.empty(1, 2, 20, 160))
    assert choose_route(deep, "centred", replaces=True).route == "kernel", "kernels have no room for more columns"
    assert choose_route(replace(call, kept=None), "centred", replaces=True).route == "blocks", "an unknown kernel"
    monkeypatch.setattr(routes, "_works", lambda route, *_: route != "columns")
    assert choose_route(call, "complete", replaces=True).route == "kernel"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
@pytest.mark.parametrize("backend", ["FLASH_ATTENTION", "EFFICIENT_ATTENTION", "CUDNN_ATTENTION"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_a_gpu_s_kernels_carry_the_row(backend: str, dtype: torch.dtype) -> None:
    """Each kernel that takes such numbers passes its trial and gives the row of this CPU in double precision."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    if dtype == torch.float32 and backend != "EFFICIENT_ATTENTION":
        pytest.skip(f"{backend} has no float32")
    for tokens in (197, 785, 1765):
        shape = (2, 6, tokens, tokens)
        exact, gradient, row, gradients, rows = recorded(shape, "none", torch.float64, 64)
        sources = [each.to("cuda", dtype).requires_grad_(True) for each in (exact.query, exact.key, exact.value)]
        with sdpa_kernel(getattr(SDPBackend, backend)):
            output = F.scaled_dot_product_attention(sources[0], sources[1], sources[2])
            kept = kept_by(output)
            query, key, value = (each.detach() for each in sources)
            call = AttentionCall(query, key, value, None, 0.125, output.detach(), None, "blocks", kept)
            assert choose_route(call, "complete", replaces=True).route == "columns"
        tolerance = {torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}[dtype]
        for correction in CORRECTIONS:
            found, followed = columns_backward(call, gradient.to("cuda", dtype), row.cuda(), correction)
            assert relative(followed.cpu(), rows[correction].detach()) < tolerance
            for one, expected in zip(found, gradients, strict=True):
                assert relative(one.cpu(), expected) < tolerance
