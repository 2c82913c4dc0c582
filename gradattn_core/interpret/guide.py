"""External guidance: a picture of another class beside the picture, so that signs have something to stand against.

In a picture of one object, evidence against its class is scarce. Joined with a guide that shows another class, the
model must tell two objects apart; the map of the joined picture is cut back to the picture's own patches (Cui 2026,
Fig. 8). The paper does not say how pictures are joined, hence side, share and fitting are options.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from gradattn_core.attention.readout import patch_grid
from gradattn_core.errors import InterpretError
from gradattn_core.interpret.maps import Provenance, signed_maps
from gradattn_core.methods import Layout, Method
from gradattn_core.model.forward import Head, answer
from gradattn_core.model.preprocessing import Preprocessing, preprocessed
from gradattn_core.records import Box

_AT_ONCE = 8
Pair = tuple[int, int]


@dataclass(frozen=True)
class GuidedMap:
    """A picture's signed map under guidance.

    Attributes:
        scores: [rows, columns] float32 in [-1, 1], the mean over guides of each guide's map divided by its own max|S|
            on the picture's patches; positive speaks for ``target``.
        each: [guides, rows, columns] float32, raw, of the picture's patches only.
        joined_scores: [guides, grid height, grid width] float32, raw, of the whole joined pictures.
        joined: the joined pictures as the model saw them, RGB.
        box: what ``scores`` and ``each`` cover, in pixels of the original picture; with ``fit="pad"`` it reaches
            beyond the picture by less than a patch.
        target: the class of the picture.
        against: the class of each guide.
        logits: [guides, K] float32, of the joined pictures.
    """

    scores: Tensor
    each: Tensor
    joined_scores: Tensor
    joined: tuple[Image.Image, ...]
    box: Box
    target: int
    against: tuple[int, ...]
    logits: Tensor
    provenance: Provenance


def guide(
    model: nn.Module,
    image: Image.Image,
    guides: Sequence[Image.Image],
    target: int | None = None,
    against: int | Sequence[int] | None = None,
    *,
    layout: Layout = Layout(),
    method: Method = Method(),
    head: Head | None = None,
) -> GuidedMap:
    """Join the picture with each guide, interpret the joined pictures, and cut the maps back to the picture.

    The joined picture is made at the size of the model's input and nothing is cropped from it afterwards. It is split
    on a border between patches, so that every patch shows either the picture or the guide.

    Args:
        model: a timm Vision Transformer with global self-attention. It is left as it was found.
        image: the upright picture to explain.
        guides: one or more upright pictures of another class. Several are averaged: each map is first divided by its
            max|S|, so that every guide counts alike; ``each`` holds the raw maps for any other mean.
        target: the picture's class; what the model sees in the picture alone where ``None``.
        against: the guides' class, one or one per guide; what the model sees in each guide alone where ``None``.
        layout: how the picture and a guide share the model's input.
        method, head: as for ``interpret``.

    Raises:
        InterpretError: an argument is unusable, a guide shows the picture's class, or a map is zero everywhere; the
            message names it.
        ModelError: the model has no global self-attention.
    """
    pictures = _checked(image, guides)
    model = getattr(model, "_orig_mod", model)
    canvas = Canvas.of(model)
    split = Split.of(canvas, layout.side, layout.ratio)
    a, b = _classes(model, pictures, target, against, head)
    joined = tuple(split.join(pictures[0], other, layout.fit) for other in pictures[1:])
    own = next(model.parameters())
    results = []
    for first in range(0, len(joined), _AT_ONCE):
        part = slice(first, first + _AT_ONCE)
        images = torch.stack([canvas.exact(picture) for picture in joined[part]]).to(own.device, own.dtype)
        results.append(signed_maps(model, images, a, torch.tensor(b[part]), method, head))
    scores = torch.cat([result.scores for result in results])
    rows, columns, box = split.covered(image.size, layout.fit)
    each = scores[:, rows, columns].contiguous()
    limits = each.abs().amax(dim=(1, 2))
    if not bool((limits > 0).all()):
        number = int((limits == 0).nonzero()[0]) + 1
        raise InterpretError(f"guides: with guide {number} the map of the picture is zero everywhere and has no scale")
    return GuidedMap(
        scores=(each / limits[:, None, None]).mean(0),
        each=each,
        joined_scores=scores,
        joined=joined,
        box=box,
        target=a,
        against=b,
        logits=torch.cat([result.logits for result in results]),
        provenance=results[0].provenance,
    )


def seen_classes(model: nn.Module, pictures: Sequence[Image.Image], head: Head | None = None) -> list[int]:
    """What the model sees in each upright picture alone."""
    return [int(answer(model, preprocessed(model, [picture]), head).argmax()) for picture in pictures]


@dataclass(frozen=True)
class Canvas:
    """A model's input as something to paste pictures on. All pairs are (across, down).

    Attributes:
        size: of the input, in pixels.
        patch: size of one patch, in pixels.
    """

    size: Pair
    patch: Pair
    preprocessing: Preprocessing

    @classmethod
    def of(cls, model: nn.Module) -> Canvas:
        """Read it from the model's configuration.

        Raises:
            InterpretError: the model does not take colour pictures, or its input is not cut into whole patches.
            ModelError: the model has no single grid of patches.
        """
        preprocessing = Preprocessing.of(model)
        channels, height, width = preprocessing.input_size
        rows, columns = patch_grid(model, torch.empty(1, channels, height, width, device="meta"))
        if channels != 3 or width % columns or height % rows:
            raise InterpretError(
                f"model: a guide needs colour pictures cut into whole patches; its input is {channels} x {height} x "
                f"{width} in {rows} x {columns} patches"
            )
        return cls((width, height), (width // columns, height // rows), preprocessing)

    def exact(self, picture: Image.Image) -> Tensor:
        """A colour picture of the input's size as the model takes it, [3, H, W], with every pixel where it is."""
        return self.preprocessing.normalised(torch.from_numpy(np.array(picture)).permute(2, 0, 1))

    def fitted(self, picture: Image.Image, size: Pair, fit: str) -> Image.Image:
        """The picture brought to ``size`` by ``crop``, ``pad`` or ``stretch``."""
        picture = picture.convert("RGB")
        resample = Image.Resampling[self.preprocessing.interpolation.upper()]
        if fit == "pad":
            inner, place = _inside(picture.size, size)
            # The colour that the model's normalisation turns into (nearly) zero.
            red, green, blue = (round(255 * value) for value in self.preprocessing.mean)
            padded = Image.new("RGB", size, (red, green, blue))
            padded.paste(picture.resize(inner, resample), place)
            return padded
        box = _central(picture.size, size) if fit == "crop" else (0.0, 0.0, *picture.size)
        return picture.resize(size, resample, box=box)


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
            InterpretError: a ratio that leaves no patch to one of them.
        """
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


def _checked(image: Image.Image, guides: Sequence[Image.Image]) -> list[Image.Image]:
    if isinstance(guides, Image.Image) or not guides:
        raise InterpretError("guides: give a list of one or more pictures of another class")
    for name, picture in (("image", image), *((f"guides[{number}]", other) for number, other in enumerate(guides))):
        if not isinstance(picture, Image.Image) or 0 in picture.size:
            raise InterpretError(f"{name}: expected a PIL picture, got {type(picture).__name__}")
    return [image, *guides]


def _classes(
    model: nn.Module,
    pictures: list[Image.Image],
    target: int | None,
    against: int | Sequence[int] | None,
    head: Head | None,
) -> tuple[int, tuple[int, ...]]:
    """The picture's class and each guide's, as given or as the model sees them alone."""
    image, *guides = pictures
    a = seen_classes(model, [image], head)[0] if target is None else target
    if against is None:
        b = seen_classes(model, guides, head)
    else:
        b = list(against) if isinstance(against, Sequence) else [against] * len(guides)
    if len(b) != len(guides):
        raise InterpretError(f"against: {len(b)} classes for {len(guides)} guides; give one, or one per guide")
    if a in b:
        how = "shows to the model" if against is None else "is said to show"
        raise InterpretError(
            f"guides: guide {b.index(a) + 1} {how} class {a}, the class of the picture itself; give a guide of another "
            "class" + (", or say with against what it shows" if against is None else "")
        )
    return a, tuple(b)
