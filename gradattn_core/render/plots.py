"""Line plots: quiet axes side by side, bands of uncertainty, and one legend below."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from gradattn_core.errors import InterpretError
from gradattn_core.records import FloatArray
from gradattn_core.render.layout import (
    BODY,
    DASHES,
    GAP,
    INK,
    QUIET,
    RULE,
    SMALL,
    Block,
    Sheet,
    column,
    drawn,
    font,
    line_height,
    row,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours, which people with any of the common colour vision deficiencies tell apart; its yellow is
# left out because it cannot be seen on white.
CYCLE = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
_MOST_LINES = 12
_PLOT = (440, 280)
_LEGEND_COLUMN = 120  # at least, in pixels
_BELOW = 20  # ticks and their numbers
_BAND = 0.16  # opacity


@dataclass(frozen=True)
class Line:
    """One line of a plot.

    Attributes:
        label: its name in the legend.
        x, y: [points] finite numbers, in the order in which they are joined.
        low, high: [points] lower and upper end of a band around the line, both or neither.
        colour: as ``#rrggbb``; the next of ``CYCLE`` where None.
        dashed: for a baseline.

    Raises:
        InterpretError: arrays that do not fit together or are not finite.
    """

    label: str
    x: FloatArray
    y: FloatArray
    low: FloatArray | None = None
    high: FloatArray | None = None
    colour: str | None = None
    dashed: bool = False

    def __post_init__(self) -> None:
        if (self.low is None) != (self.high is None):
            raise InterpretError(f"line {self.label!r}: its band needs both low and high")
        arrays = (self.x, *self.heights)
        if self.x.ndim != 1 or len(self.x) == 0 or any(array.shape != self.x.shape for array in arrays):
            raise InterpretError(f"line {self.label!r}: x, y and its band need one number per point each")
        if not all(np.isfinite(array).all() for array in arrays):
            raise InterpretError(f"line {self.label!r}: holds NaN or infinity; only finite numbers can be drawn")

    @property
    def heights(self) -> list[FloatArray]:
        """All that is drawn along the y axis."""
        return [array for array in (self.y, self.low, self.high) if array is not None]


@dataclass(frozen=True)
class Plot:
    """Lines over one pair of axes.

    Attributes:
        lines: one to twelve.
        x_label, y_label: what is plotted, with its unit; ``y_label`` stands above the axis, ``x_label`` below.
        title: one line above.
        y_range: (low, high) of the axis; from the data, rounded outwards to ticks, where None.
        marks: positions on the x axis at which a thin upright line is drawn.

    Raises:
        InterpretError: no line or too many, or an empty range.
    """

    lines: Sequence[Line]
    x_label: str
    y_label: str
    title: str = ""
    y_range: tuple[float, float] | None = None
    marks: Sequence[float] = ()

    def __post_init__(self) -> None:
        if not 1 <= len(self.lines) <= _MOST_LINES:
            raise InterpretError(f"lines: {len(self.lines)} given; a plot of 1 to {_MOST_LINES} can be read")
        if self.y_range is not None and not -math.inf < self.y_range[0] < self.y_range[1] < math.inf:
            raise InterpretError(f"y_range {self.y_range}: give (low, high) with low < high")


def plot_figure(plots: Sequence[Plot]) -> Image.Image:
    """Plots of the same lines side by side, with one legend below; its size does not depend on the names.

    Raises:
        InterpretError: no plot.
    """
    if not plots:
        raise InterpretError("plots: a figure needs at least one")
    charts = row([chart(plot, *_PLOT) for plot in plots], 2 * GAP)
    return drawn(column([charts, legend(plots[0].lines, charts.width)]))


def chart(plot: Plot, width: int, height: int) -> Block:
    """The axes with their lines, title and labels; the legend is a block of its own."""

    def draw(sheet: Sheet, left: int, top: int) -> None:
        bottom = top + height - _BELOW - line_height(SMALL)
        for text, size, ink in ((plot.title, BODY, INK), (plot.y_label, SMALL, QUIET)):
            if text:
                sheet.text(text, left, top, width, size=size, ink=ink)
                top += line_height(size)
        top += 6
        low, high = plot.y_range or _ends([array for line in plot.lines for array in line.heights])
        ticks = _ticks(low, high, 3 + (bottom - top) // 60)
        if plot.y_range is None:
            low, high = ticks[0], ticks[-1]
        inset = 8 + round(max(sheet.measured(text, SMALL) for text in _written(ticks)))
        axes = sheet.axes(left + inset, top, width - inset - 8, bottom - top)
        _dress(axes)
        _number(axes.set_yticks, ticks)
        edge = 1.5 * (high - low) / (bottom - top)  # a line along the end of the range is drawn in its whole thickness
        axes.set_ylim(low - edge, high + edge)
        ends = _ends([line.x for line in plot.lines])
        _number(axes.set_xticks, _ticks(*ends, max(2, (width - inset) // 70)))
        axes.set_xlim(ends)
        for mark in plot.marks:
            axes.axvline(mark, color=RULE, linewidth=1, zorder=0.5)
        for line, colour in zip(plot.lines, colours_of(plot.lines), strict=True):
            _draw_line(axes, line, colour)
        sheet.text(plot.x_label, left + inset, bottom + _BELOW, width - inset, size=SMALL, ink=QUIET, align="center")

    return Block(width, height, draw)


def legend(lines: Sequence[Line], width: int) -> Block:
    """The lines' names behind pieces of them, in columns of equal width."""
    columns = min(len(lines), max(1, width // _LEGEND_COLUMN))
    each, high = width / columns, line_height(SMALL)

    def draw(sheet: Sheet, left: int, top: int) -> None:
        for number, (line, colour) in enumerate(zip(lines, colours_of(lines), strict=True)):
            x, y = left + number % columns * each, top + number // columns * high
            sheet.stroke(x, y + high // 2, 16, colour=colour, dashed=line.dashed)
            sheet.text(line.label, x + 22, y, each - 22 - GAP // 2, size=SMALL)

    return Block(width, high * math.ceil(len(lines) / columns), draw)


def colours_of(lines: Sequence[Line]) -> list[str]:
    return [line.colour or CYCLE[number % len(CYCLE)] for number, line in enumerate(lines)]


def _ticks(low: float, high: float, count: int) -> list[float]:
    """About ``count`` round numbers that reach at least from ``low`` to ``high``."""
    from matplotlib.ticker import MaxNLocator

    return [float(tick) for tick in MaxNLocator(count, steps=[1, 2, 5, 10]).tick_values(low, high)]


def _written(ticks: Sequence[float]) -> list[str]:
    return [f"{tick:,.10g}".replace("-", "−") for tick in ticks]


def _number(set_ticks: Callable[..., object], ticks: Sequence[float]) -> None:
    set_ticks(ticks, _written(ticks), fontproperties=font(SMALL), color=QUIET, parse_math=False, usetex=False)


def _dress(axes: Axes) -> None:
    """A level grid; of the frame only the lower edge stays."""
    axes.set_facecolor("none")
    axes.spines[["left", "right", "top"]].set_visible(False)
    axes.spines["bottom"].set(color=QUIET, linewidth=1)
    axes.grid(False)
    axes.yaxis.grid(True, color=RULE, linewidth=1)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0, pad=6)
    axes.tick_params(axis="x", length=4, width=1, pad=3, color=QUIET)


def _draw_line(axes: Axes, line: Line, colour: str) -> None:
    if line.low is not None and line.high is not None:
        axes.fill_between(line.x, line.low, line.high, color=colour, alpha=_BAND, linewidth=0)
    marker, style = "o" if len(line.x) == 1 else "", DASHES if line.dashed else "-"
    axes.plot(line.x, line.y, marker=marker, color=colour, linewidth=2, linestyle=style)


def _ends(arrays: Sequence[FloatArray]) -> tuple[float, float]:
    low, high = min(float(a.min()) for a in arrays), max(float(a.max()) for a in arrays)
    return (low, high) if low < high else (low - 0.5, high + 0.5)
