"""The finished audits of the output folder: what they found, and everything they were told to do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from gradattn_core.records import News
from ui import components
from ui.components import plain
from ui.words import about, duration, interval


def show() -> None:
    """A table of all of them, and the parameters of the one chosen in the sidebar."""
    finished = components.audits(str(components.directory()))
    if finished is None or finished.empty:
        plain("No audit has finished in this output folder yet.", "quiet-none")
        return
    chosen = components.audit_id()
    st.subheader("Finished")
    st.dataframe(
        pd.DataFrame([_facts(row) for row in _records(finished)]),
        hide_index=True,
        column_config={
            "finished": st.column_config.DatetimeColumn("Finished"),
            "dataset": st.column_config.TextColumn("Dataset"),
            "model": st.column_config.TextColumn("Model"),
            "head": st.column_config.TextColumn("Head"),
            "images": st.column_config.NumberColumn("Images", format="localized"),
            "suspects": st.column_config.NumberColumn("Suspects", format="localized"),
            "wrong": st.column_config.TextColumn("Wrong, estimated"),
            "took": st.column_config.TextColumn("Took"),
        },
    )
    _details(next(row for row in _records(finished) if row["audit_id"] == chosen))


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def _facts(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "finished": row["finished_at"],
        "dataset": Path(row["dataset"]).name,
        "model": row["model"],
        "head": row["head"],
        "images": row["images"],
        "suspects": row["suspects"],
        "wrong": f"{about(row['estimated_errors'])} ({interval(row['estimated_low'], row['estimated_high'])})",
        "took": _took(row["started_at"], row["finished_at"]),
    }


def _took(started: str, finished: str) -> str:
    if not (started and finished):
        return ""
    return duration((datetime.fromisoformat(finished) - datetime.fromisoformat(started)).total_seconds())


def _details(row: Mapping[str, Any]) -> None:
    with st.expander(f"Parameters of the audit finished {row['finished_at'][:16].replace('T', ' ')} UTC"):
        for position, warning in enumerate(row["warnings"]):
            plain(str(warning), f"mark-note-{position}")
        news = _news(str(components.directory()), str(row["audit_id"]))
        if news:
            plain(f"Since the audit {news.since} before it: {news.words}.", "quiet-news")
        left, right = st.columns([3, 2], gap="medium")
        with left:
            st.caption("Parameters")
            _table(json.loads(row["parameters"]))
        with right:
            st.caption("What it is")
            names = ("audit_id", "fingerprint", "dataset", "root", "checkpoint", "features", "skipped", "failures")
            _table({name.replace("_", " "): row[name] for name in names if row[name] != ""})
            st.caption("Versions")
            _table(json.loads(row["versions"]))


@st.cache_data(max_entries=64, show_spinner=False)
def _news(folder: str, audit: str) -> News | None:
    """Finished audits never change."""
    return components.store().audits.news(audit)


def _table(values: Mapping[str, Any]) -> None:
    """Names and values as text, nested values one row each."""
    rows = [(name, _written(value)) for name, value in _flat(values)]
    frame = pd.DataFrame(rows, columns=["name", "value"])
    config = {"name": st.column_config.TextColumn("Name"), "value": st.column_config.TextColumn("Value")}
    st.dataframe(frame, hide_index=True, column_config=config, height="content")


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in values.items():
        nested = isinstance(value, dict) and value
        found += _flat(value, f"{prefix}{name}.") if nested else [(f"{prefix}{name}", value)]
    return found


def _written(value: Any) -> str:
    if value is None:
        return "–"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
