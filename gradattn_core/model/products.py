"""A forward pass in half precision on a CPU: linear layers with what follows them, attention as plain products, sums.

Linear layers go to oneDNN with weights that are cast once, and add their bias and compute a GELU behind them while the
result is in the cache: torch copies the bias into the result first, and takes as long for a GELU of bfloat16 as for the
layer. Torch's fused kernel of attention multiplies on a CPU as fast in bfloat16 as in float32. Written out, its two
products take the processor's units for bfloat16 as every other layer does, and the row of scores between them fits into
a cache where few pictures are taken at a time. A sum of float32 and bfloat16, as in every residual connection, is
widened first, which torch does four times as fast as on the way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from gradattn_core.model.half import HalfLinear

NONE: Mapping[int, HalfLinear] = MappingProxyType({})

_ROOM = 2**20
"""Scores at a time."""
_SUMS = (torch.Tensor.add, torch.Tensor.__add__, torch.Tensor.__radd__, torch.add)


class PlainProducts(TorchFunctionMode):
    """Within it attention on a CPU is computed by two products of matrices in a half precision.

    Scores are rounded to that precision, which the fused kernel keeps in float32; softmax is computed in float32.
    Attention with a mask or dropout is left to torch. Sums are the same to the bit. Linear layers are those of
    ``layers``, others are autocast's; the GELU behind one is computed with it, before it is rounded.
    """

    def __init__(self, dtype: torch.dtype, layers: Mapping[int, HalfLinear] = NONE) -> None:
        super().__init__()
        self.dtype, self.layers = dtype, layers
        self._gated: Tensor | None = None

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.linear:
            return self._linear(*args, **kwargs)
        if func is F.gelu and args and args[0] is self._gated:
            # Done with the layer before it.
            self._gated = None
            return args[0]
        if func is F.scaled_dot_product_attention and len(args) == 3 and not _asks_more(kwargs):
            query, key, value = args
            if query.ndim == key.ndim == value.ndim == 4 and query.shape[:2] == key.shape[:2] == value.shape[:2]:
                return self._attention(query, key, value, kwargs.get("scale"))
        if func in _SUMS and len(args) == 2 and not kwargs:
            args = self._widened(*args)
        return func(*args, **kwargs)

    def _linear(self, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        layer = self.layers.get(id(weight))
        if layer is None or layer.of[0] is not weight or not input.numel() or input.ndim < 2:
            return F.linear(input, weight, bias)
        if bias is not None:
            bias = layer.bias if bias is layer.of[1] else bias.to(self.dtype)
        rows = input.to(self.dtype).contiguous()
        kind, algorithm = ("gelu", layer.gelu) if layer.gelu else ("none", "")
        result: Tensor = torch.ops.mkldnn._linear_pointwise.default(rows, layer.weight, bias, kind, [], algorithm)
        if layer.gelu:
            self._gated = result
        return result

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
