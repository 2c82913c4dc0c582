"""A signed map laid over its picture, aligned to the pixel."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from gradattn_core.errors import InterpretError
from gradattn_core.reasons import contradicted
from gradattn_core.records import Box, Evidence, FloatArray, Region

Palette = Literal["red-blue", "orange-purple"]
Colour = tuple[int, int, int]

# (speaks for the given label, speaks for the other class). Orange and purple are ColorBrewer's PuOr ends, which
# people with any of the common colour vision deficiencies tell apart.
PALETTES: dict[Palette, tuple[Colour, Colour]] = {
    "red-blue": ((200, 12, 24), (22, 44, 205)),
    "orange-purple": ((224, 98, 0), (84, 39, 136)),
}

# For maps without a sign: a colour that belongs to neither class, of about the same darkness.
_UNSIGNED: dict[Palette, Colour] = {"red-blue": (0, 112, 54), "orange-purple": (0, 104, 100)}

# Of so many strokes to the longer side, white, black and two empty ones by turns, hatching is made.
_LINES = 120

# How far the grey picture is pulled towards white, so that dark pictures still let the colours through.
_WHITENING = 0.4


def overlay(
    image: Image.Image,
    scores: FloatArray,
    crop: Box,
    *,
    opacity: float = 0.6,
    smooth: bool = True,
    palette: Palette = "red-blue",
    unsigned: bool = False,
    limit: float | None = None,
    size: tuple[int, int] | None = None,
) -> Image.Image:
    """The whole picture in whitened grey, tinted where patches speak for the given label or for the other class.

    Args:
        image: the upright original picture.
        scores: [grid height, grid width] raw signed map; positive speaks for the given label.
        crop: the part of the original the grid covers, in original pixels; nothing outside it is tinted.
        opacity: opacity of the tint where ``|score|`` reaches ``limit``, in [0, 1]; proportional to ``|score|`` below.
        smooth: interpolate between patch centres (bicubic) instead of drawing each patch as a rectangle.
        palette: the pair of colours, see ``PALETTES``.
        unsigned: the map says how much a patch matters and not for whom (``absolute``): a third colour.
        limit: the score drawn at full opacity for either sign; the map's own ``max|score|`` when None.
        size: (width, height) of the result; the picture's own size when None.

    Returns:
        An RGB picture. A pixel carries the colour of the patch that its centre lies in.

    Raises:
        InterpretError: a map that is not a finite 2-D array, negative scores in an unsigned one, an empty crop, or a
            number out of range.
    """
    grid = _checked_scores(scores)
    positive, negative = colours(palette)
    if unsigned:
        if grid.min() < 0:
            raise InterpretError("scores hold negative numbers, so the map cannot be drawn as unsigned")
        positive = unsigned_colour(palette)
    if not 0.0 <= opacity <= 1.0:
        raise InterpretError(f"opacity {opacity} is outside [0, 1]")
    if not (crop.width > 0 and crop.height > 0):
        raise InterpretError(f"the crop {crop} is empty; it needs right > left and bottom > top")
    if limit is not None and not (math.isfinite(limit) and limit > 0):
        raise InterpretError(f"limit {limit} is not a positive number; leave it out to use the map's own maximum")
    base = whitened_grey(image, size)
    top = float(np.abs(grid).max()) if limit is None else limit
    if top == 0.0:
        return Image.fromarray(base.astype(np.uint8))
    height, width = base.shape[:2]
    across, down = width / image.width, height / image.height
    columns = _sampling(width, crop.left * across, crop.right * across, grid.shape[1], smooth)
    rows = _sampling(height, crop.top * down, crop.bottom * down, grid.shape[0], smooth)
    # Bicubic interpolation undershoots beside a strong patch. Each sign is interpolated by itself and cut at zero, so
    # that no colour appears where no patch of that sign is near.
    favourable, adverse = (np.clip(rows @ np.maximum(sign * grid / top, 0) @ columns.T, 0, 1) for sign in (1, -1))
    strength = (favourable - adverse)[..., None]
    tint = np.where(strength > 0, np.array(positive, np.float32), np.array(negative, np.float32))
    alpha = opacity * np.abs(strength)
    return Image.fromarray(np.rint(base * (1 - alpha) + tint * alpha).astype(np.uint8))


def outline_regions(
    picture: Image.Image,
    regions: Iterable[Region],
    original_size: tuple[int, int],
    *,
    palette: Palette = "red-blue",
) -> Image.Image:
    """A copy of ``picture`` with each region's bounding box drawn in its sign's colour.

    Args:
        picture: the original picture or its overlay, at any scale.
        regions: their boxes are in pixels of the original.
        original_size: (width, height) of the original, from which the scale follows.
    """
    framed = picture.convert("RGB")  # convert always copies
    draw = ImageDraw.Draw(framed)
    positive, negative = colours(palette)
    across, down = framed.width / original_size[0], framed.height / original_size[1]
    thickness = max(1, round(max(framed.size) / 240))
    for region in regions:
        box = region.box
        left, top = round(box.left * across), round(box.top * down)
        right, bottom = max(left, round(box.right * across) - 1), max(top, round(box.bottom * down) - 1)
        halo = (left - 1, top - 1, right + 1, bottom + 1)
        draw.rectangle(halo, outline=(255, 255, 255), width=1)
        draw.rectangle((left, top, right, bottom), outline=positive if region.sign > 0 else negative, width=thickness)
    return framed


def hatch_contradicted(picture: Image.Image, evidence: Evidence, original_size: tuple[int, int]) -> Image.Image:
    """The picture with the regions hatched that do the opposite of their number when they are hidden, if any."""
    opposite = [region for region in evidence.statistics.regions if contradicted(region)]
    return hatch_regions(picture, evidence.scores, evidence.crop, opposite, original_size) if opposite else picture


def hatch_regions(
    picture: Image.Image, scores: FloatArray, crop: Box, regions: Iterable[Region], original_size: tuple[int, int]
) -> Image.Image:
    """A copy of ``picture`` with slanting lines over the patches of each region.

    They are found again as the strongest of its sign within its box, as many as it has. The lines are white beside
    black, so that they are seen on every colour.

    Args:
        picture: the original picture or its overlay, at any scale.
        scores: [grid height, grid width] raw signed map.
        crop: the part of the original that the grid covers; as the regions' boxes in pixels of the original.
        original_size: (width, height) of the original, from which the scale follows.
    """
    pixels = np.array(picture.convert("RGB"))
    height, width = pixels.shape[:2]
    across = (np.arange(width) + 0.5) * original_size[0] / width
    down = (np.arange(height) + 0.5) * original_size[1] / height
    rows, columns = (
        np.clip(((place - start) / length * cells).astype(int), 0, cells - 1)
        for place, start, length, cells in zip(
            (down, across), (crop.top, crop.left), (crop.height, crop.width), scores.shape, strict=True
        )
    )
    # Pixels outside the crop were given the patch that is nearest.
    within = ((down >= crop.top) & (down < crop.bottom))[:, None] & ((across >= crop.left) & (across < crop.right))
    stride = max(3, round(max(width, height) / _LINES))
    slant = (np.arange(height)[:, None] + np.arange(width)) // stride % 4
    for region in regions:
        inside = _patches_of(region, scores, crop)[rows][:, columns]
        for number, colour in enumerate((255, 0)):
            pixels[inside & within & (slant == number)] = colour
    return Image.fromarray(pixels)


def _patches_of(region: Region, scores: FloatArray, crop: Box) -> NDArray[np.bool_]:
    """The region's patches, bool [grid height, grid width]."""
    down, across = (
        start + (np.arange(cells) + 0.5) * length / cells
        for start, length, cells in zip((crop.top, crop.left), (crop.height, crop.width), scores.shape, strict=True)
    )
    box = region.box
    inside = ((down >= box.top) & (down < box.bottom))[:, None] & ((across >= box.left) & (across < box.right))
    strength = np.where(inside, region.sign * scores, 0)
    order = np.argsort(-strength, axis=None, kind="stable")[: round(region.area_share * scores.size)]
    chosen = np.zeros(scores.size, bool)
    chosen[order] = True
    return chosen.reshape(scores.shape) & (strength > 0)


