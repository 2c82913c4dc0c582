"""The waterfall of a map that adds up: from an origin by red and by blue to the model's answer, in log-odds."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from PIL import Image

from gradattn_core.reasons import Account, Colours, Step
from gradattn_core.render.layout import (
    BODY,
    SMALL,
    Block,
    Inks,
    Paper,
    Sheet,
    blank,
    fitted,
    inked,
    measured,
    one_line,
    pixels,
)
from gradattn_core.render.overlays import Palette

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TITLE = "The model alone"
_ROW, _HEAD, _FOOT = 22, 24, 22  # pixels
_NAMES, _VALUES = 150, 48  # pixels of the columns beside the chart
# What the ticks are per cent of. Its first word is of our own, so that a name in Arabic does not turn it round.
_OF_TWO = ("for ", ", of the two")
_BAR = 0.62  # of a row
_DRAWN = 0.97  # of its room that a line may take: drawn at twice the size, letters are a little wider
_LEAST_TICK = 44  # pixels from one tick to the next
_TICKS = (0.001, 0.01, 0.1, 1, 10, 50, 90, 99, 99.9, 99.99, 99.999)  # per cent


def waterfall(account: Account, names: tuple[str, str], width: int, *, palette: Palette = "red-blue") -> Block:
    """A block of that width: a row each for the origin, what red adds, what blue takes, and the model's answer.

    Bars and dots stand at the numbers as they are written, so lengths add up as the digits do. The axis is in log-odds
    with ticks in per cent of the two classes; of maps of one output it has the output's own numbers.

    Args:
        account: of :func:`gradattn_core.reasons.account`.
        names: what (the given label, the other class) are called, shortened where they do not fit.
        width: in pixels; from 260 on all can be read.
    """

    def draw(sheet: Sheet, left: int, top: int) -> None:
        sheet.picture(pixels(_figure(account, names, width, palette, TITLE, sheet.inks)), left, top)

    return Block(width, _HEAD + 4 * _ROW + _FOOT, draw)


def waterfall_picture(
    account: Account,
    names: tuple[str, str],
    *,
    width: int = 480,
    palette: Palette = "red-blue",
    paper: Paper = "light",
    title: str = TITLE,
    scale: int = 2,
) -> Image.Image:
    """:func:`waterfall` as an RGBA picture of its own, for paper of any colour that is as light or as dark.

    Args:
        title: whose numbers they are; both names follow it.
        scale: pixels for each of ``width``, for screens that have so many.
    """
    with inked(paper) as inks:
        figure = _figure(account, names, width, palette, title, inks)
        figure.set_dpi(scale * figure.dpi)
        return pixels(figure, clear=True)


def _figure(account: Account, names: tuple[str, str], width: int, palette: Palette, title: str, inks: Inks) -> Figure:
    height = _HEAD + 4 * _ROW + _FOOT
    figure = blank(width, height)
    axes = figure.add_axes(
        (_NAMES / width, _FOOT / height, (width - _NAMES - _VALUES) / width, 4 * _ROW / height), ylim=(3.5, -0.5)
    )
    figure.text(0, 1 - 0.7 * _HEAD / height, _title(title, account, names, width), size=BODY)
    first, second = palette.split("-")
    _draw(axes, account, (first, second), inks)
    if account.of_two:
        before, after = _OF_TWO
        name = fitted(names[0], SMALL, _NAMES - 8 - measured(before + after, SMALL))
        figure.text(0, 0.25 * _FOOT / height, f"{before}{name}{after}", color=inks.quiet)
    return figure


def _title(title: str, account: Account, names: tuple[str, str], width: int) -> str:
    """With both names; of long ones each has its half."""
    width = int(_DRAWN * width)
    if not account.of_two:
        return fitted(f"{title}: {names[0]}", BODY, width)
    room = width - measured(f"{title}:  against ", BODY)
    second = fitted(names[1], BODY, max(room / 2, room - measured(one_line(names[0]), BODY)))
    first = fitted(names[0], BODY, room - measured(second, BODY))
    return f"{title}: {first} against {second}"


def _draw(axes: Axes, account: Account, colours: Colours, inks: Inks) -> None:
    steps = account.steps(colours)
    start, turn = account.base, round(account.base + account.red, 1)
    low, high = min(start, account.answer, 0.0), max(turn, 0.0)
    # So wide a margin that a dot at the end is drawn whole, and where all is zero that there is an axis.
    margin = max(0.04 * (high - low), 0.1)
    axes.set_xlim(low - margin, high + margin)
    first, second = (getattr(inks, colour) for colour in colours)
    for place, (step, colour) in enumerate(zip(steps, (inks.text, first, second, inks.text), strict=True)):
        axes.annotate(step.name, (0, place), (-_NAMES, 0), ("axes fraction", "data"), "offset points",
                      color=colour, va="center_baseline")  # fmt: skip
        axes.annotate(step.text, (1, place), (_VALUES, 0), ("axes fraction", "data"), "offset points",
                      color=colour, va="center_baseline", ha="right")  # fmt: skip
    axes.barh([1, 2], [account.red, account.blue], _BAR, [start, turn], color=[first, second])
    for place, where in ((0, start), (1, turn), (2, account.answer)):
        # The first one begins below its hollow dot.
        axes.plot([where, where], [place or 0.2, place + 1], ":", color=inks.quiet, linewidth=1, zorder=0)
    for place, step in ((0, steps[0]), (3, steps[3])):
        _dot(axes, place, step, inks.text, hollow=place == 0)
    _ticks(axes, account.of_two)


def _dot(axes: Axes, place: int, step: Step, ink: str, *, hollow: bool) -> None:
    """A mark at an end, and beside it, where there is more room, its per cent."""
    axes.plot([step.value], [place], "o", markersize=8, color=ink, markerfacecolor="none" if hollow else ink,
              markeredgewidth=2, clip_on=False)  # fmt: skip
    low, high = axes.get_xlim()
    side = -1 if step.value > (low + high) / 2 else 1
    axes.annotate(step.share, (step.value, place), (side * 9, 0), textcoords="offset points", va="center_baseline",
                  ha="left" if side > 0 else "right", weight="normal" if hollow else "bold")  # fmt: skip


def _ticks(axes: Axes, of_two: bool) -> None:
    low, high = axes.get_xlim()
    room = axes.bbox.width  # pixels
    axes.spines[:].set_visible(False)
    axes.grid(True, axis="x")
    axes.set_axisbelow(True)
    axes.set_yticks([])
    axes.tick_params(bottom=False, pad=3)
    if of_two:
        middle = len(_TICKS) // 2
        # They are 2.2 to 2.4 apart.
        every = math.ceil(_LEAST_TICK * (high - low) / (2.2 * room))
        shown = {math.log(tick / (100 - tick)): tick for tick in _TICKS[middle % every :: every]}
        shown = {odds: tick for odds, tick in shown.items() if low <= odds <= high}
        axes.set_xticks(list(shown), [f"{tick:g}%" for tick in shown.values()])
    else:
        axes.locator_params(axis="x", nbins=max(2, int(room // _LEAST_TICK)))
