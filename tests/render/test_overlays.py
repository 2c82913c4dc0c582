"""Maps drawn on pictures: in the right place, in the right colour, whatever the names are."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from gradattn_core.errors import InterpretError
from gradattn_core.records import Box, FloatArray, Region
from gradattn_core.render.overlays import PALETTES, Palette, display_size, hatch_regions, outline_regions, overlay
from tests.helpers.drawings import noise, one_hot, tinted


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
    picture, scores = noise(32, 32), one_hot(1, 2)
    before, scores_before = picture.tobytes(), scores.copy()
    scores.setflags(write=False)
    overlay(picture, scores, Box(0, 0, 32, 32))
    outline_regions(picture, [Region(1, 1, 1.0, 0.05, 1.0, Box(4, 4, 12, 12))], picture.size)
    assert picture.tobytes() == before
    np.testing.assert_array_equal(scores, scores_before)


def test_region_boxes_are_outlined_at_their_place_in_the_colour_of_their_sign() -> None:
    regions = (Region(1, 1, 0.5, 0.1, 1.0, Box(10, 20, 30, 40)), Region(-1, 1, 0.5, 0.1, -1.0, Box(50, 20, 90, 40)))
    framed = np.asarray(outline_regions(Image.new("RGB", (200, 120), "grey"), regions, (100, 60)))
    for sign_colour, (left, top, right, bottom) in zip(
        PALETTES["red-blue"], [(20, 40, 60, 80), (100, 40, 180, 80)], strict=True
    ):
        rows, columns = np.nonzero((framed == sign_colour).all(-1))
        assert (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) == (left, top, right, bottom)


def test_hatching_covers_the_patches_of_a_region_and_nothing_else() -> None:
    grey = Image.new("RGB", (240, 160), (90, 90, 90))
    # The weak one at its lower left, in the box and of the sign, is none of the region's.
    scores = np.array([[1.0, -1.0, 1.0], [0.1, 1.0, -1.0]], np.float32)
    crop = Box(20, 10, 110, 70)  # of an original of 120 x 80: patches of 30 x 30
    region = Region(1, 1, 0.5, 2 / 6, 1.0, Box(20, 10, 80, 70))
    changed = (np.asarray(hatch_regions(grey, scores, crop, [region], (120, 80))) != 90).any(-1)
    # At twice the size of the original.
    expected = np.zeros((160, 240), bool)
    expected[20:140, 40:160] = True
    expected[20:80, 100:160] = expected[80:140, 40:100] = False
    assert not changed[~expected].any()
    assert 0.4 < changed[expected].mean() < 0.6
    for patch in ((20, 40), (80, 100)):
        part = np.asarray(hatch_regions(grey, scores, crop, [region], (120, 80)))[patch[0] :, patch[1] :][:60, :60]
        assert {0, 90, 255} == set(part.ravel().tolist()), "lines that are seen on dark and on light"
    assert hatch_regions(grey, scores, crop, [], (120, 80)).tobytes() == grey.tobytes()


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
