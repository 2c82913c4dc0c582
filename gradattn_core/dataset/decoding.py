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
from gradattn_core.dataset.address import BOXES, box_path, canonical, file_name, is_url, join, member
from gradattn_core.dataset.archives import read_member
from gradattn_core.dataset.boxes import Kept, Part, mark, part_of
from gradattn_core.dataset.contents import HEAD, what_it_is
from gradattn_core.dataset.endings import HEIF_MISSING, reads_heif, suffix
from gradattn_core.dataset.parquet import read_cell
from gradattn_core.dataset.pixels import FULL_WHITE, Alpha, as_rgb, deep_colour, deep_grey, deep_values, is_deep
from gradattn_core.dataset.secrets import remember
from gradattn_core.dataset.text import cause, file_problem, shown
from gradattn_core.errors import EmptyFileError, UnreadableImageError

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
TO_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_LYING = (5, 6, 7, 8)
_SAMPLES_PER_PIXEL_TAG = 277
# A JPEG that lacks its end is a picture where so much of it is there.
_MOST_OF_IT = 0.75
JPEG, JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"
_HEADER = 2**16
_NOISE = bytes((7 * number) % 255 for number in range(4096))

_PILLOW_WARNINGS = ("ignore", None, Warning, re.compile(r"PIL\."), 0)
# without a handler, what Pillow logs about a broken file would reach the terminal in the middle of a progress bar
logging.getLogger("PIL").addHandler(logging.NullHandler())


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """One decoded image file.

    Attributes:
        image: 8-bit RGB, upright, without transparency and metadata (so nobody turns it upright twice); smaller
            than the file's where that was asked for.
        width, height: size of the file's upright image in pixels.
        alpha: what was done where transparency left nothing to see on white.
    """

    image: Image.Image
    content_hash: str
    width: int
    height: int
    alpha: Alpha = ""


def read_image(path: Path | str, *, max_pixels: int = 100_000_000, white: int = FULL_WHITE) -> DecodedImage:
    """Read, hash and decode one picture of a format that Pillow reads (the first frame of an animation), or HEIC.

    The content decides the format, not the file's ending, but for TGA and some others that have no signature: their
    ending must say so as well. HEIC needs the package pillow-heif. EXIF orientation is applied. 16 bits are scaled by
    255/``white``, or 255/65535 in a picture that passes it. Greys of 32 bits have no agreed range: values within [0, 1]
    (floats only), [0, 255] or [0, 65535] are taken to use that range, all others are stretched between their least and
    greatest finite value. Transparency is laid over white; where that leaves nothing to see, see
    :func:`gradattn_core.dataset.pixels.as_rgb`. A JPEG without its end is read if three quarters of it are there. May
    be called from many threads at once.

    Args:
        path: the file, or a URL or member of an archive as text.
        max_pixels: refuse an image whose header announces more, before any of it is decoded. Pillow's own limit
            (``2 * PIL.Image.MAX_IMAGE_PIXELS``, 179 million) stands above it.
        white: the value of 16 bits that is white, see :func:`gradattn_core.dataset.pixels.white_of`.

    Raises:
        UnreadableImageError: the file cannot be read or decoded; the message names the file without its folder.
    """
    place = canonical(remember(str(path)))
    return decode_image(read_address(place), file_name(place), max_pixels=max_pixels, white=white)


def decode_image(
    data: bytes,
    name: str,
    *,
    max_pixels: int = 100_000_000,
    suffices: Callable[[int, int], tuple[int, int]] | None = None,
    white: int = FULL_WHITE,
) -> DecodedImage:
    """:func:`read_image` for the bytes of a file that messages call ``name``.

    Args:
        suffices: maps width and height of the upright image to the least ones that will do. A JPEG is then decoded at a
            half, a quarter or an eighth of its size where that is no smaller, which takes a fraction of the time.
    """
    part = part_of(data)
    if part is not None:
        return _cut_out(part, content_hash(data), name, max_pixels, white)
    return _whole(data, _Asked(shown(name), max_pixels, suffices, white))


def _whole(data: bytes, asked: _Asked) -> DecodedImage:
    with ignoring_pillow_warnings():
        image, (width, height), alpha = _decode(data, asked)
    return DecodedImage(image, content_hash(data), width, height, alpha)


