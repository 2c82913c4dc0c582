"""Figures of what was moved on purpose: attention maps step by step, and pixels until the class changes.

Each is an RGB picture and raises ``InterpretError`` where a map cannot be drawn, see ``overlay``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gradattn_core.records import Box, FloatArray
from gradattn_core.render.figures import Style
from gradattn_core.render.layout import GAP, Block, captioned, column, heading, picture, row, words
from gradattn_core.render.plots import Line, Plot, charts

_NARROWEST = 760  # below it two plots, and a warning, cannot be read
_CURVES = 270  # height of plots that are as wide as the figure


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
class Answer:
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
    logits: Sequence[Line],
    probabilities: Sequence[Line],
    *,
    target: str,
    against: str | None = None,
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
        frames: snapshots, in the order of their steps.
        logits, probabilities: the same classes over the number of steps.
        target, against: what the two colours speak for in the first row.
        lines: a title and further lines, each shortened to the width.
    """
    style = style or Style(side=148)
    image, crop = _seen(image, crop)

    def strip(maps: Sequence[FloatArray], captions: Sequence[str]) -> Block:
        shown = [style.map(image, scores, crop) for scores in maps]
        return row([captioned(*cell) for cell in zip(shown, captions, strict=True)], GAP // 2)

    followed = strip([f.scores for f in frames], [f"step {f.step}: logit {f.logit:.1f}" for f in frames])
    leading = strip([f.leading_scores for f in frames], [f"{f.probability:.0%} {f.leader}" for f in frames])
    width = max(_NARROWEST, followed.width)
    marks = [float(frame.step) for frame in frames]
    plots = [
        Plot(logits, "steps", "logit", marks=marks),
        Plot(probabilities, "steps", "probability", marks=marks, y_range=(0.0, 1.0)),
    ]
    verb = "matters" if style.unsigned else "speaks"
    pair = target if against is None else f"{target} or {against}"
    return style.figure(
        heading(lines, width),
        column([words(f"What {verb} for {pair}", width), followed, style.bar(target, against, width)], GAP // 2),
        column([words(f"What {verb} for the class that the model names at that step", width), leading], GAP // 2),
        charts(plots, width, _CURVES),
    )


def rewrite_figure(
    before: Answer,
    after: Answer,
    course: Sequence[Line],
    *,
    target: str,
    against: str,
    lines: Sequence[str] = (),
    style: Style | None = None,
) -> Image.Image:
    """A rewritten picture beside the original and their enlarged difference, above both maps and the logits' course.

    Args:
        before, after: the two pictures, of one size.
        course: the logits of both classes over the number of steps, drawn in the colours of the maps.
        target, against: the class that was left (first colour) and the one that was aimed at (second colour).
        lines: a title and further lines; say here that it is an adversarial example.
    """
    style = style or Style(side=272)
    whole = Box(0, 0, *before.image.size)
    maps = [style.map(answer.image, answer.scores, whole) for answer in (before, after)]
    difference, gain = amplified_difference(before.image, after.image)
    enlarged = difference.resize((maps[0].width, maps[0].height), Image.Resampling.NEAREST)
    tinted = [replace(line, colour=ink) for line, ink in zip(course, replace(style, unsigned=False).inks, strict=True)]
    pictures = row(
        [
            captioned(style.plain(before.image), f"before: {before.caption}"),
            captioned(style.plain(after.image), f"after: {after.caption}"),
            captioned(picture(enlarged), f"difference × {gain:.3g} (grey: none)"),
        ]
    )
    answers = [captioned(block, f"map {when}") for block, when in zip(maps, ("before", "after"), strict=True)]
    plot = charts([Plot(tinted, "steps", "logit")], max(240, maps[0].width), max(160, answers[0].height))
    below = row([*answers, plot])
    width = max(_NARROWEST, pictures.width, below.width)
    return style.figure(heading(lines, width), pictures, below, style.bar(target, against, width))


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
