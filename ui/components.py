"""What the pages share: the ways between them, the audit in hand, its filters, and text that nobody can trust."""

from __future__ import annotations

import html
import json
import math
import shlex
import string
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import pandas as pd
import streamlit as st

from gradattn_core.errors import StoreError
from gradattn_core.kinds import KINDS, suggestion
from gradattn_core.render.layout import Paper
from gradattn_core.store.candidates import CandidateFilter
from gradattn_core.store.decisions import DecisionFilter
from gradattn_core.store.store import Store
from gradattn_core.wording import full_name
from ui.audits import at_work
from ui.identity import reviewer as reviewer
from ui.launch import directory as directory
from ui.launch import read_only as read_only

Row = Mapping[str, Any]


class PageFile(NamedTuple):
    """A page: its script below this folder and its title.

    It takes the ``full`` width and height of the window if a client of its own draws it, and its place in the menu may
    be below ``more``.
    """

    script: str
    title: str
    full: bool = False
    more: bool = False


PAGES = {
    "overview": PageFile("overview/page.py", "Overview"),
    "review": PageFile("review/page.py", "Review", full=True),
    "grid": PageFile("grid/page.py", "Grid", full=True),
    "pair": PageFile("pair/page.py", "Class pairs", full=True),
    "map": PageFile("map/page.py", "Map", full=True),
    "decisions": PageFile("decisions.py", "Decisions"),
    "export": PageFile("export.py", "Export", more=True),
    "audits": PageFile("audits/page.py", "Audits", more=True),
}
"""The pages by their address, in the order of the menu; the first is also at ``/``."""

HERE = Path(__file__).parent
"""The folder of the pages."""

DECISIONS = {
    "keep": "label is right",
    "relabel": "relabelled",
    "remove": "removed",
    "unsure": "unsure",
    "undo": "undone",
}
"""The decisions of the store in words."""
DECIDED = {"Undecided": "no", "All": "any", "Decided": "yes"} | {
    words.capitalize(): decision for decision, words in DECISIONS.items() if decision != "undo"
}
"""What the filter by decision lets through."""
_SUSPICION: dict[str, Any] = {"value": None, "bind": "query-params", "format": "%.3f"}
_LEAST = "Leave empty for the suspects of the audit. A number takes every image at or above it."
_CONFLICTS = "The last words of reviewers who said different things about the same image"
_MARKDOWN = str.maketrans({sign: "\\" + sign for sign in string.punctuation})


def link(address: str, label: str | None = None) -> None:
    """A link to another page."""
    page = PAGES[address]
    st.page_link(page.script, label=label or page.title)


def leave(address: str, **query: str) -> NoReturn:
    """To another page with this query in its URL."""
    st.switch_page(PAGES[address].script, query_params=query)


def store() -> Store:
    return Store(directory(), read_only=read_only(), data_root=data_root())


def data_root() -> str | None:
    """Where this session looks for moved images, if somebody has named a folder on the page."""
    root: str | None = st.session_state.get("data-root")
    return root


@st.cache_data(ttl=10, show_spinner=False)
def audits(folder: str) -> pd.DataFrame | None:
    """Every finished audit of the folder, newest first, at most ten seconds old; None where there is no database."""
    results = Store(folder, read_only=read_only())
    return results.audits.all() if results.database.exists() else None


@st.cache_data(ttl=600, max_entries=16, show_spinner=False)
def classes(folder: str, audit: str) -> list[str]:
    """The classes of an audit; they never change."""
    return Store(folder, read_only=read_only()).audits.classes(audit)


@st.cache_data(ttl=600, max_entries=16, show_spinner=False)
def _has_foreign(folder: str, audit: str) -> bool:
    """Whether suspects of an audit are suggested to be of none of its classes; it never changes."""
    pairs = Store(folder, read_only=read_only()).audits.class_pairs(audit)
    return bool((pairs["suggested_label"] == "").any())


def audit_id() -> str:
    """The audit chosen in the head of the page. Stops the page with what to do next where there is none."""
    try:
        finished = audits(str(directory()))
    except StoreError as error:
        title("Results")
        st.error("The results cannot be read.")
        plain(str(error), "quiet-store-error")
        st.stop()
    if finished is None or finished.empty:
        if at_work.first(directory(), _has_finished):
            link("audits", "More on the Audits page")
            st.stop()
        title("No audit here yet")
        st.write("Run one, then reload this page:")
        st.code(f"gradattn audit DATASET --out {shlex.quote(str(directory()))}", language=None, wrap_lines=True)
        if not read_only():
            link("audits", "Or start one on the Audits page")
        st.stop()
    chosen = st.session_state.get("audit")
    return str(finished["audit_id"][0] if chosen is None else chosen)


def _has_finished() -> bool:
    """Whether there is an audit by now."""
    audits.clear()
    try:
        found = audits(str(directory()))
    except StoreError:
        return False
    return found is not None and not found.empty


def dataset_name(audit: Row) -> str:
    """The last part of a dataset's address, as it is called on the pages."""
    return Path(audit["dataset"]).name


def title(text: str) -> None:
    """The one heading of the first level on a page."""
    st.title(text, anchor=False)


@st.cache_data(ttl=10, show_spinner=False)
def reviewers(folder: str) -> list[str]:
    """Everybody who has decided something, at most ten seconds old."""
    return Store(folder, read_only=read_only()).decisions.reviewers()


