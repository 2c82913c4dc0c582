"""The pictures beside a suspect: typical ones of both classes, and those most like it, suspects among them marked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from gradattn_core.belief import NONE, Belief
from gradattn_core.store.showing import Near
from ui.api.shapes import Similar, Small, Strip

_SHOWN = 5
"""Similar pictures that stand on the page."""


def typical(
    belief: Belief,
    names: Mapping[str, str],
    pictures_of: Mapping[str, Sequence[tuple[str, str]]],
    sizes: Mapping[str, int],
) -> tuple[Strip, ...]:
    """Of the likelier class of the two, then of the other one; nothing is typical of none of the classes."""
    strips = []
    for label in sorted((belief.given, belief.other or NONE), key=lambda label: -belief.of(label)):
        pictures = pictures_of.get(label, ())
        if not label or not pictures:
            continue
        role = "given" if label == belief.given else "other"
        small = tuple(Small(path, content, names[label], role, False, "") for path, content in pictures)
        strips.append(Strip(names[label], role, f"most certain of {sizes.get(label, 0):,}", small))
    return tuple(strips)


def similar(near: Sequence[Near], belief: Belief, names: Mapping[str, str]) -> Similar | None:
    """The most similar pictures, those filed as the given label first; None where none are known."""
    if not near:
        return None
    first = sorted(near, key=lambda each: each.given_label != belief.given)
    pictures = tuple(
        Small(
            each.path,
            each.content_hash,
            names[each.given_label],
            "given" if each.given_label == belief.given else "other" if each.given_label == belief.other else "",
            each.is_suspect,
            _state(each, names),
        )
        for each in first
    )
    return Similar(_counted(near, belief, names), pictures, max(0, len(pictures) - _SHOWN))


def _counted(near: Sequence[Near], belief: Belief, names: Mapping[str, str]) -> str:
    """How the most similar pictures are filed, and how many of them are suspects themselves."""
    counts = Counter(each.given_label for each in near)
    likelier = sorted(counts, key=lambda label: (-belief.of(label), -counts[label]))
    filed = [
        f"{counts[label]}{' filed' if not place else ''} as {names[label]}" for place, label in enumerate(likelier)
    ]
    doubtful = [each for each in near if each.is_suspect]
    if not doubtful:
        return ", ".join(filed)
    if len(doubtful) == 1:
        label = names[doubtful[0].given_label]
        whose = f"the {label}" if counts[doubtful[0].given_label] == 1 else f"one filed as {label}"
        by_now = _by_now(doubtful[0], names)
        return f"{', '.join(filed)}; {whose} is a suspect itself{f', {by_now}' if by_now else ''}"
    return f"{', '.join(filed)}; {len(doubtful)} of them are suspects themselves"


def _by_now(near: Near, names: Mapping[str, str]) -> str:
    said = {"keep": "by now found right", "remove": "by now removed", "unsure": "by now unsure"}
    if near.decision == "relabel":
        return f"by now relabelled to {names[near.new_label]}"
    return said.get(near.decision, "")


def _state(near: Near, names: Mapping[str, str]) -> str:
    """The band of a small picture, ``""`` for none."""
    now = {"relabel": f"now {names.get(near.new_label, near.new_label)}", "keep": "label is right"}
    now |= {"remove": "removed", "unsure": "unsure"}
    if near.is_suspect:
        return f"suspect: {now[near.decision]}" if near.decision else "suspect, undecided"
    return now[near.decision] if near.decision in ("relabel", "remove") else ""
