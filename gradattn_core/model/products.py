"""A forward pass in half precision on a CPU: attention as plain matrix products, and sums that mix precisions.

Torch's fused kernel multiplies on a CPU as fast in bfloat16 as in float32. Written out, its two products take the
processor's units for bfloat16 as every other layer does, and the row of scores between them fits into a cache where few
pictures are taken at a time. A sum of float32 and bfloat16, as in every residual connection, is widened first, which
torch does four times as fast as on the way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

_ROOM = 2**20
"""Scores at a time."""
_SUMS = (torch.Tensor.add, torch.Tensor.__add__, torch.Tensor.__radd__, torch.add)


class PlainProducts(TorchFunctionMode):
    """Within it attention on a CPU is computed by two products of matrices in a half precision.

    Scores are rounded to that precision, which the fused kernel keeps in float32; softmax is computed in float32.
    Attention with a mask or dropout is left to torch. Sums are the same to the bit.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention and len(args) == 3 and not _asks_more(kwargs):
            query, key, value = args
            if query.ndim == key.ndim == value.ndim == 4 and query.shape[:2] == key.shape[:2] == value.shape[:2]:
                return self._attention(query, key, value, kwargs.get("scale"))
        if func in _SUMS and len(args) == 2 and not kwargs:
            args = self._widened(*args)
        return func(*args, **kwargs)

    def _attention(self, query: Tensor, key: Tensor, value: Tensor, scale: float | None) -> Tensor:
        """[B, H, N, d]; whole in memory one picture after the other, each token's heads together."""
        batch, heads, rows, _ = query.shape
        scale = query.shape[-1] ** -0.5 if scale is None else scale
        query, key, value = ((query * scale).to(self.dtype), key.to(self.dtype), value.to(self.dtype))
        out = query.new_empty(batch, rows, heads, value.shape[-1]).transpose(1, 2)
        step = max(1, _ROOM // (heads * rows * key.shape[2]))
        for start in range(0, batch, step):
            some = slice(start, start + step)
            scores = query[some] @ key[some].transpose(-2, -1)
            out[some] = scores.softmax(dim=-1, dtype=torch.float32).to(self.dtype) @ value[some]
        return out

    def _widened(self, one: Any, other: Any) -> tuple[Any, Any]:
        if isinstance(one, Tensor) and isinstance(other, Tensor) and one.ndim and other.ndim:
            if one.dtype == torch.float32 and other.dtype == self.dtype:
                return one, other.float()
            if one.dtype == self.dtype and other.dtype == torch.float32:
                return one.float(), other
        return one, other


def _asks_more(kwargs: dict[str, Any]) -> bool:
    """Whether attention is to do more than weigh values."""
    told = {name: value for name, value in kwargs.items() if name != "scale"}
    return any(told.values()) if told.get("attn_mask") is None else True
