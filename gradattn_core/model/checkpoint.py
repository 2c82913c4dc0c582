"""Checkpoints as training programs write them, brought to the names and shapes of a timm model.

A file may hold the weights beside an optimiser, under a key, with a prefix, as an average beside the raw ones, in the
layout of Hugging Face's transformers or of torchvision, or for another input size. It is read as plain tensors only.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from gradattn_core.errors import ModelError
from gradattn_core.model.layouts import in_timms_layout
from gradattn_core.model.tensor_files import State, read_tensors

_AVERAGES = ("state_dict_ema", "model_ema", "ema_state_dict", "ema", "averaged_model", "teacher")
"""Keys of weights that are taken before the raw ones beside them, as timm does: averages judge better."""
_RAW = ("state_dict", "model_state_dict", "model", "net", "network", "module", "weights", "params", "student")
_DEEPEST = 8
# Wrappers of torch within a model, wherever they stand in a name.
_WRAPPERS = re.compile(r"(?<![\w])(?:_fsdp_wrapped_module|_checkpoint_wrapped_module|_orig_mod|_forward_module)\.")
# What profilers and masked training leave beside a model's own tensors.
_COUNTERS = re.compile(r"(?:.*\.)?(?:total_ops|total_params)|mask_token|masked_embed")
_QUANTISED = re.compile(r".*(?:_packed_params|\.absmax|\.quant_map|\.SCB|\.qweight|\.qzeros|\.zero_point|quant_state)")
# Layers that only training needs.
_NO_HEAD = re.compile(
    r"(?:.*\.)?(?:criterion|loss|cent(?:er|re)s?|arcface|margin|prox(?:y|ies)|metric|prototype|decoder|predictor|queue)"
)
_AVERAGED_ROOTS = re.compile(r"(?:^|\.)(?:model_ema|ema_model|ema|teacher|momentum_encoder|averaged_model)\.")
_ADAPTERS = re.compile(r"(^|\.)(lora_|base_layer\.|adapter_)")


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
    named, notes = _tensors(read_tensors(file), file)
    named = {_WRAPPERS.sub("", name): value for name, value in named.items() if not _COUNTERS.fullmatch(name)}
    quantised = next(filter(_QUANTISED.match, named), None)
    if quantised is not None:
        raise ModelError(
            f"checkpoint {file} holds a quantised model ({quantised}); save the model before it is quantised, or its "
            "weights as float32"
        )
    if any(_ADAPTERS.search(name) for name in named):
        raise ModelError(
            f"checkpoint {file} holds adapters (LoRA), not whole weights; merge them into the model first, with PEFT's "
            "merge_and_unload, and save its state dictionary"
        )
    state, chosen = _without_common_prefix(named)
    notes += chosen
    return Checkpoint(in_timms_layout(state), notes)


def fit(checkpoint: Checkpoint, model: nn.Module) -> Checkpoint:
    """The tensors for this model: its own file's filter has the last word, so that other input sizes are resampled.

    What belongs to no part of the model but lies outside of it in the file, such as a loss, is left out.
    """
    own = model.state_dict()
    state, left_out = _of_part(checkpoint.state, own)
    notes = checkpoint.notes
    if left_out:
        notes += (_no_classifier(left_out),)
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
    return replace(checkpoint, state=state, notes=notes)


def input_channels(state: Mapping[str, Tensor]) -> int | None:
    """Of the pictures that the checkpoint's model takes; None where it cannot be told."""
    weight = state.get("patch_embed.proj.weight")
    return int(weight.shape[1]) if weight is not None and weight.ndim == 4 else None


def outputs(state: Mapping[str, Tensor]) -> int | None:
    """How many classes the checkpoint's classifier has; None without one."""
    weight = state.get("head.weight")
    return int(weight.shape[0]) if weight is not None and weight.ndim == 2 else None


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


