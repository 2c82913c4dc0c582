"""Gradients at the pixels, alone and times the picture, through captum (``pip install 'gradattn[peers]'``).

A patch's score is the sum over its pixels and channels, but for the two plain gradients, whose sum means nothing: there
it is the mean over its pixels of the channels' greatest absolute gradient.

Gradient x input is (x − b) ⊙ ∂f/∂x: what a linear model would lose if the picture x became the reference b. Which
reference is a choice that shows in the map; the four usual ones have a name each in :data:`REFERENCES`.
"""

from __future__ import annotations

import importlib
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from gradattn_core.attention.readout import patch_grid
from gradattn_core.errors import InterpretError
from gradattn_core.interpret.objective import class_value
from gradattn_core.model.preprocessing import Preprocessing
from gradattn_core.peers.question import Peer, Question

REFERENCES = {
    "zero": "",
    "grey": "-grey",
    "mean colour": "-mean",
    "blur": "-blur",
}
"""What stands for the absence of a picture, and how the method that compares with it is called."""
# Of the blur: its standard deviation as a share of the picture's shorter side, a patch of a 14 x 14 grid.
_BLUR = 1 / 14
_NOISE, _SAMPLES, _STEPS = 0.15, 16, 8


def gradient(question: Question) -> Tensor:
    """The gradient's size at the pixels (Simonyan et al., 2014; captum's Saliency).

    max_c |∂f/∂x_c|, averaged over a patch. One forward and one backward pass; any model.

    Returns:
        [B, rows, columns] float32, >= 0.

    Raises:
        InterpretError: captum is not installed.
    """
    return _patch_sizes(question, _slopes(question, question.images, "gradient"))


def smooth_grad(question: Question) -> Tensor:
    """SmoothGrad (Smilkov et al., 2017): :func:`gradient`, gradients averaged over noisy pictures before their size.

    The noise is Gaussian, 0.15 of the way from black to white (the paper: 0.1 to 0.2 of the picture's own range), in 16
    passes (50). It is ours and not captum's NoiseTunnel: there a picture's noise depends on the pictures that come with
    it; here on its seed alone.
    """
    return _patch_sizes(question, _mean_slopes(question, "smooth-grad"))


def smooth_grad_x_input(question: Question) -> Tensor:
    """:func:`smooth_grad`'s mean gradient times x − b, b the picture's mean colour; summed over each patch, signed."""
    difference = question.images - reference(question, "mean colour")
    return _patch_sums(question, _mean_slopes(question, "smooth-grad-x-input") * difference)


def gradient_x_input(question: Question, kind: str) -> Tensor:
    """Gradient x input (Shrikumar et al., 2017): captum's Saliency times x − b, b one of :data:`REFERENCES`.

    One forward and one backward pass. captum's InputXGradient is the case b = 0.

    Returns:
        [B, rows, columns] float32, signed, in log-odds (logits where one class is asked about); of a linear model their
        sum is f(x) − f(b).
    """
    slopes = _slopes(question, question.images, f"gradient-x-input{REFERENCES[kind]}")
    return _patch_sums(question, slopes * (question.images - reference(question, kind)))


def integrated_gradients(question: Question) -> Tensor:
    """Integrated gradients (Sundararajan et al., 2017; captum's IntegratedGradients) from the picture's mean colour.

    (x − b) ⊙ ∫ ∂f/∂x(b + t (x − b)) dt, by 8 points of Gauss and Legendre (captum's rule; its default is 50 of them).
    Σ S = f(x) − f(b) up to the rule's error. 8 forward and backward passes, ``chunk_size`` pictures together.

    Returns:
        [B, rows, columns] float32, signed, in log-odds (logits where one class is asked about).
    """
    method = peer_library("captum.attr", "integrated-gradients").IntegratedGradients(partial(_value, question))
    with torch.enable_grad():
        attribution = method.attribute(
            question.images,
            baselines=reference(question, "mean colour"),
            additional_forward_args=(question.target, question.against),
            n_steps=_STEPS,
            internal_batch_size=max(question.chunk_size, len(question.images)),
        )
    return _patch_sums(question, attribution.detach())


def reference(question: Question, kind: str) -> Tensor:
    """The pictures b that stand for the absence of the question's, of their shape.

    ``zero`` is 0 after normalisation (the mean colour of what the model learnt from), ``grey`` the middle of black and
    white, ``mean colour`` the picture's own, ``blur`` the picture under a Gaussian a fourteenth of its side wide, whose
    weights sum to one at the border too.
    """
    images = question.images.detach()
    if kind == "mean colour":
        return images.mean(dim=(2, 3), keepdim=True).expand_as(images).contiguous()
    if kind == "grey":
        return Preprocessing.of(question.model).normalised(torch.full_like(images, 127.5))
    if kind == "blur":
        down, across = (_blur(side, min(images.shape[-2:]) * _BLUR).to(images) for side in images.shape[-2:])
        return down @ images @ across.T
    return torch.zeros_like(images)


