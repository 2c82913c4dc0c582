"""Figures of maps: a picture beside its evidence, its maps by class, by correction and with a guide.

Each is an RGB picture and raises ``InterpretError`` where a map cannot be drawn, see ``overlay``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from gradattn_core.errors import InterpretError
from gradattn_core.estimates import percent
from gradattn_core.reasons import account, signed
from gradattn_core.records import Box, Evidence, FloatArray
from gradattn_core.render.layout import (
    GAP,
    SMALL,
    Block,
    Paper,
    captioned,
    column,
    drawn,
    heading,
    picture,
    row,
    two_names,
    words,
)
from gradattn_core.render.overlays import Palette, display_size, hatch_contradicted, overlay
from gradattn_core.render.waterfall import waterfall

_STRIP = 8  # height of a colour bar's colours
_LEAST_BAR = 160  # for the words below it
_UNSIGNED: dict[Palette, str] = {"red-blue": "green", "orange-purple": "teal"}  # inks


@dataclass(frozen=True)
class Style:
    """How a figure is drawn; each map as by ``overlay``, which is the same on either paper.

    Attributes:
        side: the longer side of each picture in pixels.
        unsigned: the maps say how much a patch matters and not for whom (``absolute``).
        paper: light, or dark for pages that are dark themselves.
    """

    side: int = 208
    opacity: float = 0.8
    smooth: bool = True
    palette: Palette = "red-blue"
    unsigned: bool = False
    paper: Paper = "light"

    def map(self, image: Image.Image, scores: FloatArray, crop: Box) -> Block:
        """The overlay at this style's size, pixel by pixel."""
        return picture(self._overlay(image, scores, crop))

    def evidence(self, image: Image.Image, evidence: Evidence) -> Block:
        """The same of evidence, hatched where a region does the opposite of its number."""
        shown = self._overlay(image, evidence.scores, evidence.crop)
        return picture(hatch_contradicted(shown, evidence, image.size))

    def plain(self, image: Image.Image) -> Block:
        """The picture itself at this style's size."""
        size = display_size(image.width, image.height, self.side)
        return picture(image.convert("RGB").resize(size, Image.Resampling.LANCZOS))

    def bar(self, target: str, against: str | None, width: int) -> Block:
        """The overlay of a white strip, from what speaks for ``target`` to what speaks for the class against it.

        It is at least wide enough for "matters most" and "not at all", which it says of maps without a sign. Where
        ``against`` is None, the second colour speaks against the target. What does not fit is shortened.
        """
        width = max(width, _LEAST_BAR)
        other = f"speaks against {target}" if against is None else f"speaks for {against}"
        names = ("matters most", "not at all") if self.unsigned else (f"speaks for {target}", other)
        values = np.linspace(1, 0 if self.unsigned else -1, width, dtype=np.float32)[None]
        white = Image.new("RGB", (width, _STRIP), "white")
        strip = replace(self, side=width, smooth=False).map(white, values, Box(0, 0, width, _STRIP))
        return column([strip, two_names(names, self.inks, width)], 4)

    def _overlay(self, image: Image.Image, scores: FloatArray, crop: Box) -> Image.Image:
        return overlay(
            image,
            scores,
            crop,
            opacity=self.opacity,
            smooth=self.smooth,
            palette=self.palette,
            unsigned=self.unsigned,
            size=display_size(image.width, image.height, self.side),
        )

    @property
    def inks(self) -> tuple[str, str]:
        """Those of the first and the second colour by their names."""
        if self.unsigned:
            return (_UNSIGNED[self.palette],) * 2
        first, second = self.palette.split("-")
        return first, second

    def figure(self, *blocks: Block) -> Image.Image:
        """The blocks below one another on this style's paper."""
        return drawn(column(blocks), self.paper)


@dataclass(frozen=True)
class MethodMap:
    """A map by some method.

    Attributes:
        scores: [grid height, grid width] raw.
        has_sides: whether it says for which class a patch speaks; one that does not has no negative number.
    """

    name: str
    scores: FloatArray
    has_sides: bool = True


def evidence_figure(
    image: Image.Image, evidence: Evidence, *, lines: Sequence[str] = (), style: Style | None = None
) -> Image.Image:
    """The original picture beside its overlay, with ``lines`` of text above, the colour bar and the waterfall below.

    Regions that do the opposite of their number when they are hidden, as measured, are hatched. A map that does not
    add up has no waterfall.

    Args:
        image: the upright original picture; small ones are enlarged.
        lines: a title and further lines, each shortened where it does not fit.

    Returns:
        A figure whose width depends on the style's ``side`` alone, so that figures line up in a contact sheet.
    """
    style = replace(style or Style(side=288), unsigned=evidence.correction == "absolute")
    width = 2 * style.side + GAP
    pair = row([style.plain(image), style.evidence(image, evidence)])
    against = None if evidence.objective == "logit" else evidence.against_label
    names = (evidence.for_label, evidence.against_label)
    numbers = account(evidence)
    below = [] if numbers is None else [waterfall(numbers, names, width, palette=style.palette)]
    return style.figure(heading(lines, width), pair, style.bar(evidence.for_label, against, width), *below)


