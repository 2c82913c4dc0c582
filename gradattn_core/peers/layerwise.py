"""Gradients of attention as the explanation itself, of every layer (LeGrad) or the last (Grad-ECLIP)."""

from __future__ import annotations

from contextlib import nullcontext

import torch
from torch import Tensor

from gradattn_core.attention.explicit import ExplicitAttention
from gradattn_core.peers.capture import attended, gradients
from gradattn_core.peers.question import Peer, Question


def legrad(question: Question, *, signed: bool = False) -> Tensor:
    """mean_l E_h mean_i relu(∂f_l/∂A_l)_ij, f_l what the classifier says of the tokens behind block l.

    The mean is over all queries i. f_l reads the tokens by the model's last norm, its pool and its head. Behind an
    attention pool A_l is the pool's own attention over the tokens of block l, as in the paper. ``signed`` leaves relu
    out, so that the map is linear in f. 1 forward pass and, for each layer, one backward pass through that block.
    """
    name = "legrad-signed" if signed else "legrad"
    seen = attended(question)
    pooled = seen.pool is not None
    total: Tensor | float = 0.0
    for number, stream in enumerate(seen.streams[1:]):
        pool = ExplicitAttention(question.name) if pooled else None
        with torch.enable_grad(), pool or nullcontext():
            logits = _said(question, stream, name)
        if number == len(seen.layers) - 1 and not torch.allclose(logits, seen.logits, rtol=1e-3, atol=1e-3):
            raise question.refuse(name, "does not read its tokens by norm, pool and head alone")
        weights = pool.layers[-1].weights if pool is not None else seen.layers[number].weights
        [slope] = gradients(question.value(logits), [weights])
        row = (slope if signed else slope.relu()).mean(dim=(1, 2))
        total = total + row[:, -question.patches :]
    assert isinstance(total, Tensor)
    return total / len(seen.layers)


def _said(question: Question, stream: Tensor, name: str) -> Tensor:
    """Logits of the tokens behind some block, read as the last block's are."""
    model = question.model
    norm = getattr(model, "norm", None)
    if norm is None:
        raise question.refuse(name, "has no last norm by which an earlier block could be read")
    features = model.forward_head(norm(stream), pre_logits=question.head is not None)  # type: ignore[operator]
    logits: Tensor = features if question.head is None else question.head(features)
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def grad_eclip(question: Question, *, loose: bool = True) -> Tensor:
    """relu(Σ_i λ_ij ⟨∂f/∂o_i, v_j⟩) of the last layer, o_i and v_j of all heads joined, i over all queries.

    λ_ij = cos(q_i, k_j) of all heads joined, min-max over the patches j. Behind a class token its row i alone has a
    gradient, which is the paper's formula; a pooled model has it in every row. The authors' code runs the last block
    again as one head and so explains another network; this is the network's own attention. Without λ it equals
    relu(Σ_h Σ_i ∂f/∂A_ij), by which it is computed. 1 forward pass, 1 backward pass through the last block.

    Args:
        question: what is asked.
        loose: weigh by λ; ``False`` takes 1 in its place.
    """
    seen = attended(question)
    last = seen.calls[-1]
    [slope] = gradients(question.value(seen.logits), [last.weights], keep=False)
    pushed = slope.sum(dim=1)[..., -question.patches :]
    if loose:
        query, key = (tensor.detach().transpose(1, 2).flatten(2).to(pushed.dtype) for tensor in (last.query, last.key))
        alike = torch.nn.functional.normalize(query, dim=-1) @ torch.nn.functional.normalize(key, dim=-1).mT
        alike = alike[..., -question.patches :]
        least, most = alike.amin(dim=-1, keepdim=True), alike.amax(dim=-1, keepdim=True)
        pushed = pushed * (alike - least) / (most - least).clamp_min(torch.finfo(alike.dtype).tiny)
    return pushed.sum(dim=1).relu()


_LEGRAD = (
    "Bousselham, Boggust, Chaybouti, Strobelt and Kuehne 2025, "
    "LeGrad: An Explainability Method for Vision Transformers via Feature Formation Sensitivity"
)
_GRAD_ECLIP = "Zhao et al. 2024, Gradient-based Visual Explanation for Transformer-based CLIP"

PEERS = (
    Peer(
        name="legrad",
        title="LeGrad",
        source=_LEGRAD,
        maps=legrad,
        passes=3,
        cost="1 forward + a backward through each block",
        notes="All layers; the authors' library takes the last ones by default.",
    ),
    Peer(
        name="legrad-signed",
        title="LeGrad, signed",
        source=_LEGRAD,
        maps=lambda question: legrad(question, signed=True),
        passes=3,
        cost="1 forward + a backward through each block",
        explains="pair",
        is_signed=True,
        notes="Without the authors' relu; linear in f.",
    ),
    Peer(
        name="grad-eclip",
        title="Grad-ECLIP",
        source=_GRAD_ECLIP,
        maps=grad_eclip,
        passes=2,
        cost="1 forward + backward through the last block",
        notes="With the model's own heads; the authors' code runs the last block again as one head.",
    ),
    Peer(
        name="grad-eclip-strict",
        title="Grad-ECLIP without λ",
        source=_GRAD_ECLIP,
        maps=lambda question: grad_eclip(question, loose=False),
        passes=2,
        cost="1 forward + backward through the last block",
        notes="Without the similarity of query and key: relu of the summed gradient of the last attention.",
    ),
)
