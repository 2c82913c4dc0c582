"""The product's own maps, and the two controls that every table needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gradattn_core.interpret.maps import interpret
from gradattn_core.peers.question import Peer, Question

_PAPER = "Cui et al. 2026, eqs. 1-6"
_CORRECTIONS = {
    "complete": ("W = G", True),
    "centred": ("W = G − Σ_k A_ik G_ik; no rewrite that keeps the function changes it", True),
    "positive": ("W = relu(G)", False),
    "absolute": ("W = |G|", False),
}


def random_map(question: Question) -> Tensor:
    """Independent numbers of a standard normal distribution: what a method without any knowledge scores."""
    draws = [torch.randn(question.patches, generator=generator) for generator in question.generators()]
    return torch.stack(draws).to(question.images.device)


def centre_prior(question: Question) -> Tensor:
    """exp(−2 d²), d the distance from the picture's centre with its half sides as units: pictures show things there."""
    sides = [torch.linspace(-1 + 1 / count, 1 - 1 / count, count) for count in question.grid]
    rows, columns = (torch.exp(-2 * side.square()) for side in sides)
    return torch.outer(rows, columns).flatten().expand(len(question.images), -1).to(question.images.device)


def _interpreted(**options: Any) -> Callable[[Question], Tensor]:
    """Maps by :func:`~gradattn_core.interpret.maps.interpret`."""

    def maps(question: Question) -> Tensor:
        objective = "logit" if question.against is None else "difference"
        return interpret(
            question.model,
            question.images,
            question.target,
            question.against,
            objective=objective,
            head=question.head,
            **options,
        ).scores

    return maps


def _paper(correction: str, aggregation: str) -> Peer:
    formula, is_signed = _CORRECTIONS[correction]
    joined = "layers added" if aggregation == "sum" else "layers multiplied"
    return Peer(
        name=correction if aggregation == "product" else f"{correction}-sum",
        title=f"{correction}, {joined}",
        source=_PAPER if correction != "centred" else "ours, after Cui et al. 2026",
        maps=_interpreted(correction=correction, aggregation=aggregation),
        passes=2,
        cost="1 forward + backward",
        explains="pair",
        is_signed=is_signed,
        is_sided=correction != "absolute",
        notes=f"{formula}; the row r0 followed back through I + E_h(W ⊙ A), {joined}.",
    )


PEERS = (
    *(_paper(correction, aggregation) for correction in _CORRECTIONS for aggregation in ("product", "sum")),
    Peer(
        name="random",
        title="random map",
        source="a control",
        maps=random_map,
        passes=0,
        cost="none",
        explains="picture",
        is_signed=True,
        is_detail=False,
        notes="Knows neither the picture nor the model.",
    ),
    Peer(
        name="centre",
        title="centre prior",
        source="a control",
        maps=centre_prior,
        passes=0,
        cost="none",
        explains="picture",
        is_detail=False,
        notes="exp(−2 d²) of the distance from the centre; knows neither the picture nor the model.",
    ),
)
