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
    Paper,
    Sheet,
    blank,
    drawn,
    fitted,
    measured,
    one_line,
    pixels,
)
from gradattn_core.render.overlays import Palette

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TITLE = "The model alone"
_ROW, _HEAD, _FOOT = 22, 24, 22  # pixels
_NAMES, _VALUES = 150, 48  # pixels of the columns beside the chart
_BAR = 0.62  # of a row
_LEAST_TICK = 44  # pixels from one tick to the next
_TICKS = (0.001, 0.01, 0.1, 1, 10, 50, 90, 99, 99.9, 99.99, 99.999)  # per cent


def waterfall(
    account: Account,
    names: tuple[str, str],
    width: int,
    *,
    palette: Palette = "red-blue",
    title: str = TITLE,
    scale: int = 1,
) -> Block:
    """A block of that width: a row each for the origin, what red adds, what blue takes, and the model's answer.

    Bars and dots stand at the numbers as they are written, so lengths add up as the digits do. The axis is in log-odds
    with ticks in per cent of the two classes; of maps of one output it has the output's own numbers.

    Args:
        account: of :func:`gradattn_core.reasons.account`.
        names: what (the given label, the other class) are called, shortened where they do not fit.
        width: in pixels; from 260 on all can be read.
        title: whose numbers they are; both names follow it.
        scale: pixels of the block for each of ``width``, for screens that have so many.
    """
    height = _HEAD + 4 * _ROW + _FOOT
    first, second = palette.split("-")

    def draw(sheet: Sheet, left: int, top: int) -> None:
        figure = blank(width, height)
        axes = figure.add_axes(
            (_NAMES / width, _FOOT / height, (width - _NAMES - _VALUES) / width, 4 * _ROW / height), ylim=(3.5, -0.5)
        )
        figure.text(0, 1 - 0.7 * _HEAD / height, _title(title, account, names, width), size=BODY)
        _draw(axes, account, (first, second), sheet)
        if account.of_two:
            ends = fitted(f"{names[0]}, of the two", SMALL, _NAMES - 8)
            figure.text(0, 0.25 * _FOOT / height, ends, color=sheet.inks.quiet)
        figure.set_dpi(scale * figure.dpi)
        sheet.picture(pixels(figure), left, top)

    return Block(scale * width, scale * height, draw)


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
    """:func:`waterfall` as a picture of its own, ``scale`` times as large as it is meant to be shown."""
    return drawn(waterfall(account, names, width, palette=palette, title=title, scale=scale), paper, margin=0)


def _title(title: str, account: Account, names: tuple[str, str], width: int) -> str:
    """With both names; of long ones each has its half."""
    if not account.of_two:
        return fitted(f"{title}: {names[0]}", BODY, width)
    room = width - measured(f"{title}:  against ", BODY)
    second = fitted(names[1], BODY, max(room / 2, room - measured(one_line(names[0]), BODY)))
    first = fitted(names[0], BODY, room - measured(second, BODY))
    return f"{title}: {first} against {second}"


def _draw(axes: Axes, account: Account, colours: Colours, sheet: Sheet) -> None:
    steps = account.steps(colours)
    start, turn = account.base, round(account.base + account.red, 1)
    low, high = min(start, account.answer, 0.0), max(turn, 0.0)
    # So wide a margin that a dot at the end is drawn whole, and where all is zero that there is an axis.
    margin = max(0.04 * (high - low), 0.1)
    axes.set_xlim(low - margin, high + margin)
    inks = [sheet.colour(ink) for ink in ("text", *colours, "text")]
    for place, (step, colour) in enumerate(zip(steps, inks, strict=True)):
        axes.annotate(step.name, (0, place), (-_NAMES, 0), ("axes fraction", "data"), "offset points",
                      color=colour, va="center_baseline")  # fmt: skip
        axes.annotate(step.text, (1, place), (_VALUES, 0), ("axes fraction", "data"), "offset points",
                      color=colour, va="center_baseline", ha="right")  # fmt: skip
    axes.barh([1, 2], [account.red, account.blue], _BAR, [start, turn], color=inks[1:3])
    for place, where in ((0, start), (1, turn), (2, account.answer)):
        axes.plot([where, where], [place, place + 1], ":", color=sheet.inks.quiet, linewidth=1, zorder=0)
    for place, step in ((0, steps[0]), (3, steps[3])):
        _dot(axes, place, step, sheet, hollow=place == 0)
    _ticks(axes, account.of_two)


def _dot(axes: Axes, place: int, step: Step, sheet: Sheet, *, hollow: bool) -> None:
    """A mark at an end, and beside it, where there is more room, its per cent."""
    ink = sheet.inks.text
    axes.plot([step.value], [place], "o", markersize=8, color=sheet.inks.paper if hollow else ink, markeredgecolor=ink,
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
