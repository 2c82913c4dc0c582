"""Maps drawn on pictures: in the right place, in the right colour, whatever the names are."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from gradattn_core.errors import InterpretError
from gradattn_core.records import Box, Evidence, FloatArray, MapStatistics, Region
from gradattn_core.render.figures import colour_bar, contact_sheet, evidence_figure
from gradattn_core.render.lettering import fitted
from gradattn_core.render.overlays import PALETTES, Palette, display_size, outline_regions, overlay

HOSTILE_NAMES = ["<b>x</b>", "=cmd()", "🦅 eagle", "アフリカ象", "عقاب", "two\nlines\tand\x00nul", "", "long " * 400]


def noise(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def one_hot(row: int, column: int, value: float = 1.0, shape: tuple[int, int] = (4, 5)) -> FloatArray:
    scores = np.zeros(shape, dtype=np.float32)
    scores[row, column] = value
    return scores


def tinted(picture: Image.Image) -> np.ndarray:
    """[height, width] whether a pixel is anything but grey."""
    pixels = np.asarray(picture).astype(int)
    return np.asarray(np.ptp(pixels, axis=2) > 0)


def evidence(for_label: str = "kite", against_label: str = "bald eagle", crop: Box | None = None) -> Evidence:
    region = Region(1, 1, 1.0, 0.05, 1.0, Box(4, 4, 12, 12))
    return Evidence(
        for_label=for_label,
        against_label=against_label,
        for_logit=1.0,
        against_logit=2.0,
        scores=one_hot(1, 2),
        crop=crop or Box(0, 0, 32, 32),
        objective="difference",
        correction="complete",
        statistics=MapStatistics(1.0, 0.0, 1.0, 1.0, 0.0, (region,)),
    )


@pytest.mark.parametrize("cell", [(0, 0), (1, 3), (3, 4)])
def test_a_hot_patch_colours_exactly_its_own_rectangle_of_the_original(cell: tuple[int, int]) -> None:
    row, column = cell
    crop = Box(11.4, 20.7, 61.4, 80.7)  # off-centre, at fractions of a pixel, in a picture that is not square
    mask = tinted(overlay(noise(90, 130), one_hot(row, column), crop, smooth=False))
    patch_width, patch_height = crop.width / 5, crop.height / 4
    x, y = np.arange(90) + 0.5, np.arange(130) + 0.5
    across = (x >= crop.left + column * patch_width) & (x < crop.left + (column + 1) * patch_width)
    down = (y >= crop.top + row * patch_height) & (y < crop.top + (row + 1) * patch_height)
    assert mask.any()
    np.testing.assert_array_equal(mask, down[:, None] & across[None, :])


def test_nothing_outside_the_crop_is_tinted() -> None:
    crop = Box(11.4, 20.7, 61.4, 80.7)
    for smooth in (True, False):
        mask = tinted(overlay(noise(90, 130), np.ones((4, 5), np.float32), crop, smooth=smooth))
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        assert (columns[0], columns[-1], rows[0], rows[-1]) == (11, 60, 21, 80)
        assert mask[21:81, 11:61].all()


def test_a_crop_that_reaches_beyond_the_picture_keeps_its_alignment() -> None:
    mask = tinted(overlay(noise(40, 40), one_hot(1, 1, shape=(2, 2)), Box(-20, -20, 60, 60), smooth=False))
    assert mask[20:, 20:].all() and not mask[:20].any() and not mask[:, :20].any()


def test_a_smooth_map_peaks_at_the_centre_of_the_hot_patch() -> None:
    crop = Box(10, 30, 60, 90)
    white = Image.new("RGB", (90, 130), "white")
    pixels = np.asarray(overlay(white, one_hot(2, 1), crop)).astype(int)
    strength = pixels[..., 0] - pixels[..., 2]
    centre_x, centre_y = 10 + 1.5 * 10, 30 + 2.5 * 15
    rows, columns = np.nonzero(strength == strength.max())
    assert abs(columns.mean() + 0.5 - centre_x) <= 0.5
    assert abs(rows.mean() + 0.5 - centre_y) <= 0.5


@pytest.mark.parametrize("value", [1.0, -1.0])
def test_smoothing_invents_no_evidence_of_the_other_sign(value: float) -> None:
    white, crop = Image.new("RGB", (100, 80), "white"), Box(0, 0, 100, 80)
    pixels = np.asarray(overlay(white, one_hot(2, 2, value), crop, opacity=1.0)).astype(int)
    towards_red = pixels[..., 0] - pixels[..., 2]
    assert (value * towards_red >= 0).all() and (value * towards_red > 100).any()


def test_smooth_interpolation_reproduces_a_plane() -> None:
    """Keys' cubic is exact for straight lines, so a ramp of scores gives a ramp of colour away from the border."""
    ramp = np.tile(np.arange(1, 9, dtype=np.float32), (4, 1))
    pixels = np.asarray(overlay(Image.new("RGB", (80, 40), "white"), ramp, Box(0, 0, 80, 40), opacity=1.0, limit=8.0))
    x = np.arange(25, 55)
    expected = 255 + (PALETTES["red-blue"][0][1] - 255) * ((x + 0.5) / 10 + 0.5) / 8
    np.testing.assert_allclose(pixels[20, 25:55, 1], expected, atol=0.51)


