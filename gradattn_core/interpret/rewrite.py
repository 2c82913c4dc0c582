"""Rewriting the class: pixels moved, within a small budget, until the model names another class (Cui 2026, Fig. 11).

The result is an adversarial example. It says what this model's answer hangs on; it says nothing about what the
picture shows, and it is no evidence that a label is wrong.

With z the logits, a the class to leave and b the class to reach, the pixels x (in 8-bit steps) go

    x(t+1) = Π( x(t) − α·sign(g) ),      g = ∂(z_a − z_b)/∂x      (projected gradient descent)

where Π cuts back to valid pixels, 0 to 255, and to at most ``budget`` steps from the original in every channel, and α
is 2.5 times the budget divided by the number of steps. At the end the pixels are rounded to whole 8-bit steps, within
the budget, and everything reported is of those rounded pixels, as a picture file holds them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gradattn_core.attention.rollout import prepared
from gradattn_core.errors import InterpretError
from gradattn_core.interpret.maps import Interpretation, signed_maps
from gradattn_core.methods import Method, StepCount, check_steps
from gradattn_core.model.forward import Head, check_image, class_logits
from gradattn_core.model.preprocessing import Preprocessing

_PEAK = 255.0
_OVERSHOOT = 2.5  # enough to reach the edge of the budget although steps turn round

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Fidelity:
    """How far one picture is from another.

    Attributes:
        linf: the greatest change of any channel of any pixel, in 8-bit steps (0 to 255).
        l2: the root of the sum of all squared changes, in 8-bit steps.
        changed: the share of pixels of which any channel changed, in [0, 1].
        psnr: 10·log10(255² / mean squared change) in decibels; infinite for equal pictures.
    """

    linf: int
    l2: float
    changed: float
    psnr: float


@dataclass(frozen=True)
class AdversarialExample:
    """A picture before and after its class was rewritten; all of it after rounding to 8 bits.

    Attributes:
        target, against: the class that was left and the class that was aimed at.
        before, after: [H, W, channels] uint8, at the model's input size.
        interpretation_before, interpretation_after: signed maps of z_target − z_against, [1, grid height, grid width];
            their ``logits`` [1, K] are the model's answers to the two pictures.
        course: [steps + 1, 2] float32, z_target and z_against after each step, before rounding.
        fidelity: how far the two pictures are apart.
        budget: as given, in 8-bit steps.
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

    @property
    def steps(self) -> int:
        return len(self.course) - 1

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
    steps: int = 20,
    method: Method = Method(),
    head: Head | None = None,
    progress: StepCount | None = None,
) -> AdversarialExample:
    """Make an adversarial example that the model takes for ``against``; the module gives the formula.

    Args:
        model: a timm Vision Transformer with global self-attention. It is left as it was found.
        image: [channels, H, W], one picture, preprocessed as the model expects; its pixels are rounded to 8 bits first.
        target: the class to leave, usually what the picture shows.
        against: the class to reach.
        budget: the greatest change of any channel in 8-bit steps, 1 to 255: 4 is what others write as 4/255.
        steps: 1 to 10,000; each costs one forward and one backward pass.
        method, head: of the interpretations, as for ``interpret``; the objective is ``difference``.
        progress: called with (steps done, steps) after every step.

    Raises:
        InterpretError: an argument is unusable; the message names it.
        ModelError: the model has no global self-attention.
    """
    check_image(image)
    if not 1 <= budget <= 255:
        raise InterpretError(f"budget={budget}: give 1 to 255 steps of 8 bits; less than one does not survive rounding")
    check_steps(steps)
    method.check_difference("rewrite")
    model = getattr(model, "_orig_mod", model)
    # This also checks every other argument.
    signed_maps(model, image[None], target, against, method, head)
    preprocessing = Preprocessing.of(model)
    with torch.inference_mode(False), torch.enable_grad(), prepared(model):
        # A clone, because a tensor made in inference mode cannot take part in autograd.
        original = preprocessing.denormalised(image.detach().clone()).round().clamp(0, _PEAK)

        def images(pixels: Tensor) -> Tensor:
            return preprocessing.normalised(pixels)[None].to(image.dtype)

        def both_logits(pixels: Tensor) -> Tensor:
            return class_logits(model, images(pixels), head)[0, [target, against]].float()

        pixels, course = _descend(original, both_logits, budget, steps, progress)
        rounded = original + (pixels - original).round().clamp(-int(budget), int(budget))
        maps = [signed_maps(model, images(p), target, against, method, head) for p in (original, rounded)]
        before, after = (p.permute(1, 2, 0).to("cpu", torch.uint8).contiguous() for p in (original, rounded))
    return AdversarialExample(
        target=target,
        against=against,
        before=before,
        after=after,
        interpretation_before=maps[0],
        interpretation_after=maps[1],
        course=course,
        fidelity=fidelity(before.numpy(), after.numpy()),
        budget=budget,
    )


def _descend(
    original: Tensor, answer: Callable[[Tensor], Tensor], budget: float, steps: int, progress: StepCount | None
) -> tuple[Tensor, Tensor]:
    """The pixels [channels, H, W] after all steps, and z_target and z_against after each, [steps + 1, 2].

    ``answer`` gives both logits of some pixels.
    """
    pixels, rate, course = original, _OVERSHOOT * budget / steps, []
    for step in range(steps + 1):
        leaf = pixels.clone().requires_grad_(True)
        logits = answer(leaf)
        course.append(logits.detach().cpu())
        if step < steps:
            (gradient,) = torch.autograd.grad(logits[0] - logits[1], leaf)
            pixels = (pixels - rate * gradient.sign()).clamp(0, _PEAK)
            pixels = original + (pixels - original).clamp(-budget, budget)
            if progress is not None:
                progress(step + 1, steps)
    return pixels, torch.stack(course)


def fidelity(before: Pixels, after: Pixels) -> Fidelity:
    """Compare two pictures [height, width, channels] of 8 bits.

    Raises:
        InterpretError: other types or shapes.
    """
    for name, pixels in (("before", before), ("after", after)):
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape != before.shape:
            raise InterpretError(
                f"{name}: expected 8-bit pixels [height, width, channels] like the other's {list(before.shape)}, "
                f"got {pixels.dtype} {list(pixels.shape)}"
            )
    change = after.astype(np.float64) - before.astype(np.float64)
    mean_square = float((change**2).mean())
    return Fidelity(
        linf=int(np.abs(change).max()),
        l2=float(np.sqrt((change**2).sum())),
        changed=float((change != 0).any(axis=2).mean()),
        psnr=float(10 * np.log10(_PEAK**2 / mean_square)) if mean_square else float("inf"),
    )
