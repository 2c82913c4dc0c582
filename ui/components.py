"""What the pages share: the audit in hand, its filters, and ways to show text that nobody can trust."""

from __future__ import annotations

import html
import math
import os
import shlex
import string
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from gradattn_core.errors import StoreError
from gradattn_core.kinds import KINDS as KINDS
from gradattn_core.render.overlays import PALETTES, Palette
from gradattn_core.store.store import Store
from ui.identity import reviewer as reviewer
from ui.words import named

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
_FILTER_KEYS = ("given", "suggested", "kind", "by", "least", "most", "contains")
_LEAST = "Leave empty for the suspects of the audit. A number takes every image at or above it."
_MARKDOWN = str.maketrans({sign: "\\" + sign for sign in string.punctuation})


def directory() -> Path:
    """The output folder this page serves."""
    return Path(os.environ.get("GRADATTN_OUT", "gradattn-out"))


def store() -> Store:
    return Store(directory(), read_only=read_only(), data_root=data_root())


def data_root() -> str | None:
    """Where this session looks for moved images, if somebody has named a folder on the page."""
    root: str | None = st.session_state.get("data-root")
    return root


def read_only() -> bool:
    return os.environ.get("GRADATTN_READ_ONLY") == "1"


@st.cache_data(ttl=10, show_spinner=False)
def audits(folder: str) -> pd.DataFrame | None:
    """Every finished audit of the folder, newest first, at most ten seconds old; None where there is no database."""
    results = Store(folder, read_only=read_only())
    return results.audits.all() if results.database.exists() else None


@st.cache_data(ttl=600, max_entries=16, show_spinner=False)
def classes(folder: str, audit: str) -> list[str]:
    """The classes of an audit; they never change."""
    return Store(folder, read_only=read_only()).audits.classes(audit)


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
        st.page_link("audits/page.py", label="Or start one on the Audits page", icon=":material/schedule:")
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


def filters(audit: str, *, default: str, extended: bool = False) -> dict[str, Any]:
    """The filter widgets in the sidebar, kept in the URL; returns keyword arguments of the store's queries.

    Args:
        default: the decision filter where the URL names none, a key of ``DECIDED``.
        extended: also kind of doubt, greatest suspicion, reviewer and part of the path; these are only in what is
            returned where somebody has chosen them.
    """
    names = classes(str(directory()), audit)
    _restore_filters(names)
    with st.sidebar:
        chosen = _label_filters(names)
        if extended:
            chosen["kind"] = st.selectbox(
                "Kind of doubt", list(KINDS), index=None, placeholder="Any", key="kind", bind="query-params"
            )
        decided = st.selectbox(
            "Decision",
            list(DECIDED),
            index=list(DECIDED).index(default),
            key=f"decided-{default.lower()}",
            bind="query-params",
        )
        if extended:
            chosen["reviewer"] = st.selectbox(
                "Decided by", _reviewers(), index=None, placeholder="Anyone", key="by", bind="query-params"
            )
        least, chosen["max_suspicion"] = _suspicion_filters(extended)
        if extended:
            chosen["path_contains"] = st.text_input("Path contains", key="contains", bind="query-params", max_chars=500)
    now = {key: st.session_state[key] for key in _FILTER_KEYS if key in st.session_state}
    st.session_state["filters"] = st.session_state.get("filters", {}) | now
    always = {"given": chosen.pop("given"), "suggested": chosen.pop("suggested")}
    return (
        always
        | {"decided": DECIDED[decided], "min_suspicion": least}
        | {name: value for name, value in chosen.items() if value not in (None, "")}
    )


def _label_filters(names: list[str]) -> dict[str, Any]:
    given, suggested = (
        st.selectbox(title, names, index=None, format_func=named, placeholder="Any", key=key, bind="query-params")
        for title, key in (("Given label", "given"), ("Suggested label", "suggested"))
    )
    return {"given": given, "suggested": suggested}


def _suspicion_filters(extended: bool) -> tuple[float | None, float | None]:
    """The least and, where ``extended``, the greatest suspicion."""
    if not extended:
        return _suspicion("Least suspicion", "least", "As found by the audit", _LEAST), None
    lower, upper = st.columns(2, gap="small")
    with lower:
        least = _suspicion("Suspicion from", "least", "Suspects", _LEAST)
    with upper:
        most = _suspicion("to", "most", "Any", None)
    return least, most