@pytest.mark.parametrize("palette", list(PALETTES))
def test_opposite_scores_get_the_two_colours_at_equal_opacity(palette: Palette) -> None:
    scores = np.array([[2.0, -2.0], [1.0, -1.0]], np.float32)
    grey = Image.new("RGB", (2, 2), (100, 100, 100))
    base = np.asarray(overlay(grey, np.zeros((2, 2), np.float32), Box(0, 0, 2, 2)))[0, 0].astype(float)
    pixels = np.asarray(overlay(grey, scores, Box(0, 0, 2, 2), opacity=0.8, smooth=False, palette=palette))
    for column, colour in enumerate(PALETTES[palette]):
        for row, alpha in enumerate((0.8, 0.4)):
            expected = base * (1 - alpha) + np.array(colour) * alpha
            np.testing.assert_allclose(pixels[row, column], expected, atol=0.51)


def test_a_limit_puts_several_maps_on_one_scale_and_saturates_beyond_it() -> None:
    white, crop = Image.new("RGB", (2, 1), "white"), Box(0, 0, 2, 1)
    scores = np.array([[1.0, 4.0]], np.float32)
    shared = np.asarray(overlay(white, scores, crop, smooth=False, limit=2.0))
    half = np.asarray(overlay(white, np.array([[1.0, 2.0]], np.float32), crop, smooth=False))
    np.testing.assert_array_equal(shared, half)


def test_a_zero_map_and_zero_opacity_leave_the_plain_grey_picture() -> None:
    picture, crop = noise(20, 10), Box(0, 0, 20, 10)
    plain = overlay(picture, np.zeros((4, 5), np.float32), crop)
    assert not tinted(plain).any()
    assert overlay(picture, one_hot(1, 1), crop, opacity=0.0).tobytes() == plain.tobytes()


def test_the_overlay_drawn_smaller_is_aligned_like_the_full_one() -> None:
    crop = Box(100, 40, 260, 200)
    full = tinted(overlay(noise(400, 300), one_hot(1, 1, shape=(4, 4)), crop, smooth=False))
    half = tinted(overlay(noise(400, 300), one_hot(1, 1, shape=(4, 4)), crop, smooth=False, size=(200, 150)))
    np.testing.assert_array_equal(full[::2, ::2], half)


def test_inputs_are_left_as_they_were() -> None:
    picture, shown = noise(32, 32), evidence()
    before, scores_before = picture.tobytes(), shown.scores.copy()
    shown.scores.setflags(write=False)
    evidence_figure(picture, shown, regions=True)
    outline_regions(picture, shown.statistics.regions, picture.size)
    assert picture.tobytes() == before
    np.testing.assert_array_equal(shown.scores, scores_before)


