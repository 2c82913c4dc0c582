"""A model's attention replaced by maps that are parameters, without a change to the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from gradattn_core.errors import InterpretError

_MOST_BYTES = 2 << 30


class MovedAttention(TorchFunctionMode):
    """Answers every call of scaled dot-product attention with the moved maps in the place of the model's own.

    Entered once per forward pass. Values are always the model's own on its present tokens.

    Attributes:
        parameters: per layer what is optimised: the map (frozen), or what is added to the model's own map (full).
        maps: the maps in effect in the last forward pass, [B, H, Nq, Nk], with their graph.
    """

    def __init__(self, layers: int, *, full: bool, renormalise: bool) -> None:
        super().__init__()
        self.layers, self.full, self.renormalise = layers, full, renormalise
        self.parameters: list[Tensor] = []
        self.maps: list[Tensor] = []
        self._own: list[Tensor] = []

    def __enter__(self) -> MovedAttention:
        self.maps, self._own = [], []
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is F.scaled_dot_product_attention:
            return self._attend(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))

    def _attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        index = len(self.maps)
        begins = index == len(self.parameters)
        if begins:
            _check_memory(query, key, self.layers)
        if self.full or begins:
            own = _own_attention(query, key, attn_mask, scale)
        if begins:
            start = torch.zeros_like(own) if self.full else own.detach()
            self.parameters.append(start.requires_grad_(True))
        moved = self.parameters[index]
        if self.full:
            self._own.append(own.detach())
            moved = own + moved
            moved = _distributions(moved) if self.renormalise else moved
        self.maps.append(moved)
        return moved.to(value.dtype) @ value

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor], stepper: torch.optim.Optimizer) -> None:
        """Move every map down its gradient."""
        for index, (parameter, gradient) in enumerate(zip(self.parameters, gradients, strict=True)):
            if self.full and self.renormalise:
                # The step begins at the map in effect, not at what it was before its negative part was cut.
                parameter.copy_(self.maps[index] - self._own[index])
            parameter.grad = gradient
        # What the next forward pass does not need makes room for it.
        self.maps, self._own = [], []
        stepper.step()
        stepper.zero_grad()
        if self.renormalise and not self.full:
            for parameter in self.parameters:
                parameter.copy_(_distributions(parameter))


def _own_attention(query: Tensor, key: Tensor, mask: Tensor | None, scale: float | None) -> Tensor:
    """softmax(q kᵀ·scale + bias), [B, H, Nq, Nk] in single precision or better."""
    kind = torch.promote_types(query.dtype, torch.float32)
    scores = query.to(kind) @ key.to(kind).transpose(-2, -1) * (query.shape[-1] ** -0.5 if scale is None else scale)
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
    return scores.softmax(dim=-1)


def _distributions(maps: Tensor) -> Tensor:
    """Rows without their negative part, divided by their sum; a row with nothing left stays zero."""
    cut = maps.clamp_min(0)
    return cut / cut.sum(-1, keepdim=True).clamp_min(torch.finfo(cut.dtype).tiny)


def _check_memory(query: Tensor, key: Tensor, layers: int) -> None:
    batch, heads, tokens, _ = query.shape
    size = 4 * batch * heads * tokens * key.shape[2] * layers
    if size > _MOST_BYTES:
        raise InterpretError(
            f"image: {tokens:,} tokens in {layers} layers of {heads} heads make {size / 1e9:.1f} GB of attention maps, "
            f"all of them parameters; up to {_MOST_BYTES / 1e9:.1f} GB work: give a smaller picture or larger patches"
        )
