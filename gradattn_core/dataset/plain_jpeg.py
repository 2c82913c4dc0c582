"""JPEG files that mean nothing but their pixels, by torchvision's decoder: the pixels of Pillow's in less time.

Both are libjpeg-turbo; Pillow keeps four bytes a pixel and hands them over in pieces. What torchvision's finds damaged
it says to the process's standard error, past Python, where it would end up in the middle of a progress bar or of a log
in JSON: so it is for processes that nobody listens to. It is deprecated since torchvision 0.29, for a package that
gradattn does not need; where it is gone, every file is left to Pillow.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

from PIL import Image

from gradattn_core.dataset.decoding import (
    JPEG,
    JPEG_END,
    TO_UPRIGHT,
    content_hash,
    ignoring_pillow_warnings,
    orientation_of,
)

if TYPE_CHECKING:
    from torch import Tensor

_MODES = ("RGB", "L")


@dataclass(frozen=True, slots=True)
class PlainJpeg:
    """A decoded file, as :class:`~gradattn_core.dataset.decoding.DecodedImage` has it.

    Attributes:
        pixels: [3, height, width] uint8, RGB.
    """

    pixels: Tensor
    content_hash: str
    width: int
    height: int


def plain_jpeg(
    data: bytes, suffices: Callable[[int, int], tuple[int, int]], *, max_pixels: int = 100_000_000
) -> PlainJpeg | None:
    """The picture of a JPEG file, grey or in colours, that lies upright and is whole; None of any other.

    Whoever gets None asks :func:`~gradattn_core.dataset.decoding.decode_image`, which knows what else there is: other
    formats, CMYK, orientations, several pictures in one file, files that break off, and what to say of broken ones.

    Args:
        suffices: as in ``decode_image``; a picture that Pillow would decode at a part of its size is left to it.
        max_pixels: as in ``decode_image``.
    """
    if not (data.startswith(JPEG) and data.endswith(JPEG_END)):
        return None
    try:
        with ignoring_pillow_warnings(), Image.open(BytesIO(data), formats=("JPEG",)) as source:
            width, height = source.size
            is_plain = source.format == "JPEG" and source.mode in _MODES and orientation_of(source) not in TO_UPRIGHT
            if not is_plain or width * height > max_pixels:
                return None
            source.draft(None, suffices(width, height))
            if source.size != (width, height):
                return None
        pixels = _decoded(data)
    except Exception:  # decode_image says what is wrong with it
        return None
    return PlainJpeg(pixels, content_hash(data), width, height) if pixels.shape[1:] == (height, width) else None


def _decoded(data: bytes) -> Tensor:
    """[3, H, W] uint8; raises RuntimeError where the file is broken."""
    import torch
    from torchvision.io import ImageReadMode, decode_jpeg

    pixels: Tensor = decode_jpeg(torch.frombuffer(bytearray(data), dtype=torch.uint8), ImageReadMode.RGB)
    return pixels
