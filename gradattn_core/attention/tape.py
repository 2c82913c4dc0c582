"""The tape: follows one readout row back through every self-attention layer while a single backward pass runs.

What one layer passes on is computed in one of two ways, chosen by measurement: on a CPU the layer's own backward pass
is made here with the row in it (:mod:`gradattn_core.attention.backward`); elsewhere the fused backward pass of torch
runs and the row is computed beside it (:mod:`gradattn_core.attention.rows`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from gradattn_core.attention.backward import Gradients, attention_backward
from gradattn_core.attention.readout import SUPPORTED, Readout
from gradattn_core.attention.rows import AttentionCall, corrected_row
from gradattn_core.errors import InterpretError, ModelError


class AttentionTape(TorchFunctionMode):
    """Records each attention call of a forward pass and reports its output gradient during the backward pass.

    Works on any module that calls ``torch.nn.functional.scaled_dot_product_attention``; nothing is patched. What was
    recorded is let go when the ``with`` block ends: the hooks and the graph hold each other, which no reference count
    would ever free.

    Attributes:
        model: the model's name, for messages.
        calls: the attention calls in forward order.
        first_output: the output of the first call, with its graph: a backward pass need not go further.
        on_gradient: called as ``on_gradient(index, ∂f/∂O)`` when that gradient of call ``index`` is known; last first.
            It returns ∂f/∂q, ∂f/∂k and ∂f/∂v where the call is ``carried``; it must be set before a backward pass.
    """

    def __init__(self, model: str) -> None:
        super().__init__()
        self.model = model
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
        return self._record(result, *args, **kwargs) if func is F.scaled_dot_product_attention else result

    def _record(
        self,
        output: Tensor,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        if is_causal or enable_gqa or query.ndim != 4:
            kind = (
                "causal" if is_causal else "grouped over queries" if enable_gqa else "windowed, folded into the batch"
            )
            raise ModelError(f"model {self.model}: its attention is {kind}; {SUPPORTED}")
        if not output.requires_grad:
            raise InterpretError("model: its attention outputs carry no gradient (a no_grad or detach inside forward?)")
        index = len(self.calls)
        # Autograd keeps the CPU kernel's log-sum-exp; other kernels keep it in layouts of their own.
        denominator = getattr(output.grad_fn, "_saved_logsumexp", None) if output.is_cpu else None
        plain = attn_mask is None or not attn_mask.requires_grad
        self.calls.append(
            AttentionCall(
                query.detach(),
                key.detach(),
                value.detach(),
                None if attn_mask is None else attn_mask.detach().expand(*query.shape[:3], key.shape[2]),
                query.shape[-1] ** -0.5 if scale is None else scale,
                output.detach(),
                None if denominator is None else denominator.detach(),
                carried=denominator is not None and plain,
            )
        )
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


class RowRecursion:
    """Carries the readout row r from the last layer to the first: r ← r + r·M_l, with M_l = E_h(W_l ⊙ A_l).

    ``aggregation="sum"`` adds r0·M_l of every layer instead (no products between layers). The attention pool, where a
    model has one, is the last layer; its row replaces r0.
    """

    def __init__(self, calls: list[AttentionCall], readout: Readout, correction: str, aggregation: str) -> None:
        self.calls, self.correction, self.aggregation = calls, correction, aggregation
        first = calls[0]
        batch, tokens, device = first.query.shape[0], first.query.shape[2], first.query.device
        self.pool = len(calls) - 1 if readout.kind == "attention-pool" else None
        if self.pool is None:
            row, self.rows = readout.row(tokens)
            self.start = row.to(device).expand(batch, -1)
        else:
            self.start, self.rows = torch.zeros(batch, tokens, device=device), slice(0, tokens)
        self.offset = tokens - calls[-1].key.shape[2]
        self.row = self.start

    def step(self, index: int, gradient: Tensor) -> Gradients | None:
        """Take in ∂f/∂O [B, H, N, d] of call ``index``; calls must come last first, as a backward pass makes them.

        Returns:
            ∂f/∂q, ∂f/∂k and ∂f/∂v of a carried call, which needs them unless it is the first.
        """
        # Taken off the tape, so that the backward pass frees each layer as soon as it would without us.
        call = self.calls.pop()
        if index == self.pool:
            latents = call.query.shape[2]
            uniform = torch.full((gradient.shape[0], latents), 1.0 / latents, device=gradient.device)
            pooled, gradients = self._product(call, gradient, uniform, slice(0, latents), inputs=True)
            self.start = self.row = F.pad(pooled, (self.offset, 0))
            return gradients
        share = self.start if self.aggregation == "sum" else self.row
        found, gradients = self._product(call, gradient, share, self.rows, inputs=index > 0)
        self.row = self.row + found
        if self.aggregation == "product":
            self.rows = slice(0, self.row.shape[1])
        return gradients

    def _product(
        self, call: AttentionCall, gradient: Tensor, share: Tensor, rows: slice, *, inputs: bool
    ) -> tuple[Tensor, Gradients | None]:
        if not call.carried:
            return corrected_row(call, gradient, share, rows, self.correction), None
        # Behind a class token the last layer's gradient is zero in all other queries, which need no visit then.
        beyond = bool(gradient[:, :, rows.stop :].any())
        queries = gradient.shape[2] if beyond else rows.stop
        gradients, found = attention_backward(call, gradient, share, self.correction, queries, inputs=inputs)
        return found, gradients


@contextmanager
def prepared(model: nn.Module) -> Iterator[None]:
    """Put a model into the state the tape needs, and back, whatever happens.

    Evaluation mode, fused attention on (so that every call goes through one function), checkpointing off, and
    parameters frozen: the row needs no parameter gradient, so none is computed and fewer activations are kept.
    """
    modules = list(model.modules())
    training = [module for module in modules if module.training]
    flags = [
        (module, name, flag, wanted)
        for module in modules
        for name, wanted in (("fused_attn", True), ("grad_checkpointing", False))
        if (flag := vars(module).get(name, wanted)) != wanted
    ]
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    try:
        for module in training:
            module.training = False
        for module, name, _, wanted in flags:
            setattr(module, name, wanted)
        for parameter in learning:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)
        for module, name, flag, _ in flags:
            setattr(module, name, flag)
        for module in training:
            module.training = True


def check_calls(calls: list[AttentionCall], batch: int, tokens: int, blocks: int, pooled: bool, name: str) -> None:
    """Refuse a model whose attention is not global over one fixed sequence of tokens.

    Raises:
        ModelError: names the model, what was seen, and which models work.
    """
    layers = calls[:-1] if pooled and calls else calls
    for call in layers:
        if call.query.shape[0] != batch:
            raise ModelError(
                f"model {name}: its attention is windowed ({call.query.shape[0] // batch} windows of "
                f"{call.query.shape[2]} tokens an image), so no row leads from the output to every patch; {SUPPORTED}"
            )
        if call.query.shape[2] != tokens or call.key.shape[2] != tokens:
            raise ModelError(
                f"model {name}: its attention runs over {call.query.shape[2]} x {call.key.shape[2]} instead of "
                f"{tokens} x {tokens} tokens (shrinking tokens or channel attention); {SUPPORTED}"
            )
    if len(layers) != blocks:
        raise ModelError(
            f"model {name}: {len(layers)} global attention calls were seen in {blocks} blocks; exactly one per block "
            f"can be followed; {SUPPORTED}"
        )
