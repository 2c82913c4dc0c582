"""Export: the same file as ``gradattn export``, with the same options."""

from __future__ import annotations

import streamlit as st

from gradattn_core.export import COLUMNS, candidates_csv
from ui import components

_PREVIEW = 20


def show() -> None:
    audit = components.audit_id()
    store = components.store()
    st.header("Export")
    with st.sidebar:
        st.subheader("Rows")
        chosen = components.filters(audit, default="All")
        top = st.number_input("At most", min_value=1, value=None, placeholder="All rows", step=1, key="top")
    # Who asks for decisions wants all of them, also on images that no longer are suspects.
    chosen["everything"] = chosen["decided"] not in ("any", "no")
    count = store.count_candidates(audit, **chosen)
    rows = count if top is None else min(count, int(top))
    if not rows:
        st.write("No suspect passes these filters. Choose others in the sidebar.")
        return
    preview = store.candidates(audit, **chosen, top=min(rows, _PREVIEW))
    st.download_button(
        f"Download {rows:,} {'row' if rows == 1 else 'rows'} as CSV",
        lambda: candidates_csv(store.candidates(audit, **chosen, top=rows)),
        file_name="candidates.csv",
        mime="text/csv",
        on_click="ignore",
        type="primary",
        icon=":material/download:",
    )
    st.caption("A cell that a spreadsheet would run as a formula starts with an apostrophe in the file.")
    st.dataframe(preview[list(COLUMNS)], hide_index=True)
    if rows > len(preview):
        st.caption(f"The first {len(preview)} of {rows:,} rows.")


show()
