"""Plain JPEG files have Pillow's pixels to the bit from torchvision's decoder; every other kind is left to Pillow."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gradattn_core.dataset.decoding import decode_image
from gradattn_core.dataset.plain_jpeg import plain_jpeg
from gradattn_core.errors import UnreadableImageError

NEVER_SMALLER: Callable[[int, int], tuple[int, int]] = lambda width, height: (width, height)  # noqa: E731


def photograph(mode: str = "RGB", size: tuple[int, int] = (97, 63)) -> Image.Image:
    across, down = np.meshgrid(np.linspace(0, 9, size[0]), np.linspace(0, 7, size[1]))
    waves = np.stack([np.sin(across), np.cos(down), np.sin(across * down)], -1) * 100 + 128
    noise = np.random.default_rng(3).integers(-20, 20, waves.shape)
    return Image.fromarray((waves + noise).clip(0, 255).astype(np.uint8)).convert(mode)


def jpeg(image: Image.Image, **options: Any) -> bytes:
    data = io.BytesIO()
    image.save(data, "JPEG", **options)
    return data.getvalue()


def oriented(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return jpeg(photograph(), exif=exif)


def several() -> bytes:
    data = io.BytesIO()
    photograph().save(data, "MPO", save_all=True, append_images=[photograph()])
    return data.getvalue()


PLAIN = {
    "baseline": jpeg(photograph(), quality=92),
    "progressive": jpeg(photograph(), quality=80, progressive=True),
    "no subsampling": jpeg(photograph(), subsampling=0),
    "odd subsampling": jpeg(photograph(size=(31, 17)), subsampling=1),
    "stored as RGB": jpeg(photograph(), keep_rgb=True),
    "grey": jpeg(photograph("L")),
    "grey, progressive": jpeg(photograph("L"), progressive=True),
    "restarts": jpeg(photograph(), restart_marker_blocks=1),
    "an orientation that turns nothing": oriented(1),
    "an orientation that does not exist": oriented(9),
    "a colour profile": jpeg(photograph(), icc_profile=b"\0" * 300),
    "broken metadata": jpeg(photograph(), exif=b"Exif\0\0MM\0*\0\0\xff\xff broken"),
    "one pixel": jpeg(photograph(size=(1, 1))),
}
OTHERS = {
    "CMYK": jpeg(photograph("CMYK")),
    **{f"lying {orientation}": oriented(orientation) for orientation in range(2, 9)},
    "several pictures": several(),
    "breaks off": jpeg(photograph())[:-300],
    "lacks its end": jpeg(photograph())[:-2],
    "something behind its end": jpeg(photograph()) + b"box",
    "a header and no more": jpeg(photograph())[:200],
    "no JPEG": b"\x89PNG\r\n\x1a\n",
    "nothing": b"",
}


@pytest.mark.parametrize("kind", PLAIN)
def test_a_plain_file_has_the_pixels_the_hash_and_the_size_that_pillow_says(kind: str) -> None:
    data = PLAIN[kind]
    decoded, plain = decode_image(data, "x.jpg"), plain_jpeg(data, NEVER_SMALLER)
    assert plain is not None
    np.testing.assert_array_equal(plain.pixels.permute(1, 2, 0).numpy(), np.asarray(decoded.image))
    assert (plain.content_hash, plain.width, plain.height) == (decoded.content_hash, decoded.width, decoded.height)


@pytest.mark.parametrize("kind", OTHERS)
def test_every_other_file_is_left_to_whoever_knows_it(kind: str) -> None:
    assert plain_jpeg(OTHERS[kind], NEVER_SMALLER) is None


def test_a_file_that_announces_too_much_and_one_that_is_decoded_smaller_are_left_too() -> None:
    data = jpeg(photograph(size=(400, 300)))
    assert plain_jpeg(data, NEVER_SMALLER, max_pixels=119_999) is None
    assert plain_jpeg(data, NEVER_SMALLER, max_pixels=120_000) is not None
    assert plain_jpeg(data, lambda width, height: (200, 150)) is None
    assert plain_jpeg(data, lambda width, height: (201, 151)) is not None


def test_damaged_files_have_pillows_pixels_or_are_left_to_it(capfd: pytest.CaptureFixture[str]) -> None:
    """Of what lies behind the header: changed bytes, lost ones and strange ones in between."""
    whole, random = jpeg(photograph(size=(160, 120)), quality=90), np.random.default_rng(5)
    header = whole.index(b"\xff\xda")
    compared = 0
    for number in range(90):
        data, place = bytearray(whole), int(random.integers(header, len(whole) - 2))
        if number % 3 == 0:
            data[place] ^= int(random.integers(1, 256))
        elif number % 3 == 1:
            del data[place : place + 3]
        else:
            data[place:place] = random.bytes(5)
        plain = plain_jpeg(bytes(data), NEVER_SMALLER)
        try:
            decoded = decode_image(bytes(data), "x.jpg")
        except UnreadableImageError:
            assert plain is None
            continue
        if plain is not None:
            np.testing.assert_array_equal(plain.pixels.permute(1, 2, 0).numpy(), np.asarray(decoded.image))
            compared += 1
    assert compared > 30
    # Why it is for processes that nobody listens to.
    assert "Corrupt JPEG data" in capfd.readouterr().err
