"""What an audit did not judge, by ending, class and reason, and in sentences."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable

import pandas as pd

from gradattn_core.dataset.endings import is_image
from gradattn_core.dataset.subset import is_wanted
from gradattn_core.dataset.text import shown, shown_all
from gradattn_core.records import Unjudged

_QUOTED = re.compile(r"""^(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*") """)
_DETAIL = re.compile(r" \(.*\)$")
_ENDING = re.compile(r"[^./]\.([A-Za-z0-9]{1,10})$")
_NAMED = 3


def by_kind(failures: pd.DataFrame) -> tuple[Unjudged, ...]:
    """What was not judged, in groups: pictures that could not be used first, then the largest.

    Args:
        failures: of ``Store.audits.failures``; suspects without a map were judged and play no part.
    """
    counts: Counter[tuple[str, str, str, str]] = Counter()
    examples: dict[tuple[str, str, str, str], str] = {}
    columns = (failures[name] for name in ("path", "given_label", "stage", "reason"))
    for path, label, stage, reason in zip(*columns, strict=True):
        if stage == "interpret":
            continue
        group = stage, ending_of(path), label, general(reason)
        counts[group] += 1
        examples.setdefault(group, path)
    groups = [Unjudged(*group, files, examples[group]) for group, files in counts.items()]
    return tuple(sorted(groups, key=lambda each: (each.stage == "skip", -each.files, each.example)))


def ending_of(path: str) -> str:
    """``.png``, in lower case; "" without one. Of an annotated box, listed or not, it is that of its picture."""
    picture, _, behind = path.rpartition("#")
    is_box = bool(picture) and "/" not in behind and is_image(picture)
    found = _ENDING.search(picture if is_box else path)
    return f".{found[1].lower()}" if found else ""


def general(reason: str) -> str:
    """A reason without the name and the numbers of the one file that it was said of."""
    return _DETAIL.sub("", _QUOTED.sub("", reason).rstrip("."))


def warnings_about(groups: Iterable[Unjudged], classes: Iterable[str]) -> list[str]:
    """What whoever reads the result must know: pictures that were not judged, and classes of which none was.

    Args:
        groups: of :func:`by_kind`.
        classes: in which there is a judged picture.
    """
    unread = [group for group in groups if group.stage != "skip"]
    sentences = []
    if unread:
        total = sum(group.files for group in unread)
        reasons: Counter[str] = Counter()
        labels: Counter[str] = Counter()
        for group in unread:
            reasons[group.reason] += group.files
            labels[group.given_label] += group.files
        where = f", of {_counted(shown, labels)}" if set(labels) != {""} else ""
        sentences.append(
            f"{_files(total, 'picture')} not judged: {_endings(unread)}{where}; why: {_counted(str, reasons)}. "
            "`gradattn export failures` names each."
        )
    judged = set(classes)
    lost: defaultdict[str, list[Unjudged]] = defaultdict(list)
    for group in groups:
        if group.given_label and group.given_label not in judged and not is_wanted(group.reason):
            lost[group.given_label].append(group)
    if lost:
        each = "; ".join(f"{shown(label, 60)} has {_endings(kinds)}" for label, kinds in list(lost.items())[:_NAMED])
        more = f"; and {len(lost) - _NAMED:,} more" if len(lost) > _NAMED else ""
        what = f"class {shown_all(lost)}" if len(lost) == 1 else f"{len(lost):,} classes"
        sentences.append(f"Nothing of {what} was judged: {each}{more}.")
    return sentences


def _files(count: int, what: str) -> str:
    return f"1 {what} was" if count == 1 else f"{count:,} {what}s were"


def _endings(groups: Iterable[Unjudged]) -> str:
    """``12 .heic, 3 .png``."""
    counts: Counter[str] = Counter()
    for group in groups:
        counts[group.ending or "without an ending"] += group.files
    parts = [f"{files:,} {ending}" for ending, files in counts.most_common(_NAMED)]
    rest = sum(counts.values()) - sum(files for _, files in counts.most_common(_NAMED))
    return ", ".join([*parts, *([f"{rest:,} others"] if rest else [])])


def _counted(write: object, counts: Counter[str]) -> str:
    assert callable(write)
    parts = [f"{write(what) if what else 'no class'} ({files:,})" for what, files in counts.most_common(_NAMED)]
    more = [f"{len(counts) - _NAMED:,} more"] if len(counts) > _NAMED else []
    return ", ".join([*parts, *more])
