"""On demand, below a suspect's pictures: its numbers measured, and its map by other methods.

Only who asks pays: the model is loaded, and torch with it, when the first suspect is measured.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import streamlit as st

from gradattn_core.errors import GradattnError
from gradattn_core.records import Evidence, FloatArray
from ui import components, pictures
from ui.components import plain
from ui.pictures import Subject, View

if TYPE_CHECKING:
    from gradattn_core.audit.judge import Judge

_WAIT = "Parts of the picture are left out and the model is asked again…"


def show(shown: Subject, view: View) -> None:
    """The button that measures, and the choice of another method; nothing where the image has no evidence."""
    evidence = pictures.evidence(shown.directory, shown.audit, shown.path)
    if evidence is None:
        return
    shut = components.read_only()
    with st.container(key="on-demand", gap="xsmall"):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            pressed = st.button(
                "Measured" if evidence.numbers == "measured" else "Measure",
                key="measure",
                icon=":material/straighten:",
                # A map without numbers has none to measure; the sentence above says why.
                disabled=shut or evidence.numbers == "measured" or evidence.sums is None,
                help="Leave parts of the picture out and ask the model again: numbers that are measured, in seconds",
            )
            others = st.toggle("Other methods", key="methods-of-others", persist_state="session", disabled=shut)
        if pressed:
            _measure(shown)
        if others and not shut:
            _other_method(shown, evidence, view)


def _measure(shown: Subject) -> None:
    try:
        with st.spinner(_WAIT):
            _judge(shown.directory, shown.audit).measure(components.store(), shown.path)
    except GradattnError as error:
        _problem("It could not be measured.", str(error))
    else:
        pictures.evidence.clear(shown.directory, shown.audit, shown.path)
        st.rerun()


def _other_method(shown: Subject, evidence: Evidence, view: View) -> None:
    from gradattn_core.peers.registry import PEERS

    cheap = [name for name, peer in PEERS.items() if peer.is_cheap]
    name = st.selectbox(
        "Method",
        cheap,
        index=None,
        format_func=lambda each: PEERS[each].title,
        placeholder="A method to draw beside ours",
        key="method",
        persist_state="session",
        label_visibility="collapsed",
    )
    if name is None:
        return
    peer, plainly = PEERS[name], replace(view, regions=False)
    try:
        with st.spinner(f"{peer.title}: {peer.cost}…"):
            scores = _scores(shown.directory, shown.audit, shown.path, shown.content_hash, name)
        ours = pictures.evidence_overlay(shown, evidence, plainly)
        other = pictures.method_overlay(shown, replace(evidence, scores=scores), view, not peer.has_sides)
    except GradattnError as error:
        _problem("That map cannot be drawn.", str(error))
        return
    with st.container(key="methods", horizontal=True, wrap=False, gap="small"):
        for title, image in ((f"ours, {evidence.correction}", ours), (peer.title, other)):
            with st.container(gap="xxsmall"):
                st.image(image, width="stretch", alt=f"The suspect with the map of {title}")
                st.caption(components.escaped(title))
    plain(f"{peer.title} ({peer.source}): {peer.properties}. Each map has a scale of its own.", "quiet-method")


def _problem(what: str, reason: str) -> None:
    st.warning(what, icon=":material/straighten:")
    plain(reason, "quiet-on-demand")


@st.cache_resource(max_entries=1, show_spinner=False)
def _judge(directory: str, audit: str) -> Judge:
    """The audit's own model and head, loaded once for all who look at this page."""
    from gradattn_core.audit.judge import Judge

    return Judge.of(components.store(), audit)


@st.cache_data(max_entries=64, show_spinner=False)
def _scores(directory: str, audit: str, path: str, content: str, method: str) -> FloatArray:
    """The map by a method that a process computes once."""
    return _judge(directory, audit).map(components.store(), path, method)[1]
