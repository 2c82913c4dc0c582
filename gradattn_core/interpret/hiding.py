"""Hide what speaks for the other class and ask the model again: what is then left in the picture?"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from gradattn_core.attention.precision import full_float32
from gradattn_core.model.forward import Head, class_logits

SHARE = 0.2
"""Share of the patches that is hidden. On pictures made of two, 0.2 to 0.6 part them about equally well; of one thing
of a narrow world, a digit, the less is hidden the seldomer another thing is left."""
# Standard deviation, in patches, of the blur by which a hidden patch is painted with what is seen around it.
_BLUR = 1.5
# Weight of the whole picture's mean in it: it decides only where nothing is seen for several patches around.
_FAR = 1e-3


def hidden_patches(scores: Tensor, share: float = SHARE) -> Tensor:
    """The patches that speak most for the other class, bool [B, grid height, grid width].

    Args:
        scores: [B, grid height, grid width] signed maps; negative speaks for the other class.
        share: of all patches, in (0, 1]: so many are hidden, but only those of negative score; ties by position.
    """
    flat = scores.flatten(1)
    count = round(share * flat.shape[1])
    chosen = flat.argsort(dim=1, stable=True)[:, :count]
    hidden = torch.zeros_like(flat, dtype=torch.bool).scatter(1, chosen, True) & (flat < 0)
    return hidden.view_as(scores)


def hide(images: Tensor, hidden: Tensor) -> Tensor:
    """``images`` [B, C, H, W] with the ``hidden`` patches [B, grid height, grid width] painted over.

    A hidden patch becomes a smooth continuation of what is seen around it: the mean colours of the visible patches,
    weighted by a Gaussian of their distance. Nothing of the hidden part shines through, as it would with a blur of the
    picture, and no foreign colour is brought in, as with a constant. The visible pixels stay as they are.
    """
    grid = (hidden.shape[1], hidden.shape[2])
    visible = (~hidden)[:, None].float()
    colours = functional.adaptive_avg_pool2d(images.float(), grid)
    down, across = (_closeness(side, images.device) for side in grid)
    # A picture that is hidden wholly becomes 0, which is the normalised mean of what the model was trained on.
    mean = (colours * visible).sum(dim=(2, 3), keepdim=True) / visible.sum(dim=(2, 3), keepdim=True).clamp_min(1)
    painted = (down @ (colours * visible) @ across + _FAR * mean) / (down @ visible @ across + _FAR)
    painted = functional.interpolate(painted, size=images.shape[-2:], mode="bilinear", align_corners=False)
    over = functional.interpolate(hidden[:, None].float(), size=images.shape[-2:], mode="nearest")
    return torch.where(over > 0, painted, images.float()).to(images.dtype)


def ask_again(
    model: nn.Module,
    images: Tensor,
    scores: Tensor,
    head: Head | None = None,
    share: float = SHARE,
) -> Tensor:
    """Logits [B, K], float32, once the evidence for the other class is hidden; one forward pass.

    Args:
        model: a timm Vision Transformer in evaluation mode.
        images: [B, C, H, W] as they were interpreted.
        scores: their signed maps [B, grid height, grid width].
        head: maps the model's pre-logit features to logits; the classifier where ``None``.
        share: see :func:`hidden_patches`.
    """
    with torch.inference_mode(), full_float32(images.device):
        return class_logits(model, hide(images, hidden_patches(scores, share)), head).float()


def _closeness(side: int, device: torch.device) -> Tensor:
    """[side, side] Gaussian weight of every row (or column) of patches for every other."""
    place = torch.arange(side, dtype=torch.float32, device=device)
    return torch.exp(-((place[:, None] - place) ** 2) / (2 * _BLUR**2))
