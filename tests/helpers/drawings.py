"""Pictures and maps to draw, and where a picture stands in a figure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gradattn_core.records import FloatArray


def noise(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def one_hot(row: int, column: int, value: float = 1.0, shape: tuple[int, int] = (4, 5)) -> FloatArray:
    scores = np.zeros(shape, dtype=np.float32)
    scores[row, column] = value
    return scores


def tinted(picture: Image.Image) -> NDArray[np.bool_]:
    """[height, width] whether a pixel is anything but grey."""
    pixels = np.asarray(picture).astype(int)
    return np.asarray(np.ptp(pixels, axis=2) > 0)


def places(figure: Image.Image, picture: Image.Image) -> list[tuple[int, int]]:
    """(top, left) of every place where the figure shows the picture, pixel by pixel."""
    whole, part = np.asarray(figure), np.asarray(picture.convert("RGB"))
    height, width = part.shape[:2]
    first = (whole[: len(whole) - height + 1, : whole.shape[1] - width + 1] == part[0, 0]).all(-1)
    corners = zip(*(axis.tolist() for axis in np.nonzero(first)), strict=True)
    return [(y, x) for y, x in corners if np.array_equal(whole[y : y + height, x : x + width], part)]
