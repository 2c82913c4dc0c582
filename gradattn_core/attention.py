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

from gradattn_core.errors import InterpretError, ModelError

CORRECTIONS = ("complete", "positive", "absolute", "centred")
AGGREGATIONS = ("product", "sum")
_QUERY_BLOCK = 256
_SUPPORTED = "global self-attention (ViT, DeiT, BEiT, EVA, DINOv2, DINOv3, CLIP, SigLIP, FlexiViT) works"


@dataclass(frozen=True, slots=True)
class AttentionCall:
    """One call of scaled dot-product attention as the forward pass made it; q, k, v are [B, H, N, d], detached."""

    query: Tensor
    key: Tensor
    value: Tensor
    mask: Tensor | None
    scale: float
    output: Tensor

    def weights(self, rows: slice | Tensor) -> Tensor:
        """Post-softmax attention of the query ``rows``, [B, H, rows, N], float32."""
        logits = self.query[:, :, rows].float() @ self.key.float().transpose(-2, -1) * self.scale
        if self.mask is not None:
            # A mask may be one row for all queries; only a full one is cut to the block.
            mask = self.mask if self.mask.shape[-2] == 1 else self.mask[..., rows, :]
            logits = logits.masked_fill(~mask, -math.inf) if mask.dtype == torch.bool else logits + mask.float()
        return logits.softmax(dim=-1)


class AttentionTape(TorchFunctionMode):
    """Records each attention call of a forward pass and reports its output gradient during the backward pass.

    Works on any module that calls ``torch.nn.functional.scaled_dot_product_attention``; nothing is patched.

    Attributes:
        calls: the attention calls in forward order.
        on_gradient: called as ``on_gradient(index, ∂f/∂O)`` when that gradient of call ``index`` is known; last first.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[AttentionCall] = []
        self.outputs: list[Tensor] = []
        self.on_gradient: Callable[[int, Tensor], None] | None = None

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
        if is_causal or enable_gqa:
            raise ModelError(f"causal or grouped-query attention cannot be interpreted; {_SUPPORTED}")
        if not output.requires_grad:
            raise InterpretError("model: its attention outputs carry no gradient (a no_grad or detach inside forward?)")
        index = len(self.calls)
        self.calls.append(
            AttentionCall(
                query.detach(),
                key.detach(),
                value.detach(),
                None if attn_mask is None else attn_mask.detach(),
                query.shape[-1] ** -0.5 if scale is None else scale,
                output.detach(),
            )
        )
        self.outputs.append(output)

        def report(gradient: Tensor) -> None:
            if self.on_gradient is not None:
                self.on_gradient(index, gradient)

        output.register_hook(report)


@dataclass(frozen=True, slots=True)
class Readout:
    """Where the classifier reads the tokens.

    Attributes:
        kind: ``cls``, ``distilled``, ``mean`` or ``attention-pool``.
        prefix_tokens: P, how many tokens precede the patches.
        includes_prefix: whether a mean or an attention pool also reads the prefix tokens.
    """

    kind: str
    prefix_tokens: int
    includes_prefix: bool = False

    def row(self, tokens: int) -> tuple[Tensor, slice]:
        """r0 [tokens] and the slice outside which it is zero: e0, ½(e0+e1), or 1/n on the tokens that are averaged."""
        rows = {"cls": slice(0, 1), "distilled": slice(0, 2)}.get(
            self.kind, slice(0 if self.includes_prefix else self.prefix_tokens, tokens)
        )
        row = torch.zeros(tokens)
        row[rows] = 1.0 / len(range(*rows.indices(tokens)))
        return row, rows


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
        call = self.calls[index]
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
    value = call.value.float()
    batch, heads, keys, depth = value.shape
    result = value.new_zeros(batch, keys)
    linear = value.new_zeros(batch, heads, keys, depth + 1) if correction in ("complete", "centred") else None
    for start in range(rows.start, rows.stop, _QUERY_BLOCK):
        block = slice(start, min(start + _QUERY_BLOCK, rows.stop))
        weights = call.weights(block)
        flow = gradient[:, :, block].float()
        share = row[:, None, block, None]
        if linear is not None:
            # The extra column carries the centring term: W = G − <O, ∂f/∂O> is linear in (V, 1).
            centre = (flow * call.output[:, :, block].float()).sum(-1, keepdim=True)
            if correction == "complete":
                centre = torch.zeros_like(centre)
            linear += weights.transpose(-2, -1) @ (torch.cat((flow, -centre), dim=-1) * share)
        else:
            gradients = flow @ value.transpose(-2, -1)
            gradients = gradients.relu_() if correction == "positive" else gradients.abs_()
            result += (weights.mul_(gradients) * share).sum(dim=(1, 2))
    if linear is not None:
        result = ((linear[..., :depth] * value).sum(-1) + linear[..., depth]).sum(1)
    return result / heads


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
                f"{call.query.shape[2]} tokens an image), so no row leads from the output to every patch; {_SUPPORTED}"
            )
        if call.query.shape[2] != tokens or call.key.shape[2] != tokens:
            raise ModelError(
                f"model {name}: its attention runs over {call.query.shape[2]} x {call.key.shape[2]} instead of "
                f"{tokens} x {tokens} tokens (shrinking tokens or channel attention); {_SUPPORTED}"
            )
    if len(layers) != blocks:
        raise ModelError(
            f"model {name}: {len(layers)} global attention calls were seen in {blocks} blocks; exactly one per block "
            f"can be followed; {_SUPPORTED}"
        )
