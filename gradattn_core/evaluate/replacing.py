"""What a model says once some patches are gone: left out of the sequence, or painted over in one of several ways."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.transforms.functional import gaussian_blur

from gradattn_core.attention.readout import model_name
from gradattn_core.attention.rollout import prepared
from gradattn_core.errors import EvaluateError
from gradattn_core.interpret.absence import runs_on_fewer, tokens_dropped, without_patches

REPLACEMENTS = ("zero", "mean", "blur", "inpaint", "drop")
"""What a masked patch becomes.

``zero``: zero after normalisation, the grey that the preprocessing calls the mean. ``mean``: the image's own mean
colour. ``blur``: the image under a Gaussian of 5/16 of a patch (5 pixels for patches of 16) cut at a window of 11/16.
``inpaint``: a smooth continuation of what is seen around it (:func:`push_pull`). ``drop``: its token is left out, see
:mod:`gradattn_core.interpret.absence`.
"""


def log_odds_without(
    model: nn.Module,
    image: Tensor,
    masked: Tensor,
    target: int,
    against: int,
    *,
    replace: str = "drop",
    batch_size: int = 32,
) -> Tensor:
    """z_target − z_against of one image under many masks, [masks] float32 on the CPU.

    Args:
        model: images [B, C, H, W] → logits [B, K]. Left as it was found.
        image: [C, H, W], preprocessed.
        masked: bool [masks, rows, columns], true where a patch is gone.
        replace: one of :data:`REPLACEMENTS`.
        batch_size: masks at a time. Masks of one size are taken together where tokens are left out.

    Raises:
        EvaluateError: an argument is unusable; the message names it.
    """
    counts = masked.flatten(1).sum(1)
    order = counts.argsort(stable=True)
    result = torch.empty(len(masked))
    with prepared(model), torch.inference_mode():
        for part in order.split(batch_size):
            images = image.expand(len(part), *image.shape)
            logits = masked_logits(model, images, masked[part].to(image.device), replace)
            result[part] = (logits[:, target] - logits[:, against]).cpu()
    return result


def masked_logits(model: nn.Module, images: Tensor, masked: Tensor, replace: str) -> Tensor:
    """Logits [B, K], float32, with the ``masked`` patches [B, rows, columns] replaced.

    Raises:
        EvaluateError: an answer is not finite.
        ModelError: no token of the model can be left out.
    """
    if replace == "drop":
        short = runs_on_fewer(model)
        logits = _on_the_rest(model, images, masked.flatten(1)) if short else without_patches(model, images, masked)
    else:
        over = functional.interpolate(masked[:, None].float(), size=images.shape[-2:], mode="nearest") > 0
        logits = model(
            torch.where(over, replacement(images, (masked.shape[1], masked.shape[2]), replace, over), images)
        )
    if not isinstance(logits, Tensor) or logits.ndim != 2 or not bool(torch.isfinite(logits).all()):
        raise EvaluateError(
            f"model: {model_name(model)} gave no finite logits [{len(images)}, K] with {int(masked[0].sum())} patches "
            f"masked by {replace!r}"
        )
    return logits.float()


def push_pull(images: Tensor, hidden: Tensor) -> Tensor:
    """``images`` [B, C, H, W] with their ``hidden`` pixels [B, 1, H, W] filled in from what is seen around them.

    A pyramid of means of the visible pixels is built until one pixel is left, and every hidden pixel takes the colour
    of the finest level that knows one (Gortler et al. 1996, "The Lumigraph"). Visible pixels stay as they are. A
    picture that is hidden wholly becomes 0, the normalised mean of what the model was trained on.
    """
    colours, weights = images.float(), (~hidden).float()
    colours = colours * weights
    levels = [(colours, weights)]
    while max(colours.shape[-2:]) > 1:
        total, seen = (functional.avg_pool2d(x, 2, ceil_mode=True, count_include_pad=False) for x in levels[-1])
        # A level's colour is a mean of what is seen below; four pixels, one of them seen, count as seen.
        colours, weights = total / seen.clamp_min(1e-6), (4 * seen).clamp_max(1)
        colours = colours * weights
        levels.append((colours, weights))
    filled = levels[-1][0]
    for colours, weights in reversed(levels[:-1]):
        coarse = functional.interpolate(filled, size=colours.shape[-2:], mode="bilinear", align_corners=False)
        filled = colours + (1 - weights) * coarse
    return torch.where(hidden, filled, images.float()).to(images.dtype)


def replacement(images: Tensor, grid: tuple[int, int], replace: str, over: Tensor | None = None) -> Tensor:
    """What pixels of ``images`` [B, C, H, W] become where they are masked, of their shape.

    Args:
        grid: rows and columns of patches.
        replace: one of :data:`REPLACEMENTS` but ``drop``; only ``inpaint`` depends on ``over`` [B, 1, H, W], true where
            a pixel is masked.
    """
    if replace == "zero":
        return torch.zeros_like(images)
    if replace == "mean":
        return images.mean(dim=(2, 3), keepdim=True).expand_as(images)
    if replace == "inpaint":
        assert over is not None
        return push_pull(images, over)
    sides = images.shape[-1] // grid[1], images.shape[-2] // grid[0]
    windows = [max(3, 2 * (11 * side // 32) + 1) for side in sides]
    blurred: Tensor = gaussian_blur(images, windows, [5 * side / 16 for side in sides])
    return blurred


def _on_the_rest(model: nn.Module, images: Tensor, masked: Tensor) -> Tensor:
    """Logits [B, K] without the ``masked`` [B, patches] tokens; images that lose as many share a pass."""
    counts = masked.sum(1)
    logits: list[tuple[Tensor, Tensor]] = []
    for count in counts.unique():
        rows = (counts == count).nonzero()[:, 0]
        with tokens_dropped(model, masked[rows]):
            logits.append((rows, model(images[rows])))
    result = logits[0][1].new_empty(len(images), logits[0][1].shape[1])
    for rows, answer in logits:
        result[rows] = answer
    return result
