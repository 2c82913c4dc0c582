"""Figures of maps: a picture beside its evidence, its maps by class, by correction and with a guide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from gradattn_core.errors import InterpretError
from gradattn_core.records import Box, Evidence, FloatArray
from gradattn_core.render.layout import (
    GAP,
    INK,
    QUIET,
    Block,
    captioned,
    centred,
    column,
    drawn,
    heading,
    picture,
    row,
    two_names,
)
from gradattn_core.render.overlays import Colour, Palette, colours, display_size, overlay, unsigned_colour

_STRIP = 8  # height of a colour bar's colours
_LEAST_BAR = 160  # for the words below it
_NEAR = 12


@dataclass(frozen=True)
class Style:
    """How every map of a figure is drawn; see ``overlay``.

    Attributes:
        side: the longer side of each picture in pixels.
        unsigned: the maps say how much a patch matters and not for whom (``absolute``).
    """

    side: int = 208
    opacity: float = 0.8
    smooth: bool = True
    palette: Palette = "red-blue"
    unsigned: bool = False

    def map(self, image: Image.Image, scores: FloatArray, crop: Box) -> Block:
        """The overlay at this style's size, pixel by pixel."""
        shown = overlay(
            image,
            scores,
            crop,
            opacity=self.opacity,
            smooth=self.smooth,
            palette=self.palette,
            unsigned=self.unsigned,
            size=display_size(image.width, image.height, self.side),
        )
        return picture(shown)

    def plain(self, image: Image.Image) -> Block:
        """The picture itself at this style's size."""
        size = display_size(image.width, image.height, self.side)
        return picture(image.convert("RGB").resize(size, Image.Resampling.LANCZOS))

    def bar(self, target: str, against: str | None, width: int) -> Block:
        """A strip from the colour that speaks for ``target`` through white to that of the class against it.

        It is at least wide enough for "matters most" and "not at all", which it says of maps without a sign. Where
        ``against`` is None, the second colour speaks against the target. What does not fit is shortened.
        """
        labels = (f"speaks for {target}", f"speaks against {target}" if against is None else f"speaks for {against}")
        values = np.linspace(1, 0 if self.unsigned else -1, max(width, _LEAST_BAR), dtype=np.float32)[:, None]
        alpha = self.opacity * np.abs(values)
        shades = 255 * (1 - alpha) + np.where(values > 0, *np.array(self._ends, np.float32)) * alpha
        strip = picture(Image.fromarray(np.repeat(np.rint(shades).astype(np.uint8)[None], _STRIP, axis=0)))
        return column([strip, self.names(("matters most", "not at all") if self.unsigned else labels, len(values))], 4)

    def names(self, names: tuple[str, str], width: int) -> Block:
        """Side by side in the two colours, darkened until small letters in them are readable on white."""
        first, second = (named(4 * red // 5, 4 * green // 5, 4 * blue // 5) for red, green, blue in self._ends)
        return two_names(names, (first, second), width)

    @property
    def _ends(self) -> tuple[Colour, Colour]:
        return (unsigned_colour(self.palette),) * 2 if self.unsigned else colours(self.palette)


def named(red: int, green: int, blue: int) -> str:
    """The colour as matplotlib writes it."""
    return f"#{red:02x}{green:02x}{blue:02x}"


def evidence_figure(
    image: Image.Image, evidence: Evidence, *, lines: Sequence[str] = (), style: Style | None = None
) -> Image.Image:
    """The original picture beside its overlay, with ``lines`` of text above and the colour bar below.

    Args:
        image: the upright original picture; small ones are enlarged.
        lines: a title and further lines, each shortened where it does not fit.

    Returns:
        An RGB picture whose width depends on the style's ``side`` alone, so that figures line up in a contact sheet.

    Raises:
        InterpretError: the map cannot be drawn, see ``overlay``.
    """
    style = style or Style(side=288)
    style = replace(style, unsigned=evidence.correction == "absolute")
    width = 2 * style.side + GAP
    pair = row([style.plain(image), style.map(image, evidence.scores, evidence.crop)])
    bar = style.bar(evidence.for_label, None if evidence.objective == "logit" else evidence.against_label, width)
    return drawn(column([heading(lines, width), centred(pair, width), bar], _NEAR))


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
    sheet = Image.new("RGB", (width * columns, sum(heights)), "white")
    top = 0
    for figures_of_row, height in zip(rows, heights, strict=True):
        for place, figure in enumerate(figures_of_row):
            sheet.paste(figure, (place * width, top))
        top += height
    return sheet


def detail_figure(
    image: Image.Image,
    crop: Box,
    names: Sequence[str],
    probabilities: Sequence[float],
    scores: FloatArray,
    *,
    style: Style | None = None,
) -> Image.Image:
    """Every class against every other: the first colour speaks for the class of the row, the second for the column's.

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
    plain = style.plain(image)
    width = max(plain.width, 3 * style.side // 4)  # of the two names below a narrow picture

    def cell(i: int, j: int) -> Block:
        if i == j:
            return column([plain, two_names((names[i], f"{probabilities[i]:.1%}"), (INK, QUIET), width)], 4)
        return column([style.map(image, scores[i, j], crop), style.names((names[i], names[j]), width)], 4)

    rows = [row([cell(i, j) for j in range(count)]) for i in range(count)]
    return drawn(column([style.bar("the class of the row", "the class of the column", rows[0].width), *rows]))


def corrections_figure(
    image: Image.Image,
    crop: Box,
    maps: Mapping[str, FloatArray],
    target: str,
    against: str | None,
    *,
    style: Style | None = None,
) -> Image.Image:
    """The picture and its map by each correction; ``absolute`` says how much a patch matters and not for whom.

    Args:
        maps: correction → [grid height, grid width] raw.
        target, against: what the two colours speak for; against None, the second speaks against the target.

    Raises:
        InterpretError: a map cannot be drawn.
    """
    style = style or Style()
    signed = {name: scores for name, scores in maps.items() if name != "absolute"}
    shown = row(
        [
            captioned(style.plain(image), "picture"),
            *(captioned(style.map(image, scores, crop), name) for name, scores in signed.items()),
        ]
    )
    parts = [column([shown, style.bar(target, against, shown.width)], _NEAR) if signed else shown]
    if "absolute" in maps:
        style = replace(style, unsigned=True)
        shown = captioned(style.map(image, maps["absolute"], crop), "absolute")
        parts.append(column([shown, style.bar(target, against, shown.width)], _NEAR))
    return drawn(row(parts))


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
    guides = "the guide" if len(joined) == 1 else f"{len(joined)} guides (mean)"
    first = [
        captioned(style.plain(image), "picture"),
        captioned(style.map(image, *alone), "alone"),
        captioned(style.map(image, *guided), f"with {guides}"),
    ]
    cells = []
    for both, scores, other in joined:
        cells.append(captioned(style.plain(both), f"beside {other}"))
        cells.append(captioned(style.map(both, scores, Box(0, 0, *both.size)), f"map beside {other}"))
    rows = [row(cells) for cells in (first, *(cells[start : start + 4] for start in range(0, len(cells), 4)))]
    width = max(block.width for block in rows)
    others = {other for _, _, other in joined}
    bar = style.bar(name, others.pop() if len(others) == 1 else "the guides", width)
    return drawn(column([heading(lines, width), *rows, bar]))
