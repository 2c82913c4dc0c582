"""Grid: many suspects at a glance, decided together."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from gradattn_core.store.candidates import CandidateFilter
from ui import components
from ui.components import Row
from ui.grid import bulk, gallery

_ORDERS = {
    "Most suspect first": "rank",
    "Class pair": "pair",
    "What looks alike": "similar",
    "Path": "path",
    "Decided last": "decided",
}
# Images on a page, each with the least width of a card in pixels.
_SIZES = {24: 150, 48: 120, 96: 92}
_EVIDENCE = "Draw into each picture what speaks for its given label and what for the suggested one"


def show() -> None:
    audit = components.audit_id()
    with st.sidebar:
        reviewer = components.reviewer()
        st.subheader("Suspects")
    filters = components.filters(audit, default="Undecided")
    order, size, evidence = _head()
    count = _count(str(components.directory()), audit, filters, bulk.history().generation)
    if not count:
        _explain_empty_list(audit, filters)
        bulk.show_undo(reviewer)
        return
    page = components.page(count, size, of=(audit, filters, order, size))
    # The next page too: its pictures are made while somebody looks at this one.
    rows = _rows(audit, filters, order, size, page)
    if not rows:  # others have decided them since they were counted
        _count.clear()
        st.rerun()
    here, ahead = rows[:size], rows[size:]
    bulk.show(audit, here, _groups(order, here), width=_SIZES[size], evidence=evidence, reviewer=reviewer)
    gallery.prepare(audit, ahead, evidence=evidence)


def _rows(audit: str, filters: CandidateFilter, order: str, size: int, page: int) -> list[Row]:
    """This page of the list and the next. What this one has shown keeps its place, however the order may have changed,
    until the reviewer turns the page or asks for another list."""
    of = (audit, filters, order, size, page)
    known, shown = st.session_state.get("grid-shown") or (None, [])
    shown = shown if known == of and order != "decided" else []
    query = components.store().candidates.page
    held = components.rows_of(query(audit, **(filters | {"paths": shown}), order=order)) if shown else []
    place = {path: at for at, path in enumerate(shown)}
    held.sort(key=lambda row: place[str(row["path"])])
    others = query(
        audit, **(filters | {"without": shown}), order=order, top=2 * size - len(held[:size]), offset=(page - 1) * size
    )
    rows = [*held[:size], *components.rows_of(others)]
    new = [path for path in (str(row["path"]) for row in rows[:size]) if path not in place]
    st.session_state["grid-shown"] = (of, [*shown, *new])
    return rows


@st.cache_data(ttl=10, max_entries=64, show_spinner=False)
def _count(directory: str, audit: str, filters: CandidateFilter, generation: int) -> int:
    """Images of the list, at most ten seconds old; ``generation`` counts what this session has decided."""
    return components.store().candidates.count(audit, **filters)


def _head() -> tuple[str, int, bool]:
    """The order of the list, images per page, and whether the evidence is drawn in."""
    with st.container(horizontal=True, vertical_alignment="center", key="grid-head", gap="small"):
        order = st.selectbox(
            "Order", list(_ORDERS), key="order", bind="query-params", width=200, label_visibility="collapsed"
        )
        size = st.segmented_control(
            "Images on a page",
            list(_SIZES),
            default=48,
            required=True,
            key="size",
            bind="query-params",
            label_visibility="collapsed",
        )
        evidence = st.toggle("Evidence", key="evidence", bind="query-params", help=_EVIDENCE)
    return _ORDERS[order], int(size or 48), evidence


def _groups(order: str, rows: Sequence[Row]) -> gallery.Groups:
    if order == "pair":
        return gallery.by_pair(rows)
    if order == "similar":
        return gallery.by_likeness(rows)
    return [("", gallery.cards(rows))]


def _explain_empty_list(audit: str, filters: CandidateFilter) -> None:
    st.subheader("Nothing in this list")
    if filters["decided"] == "no" and components.store().candidates.count(audit, **(filters | {"decided": "yes"})):
        st.write(
            "Everything that passes these filters is decided. Choose others in the sidebar, or take the results "
            "with you."
        )
        components.link("export")
    else:
        st.write("No suspect passes these filters. Choose others in the sidebar.")


show()
