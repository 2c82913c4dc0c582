"""Which parts of a picture speak for one class and which for another (Cui et al. 2026, eqs. 1-8)."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import timm
import torch
from torch import Tensor, nn

from gradattn_core.attention.readout import SUPPORTED, find_readout, model_name, patch_grid
from gradattn_core.attention.tape import AttentionTape, RowRecursion, check_calls, prepared
from gradattn_core.errors import InterpretError, ModelError
from gradattn_core.methods import AGGREGATIONS, CORRECTIONS, OBJECTIVES, READOUTS

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
    logits are negative and grows without bound as z_a → 0; ``quotient`` z_a/z_b, which has the direction of
    the same gradient; ``normalised`` (z_a − z_b)/|z_a| with the denominator held constant; or a callable from logits
    [B, K] to [B]. ``ratio`` and ``quotient`` warn where a logit is not positive.

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
    _check_options(objective, correction, aggregation, readout, head)
    model = getattr(model, "_orig_mod", model)
    _check_model(model)
    _check_images(model, images)
    grid = patch_grid(model, images)
    found = find_readout(model, readout)
    # Inference mode outside must not reach in: its tensors cannot be differentiated, hence the clone.
    with torch.inference_mode(False), torch.enable_grad(), prepared(model), AttentionTape(model_name(model)) as tape:
        logits = _logits(model, images.detach().clone().requires_grad_(True), head)
        tokens = found.prefix_tokens + grid[0] * grid[1]
        pooled = found.kind == "attention-pool"
        check_calls(tape.calls, len(images), tokens, len(model.blocks), pooled, model_name(model))  # type: ignore[arg-type]
        scalar = _objective_value(objective, logits, target, against)
        recursion = RowRecursion(tape.calls, found, correction, aggregation)
        tape.on_gradient = recursion.step
        origin = recursion.start
        if torch.autograd.grad(scalar.sum(), tape.first_output, allow_unused=True)[0] is None:
            raise InterpretError("head: what it returns does not depend on the image's features")
        row, logits = recursion.row - origin, logits.detach().float()
    scores = row[:, found.prefix_tokens :].reshape(-1, *grid)
    if not bool(torch.isfinite(scores).all()):
        raise InterpretError("model: the map is not finite (half precision overflow? try float32 or bfloat16)")
    mass = row.abs()
    return Interpretation(
        scores=scores,
        logits=logits,
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
    try:
        tokens = model.forward_features(pixels)
    except AssertionError as error:
        # timm asserts that the input fits its patch grid and position embedding, and says what would.
        raise InterpretError(f"images: {model_name(model)} cannot take {list(pixels.shape)}: {error}") from error
    logits = model.forward_head(tokens) if head is None else head(model.forward_head(tokens, pre_logits=True))
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(pixels):
        seen = list(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise InterpretError(f"head: expected logits [{len(pixels)}, K], got {seen}")
    if not logits.requires_grad:
        raise InterpretError("head: its logits carry no gradient (a no_grad or detach inside?)")
    return logits


def _check_options(objective: Objective, correction: str, aggregation: str, readout: str, head: object) -> None:
    for name, value, allowed in (
        ("objective", objective, OBJECTIVES),
        ("correction", correction, CORRECTIONS),
        ("aggregation", aggregation, AGGREGATIONS),
        ("readout", readout, READOUTS),
    ):
        if value not in allowed and not (name == "objective" and callable(value)):
            raise InterpretError(f"{name}={value!r} is unknown; choose one of {', '.join(allowed)}")
    if head is not None and not callable(head):
        raise InterpretError(f"head: expected a callable from features to logits, got {type(head).__name__}")


def _check_images(model: nn.Module, images: Tensor) -> None:
    if not isinstance(images, Tensor) or images.ndim != 4 or 0 in images.shape:
        seen = list(images.shape) if isinstance(images, Tensor) else type(images).__name__
        raise InterpretError(f"images: expected a batch [B, channels, H, W], got {seen}")
    embed = getattr(model, "patch_embed", None)
    convolutions = [module for module in embed.modules() if isinstance(module, nn.Conv2d)] if embed is not None else []
    if convolutions and convolutions[0].in_channels != images.shape[1]:
        raise InterpretError(
            f"images: {images.shape[1]} channels, but {model_name(model)} takes {convolutions[0].in_channels}"
        )
    own = next(model.parameters())
    cast = images.is_floating_point() and torch.is_autocast_enabled(images.device.type)
    if images.device != own.device or (images.dtype != own.dtype and not cast):
        raise InterpretError(
            f"images: {images.dtype} on {images.device}, but the model computes in {own.dtype} on {own.device}"
        )
    if not bool(torch.isfinite(images).all()):
        raise InterpretError("images: some pixels are not finite")


def _check_model(model: nn.Module) -> None:
    if not hasattr(model, "forward_features") or not hasattr(model, "forward_head"):
        raise ModelError(f"model {model_name(model)} is not a timm classifier; of timm's models, {SUPPORTED}")
    for name, module in model.named_modules():
        if name.endswith("_orig_mod") or (name and module._compiled_call_impl is not None):
            part = name.removesuffix("._orig_mod")
            raise InterpretError(f"model: its part {part!r} is compiled; interpret it before torch.compile")
    if any(parameter.is_inference() for parameter in model.parameters()):
        raise InterpretError("model: it was made inside torch.inference_mode and cannot be differentiated")


def _objective_value(objective: Objective, logits: Tensor, target: Classes | None, against: Classes | None) -> Tensor:
    """f of each image, [B] (or one scalar from a callable)."""
    if not bool(torch.isfinite(logits).all()):
        raise InterpretError("model: its logits are not finite (NaN weights, or an overflow in half precision)")
    if callable(objective):
        value = objective(logits)
        if not isinstance(value, Tensor) or value.shape not in ((), (len(logits),)) or not value.requires_grad:
            raise InterpretError("objective: the callable must return a differentiable scalar or one value per image")
    else:
        value = _class_objective(objective, logits.float(), target, against)
    if not bool(torch.isfinite(value).all()):
        raise InterpretError(f"objective={objective!r}: its value is not finite (a logit of zero below the fraction?)")
    return value


def _class_objective(objective: str, logits: Tensor, target: Classes | None, against: Classes | None) -> Tensor:
    if target is None:
        raise InterpretError(f"target: objective {objective!r} needs a class per image")
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
    if objective == "normalised":
        return (z_a - z_b) / z_a.detach().abs()
    if bool(((z_a <= 0) | (z_b <= 0)).any()):
        warnings.warn(
            f"objective={objective!r}: a logit is not positive, so the signs of its map may be turned round; "
            "'difference' has no such case",
            stacklevel=4,
        )
    return (z_a - z_b) / z_a if objective == "ratio" else z_a / z_b


def _class_indices(name: str, classes: Classes, logits: Tensor) -> Tensor:
    try:
        indices = torch.as_tensor(classes, device=logits.device)
    except (TypeError, ValueError, RuntimeError):
        raise InterpretError(f"{name}: expected class indices as integers, got {classes!r}") from None
    if indices.is_floating_point() or indices.is_complex() or indices.dtype == torch.bool:
        raise InterpretError(f"{name}: expected class indices as integers, got {indices.dtype}")
    if indices.ndim == 0:
        indices = indices.expand(len(logits))
    if indices.shape != (len(logits),):
        raise InterpretError(f"{name}: expected one class or {len(logits)} of them, got shape {list(indices.shape)}")
    outside = indices[(indices < 0) | (indices >= logits.shape[1])]
    if len(outside):
        raise InterpretError(
            f"{name}: class {int(outside[0])} is out of range, the head has classes 0 to {logits.shape[1] - 1}"
        )
    # A copy, because indices made in inference mode cannot be kept for the backward pass.
    return indices.long().clone()
