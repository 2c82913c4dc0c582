"""Figures of maps: which map stands where, in which colour, whatever the names are."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageColor

from gradattn_core.errors import InterpretError
from gradattn_core.reasons import account_of
from gradattn_core.records import Box, Evidence, FloatArray, MapStatistics, Region
from gradattn_core.render.figures import (
    MethodMap,
    Style,
    contact_sheet,
    corrections_figure,
    detail_figure,
    evidence_figure,
    guide_figure,
    methods_figure,
)
from gradattn_core.render.layout import GAP, INKS, MARGIN, drawn
from gradattn_core.render.overlays import PALETTES, Palette, display_size, overlay, unsigned_colour
from gradattn_core.render.waterfall import waterfall
from gradattn_core.sums import Sums
from tests.helpers.drawings import noise, one_hot, places, tinted
from tests.helpers.hostile import HOSTILE_NAMES

pytestmark = pytest.mark.filterwarnings("error")  # matplotlib warns of what it cannot draw

SIDE = 120
STYLE = Style(side=SIDE, smooth=False, opacity=1.0)
PICTURE, WHOLE = noise(40, 40), Box(0, 0, 40, 40)
PLAIN = PICTURE.resize((SIDE, SIDE), Image.Resampling.LANCZOS)


def hot(row: int, column: int, value: float = 1.0) -> FloatArray:
    return one_hot(row, column, value, shape=(4, 4))


def shown(scores: FloatArray, crop: Box = WHOLE, image: Image.Image = PICTURE, **options: Any) -> Image.Image:
    return overlay(image, scores, crop, smooth=False, opacity=1.0, size=(SIDE, SIDE), **options)


def evidence(for_label: str = "kite", against_label: str = "bald eagle", crop: Box | None = None) -> Evidence:
    return Evidence(
        for_label=for_label,
        against_label=against_label,
        for_logit=1.0,
        against_logit=2.0,
        scores=one_hot(1, 2),
        crop=crop or Box(0, 0, 32, 32),
        objective="difference",
        correction="complete",
        statistics=MapStatistics(1.0, 0.0),
    )


def has(figure: Image.Image, colour: tuple[int, int, int]) -> bool:
    return bool((np.abs(np.asarray(figure).astype(int) - colour) <= 1).all(-1).any())


def test_evidence_stands_to_the_right_of_its_picture_pixel_by_pixel() -> None:
    picture, found = noise(32, 32), evidence()
    figure = evidence_figure(picture, found, style=Style(side=200))
    plain = picture.resize((200, 200), Image.Resampling.LANCZOS)
    mapped = overlay(picture, found.scores, found.crop, opacity=0.8, size=(200, 200))
    assert places(figure, plain) == [(MARGIN, MARGIN)]
    assert places(figure, mapped) == [(MARGIN, MARGIN + 200 + GAP)]


def test_a_map_that_adds_up_has_its_waterfall_below_and_one_that_does_not_has_none() -> None:
    picture, style = noise(32, 32), Style(side=200)
    plain = evidence_figure(picture, evidence(), style=style)
    sums = Sums(log_odds=-3.4, base=0.4, average=None, red=2.1, blue=-5.9)
    whole = evidence_figure(picture, replace(evidence(), sums=sums, correction="secant"), style=style)
    drawn_alone = drawn(waterfall(account_of(sums), ("kite", "bald eagle"), 2 * 200 + GAP), margin=0)
    assert whole.size == (plain.width, plain.height + GAP + drawn_alone.height)
    left = MARGIN, plain.height - MARGIN + GAP
    below = whole.crop((*left, left[0] + drawn_alone.width, left[1] + drawn_alone.height))
    # Text is anti-aliased to where it stands, by no more than a shade.
    assert np.abs(np.asarray(below).astype(int) - np.asarray(drawn_alone).astype(int)).max() <= 3


def test_only_a_region_that_does_the_opposite_of_its_number_is_hatched() -> None:
    def figure(measured: float | None) -> Image.Image:
        region = Region(1, 1, 1.0, 0.05, 1.0, Box(8, 0, 32, 32), log_odds=1.0, measured=measured)
        found = replace(evidence(), statistics=MapStatistics(1.0, 0.0, (region,)))
        return evidence_figure(Image.new("RGB", (32, 32), (90, 90, 90)), found, style=Style(side=200))

    unmeasured, agreeing, opposite = (figure(measured) for measured in (None, 0.5, -0.5))
    assert unmeasured.tobytes() == agreeing.tobytes()
    changed = (np.asarray(opposite) != np.asarray(agreeing)).any(-1)
    rows, columns = np.nonzero(changed)
    # The patch at row 1, column 2 of 4 x 5 on 200 pixels.
    left = MARGIN + 200 + GAP
    assert left + 80 <= columns.min() and columns.max() < left + 120
    assert rows.min() >= MARGIN + 50 and rows.max() < MARGIN + 100


def test_the_overlay_in_a_figure_shows_the_hot_patch_where_the_original_has_it() -> None:
    side = 320
    figure = evidence_figure(Image.new("RGB", (32, 32), "white"), evidence(), style=Style(side=side, smooth=False))
    left = MARGIN + side + GAP
    rows, columns = np.nonzero(tinted(figure.crop((left, MARGIN, left + side, MARGIN + side))))
    assert (columns.min(), columns.max() + 1) == (2 * side // 5, 3 * side // 5)
    assert (rows.min(), rows.max() + 1) == (side // 4, side // 2)


def test_figures_have_one_width_whatever_the_picture_and_the_names() -> None:
    plain = evidence_figure(noise(32, 32), evidence())
    for name in HOSTILE_NAMES:
        figure = evidence_figure(noise(32, 32), evidence(name, name))
        assert figure.size == plain.size
    tall = evidence_figure(noise(10, 90), evidence(crop=Box(0, 0, 10, 90)))
    assert tall.width == plain.width


def test_inputs_are_left_as_they_were() -> None:
    picture, found = noise(32, 32), evidence()
    before, scores_before = picture.tobytes(), found.scores.copy()
    found.scores.setflags(write=False)
    evidence_figure(picture, found)
    assert picture.tobytes() == before
    np.testing.assert_array_equal(found.scores, scores_before)


@pytest.mark.parametrize("palette", list(PALETTES))
def test_the_bar_runs_from_the_given_label_to_the_other_class(palette: Palette) -> None:
    bar = np.asarray(drawn(Style(opacity=1.0, palette=palette).bar("kite", "bald eagle", 300), margin=0))
    np.testing.assert_array_equal(bar[5, 0], PALETTES[palette][0])
    np.testing.assert_array_equal(bar[5, -1], PALETTES[palette][1])
    assert (bar[5, 149:151] > 250).all()
    for opacity in (1.0, 0.5):
        style = Style(palette=palette, unsigned=True, opacity=opacity)
        unsigned = np.asarray(drawn(style.bar("kite", None, 300), margin=0))
        np.testing.assert_allclose(unsigned[5, 0], 255 + opacity * (np.array(unsigned_colour(palette)) - 255.0), atol=1)
        assert (unsigned[5, -1] > 250).all()


def test_a_bar_says_what_its_colours_speak_for() -> None:
    def bar(target: str, against: str | None, **style: Any) -> bytes:
        return drawn(Style(**style).bar(target, against, 300)).tobytes()

    assert bar("kite", "owl") != bar("kite", None) != bar("owl", None)
    assert bar("kite", "owl", unsigned=True) == bar("a", None, unsigned=True), "a map without a sign speaks for nobody"


@pytest.mark.parametrize("palette", list(PALETTES))
def test_in_detail_the_row_is_the_first_colour_and_the_column_the_second(palette: Palette) -> None:
    scores = np.zeros((3, 3, 4, 4), np.float32)
    for i in range(3):
        for j in range(3):
            scores[i, j] = hot(i, j, 1.0 if i < j else -1.0)
    style = replace(STYLE, palette=palette)
    figure = detail_figure(PICTURE, WHOLE, ["snail", "conch", "slug"], [0.7, 0.2, 0.1], scores, style=style)
    corners = {
        (i, j): places(figure, shown(scores[i, j], palette=palette)) for i in range(3) for j in range(3) if i != j
    }
    assert all(len(found) == 1 for found in corners.values())
    tops = [{top for (i, _), [(top, _)] in corners.items() if i == number} for number in range(3)]
    lefts = [{left for (_, j), [(_, left)] in corners.items() if j == number} for number in range(3)]
    assert [len(values) for values in (*tops, *lefts)] == [1] * 6
    (first, second, third), across = (values.pop() for values in tops), [values.pop() for values in lefts]
    assert first < second < third and across == [MARGIN + n * (SIDE + GAP) for n in range(3)]
    assert places(figure, PLAIN) == list(zip((first, second, third), across, strict=True)), "the diagonal"


def test_a_map_without_sign_is_drawn_in_neither_class_colour() -> None:
    maps = {"absolute": hot(0, 0), "complete": hot(0, 1)}
    for palette, ends in PALETTES.items():
        style = replace(STYLE, palette=palette)
        figure = corrections_figure(PICTURE, WHOLE, maps, "a", "b", style=style)
        absolute, complete = (
            shown(maps["absolute"], unsigned=True, palette=palette),
            shown(maps["complete"], palette=palette),
        )
        [(_, first)], [(_, second)], [(_, third)] = (places(figure, part) for part in (PLAIN, complete, absolute))
        assert first < second < third
        assert unsigned_colour(palette) not in ends and has(absolute, unsigned_colour(palette))
        single = evidence_figure(PICTURE, replace(evidence(crop=WHOLE), correction="absolute"), style=style)
        assert not any(has(single, end) for end in ends)
    with pytest.raises(InterpretError, match="negative"):
        overlay(PICTURE, hot(0, 0, -1.0), WHOLE, unsigned=True)


def test_corrections_keep_their_order_with_the_one_without_sign_last() -> None:
    maps = {name: hot(0, n) for n, name in enumerate(("complete", "positive", "absolute", "centred"))}
    figure = corrections_figure(PICTURE, WHOLE, maps, "a", None, style=STYLE)
    order = [("complete", False), ("positive", False), ("centred", False), ("absolute", True)]
    lefts = [left for name, unsigned in order for _, left in places(figure, shown(maps[name], unsigned=unsigned))]
    assert len(lefts) == 4 and lefts == sorted(lefts)


def test_methods_stand_in_reading_order_and_those_without_sides_in_a_colour_of_their_own() -> None:
    maps = [MethodMap(f"method {n}", hot(n // 4, n % 4), has_sides=n not in (1, 4)) for n in range(7)]
    figure = methods_figure(PICTURE, WHOLE, maps, "a", "b", style=STYLE)
    found = [places(figure, shown(each.scores, unsigned=not each.has_sides)) for each in maps]
    assert [len(place) for place in found] == [1] * 7
    order = [place for [place] in [places(figure, PLAIN), *found]]
    assert order == sorted(order) and len({top for top, _ in order}) == 2
    assert len({left for _, left in order}) == 4
    without = methods_figure(PICTURE, WHOLE, [maps[1], maps[4]], "a", "b", style=STYLE)
    assert not any(has(without, end) for end in PALETTES["red-blue"])
    assert methods_figure(PICTURE, WHOLE, [MethodMap("none", 0 * hot(0, 0))], "a", None, style=STYLE).size > (0, 0)


def test_a_guided_map_stands_at_its_place_in_the_original_and_joined_maps_in_their_pictures() -> None:
    half = Box(0, 20, 40, 40)  # the guided map covers the lower half only
    joined = [(noise(40, 41 + n), hot(3, n, -1.0), name) for n, name in enumerate(("b", "c", "d"))]
    figure = guide_figure(PICTURE, (hot(1, 1), WHOLE), (hot(0, 0), half), joined, "a", style=STYLE)
    [plain], [alone], [guided] = (places(figure, part) for part in (PLAIN, shown(hot(1, 1)), shown(hot(0, 0), half)))
    assert plain < alone < guided and plain[0] == guided[0]
    pixels = np.nonzero(tinted(shown(hot(0, 0), half, Image.new("RGB", (40, 40)))))
    assert (pixels[0].min(), pixels[1].max() + 1) == (SIDE // 2, SIDE // 4)
    below = []
    for both, scores, _ in joined:
        size = display_size(*both.size, SIDE)
        mapped = overlay(both, scores, Box(0, 0, *both.size), smooth=False, opacity=1.0, size=size)
        [pair], [its_map] = places(figure, both.resize(size, Image.Resampling.LANCZOS)), places(figure, mapped)
        assert pair[0] == its_map[0] and pair[1] < its_map[1]
        below.append(pair)
    assert guided < below[0] < below[1] < below[2] and below[0][0] == below[1][0] < below[2][0]


def test_names_never_change_the_size_of_a_figure() -> None:
    scores = np.zeros((2, 2, 4, 4), np.float32)
    scores[0, 1] = hot(0, 0)
    maps, drawings = {"complete": hot(0, 0), "absolute": hot(0, 0)}, []
    for name in ("a", *HOSTILE_NAMES):
        joined = [(PICTURE, hot(0, 0), name)]
        drawings.append(
            (
                detail_figure(PICTURE, WHOLE, [name, "b"], [0.5, 0.4], scores, style=STYLE).size,
                corrections_figure(PICTURE, WHOLE, maps, name, name, style=STYLE).size,
                guide_figure(
                    PICTURE, (hot(0, 0), WHOLE), (hot(0, 0), WHOLE), joined, name, lines=[name], style=STYLE
                ).size,
            )
        )
    assert len(set(drawings)) == 1


@pytest.mark.parametrize("size", [(30, 2000), (2000, 30), (1, 1), (4000, 3000)])
def test_pictures_of_any_shape_are_drawn_whole(size: tuple[int, int]) -> None:
    picture, crop = noise(*size), Box(0, 0, *size)
    maps = {"complete": hot(0, 0), "absolute": hot(1, 1)}
    figure = corrections_figure(picture, crop, maps, "kite", "owl", style=STYLE)
    small = display_size(*size, SIDE)
    assert places(figure, picture.resize(small, Image.Resampling.LANCZOS))
    assert places(
        figure, overlay(picture, maps["absolute"], crop, smooth=False, opacity=1.0, unsigned=True, size=small)
    )
    edge = np.concatenate([np.asarray(figure)[[0, -1]].reshape(-1, 3), np.asarray(figure)[:, [0, -1]].reshape(-1, 3)])
    assert (edge == 255).all(), "nothing is cut off"


def test_dark_paper_changes_the_paper_and_what_is_written_on_it_and_no_pixel_of_a_map() -> None:
    maps, joined = {"complete": hot(0, 0), "absolute": hot(0, 1)}, [(PICTURE, hot(2, 2), "owl")]
    pairs = np.stack([np.stack([hot(0, 0)] * 2)] * 2)
    dark = replace(STYLE, paper="dark")
    whole = (hot(1, 1), WHOLE)
    for style in (STYLE, dark):
        figures = [
            evidence_figure(PICTURE, evidence(crop=WHOLE), lines=["title", "more"], style=style),
            detail_figure(PICTURE, WHOLE, ["a", "b"], [0.5, 0.4], pairs, style=style),
            corrections_figure(PICTURE, WHOLE, maps, "a", "b", style=style),
            guide_figure(PICTURE, whole, whole, joined, "a", style=style),
        ]
        for figure, scores in zip(figures, (one_hot(1, 2), hot(0, 0), hot(0, 0), hot(1, 1)), strict=True):
            assert places(figure, shown(scores)) and places(figure, PLAIN)
            edge = np.concatenate([np.asarray(figure)[[0, -1]].reshape(-1, 3), np.asarray(figure)[:, 0]])
            assert (edge == ImageColor.getrgb(INKS[style.paper].paper)).all()
    light_bar, dark_bar = (
        np.asarray(drawn(style.bar("a", "b", 300), style.paper, margin=0))[1:7] for style in (STYLE, dark)
    )
    np.testing.assert_array_equal(light_bar, dark_bar)


def test_a_contact_sheet_keeps_reading_order() -> None:
    shades = [Image.new("RGB", (4, height), (value,) * 3) for height, value in [(2, 10), (3, 20), (2, 30)]]
    sheet = np.asarray(contact_sheet(shades, 2))[..., 0]
    assert sheet.shape == (5, 8)
    assert (sheet[0, 0], sheet[0, 4], sheet[3, 0]) == (10, 20, 30)
    dark = contact_sheet(shades, 2, "dark").getpixel((0, 4)), contact_sheet(shades, 2, "dark").getpixel((7, 4))
    assert dark == ((30,) * 3, ImageColor.getrgb(INKS["dark"].paper))
    with pytest.raises(InterpretError, match="contact sheet"):
        contact_sheet([], 2)
