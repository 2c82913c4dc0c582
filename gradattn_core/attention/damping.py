"""Damped gradients: of every term by which an operation changes its own gain, a share α is kept.

A layer norm divides by the spread of its input, a GELU multiplies by a gate that depends on its input. The gradient of
such a gain holds in an instant only: half the picture away, it points elsewhere. With the share α of it

* layer norm and RMS norm: ∂x = r·(g − ⟨g⟩ − α·h·⟨g h⟩), h the normalised input, r one over its spread;
* GELU and SiLU, y = x·φ(x): ∂x = g·(φ + α·x·φ'), α of the tangent and 1 − α of the secant from zero, y/x = φ;
* what is written out with a sigmoid (quick GELU) or a reciprocal root (a norm): α of the gradient through that.

α = 1 is the gradient, α = 0 the frozen linearisation of AttnLRP and its kin. Values are never changed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def damped(tensor: Tensor, share: float) -> Tensor:
    """The same values; the gradient is multiplied by ``share``."""
    result: Tensor = _Damped.apply(tensor, share)
    return result


class _Damped(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, tensor: Tensor, share: float) -> Tensor:
        context.share = share
        return tensor.view_as(tensor)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0] * context.share, None


class _LayerNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        context: Any,
        share: float,
        x: Tensor,
        shape: Sequence[int],
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        eps: float = 1e-5,
    ) -> Tensor:
        result, mean, rstd = torch.native_layer_norm(x, shape, weight, bias, eps)
        # The damped term is the one that is quadratic in h: torch's own backward pass makes it from √α·h.
        centre = mean.to(x.dtype)
        context.save_for_backward(torch.lerp(centre, x, math.sqrt(share)), centre.to(mean.dtype), rstd, weight, bias)
        context.shape = shape
        return result

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, mean, rstd, weight, bias = context.saved_tensors
        found = torch.ops.aten.native_layer_norm_backward(
            gradients[0], x, context.shape, mean, rstd, weight, bias, [True, False, False]
        )
        return None, found[0], None, None, None, None


class _RmsNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        context: Any,
        share: float,
        x: Tensor,
        shape: Sequence[int],
        weight: Tensor | None = None,
        eps: float | None = None,
    ) -> Tensor:
        context.save_for_backward(x, weight)
        context.share, context.axes = share, tuple(range(-len(shape), 0))
        context.eps = torch.finfo(x.dtype).eps if eps is None else eps
        return torch.rms_norm(x, list(shape), weight, eps)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = context.saved_tensors
        wide = torch.promote_types(x.dtype, torch.float32)
        gradient = gradients[0].to(wide) if weight is None else gradients[0].to(wide) * weight
        r = (x.to(wide).square().mean(context.axes, keepdim=True) + context.eps).rsqrt()
        h = x * r
        scale = (gradient * h).mean(context.axes, keepdim=True) * context.share
        return None, (r * (gradient - h * scale)).to(x.dtype), None, None, None


class _Gelu(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, share: float, x: Tensor, approximate: str = "none") -> Tensor:
        context.save_for_backward(x)
        context.share, context.approximate = share, approximate
        return F.gelu(x, approximate=approximate)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = context.saved_tensors
        gradient, rest = gradients[0], 1 - context.share
        result = torch.ops.aten.gelu_backward(gradient, x, approximate=context.approximate).mul_(context.share)
        if context.approximate == "tanh":
            gate = torch.addcmul(x, x.square(), x, value=0.044715).mul_(math.sqrt(2 / math.pi)).tanh_()
        else:
            gate = (x * math.sqrt(0.5)).erf_()
        # φ = ½ (1 + gate)
        result.add_(gradient, alpha=rest / 2).addcmul_(gradient, gate, value=rest / 2)
        return None, result, None


class _Silu(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, share: float, x: Tensor, inplace: bool = False) -> Tensor:
        context.save_for_backward(x)
        context.share = share
        return F.silu(x)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = context.saved_tensors
        result = torch.ops.aten.silu_backward(gradients[0], x).mul_(context.share)
        return None, result.addcmul_(gradients[0], x.sigmoid(), value=1 - context.share), None


def _of_layer_norm(
    share: float,
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Any:
    return _LayerNorm.apply(share, input, normalized_shape, weight, bias, eps)


def _of_rms_norm(
    share: float,
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Any:
    return _RmsNorm.apply(share, input, normalized_shape, weight, eps)


def _of_gelu(share: float, input: Tensor, approximate: str = "none") -> Any:
    return _Gelu.apply(share, input, approximate)


def _of_silu(share: float, input: Tensor, inplace: bool = False) -> Any:
    return _Silu.apply(share, input)


def _of_sigmoid(share: float, input: Tensor) -> Tensor:
    return torch.sigmoid(damped(input, share))


def _of_rsqrt(share: float, input: Tensor) -> Tensor:
    return torch.rsqrt(damped(input, share))


DAMPED: dict[Callable[..., Any], Callable[..., Any]] = {
    F.layer_norm: _of_layer_norm,
    F.rms_norm: _of_rms_norm,
    F.gelu: _of_gelu,
    F.silu: _of_silu,
    torch.sigmoid: _of_sigmoid,
    Tensor.sigmoid: _of_sigmoid,
    torch.rsqrt: _of_rsqrt,
    Tensor.rsqrt: _of_rsqrt,
}
"""For a function of torch one of the same arguments after α, with damped gradients."""
