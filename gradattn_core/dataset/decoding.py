"""One image: its bytes, wherever it lies, and its upright 8-bit RGB pixels; or one plain sentence why not."""

from __future__ import annotations

import errno
import logging
import re
import stat
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import blake2b
from io import BytesIO
from pathlib import Path
from typing import Any, cast

import numpy as np
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    CurImagePlugin,
    DdsImagePlugin,
    FitsImagePlugin,
    GifImagePlugin,
    IcoImagePlugin,
    Image,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    MspImagePlugin,
    PcxImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    PsdImagePlugin,
    QoiImagePlugin,
    SgiImagePlugin,
    SunImagePlugin,
    TgaImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
    XbmImagePlugin,
    XpmImagePlugin,
)

from gradattn_core.dataset import storage
from gradattn_core.dataset.address import canonical, file_name, is_url, join, member
from gradattn_core.dataset.archives import read_member
from gradattn_core.dataset.endings import HEIF_MISSING, reads_heif, suffix
from gradattn_core.dataset.parquet import read_cell
from gradattn_core.dataset.secrets import remember
from gradattn_core.dataset.text import cause, file_problem, shown
from gradattn_core.errors import UnreadableImageError

MAX_FILE_BYTES = 2**30

# Only these decoders are offered a file; Pillow knows others that are dangerous on strangers' files (EPS starts
# Ghostscript). Importing the plugins here registers them once, not during the first, possibly concurrent, open.
_FORMATS = tuple(
    plugin.format
    for plugin in (
        JpegImagePlugin.JpegImageFile,
        PngImagePlugin.PngImageFile,
        WebPImagePlugin.WebPImageFile,
        BmpImagePlugin.BmpImageFile,
        TiffImagePlugin.TiffImageFile,
        GifImagePlugin.GifImageFile,
        AvifImagePlugin.AvifImageFile,
        Jpeg2KImagePlugin.Jpeg2KImageFile,
        PpmImagePlugin.PpmImageFile,
        QoiImagePlugin.QoiImageFile,
        PsdImagePlugin.PsdImageFile,
        DdsImagePlugin.DdsImageFile,
        FitsImagePlugin.FitsImageFile,
        SunImagePlugin.SunImageFile,
    )
)
# These begin in no way of their own, so a damaged picture or a text could pass for one: the name must say it too.
_FORMATS_BY_ENDING = {
    ".tga": TgaImagePlugin.TgaImageFile.format,
    ".pcx": PcxImagePlugin.PcxImageFile.format,
    ".dib": BmpImagePlugin.DibImageFile.format,
    ".ico": IcoImagePlugin.IcoImageFile.format,
    ".cur": CurImagePlugin.CurImageFile.format,
    **dict.fromkeys((".sgi", ".rgb", ".rgba", ".bw"), SgiImagePlugin.SgiImageFile.format),
    ".xbm": XbmImagePlugin.XbmImageFile.format,
    ".xpm": XpmImagePlugin.XpmImageFile.format,
    ".msp": MspImagePlugin.MspImageFile.format,
}
_SIGNATURES = (
    *(b"\xff\xd8\xff", b"\x89PNG", b"RIFF", b"BM", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"GIF8"),
    *(b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51", b"qoif", b"8BPS", b"DDS ", b"SIMPLE"),
)
_HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})

_ORIENTATION_TAG = 0x0112
# ImageOps.exif_transpose has the same table, but also writes the metadata anew, which fails where they are damaged.
_TO_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_LYING = (5, 6, 7, 8)
_BITS_PER_SAMPLE_TAG, _PHOTOMETRIC_TAG, _WHITE_IS_ZERO = 258, 262, 0

_PILLOW_WARNINGS = ("ignore", None, Warning, re.compile(r"PIL\."), 0)
# without a handler, what Pillow logs about a broken file would reach the terminal in the middle of a progress bar
logging.getLogger("PIL").addHandler(logging.NullHandler())


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """One decoded image file.

    Attributes:
        image: 8-bit RGB, upright, transparency over white, without metadata (so nobody turns it upright twice); smaller
            than the file's where that was asked for.
        width, height: size of the file's upright image in pixels.
    """

    image: Image.Image
    content_hash: str
    width: int
    height: int


