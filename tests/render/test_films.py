"""Film strips and rewriting panels: every map in its own place, warnings and hostile names included."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageColor

from gradattn_core.records import Box
from gradattn_core.render.figures import Style
from gradattn_core.render.films import Answer, Frame, amplified_difference, rewrite_figure, transfer_figure
from gradattn_core.render.layout import INKS, Paper
from gradattn_core.render.overlays import overlay, unsigned_colour
from gradattn_core.render.plots import Line
from tests.helpers.drawings import noise, one_hot, places, tinted
from tests.helpers.hostile import HOSTILE_NAMES

pytestmark = pytest.mark.filterwarnings("error")  # matplotlib warns of what it cannot draw

STEPS = np.arange(3, dtype=np.float32)
LOGITS = [Line("zebra", STEPS, np.array([3, 2, 1], np.float32))]
CHANCES = [Line("zebra", STEPS, np.array([0.9, 0.5, 0.1], np.float32))]
COURSE = [*LOGITS, Line("elephant", STEPS, np.array([1, 2, 3], np.float32))]
SIDE = 100
STYLE = Style(side=SIDE, smooth=False)


def frame(step: int, row: int, column: int, leader: str = "zebra") -> Frame:
    return Frame(step, 3.0 - step, one_hot(row, column), leader, 0.5, one_hot(row, column, -1.0))


def strip(
    frames: list[Frame], image: Image.Image, crop: Box, *, style: Style = STYLE, target: str = "zebra"
) -> Image.Image:
    return transfer_figure(image, crop, frames, LOGITS, CHANCES, target=target, style=style)


@pytest.mark.parametrize("paper", list(INKS))
def test_each_frame_shows_its_own_map_in_the_part_that_the_model_sees(paper: Paper) -> None:
    # The crop is the right half; the hot patch of frame i is in column i of its 5 columns.
    image, seen = noise(200, 100), Box(0, 0, 100, 100)
    frames = [frame(i, 1, i) for i in range(3)]
    figure = strip(frames, image, Box(100, 0, 200, 100), style=replace(STYLE, paper=paper))
    assert figure.getpixel((0, 0)) == ImageColor.getrgb(INKS[paper].paper)
    followed, leading = [], []
    for number, shown in enumerate(frames):
        maps = [
            overlay(image.crop((100, 0, 200, 100)), scores, seen, opacity=STYLE.opacity, smooth=False)
            for scores in (shown.scores, shown.leading_scores)
        ]
        rows, columns = np.nonzero(tinted(maps[0]))
        assert (columns.min(), columns.max() + 1) == (number * 20, number * 20 + 20)
        assert (rows.min(), rows.max() + 1) == (25, 50)
        followed.extend(places(figure, maps[0]))
        leading.extend(places(figure, maps[1]))
    for places_of_row in (followed, leading):
        assert len(places_of_row) == 3 == len({left for _, left in places_of_row})
        assert places_of_row == sorted(places_of_row) and len({top for top, _ in places_of_row}) == 1
    assert followed[0][0] + SIDE < leading[0][0]


def test_maps_without_a_sign_are_drawn_in_a_colour_of_their_own() -> None:
    unsigned = replace(STYLE, unsigned=True, opacity=1.0)
    shown = replace(frame(0, 1, 1), leading_scores=one_hot(2, 2))
    figure = np.asarray(strip([shown], noise(40, 40), Box(0, 0, 40, 40), style=unsigned))
    own = (figure == unsigned_colour("red-blue")).all(-1)
    assert own.sum() >= 2 * (SIDE // 4) * (SIDE // 5)


def test_a_strip_is_as_large_whatever_the_names_are() -> None:
    plain = strip([frame(0, 0, 0)], noise(40, 40), Box(0, 0, 40, 40))
    for name in HOSTILE_NAMES:
        other = strip([frame(0, 0, 0, name)], noise(40, 40), Box(0, 0, 40, 40), target=name)
        assert other.size == plain.size
    beyond = strip([frame(0, 0, 0)], noise(40, 40), Box(-10, -10, 50, 50))
    assert beyond.size == plain.size, "a crop may reach beyond the picture"


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


@pytest.mark.parametrize("paper", list(INKS))
def test_a_rewriting_shows_both_pictures_and_both_maps(paper: Paper) -> None:
    before = Answer(noise(50, 50), one_hot(0, 0, shape=(2, 2)), "zebra 90 %")
    after = Answer(before.image.rotate(90), one_hot(1, 1, -1.0, shape=(2, 2)), "elephant 90 %")
    style = replace(STYLE, paper=paper)
    figure = rewrite_figure(before, after, COURSE, target="zebra", against="elephant", style=style)
    colours = np.asarray(figure).reshape(-1, 3)
    for ink in (INKS[paper].paper, INKS[paper].red, INKS[paper].blue):
        assert (colours == ImageColor.getrgb(ink)).all(-1).sum() > 50, "the course is drawn in the maps' colours"
    size, found = (SIDE, SIDE), []
    for answer in (before, after):
        mapped = overlay(answer.image, answer.scores, Box(0, 0, 50, 50), opacity=0.8, smooth=False, size=size)
        found.append(places(figure, answer.image.resize(size, Image.Resampling.LANCZOS)) + places(figure, mapped))
    [(first, left), (below, under)], [(second, right), (beside, last)] = found
    assert first == second < below == beside and left == under < right == last
    difference = amplified_difference(before.image, after.image)[0].resize(size, Image.Resampling.NEAREST)
    [(third, farthest)] = places(figure, difference)
    assert third == first and farthest > right
    for name in HOSTILE_NAMES:
        other = rewrite_figure(replace(before, caption=name), after, COURSE, target=name, against=name, style=STYLE)
        assert other.size == figure.size
