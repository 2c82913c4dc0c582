"""Raw attention, attention rollout, and rollout weighted by gradients, each in the variants that circulate.

All read r0ᵀ(I+M_L)…(I+M_1) and differ in M: attention alone, or attention weighted by the gradient that reaches it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gradattn_core.peers.capture import Attended, attended
from gradattn_core.peers.question import Peer, Question

_ROLLOUT = "Abnar and Zuidema 2020, Quantifying Attention Flow in Transformers"
_GAE = "Chefer, Gur and Wolf 2021, Generic Attention-Model Explainability"
_GRAD_CAM = "Selvaraju et al. 2017, Grad-CAM; on attention by Chefer, Gur and Wolf 2021, Transformer Interpretability"
# Start layers and shares are published for this depth.
_DEPTH = 12


def share_of_depth(question: Question, blocks: int) -> int:
    """How many first blocks to leave out, where the source leaves out ``blocks`` of 12."""
    return round(blocks * len(question.blocks) / _DEPTH)


@torch.no_grad()
def raw_attention(question: Question) -> Tensor:
    """r0·E_h A_L: whom the readout looks at in the last layer. 1 forward pass."""
    seen = attended(question)
    return seen.patches(seen.last_row(_mean(seen.maps)))


@torch.no_grad()
def rollout(question: Question, *, first: int = 0) -> Tensor:
    """M = E_h A, each row of I + M divided by its sum, which is 2. 1 forward pass.

    Args:
        question: what is asked.
        first: the first block that counts, of 12. The authors take all; evaluations by Chefer et al. leave out one.
    """
    seen = attended(question)
    return seen.rolled(_mean(seen.maps), first=share_of_depth(question, first), sums_to_one=True)


@torch.no_grad()
def rollout_max(question: Question) -> Tensor:
    """M = max_h A, each row of I + M divided by its sum. 1 forward pass."""
    seen = attended(question)
    return seen.rolled([attention.amax(dim=1) for attention in seen.maps], sums_to_one=True)


@torch.no_grad()
def rollout_discard(question: Question, *, ratio: float = 0.9) -> Tensor:
    """M = E_h A without its smallest entries, each row of I + M divided by its sum. 1 forward pass.

    The smallest ``ratio`` of each layer's N x N entries become 0, all but the class token's view of itself. The code
    by which this variant is known divides by the sums of the rows along the wrong axis and treats only the first
    picture of a batch; neither is done here.
    """
    seen = attended(question)
    kept = []
    for attention in _mean(seen.maps):
        flat = attention.flatten(1)
        least = flat.topk(int(ratio * flat.shape[1]), largest=False).indices
        without = flat.scatter(1, least, 0)
        without[:, 0] = flat[:, 0]
        kept.append(without.view_as(attention))
    return seen.rolled(kept, sums_to_one=True)


def gae(question: Question) -> Tensor:
    """M = E_h relu(G ⊙ A), f the logit: the authors' way. 1 forward and 1 backward pass."""
    seen = attended(question)
    return seen.rolled(positive_products(seen, question))


def positive_products(seen: Attended, question: Question) -> list[Tensor]:
    """E_h relu(G ⊙ A) of every call, f that of ``question``."""
    weighted = zip(seen.gradients(question.value), seen.maps, strict=True)
    return [(gradient * attention).relu().mean(dim=1) for gradient, attention in weighted]


def gae_mean_first(question: Question) -> Tensor:
    """M = relu(E_h(G ⊙ A)) from the second block of 12 on, as a baseline in Beyond Intuition's code."""
    seen = attended(question)
    weighted = zip(seen.gradients(), seen.maps, strict=True)
    mixed = [(gradient * attention).mean(dim=1).relu() for gradient, attention in weighted]
    return seen.rolled(mixed, first=share_of_depth(question, 1))


def gae_product_of_means(question: Question) -> Tensor:
    """M = relu(E_h A ⊙ E_h G) from the fourth block of 12 on, G the gradient of the probability, as in InterpretDL."""
    seen = attended(question)
    weighted = zip(_mean(seen.gradients(question.probability)), _mean(seen.maps), strict=True)
    mixed = [(gradient * attention).relu() for gradient, attention in weighted]
    return seen.rolled(mixed, first=share_of_depth(question, 3))


def attention_grad_cam(question: Question) -> Tensor:
    """relu(E_h w_h (r0·A_L)_h), w_h the mean over the patches of (r0·G_L)_h. 1 forward and 1 backward pass."""
    seen = attended(question)
    gradient = seen.patches(seen.last_row(seen.gradients()))
    weight = gradient.mean(dim=-1, keepdim=True)
    return (weight * seen.patches(seen.last_row(seen.maps))).mean(dim=1).relu()


def _mean(maps: list[Tensor]) -> list[Tensor]:
    return [matrix.mean(dim=1) for matrix in maps]


PEERS = (
    Peer(
        name="attention",
        title="raw attention",
        source="no publication; the plain look at the last layer",
        maps=raw_attention,
        passes=1,
        cost="1 forward",
        explains="picture",
        notes="The readout's row of the last layer, mean over the heads.",
    ),
    Peer(
        name="rollout",
        title="rollout",
        source=_ROLLOUT,
        maps=rollout,
        passes=1,
        cost="1 forward",
        explains="picture",
        notes="All layers, mean over the heads.",
    ),
    Peer(
        name="rollout-1",
        title="rollout without the first block",
        source=_ROLLOUT,
        maps=lambda question: rollout(question, first=1),
        passes=1,
        cost="1 forward",
        explains="picture",
        notes="As evaluations by Chefer et al. take it as a baseline; of another depth than 12 the same share.",
    ),
    Peer(
        name="rollout-max",
        title="rollout, greatest head",
        source=_ROLLOUT,
        maps=rollout_max,
        passes=1,
        cost="1 forward",
        explains="picture",
        notes="The greatest attention of the heads in the place of their mean, as the library vit-explain offers it.",
    ),
    Peer(
        name="rollout-discard",
        title="rollout without the smallest 90 %",
        source=_ROLLOUT,
        maps=rollout_discard,
        passes=1,
        cost="1 forward",
        explains="picture",
        notes=(
            "The smallest nine tenths of each layer's attention are dropped, as in the library vit-explain; its slip, "
            "a division along the wrong axis, is not repeated."
        ),
    ),
    Peer(
        name="gae",
        title="GAE",
        source=_GAE,
        maps=gae,
        passes=2,
        cost="1 forward + backward",
        notes="relu, then mean over the heads: the authors' way. On one logit it is our positive, layers multiplied.",
    ),
    Peer(
        name="gae-mean-first",
        title="GAE, mean then relu",
        source=_GAE,
        maps=gae_mean_first,
        passes=2,
        cost="1 forward + backward",
        notes="Mean over the heads, then relu, from block 2 of 12: what Beyond Intuition's code compares with.",
    ),
    Peer(
        name="gae-means",
        title="GAE, product of means",
        source=_GAE,
        maps=gae_product_of_means,
        passes=2,
        cost="1 forward + backward",
        notes="Mean attention by mean gradient of the probability, then relu, from block 4 of 12, as in InterpretDL.",
    ),
    Peer(
        name="grad-cam-attention",
        title="Grad-CAM on attention",
        source=_GRAD_CAM,
        maps=attention_grad_cam,
        passes=2,
        cost="1 forward + backward",
        notes="Heads of the last layer, weighted by their mean gradient over the patches.",
    ),
)
