"""The tape: follows one readout row back through every self-attention layer while a single backward pass runs.

The attention maps A and their gradients G are never stored for more than one block of queries of one layer. Every
correction needs only q, k, v, the attention output O and its gradient ∂f/∂O, because G_ij = <∂f/∂O_i, V_j>:

* complete: r·E_h(G⊙A)_j = E_h <V_j, Σ_i A_ij r_i ∂f/∂O_i>, a product with Aᵀ and no second N x N factor;
* centred:  subtract Σ_i A_ij r_i <∂f/∂O_i, O_i>, because Σ_k A_ik G_ik = <O_i, ∂f/∂O_i>;
* positive and absolute are not linear in G and form one block of it at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from gradattn_core.errors import InterpretError, ModelError
from gradattn_core.readout import SUPPORTED, Readout

CORRECTIONS = ("complete", "positive", "absolute", "centred")
AGGREGATIONS = ("product", "sum")
# How many attention weights are held at once. On a CPU a block that stays in the cache is up to twice as fast as a
# large one; an accelerator needs blocks that fill it.
_BLOCK_ON_CPU, _BLOCK_ELSEWHERE = 1 << 19, 1 << 24
_FEWEST_QUERIES = 32


@dataclass(frozen=True, slots=True)
class AttentionCall:
    """One call of scaled dot-product attention as the forward pass made it; q, k, v are [B, H, N, d], detached.

    ``mask`` is expanded to [B, H, Nq, Nk] (a view). ``logsumexp`` [B, H, Nq] holds the logarithm of each query's
    softmax denominator where the fused kernel kept it.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    mask: Tensor | None
    scale: float
    output: Tensor
    logsumexp: Tensor | None

    def blocks(self, rows: slice) -> Iterator[tuple[slice, slice, Tensor]]:
        """Post-softmax attention of the query ``rows``, a few megabytes at a time.

        Yields:
            which images, which queries (counted from ``rows.start``), and their weights [images, H, queries, Nk],
            float32.
        """
        query = self.query[:, :, rows].float() * self.scale
        key = self.key.float().transpose(-2, -1)
        batch, heads, count, _ = query.shape
        held = (_BLOCK_ON_CPU if query.is_cpu else _BLOCK_ELSEWHERE) // (heads * key.shape[-1])
        images = max(1, held // count)
        queries = max(_FEWEST_QUERIES, held // images)
        for first in range(0, batch, images):
            part = slice(first, min(first + images, batch))
            for start in range(0, count, queries):
                block = slice(start, min(start + queries, count))
                where = (part, slice(None), slice(rows.start + block.start, rows.start + block.stop))
                yield part, block, self._weights(query[part, :, block], key[part], where)

    def _weights(self, query: Tensor, key: Tensor, where: tuple[slice, slice, slice]) -> Tensor:
        """Softmax of the scaled ``query`` [images, H, queries, d] against ``key`` [images, H, d, Nk]."""
        if self.logsumexp is None:
            logits = query @ key
        else:
            minus = -self.logsumexp[where].float().flatten(0, 1).unsqueeze(-1)
            logits = torch.baddbmm(minus, query.flatten(0, 1), key.flatten(0, 1)).unflatten(0, query.shape[:2])
        if self.mask is not None:
            mask = self.mask[where]
            logits = logits.masked_fill_(~mask, -math.inf) if mask.dtype == torch.bool else logits.add_(mask)
        return logits.softmax(dim=-1) if self.logsumexp is None else logits.exp_()


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
    """

    def __init__(self, model: str) -> None:
        super().__init__()
        self.model = model
        self.calls: list[AttentionCall] = []
        self.first_output: Tensor | None = None
        self.on_gradient: Callable[[int, Tensor], None] | None = None
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
        if func is F.scaled_dot_product_attention:
            self._record(result, *args, **kwargs)
        return result

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
    ) -> None:
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
        self.calls.append(
            AttentionCall(
                query.detach(),
                key.detach(),
                value.detach(),
                None if attn_mask is None else attn_mask.detach().expand(*query.shape[:3], key.shape[2]),
                query.shape[-1] ** -0.5 if scale is None else scale,
                output.detach(),
                None if denominator is None else denominator.detach(),
            )
        )
        if self.first_output is None:
            self.first_output = output

        def report(gradient: Tensor) -> None:
            if self.on_gradient is not None:
                self.on_gradient(index, gradient)

        self._hooks.append(output.register_hook(report))


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

    def step(self, index: int, gradient: Tensor) -> None:
        """Take in ∂f/∂O [B, H, N, d] of call ``index``; calls must come last first, as a backward pass makes them."""
        # Taken off the tape, so that the backward pass frees each layer as soon as it would without us.
        call = self.calls.pop()
        if index == self.pool:
            latents = call.query.shape[2]
            uniform = torch.full((gradient.shape[0], latents), 1.0 / latents, device=gradient.device)
            pooled = corrected_row(call, gradient, uniform, slice(0, latents), self.correction)
            self.start = self.row = F.pad(pooled, (self.offset, 0))
            return
        if self.aggregation == "sum":
            self.row = self.row + corrected_row(call, gradient, self.start, self.rows, self.correction)
            return
        self.row = self.row + corrected_row(call, gradient, self.row, self.rows, self.correction)
        self.rows = slice(0, self.row.shape[1])


def corrected_row(call: AttentionCall, gradient: Tensor, row: Tensor, rows: slice, correction: str) -> Tensor:
    """r·E_h(W ⊙ A) of one layer.

    Args:
        call: the layer's attention call.
        gradient: ∂f/∂O, [B, H, Nq, d].
        row: r, [B, Nq], zero outside ``rows``.
        rows: the queries to visit.
        correction: ``complete`` W=G, ``centred`` W=G−Σ_k A_ik G_ik, ``positive`` W=relu(G), ``absolute`` W=|G|.

    Returns:
        [B, Nk] float32.
    """
    # Autocast outside must not reach in: the row is accumulated in float32.
    with torch.autocast(gradient.device.type, enabled=False):
        share = row[:, None, rows]
        flow = gradient[:, :, rows].float()
        if correction in ("complete", "centred"):
            products = _linear_row(call, flow, share, rows, centred=correction == "centred")
        else:
            products = _elementwise_row(
                call, flow, share, rows, torch.relu_ if correction == "positive" else torch.abs_
            )
        return products.mean(dim=1)


def _linear_row(call: AttentionCall, flow: Tensor, share: Tensor, rows: slice, *, centred: bool) -> Tensor:
    """r·(W ⊙ A) [B, H, Nk] where W is linear in ∂f/∂O: no second matrix beside A is formed."""
    value = call.value.float()
    depth = value.shape[-1]
    cotangent = flow * share.unsqueeze(-1)
    if centred:
        # One more column carries −r_i <O_i, ∂f/∂O_i>, which meets a value of 1.
        centre = (cotangent * call.output[:, :, rows].float()).sum(-1, keepdim=True)
        cotangent = torch.cat((cotangent, -centre), dim=-1)
    gathered = value.new_zeros(*value.shape[:3], cotangent.shape[-1])
    for images, queries, weights in call.blocks(rows):
        gathered[images] += weights.transpose(-2, -1) @ cotangent[images, :, queries]
    result = (gathered[..., :depth] * value).sum(-1)
    return result + gathered[..., depth] if centred else result


def _elementwise_row(
    call: AttentionCall, flow: Tensor, share: Tensor, rows: slice, correct: Callable[[Tensor], Tensor]
) -> Tensor:
    """r·(correct(G) ⊙ A) [B, H, Nk], with G formed for one block of queries at a time."""
    value = call.value.float().transpose(-2, -1)
    result = value.new_zeros(*value.shape[:2], value.shape[-1])
    for images, queries, weights in call.blocks(rows):
        weights.mul_(correct(flow[images, :, queries] @ value[images]))
        result[images] += (share[images, :, None, queries] @ weights).squeeze(-2)
    return result


@contextmanager
def prepared(model: nn.Module) -> Iterator[None]:
    """Put a model into the state the tape needs, and back, whatever happens.

    Evaluation mode, fused attention on (so that every call goes through one function), checkpointing off, and
    parameters frozen: the row needs no parameter gradient, so none is computed and fewer activations are kept.
    """
    modules = list(model.modules())
    training = [(module, module.training) for module in modules]
    flags = [
        (module, name, getattr(module, name))
        for module in modules
        for name in ("fused_attn", "grad_checkpointing")
        if hasattr(module, name)
    ]
    parameters = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        model.eval()
        for module, name, _ in flags:
            setattr(module, name, name == "fused_attn")
        for parameter, _ in parameters:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter, needed in parameters:
            parameter.requires_grad_(needed)
        for module, name, flag in flags:
            setattr(module, name, flag)
        for module, mode in training:
            module.training = mode


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
