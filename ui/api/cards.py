"""Small pictures for Grid, Class pair and their dialogs: of each, what is thought of it in two lines and a bar."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

import pandas as pd

from gradattn_core import belief
from gradattn_core.belief import Belief
from gradattn_core.records import Box
from gradattn_core.store.store import Store
from gradattn_core.wording import distinct_names, short_name
from ui.api import freshness
from ui.api.answers import Asked, get
from ui.api.filters import open_list
from ui.api.threshold import undecided
from ui.api.whereabouts import whereabouts

MARKS = {"relabel": "A", "keep": "K", "unsure": "U", "remove": "X"}
"""The letter of each decision, as its key in Review."""
_NOW = {"keep": "label is right", "unsure": "unsure", "remove": "removed"}


@dataclass(frozen=True, slots=True)
class Chance:
    """A class and how likely it is the right one of a picture.

    Attributes:
        label: empty for none of the dataset's classes.
        name: for people.
        probability: in [0, 1]; ``text`` as it is shown.
        role: ``given``, ``other``, or empty for neither.
    """

    label: str
    name: str
    probability: float
    text: str
    role: str


@dataclass(frozen=True, slots=True)
class Outline:
    """A part: left, top, right, bottom in pixels of the original; ``sign`` +1 speaks for the given label."""

    sign: int
    box: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Card:
    """One picture and what is thought of it.

    Attributes:
        first, second: the likelier of the given label and the likeliest other class, and the less likely one.
        given, other: the same two by what they are; ``other`` is what the picture would be relabelled to.
        rest: the probability of all other classes.
        suggests: the decision that ``other`` is: ``relabel``, or ``remove`` for none of the classes.
        mark: letter of the decision that stands, empty for none; ``now`` says it in words, ``by`` whose it is.
        seen: id of the newest entry of the log about it, empty for none.
        conflict: reviewers differ about it.
        note: the model's own class, of a picture of none of the dataset's.
        cluster: number of the suspects that look alike, -1 for none.
        outlines: its parts, the strongest of each sign first; empty unless they are asked for.
        said: all of it as one phrase, for who does not see it.
        changed: a sentence where its file is not the one that the audit saw; ``check``: as of a suspect.
    """

    path: str
    content_hash: str
    rank: int
    width: int
    height: int
    given: Chance
    other: Chance
    first: Chance
    second: Chance
    rest: float
    suggests: str
    kind: str
    mark: str
    now: str
    by: str
    seen: str
    conflict: bool
    note: str
    cluster: int
    tags: tuple[str, ...]
    outlines: tuple[Outline, ...]
    said: str
    changed: str
    check: bool


def page(asked: Asked) -> Mapping[str, object]:
    """``GET cards``: a page of a list as cards, how many it has, what is ``outside`` it undecided, and the progress."""
    query, store, audit = open_list(asked), asked.store, asked.audit
    frame = store.candidates.page(audit, order=query.order, top=query.count, offset=query.offset, **query.filters)
    left = store.candidates.count(audit, **undecided(query.filters))
    all_left, suspects = (store.candidates.count(audit, decided=decided) for decided in ("no", "any"))
    return {
        "suspects": [asdict(card) for card in cards(store, audit, frame, outlines=query.outlines)],
        "total": left if query.filters.get("decided") == "no" else store.candidates.count(audit, **query.filters),
        "outside": max(0, all_left - left),
        "all": suspects,
        "progress": f"{suspects - all_left:,} of {suspects:,} decided · {all_left:,} left",
    }


def cards(store: Store, audit: str, frame: pd.DataFrame, *, outlines: bool = False) -> list[Card]:
    """The cards of rows of ``Store.candidates.page``, in their order, by a few queries for all of them together."""
    rows = rows_of(frame)
    paths = [str(row["path"]) for row in rows]
    if not paths:
        return []
    parts = store.showing.strongest(audit, paths) if outlines else {}
    states = {path: freshness.state(place) for path, place in whereabouts.all_of(store, audit, paths).items()}
    return [_card(row, parts.get(path, ()), states.get(path, "same")) for row, path in zip(rows, paths, strict=True)]


def rows_of(frame: pd.DataFrame) -> list[dict[str, object]]:
    """A frame of the store as one mapping per row."""
    return [{str(name): cell for name, cell in row.items()} for row in frame.to_dict("records")]


def pair_of(thought: Belief) -> tuple[Chance, Chance]:
    """The given label and the likeliest other class of a picture, with their probabilities."""
    label = thought.other or ""
    names = distinct_names(thought.given, label)
    chances = thought.of(thought.given), thought.of(label)
    return (
        Chance(thought.given, names[0], chances[0], belief.in_percent(chances[0]), "given"),
        Chance(label, names[1], chances[1], belief.in_percent(chances[1]), "other"),
    )


def _card(row: Mapping[str, object], parts: Sequence[tuple[int, Box]], file: freshness.State) -> Card:
    given, other = pair_of(belief.of_row(row))
    first, second = (given, other) if given.probability >= other.probability else (other, given)
    decision, new_label = str(row["decision"]), str(row["new_label"])
    now = f"now {short_name(new_label)}" if decision == "relabel" else _NOW.get(decision, "")
    own = short_name(str(row["outside_label"]))
    note = f"the model says {own}" if own and not other.label else ""
    if first is given:
        said = f"{given.name} is probably right, {given.text}, or {other.name}, {other.text}"
    else:
        said = f"{other.name}, {other.text}, filed as {given.name}"
    if note:
        said += f"; {note}"
    if now:
        said += f"; decided: {now}"
    return Card(
        path=str(row["path"]),
        content_hash=str(row["content_hash"]),
        rank=_whole(row["rank"]),
        width=_whole(row["width"]),
        height=_whole(row["height"]),
        given=given,
        other=other,
        first=first,
        second=second,
        rest=max(0.0, 1 - given.probability - other.probability),
        suggests="relabel" if other.label else "remove",
        kind=str(row["kind"]),
        mark=MARKS.get(decision, ""),
        now=now,
        by=str(row["reviewer"]),
        seen=str(row["seen"]),
        conflict=bool(row["conflict"]),
        note=note,
        cluster=_whole(row["cluster"]),
        tags=_texts(row["tags"]),
        outlines=tuple(Outline(sign, (box.left, box.top, box.right, box.bottom)) for sign, box in parts),
        said=said,
        changed=freshness.SENTENCES[file],
        check=file == "unknown",
    )


def _texts(cell: object) -> tuple[str, ...]:
    return tuple(str(each) for each in cell) if isinstance(cell, Iterable) and not isinstance(cell, str) else ()


def _whole(cell: object) -> int:
    return int(cell) if isinstance(cell, int | float) else 0


ROUTES = [get("cards", page)]
