"""Class activation maps: channels of the last block's input, weighted by the gradient that reaches them.

The layer is what their library's manual names for Vision Transformers, the norm before the last attention
(``blocks[-1].norm1``): behind that attention the patches of a class-token model have no gradient any more. Hooks and
weighting are those of pytorch-grad-cam (``pip install 'gradattn[peers]'``). Left aside is what it does next: each map
is stretched to [0, 1] there, which would make a difference of two classes' maps meaningless.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from gradattn_core.errors import InterpretError
from gradattn_core.peers.gradients import peer_library
from gradattn_core.peers.question import Peer, Question

# How many of the classes nearest to the target stand against it where none is named.
_NEAREST = 3


def feature_grad_cam(question: Question) -> Tensor:
    """Grad-CAM on token features (Selvaraju et al., 2017; pytorch-grad-cam's form for Vision Transformers).

    S_i = relu(Σ_d w_d X_id), X the patch tokens after ``blocks[-1].norm1``, w_d the mean over patches of ∂z_a/∂X_id.
    One forward and one backward pass; any readout and head. Against the library: no stretching to [0, 1], no resizing.

    Returns:
        [B, rows, columns] float32, >= 0.

    Raises:
        InterpretError: the last block has no norm before its attention, no gradient reaches the patches there, or
            pytorch-grad-cam is not installed.
    """
    return _class_activation(question, "grad-cam", "GradCAM")


def layer_cam(question: Question) -> Tensor:
    """LayerCAM (Jiang et al., 2021): S_i = relu(Σ_d relu(∂z_a/∂X_id) X_id); else as :func:`feature_grad_cam`."""
    return _class_activation(question, "layer-cam", "LayerCAM")


def hires_cam(question: Question) -> Tensor:
    """HiResCAM (Draelos and Carin, 2020): S_i = relu(Σ_d ∂z_a/∂X_id X_id); else as :func:`feature_grad_cam`."""
    return _class_activation(question, "hires-cam", "HiResCAM")


def finer_cam(question: Question) -> Tensor:
    """Finer-CAM (Zhang et al., 2025): Grad-CAM of a contrastive target, z_a − z_b.

    Where no class stands against the target, Σ_b p_b (z_a − z_b) / Σ_b p_b over the three classes whose logits are
    nearest to z_a, p the softmax, which is differentiated too: the library's default, with its strength of 1. The map
    shows where the target's own marks are; that of (b, a) is not its negative.
    """
    return _class_activation(question, "finer-cam", "GradCAM", contrastive=True)


def _class_activation(question: Question, method: str, of_library: str, *, contrastive: bool = False) -> Tensor:
    library = peer_library("pytorch_grad_cam", method)
    layer = last_input_norm(question, method)

    def grid(tokens: Tensor) -> Tensor:
        # The library leaves torch for numpy, which knows no half precision.
        patches = tokens[:, -question.patches :].float()
        return patches.mT.reshape(len(tokens), -1, *question.grid)

    cam = getattr(library, of_library)(model=question.model, target_layers=[layer], reshape_transform=grid)
    try:
        with torch.enable_grad():
            pixels = question.images.requires_grad_(True)
            logits = question.answer(pixels)
            value = _finer_value(library, question, logits) if contrastive else question.value(logits).sum()
            torch.autograd.grad(value, pixels)
        kept = cam.activations_and_grads
        features, slopes = kept.activations[0].numpy(), kept.gradients[0].numpy()
        if not slopes.any():
            raise question.refuse(method, "passes no gradient to the patches before its last attention")
        maps = cam.get_cam_image(pixels, layer, None, features, slopes, False)
    finally:
        cam.activations_and_grads.release()
    return torch.from_numpy(maps).clamp_min(0).to(question.images.device)


def last_input_norm(question: Question, method: str) -> nn.Module:
    """The norm before the last attention.

    Raises:
        InterpretError: the last block has none.
    """
    last = question.blocks[-1]
    norm = getattr(last, "norm1", getattr(last, "in_norm", None))
    if norm is None or isinstance(norm, nn.Identity):
        raise question.refuse(method, "has no norm before its last attention, whose tokens would be weighted")
    found: nn.Module = norm
    return found


def _finer_value(library: Any, question: Question, logits: Tensor) -> Tensor:
    nearest = _nearest(logits.detach(), question.target) if question.against is None else question.against[:, None]
    if not nearest.shape[1]:
        raise InterpretError("method 'finer-cam': the head has one class alone, and none to stand against it")
    make = library.utils.model_targets.FinerWeightedTarget
    values = [
        make(int(target), [int(other) for other in others], 1.0)(row)
        for target, others, row in zip(question.target, nearest, logits, strict=True)
    ]
    return torch.stack(values).sum()


def _nearest(logits: Tensor, target: Tensor) -> Tensor:
    """[B, <= 3] the classes whose logits are nearest to the target's, nearest first."""
    distance = (logits - logits.gather(1, target[:, None])).abs().scatter(1, target[:, None], torch.inf)
    return distance.argsort(dim=1, stable=True)[:, : min(_NEAREST, logits.shape[1] - 1)]


PEERS = (
    Peer(
        "grad-cam",
        "Grad-CAM (features)",
        "Selvaraju et al. 2017, Grad-CAM: Visual Explanations from Deep Networks",
        feature_grad_cam,
        passes=2,
        cost="1 forward + backward",
        notes="at blocks[-1].norm1, by pytorch-grad-cam, not stretched to [0, 1]",
    ),
    Peer(
        "layer-cam",
        "LayerCAM",
        "Jiang et al. 2021, LayerCAM: Exploring Hierarchical Class Activation Maps for Localization",
        layer_cam,
        passes=2,
        cost="1 forward + backward",
        notes="at blocks[-1].norm1, by pytorch-grad-cam, not stretched to [0, 1]",
    ),
    Peer(
        "hires-cam",
        "HiResCAM",
        "Draelos and Carin 2020, Use HiResCAM instead of Grad-CAM for faithful explanations",
        hires_cam,
        passes=2,
        cost="1 forward + backward",
        notes="at blocks[-1].norm1, by pytorch-grad-cam, not stretched to [0, 1]",
    ),
    Peer(
        "finer-cam",
        "Finer-CAM",
        "Zhang et al. 2025, Finer-CAM: Spotting the Difference Reveals Finer Details for Visual Explanation",
        finer_cam,
        passes=2,
        cost="1 forward + backward",
        explains="pair",
        notes="Grad-CAM of z_a − z_b; without another class, of the three nearest",
    ),
)
