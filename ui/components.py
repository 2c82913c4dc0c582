"""What the pages share: the audit in hand, its filters, and ways to show text that nobody can trust."""

from __future__ import annotations

import os
import shlex
import string
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from gradattn_core.errors import StoreError
from gradattn_core.render import PALETTES, Palette
from gradattn_core.store import Store

Row = Mapping[str, Any]

DECIDED = {
    "Undecided": "no",
    "All": "any",
    "Decided": "yes",
    "Label is right": "keep",
    "Relabelled": "relabel",
    "Removed": "remove",
    "Unsure": "unsure",
}
DECISIONS = {
    "keep": "label is right",
    "relabel": "relabelled",
    "remove": "removed",
    "unsure": "unsure",
    "undo": "undone",
}
_MARKDOWN = str.maketrans({sign: "\\" + sign for sign in string.punctuation})


def directory() -> Path:
    """The output folder this page serves."""
    return Path(os.environ.get("GRADATTN_OUT", "gradattn-out"))


def store() -> Store:
    return Store(directory(), read_only=read_only())


def read_only() -> bool:
    return os.environ.get("GRADATTN_READ_ONLY") == "1"


@st.cache_data(ttl=10, show_spinner=False)
def audits(folder: str) -> pd.DataFrame | None:
    """Every finished audit of the folder, newest first, at most ten seconds old; None where there is no database."""
    results = Store(folder, read_only=read_only())
    return results.audits() if results.database.exists() else None


@st.cache_data(ttl=600, max_entries=16, show_spinner=False)
def classes(folder: str, audit: str) -> list[str]:
    """The classes of an audit; they never change."""
    return Store(folder, read_only=read_only()).classes(audit)


def audit_id() -> str:
    """The audit chosen in the sidebar. Stops the page with what to do next where there is none."""
    try:
        finished = audits(str(directory()))
    except StoreError as error:
        st.error("The results cannot be read.")
        plain(str(error), "quiet-store-error")
        st.stop()
    if finished is None or finished.empty:
        st.header("No audit here yet")
        st.write("Run one, then reload this page:")
        st.code(f"gradattn audit DATASET --out {shlex.quote(str(directory()))}", language=None, wrap_lines=True)
        st.stop()
    names = {
        str(row["audit_id"]): f"{Path(row['dataset']).name} · {row['finished_at'][:16].replace('T', ' ')}"
        for row in finished.to_dict("records")
    }
    if len(names) == 1:
        return next(iter(names))
    with st.sidebar:
        chosen = st.selectbox("Audit", list(names), format_func=names.__getitem__, key="audit", bind="query-params")
    return str(chosen)


def reviewer() -> str:
    """The name decisions are stored with; empty until somebody has given one."""
    name = st.sidebar.text_input(
        "Reviewer",
        value=os.environ.get("GRADATTN_REVIEWER", ""),
        key="reviewer",
        placeholder="Your name",
        max_chars=100,
        persist_state="session",
        help="Stored with every decision.",
    )
    return name.strip()


def filters(audit: str, *, default: str) -> dict[str, Any]:
    """The filter widgets, kept in the URL; returns them as keyword arguments of the store's queries."""
    _restore_filters()
    names = classes(str(directory()), audit)
    given_label = st.selectbox("Given label", names, index=None, placeholder="Any", key="given", bind="query-params")
    suggested = st.selectbox(
        "Suggested label", names, index=None, placeholder="Any", key="suggested", bind="query-params"
    )
    decided = st.selectbox(
        "Decision",
        list(DECIDED),
        index=list(DECIDED).index(default),
        key=f"decided-{default.lower()}",
        bind="query-params",
    )
    least = st.number_input(
        "Least suspicion",
        value=None,
        placeholder="As found by the audit",
        key="least",
        bind="query-params",
        format="%.3f",
        help="Leave empty for the suspects of the audit. A number takes every image at or above it.",
    )
    st.session_state["filters"] = {key: st.session_state[key] for key in ("given", "suggested", "least")}
    return {"given": given_label, "suggested": suggested, "decided": DECIDED[decided], "min_suspicion": least}


def forget_filters() -> None:
    """Let the next page start from the filters in its URL alone."""
    st.session_state.pop("filters", None)


def _restore_filters() -> None:
    """Filters as they were left on another page; Streamlit forgets a widget that its page no longer shows."""
    for key, value in st.session_state.get("filters", {}).items():
        if key not in st.session_state and key not in st.query_params and value is not None:
            st.session_state[key] = value


def plain(text: str, key: str) -> None:
    """Text exactly as it is: neither HTML nor Markdown. The key's first word chooses its look in ``style.css``."""
    with st.container(key=key):
        st.text(text)


def escaped(text: str, longest: int = 60) -> str:
    """Untrusted text for the places where Streamlit insists on Markdown, such as the label of a button.

    Every ASCII punctuation sign is escaped. An invisible word joiner after each colon keeps emoji short codes and
    colour directives, which Streamlit looks for once Markdown is parsed, from being recognised.
    """
    line = " ".join(text.split())
    if len(line) > longest:
        line = line[: longest - 1] + "…"
    return line.translate(_MARKDOWN).replace(":", ":\u2060")


def palette() -> Palette:
    return "orange-purple" if st.session_state.get("colour_blind") else "red-blue"


def meter(share: float, sign: int) -> None:
    """A bar as long as ``share`` (0 to 1) in the colour of evidence for (+1) or against (-1) the given label."""
    colour = _css(sign)
    st.html(f'<div class="gradattn-meter"><div style="width:{100 * share:.1f}%;background:{colour}"></div></div>')


def scale() -> None:
    """The colour scale of the overlay, from evidence for the given label to evidence for the other class."""
    st.html(
        f'<div class="gradattn-scale" style="background:linear-gradient(90deg,{_css(1)},transparent,{_css(-1)})"></div>'
    )


def present(value: Any) -> bool:
    """Whether a cell of a frame holds something."""
    return bool(value != "" and not pd.isna(value))


def _css(sign: int) -> str:
    red, green, blue = PALETTES[palette()][0 if sign > 0 else 1]
    return f"rgb({red},{green},{blue})"