def peer_library(name: str, method: str) -> Any:
    """A library of the extra ``peers``.

    Raises:
        InterpretError: it is not installed; the message says how it would be.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InterpretError(
            f"method {method!r}: {error}; pip install 'gradattn[peers]' brings what it needs"
        ) from error


def _blur(side: int, width: float) -> Tensor:
    place = torch.arange(side, dtype=torch.float64)
    return torch.softmax(-((place[:, None] - place) ** 2) / (2 * width**2), dim=1)


def _value(question: Question, pixels: Tensor, target: Tensor, against: Tensor | None) -> Tensor:
    """f of each row, as captum calls it: it repeats the classes with the pictures."""
    return class_value(question.answer(pixels), target, against)


def _slopes(question: Question, images: Tensor, method: str) -> Tensor:
    """∂f/∂x, of the images' shape."""
    saliency = peer_library("captum.attr", method).Saliency(partial(_value, question))
    classes = (question.target, question.against)
    with torch.enable_grad():
        pixels = images.detach().clone().requires_grad_(True)
        slopes: Tensor = saliency.attribute(pixels, abs=False, additional_forward_args=classes)
    return slopes.detach()


def _mean_slopes(question: Question, method: str) -> Tensor:
    images, generators = question.images.detach(), question.generators()
    span = 1 / images.new_tensor(Preprocessing.of(question.model).std)[:, None, None]
    total = torch.zeros_like(images)
    for _ in range(_SAMPLES):
        noise = torch.stack([torch.randn(images.shape[1:], generator=generator) for generator in generators])
        total += _slopes(question, images + _NOISE * span * noise.to(images), method)
    return total / _SAMPLES


def _patch_sums(question: Question, pixels: Tensor) -> Tensor:
    return patch_pixels(question.model, pixels.float()).sum(dim=(1, 4, 5))


def _patch_sizes(question: Question, slopes: Tensor) -> Tensor:
    return patch_pixels(question.model, slopes.float().abs().amax(dim=1, keepdim=True)).mean(dim=(1, 4, 5))


def patch_pixels(model: nn.Module, pixels: Tensor) -> Tensor:
    """[B, C, H, W] as [B, C, rows, columns, height, width] of a patch, zeros where the model pads the picture."""
    embed: Any = model.patch_embed
    grid, sides = patch_grid(model, pixels), []
    for side, cells, patch in zip(pixels.shape[-2:], grid, embed.patch_size, strict=True):
        # A hybrid's patches are cut from feature maps: their side in pixels is what divides the picture.
        sides.append(patch if -(-side // patch) == cells else side // cells)
    missing = [cells * side - length for cells, side, length in zip(grid, sides, pixels.shape[-2:], strict=True)]
    padded = functional.pad(pixels, (0, missing[1], 0, missing[0]))
    cut = padded.reshape(*pixels.shape[:2], grid[0], sides[0], grid[1], sides[1])
    return cut.transpose(3, 4)


PEERS = (
    Peer(
        "gradient",
        "gradient",
        "Simonyan et al. 2014, Deep Inside Convolutional Networks",
        gradient,
        passes=2,
        cost="1 forward + backward",
        explains="pair",
        notes="its size at the pixels; by captum",
        is_sided=False,
    ),
    *(
        Peer(
            f"gradient-x-input{suffix}",
            f"gradient x input from {kind}",
            "Shrikumar et al. 2017, Learning Important Features Through Propagating Activation Differences",
            partial(gradient_x_input, kind=kind),
            passes=2,
            cost="1 forward + backward",
            explains="pair",
            is_signed=True,
            notes="by captum",
        )
        for kind, suffix in REFERENCES.items()
    ),
    Peer(
        "smooth-grad",
        "SmoothGrad",
        "Smilkov et al. 2017, SmoothGrad: removing noise by adding noise",
        smooth_grad,
        passes=2 * _SAMPLES,
        cost=f"{_SAMPLES} forward + backward",
        explains="pair",
        notes="its size at the pixels; by captum, under noise of our own",
        is_sided=False,
    ),
    Peer(
        "smooth-grad-x-input",
        "SmoothGrad x input from mean colour",
        "Smilkov et al. 2017, SmoothGrad: removing noise by adding noise",
        smooth_grad_x_input,
        passes=2 * _SAMPLES,
        cost=f"{_SAMPLES} forward + backward",
        explains="pair",
        is_signed=True,
        notes="by captum, under noise of our own",
    ),
    Peer(
        "integrated-gradients",
        "integrated gradients from mean colour",
        "Sundararajan et al. 2017, Axiomatic Attribution for Deep Networks",
        integrated_gradients,
        passes=2 * _STEPS,
        cost=f"{_STEPS} forward + backward",
        explains="pair",
        is_signed=True,
        notes="by captum; its sum is f minus f of the mean colour up to the error of eight steps",
    ),
)
