"""Overview: the audit in one look, and the way into its worst class pairs."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import streamlit as st

from ui import components
from ui.components import plain

_SHOWN_FAILURES = 200
_SHOWN_PAIRS = 500


def show() -> None:
    audit = components.audit_id()
    store = components.store()
    summary = store.summary(audit)
    st.header("Overview")
    plain(f"{Path(summary['dataset']).name} · {summary['model']} · head {summary['head']}", "quiet-audit")
    for position, warning in enumerate(summary["warnings"]):
        with st.container(border=True):
            plain(warning, f"warning-{position}")
    numbers = {
        "Images": f"{summary['images']:,}",
        "Suspects": f"{summary['suspects']:,}",
        "Wrong labels, estimated": _whole(summary["estimated_errors"]),
        "Decided": f"{summary['decided']:,}",
        "Unreadable": f"{summary['failures']:,}",
    }
    with st.container(horizontal=True):
        for name, value in numbers.items():
            st.metric(name, value, border=True)
    if st.button("Review the suspects", type="primary", icon=":material/rule:", shortcut="Enter"):
        st.switch_page("views/review.py")
    _pairs(store.class_pairs(audit))
    if summary["failures"]:
        _failures(store.failures(audit))
    _audits(components.audits(str(components.directory())))


def _pairs(pairs: pd.DataFrame) -> None:
    st.subheader("Class pairs")
    if pairs.empty:
        st.write("No label of this audit is in doubt.")
        return
    st.caption("Given label and the label that the suspects of that class look like. Select a row to review them.")
    pairs = pairs.head(_SHOWN_PAIRS)
    event = st.dataframe(
        pairs[["given_label", "suggested_label", "suspects", "expected", "share", "mean_suspicion"]],
        hide_index=True,
        key="pairs",
        on_select="rerun",
        selection_mode="single-row",
        height=min(35 * (len(pairs) + 1) + 3, 388),
        column_config={
            "given_label": st.column_config.TextColumn("Given"),
            "suggested_label": st.column_config.TextColumn("Suggested"),
            "suspects": st.column_config.NumberColumn("Suspects", format="localized"),
            "expected": st.column_config.NumberColumn("Expected wrong", format="%.1f"),
            "share": st.column_config.NumberColumn("Share of the class", format="percent"),
            "mean_suspicion": st.column_config.NumberColumn("Mean suspicion", format="%.3f"),
        },
    )
    if event.selection.rows:
        pair = pairs.iloc[event.selection.rows[0]]
        chosen = {"given": str(pair["given_label"]), "suggested": str(pair["suggested_label"])}
        components.forget_filters()
        st.switch_page("views/review.py", query_params=chosen)


def _failures(failures: pd.DataFrame) -> None:
    with st.expander(f"{len(failures):,} inputs could not be used"):
        st.dataframe(failures[["path", "stage", "reason"]].head(_SHOWN_FAILURES), hide_index=True)
        if len(failures) > _SHOWN_FAILURES:
            st.caption(f"The first {_SHOWN_FAILURES}.")


def _audits(audits: pd.DataFrame | None) -> None:
    if audits is None or len(audits) < 2:
        return
    st.subheader("Audits")
    st.dataframe(
        audits[["finished_at", "dataset", "model", "head", "images", "suspects", "estimated_errors"]],
        hide_index=True,
        column_config={
            "finished_at": st.column_config.DatetimeColumn("Finished"),
            "estimated_errors": st.column_config.NumberColumn("Wrong labels, estimated", format="%.0f"),
        },
    )


def _whole(number: float) -> str:
    return f"{number:,.0f}" if math.isfinite(number) else "–"


show()
