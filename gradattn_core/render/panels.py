"""Figures of several maps of one picture: pairs of classes, corrections, and with a guide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageDraw

from gradattn_core.errors import InterpretError
from gradattn_core.records import Box, FloatArray
from gradattn_core.render.figures import colour_bar, strength_bar
from gradattn_core.render.lettering import fitted
from gradattn_core.render.overlays import Palette, display_size, overlay

_PAPER, _INK = (255, 255, 255), (32, 33, 36)
_MARGIN, _GAP = 12, 10
_TITLE, _CAPTION = 16, 14


@dataclass(frozen=True)
class Style:
    """How every map of a figure is drawn; see ``overlay``.

    Attributes:
        side: the longer side of each picture in pixels.
    """

    side: int = 208
    opacity: float = 0.8
    smooth: bool = True
    palette: Palette = "red-blue"

    def drawn(
        self, image: Image.Image, scores: FloatArray, crop: Box, *, unsigned: bool = False, limit: float | None = None
    ) -> Image.Image:
        """The overlay at this style's size."""
        return overlay(
            image,
            scores,
            crop,
            opacity=self.opacity,
            smooth=self.smooth,
            palette=self.palette,
            unsigned=unsigned,
            limit=limit,
            size=display_size(image.width, image.height, self.side),
        )

    def plain(self, image: Image.Image) -> Image.Image:
        """The picture itself at this style's size."""
        size = display_size(image.width, image.height, self.side)
        return image.convert("RGB").resize(size, Image.Resampling.LANCZOS)

    def bar(self, for_label: str, against_label: str) -> Image.Image:
        return colour_bar(for_label, against_label, width=self.side, palette=self.palette, opacity=self.opacity)


@dataclass(frozen=True)
class Panel:
    """One picture of a figure with a line above it, and a bar or lines below it."""

    picture: Image.Image
    above: str = ""
    bar: Image.Image | None = None
    below: Sequence[str] = ()


