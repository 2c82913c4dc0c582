"""How a random check or a review with an end stands: in sentences, in a plot, and what to do next."""

from __future__ import annotations

import io
import math

import streamlit as st

from gradattn_core.render.plots import review_figure
from gradattn_core.store.proof import SpotCheck, Until
from gradattn_core.wording import count_of, full_name, sentence
from ui import components
from ui.components import Row, escaped, plain
from ui.review import drawn
from ui.review.drawn import Drawn

_FIRST_CHECK = 100
_FROM = {
    "random": "Drawn at random, and shown without what the model thinks of it.",
    "suspects": "The most suspect of all that nobody has decided.",
}


def show(queue: Drawn) -> None:
    """Above a picture: where it comes from and, of a review with an end, what was proved when this page began."""
    kind = "random" if queue.blind else "suspects"
    plain(_FROM[kind], "quiet-from")
    if queue.until is not None:
        _until(queue.until)


def end(queue: Drawn) -> None:
    """Where nothing is left to show: what it has proved, and what can be done next."""
    if queue.purpose == "spot check":
        _spot_check(queue.audit)
    elif queue.until is not None and queue.kind == "done":
        st.subheader("Few enough are left")
        _until(queue.until)
    else:
        st.subheader("Nothing to show")
        st.write("Random pictures come next, and this page may not draw them: it is read-only.")


def given(row: Row, reviewer: str) -> None:
    """All that may be said of a picture that is shown blind; what its reviewer said of it is no secret to them."""
    st.caption("Given label")
    plain(full_name(str(row["given_label"])), "name-given")
    if row["decision"] and row["reviewer"] == reviewer:
        plain(f"You said: {components.DECISIONS[row['decision']]}", "mark-decision")


def _until(until: Until) -> None:
    goal = f"{until.target:,} of all {until.pictures:,} labels ({100 * until.share:g}%)"
    plain(sentence(until.sentence), "mark-proved")
    if until.kind != "done":
        plain(f"It ends once at most {goal} can be left wrong.", "quiet-goal")
    if until.kind != "done" and not math.isnan(until.expected):
        belief = f"the model is right that about {until.believed:,.0f} of the {until.unseen:,} unseen labels are wrong"
        plain(f"About {count_of(round(until.expected), 'review')} to go if {belief}.", "quiet-expected")
    if st.toggle("Plot", key="review-plot", persist_state="session"):
        words = (
            f"Of {until.reviewed:,} pictures reviewed {until.wrong:,} were wrong; with {100 * until.confidence:g}% "
            f"confidence at most {until.wrong + until.high:,} are wrong in all."
        )
        with st.container(key="review-plot-picture"):
            st.image(_plot(until), alt=words)


def _plot(until: Until) -> bytes:
    picture = review_figure(
        until.history_reviewed,
        until.history_found,
        until.history_high,
        until.share,
        until.target,
        until.confidence,
        components.paper(),
    )
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def _spot_check(audit: str) -> None:
    check = components.store().draws.checked(audit)
    st.subheader("Nothing waits for a random check" if check is None else "The random check is answered")
    if check is None:
        st.write(
            "Pictures drawn from all that nobody has decided, suspects or not, tell how many labels are wrong, "
            "whatever the model believes. They are shown without its opinion."
        )
    else:
        plain(sentence(check.sentence), "mark-proved")
        _classes(check)
    if components.read_only():
        st.info("Read-only: nothing can be drawn.")
        return
    problem = st.session_state.pop("draw-problem", None)
    if problem:
        with st.container(key="problem"):
            st.error("Nothing was drawn.")
            plain(problem, "quiet-problem")
    with st.container(horizontal=True, vertical_alignment="bottom", key="draw"):
        count = st.number_input("How many", min_value=1, value=_FIRST_CHECK, step=50, key="draw-count")
        st.button(
            f"Draw {count_of(int(count), 'picture')} at random",
            on_click=drawn.draw,
            args=(audit, "draw-count"),
            type="primary",
            icon=":material/casino:",
        )


def _classes(check: SpotCheck) -> None:
    """Each class of which enough was drawn to say something."""
    for each in check.classes:
        words = f"{each.low:,} to {each.high:,} of {each.pictures:,} wrong ({each.wrong:,} of {each.checked:,} checked)"
        st.caption(f"{escaped(full_name(each.label))}: {words}")
