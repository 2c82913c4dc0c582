"""Linear layers in float32 on a CPU by oneDNN, where the library that torch takes for them is the slow one.

Torch carries two libraries of matrix products. On x86 it gives those of float32 to Intel's MKL, which on other makers'
processors with AVX-512 uses half of its width; oneDNN, which it takes for convolutions and for bfloat16, uses all of
it and is twice as fast. Values are the same to the rounding of sums, ∂ of input, weight and bias too.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.overrides import TorchFunctionMode

_FEWEST = 1 << 22
"""Multiplications of a product that are worth the call: below it gains little, and far below it costs."""


@lru_cache(maxsize=1)
def multiplies_faster() -> bool:
    """Whether oneDNN is the faster one here: MKL is there, and a processor with AVX-512 that is not Intel's."""
    if not (torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available()):
        return False
    if not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return False
    # SSE4a is AMD's own.
    can = torch.cpu.get_capabilities()
    return bool(can.get("avx512_f")) and bool(can.get("sse4a"))


@contextmanager
def linear_by_onednn() -> Iterator[None]:
    """Within it this thread's linear layers in float32 on a CPU go to oneDNN where that is faster, else to torch.

    What autocast, a functorch transform, forward-mode differentiation or a compiler has in hand is left to torch, and
    so are tensors of other kinds and small products.
    """
    if not multiplies_faster() or _thread.inside:
        yield
        return
    _thread.inside = True
    try:
        with OneDnnLinear():
            yield
    finally:
        _thread.inside = False


@contextmanager
def linear_by_torch() -> Iterator[None]:
    """Within it :func:`linear_by_onednn` changes nothing in this thread: what a measurement compares with."""
    before, _thread.plain = _thread.plain, True
    try:
        yield
    finally:
        _thread.plain = before


class _Thread(threading.local):
    inside = False
    plain = False


_thread = _Thread()


class OneDnnLinear(TorchFunctionMode):
    """The mode of :func:`linear_by_onednn`."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        answer = _linear if func is F.linear and not _thread.plain else func
        return answer(*args, **kwargs)


def _linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    if torch.compiler.is_compiling() or not _suits(input, weight, bias):
        return F.linear(input, weight, bias)
    input = input.contiguous()
    learns = input.requires_grad or weight.requires_grad or (bias is not None and bias.requires_grad)
    if torch.is_grad_enabled() and learns:
        result: Tensor = _Linear.apply(input, weight, bias)
        return result
    return _product(input, weight, bias)


def _suits(input: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    tensors = (input, weight) if bias is None else (input, weight, bias)
    return (
        all(type(each) in (Tensor, nn.Parameter) for each in tensors)
        and all(each.dtype == torch.float32 and each.is_cpu and each.layout == torch.strided for each in tensors)
        and weight.ndim == 2
        # Of parts of a weight it takes a slow way.
        and (weight.is_contiguous() or weight.t().is_contiguous())
        and input.ndim > 1
        and input.shape[-1] == weight.shape[1]
        and input.numel() * len(weight) >= _FEWEST
        and (bias is None or (bias.shape == weight.shape[:1] and bias.is_contiguous()))
        and bool(torch.backends.mkldnn.enabled)
        and not torch.is_autocast_enabled("cpu")
        and not torch._C._are_functorch_transforms_active()
        and all(forward_ad.unpack_dual(each).tangent is None for each in tensors)
    )


def _product(rows: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """rows [..., in] · weightᵀ [in, out] + bias; either may be a matrix that lies the other way round in memory."""
    result: Tensor = torch.ops.mkldnn._linear_pointwise.default(rows, weight, bias, "none", [], "")
    return result


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        # As torch's own: what no gradient needs is not kept.
        of_input, of_weight, _ = context.needs_input_grad
        context.save_for_backward(input if of_weight else None, weight if of_input else None)
        return _product(input, weight, bias)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        input, weight = context.saved_tensors
        # With a graph of its own the backward pass is made of torch's products, which can be differentiated.
        multiply = F.linear if torch.is_grad_enabled() else _product
        rows = gradient.flatten(0, -2).contiguous()
        result: list[Tensor | None] = [None, None, None]
        if weight is not None:
            result[0] = multiply(rows, weight.t()).view(*gradient.shape[:-1], weight.shape[1])
        if input is not None:
            result[1] = multiply(rows.t(), input.flatten(0, -2).t())
        if context.needs_input_grad[2]:
            result[2] = rows.sum(dim=0)
        return tuple(result)
