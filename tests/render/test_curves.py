"""Line plots: curves where their numbers are, readable whatever they are called, and sizes that fit together."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from gradattn_core.errors import InterpretError
from gradattn_core.records import FloatArray
from gradattn_core.render.curves import CYCLE, Curve, line_plot
from tests.render.test_overlays import HOSTILE_NAMES

RED = (255, 0, 0)
PLOTTED = 428  # left of it are the axes of a plot whose only curve is called "a", right of it the legend


def numbers(*values: float) -> FloatArray:
    return np.array(values, dtype=np.float32)


def plot(*curves: Curve, **options: Any) -> Image.Image:
    return line_plot(curves, **{"x_label": "steps", "y_label": "logit", **options})


def near(picture: Image.Image, colour: tuple[int, ...], tolerance: int = 60) -> NDArray[np.bool_]:
    """[height, width] whether a pixel is about that colour."""
    difference = np.abs(np.asarray(picture).astype(int) - np.array(colour)).max(axis=2)
    within: NDArray[np.bool_] = difference < tolerance
    return within


def columns(picture: Image.Image) -> NDArray[np.bool_]:
    """[width] whether anything red is in that column."""
    return np.asarray(near(picture, RED).any(axis=0))


def test_a_curve_passes_through_its_numbers() -> None:
    # The axes' ends are seen from the curve itself: it runs from corner to corner of the plotted area.
    diagonal = plot(Curve("a", numbers(0, 10), numbers(0, 1), colour=RED), x_range=(0, 10), y_range=(0, 1))
    mask = near(diagonal, RED)
    mask[:, PLOTTED:] = False  # its line in the legend
    ys, xs = np.nonzero(mask)
    left, right, top, bottom = xs.min(), xs.max(), ys.min(), ys.max()
    quarter = plot(
        Curve("a", numbers(0, 5, 10), numbers(0.25, 0.75, 0.25), colour=RED), x_range=(0, 10), y_range=(0, 1)
    )
    mask = near(quarter, RED)
    for share, value in ((0.0, 0.25), (0.5, 0.75), (0.25, 0.5), (0.75, 0.5)):
        column = round(left + 2 + share * (right - left - 4))
        row = float(np.flatnonzero(mask[:, column]).mean())
        assert row == pytest.approx(bottom - value * (bottom - top), abs=4), (share, value)


def test_the_axis_goes_beyond_the_data_to_whole_ticks() -> None:
    picture = plot(Curve("a", numbers(0, 1), numbers(-13.1, 18.2), colour=RED))
    assert near(picture, RED).any()
    inside = np.nonzero(near(picture, RED)[:, :PLOTTED])[0]
    assert inside.min() > 30 and inside.max() < 300 - 45, "neither end touches the frame"


def test_every_curve_has_its_own_colour_and_a_band_is_lighter_than_its_line() -> None:
    x = numbers(0, 1, 2)
    picture = plot(
        Curve("one", x, numbers(3, 3, 3), low=numbers(2, 2, 2), high=numbers(4, 4, 4)),
        Curve("two", x, numbers(1, 1, 1)),
    )
    for colour in CYCLE[:2]:
        assert near(picture, colour, 20).any()
    assert not near(picture, CYCLE[2], 20).any()
    band = tuple(round(255 + (channel - 255) * 48 / 255) for channel in CYCLE[0])
    assert near(picture, band, 6).sum() > 20 * near(picture, CYCLE[0], 20).sum() / 10


def test_a_dashed_curve_has_gaps_of_equal_length_however_its_points_are_spaced() -> None:
    dense = numbers(*np.linspace(0, 10, 300))
    for x in (dense, numbers(0, 10)):
        picture = plot(Curve("a", x, np.full_like(x, 5), colour=RED, dashed=True), y_range=(0, 10), x_range=(0, 10))
        row = columns(picture)[30:330]
        runs = np.diff(np.flatnonzero(np.diff(row.astype(int))))
        assert len(runs) > 20 and runs.max() <= 9
    solid = plot(Curve("a", dense, np.full_like(dense, 5), colour=RED), y_range=(0, 10), x_range=(0, 10))
    assert columns(solid)[40:320].all()


def test_one_point_is_a_dot_and_a_constant_is_drawn() -> None:
    assert near(plot(Curve("a", numbers(3), numbers(2), colour=RED)), RED)[:, :PLOTTED].sum() > 9
    assert near(plot(Curve("a", numbers(1, 2), numbers(0, 0), colour=RED)), RED)[:, :PLOTTED].any()


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_the_size_does_not_depend_on_the_names(name: str) -> None:
    curve = Curve(name, numbers(0, 1), numbers(0, 1))
    assert plot(curve, title=name, x_label=name, y_label=name, size=(300, 200)).size == (300, 200)


@pytest.mark.parametrize(("low", "high"), [(0, 1e-7), (1e6, 1e6 + 1), (-1e9, 1e9), (0.1, 0.7)])
def test_any_range_can_be_drawn(low: float, high: float) -> None:
    curve = Curve("a", np.array([0, 1]), np.array([low, high]), colour=RED)
    assert near(plot(curve), RED)[:, :PLOTTED].any()


def test_marks_are_drawn_at_their_place_and_only_inside() -> None:
    curve = Curve("a", numbers(0, 4), numbers(0, 1), colour=RED)
    plain, marked = plot(curve), plot(curve, marks=[2.0, 9.0])
    changed = np.unique(np.nonzero((np.asarray(plain) != np.asarray(marked)).any(axis=2))[1])
    across = np.flatnonzero(columns(plain)[:PLOTTED])
    assert changed.mean() == pytest.approx((across.min() + across.max()) / 2, abs=4)
    assert np.ptp(changed) <= 4


BAD: dict[str, tuple[list[Curve], dict[str, Any], str]] = {
    "none": ([], {}, "curves: 0 given"),
    "lengths": ([Curve("a", numbers(1, 2), numbers(1))], {}, "curve 'a': x, y and its band"),
    "empty": ([Curve("a", numbers(), numbers())], {}, "curve 'a': x, y and its band"),
    "nan": ([Curve("a", numbers(1), numbers(np.nan))], {}, "curve 'a': holds NaN"),
    "half a band": ([Curve("a", numbers(1), numbers(1), low=numbers(0))], {}, "curve 'a': its band needs both"),
    "small": ([Curve("a", numbers(1), numbers(1))], {"size": (100, 100)}, "size .*: a plot needs at least 240 x 140"),
    "range": ([Curve("a", numbers(1), numbers(1))], {"y_range": (1.0, 1.0)}, "y_range .*: give .low, high."),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_drawn_is_named(case: str) -> None:
    curves, options, message = BAD[case]
    with pytest.raises(InterpretError, match=message):
        plot(*curves, **options)
