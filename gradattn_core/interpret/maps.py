"""Which parts of a picture speak for one class and which for another: the row of Cui et al. (2026), or the secant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import timm
import torch
from PIL import Image
from torch import Tensor, nn

from gradattn_core.attention.precision import product_precision
from gradattn_core.attention.readout import Readout, find_readout, model_name, patch_grid
from gradattn_core.attention.rollout import check_model, follow_row
from gradattn_core.attention.secant import B1, Secant, scaled, secant_terms
from gradattn_core.errors import InterpretError
from gradattn_core.interpret.absence import READS_PATCHES, answer_of, picture_free_tokens, ready
from gradattn_core.interpret.objective import (
    Classes,
    Objective,
    class_indices,
    exact_values,
    objective_value,
    strongest_other,
)
from gradattn_core.methods import Method
from gradattn_core.model.forward import Head, check_head, check_images, class_logits, final_tokens
from gradattn_core.model.preprocessing import preprocessed


@dataclass(frozen=True, slots=True)
class Provenance:
    """How a map was made: enough to make it again. ``aggregation`` is empty for *secant*.

    ``precision`` is that of its matrix products: ``tf32`` where those of float32 were rounded on a GPU, else the
    model's.
    """

    model: str
    objective: str
    correction: str
    aggregation: str
    readout: str
    torch: str
    timm: str
    precision: str = "float32"


@dataclass(frozen=True)
class Interpretation:
    """Signed maps of a batch.

    Attributes:
        scores: [B, grid height, grid width] float32, raw; positive speaks for ``target``, negative against it (for
            ``against`` where one was given). The sign is relative: see :func:`interpret`.
        logits: [B, K] float32, of the model's classifier or of the ``head`` that was given.
        prefix_share: [B], the share of the row's absolute mass (r0 left out) that ended on prefix tokens, in [0, 1];
            zero for *secant*, where prefix tokens belong to ``base``.
        log_odds: [B] float32, f of *secant*; ``None`` for another correction.
        base: [B] float32, f₀ of *secant*: f without any picture. ``scores`` sum to ``log_odds - base``.
    """

    scores: Tensor
    logits: Tensor
    prefix_share: Tensor
    provenance: Provenance
    log_odds: Tensor | None = None
    base: Tensor | None = None

    @cached_property
    def normalised(self) -> Tensor:
        """S / max|S| per image, in [-1, 1], [B, grid height, grid width].

        Raises:
            InterpretError: if a map is zero everywhere and therefore has no scale.
        """
        limit = self.scores.abs().amax(dim=(1, 2), keepdim=True)
        if not bool((limit > 0).all()):
            empty = [i for i, value in enumerate(limit.flatten().tolist()) if value == 0]
            raise InterpretError(
                f"scores: the map of image {empty[0]} of the batch is zero everywhere and has no scale"
            )
        return self.scores / limit


def interpret(
    model: nn.Module,
    images: Tensor | Sequence[Image.Image],
    target: Classes | None = None,
    against: Classes | None = None,
    *,
    objective: Objective = "difference",
    correction: str = "complete",
    aggregation: str | None = None,
    readout: str = "auto",
    head: Head | None = None,
    logits: Tensor | None = None,
    base: Tensor | None = None,
) -> Interpretation:
    """Explain a batch by one forward and one backward pass, without ever holding a layer's N x N attention map.

    The map of *secant* is in the unit of f and adds up: Σ S = f − f₀, with f₀ what the model says without any picture
    (:mod:`gradattn_core.attention.secant`). It takes a forward pass more for f, and one of a single picture for f₀,
    unless they are given.

    The map of the other corrections is S = (r0ᵀ(I+M_L)…(I+M_1) − r0)[P:] with M_l = E_h(W_l ⊙ A_l), followed as one row
    (eqs. 1-3).

    Objectives, with z the logits, a the target and b the other class: ``logit`` z_a; ``difference`` z_a − z_b, which is
    the log-odds and the default; ``ratio`` (z_a − z_b)/z_a as printed (eq. 8), whose gradient turns round when both
    logits are negative and grows without bound as z_a → 0; ``quotient`` z_a/z_b, which has the direction of
    the same gradient; ``normalised`` (z_a − z_b)/|z_a| with the denominator held constant; or a callable from logits
    [B, K] to [B]. ``ratio`` and ``quotient`` warn where a logit is not positive.

    Corrections, with G = ∂f/∂A: ``complete`` W=G (eq. 5), ``positive`` W=relu(G) (eq. 4, known as GAE), ``absolute``
    W=|G| (eq. 6), ``centred`` W=G−Σ_k A_ik G_ik. A sign of *complete* is relative to a value vector of zero: a constant
    moved from the value bias to the projection bias leaves every logit as it was but changes signs. *centred* takes
    the attended mean as the origin and does not change.

    Args:
        model: a timm Vision Transformer with global self-attention. It is left as it was found.
        images: upright pictures, or [B, 3, H, W], preprocessed as the model expects.
        target: the class(es) that red speaks for: an int or [B] integers. Not needed with a callable objective.
        against: the class(es) that blue speaks for. ``None`` with a two-class objective takes each image's strongest
            other class.
        objective, correction, aggregation: see above; ``aggregation="sum"`` adds the layers' rows instead of
            multiplying the layers. *secant* has no aggregation, and explains ``difference``, ``logit`` and callables.
        readout: ``auto`` finds it from the model; otherwise ``cls``, ``distilled``, ``mean`` or ``attention-pool``.
        head: maps the model's pre-logit features [B, D] to logits [B, K]; the classifier where ``None``.
        logits: [B, K], the model's answer where it is known. Only *secant* has a use for it.
        base: [B], f₀ where it is known. Only *secant* has a use for it.

    Returns:
        :class:`Interpretation`, float32 whatever the model's precision.

    Raises:
        InterpretError: an argument is unusable; the message names it.
        ModelError: the model has no global self-attention.
    """
    method = Method(objective, correction, aggregation, readout)
    return signed_maps(model, images, target, against, method, head, logits, base)


interpret_images = interpret
"""The same function, by the name that :mod:`gradattn_core` offers."""


def signed_maps(
    model: nn.Module,
    images: Tensor | Sequence[Image.Image],
    target: Classes | None = None,
    against: Classes | None = None,
    method: Method = Method(),
    head: Head | None = None,
    logits: Tensor | None = None,
    base: Tensor | None = None,
    setting: Secant = B1,
) -> Interpretation:
    """:func:`interpret` for a method that is already one record; ``setting`` is *secant*'s."""
    model = getattr(model, "_orig_mod", model)
    check_model(model)
    if isinstance(images, Sequence) and images and all(isinstance(picture, Image.Image) for picture in images):
        images = preprocessed(model, images)
    if not isinstance(images, Tensor):
        raise InterpretError(f"images: expected a batch [B, channels, H, W] or pictures, got {type(images).__name__}")
    check_images(model, images)
    if not bool(torch.isfinite(images).all()):
        raise InterpretError("images: some pixels are not finite")
    check_head(head)
    if method.correction == "secant":
        # What comes back from inference mode is an ordinary tensor.
        with torch.inference_mode(False):
            return _adding_up(model, images, target, against, method, head, logits, base, setting)
    grid = patch_grid(model, images)
    readout = find_readout(model, method.readout)
    answers: list[Tensor] = []

    def value(pixels: Tensor) -> Tensor:
        logits = class_logits(model, pixels, head)
        if not logits.requires_grad:
            raise InterpretError("head: its logits carry no gradient (a no_grad or detach inside?)")
        answers.append(logits.detach().float())
        return objective_value(method.objective, logits, target, against)

    row = follow_row(model, images, value, readout, correction=method.correction, aggregation=method.aggregation_name)
    mass = row.abs()
    prefix = readout.prefix_tokens
    return Interpretation(
        scores=row[:, prefix:].reshape(-1, *grid),
        logits=answers[0],
        prefix_share=mass[:, :prefix].sum(1) / mass.sum(1).clamp_min(torch.finfo(mass.dtype).tiny),
        provenance=_provenance(model, method, readout, images),
    )


