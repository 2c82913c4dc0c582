"""Export: the same files as ``gradattn export``, with the same options; none is made before it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd
import streamlit as st

from gradattn_core.export import MEDIA_TYPES, TABLES, encoded
from gradattn_core.store.store import Store
from ui import components

_PREVIEW = 20
_TABLES = {
    "Candidates": "candidates",
    "Decisions": "decisions",
    "Corrected labels": "corrected",
    "Removals": "removals",
}
_WHAT = {
    "candidates": "The images whose labels are in doubt, with what was decided about them.",
    "decisions": "The log of everything that was said, in all audits, newest first.",
    "corrected": "Every image with the label that now holds, relabels applied and removed images left out: a manifest "
    "that gradattn audit and training programs read.",
    "removals": "The images that are to be taken away.",
}
_FORMATS = {"CSV": "csv", "Parquet": "parquet", "JSON": "json", "JSON lines": "jsonl"}
_ORDERS = {"Most suspect first": "rank", "Class pair": "pair", "Similar": "similar", "Path": "path"}


@dataclass(frozen=True)
class _Chosen:
    """What is to be exported.

    Attributes:
        count: rows of the file.
        preview: makes the first rows.
        whole: makes all of them. It runs where there is no page, so it asks nothing of the session.
    """

    count: int
    preview: Callable[[], pd.DataFrame]
    whole: Callable[[], pd.DataFrame]


def show() -> None:
    audit = components.audit_id()
    st.header("Export")
    with st.container(horizontal=True, key="export-head", gap="medium"):
        name = st.segmented_control(
            "What", list(_TABLES), default="Candidates", required=True, key="what", bind="query-params"
        )
        form = st.segmented_control(
            "Format", list(_FORMATS), default="CSV", required=True, key="format", bind="query-params"
        )
    table, ending = _TABLES[name or "Candidates"], _FORMATS[form or "CSV"]
    st.caption(_WHAT[table])
    chosen = _OPTIONS[table](components.store(), audit)
    if not chosen.count:
        _nothing(table)
        return
    st.download_button(
        f"Download {chosen.count:,} {'row' if chosen.count == 1 else 'rows'} as {form}",
        lambda: encoded(table, chosen.whole(), ending),
        file_name=f"{table}.{ending}",
        mime=MEDIA_TYPES[ending],
        on_click="ignore",
        type="primary",
        icon=":material/download:",
        key=f"download-{table}-{ending}",
    )
    if ending == "csv" and table != "corrected":
        st.caption("A cell that a spreadsheet would run as a formula starts with an apostrophe in the file.")
    preview = chosen.preview()
    components.table(preview[list(TABLES[table])] if ending == "csv" else preview, "The first rows of the file")
    if chosen.count > len(preview):
        st.caption(f"The first {len(preview)} of {chosen.count:,} rows.")


def _candidates(store: Store, audit: str) -> _Chosen:
    with st.sidebar:
        st.subheader("Rows")
    filters = components.filters(audit, default="All", extended=True)
    with st.sidebar:
        order = st.selectbox("Order", list(_ORDERS), key="order", bind="query-params")
        top = _at_most()
    # Who asks for decisions wants all of them, also on images that no longer are suspects.
    filters["everything"] = filters["decided"] not in ("any", "no")
    rows = _least(store.candidates.count(audit, **filters), top)
    wanted = filters | {"order": _ORDERS[order]}
    return _Chosen(
        rows,
        lambda: store.candidates.page(audit, **wanted, top=min(rows, _PREVIEW)),
        lambda: store.candidates.page(audit, **wanted, top=rows),
    )


def _decisions(store: Store, audit: str) -> _Chosen:
    with st.sidebar:
        st.subheader("Rows")
        said = components.DECISIONS
        filters: dict[str, Any] = {
            "reviewer": st.selectbox(
                "Who", store.decisions.reviewers(), index=None, placeholder="Anyone", key="who", bind="query-params"
            ),
            "decision": st.selectbox(
                "Decision",
                list(said),
                index=None,
                format_func=lambda decision: said[decision].capitalize(),
                placeholder="Any",
                key="said",
                bind="query-params",
            ),
            "path_contains": st.text_input("Path contains", key="contains", bind="query-params", max_chars=500) or None,
            "standing": st.toggle("Only what stands", key="standing", bind="query-params"),
            "conflicts": st.toggle("Only where reviewers differ", key="conflicts", bind="query-params"),
            "audit_id": audit if st.toggle("Only from this audit", key="here", bind="query-params") else None,
        }
        top = _at_most()
    rows = _least(store.decisions.count(**filters), top)
    return _Chosen(
        rows,
        lambda: store.decisions.page(**filters, top=min(rows, _PREVIEW)),
        lambda: store.decisions.page(**filters, top=rows),
    )


def _corrected(store: Store, audit: str) -> _Chosen:
    summary = store.audits.summary(audit)
    said = summary["decisions"]
    st.caption(f"{said['relabel']:,} relabelled, {said['remove']:,} left out. Paths are absolute.")
    return _Chosen(
        int(summary["images"]) - int(said["remove"]),
        lambda: store.review.corrected(audit, top=_PREVIEW),
        lambda: store.review.corrected(audit),
    )


def _removals(store: Store, audit: str) -> _Chosen:
    removals = store.review.removals(audit)
    return _Chosen(len(removals), lambda: removals.head(_PREVIEW), lambda: removals)


_OPTIONS: dict[str, Callable[[Store, str], _Chosen]] = {
    "candidates": _candidates,
    "decisions": _decisions,
    "corrected": _corrected,
    "removals": _removals,
}


def _nothing(table: str) -> None:
    if table == "removals":
        st.write("Nothing is marked for removal. Images that are to go away are marked on the Review and Grid pages.")
    elif table == "decisions":
        st.write("Nothing has been decided yet, or no decision passes the filters in the sidebar.")
    else:
        st.write("No suspect passes these filters. Choose others in the sidebar.")


def _at_most() -> int | None:
    top = st.number_input("At most", min_value=1, value=None, placeholder="All rows", step=1, key="top")
    return None if top is None else int(top)


def _least(count: int, top: int | None) -> int:
    return count if top is None else min(count, top)


show()
