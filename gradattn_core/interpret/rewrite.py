"""Rewriting the class: pixels moved, within a small budget, until the model names another class (Cui 2026, Fig. 11).

The result is an adversarial example. It says what this model's answer hangs on; it says nothing about what the
picture shows, and it is no evidence that a label is wrong.

With z the logits, a the class to leave and b the class to reach, the pixels x (in 8-bit steps) go

    x(t+1) = Π( x(t) − α·sign(g) ),      g = ∂(z_a − z_b)/∂x      (projected gradient descent)

where Π cuts back to valid pixels, 0 to 255, and to at most ``budget`` steps from the original in every channel. With
an ``l2_budget``, the move is α·g/‖g‖ and Π also limits the Euclidean norm of all changes together. At the end the
pixels are rounded to whole 8-bit steps, within the budgets, and everything reported is of those rounded pixels, as a
picture file holds them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from timm.data import resolve_model_data_config
from torch import Tensor, nn

from gradattn_core.attention.tape import prepared
from gradattn_core.errors import InterpretError
from gradattn_core.interpret.maps import Interpretation, interpret

_PEAK = 255.0
_RADIUS, _SIGMA = 5, 1.5
_C1, _C2 = (0.01 * _PEAK) ** 2, (0.03 * _PEAK) ** 2

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Fidelity:
    """How far one picture is from another.

    Attributes:
        linf: the greatest change of any channel of any pixel, in 8-bit steps (0 to 255).
        l2: the root of the sum of all squared changes, in 8-bit steps.
        changed: the share of pixels of which any channel changed, in [0, 1].
        psnr: 10·log10(255² / mean squared change) in decibels; infinite for equal pictures.
        ssim: structural similarity in [-1, 1]; 1 for equal pictures.
    """

    linf: int
    l2: float
    changed: float
    psnr: float
    ssim: float


def fidelity(before: Pixels, after: Pixels) -> Fidelity:
    """Compare two pictures [height, width, channels] of 8 bits.

    SSIM is that of Wang, Bovik, Sheikh and Simoncelli (2004): a Gaussian window of 11 x 11 pixels (σ = 1.5), K1 = 0.01,
    K2 = 0.03, the mean over all windows that lie within the picture; here of each channel by itself, then the mean.

    Raises:
        InterpretError: other types or shapes, or a picture smaller than the window.
    """
    for name, pixels in (("before", before), ("after", after)):
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape != before.shape:
            raise InterpretError(
                f"{name}: expected 8-bit pixels [height, width, channels] like the other's {list(before.shape)}, "
                f"got {pixels.dtype} {list(pixels.shape)}"
            )
    if min(before.shape[:2]) < 2 * _RADIUS + 1:
        raise InterpretError(f"before: {list(before.shape[:2])} pixels are fewer than the 11 x 11 window of SSIM")
    a, b = before.astype(np.float64), after.astype(np.float64)
    change = b - a
    mean_square = float((change**2).mean())
    return Fidelity(
        linf=int(np.abs(change).max()),
        l2=float(np.sqrt((change**2).sum())),
        changed=float((change != 0).any(axis=2).mean()),
        psnr=float(10 * np.log10(_PEAK**2 / mean_square)) if mean_square else float("inf"),
        ssim=float(np.mean([_ssim(a[..., channel], b[..., channel]) for channel in range(a.shape[2])])),
    )


def _ssim(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    def local_mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
        inside = slice(_RADIUS, -_RADIUS)
        smooth: NDArray[np.float64] = gaussian_filter(values, _SIGMA, radius=_RADIUS)[inside, inside]
        return smooth

    mean_a, mean_b = local_mean(a), local_mean(b)
    variance_a, variance_b = local_mean(a * a) - mean_a**2, local_mean(b * b) - mean_b**2
    covariance = local_mean(a * b) - mean_a * mean_b
    similar = (2 * mean_a * mean_b + _C1) * (2 * covariance + _C2)
    return float((similar / ((mean_a**2 + mean_b**2 + _C1) * (variance_a + variance_b + _C2))).mean())


_MOST_STEPS = 10_000
_OVERSHOOT = 2.5  # enough to reach the edge of the budget although steps turn round
_TINY = 1e-30


@dataclass(frozen=True)
class Rewrite:
    """A picture before and after its class was rewritten; all of it after rounding to 8 bits.

    Attributes:
        target, against: the class that was left and the class that was aimed at.
        before, after: [H, W, channels] uint8, at the model's input size.
        interpretation_before, interpretation_after: signed maps of z_target − z_against, [1, grid height, grid width];
            their ``logits`` [1, K] are the model's answers to the two pictures.
        course: [steps + 1, 2] float32, z_target and z_against after each step, before rounding.
        fidelity: how far the two pictures are apart.
        budget, l2_budget, steps, rate: as given, in 8-bit steps.
    """

    target: int
    against: int
    before: Tensor
    after: Tensor
    interpretation_before: Interpretation
    interpretation_after: Interpretation
    course: Tensor
    fidelity: Fidelity
    budget: float
    l2_budget: float | None
    steps: int
    rate: float

    @property
    def succeeded(self) -> bool:
        """Whether the model's first answer to the rounded picture is ``against``."""
        return int(self.interpretation_after.logits[0].argmax()) == self.against

    @property
    def probabilities(self) -> Tensor:
        """[2, 2] float32 in [0, 1]: (before, after) x (target, against), softmax over all classes."""
        logits = torch.cat((self.interpretation_before.logits, self.interpretation_after.logits))
        return logits.softmax(1)[:, [self.target, self.against]]


