"""What the names and numbers of an audit are called in plain English, for the command line and the page.

Imports nothing slower than numpy.
"""

from __future__ import annotations

import functools
import importlib.util
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gradattn_core.estimates import percent
from gradattn_core.kinds import suggestion
from gradattn_core.records import AuditSummary, Box, FloatArray

STANDS_OUT = 2 / 9
"""The share of a map's mass from which one ninth of the picture stands out: spread evenly, each holds a ninth."""

ASSUMED = "whether annotators mix up classes whatever the picture shows or err where the model itself doubts"
"""What the range of the model's belief about the number of wrong labels depends on."""

_NAMES = (("upper left", "top", "upper right"), ("left", "middle", "right"), ("lower left", "bottom", "lower right"))
_PREPOSITIONS = (("at", "at", "at"), ("on", "in", "on"), ("at", "at", "at"))
# Of the picture's area: a box larger than this has no place in it worth naming.
_EVERYWHERE = 0.5
_WNID = re.compile(r"n\d{8}")
_WNID_TABLE = Path("data", "_info", "imagenet_synset_to_lemma.txt")
_DEFINITIONS = Path("data", "_info", "imagenet_synset_to_definition.txt")
_ABSENT = "–"


@dataclass(frozen=True, slots=True)
class Ninth:
    """One of nine equal parts of a picture, three by three.

    Attributes:
        row, column: 0, 1 or 2, from the top and from the left.
    """

    row: int
    column: int

    @property
    def name(self) -> str:
        """``upper left``, ``top``, ``left``, ``middle`` …"""
        return _NAMES[self.row][self.column]

    @property
    def phrase(self) -> str:
        """``at the upper left``, ``at the top``, ``on the left``, ``in the middle`` …"""
        return f"{_PREPOSITIONS[self.row][self.column]} the {self.name}"


def ninth_of(across: float, down: float) -> Ninth:
    """The ninth that a point lies in, given in shares of the picture's width and height, each in [0, 1]."""
    row, column = ((share >= 1 / 3) + (share > 2 / 3) for share in (down, across))
    return Ninth(row, column)


def heaviest_ninth(mass: FloatArray) -> tuple[Ninth, float] | None:
    """The ninth of the picture that holds most of a map's mass, and its share of it, from 1/9 to 1.

    Args:
        mass: [grid height, grid width], all >= 0, such as the evidence for one class.

    Returns:
        None where there is no mass.
    """
    total = float(mass.sum(dtype=np.float64))
    if not math.isfinite(total) or total <= 0:
        return None
    # A patch on the border of two ninths counts for both in proportion.
    rows, columns = (_thirds(side) for side in mass.shape)
    shares = rows @ mass.astype(np.float64) @ columns.T / total
    row, column = divmod(int(shares.argmax()), 3)
    return Ninth(row, column), float(shares[row, column])


def place(box: Box, size: tuple[int, int]) -> str:
    """Where in a picture of ``size`` (width, height) a box lies, by the ninth that its centre falls into."""
    width, height = size
    if box.width * box.height > _EVERYWHERE * width * height:
        return "over most of the picture"
    ninth = ninth_of((box.left + box.right) / 2 / width, (box.top + box.bottom) / 2 / height)
    in_a_corner = ninth.row != 1 and ninth.column != 1
    return ninth.name if in_a_corner else ninth.phrase


def part_name(box: Box, size: tuple[int, int]) -> str:
    """What a part of a picture is called by its place alone: ``middle left``, ``upper right``, ``middle``."""
    width, height = size
    if box.width * box.height > _EVERYWHERE * width * height:
        return "most of the picture"
    ninth = ninth_of((box.left + box.right) / 2 / width, (box.top + box.bottom) / 2 / height)
    down, across = ("upper", "middle", "lower")[ninth.row], ("left", "middle", "right")[ninth.column]
    return down if down == across else f"{down} {across}"


def disagreement(decisions: Sequence[tuple[str, str, str]]) -> str:
    """Who said what where reviewers differ.

    Args:
        decisions: (reviewer, decision, new label or "") of each reviewer's last word, newest first.
    """
    sayings = ", ".join(
        f"{reviewer} said {decision}{f' to {new_label}' if new_label else ''}"
        for reviewer, decision, new_label in decisions
    )
    return f"Reviewers differ: {sayings}. The newest stands."


