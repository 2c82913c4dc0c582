"""What a token hands to another through one attention block: attention times the vector that it carries (ALTI).

With v_j^h the values of head h (their bias included), W^h its part of the projection behind and γ the layer scale where
there is one, attention adds Σ_j T_ij to token i, T_ij = Σ_h A_ij^h γ W^h v_j^h. The projection's own bias comes from no
token and is left out.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from timm.layers import LayerScale
from torch import Tensor, nn

from gradattn_core.attention.explicit import Layer
from gradattn_core.peers.capture import Attended, attended
from gradattn_core.peers.question import Peer, Question

# Blocks of the form x + γ·proj(attention(norm(x))): what attention gives is added to the stream as it is projected.
_PRE_NORM = {"Block", "EvaBlock", "RelPosBlock", "ParallelScalingBlock"}
_ROOM = 1 << 24


def alti(question: Question) -> Tensor:
    """r0·C_L…C_1, C_ij ∝ max(0, |y_i| − |y_i − T_ij|), rows summing to 1, y_i = Σ_j T_ij, all norms L1.

    T_ii also holds the residual stream's own x_i. The paper carries the layer norm behind the sum into T; blocks of
    Vision Transformers have it before, so there is none to carry. A pool has no residual. 1 forward pass.
    """
    with torch.no_grad():
        seen = attended(question)
        layers = [_contributions(seen, number) for number in range(len(seen.layers))]
        if seen.pool is None:
            row = seen.read(layers)[0]
        else:
            row = seen.read([*layers, _pool_contributions(seen, seen.pool)])[0]
        for layer in reversed(layers):
            row = seen.times(row, layer)
    return seen.patches(row)


def token_gain(seen: Attended, number: int, method: str) -> Tensor:
    """|γ W v_j| / |z_j| of every token j of a block, [B, N]: z_j enters the block, v_j are the values of all heads."""
    layer = seen.layers[number]
    carried: Tensor = layer.value.transpose(1, 2).flatten(2) @ _projection(seen, number, method).mT
    gain: Tensor = carried.norm(dim=-1) / seen.streams[number].norm(dim=-1)
    return gain


def _contributions(seen: Attended, number: int) -> Tensor:
    """C of a block, [B, N, N]."""
    layer, stream = seen.layers[number], seen.streams[number]
    rows = []
    for queries, handed in _handed(layer, _projection(seen, number, "alti")):
        own = torch.arange(queries.start, queries.stop, device=stream.device)
        handed[:, own - queries.start, own] += stream[:, own]
        rows.append(_shares(handed))
    return torch.cat(rows, dim=1)


def _pool_contributions(seen: Attended, pool: Layer) -> Tensor:
    """C of an attention pool, [B, latents, Nk]."""
    projection = seen.question.model.attn_pool.proj  # type: ignore[union-attr]
    width = pool.value.shape[1] * pool.value.shape[3]
    weight = projection.weight if isinstance(projection, nn.Linear) else torch.eye(width).to(pool.value)
    return torch.cat([_shares(handed) for _, handed in _handed(pool, weight)], dim=1)


def _handed(layer: Layer, weight: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """T of some queries at a time, [B, queries, Nk, D]; ``weight`` is γW, [D, H·d]."""
    heads, depth = layer.value.shape[1], layer.value.shape[3]
    vectors = torch.einsum("bhjd,ehd->bhje", layer.value, weight.unflatten(1, (heads, depth)))
    count = layer.weights.shape[2]
    step = max(1, _ROOM // (len(vectors) * vectors.shape[2] * vectors.shape[3]))
    for start in range(0, count, step):
        queries = slice(start, min(start + step, count))
        yield queries, torch.einsum("bhij,bhje->bije", layer.weights[:, :, queries].to(vectors.dtype), vectors)


def _shares(handed: Tensor) -> Tensor:
    """From T [B, i, j, D] to C [B, i, j]; a token to which nothing comes close is shared out evenly."""
    total = handed.sum(dim=2, keepdim=True)
    near = total.abs().sum(dim=-1) - (total - handed).abs().sum(dim=-1)
    near = near.clamp_min(0)
    whole = near.sum(dim=-1, keepdim=True)
    return torch.where(whole > 0, near / whole, 1 / near.shape[-1])


def _projection(seen: Attended, number: int, method: str) -> Tensor:
    """γW [D, H·d] of a block.

    Raises:
        InterpretError: what attention gives is not projected and added as it is.
    """
    block = seen.question.blocks[number]
    attention = getattr(block, "attn", block)
    projection = getattr(attention, "proj", getattr(attention, "attn_out_proj", None))
    if type(block).__name__ not in _PRE_NORM or not isinstance(projection, nn.Linear):
        raise seen.question.refuse(method, f"has blocks of a kind ({type(block).__name__}) whose sums it does not know")
    if not isinstance(getattr(attention, "norm", nn.Identity()), nn.Identity):
        raise seen.question.refuse(method, "normalises what attention gives, so tokens do not add up in it")
    if getattr(attention, "gate", None) is not None:
        raise seen.question.refuse(method, "gates what attention gives, so tokens do not add up in it")
    scale = next(
        (part for name in ("gamma_1", "ls1", "ls") if (part := getattr(block, name, None)) is not None), nn.Identity()
    )
    if isinstance(scale, LayerScale):
        scale = scale.gamma
    return projection.weight if isinstance(scale, nn.Module) else scale[:, None] * projection.weight


PEERS = (
    Peer(
        name="alti",
        title="ALTI",
        source=(
            "Ferrando, Gállego and Costa-jussà 2022, Measuring the Mixing of Contextual Information in the Transformer"
        ),
        maps=alti,
        passes=1,
        cost="1 forward",
        explains="picture",
        notes=(
            "For layer norms before the block, so none is carried into the vectors. Models that normalise or gate what "
            "attention gives (EVA-02 CLIP and its kin) are refused."
        ),
    ),
)
