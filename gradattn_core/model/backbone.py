"""Builds a timm Vision Transformer from a name and a checkpoint, or says in one sentence why it cannot."""

from __future__ import annotations

import difflib
import hashlib
from contextlib import suppress
from typing import Any

import timm
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from gradattn_core.attention.readout import find_readout, patch_grid
from gradattn_core.attention.rollout import check_model, follow_row
from gradattn_core.config import ModelSpec
from gradattn_core.errors import InterpretError, ModelError
from gradattn_core.model.checkpoint import (
    Checkpoint,
    describe_misfit,
    fit,
    input_channels,
    outputs,
    read_checkpoint,
)
from gradattn_core.model.forward import class_logits
from gradattn_core.model.preprocessing import Preprocessing
from gradattn_core.model.published import located
from gradattn_core.progress import Progress

# Arguments of timm's by which a user says where the weights are.
_OWN_SOURCE = {"pretrained_cfg", "pretrained_cfg_overlay", "cache_dir"}


def load_model(
    spec: ModelSpec, *, num_classes: int | None = None, device: torch.device | str = "cpu", needs_maps: bool = True
) -> nn.Module:
    """Build the model, load its weights, and check that its attention can be followed.

    The number of classes is the checkpoint's own unless ``num_classes`` asks for a new classifier (from scratch only).
    Without ``needs_maps`` a Vision Transformer that pools in a way of which no map can be made is taken too.

    Returns:
        the model; its attribute ``notes`` holds sentences on what was chosen among what the checkpoint holds.

    Raises:
        ModelError: unknown name (with the nearest ones), checkpoint missing, unsafe or of another shape, weights out
            of reach, or no global self-attention.
    """
    arguments = dict(spec.arguments)
    checkpoint = None if spec.file is None else read_checkpoint(spec.file)
    if checkpoint is not None:
        told = {"num_classes": outputs(checkpoint.state), "in_chans": input_channels(checkpoint.state)}
        # What the user says stands.
        arguments = {name: value for name, value in told.items() if value is not None} | arguments
    if num_classes is not None:
        arguments["num_classes"] = num_classes
    model = _create(spec, arguments, pretrained=checkpoint is None and not spec.from_scratch)
    model.notes = () if checkpoint is None else _load(model, checkpoint, spec)  # type: ignore[assignment]
    model = model.to(device).eval().requires_grad_(False)
    try:
        _check_attention(model)
    except ModelError as error:
        if needs_maps or not isinstance(model, VisionTransformer):
            raise
        model.notes += (f"No map can be drawn, labels are judged without: {str(error).rstrip('.')}.",)
    if checkpoint is not None and not _tells_pictures_apart(model):
        model.notes += (  # type: ignore[operator]
            "With the checkpoint's weights the model says the same of every picture, so it can judge no label: are "
            "they zeros, as of an export that failed?",
        )
    return model


def fetch_weights(spec: ModelSpec, progress: Progress) -> None:
    """Have what the hub has of a model in its cache, before any work that would be in vain without it.

    Args:
        progress: told ``weights`` in bytes, where something has to be fetched.

    Raises:
        ModelError: the hub is out of reach, does not answer, or has no such file.
    """
    if not _OWN_SOURCE & spec.arguments.keys():
        # Of a name that timm does not know, whoever builds the model speaks.
        with suppress(ValueError, RuntimeError, KeyError):
            located(spec.name, pretrained=spec.checkpoint is None and not spec.from_scratch, progress=progress)


def outline(spec: ModelSpec) -> nn.Module:
    """The model without its weights: how many outputs it has and what they are called. A checkpoint is not opened.

    Raises:
        ModelError: unknown name (with the nearest ones), or arguments that do not fit; the checkpoint is not there.
    """
    _ = spec.file  # is there, if it is named
    model = _create(spec, dict(spec.arguments), pretrained=False)
    check_model(model)
    return model


