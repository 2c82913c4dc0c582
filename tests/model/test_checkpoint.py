"""Checkpoints as training programs write them give the model that was saved, to the last bit of its answer."""

from __future__ import annotations

import argparse
import datetime
import json
import re
from collections import OrderedDict, defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from timm.layers import resample_abs_pos_embed
from torch import Tensor, nn

from gradattn_core.config import ModelSpec
from gradattn_core.errors import ModelError
from gradattn_core.model.backbone import load_model
from gradattn_core.model.preprocessing import Preprocessing

NAME = "vit_tiny_patch16_224"
SMALL: dict[str, Any] = {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2}
SMALL["pretrained_cfg_overlay"] = {"input_size": (3, 32, 32)}
State = dict[str, Tensor]


def source(seed: int = 1, **changes: Any) -> nn.Module:
    torch.manual_seed(seed)
    model: nn.Module = timm.create_model(NAME, **{"num_classes": 5, **SMALL, **changes})
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    return model.eval()


def prefixed(state: State, prefix: str, *, but: str = " ") -> State:
    return {name if name.startswith(but) else f"{prefix}{name}": value for name, value in state.items()}


def of_transformers(state: State, prefix: str = "vit.") -> State:
    """A timm ViT's tensors under the names of Hugging Face's."""
    found = {}
    for name, value in state.items():
        block = re.match(r"blocks\.(\d+)\.(.+)", name)
        if name.startswith("head."):
            found[name.replace("head", "classifier")] = value
        elif block is None:
            for ours, theirs in {
                "cls_token": "embeddings.cls_token",
                "pos_embed": "embeddings.position_embeddings",
                "patch_embed.proj": "embeddings.patch_embeddings.projection",
                "norm": "layernorm",
            }.items():
                if name == ours or name.startswith(f"{ours}."):
                    found[f"{prefix}{name.replace(ours, theirs, 1)}"] = value
        else:
            place, rest = f"{prefix}encoder.layer.{block[1]}.", block[2]
            if rest.startswith("attn.qkv."):
                for which, part in zip(("query", "key", "value"), value.chunk(3), strict=True):
                    found[f"{place}attention.attention.{which}.{rest.rpartition('.')[2]}"] = part.clone()
                continue
            for ours, theirs in {
                "norm1": "layernorm_before",
                "norm2": "layernorm_after",
                "attn.proj": "attention.output.dense",
                "mlp.fc1": "intermediate.dense",
                "mlp.fc2": "output.dense",
            }.items():
                rest = rest.replace(ours, theirs)
            found[place + rest] = value
    return found


def of_torchvision(state: State) -> State:
    """A timm ViT's tensors under the names of torchvision's."""
    found = {}
    for name, value in state.items():
        new = re.sub(r"^blocks\.(\d+)\.", r"encoder.layers.encoder_layer_\1.", name)
        for ours, theirs in {
            "cls_token": "class_token",
            "pos_embed": "encoder.pos_embedding",
            "patch_embed.proj.": "conv_proj.",
            "norm1": "ln_1",
            "norm2": "ln_2",
            "attn.qkv.": "self_attention.in_proj_",
            "attn.proj.": "self_attention.out_proj.",
            "mlp.fc1.": "mlp.0.",
            "mlp.fc2.": "mlp.3.",
            "head.": "heads.head.",
        }.items():
            new = new.replace(ours, theirs)
        found[re.sub(r"^norm\.", "encoder.ln.", new)] = value
    return found


def lightning(state: State) -> dict[str, Any]:
    return {
        "state_dict": {
            **prefixed(state, "model."),
            "criterion.weight": torch.ones(5),
            "loss.centres": torch.ones(5, 2),
        },
        "hyper_parameters": argparse.Namespace(lr=1e-3, name="vit", sizes=[1, 2]),
        "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(3, 3)}}, "param_groups": [{"lr": 0.1}]}],
        "callbacks": {"best": {"best_model_score": torch.tensor(0.9)}},
        "epoch": 3,
    }


def beside(state: State, prefix: str, head: str) -> State:
    """A backbone with a prefix, and its classifier under another name."""
    return {name.replace(f"{prefix}head.", head): value for name, value in prefixed(state, prefix).items()}


