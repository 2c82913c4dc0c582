"""Checkpoints as training programs write them, brought to the names and shapes of a timm model.

A file may hold the weights beside an optimiser, under a key, with a prefix, as an average beside the raw ones, in the
layout of Hugging Face's transformers or of torchvision, or for another input size. It is read as plain tensors only.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from gradattn_core.errors import ModelError

State = dict[str, Tensor]

_AVERAGES = ("state_dict_ema", "model_ema", "ema_state_dict", "ema", "averaged_model", "teacher")
"""Keys of weights that are taken before the raw ones beside them, as timm does: averages judge better."""
_RAW = ("state_dict", "model_state_dict", "model", "net", "network", "module", "weights", "params", "student")
_DEEPEST = 4
# What training programs keep beside the weights and torch lets in where it is named: settings and plain numbers.
_HARMLESS: list[Any] = [argparse.Namespace, np.dtype, np.ndarray]
_ADAPTERS = re.compile(r"(^|\.)(lora_|base_layer\.|adapter_)")
_LAYER = re.compile(r"^encoder\.layer\.(\d+)\.(.+)$")
_TRANSFORMERS_BLOCK = {
    "layernorm_before": "norm1",
    "layernorm_after": "norm2",
    "norm1": "norm1",
    "norm2": "norm2",
    "attention.output.dense": "attn.proj",
    "intermediate.dense": "mlp.fc1",
    "output.dense": "mlp.fc2",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
    "mlp.weights_in": "mlp.w12",
    "mlp.weights_out": "mlp.w3",
    "layer_scale1.lambda1": "ls1.gamma",
    "layer_scale2.lambda1": "ls2.gamma",
}
_TRANSFORMERS = {
    "embeddings.cls_token": "cls_token",
    "embeddings.distillation_token": "dist_token",
    "embeddings.register_tokens": "reg_token",
    "embeddings.position_embeddings": "pos_embed",
    "embeddings.patch_embeddings.projection": "patch_embed.proj",
    "layernorm": "norm",
    "classifier": "head",
    "cls_classifier": "head",
    "distillation_classifier": "head_dist",
}
_TORCHVISION_BLOCK = {
    "ln_1": "norm1",
    "ln_2": "norm2",
    "self_attention.in_proj_": "attn.qkv.",
    "self_attention.out_proj.": "attn.proj.",
    "mlp.linear_1": "mlp.fc1",
    "mlp.linear_2": "mlp.fc2",
    "mlp.0.": "mlp.fc1.",
    "mlp.3.": "mlp.fc2.",
}


@dataclass(frozen=True)
class Checkpoint:
    """Tensors of a file under the names that a timm model would give them, and what was done to find them.

    Attributes:
        notes: sentences for the user, where there was a choice.
    """

    state: State
    notes: tuple[str, ...] = ()


def read_checkpoint(file: Path) -> Checkpoint:
    """The weights that a file holds, in a timm model's names as far as the file alone tells.

    Raises:
        ModelError: it is no file of plain tensors, holds none, or holds adapters without the weights they adapt.
    """
    named, notes = _tensors(_read(file), file)
    if any(_ADAPTERS.search(name) for name in named):
        raise ModelError(
            f"checkpoint {file} holds adapters (LoRA), not whole weights; merge them into the model first, with PEFT's "
            "merge_and_unload, and save its state dictionary"
        )
    state = _without_common_prefix(named)
    for layout in (_from_transformers, _from_torchvision):
        converted = layout(state)
        if converted is not None:
            return Checkpoint(converted, notes)
    return Checkpoint(state, notes)


def fit(checkpoint: Checkpoint, model: nn.Module) -> Checkpoint:
    """The tensors for this model: its own file's filter has the last word, so that other input sizes are resampled.

    What belongs to no part of the model but lies outside of it in the file, such as a loss, is left out.
    """
    own = model.state_dict()
    notes = checkpoint.notes
    state = dict(_of_part(checkpoint.state, own))
    positions = state.get("pos_embed")
    convert = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
    if convert is not None:
        # Of another layout than it knows; what does not fit is named by whoever loads it.
        with suppress(KeyError, RuntimeError, ValueError, AttributeError, AssertionError, TypeError):
            state = dict(convert(dict(state), model))
    now = state.get("pos_embed")
    if positions is not None and now is not None and positions.shape != now.shape:
        notes += (
            f"The checkpoint's positions are of {positions.shape[1]:,} tokens and were resampled to {now.shape[1]:,}.",
        )
    if "mask_token" not in own:
        # Masked training leaves it; no answer depends on it.
        state.pop("mask_token", None)
    return replace(checkpoint, state=state, notes=notes)


def input_channels(state: Mapping[str, Tensor]) -> int | None:
    """Of the pictures that the checkpoint's model takes; None where it cannot be told."""
    weight = state.get("patch_embed.proj.weight")
    return int(weight.shape[1]) if weight is not None and weight.ndim == 4 else None


