"""The product's own maps, and the two controls that every table needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from gradattn_core.attention.secant import A1, B1, B3, PLAIN, Secant, scaled
from gradattn_core.interpret.absence import answer_without_picture
from gradattn_core.interpret.maps import Interpretation, signed_maps
from gradattn_core.interpret.objective import class_value
from gradattn_core.methods import Method
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


def _interpretation(question: Question, method: Method, setting: Secant = B1) -> Interpretation:
    """By :func:`~gradattn_core.interpret.maps.interpret`, of a pair's log-odds or of one logit."""
    asked = replace(method, objective="logit" if question.against is None else "difference")
    model, images, a, b = question.model, question.images, question.target, question.against
    return signed_maps(model, images, a, b, asked, question.head, setting=setting)


def _interpreted(method: Method, setting: Secant = B1) -> Callable[[Question], Tensor]:
    return lambda question: _interpretation(question, method, setting).scores


def centred_with_two_scales(question: Question) -> Tensor:
    """The centred map, its positive part times s and its negative part over s, so that its sum is f − f₀.

    1 forward and backward pass, and one without a picture for f₀, for a whole batch.
    """
    found = _interpretation(question, Method(correction="centred"))
    absent = answer_without_picture(question.model, question.images, question.head)
    return scaled(found.scores.flatten(1), question.value(found.logits) - question.value(absent))


def printed_ratio(question: Question) -> Tensor:
    """Eq. 8 as printed: the complete map of (z_a − z_b) / z_a, signed, and of z_a where one class is asked about.

    Its gradient is (z_b ∇z_a − z_a ∇z_b) / z_a²: signs turn round where both logits are negative, and no swap of the
    classes gives its negative. z_a / z_b has the direction of the same gradient, and with z_a held constant below the
    line it is that of z_a − z_b, so neither is a method of its own here.
    """
    pair = question.against
    if pair is None:
        return _interpretation(question, Method(correction="complete")).scores

    def ratio(logits: Tensor) -> Tensor:
        z_a, z_b = (class_value(logits, each, None) for each in (question.target, pair))
        return (z_a - z_b) / z_a

    method = Method(correction="complete", objective=ratio)
    return signed_maps(question.model, question.images, method=method, head=question.head).scores


def _paper(correction: str, aggregation: str) -> Peer:
    formula, is_signed = _CORRECTIONS[correction]
    joined = "layers added" if aggregation == "sum" else "layers multiplied"
    return Peer(
        name=correction if aggregation == "product" else f"{correction}-sum",
        title=f"{correction}, {joined}",
        source=_PAPER if correction != "centred" else "ours, after Cui et al. 2026",
        maps=_interpreted(Method(correction=correction, aggregation=aggregation)),
        passes=2,
        cost="1 forward + backward",
        explains="pair",
        is_signed=is_signed,
        is_sided=correction != "absolute",
        notes=f"{formula}; the row r0 followed back through I + E_h(W ⊙ A), {joined}.",
    )


def _secant(name: str, title: str, setting: Secant, notes: str) -> Peer:
    count = len(setting.passes)
    return Peer(
        name=name,
        title=title,
        source="ours",
        maps=_interpreted(Method(correction="secant"), setting),
        passes=2 * count + 1,
        cost=f"{count} forward + backward, 1 forward" + (", 1 forward for a batch" if setting.scales else ""),
        explains="pair",
        is_signed=True,
        adds_up=setting.scales,
        notes=notes,
    )


PEERS = (
    _secant(
        "secant",
        "secant key weights",
        B1,
        "The default. Log-odds by patch: every patch at half its weight in every softmax, a secant from there, damped "
        "gradients, two scales.",
    ),
    _secant("secant-3", "secant key weights, three points", B3, "The same at the weights 1, ½ and ⅕."),
    _secant("secant-a", "secant key weights, no even share", A1, "Without the term that compares with the plain mean."),
    _secant("key-weights", "key weights", PLAIN, "∂f/∂w at w = ½: no secant, no damping, no scales; its sum is free."),
    Peer(
        name="centred-scaled",
        title="centred, two scales",
        source="ours, after Cui et al. 2026",
        maps=centred_with_two_scales,
        passes=2,
        cost="1 forward + backward, 1 forward for a batch",
        explains="pair",
        is_signed=True,
        adds_up=True,
        notes="The centred map, scaled for either sign until its sum is f − f₀.",
    ),
    *(_paper(correction, aggregation) for correction in _CORRECTIONS for aggregation in ("product", "sum")),
    Peer(
        name="ratio",
        title="complete, of the printed ratio",
        source="Cui et al. 2026, eq. 8",
        maps=printed_ratio,
        passes=2,
        cost="1 forward + backward",
        explains="pair",
        is_signed=True,
        notes="complete of (z_a − z_b) / z_a: signs turn round where both logits are negative.",
    ),
    Peer(
        name="random",
        title="random map",
        source="a control",
        maps=random_map,
        passes=0,
        cost="none",
        explains="picture",
        is_signed=True,
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
        notes="exp(−2 d²) of the distance from the centre; knows neither the picture nor the model.",
    ),
)
