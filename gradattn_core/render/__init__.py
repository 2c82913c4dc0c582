"""Signed maps to pictures: overlays, colour bars, evidence figures, figures of several maps, and contact sheets."""

from gradattn_core.render.curves import Curve, line_plot
from gradattn_core.render.figures import colour_bar, contact_sheet, evidence_figure, strength_bar
from gradattn_core.render.films import Answered, Frame, rewrite_figure, transfer_figure
from gradattn_core.render.overlays import PALETTES, Palette, display_size, outline_regions, overlay
from gradattn_core.render.panels import (
    Panel,
    Style,
    corrections_figure,
    detail_figure,
    guide_figure,
    panel_figure,
)

__all__ = [
    "PALETTES",
    "Answered",
    "Curve",
    "Frame",
    "Palette",
    "Panel",
    "Style",
    "colour_bar",
    "contact_sheet",
    "corrections_figure",
    "detail_figure",
    "display_size",
    "evidence_figure",
    "guide_figure",
    "line_plot",
    "outline_regions",
    "overlay",
    "panel_figure",
    "rewrite_figure",
    "strength_bar",
    "transfer_figure",
]