def contact_sheet(figures: Sequence[Image.Image], columns: int = 2, paper: Paper = "light") -> Image.Image:
    """The figures in reading order, ``columns`` to a row, each row as high as its highest figure.

    Raises:
        InterpretError: no figure.
    """
    if not figures:
        raise InterpretError("a contact sheet needs a figure")

    def cell(figure: Image.Image) -> Block:
        return Block(figure.width, figure.height, lambda sheet, left, top: sheet.picture(figure, left, top))

    cells = [cell(figure) for figure in figures]
    rows = [row(cells[start : start + columns], 0) for start in range(0, len(cells), columns)]
    return drawn(column(rows, 0), paper, margin=0)


def detail_figure(
    image: Image.Image,
    crop: Box,
    names: Sequence[str],
    probabilities: Sequence[float],
    scores: FloatArray,
    *,
    adds_up: bool = False,
    style: Style | None = None,
) -> Image.Image:
    """Every class against every other: the first colour speaks for the class of the row, the second for the column's.

    The diagonal holds the picture itself over its class's name and probability. Each map has a symmetric scale of its
    own, because maps of different pairs cannot be compared in strength.

    Args:
        scores: [k, k, grid height, grid width] raw signed maps, as ``gradattn_core.interpret.detail`` gives them.
        names, probabilities: of the k classes.
        adds_up: the scores are log-odds: below each map stands beside either name what its colour adds.
    """
    style = style or Style()
    plain = style.plain(image)
    width = max(plain.width, 3 * style.side // 4)  # of the two names below a narrow picture

    def cell(i: int, j: int) -> Block:
        if i == j:
            return column([plain, two_names((names[i], percent(probabilities[i], 1)), ("text", "quiet"), width)], 4)
        below = names[i], names[j]
        if adds_up:
            sums = (float(np.clip(sign * scores[i, j], 0, None).sum(dtype=np.float64)) for sign in (1, -1))
            first, second = (f"{signed(total)} {name}" for name, total in zip(below, sums, strict=True))
            below = first, second
        return column([style.map(image, scores[i, j], crop), two_names(below, style.inks, width)], 4)

    rows = [row([cell(i, j) for j in range(len(names))]) for i in range(len(names))]
    return style.figure(style.bar("the class of the row", "the class of the column", rows[0].width), *rows)


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
        maps: correction → [grid height, grid width] raw; one with a sign at least.
        target, against: what the two colours speak for; against None, the second speaks against the target.
    """
    style = style or Style()

    def part(style: Style, names: Sequence[str], *first: Block) -> Block:
        shown = row([*first, *(captioned(style.map(image, maps[name], crop), name) for name in names)])
        return column([shown, style.bar(target, against, shown.width)])

    signed = [name for name in maps if name != "absolute"]
    parts = [part(style, signed, captioned(style.plain(image), "picture"))]
    if "absolute" in maps:
        parts.append(part(replace(style, unsigned=True), ["absolute"]))
    return style.figure(row(parts))


def methods_figure(
    image: Image.Image,
    crop: Box,
    maps: Sequence[MethodMap],
    target: str,
    against: str | None,
    *,
    style: Style | None = None,
) -> Image.Image:
    """The picture and its map by each method in reading order; each has a scale of its own, which a line says.

    Args:
        maps: by method; those that do not say for whom a patch speaks are drawn in the colour of unsigned maps.
        target, against: what the two colours speak for; against None, the second speaks against the target.
    """
    style = style or Style()
    unsigned = replace(style, unsigned=True)
    cells = [captioned(style.plain(image), "picture")]
    for each in maps:
        drawn_by = style if each.has_sides else unsigned
        empty = "" if each.scores.any() else " (zero everywhere)"
        cells.append(captioned(drawn_by.map(image, each.scores, crop), each.name + empty))
    # As many to a row as fit a page, and no last row of one.
    most = max(4, -(-len(cells) // -(-len(cells) // 6)))
    rows = [row(cells[start : start + most]) for start in range(0, len(cells), most)]
    width = max(block.width for block in rows)
    kinds = [kind for kind, sides in ((style, True), (unsigned, False)) if any(e.has_sides is sides for e in maps)]
    bars = row([kind.bar(target, against, (width - GAP * (len(kinds) - 1)) // len(kinds)) for kind in kinds])
    note = "Each map has a scale of its own: places can be compared, strengths cannot"
    return style.figure(words(note, width, SMALL, "quiet"), *rows, bars)


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
    against = others.pop() if len(others) == 1 else "the guides"
    return style.figure(heading(lines, width), *rows, style.bar(name, against, width))
