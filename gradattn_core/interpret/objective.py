"""The explained scalar f: from logits and classes to one number per image."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from gradattn_core.errors import InterpretError

Objective = str | Callable[[Tensor], Tensor]
"""The name of one, or a callable from logits [B, K] to [B]."""
Classes = int | Tensor
"""A class for all images, or [B] of them."""


def objective_value(objective: Objective, logits: Tensor, target: Classes | None, against: Classes | None) -> Tensor:
    """f of each image, [B] (or one scalar from a callable)."""
    check_finite(logits)
    if callable(objective):
        value = objective(logits)
        if not isinstance(value, Tensor) or value.shape not in ((), (len(logits),)) or not value.requires_grad:
            raise InterpretError("objective: the callable must return a differentiable scalar or one value per image")
    else:
        value = _class_objective(objective, logits.float(), target, against)
    if not bool(torch.isfinite(value).all()):
        raise InterpretError(f"objective={objective!r}: its value is not finite (a logit of zero below the fraction?)")
    return value


def check_finite(logits: Tensor) -> None:
    """Refuse an answer that says nothing."""
    if not bool(torch.isfinite(logits).all()):
        raise InterpretError("model: its logits are not finite (NaN weights, or an overflow in half precision)")


def exact_values(objective: Objective, logits: Tensor, target: Classes | None, against: Classes | None) -> Tensor:
    """f of each image of exact logits, [B] float32 without a graph."""
    with torch.inference_mode(False), torch.enable_grad():
        value = objective_value(objective, logits.detach().clone().requires_grad_(True), target, against)
    if value.shape != (len(logits),):
        if len(logits) > 1:
            raise InterpretError("objective: for a map that adds up the callable must return one value per image")
        value = value.reshape(1)
    return value.detach().float()


def class_value(logits: Tensor, a: Tensor, b: Tensor | None) -> Tensor:
    """z_a − z_b of each image, [B], or z_a where there is no ``b``; ``a`` and ``b`` are class indices [B]."""
    z_a = logits.gather(1, a[:, None])[:, 0]
    return z_a if b is None else z_a - logits.gather(1, b[:, None])[:, 0]


def _class_objective(objective: str, logits: Tensor, target: Classes | None, against: Classes | None) -> Tensor:
    if target is None:
        raise InterpretError(f"target: objective {objective!r} needs a class per image")
    a = class_indices("target", target, logits)
    if objective == "logit":
        return class_value(logits, a, None)
    b = strongest_other(logits, a) if against is None else class_indices("against", against, logits)
    if bool((a == b).any()):
        raise InterpretError("against: is the same class as target, so their difference is zero everywhere")
    if objective == "difference":
        return class_value(logits, a, b)
    z_a, z_b = (class_value(logits, each, None) for each in (a, b))
    if objective == "normalised":
        return (z_a - z_b) / z_a.detach().abs()
    if bool(((z_a <= 0) | (z_b <= 0)).any()):
        warnings.warn(
            f"objective={objective!r}: a logit is not positive, so the signs of its map may be turned round; "
            "'difference' has no such case",
            stacklevel=7,
        )
    return (z_a - z_b) / z_a if objective == "ratio" else z_a / z_b


def strongest_other(logits: Tensor, a: Tensor) -> Tensor:
    """The class of the highest logit beside ``a``, [B].

    Raises:
        InterpretError: there is no other class.
    """
    if logits.shape[1] < 2:
        raise InterpretError("against: there is one class alone and none beside it; the objective 'logit' explains it")
    return logits.detach().scatter(1, a[:, None], -torch.inf).argmax(dim=1)


def class_indices(name: str, classes: Classes, logits: Tensor) -> Tensor:
    """``classes`` as [B] indices into logits [B, K]; ``name`` is the argument that a refusal names."""
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
