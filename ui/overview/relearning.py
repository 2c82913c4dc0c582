"""What the order of the pictures has learnt from decisions, in words, and the ways from one order to the other."""

from __future__ import annotations

from typing import NoReturn

import streamlit as st

from gradattn_core.errors import GradattnError
from gradattn_core.learning import EVERY, METHODS, has_features, lessons
from gradattn_core.ranking.recalibration import too_few
from gradattn_core.rerank import rerank, reset
from gradattn_core.store.audits import Audit
from gradattn_core.store.order import Learning
from gradattn_core.store.review import ReviewProgress
from gradattn_core.store.store import Store
from gradattn_core.wording import belief, count_of
from ui import background, components
from ui.components import plain

_LESSONS = 3


def show(store: Store, audit: Audit, review: ReviewProgress) -> None:
    """What the order in force was learnt from, in words; the switch, and both ways from one order to the other."""
    learning = store.review.learning(audit.audit_id)
    if not components.read_only():
        _order_buttons(store, audit, review, learning)
    audit_of_answer, answer = st.session_state.get("relearned") or ("", "")
    if audit_of_answer == audit.audit_id:
        plain(answer, "quiet-relearned")
    elif learning.learnt_from:
        plain(_learnt(store, audit.audit_id, learning), "quiet-relearned")
    work = background.learner(store.directory, audit.audit_id).work
    if not work.is_busy() and work.problem:
        plain(f"Learning from the last decisions failed: {work.problem}", "quiet-learning-failed")


def _order_buttons(store: Store, audit: Audit, review: ReviewProgress, learning: Learning) -> None:
    numbers_suffice = not too_few(review.learnt_wrong, review.learnt_right)
    enough = learning.verdicts and (numbers_suffice or has_features(store.directory / audit.features))
    with st.container(horizontal=True, vertical_alignment="center", key="relearn"):
        if (
            enough
            and learning.verdicts != learning.learnt_from
            and st.button(
                f"Re-rank with {count_of(learning.verdicts, 'decision')}",
                icon=":material/model_training:",
                help="Learns from the decisions which pictures come next.",
            )
        ):
            _relearn(store, audit.audit_id)
        if learning.learnt_from and st.button(
            "Back to the audit's order", icon=":material/undo:", help="And no more learning, unless switched on again."
        ):
            _restore(store, audit.audit_id)
        if background.is_allowed() and learning.verdicts:
            st.toggle(
                f"Learn from every {EVERY} decisions",
                value=learning.on,
                key=f"learning-{audit.audit_id}-{learning.on}",
                on_change=_switch,
                args=(store, audit.audit_id, not learning.on),
            )


def _switch(store: Store, audit: str, on: bool) -> None:
    try:
        store.review.switch_learning(audit, on)
    except GradattnError as error:
        st.session_state["relearned"] = (audit, str(error))


def _learnt(store: Store, audit: str, learning: Learning) -> str:
    """What was learnt, in words."""
    said = f"The undecided pictures are ordered by what {count_of(learning.learnt_from, 'decision')} taught"
    how = METHODS.get(learning.learnt_by)
    sentences = [f"{said}: {how}." if how else f"{said}."]
    if learning.risen:
        sentences.append(f"{count_of(learning.risen, 'picture')} became suspect by it.")
    found = lessons(store.review.images(audit, decided=True))[:_LESSONS]
    if found:
        words = "; ".join(lesson.words for lesson in found)
        sentences.append(f"{words[0].upper()}{words[1:]}.")
    return " ".join(sentences)


def _relearn(store: Store, audit: str) -> None:
    try:
        with st.spinner("Learning from the decisions …"):
            store.review.switch_learning(audit, True)
            outcome = rerank(store, audit)
    except GradattnError as error:
        _say(audit, str(error))
    if not outcome.used:
        _say(audit, outcome.reason)
    suspects = count_of(outcome.undecided, "undecided suspect")
    left = belief(outcome.estimated_left, outcome.left_low, outcome.left_high, of=suspects)
    if outcome.recalibration is None:
        _say(audit, f"{_learnt(store, audit, store.review.learning(audit))} Now {left}.")
    _say(audit, f"{outcome.reason} Now {left}.")


def _restore(store: Store, audit: str) -> None:
    try:
        with st.spinner("Restoring the audit's order …"):
            reset(store, audit)
    except GradattnError as error:
        _say(audit, str(error))
    _say(audit, "The audit's own order is back; it stays until you re-rank or switch learning on.")


def _say(audit: str, answer: str) -> NoReturn:
    """Draw the page anew with this sentence below the buttons."""
    st.session_state["relearned"] = (audit, answer)
    st.rerun()