def read_image(path: Path | str, *, max_pixels: int = 100_000_000) -> DecodedImage:
    """Read, hash and decode one picture of a format that Pillow reads (the first frame of an animation), or HEIC.

    The content decides the format, not the file's ending, but for TGA and some others that have no signature: their
    ending must say so as well. HEIC needs the package pillow-heif. EXIF orientation is applied. 16-bit grey is scaled
    by 255/65535. Greys of 32 bits have no agreed range: values within [0, 1] (floats only), [0, 255] or [0, 65535] are
    taken to use that range, all others are stretched between their least and greatest finite value. May be called from
    many threads at once.

    Args:
        path: the file, or a URL or member of an archive as text.
        max_pixels: refuse an image whose header announces more, before any of it is decoded. Pillow's own limit
            (``2 * PIL.Image.MAX_IMAGE_PIXELS``, 179 million) stands above it.

    Raises:
        UnreadableImageError: the file cannot be read or decoded; the message names the file without its folder.
    """
    place = canonical(remember(str(path)))
    return decode_image(read_address(place), file_name(place), max_pixels=max_pixels)


def decode_image(
    data: bytes,
    name: str,
    *,
    max_pixels: int = 100_000_000,
    suffices: Callable[[int, int], tuple[int, int]] | None = None,
) -> DecodedImage:
    """:func:`read_image` for the bytes of a file that messages call ``name``.

    Args:
        suffices: maps width and height of the upright image to the least ones that will do. A JPEG is then decoded at a
            half, a quarter or an eighth of its size where that is no smaller, which takes a fraction of the time.
    """
    with _ignoring_pillow_warnings():
        image, width, height = _decode(shown(name), data, max_pixels, suffices)
    return DecodedImage(image, content_hash(data), width, height)


def content_hash(data: bytes) -> str:
    """BLAKE2b-128 of a file's bytes, 32 hexadecimal digits: by it an image is known again wherever it lies."""
    return blake2b(data, digest_size=16).hexdigest()


def read_bytes(root: str, path: str) -> bytes:
    """Read the image that a dataset with this root lists under ``path``. May be called from many threads at once.

    Raises:
        UnreadableImageError: it cannot be read, is empty, or too large; the message names the file without its folder.
        DatasetError: the package that reads such a URL is not installed.
    """
    return read_address(join(root, path))


def read_address(address: str) -> bytes:
    """Read one file or member, see :mod:`gradattn_core.dataset.address`; raises what :func:`read_bytes` does."""
    inner = member(address)
    name = shown(file_name(inner.outer if inner else address))
    try:
        if not is_url(address):
            data = _read_file(Path(address), name)
        elif inner is None:
            data = storage.read(address)
        elif inner.kind == "parquet":
            column, _, row = inner.inside.rpartition("/")
            data = read_cell(column, int(row) if row.isdecimal() else -1, inner.outer)
        else:
            data = read_member(inner.kind, inner.inside, inner.outer)
    except (OSError, ValueError) as error:
        raise UnreadableImageError(f"{name} {file_problem(error)}.") from None
    if not data:
        raise UnreadableImageError(f"{shown(file_name(address))} is empty (0 bytes).")
    return data


def _read_file(path: Path, name: str) -> bytes:
    """A file of this machine, whole."""
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise UnreadableImageError(f"{name} is a folder, not an image.")
        if not stat.S_ISREG(status.st_mode):  # a named pipe would block for ever
            raise UnreadableImageError(f"{name} is not a regular file.")
        if status.st_size > MAX_FILE_BYTES:
            raise UnreadableImageError(f"{name} has {status.st_size:,} bytes, more than {MAX_FILE_BYTES:,}.")
        return path.read_bytes()
    except PermissionError:
        raise PermissionError(errno.EACCES, "no permission") from None


