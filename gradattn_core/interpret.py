"""Which parts of a picture speak for one class and which for another (Cui et al. 2026, eqs. 1-8)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import timm
import torch
from torch import Tensor, nn

from gradattn_core.attention import (
    AGGREGATIONS,
    CORRECTIONS,
    AttentionTape,
    RowRecursion,
    check_calls,
    prepared,
)
from gradattn_core.errors import InterpretError, ModelError

OBJECTIVES = ("logit", "difference", "ratio", "quotient", "normalised")
READOUTS = ("auto", "cls", "distilled", "mean", "attention-pool")
Objective = str | Callable[[Tensor], Tensor]
Classes = int | Tensor


@dataclass(frozen=True, slots=True)
class Provenance:
    """How a map was made: enough to make it again."""

    model: str
    objective: str
    correction: str
    aggregation: str
    readout: str
    torch: str
    timm: str


@dataclass(frozen=True)
class Interpretation:
    """Signed maps of a batch.

    Attributes:
        scores: [B, grid height, grid width] float32, raw; positive speaks for ``target``, negative against it (for
            ``against`` where one was given). The sign is relative: see :func:`interpret`.
        logits: [B, K] float32, of the model's classifier or of the ``head`` that was given.
        prefix_share: [B], the share of the row's absolute mass (r0 left out) that ended on prefix tokens, in [0, 1].
        provenance: model, objective, correction and versions.
    """

    scores: Tensor
    logits: Tensor
    prefix_share: Tensor
    provenance: Provenance

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
    images: Tensor,
    target: Classes | None = None,
    against: Classes | None = None,
    *,
    objective: Objective = "difference",
    correction: str = "complete",
    aggregation: str = "product",
    readout: str = "auto",
    head: Callable[[Tensor], Tensor] | None = None,
) -> Interpretation:
    """Explain a batch by one forward and one backward pass, without ever holding a layer's N x N attention map.

    The map is S = (r0ᵀ(I+M_L)…(I+M_1) − r0)[P:] with M_l = E_h(W_l ⊙ A_l), followed as one row (eqs. 1-3).

    Objectives, with z the logits, a the target and b the other class: ``logit`` z_a; ``difference`` z_a − z_b, which is
    the log-odds and the default; ``ratio`` (z_a − z_b)/z_a as printed (eq. 8), whose gradient turns round when both
    logits are negative and grows without bound as z_a → 0; ``quotient`` z_a/z_b; ``normalised`` (z_a − z_b)/|z_a| with
    the denominator held constant; or a callable from logits [B, K] to [B].

    Corrections, with G = ∂f/∂A: ``complete`` W=G (eq. 5), ``positive`` W=relu(G) (eq. 4, known as GAE), ``absolute``
    W=|G| (eq. 6), ``centred`` W=G−Σ_k A_ik G_ik. A sign of *complete* is relative to a value vector of zero: a constant
    moved from the value bias to the projection bias leaves every logit as it was but changes signs. *centred* takes
    the attended mean as the origin and does not change.

    Args:
        model: a timm Vision Transformer with global self-attention. It is left as it was found.
        images: [B, 3, H, W], preprocessed as the model expects.
        target: the class(es) that red speaks for: an int or [B] integers. Not needed with a callable objective.
        against: the class(es) that blue speaks for. ``None`` with a two-class objective takes each image's strongest
            other class.
        objective, correction, aggregation: see above; ``aggregation="sum"`` adds the layers' rows instead of
            multiplying the layers.
        readout: ``auto`` finds it from the model; otherwise ``cls``, ``distilled``, ``mean`` or ``attention-pool``.
        head: maps the model's pre-logit features [B, D] to logits [B, K]; the classifier where ``None``.

    Returns:
        :class:`Interpretation`, float32 whatever the model's precision.

    Raises:
        InterpretError: an argument is unusable; the message names it.
        ModelError: the model has no global self-attention.
    """
    _check_options(images, objective, correction, aggregation, readout)
    model = getattr(model, "_orig_mod", model)
    _check_model(model)
    grid = patch_grid(model, images)
    found = find_readout(model, readout)
    # Inference mode outside must not reach in: its tensors cannot be differentiated, hence the clone.
    with torch.inference_mode(False), torch.enable_grad(), prepared(model), AttentionTape() as tape:
        pixels = images.detach().clone().requires_grad_(True)
        logits = _logits(model, pixels, head)
        tokens = found.prefix_tokens + grid[0] * grid[1]
        blocks = len(getattr(model, "blocks", tape.calls))
        check_calls(tape.calls, len(images), tokens, blocks, found.kind == "attention-pool", model_name(model))
        scalar = _objective_value(objective, logits, target, against)
        recursion = RowRecursion(tape.calls, found, correction, aggregation)
        tape.on_gradient = recursion.step
        origin = recursion.start
        torch.autograd.grad(scalar.sum(), tape.outputs[0])
    row = recursion.row - origin
    scores = row[:, found.prefix_tokens :].reshape(-1, *grid)
    if not bool(torch.isfinite(scores).all()):
        raise InterpretError("model: the map is not finite (half precision overflow? try float32 or bfloat16)")
    mass = row.abs()
    return Interpretation(
        scores=scores,
        logits=logits.detach().float(),
        prefix_share=mass[:, : found.prefix_tokens].sum(1) / mass.sum(1).clamp_min(torch.finfo(mass.dtype).tiny),
        provenance=Provenance(
            model=model_name(model),
            objective=objective if isinstance(objective, str) else getattr(objective, "__name__", "callable"),
            correction=correction,
            aggregation=aggregation,
            readout=found.kind,
            torch=torch.__version__,
            timm=timm.__version__,
        ),
    )


def _logits(model: Any, pixels: Tensor, head: Callable[[Tensor], Tensor] | None) -> Tensor:
    """[B, K] of the model's own classifier, or of ``head`` on its pre-logit features."""
    tokens = model.forward_features(pixels)
    logits: Tensor = model.forward_head(tokens) if head is None else head(model.forward_head(tokens, pre_logits=True))
    return logits


