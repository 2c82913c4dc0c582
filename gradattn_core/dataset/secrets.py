"""Passwords and signatures in URLs: kept in this process's memory, and nowhere else."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl

from gradattn_core.dataset.address import is_url, is_web, member, member_address

Secrets = tuple[dict[str, str], dict[str, str]]
"""User parts by scheme and host, and queries by URL."""

_URL_IN_TEXT = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]+://[^\s'\"<>]+")
_SECRET = re.compile(r"sig$|signature|token|secret|passw|pwd|credential|auth|api_?key|access_?key|^key$", re.IGNORECASE)
_users: dict[str, str] = {}
_queries: dict[str, str] = {}


def without_secrets(text: str) -> str:
    """An address, or a sentence with URLs in it, without ``user:password@`` and signed queries.

    A query is dropped whole once one of its parameters looks like a secret: the rest of a signature is worth nothing
    without it. A user's name alone stays, except in web addresses, where it often is a token.
    """
    return _strip(text, keep=False)


def remember(address: str) -> str:
    """:func:`without_secrets`; what was taken out is used again whenever this process reads from there."""
    return _strip(address, keep=True)


def current_secrets() -> Secrets:
    """What this process remembers, for a process that it starts; it may travel through a pipe, but into no file."""
    return dict(_users), dict(_queries)


def add_secrets(secrets: Secrets) -> None:
    """Remember the :func:`current_secrets` of another process too."""
    _users.update(secrets[0])
    _queries.update(secrets[1])


def with_secrets(url: str) -> str:
    """The URL as it was given to :func:`remember` in this process."""
    public, place, _, _ = _parts(url)
    if place in _users:
        scheme, host = place.split("://")
        url = url.replace(place, f"{scheme}://{_users[place]}@{host}", 1)
    return f"{url}?{_queries[public]}" if public in _queries else url


def _strip(text: str, *, keep: bool) -> str:
    inner = member(text)
    if inner is not None:
        return member_address(inner.kind, inner.inside, _strip(inner.outer, keep=keep))
    if not is_url(text):
        return _URL_IN_TEXT.sub(lambda match: _parts(match.group())[0], text)
    public, place, user, query = _parts(text)
    if keep and user:
        _users[place] = user
    if keep and query:
        _queries[public] = query
    return public


def _parts(url: str) -> tuple[str, str, str, str]:
    """(public URL, its scheme and host, secret user part, secret query); an absent part is empty."""
    before, sign, query = url.partition("?")
    scheme, rest = before.split("://", 1)
    host, slash, path = rest.partition("/")
    user, _, bare = host.rpartition("@")
    if not is_web(url) and ":" not in user:
        user, bare = "", host
    place = f"{scheme}://{bare}"
    public = place + slash + path
    if any(_SECRET.search(name) for name, _ in parse_qsl(query, keep_blank_values=True)):
        return public, place, user, query
    return public + sign + query, place, user, ""
