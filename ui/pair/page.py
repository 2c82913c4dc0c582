"""Class pair: all suspects of one given label that look like one other, and what they have in common."""

from __future__ import annotations

import math

import pandas as pd
import streamlit as st

from gradattn_core.estimates import percent
from gradattn_core.reasons import account_of
from gradattn_core.store.candidates import CandidateFilter
from gradattn_core.wording import full_name, pair_title, short_name
from ui import components, pictures
from ui.components import escaped, plain
from ui.grid import bulk, gallery
from ui.pair import pattern
from ui.pair.pattern import Pair

_SIZE, _WIDTH = 48, 120
_TYPICAL = 6
_OWN_CLASSES = 10
# In CSS pixels, as wide as the mean map beside which it stands.
_WATERFALL = 290


def show() -> None:
    audit = components.audit_id()
    with st.sidebar:
        reviewer = components.reviewer()
        decided = components.decided_filter("All", key="decided-pair")
    pairs = pattern.class_pairs(str(components.directory()), audit, bulk.history().generation)
    if pairs.empty:
        components.title("Class pair")
        st.write("No label of this audit is in doubt, so there are no pairs of classes to look into.")
        components.link("overview")
        return
    pair = _choose(audit, pairs)
    row = pattern.row_of(pairs, pair)
    left, right = st.columns([2, 5], gap="medium")
    with left:
        _evidence(audit, pair)
    with right:
        _numbers(row)
        _ways(audit, pair, int(row["suspects"] - row["decided"]), reviewer)
        _typical(audit, pair)
    _suspects(audit, pair, decided, reviewer)


def _choose(audit: str, pairs: pd.DataFrame) -> Pair:
    """The pair in the address, until another is chosen here; the address follows."""
    options, first = pattern.choices(pairs, (st.query_params.get("given"), st.query_params.get("suggested")))
    key = f"pair-{audit}"
    if st.session_state.get(key) not in options:
        st.session_state[key] = first
    pair: Pair = st.selectbox(
        "Class pair: given label → what its suspects look like",
        options,
        format_func=lambda option: pair_title(*option),
        key=key,
    )
    st.query_params.update(given=pair.given, suggested=pair.suggested)
    return pair


def _evidence(audit: str, pair: Pair) -> None:
    """The mean map of the pair's suspects, and where in the pictures it lies."""
    scores = pattern.mean_map(str(components.directory()), audit, pair)
    if scores is None:
        st.caption("No evidence was computed for the suspects of this pair.")
        return
    names = pattern.names(pair)
    sentences = pattern.sentences(scores, names)
    with st.container(key="pair-map"):
        st.image(pattern.picture(scores, components.palette()), width="stretch", alt=" ".join(sentences))
    components.scale()
    with st.container(key="ends", horizontal=True, wrap=False):
        for key, name in zip(("end-for", "end-against"), names, strict=True):
            plain(f"speaks for {name}", key)
    plain("The mean over this pair's suspects. " + " ".join(sentences), "quiet-pair-words")
    sums = pattern.mean_sums(str(components.directory()), audit, pair)
    if sums is None:
        return
    shown, title = account_of(sums), "The mean"
    drawn = pictures.waterfall(shown, names, components.palette(), components.paper(), title, _WATERFALL)
    with st.container(key="waterfall"):
        said = shown.sentences(names, components.colours())
        st.image(drawn, width="stretch", alt=f"Means over this pair's suspects. {said}")


def _numbers(row: dict[str, float]) -> None:
    suspects, decided = int(row["suspects"]), int(row["decided"])
    lift = "–" if math.isnan(row["lift"]) else f"{row['lift']:.1f}"
    values = {
        "Suspects": (f"{suspects:,}", f"{percent(row['share'], counted=True)} of the class"),
        "Wrong, the model believes": (f"{row['expected']:,.1f}", f"of {int(row['class_size']):,} in the class"),
        "Lift": (lift, "times chance"),
        "Decided": (f"{decided:,}", f"{suspects - decided:,} left"),
    }
    components.numbers(values)


def _ways(audit: str, pair: Pair, undecided: int, reviewer: str) -> None:
    """Decide all at once, or one by one."""
    with st.container(horizontal=True, key="ways"):
        name = escaped(short_name(pair.suggested))
        all_of_them = (
            f"All {undecided:,} undecided are {name}" if pair.suggested else f"Remove all {undecided:,} undecided"
        )
        if not components.read_only() and st.button(
            all_of_them if undecided else "All are decided",
            key="all-of-these",
            type="primary",
            disabled=not undecided or not reviewer,
            help=None if reviewer else "Enter your name in the sidebar to decide",
        ):
            _confirm(audit, pair, undecided, reviewer)
        if st.button("Review one by one", icon=":material/rule:"):
            components.leave("review", audit=audit, given=pair.given, suggested=pair.suggested)


@st.dialog("Decide all of them?")
def _confirm(audit: str, pair: Pair, undecided: int, reviewer: str) -> None:
    if st.session_state.pop("bulk-done", False):
        st.rerun()
    what = f"get the label {full_name(pair.suggested)}" if pair.suggested else "are marked for removal"
    plain(
        f"{undecided:,} undecided suspects filed as {full_name(pair.given)} {what}. Undo takes all of it back.",
        "all-of-these-words",
    )
    yes, no = st.columns(2)
    yes.button(
        f"{'Relabel' if pair.suggested else 'Remove'} {undecided:,}",
        key="all-yes",
        type="primary",
        width="stretch",
        on_click=_accept_all,
        args=(audit, pair, reviewer),
    )
    if no.button("Cancel", key="all-no", width="stretch"):
        st.rerun()


def _accept_all(audit: str, pair: Pair, reviewer: str) -> None:
    chosen: CandidateFilter = {"given": pair.given, "suggested": pair.suggested, "decided": "no"}
    rows = components.rows_of(components.store().candidates.page(audit, **chosen))
    bulk.decide(audit, rows, "accept", new_label=None, reviewer=reviewer)
    st.session_state["bulk-done"] = True


def _typical(audit: str, pair: Pair) -> None:
    """Sure and typical images of both classes, to compare with."""
    store = components.store()
    for column, key, label in zip(
        st.columns(2, gap="medium"), ("typical-given", "typical-suggested"), pair, strict=True
    ):
        with column:
            if not label:
                plain("The model's own classes for them", f"strip-{key}")
                plain(", ".join(store.audits.outside_labels(audit, pair.given)[:_OWN_CLASSES]), "quiet-own-classes")
                continue
            plain(f"Typical: {short_name(label)}", f"strip-{key}")
            paths = store.images.exemplars(audit, label)["path"].head(_TYPICAL).tolist()
            if paths:
                gallery.strip(audit, paths, f"Filed as {full_name(label)}", key=key)
            else:
                st.caption("None of this audit.")


def _suspects(audit: str, pair: Pair, decided: str, reviewer: str) -> None:
    chosen: CandidateFilter = {"given": pair.given, "suggested": pair.suggested, "decided": decided}
    store = components.store()
    count = store.candidates.count(audit, **chosen)
    st.subheader("Suspects of this pair")
    if not count:
        st.write("None with this decision. Choose another in the sidebar.")
        bulk.show_undo(reviewer)
        return
    page = components.page(count, _SIZE, of=(audit, chosen))
    rows = components.rows_of(store.candidates.page(audit, **chosen, top=_SIZE, offset=(page - 1) * _SIZE))
    bulk.show(audit, rows, [("", gallery.cards(rows, with_pair=False))], width=_WIDTH, reviewer=reviewer)


show()
