"""Every method by its name, and the one way to ask any of them for maps."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from gradattn_core.attention.readout import find_readout, patch_grid
from gradattn_core.attention.rollout import check_model, prepared
from gradattn_core.errors import InterpretError
from gradattn_core.interpret.objective import Classes, class_indices
from gradattn_core.model.forward import Head, check_head, check_images, final_tokens, head_logits
from gradattn_core.peers import (
    cams,
    contributions,
    gradients,
    layerwise,
    linearised,
    masks,
    ours,
    paths,
    relevance,
    rollouts,
)
from gradattn_core.peers.capture import gradients as slopes
from gradattn_core.peers.question import Peer, Question, difference

# A family of methods a file, in the order in which tables show them.
_FAMILIES = (
    ours,
    rollouts,
    relevance,
    contributions,
    paths,
    layerwise,
    cams,
    gradients,
    linearised,
    masks,
)

# Measured by part d of bench/faithfulness.py on its first model, 48 pictures; the next below has .29.
_FINDS_DETAILS = {
    *("secant", "secant-3", "secant-a", "centred-scaled", "complete", "complete-sum", "ratio"),
    *("positive", "positive-sum", "absolute", "absolute-sum", "attention", "rollout-discard", "partial-lrp", "alti"),
    *("gradient", "gradient-x-input-blur", "smooth-grad", "smooth-grad-x-input", "integrated-gradients"),
    *("frozen", "attn-lrp", "linearised", "libra-grad"),
}

# As many as scikit-learn takes.
_SEEDS = 1 << 32

PEERS: dict[str, Peer] = {
    peer.name: replace(peer, is_detail=peer.name in _FINDS_DETAILS) for family in _FAMILIES for peer in family.PEERS
}


def peer_maps(
    name: str,
    model: nn.Module,
    images: Tensor,
    target: Classes,
    against: Classes | None = None,
    *,
    head: Head | None = None,
    chunk_size: int = 32,
    seed: int = 0,
) -> Tensor:
    """Maps of any method, one signature for all.

    With ``against``, a method that explains one class gives map(target) − map(against), one that explains a pair the
    map of the log-odds, and one that knows no class the same map as without.

    Args:
        name: a key of :data:`PEERS`.
        model: a timm Vision Transformer with global self-attention. It is left as it was found.
        images: [B, channels, H, W], preprocessed as the model expects.
        target, against: an int or [B] integers each.
        head: maps the model's pre-logit features [B, D] to logits [B, K], each row by itself; the classifier where
            ``None``.
        chunk_size: how many pictures a pass may hold, copies for steps and masks counted; maps do not depend on it
            beyond rounding.
        seed: of methods that draw numbers. A map depends on it and on the picture's place in the batch.

    Returns:
        [B, rows, columns] of the patch grid, float32, on the model's device; raw. What is positive speaks for the
        target.

    Raises:
        InterpretError: an argument is unusable or the method refuses the model; the message names it.
        ModelError: the model has no global self-attention.
    """
    peer = find_peer(name)
    model = getattr(model, "_orig_mod", model)
    check_model(model)
    check_images(model, images)
    if not bool(torch.isfinite(images).all()):
        raise InterpretError("images: some pixels are not finite")
    if not isinstance(chunk_size, int) or chunk_size < 1:
        raise InterpretError(f"chunk_size={chunk_size}: give a whole number of at least 1")
    grid, readout = patch_grid(model, images), find_readout(model)
    check_head(head)
    maps = []
    own = next(model.parameters()).dtype
    # Autocast outside must not reach in: some methods do not bear half precision.
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.autocast(images.device.type, enabled=False),
        prepared(model),
    ):
        images = images.detach().to(own)
        classes = _class_count(model, images, head)
        a = class_indices("target", target, classes)
        b = None if against is None else class_indices("against", against, classes)
        if b is not None and bool((a == b).any()):
            raise InterpretError("against: is the same class as target, so their difference is zero everywhere")
        for part in torch.arange(len(images)).split(chunk_size):
            rows = part.to(images.device)
            question = Question(
                model,
                images[rows].clone(),
                grid,
                readout,
                a[rows],
                None if b is None else b[rows],
                head,
                chunk_size,
                tuple((seed + number) % _SEEDS for number in part.tolist()),
            )
            maps.append(_answered(peer, question).reshape(-1, *grid))
    found = torch.cat(maps)
    if not bool(torch.isfinite(found).all()):
        raise InterpretError(f"method {name!r}: its map is not finite (half precision overflow? try float32)")
    return found


def _answered(peer: Peer, question: Question) -> Tensor:
    """The map of the whole question, by one or by two maps of one class."""
    if peer.explains == "pair" or peer.shares_passes:
        return peer.maps(question).detach().float()
    asked = question.each_class()
    if peer.explains == "picture":
        asked = asked[:1]
    return difference([peer.maps(one).detach() for one in asked]).float()


def _class_count(model: nn.Module, images: Tensor, head: Head | None) -> Tensor:
    """An empty stand-in for logits [B, K], by which class indices are checked.

    Raises:
        InterpretError: the head does not read its features.
    """
    classes = int(getattr(model, "num_classes", 0))
    if head is not None or not classes:
        # A head says how many classes it has only when it is asked.
        tokens = final_tokens(model, images[:1])
        features = model.forward_head(tokens, pre_logits=True).detach().requires_grad_(True)  # type: ignore[operator]
        logits = features if head is None else head_logits(head, features)
        if logits.requires_grad:
            slopes(logits, [features], keep=False)
        classes = logits.shape[1]
    return images.new_empty(1).expand(len(images), classes)


def find_peer(name: str) -> Peer:
    """The method of this name.

    Raises:
        InterpretError: there is none.
    """
    try:
        return PEERS[name]
    except KeyError:
        raise InterpretError(f"method={name!r} is unknown; choose one of {', '.join(PEERS)}") from None
