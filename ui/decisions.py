"""Decisions: who said what, and when; what stands, and where reviewers differ."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pandas as pd
import streamlit as st

from gradattn_core.errors import GradattnError
from gradattn_core.store.decisions import DecisionFilter
from ui import components, identity
from ui.grid import bulk
from ui.words import named, share

_SIZE = 50


def show() -> None:
    audit = components.audit_id()
    store = components.store()
    with st.sidebar:
        reviewer = "" if components.read_only() else components.reviewer()
        st.subheader("Log")
    reviewers = store.decisions.reviewers()
    st.header("Decisions")
    if not reviewers:
        st.write("Nothing has been decided yet. Decisions made on these pages appear here:")
        st.page_link("review/page.py", label="Review", icon=":material/rule:")
        st.page_link("grid/page.py", label="Grid", icon=":material/grid_view:")
        return
    filters = _filters(audit, reviewers)
    count = store.decisions.count(**filters)
    if count:
        page = components.page(count, _SIZE, key="page", of=filters, noun="entries")
        _log(store.decisions.page(**filters, top=_SIZE, offset=(page - 1) * _SIZE), reviewer)
    else:
        st.write("No entry passes these filters. Choose others in the sidebar.")
    if len(reviewers) > 1:
        _agreement(store.decisions.agreement())


def _filters(audit: str, reviewers: list[str]) -> DecisionFilter:
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
    """A page of the log; what is chosen in it can be undone or opened."""
    above = st.container()
    chosen = []
    with st.container(key="log", gap="xsmall"):
        for row in log.to_dict("records"):
            entry = {str(name): cell for name, cell in row.items()}
            if st.checkbox(_words(entry), key=f"log-{entry['decision_id']}-{bulk.session().generation}"):
                chosen.append(entry)
    with above:
        _buttons(chosen, reviewer)


def _words(entry: dict[str, Any]) -> str:
    """An entry as one line: for a table the browser would load and compile 1.5 MB first, and a phone is too narrow."""
    said = components.DECISIONS[entry["decision"]].capitalize()
    if entry["new_label"]:
        said += f" → {named(entry['new_label'])}"
    facts = [
        f"**{components.escaped(said, 120)}**",
        components.escaped(str(entry["path"]), 120),
        components.escaped(f"given {named(entry['given_label'])}", 80),
        # One colon alone is part of no emoji's name.
        f"{components.escaped(entry['reviewer'], 100)}, {entry['decided_at'][:16].replace('T', ' ')} UTC",
        *(word for word, holds in (("stands", entry["stands"]), ("**disputed**", entry["conflict"])) if holds),
    ]
    if entry["note"]:
        facts.append(components.escaped(f"“{entry['note']}”", 200))
    return " · ".join(facts)


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
            st.switch_page("review/page.py", query_params=query)
        if not chosen:
            st.caption("Choose entries to take back what stands; what was said before then stands again.")
        elif not standing and not components.read_only():
            st.caption("Nothing chosen stands any more.")
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
    components.table(
        pd.DataFrame(
            {
                "Reviewer": agreement["reviewer_a"],
                "and reviewer": agreement["reviewer_b"],
                "Images of both": agreement["both"],
                "Agree": agreement["agree"],
                "Share": [share(value) for value in agreement["share"]],
            }
        ),
        "Agreement of reviewers",
    )


show()
