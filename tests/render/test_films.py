"""Film strips and rewriting panels: every map in its own place, warnings and hostile names included."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from gradattn_core.errors import InterpretError
from gradattn_core.records import Box
from gradattn_core.render.curves import Curve
from gradattn_core.render.films import Answered, Frame, amplified_difference, rewrite_figure, transfer_figure
from gradattn_core.render.panels import Style
from tests.render.test_overlays import HOSTILE_NAMES, noise, one_hot, tinted

STEPS = np.arange(3, dtype=np.float32)
CURVES = [Curve("zebra", STEPS, np.array([3, 2, 1], np.float32))]
CHANCES = [Curve("zebra", STEPS, np.array([0.9, 0.5, 0.1], np.float32))]
SIDE, MARGIN, GAP, LINE = 100, 12, 8, 20
STYLE = Style(side=SIDE, smooth=False)


def frame(step: int, row: int, column: int, leader: str = "zebra") -> Frame:
    return Frame(step, 3.0 - step, one_hot(row, column), leader, 0.5, one_hot(row, column, -1.0))


def strip(frames: list[Frame], image: Image.Image, crop: Box, **options: str) -> Image.Image:
    return transfer_figure(image, crop, frames, CURVES, CHANCES, target=options.get("target", "zebra"), style=STYLE)


def test_each_frame_shows_its_own_map_in_the_part_that_the_model_sees() -> None:
    # The crop is the right half; the hot patch of frame i is in column i of its 5 columns.
    figure = strip([frame(i, 1, i) for i in range(3)], Image.new("RGB", (200, 100), "white"), Box(100, 0, 200, 100))
    top = MARGIN + LINE + GAP
    for number in range(3):
        left = MARGIN + number * (SIDE + GAP)
        rows, columns = np.nonzero(tinted(figure.crop((left, top, left + SIDE, top + SIDE))))
        assert (columns.min(), columns.max() + 1) == (number * 20, number * 20 + 20)
        assert (rows.min(), rows.max() + 1) == (25, 50)


def test_a_strip_is_as_large_whatever_the_names_are() -> None:
    plain = strip([frame(0, 0, 0)], noise(40, 40), Box(0, 0, 40, 40))
    for name in HOSTILE_NAMES:
        other = strip([frame(0, 0, 0, name)], noise(40, 40), Box(0, 0, 40, 40), target=name)
        assert other.size == plain.size
    beyond = strip([frame(0, 0, 0)], noise(40, 40), Box(-10, -10, 50, 50))
    assert beyond.size == plain.size, "a crop may reach beyond the picture"


def test_too_many_frames_are_refused() -> None:
    with pytest.raises(InterpretError, match="frames: 13 given"):
        strip([frame(i, 0, 0) for i in range(13)], noise(40, 40), Box(0, 0, 40, 40))


def test_the_difference_is_enlarged_around_grey() -> None:
    before = np.full((4, 4, 3), 100, np.uint8)
    after = before.copy()
    after[0, 0], after[1, 1, 2] = 104, 98
    shown, gain = amplified_difference(Image.fromarray(before), Image.fromarray(after))
    pixels = np.asarray(shown)
    assert gain == pytest.approx(127 / 4)
    assert pixels[0, 0].tolist() == [255, 255, 255]
    assert pixels[1, 1].tolist() == [128, 128, 64]
    assert pixels[3, 3].tolist() == [128, 128, 128]
    same, gain = amplified_difference(Image.fromarray(before), Image.fromarray(before))
    assert gain == 1.0 and (np.asarray(same) == 128).all()


def test_a_rewriting_shows_both_pictures_and_both_maps() -> None:
    white, black = Image.new("RGB", (50, 50), "white"), Image.new("RGB", (50, 50), "black")
    before = Answered(white, one_hot(0, 0, shape=(2, 2)), "zebra 90 %")
    after = Answered(black, one_hot(1, 1, -1.0, shape=(2, 2)), "elephant 90 %")
    figure = rewrite_figure(before, after, CURVES, target="zebra", against="elephant", style=STYLE)
    pixels = np.asarray(figure).astype(int)
    second = MARGIN + SIDE + GAP
    assert (pixels[MARGIN : MARGIN + SIDE, MARGIN : MARGIN + SIDE] == 255).all()
    assert (pixels[MARGIN : MARGIN + SIDE, second : second + SIDE] == 0).all()
    top = MARGIN + SIDE + LINE + GAP
    for left, rows, columns in ((MARGIN, (0, 50), (0, 50)), (second, (50, 100), (50, 100))):
        found = np.nonzero(tinted(figure.crop((left, top, left + SIDE, top + SIDE))))
        assert (found[0].min(), found[0].max() + 1) == rows
        assert (found[1].min(), found[1].max() + 1) == columns
    for name in HOSTILE_NAMES:
        other = rewrite_figure(replace(before, caption=name), after, CURVES, target=name, against=name, style=STYLE)
        assert other.size == figure.size


def test_two_pictures_of_different_size_are_refused() -> None:
    answered = Answered(noise(50, 50), one_hot(0, 0), "")
    with pytest.raises(InterpretError, match="after: a picture of"):
        rewrite_figure(answered, replace(answered, image=noise(50, 51)), CURVES, target="a", against="b")
