"""Passwords and signatures in URLs: kept in this process's memory, and nowhere else."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, urlsplit

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]+://[^\s'\"<>]*?(?=::|[\s'\"<>]|$)")
_SECRET = re.compile(r"sig$|signature|token|secret|passw|pwd|credential|auth|api_?key|access_?key|^key$", re.IGNORECASE)

_passwords: dict[str, str] = {}
_queries: dict[str, str] = {}


def without_secrets(text: str) -> str:
    """The text with ``user:password@`` and signed queries taken out of every URL in it.

    A query is dropped whole once one of its parameters looks like a secret: the rest of a signature is worth nothing
    without it. A user's name alone stays, except in web addresses, where it often is a token.
    """
    return _URL.sub(lambda match: _parts(match.group())[0], text)


def remember(address: str) -> str:
    """:func:`without_secrets`; what was taken out is used again whenever this process reads from there."""

    def strip(match: re.Match[str]) -> str:
        public, place, user, query = _parts(match.group())
        if user:
            _passwords[place] = user
        if query:
            _queries[public] = query
        return public

    return _URL.sub(strip, address)


def with_secrets(url: str) -> str:
    """The URL as it was given to :func:`remember` in this process."""
    public, place, _, _ = _parts(url)
    user = _passwords.get(place)
    whole = public.replace(place, f"{place.split('://')[0]}://{user}@{place.split('://')[1]}", 1) if user else url
    return f"{whole}?{_queries[public]}" if public in _queries else whole


def _parts(url: str) -> tuple[str, str, str, str]:
    """(public URL, its scheme and host, secret user part, secret query); an absent part is empty."""
    scheme, rest = url.split("://", 1)
    host, slash, path = rest.partition("/")
    user, at, bare = host.rpartition("@")
    if not at or (":" not in user and scheme.lower() not in ("http", "https")):
        user, bare = "", host
    try:
        query = urlsplit(url).query
    except ValueError:  # such as an unclosed bracket: no server to give a secret to
        query = ""
    if not any(_SECRET.search(name) for name, _ in parse_qsl(query, keep_blank_values=True)):
        query = ""
    place = f"{scheme}://{bare}"
    return (place + slash + path).removesuffix(f"?{query}" if query else ""), place, user, query