def display_size(width: int, height: int, side: int) -> tuple[int, int]:
    """(width, height) with the longer side equal to ``side`` and the shape kept; small pictures grow."""
    scale = side / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def colours(palette: Palette) -> tuple[Colour, Colour]:
    """(colour of positive, colour of negative) scores.

    Raises:
        InterpretError: the palette is unknown.
    """
    if palette not in PALETTES:
        raise InterpretError(f"palette {palette!r} is unknown; choose one of {', '.join(get_args(Palette))}")
    return PALETTES[palette]


def unsigned_colour(palette: Palette) -> Colour:
    """The colour of maps without a sign.

    Raises:
        InterpretError: the palette is unknown.
    """
    colours(palette)
    return _UNSIGNED[palette]


def whitened_grey(image: Image.Image, size: tuple[int, int] | None = None) -> NDArray[np.float32]:
    """[height, width, 3] float32 in [0, 255]: the picture as the map is laid over it."""
    grey = image.convert("L")
    if size is not None and size != grey.size:
        grey = grey.resize(size, Image.Resampling.LANCZOS)
    whitened = np.rint(np.asarray(grey, dtype=np.float32) * (1 - _WHITENING) + 255 * _WHITENING)
    return np.repeat(whitened[..., None], 3, axis=2).astype(np.float32)


def _checked_scores(scores: FloatArray) -> FloatArray:
    grid = np.asarray(scores, dtype=np.float32)
    if grid.ndim != 2 or grid.size == 0:
        raise InterpretError(f"scores have the shape {grid.shape}; they need [grid height, grid width]")
    if not np.isfinite(grid).all():
        raise InterpretError("scores hold NaN or infinity; only finite numbers can be drawn")
    return grid


def _sampling(pixels: int, start: float, stop: float, cells: int, smooth: bool) -> FloatArray:
    """[pixels, cells] weights that carry ``cells`` values spread over [start, stop) onto pixel centres.

    Rows of pixels outside the interval are zero, all others sum to one. Nothing is rounded to whole pixels, so the
    map stays aligned for any crop. Smooth weights are Keys' cubic (a = -1/2) with the border cells repeated.
    """
    position = (np.arange(pixels) + 0.5 - start) / (stop - start) * cells
    inside = (position >= 0) & (position < cells)
    weights = np.zeros((pixels, cells), dtype=np.float32)
    where = np.flatnonzero(inside)
    if not smooth:
        weights[where, np.minimum(position[where].astype(np.int64), cells - 1)] = 1.0
        return weights
    centred = position[where] - 0.5
    first = np.floor(centred).astype(np.int64)
    for step in (-1, 0, 1, 2):
        distance = np.abs(centred - (first + step))
        near = (1.5 * distance - 2.5) * distance**2 + 1
        far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
        np.add.at(weights, (where, np.clip(first + step, 0, cells - 1)), np.where(distance <= 1, near, far))
    return weights
