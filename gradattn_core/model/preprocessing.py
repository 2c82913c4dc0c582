"""The model's own preprocessing, and which part of the original picture it lets the model see."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from PIL import Image
from timm.data import create_transform, resolve_model_data_config
from torch import Tensor, nn
from torch.nn.functional import interpolate

from gradattn_core.errors import ModelError, UnreadableImageError
from gradattn_core.records import Box

TOO_UNEQUAL = "are too unequal for the model's input"
"""Of a picture's sides, as the reason of a failure says it."""
# No picture that a person would call one has sides so unequal; without a limit a line of pixels fills the memory.
_MAX_RESIZED = 50_000_000
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
"""What a picture becomes for a model of so many channels; as transparency lies over white by then, it is opaque."""
_BY_TORCH = ("bilinear", "bicubic")
"""Interpolations that torch has for bytes: Pillow's arithmetic by vector instructions, in a fourth of its time."""


@dataclass(frozen=True)
class Preprocessing:
    """Resize, crop and normalisation as the model's configuration asks.

    Attributes:
        input_size: (channels, height, width) of the model's input.
        interpolation: by which a picture is resized.
        mean, std: per channel, of black to white in [0, 1].
        settings: everything that the transform was made from, in words; equal ones mean equal transforms.
        transform: timm's own, PIL picture → [channels, height, width] uint8, for an interpolation that torch lacks.
    """

    input_size: tuple[int, int, int]
    crop_pct: float
    crop_mode: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str
    settings: str = field(repr=False)
    transform: Callable[[Image.Image], Tensor] = field(repr=False, compare=False)

    @classmethod
    def of(cls, model: nn.Module) -> Preprocessing:
        """Read it from the model's configuration.

        Raises:
            ModelError: it takes pictures of other than one, three or four channels.
        """
        config: dict[str, Any] = dict(resolve_model_data_config(model))
        convolutions = (module for module in model.modules() if isinstance(module, nn.Conv2d))
        taken = next((convolution.in_channels for convolution in convolutions), 3)
        if taken not in _MODES:
            raise ModelError(f"the model takes pictures of {taken} channels; grey (1), RGB (3) and RGBA (4) ones work")
        if taken != config["input_size"][0]:
            # The configuration is of the published weights, which an argument or a checkpoint may have changed.
            config["input_size"] = (taken, *config["input_size"][1:])
        for name in ("mean", "std"):
            values = tuple(config[name])
            if len(values) != taken:
                average = sum(values) / len(values)
                config[name] = (average,) if taken == 1 else (*values[:3], average)
        built_for = getattr(getattr(model, "patch_embed", None), "img_size", None)
        if built_for is not None:
            # The configuration names the size of the published weights, which an argument may have changed.
            config["input_size"] = (config["input_size"][0], *built_for)
        channels, height, width = config["input_size"]
        return cls(
            (channels, height, width),
            float(config["crop_pct"]),
            str(config["crop_mode"]),
            tuple(config["mean"]),
            tuple(config["std"]),
            str(config["interpolation"]),
            repr(sorted(config.items())),
            # What timm calls a prefetcher normalises whole batches on the model's device, as :meth:`normalised` does.
            create_transform(**config, is_training=False, use_prefetcher=True),
        )

    @property
    def resizes_tensors(self) -> bool:
        """Whether :meth:`pixels` takes tensors too; else only pictures by Pillow."""
        return self.interpolation in _BY_TORCH

    def __call__(self, image: Image.Image) -> Tensor:
        """What the model takes for one picture, [channels, height, width] float32; see :meth:`pixels`."""
        return self.normalised(self.pixels(image))

    def pixels(self, picture: Image.Image | Tensor) -> Tensor:
        """One picture resized and cropped, [channels, height, width] uint8: a quarter of the bytes to hand on.

        It is at most two grey levels from what timm's own transform makes of it, which resizes by Pillow.

        Args:
            picture: upright, by Pillow; with :attr:`resizes_tensors` also uint8 [channels, H, W] as the model has them.

        Raises:
            UnreadableImageError: the picture is so narrow that resizing its short side would fill the memory, or that
                nothing of that side would be left.
        """
        if isinstance(picture, Image.Image):
            width, height = picture.size
        else:
            height, width = picture.shape[1:]
        across, down = self._resized(width, height)
        if across * down > _MAX_RESIZED or not (across and down):
            raise UnreadableImageError(f"its sides of {width} and {height} pixels {TOO_UNEQUAL}")
        if isinstance(picture, Image.Image):
            mode = _MODES[self.input_size[0]]
            picture = picture if picture.mode == mode else picture.convert(mode)
            if not self.resizes_tensors:
                return self.transform(picture).contiguous()
            # Lent without a copy, by Arrow, they have a fourth byte a pixel, which torch takes longer to resize.
            picture = torch.from_numpy(np.array(picture).reshape(height, width, -1)).permute(2, 0, 1)
        return self._cut(resized(picture, across, down, self.interpolation))

    def normalised(self, pixels: Tensor) -> Tensor:
        """What the model takes for some :meth:`pixels`.

        Args:
            pixels: [..., channels, height, width], 0 to 255, on any device.

        Returns:
            of the same shape, in the precision of the pixels, float32 of whole ones; differentiable.
        """
        values = pixels / 255
        mean, std = self._scale(values)
        return values.sub_(mean).div_(std)

    def denormalised(self, images: Tensor) -> Tensor:
        """The inverse of :meth:`normalised`: 0 to 255 for what it made, not rounded, float32 or better."""
        values = images.to(torch.promote_types(images.dtype, torch.float32))
        mean, std = self._scale(values)
        return (values * std + mean) * 255

    def _scale(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and deviation [channels, 1, 1], like ``values`` in device and precision."""
        mean, std = (_constant(numbers, values.dtype, values.device) for numbers in (self.mean, self.std))
        return mean, std

    def suffices(self, width: int, height: int) -> tuple[int, int]:
        """Width and height from which a ``width`` x ``height`` picture is resized as well as from the whole of it.

        Twice the resized ones: nearer to them the decoder's own scaling would show.
        """
        resized_width, resized_height = self._resized(width, height)
        return max(1, 2 * resized_width), max(1, 2 * resized_height)

    def crop(self, width: int, height: int) -> Box:
        """The part of a ``width`` x ``height`` picture that fills the model's input, in original pixels.

        With ``crop_mode="border"`` the input may reach beyond the picture: then the box does too.
        """
        resized_width, resized_height = self._resized(width, height)
        _, input_height, input_width = self.input_size
        left = _centre_offset(resized_width, input_width)
        top = _centre_offset(resized_height, input_height)
        across, down = width / resized_width, height / resized_height
        return Box(left * across, top * down, (left + input_width) * across, (top + input_height) * down)

    def _cut(self, pixels: Tensor) -> Tensor:
        """The input's part of [channels, H, W], a new tensor; where it reaches beyond the picture it is filled."""
        _, *size = self.input_size
        sides = [_overlap(have, want) for have, want in zip(pixels.shape[1:], size, strict=True)]
        cut = torch.empty(self.input_size, dtype=torch.uint8)
        if any(there != slice(0, want) for (_, there), want in zip(sides, size, strict=True)):
            fill = [round(255 * value) if self.crop_mode == "border" else 0 for value in self.mean]
            cut[:] = torch.tensor(fill, dtype=torch.uint8)[:, None, None]
        (rows, rows_there), (columns, columns_there) = sides
        cut[:, rows_there, columns_there] = pixels[:, rows, columns]
        return cut

    def _resized(self, width: int, height: int) -> tuple[int, int]:
        target_height, target_width = (math.floor(side / self.crop_pct) for side in self.input_size[1:])
        if self.crop_mode == "squash":
            return target_width, target_height
        if self.crop_mode != "border" and target_height == target_width:
            # torchvision keeps the short side exact and truncates the long one.
            if width <= height:
                return target_width, int(target_width * height / width)
            return int(target_height * width / height), target_height
        ratio = (max if self.crop_mode == "border" else min)(height / target_height, width / target_width)
        return round(width / ratio), round(height / ratio)


def resized(pixels: Tensor, width: int, height: int, interpolation: str) -> Tensor:
    """[channels, H, W] uint8 → [channels, height, width] uint8, smoothed where it becomes smaller.

    Between the passes there are whole levels within 0 … 255, as in Pillow, and their order is that of Pillow 13: where
    hard edges overshoot, another order is another picture.

    Args:
        interpolation: "bilinear" or "bicubic".
    """
    before = pixels.shape[-2:]
    shorter, narrower = before[0] - height, before[1] - width
    # Torch itself takes the rows first, which Pillow does unless the height loses more than twice what the width does.
    columns_first = shorter > max(0, 2 * narrower)
    for size in ((height, before[1]), (height, width)) if columns_first else ((height, width),):
        if size != tuple(pixels.shape[-2:]):
            pixels = interpolate(pixels[None], size, mode=interpolation, antialias=True)[0]
    return pixels


def preprocessed(model: nn.Module, pictures: Sequence[Image.Image]) -> Tensor:
    """What the model takes for some upright pictures: [B, channels, H, W] on its device and in its precision."""
    preprocessing, own = Preprocessing.of(model), next(model.parameters())
    return torch.stack([preprocessing(picture.convert("RGB")) for picture in pictures]).to(own.device, own.dtype)


@lru_cache(maxsize=16)
def _constant(numbers: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """[channels, 1, 1], kept on the device: copied there with each batch it would make a GPU wait for it."""
    # Made in inference mode it could take part in no gradient later.
    with torch.inference_mode(False):
        return torch.tensor(numbers, dtype=dtype, device=device)[:, None, None]


def _overlap(have: int, want: int) -> tuple[slice, slice]:
    """Of a side of ``have`` pixels what a centred crop of ``want`` shows, and where in the crop that is."""
    begin = _centre_offset(have, want)
    length = min(have, want)
    return slice(max(0, begin), max(0, begin) + length), slice(max(0, -begin), max(0, -begin) + length)


def _centre_offset(resized: int, size: int) -> int:
    """Where a centred crop begins; negative where the picture is padded (the padding's larger half comes last)."""
    if resized >= size:
        return round((resized - size) / 2.0)
    return -((size - resized) // 2)
