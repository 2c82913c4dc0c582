"""One call of attention and the row that it passes on, for any kernel on any device.

The attention maps A and their gradients G are never stored for more than one block of queries of one layer. Every
correction needs only q, k, v, the attention output O and its gradient ∂f/∂O, because G_ij = <∂f/∂O_i, V_j>:

* complete: r·E_h(G⊙A)_j = E_h <V_j, Σ_i A_ij r_i ∂f/∂O_i>, a product with Aᵀ and no second N x N factor;
* centred:  subtract Σ_i A_ij r_i <∂f/∂O_i, O_i>, because Σ_k A_ik G_ik = <O_i, ∂f/∂O_i>;
* positive and absolute are not linear in G and form one block of it at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

# How many attention weights are held at once. On a CPU a block that stays in the cache is up to twice as fast as a
# large one; an accelerator needs blocks that fill it.
_BLOCK_ON_CPU, _BLOCK_ELSEWHERE = 1 << 19, 1 << 24
_FEWEST_QUERIES = 32


@dataclass(frozen=True, slots=True)
class Kept:
    """What a fused kernel of torch kept of its forward pass, as its backward pass takes it.

    Attributes:
        kernel: its name.
        statistics: the logarithm of each query's softmax denominator, in the kernel's own layout.
        others, backward: see :class:`gradattn_core.attention.columns.Fused`.
    """

    kernel: str
    statistics: Tensor
    others: tuple[Any, ...]
    backward: Callable[..., tuple[Tensor, ...]]

    def logsumexp(self, queries: int) -> Tensor:
        """Of each query, [B, H, Nq]: a kernel may have an axis more, or room behind the last."""
        values = self.statistics.squeeze(-1) if self.statistics.ndim == 4 else self.statistics
        return values[..., :queries]


@dataclass(frozen=True, slots=True)
class AttentionCall:
    """One call of scaled dot-product attention as the forward pass made it; q, k, v are [B, H, N, d], detached.

    ``mask`` is expanded to [B, H, Nq, Nk] (a view). ``logsumexp`` [B, H, Nq] holds the logarithm of each query's
    softmax denominator where a CPU's kernel kept it; what other kernels kept is in ``kept``. ``route`` is how its row
    is computed, one of :data:`gradattn_core.attention.routes.ROUTES`.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    mask: Tensor | None
    scale: float
    output: Tensor
    logsumexp: Tensor | None
    route: str = "blocks"
    kept: Kept | None = None

    @property
    def carried(self) -> bool:
        """Whether its backward pass carries the row itself."""
        return self.route in ("tiles", "columns")

    def blocks(self, rows: slice) -> Iterator[tuple[slice, slice, Tensor]]:
        """Post-softmax attention of the query ``rows``, a few megabytes at a time.

        Yields:
            which images, which queries (counted from ``rows.start``), and their weights [images, H, queries, Nk],
            float32.
        """
        query = self.query[:, :, rows].float() * self.scale
        key = self.key.float().transpose(-2, -1)
        batch, heads, count, _ = query.shape
        room = (_BLOCK_ON_CPU if query.is_cpu else _BLOCK_ELSEWHERE) // (heads * key.shape[-1])
        images = max(1, room // count)
        queries = max(_FEWEST_QUERIES, room // images)
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
            mask_scores(logits, self.mask[where])
        return logits.softmax(dim=-1) if self.logsumexp is None else logits.exp_()


def mask_scores(scores: Tensor, mask: Tensor) -> None:
    """Mask scores in place before their softmax, by a boolean or an additive mask."""
    if mask.dtype == torch.bool:
        scores.masked_fill_(~mask, -math.inf)
    else:
        scores.add_(mask)


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
    sums = value.new_zeros(*value.shape[:3], cotangent.shape[-1])
    for images, queries, weights in call.blocks(rows):
        sums[images] += weights.transpose(-2, -1) @ cotangent[images, :, queries]
    result = (sums[..., :depth] * value).sum(-1)
    return result + sums[..., depth] if centred else result


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
