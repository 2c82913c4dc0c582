"""Decisions: who said what, and when; the newest first."""

from __future__ import annotations

import streamlit as st

from ui import components

_PAGE = 50


def show() -> None:
    components.audit_id()
    log = components.store().decisions()
    st.header("Decisions")
    if log.empty:
        st.write("Nothing has been decided yet. Decisions made on the Review page appear here.")
        return
    pages = -(-len(log) // _PAGE)
    page = st.pagination(pages, key="page") if pages > 1 else 1
    st.dataframe(
        log[["decided_at", "reviewer", "decision", "path", "given_label", "new_label", "note"]].iloc[
            (page - 1) * _PAGE : page * _PAGE
        ],
        hide_index=True,
        column_config={
            "decided_at": st.column_config.DatetimeColumn("When"),
            "reviewer": st.column_config.TextColumn("Who"),
            "decision": st.column_config.TextColumn("Decision"),
            "path": st.column_config.TextColumn("Path"),
            "given_label": st.column_config.TextColumn("Given"),
            "new_label": st.column_config.TextColumn("New label"),
            "note": st.column_config.TextColumn("Note"),
        },
    )


show()
