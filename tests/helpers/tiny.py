"""A dataset of generated pictures with known wrong labels, and a tiny random Vision Transformer to audit it with."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from gradattn_core.config import AuditConfig

TINY_VIT: dict[str, Any] = {
    "img_size": 32,
    "patch_size": 4,
    "embed_dim": 48,
    "depth": 3,
    "num_heads": 3,
    "num_classes": 3,
    "pretrained_cfg_overlay": {"input_size": [3, 32, 32], "crop_pct": 1.0, "num_classes": 3},
}
COLOURS = {"blue": (40, 60, 200), "green": (40, 180, 60), "red": (200, 50, 40)}


@dataclass(frozen=True)
class Tiny:
    """``wrong`` are the paths whose folder is not their colour."""

    dataset: Path
    checkpoint: Path
    wrong: frozenset[str]

    def parameters(self) -> dict[str, Any]:
        """Of its audit, all but the output folder."""
        return {
            "dataset": str(self.dataset),
            "model": "vit_tiny_patch16_224",
            "checkpoint": str(self.checkpoint),
            "model_arguments": TINY_VIT,
            "head": "probe",
            "batch_size": 8,
            "shard_size": 20,
            "workers": 1,
            "device": "cpu",
            # The same numbers whatever the processor has units for.
            "precision": "float32",
        }

    def config(self, out: Path, **changes: Any) -> AuditConfig:
        return AuditConfig(**{**self.parameters(), "out": str(out), **changes})


def model_options(tiny: Tiny) -> list[str | Path]:
    """Its model, for the command line."""
    arguments = json.dumps(TINY_VIT)
    return ["--model", "vit_tiny_patch16_224", "--checkpoint", tiny.checkpoint, "--model-arguments", arguments]


def make_tiny(folder: Path, per_class: int = 24, wrong_per_class: int = 2) -> Tiny:
    """Write blotchy pictures of three colours into class folders; some lie in the next colour's folder."""
    rng = np.random.default_rng(5)
    names = sorted(COLOURS)
    wrong = set()
    for number, name in enumerate(names):
        for index in range(per_class):
            misplaced = index < wrong_per_class
            given = names[(number + 1) % len(names)] if misplaced else name
            path = folder / "dataset" / given / f"{name}-{index:02d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            blotches = rng.normal(0, 25, (6, 8, 3)).repeat(6, 0).repeat(6, 1)
            pixels = np.clip(np.array(COLOURS[name]) + blotches, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(path)
            if misplaced:
                wrong.add(path.relative_to(folder / "dataset").as_posix())
    return Tiny(folder / "dataset", write_tiny_vit(folder / "tiny.safetensors"), frozenset(wrong))


def write_tiny_vit(path: Path) -> Path:
    """Random weights of a fixed seed, large enough that its attention is far from uniform."""
    torch.manual_seed(0)
    model = timm.create_model("vit_tiny_patch16_224", **TINY_VIT)
    state = {name: value * (3.0 if "qkv.weight" in name else 1.0) for name, value in model.state_dict().items()}
    save_file({name: value.contiguous() for name, value in state.items()}, path)
    return path