_whole_pictures: Kept[DecodedImage] = Kept(lambda decoded: decoded.width * decoded.height)


def _cut_out(part: Part, content: str, name: str, max_pixels: int, white: int) -> DecodedImage:
    """The part of a picture, which is decoded once for all of its boxes."""
    path = box_path(name)
    name = name if path is None else path.picture

    def whole() -> DecodedImage:
        return _whole(part.data, _Asked(shown(name), max_pixels, None, white))

    decoded = _whole_pictures.of((content_hash(part.data), name, max_pixels, white), whole)
    corners = part.of(decoded.width, decoded.height)
    if corners is None:
        raise UnreadableImageError(
            f"{shown(name)} has {decoded.width:,} x {decoded.height:,} pixels, and its box does not lie in them."
        )
    image = decoded.image.crop(corners)
    return DecodedImage(image, content, image.width, image.height, decoded.alpha)


def picture_size(address: str) -> tuple[int, int, int]:
    """Width and height of an upright picture, and how its file has it (1 to 8, of EXIF); only its header is decoded.

    Raises:
        UnreadableImageError: the header cannot be read.
    """
    name = file_name(address)
    try:
        if is_url(address):
            data = read_address(address)
        else:
            with open(address, "rb") as file:
                # A header seldom lies deeper; where it does the whole file is read.
                data = file.read(_HEADER)
        with ignoring_pillow_warnings():
            try:
                source = Image.open(BytesIO(data), formats=_formats(name, data))
                orientation = orientation_of(source)
            except Exception:
                data = read_address(address)
                source = Image.open(BytesIO(data), formats=_formats(name, data))
                orientation = orientation_of(source)
            width, height = source.size
    except UnreadableImageError:
        raise
    except OSError as error:
        problem = "is not an image" if isinstance(error, UnidentifiedImageError) else file_problem(error)
        raise UnreadableImageError(f"{shown(name)} {problem}.") from None
    except Exception as error:  # as whoever decodes it will say better
        raise UnreadableImageError(f"{shown(name)} is damaged: its header cannot be read ({cause(error)}).") from None
    return (height, width, orientation) if orientation in _LYING else (width, height, orientation)


