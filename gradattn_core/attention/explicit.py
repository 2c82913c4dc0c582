"""Attention written out: every call's N x N matrix with its graph, to be read, differentiated or replaced.

The tape (:mod:`gradattn_core.attention.tape`) never holds a layer's matrix; most other methods, and attention transfer,
are defined on it. A set of them takes 4·L·H·N² bytes an image: 22 MB for ViT-B/16 at 224 pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from gradattn_core.attention.tape import Asked

Weigh = Callable[[int, Callable[[], Tensor]], Tensor]
"""From a call's number, and a function that gives its own matrix, to the matrix [B, H, Nq, Nk] to use."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One call of attention, all with their graph.

    Attributes:
        weights: A, [B, H, Nq, Nk], after the softmax, in single precision or better.
        query, key, value: [B, H, N, d], as they met: normalised and rotated where the model does so.
        output: A·V, [B, H, Nq, d].
    """

    weights: Tensor
    query: Tensor
    key: Tensor
    value: Tensor
    output: Tensor


class ExplicitAttention(TorchFunctionMode):
    """Answers every call of scaled dot-product attention by the product of a matrix with the values.

    Works on any module that calls ``torch.nn.functional.scaled_dot_product_attention``; nothing is patched. It is
    entered once for a forward pass.

    Attributes:
        layers: the calls in forward order.
    """

    def __init__(self, model: str, weigh: Weigh = lambda _index, own: own()) -> None:
        """Take the model's name, for messages, and what gives each call's matrix; its own by default."""
        super().__init__()
        self.model, self.weigh = model, weigh
        self.layers: list[Layer] = []

    def __enter__(self) -> ExplicitAttention:
        self.layers = []
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is F.scaled_dot_product_attention:
            return self._attend(Asked(*args, **(kwargs or {})))
        return func(*args, **(kwargs or {}))

    def _attend(self, asked: Asked) -> Tensor:
        asked.check_kind(self.model)
        weights = self.weigh(len(self.layers), lambda: own_attention(asked))
        output = weights.to(asked.value.dtype) @ asked.value
        self.layers.append(Layer(weights, asked.query, asked.key, asked.value, output))
        return output


def own_attention(asked: Asked) -> Tensor:
    """softmax(q kᵀ·scale + bias), [B, H, Nq, Nk] in single precision or better."""
    query, key, mask, scale = asked.query, asked.key, asked.attn_mask, asked.scale
    kind = torch.promote_types(query.dtype, torch.float32)
    scores = query.to(kind) @ key.to(kind).transpose(-2, -1) * (query.shape[-1] ** -0.5 if scale is None else scale)
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
    return scores.softmax(dim=-1)
