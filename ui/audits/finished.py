"""The finished audits of the output folder: what they found and were told to do, and what changed between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from gradattn_core.progress import duration
from gradattn_core.records import Difference
from gradattn_core.store.audits import Audit
from gradattn_core.wording import minute, number_and_range
from ui import components
from ui.components import Row, cell, plain, rows_of

_COMPARISONS = 6
_COLUMNS = {
    "finished_at": st.column_config.DatetimeColumn("Finished"),
    "dataset": st.column_config.TextColumn("Dataset"),
    "images": st.column_config.NumberColumn("Images", format="localized"),
    "suspects": st.column_config.NumberColumn("Suspects", format="localized"),
    "wrong": st.column_config.TextColumn("Wrong, the model believes"),
    "model": st.column_config.TextColumn("Model"),
    "head": st.column_config.TextColumn("Head"),
    "took": st.column_config.TextColumn("Took"),
    "new_suspects": st.column_config.NumberColumn("New suspects", format="localized"),
    "gone_suspects": st.column_config.NumberColumn("No longer suspect", format="localized"),
    "new_images": st.column_config.NumberColumn("New images", format="localized"),
    "gone_images": st.column_config.NumberColumn("Images gone", format="localized"),
}
_CHANGES = ("new_suspects", "gone_suspects", "new_images", "gone_images")


def show() -> None:
    """A table of all of them, and the parameters of the one chosen in the head of the page."""
    audits = components.audits(str(components.directory()))
    if audits is None or audits.empty:
        plain("No audit has finished in this output folder yet.", "quiet-none")
        return
    audit_id = components.audit_id()
    st.header("Finished", anchor=False)
    columns = ("finished_at", "dataset", "model", "head", "images", "suspects", "wrong", "took")
    _table([_facts(row) for row in rows_of(audits)], columns)
    _details(components.store().audits.one(audit_id))


def show_changes() -> None:
    """The newest audits, each compared with the one before it of the same dataset; nothing where there is only one."""
    audits = components.audits(str(components.directory()))
    if audits is None or len(audits) < 2:
        return
    st.header("Audits", anchor=False)
    st.caption(
        "Changes are against the audit of the same dataset before it, by content of the picture and given label."
    )
    rows = rows_of(audits)
    newest = [
        _facts(row) | _changes(row, next((each for each in rows[place:] if each["dataset"] == row["dataset"]), None))
        for place, row in enumerate(rows[:_COMPARISONS], 1)
    ]
    _table(newest, ("finished_at", "dataset", "images", "suspects", "wrong", *_CHANGES, "model", "head"))
    if len(rows) > len(newest):
        st.caption(f"The newest {len(newest)} of {len(rows):,}; the Audits page has all.")


def _table(rows: Sequence[Row], columns: Sequence[str]) -> None:
    config = {name: _COLUMNS[name] for name in columns}
    frame = pd.DataFrame(rows).reindex(columns=list(config))
    st.dataframe(frame, hide_index=True, column_config=config, placeholder="–")


def _facts(row: Row) -> dict[str, Any]:
    return {
        **{name: row[name] for name in ("finished_at", "model", "head", "images", "suspects")},
        "dataset": Path(row["dataset"]).name,
        "wrong": number_and_range(row["estimated_errors"], row["estimated_low"], row["estimated_high"]),
        "took": _duration(row["started_at"], row["finished_at"]),
    }


def _duration(start: str, end: str) -> str:
    if not (start and end):
        return ""
    return duration((datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds())


def _changes(row: Row, before: Row | None) -> dict[str, int]:
    if before is None:
        return {}
    difference = _difference(str(components.directory()), before["audit_id"], row["audit_id"])
    return {name: getattr(difference, name) for name in _CHANGES}


@st.cache_data(max_entries=64, show_spinner=False)
def _difference(folder: str, before: str, after: str) -> Difference:
    """Finished audits never change."""
    return components.store().audits.difference(before, after)


def _details(audit: Audit) -> None:
    with st.expander(f"Parameters of the audit finished {minute(audit.finished_at)} UTC"):
        for position, warning in enumerate(audit.warnings):
            plain(warning, f"mark-note-{position}")
        news = _news(str(components.directory()), audit.audit_id)
        if news:
            plain(f"Since the audit {news.since} before it: {news.words}.", "quiet-news")
        left, right = st.columns([3, 2], gap="medium")
        with left:
            st.caption("Parameters")
            _show_values(audit.parameters)
        with right:
            st.caption("What it is")
            names = ("audit_id", "fingerprint", "dataset", "root", "checkpoint", "features", "skipped", "failures")
            facts = {name.replace("_", " "): getattr(audit, name) for name in names}
            _show_values({name: fact for name, fact in facts.items() if fact != ""})
            st.caption("Versions")
            _show_values(audit.versions)


@st.cache_data(max_entries=64, show_spinner=False)
def _news(folder: str, audit: str) -> Difference | None:
    """Finished audits never change."""
    return components.store().audits.news(audit)


def _show_values(values: Mapping[str, Any]) -> None:
    """Names and values as text, nested values one row each."""
    rows = [(name, cell(value)) for name, value in _flat(values)]
    config = {"name": st.column_config.TextColumn("Name"), "value": st.column_config.TextColumn("Value")}
    frame = pd.DataFrame(rows, columns=list(config))
    st.dataframe(frame, hide_index=True, column_config=config, height="content")


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    items: list[tuple[str, Any]] = []
    for name, value in values.items():
        nested = isinstance(value, dict) and value
        items += _flat(value, f"{prefix}{name}.") if nested else [(f"{prefix}{name}", value)]
    return items