def belief(wrong: float, low: float | None, high: float | None, *, of: str) -> str:
    """``the model believes about 12 of 100 labels are wrong; 8 to 16, depending on whether annotators …``.

    Args:
        wrong: a sum of suspicions; NaN where it was not kept.
        low, high: of :func:`gradattn_core.estimates.assumed_range`; None or NaN where an older audit has none.
        of: what may be wrong, such as ``100 labels``.
    """
    if math.isnan(wrong):
        return f"how many of {of} the model believes to be wrong was not kept"
    ends = [f"{end:,.0f}" for end in (low, high) if end is not None and math.isfinite(end)]
    words = f"the model believes about {wrong:,.0f} of {of} {'is' if f'{wrong:.0f}' == '1' else 'are'} wrong"
    return f"{words}; {' to '.join(ends)}, depending on {ASSUMED}" if len(set(ends)) == 2 else words


def estimate(wrong: float, low: float | None, high: float | None, *, images: int, first: int, found: float) -> str:
    """:func:`belief` about all labels, and what the list is worth if it is true.

    Args:
        first, found: the ``first`` most suspect images hold this share of all that the model believes wrong, 0 to 1.
    """
    words = belief(wrong, low, high, of=count_of(images, "label"))
    worth = f"; it believes {percent(found)} of them to be among the first {first:,}"
    return f"{words}{worth}" if first and wrong >= 0.5 else words


def estimate_of(summary: AuditSummary) -> str:
    """:func:`estimate` of an audit that has just ended."""
    return estimate(
        summary.estimated_errors,
        summary.estimated_low,
        summary.estimated_high,
        images=summary.images,
        first=summary.first,
        found=summary.found,
    )


def sentence(words: str) -> str:
    """With a capital letter and a full stop."""
    return f"{words[:1].upper()}{words[1:].rstrip('.')}."


def count_of(count: int, noun: str) -> str:
    """``1 image``, ``1,200 images``."""
    return f"{count:,} {noun if count == 1 else noun + 's'}"


def number_and_range(number: float, low: float, high: float) -> str:
    """``1,684 (1,483–1,918)`` as :func:`belief` says them, ``1,684`` where the range is not known; a dash for NaN."""
    if not math.isfinite(number):
        return _ABSENT
    known = math.isfinite(low) and math.isfinite(high)
    return f"{number:,.0f} ({low:,.0f}–{high:,.0f})" if known else f"{number:,.0f}"


def minute(moment: str) -> str:
    """``2026-11-22 14:03`` for a moment of the store, ISO 8601 in UTC."""
    return moment[:16].replace("T", " ")


def full_name(label: str) -> str:
    """The label with its name in front: ``tench · n01440764`` for an ImageNet id, any other label unchanged."""
    name = short_name(label)
    return label if name == label else f"{name} · {label}"


def short_name(label: str) -> str:
    """The name alone: ``tench`` for n01440764, any other label unchanged. Not unique: there are two cranes."""
    return _imagenet_names().get(label, label) if _WNID.fullmatch(label) else label


def distinct_names(given: str, suggested: str) -> tuple[str, str]:
    """Names for two classes of one sentence: short ones, unless they are the same; the empty one is of none."""
    if short_name(given) == short_name(suggested):
        return full_name(given), full_name(suggested)
    return short_name(given), suggestion(short_name(suggested))


def names_of(labels: Iterable[str]) -> dict[str, str]:
    """A name for every label of one text: the short one, unless two of these share it."""
    asked = list(dict.fromkeys(labels))
    shared = Counter(map(short_name, asked))
    return {label: full_name(label) if shared[short_name(label)] > 1 else short_name(label) for label in asked}


def gloss(label: str, longest: int = 60) -> str:
    """What tells a class from another one of its name: the definition of an ImageNet id, cut, else the label itself."""
    told = _imagenet_table(_DEFINITIONS).get(label, label)
    return told if len(told) <= longest else f"{told[:longest].rsplit(' ', 1)[0]} …"


@functools.cache
def _imagenet_names() -> dict[str, str]:
    """The first name of each ImageNet id."""
    return {wnid: names.split(",")[0].strip() for wnid, names in _imagenet_table(_WNID_TABLE).items()}


@functools.cache
def _imagenet_table(place: Path) -> dict[str, str]:
    """A text for each ImageNet id, read without importing timm; empty where timm keeps its table elsewhere."""
    timm = importlib.util.find_spec("timm")
    if timm is None or timm.origin is None:
        return {}
    try:
        lines = Path(timm.origin).parent.joinpath(place).read_text("utf-8").splitlines()
    except OSError:
        return {}
    return dict(line.split("\t", 1) for line in lines if "\t" in line)


def _thirds(side: int) -> NDArray[np.float64]:
    """[3, side]: how much of each patch lies in each third."""
    edges = np.linspace(0, side, 4)
    start = np.arange(side)
    overlap = np.minimum(start + 1, edges[1:, None]) - np.maximum(start, edges[:-1, None])
    return np.asarray(np.clip(overlap, 0, None))
