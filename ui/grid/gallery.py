"""A page of thumbnails that can be selected, as an element of the page: its pictures, its groups, what is selected.

The selection lives in the browser, so that it answers at once, and is reported together with a token of the page it was
made on: a selection never applies to pictures that have taken the place of those that somebody saw.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlencode

import pandas as pd
import streamlit as st

from gradattn_core.render.overlays import PALETTES
from ui import components, thumbnails
from ui.components import Row, present
from ui.words import named, percent, short, told_apart

_HERE = Path(__file__).parent
_COMPONENT = st.components.v2.component(
    "gradattn_gallery",
    html=_HERE.joinpath("gallery.html").read_text("utf-8"),
    css=_HERE.joinpath("gallery.css").read_text("utf-8"),
    js=_HERE.joinpath("gallery.js").read_text("utf-8"),
)

_MARKS = {"keep": "right", "remove": "remove", "unsure": "unsure"}
# The first paint waits so long for pictures that are not made yet; the page asks for the others as they come.
_PATIENCE = 0.3


@dataclass(frozen=True)
class Card:
    """One picture of a gallery; all its text is shown as it is.

    Attributes:
        path: the image, and what a selection is told by.
        alt: the picture in words.
        title: what opens the image in Review; empty for none.
        lines: lines below it.
        mark: a word on the picture, such as the decision.
        tone: ``conflict`` where reviewers differ.
        share: part of the evidence that speaks for the given label, 0 to 1; None without evidence.
    """

    path: str
    alt: str
    title: str = ""
    lines: tuple[str, ...] = ()
    mark: str = ""
    tone: str = ""
    share: float | None = None


@dataclass(frozen=True)
class Selection:
    """What somebody did in a gallery, by paths: ``selected``, in order, and the one ``opened``, if any.

    ``missing`` counts the pictures that cannot be shown.
    """

    selected: tuple[str, ...] = ()
    opened: str | None = None
    missing: int = 0


Groups = Sequence[tuple[str, Sequence[Card]]]
"""Headings, empty for none, each with its cards."""


def rows_of(frame: pd.DataFrame) -> list[Row]:
    """A frame of the store as one mapping per row."""
    return [{str(name): cell for name, cell in row.items()} for row in frame.to_dict("records")]


def cards(rows: Iterable[Row], *, with_pair: bool = True) -> list[Card]:
    """The cards of rows of ``Store.candidates.page``; without the pair where a heading names it."""
    return [_card(row, with_pair) for row in rows]


def show(
    audit: str,
    groups: Groups,
    pictures: Sequence[thumbnails.Wanted],
    *,
    key: str,
    width: int = 150,
    selectable: bool = True,
    generation: int = 0,
) -> Selection:
    """Draw a gallery and return what is selected in it.

    Args:
        pictures: what to draw on the cards, see ``thumbnails.wanted``; found by path.
        width: least width of a card in CSS pixels.
        generation: a number whose change takes every selection back.
    """
    shown = [card for _, members in groups for card in members]
    made = thumbnails.made(pictures, patience=_PATIENCE)
    token = _token(audit, groups, generation)
    state = _COMPONENT(
        key=key,
        data={
            "token": token,
            "width": width,
            "selectable": selectable,
            "colours": ["rgb({},{},{})".format(*colour) for colour in PALETTES[components.palette()]],
            "groups": [
                {"heading": heading, "cards": [_described(audit, card) for card in members]}
                for heading, members in groups
            ],
            "pictures": [
                _picture(made.get(card.path, thumbnails.Thumbnail(problem="not asked for"))) for card in shown
            ],
            "pending": any(thumbnail.pending for thumbnail in made.values()),
        },
        on_selected_change=_nothing,
        on_opened_change=_nothing,
        on_more_change=_nothing,
    )
    missing = sum(bool(thumbnail.problem) for thumbnail in made.values())
    return replace(_selection(state, token, shown), missing=missing)


def strip(audit: str, paths: Sequence[str], alt: str, *, key: str, width: int = 72) -> None:
    """A few small pictures to look at, such as typical ones of a class; ``alt`` says of each what it is."""
    known = components.store().candidates.page(audit, paths=list(paths))
    hashes = {str(path): str(found) for path, found in zip(known["path"], known["content_hash"], strict=True)}
    shown = [Card(path, f"{alt}: {PurePosixPath(path).name}") for path in paths if path in hashes]
    show(audit, [("", shown)], thumbnails.wanted(audit, hashes), key=key, width=width, selectable=False)


def selected(audit: str, groups: Groups, *, key: str, generation: int = 0) -> tuple[str, ...]:
    """The paths selected in a gallery at this moment, for callbacks, which run before it is drawn again."""
    shown = [card for _, members in groups for card in members]
    return _selection(st.session_state.get(key) or {}, _token(audit, groups, generation), shown).selected


def _selection(state: Mapping[str, Any], token: str, shown: Sequence[Card]) -> Selection:
    """What the browser reports, as far as it is about these very cards."""
    selected, opened = state.get("selected"), state.get("opened")
    indices = selected.get("indices", []) if isinstance(selected, Mapping) and selected.get("token") == token else []
    at = opened.get("index") if isinstance(opened, Mapping) and opened.get("token") == token else None
    return Selection(
        tuple(shown[index].path for index in indices if _is_place(index, shown)),
        shown[at].path if at is not None and _is_place(at, shown) else None,
    )


def _is_place(index: object, shown: Sequence[Card]) -> bool:
    return isinstance(index, int) and 0 <= index < len(shown)


def by_pair(rows: Sequence[Row]) -> Groups:
    """Rows ordered by pair, below headings that name the pairs."""
    return [
        (_pair(given, suggested), cards(members, with_pair=False))
        for (given, suggested), members in itertools.groupby(
            rows, lambda row: (str(row["given_label"]), str(row["suggested_label"]))
        )
    ]


def by_likeness(rows: Sequence[Row]) -> Groups:
    """Rows ordered by cluster: those that look alike below a heading of their own, the single ones together."""
    groups: list[tuple[str, list[Card]]] = []
    for cluster, found in itertools.groupby(rows, lambda row: int(row["cluster"])):
        members = cards(found)
        alike = cluster >= 0 and len(members) > 1
        if not alike and groups and groups[-1][0] == _SINGLE:
            groups[-1][1].extend(members)
        else:
            groups.append((f"{len(members)} that look alike" if alike else _SINGLE, members))
    return groups


_SINGLE = "Like no other here"


def _card(row: Row, with_pair: bool) -> Card:
    path = str(row["path"])
    given, suggested = str(row["given_label"]), str(row["suggested_label"])
    positive, negative = float(row["positive_mass"]), float(row["negative_mass"])
    share = positive / (positive + negative) if positive + negative > 0 else None
    said = f"{PurePosixPath(path).name}: filed as {named(given)}"
    if suggested:
        said += f", looks like {named(suggested)}"
    if share is not None:
        said += f"; {share:.0%} of the evidence speaks for {short(given)}"
    mark = _mark(row)
    if mark:
        said += f"; decided: {mark}"
    lines = (_pair(given, suggested),) if with_pair else ()
    conflict = bool(row["conflict"])
    return Card(
        path,
        said,
        title=PurePosixPath(path).name or path,
        lines=(*lines, f"{row['kind'] or 'wrong'} · {percent(float(row['suspicion']))}"),
        mark=f"{mark} · disputed" if conflict else mark,
        tone="conflict" if conflict else "",
        share=share,
    )


def _mark(row: Row) -> str:
    decision = str(row["decision"])
    if decision == "relabel":
        return f"→ {short(str(row['new_label']))}"
    return _MARKS.get(decision, decision) if present(decision) else ""


def _pair(given: str, suggested: str) -> str:
    if not suggested:
        return short(given)
    return " → ".join(told_apart(given, suggested))


def _described(audit: str, card: Card) -> dict[str, Any]:
    return {
        "alt": card.alt,
        "path": card.path,
        "title": card.title,
        # Relative, so that it also holds behind a proxy that serves the page below a path.
        "href": "review?" + urlencode({"path": card.path, "audit": audit}, errors="replace"),
        "lines": list(card.lines),
        "mark": card.mark,
        "tone": card.tone,
        "share": card.share,
    }


def _picture(thumbnail: thumbnails.Thumbnail) -> dict[str, str]:
    try:
        content = thumbnail.file.read_bytes() if thumbnail.file else b""
    except OSError:  # the cache has just let it go; it is made again when the page is drawn next
        content = b""
    source = f"data:image/jpeg;base64,{base64.b64encode(content).decode()}" if content else ""
    return {"src": source, "problem": thumbnail.problem}


def _token(audit: str, groups: Groups, generation: int) -> str:
    told = repr((audit, generation, groups)).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(told, digest_size=8).hexdigest()


def _nothing() -> None:
    """Streamlit reports a value only where somebody listens."""
