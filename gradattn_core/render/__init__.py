"""Signed maps to pictures: overlays, colour bars, evidence figures and contact sheets."""

from gradattn_core.render.figures import colour_bar, contact_sheet, evidence_figure
from gradattn_core.render.overlays import PALETTES, Palette, display_size, outline_regions, overlay

__all__ = [
    "PALETTES",
    "Palette",
    "colour_bar",
    "contact_sheet",
    "display_size",
    "evidence_figure",
    "outline_regions",
    "overlay",
]
