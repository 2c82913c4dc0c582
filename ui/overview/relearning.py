"""The overview's offer to rank the undecided suspects by what was decided so far, and the way back."""

from __future__ import annotations

from typing import Any

import streamlit as st

from gradattn_core.errors import GradattnError
from gradattn_core.ranking.relearn import too_little
from gradattn_core.rerank import rerank, reset
from gradattn_core.store.store import Store
from ui import components
from ui.words import about, interval


def offer(store: Store, audit: str, review: dict[str, Any]) -> None:
    """The two buttons, as far as they have something to do, and a sentence on what came of the last press.

    Args:
        review: of ``Store.review.progress``.
    """
    if components.read_only():
        return
    decisions = review["learnt_wrong"] + review["learnt_right"]
    in_force = review["reranked"]
    enough = not too_little(review["learnt_wrong"], review["learnt_right"])
    with st.container(horizontal=True, key="relearn"):
        if (
            enough
            and decisions != in_force
            and st.button(
                f"Re-rank with {decisions:,} decisions",
                icon=":material/model_training:",
                help="Learns from the decisions which suspects come next; only used where that is clearly better.",
            )
        ):
            _press(store, audit, again=True)
        if in_force and st.button("Back to the audit's order", icon=":material/undo:"):
            _press(store, audit, again=False)
    said = st.session_state.get("relearned")
    if said and said[0] == audit:
        components.plain(said[1], "quiet-relearned")
    elif in_force:
        components.plain(
            f"The undecided suspects are ordered by what {in_force:,} decisions taught.", "quiet-relearned"
        )


def _press(store: Store, audit: str, *, again: bool) -> None:
    try:
        with st.spinner("Learning from the decisions …" if again else "Restoring the audit's order …"):
            words = _learn(store, audit) if again else _restore(store, audit)
    except GradattnError as error:
        words = str(error)
    st.session_state["relearned"] = (audit, words)
    st.rerun()


def _learn(store: Store, audit: str) -> str:
    done = rerank(store, audit)
    left = f"about {about(done.left)} ({interval(done.left_low, done.left_high)}) wrong labels left"
    return f"{done.learnt.reason} By estimate, {left}." if done.learnt.used else done.learnt.reason


def _restore(store: Store, audit: str) -> str:
    reset(store, audit)
    return "The audit's own order is back."
