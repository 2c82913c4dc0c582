"""Figures of what was moved on purpose: attention maps step by step, and pixels until the class changes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from gradattn_core.errors import InterpretError
from gradattn_core.records import Box, FloatArray
from gradattn_core.render.curves import Curve, line_plot
from gradattn_core.render.figures import colour_bar, strength_bar
from gradattn_core.render.lettering import fitted
from gradattn_core.render.panels import Style

_PAPER, _INK, _QUIET = (255, 255, 255), (32, 33, 36), (90, 95, 100)
_MARGIN, _GAP, _LETTERS = 12, 8, 13
_LINE = round(_LETTERS * 1.5)


@dataclass(frozen=True)
class Frame:
    """One snapshot of an attention transfer.

    Attributes:
        step: after how many steps.
        logit: of the class that is followed.
        scores: [grid height, grid width] raw signed map of that class; positive speaks for it.
        leader: the class that the model names at this step.
        probability: of the leader, in [0, 1].
        leading_scores: [grid height, grid width] raw signed map of the leader.
    """

    step: int
    logit: float
    scores: FloatArray
    leader: str
    probability: float
    leading_scores: FloatArray


@dataclass(frozen=True)
class Answered:
    """A picture at the model's input size with what the model says to it.

    Attributes:
        image: RGB.
        scores: [grid height, grid width] raw signed map between two classes.
        caption: one line, for instance both probabilities.
    """

    image: Image.Image
    scores: FloatArray
    caption: str


def transfer_figure(
    image: Image.Image,
    crop: Box,
    frames: Sequence[Frame],
    logits: Sequence[Curve],
    probabilities: Sequence[Curve],
    *,
    target: str,
    against: str | None = None,
    unsigned: bool = False,
    lines: Sequence[str] = (),
    style: Style | None = None,
) -> Image.Image:
    """A film strip of an attention transfer above the curves of its classes.

    Frames show the part of the picture that the model sees. The first row shows the map of the followed class at each
    snapshot, the second that of the class the model names then. Every map has a scale of its own. The curves carry a
    thin line at each snapshot.

    Args:
        image: the upright original picture.
        crop: the part of it that the maps cover, in original pixels.
        frames: one to twelve snapshots, in the order of their steps.
        logits, probabilities: the followed classes over the number of steps.
        target, against: what red and blue speak for in the first row.
        unsigned: the maps say how much a patch matters and not for whom (``absolute``).
        lines: of text above, each shortened to the width.

    Raises:
        InterpretError: no frame or too many; or a map or curve cannot be drawn.
    """
    if not 1 <= len(frames) <= 12:
        raise InterpretError(f"frames: {len(frames)} given; a strip of 1 to 12 can be read")
    style = style or Style(side=148)
    image, crop = _seen(image, crop)

    def drawn(scores: FloatArray) -> Image.Image:
        return style.drawn(image, scores, crop, unsigned=unsigned)

    followed = [(drawn(frame.scores), f"step {frame.step}: logit {frame.logit:.1f}") for frame in frames]
    leading = [(drawn(frame.leading_scores), f"{frame.probability:.0%} {frame.leader}") for frame in frames]
    width = max(760, len(frames) * (followed[0][0].width + _GAP) - _GAP)
    half = ((width - _GAP) // 2, 240)
    marks = [float(frame.step) for frame in frames]
    plots = [
        line_plot(logits, x_label="steps", y_label="logit", size=half, marks=marks),
        line_plot(probabilities, x_label="steps", y_label="probability", size=half, marks=marks, y_range=(0.0, 1.0)),
    ]
    verb = "matters" if unsigned else "speaks"
    return _stacked(
        [
            _text(lines, width, _INK),
            _text([f"What {verb} for {target}" + ("" if against is None else f" or {against}")], width, _QUIET),
            _row(followed, width),
            _bar(target, f"against {target}" if against is None else against, width, style, unsigned),
            _text([f"What {verb} for the class that the model names at that step"], width, _QUIET),
            _row(leading, width),
            _row([(plot, "") for plot in plots], width),
        ],
        width,
    )


def rewrite_figure(
    before: Answered,
    after: Answered,
    course: Sequence[Curve],
    *,
    target: str,
    against: str,
    unsigned: bool = False,
    lines: Sequence[str] = (),
    style: Style | None = None,
) -> Image.Image:
    """A rewritten picture beside the original and their enlarged difference, above both maps and the logits' course.

    Args:
        before, after: the two pictures, of one size.
        course: the logits of both classes over the number of steps.
        target, against: the class that was left (red) and the one that was aimed at (blue).
        unsigned: the maps say how much a patch matters and not for whom (``absolute``).
        lines: of text above; say here that it is an adversarial example.

    Raises:
        InterpretError: the pictures differ in size; or a map or curve cannot be drawn.
    """
    if before.image.size != after.image.size:
        raise InterpretError(f"after: a picture of {after.image.size}, but the one before is of {before.image.size}")
    style = style or Style(side=272)
    whole = Box(0, 0, before.image.width, before.image.height)
    maps = [style.drawn(answered.image, answered.scores, whole, unsigned=unsigned) for answered in (before, after)]
    size = maps[0].size
    difference, gain = amplified_difference(before.image, after.image)
    pictures = [
        (style.plain(before.image), f"before: {before.caption}"),
        (style.plain(after.image), f"after: {after.caption}"),
        (difference.resize(size, Image.Resampling.NEAREST), f"difference, {gain:.3g} times enlarged (grey: none)"),
    ]
    plot = line_plot(course, x_label="steps", y_label="logit", size=(max(240, size[0]), max(140, size[1])))
    width = 2 * (size[0] + _GAP) + plot.width
    return _stacked(
        [
            _text(lines, width, _INK),
            _row(pictures, width),
            _row([(maps[0], "map before"), (maps[1], "map after"), (plot, "logits while descending")], width),
            _bar(target, against, width, style, unsigned),
        ],
        width,
    )


def amplified_difference(before: Image.Image, after: Image.Image) -> tuple[Image.Image, float]:
    """(after − before) around middle grey, enlarged until its greatest is black or white; and the factor."""
    change = np.asarray(after.convert("RGB"), np.float32) - np.asarray(before.convert("RGB"), np.float32)
    greatest = float(np.abs(change).max())
    gain = 127.0 / greatest if greatest else 1.0
    shown: NDArray[np.uint8] = np.rint(128 + gain * change).clip(0, 255).astype(np.uint8)
    return Image.fromarray(shown), gain


def _seen(image: Image.Image, crop: Box) -> tuple[Image.Image, Box]:
    """The part of the picture in the crop, and the crop in the pixels of that part."""
    left, top = max(0, math.floor(crop.left)), max(0, math.floor(crop.top))
    part = image.crop((left, top, min(image.width, math.ceil(crop.right)), min(image.height, math.ceil(crop.bottom))))
    return part, Box(crop.left - left, crop.top - top, crop.right - left, crop.bottom - top)


def _bar(target: str, against: str, width: int, style: Style, unsigned: bool) -> Image.Image:
    if unsigned:
        return strength_bar("matters most", width=width, palette=style.palette, opacity=style.opacity)
    return colour_bar(target, against, width=width, palette=style.palette, opacity=style.opacity)


def _row(cells: Sequence[tuple[Image.Image, str]], width: int) -> Image.Image:
    """Pictures from left to right, each with its caption underneath, shortened to the picture's width."""
    captions = any(caption for _, caption in cells)
    row = Image.new("RGB", (width, max(picture.height for picture, _ in cells) + _LINE * captions), _PAPER)
    draw = ImageDraw.Draw(row)
    left = 0
    for picture, caption in cells:
        row.paste(picture, (left, 0))
        text, font = fitted(caption, _LETTERS, picture.width)
        draw.text((left, picture.height + 2), text, font=font, fill=_INK)
        left += picture.width + _GAP
    return row


def _text(lines: Sequence[str], width: int, ink: tuple[int, int, int]) -> Image.Image:
    block = Image.new("RGB", (width, _LINE * len(lines)), _PAPER)
    draw = ImageDraw.Draw(block)
    for number, line in enumerate(lines):
        text, font = fitted(line, _LETTERS, width)
        draw.text((0, number * _LINE), text, font=font, fill=ink)
    return block


def _stacked(pieces: Sequence[Image.Image], width: int) -> Image.Image:
    shown = [piece for piece in pieces if piece.height]
    height = sum(piece.height for piece in shown) + _GAP * (len(shown) - 1)
    figure = Image.new("RGB", (width + 2 * _MARGIN, height + 2 * _MARGIN), _PAPER)
    top = _MARGIN
    for piece in shown:
        figure.paste(piece, (_MARGIN, top))
        top += piece.height + _GAP
    return figure
