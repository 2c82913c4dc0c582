"""Figures of several maps: which colour stands where, whatever the names are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from gradattn_core.errors import InterpretError
from gradattn_core.records import Box, FloatArray
from gradattn_core.render.figures import colour_bar, strength_bar
from gradattn_core.render.overlays import PALETTES, Palette, overlay
from gradattn_core.render.panels import Panel, Style, corrections_figure, detail_figure, guide_figure, panel_figure

SIDE = 120
STYLE = Style(side=SIDE, smooth=False, opacity=1.0)
PICTURE, WHOLE = Image.new("RGB", (40, 40), (90, 90, 90)), Box(0, 0, 40, 40)


def hot(row: int, column: int, value: float = 1.0) -> FloatArray:
    scores = np.zeros((4, 4), np.float32)
    scores[row, column] = value
    return scores


def places(figure: Image.Image, colour: tuple[int, int, int]) -> list[tuple[int, int]]:
    """(row, column) of the grid cells whose picture holds a patch-sized area of the colour; bars are too thin."""
    pixels = np.asarray(figure).astype(int)
    rows, columns = np.nonzero((np.abs(pixels - colour) <= 1).all(-1))
    cells: dict[tuple[int, int], int] = {}
    for y, x in zip(rows.tolist(), columns.tolist(), strict=True):
        cell = (y * 2 // figure.height, (x - 12) // (SIDE + 10))
        cells[cell] = cells.get(cell, 0) + 1
    return sorted(cell for cell, count in cells.items() if count >= (SIDE // 4) ** 2)


@pytest.mark.parametrize("palette", list(PALETTES))
def test_in_detail_the_row_is_the_first_colour_and_the_column_the_second(palette: Palette) -> None:
    style = Style(side=SIDE, smooth=False, opacity=1.0, palette=palette)
    scores = np.zeros((2, 2, 4, 4), np.float32)
    scores[0, 1] = hot(1, 1)
    scores[1, 0] = hot(1, 1, -1.0)
    figure = detail_figure(PICTURE, WHOLE, ["snail", "conch"], [0.7, 0.2], scores, style=style)
    first, second = PALETTES[palette]
    assert places(figure, first) == [(0, 1)]
    assert places(figure, second) == [(1, 0)]


def test_a_map_without_sign_is_drawn_in_neither_class_colour() -> None:
    maps = {"complete": hot(0, 0), "absolute": hot(0, 0)}
    for palette, ends in PALETTES.items():
        style = Style(side=SIDE, smooth=False, opacity=1.0, palette=palette)
        figure = corrections_figure(PICTURE, WHOLE, maps, ("a", "b"), style=style)
        bar = np.asarray(strength_bar("matters most", width=SIDE, palette=palette))
        red, green, blue = (int(channel) for channel in bar[5, 0])
        unsigned = (red, green, blue)
        assert unsigned not in ends
        assert (0, 2) in places(figure, unsigned) and (0, 1) not in places(figure, unsigned)
        assert (0, 1) in places(figure, ends[0]) and (0, 2) not in places(figure, ends[0])
        assert (bar[5, -1] > 250).all()
    with pytest.raises(InterpretError, match="negative"):
        overlay(PICTURE, hot(0, 0, -1.0), WHOLE, unsigned=True)


def test_a_guided_map_stands_at_its_place_in_the_original_and_joined_maps_in_their_pictures() -> None:
    half = (hot(0, 0), Box(0, 20, 40, 40))  # the guided map covers the lower half only
    figure = guide_figure(PICTURE, (np.zeros((4, 4), np.float32), WHOLE), half, [], "a", style=STYLE)
    left = 12 + 2 * (SIDE + 10)
    cell = np.asarray(figure)[:, left : left + SIDE].astype(int)
    rows, columns = np.nonzero((np.abs(cell - PALETTES["red-blue"][0]) <= 1).all(-1))
    # A bar ends in a pixel or two of the full colour; a patch is 30 pixels wide.
    top = 12 + 21 + SIDE // 2
    assert (rows[0], columns[columns < 35].max() + 1) == (top, SIDE // 4)
    joined = [(PICTURE, hot(3, 3, -1.0), name) for name in ("b", "c", "d")]
    taller = guide_figure(PICTURE, (hot(0, 0), WHOLE), half, joined, "a", style=STYLE)
    assert taller.height > 2 * figure.height and taller.width == 4 * SIDE + 3 * 10 + 2 * 12


def test_a_long_name_on_a_bar_takes_the_room_that_a_short_one_leaves() -> None:
    long = "an African elephant bull with long tusks"
    ends = []
    for other in ("b", "b" * 200):
        letters = np.asarray(colour_bar(long, other, width=260))[16:].astype(int)
        ends.append(int(np.nonzero((letters[..., 0] - letters[..., 2]).max(0) > 60)[0].max()))
    assert 110 < ends[1] <= 130 < 200 < ends[0]


def test_names_never_change_the_size_of_a_figure() -> None:
    scores = np.zeros((2, 2, 4, 4), np.float32)
    scores[0, 1] = hot(0, 0)
    sizes = {
        detail_figure(PICTURE, WHOLE, [name, "b"], [0.5, 0.4], scores, style=STYLE, lines=[name]).size
        for name in ("a", "", "<b>x</b>\n", "アフリカ象" * 50, "\x1b[2J")
    }
    assert len(sizes) == 1


def test_pictures_of_any_shape_share_a_row() -> None:
    tall, wide = Image.new("RGB", (30, SIDE), "red"), Image.new("RGB", (SIDE, 10), "blue")
    figure = panel_figure([[Panel(tall, above="x"), Panel(wide)]], side=SIDE)
    assert figure.width == 2 * SIDE + 10 + 24 and figure.height >= SIDE


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: panel_figure([], side=SIDE), "at least one panel"),
        (lambda: detail_figure(PICTURE, WHOLE, ["a"], [1.0], np.zeros((2, 2, 4, 4), np.float32)), "1 names need maps"),
        (lambda: detail_figure(PICTURE, WHOLE, ["a", "b"], [1.0], np.zeros((2, 2, 4, 4), np.float32)), "2 names"),
    ],
)
def test_figures_that_cannot_be_made_are_named(call: Any, message: str) -> None:
    with pytest.raises(InterpretError, match=message):
        call()
