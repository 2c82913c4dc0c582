"""What the stored numbers say, in one plain sentence each. Nothing here knows Streamlit."""

from __future__ import annotations

from collections.abc import Sequence

from gradattn_core.records import Box, Evidence

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
