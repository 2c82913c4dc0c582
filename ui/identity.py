"""Who is reviewing: whoever logged in, where a login is configured, else the name they gave once."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from urllib.parse import quote, unquote

import streamlit as st

_COOKIE = "gradattn_reviewer"
_LONGEST = 100


def admit() -> None:
    """Where a login is configured, stop the page before it shows anything to anybody who has not logged in."""
    if "is_logged_in" not in st.user or st.user.is_logged_in:
        return
    st.title("gradattn", anchor=False)
    if importlib.util.find_spec("authlib") is None:
        st.error("A login is configured, but the package that does it is missing. Install it and start again:")
        st.code("pip install 'streamlit[auth]'", language=None)
        st.stop()
    st.write("Log in to see the audits. Your decisions are stored under the name you log in with.")
    for provider in _providers():
        st.button(
            "Log in" if provider is None else f"Log in with {provider.capitalize()}",
            on_click=st.login,
            args=() if provider is None else (provider,),
            type="primary",
        )
    st.stop()


def show() -> None:
    """Who has logged in and the way out, else the field for the name."""
    if "is_logged_in" in st.user:
        with st.container(key="quiet-reviewer"):
            st.text(f"Logged in as {_login_name()}")
        st.button("Log out", on_click=st.logout)
        return
    st.text_input(
        "Reviewer",
        value=_name_before(),
        key="reviewer",
        placeholder="Your name",
        max_chars=_LONGEST,
        persist_state="session",
        help="Stored with every decision.",
    )


def reviewer() -> str:
    """The name decisions are stored with; empty until somebody has given one."""
    if "is_logged_in" in st.user:
        return _login_name()
    return str(st.session_state.get("reviewer", _name_before())).strip()


def _name_before() -> str:
    """The name that this browser was told before, else the one that the page was started with."""
    name = unquote(st.context.cookies.to_dict().get(_COOKIE, "")) or os.environ.get("GRADATTN_REVIEWER", "")
    return name[:_LONGEST]


def login() -> str | None:
    """The name somebody logged in with; None where no login is configured."""
    return _login_name() if "is_logged_in" in st.user else None


def _login_name() -> str:
    return str(next(filter(None, map(st.user.get, ("email", "name", "sub"))), ""))


def signing(reviewer: str) -> str:
    """The name a decision is stored with: what stands in the field when the key is pressed, not when it was drawn."""
    return str(st.session_state.get("reviewer", "")).strip() or reviewer


def remember() -> None:
    """Keep a new name in this browser for a year. Percent-encoded it is letters, digits and ``%_.-~``, never script."""
    name = reviewer()
    if "is_logged_in" in st.user or not name or name == _name_before():
        return
    value = quote(name, safe="", errors="replace")
    cookie = f"{_COOKIE}={value}; max-age=31536000; path=/; SameSite=Strict"
    with st.container(key="script-name"):
        st.html(f'<script>document.cookie = "{cookie}"</script>', unsafe_allow_javascript=True)


def _providers() -> list[str | None]:
    """The login providers of ``[auth]`` in secrets.toml; None is the one without a name."""
    section = st.secrets["auth"]
    names: list[str | None] = [
        name for name in section if isinstance(section[name], Mapping) and name != "client_kwargs"
    ]
    return [None, *names] if "client_id" in section else names
