"""One image file as upright RGB pixels: every odd kind by its pixel values, every broken kind by its reason."""

from __future__ import annotations

import hashlib
import io
import os
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps

from gradattn_core.dataset.decoding import read_image
from gradattn_core.errors import UnreadableImageError

Pixels = NDArray[np.uint8]

RED, WHITE, BLACK = (255, 0, 0), (255, 255, 255), (0, 0, 0)


def pixels(path: Path) -> Pixels:
    decoded = read_image(path)
    assert decoded.image.mode == "RGB"
    assert (decoded.width, decoded.height) == decoded.image.size
    return np.asarray(decoded.image)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png(width: int, height: int, bits: int, colour: int, rows: bytes, **chunks: bytes) -> bytes:
    """A PNG written by hand, for what Pillow does not write itself. ``rows`` includes the filter bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    extra = b"".join(chunk(kind.encode(), data) for kind, data in chunks.items())
    return b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.fixture
def quadrants() -> Pixels:
    """32 x 64 pixels, four flat quarters of whole JPEG blocks in different colours, which show the way up."""
    image = np.zeros((32, 64, 3), np.uint8)
    image[:16, :32], image[:16, 32:], image[16:, :32], image[16:, 32:] = RED, (0, 255, 0), (0, 0, 255), (250, 200, 10)
    return image


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PNG", {}),
        ("BMP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("WEBP", {"lossless": True}),
        ("GIF", {}),
    ],
)
def test_lossless_formats_give_the_written_pixels(
    tmp_path: Path, quadrants: Pixels, kind: str, options: dict[str, Any]
) -> None:
    file = tmp_path / "x.img"
    file.write_bytes(encoded(Image.fromarray(quadrants), kind, **options))
    np.testing.assert_array_equal(pixels(file), quadrants)


def test_the_content_decides_the_format_not_the_ending(tmp_path: Path, quadrants: Pixels) -> None:
    file = tmp_path / "really-a-png.jpg"
    file.write_bytes(encoded(Image.fromarray(quadrants), "PNG"))
    np.testing.assert_array_equal(pixels(file), quadrants)


def test_the_hash_is_blake2b_of_the_file_and_ignores_its_name(tmp_path: Path, quadrants: Pixels) -> None:
    data = encoded(Image.fromarray(quadrants), "PNG")
    (tmp_path / "a.png").write_bytes(data)
    (tmp_path / "b.png").write_bytes(data)
    expected = hashlib.blake2b(data, digest_size=16).hexdigest()
    assert read_image(tmp_path / "a.png").content_hash == read_image(tmp_path / "b.png").content_hash == expected


UPRIGHT: dict[int, Callable[[Pixels], Pixels]] = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: stored[::-1, ::-1].swapaxes(0, 1),
    8: lambda stored: np.rot90(stored),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True}), ("JPEG", {})])
def test_exif_orientation_is_applied_once(
    tmp_path: Path, quadrants: Pixels, kind: str, options: dict[str, Any], orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = tmp_path / "x.img"
    file.write_bytes(encoded(Image.fromarray(quadrants), kind, exif=exif, **options))
    expected = UPRIGHT[orientation](quadrants)
    decoded = read_image(file)
    assert (decoded.height, decoded.width) == expected.shape[:2]
    again = np.asarray(ImageOps.exif_transpose(decoded.image))  # whoever reads on must find nothing left to turn
    for y, x in ((4, 4), (4, -4), (-4, 4), (-4, -4)):
        np.testing.assert_allclose(again[y, x].astype(int), expected[y, x], atol=4)


def test_broken_exif_does_not_cost_the_picture(tmp_path: Path, quadrants: Pixels) -> None:
    file = tmp_path / "x.png"
    file.write_bytes(encoded(Image.fromarray(quadrants), "PNG", exif=b"Exif\0\0nonsense"))
    with Image.open(file) as stored, pytest.raises(SyntaxError):
        stored.getexif()
    np.testing.assert_array_equal(pixels(file), quadrants)


def test_an_orientation_beside_broken_exif_is_applied(tmp_path: Path, quadrants: Pixels) -> None:
    # The resolution as a text: a TIFF header, two entries, no further directory.
    entries = struct.pack("<HHII", 0x0112, 3, 1, 6) + struct.pack("<HHI4s", 0x011A, 2, 4, b"AAAA")
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + entries + bytes(4)
    file = tmp_path / "x.png"
    file.write_bytes(encoded(Image.fromarray(quadrants), "PNG", exif=exif))
    with Image.open(file) as stored, pytest.raises(TypeError):
        ImageOps.exif_transpose(stored)
    np.testing.assert_array_equal(pixels(file), UPRIGHT[6](quadrants))


def test_cmyk_jpeg_with_adobes_inverted_channels_keeps_its_colours(tmp_path: Path) -> None:
    cmyk = np.zeros((16, 32, 4), np.uint8)
    cmyk[:, :16], cmyk[:, 16:] = (0, 255, 255, 0), (0, 0, 0, 255)  # red ink, black ink
    data = encoded(Image.fromarray(cmyk, "CMYK"), "JPEG", quality=95)
    assert b"Adobe" in data
    (tmp_path / "x.jpg").write_bytes(data)
    seen = pixels(tmp_path / "x.jpg")
    np.testing.assert_allclose(seen[8, 4].astype(int), RED, atol=4)
    np.testing.assert_allclose(seen[8, 28].astype(int), BLACK, atol=4)


@pytest.mark.parametrize(
    ("mode", "pixel", "expected"),
    [
        ("RGBA", (255, 0, 0, 0), WHITE),
        ("RGBA", (255, 0, 0, 255), RED),
        ("RGBA", (255, 0, 0, 51), (255, 204, 204)),
        ("LA", (0, 0), WHITE),
        ("LA", (0, 51), (204, 204, 204)),
        ("L", 77, (77, 77, 77)),
        ("1", 1, WHITE),
        ("1", 0, BLACK),
        ("CMYK", (0, 255, 255, 0), RED),
    ],
)
def test_modes_become_rgb_over_white(tmp_path: Path, mode: str, pixel: Any, expected: tuple[int, ...]) -> None:
    for kind in ("TIFF",) if mode == "CMYK" else ("PNG", "TIFF"):
        file = tmp_path / f"x.{kind}"
        file.write_bytes(encoded(Image.new(mode, (3, 2), pixel), kind))
        np.testing.assert_array_equal(pixels(file), np.full((2, 3, 3), expected))


@pytest.mark.parametrize(
    ("transparency", "expected"),
    [(0, [WHITE, (0, 0, 255)]), (bytes([51, 255]), [(255, 204, 204), (0, 0, 255)])],
)
def test_transparent_palette_entries_show_white(
    tmp_path: Path, transparency: int | bytes, expected: list[tuple[int, ...]]
) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([*RED, 0, 0, 255])
    image.putpixel((1, 0), 1)
    file = tmp_path / "x.png"
    file.write_bytes(encoded(image, "PNG", transparency=transparency))
    np.testing.assert_array_equal(pixels(file)[0], expected)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (png(2, 1, 8, 2, bytes([0, *RED, 0, 255, 1]), tRNS=struct.pack(">HHH", *RED)), [WHITE, (0, 255, 1)]),
        (png(2, 1, 8, 0, bytes([0, 1, 2]), tRNS=struct.pack(">H", 1)), [WHITE, (2, 2, 2)]),
        (png(2, 1, 16, 0, b"\0" + struct.pack(">HH", 0x1234, 257 * 7), tRNS=b"\x12\x34"), [WHITE, (7, 7, 7)]),
        (png(2, 1, 16, 4, b"\0" + struct.pack(">HHHH", 257 * 7, 65535, 257 * 9, 0)), [(7, 7, 7), WHITE]),
        (png(1, 1, 16, 2, b"\0" + struct.pack(">HHH", 257 * 7, 257 * 8, 257 * 9)), [(7, 8, 9)]),
    ],
    ids=["rgb colour key", "grey colour key", "16-bit colour key", "16-bit grey with alpha", "16-bit rgb"],
)
def test_pngs_that_only_other_programs_write(tmp_path: Path, data: bytes, expected: list[tuple[int, ...]]) -> None:
    (tmp_path / "x.png").write_bytes(data)
    np.testing.assert_array_equal(pixels(tmp_path / "x.png")[0], expected)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled_and_not_clipped(tmp_path: Path, kind: str) -> None:
    grey = np.array([[0, 128, 129, 257, 12850, 32768, 65535]], np.uint16)
    file = tmp_path / "x.img"
    file.write_bytes(encoded(Image.fromarray(grey), kind))
    np.testing.assert_array_equal(pixels(file)[0, :, 1], [0, 0, 1, 1, 50, 128, 255])


def test_big_endian_16_bit_tiff_is_scaled(tmp_path: Path) -> None:
    file = tmp_path / "x.tif"
    file.write_bytes(encoded(Image.frombytes("I;16B", (3, 1), struct.pack(">HHH", 0, 257 * 100, 65535)), "TIFF"))
    assert file.read_bytes().startswith(b"MM")
    np.testing.assert_array_equal(pixels(file)[0, :, 0], [0, 100, 255])


def test_16_bit_tiff_where_zero_is_white_is_inverted(tmp_path: Path) -> None:
    file = tmp_path / "x.tif"
    data = encoded(Image.fromarray(np.array([[0, 257 * 100, 65535]], np.uint16)), "TIFF")
    one = struct.pack("<HHIHH", 262, 3, 1, 1, 0)
    assert one in data
    file.write_bytes(data.replace(one, struct.pack("<HHIHH", 262, 3, 1, 0, 0)))
    np.testing.assert_array_equal(pixels(file)[0, :, 0], [255, 155, 0])


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([0, 100, 255], np.int32), [0, 100, 255]),
        (np.array([0, 257 * 100, 65535], np.int32), [0, 100, 255]),
        (np.array([-1000, 0, 1000], np.int32), [0, 128, 255]),
        (np.array([0, 100_000, 200_000], np.int32), [0, 128, 255]),
        (np.array([0, 0.2, 1], np.float32), [0, 51, 255]),
        (np.array([0, 0.2, 1.02], np.float32), [0, 51, 255]),
        (np.array([0, 99.6, 255], np.float32), [0, 100, 255]),
        (np.array([0, 257 * 100, 65535], np.float32), [0, 100, 255]),
        (np.array([-2, 0, 2], np.float32), [0, 128, 255]),
        (np.array([np.nan, 0.2, np.inf, 1], np.float32), [0, 51, 255, 255]),
        (np.array([np.nan, np.nan], np.float32), [0, 0]),
        (np.array([-3, -3], np.float32), [0, 0]),
    ],
)
def test_32_bit_greys_are_scaled_by_the_range_they_use(
    tmp_path: Path, values: NDArray[Any], expected: list[int]
) -> None:
    file = tmp_path / "x.tif"
    file.write_bytes(encoded(Image.fromarray(values[None]), "TIFF"))
    np.testing.assert_array_equal(pixels(file)[0, :, 2], expected)


@pytest.mark.parametrize(("kind", "options"), [("GIF", {}), ("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {})])
def test_an_animation_shows_its_first_frame(tmp_path: Path, kind: str, options: dict[str, Any]) -> None:
    frames = [Image.new("RGB", (8, 6), colour) for colour in (RED, (0, 255, 0), (0, 0, 255))]
    file = tmp_path / "x.img"
    file.write_bytes(encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options))
    with Image.open(file) as stored:
        assert getattr(stored, "n_frames", 1) == 3
    np.testing.assert_array_equal(pixels(file), np.full((6, 8, 3), RED))


def test_a_transparent_gif_lies_on_white(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([*RED, 0, 0, 255])
    image.putpixel((1, 0), 1)
    file = tmp_path / "x.gif"
    file.write_bytes(encoded(image, "GIF", transparency=0))
    np.testing.assert_array_equal(pixels(file)[0], [WHITE, (0, 0, 255)])


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF"])
@pytest.mark.parametrize("kept", [0.5, 0.01])
def test_a_truncated_file_is_refused_and_not_half_decoded(tmp_path: Path, kind: str, kept: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), kind)
    file = tmp_path / "cut.img"
    file.write_bytes(data[: max(int(len(data) * kept), 9)])
    with pytest.raises(UnreadableImageError, match=r"^'cut.img' (is truncated or damaged|breaks off: \d+%)"):
        read_image(file)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", r"'x.jpg' is empty \(0 bytes\)\."),
        (
            b"<!DOCTYPE html><title>404</title>",
            r"'x.jpg' is no picture but a web page, which servers send instead",
        ),
        (
            b"version https://git-lfs.github.com/spec/v1\n",
            r"'x.jpg' is no picture but a Git LFS pointer .* git lfs pull",
        ),
        (b"PK\x03\x04\0\0", r"'x.jpg' is no picture but a zip"),
        (b"plain text", r"'x.jpg' is not an image \(none of JPEG, PNG, WEBP, .*\)\."),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", r"'x.jpg' is not an image"),
        (png(0, 0, 8, 2, b""), r"'x.jpg' is truncated or damaged"),
    ],
    ids=["zero bytes", "page", "pointer", "zip", "text", "eps", "no pixels"],
)
def test_what_is_no_image_says_so(tmp_path: Path, data: bytes, reason: str) -> None:
    file = tmp_path / "x.jpg"
    file.write_bytes(data)
    with pytest.raises(UnreadableImageError, match=reason) as caught:
        read_image(file)
    assert str(tmp_path) not in str(caught.value)
    assert "0x" not in str(caught.value)


@pytest.mark.timeout(30)
def test_folders_pipes_and_missing_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").mkdir()
    os.mkfifo(tmp_path / "pipe.jpg")
    os.symlink("loop.jpg", tmp_path / "loop.jpg")
    for name, reason in [
        ("x.jpg", "is a folder"),
        ("pipe.jpg", "is not a regular file"),
        ("gone.jpg", "does not exist"),
        ("loop.jpg", "cannot be read"),
        ("nul\0.jpg", "cannot be read"),
    ]:
        with pytest.raises(UnreadableImageError, match=reason) as caught:
            read_image(tmp_path / name)
        assert str(tmp_path) not in str(caught.value)


def test_a_sparse_giant_file_is_refused_without_reading_it(tmp_path: Path) -> None:
    file = tmp_path / "giant.jpg"
    file.touch()
    os.truncate(file, 2**40)
    with pytest.raises(UnreadableImageError, match=r"1,099,511,627,776 bytes, more than"):
        read_image(file)


@pytest.mark.parametrize(
    ("width", "height", "reason"),
    [(12_000, 10_000, "announces 12,000 x 10,000 pixels, more than 100,000,000"), (60_000, 60_000, "100,000,000")],
)
def test_a_decompression_bomb_is_refused_from_its_header(
    tmp_path: Path, width: int, height: int, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(self: ImageFile.ImageFile) -> None:
        raise AssertionError("the bomb was decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", never)
    file = tmp_path / "bomb.png"
    file.write_bytes(png(width, height, 8, 2, b""))
    with pytest.raises(UnreadableImageError, match=reason):
        read_image(file)


def test_the_pixel_limit_is_inclusive(tmp_path: Path) -> None:
    file = tmp_path / "x.png"
    file.write_bytes(encoded(Image.new("RGB", (10, 10)), "PNG"))
    assert read_image(file, max_pixels=100).width == 10
    with pytest.raises(UnreadableImageError, match="announces 10 x 10 pixels, more than 99"):
        read_image(file, max_pixels=99)


def test_hostile_file_names_are_escaped_in_the_reason(tmp_path: Path) -> None:
    file = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9\n<b>.jpg"))
    file.touch()
    with pytest.raises(UnreadableImageError) as caught:
        read_image(file)
    assert str(caught.value) == "'caf\\udce9\\n<b>.jpg' is empty (0 bytes)."


@pytest.fixture
def pillow_state() -> Iterator[None]:
    before = (ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS, list(warnings.filters))
    yield
    assert (ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS, list(warnings.filters)) == before


@pytest.mark.usefixtures("pillow_state")
def test_many_threads_read_good_bad_and_warning_files_without_a_trace(tmp_path: Path, quadrants: Pixels) -> None:
    (tmp_path / "good.png").write_bytes(encoded(Image.fromarray(quadrants), "PNG"))
    (tmp_path / "bad.png").write_bytes(b"\x89PNG nonsense")
    rows = b"".join(b"\0" + row.tobytes() for row in quadrants)
    (tmp_path / "warns.png").write_bytes(png(64, 32, 8, 2, rows, acTL=bytes(8)))
    with (
        pytest.warns(UserWarning, match="Invalid APNG"),
        Image.open(tmp_path / "warns.png"),
    ):
        pass

    def read(name: str) -> Pixels | None:
        try:
            return pixels(tmp_path / name)
        except UnreadableImageError:
            return None

    names = ["good.png", "bad.png", "warns.png"] * 40
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with ThreadPoolExecutor(8) as pool:
            results = list(pool.map(read, names))
        assert warnings.filters[0][0] == "always"
    assert [str(one.message) for one in seen] == []
    for name, result in zip(names, results, strict=True):
        if name == "bad.png":
            assert result is None
        else:
            assert result is not None
            np.testing.assert_array_equal(result, quadrants)


def test_real_photographs_decode_as_pillow_shows_them(shared_data: Path) -> None:
    files = (
        sorted((shared_data / "data" / "samples").iterdir())
        + sorted((shared_data / "data" / "imagenette").glob("*/*.JPEG"))[::60]
    )
    for file in files:
        with Image.open(file) as stored:
            if stored.mode in ("RGB", "L"):
                expected = np.asarray(ImageOps.exif_transpose(stored).convert("RGB"))
                np.testing.assert_array_equal(pixels(file), expected)
