"""Whole figures: a picture, its evidence, and what the colours mean."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from gradattn_core.errors import InterpretError
from gradattn_core.records import Evidence, FloatArray
from gradattn_core.render.lettering import Font, fitted
from gradattn_core.render.overlays import (
    Colour,
    Palette,
    colours,
    display_size,
    outline_regions,
    overlay,
    unsigned_colour,
)

_PAPER = (255, 255, 255)
_INK = (32, 33, 36)
_MARGIN = 12
_TITLE_SIZE = 16
_NAME_SIZE = 14


def colour_bar(
    for_label: str,
    against_label: str,
    *,
    width: int,
    palette: Palette = "red-blue",
    opacity: float = 1.0,
) -> Image.Image:
    """A strip from the colour of ``for_label`` (left) through white to that of ``against_label``, named underneath.

    Args:
        width: width of the result in pixels; names that do not fit side by side are shortened.
        opacity: the same as the overlay's, so that bar and overlay show the same shades.

    Returns:
        An RGB picture of ``width`` pixels and a fixed height.
    """
    return _bar((for_label, against_label), colours(palette), np.linspace(1, -1, width, dtype=np.float32), opacity)


def strength_bar(label: str, *, width: int, palette: Palette = "red-blue", opacity: float = 1.0) -> Image.Image:
    """A strip from the colour of unsigned maps (left, named ``label``) to white; otherwise as ``colour_bar``."""
    colour = unsigned_colour(palette)
    return _bar((label, ""), (colour, colour), np.linspace(1, 0, width, dtype=np.float32), opacity)


def _bar(labels: tuple[str, str], ends: tuple[Colour, Colour], values: FloatArray, opacity: float) -> Image.Image:
    """A strip of the colours of ``values`` in [-1, 1], one a pixel; ``labels`` below its two ends."""
    (positive, negative), width = ends, len(values)
    bar = Image.new("RGB", (width, 12 + 4 + round(_NAME_SIZE * 1.5)), _PAPER)
    strength = values[:, None]
    alpha = opacity * np.abs(strength)
    tint = np.where(strength > 0, np.array(positive, np.float32), np.array(negative, np.float32))
    strip = 255 * (1 - alpha) + tint * alpha
    bar.paste(Image.fromarray(np.repeat(np.rint(strip).astype(np.uint8)[None], 12, axis=0)))
    draw = ImageDraw.Draw(bar)
    (left, left_font), (right, right_font) = _both_fitted(labels, width - _MARGIN)
    draw.text((0, 16), left, font=left_font, fill=_dark(positive))
    draw.text((width, 16), right, font=right_font, fill=_dark(negative), anchor="ra")
    return bar


def _both_fitted(labels: tuple[str, str], width: float) -> tuple[tuple[str, Font], tuple[str, Font]]:
    """Two names side by side: each may take its half, and what the other leaves of its own."""
    left, right = (fitted(label, _NAME_SIZE, width / 2) for label in labels)
    left = fitted(labels[0], _NAME_SIZE, width - right[1].getlength(right[0]))
    return left, fitted(labels[1], _NAME_SIZE, width - left[1].getlength(left[0]))


def evidence_figure(
    image: Image.Image,
    evidence: Evidence,
    *,
    lines: Sequence[str] = (),
    side: int = 288,
    opacity: float = 0.8,
    smooth: bool = True,
    palette: Palette = "red-blue",
    regions: bool = False,
) -> Image.Image:
    """The original picture beside its overlay, with ``lines`` of text above and the colour bar below.

    Args:
        image: the upright original picture; small ones are enlarged.
        lines: each is written on one line and shortened where it does not fit.
        side: the longer side of both pictures, in pixels.
        regions: outline the regions of the map on the overlay.

    Returns:
        An RGB picture whose width depends on ``side`` alone, so that figures line up in a contact sheet.

    Raises:
        InterpretError: the map cannot be drawn, see ``overlay``.
    """
    size = display_size(image.width, image.height, side)
    left = image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    right = overlay(image, evidence.scores, evidence.crop, opacity=opacity, smooth=smooth, palette=palette, size=size)
    if regions:
        right = outline_regions(right, evidence.statistics.regions, image.size, palette=palette)
    bar = colour_bar(
        evidence.for_label, evidence.against_label, width=2 * side + _MARGIN, palette=palette, opacity=opacity
    )
    line_height = round(_TITLE_SIZE * 1.5)
    pictures_top = _MARGIN + line_height * len(lines) + (_MARGIN // 2 if lines else 0)
    bar_top = pictures_top + size[1] + _MARGIN
    figure = Image.new("RGB", (2 * side + 3 * _MARGIN, bar_top + bar.height + _MARGIN // 2), _PAPER)
    draw = ImageDraw.Draw(figure)
    for row, line in enumerate(lines):
        text, font = fitted(line, _TITLE_SIZE, bar.width)
        draw.text((_MARGIN, _MARGIN + row * line_height), text, font=font, fill=_INK)
    inset = (side - size[0]) // 2
    figure.paste(left, (_MARGIN + inset, pictures_top))
    figure.paste(right, (2 * _MARGIN + side + inset, pictures_top))
    figure.paste(bar, (_MARGIN, bar_top))
    return figure


def contact_sheet(figures: Sequence[Image.Image], columns: int = 2) -> Image.Image:
    """The figures in reading order, ``columns`` to a row, each row as high as its highest figure.

    Raises:
        InterpretError: no figure, or fewer than one column.
    """
    if not figures or columns < 1:
        raise InterpretError(
            f"a contact sheet of {len(figures)} figures in {columns} columns is empty; it needs at least one of each"
        )
    columns = min(columns, len(figures))
    rows = [figures[start : start + columns] for start in range(0, len(figures), columns)]
    width = max(figure.width for figure in figures)
    heights = [max(figure.height for figure in row) for row in rows]
    sheet = Image.new("RGB", (width * columns, sum(heights)), _PAPER)
    top = 0
    for row, height in zip(rows, heights, strict=True):
        for column, figure in enumerate(row):
            sheet.paste(figure, (column * width, top))
        top += height
    return sheet


def _dark(colour: Colour) -> Colour:
    """The colour darkened until small letters in it are readable on white."""
    red, green, blue = (round(channel * 0.8) for channel in colour)
    return red, green, blue
