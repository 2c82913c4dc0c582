"""HTML from data: whatever is not made here is text. For pages, reports and notebooks."""

from __future__ import annotations

import html
from collections.abc import Iterable

_EMPTY = ("img", "br", "meta")
"""Elements without an end."""


class Markup(str):
    """HTML that was made here; every other string is text."""

    __slots__ = ()


def tag(kind: str, /, *children: str, **attributes: str | float | None) -> Markup:
    """An element with these children; ``class_`` is written ``class``, ``aria_label`` ``aria-label``."""
    written = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{html.escape(str(value))}"'
        for name, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{kind}{written}>" if kind in _EMPTY else f"<{kind}{written}>{join(children)}</{kind}>")


def join(parts: Iterable[str]) -> Markup:
    """One after the other, without anything between them."""
    return Markup("".join(part if isinstance(part, Markup) else html.escape(part) for part in parts))