def _provenance(model: nn.Module, method: Method, readout: Readout, images: Tensor) -> Provenance:
    return Provenance(
        model=model_name(model),
        objective=method.objective_name,
        correction=method.correction,
        aggregation=method.aggregation_name,
        readout=readout.kind,
        torch=torch.__version__,
        timm=timm.__version__,
        precision=product_precision(images),
    )


def _adding_up(
    model: nn.Module,
    images: Tensor,
    target: Classes | None,
    against: Classes | None,
    method: Method,
    head: Head | None,
    logits: Tensor | None,
    base: Tensor | None,
    setting: Secant,
) -> Interpretation:
    """Maps of *secant*: f and f₀ by exact passes where they are not known, then the terms and their two scales."""
    grid, grey = patch_grid(model, images), None
    with ready(model, images, head) as (_, pixels, readout):
        if method.readout not in ("auto", readout.kind):
            raise InterpretError(
                f"readout={method.readout!r}: a map that adds up follows what the model reads, which is "
                f"{readout.kind!r}; leave readout out"
            )
        if logits is None:
            logits = answer_of(model, final_tokens(model, pixels), head)
        else:
            logits = _known("logits", logits, pixels, 2)
        # Classes that nobody names are those of the exact answer, not of the passes half-way.
        if method.objective == "difference" and target is not None and against is None:
            against = strongest_other(logits, class_indices("target", target, logits))
        log_odds = exact_values(method.objective, logits, target, against)
        if base is not None:
            base = _known("base", base, pixels, 1)
        # Without scales nothing is made of f₀.
        asks = setting.scales and base is None
        if asks or readout.kind in READS_PATCHES:
            tokens = picture_free_tokens(model, pixels, readout)
            grey = tokens if readout.kind in READS_PATCHES else None
            if asks:
                base = exact_values(method.objective, answer_of(model, tokens, head, len(images)), target, against)

    def value(tokens: Tensor) -> Tensor:
        found = answer_of(model, tokens, head)
        if not found.requires_grad:
            raise InterpretError("head: its logits carry no gradient (a no_grad or detach inside?)")
        return objective_value(method.objective, found, target, against)

    terms = secant_terms(model, images, value, readout, grey=grey, setting=setting)
    scores = scaled(terms, log_odds - base) if setting.scales and base is not None else terms
    return Interpretation(
        scores=scores.reshape(-1, *grid),
        logits=logits,
        prefix_share=scores.new_zeros(len(images)),
        provenance=_provenance(model, method, readout, images),
        log_odds=log_odds,
        base=base,
    )


def _known(name: str, values: Tensor, images: Tensor, axes: int) -> Tensor:
    """What the caller knows already, [B] or [B, K] float32."""
    fits = isinstance(values, Tensor) and values.is_floating_point() and values.ndim == axes
    if not fits or len(values) != len(images) or not bool(torch.isfinite(values).all()):
        seen = list(values.shape) if isinstance(values, Tensor) else type(values).__name__
        expected = f"[{len(images)}]" if axes == 1 else f"[{len(images)}, K]"
        raise InterpretError(f"{name}: expected finite numbers {expected}, got {seen}")
    # A copy, because a tensor made in inference mode cannot take part in what follows.
    return values.detach().to(images.device).float().clone()