LAYOUTS: dict[str, Any] = {
    "vit., linear.": lambda state: beside(state, "vit.", "linear."),
    "sequential": lambda state: beside(state, "0.", "1."),
    "backbone, dropout before the layer": lambda state: beside(state, "backbone.", "classifier.1."),
    "layers that are wrapped": lambda state: {
        name.replace("blocks.0.", "blocks.0._fsdp_wrapped_module.").replace(
            "blocks.1.", "blocks.1._checkpoint_wrapped_module."
        ): value
        for name, value in state.items()
    },
    "counters of a profiler": lambda state: {
        **state,
        "total_ops": torch.zeros(1),
        "blocks.0.attn.total_params": torch.zeros(1),
    },
    "six levels": lambda state: {"a": {"b": {"c": {"d": {"e": {"f": state}}}}}},
    "average among others": lambda state: {
        **prefixed({name: value + 1 for name, value in state.items()}, "model."),
        **prefixed(state, "model_ema.module."),
    },
    "settings of every kind": lambda state: {
        "model": state,
        "best": np.float64(0.9),
        "history": np.zeros(3),
        "out": Path("runs/1"),
        "at": datetime.datetime(2026, 1, 1),
        "counts": defaultdict(list),
        "options": SimpleNamespace(lr=0.1),
    },
    "plain": lambda state: state,
    "state_dict": lambda state: {"state_dict": state, "epoch": 3},
    "model_state_dict": lambda state: {
        "model_state_dict": state,
        "optimizer_state_dict": {"state": {0: {"exp_avg": torch.ones(3, 3)}}, "param_groups": []},
        "loss": torch.tensor(0.1),
    },
    "net": lambda state: {"net": state, "acc": np.float64(0.9).item(), "epoch": 3},
    "params": lambda state: {"params": OrderedDict(state)},
    "odd key": lambda state: {"my weights of tuesday": state},
    "two levels": lambda state: {"checkpoint": {"model": state}, "version": "1"},
    "data parallel": lambda state: {"state_dict": prefixed(state, "module.")},
    "compiled": lambda state: prefixed(state, "_orig_mod."),
    "compiled in parallel": lambda state: prefixed(state, "module._orig_mod."),
    "lightning": lightning,
    "net.": lambda state: prefixed(state, "net."),
    "backbone beside head": lambda state: prefixed(state, "backbone.", but="head."),
    "encoder, fc": lambda state: {
        name.replace("encoder.head.", "fc."): value for name, value in prefixed(state, "encoder.").items()
    },
    "model.backbone, model.classifier": lambda state: {
        name.replace("model.backbone.head.", "model.classifier."): value
        for name, value in prefixed(state, "model.backbone.").items()
    },
    "criterion": lambda state: {**state, "criterion.weight": torch.ones(5, 5)},
    "mask token": lambda state: {
        **prefixed(state, "student.backbone."),
        "student.backbone.mask_token": torch.ones(1, 16),
    },
    "half": lambda state: {name: value.half() for name, value in state.items()},
    "transformers": of_transformers,
    "transformers, DeiT": lambda state: of_transformers(state, "deit."),
    "transformers, in a trainer": lambda state: {"state_dict": prefixed(of_transformers(state), "model.")},
    "torchvision": of_torchvision,
    "torchvision, in parallel": lambda state: {"model": prefixed(of_torchvision(state), "module.")},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_model_that_was_saved(tmp_path: Path, layout: str) -> None:
    model, path = source(), tmp_path / "model.pth"
    torch.save(LAYOUTS[layout](model.state_dict()), path)
    loaded = load_model(ModelSpec(NAME, str(path), SMALL))
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(loaded(images), (model.half().float() if layout == "half" else model)(images))


@pytest.mark.parametrize(
    ("keys", "taken"),
    [
        (("model", "model_ema"), "model_ema"),
        (("state_dict", "state_dict_ema"), "state_dict_ema"),
        (("student", "teacher"), "teacher"),
        (("net", "discriminator"), "net"),
    ],
)
def test_among_several_sets_of_weights_the_one_that_is_taken_is_named(
    tmp_path: Path, keys: tuple[str, str], taken: str
) -> None:
    models = {key: source(seed) for seed, key in enumerate(keys)}
    torch.save({key: model.state_dict() for key, model in models.items()}, tmp_path / "model.pth")
    loaded = load_model(ModelSpec(NAME, str(tmp_path / "model.pth"), SMALL))
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(loaded(images), models[taken](images))
    (note,) = vars(loaded)["notes"]
    assert f"{taken} was taken" in str(note)


def test_another_resolution_is_resampled_and_said(tmp_path: Path) -> None:
    save_file(source(img_size=64).state_dict(), str(tmp_path / "large.safetensors"))
    loaded = load_model(ModelSpec(NAME, str(tmp_path / "large.safetensors"), SMALL))
    positions = source(img_size=64).state_dict()["pos_embed"]
    expected = resample_abs_pos_embed(positions, [4, 4], num_prefix_tokens=1)
    torch.testing.assert_close(loaded.state_dict()["pos_embed"], expected)
    assert vars(loaded)["notes"] == ("The checkpoint's positions are of 65 tokens and were resampled to 17.",)


def test_pictures_of_one_channel_are_what_the_checkpoint_says(tmp_path: Path) -> None:
    model = source(in_chans=1, pretrained_cfg_overlay={"input_size": (1, 32, 32)})
    save_file(model.state_dict(), str(tmp_path / "grey.safetensors"))
    loaded = load_model(ModelSpec(NAME, str(tmp_path / "grey.safetensors"), SMALL))
    grey = torch.randn(2, 1, 32, 32)
    torch.testing.assert_close(loaded(grey), model(grey))
    colour = Image.new("RGB", (40, 50), (10, 200, 60))
    preprocessing = Preprocessing.of(loaded)
    luminance = float(np.asarray(colour.convert("L"))[0, 0])
    expected = (luminance / 255 - preprocessing.mean[0]) / preprocessing.std[0]
    torch.testing.assert_close(preprocessing(colour), torch.full((1, 32, 32), expected))


def test_adapters_are_told_from_weights(tmp_path: Path) -> None:
    state = {"base_model.model.blocks.0.attn.qkv.lora_A.default.weight": torch.ones(2, 16)}
    torch.save(state, tmp_path / "adapter.pth")
    with pytest.raises(ModelError, match=r"holds adapters \(LoRA\).*merge_and_unload"):
        load_model(ModelSpec(NAME, str(tmp_path / "adapter.pth"), SMALL))


@pytest.mark.parametrize("constant", [0.0, 1.0])
def test_weights_that_say_the_same_of_every_picture_are_told_of(tmp_path: Path, constant: float) -> None:
    state = {name: torch.full_like(value, constant) for name, value in source().state_dict().items()}
    torch.save(state, tmp_path / "m.pth")
    [note] = load_model(ModelSpec(NAME, str(tmp_path / "m.pth"), SMALL)).notes  # type: ignore[misc]
    assert "says the same of every picture" in str(note)
    torch.save(source().state_dict(), tmp_path / "good.pth")
    assert load_model(ModelSpec(NAME, str(tmp_path / "good.pth"), SMALL)).notes == ()


def test_quantised_weights_are_refused(tmp_path: Path) -> None:
    state = source().state_dict()
    state["blocks.0.attn.qkv.weight"] = (state["blocks.0.attn.qkv.weight"] * 100).to(torch.int8)
    torch.save(state, tmp_path / "m.pth")
    with pytest.raises(ModelError, match=r"whole numbers \(int8\) for blocks\.0\.attn\.qkv\.weight and 0 other"):
        load_model(ModelSpec(NAME, str(tmp_path / "m.pth"), SMALL))


@pytest.mark.parametrize("kind", ["sparse", "meta"])
def test_tensors_that_are_no_weights_are_missing(tmp_path: Path, kind: str) -> None:
    state = source().state_dict()
    head = state["head.weight"]
    state["head.weight"] = head.to_sparse() if kind == "sparse" else head.to("meta")
    torch.save(state, tmp_path / "model.pth")
    with pytest.raises(ModelError, match=r"1 tensors are missing|cannot be read|are unknown"):
        load_model(ModelSpec(NAME, str(tmp_path / "model.pth"), SMALL))


@pytest.mark.parametrize(("channels", "works"), [(4, True), (2, False), (5, False)])
def test_pictures_of_other_channels_work_or_are_refused(channels: int, works: bool) -> None:
    model = source(in_chans=channels)
    if works:
        seen = Preprocessing.of(model)(Image.new("RGB", (40, 50), "red"))
        assert seen.shape == (4, 32, 32) and torch.isfinite(model(seen[None])).all()
    else:
        with pytest.raises(ModelError, match=f"takes pictures of {channels} channels"):
            Preprocessing.of(model)


def of_clip(state: State) -> State:
    """A timm ViT's tensors under the names of Hugging Face's CLIP, with some of its tower for texts."""
    found = {"text_model.encoder.layers.0.mlp.fc1.weight": torch.ones(4, 4), "logit_scale": torch.tensor(1.0)}
    found["visual_projection.weight"] = torch.ones(3, 16)
    for name, value in state.items():
        new = re.sub(r"^blocks\.", "encoder.layers.", name)
        new = re.sub(r"\.norm([12])\.", r".layer_norm\1.", new).replace("attn.proj", "self_attn.out_proj")
        new = re.sub(r"^norm_pre\.", "pre_layrnorm.", re.sub(r"^norm\.", "post_layernorm.", new))
        new = new.replace("patch_embed.proj", "embeddings.patch_embedding")
        if name == "cls_token":
            found["vision_model.embeddings.class_embedding"] = value.flatten()
        elif name == "pos_embed":
            found["vision_model.embeddings.position_embedding.weight"] = value[0]
        elif "attn.qkv." in name:
            for which, part in zip("qkv", value.chunk(3), strict=True):
                found["vision_model." + new.replace("attn.qkv", f"self_attn.{which}_proj")] = part.clone()
        else:
            found[f"vision_model.{new}"] = value
    return found


def test_the_vision_tower_of_clip_is_found_and_its_features_judge(tmp_path: Path) -> None:
    model, path = source(num_classes=0, pre_norm=True), tmp_path / "model.safetensors"
    save_file({name: value.contiguous() for name, value in of_clip(model.state_dict()).items()}, path)
    loaded = load_model(ModelSpec(NAME, str(path), {**SMALL, "pre_norm": True}))
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(loaded(images), model(images))


def test_shards_are_read_by_their_index_and_nothing_elsewhere(tmp_path: Path) -> None:
    model, index = source(), tmp_path / "model.safetensors.index.json"
    names = sorted(model.state_dict())
    parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, some in parts.items():
        save_file({name: model.state_dict()[name].contiguous() for name in some}, tmp_path / file)
    index.write_text(json.dumps({"weight_map": {name: file for file, some in parts.items() for name in some}}))
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(load_model(ModelSpec(NAME, str(index), SMALL))(images), model(images))
    (tmp_path / "sub").mkdir()
    index = index.rename(tmp_path / "sub" / "x.index.json")
    index.write_text(json.dumps({"weight_map": {"cls_token": "../a.safetensors"}}))
    with pytest.raises(ModelError, match=r"names \.\./a\.safetensors, which is not beside it"):
        load_model(ModelSpec(NAME, str(index), SMALL))


@pytest.mark.parametrize(
    ("head", "named"),
    [
        ({"head.mlp.0.weight": torch.ones(4, 16), "head.last_layer.weight_g": torch.ones(4, 1)}, "head.last_layer"),
        ({"head.0.weight": torch.ones(8, 16), "head.2.weight": torch.ones(5, 8)}, "head.0.weight"),
        ({"projector.weight": torch.ones(8, 16)}, "projector.weight"),
    ],
    ids=["dino", "two layers", "projector"],
)
def test_a_head_that_is_no_classifier_is_left_out_and_named(tmp_path: Path, head: State, named: str) -> None:
    model, path = source(num_classes=0), tmp_path / "model.pth"
    torch.save({"state_dict": {**prefixed(model.state_dict(), "backbone."), **head}}, path)
    loaded = load_model(ModelSpec(NAME, str(path), SMALL))
    assert loaded.num_classes == 0
    assert any(f"The checkpoint's {named}" in note and "features judge" in note for note in loaded.notes)  # type: ignore[union-attr]


def test_what_only_training_needs_is_left_out_without_a_word(tmp_path: Path) -> None:
    model, path = source(num_classes=0), tmp_path / "model.pth"
    extra = {"mask_token": torch.ones(1, 1, 4), "decoder_embed.weight": torch.ones(4, 16), "decoder_pos": torch.ones(3)}
    torch.save({"model": {**model.state_dict(), **extra, "masked_embed": torch.ones(1, 16)}}, path)
    loaded = load_model(ModelSpec(NAME, str(path), SMALL))
    assert loaded.num_classes == 0 and loaded.notes == ()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "it is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b"<!DOCTYPE html><title>Sign in</title>", "a web page"),
        (b"\x89HDF\r\n", "HDF5"),
    ],
    ids=["empty", "lfs", "page", "hdf5"],
)
def test_a_file_that_is_no_checkpoint_is_called_what_it_is(tmp_path: Path, content: bytes, why: str) -> None:
    for name in ("model.pth", "model.safetensors"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ModelError, match=why):
            load_model(ModelSpec(NAME, str(tmp_path / name), SMALL))


def test_a_model_that_was_saved_whole_is_told_how_to_be_saved(tmp_path: Path) -> None:
    torch.save(source(), tmp_path / "model.pth")
    with pytest.raises(ModelError, match=r"an object of timm\.models.*torch\.save\(model\.state_dict\(\), file\)"):
        load_model(ModelSpec(NAME, str(tmp_path / "model.pth"), SMALL))
