"""Line plots: lines where their numbers are, readable whatever they are called, and sizes that fit together."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageColor

from gradattn_core.records import FloatArray
from gradattn_core.render.layout import INKS, Paper, drawn
from gradattn_core.render.plots import Line, Plot, charts, plot_figure
from tests.helpers.hostile import HOSTILE_NAMES

pytestmark = pytest.mark.filterwarnings("error")  # matplotlib warns of what it cannot draw

RED = "#ff0000"
CYCLE = INKS["light"].lines
SIZE = (400, 300)
_LEGEND = 24


def numbers(*values: float) -> FloatArray:
    return np.array(values, dtype=np.float32)


def plot(*lines: Line, **options: Any) -> Image.Image:
    """The axes with their labels, without a margin or the legend below."""
    block = charts([Plot(lines, **{"x_label": "steps", "y_label": "logit", **options})], SIZE[0], SIZE[1] + _LEGEND)
    return drawn(block, margin=0).crop((0, 0, *SIZE))


def near(picture: Image.Image, colour: str, tolerance: int = 60) -> NDArray[np.bool_]:
    """[height, width] whether a pixel is about that colour."""
    difference = np.abs(np.asarray(picture).astype(int) - ImageColor.getrgb(colour)).max(axis=2)
    within: NDArray[np.bool_] = difference < tolerance
    return within


def columns(picture: Image.Image) -> NDArray[np.bool_]:
    """[width] whether anything red is in that column."""
    return np.asarray(near(picture, RED).any(axis=0))


def test_a_line_passes_through_its_numbers() -> None:
    # The axes' ends are seen from the line itself: it runs from corner to corner of the plotted area.
    ys, xs = np.nonzero(near(plot(Line("a", numbers(0, 10), numbers(0, 1), colour=RED), y_range=(0, 1)), RED))
    left, right, top, bottom = xs.min(), xs.max(), ys.min(), ys.max()
    mask = near(plot(Line("a", numbers(0, 5, 10), numbers(0.25, 0.75, 0.25), colour=RED), y_range=(0, 1)), RED)
    for share, value in ((0.0, 0.25), (0.5, 0.75), (0.25, 0.5), (0.75, 0.5)):
        column = round(left + 2 + share * (right - left - 4))
        row = float(np.flatnonzero(mask[:, column]).mean())
        assert row == pytest.approx(bottom - value * (bottom - top), abs=3), (share, value)


def test_the_axis_goes_beyond_the_data_to_whole_ticks() -> None:
    rows = np.nonzero(near(plot(Line("a", numbers(0, 1), numbers(-13.1, 18.2), colour=RED)), RED))[0]
    assert rows.min() > 30 and rows.max() < 300 - 45, "neither end touches the frame"


def test_every_line_has_its_own_colour_and_a_band_is_lighter_than_its_line() -> None:
    x = numbers(0, 1, 2)
    picture = plot(
        Line("one", x, numbers(3, 3, 3), low=numbers(2, 2, 2), high=numbers(4, 4, 4)), Line("two", x, numbers(1, 1, 1))
    )
    for colour in CYCLE[:2]:
        assert near(picture, colour, 20).any()
    assert not near(picture, CYCLE[2], 20).any()
    pixels, between = np.asarray(picture).astype(int), np.array(ImageColor.getrgb(CYCLE[0])) - 255
    shares = (pixels - 255) @ between / (between @ between)
    band = (np.abs(pixels - (255 + shares[..., None] * between)).max(-1) < 4) & (shares > 0.1) & (shares < 0.3)
    assert band.sum() > 2 * near(picture, CYCLE[0], 20).sum()


def test_a_dashed_line_has_gaps_of_equal_length_however_its_points_are_spaced() -> None:
    dense = numbers(*np.linspace(0, 10, 300))
    for x in (dense, numbers(0, 10)):
        picture = plot(Line("a", x, np.full_like(x, 5), colour=RED, dashed=True), y_range=(0, 10))
        runs = np.diff(np.flatnonzero(np.diff(columns(picture)[30:330].astype(int))))
        assert len(runs) > 20 and runs.max() <= 9
    solid = plot(Line("a", dense, np.full_like(dense, 5), colour=RED), y_range=(0, 10))
    assert columns(solid)[40:320].all()


def test_a_line_along_the_end_of_the_range_is_as_thick_as_any_other() -> None:
    thickness = []
    for value in (0.0, 0.6, 1.0):
        mask = near(plot(Line("a", numbers(0, 1), numbers(value, value), colour=RED), y_range=(0, 1)), RED, 200)
        thickness.append(int(mask[:, 200].sum()))
    assert min(thickness) >= 2 and max(thickness) - min(thickness) <= 1


def test_one_point_is_a_dot_and_a_constant_is_drawn() -> None:
    assert near(plot(Line("a", numbers(3), numbers(2), colour=RED)), RED).sum() > 9
    assert near(plot(Line("a", numbers(1, 2), numbers(0, 0), colour=RED)), RED).any()


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_the_size_does_not_depend_on_the_names(name: str) -> None:
    def figure(text: str) -> Image.Image:
        lines = [Line(text, numbers(0, 1), numbers(0, 1)), Line("other", numbers(0, 1), numbers(1, 0))]
        return plot_figure([Plot(lines, x_label=text, y_label=text)] * 2)

    assert figure(name).size == figure("a").size


@pytest.mark.parametrize("paper", list(INKS))
def test_the_legend_names_each_line_once_below_all_plots_without_covering_them(paper: Paper) -> None:
    lines = [Line(f"line {number}", numbers(0, 1), numbers(0, number), dashed=number == 1) for number in range(12)]
    figure = plot_figure([Plot(lines, x_label="steps", y_label="logit")] * 2, paper)
    written = (np.abs(np.asarray(figure).astype(int) - figure.getpixel((0, 0))).max(-1) > 40).any(1)
    ends = np.flatnonzero(np.diff(written.astype(int)))
    legend_rows, x_label = ends[-4:], ends[-6:-4]  # two rows of names, below one row of "steps"
    assert legend_rows[0] - x_label[1] > 4 and np.ptp(x_label) < 15
    below = figure.crop((0, int(legend_rows[0]), figure.width, figure.height))
    for colour in INKS[paper].lines:
        assert near(below, colour, 20).any()


@pytest.mark.parametrize(("low", "high"), [(0, 1e-7), (1e6, 1e6 + 1), (-1e9, 1e9), (0.1, 0.7)])
def test_any_range_can_be_drawn(low: float, high: float) -> None:
    picture = plot(Line("a", np.array([0, 1]), np.array([low, high]), colour=RED))
    assert near(picture, RED).any()
    assert (np.asarray(picture)[:, 0] == 255).all(), "its numbers fit beside the axis"


def test_marks_are_drawn_at_their_place_and_only_inside() -> None:
    line = Line("a", numbers(0, 4), numbers(0, 1), colour=RED)
    plain, marked = plot(line), plot(line, marks=[2.0, 9.0])
    changed = np.unique(np.nonzero((np.asarray(plain) != np.asarray(marked)).any(axis=2))[1])
    across = np.flatnonzero(columns(plain))
    assert changed.mean() == pytest.approx((across.min() + across.max()) / 2, abs=4)
    assert np.ptp(changed) <= 4
