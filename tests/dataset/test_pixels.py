"""Deep pictures in the range that they use, transparency that would hide all, and JPEGs without their end."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from gradattn_core.dataset.decoding import decode_image, deepest_value, read_image
from gradattn_core.dataset.pixels import white_of
from gradattn_core.errors import UnreadableImageError
from tests.helpers.deep_pictures import deep_png, deep_tiff, rgba


def twelve_bits(bands: int) -> NDArray[np.uint16]:
    values = np.random.default_rng(bands).integers(0, 4096, (9, 7, bands)).astype(np.uint16)
    values[0, 0] = 4095
    return values


def eight(values: NDArray[np.uint16], full: int) -> NDArray[np.uint8]:
    return np.rint(values.astype(np.float64) * 255 / full).astype(np.uint8)


@pytest.mark.parametrize("bands", [1, 3])
def test_twelve_bits_in_sixteen_use_their_range_and_one_that_passes_it_has_the_full_one(bands: int) -> None:
    values = twelve_bits(bands)
    data = deep_png(values)
    assert deepest_value(data, "x.png") == 4095
    decoded = np.asarray(decode_image(data, "x.png", white=4095).image)
    assert np.array_equal(decoded, np.broadcast_to(eight(values, 4095), decoded.shape))
    assert np.asarray(decode_image(data, "x.png").image).max() == (15 if bands == 3 else 16)
    values[1, 1] = 50_000
    bright = np.asarray(decode_image(deep_png(values), "x.png", white=4095).image)
    assert np.array_equal(bright, np.broadcast_to(eight(values, 65535), bright.shape))


@pytest.mark.parametrize("order", ["<", ">"])
def test_colours_of_tiffs_in_either_order_of_bytes_keep_their_lower_bytes(order: str) -> None:
    values = twelve_bits(3)
    data = deep_tiff(values, order)
    assert deepest_value(data, "x.tif") == 4095
    assert np.array_equal(np.asarray(decode_image(data, "x.tif", white=4095).image), eight(values, 4095))


def test_deep_colours_with_transparency_have_both_in_their_range() -> None:
    values = twelve_bits(4)
    values[:, :, 3] = 65535
    decoded = np.asarray(decode_image(deep_png(values), "x.png", white=4095).image)
    assert np.array_equal(decoded, eight(values[:, :, :3], 4095))
    values = twelve_bits(2)
    values[:, :, 1] = 4095
    grey = np.asarray(decode_image(deep_png(values), "x.png", white=4095).image)
    assert np.abs(grey[:, :, 0].astype(int) - eight(values[:, :, 0], 4095)).max() <= 17  # of four bits all are there


@pytest.mark.parametrize(
    ("maxima", "white"),
    [([], 65535), ([255, 3], 255), ([256], 1023), ([4095, 100], 4095), ([4096], 16383), ([20_000], 65535)],
)
def test_white_is_the_least_usual_range_that_holds_all(maxima: list[int], white: int) -> None:
    assert white_of(maxima) == white


COLOURS = np.random.default_rng(0).integers(0, 256, (20, 20, 3)).astype(np.uint8)
WHITE = np.full((20, 20, 3), 255, np.uint8)
DISC = (255 * (np.hypot(*(np.mgrid[:20, :20] - 9.5)) < 7)).astype(np.uint8)


@pytest.mark.parametrize("alpha", [0, 1])
def test_a_transparency_that_hides_all_is_left_out(alpha: int) -> None:
    decoded = decode_image(rgba(COLOURS, alpha), "x.png")
    assert decoded.alpha == "ignored" and np.array_equal(np.asarray(decoded.image), COLOURS)


def test_white_shapes_are_shown_on_black_and_all_others_on_white() -> None:
    shape = decode_image(rgba(WHITE, DISC), "x.png")
    assert shape.alpha == "on black"
    assert np.array_equal(np.asarray(shape.image), np.broadcast_to(DISC[:, :, None], (20, 20, 3)))
    dark = decode_image(rgba(WHITE // 8, DISC), "x.png")
    assert dark.alpha == "" and np.asarray(dark.image)[0, 0].tolist() == [255, 255, 255]
    assert np.asarray(dark.image)[10, 10].tolist() == [31, 31, 31]


@pytest.mark.parametrize("alpha", [0, 128, 255])
def test_a_picture_of_one_colour_stays_as_it_was(alpha: int) -> None:
    assert decode_image(rgba(WHITE, alpha), "x.png").alpha == ""


def test_grey_and_palette_pictures_with_transparency_are_treated_alike() -> None:
    grey = Image.merge("LA", (Image.fromarray(COLOURS[:, :, 0]), Image.new("L", (20, 20), 0)))
    file = BytesIO()
    grey.save(file, "PNG")
    decoded = decode_image(file.getvalue(), "x.png")
    assert decoded.alpha == "ignored" and np.array_equal(np.asarray(decoded.image)[:, :, 1], COLOURS[:, :, 0])


def jpeg(progressive: bool = False, orientation: int = 1) -> tuple[bytes, NDArray[np.uint8]]:
    """A picture whose last rows are white, as photographs of things often are, and its pixels."""
    rows = np.random.default_rng(1).integers(0, 256, (12, 16, 3)).astype(np.uint8)
    image = Image.fromarray(rows).resize((320, 240), Image.Resampling.BICUBIC)
    image.paste((255, 255, 255), (0, 160, 320, 240))
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = BytesIO()
    image.save(file, "JPEG", quality=90, progressive=progressive, exif=exif)
    return file.getvalue(), np.asarray(read_again(file.getvalue()))


def read_again(data: bytes) -> Image.Image:
    return decode_image(data, "x.jpg").image


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_that_lacks_only_its_end_is_the_whole_picture(progressive: bool, orientation: int) -> None:
    data, pixels = jpeg(progressive, orientation)
    assert np.array_equal(np.asarray(read_again(data[:-2])), pixels)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_jpeg_of_which_much_is_missing_says_how_much_is_there(orientation: int) -> None:
    data, _ = jpeg(orientation=orientation)
    start = data.index(b"\xff\xda")
    with pytest.raises(UnreadableImageError, match=r"'x.jpg' breaks off: \d+% of the picture is there, and 75% are"):
        read_again(data[: start + (len(data) - start) // 2])


def test_a_jpeg_cut_near_its_end_is_shown_as_far_as_it_goes(tmp_path: Path) -> None:
    data, pixels = jpeg()
    (tmp_path / "x.jpg").write_bytes(data[:-60])
    shown = np.asarray(read_image(tmp_path / "x.jpg").image)
    assert shown.shape == pixels.shape and np.array_equal(shown[:160], pixels[:160])


def test_pictures_of_many_bands_say_so() -> None:
    values = np.zeros((8, 8, 13), np.uint16)
    data = deep_tiff(values, "<")
    with pytest.raises(UnreadableImageError, match="has 13 bands; pictures with 1, 3 or 4 are read"):
        decode_image(data, "x.tif")
