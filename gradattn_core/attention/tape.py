"""The tape: what every self-attention layer of one forward pass saw, and the gradient that reaches its output.

A layer's backward pass is made here with the row in it on a CPU (:mod:`gradattn_core.attention.backward`); elsewhere it
is torch's fused one, with the row in it or beside it (:mod:`gradattn_core.attention.routes`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from gradattn_core.attention.backward import Gradients
from gradattn_core.attention.columns import kept_by
from gradattn_core.attention.readout import SUPPORTED
from gradattn_core.attention.routes import choose_route
from gradattn_core.attention.rows import AttentionCall
from gradattn_core.attention.terms import KeyTerms
from gradattn_core.errors import InterpretError, ModelError


@dataclass(frozen=True, slots=True)
class Asked:
    """The arguments of a call of ``torch.nn.functional.scaled_dot_product_attention``, in its order."""

    query: Tensor
    key: Tensor
    value: Tensor
    attn_mask: Tensor | None = None
    dropout_p: float = 0.0
    is_causal: bool = False
    scale: float | None = None
    enable_gqa: bool = False

    def check_kind(self, model: str) -> None:
        """Refuse attention that is not global over one sequence of tokens.

        Raises:
            ModelError: names the model and the kind.
        """
        if self.is_causal or self.enable_gqa or self.query.ndim != 4:
            other = "grouped over queries" if self.enable_gqa else "windowed, folded into the batch"
            kind = "causal" if self.is_causal else other
            raise ModelError(f"model {model}: its attention is {kind}; {SUPPORTED}")


class AttentionTape(TorchFunctionMode):
    """Records each attention call of a forward pass and reports its output gradient during the backward pass.

    Works on any module that calls ``torch.nn.functional.scaled_dot_product_attention``; nothing is patched. What was
    recorded is let go when the ``with`` block ends: the hooks and the graph hold each other, which no reference count
    would ever free.

    Attributes:
        model: the model's name, for messages.
        wants: the correction or the key terms that its calls are recorded for; empty for neither.
        calls: the attention calls in forward order.
        first_output: the output of the first call, with its graph: a backward pass need not go further.
        on_gradient: called as ``on_gradient(index, ∂f/∂O)`` when that gradient of call ``index`` is known; last first.
            It returns ∂f/∂q, ∂f/∂k and ∂f/∂v where the call is ``carried``; it must be set before a backward pass.
    """

    def __init__(self, model: str, wants: str | KeyTerms = "") -> None:
        super().__init__()
        self.model, self.wants = model, wants
        self.calls: list[AttentionCall] = []
        self.first_output: Tensor | None = None
        self.on_gradient: Callable[[int, Tensor], Gradients | None] | None = None
        self._hooks: list[RemovableHandle] = []

    def __exit__(self, *exception: Any) -> None:
        super().__exit__(*exception)  # type: ignore[no-untyped-call]
        for hook in self._hooks:
            hook.remove()
        self.on_gradient = None
        self.first_output = None
        self._hooks.clear()
        self.calls.clear()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        return self._record(result, Asked(*args, **kwargs)) if func is F.scaled_dot_product_attention else result

    def _record(self, output: Tensor, asked: Asked) -> Tensor:
        asked.check_kind(self.model)
        query, key, value, mask = asked.query, asked.key, asked.value, asked.attn_mask
        if not output.requires_grad:
            raise InterpretError("model: its attention outputs carry no gradient (a no_grad or detach inside forward?)")
        index = len(self.calls)
        kept = kept_by(output)
        call = AttentionCall(
            query.detach(),
            key.detach(),
            value.detach(),
            None if mask is None else mask.detach().expand(*query.shape[:3], key.shape[2]),
            query.shape[-1] ** -0.5 if asked.scale is None else asked.scale,
            output.detach(),
            # Other kernels than a CPU's keep it in layouts of their own.
            kept.statistics if kept is not None and output.is_cpu else None,
            kept=kept,
        )
        plain = mask is None or not mask.requires_grad
        self.calls.append(choose_route(call, self.wants, replaces=plain))
        if self.first_output is None:
            self.first_output = output
        elif self.calls[index].carried:
            carried: Tensor = _CarriedAttention.apply(query, key, value, self, index)
            return carried
        self._hooks.append(output.register_hook(lambda gradient: self._report(index, gradient)))
        return output

    def _report(self, index: int, gradient: Tensor) -> None:
        if self.on_gradient is not None:
            self.on_gradient(index, gradient)


class _CarriedAttention(torch.autograd.Function):
    """A recorded call whose backward pass is that of the tape's ``on_gradient``."""

    @staticmethod
    def forward(context: Any, query: Tensor, key: Tensor, value: Tensor, tape: AttentionTape, index: int) -> Tensor:
        context.tape, context.index = tape, index
        return tape.calls[index].output.detach()

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return (*context.tape.on_gradient(context.index, gradients[0]), None, None)