def weights_digest(model: nn.Module) -> str:
    """A fingerprint of the model's weights and buffers, wherever they came from."""
    digest = hashlib.blake2b(digest_size=16)
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _create(spec: ModelSpec, arguments: dict[str, Any], *, pretrained: bool) -> nn.Module:
    base = spec.name.split(".")[0]
    if ":" not in spec.name and not timm.is_model(base):
        near = difflib.get_close_matches(base, timm.list_models(), n=3, cutoff=0.5)
        hint = f"did you mean {', '.join(near)}?" if near else "timm.list_models('vit*') lists the names"
        raise ModelError(f"model {spec.name!r} is not a timm model; {hint}")
    try:
        name, local = (spec.name, {}) if _OWN_SOURCE & arguments.keys() else located(spec.name, pretrained=pretrained)
        model = timm.create_model(name, pretrained=pretrained, **local, **arguments)
    except ModelError:
        raise
    except Exception as error:
        # timm raises many kinds here: hub and network errors, unknown tags, arguments of a wrong name or value.
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        if pretrained:
            raise ModelError(
                f"model {spec.name!r}: its published weights could not be had ({reason}); give --checkpoint FILE"
            ) from error
        raise ModelError(f"model {spec.name!r} cannot be built with {arguments}: {reason}") from error
    if not isinstance(model, nn.Module):
        raise ModelError(f"model {spec.name!r} is not a torch module")
    return model


def _load(model: nn.Module, checkpoint: Checkpoint, spec: ModelSpec) -> tuple[str, ...]:
    """Give the model the checkpoint's weights; what the user should know of how they were found."""
    fitted = fit(checkpoint, model)
    own = model.state_dict()
    missing = own.keys() - fitted.state.keys()
    if missing and all(name.startswith(("head.", "head_dist.")) for name in missing):
        # A headless (self-supervised) checkpoint: its features are whole, only the classifier is not there.
        model.reset_classifier(0)  # type: ignore[operator]
        own = model.state_dict()
    clauses = describe_misfit(fitted.state, own)
    if clauses:
        raise ModelError(f"checkpoint {spec.checkpoint} does not fit model {spec.name!r}: {'; '.join(clauses)}")
    whole = [name for name, value in own.items() if value.is_floating_point() and not _is_real(fitted.state[name])]
    if whole:
        kind = str(fitted.state[whole[0]].dtype).removeprefix("torch.")
        raise ModelError(
            f"checkpoint {spec.checkpoint} holds whole numbers ({kind}) for {whole[0]} and {len(whole) - 1:,} other "
            "weights, as a quantised model does; save the model before it is quantised, or its weights as float32"
        )
    model.load_state_dict(fitted.state)
    return fitted.notes


def _is_real(weights: Tensor) -> bool:
    return weights.is_floating_point() or weights.is_complex()


def _tells_pictures_apart(model: nn.Module) -> bool:
    """Whether noise has other features than a blank picture; numbers that are not finite are found out later."""
    size = Preprocessing.of(model).input_size
    parameter = next(model.parameters())
    noise = torch.randn(1, *size, generator=torch.Generator().manual_seed(0))
    pictures = torch.cat([torch.zeros_like(noise), noise]).to(parameter.device, parameter.dtype)
    features = class_logits(model, pictures, head=lambda features: features)
    return not bool((features[0] == features[1]).all())


def _check_attention(model: nn.Module) -> None:
    """One row followed through a blank image: the cheapest proof that every later map can be made."""
    check_model(model)
    parameter = next(model.parameters())
    size = Preprocessing.of(model).input_size
    blank = torch.zeros(1, *size, device=parameter.device, dtype=parameter.dtype)
    # Of two reasons to refuse a model, its want of a grid of patches is the plainer one.
    patch_grid(model, blank)
    follow_row(model, blank, lambda images: _size_of_features(model, images), find_readout(model))


def _size_of_features(model: nn.Module, images: Tensor) -> Tensor:
    """A scalar of each image that any model has, with a classifier or without: [B]."""
    features = class_logits(model, images, head=lambda features: features).float()
    if not bool(torch.isfinite(features).all()):
        raise InterpretError("model: its features are not finite (NaN weights, or an overflow in half precision)")
    return features.square().sum(dim=1)