def _without_common_prefix(state: State) -> tuple[State, tuple[str, ...]]:
    """Without what stands before all names (``module.``), or before those of the part with the blocks.

    Where there are several such parts, as teacher and student in one dictionary, an average is taken before others.
    """
    roots = Counter(root for name in state if (root := _root(name)) is not None)
    if not roots:
        return state, ()
    most = max(roots.values())
    alike = [root for root, count in roots.items() if count == most]
    prefix = next(filter(_AVERAGED_ROOTS.search, alike), alike[0])
    others = tuple(root for root in alike if root != prefix)
    notes: tuple[str, ...] = ()
    if others:
        said = ", ".join(root.rstrip(".") or "the rest" for root in others)
        taken = prefix.rstrip(".") or "the one without a prefix"
        notes = (f"The checkpoint holds several sets of weights; {taken} was taken, not {said}.",)
    if not prefix:
        return state, notes
    inside = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    outer = prefix.rstrip(".").rpartition(".")[0]
    outer = f"{outer}." if outer else ""
    beside = {name.removeprefix(outer): value for name, value in state.items() if not name.startswith(prefix)}
    # A classifier often stands beside its backbone.
    heads = {name: value for name, value in beside.items() if re.match(r"(head|head_dist|cls_classifier)\.", name)}
    if not any(name.startswith(("head.", "classifier.")) for name in (*inside, *heads)):
        layers = _linear_layers(beside, tuple(other.removeprefix(outer) for other in others))
        own = _classifier(layers, beside, inside)
        is_hf = any(name.startswith("encoder.layer.") for name in inside)
        heads |= {f"{'classifier' if is_hf else 'head'}.{part}": each for part, each in own.items()}
        if layers and not own:
            notes += (_no_classifier(f"{layers[0]}weight"),)
    return {**heads, **inside}, notes


def _linear_layers(beside: State, others: tuple[str, ...]) -> list[str]:
    """What stands before ``weight`` of the linear layers beside a backbone that may be a head."""
    return [
        name.removesuffix("weight")
        for name, value in beside.items()
        if name.endswith(".weight") and value.ndim == 2 and not _NO_HEAD.match(name) and not name.startswith(others)
    ]


def _classifier(layers: Sequence[str], beside: State, inside: State) -> State:
    """Weight and bias of the one layer beside a backbone that takes its features, whatever it is called.

    Of a head of several layers none is the classifier of the features, and a projector is none.
    """
    width = next((value.shape[-1] for name, value in inside.items() if name.endswith("cls_token")), None)
    if len(layers) != 1 or "proj" in layers[0] or beside[f"{layers[0]}weight"].shape[1] != width:
        return {}
    weight = beside[f"{layers[0]}weight"]
    return {"weight": weight, "bias": beside.get(f"{layers[0]}bias", torch.zeros(len(weight), dtype=weight.dtype))}


def _no_classifier(name: str) -> str:
    return f"The checkpoint's {name} is of no classifier of one layer and was left out: its features judge."


_MARKS = re.compile(r"^(.*?)(blocks\.0\.|encoder\.layer\.0\.|encoder\.layers\.encoder_layer_0\.|visual\.|trunk\.)")


def _root(name: str) -> str | None:
    """What stands before the name of a first block; None for other names."""
    found = _MARKS.match(name)
    return found[1] if found else None


def _of_part(state: State, own: Mapping[str, Tensor]) -> tuple[State, str]:
    """Without tensors whose first word no tensor of the model has, if all of its backbone's are there without them.

    A head that is not the model's goes as well, as self-supervised training has; it is named.
    """
    parts = {name.partition(".")[0] for name in own}
    kept = {name: value for name, value in state.items() if name.partition(".")[0] in parts}
    if own.keys() <= kept.keys():
        return kept, ""
    heads = {name for name in (*own, *kept) if name.startswith(("head.", "head_dist."))}
    if not own.keys() - heads <= kept.keys():
        return state, ""
    of_head = sorted(heads & kept.keys())
    strange = [name for name in of_head if name not in own]
    # Of a classifier that is there in part whoever loads it says what is missing.
    if strange or not of_head:
        # Without a prefix a layer of another name may be the head as well.
        layers = _linear_layers({name: value for name, value in state.items() if name not in kept}, ())
        named = [*strange, *(f"{layer}weight" for layer in layers)]
        return {name: value for name, value in kept.items() if name not in heads}, named[0] if named else ""
    return kept, ""


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
