"""A page of thumbnails that can be selected, as an element of the page: its pictures, its groups, what is selected.

The selection lives in the browser, so that it answers at once, and is reported together with a token of the page it was
made on: a selection never applies to pictures that have taken the place of those that somebody saw.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeGuard
from urllib.parse import urlencode

import streamlit as st

from gradattn_core.estimates import percent
from gradattn_core.kinds import suggestion
from gradattn_core.wording import full_name, pair_title, short_name
from ui import components, thumbnails
from ui.components import Row

_HERE = Path(__file__).parent
_COMPONENT = st.components.v2.component(
    "gradattn_gallery",
    html=_HERE.joinpath("gallery.html").read_text("utf-8"),
    css=_HERE.joinpath("gallery.css").read_text("utf-8"),
    js=_HERE.joinpath("gallery.js").read_text("utf-8"),
)

_MARKS = {"keep": "right", "remove": "remove", "unsure": "unsure"}
_UNLIKE = "Like no other here"
# The first paint waits so long for pictures that are not made yet; the page asks for the others as they come.
_PATIENCE = 0.3


@dataclass(frozen=True)
class Card:
    """One picture of a gallery; all its text is shown as it is.

    Attributes:
        path: the image, and what a selection is told by.
        content_hash: of the image.
        alt: the picture in words.
        title: what opens the image in Review; empty for none.
        lines: lines below it.
        mark: a word on the picture, such as the decision.
        tone: ``conflict`` where reviewers differ.
    """

    path: str
    content_hash: str
    alt: str
    title: str = ""
    lines: tuple[str, ...] = ()
    mark: str = ""
    tone: str = ""


@dataclass(frozen=True)
class Selection:
    """What somebody did in a gallery, by paths: ``selected``, in order, and the one ``opened``, if any."""

    selected: tuple[str, ...] = ()
    opened: str | None = None


Groups = Sequence[tuple[str, Sequence[Card]]]
"""Headings, empty for none, each with its cards."""


@dataclass(frozen=True)
class Gallery:
    """Pictures of one audit on a page.

    Attributes:
        width: least width of a card in CSS pixels.
        evidence: whether the pictures show what speaks for and against their labels.
        key: of the element; the page has one gallery that can be selected from.
        generation: a number whose change takes every selection back.
    """

    audit: str
    groups: Groups
    width: int
    evidence: bool = False
    selectable: bool = True
    key: str = "gallery"
    generation: int = 0

    @property
    def cards(self) -> list[Card]:
        return [card for _, members in self.groups for card in members]

    def show(self) -> tuple[Selection, int]:
        """Draw it; returns what is selected in it, and how many of its pictures cannot be shown."""
        small = _thumbnails(self.audit, self.cards, self.evidence, _PATIENCE)
        state = _COMPONENT(
            key=self.key,
            data={
                "token": self._token,
                "width": self.width,
                "selectable": self.selectable,
                "groups": [
                    {"heading": heading, "cards": [_card_data(self.audit, card) for card in members]}
                    for heading, members in self.groups
                ],
                "pictures": [_picture_data(small[card.path]) for card in self.cards],
                "pending": any(thumbnail.pending for thumbnail in small.values()),
            },
            on_selected_change=_nothing,
            on_opened_change=_nothing,
            on_more_change=_nothing,
        )
        return self._selection(state), sum(bool(thumbnail.problem) for thumbnail in small.values())

    def selected(self) -> tuple[str, ...]:
        """The paths selected at this moment, for callbacks, which run before it is drawn again."""
        return self._selection(st.session_state.get(self.key) or {}).selected

    def _selection(self, state: Mapping[str, Any]) -> Selection:
        """What the browser reports, as far as it is about these very cards."""
        token, cards = self._token, self.cards
        selected, opened = (
            report if isinstance(report, Mapping) and report.get("token") == token else {}
            for report in (state.get("selected"), state.get("opened"))
        )
        at = opened.get("index")
        return Selection(
            tuple(cards[index].path for index in selected.get("indices", []) if _is_index(index, cards)),
            cards[at].path if _is_index(at, cards) else None,
        )

    @property
    def _token(self) -> str:
        page = repr((self.audit, self.generation, self.groups)).encode("utf-8", "surrogatepass")
        return hashlib.blake2b(page, digest_size=8).hexdigest()


def prepare(audit: str, rows: Iterable[Row], *, evidence: bool) -> None:
    """Have the pictures of rows that somebody will look at next made, without waiting for them."""
    _thumbnails(audit, cards(rows), evidence, 0)


def strip(audit: str, paths: Sequence[str], alt: str, *, key: str, width: int = 72) -> None:
    """A few small pictures to look at, such as typical ones of a class; ``alt`` says of each what it is."""
    frame = components.store().candidates.page(audit, paths=list(paths))
    hashes = dict(zip(frame["path"].astype(str), frame["content_hash"].astype(str), strict=True))
    members = [Card(path, hashes[path], f"{alt}: {PurePosixPath(path).name}") for path in paths if path in hashes]
    Gallery(audit, [("", members)], width, selectable=False, key=key).show()


def cards(rows: Iterable[Row], *, with_pair: bool = True) -> list[Card]:
    """The cards of rows of ``Store.candidates.page``; without the pair where a heading names it."""
    return [_card(row, with_pair) for row in rows]


def by_pair(rows: Sequence[Row]) -> Groups:
    """Rows ordered by pair, below headings that name the pairs."""
    return [
        (pair_title(given, suggested), cards(members, with_pair=False))
        for (given, suggested), members in itertools.groupby(
            rows, lambda row: (str(row["given_label"]), str(row["suggested_label"]))
        )
    ]


def by_likeness(rows: Sequence[Row]) -> Groups:
    """Rows ordered by cluster: those that look alike below a heading of their own, the single ones together."""
    groups: list[tuple[str, list[Card]]] = []
    for cluster, similar in itertools.groupby(rows, lambda row: int(row["cluster"])):
        members = cards(similar)
        alike = cluster >= 0 and len(members) > 1
        if not alike and groups and groups[-1][0] == _UNLIKE:
            groups[-1][1].extend(members)
        else:
            groups.append((f"{len(members)} that look alike" if alike else _UNLIKE, members))
    return groups


def _card(row: Row, with_pair: bool) -> Card:
    path = str(row["path"])
    given, suggested = str(row["given_label"]), str(row["suggested_label"])
    mark = _mark(row)
    looks = full_name(suggested) if suggested else suggestion("", str(row["outside_label"]))
    alt = f"{PurePosixPath(path).name}: filed as {full_name(given)}, looks like {looks}"
    if mark:
        alt += f"; decided: {mark}"
    lines = (pair_title(given, suggested),) if with_pair else ()
    conflict = bool(row["conflict"])
    return Card(
        path,
        str(row["content_hash"]),
        alt,
        title=PurePosixPath(path).name or path,
        lines=(*lines, f"{row['kind'] or 'wrong'} · {percent(float(row['suspicion']), 1)}"),
        mark=f"{mark} · disputed" if conflict else mark,
        tone="conflict" if conflict else "",
    )


def _mark(row: Row) -> str:
    decision = str(row["decision"])
    if decision == "relabel":
        return f"→ {short_name(str(row['new_label']))}"
    return _MARKS.get(decision, decision)


def _thumbnails(audit: str, cards: Iterable[Card], evidence: bool, patience: float) -> dict[str, thumbnails.Thumbnail]:
    hashes = {card.path: card.content_hash for card in cards}
    return thumbnails.make(thumbnails.requests(audit, hashes, evidence), patience=patience)


def _card_data(audit: str, card: Card) -> dict[str, Any]:
    # Relative, so that it also holds behind a proxy that serves the page below a path.
    address = "review?" + urlencode({"path": card.path, "audit": audit}, errors="replace")
    names = ("alt", "path", "title", "mark", "tone")
    return {name: getattr(card, name) for name in names} | {"href": address, "lines": list(card.lines)}


def _picture_data(thumbnail: thumbnails.Thumbnail) -> dict[str, str]:
    try:
        content = thumbnail.file.read_bytes() if thumbnail.file else b""
    except OSError:  # the cache has just let it go; it is made again when the page is drawn next
        content = b""
    source = f"data:image/jpeg;base64,{base64.b64encode(content).decode()}" if content else ""
    return {"src": source, "problem": thumbnail.problem}


def _is_index(index: object, cards: Sequence[Card]) -> TypeGuard[int]:
    return isinstance(index, int) and 0 <= index < len(cards)


def _nothing() -> None:
    """Streamlit reports a value only where somebody listens."""