def panel_figure(rows: Sequence[Sequence[Panel]], *, lines: Sequence[str] = (), side: int) -> Image.Image:
    """Panels in rows of equal columns, under ``lines`` of text, each shortened to the width.

    Raises:
        InterpretError: no panel at all.
    """
    columns = max((len(row) for row in rows), default=0)
    if not columns:
        raise InterpretError("rows: a figure needs at least one panel")
    width = columns * (side + _GAP) - _GAP
    strips = [_strip(row, width, side) for row in rows]
    line_height = round(_TITLE * 1.5)
    top = _MARGIN + line_height * len(lines)
    height = top + sum(strip.height + _GAP for strip in strips) - _GAP + _MARGIN
    figure = Image.new("RGB", (width + 2 * _MARGIN, height), _PAPER)
    draw = ImageDraw.Draw(figure)
    for number, line in enumerate(lines):
        text, font = fitted(line, _TITLE, width)
        draw.text((_MARGIN, _MARGIN // 2 + number * line_height), text, font=font, fill=_INK)
    for strip in strips:
        figure.paste(strip, (_MARGIN, top))
        top += strip.height + _GAP
    return figure


def detail_figure(
    image: Image.Image,
    crop: Box,
    names: Sequence[str],
    probabilities: Sequence[float],
    scores: FloatArray,
    *,
    lines: Sequence[str] = (),
    style: Style | None = None,
) -> Image.Image:
    """Every class against every other: red speaks for the class of the row, blue for the class of the column.

    The diagonal holds the picture itself over its class's name and probability. Each map has a symmetric scale of its
    own, because maps of different pairs cannot be compared in strength.

    Args:
        scores: [k, k, grid height, grid width] raw signed maps, as ``gradattn_core.interpret.detail`` gives them.
        names, probabilities: of the k classes.

    Raises:
        InterpretError: the numbers of classes differ, or a map cannot be drawn.
    """
    count, style = len(names), style or Style()
    if not (scores.ndim == 4 and scores.shape[:2] == (count, count) and len(probabilities) == count):
        raise InterpretError(f"scores: {count} names need maps [{count}, {count}, rows, columns], got {scores.shape}")

    def cell(i: int, j: int) -> Panel:
        if i == j:
            return Panel(style.plain(image), below=(f"{names[i]} {probabilities[i]:.1%}",))
        return Panel(style.drawn(image, scores[i, j], crop), bar=style.bar(names[i], names[j]))

    rows = [[cell(i, j) for j in range(count)] for i in range(count)]
    return panel_figure(rows, lines=lines, side=style.side)


def corrections_figure(
    image: Image.Image,
    crop: Box,
    maps: Mapping[str, FloatArray],
    names: tuple[str, str],
    *,
    lines: Sequence[str] = (),
    style: Style | None = None,
) -> Image.Image:
    """The picture and its map by each correction; ``absolute`` says how much a patch matters and not for whom.

    Args:
        maps: correction → [grid height, grid width] raw.
        names: the class that red speaks for and the one that blue speaks for.

    Raises:
        InterpretError: a map cannot be drawn.
    """
    style = style or Style()
    panels = [Panel(style.plain(image), above="picture")]
    for correction, scores in maps.items():
        unsigned = correction == "absolute"
        bar: dict[str, Any] = {"width": style.side, "palette": style.palette, "opacity": style.opacity}
        panels.append(
            Panel(
                style.drawn(image, scores, crop, unsigned=unsigned),
                above=correction,
                bar=strength_bar("matters most", **bar) if unsigned else style.bar(*names),
            )
        )
    return panel_figure([panels], lines=lines, side=style.side)


def guide_figure(
    image: Image.Image,
    alone: tuple[FloatArray, Box],
    guided: tuple[FloatArray, Box],
    joined: Sequence[tuple[Image.Image, FloatArray, str]],
    name: str,
    *,
    lines: Sequence[str] = (),
    style: Style | None = None,
) -> Image.Image:
    """First the picture, its map alone and its map under guidance; then each joined picture beside its own map.

    Args:
        alone, guided: map and the part of the picture it covers, without and with the guides.
        joined: for each guide the joined picture, its raw map, and the name of the guide's class.
        name: of the picture's class.

    Raises:
        InterpretError: a map cannot be drawn.
    """
    style = style or Style()
    others = list(dict.fromkeys(other for _, _, other in joined))
    bar = style.bar(name, others[0] if len(others) == 1 else "the guides")
    first = [
        Panel(style.plain(image), above="picture"),
        Panel(style.drawn(image, *alone), above="alone", bar=bar),
        Panel(style.drawn(image, *guided), above=f"with {_counted(len(joined))}", bar=bar),
    ]
    panels = []
    for picture, scores, other in joined:
        whole = Box(0, 0, *picture.size)
        panels.append(Panel(style.plain(picture), above=f"guide: {other}"))
        panels.append(Panel(style.drawn(picture, scores, whole), above="its map", bar=style.bar(name, other)))
    rows = [panels[start : start + 4] for start in range(0, len(panels), 4)]
    return panel_figure([first, *rows], lines=lines, side=style.side)


def _counted(guides: int) -> str:
    return "the guide" if guides == 1 else f"{guides} guides (mean)"


def _strip(panels: Sequence[Panel], width: int, side: int) -> Image.Image:
    """One row: the lines above aligned, pictures centred in their columns, what is below aligned."""
    line = round(_CAPTION * 1.5)
    above = line if any(panel.above for panel in panels) else 0
    tallest = max(panel.picture.height for panel in panels)
    below = max((panel.bar.height if panel.bar else line * len(panel.below)) for panel in panels)
    strip = Image.new("RGB", (width, above + tallest + (4 + below if below else 0)), _PAPER)
    draw = ImageDraw.Draw(strip)
    for number, panel in enumerate(panels):
        left = number * (side + _GAP)
        text, font = fitted(panel.above, _CAPTION, side)
        draw.text((left, 0), text, font=font, fill=_INK)
        strip.paste(panel.picture, (left + (side - panel.picture.width) // 2, above + (tallest - panel.picture.height)))
        if panel.bar is not None:
            strip.paste(panel.bar, (left, above + tallest + 4))
        for row, written in enumerate(panel.below):
            text, font = fitted(written, _CAPTION, side)
            draw.text((left, above + tallest + 4 + row * line), text, font=font, fill=_INK)
    return strip
