"""The head of every page beside its menu: which audit it shows, who reviews, the way past the menu."""

from __future__ import annotations

import re
from pathlib import Path

import streamlit as st

from gradattn_core.errors import StoreError
from gradattn_core.wording import minute
from ui import components, identity
from ui.components import Row

_BLOCKS = re.compile(r"^:root[^{]*(\{.*?^\})", re.MULTILINE | re.DOTALL)
_IN_HAND = "audit-in-hand"  # in the session: the audit that the pages show


def show_style(folder: Path) -> None:
    """Colours and sizes for everything on the page that no shadow root keeps to itself."""
    light, dark, *_ = _BLOCKS.findall((folder / "client" / "tokens.css").read_text("utf-8"))
    colours = f":root {light}" + (f" :root {dark}" if components.paper() == "dark" else "")
    st.html(f"<style>{colours}\n{(folder / 'style.css').read_text('utf-8')}</style>")


def show(folder: Path, *, full: bool) -> None:
    """Draw it, above a page that ``full`` takes the whole window or is a sheet with a margin."""
    st.logo(folder / f"logo-{components.paper()}.svg", size="small")
    audits = _audits()
    with st.container(key="above-full" if full else "above-sheet", horizontal=True, vertical_alignment="center"):
        chosen = st.container(key="about-audit")
        with st.popover("Audit and reviewer", icon=":material/account_circle:", type="tertiary", key="person"):
            audit = _choose(audits)
            identity.show()
        if audit is not None and not full:
            chosen.text(_facts(audit))
    identity.remember()


def _audits() -> list[Row]:
    """All of the folder; none where they cannot be read, which the page itself says."""
    try:
        found = components.audits(str(components.directory()))
    except StoreError:
        return []
    return [] if found is None else components.rows_of(found)


def _choose(audits: list[Row]) -> Row | None:
    """The audit that the pages show: the one chosen here or named by the address, else the newest."""
    if len(audits) < 2:
        return audits[0] if audits else None
    rows = {str(row["audit_id"]): row for row in audits}
    names = {audit: f"{components.dataset_name(row)} · {minute(row['finished_at'])}" for audit, row in rows.items()}
    # What is chosen is told by its name, so no two may have the same.
    names = {audit: f"{name} · {audit}" if [*names.values()].count(name) > 1 else name for audit, name in names.items()}
    asked = st.query_params.get("audit")
    # A new address goes before what was chosen; what is chosen becomes the address, by its id. It is kept beside the
    # field, whose own value Streamlit drops on the way to another page.
    if asked in rows and asked != st.session_state.get("audit-asked"):
        st.session_state[_IN_HAND] = asked
    chosen = st.session_state.get(_IN_HAND)
    chosen = chosen if chosen in rows else next(iter(rows))
    st.session_state["audit"] = chosen
    st.selectbox("Audit", list(names), format_func=names.__getitem__, key="audit", on_change=_take)
    if chosen != (asked or next(iter(rows))):
        st.query_params["audit"] = chosen
    st.session_state["audit-asked"] = chosen
    return rows[chosen]


def _take() -> None:
    st.session_state[_IN_HAND] = st.session_state["audit"]


def _facts(audit: Row) -> str:
    pictures = f"{audit['images']:,} pictures, {audit['failures']:,} unreadable"
    return f"{components.dataset_name(audit)} · {pictures} · {audit['model']}, {audit['head']}"
