"""Handwritten-looking digits made of jittered strokes and scanned as coarse grey images. No real image is used."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

GRID = 8
"""Pixels along a side of a scanned glyph."""

Floats = NDArray[np.float32]

# Ways to write each digit on a 10x10 square, y downwards. A slash lifts the pen; points are joined by a smooth curve,
# and a point written twice is a corner.
_TEMPLATES: dict[int, tuple[str, ...]] = {
    0: (
        "5,0 2,2 1,5 2,8 5,10 8,8 9,5 8,2 5,0",
        "7,1 5,0 2,2 1,5 2,8 5,10 8,8 9,5 8,2 5,1 3,1",
        "4,0 2,4 3,9 6,10 8,6 7,1 4,0",
    ),
    1: (
        "5,0 5,10",
        "3,3 5,0 5,0 5,10",
        "1,4 5,0 5,0 5,10",
        "3,3 5,0 5,0 5,10/2,10 8,10",
        "4,2 6,0 6,0 5,10/3,10 7,10",
        "6,0 6,5 5,8 5,10",
    ),
    2: (
        "1,3 3,0 7,0 8,3 5,6 1,10 1,10 9,10",
        "1,3 4,0 8,1 8,4 4,8 2,10 1,9 2,8 5,9 9,10",
        "2,2 5,0 8,2 7,5 2,10 2,10 9,9",
        "1,2 5,0 8,2 6,6 1,9 1,9 4,8 7,10 9,8",
    ),
    3: (
        "1,1 5,0 8,2 7,4 4,5 4,5 8,6 9,8 5,10 1,9",
        "1,0 8,0 8,0 4,4 4,4 8,5 9,8 5,10 1,9",
        "2,1 6,0 8,2 6,4 4,5 7,6 8,8 5,10 2,9",
        "2,2 5,0 8,1 7,4 5,5 5,5 9,7 7,10 3,10 1,8",
    ),
    4: (
        "2,0 1,6 1,6 9,6/7,3 7,10",
        "6,0 1,7 1,7 9,7/7,0 7,10",
        "6,10 6,0 6,0 1,7 1,7 9,7",
        "2,0 1,4 4,6 8,5/8,0 8,10",
        "5,0 1,6 1,6 9,6/6,3 5,10",
    ),
    5: (
        "8,0 2,0 2,0 2,4 2,4 6,4 9,7 6,10 1,9",
        "2,0 2,4 2,4 6,4 9,6 7,10 1,10/2,0 8,0",
        "8,0 4,0 2,3 4,5 7,6 8,8 5,10 1,9",
        "9,0 3,0 3,0 2,5 2,5 5,4 8,6 7,9 4,10 2,9",
    ),
    6: (
        "7,0 3,3 1,7 4,10 8,9 8,6 5,5 2,7",
        "5,0 2,4 2,8 5,10 8,8 6,5 2,7",
        "8,0 2,6 2,9 6,10 8,8 6,6 2,7",
        "8,1 5,0 2,3 1,7 3,10 7,10 9,7 6,5 2,7",
    ),
    7: (
        "1,0 9,0 9,0 4,10",
        "1,0 9,0 9,0 4,10/3,5 8,5",
        "1,2 1,0 1,0 9,0 9,0 5,5 4,10",
        "1,1 5,1 9,0 9,0 6,4 5,10/3,5 9,5",
        "1,1 3,0 6,1 8,0 8,0 6,5 5,10",
    ),
    8: (
        "8,2 5,0 2,2 5,5 8,8 5,10 2,8 5,5 8,2",
        "5,0 2,2 5,5 8,2 5,0/5,5 1,7 5,10 9,7 5,5",
        "8,1 4,0 2,2 7,6 8,8 5,10 2,8 4,5 8,1",
        "6,0 3,2 5,4 7,6 7,9 4,10 3,8 5,5 8,2 6,0",
    ),
    9: (
        "8,3 5,5 2,3 5,0 8,2 8,3 8,3 7,10",
        "8,1 5,0 2,2 4,5 8,3 8,1 8,1 8,6 6,10 2,9",
        "8,2 5,0 2,2 3,5 7,4 8,2 8,2 5,10",
        "8,2 5,0 2,3 5,5 8,2 8,2 8,7 5,10 2,9",
        "8,3 4,5 2,2 5,0 8,2 8,6 7,10",
    ),
}

_SAMPLES = 80  # points drawn along a glyph: at most 1.5 bitmap pixels apart
_BITMAP = 32  # the scanner's fine raster, of which 4x4 pixels are one grey pixel
VARIANT_DIGITS = np.array([digit for digit, ways in _TEMPLATES.items() for _ in ways])
"""[variants] the digit that each way of writing is."""


@dataclass(frozen=True)
class Glyphs:
    """A batch: ``ink`` [count, 8, 8] in 0..1, the ``digit`` and the ``variant`` (way of writing it) of each."""

    ink: Floats
    digit: NDArray[np.int64]
    variant: NDArray[np.int64]


def draw_glyphs(count: int, rng: np.random.Generator) -> Glyphs:
    """``count`` random glyphs, each digit and each of its variants equally likely."""
    digit = rng.integers(0, 10, count)
    variant = np.empty(count, dtype=np.int64)
    for value in range(10):
        ways = np.flatnonzero(value == VARIANT_DIGITS)
        where = digit == value
        variant[where] = rng.choice(ways, size=int(where.sum()))
    curve = _deform(_curves(variant, rng), rng)
    return Glyphs(_scan(_place(curve, rng), rng), digit, variant)


def _spline(points: int, samples: int) -> NDArray[np.float64]:
    """Weights [samples, points] of a uniform Catmull-Rom curve through ``points`` control points."""
    time = np.linspace(0, points - 1, samples)
    left = np.minimum(time.astype(int), points - 2)
    t = time - left
    weights = np.zeros((samples, points))
    basis = (
        (-t + 2 * t**2 - t**3) / 2,
        (2 - 5 * t**2 + 3 * t**3) / 2,
        (t + 4 * t**2 - 3 * t**3) / 2,
        (t**3 - t**2) / 2,
    )
    for offset, share in zip((-1, 0, 1, 2), basis, strict=True):
        np.add.at(weights, (np.arange(samples), np.clip(left + offset, 0, points - 1)), share)
    return weights


def _parse(template: str) -> tuple[Floats, Floats]:
    """Distinct control points [points, 2], centred on 0 with size about 1, and the curve's weights [samples, points].

    Points written at the same place move together, so that corners and crossings hold under jitter.
    """
    strokes = [[tuple(map(float, point.split(","))) for point in stroke.split()] for stroke in template.split("/")]
    points = sorted({point for stroke in strokes for point in stroke})
    lengths = np.array([np.linalg.norm(np.diff(stroke, axis=0), axis=1).sum() for stroke in strokes])
    shares = np.maximum(4, np.floor(_SAMPLES * lengths / lengths.sum())).astype(int)
    shares[shares.argmax()] += _SAMPLES - shares.sum()
    weights = np.zeros((_SAMPLES, len(points)))
    row = 0
    for stroke, share in zip(strokes, shares, strict=True):
        local = _spline(len(stroke), share)
        for column, point in enumerate(stroke):
            weights[row : row + share, points.index(point)] += local[:, column]
        row += share
    return (np.array(points, dtype=np.float32) - np.float32(5)) / np.float32(10), weights.astype(np.float32)


_PARSED = [_parse(template) for ways in _TEMPLATES.values() for template in ways]


def _curves(variant: NDArray[np.int64], rng: np.random.Generator) -> Floats:
    """Curves [count, samples, 2] through the templates' control points, each moved a little."""
    curve = np.empty((len(variant), _SAMPLES, 2), dtype=np.float32)
    for value in np.unique(variant):
        where = np.flatnonzero(variant == value)
        points, weights = _PARSED[value]
        jitter = rng.normal(0, 1, (len(where), *points.shape)) * rng.uniform(0.01, 0.07, (len(where), 1, 1))
        curve[where] = np.einsum("sp,bpc->bsc", weights, points + jitter)
    return curve


