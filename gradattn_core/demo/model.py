"""The demo's model: a small Vision Transformer that learnt its features from generated digits only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import timm
from torch import nn

GLYPH_VIT: dict[str, Any] = {
    "model_name": "vit_tiny_patch16_224",
    "img_size": 32,
    "patch_size": 4,
    "embed_dim": 96,
    "depth": 6,
    "num_heads": 3,
    "num_classes": 10,
    "pretrained_cfg_overlay": {
        "input_size": (3, 32, 32),
        "mean": (0.5, 0.5, 0.5),
        "std": (0.5, 0.5, 0.5),
        "crop_pct": 1.0,
        "interpolation": "bilinear",
        "num_classes": 10,
    },
}
"""Arguments of ``timm.create_model``: 6 blocks, 96 wide, a class token and 8x8 patches; class i is the digit i."""

GLYPH_VIT_WEIGHTS = Path(__file__).with_name("glyph_vit.safetensors")
"""The weights in float16, made by ``scripts/train_glyph_vit.py`` in the project's repository."""


def create_glyph_vit() -> nn.Module:
    """The trained model in float32 and evaluation mode; its ``pretrained_cfg`` holds the preprocessing."""
    model: nn.Module = timm.create_model(**GLYPH_VIT, checkpoint_path=str(GLYPH_VIT_WEIGHTS))
    return model.eval()
