"""Pixels as they are meant: deep ones in the range that is used, and transparency without hiding all there is."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

FULL_WHITE = 65535
"""The value that is white in 16 bits, where nothing else is known."""
_RANGES = (255, 1023, 4095, 16383, FULL_WHITE)
"""What 8, 10, 12, 14 and 16 bits can hold; cameras and scanners write any of them into 16."""

Alpha = Literal["", "ignored", "on black"]
"""What was done with a transparency that left nothing to see on white: nothing, as there was something to see; the
colours are shown without it; or on black."""

_BITS_PER_SAMPLE_TAG, _PHOTOMETRIC_TAG, _WHITE_IS_ZERO = 258, 262, 0
# Of 8 bits: colours that differ by no more look the same, and a spot of fewer pixels of a thousand is no picture.
_ALIKE, _SPOT = 8, 1e-3
_NATIVE = "L" if sys.byteorder == "little" else "B"
_COLOUR = {f"{bands};16{order}": (bands, order) for bands in ("RGB", "RGBA") for order in "LBN"}
_GREY_AND_ALPHA = "LA;16B"


def white_of(maxima: Sequence[int]) -> int:
    """The value that is white in 16-bit pictures with these greatest values: of the usual ranges the one they fill."""
    return next(white for white in _RANGES if max(maxima, default=FULL_WHITE) <= white)


def as_rgb(image: Image.Image) -> tuple[Image.Image, Alpha]:
    """A picture of eight bits as RGB, over white where it is transparent; itself where it is that.

    Where this leaves nothing to see and there is something, the colours are taken without a transparency that is the
    same everywhere, and black is laid under one that has a shape.
    """
    if not image.has_transparency_data:
        return (image if image.mode == "RGB" else image.convert("RGB")), ""
    rgba = image.convert("RGBA")
    on_white = _over(rgba, "white")
    if not _is_blank(on_white):
        return on_white, ""
    low, high = cast(tuple[int, int], rgba.getchannel("A").getextrema())
    if low == high == 255:
        return on_white, ""
    shapeless = high - low <= _ALIKE
    instead = rgba.convert("RGB") if shapeless else _over(rgba, "black")
    return (on_white, "") if _is_blank(instead) else (instead, "ignored" if shapeless else "on black")


def deep_grey(image: Image.Image, white: int) -> Image.Image:
    """Greys of more than 8 bits as 8; Pillow's own conversion would clip every value above 255 to white.

    Args:
        white: the value of 16 bits that is white; a picture that passes it has the full range.
    """
    tags = getattr(image, "tag_v2", {})
    raw = np.asarray(image)
    values = raw.astype(np.float32)
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    if image.mode.startswith("I;16"):
        bits = int(tags.get(_BITS_PER_SAMPLE_TAG, (16,))[0])
        low, high = 0.0, 2.0**bits - 1 if bits < 16 or high > white else float(white)
    else:
        # resampling overshoots a little, so a float of 1.02 still belongs to the range [0, 1]
        full = float(FULL_WHITE)
        ranges, slack = ((1.0, 255.0, full), 1.5) if image.mode == "F" else ((255.0, float(white), full), 1.0)
        fitting = [each for each in ranges if low >= 0 and high <= each * slack]
        low, high = (0.0, fitting[0]) if fitting else (low, high)
    grey = (np.nan_to_num(values, nan=low, posinf=high, neginf=low) - low) * (255.0 / ((high - low) or 1.0))
    grey = np.rint(grey).clip(0, 255).astype(np.uint8)
    if tags.get(_PHOTOMETRIC_TAG) == _WHITE_IS_ZERO:  # Pillow inverts such TIFFs up to 8 bits only
        grey = 255 - grey
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey[raw == transparent] = 255
    return Image.fromarray(grey)


def is_deep(image: Image.Image) -> bool:
    """Whether a picture that is opened and not loaded has 16 bits a channel, and nothing says that it uses fewer."""
    if image.mode.startswith("I;16"):
        return int(getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE_TAG, (16,))[0]) == 16
    return _raw_mode(image) is not None


def deep_values(image: Image.Image, reopen: Callable[[], Image.Image]) -> NDArray[np.uint16] | None:
    """[H, W] or [H, W, bands] the 16-bit values of a picture; None where they cannot be had.

    Of colours Pillow keeps the higher byte of each value only. Read in the other order of bytes it keeps the lower one.

    Args:
        image: that is opened and not loaded.
        reopen: opens it again.
    """
    if image.mode.startswith("I;16"):
        return np.asarray(image).astype(np.uint16)
    raw = _raw_mode(image)
    if raw is None:
        return None
    if raw == _GREY_AND_ALPHA:  # of which there is no other order
        image.load()
        return np.asarray(image).astype(np.uint16) * np.uint16(257)
    bands, order = _COLOUR[raw]
    other = f"{bands};16{'L' if (_NATIVE if order == 'N' else order) == 'B' else 'B'}"
    with reopen() as again:
        tiles: list[Any] = again.tile  # type: ignore[attr-defined]
        again.tile = [tile._replace(args=_with_mode(tile.args, other)) for tile in tiles]  # type: ignore[attr-defined]
        again.load()
        lower = np.asarray(again).astype(np.uint16)
    image.load()
    return np.asarray(image).astype(np.uint16) * np.uint16(256) + lower


def deep_colour(values: NDArray[np.uint16], white: int) -> Image.Image:
    """[H, W, 3 or 4] 16-bit colours as 8 bits, in the range up to ``white``; one that passes it has the full range."""
    scaled = np.empty(values.shape, np.uint8)
    for part in (slice(0, 3), slice(3, 4)):  # transparency has a range of its own
        of_part = values[:, :, part]
        full = white if of_part.size and int(of_part.max()) <= white else FULL_WHITE
        scaled[:, :, part] = np.rint(of_part * np.float32(255 / full)).clip(0, 255)
    return Image.fromarray(scaled)


def _raw_mode(image: Image.Image) -> str | None:
    tiles = getattr(image, "tile", None)
    if not tiles:
        return None
    args = tiles[0].args
    raw = args[0] if isinstance(args, tuple) and args else args
    return raw if raw in (*_COLOUR, _GREY_AND_ALPHA) else None


def _with_mode(args: Any, raw: str) -> Any:
    return (raw, *args[1:]) if isinstance(args, tuple) else raw


def _over(rgba: Image.Image, colour: str) -> Image.Image:
    return Image.alpha_composite(Image.new("RGBA", rgba.size, colour), rgba).convert("RGB")


def _is_blank(image: Image.Image) -> bool:
    """Whether there is nothing to see: but for a spot, all of it looks the same."""
    pixels = image.width * image.height
    histogram = np.asarray(image.histogram()).reshape(3, 256)
    most = histogram.argmax(axis=1)
    values = np.arange(256)
    others = [int(band[np.abs(values - at) > _ALIKE].sum()) for band, at in zip(histogram, most, strict=True)]
    return max(others) <= _SPOT * pixels
