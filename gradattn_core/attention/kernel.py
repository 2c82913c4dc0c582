"""A kernel for GPUs, written in Triton, that visits A and G of a call once more for what no fused backward pass shows.

It makes the two products of attention's backward pass from which A and ∂f/∂A = G follow, tile by tile, and sums what a
correction or the terms of key weights (:mod:`gradattn_core.attention.terms`) make of them over the queries: no tile
leaves the chip, no tile is rounded to half precision, and two runs give the same bits. torch's own backward pass runs
beside it. What each query's softmax was divided by is what the forward pass kept.

Triton comes with torch on Linux. Nothing imports this module but :mod:`gradattn_core.attention.routes`, once a model is
explained on a GPU. With ``TRITON_INTERPRET=1`` in the environment it runs on a CPU, which its tests do.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from gradattn_core.attention.precision import product_precision
from gradattn_core.attention.rows import AttentionCall
from gradattn_core.attention.terms import MOST, KeyTerms

_MODES = {"complete": 0, "centred": 1, "positive": 2, "absolute": 3}
_SECANT, _TANGENT = 4, 5
# Programs that fill a large GPU twice; of few heads the queries are dealt out too.
_PROGRAMS = 264
_KINDS = (torch.float32, torch.float16, torch.bfloat16)


def kernel_row(call: AttentionCall, gradient: Tensor, row: Tensor, rows: slice, correction: str) -> Tensor:
    """:func:`gradattn_core.attention.rows.corrected_row`, by the kernel."""
    found = _visited(call, gradient, rows, _MODES[correction], share=row[:, rows])
    return found.mean(dim=1)


def kernel_terms(call: AttentionCall, gradient: Tensor, terms: KeyTerms, rows: slice) -> Tensor:
    """:func:`gradattn_core.attention.terms.key_terms`, by the kernel."""
    return _visited(call, gradient, rows, _TANGENT if terms.tangent else _SECANT, terms=terms).sum(dim=1)


def _visited(
    call: AttentionCall,
    gradient: Tensor,
    rows: slice,
    mode: int,
    share: Tensor | None = None,
    terms: KeyTerms | None = None,
) -> Tensor:
    """What a mode makes of A and G, summed over the queries ``rows``, [B, H, Nk] float32."""
    assert call.kept is not None
    if call.query.dtype not in _KINDS:
        raise TypeError(f"{call.query.dtype} has no units of its own for products")
    dtype = call.query.dtype
    # Triton launches on the current device, which need not be the tensors'.
    with torch.autocast(gradient.device.type, enabled=False), torch.cuda.device_of(gradient):
        query, key, value = (_lined(tensor) for tensor in (call.query[:, :, rows], call.key, call.value))
        flow = _lined(gradient[:, :, rows].to(dtype))
        batch, heads, queries, depth = query.shape
        keys = key.shape[2]
        centre = (flow.float() * call.output[:, :, rows].float()).sum(dim=-1, keepdim=True)
        offset = centre if terms is None else terms.offset(flow.float(), value.float(), centre)
        logsumexp = call.kept.logsumexp(call.query.shape[2])[:, :, rows].float().contiguous()
        share = centre.new_ones(batch, queries) if share is None else share.float().contiguous()
        mask = None if call.mask is None else call.mask[:, :, rows]
        masked = 0 if mask is None else 2 if mask.dtype == torch.bool else 1
        if mask is None:
            mask = centre.new_zeros(1, 1, 1, 1)
        elif masked == 2:
            mask = mask.view(torch.uint8)
        room = max(16, triton.next_power_of_2(depth))
        # Exact float32 is three products of TF32: one at a time has no units.
        exact = dtype == torch.float32 and product_precision(query) != "tf32"
        high, wide, warps, stages = _tile(exact, dtype, room)
        columns = triton.cdiv(keys, wide)
        parts = max(1, min(triton.cdiv(queries, high), _PROGRAMS // (columns * batch * heads)))
        found = centre.new_empty(parts, batch, heads, keys)
        _visit[columns, batch * heads, parts](
            *(query, key, value, flow, logsumexp, centre.contiguous(), offset.contiguous(), share, mask, found),
            *(step for tensor in (query, key, value, flow) for step in tensor.stride()[:3]),
            *mask.stride(),
            *(heads, queries, keys, rows.start or 0, triton.cdiv(triton.cdiv(queries, parts), high) * high),
            *(call.scale, *((terms.weight, terms.even) if terms is not None else (1.0, 0.0)), 1 - MOST),
            mode=mode,
            masked=masked,
            depth=depth,
            room=room,
            high=high,
            wide=wide,
            product="tf32x3" if exact else "tf32",
            num_warps=warps,
            num_stages=stages,
            enable_fp_fusion=True,
        )
        return found.sum(dim=0)


def _tile(exact: bool, dtype: torch.dtype, room: int) -> tuple[int, int, int, int]:
    """Queries and keys of a tile, and warps and stages of a program, with which what it holds fits into registers.

    Compiled for an A100 and an H100: hardly anything of it is spilled.
    """
    if exact:
        return (32, 64, 4, 2) if room <= 64 else (32, 64, 8, 1)
    if dtype == torch.float32:
        return (64, 64, 8, 2) if room <= 64 else (32, 64, 8, 2)
    return (64, 128, 8, 2) if room <= 64 else (64, 64, 8, 2)


def _lined(tensor: Tensor) -> Tensor:
    """The numbers of each token side by side in memory."""
    return tensor if tensor.stride(-1) == 1 else tensor.contiguous()


# The compiler knows no other annotations than its own, and takes no names of this module. It is to make one program for
# all counts: each of another kind would be compiled when it first comes, amid a backward pass.
@triton.jit(do_not_specialize=["queries", "keys", "first", "of_part"])  # type: ignore[untyped-decorator, unused-ignore]
def _visit(  # type: ignore[no-untyped-def]
    q_at, k_at, v_at, g_at, statistics_at, centre_at, offset_at, share_at, mask_at, out_at,
    q_image, q_head, q_token, k_image, k_head, k_token, v_image, v_head, v_token, g_image, g_head, g_token,
    mask_image, mask_head, mask_row, mask_column,
    heads, queries, keys, first, of_part,
    scale, weight, even, least,
    mode: tl.constexpr, masked: tl.constexpr, depth: tl.constexpr, room: tl.constexpr,
    high: tl.constexpr, wide: tl.constexpr, product: tl.constexpr,
):  # fmt: skip
    """One program: some keys of a head, all queries of its part; it writes the sums of these keys."""
    block, head, part = tl.program_id(0), tl.program_id(1).to(tl.int64), tl.program_id(2)
    b, h = head // heads, head % heads
    n = block * wide + tl.arange(0, wide)
    d = tl.arange(0, room)
    is_key, is_depth = n < keys, d < depth
    to_key = is_key[:, None] & is_depth[None, :]
    k = tl.load(k_at + b * k_image + h * k_head + n[:, None] * k_token + d[None, :], mask=to_key, other=0.0)
    v = tl.load(v_at + b * v_image + h * v_head + n[:, None] * v_token + d[None, :], mask=to_key, other=0.0)
    found = tl.zeros([wide], tl.float32)
    for start in range(part * of_part, tl.minimum((part + 1) * of_part, queries), high):
        m = start + tl.arange(0, high)
        is_query = m < queries
        to_query = is_query[:, None] & is_depth[None, :]
        q = tl.load(q_at + b * q_image + h * q_head + m[:, None] * q_token + d[None, :], mask=to_query, other=0.0)
        g = tl.load(g_at + b * g_image + h * g_head + m[:, None] * g_token + d[None, :], mask=to_query, other=0.0)
        statistics = tl.load(statistics_at + head * queries + m, mask=is_query, other=0.0)
        centre = tl.load(centre_at + head * queries + m, mask=is_query, other=0.0)
        share = tl.load(share_at + b * queries + m, mask=is_query, other=0.0)
        # Never in TF32: what a softmax was divided by is exact, and a rounded score beside it moves whole maps by a
        # hundredth of their greatest score.
        scores = tl.dot(q, tl.trans(k), input_precision="tf32x3") * scale
        inside = is_query[:, None] & is_key[None, :]
        if masked > 0:
            place = b * mask_image + h * mask_head + m[:, None] * mask_row + n[None, :] * mask_column
            mask = tl.load(mask_at + place, mask=inside, other=0)
            if masked == 1:
                scores += mask.to(tl.float32)
            else:
                inside = inside & (mask != 0)
        weights = tl.where(inside, tl.exp(scores - statistics[:, None]), 0.0)
        moved = tl.dot(g, tl.trans(v), input_precision=product)
        if mode == 1:
            moved -= centre[:, None]
        elif mode == 2:
            moved = tl.maximum(moved, 0.0)
        elif mode == 3:
            moved = tl.abs(moved)
        elif mode == 4:
            moved -= centre[:, None]
            offset = tl.load(offset_at + head * queries + m, mask=is_query, other=0.0)
            own = moved / tl.maximum(1.0 - weights, least)
            moved = own + even * (moved - own) + even * offset[:, None]
            moved = moved / (weight + (1.0 - weight) * weights)
        elif mode == 5:
            moved = (moved - centre[:, None]) / weight
        if mode >= 4:
            moved = tl.where((first + m)[:, None] == n[None, :], 0.0, moved)
        found += tl.sum(weights * moved * share[:, None], axis=0)
    rows = part * tl.num_programs(1) + head
    tl.store(out_at + rows * keys + n, found, mask=is_key)