def outputs(state: Mapping[str, Tensor]) -> int | None:
    """How many classes the checkpoint's classifier has; None without one."""
    weight = state.get("head.weight")
    return int(weight.shape[0]) if weight is not None and weight.ndim == 2 else None


def _read(file: Path) -> object:
    try:
        if file.suffix.lower() == ".safetensors":
            return load_file(file)
        with torch.serialization.safe_globals(_HARMLESS):
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        # A pickle with code in it, a truncated file and a foreign format all raise different things.
        raise ModelError(
            f"checkpoint {file} cannot be read as plain tensors ({type(error).__name__}); "
            "safetensors files and torch state dictionaries without other objects work"
        ) from error


def _tensors(content: object, file: Path) -> tuple[State, tuple[str, ...]]:
    """The dictionary of tensors that is meant, among all that a file holds."""
    found = dict(_dictionaries(content, ()))
    if not found:
        raise ModelError(f"checkpoint {file} holds no state dictionary of tensors")
    if len(found) == 1:
        return next(iter(found.values())), ()
    for key in (*_AVERAGES, *_RAW):
        for path, state in found.items():
            if path and path[-1] == key:
                others = ", ".join(sorted(".".join(other) or "the rest" for other in found if other != path))
                return state, (f"The checkpoint holds several sets of weights; {key} was taken, not {others}.",)
    path, state = max(found.items(), key=lambda entry: sum(value.numel() for value in entry[1].values()))
    return state, (f"The checkpoint holds several sets of weights; {'.'.join(path) or 'the largest'} was taken.",)


def _dictionaries(content: object, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], State]]:
    """Every dictionary of named tensors within, and the keys that lead there; an optimiser's have numbers for names."""
    if not isinstance(content, Mapping) or len(path) > _DEEPEST or "param_groups" in content:
        return
    tensors = {name: value for name, value in content.items() if isinstance(value, Tensor) and isinstance(name, str)}
    # A model has many; a training program's own entries beside them are few.
    if any(value.ndim >= 2 for value in tensors.values()):
        # Sparse tensors and those without storage (meta) are no weights.
        is_weight = {name: not value.is_sparse and value.device.type == "cpu" for name, value in tensors.items()}
        yield path, {name: value for name, value in tensors.items() if is_weight[name]}
        return
    for name, value in content.items():
        yield from _dictionaries(value, (*path, str(name)))


def _without_common_prefix(state: State) -> State:
    """Without what stands before all names (``module.``), or before those of the part with the blocks."""
    roots = Counter(root for name in state if (root := _root(name)) is not None)
    if not roots:
        return state
    # Where there are several, such as teacher and student in one dictionary, the first is as good as any.
    prefix = roots.most_common(1)[0][0]
    if not prefix:
        return state
    inside = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    outer = prefix.rstrip(".").rpartition(".")[0]
    outer = f"{outer}." if outer else ""
    beside = {name.removeprefix(outer): value for name, value in state.items() if not name.startswith(prefix)}
    # A classifier often stands beside its backbone.
    heads = {name: value for name, value in beside.items() if re.match(r"(head|head_dist|fc|classifier)\.", name)}
    if not any(name.startswith("encoder.layer.") for name in inside):
        heads = {re.sub(r"^(fc|classifier)\.", "head.", name): value for name, value in heads.items()}
    return {**heads, **inside}