def deepest_value(data: bytes, name: str) -> int | None:
    """The greatest value of a picture that has 16 bits a channel; None of any other, and of one that cannot be read."""
    part = part_of(data)
    data = data if part is None else part.data
    try:
        with ignoring_pillow_warnings(), Image.open(BytesIO(data), formats=_formats(name, data)) as source:
            if not is_deep(source):
                return None
            values = deep_values(source, lambda: Image.open(BytesIO(data), formats=_formats(name, data)))
    except Exception:  # whoever decodes it says what is wrong
        return None
    return None if values is None or not values.size else int(values.max())


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
        elif inner.kind == BOXES:
            data = mark(read_address(inner.outer), inner.inside)
        elif inner.kind == "parquet":
            column, _, row = inner.inside.rpartition("/")
            data = read_cell(column, int(row) if row.isdecimal() else -1, inner.outer)
        else:
            data = read_member(inner.kind, inner.inside, inner.outer)
    except (OSError, ValueError) as error:
        raise UnreadableImageError(f"{name} {file_problem(error)}.") from None
    if not data:
        raise EmptyFileError(f"{shown(file_name(address))} is empty (0 bytes).")
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


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is asked of a decoder; ``name`` as messages show it, the others as in :func:`decode_image`."""

    name: str
    max_pixels: int
    suffices: Callable[[int, int], tuple[int, int]] | None
    white: int


def _decode(data: bytes, asked: _Asked) -> tuple[Image.Image, tuple[int, int], Alpha]:
    """The image, the width and height that it has in the file, upright, and what was done with its transparency."""
    name = asked.name
    try:
        return _decoded(data, asked)
    except UnreadableImageError:
        raise
    except UnidentifiedImageError:
        if (bands := _bands(data)) > 4:
            raise UnreadableImageError(f"{name} has {bands} bands; pictures with 1, 3 or 4 are read.") from None
        if data.startswith(_SIGNATURES):
            raise UnreadableImageError(f"{name} is truncated or damaged: its header cannot be read.") from None
        if what := what_it_is(data[:HEAD]):
            raise UnreadableImageError(f"{name} is no picture but {what}.") from None
        kinds = ", ".join(_FORMATS)
        raise UnreadableImageError(f"{name} is not an image (none of {kinds}).") from None
    except Image.DecompressionBombError:
        limit = min(asked.max_pixels, 2 * (Image.MAX_IMAGE_PIXELS or asked.max_pixels))
        raise UnreadableImageError(f"{name} announces more than {limit:,} pixels.") from None
    except MemoryError:
        raise UnreadableImageError(f"{name} does not fit into memory.") from None
    # a damaged file makes Pillow's decoders raise nearly anything (OSError, SyntaxError, struct.error, KeyError, …)
    except Exception as error:
        problem = f"{name} is truncated or damaged ({cause(error)})."
        if not data.startswith(JPEG) or "truncated" not in str(error):
            raise UnreadableImageError(problem) from None
    # Outside of the handler, which would hold the pixels of the first try.
    return _without_its_end(data, asked, problem)


def _decoded(data: bytes, asked: _Asked) -> tuple[Image.Image, tuple[int, int], Alpha]:
    def reopen() -> Image.Image:
        return Image.open(BytesIO(data), formats=_formats(asked.name, data))

    with reopen() as source:
        if source.width * source.height > asked.max_pixels:
            raise UnreadableImageError(
                f"{asked.name} announces {source.width:,} x {source.height:,} pixels, more than {asked.max_pixels:,}."
            )
        size = None
        if asked.suffices is not None and source.format == "JPEG":
            size = _draft(source, asked.suffices)
        colours = None
        if asked.white < FULL_WHITE and is_deep(source) and not source.mode.startswith("I"):
            colours = deep_values(source, reopen)
        source.load()
        alpha: Alpha = ""
        if source.mode == "F" or source.mode.startswith("I"):
            image = deep_grey(source, asked.white).convert("RGB")
        else:
            image, alpha = as_rgb(source if colours is None else deep_colour(colours, asked.white))
        if (turn := TO_UPRIGHT.get(orientation_of(source))) is not None:
            image = image.transpose(turn)
        elif image is source:
            # The same pixels without the file's metadata; a copy of them takes as long as half of a resize.
            image = source._new(source.im)
    image.info.clear()
    return image, size or image.size, alpha


def _without_its_end(data: bytes, asked: _Asked, problem: str) -> tuple[Image.Image, tuple[int, int], Alpha]:
    """A JPEG that breaks off, as every viewer shows it, where nearly all of it is there.

    What is missing is told by two decodings that go on differently behind the break: they differ from there on.
    """
    try:
        found = _decoded(data + JPEG_END, asked)
        other = _decoded(data + _NOISE + JPEG_END, asked)[0]
    except UnreadableImageError:
        raise
    except Exception:
        raise UnreadableImageError(problem) from None
    differs = np.any(np.asarray(found[0]) != np.asarray(other), axis=2)
    height, width = (np.flatnonzero(differs.any(axis=axis)) for axis in (1, 0))
    there = 1.0
    if len(height):  # the picture may have been turned upright, so that its end is at any side
        there -= (height[-1] - height[0] + 1) * (width[-1] - width[0] + 1) / differs.size
    if there < _MOST_OF_IT:
        raise UnreadableImageError(
            f"{asked.name} breaks off: {there:.0%} of the picture is there, and {_MOST_OF_IT:.0%} are needed."
        )
    return found


def _bands(data: bytes) -> int:
    """How many bands a TIFF says that it has; 0 where it does not tell or is none."""
    try:
        tags = TiffImagePlugin.ImageFileDirectory_v2(data[:8])
        file = BytesIO(data)
        file.seek(tags.next)
        tags.load(file)
        return int(tags.get(_SAMPLES_PER_PIXEL_TAG, 0))
    except Exception:
        return 0


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
    if orientation_of(source) in _LYING:
        least_height, least_width = suffices(height, width)
        source.draft(None, (least_width, least_height))
        return height, width
    source.draft(None, suffices(width, height))
    return width, height


def orientation_of(image: Image.Image) -> int:
    # broken metadata must not cost an otherwise good picture
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:
        return 1


@contextmanager
def ignoring_pillow_warnings() -> Iterator[None]:
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