def test_region_boxes_are_outlined_at_their_place_in_the_colour_of_their_sign() -> None:
    regions = (Region(1, 1, 0.5, 0.1, 1.0, Box(10, 20, 30, 40)), Region(-1, 1, 0.5, 0.1, -1.0, Box(50, 20, 90, 40)))
    framed = np.asarray(outline_regions(Image.new("RGB", (200, 120), "grey"), regions, (100, 60)))
    for sign_colour, (left, top, right, bottom) in zip(
        PALETTES["red-blue"], [(20, 40, 60, 80), (100, 40, 180, 80)], strict=True
    ):
        rows, columns = np.nonzero((framed == sign_colour).all(-1))
        assert (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) == (left, top, right, bottom)


@pytest.mark.parametrize(
    ("scores", "options", "message"),
    [
        (np.zeros((2, 2, 2), np.float32), {}, r"scores have the shape \(2, 2, 2\)"),
        (np.full((2, 2), np.nan, np.float32), {}, "NaN"),
        (np.ones((2, 2), np.float32), {"opacity": 1.5}, "opacity 1.5"),
        (np.ones((2, 2), np.float32), {"limit": 0.0}, "limit 0.0"),
        (np.ones((2, 2), np.float32), {"palette": "jet"}, "'jet'.*red-blue, orange-purple"),
        (np.ones((2, 2), np.float32), {"crop": Box(5, 5, 5, 9)}, "crop"),
    ],
)
def test_what_cannot_be_drawn_is_named(scores: FloatArray, options: dict[str, object], message: str) -> None:
    arguments = {"crop": Box(0, 0, 8, 8), **options}
    with pytest.raises(InterpretError, match=message):
        overlay(noise(8, 8), scores, **arguments)  # type: ignore[arg-type]


def test_small_originals_are_enlarged_and_keep_their_shape() -> None:
    assert display_size(32, 32, 288) == (288, 288)
    assert display_size(3000, 1500, 300) == (300, 150)
    assert display_size(10_000, 3, 100) == (100, 1)


def test_figures_have_one_width_whatever_the_picture_and_the_names() -> None:
    plain = evidence_figure(noise(32, 32), evidence())
    for name in HOSTILE_NAMES:
        figure = evidence_figure(noise(32, 32), evidence(name, name))
        assert figure.size == plain.size
    tall = evidence_figure(noise(10, 90), evidence(crop=Box(0, 0, 10, 90)))
    assert tall.width == plain.width


def test_the_overlay_in_a_figure_shows_the_hot_patch_where_the_original_has_it() -> None:
    side = 320
    figure = evidence_figure(Image.new("RGB", (32, 32), "white"), evidence(), side=side, smooth=False)
    right = figure.crop((24 + side, 12, 24 + 2 * side, 12 + side))
    rows, columns = np.nonzero(tinted(right))
    assert (columns.min(), columns.max() + 1) == (2 * side // 5, 3 * side // 5)
    assert (rows.min(), rows.max() + 1) == (side // 4, side // 2)


def test_the_bar_runs_from_the_given_label_to_the_other_class() -> None:
    bar = np.asarray(colour_bar("kite", "bald eagle", width=300))
    np.testing.assert_array_equal(bar[5, 0], PALETTES["red-blue"][0])
    np.testing.assert_array_equal(bar[5, -1], PALETTES["red-blue"][1])
    assert (bar[5, 149:151] > 250).all()


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_names_are_written_on_one_line_within_their_width(name: str) -> None:
    text, font = fitted(name, 14, 120)
    assert "\n" not in text and "\x00" not in text
    assert font.getlength(text) <= 120


def test_markup_is_written_as_it_stands_and_unknown_letters_stay_distinguishable() -> None:
    assert fitted("<b>x</b> **y**", 14, 500)[0] == "<b>x</b> **y**"
    unassigned, other = fitted("\U000e0fff", 14, 500)[0], fitted("\U000e0ffe", 14, 500)[0]
    assert unassigned == "\\U000e0fff" and unassigned != other


def test_a_contact_sheet_keeps_reading_order() -> None:
    shades = [Image.new("RGB", (4, height), (value,) * 3) for height, value in [(2, 10), (3, 20), (2, 30)]]
    sheet = np.asarray(contact_sheet(shades, 2))[..., 0]
    assert sheet.shape == (5, 8)
    assert (sheet[0, 0], sheet[0, 4], sheet[3, 0]) == (10, 20, 30)
    with pytest.raises(InterpretError, match="contact sheet"):
        contact_sheet([], 2)
