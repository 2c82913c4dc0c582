"""Text that a user or a file chose: how messages show it, how records keep it, and what a cell of a table says."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Sequence
from itertools import islice

from gradattn_core.errors import DatasetError


def shown(name: object, limit: int = 400) -> str:
    """The name in quotes, on one line, safe to print and to store: what cannot be printed is escaped."""
    text = str(name)
    return repr(text if len(text) <= limit else text[: limit - 1] + "…")


def shown_all(names: Iterable[str]) -> str:
    """Several names, separated by commas; past twenty only their number."""
    every = list(names)
    rest = f" and {len(every) - 20:,} more" if len(every) > 20 else ""
    return ", ".join(shown(name, 60) for name in every[:20]) + rest


def as_value(name: str) -> str:
    """A name as it may be typed after an option."""
    return name if re.fullmatch(r"[\w./:][\w./:-]*", name) else shown(name)


def did_you_mean(name: str, options: Iterable[str]) -> str:
    """A sentence with the nearest of the options, led by a space, or nothing where none is near."""
    # a folder may hold a million siblings, and comparing with each of them would take longer than a person waits
    by_folded = {option.casefold(): option for option in islice(options, 10_000)}
    folded = name.casefold()
    near = difflib.get_close_matches(folded, by_folded, n=1) or [option for option in by_folded if folded in option]
    return f" Did you mean {shown(by_folded[near[0]])}?" if folded and near else ""


def cause(error: Exception) -> str:
    """What an error says, short and on one line; its type where it says nothing."""
    return " ".join(str(getattr(error, "strerror", None) or error).split())[:200].rstrip(".") or type(error).__name__


def file_problem(error: Exception) -> str:
    """What is wrong with a file, as the end of a sentence that begins with its name."""
    if isinstance(error, FileNotFoundError):
        return "does not exist"
    return f"{'may not' if isinstance(error, PermissionError) else 'cannot'} be read: {cause(error)}"


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


def cell_text(value: object) -> str | None:
    """The exact text of a table's cell; None where it is missing, blank, or neither text nor number."""
    if value is None or isinstance(value, (dict, list)) or value != value:
        return None
    if isinstance(value, bytes):
        value = value.decode("utf-8", "surrogateescape")
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # a table writes whole numbers as floats once one of its cells is missing
    text = str(value)
    return text if text.strip() else None


def check_columns(file: object, columns: Sequence[str], needed: Sequence[str], option: str = "") -> None:
    """Raises:
    DatasetError: a needed column is not there, or is there twice; ``option`` is what names another one.
    """
    for name in needed:
        if name not in columns:
            there = f"its columns are {shown_all(columns)}" if columns else "it is empty"
            guess = did_you_mean(name, columns)
            other = f" {option} names another." if option and columns and not guess else ""
            raise DatasetError(f"{shown(file)} has no column {shown(name)}; {there}.{guess}{other}")
        if list(columns).count(name) > 1:
            raise DatasetError(f"{shown(file)} has several columns {shown(name)}: rename all but one.")


def data_note() -> str:
    """Where datasets lie in this container, as ``GRADATTN_DATA_NOTE`` says it, led by a space; ``""`` elsewhere."""
    note = os.environ.get("GRADATTN_DATA_NOTE", "").strip()
    return f" {note}." if note else ""
