"""Lists that prove something: a random check, and a review that ends once few wrong labels can be left.

Pictures that were drawn at random are shown blind: with their given label, and with nothing that a model says of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import streamlit as st

from gradattn_core.errors import GradattnError
from gradattn_core.store.proof import Until
from gradattn_core.store.store import Store
from ui import components
from ui.components import Row, rows_of
from ui.review.queue import Queue

Purpose = Literal["spot check", "until"]

LISTS: Mapping[str, Purpose | None] = {"Suspects": None, "Spot check": "spot check", "Until few are left": "until"}
"""What may be reviewed, by the name in the sidebar and in the address."""
ADDRESS = ("audit", "list", "left")
"""What the address says of these lists. Filters by what a model thinks would be hints."""
_SEEN = ("path", "content_hash", "given_label", "width", "height", "decision", "new_label", "reviewer", "note")
_AT_ONCE = 25
_SHARE = 1.0
_SHARE_HELP = "The review ends once it is proved, with 95% confidence, that no more of all labels are left wrong."


def blinded(row: Row) -> Row:
    """What a reviewer may know of a drawn picture: all that is said of it by a model is absent."""
    return {name: value if name in _SEEN else _absent(value) for name, value in row.items()}


def _absent(value: object) -> object:
    if isinstance(value, bool):
        return False
    return "" if isinstance(value, str) else float("nan")


@dataclass
class Drawn(Queue):
    """A reviewer's way through pictures that the store names, a page at a time; ``at`` is a place among ``paths``.

    A page stays until all its pictures have a verdict, whoever gave it; then the store is asked for the next.

    Attributes:
        purpose: what they are drawn for; ``share`` is what may be left wrong of all labels, in (0, 1).
        paths: of the page, in the order to show.
        kind: where they come from; ``done`` where there is nothing to do any more.
        until: where the review stood when the page began.
        blind: the picture shown was drawn at random.
    """

    purpose: Purpose = "spot check"
    share: float = _SHARE / 100
    paths: Sequence[str] = ()
    kind: Literal["suspects", "random", "done"] = "random"
    until: Until | None = None
    blind: bool = True

    def show(self, store: Store) -> Row | None:
        """The picture to show from now on, without what must not be known of it; None where none is left."""
        row = super().show(store)
        if row is None and not self.left(store):
            self._turn(store)
            row = super().show(store)
        if row is None:
            return None
        here = row["path"] in self.paths
        of_random = self.kind == "random" if here else row["path"] in store.draws.drawn(self.audit)
        self.blind = self.purpose == "spot check" or of_random
        return blinded(row) if self.blind else row

    def _rows(self, store: Store, count: int) -> list[Row]:
        """At most ``count`` pictures from the current place on that nobody has decided."""
        rows: list[Row] = []
        for start in range(self.at, len(self.paths), _AT_ONCE):
            some = self.paths[start : start + _AT_ONCE]
            page = store.candidates.page(self.audit, paths=some, decided="no")
            found = {str(row["path"]): row for row in rows_of(page)}
            rows += [found[path] for path in some if path in found]
            if len(rows) >= count:
                break
        return rows[:count]

    def left(self, store: Store) -> bool:
        """Whether a picture of the page, perhaps one that was skipped, has no verdict."""
        return bool(self.paths) and store.candidates.count(self.audit, paths=self.paths, decided="no") > 0

    def decided_of_page(self, store: Store) -> int:
        return store.candidates.count(self.audit, paths=self.paths, decided="yes") if self.paths else 0

    def _turn(self, store: Store) -> None:
        self.start = 0
        if self.purpose == "spot check":
            self.paths = store.draws.waiting(self.audit, "spot check")
        elif store.read_only:
            self.until = store.draws.until(self.audit, self.share)
            self.kind, self.paths = self.until.kind, self.until.paths
        else:
            self.kind, self.paths = store.draws.next_page(self.audit, self.share)
            self.until = store.draws.until(self.audit, self.share)

    def _advance(self, store: Store, path: str) -> None:
        self.trail.append(path)
        self.pinned = self.showing = None
        # One of an earlier page has no place in this one; what has a verdict is passed over anyway.
        self.start = self.paths.index(path) + 1 if path in self.paths else 0

    def _return_to(self, path: str) -> None:
        super()._return_to(path)
        self.start = self.paths.index(path) if path in self.paths else 0


def choose() -> Purpose | None:
    """The list chosen in the sidebar; None for the suspects."""
    with st.sidebar:
        return LISTS[st.selectbox("List", list(LISTS), key="list", bind="query-params")]


def queue(audit: str, purpose: Purpose) -> Drawn:
    """The session's way through such a list; a new one where audit, purpose or share has changed."""
    share = _SHARE
    if purpose == "until":
        with st.sidebar:
            share = st.number_input(
                "Left wrong at most, %",
                min_value=0.1,
                max_value=50.0,
                value=_SHARE,
                step=0.5,
                format="%.1f",
                key="left",
                bind="query-params",
                help=_SHARE_HELP,
            )
    link = st.query_params.get("path")
    found = st.session_state.get("queue")
    if not isinstance(found, Drawn) or (found.audit, found.purpose, found.share) != (audit, purpose, share / 100):
        found = Drawn(audit, {}, purpose=purpose, share=share / 100)
        st.session_state["queue"] = found
    followed = found.follow(link)
    for name in list(st.query_params):
        if name not in ADDRESS and not (name == "path" and followed):
            st.query_params.pop(name)
    return found


def draw(audit: str, key: str) -> None:
    """Draw as many for a spot check as the field ``key`` says; a refusal is kept to be said."""
    try:
        components.store().draws.spot_check(audit, int(st.session_state[key]))
    except GradattnError as error:
        st.session_state["draw-problem"] = str(error)
