"""Which part of the original picture the model sees: pictures of coordinates are pushed through the transform."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import timm
import torch
from numpy.typing import NDArray
from PIL import Image
from timm.data import create_transform, resolve_model_data_config
from torch.overrides import TorchFunctionMode

from gradattn_core.errors import UnreadableImageError
from gradattn_core.model.preprocessing import TOO_UNEQUAL, Preprocessing

SIZES = [(500, 375), (333, 501), (64, 64), (224, 224), (251, 97), (40, 11), (20, 200), (1023, 767)]


@cache
def preprocessing(in_chans: int = 3, **config: Any) -> Preprocessing:
    overlay = {"mean": (0.0,) * 3, "std": (1.0,) * 3, "input_size": (3, 96, 96), **config}
    model = timm.create_model(
        "vit_tiny_patch16_224",
        in_chans=in_chans,
        img_size=overlay["input_size"][1:],
        embed_dim=8,
        depth=1,
        num_heads=1,
        num_classes=2,
        pretrained_cfg_overlay=overlay,
    )
    return Preprocessing.of(model)


def coordinates(width: int, height: int) -> Image.Image:
    """Red grows with x, green with y; blue says that this is picture and not padding."""
    ramp = np.empty((height, width, 3), dtype=np.uint8)
    ramp[..., 0] = np.round(np.arange(width) * 255 / (width - 1))[None, :]
    ramp[..., 1] = np.round(np.arange(height) * 255 / (height - 1))[:, None]
    ramp[..., 2] = 255
    return Image.fromarray(ramp)


def assert_seen(values: NDArray[np.float64], size: int, begin: float, end: float) -> None:
    """``values`` are the coordinates found at the input's pixels, which should divide [begin, end] evenly.

    Pixels at the picture's own edge are left out, because interpolation flattens the coordinates there.
    """
    step = (end - begin) / len(values)
    expected = begin + (np.arange(len(values)) + 0.5) * step
    reach = max(1.5, 1.5 * step)
    clear = (expected > reach) & (expected < size - reach)
    error = values[clear] * (size - 1) + 0.5 - expected[clear]
    # 255 levels are all that a coordinate can have.
    assert np.abs(error).max() < 0.34 * max(1.0, step) + size / 255
    assert abs(error.mean()) < 0.15 * max(1.0, step)


@pytest.mark.parametrize("input_size", [(3, 96, 96), (3, 64, 128), (3, 128, 48)], ids=str)
@pytest.mark.parametrize(
    ("crop_mode", "crop_pct"),
    [
        ("center", 0.9),
        ("center", 1.0),
        ("center", 0.875),
        ("squash", 0.9),
        ("squash", 1.0),
        ("border", 0.9),
        ("border", 1.0),
    ],
)
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_crop_is_where_the_transform_really_looks(
    width: int, height: int, crop_mode: str, crop_pct: float, input_size: tuple[int, int, int]
) -> None:
    prepared = preprocessing(input_size=input_size, crop_mode=crop_mode, crop_pct=crop_pct)
    tensor = prepared(coordinates(width, height)).double().numpy()
    assert tensor.shape == input_size
    box = prepared.crop(width, height)
    # The row and the column through the middle of what is picture, away from its padding.
    picture = tensor[2] > 0.99
    assert_seen(tensor[0, np.argmax(picture.sum(1))], width, box.left, box.right)
    assert_seen(tensor[1, :, np.argmax(picture.sum(0))], height, box.top, box.bottom)


def test_only_border_mode_looks_beyond_the_picture() -> None:
    for mode in ("center", "squash", "border"):
        box = preprocessing(crop_mode=mode, crop_pct=1.0).crop(300, 100)
        beyond = box.left < 0 or box.top < 0 or box.right > 300 or box.bottom > 100
        assert beyond == (mode == "border")


def test_a_picture_of_the_inputs_size_is_seen_whole_without_a_crop() -> None:
    box = preprocessing(crop_mode="center", crop_pct=1.0).crop(96, 96)
    assert (box.left, box.top, box.right, box.bottom) == (0, 0, 96, 96)


def test_mean_and_deviation_are_the_models_own() -> None:
    prepared = preprocessing(mean=(0.5, 0.25, 0.0), std=(0.5, 0.25, 2.0))
    tensor = prepared(Image.new("RGB", (96, 96), (255, 255, 255)))
    torch.testing.assert_close(tensor[:, 48, 48], torch.tensor([1.0, 3.0, 0.5]))


def hard_edges(width: int, height: int, seed: int) -> Image.Image:
    """Black and white at random: what overshoots most, so that roundings and the order of passes show most."""
    pixels = np.random.default_rng(seed).random((height, width, 3)) > 0.5
    return Image.fromarray(pixels.astype(np.uint8) * 255)


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("crop_mode", ["center", "squash", "border"])
def test_pixels_are_within_two_levels_of_timms_own_transform(crop_mode: str, channels: int, interpolation: str) -> None:
    config = {"input_size": (channels, 64, 96), "crop_mode": crop_mode, "interpolation": interpolation}
    prepared = preprocessing(in_chans=channels, crop_pct=0.9, **config)
    assert prepared.input_size[0] == channels
    # Of each kind of order of Pillow's passes: much taller, much wider, smaller in one direction only.
    sizes = [
        *SIZES,
        (64, 640),
        (640, 64),
        (300, 31),
        (65, 97),
        (96, 64),
        (1, 1),
        (3, 100),
        (291, 616),
        (2000, 900),
        (2300, 2100),
    ]
    farthest = 0
    for seed, (width, height) in enumerate(sizes):
        for picture in (hard_edges(width, height, seed), coordinates(width, height) if width > 1 < height else None):
            if picture is not None:
                expected = prepared.transform(picture.convert({1: "L", 3: "RGB", 4: "RGBA"}[channels]))
                distance = (prepared.pixels(picture).int() - expected.int()).abs().max()
                farthest = max(farthest, int(distance))
    assert 0 < farthest <= 2, "none at all would be Pillow's own resize"


@pytest.mark.parametrize("size", [(1, 5000), (5000, 1)])
@pytest.mark.parametrize("interpolation", ["bicubic", "lanczos"])
def test_a_line_of_which_nothing_would_be_left_is_told_like_one_that_would_fill_the_memory(
    size: tuple[int, int], interpolation: str
) -> None:
    with pytest.raises(UnreadableImageError, match=TOO_UNEQUAL):
        preprocessing(crop_mode="border", interpolation=interpolation).pixels(Image.new("RGB", size))


def test_what_torch_cannot_interpolate_is_timms_own_transform_to_the_bit() -> None:
    prepared = preprocessing(interpolation="lanczos")
    assert not prepared.resizes_tensors
    picture = hard_edges(150, 99, 1)
    assert torch.equal(prepared.pixels(picture), prepared.transform(picture))


def test_a_batch_is_what_each_picture_is_and_a_tensor_what_its_picture_is() -> None:
    model = timm.create_model("vit_tiny_patch16_224", depth=1, num_classes=2)
    prepared = Preprocessing.of(model)
    own = create_transform(**resolve_model_data_config(model), is_training=False)
    pictures = [coordinates(width, height) for width, height in SIZES]
    pixels = torch.stack([prepared.pixels(picture) for picture in pictures])
    assert pixels.dtype == torch.uint8
    batch = prepared.normalised(pixels)
    assert all(torch.equal(prepared(picture), row) for picture, row in zip(pictures, batch, strict=True))
    assert (batch - torch.stack([own(picture) for picture in pictures])).abs().max() <= 2.01 / 127.5
    for picture, row in zip(pictures, pixels, strict=True):
        for planar in (False, True):
            tensor = torch.from_numpy(np.array(picture)).permute(2, 0, 1)
            assert torch.equal(prepared.pixels(tensor.contiguous() if planar else tensor), row)


def test_normalising_is_undone_and_differentiable_in_the_precision_of_the_pixels() -> None:
    prepared = preprocessing(mean=(0.5, 0.25, 0.0), std=(0.5, 0.25, 2.0))
    pixels = torch.randint(0, 256, (2, 3, 96, 96), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    for kind in (torch.uint8, torch.float32, torch.float64):
        images = prepared.normalised(pixels.to(kind))
        assert images.dtype == (torch.float32 if kind == torch.uint8 else kind)
        assert torch.equal(prepared.denormalised(images).round(), pixels.to(images.dtype))
    leaf = pixels.double().requires_grad_(True)
    (gradient,) = torch.autograd.grad(prepared.normalised(leaf).sum(), leaf)
    torch.testing.assert_close(gradient[0, :, 0, 0], 1 / (255 * torch.tensor([0.5, 0.25, 2.0], dtype=torch.float64)))
    assert torch.equal(leaf.detach(), pixels.double()), "the pixels are left as they are"


def test_mean_and_deviation_travel_to_a_device_once() -> None:
    """A copy from the CPU with each batch made a GPU wait for what was queued before it."""
    prepared = preprocessing(mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))
    pixels = torch.zeros((2, 3, 4, 4), dtype=torch.uint8)
    with torch.inference_mode():
        prepared.normalised(pixels)
    made: list[str] = []

    class Counted(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            made.append(getattr(func, "__name__", ""))
            return func(*args, **(kwargs or {}))

    with Counted():
        images = prepared.normalised(pixels)
    assert "div_" in made and {"tensor", "new_tensor", "to", "as_tensor"}.isdisjoint(made)
    leaf = images.double().requires_grad_(True)
    prepared.normalised(leaf).sum().backward()
    assert leaf.grad is not None
