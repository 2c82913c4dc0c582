"""The row inside of torch's own fused backward pass of attention: no matrix beside those that it makes anyway.

A few more columns of head dimension carry it. With q⁺ = [q, r], k⁺ = [k, 0], v⁺ = [v, 0], O⁺ = [O, 0] and ∂f/∂O⁺ =
[∂f/∂O, r⊙D], where D_i = <O_i, ∂f/∂O_i>, the scores, A, G = ∂f/∂A and D are what they were, and so are the gradients of
q, k and v. The new column of ∂f/∂k⁺ is scale·Σ_i r_i A_ij (G_ij − D_i), which is *centred*; that of ∂f/∂v⁺ is
Σ_i r_i D_i A_ij; their sum, the first without its scale, is *complete*. The other corrections are not linear in G, and
key weights are not in A: those are for :mod:`gradattn_core.attention.kernel`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gradattn_core.attention.backward import Gradients
from gradattn_core.attention.rows import AttentionCall, Kept

CORRECTIONS = ("complete", "centred")
"""What columns can carry."""
MOST_DEPTH = 128
"""The greatest head dimension that they are added to: with them the kernels still have room."""
# Kernels move eight half-precision numbers at once.
_COLUMNS = 8
_SMALLEST = 1e-30


@dataclass(frozen=True, slots=True)
class Fused:
    """A fused kernel of torch.

    Attributes:
        name: of the kernel.
        statistics: which saved value is each query's log-sum-exp, [B, H, N] with room behind it or one axis more.
        others: the further saved values that its backward pass takes.
        backward: from wide ∂f/∂O, q, k, v, O, the log-sum-exp, the others and the scale to the wide gradients.
    """

    name: str
    statistics: str
    others: tuple[str, ...]
    backward: Callable[..., tuple[Tensor, ...]]


def _flash(g: Tensor, q: Tensor, k: Tensor, v: Tensor, o: Tensor, lse: Tensor, others: Any, scale: float) -> Any:
    first_query, first_key, queries, keys, state, unused = others
    operator = torch.ops.aten._scaled_dot_product_flash_attention_backward
    return operator(
        *(g, q, k, v, o, lse, first_query, first_key, queries, keys, 0.0, False, state, unused), scale=scale
    )


def _efficient(g: Tensor, q: Tensor, k: Tensor, v: Tensor, o: Tensor, lse: Tensor, others: Any, scale: float) -> Any:
    bias, seed, offset = others
    operator = torch.ops.aten._scaled_dot_product_efficient_attention_backward
    wanted = [True, True, True, False]
    return operator(g, q, k, v, bias, o, lse, seed, offset, 0.0, wanted, False, scale=scale)[:3]


def _cudnn(g: Tensor, q: Tensor, k: Tensor, v: Tensor, o: Tensor, lse: Tensor, others: Any, scale: float) -> Any:
    bias, seed, offset, first_query, first_key, queries, keys = others
    operator = torch.ops.aten._scaled_dot_product_cudnn_attention_backward
    ends = (first_query, first_key, queries, keys)
    return operator(g, q, k, v, o, lse, seed, offset, bias, *ends, 0.0, False, scale=scale)


def _cpu(g: Tensor, q: Tensor, k: Tensor, v: Tensor, o: Tensor, lse: Tensor, others: Any, scale: float) -> Any:
    operator = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
    return operator(g, q, k, v, o, lse, 0.0, False, attn_mask=others[0], scale=scale)


_ENDS = ("cum_seq_q", "cum_seq_k", "max_q", "max_k")
FUSED = {
    "ScaledDotProductFlashAttentionBackward0": Fused("flash", "logsumexp", (*_ENDS, "rng_state", "unused"), _flash),
    "ScaledDotProductEfficientAttentionBackward0": Fused(
        "efficient", "log_sumexp", ("attn_bias", "philox_seed", "philox_offset"), _efficient
    ),
    "ScaledDotProductCudnnAttentionBackward0": Fused(
        "cudnn", "logsumexp", ("attn_bias", "philox_seed", "philox_offset", *_ENDS), _cudnn
    ),
    "ScaledDotProductFlashAttentionForCpuBackward0": Fused("cpu", "logsumexp", ("attn_mask",), _cpu),
}
"""By the name of autograd's node."""


def kept_by(output: Tensor) -> Kept | None:
    """What the fused kernel that gave this ``output`` [B, H, N, d], with its graph, kept for its backward pass.

    ``None`` for a kernel that is not known, whose gradients are then torch's own business.
    """
    fused = FUSED.get(type(output.grad_fn).__name__)
    if fused is None:
        return None

    def saved(name: str) -> Any:
        value = getattr(output.grad_fn, f"_saved_{name}")
        return value.detach() if isinstance(value, Tensor) else value

    return Kept(fused.name, saved(fused.statistics), tuple(saved(name) for name in fused.others), fused.backward)


def columns_backward(call: AttentionCall, gradient: Tensor, share: Tensor, correction: str) -> tuple[Gradients, Tensor]:
    """∂f/∂q, ∂f/∂k, ∂f/∂v of one call, and r·E_h(W ⊙ A), by the kernel that made its forward pass.

    Args:
        call: with what its kernel kept, of at most ``MOST_DEPTH`` numbers a head.
        gradient: ∂f/∂O, [B, H, Nq, d].
        share: r, [B, Nq].
        correction: one of ``CORRECTIONS``.

    Returns:
        the gradients in the precision of q, k and v, which they have without the columns to the last bit, and [B, Nk]
        float32, as exact as they are.
    """
    kept, dtype, depth = call.kept, call.query.dtype, call.query.shape[-1]
    assert kept is not None
    wide = torch.promote_types(dtype, torch.float32)
    # Autocast outside must not reach in: sums are made in full precision.
    with torch.autocast(gradient.device.type, enabled=False):
        gradient = gradient.to(dtype)
        centre = (call.output.to(wide) * gradient.to(wide)).sum(dim=-1)
        # Both columns stay within [-1, 1], where half precision is at its best.
        size = share.to(wide).abs().amax(dim=-1, keepdim=True).clamp_min(_SMALLEST)
        unit = (share.to(wide) / size)[:, None].expand_as(centre)
        weight = unit * centre
        most = weight.abs().amax(dim=(-2, -1), keepdim=True).clamp_min(_SMALLEST)
        of_query, of_key, of_value = kept.backward(
            _wider(gradient, (weight / most).to(dtype)),
            _wider(call.query, unit.to(dtype)),
            *(_wider(tensor) for tensor in (call.key, call.value, call.output)),
            kept.statistics,
            kept.others,
            call.scale,
        )
        row = of_key[..., depth].to(wide) / call.scale
        if correction == "complete":
            row = row + of_value[..., depth].to(wide) * most
        found = (row.mean(dim=1) * size).float()
    return (of_query[..., :depth], of_key[..., :depth], of_value[..., :depth]), found


def _wider(tensor: Tensor, column: Tensor | None = None) -> Tensor:
    """``tensor`` [B, H, N, d] with more columns, the first of which may be given; the others are zero."""
    depth = tensor.shape[-1]
    # Tokens before heads in memory, as kernels have them that cut q, k and v from one projection.
    batch, heads, tokens, _ = tensor.shape
    result = tensor.new_empty(batch, tokens, heads, depth + _COLUMNS).transpose(1, 2)
    result[..., :depth] = tensor
    result[..., depth:] = 0
    if column is not None:
        result[..., depth] = column
    return result
