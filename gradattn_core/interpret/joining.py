"""Two pictures joined into one model input, split on a border between patches; and the way back to the original."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from timm.data import create_transform, resolve_model_data_config
from torch import Tensor, nn

from gradattn_core.errors import InterpretError
from gradattn_core.readout import patch_grid
from gradattn_core.records import Box

SIDES = ("left", "right", "top", "bottom")
FITS = ("crop", "pad", "stretch")
Pair = tuple[int, int]


@dataclass(frozen=True)
class Canvas:
    """A model's input as something to paste pictures on. All pairs are (across, down).

    Attributes:
        size: of the input, in pixels.
        patch: size of one patch, in pixels.
        fill: the colour that the model's normalisation turns into (nearly) zero.
        alone: any picture → [channels, H, W], by the model's own preprocessing.
        exact: a picture of the input's size → [channels, H, W], with every pixel where it is.
    """

    size: Pair
    patch: Pair
    fill: tuple[int, int, int]
    resample: Image.Resampling
    alone: Callable[[Image.Image], Tensor]
    exact: Callable[[Image.Image], Tensor]

    @classmethod
    def of(cls, model: nn.Module) -> Canvas:
        """Read it from the model's configuration.

        Raises:
            InterpretError: the model does not take colour pictures, or its input is not cut into whole patches.
            ModelError: the model has no single grid of patches.
        """
        config: dict[str, Any] = dict(resolve_model_data_config(model))
        # The configuration names the size of the published weights, which an argument may have changed.
        built_for = getattr(getattr(model, "patch_embed", None), "img_size", None)
        channels = int(config["input_size"][0])
        height, width = (int(side) for side in built_for or config["input_size"][1:])
        config["input_size"] = (channels, height, width)
        rows, columns = patch_grid(model, torch.empty(1, channels, height, width, device="meta"))
        if channels != 3 or width % columns or height % rows:
            raise InterpretError(
                f"model: a guide needs colour pictures cut into whole patches; its input is {channels} x {height} x "
                f"{width} in {rows} x {columns} patches"
            )
        red, green, blue = (round(255 * float(value)) for value in config["mean"])
        return cls(
            (width, height),
            (width // columns, height // rows),
            (red, green, blue),
            Image.Resampling[str(config["interpolation"]).upper()],
            create_transform(**config, is_training=False),
            # Resizing a picture to the size that it has leaves its pixels alone.
            create_transform(**{**config, "crop_pct": 1.0, "crop_mode": "squash"}, is_training=False),
        )

    def fitted(self, picture: Image.Image, size: Pair, fit: str) -> Image.Image:
        """The picture brought to ``size`` by ``crop``, ``pad`` or ``stretch``."""
        picture = picture.convert("RGB")
        if fit == "pad":
            inner, place = _inside(picture.size, size)
            padded = Image.new("RGB", size, self.fill)
            padded.paste(picture.resize(inner, self.resample), place)
            return padded
        box = _central(picture.size, size) if fit == "crop" else (0.0, 0.0, *picture.size)
        return picture.resize(size, self.resample, box=box)


@dataclass(frozen=True)
class Split:
    """Where the picture and its guide are on the canvas. All pairs are (across, down), in pixels."""

    canvas: Canvas
    place: Pair
    size: Pair
    guide_place: Pair
    guide_size: Pair

    @classmethod
    def of(cls, canvas: Canvas, side: str, ratio: float) -> Split:
        """The guide at ``side``, the picture on the ``ratio`` of the canvas that is nearest in whole patches.

        Raises:
            InterpretError: an unknown side, or a ratio that leaves no patch to one of them.
        """
        if side not in SIDES:
            raise InterpretError(f"side={side!r} is unknown; choose one of {', '.join(SIDES)}")
        axis = 0 if side in ("left", "right") else 1
        patch, total = canvas.patch[axis], canvas.size[axis]
        cells = total // patch
        own = round(ratio * cells) if math.isfinite(ratio) else 0
        if not 0 < own < cells:
            raise InterpretError(
                f"ratio={ratio} leaves no patch to the picture or to the guide; with {cells} "
                f"{('columns', 'rows')[axis]} of patches, {1 / cells:.3g} to {1 - 1 / cells:.3g} works"
            )
        mine, others = own * patch, (cells - own) * patch
        starts = (others, 0) if side in ("left", "top") else (0, mine)

        def along(length: int, across: int) -> Pair:
            return (length, across) if axis == 0 else (across, length)

        whole = canvas.size[1 - axis]
        return cls(canvas, along(starts[0], 0), along(mine, whole), along(starts[1], 0), along(others, whole))

    def join(self, image: Image.Image, guide: Image.Image, fit: str) -> Image.Image:
        """Both on one picture of the canvas's size."""
        joined = Image.new("RGB", self.canvas.size)
        joined.paste(self.canvas.fitted(image, self.size, fit), self.place)
        joined.paste(self.canvas.fitted(guide, self.guide_size, fit), self.guide_place)
        return joined

    def covered(self, original: Pair, fit: str) -> tuple[slice, slice, Box]:
        """Rows and columns of the patches that show any of the picture, and what they cover of the original."""
        inner, offset = _inside(original, self.size) if fit == "pad" else (self.size, (0, 0))
        left, top, right, bottom = _central(original, self.size) if fit == "crop" else (0.0, 0.0, *original)
        columns, across = self._span(0, inner[0], offset[0], left, right)
        rows, down = self._span(1, inner[1], offset[1], top, bottom)
        return rows, columns, Box(across[0], down[0], across[1], down[1])

    def _span(self, axis: int, inner: int, offset: int, start: float, stop: float) -> tuple[slice, tuple[float, float]]:
        """The patches along one axis, and their ends in the original, whose [start, stop) fills ``inner`` pixels."""
        patch, begin = self.canvas.patch[axis], self.place[axis]
        first, last = offset // patch, math.ceil((offset + inner) / patch)
        scale = (stop - start) / inner
        ends = (start + (first * patch - offset) * scale, start + (last * patch - offset) * scale)
        return slice(begin // patch + first, begin // patch + last), ends


def _inside(picture: Pair, size: Pair) -> tuple[Pair, Pair]:
    """How large the whole picture is when it just fits into ``size``, and where its corner is when centred."""
    scale = min(size[0] / picture[0], size[1] / picture[1])
    inner = (max(1, round(picture[0] * scale)), max(1, round(picture[1] * scale)))
    return inner, ((size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2)


def _central(picture: Pair, size: Pair) -> tuple[float, float, float, float]:
    """The largest central part of the picture that has the shape of ``size``."""
    scale = max(size[0] / picture[0], size[1] / picture[1])
    width, height = min(picture[0], size[0] / scale), min(picture[1], size[1] / scale)
    left, top = (picture[0] - width) / 2, (picture[1] - height) / 2
    return left, top, left + width, top + height
