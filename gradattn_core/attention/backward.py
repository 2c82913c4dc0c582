"""The backward pass of attention on a CPU, with the row's product in it.

The fused backward pass of torch makes five matrix products of N x N: A and ∂f/∂A = G once more, and from them the
gradients of q, k and v. It shows neither A nor G, so a row that came beside it would have to make A again. This one
makes the same five products, tile by tile, and takes the row from each tile while it is in the cache. With
D_i = <O_i, ∂f/∂O_i>, which is Σ_k A_ik G_ik, a tile holds A⊙(G−D) = ∂f/∂scores on its way, and from there:

* centred:  r·(A⊙(G−D)), the very gradient before the softmax;
* complete: the same and (r⊙D)·A;
* positive and absolute: r·(A⊙relu(G)) and r·(A⊙|G|);
* key weights: elementwise terms of A and G−D (:mod:`gradattn_core.attention.terms`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from gradattn_core.attention.rows import AttentionCall, mask_scores
from gradattn_core.attention.terms import KeyTerms

Gradients = tuple[Tensor, Tensor, Tensor]
Part = tuple[slice, slice]
# A tile and its weights per thread: large enough for full speed of a matrix product, small enough for its cache.
_QUERIES, _KEYS, _WEIGHTS = 512, 512, 1 << 18


def attention_backward(
    call: AttentionCall,
    gradient: Tensor,
    share: Tensor,
    correction: str | KeyTerms,
    queries: int,
    *,
    inputs: bool = True,
) -> tuple[Gradients | None, Tensor]:
    """∂f/∂q, ∂f/∂k, ∂f/∂v of one call, and r·E_h(W ⊙ A).

    Args:
        call: on a CPU, with its log-sum-exp.
        gradient: ∂f/∂O, [B, H, Nq, d].
        share: r, [B, Nq].
        correction: ``complete`` W=G, ``centred`` W=G−Σ_k A_ik G_ik, ``positive`` W=relu(G), ``absolute`` W=|G|;
            or key weights, whose terms take the place of W ⊙ A.
        queries: how many of the first queries to visit; ∂f/∂O of the others must be zero.
        inputs: whether the gradients are wanted; they are ``None`` otherwise.

    Returns:
        the gradients in the precision of q, k and v, and [B, Nk] float32. Sums are made in float32, in float64 for a
        model in float64.
    """
    # Autocast outside must not reach in: sums are made in full precision.
    with torch.autocast("cpu", enabled=False):
        dtype = torch.promote_types(call.query.dtype, torch.float32)
        batch, heads, keys, _ = call.key.shape
        tensors = (call.query, call.key, call.value) if inputs else ()
        sums = [torch.empty(tensor.shape, dtype=dtype) for tensor in tensors]
        if inputs:
            sums[0][:, :, queries:] = 0
        row = torch.zeros(batch, heads, 1, keys, dtype=dtype)
        high, wide = _even(queries, _QUERIES), _even(keys, _KEYS)
        threads = torch.get_num_threads()
        together = min(batch * heads, max(threads, threads * _WEIGHTS // (high * wide)))
        buffers = 4 if isinstance(correction, KeyTerms) else 2
        scratch = torch.empty(buffers, together * high * wide, dtype=dtype).unbind()
        for part in _parts(batch, heads, together):
            tiles = _Tiles(call, gradient, share, part, dtype, correction)
            targets = [tensor[part].flatten(0, 1) for tensor in (row, *sums)]
            for start in range(0, queries, high):
                rows = slice(start, min(start + high, queries))
                for first in range(0, keys, wide):
                    tiles.add(rows, slice(first, min(first + wide, keys)), scratch, targets)
        product = row.squeeze(2).mean(dim=1).float()
    if not inputs:
        return None, product
    query, key, value = (tensor.to(call.query.dtype) for tensor in sums)
    return (query, key, value), product


def _even(count: int, most: int) -> int:
    """The side of a tile, at most ``most``, that leaves no narrow rest."""
    return -(-count // -(-count // most))


def _parts(batch: int, heads: int, together: int) -> Iterator[Part]:
    """Which images and which heads are visited together: some heads of one image, or all heads of some images."""
    images = together // heads
    if images == 0:
        for image in range(batch):
            for head in range(0, heads, together):
                yield slice(image, image + 1), slice(head, min(head + together, heads))
    else:
        for image in range(0, batch, images):
            yield slice(image, min(image + images, batch)), slice(0, heads)


class _Tiles:
    """Some heads of a call as stacked matrices [heads, N, d]."""

    def __init__(
        self,
        call: AttentionCall,
        gradient: Tensor,
        share: Tensor,
        part: Part,
        dtype: torch.dtype,
        correction: str | KeyTerms,
    ) -> None:
        # What is read by several tiles is worth bringing together in memory.
        several = gradient.shape[2] > _QUERIES

        def stacked(tensor: Tensor) -> Tensor:
            tensor = tensor[part].flatten(0, 1).to(dtype)
            return tensor.contiguous() if several else tensor

        assert call.logsumexp is not None
        self.scale, self.correction = call.scale, correction
        self.mask = None if call.mask is None else call.mask[part]
        self.query, self.key, self.value, self.flow = map(stacked, (call.query, call.key, call.value, gradient))
        self.minus_logsumexp = stacked(call.logsumexp).neg().unsqueeze(-1)
        self.centre = (self.flow * stacked(call.output)).sum(dim=-1, keepdim=True)
        self.share = stacked(share[:, None, None].expand(-1, gradient.shape[1], -1, -1))
        if isinstance(correction, KeyTerms):
            self.offset = correction.offset(self.flow, self.value, self.centre)

    def add(self, rows: slice, columns: slice, scratch: tuple[Tensor, ...], sums: list[Tensor]) -> None:
        """Add what the queries ``rows`` and the keys ``columns`` give to the row, ∂f/∂q, ∂f/∂k and ∂f/∂v."""
        shape = (len(self.query), rows.stop - rows.start, columns.stop - columns.start)
        weights, mapped, *spare = (buffer[: math.prod(shape)].view(shape) for buffer in scratch)
        query, flow, centre = self.query[:, rows], self.flow[:, rows], self.centre[:, rows]
        key, value, share = self.key[:, columns], self.value[:, columns], self.share[:, :, rows]
        # An addend of the product (baddbmm) would first be spread over the whole tile.
        torch.bmm(query, key.mT, out=weights)
        torch.add(self.minus_logsumexp[:, rows], weights, alpha=self.scale, out=weights)
        if self.mask is not None:
            mask_scores(weights, self.mask[..., rows, columns].flatten(0, 1))
        weights.exp_()
        torch.bmm(flow, value.mT, out=mapped)
        row = sums[0][:, :, columns]
        if self.correction in ("positive", "absolute"):
            kept = torch.relu(mapped) if self.correction == "positive" else mapped.abs()
            row.baddbmm_(share, kept.mul_(weights))
        mapped.sub_(centre)
        if isinstance(self.correction, KeyTerms):
            place = rows.start - columns.start
            row.baddbmm_(
                share, self.correction.of_block(weights, mapped, self.offset[:, rows], place, (spare[0], spare[1]))
            )
        mapped.mul_(weights)
        if self.correction in ("complete", "centred"):
            row.baddbmm_(share, mapped)
        if self.correction == "complete":
            row.baddbmm_(share * centre.mT, weights)
        if len(sums) > 1:
            # The first visit sets what later ones add to.
            of_rows, of_columns = float(columns.start > 0), float(rows.start > 0)
            sums[1][:, rows].baddbmm_(mapped, key, beta=of_rows, alpha=self.scale)
            sums[2][:, columns].baddbmm_(mapped.mT, query, beta=of_columns, alpha=self.scale)
            sums[3][:, columns].baddbmm_(weights.mT, flow, beta=of_columns)
