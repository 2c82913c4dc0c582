"""How a figure is laid out: blocks beside and below one another, drawn with matplotlib at places in whole pixels.

Matplotlib is imported when a figure is drawn and not with this module, which commands and pages import at their start.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import Image, ImageOps

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.font_manager import FontProperties

INK, QUIET, RULE = "#202124", "#5f6368", "#e0e2e6"
TITLE, BODY, SMALL = 14, 12, 11
MARGIN, GAP = 16, 16

# One point is one pixel. 72 = 64 + 8, so n / 72 * 72 is exactly n in binary numbers.
_DPI = 72
# DejaVu comes with matplotlib and is first, so that ordinary names look the same on every machine.
_FAMILIES = (
    "DejaVu Sans",
    "Noto Sans",
    "Noto Sans CJK JP",
    "Arial Unicode MS",
    "Droid Sans Fallback",
    "WenQuanYi Micro Hei",
    "PingFang SC",
    "Microsoft YaHei",
)
DASHES = (0, (2.5, 1.5))  # in line widths
_LONGEST = 400  # characters
_LEAST_CAPTION = 140  # pixels


class Sheet:
    """White paper of ``width`` x ``height`` pixels; places are counted from its left upper corner."""

    def __init__(self, width: int, height: int) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.transforms import IdentityTransform

        self.width, self.height = width, height
        self._pixels = IdentityTransform()
        self._figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI, facecolor="white")
        self._canvas = FigureCanvasAgg(self._figure)

    def picture(self, image: Image.Image, left: int, top: int) -> None:
        """Each pixel of the picture becomes that pixel of the figure."""
        self._figure.figimage(np.asarray(image), left, self.height - top - image.height, origin="upper")

    def text(
        self,
        text: str,
        left: float,
        top: float,
        width: float,
        *,
        size: int = BODY,
        ink: str = INK,
        align: Literal["left", "center", "right"] = "left",
    ) -> None:
        """One line, shortened to ``width``, in a box of ``line_height(size)``."""
        place = left + {"left": 0.0, "center": width / 2, "right": width}[align]
        self._figure.text(
            place,
            self.height - top - 1.1 * size,
            self.fitted(text, size, width),
            transform=self._pixels,
            fontproperties=font(size),
            color=ink,
            ha=align,
            va="baseline",
            parse_math=False,
            usetex=False,
        )

    def fitted(self, text: str, size: int, width: float) -> str:
        """The text on one line no wider than ``width`` pixels; what is too long ends in an ellipsis."""
        line = one_line(text)
        if len(text) <= _LONGEST and self.measured(line, size) <= width:
            return line
        lengths = range(1, len(line))
        fits = bisect_right(lengths, width, key=lambda length: self.measured(line[:length] + "…", size))
        return line[:fits].rstrip() + "…"

    def measured(self, line: str, size: int) -> float:
        """The width in pixels as it will be drawn."""
        renderer = self._canvas.get_renderer()  # type: ignore[no-untyped-call]
        return float(renderer.get_text_width_height_descent(line, font(size), ismath=False)[0])

    def stroke(self, left: float, top: float, width: float, *, colour: str, dashed: bool = False) -> None:
        """A level line, as it stands for a curve in a legend."""
        from matplotlib.lines import Line2D

        across, level = [left, left + width], self.height - top
        line = Line2D(across, [level, level], transform=self._pixels, color=colour, linewidth=2)
        line.set_linestyle(DASHES if dashed else "-")
        self._figure.add_artist(line)

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        lower = self.height - top - height
        return self._figure.add_axes((left / self.width, lower / self.height, width / self.width, height / self.height))

    def image(self) -> Image.Image:
        self._canvas.draw()  # type: ignore[no-untyped-call]
        return Image.fromarray(np.asarray(self._canvas.buffer_rgba())).convert("RGB")  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class Block:
    """A part of a figure: how large it is in pixels, and how it is drawn at (left, top) of a sheet."""

    width: int
    height: int
    draw: Callable[[Sheet, int, int], None]


def drawn(block: Block, margin: int = MARGIN) -> Image.Image:
    """The block as an RGB picture with an even margin."""
    sheet = Sheet(block.width + 2 * margin, block.height + 2 * margin)
    block.draw(sheet, margin, margin)
    return sheet.image()


def row(blocks: Sequence[Block], gap: int = GAP) -> Block:
    """The blocks from left to right, with their upper edges in line."""

    def draw(sheet: Sheet, left: int, top: int) -> None:
        for block in blocks:
            block.draw(sheet, left, top)
            left += block.width + gap

    width = sum(block.width + gap for block in blocks) - gap
    return Block(width, max(block.height for block in blocks), draw)


def column(blocks: Sequence[Block], gap: int = GAP) -> Block:
    """The blocks from top to bottom, with their left edges in line; empty ones take no gap."""
    shown = [block for block in blocks if block.height]

    def draw(sheet: Sheet, left: int, top: int) -> None:
        for block in shown:
            block.draw(sheet, left, top)
            top += block.height + gap

    height = sum(block.height + gap for block in shown) - gap if shown else 0
    return Block(max((block.width for block in shown), default=0), height, draw)


def centred(block: Block, width: int) -> Block:
    """The block in the middle of ``width``, which is at least its own."""
    return Block(
        width, block.height, lambda sheet, left, top: block.draw(sheet, left + (width - block.width) // 2, top)
    )


def picture(image: Image.Image) -> Block:
    """The picture within a hairline, which keeps white pictures apart from white paper."""
    framed = ImageOps.expand(image.convert("RGB"), 1, RULE)
    return Block(image.width, image.height, lambda sheet, left, top: sheet.picture(framed, left - 1, top - 1))


def words(text: str, width: int, size: int = BODY, ink: str = INK) -> Block:
    """One line of text, shortened to the width."""

    def draw(sheet: Sheet, left: int, top: int) -> None:
        sheet.text(text, left, top, width, size=size, ink=ink)

    return Block(width, line_height(size), draw)


def heading(lines: Sequence[str], width: int) -> Block:
    """The first line as a title, the others below it in grey."""
    title = [words(line, width, TITLE) for line in lines[:1]]
    return column([*title, *(words(line, width, BODY, QUIET) for line in lines[1:])], 2)


def captioned(block: Block, caption: str) -> Block:
    """The block above one line of small text, for which a narrow block gets some room."""
    return column([block, words(caption, max(block.width, _LEAST_CAPTION), SMALL)], 4)


def two_names(names: tuple[str, str], inks: tuple[str, str], width: int) -> Block:
    """A name at either end; each may take its half, and what the other leaves of its own."""

    def draw(sheet: Sheet, left: int, top: int) -> None:
        room = width - GAP
        first, second = (sheet.measured(sheet.fitted(name, SMALL, room / 2), SMALL) for name in names)
        sheet.text(names[0], left, top, room - second, size=SMALL, ink=inks[0])
        sheet.text(names[1], left + GAP + first, top, room - first, size=SMALL, ink=inks[1], align="right")

    return Block(width, line_height(SMALL), draw)


def line_height(size: int) -> int:
    return round(1.5 * size)


def one_line(text: str) -> str:
    """The text without line breaks, and with escapes such as ``\\u9ce5`` for what cannot be drawn.

    These are control characters, those that turn the direction of writing, and letters that no font here has: two
    names that differ stay different on the figure.
    """
    collapsed = " ".join(unicodedata.normalize("NFC", text[:_LONGEST]).split())
    return "".join(
        letter if _can_be_drawn(letter) else letter.encode("unicode_escape").decode("ascii") for letter in collapsed
    )


@lru_cache(maxsize=8192)
def _can_be_drawn(letter: str) -> bool:
    from matplotlib.font_manager import findfont, get_font

    if unicodedata.category(letter).startswith("C"):
        return False
    return any(get_font(findfont(family)).get_char_index(ord(letter)) for family in font(SMALL).get_family())


@lru_cache(maxsize=16)
def font(size: int) -> FontProperties:
    """Those of the families that this machine has."""
    from matplotlib.font_manager import FontProperties, fontManager

    names = fontManager.get_font_names()
    return FontProperties(family=[family for family in _FAMILIES if family in names], size=size)