def _suspicion(label: str, key: str, placeholder: str, explanation: str | None) -> float | None:
    value: float | None = st.number_input(
        label, value=None, placeholder=placeholder, key=key, bind="query-params", format="%.3f", help=explanation
    )
    return value


def _reviewers() -> list[str]:
    """Everybody who has decided something, and whoever the address asks for: they may just have begun."""
    asked = st.query_params.get("by")
    known = reviewers(str(directory()))
    return known if asked is None or asked in known else [*known, asked]


@st.cache_data(ttl=10, show_spinner=False)
def reviewers(folder: str) -> list[str]:
    """Everybody who has decided something, at most ten seconds old."""
    return Store(folder, read_only=read_only()).decisions.reviewers()


def forget_filters() -> None:
    """Let the next page start from the filters in its URL alone."""
    st.session_state.pop("filters", None)


def _restore_filters(names: list[str]) -> None:
    """Filters as they were left on another page; Streamlit forgets a widget that its page no longer shows.

    Labels that this audit lacks are left out. An ImageNet id in the address is taken for its class, although the
    widgets write it into the address with its readable name.
    """
    for key, value in st.session_state.get("filters", {}).items():
        here = key not in ("given", "suggested") or value in names
        if key not in st.session_state and key not in st.query_params and value is not None and here:
            st.session_state[key] = value
    for key in ("given", "suggested"):
        asked = st.query_params.get(key)
        if asked in names and named(asked) != asked:
            st.session_state[key] = asked


def plain(text: str, key: str) -> None:
    """Text exactly as it is: neither HTML nor Markdown. The key's first word chooses its look in ``style.css``."""
    with st.container(key=key):
        st.text(text)


def table(frame: pd.DataFrame, name: str) -> None:
    """A few rows to look at, every cell as text; ``name`` is for those who hear the page.

    It is there at once: ``st.dataframe`` has the browser load and compile 1.5 MB first.
    """
    kinds = [' class="number"' if pd.api.types.is_any_real_numeric_dtype(kind) else "" for kind in frame.dtypes]
    rows = "".join(_row("td", kinds, row) for row in frame.itertuples(index=False, name=None))
    st.html(
        f'<div class="gradattn-table" role="region" tabindex="0" aria-label="{html.escape(name)}"><table>'
        f"<thead>{_row('th', kinds, tuple(frame.columns))}</thead><tbody>{rows}</tbody></table></div>"
    )


def _row(tag: str, kinds: list[str], cells: tuple[Any, ...]) -> str:
    written = (f"<{tag}{kind}>{html.escape(_written(cell))}</{tag}>" for kind, cell in zip(kinds, cells, strict=True))
    return f"<tr>{''.join(written)}</tr>"


def _written(cell: Any) -> str:
    if isinstance(cell, float):
        return "" if math.isnan(cell) else f"{cell:.6g}"
    return str(cell)


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


def page(count: int, size: int, *, key: str, of: Any, noun: str = "images") -> int:
    """A pager with its place in words; returns the page, 1 the first.

    Args:
        count: entries of the list, at least 1.
        size: entries of a page.
        key: of the widget, and of the page in the URL.
        of: what list it is. Another list starts at its first page; a list that has become shorter ends at its last.
    """
    pages = -(-count // size)
    before = st.session_state.get(f"{key}-of")
    if before is not None and before != of:
        st.session_state[key] = 1
    st.session_state[f"{key}-of"] = of
    known = st.session_state.get(key) or _asked(key)
    if known > pages:
        st.session_state[key] = known = pages
    place, pager = st.columns([2, 3], vertical_alignment="center")
    with pager, st.container(horizontal=True, horizontal_alignment="right"):
        # Also drawn where there is one page only: a widget that comes and goes loses its place.
        chosen = int(st.pagination(pages, key=key, bind="query-params"))
    first = (chosen - 1) * size + 1
    place.caption(f"{first:,} to {min(count, chosen * size):,} of {count:,} {noun}")
    return chosen


def _asked(key: str) -> int:
    """The page in the URL, 1 where there is none that is one."""
    asked = st.query_params.get(key, "1")
    return int(asked) if asked.isdecimal() and len(asked) < 10 else 1