def filters(audit: str, *, default: str) -> CandidateFilter:
    """The filters of a list, kept in the URL, as keywords of the store's questions.

    Args:
        default: the decision filter where the URL names none, a key of ``DECIDED``.
    """
    names = classes(str(directory()), audit)
    # The empty suggestion is of pictures of none of the classes, where there are any.
    options = {"given": names, "suggested": [*names, ""] if _has_foreign(str(directory()), audit) else names}
    _read_ids(options)
    given, suggested = (
        _choice(title, options[key], key, "Any", lambda label: suggestion(full_name(label)))
        for title, key in (("Given label", "given"), ("Suggested label", "suggested"))
    )
    kind = _choice("Kind of doubt", list(KINDS), "kind", "Any")
    decided = decided_filter(default, key=f"decided-{default.lower()}")
    reviewer = _choice("Decided by", _reviewers_and_address(), "by", "Anyone")
    lower, upper = st.columns(2, gap="small")
    least = lower.number_input("Suspicion from", key="least", placeholder="Suspects", help=_LEAST, **_SUSPICION)
    most = upper.number_input("to", key="most", placeholder="Any", **_SUSPICION)
    contains = _path_filter()
    return {
        "given": given,
        "suggested": suggested,
        "kind": kind,
        "decided": decided,
        "reviewer": reviewer,
        "min_suspicion": least,
        "max_suspicion": most,
        "path_contains": contains,
    }


def decided_filter(default: str, *, key: str) -> str:
    """Which decisions are let through, as the store calls them; ``default`` is a key of ``DECIDED``."""
    names = list(DECIDED)
    return DECIDED[st.selectbox("Decision", names, index=names.index(default), key=key, bind="query-params")]


def log_filters(audit: str, reviewers: list[str], tags: list[str]) -> DecisionFilter:
    """The filters of the log of decisions, kept in the URL, as keywords of the store's questions."""
    return {
        "reviewer": _choice("Who", reviewers, "who", "Anyone"),
        "decision": _choice("Decision", list(DECISIONS), "said", "Any", lambda name: DECISIONS[name].capitalize()),
        "path_contains": _path_filter(),
        "tag": _choice("Tag", tags, "tagged", "Any") if tags else None,
        "standing": st.toggle("Only what stands", key="standing", bind="query-params"),
        "conflicts": st.toggle("Only where reviewers differ", key="conflicts", bind="query-params", help=_CONFLICTS),
        "audit_id": audit if st.toggle("Only from this audit", key="here", bind="query-params") else None,
    }


def _choice(title: str, options: list[str], key: str, placeholder: str, name: Callable[[str], str] = str) -> str | None:
    choice: str | None = st.selectbox(
        title, options, index=None, format_func=name, placeholder=placeholder, key=key, bind="query-params"
    )
    return choice


def _path_filter() -> str | None:
    return st.text_input("Path contains", key="contains", bind="query-params", max_chars=500) or None


def _reviewers_and_address() -> list[str]:
    """Everybody who has decided something, and whoever the address asks for: they may just have begun."""
    name = st.query_params.get("by")
    names = reviewers(str(directory()))
    return names if name is None or name in names else [*names, name]


def _read_ids(names: Mapping[str, list[str]]) -> None:
    """Take an ImageNet id in the address for its class: the widgets write it there with its readable name."""
    for key, labels in names.items():
        label = st.query_params.get(key)
        if label in labels and suggestion(full_name(label)) != label:
            st.session_state[key] = label


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
    texts = (f"<{tag}{kind}>{html.escape(cell(value))}</{tag}>" for kind, value in zip(kinds, cells, strict=True))
    return f"<tr>{''.join(texts)}</tr>"


def cell(value: object) -> str:
    """A value in a table: text as it is, numbers in six digits, anything else as JSON; a dash for None."""
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.6g}"
    if value is None:
        return "–"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def escaped(text: str, longest: int = 60) -> str:
    """Untrusted text for the places where Streamlit insists on Markdown, such as the label of a button.

    Every ASCII punctuation sign is escaped. An invisible word joiner after each colon keeps emoji short codes and
    colour directives, which Streamlit looks for once Markdown is parsed, from being recognised.
    """
    line = " ".join(text.split())
    if len(line) > longest:
        line = line[: longest - 1] + "…"
    return line.translate(_MARKDOWN).replace(":", ":\u2060")


def paper() -> Paper:
    """What figures are drawn on, as the page is."""
    return "dark" if st.context.theme.type == "dark" else "light"


def rows_of(frame: pd.DataFrame) -> list[Row]:
    """A frame of the store as one mapping per row."""
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def page(count: int, size: int, *, of: Any, noun: str = "images") -> int:
    """A pager with its place in words; returns the page, 1 the first, which is ``page`` in the URL.

    Args:
        count: entries of the list, at least 1.
        size: entries of a page.
        of: what list it is. Another list starts at its first page; a list that has become shorter ends at its last.
    """
    pages = -(-count // size)
    before = st.session_state.get("page-of")
    if before is not None and before != of:
        st.session_state["page"] = 1
    st.session_state["page-of"] = of
    if (st.session_state.get("page") or whole_number("page", 1)) > pages:
        st.session_state["page"] = pages
    place, pager = st.columns([2, 3], vertical_alignment="center")
    with pager, st.container(horizontal=True, horizontal_alignment="right"):
        # Also drawn where there is one page only: a widget that comes and goes loses its place.
        number = int(st.pagination(pages, key="page", bind="query-params"))
    first = (number - 1) * size + 1
    place.caption(f"{first:,} to {min(count, number * size):,} of {count:,} {noun}")
    return number


def whole_number(name: str, default: int) -> int:
    """A number in the URL, the default where there is none that is one."""
    text = st.query_params.get(name, "")
    return int(text) if text.isdecimal() and len(text) < 10 else default
