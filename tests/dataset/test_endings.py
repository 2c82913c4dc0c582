"""Every kind of picture that is listed is read, and what is none, or cannot be read, is named."""

from __future__ import annotations

import struct
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gradattn_core.dataset.decoding import read_image
from gradattn_core.dataset.endings import (
    HEIF_MISSING,
    IMAGE_SUFFIXES,
    OTHER_KIND,
    is_image,
    passed_over,
    reads_heif,
    unread_picture,
)
from gradattn_core.dataset.listing import list_dataset
from gradattn_core.errors import UnreadableImageError
from tests.helpers.dataset_files import rows, touch

SAVED = {
    **{ending: "JPEG" for ending in (".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".JPG")},
    **{ending: "PNG" for ending in (".png", ".apng")},
    **{ending: "TIFF" for ending in (".tif", ".tiff")},
    **{ending: "AVIF" for ending in (".avif", ".avifs")},
    **{ending: "JPEG2000" for ending in (".jp2", ".j2k", ".jpf", ".jpx", ".j2c", ".jpc")},
    **{ending: "PPM" for ending in (".ppm", ".pnm")},
    **{ending: "SGI" for ending in (".sgi", ".rgb")},
    **{".webp": "WEBP", ".bmp": "BMP", ".gif": "GIF", ".tga": "TGA", ".pcx": "PCX", ".dib": "DIB", ".ico": "ICO"},
    **{".dds": "DDS", ".qoi": "QOI"},
}
GREY = {".pgm": "PPM", ".bw": "SGI", ".pfm": "PPM"}
BILEVEL = {".pbm": "PPM", ".msp": "MSP", ".xbm": "XBM"}
# What Pillow does not write is written by hand below; .cur is an .ico but for one byte, and .rgba an .sgi.
BY_HAND = {".psd", ".fits", ".fit", ".ras", ".cur", ".rgba", ".xpm"}


def flat(mode: str = "RGB") -> Image.Image:
    """A picture of one colour, which every format keeps nearly."""
    return Image.new("RGB", (32, 32), (200, 40, 90)).convert(mode)


@pytest.mark.parametrize("ending", sorted(SAVED))
def test_a_colour_picture_of_every_kind_is_listed_and_read(tmp_path: Path, ending: str) -> None:
    file = tmp_path / "a" / f"1{ending}"
    file.parent.mkdir()
    flat().save(file, SAVED[ending])
    touch(tmp_path, "b/1.png")
    assert rows(list_dataset(tmp_path))[0] == (f"a/1{ending}", "a")
    decoded = read_image(file)
    assert (decoded.width, decoded.height, decoded.image.mode) == (32, 32, "RGB")
    assert np.abs(np.asarray(decoded.image, np.int16) - (200, 40, 90)).max() <= 6


@pytest.mark.parametrize(("ending", "kind", "mode"), [
    *((ending, kind, "F" if ending == ".pfm" else "L") for ending, kind in GREY.items()),
    *((ending, kind, "1") for ending, kind in BILEVEL.items()),
])  # fmt: skip
def test_a_grey_picture_of_every_kind_is_read(tmp_path: Path, ending: str, kind: str, mode: str) -> None:
    file = tmp_path / f"1{ending}"
    flat("L").convert(mode).save(file, kind)
    assert is_image(file.name) and read_image(file).image.size == (32, 32)


def test_pictures_that_others_write_are_read(tmp_path: Path) -> None:
    raw = bytes((200, 40, 90))
    files = {
        "1.ras": struct.pack(">8I", 0x59A66A95, 4, 2, 24, 24, 1, 0, 0) + raw[::-1] * 8,
        "1.psd": b"8BPS"
        + struct.pack(">H6xHIIHH", 1, 3, 2, 4, 8, 3)
        + bytes(12)
        + b"\0\0"
        + b"".join(bytes([v]) * 8 for v in raw),
        "1.xpm": b'/* XPM */\nstatic char *x[] = {\n"4 2 1 1",\n"a c #c8285a",\n"aaaa",\n"aaaa"\n};\n',
    }
    cards = ["SIMPLE  =                    T", "BITPIX  =                    8", "NAXIS   =                    2"]
    cards += ["NAXIS1  =                    4", "NAXIS2  =                    2", "END"]
    files["1.fits"] = files["1.fit"] = "".join(f"{card:80}" for card in cards).ljust(2880).encode() + bytes([90] * 8)
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
        decoded = read_image(tmp_path / name)
        assert is_image(name) and (decoded.width, decoded.height) == (4, 2), name
    flat().save(tmp_path / "1.ico", bitmap_format="bmp")
    icon = (tmp_path / "1.ico").read_bytes()
    (tmp_path / "1.cur").write_bytes(icon[:2] + b"\2" + icon[3:])
    flat("RGBA").save(tmp_path / "1.rgba", "SGI")
    for name in ("1.cur", "1.rgba"):
        assert read_image(tmp_path / name).image.size == (32, 32), name


def test_every_ending_that_is_listed_is_tried_here() -> None:
    assert {ending.lower() for ending in (*SAVED, *GREY, *BILEVEL, *BY_HAND)} == set(IMAGE_SUFFIXES)


@pytest.mark.parametrize("ending", [".tga", ".pcx", ".ico", ".sgi", ".xbm", ".msp", ".dib"])
def test_kinds_without_a_signature_are_known_by_their_ending_only(tmp_path: Path, ending: str) -> None:
    flat("1" if ending in BILEVEL else "RGB").save(tmp_path / f"1{ending}")
    (tmp_path / "1.jpg").write_bytes((tmp_path / f"1{ending}").read_bytes())
    with pytest.raises(UnreadableImageError, match=r"1\.jpg"):
        read_image(tmp_path / "1.jpg")


@pytest.mark.parametrize("name", ["x.tga", "x.pcx", "x.sgi", "x.ico", "x.xbm"])
@pytest.mark.parametrize(
    "data", [b"<!DOCTYPE html>", b"\0" * 100, b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"]
)
def test_what_is_no_picture_is_none_under_such_an_ending_either(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UnreadableImageError):
        read_image(tmp_path / name)


@pytest.mark.parametrize("ending", [".avif", ".jp2", ".ppm", ".qoi", ".dds", ".tga", ".pcx"])
@pytest.mark.parametrize("kept", [0.5, 0.05])
def test_a_truncated_file_of_these_kinds_is_refused(tmp_path: Path, ending: str, kept: float) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / f"1{ending}")
    whole = (tmp_path / f"1{ending}").read_bytes()
    (tmp_path / f"1{ending}").write_bytes(whole[: int(len(whole) * kept)])
    with pytest.raises(UnreadableImageError):
        read_image(tmp_path / f"1{ending}")


HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200)


@pytest.mark.skipif(reads_heif(), reason="pillow-heif is installed")
def test_without_its_package_heic_says_what_to_install(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.png", "b/1.png", "b/2.HEIC")
    listing = list_dataset(tmp_path)
    assert [(each.path, each.reason) for each in listing.failures] == [("b/2.HEIC", HEIF_MISSING)]
    (tmp_path / "phone.jpg").write_bytes(HEIC)
    with pytest.raises(UnreadableImageError, match=r"'phone.jpg': HEIC needs .* pip install 'gradattn\[heif\]'\."):
        read_image(tmp_path / "phone.jpg")


@pytest.mark.skipif(find_spec("pillow_heif") is None, reason="pillow-heif is not installed: gradattn[heif]")
def test_with_its_package_heic_is_listed_and_read(tmp_path: Path) -> None:
    import pillow_heif

    pillow_heif.register_heif_opener()
    touch(tmp_path, "a/1.png")
    (tmp_path / "b").mkdir()
    flat().save(tmp_path / "b" / "1.heic", "HEIF")
    assert rows(list_dataset(tmp_path))[-1] == ("b/1.heic", "b")
    pixels = np.asarray(read_image(tmp_path / "b" / "1.heic").image, np.int16)
    assert np.abs(pixels - (200, 40, 90)).max() <= 6
    (tmp_path / "cut.heic").write_bytes((tmp_path / "b" / "1.heic").read_bytes()[:100])
    with pytest.raises(UnreadableImageError):
        read_image(tmp_path / "cut.heic")


def test_other_pictures_are_failures_and_other_files_are_skipped(tmp_path: Path) -> None:
    touch(
        tmp_path, "a/1.png", "b/1.png", "b/raw.CR2", "b/logo.svg", "b/notes.txt", "b/movie.mp4", "b/1.jxl", "b/noending"
    )
    listing = list_dataset(tmp_path)
    assert {each.path: each.reason for each in listing.failures} == dict.fromkeys(
        ("b/1.jxl", "b/logo.svg", "b/raw.CR2"), OTHER_KIND
    )
    assert [each.path for each in listing.skipped] == ["b/movie.mp4", "b/noending", "b/notes.txt"]
    assert unread_picture("x.png") is None and unread_picture("x.txt") is None


def test_names_of_systems_are_told_from_those_of_classes() -> None:
    for name in ("Thumbs", "@eaDir", "$RECYCLE.BIN", "LOST+FOUND", "System Volume Information", "__macosx"):
        assert passed_over(name, folder=True), name
    for name in ("thumbs", "thumbs up", "recycle", "lost", "system", "desktop", "trash", "@", "$", "~"):
        assert passed_over(name, folder=True) is None, name
