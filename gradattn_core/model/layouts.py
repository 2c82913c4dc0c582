"""Vision Transformers as Hugging Face's transformers and torchvision name their tensors, under the names of timm."""

from __future__ import annotations

import re

import torch
from torch import Tensor

from gradattn_core.model.tensor_files import State

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
_CLIP = {
    r"^embeddings\.class_embedding$": "cls_token",
    r"^embeddings\.position_embedding\.weight$": "pos_embed",
    r"^embeddings\.patch_embedding\.": "patch_embed.proj.",
    r"^pre_layrnorm\.": "norm_pre.",
    r"^post_layernorm\.": "norm.",
    r"^encoder\.layers\.": "blocks.",
    r"\.layer_norm([12])\.": r".norm\1.",
    r"\.self_attn\.out_proj\.": ".attn.proj.",
    r"\.self_attn\.": ".attn.",
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


def in_timms_layout(state: State) -> State:
    """The tensors under timm's names where their layout is known, and as they are otherwise."""
    for layout in (_from_transformers, _from_clip, _from_torchvision):
        converted = layout(state)
        if converted is not None:
            return converted
    return state


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


def _from_clip(state: State) -> State | None:
    """The vision tower of Hugging Face's CLIP; None where it is none."""
    start = next((name.partition("vision_model.")[0] for name in state if "vision_model.embeddings." in name), None)
    if start is None:
        return None
    converted: State = {}
    for name, value in state.items():
        new = name.removeprefix(f"{start}vision_model.")
        if new == name:
            continue  # of the tower for texts, and what joins the two
        for old, ours in _CLIP.items():
            new = re.sub(old, ours, new)
        converted[new] = value
    for name in [name for name in converted if ".q_proj." in name]:
        three = [converted.pop(name.replace(".q_proj.", f".{each}_proj."), None) for each in "qkv"]
        if all(part is not None for part in three):
            converted[name.replace(".q_proj.", ".qkv.")] = torch.cat([part for part in three if part is not None])
    if "cls_token" in converted and "pos_embed" in converted:
        converted["cls_token"] = converted["cls_token"].reshape(1, 1, -1)
        converted["pos_embed"] = converted["pos_embed"].unsqueeze(0)
    converted.pop("embeddings.position_ids", None)
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
