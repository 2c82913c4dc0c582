"""Small models of the kinds that methods of explanation must part: class token, distilled, averaged, attention pool."""

from __future__ import annotations

from functools import cache
from typing import Any

from torch import nn

from tests.helpers.explicit_maps import SMALL_VIT, tiny

# name of the architecture, further arguments; all have three blocks on a 4 x 4 grid.
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "vit": ("vit_tiny_patch16_224", {}),
    "distilled": ("deit_tiny_distilled_patch16_224", {}),
    "average": ("vit_medium_patch16_reg4_gap_256", {}),
    "pool": ("vit_base_patch16_siglip_224", {}),
    "rope": ("vit_small_patch16_dinov3", {}),
    "beit": ("beit_base_patch16_224", {}),
}


@cache
def small(key: str) -> nn.Module:
    """The same model on every call; in double precision, with random weights that make lively attention."""
    name, arguments = MODELS[key]
    return tiny(name, **{**SMALL_VIT, **arguments})
