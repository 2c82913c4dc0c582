"""How a figure is laid out: blocks beside and below one another, drawn with matplotlib at places in whole pixels.

Blocks name the colours of text and lines by what they are for, and the paper says which colours these are. Matplotlib
is imported when a figure is drawn and not with this module, which commands and pages import at their start.
"""

from __future__ import annotations

import threading
import unicodedata
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import Image, ImageOps

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Paper = Literal["light", "dark"]

TITLE, BODY, SMALL = 14, 12, 11
MARGIN, GAP = 16, 16

# One point is one pixel. 72 = 64 + 8, so n / 72 * 72 is exactly n in binary numbers.
_DPI = 72
# DejaVu comes with matplotlib and is first, so that ordinary names look the same on every machine.
_FAMILIES = ("DejaVu Sans", "Noto Sans", "Noto Sans CJK JP", "Arial Unicode MS", "Microsoft YaHei")
# Okabe and Ito's colours, which people with any of the common colour vision deficiencies tell apart. Of their eight,
# yellow cannot be seen on white, nor black on black.
_LINES = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
_LONGEST = 400  # characters
_LEAST_CAPTION = 140  # pixels
_SETTINGS = threading.Lock()  # matplotlib has one set of settings for all threads


@dataclass(frozen=True)
class Inks:
    """The colours on one paper as ``#rrggbb``, by what they are for.

    Attributes:
        paper, text, quiet, rule: the paper, text, less important text, and hairlines.
        red, blue, orange, purple, green, teal: text and lines that belong to the colour of an overlay.
        lines: those of a plot, one after the other.
    """

    paper: str
    text: str
    quiet: str
    rule: str
    red: str
    blue: str
    orange: str
    purple: str
    green: str
    teal: str
    lines: tuple[str, ...]


INKS: dict[Paper, Inks] = {
    "light": Inks(
        paper="#ffffff",
        text="#202124",
        quiet="#5f6368",
        rule="#e0e2e6",
        red="#a00913",
        blue="#1123a4",
        orange="#b34e00",
        purple="#431f6c",
        green="#00592b",
        teal="#005350",
        lines=(*_LINES, "#000000"),
    ),
    "dark": Inks(
        paper="#0e1117",
        text="#e8eaed",
        quiet="#9aa0a6",
        rule="#30353d",
        red="#ff7070",
        blue="#8c9eff",
        orange="#ff9d4d",
        purple="#c49bf2",
        green="#5ecb8d",
        teal="#4fc4bd",
        lines=(*_LINES, "#f0e442"),
    ),
}


class Sheet:
    """Paper of ``width`` x ``height`` pixels; places are counted from its left upper corner."""

    def __init__(self, width: int, height: int, inks: Inks) -> None:
        self.inks, self._height, self.figure = inks, height, blank(width, height)

    def picture(self, image: Image.Image, left: int, top: int) -> None:
        """Each pixel of the picture becomes that pixel of the figure."""
        self.figure.figimage(np.asarray(image), left, self._height - top - image.height, origin="upper")

    def text(self, text: str, left: float, top: float, width: float, size: int, ink: str, right: bool = False) -> None:
        """One line, shortened to ``width``, at the left or right of a box of ``line_height(size)``."""
        from matplotlib.transforms import IdentityTransform

        self.figure.text(
            left + width if right else left,
            self._height - top - 1.1 * size,
            fitted(text, size, width),
            transform=IdentityTransform(),
            size=size,
            color=self.colour(ink),
            ha="right" if right else "left",
        )

    def colour(self, ink: str) -> str:
        """Of one of the inks by its name; any other colour is taken as it is."""
        return str(getattr(self.inks, ink, ink))


@dataclass(frozen=True)
class Block:
    """A part of a figure: how large it is in pixels, and how it is drawn at (left, top) of a sheet."""

    width: int
    height: int
    draw: Callable[[Sheet, int, int], None]


def drawn(block: Block, paper: Paper = "light", margin: int = MARGIN) -> Image.Image:
    """The block as an RGB picture with an even margin."""
    with inked(paper) as inks:
        sheet = Sheet(block.width + 2 * margin, block.height + 2 * margin, inks)
        block.draw(sheet, margin, margin)
        return pixels(sheet.figure)


@contextmanager
def inked(paper: Paper) -> Iterator[Inks]:
    """Matplotlib draws as on this paper meanwhile, for this thread alone."""
    from matplotlib import style

    inks = INKS[paper]
    with _SETTINGS, style.context(["default", _settings(inks)]):
        yield inks


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


def picture(image: Image.Image) -> Block:
    """The picture within a hairline, which keeps it apart from paper of its own colour."""

    def draw(sheet: Sheet, left: int, top: int) -> None:
        sheet.picture(ImageOps.expand(image.convert("RGB"), 1, sheet.inks.rule), left - 1, top - 1)

    return Block(image.width, image.height, draw)