def _deform(curve: Floats, rng: np.random.Generator) -> Floats:
    """Bend by slow random waves, then stretch, slant and rotate."""
    count = len(curve)
    bent = curve.copy()
    for _ in range(3):
        direction = rng.normal(0, 3.0, (count, 1, 2))
        phase = rng.uniform(0, 2 * np.pi, (count, 1))
        push = rng.normal(0, 0.035, (count, 1, 2))
        bent += np.sin((curve * direction).sum(-1) + phase)[..., None] * push
    angle = rng.normal(0, 0.12, count)
    slant = rng.normal(0.1, 0.2, count)
    width = np.exp(rng.normal(-0.1, 0.2, count))
    cos, sin = np.cos(angle), np.sin(angle)
    stretch = np.moveaxis(np.array([[width, -slant], [np.zeros(count), np.ones(count)]]), -1, 0)
    rotate = np.moveaxis(np.array([[cos, -sin], [sin, cos]]), -1, 0)
    return np.asarray(np.einsum("bij,bjk,bsk->bsi", rotate, stretch, bent), dtype=np.float32)


def _place(curve: Floats, rng: np.random.Generator) -> Floats:
    """Scale to the bitmap's height (or width, where wider), as a scanner's normalisation does, and centre roughly."""
    low, high = curve.min(axis=1), curve.max(axis=1)
    margin = rng.uniform(1.0, 4.0, len(curve))
    extent = np.maximum((high - low).max(axis=1), 1e-3)
    scale = (_BITMAP - 2 * margin) / extent
    shift = rng.normal(0, [2.0, 0.7], (len(curve), 2))
    centred = (curve - (low + high)[:, None] / 2) * scale[:, None, None]
    return np.asarray(centred + _BITMAP / 2 + shift[:, None], dtype=np.float32)