def _check_options(images: Tensor, objective: Objective, correction: str, aggregation: str, readout: str) -> None:
    for name, value, allowed in (
        ("objective", objective, OBJECTIVES),
        ("correction", correction, CORRECTIONS),
        ("aggregation", aggregation, AGGREGATIONS),
        ("readout", readout, READOUTS),
    ):
        if not callable(value) and value not in allowed:
            raise InterpretError(f"{name}={value!r} is unknown; choose one of {', '.join(allowed)}")
    if images.ndim != 4 or images.shape[0] == 0:
        raise InterpretError(f"images: expected a batch [B, channels, H, W], got shape {list(images.shape)}")
    if not images.is_floating_point():
        raise InterpretError(f"images: expected preprocessed floating-point pixels, got {images.dtype}")


def _check_model(model: nn.Module) -> None:
    if any(hasattr(module, "_orig_mod") for module in model.modules()):
        raise InterpretError("model: some of its blocks are compiled; pass the model before torch.compile")
    if any(parameter.is_inference() for parameter in model.parameters()):
        raise InterpretError("model: it was made inside torch.inference_mode and cannot be differentiated")
    if not hasattr(model, "forward_features") or not hasattr(model, "forward_head"):
        raise ModelError(f"model {model_name(model)} is not a timm classifier; timm's Vision Transformers work")


def _objective_value(objective: Objective, logits: Tensor, target: Classes | None, against: Classes | None) -> Tensor:
    if not bool(torch.isfinite(logits).all()):
        raise InterpretError("model: its logits are not finite (NaN weights, or an overflow in half precision)")
    if callable(objective):
        value = objective(logits)
        if value.shape not in ((), (len(logits),)) or not value.requires_grad:
            raise InterpretError("objective: the callable must return a differentiable scalar or one value per image")
        return value
    if target is None:
        raise InterpretError(f"target: objective {objective!r} needs a class per image")
    logits = logits.float()
    a = _class_indices("target", target, logits)
    z_a = logits.gather(1, a[:, None])[:, 0]
    if objective == "logit":
        return z_a
    if against is None:
        b = logits.detach().scatter(1, a[:, None], -torch.inf).argmax(dim=1)
    else:
        b = _class_indices("against", against, logits)
    if bool((a == b).any()):
        raise InterpretError("against: is the same class as target, so their difference is zero everywhere")
    z_b = logits.gather(1, b[:, None])[:, 0]
    if objective == "difference":
        return z_a - z_b
    if objective == "ratio":
        return (z_a - z_b) / z_a
    if objective == "quotient":
        return z_a / z_b
    return (z_a - z_b) / z_a.detach().abs()


def _class_indices(name: str, classes: Classes, logits: Tensor) -> Tensor:
    indices = torch.as_tensor(classes, device=logits.device)
    if indices.is_floating_point() or indices.dtype == torch.bool:
        raise InterpretError(f"{name}: expected class indices as integers, got {indices.dtype}")
    if indices.ndim == 0:
        indices = indices.expand(len(logits))
    if indices.shape != (len(logits),):
        raise InterpretError(f"{name}: expected one class or {len(logits)} of them, got shape {list(indices.shape)}")
    if bool(((indices < 0) | (indices >= logits.shape[1])).any()):
        raise InterpretError(
            f"{name}: class {int(indices.max())} is out of range, the head has {logits.shape[1]} classes"
        )
    return indices.long()
