"""Line plots, drawn with Pillow alone: curves with axes, ticks, a legend, and bands of uncertainty."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from gradattn_core.errors import InterpretError
from gradattn_core.records import FloatArray
from gradattn_core.render.lettering import fitted
from gradattn_core.render.overlays import Colour

# Okabe and Ito's colours, which people with any of the common colour vision deficiencies tell apart; its yellow is
# left out because it cannot be seen on white.
CYCLE: tuple[Colour, ...] = (
    (213, 94, 0),
    (0, 114, 178),
    (0, 158, 115),
    (204, 121, 167),
    (86, 180, 233),
    (230, 159, 0),
    (0, 0, 0),
)
_PAPER, _INK, _GRID, _QUIET = (255, 255, 255), (32, 33, 36), (228, 230, 233), (112, 117, 122)
_LETTERS = 12
_FINE = 3  # curves are drawn this many times larger and shrunk, because Pillow's lines have hard edges
_MOST_CURVES = 12


@dataclass(frozen=True)
class Curve:
    """One line of a plot.

    Attributes:
        label: its name in the legend.
        x, y: [points] finite numbers, in the order in which they are joined.
        low, high: [points] lower and upper end of a band around the line, both or neither.
        colour: the next of ``CYCLE`` where None.
        dashed: for a baseline.
    """

    label: str
    x: FloatArray
    y: FloatArray
    low: FloatArray | None = None
    high: FloatArray | None = None
    colour: Colour | None = None
    dashed: bool = False


@dataclass(frozen=True)
class _Axes:
    """Data coordinates to pixels: ``box`` is (left, top, right, bottom) of the plotted area."""

    box: tuple[int, int, int, int]
    x: tuple[float, float]
    y: tuple[float, float]

    def across(self, x: float) -> float:
        return self.box[0] + (x - self.x[0]) / (self.x[1] - self.x[0]) * (self.box[2] - self.box[0])

    def down(self, y: float) -> float:
        return self.box[3] - (y - self.y[0]) / (self.y[1] - self.y[0]) * (self.box[3] - self.box[1])


def line_plot(
    curves: Sequence[Curve],
    *,
    x_label: str,
    y_label: str,
    title: str = "",
    size: tuple[int, int] = (480, 300),
    x_range: tuple[float, float] | None = None,
    y_range: tuple[float, float] | None = None,
    marks: Sequence[float] = (),
) -> Image.Image:
    """Curves over one pair of axes, with their names to the right.

    Args:
        curves: one to twelve; names that do not fit are shortened.
        x_label, y_label: what is plotted, with its unit; ``y_label`` stands above the axis, ``x_label`` below.
        title: one line above.
        size: (width, height) of the result in pixels, at least 240 x 140.
        x_range, y_range: (low, high) of the axes; from the data, rounded outwards to ticks, where None.
        marks: positions on the x axis at which a thin upright line is drawn.

    Returns:
        An RGB picture of exactly ``size``.

    Raises:
        InterpretError: no curve or too many, arrays that do not fit together or are not finite, an empty range.
    """
    _check(curves, size, x_range, y_range)
    values = [array for curve in curves for array in (curve.y, curve.low, curve.high) if array is not None]
    y = y_range or _around(values)
    x = x_range or _ends([curve.x for curve in curves])
    picture = Image.new("RGB", size, _PAPER)
    ticks = _ticks(*y, 3 + size[1] // 120)
    labels = [_written(tick, ticks) for tick in ticks]
    inset = 12 + max(round(fitted(text, _LETTERS, 200)[1].getlength(text)) for text in labels)
    legend = min(size[0] // 3, 36 + max(round(fitted(c.label, _LETTERS, 400)[1].getlength(c.label)) for c in curves))
    top = 10 + 18 * (bool(title) + bool(y_label))
    axes = _Axes((inset, top, size[0] - legend - 14, size[1] - 26 - 16 * bool(x_label)), x, y)
    colours = [curve.colour or CYCLE[number % len(CYCLE)] for number, curve in enumerate(curves)]
    _draw_frame(picture, axes, (title, x_label, y_label), list(zip(ticks, labels, strict=True)), marks)
    _draw_curves(picture, axes, curves, colours)
    _draw_legend(picture, axes, curves, colours, legend)
    return picture


def _check(
    curves: Sequence[Curve],
    size: tuple[int, int],
    x_range: tuple[float, float] | None,
    y_range: tuple[float, float] | None,
) -> None:
    if not 1 <= len(curves) <= _MOST_CURVES:
        raise InterpretError(f"curves: {len(curves)} given; a plot of 1 to {_MOST_CURVES} can be read")
    if size[0] < 240 or size[1] < 140:
        raise InterpretError(f"size {size}: a plot needs at least 240 x 140 pixels")
    for name, limits in (("x_range", x_range), ("y_range", y_range)):
        if limits is not None and not (math.isfinite(limits[0]) and limits[0] < limits[1] < math.inf):
            raise InterpretError(f"{name} {limits}: give (low, high) with low < high")
    for curve in curves:
        if (curve.low is None) != (curve.high is None):
            raise InterpretError(f"curve {curve.label!r}: its band needs both low and high")
        arrays = [array for array in (curve.x, curve.y, curve.low, curve.high) if array is not None]
        if curve.x.ndim != 1 or len(curve.x) == 0 or any(array.shape != curve.x.shape for array in arrays):
            raise InterpretError(f"curve {curve.label!r}: x, y and its band need one number per point each")
        if not all(np.isfinite(array).all() for array in arrays):
            raise InterpretError(f"curve {curve.label!r}: holds NaN or infinity; only finite numbers can be drawn")


def _ends(arrays: Sequence[FloatArray]) -> tuple[float, float]:
    low, high = min(float(a.min()) for a in arrays), max(float(a.max()) for a in arrays)
    return (low, high) if low < high else (low - 0.5, high + 0.5)


def _around(arrays: Sequence[FloatArray]) -> tuple[float, float]:
    """The range of the data, rounded outwards to whole ticks."""
    low, high = _ends(arrays)
    step = _step(low, high, 4)
    return math.floor(low / step) * step, math.ceil(high / step) * step


def _step(low: float, high: float, count: int) -> float:
    """The 1, 2 or 5 times a power of ten that cuts the range into about ``count`` parts."""
    rough = (high - low) / count
    unit = 10.0 ** math.floor(math.log10(rough))
    return unit * next(factor for factor in (1, 2, 5, 10) if rough <= factor * unit * 1.000001)


def _ticks(low: float, high: float, count: int) -> list[float]:
    step = _step(low, high, count)
    first, last = math.ceil(low / step - 1e-6), math.floor(high / step + 1e-6)
    return [number * step for number in range(first, last + 1)]


def _written(tick: float, ticks: Sequence[float]) -> str:
    """The tick with as many decimals as tell it from its neighbours."""
    step = ticks[1] - ticks[0] if len(ticks) > 1 else 1.0
    decimals = max(0, -math.floor(math.log10(step) + 1e-6))
    return f"{tick:,.{decimals}f}" if decimals <= 6 else f"{tick:.2g}"


def _draw_frame(
    picture: Image.Image,
    axes: _Axes,
    words: tuple[str, str, str],
    y_ticks: Sequence[tuple[float, str]],
    marks: Sequence[float],
) -> None:
    draw = ImageDraw.Draw(picture)
    left, top, right, bottom = axes.box
    title, x_label, y_label = words
    for row, (words_of_row, ink) in enumerate(pair for pair in ((title, _INK), (y_label, _QUIET)) if pair[0]):
        text, font = fitted(words_of_row, _LETTERS, picture.width - 16)
        draw.text((8, 4 + 18 * row), text, font=font, fill=ink)
    for tick, written in y_ticks:
        height = round(axes.down(tick))
        draw.line((left, height, right, height), fill=_GRID)
        text, font = fitted(written, _LETTERS, left)
        draw.text((left - 6, height), text, font=font, fill=_QUIET, anchor="rm")
    x_ticks = _ticks(*axes.x, max(2, (right - left) // 80))
    for tick in x_ticks:
        place = round(axes.across(tick))
        draw.line((place, bottom, place, bottom + 4), fill=_QUIET)
        text, font = fitted(_written(tick, x_ticks), _LETTERS, 80)
        draw.text((place, bottom + 6), text, font=font, fill=_QUIET, anchor="ma")
    for mark in marks:
        if axes.x[0] <= mark <= axes.x[1]:
            draw.line((round(axes.across(mark)), top, round(axes.across(mark)), bottom), fill=_GRID)
    draw.line((left, bottom, right, bottom), fill=_QUIET)
    if x_label:
        text, font = fitted(x_label, _LETTERS, right - left)
        draw.text(((left + right) / 2, picture.height - 4), text, font=font, fill=_QUIET, anchor="md")


def _draw_curves(picture: Image.Image, axes: _Axes, curves: Sequence[Curve], colours: Sequence[Colour]) -> None:
    left, top, right, bottom = axes.box
    area = (left, top - 2, right + 2, bottom + 2)
    fine = picture.crop(area).resize((_FINE * (area[2] - left), _FINE * (area[3] - area[1])), Image.Resampling.NEAREST)

    def placed(x: FloatArray, y: FloatArray) -> list[tuple[float, float]]:
        return [
            (_FINE * (axes.across(float(a)) - left), _FINE * (axes.down(float(b)) - area[1]))
            for a, b in zip(x, y, strict=True)
        ]

    for curve, colour in zip(curves, colours, strict=True):
        if curve.low is not None and curve.high is not None and len(curve.x) > 1:
            edge = placed(curve.x, curve.low) + placed(curve.x, curve.high)[::-1]
            shade = Image.new("L", fine.size, 0)
            ImageDraw.Draw(shade).polygon(edge, fill=48)
            fine.paste(colour, mask=shade)
    draw = ImageDraw.Draw(fine)
    for curve, colour in zip(curves, colours, strict=True):
        points = placed(curve.x, curve.y)
        if len(points) == 1:
            (x, y), radius = points[0], 2 * _FINE
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
        for piece in _dashes(points) if curve.dashed else [points]:
            draw.line(piece, fill=colour, width=2 * _FINE, joint="curve")
    picture.paste(fine.resize((area[2] - left, area[3] - area[1]), Image.Resampling.LANCZOS), area[:2])


def _dashes(points: Sequence[tuple[float, float]]) -> list[list[tuple[float, float]]]:
    """The line cut into dashes of equal length, however its points are spaced."""
    dash = 5.0 * _FINE
    corners = np.array(points)
    along = np.concatenate(([0.0], np.cumsum(np.hypot(*np.diff(corners, axis=0).T))))
    pieces = []
    for start in np.arange(0.0, along[-1], 2 * dash):
        stop = min(start + dash, along[-1])
        inside = corners[(along > start) & (along < stop)]
        ends = [
            (float(np.interp(at, along, corners[:, 0])), float(np.interp(at, along, corners[:, 1])))
            for at in (start, stop)
        ]
        pieces.append([ends[0], *((float(x), float(y)) for x, y in inside), ends[1]])
    return pieces


def _draw_legend(
    picture: Image.Image, axes: _Axes, curves: Sequence[Curve], colours: Sequence[Colour], width: int
) -> None:
    draw = ImageDraw.Draw(picture)
    left, spacing = axes.box[2] + 12, min(20, max(13, (axes.box[3] - axes.box[1]) // len(curves)))
    for row, (curve, colour) in enumerate(zip(curves, colours, strict=True)):
        middle = axes.box[1] + 6 + row * spacing
        for start in (0, 10) if curve.dashed else (0,):
            draw.line((left + start, middle, left + start + (6 if curve.dashed else 16), middle), fill=colour, width=2)
        text, font = fitted(curve.label, _LETTERS, width - 22)
        draw.text((left + 22, middle), text, font=font, fill=_INK, anchor="lm")