def _decode(
    name: str, data: bytes, max_pixels: int, suffices: Callable[[int, int], tuple[int, int]] | None
) -> tuple[Image.Image, int, int]:
    """The image, and the width and height that it has in the file, upright."""
    try:
        with Image.open(BytesIO(data), formats=_formats(name, data)) as source:
            if source.width * source.height > max_pixels:
                raise UnreadableImageError(
                    f"{name} announces {source.width:,} x {source.height:,} pixels, more than {max_pixels:,}."
                )
            size = None
            if suffices is not None and source.format == "JPEG":
                size = _draft(source, suffices)
            source.load()
            image = _as_rgb(source)
            if (turn := _TO_UPRIGHT.get(_orientation(source))) is not None:
                image = image.transpose(turn)
    except UnreadableImageError:
        raise
    except UnidentifiedImageError:
        if data.startswith(_SIGNATURES):
            raise UnreadableImageError(f"{name} is truncated or damaged: its header cannot be read.") from None
        kinds = ", ".join(_FORMATS)
        raise UnreadableImageError(f"{name} is not an image (none of {kinds}).") from None
    except Image.DecompressionBombError:
        limit = min(max_pixels, 2 * (Image.MAX_IMAGE_PIXELS or max_pixels))
        raise UnreadableImageError(f"{name} announces more than {limit:,} pixels.") from None
    except MemoryError:
        raise UnreadableImageError(f"{name} does not fit into memory.") from None
    # a damaged file makes Pillow's decoders raise nearly anything (OSError, SyntaxError, struct.error, KeyError, …)
    except Exception as error:
        raise UnreadableImageError(f"{name} is truncated or damaged ({cause(error)}).") from None
    image.info.clear()
    return (image, *(size or image.size))


def _formats(name: str, data: bytes) -> tuple[str, ...]:
    """The decoders that a file is offered."""
    if data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS:
        if reads_heif():
            import pillow_heif

            pillow_heif.register_heif_opener()
            return (*_FORMATS, "HEIF")
        # The brands of HEIF may hold AVIF as well.
        if b"avif" not in data[8:64]:
            raise UnreadableImageError(f"{name}: {HEIF_MISSING}.")
    by_ending = _FORMATS_BY_ENDING.get(suffix(name.rstrip("'\"")))
    return _FORMATS if by_ending is None else (*_FORMATS, by_ending)


def _draft(source: Image.Image, suffices: Callable[[int, int], tuple[int, int]]) -> tuple[int, int]:
    """Let the file be decoded no larger than needed; its upright width and height."""
    width, height = source.size
    if _orientation(source) in _LYING:
        least_height, least_width = suffices(height, width)
        source.draft(None, (least_width, least_height))
        return height, width
    source.draft(None, suffices(width, height))
    return width, height


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F" or image.mode.startswith("I"):
        return _eight_bit_grey(image).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")


def _eight_bit_grey(image: Image.Image) -> Image.Image:
    """Greys of more than 8 bits; Pillow's own conversion would clip every value above 255 to white."""
    tags = getattr(image, "tag_v2", {})
    raw = np.asarray(image)
    values = raw.astype(np.float32)
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    if image.mode.startswith("I;16"):
        low, high = 0.0, 2.0 ** int(tags.get(_BITS_PER_SAMPLE_TAG, (16,))[0]) - 1
    else:
        # resampling overshoots a little, so a float of 1.02 still belongs to the range [0, 1]
        ranges, slack = ((1.0, 255.0, 65535.0), 1.5) if image.mode == "F" else ((255.0, 65535.0), 1.0)
        fitting = [full for full in ranges if low >= 0 and high <= full * slack]
        low, high = (0.0, fitting[0]) if fitting else (low, high)
    grey = (np.nan_to_num(values, nan=low, posinf=high, neginf=low) - low) * (255.0 / ((high - low) or 1.0))
    grey = np.rint(grey).clip(0, 255).astype(np.uint8)
    if tags.get(_PHOTOMETRIC_TAG) == _WHITE_IS_ZERO:  # Pillow inverts such TIFFs up to 8 bits only
        grey = 255 - grey
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey[raw == transparent] = 255
    return Image.fromarray(grey)


def _orientation(image: Image.Image) -> int:
    # broken metadata must not cost an otherwise good picture
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:
        return 1


@contextmanager
def _ignoring_pillow_warnings() -> Iterator[None]:
    """Silence Pillow's warnings here and nothing else.

    ``warnings.catch_warnings`` is no use: two threads that leave it in the other order leave the filters of one behind,
    and it makes every other warning of the process, shown once so far, appear again. Adding and removing one entry
    of the list is atomic, and equal entries of several threads do not disturb each other.
    """
    filters = cast(list[Any], warnings.filters)
    filters.insert(0, _PILLOW_WARNINGS)
    try:
        yield
    finally:
        with suppress(ValueError):  # someone has reset all filters meanwhile
            filters.remove(_PILLOW_WARNINGS)
