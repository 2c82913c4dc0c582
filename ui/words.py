"""What the stored numbers say, in one plain sentence each. Nothing here knows Streamlit."""

from __future__ import annotations

import functools
import importlib.util
import math
import re
from collections.abc import Sequence
from pathlib import Path

from gradattn_core.records import Box, Evidence

_WNID = re.compile(r"n\d{8}")
_TABLE = Path("data", "_info", "imagenet_synset_to_lemma.txt")


def named(label: str) -> str:
    """The label with its name in front: ``tench · n01440764`` for an ImageNet id, any other label unchanged."""
    name = short(label)
    return label if name == label else f"{name} · {label}"


def short(label: str) -> str:
    """The name alone: ``tench`` for n01440764, any other label unchanged. Not unique: there are two cranes."""
    return _names().get(label, label) if _WNID.fullmatch(label) else label


def told_apart(given: str, suggested: str) -> tuple[str, str]:
    """Names for two classes of one sentence: short ones, unless they are the same."""
    if short(given) == short(suggested):
        return named(given), named(suggested)
    return short(given), short(suggested)


@functools.cache
def _names() -> dict[str, str]:
    """The first name of each ImageNet id; empty where timm keeps its table elsewhere."""
    found = importlib.util.find_spec("timm")
    if found is None or found.origin is None:
        return {}
    try:
        lines = Path(found.origin).parent.joinpath(_TABLE).read_text("utf-8").splitlines()
    except OSError:
        return {}
    rows = (line.split("\t", 1) for line in lines if "\t" in line)
    return {wnid: names.split(",")[0].strip() for wnid, names in rows}


_ABSENT = "–"


def about(number: float) -> str:
    """A count in two significant digits, at least whole: ``1,700`` for 1,684; a dash where there is none."""
    return _rounded(number, 2)


def interval(low: float, high: float) -> str:
    """Both ends in three significant digits: ``1,480–1,920``; a dash where there is none."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return _ABSENT
    return f"{_rounded(low, 3)}–{_rounded(high, 3)}"


def share(part: float) -> str:
    """A share in per cent, never rounded to none or all of it."""
    if not math.isfinite(part):
        return _ABSENT
    if 0 < part < 0.005:
        return "<1%"
    if 0.995 <= part < 1:
        return ">99%"
    return f"{part:.0%}"


def duration(seconds: float) -> str:
    """A length of time in its two largest units: ``45 s``, ``12 min``, ``3 h 5 min``."""
    minutes = round(seconds / 60)
    if minutes < 2:
        return f"{max(0, round(seconds))} s"
    hours, rest = divmod(minutes, 60)
    return f"{minutes} min" if not hours else f"{hours} h {rest} min"


def review_points(images: int, suspects: int) -> list[int]:
    """Lengths of a list worth asking about: 10, 20, 50, 100 … below the number of images, and both numbers."""
    steps = {digit * 10**power for power in range(1, 10) for digit in (1, 2, 5)}
    return sorted({step for step in steps if step < images} | {suspects, images})


def _rounded(number: float, digits: int) -> str:
    if not math.isfinite(number):
        return _ABSENT
    surplus = max(0, len(str(int(abs(number)))) - digits)
    return f"{round(number, -surplus):,.0f}"


# Of the picture's area: a box larger than this has no place in it worth naming.
_EVERYWHERE = 0.5


def strongest_part(
    evidence: Evidence, size: tuple[int, int], *, names: tuple[str, str], colours: tuple[str, str] = ("red", "blue")
) -> str:
    """Where the strongest evidence for the other class lies, or, where there is none, that for the given label.

    Args:
        size: (width, height) of the upright original in pixels.
        names: what (the given label, the other class) are called.
        colours: what (positive, negative) evidence is drawn in.

    Returns:
        A sentence such as ``The strongest blue part, upper left, holds 71% of the evidence for bald eagle.``; empty
        where the map has no region.
    """
    masses = (evidence.statistics.positive_mass, evidence.statistics.negative_mass)
    for sign, side in ((-1, 1), (1, 0)):
        region = next((found for found in evidence.statistics.regions if (found.sign, found.rank) == (sign, 1)), None)
        if region is None or masses[side] <= 0:
            continue
        share = min(1.0, region.mass_share * sum(masses) / masses[side])
        where = place(region.box, size)
        return f"The strongest {colours[side]} part, {where}, holds {share:.0%} of the evidence for {names[side]}."
    return ""


def place(box: Box, size: tuple[int, int]) -> str:
    """Where in a picture of ``size`` (width, height) a box lies, by the third its centre falls into."""
    width, height = size
    if box.width * box.height > _EVERYWHERE * width * height:
        return "over most of the picture"
    across = _third((box.left + box.right) / 2 / width)
    down = _third((box.top + box.bottom) / 2 / height)
    if across and down:
        return f"{'upper' if down < 0 else 'lower'} {'left' if across < 0 else 'right'}"
    if down:
        return "at the top" if down < 0 else "at the bottom"
    if across:
        return "on the left" if across < 0 else "on the right"
    return "in the middle"


def nearest_labels(labels: Sequence[str], given: str, suggested: str, *, names: tuple[str, str]) -> str:
    """How many of the nearest images carry the suggested and how many the given label.

    Args:
        labels: the given labels of the nearest images.
        names: what (the given label, the suggested label) are called.
    """
    if not labels:
        return ""
    count = len(labels)
    found = [sum(label == wanted for label in labels) for wanted in (suggested, given)]
    first, second = (str(number) if number else "none" for number in found)
    verb = "is" if found[0] == 1 else "are"
    return f"Of the {count} images most like it, {first} {verb} filed as {names[1]} and {second} as {names[0]}."


def disagreement(words: Sequence[tuple[str, str, str]]) -> str:
    """Who said what where reviewers differ.

    Args:
        words: (reviewer, decision as it is said, new label or "") of each reviewer's last word, newest first.
    """
    said = ", ".join(
        f"{reviewer} said {decision}{f' to {new_label}' if new_label else ''}"
        for reviewer, decision, new_label in words
    )
    return f"Reviewers differ: {said}. The newest stands."


def percent(share: float) -> str:
    """A probability that never claims certainty: ``<0.1%``, ``12.3%``, ``>99.9%``."""
    if share < 0.001:
        return "<0.1%"
    return ">99.9%" if share > 0.999 else f"{share:.1%}"


def _third(position: float) -> int:
    """-1, 0 or 1 for the first, middle and last third of [0, 1]."""
    return -1 if position < 1 / 3 else 1 if position > 2 / 3 else 0
