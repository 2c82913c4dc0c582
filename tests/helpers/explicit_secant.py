"""The slow twin of the secant: explicit softmaxes with key weights, every matrix held, torch's own automatic gradients.

It shares no code with the engine. Attention runs unfused; a gain that is damped is written as α·x + (1 − α)·x.detach().
For the tests only.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from tests.helpers.explicit_maps import set_fused


class _Weighted(TorchFunctionMode):
    """Softmaxes with ``bias`` on their scores, and damped gains; keeps every softmax of a forward pass."""

    def __init__(self, bias: Tensor | None, alpha: float) -> None:
        super().__init__()
        self.bias, self.alpha = bias, alpha
        self.maps: list[Tensor] = []

    def damp(self, x: Tensor) -> Tensor:
        return self.alpha * x + (1 - self.alpha) * x.detach() if self.alpha < 1 else x

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is Tensor.softmax:
            scores = self.damp(args[0])
            if self.bias is not None:
                scores = scores + self.bias
            self.maps.append(scores.softmax(*args[1:], **kwargs))
            return self.maps[-1]
        if func in (F.layer_norm, F.rms_norm):
            return self._norm(func is F.layer_norm, *args, **kwargs)
        if func is F.gelu:
            return self._gelu(*args, **kwargs)
        if func is F.silu:
            return args[0] * self.damp(args[0].sigmoid())
        if func in (torch.sigmoid, Tensor.sigmoid):
            return self.damp(args[0].sigmoid())
        return func(*args, **kwargs)

    def _norm(self, centred: bool, x: Tensor, shape: Any, weight: Any = None, *rest: Any, **named: Any) -> Tensor:
        weight = named.get("weight", weight)
        bias = (rest[0] if rest else named.get("bias")) if centred else None
        eps = rest[-1] if len(rest) > int(centred) else named.get("eps")
        eps = (1e-5 if centred else torch.finfo(x.dtype).eps) if eps is None else eps
        moved = x - x.mean(-1, keepdim=True) if centred else x
        result = moved * self.damp((moved.pow(2).mean(-1, keepdim=True) + eps).rsqrt())
        result = result if weight is None else result * weight
        return result if bias is None else result + bias

    def _gelu(self, x: Tensor, approximate: str = "none") -> Tensor:
        if approximate == "tanh":
            gate = 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
        else:
            gate = 0.5 * (1 + torch.erf(x / math.sqrt(2)))
        return x * self.damp(gate)


def weighted_answer(
    model: nn.Module,
    images: Tensor,
    weights: Tensor,
    prefix: int,
    *,
    alpha: float = 1.0,
    pooled: bool = False,
    head: Callable[[Tensor], Tensor] | None = None,
) -> tuple[Tensor, list[Tensor], Tensor, Tensor]:
    """Logits under the key weights [patches], the maps of the blocks, the tokens read, and what they moved by.

    A weight of zero leaves the token out. Where the patches' own tokens are read (``pooled``), they are
    t₀ + w (t − t₀) with t₀ the grey picture's.
    """
    network: Any = model
    set_fused(model, False)
    model.eval()
    tokens = prefix + len(weights)
    column = torch.cat((torch.zeros(prefix, dtype=weights.dtype), weights.log()))
    bias = column.repeat(tokens, 1).fill_diagonal_(0)
    with _Weighted(bias, alpha) as mode:
        read = network.forward_features(images.detach().clone().requires_grad_(True))
    maps = list(mode.maps)
    moved = torch.zeros_like(read)
    if pooled:
        with torch.no_grad():
            grey = network.forward_features(torch.zeros_like(images[:1]))
        moved = torch.cat((moved[:, :prefix], (read - grey)[:, prefix:]), 1)
        read = torch.cat((read[:, :prefix], grey[:, prefix:] + weights[:, None] * moved[:, prefix:]), 1)
    with _Weighted(None, alpha):
        features = network.forward_head(read, pre_logits=head is not None)
    set_fused(model, True)
    return features if head is None else head(features), maps, read, moved.detach()


def explicit_secant(
    model: nn.Module,
    images: Tensor,
    a: int,
    b: int,
    prefix: int,
    patches: int,
    *,
    pooled: bool = False,
    passes: tuple[tuple[float, float], ...] = ((0.5, 1.0),),
    even: float = 0.25,
    alpha: float = 0.7,
    head: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """The map before its scales, [B, patches]: the formulas of the documentation, entry by entry."""
    total = torch.zeros(len(images), patches, dtype=images.dtype)
    for q, share in passes:
        weights = torch.full((patches,), q, dtype=images.dtype)
        options: dict[str, Any] = {"alpha": alpha, "pooled": pooled, "head": head}
        logits, maps, read, moved = weighted_answer(model, images, weights, prefix, **options)
        f = (logits[:, a] - logits[:, b]).sum()
        *gradients, of_read = torch.autograd.grad(f, (*maps, read))
        for A, G in zip(maps, gradients, strict=True):
            A = A.detach()
            p = A / (q * (1 - A) + A)
            own = (G - (A * G).sum(-1, keepdim=True)) / (1 - A.clamp(max=0.98))
            plain = G - G[..., prefix:].mean(-1, keepdim=True)
            terms = p * ((1 - even) * own + even * plain)
            foreign = 1 - torch.eye(A.shape[-1], dtype=A.dtype)
            total += share * (terms * foreign).sum((1, 2))[:, prefix:]
        if pooled:
            total += share * (of_read * moved).sum(-1)[:, prefix:]
    return total


def explicit_scales(terms: Tensor, totals: Tensor) -> Tensor:
    """s·S⁺ and S⁻/s by the quadratic formula; of one sign alone, what is missing on all patches alike."""
    result = terms.clone()
    for row, t in zip(result, totals, strict=True):
        p, q = row.clamp(min=0).sum(), -row.clamp(max=0).sum()
        if p == 0 or q == 0:
            row += (t - row.sum()) / len(row)
        else:
            s = (t + (t**2 + 4 * p * q).sqrt()) / (2 * p)
            row.copy_(row.clamp(min=0) * s + row.clamp(max=0) / s)
    return result