def _scan(curve: Floats, rng: np.random.Generator) -> Floats:
    """Ink [count, 8, 8] in 0..1: a pen of changing width on a fine raster, block means, contrast, noise, 17 greys."""
    count = len(curve)
    pixel = np.arange(_BITMAP, dtype=np.float32) + 0.5
    radius = rng.uniform(1.3, 3.4, (count, 1)) + rng.normal(0, 0.4, (count, 1)) * np.linspace(-1, 1, _SAMPLES)
    radius = np.maximum(radius, 1.0).astype(np.float32)
    edge = rng.uniform(0.3, 1.5, (count, 1, 1)).astype(np.float32)
    ink = np.empty((count, _BITMAP, _BITMAP), dtype=np.float32)
    for first in range(0, count, 32):
        part = slice(first, first + 32)
        across = (pixel[None, :, None] - curve[part, None, :, 0]) ** 2
        down = (pixel[None, :, None] - curve[part, None, :, 1]) ** 2
        distance = np.sqrt(down[:, :, None] + across[:, None]) - radius[part, None, None]
        ink[part] = np.clip(0.5 - distance.min(axis=-1) / edge[part], 0, 1)
    blocks = ink.reshape(count, GRID, _BITMAP // GRID, GRID, _BITMAP // GRID).mean(axis=(2, 4))
    contrast = rng.uniform(0.8, 1.1, (count, 1, 1))
    noise = rng.normal(0, 1, blocks.shape) * rng.uniform(0, 0.06, (count, 1, 1))
    grey = blocks * contrast + noise
    return np.asarray(np.round(np.clip(grey, 0, 1) * 16) / 16, dtype=np.float32)
