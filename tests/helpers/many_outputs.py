"""A model that knows more colours than the dataset has classes, and pictures of one of those filed under a class."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from sklearn.linear_model import LogisticRegression

from gradattn_core.config import AuditConfig
from gradattn_core.model.forward import forward
from gradattn_core.model.preprocessing import Preprocessing
from tests.helpers.tiny import TINY_VIT, write_tiny_vit

COLOURS = {
    "blue": (40, 60, 200), "green": (40, 180, 60), "red": (200, 50, 40), "yellow": (220, 210, 40),
    "white": (235, 235, 235), "black": (15, 15, 15), "violet": (150, 40, 190),
}  # fmt: skip
"""The model's outputs in their order, the first three for classes of the dataset."""
OUTPUT = {name: output for output, name in enumerate(COLOURS)}
CLASSES = {"none": "blue", "green": "green", "red": "red"}
"""The dataset's classes, each with its colour; one is called as nothing might be."""


@dataclass(frozen=True)
class ManyOutputs:
    """``foreign`` are paths of yellow pictures, filed as red; ``wrong`` of a green one, filed as none."""

    dataset: Path
    checkpoint: Path
    class_map: Path
    foreign: frozenset[str]
    wrong: frozenset[str]

    def config(self, out: Path, **changes: Any) -> AuditConfig:
        parameters = {
            **{"dataset": str(self.dataset), "model": "vit_tiny_patch16_224", "checkpoint": str(self.checkpoint)},
            **{"model_arguments": arguments(), "head": "as-is", "class_map": str(self.class_map), "batch_size": 8},
            **{"shard_size": 20, "workers": 1, "device": "cpu", "precision": "float32", "out": str(out)},
        }
        return AuditConfig(**{**parameters, **changes})


def arguments() -> dict[str, Any]:
    return {**TINY_VIT, "num_classes": len(COLOURS)}


def make_many_outputs(folder: Path, per_class: int = 16) -> ManyOutputs:
    rng = np.random.default_rng(11)
    dataset = folder / "dataset"
    files = {f"{name}/{index:02d}.png": colour for name, colour in CLASSES.items() for index in range(per_class)}
    foreign = {f"red/yellow-{index}.png": "yellow" for index in range(3)}
    wrong = {"none/green.png": "green"}
    for path, colour in (files | foreign | wrong).items():
        (dataset / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(colour, rng)).save(dataset / path)
    class_map = folder / "map.csv"
    rows = [f"{name},{OUTPUT[colour]}" for name, colour in CLASSES.items()]
    class_map.write_text("\n".join(["label,output", *rows]) + "\n")
    checkpoint = _trained(folder, rng)
    return ManyOutputs(dataset, checkpoint, class_map, frozenset(foreign), frozenset(wrong))


def picture(colour: str, rng: np.random.Generator) -> np.ndarray[Any, np.dtype[np.uint8]]:
    blotches = rng.normal(0, 25, (16, 16, 3)).repeat(2, 0).repeat(2, 1)
    return np.clip(np.array(COLOURS[colour]) + blotches, 0, 255).astype(np.uint8)


def _trained(folder: Path, rng: np.random.Generator) -> Path:
    """The tiny random model with a classifier that was fitted to pictures of all colours."""
    write_tiny_vit(folder / "random.safetensors")
    model = timm.create_model("vit_tiny_patch16_224", **TINY_VIT, checkpoint_path=str(folder / "random.safetensors"))
    names = [name for name in COLOURS for _ in range(30)]
    pixels = torch.stack([torch.from_numpy(picture(name, rng)).permute(2, 0, 1) for name in names])
    readout = forward(model, Preprocessing.of(model).normalised(pixels)).readout.numpy()
    fitted = LogisticRegression(C=0.3, max_iter=2000).fit(readout, [OUTPUT[name] for name in names])
    state = {name: value.contiguous() for name, value in model.state_dict().items() if not name.startswith("head.")}
    state["head.weight"] = torch.from_numpy(fitted.coef_.astype(np.float32)).contiguous()
    state["head.bias"] = torch.from_numpy(fitted.intercept_.astype(np.float32)).contiguous()
    save_file(state, folder / "colours.safetensors")
    return folder / "colours.safetensors"
