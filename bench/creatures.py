"""Pictures that differ in one part, and small models that learnt to tell them: for maps whose right answer is known.

A creature has a head, a body and a tail, each in one of two forms. Its colour tells the group; the group tells which
part counts, and the form of that part tells the class: label and sibling class differ in the *key* part and in nothing
else, while the other two parts vary freely. Models learn it from clean labels, or from labels of which 35 % of one
class are filed under its sibling. All is drawn here by a seed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from rich.progress import track
from torch import Tensor, nn
from torch.nn import functional

from bench.subject import kept, key_of

SIDE, PATCH = 56, 8
PARTS = ("head", "body", "tail")
CLASSES = 2 * len(PARTS)
NOISE = 0.35
_COLOURS = ((214, 92, 62), (72, 150, 84), (78, 104, 200))
# A patch shows a part where so much of it is the part's.
_SHOWN = 1 / 8
_VIT: dict[str, Any] = {
    "model_name": "vit_tiny_patch16_224",
    "img_size": SIDE,
    "patch_size": PATCH,
    "embed_dim": 64,
    "depth": 4,
    "num_heads": 4,
    "num_classes": CLASSES,
    "pretrained_cfg_overlay": {"input_size": (3, SIDE, SIDE), "mean": (0.5,) * 3, "std": (0.5,) * 3, "crop_pct": 1.0},
}
_PICTURES, _EPOCHS, _BATCH, _RATE = 5000, 22, 50, 2e-3


@dataclass(frozen=True)
class Creatures:
    """Drawn pictures.

    Attributes:
        images: [pictures, 3, 56, 56] float32 in [-1, 1].
        labels: [pictures], 2 · group + form of the key part; the sibling of a label is ``label ^ 1``.
        parts: bool [pictures, 3, 7, 7], the patches that show head, body and tail.
    """

    images: Tensor
    labels: Tensor
    parts: NDArray[np.bool_]

    @property
    def key(self) -> NDArray[np.bool_]:
        """[pictures, 7, 7], the part that label and sibling differ in; the index of the part is the group's."""
        chosen: NDArray[np.bool_] = self.parts[np.arange(len(self.labels)), self.labels.numpy() // 2]
        return chosen

    @property
    def distractors(self) -> NDArray[np.bool_]:
        """[pictures, 7, 7], the other two parts where the key part is not."""
        others: NDArray[np.bool_] = self.parts.any(1) & ~self.key
        return others


def draw(count: int, seed: int) -> Creatures:
    """``count`` creatures of random groups and forms."""
    rng = np.random.default_rng(seed)
    images = np.empty((count, SIDE, SIDE, 3), np.float32)
    parts = np.empty((count, len(PARTS), SIDE // PATCH, SIDE // PATCH), bool)
    labels = np.empty(count, np.int64)
    for i in range(count):
        group, forms = int(rng.integers(len(PARTS))), rng.integers(2, size=len(PARTS))
        picture, masks = _creature(rng, group, forms)
        images[i] = picture
        cells = masks.reshape(len(PARTS), SIDE // PATCH, PATCH, SIDE // PATCH, PATCH).mean((2, 4))
        parts[i] = cells >= _SHOWN
        labels[i] = 2 * group + int(forms[group])
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    return Creatures(pixels, torch.from_numpy(labels), parts)


def model(seed: int, noisy: bool, work: Path) -> nn.Module:
    """A Vision Transformer, 4 blocks deep and 64 wide, trained on 5,000 creatures; kept in ``work``."""
    settings = (_VIT, _PICTURES, _EPOCHS, _BATCH, _RATE, NOISE, seed, noisy)
    path = work / f"creatures/model-{seed}-{'noisy' if noisy else 'clean'}-{key_of(settings)}.npz"
    network: nn.Module = timm.create_model(**_VIT)
    state = kept(path, lambda: _trained(seed, noisy))
    network.load_state_dict({name: torch.from_numpy(value) for name, value in state.items() if name != "accuracy"})
    return network.eval().requires_grad_(False)


def filed(labels: Tensor, noisy: bool, seed: int) -> Tensor:
    """The labels that a model learns from: with ``noisy``, 35 % of class 0 are filed under class 1."""
    if not noisy:
        return labels
    moved = torch.rand(len(labels), generator=torch.Generator().manual_seed(seed)) < NOISE
    return torch.where((labels == 0) & moved, torch.ones_like(labels), labels)


def _trained(seed: int, noisy: bool) -> dict[str, NDArray[np.float32]]:
    creatures = draw(_PICTURES, 1000 + seed)
    labels = filed(creatures.labels, noisy, seed)
    torch.manual_seed(seed)
    network: nn.Module = timm.create_model(**_VIT)
    network.train()
    stepper = torch.optim.AdamW(network.parameters(), lr=_RATE, weight_decay=0.05)
    per_epoch = math.ceil(_PICTURES / _BATCH)
    steps, warm = _EPOCHS * per_epoch, per_epoch // 2
    schedule = torch.optim.lr_scheduler.LambdaLR(
        stepper, lambda step: min(1.0, (step + 1) / warm) * 0.5 * (1 + math.cos(math.pi * step / steps))
    )
    for _ in track(range(_EPOCHS), f"creatures, seed {seed}, {'noisy' if noisy else 'clean'}"):
        for batch in torch.randperm(_PICTURES).split(_BATCH):
            loss = functional.cross_entropy(network(creatures.images[batch]), labels[batch])
            stepper.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            stepper.step()
            schedule.step()
    network.eval()
    fresh = draw(500, 2000 + seed)
    with torch.inference_mode():
        right = (network(fresh.images).argmax(1) == fresh.labels).float().mean()
    state = {name: value.detach().numpy() for name, value in network.state_dict().items()}
    return {**state, "accuracy": np.array(float(right), np.float32)}


def _creature(
    rng: np.random.Generator, group: int, forms: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Pixels [56, 56, 3] in [-1, 1], and where each part is, [3, 56, 56]."""
    ground = rng.integers(60, 200, size=(4, 4, 3)).astype(np.uint8)
    picture = Image.fromarray(ground).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    for _ in range(4):
        left, top, size = (int(v) for v in rng.integers((0, 0, 3), (SIDE, SIDE, 8)))
        ImageDraw.Draw(picture).rectangle((left, top, left + size, top + size), fill=tuple(rng.integers(0, 255, 3)))
    colour = tuple(int(c) for c in np.clip(np.array(_COLOURS[group]) + rng.integers(-25, 26, 3), 0, 255))
    dark = tuple(c // 4 for c in colour)
    x, y = (int(v) for v in rng.integers(-5, 6, 2))
    x, y = x + SIDE // 2, y + SIDE // 2
    masks = []
    for part, form in enumerate(forms):
        layer = Image.new("RGBA", (SIDE, SIDE))
        (_head, _body, _tail)[part](ImageDraw.Draw(layer), x, y, int(form), colour, dark)
        picture.paste(layer, mask=layer)
        masks.append(np.asarray(layer)[..., 3] > 0)
    pixels, places = np.asarray(picture, np.float32), np.stack(masks)
    if rng.random() < 0.5:
        pixels, places = pixels[:, ::-1], places[:, :, ::-1]
    grainy = np.clip(pixels + rng.normal(0, 5, pixels.shape), 0, 255)
    return (grainy / 127.5 - 1).astype(np.float32), places


Colour = tuple[int, ...]


def _head(pen: ImageDraw.ImageDraw, x: int, y: int, form: int, colour: Colour, dark: Colour) -> None:
    pen.ellipse((x - 21, y - 11, x - 9, y + 1), fill=colour)
    if form:
        pen.polygon([(x - 20, y - 7), (x - 10, y - 7), (x - 15, y - 13)], fill=dark)
    else:
        pen.polygon([(x - 17, y - 7), (x - 17, y), (x - 24, y - 3)], fill=dark)


def _body(pen: ImageDraw.ImageDraw, x: int, y: int, form: int, colour: Colour, dark: Colour) -> None:
    pen.ellipse((x - 10, y - 7, x + 10, y + 8), fill=colour)
    if form:
        for place in (-5, 0, 5):
            pen.rectangle((x + place - 1, y - 4, x + place, y + 5), fill=dark)
    else:
        for across, down in ((-5, -2), (0, 2), (5, -2)):
            pen.ellipse((x + across - 2, y + down - 2, x + across + 1, y + down + 1), fill=dark)


def _tail(pen: ImageDraw.ImageDraw, x: int, y: int, form: int, colour: Colour, dark: Colour) -> None:
    if form:
        pen.line([(x + 10, y), (x + 20, y - 9)], fill=colour, width=3)
        pen.line([(x + 10, y), (x + 20, y + 9)], fill=colour, width=3)
        pen.line([(x + 20, y - 9), (x + 20, y + 9)], fill=dark, width=3)
    else:
        pen.ellipse((x + 10, y - 6, x + 21, y + 5), fill=colour)
        pen.ellipse((x + 13, y - 3, x + 18, y + 2), fill=dark)
