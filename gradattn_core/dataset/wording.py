"""How names that a user or a file chose are shown in messages and kept in records."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from itertools import islice


def shown(name: object, limit: int = 400) -> str:
    """The name in quotes, on one line, safe to print and to store: what cannot be printed is escaped."""
    text = str(name)
    return repr(text if len(text) <= limit else text[: limit - 1] + "…")


def shown_all(names: Iterable[str], limit: int = 20) -> str:
    """Several names, separated by commas; past ``limit`` only their number."""
    every = list(names)
    rest = f" and {len(every) - limit:,} more" if len(every) > limit else ""
    return ", ".join(shown(name, 60) for name in every[:limit]) + rest


def did_you_mean(name: str, options: Iterable[str]) -> str:
    """A sentence with the nearest of the options, led by a space, or nothing where none is near."""
    # a folder may hold a million siblings, and comparing with each of them would take longer than a person waits
    by_folded = {option.casefold(): option for option in islice(options, 10_000)}
    folded = name.casefold()
    near = difflib.get_close_matches(folded, by_folded, n=1) or [option for option in by_folded if folded in option]
    return f" Did you mean {shown(by_folded[near[0]])}?" if folded and near else ""


def is_text(name: str) -> bool:
    """Whether the name is valid Unicode; file names that are not UTF-8 arrive as lone surrogates."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def as_text(name: str) -> str:
    """The name with everything that is not valid Unicode as an escape, so that any file or database can hold it."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")
