"""Pictures made of two, so that it is known which patches show which: side by side, stacked, inset, chequered."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from gradattn_core.errors import EvaluateError

LAYOUTS = ("beside", "stacked", "inset", "chequered")


def composite(first: Tensor, second: Tensor, layout: str, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """One picture of two, cut along the borders of patches.

    ``beside``: the first on the left half; ``stacked``: on the upper half; ``inset``: in the middle, half of the sides
    long, with the second around it; ``chequered``: in the upper left and the lower right quarter. Each half or quarter
    shows the middle of its picture, scaled; around an inset the second keeps its own size.

    Args:
        first, second: [channels, H, W], preprocessed.
        layout: one of :data:`LAYOUTS`.
        grid: rows and columns of patches, which divide H and W.

    Returns:
        The picture [channels, H, W], and bool [rows, columns], true where a patch shows the first.

    Raises:
        EvaluateError: an argument is unusable; the message names it.
    """
    if layout not in LAYOUTS:
        raise EvaluateError(f"layout={layout!r} is unknown; choose one of {', '.join(LAYOUTS)}")
    (rows, columns), (high, wide) = grid, first.shape[1:]
    if first.shape != second.shape or high % rows or wide % columns or min(grid) < 2:
        raise EvaluateError(
            f"grid={grid}: expected two pictures of one size that its patches divide, got {list(first.shape)} and "
            f"{list(second.shape)}"
        )
    middle, centre = rows // 2, columns // 2
    upper, lower = slice(0, middle), slice(middle, rows)
    left, right = slice(0, centre), slice(centre, columns)
    everywhere = slice(0, rows), slice(0, columns)
    top, side = rows // 4, columns // 4
    boxes = {
        "beside": [(0, everywhere[0], left), (1, everywhere[0], right)],
        "stacked": [(0, upper, everywhere[1]), (1, lower, everywhere[1])],
        "inset": [(1, *everywhere), (0, slice(top, top + middle), slice(side, side + centre))],
        "chequered": [(0, upper, left), (1, upper, right), (1, lower, left), (0, lower, right)],
    }
    picture, own = torch.empty_like(first), torch.zeros(grid, dtype=torch.bool)
    for which, down, across in boxes[layout]:
        pixels = tuple(
            slice(cells.start * unit, cells.stop * unit)
            for cells, unit in ((down, high // rows), (across, wide // columns))
        )
        size = tuple(cells.stop - cells.start for cells in pixels)
        picture[:, pixels[0], pixels[1]] = _middle((first, second)[which], size)
        own[down, across] = which == 0
    return picture, own


def _middle(picture: Tensor, size: tuple[int, ...]) -> Tensor:
    """The largest middle part of a picture [channels, H, W] that has the shape of ``size``, scaled to it."""
    high, wide = picture.shape[1:]
    scale = min(high / size[0], wide / size[1])
    down, across = min(high, round(size[0] * scale)), min(wide, round(size[1] * scale))
    top, left = (high - down) // 2, (wide - across) // 2
    cut = picture[None, :, top : top + down, left : left + across].float()
    scaled: Tensor = functional.interpolate(cut, size=size, mode="bicubic", antialias=True, align_corners=False)
    return scaled[0].to(picture.dtype)
