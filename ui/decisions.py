"""Decisions: who said what, and when; what stands, and where reviewers differ."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import pandas as pd
import streamlit as st

from gradattn_core.estimates import percent
from gradattn_core.store.decisions import Decision
from gradattn_core.wording import full_name, minute
from ui import components, take_back
from ui.components import DECISIONS, Row, escaped
from ui.take_back import Decided

_SIZE = 50


def show() -> None:
    audit = components.audit_id()
    store = components.store()
    with st.sidebar:
        reviewer = "" if components.read_only() else components.reviewer()
        st.subheader("Log")
    reviewers = store.decisions.reviewers()
    components.title("Decisions")
    if not reviewers:
        st.write("Nothing has been decided yet. Decisions made on these pages appear here:")
        components.link("review")
        components.link("grid")
        return
    with st.sidebar:
        filters = components.log_filters(audit, reviewers)
    count = store.decisions.count(**filters)
    if count:
        page = components.page(count, _SIZE, of=filters, noun="entries")
        _log(store.decisions.page(**filters, top=_SIZE, offset=(page - 1) * _SIZE), reviewer)
    else:
        st.write("No entry passes these filters. Choose others in the sidebar.")
    if len(reviewers) > 1:
        _agreement(store.decisions.agreement())


def _log(log: pd.DataFrame, reviewer: str) -> None:
    """A page of the log; what is chosen in it can be undone or opened."""
    buttons = st.container()
    with st.container(key="log", gap="xsmall"):
        entries = [
            entry
            for entry in components.rows_of(log)
            if st.checkbox(_line(entry), key=f"log-{entry['decision_id']}-{take_back.history().generation}")
        ]
    with buttons:
        _buttons(entries, reviewer)


def _line(entry: Row) -> str:
    """An entry as one line: for a table the browser would load and compile 1.5 MB first, and a phone is too narrow."""
    decision = DECISIONS[entry["decision"]].capitalize()
    if entry["new_label"]:
        decision += f" → {full_name(entry['new_label'])}"
    facts = [
        f"**{escaped(decision, 120)}**",
        escaped(str(entry["path"]), 120),
        escaped(f"given {full_name(entry['given_label'])}", 80),
        # One colon alone is part of no emoji's name.
        f"{escaped(entry['reviewer'], 100)}, {minute(entry['decided_at'])} UTC",
    ]
    if entry["stands"]:
        facts.append("stands")
    if entry["conflict"]:
        facts.append("**disputed**")
    if entry["note"]:
        facts.append(escaped(f"“{entry['note']}”", 200))
    return " · ".join(facts)


def _buttons(entries: Sequence[Row], reviewer: str) -> None:
    standing = [entry for entry in entries if entry["stands"]]
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
        if st.button("Open in Review", key="log-open", disabled=len(entries) != 1, icon=":material/rule:"):
            components.leave("review", path=str(entries[0]["path"]), audit=str(entries[0]["audit_id"]))
        if not entries:
            st.caption("Choose entries to take back what stands; what was said before then stands again.")
        elif not standing and not components.read_only():
            st.caption("Nothing chosen stands any more.")
        elif not reviewer and not components.read_only():
            st.caption("Enter your name in the sidebar to undo.")
    take_back.report()


def _undo(entries: Sequence[Row], reviewer: str) -> None:
    by_audit: dict[str, dict[str, Decision]] = defaultdict(dict)
    for entry in entries:
        by_audit[entry["audit_id"]][entry["path"]] = take_back.decision_of(entry)
    take_back.take_back([Decided(*part) for part in by_audit.items()], reviewer=reviewer)


def _agreement(agreement: pd.DataFrame) -> None:
    """How often reviewers agree, where two of them have judged the same images."""
    st.subheader("Agreement")
    if agreement.empty:
        st.caption("No two reviewers have decided about the same image yet.")
        return
    st.caption("Of the images both have decided about: how often their last words are the same.")
    components.table(
        pd.DataFrame(
            {
                "Reviewer": agreement["reviewer_a"],
                "and reviewer": agreement["reviewer_b"],
                "Images of both": agreement["both"],
                "Agree": agreement["agree"],
                "Share": [percent(share, counted=True) for share in agreement["share"]],
            }
        ),
        "Agreement of reviewers",
    )


show()
