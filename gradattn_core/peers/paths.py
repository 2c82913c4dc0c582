"""Attention joined with gradients along a path from an empty picture, or from no attention: TAM, Beyond Intuition, DIX.

TAM and Beyond Intuition multiply a product of attention matrices, elementwise, with one row W of the last layer's
gradient, averaged over pictures x·k/19, k = 0 … 19. DIX scales attention itself in the last two blocks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from gradattn_core.peers.capture import attended, gradients
from gradattn_core.peers.contributions import token_gain
from gradattn_core.peers.question import Peer, Question, difference
from gradattn_core.peers.rollouts import positive_products, share_of_depth

_STEPS = 20
_PARTS = 11


def tam(question: Question) -> Tensor:
    """(s ⊙ W) with s = r0·A_L(I+A_{L−1})…(I+A_5), A = E_h A, and W = r0·E_h relu(mean_k G_L(α_k x)).

    21 forward passes and 20 backward passes through the last block alone. The path begins at 0, the normalised mean
    colour; the start block follows the depth. Where the paper halves I + A and leaves α = 0 out, this follows the
    code: the halves are a constant, and 0 is the first of 20 steps.
    """
    with torch.no_grad():
        seen = attended(question)
    row, layers, _ = seen.read([attention.mean(dim=1) for attention in seen.maps])
    if seen.pool is None:
        row = seen.times(row, layers.pop())
    for layer in reversed(layers[share_of_depth(question, 4) :]):
        row = row + seen.times(row, layer)
    return difference([seen.patches(row) * slope for slope in _path_gradients(question)])


def beyond_intuition_heads(question: Question) -> Tensor:
    """R ⊙ W with R = r0·(I+Ā_L)…(I+Ā_4), Ā = Σ_h θ_h A_h, θ_h ∝ mean |A_hᵀ G_h| and Σ_h θ_h = 1; W as in TAM.

    21 forward passes, 1 backward pass, and 20 through the last block alone. f is the logit.
    """
    seen = attended(question)
    maps = []
    for one, slope in zip(question.each_class(), _path_gradients(question), strict=True):
        mixed = [_weighed(*call) for call in zip(seen.maps, seen.gradients(one.value), strict=True)]
        maps.append(seen.rolled(mixed, first=share_of_depth(question, 3)) * slope)
    return difference(maps)


def _weighed(attention: Tensor, gradient: Tensor) -> Tensor:
    """Σ_h θ_h A_h; heads are equal where no gradient reaches any."""
    weight = (attention.mT @ gradient).abs().mean(dim=(-2, -1), keepdim=True)
    weight = torch.where(weight.sum(dim=1, keepdim=True) > 0, weight, 1.0)
    return (attention * weight / weight.sum(dim=1, keepdim=True)).sum(dim=1)


def beyond_intuition_tokens(question: Question) -> Tensor:
    """R ⊙ W with R = r0·(I+Ā_L)…(I+Ā_7), Ā_ij = E_h A_ij · |v_j W_proj| / |z_j|; W as in TAM.

    v_j are the values of all heads with their bias, W_proj the projection behind (with its layer scale, where the model
    has one), z_j the token that enters the block. An attention pool is taken as it is. 21 forward passes and 20
    backward passes through the last block alone.
    """
    with torch.no_grad():
        seen = attended(question)
        mixed = [attention.mean(dim=1) for attention in seen.maps]
        for number in range(len(seen.layers)):
            mixed[number] = mixed[number] * token_gain(seen, number, "beyond-intuition-t")[:, None]
    row = seen.rolled(mixed, first=share_of_depth(question, 6))
    return difference([row * slope for slope in _path_gradients(question)])


def _path_gradients(question: Question) -> list[Tensor]:
    """W = r0·E_h relu(mean_k ∂f/∂A_L at α_k x) of each class on the patches, [B, patches]; f is the logit."""
    last = len(question.blocks) - (question.readout.kind != "attention-pool")
    sums: list[Tensor] = []

    def weigh(index: int, own: Callable[[], Tensor]) -> Tensor:
        # A leaf: no graph is kept before the last layer.
        return own().detach().requires_grad_(True) if index == last else own()

    for steps, pictures in question.passes(_STEPS):
        scale = (steps / (_STEPS - 1)).to(question.images.dtype)
        part = question.take(pictures)
        seen = attended(replace(part, images=part.images * scale[:, None, None, None]), weigh, pixels=False)
        slopes = [gradients(one.value(seen.logits), [seen.calls[-1].weights])[0] for one in part.each_class()]
        _add(sums, slopes, pictures, question)
    found = []
    for total in sums:
        weight = (total / _STEPS).relu().mean(dim=1)
        if question.readout.kind == "attention-pool":
            found.append(weight.mean(dim=1)[:, -question.patches :])
        else:
            row = question.readout.row(weight.shape[-1])[0].to(weight)
            found.append((row @ weight)[:, question.readout.prefix_tokens :])
    return found


def _add(sums: list[Tensor], parts: list[Tensor], pictures: Tensor, question: Question) -> None:
    """Add each part [n, ...] to its sum [B, ...], at the pictures that it is of."""
    for number, part in enumerate(parts):
        if number == len(sums):
            sums.append(part.new_zeros(len(question.images), *part.shape[1:]))
        sums[number].index_add_(0, pictures, part)


def dix(question: Question, *, strict: bool = False) -> Tensor:
    """Σ_{b ∈ {L, L−1}} r0·R(I+M_L)…R(I+M_1), M_l = mean_t E_h relu(G_l ⊙ A_l) with t·A in the place of A_b.

    t = 0, .1, …, 1; R divides rows by their sums. As published, both runs put t times the *last* block's attention in,
    also into block L−1; ``strict`` puts each block's own. 23 forward and 22 backward passes.
    """
    with torch.no_grad():
        plain = attended(question)
    last = len(plain.layers) - 1
    totals: list[Tensor] = []
    for block in range(last, max(last - 2, -1), -1):
        runs = _scaled_runs(question, block, plain.maps[block if strict else last])
        totals.append(difference([plain.rolled(run, sums_to_one=True) for run in runs]))
    return torch.stack(totals).sum(dim=0)


def _scaled_runs(question: Question, block: int, source: Tensor) -> list[list[Tensor]]:
    """M of every call, averaged over t, with t·``source`` as the attention of ``block``; of each class."""
    classes = question.each_class()
    sums: list[list[Tensor]] = [[] for _ in classes]
    for steps, pictures in question.passes(_PARTS):
        part = question.take(pictures)
        scaled = source[pictures] * (steps / (_PARTS - 1)).to(source.dtype)[:, None, None, None]

        def weigh(index: int, own: Callable[[], Tensor], scaled: Tensor = scaled) -> Tensor:
            return scaled.clone().requires_grad_(True) if index == block else own()

        seen = attended(part, weigh)
        for one, run in zip(part.each_class(), sums, strict=True):
            _add(run, positive_products(seen, one), pictures, question)
    return [[matrix / _PARTS for matrix in run] for run in sums]


PEERS = (
    Peer(
        name="tam",
        title="TAM",
        source="Yuan et al. 2021, Explaining Information Flow Inside Vision Transformers Using Markov Chain",
        maps=tam,
        passes=41,
        cost="21 forward + 20 backward through the last block",
        shares_passes=True,
        notes="20 steps from the mean colour, blocks from the fifth of 12 on, f the logit, as in the authors' code.",
    ),
    Peer(
        name="beyond-intuition-h",
        title="Beyond Intuition (heads)",
        source="Chen et al. 2023, Beyond Intuition: Rethinking Token Attributions inside Transformers",
        maps=beyond_intuition_heads,
        passes=42,
        cost="21 forward + 21 backward",
        shares_passes=True,
        notes="20 steps from the mean colour, blocks from the fourth of 12 on; batched, unlike the authors' code.",
    ),
    Peer(
        name="beyond-intuition-t",
        title="Beyond Intuition (tokens)",
        source="Chen et al. 2023, Beyond Intuition: Rethinking Token Attributions inside Transformers",
        maps=beyond_intuition_tokens,
        passes=41,
        cost="21 forward + 20 backward through the last block",
        shares_passes=True,
        notes="20 steps from the mean colour, blocks from the seventh of 12 on; batched, unlike the authors' code.",
    ),
    Peer(
        name="dix",
        title="DIX",
        source="Barkan et al. 2023, Deep Integrated Explanations",
        maps=dix,
        passes=45,
        cost="23 forward + 22 backward",
        shares_passes=True,
        notes="As the authors' code has it: both runs put the last block's attention in.",
    ),
    Peer(
        name="dix-strict",
        title="DIX, each block's own attention",
        source="Barkan et al. 2023, Deep Integrated Explanations",
        maps=lambda question: dix(question, strict=True),
        passes=45,
        cost="23 forward + 22 backward",
        shares_passes=True,
        notes="Each run puts the attention of its own block in.",
    ),
)