def rewrite(
    model: nn.Module,
    image: Tensor,
    target: int,
    against: int,
    *,
    budget: float = 4.0,
    l2_budget: float | None = None,
    steps: int = 20,
    rate: float | None = None,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    correction: str = "complete",
    aggregation: str = "product",
    readout: str = "auto",
    head: Callable[[Tensor], Tensor] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Rewrite:
    """Make an adversarial example that the model takes for ``against``; the module gives the formula.

    Args:
        model: a timm Vision Transformer with global self-attention. It is left as it was found.
        image: [channels, H, W], one picture, preprocessed as the model expects; its pixels are rounded to 8 bits first.
        target: the class to leave, usually what the picture shows.
        against: the class to reach.
        budget: the greatest change of any channel in 8-bit steps, 1 to 255: 4 is what others write as 4/255.
        l2_budget: the greatest Euclidean norm of all changes together, in 8-bit steps; unlimited where ``None``.
        steps: 1 to 10,000; each costs one forward and one backward pass.
        rate: α in 8-bit steps, of each channel or, with an ``l2_budget``, of the Euclidean norm; 2.5 times that budget
            divided by ``steps`` where ``None``.
        mean, std: of the model's preprocessing, per channel; read from the model's configuration where ``None``.
        correction, aggregation, readout, head: of the interpretations, as for ``interpret``.
        progress: called with (steps done, steps) after every step.

    Raises:
        InterpretError: an argument is unusable; the message names it.
        ModelError: the model has no global self-attention.
    """
    _check(image, budget, l2_budget, steps, rate)
    model = getattr(model, "_orig_mod", model)
    options: dict[str, Any] = {"correction": correction, "aggregation": aggregation, "readout": readout, "head": head}
    # This also checks every other argument.
    interpret(model, image[None], target, against, **options)
    alpha = _OVERSHOOT * (budget if l2_budget is None else l2_budget) / steps if rate is None else rate
    with torch.inference_mode(False), torch.enable_grad(), prepared(model):
        scale = _Scale.of(model, image, mean, std)
        # A clone, because a tensor made in inference mode cannot take part in autograd.
        original = scale.pixels(image.detach().clone()).round().clamp(0, 255)
        pixels, course = original, []
        for step in range(steps + 1):
            leaf = pixels.clone().requires_grad_(True)
            logits = _answer(model, scale.preprocessed(leaf), head)
            course.append(logits[[target, against]].detach().cpu())
            if step == steps:
                break
            (gradient,) = torch.autograd.grad(logits[target] - logits[against], leaf)
            move = gradient.sign() if l2_budget is None else gradient / gradient.norm().clamp_min(_TINY)
            pixels = _within(pixels - alpha * move, original, budget, l2_budget)
            if progress is not None:
                progress(step + 1, steps)
        rounded = _rounded(pixels, original, budget, l2_budget)
        before, after = (p.permute(1, 2, 0).to("cpu", torch.uint8).contiguous() for p in (original, rounded))
        return Rewrite(
            target=target,
            against=against,
            before=before,
            after=after,
            interpretation_before=interpret(model, scale.preprocessed(original)[None], target, against, **options),
            interpretation_after=interpret(model, scale.preprocessed(rounded)[None], target, against, **options),
            course=torch.stack(course),
            fidelity=fidelity(before.numpy(), after.numpy()),
            budget=budget,
            l2_budget=l2_budget,
            steps=steps,
            rate=alpha,
        )


@dataclass(frozen=True)
class _Scale:
    """Between the model's input and 8-bit pixels; ``mean`` and ``std`` are [channels, 1, 1]."""

    mean: Tensor
    std: Tensor
    dtype: torch.dtype

    @classmethod
    def of(
        cls, model: nn.Module, image: Tensor, mean: tuple[float, ...] | None, std: tuple[float, ...] | None
    ) -> _Scale:
        config = resolve_model_data_config(model)
        columns = []
        for name, given in (("mean", mean), ("std", std)):
            values = tuple(config[name] if given is None else given)
            if len(values) not in (1, len(image)) or (name == "std" and min(values) <= 0):
                raise InterpretError(f"{name}={values}: give one positive number for each of {len(image)} channels")
            kind = torch.promote_types(image.dtype, torch.float32)
            columns.append(torch.tensor(values, dtype=kind, device=image.device).view(-1, 1, 1))
        return cls(columns[0], columns[1], image.dtype)

    def pixels(self, image: Tensor) -> Tensor:
        return (image.to(self.mean.dtype) * self.std + self.mean) * 255

    def preprocessed(self, pixels: Tensor) -> Tensor:
        return ((pixels / 255 - self.mean) / self.std).to(self.dtype)


def _answer(model: Any, image: Tensor, head: Callable[[Tensor], Tensor] | None) -> Tensor:
    """[K] logits, float32."""
    tokens = model.forward_features(image[None])
    logits = model.forward_head(tokens) if head is None else head(model.forward_head(tokens, pre_logits=True))
    return logits[0].float()


def _within(pixels: Tensor, original: Tensor, budget: float, l2_budget: float | None) -> Tensor:
    """The pixels cut back to the budgets and to 0 … 255."""
    change = pixels.clamp(0, 255).sub(original).clamp(-budget, budget)
    if l2_budget is not None:
        # Towards the original every point stays valid and within the other budget.
        change = change * min(1.0, l2_budget / max(float(change.norm()), _TINY))
    return original + change


def _rounded(pixels: Tensor, original: Tensor, budget: float, l2_budget: float | None) -> Tensor:
    """Whole 8-bit steps within both budgets: of the rounded changes, the greatest are kept first."""
    change = (pixels - original).round().clamp(-int(budget), int(budget))
    if l2_budget is not None and float(change.norm()) > l2_budget:
        flat = change.flatten()
        order = flat.abs().argsort(descending=True, stable=True)
        spent = flat[order].double().square().cumsum(0)
        flat[order[spent > l2_budget**2]] = 0
        change = flat.view_as(change)
    return original + change


def _check(image: Tensor, budget: float, l2_budget: float | None, steps: int, rate: float | None) -> None:
    if not isinstance(image, Tensor) or image.ndim != 3 or not image.is_floating_point():
        seen = f"{image.dtype} {list(image.shape)}" if isinstance(image, Tensor) else type(image).__name__
        raise InterpretError(f"image: expected one preprocessed picture [channels, H, W], got {seen}")
    if not 1 <= budget <= 255:
        raise InterpretError(f"budget={budget}: give 1 to 255 steps of 8 bits; less than one does not survive rounding")
    if l2_budget is not None and not 1 <= l2_budget < float("inf"):
        raise InterpretError(f"l2_budget={l2_budget}: give at least one 8-bit step, or leave it out")
    if not 1 <= steps <= _MOST_STEPS:
        raise InterpretError(f"steps={steps}: give a number from 1 to {_MOST_STEPS:,}")
    if rate is not None and not 0 < rate < float("inf"):
        raise InterpretError(f"rate={rate}: give a positive number of 8-bit steps")
