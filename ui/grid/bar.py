"""A gallery with the bar below it that decides about what is selected; Grid and Class pair share it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import streamlit as st

from ui import components, identity, thumbnails
from ui.components import Row
from ui.grid import bulk, gallery
from ui.words import named

_KEY = "gallery"
_BUTTONS = (
    ("Relabel as suggested", "A", "accept", "Each selected image gets the label suggested for it"),
    ("Label is right", "K", "keep", None),
    ("Unsure", "U", "unsure", None),
    ("Remove", "X", "remove", None),
)


@st.fragment
def show(
    audit: str,
    rows: Sequence[Row],
    groups: gallery.Groups,
    pictures: Sequence[thumbnails.Wanted],
    *,
    width: int,
    reviewer: str,
) -> None:
    """Draw the gallery and its bar. Selecting draws only this again, a decision the whole page.

    Args:
        rows: the images of ``groups``, as ``Store.candidates.page`` has them.
        reviewer: who decides; empty where nobody has said who they are.
    """
    known = bulk.session()
    if st.session_state.pop("bulk-done", False):
        st.rerun()
    shut = components.read_only()
    done = gallery.show(
        audit, groups, pictures, key=_KEY, width=width, selectable=not shut, generation=known.generation
    )
    if done.opened is not None:
        components.forget_filters()
        st.switch_page("review/page.py", query_params={"path": done.opened, "audit": audit})
    if done.missing:
        pictures_are = "1 picture" if done.missing == 1 else f"{done.missing} pictures"
        st.caption(f"{pictures_are} cannot be shown. You can still decide; open one to say where they are now.")
    if not shut:
        with st.container(key="bulk", gap="xsmall"):
            _bar(audit, rows, groups, len(done.selected), reviewer)


def way_back(reviewer: str) -> None:
    """The undo of the last decision, where the list has become empty through it."""
    if bulk.session().steps and not components.read_only():
        _undo_button(reviewer)
    bulk.report()


def _bar(audit: str, rows: Sequence[Row], groups: gallery.Groups, count: int, reviewer: str) -> None:
    known = bulk.session()
    if not reviewer:
        identity.ask()
        if st.session_state.get("reviewer"):
            st.rerun()
    decide = partial(_decide, audit, rows, groups, known.generation, reviewer)
    idle = not count or not reviewer
    with st.container(horizontal=True, gap="xsmall", key="bulk-row"):
        for label, shortcut, decision, explanation in _BUTTONS:
            st.button(
                label,
                key=f"bulk-{decision}",
                shortcut=shortcut,
                help=explanation,
                on_click=decide,
                args=(decision,),
                disabled=idle,
                type="primary" if decision == "accept" else "secondary",
            )
        st.selectbox(
            "Relabel all to",
            components.classes(str(components.directory()), audit),
            index=None,
            format_func=named,
            placeholder="Relabel all to…",
            key=f"bulk-label-{known.generation}",
            on_change=decide,
            args=("relabel",),
            disabled=idle,
            label_visibility="collapsed",
            width=200,
        )
        _undo_button(reviewer)
    bulk.report()


def _undo_button(reviewer: str) -> None:
    st.button(
        "Undo",
        key="bulk-undo",
        shortcut="Z",
        on_click=_undo,
        args=(reviewer,),
        disabled=not bulk.session().steps or not reviewer,
        help="Take back the last decision about several images",
    )


def _decide(
    audit: str, rows: Sequence[Row], groups: gallery.Groups, generation: int, reviewer: str, decision: str
) -> None:
    """Decide about what is selected at this very moment, which may be more than the bar has been drawn for."""
    chosen = set(gallery.selected(audit, groups, key=_KEY, generation=generation))
    label = st.session_state.get(f"bulk-label-{generation}") if decision == "relabel" else None
    if not chosen or (decision == "relabel" and label is None):
        return
    wanted = [row for row in rows if row["path"] in chosen]
    bulk.decide(components.store(), audit, wanted, decision, new_label=label, reviewer=identity.signing(reviewer))
    st.session_state["bulk-done"] = True


def _undo(reviewer: str) -> None:
    bulk.undo(components.store(), reviewer=identity.signing(reviewer))
    st.session_state["bulk-done"] = True
