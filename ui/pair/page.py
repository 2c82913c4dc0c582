"""Class pair: all suspects of one given label that look like one other, and what they have in common."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from gradattn_core.store.candidates import CandidateFilter
from ui import components, thumbnails, words
from ui.components import escaped, plain
from ui.grid import bar, bulk, gallery
from ui.pair import pattern
from ui.pair.pattern import Pair
from ui.words import named, short, told_apart

_SIZE, _WIDTH = 48, 120
_TYPICAL = 6


def show() -> None:
    audit = components.audit_id()
    with st.sidebar:
        reviewer = components.reviewer()
        decided = st.selectbox("Decision", list(components.DECIDED), index=1, key="decided-pair", bind="query-params")
        st.toggle("Orange and purple", key="colour_blind", persist_state="session", help="For colour-blind eyes.")
    known = pattern.known(str(components.directory()), audit, bulk.session().generation)
    if known.empty:
        st.header("Class pair")
        st.write("No label of this audit is in doubt, so there are no pairs of classes to look into.")
        st.page_link("overview/page.py", label="Overview", icon=":material/insights:")
        return
    pair = _chosen(audit, known)
    numbers = pattern.row_of(known, pair)
    left, right = st.columns([2, 5], gap="medium")
    with left:
        _evidence(audit, pair)
    with right:
        _numbers(numbers)
        _ways(audit, pair, int(numbers["suspects"] - numbers["decided"]), reviewer)
        _typical(audit, pair)
    _suspects(audit, pair, components.DECIDED[decided], reviewer)


def _chosen(audit: str, known: pd.DataFrame) -> Pair:
    """The pair in the address, until another is chosen here; the address follows."""
    options, first = pattern.offered(known, (st.query_params.get("given"), st.query_params.get("suggested")))
    key = f"pair-{audit}"
    if st.session_state.get(key) not in options:
        st.session_state[key] = first
    chosen: Pair = st.selectbox(
        "Class pair: given label → what its suspects look like", options, format_func=pattern.title, key=key
    )
    st.query_params.update(given=chosen.given, suggested=chosen.suggested)
    return chosen


def _evidence(audit: str, pair: Pair) -> None:
    """The mean map of the pair's suspects, and where in the pictures it lies."""
    scores = pattern.mean_map(str(components.directory()), audit, pair)
    if scores is None:
        st.caption("No evidence was computed for the suspects of this pair.")
        return
    names = told_apart(*pair)
    sentences = pattern.words(scores, names)
    with st.container(key="pair-map"):
        st.image(pattern.picture(scores, components.palette()), width="stretch", alt=" ".join(sentences))
    components.scale()
    with st.container(key="ends", horizontal=True, wrap=False):
        for key, name in zip(("end-for", "end-against"), names, strict=True):
            plain(f"speaks for {name}", key)
    plain("The mean over this pair's suspects. " + " ".join(sentences), "quiet-pair-words")


def _numbers(row: dict[str, float]) -> None:
    suspects, decided = int(row["suspects"]), int(row["decided"])
    shown = {
        "Suspects": (f"{suspects:,}", f"{words.share(row['share'])} of the class"),
        "Expected wrong": (f"{row['expected']:,.1f}", f"of {int(row['class_size']):,} in the class"),
        "Lift": (f"{row['lift']:.1f}" if row["lift"] == row["lift"] else "–", "times chance"),
        "Decided": (f"{decided:,}", f"{suspects - decided:,} left"),
    }
    with st.container(horizontal=True, key="numbers"):
        for name, (value, below) in shown.items():
            st.metric(name, value, below, delta_color="off", delta_arrow="off", border=True)


def _ways(audit: str, pair: Pair, left: int, reviewer: str) -> None:
    """Decide all at once, or one by one."""
    with st.container(horizontal=True, key="ways"):
        if not components.read_only() and st.button(
            f"All {left:,} undecided are {escaped(short(pair.suggested))}" if left else "All are decided",
            key="all-of-these",
            type="primary",
            disabled=not left or not reviewer,
            help=None if reviewer else "Enter your name in the sidebar to decide",
        ):
            _confirm(audit, pair, left, reviewer)
        if st.button("Review one by one", icon=":material/rule:"):
            components.forget_filters()
            st.switch_page(
                "review/page.py", query_params={"audit": audit, "given": pair.given, "suggested": pair.suggested}
            )


@st.dialog("Relabel all of them?")
def _confirm(audit: str, pair: Pair, left: int, reviewer: str) -> None:
    if st.session_state.pop("bulk-done", False):
        st.rerun()
    plain(
        f"{left:,} undecided suspects filed as {named(pair.given)} get the label {named(pair.suggested)}. "
        "Undo takes all of it back.",
        "all-of-these-words",
    )
    yes, no = st.columns(2)
    yes.button(
        f"Relabel {left:,}",
        key="all-yes",
        type="primary",
        width="stretch",
        on_click=_relabel_all,
        args=(audit, pair, reviewer),
    )
    if no.button("Cancel", key="all-no", width="stretch"):
        st.rerun()


def _relabel_all(audit: str, pair: Pair, reviewer: str) -> None:
    store = components.store()
    rows = gallery.rows_of(store.candidates.page(audit, given=pair.given, suggested=pair.suggested, decided="no"))
    bulk.decide(store, audit, rows, "accept", new_label=None, reviewer=reviewer)
    st.session_state["bulk-done"] = True


def _typical(audit: str, pair: Pair) -> None:
    """Sure and typical images of both classes, to compare with."""
    store = components.store()
    for column, key, label in zip(
        st.columns(2, gap="medium"), ("typical-given", "typical-suggested"), pair, strict=True
    ):
        with column:
            plain(f"Typical: {short(label)}", f"strip-{key}")
            paths = store.images.exemplars(audit, label)["path"].head(_TYPICAL).tolist()
            if paths:
                gallery.strip(audit, paths, f"Filed as {named(label)}", key=key)
            else:
                st.caption("None of this audit.")


def _suspects(audit: str, pair: Pair, decided: str, reviewer: str) -> None:
    chosen: CandidateFilter = {"given": pair.given, "suggested": pair.suggested, "decided": decided}
    store = components.store()
    count = store.candidates.count(audit, **chosen)
    st.subheader("Suspects of this pair")
    if not count:
        st.write("None with this decision. Choose another in the sidebar.")
        bar.way_back(reviewer)
        return
    page = components.page(count, _SIZE, key="page", of=(audit, chosen))
    rows = gallery.rows_of(store.candidates.page(audit, **chosen, top=_SIZE, offset=(page - 1) * _SIZE))
    pictures = thumbnails.wanted(audit, {str(row["path"]): str(row["content_hash"]) for row in rows})
    bar.show(audit, rows, [("", gallery.cards(rows, with_pair=False))], pictures, width=_WIDTH, reviewer=reviewer)


show()