def words(text: str, width: int, size: int = BODY, ink: str = "text") -> Block:
    """One line of text, shortened to the width."""
    return Block(width, line_height(size), lambda sheet, left, top: sheet.text(text, left, top, width, size, ink))


def heading(lines: Sequence[str], width: int) -> Block:
    """The first line as a title, the others below it in quiet ink."""
    title = [words(line, width, TITLE) for line in lines[:1]]
    return column([*title, *(words(line, width, BODY, "quiet") for line in lines[1:])], 2)


def captioned(block: Block, caption: str) -> Block:
    """The block above one line of small text, for which a narrow block gets some room."""
    return column([block, words(caption, max(block.width, _LEAST_CAPTION), SMALL)], 4)


def two_names(names: tuple[str, str], inks: tuple[str, str], width: int) -> Block:
    """A name at either end; each may take its half, and what the other leaves of its own."""

    def draw(sheet: Sheet, left: int, top: int) -> None:
        room = width - GAP
        first, second = (min(measured(one_line(name), SMALL), room / 2) for name in names)
        sheet.text(names[0], left, top, room - second, SMALL, inks[0])
        sheet.text(names[1], left + GAP + first, top, room - first, SMALL, inks[1], right=True)

    return Block(width, line_height(SMALL), draw)


def line_height(size: int) -> int:
    return round(1.5 * size)


def fitted(text: str, size: int, width: float) -> str:
    """The text on one line no wider than ``width`` pixels; what is too long ends in an ellipsis."""
    line = one_line(text)
    if measured(line, size) <= width:
        return line
    fits = bisect_right(range(1, len(line)), width, key=lambda length: measured(line[:length] + "…", size))
    return line[:fits].rstrip() + "…"


def measured(line: str, size: int) -> float:
    """The width in pixels as it will be drawn."""
    from matplotlib.backends.backend_agg import RendererAgg
    from matplotlib.font_manager import FontProperties

    font = FontProperties(family=_families(), size=size)
    return float(RendererAgg(1, 1, _DPI).get_text_width_height_descent(line, font, ismath=False)[0])  # type: ignore[no-untyped-call]


def one_line(text: str) -> str:
    """The text without line breaks, and with escapes such as ``\\u9ce5`` for what cannot be drawn.

    These are control characters, those that turn the direction of writing, and letters that no font here has: two
    names that differ stay different on the figure.
    """
    text = text if len(text) <= _LONGEST else text[:_LONGEST] + "…"
    return "".join(
        letter if _can_be_drawn(letter) else letter.encode("unicode_escape").decode("ascii")
        for letter in " ".join(unicodedata.normalize("NFC", text).split())
    )


def blank(width: int, height: int) -> Figure:
    from matplotlib.figure import Figure

    return Figure((width / _DPI, height / _DPI), dpi=_DPI)


def pixels(figure: Figure, clear: bool = False) -> Image.Image:
    """The figure as an RGB picture; where it is ``clear``, as RGBA without its paper."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure.patch.set_visible(not clear)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    drawn = Image.fromarray(np.asarray(canvas.buffer_rgba()))  # type: ignore[no-untyped-call]
    return drawn.copy() if clear else drawn.convert("RGB")


def _settings(inks: Inks) -> dict[str, object]:
    """How matplotlib draws, in the place of the user's own settings: quiet axes, and text that is never a formula."""
    from cycler import cycler

    return {
        "font.family": _families(),
        "font.size": SMALL,
        "text.color": inks.text,
        "text.parse_math": False,
        "figure.facecolor": inks.paper,
        "axes.facecolor": "none",
        "axes.edgecolor": inks.quiet,
        "axes.labelcolor": inks.quiet,
        "axes.titlelocation": "left",
        "axes.titlesize": BODY,
        "axes.prop_cycle": cycler(color=inks.lines),
        "axes.autolimit_mode": "round_numbers",
        "axes.xmargin": 0,
        "axes.ymargin": 0,
        "axes.grid": True,
        "axes.grid.axis": "y",
        "grid.color": inks.rule,
        "lines.linewidth": 2,
        "xtick.color": inks.quiet,
        "ytick.color": inks.quiet,
        "ytick.left": False,
        "legend.frameon": False,
        "legend.borderpad": 0,
        "legend.borderaxespad": 0,
    }


@lru_cache(maxsize=8192)
def _can_be_drawn(letter: str) -> bool:
    from matplotlib.font_manager import findfont, get_font

    if unicodedata.category(letter).startswith("C"):
        return False
    return any(get_font(findfont(family)).get_char_index(ord(letter)) for family in _families())


@cache
def _families() -> list[str]:
    """Those that this machine has; matplotlib would write of each other one that it is not there."""
    from matplotlib.font_manager import fontManager

    names = fontManager.get_font_names()
    return [family for family in _FAMILIES if family in names]
