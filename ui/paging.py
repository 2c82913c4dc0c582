"""Pages of a long list: the list stays in the database, the place in it in the URL."""

from __future__ import annotations

from typing import Any

import streamlit as st


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
