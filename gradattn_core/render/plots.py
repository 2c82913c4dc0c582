"""Line plots: quiet axes side by side, bands of uncertainty, and one legend below."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from gradattn_core.records import FloatArray, IntArray
from gradattn_core.render.layout import BODY, SMALL, Block, Paper, Sheet, blank, drawn, fitted, pixels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

_WIDTH, _HEIGHT = 440, 310  # pixels of a plot by itself
_LEGEND_COLUMN = 120  # pixels, at least
_HANDLE = 40  # pixels of a legend's column that are not its name
_BAND = 0.22  # opacity


@dataclass(frozen=True)
class Line:
    """One line of a plot.

    Attributes:
        label: its name in the legend.
        x, y: [points] in the order in which they are joined.
        low, high: [points] lower and upper end of a band around the line, both or neither.
        colour: an ink by its name, or ``#rrggbb``; the paper's next one where None.
        dashed: for a baseline.
    """

    label: str
    x: FloatArray
    y: FloatArray
    low: FloatArray | None = None
    high: FloatArray | None = None
    colour: str | None = None
    dashed: bool = False


@dataclass(frozen=True)
class Plot:
    """Lines over one pair of axes.

    Attributes:
        x_label, y_label: what is plotted, with its unit; ``y_label`` stands above the axes.
        y_range: (low, high) of the axis; from the data, rounded outwards to ticks, where None.
        marks: positions on the x axis at which a thin upright line is drawn.
    """

    lines: Sequence[Line]
    x_label: str
    y_label: str
    y_range: tuple[float, float] | None = None
    marks: Sequence[float] = ()


def plot_figure(plots: Sequence[Plot], paper: Paper = "light") -> Image.Image:
    """Plots of the same lines side by side, with one legend below; its size does not depend on the names."""
    return drawn(charts(plots, _WIDTH * len(plots), _HEIGHT), paper)


def review_figure(
    reviewed: IntArray,
    found: IntArray,
    high: IntArray,
    share: float,
    target: int,
    confidence: float,
    paper: Paper = "light",
) -> Image.Image:
    """What a review found, how many are wrong in all at most, and where the two may meet.

    The first bounds are so wide that beside them nothing else could be seen: what lies beyond three times what was
    found, and beyond twice the last bound, is left out.

    Args:
        reviewed, found: [points] pictures with a verdict, and wrong ones among them.
        high: [points] how many of the others were wrong at most.
        share: of all that may be left wrong, in (0, 1); these are ``target`` pictures.
        confidence: of the bound, in (0, 1).
    """
    steps, so_far = reviewed.astype(np.float32), found.astype(np.float32)
    most = so_far + high
    top = float(max(3 * so_far[-1], 2 * most[-1], 2 * target, 1))
    lines = [
        Line("found", steps, so_far),
        Line(f"at most, {100 * confidence:g}% sure", steps, np.where(most <= top, most, np.nan), colour="blue"),
        Line(f"enough for {100 * share:g}%", steps, so_far + target, dashed=True),
    ]
    return plot_figure([Plot(lines, "pictures reviewed", "wrong labels", y_range=(0.0, top))], paper)


def charts(plots: Sequence[Plot], width: int, height: int) -> Block:
    """The plots side by side and the legend of the first one's lines, in a block of that size."""

    def draw(sheet: Sheet, left: int, top: int) -> None:
        figure = blank(width, height)
        figure.set_layout_engine("constrained", h_pad=0.08, wspace=0.04)
        every = [
            _draw(axes, plot, sheet, width / len(plots))
            for axes, plot in zip(figure.subplots(1, len(plots), squeeze=False)[0], plots, strict=True)
        ]
        columns = min(len(every[0]), max(1, width // _LEGEND_COLUMN))
        names = [fitted(line.label, SMALL, width / columns - _HANDLE) for line in plots[0].lines]
        figure.legend(every[0], names, loc="outside lower left", ncols=columns, handlelength=1.5)
        sheet.picture(pixels(figure), left, top)

    return Block(width, height, draw)


def _draw(axes: Axes, plot: Plot, sheet: Sheet, width: float) -> list[Line2D]:
    from matplotlib.ticker import FixedLocator

    axes.spines[["left", "right", "top"]].set_visible(False)
    axes.set_title(fitted(plot.y_label, BODY, 0.8 * width))
    axes.set_xlabel(fitted(plot.x_label, SMALL, 0.8 * width))
    axes.xaxis.set_minor_locator(FixedLocator(plot.marks))
    axes.xaxis.remove_overlapping_locs = False
    axes.grid(True, which="minor", axis="x")
    axes.tick_params(which="minor", length=0)
    if plot.y_range is not None:
        axes.set_ylim(plot.y_range)
    curves = []
    for line in plot.lines:
        colour = None if line.colour is None else sheet.colour(line.colour)
        # A line along an end of the range is drawn in its whole thickness.
        curves += axes.plot(line.x, line.y, "--" if line.dashed else "-", color=colour, clip_on=False)
        if len(line.x) == 1:
            curves[-1].set_marker("o")
        if line.low is not None and line.high is not None:
            axes.fill_between(line.x, line.low, line.high, color=curves[-1].get_color(), alpha=_BAND, linewidth=0)
    return curves