_MARKS = re.compile(r"^(.*?)(blocks\.0\.|encoder\.layer\.0\.|encoder\.layers\.encoder_layer_0\.|visual\.|trunk\.)")


def _root(name: str) -> str | None:
    """What stands before the name of a first block; None for other names."""
    found = _MARKS.match(name)
    return found[1] if found else None


def _of_part(state: State, own: Mapping[str, Tensor]) -> State:
    """Without tensors whose first word no tensor of the model has, if all of the model's are there without them."""
    parts = {name.partition(".")[0] for name in own}
    kept = {name: value for name, value in state.items() if name.partition(".")[0] in parts}
    return kept if own.keys() <= kept.keys() else state


def _from_transformers(state: State) -> State | None:
    """Hugging Face's ViT, DeiT and DINOv2; None where it is none."""
    if not any(_LAYER.match(name) for name in state):
        return None
    converted: State = {}
    projections: dict[tuple[str, str], dict[str, Tensor]] = {}
    for name, value in state.items():
        layer = _LAYER.match(name)
        if layer is None:
            if name.startswith(("pooler.", "embeddings.mask_token")):
                continue
            stem = next((stem for stem in _TRANSFORMERS if name == stem or name.startswith(f"{stem}.")), None)
            converted[name if stem is None else name.replace(stem, _TRANSFORMERS[stem], 1)] = value
            continue
        block, rest = f"blocks.{layer[1]}.", layer[2]
        asked = re.fullmatch(r"attention\.attention\.(query|key|value)\.(weight|bias)", rest)
        if asked is not None:
            projections.setdefault((block, asked[2]), {})[asked[1]] = value
            continue
        stem = next((stem for stem in _TRANSFORMERS_BLOCK if rest == stem or rest.startswith(f"{stem}.")), None)
        converted[block + (rest if stem is None else rest.replace(stem, _TRANSFORMERS_BLOCK[stem], 1))] = value
    for (block, kind), three in projections.items():
        if three.keys() == {"query", "key", "value"}:
            converted[f"{block}attn.qkv.{kind}"] = torch.cat([three["query"], three["key"], three["value"]])
    return converted


def _from_torchvision(state: State) -> State | None:
    """torchvision's VisionTransformer; None where it is none."""
    if "encoder.pos_embedding" not in state or "conv_proj.weight" not in state:
        return None
    names = {"class_token": "cls_token", "encoder.pos_embedding": "pos_embed"}
    converted: State = {}
    for name, value in state.items():
        new = names.get(name, name)
        new = re.sub(r"^conv_proj\.", "patch_embed.proj.", new)
        new = re.sub(r"^encoder\.ln\.", "norm.", new)
        new = re.sub(r"^heads\.(head\.)?", "head.", new)
        block = re.match(r"^encoder\.layers\.encoder_layer_(\d+)\.(.+)$", new)
        if block is not None:
            rest = block[2]
            for old, ours in _TORCHVISION_BLOCK.items():
                if rest.startswith(old):
                    rest = rest.replace(old, ours, 1)
                    break
            new = f"blocks.{block[1]}.{rest}"
        converted[new] = value
    return converted


def describe_misfit(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> list[str]:
    """Clauses on how tensors and a model differ; empty where they are the same in names and shapes."""
    missing = sorted(own.keys() - state.keys())
    unknown = sorted(state.keys() - own.keys())
    shapes = sorted(name for name in own.keys() & state.keys() if own[name].shape != state[name].shape)
    clauses = []
    if shapes:
        name = shapes[0]
        clauses.append(f"{name} is {list(state[name].shape)} there and {list(own[name].shape)} in the model")
    if missing:
        clauses.append(f"{len(missing)} tensors are missing (first {missing[0]})")
    if unknown:
        clauses.append(f"{len(unknown)} are unknown (first {unknown[0]})")
    return clauses
