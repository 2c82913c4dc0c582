"""Decisions: who said what, and when; what stands, and where reviewers differ."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pandas as pd
import streamlit as st

from gradattn_core.errors import GradattnError
from gradattn_core.store.log import LogFilters
from ui import bulk, components, identity, paging
from ui.class_names import named

_SIZE = 50
_COLUMNS = {
    "decided_at": "When (UTC)",
    "reviewer": "Who",
    "decision": "Decision",
    "state": "State",
    "given": "Given",
    "new": "New label",
    "path": "Path",
    "note": "Note",
}


def show() -> None:
    audit = components.audit_id()
    store = components.store()
    with st.sidebar:
        reviewer = "" if components.read_only() else components.reviewer()
        st.subheader("Log")
    reviewers = store.reviewers()
    st.header("Decisions")
    if not reviewers:
        st.write("Nothing has been decided yet. Decisions made on these pages appear here:")
        st.page_link("views/review.py", label="Review", icon=":material/rule:")
        st.page_link("views/grid.py", label="Grid", icon=":material/grid_view:")
        return
    filters = _filters(audit, reviewers)
    count = store.count_decisions(**filters)
    if count:
        page = paging.page(count, _SIZE, key="page", of=filters, noun="entries")
        _log(store.decisions(**filters, top=_SIZE, offset=(page - 1) * _SIZE), reviewer)
    else:
        st.write("No entry passes these filters. Choose others in the sidebar.")
    if len(reviewers) > 1:
        _agreement(store.agreement())


def _filters(audit: str, reviewers: list[str]) -> LogFilters:
    with st.sidebar:
        who = st.selectbox("Who", reviewers, index=None, placeholder="Anyone", key="who", bind="query-params")
        said = st.selectbox(
            "Decision",
            list(components.DECISIONS),
            index=None,
            format_func=lambda decision: components.DECISIONS[decision].capitalize(),
            placeholder="Any",
            key="said",
            bind="query-params",
        )
        contains = st.text_input("Path contains", key="contains", bind="query-params", max_chars=500)
        standing = st.toggle("Only what stands", key="standing", bind="query-params")
        conflicts = st.toggle(
            "Only where reviewers differ",
            key="conflicts",
            bind="query-params",
            help="The last words of reviewers who said different things about the same image",
        )
        here = st.toggle("Only from this audit", key="here", bind="query-params")
    return {
        "audit_id": audit if here else None,
        "reviewer": who,
        "decision": said,
        "path_contains": contains or None,
        "standing": standing,
        "conflicts": conflicts,
    }


def _log(log: pd.DataFrame, reviewer: str) -> None:
    """A page of the log; what is selected in it can be undone or opened."""
    shown = log.assign(
        decision=log["decision"].map(components.DECISIONS),
        given=log["given_label"].map(named),
        new=log["new_label"].map(named),
        state=[_state(*row) for row in log[["stands", "conflict"]].itertuples(index=False, name=None)],
    )
    above = st.container()
    # A key of its own for every page: a selection is by row, and rows move when somebody decides.
    key = f"log-{log['decision_id'].iloc[0]}-{log['decision_id'].iloc[-1]}-{bulk.session().generation}"
    event = st.dataframe(
        shown[list(_COLUMNS)],
        hide_index=True,
        key=key,
        on_select="rerun",
        selection_mode="multi-row",
        height=min(35 * (len(log) + 1) + 3, 528),
        column_config={
            name: (
                st.column_config.DatetimeColumn(title, format="YYYY-MM-DD HH:mm:ss")
                if name == "decided_at"
                else st.column_config.TextColumn(title)
            )
            for name, title in _COLUMNS.items()
        },
    )
    chosen = [_entry(log, row) for row in event.selection.rows if row < len(log)]
    with above:
        _buttons(chosen, reviewer)


def _state(stands: bool, conflict: bool) -> str:
    return " · ".join(word for word, holds in (("stands", stands), ("disputed", conflict)) if holds)


def _entry(log: pd.DataFrame, row: int) -> dict[str, Any]:
    return {str(name): cell for name, cell in log.iloc[row].items()}


def _buttons(chosen: list[dict[str, Any]], reviewer: str) -> None:
    standing = [entry for entry in chosen if entry["stands"]]
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="log-row"):
        if not components.read_only():
            st.button(
                f"Undo {len(standing):,}" if standing else "Undo",
                key="log-undo",
                on_click=_undo,
                args=(standing, reviewer),
                disabled=not standing or not reviewer,
                type="primary",
                icon=":material/undo:",
            )
        if st.button("Open in Review", key="log-open", disabled=len(chosen) != 1, icon=":material/rule:"):
            components.forget_filters()
            query = {"path": str(chosen[0]["path"]), "audit": str(chosen[0]["audit_id"])}
            st.switch_page("views/review.py", query_params=query)
        if not chosen:
            st.caption("Select entries to take back what stands; what was said before then stands again.")
        elif not standing and not components.read_only():
            st.caption("Nothing selected stands any more.")
        elif not reviewer and not components.read_only():
            st.caption("Enter your name in the sidebar to undo.")
    bulk.report()


def _undo(entries: list[dict[str, Any]], reviewer: str) -> None:
    known = bulk.session()
    known.words = known.problem = ""
    by_audit: dict[str, dict[str, bulk.Said]] = defaultdict(dict)
    for entry in entries:
        by_audit[entry["audit_id"]][entry["path"]] = (entry["decision"], entry["new_label"], entry["reviewer"])
    undone = 0
    try:
        for audit, said in by_audit.items():
            undone += bulk.take_back(components.store(), audit, said, reviewer=identity.signing(reviewer))
    except GradattnError as error:
        known.problem = str(error)
    asked = sum(map(len, by_audit.values()))
    if undone or not known.problem:
        known.words = bulk.taken_back(undone, 0 if known.problem else asked - undone)
    known.generation += 1


def _agreement(agreement: pd.DataFrame) -> None:
    """How often reviewers agree, where two of them have judged the same images."""
    st.subheader("Agreement")
    if agreement.empty:
        st.caption("No two reviewers have decided about the same image yet.")
        return
    st.caption("Of the images both have decided about: how often their last words are the same.")
    st.dataframe(
        agreement,
        hide_index=True,
        width="content",
        height=min(35 * (len(agreement) + 1) + 3, 388),
        column_config={
            "reviewer_a": st.column_config.TextColumn("Reviewer"),
            "reviewer_b": st.column_config.TextColumn("and reviewer"),
            "both": st.column_config.NumberColumn("Images of both", format="localized"),
            "agree": st.column_config.NumberColumn("Agree", format="localized"),
            "share": st.column_config.NumberColumn("Share", format="percent"),
        },
    )


show()
