"""Cells of a table as text, and the check that its columns are there."""

from __future__ import annotations

from collections.abc import Sequence

from gradattn_core.dataset.wording import did_you_mean, shown, shown_all
from gradattn_core.errors import DatasetError


def text(value: object) -> str | None:
    """The exact text of a cell; None where it is missing, blank, or neither text nor number."""
    if value is None or isinstance(value, (dict, list)) or value != value:
        return None
    if isinstance(value, bytes):
        value = value.decode("utf-8", "surrogateescape")
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # a table writes whole numbers as floats once one of its cells is missing
    cell = str(value)
    return cell if cell.strip() else None


def cause(error: Exception) -> str:
    """What an error says, short and on one line."""
    return " ".join(str(getattr(error, "strerror", None) or error).split())[:200].rstrip(".")


def check_columns(file: object, columns: Sequence[str], wanted: Sequence[str]) -> None:
    """Raises:
    DatasetError: a wanted column is not there, or is there twice.
    """
    for name in wanted:
        if name not in columns:
            there = f"its columns are {shown_all(columns)}" if columns else "it is empty"
            raise DatasetError(f"{shown(file)} has no column {shown(name)}; {there}.{did_you_mean(name, columns)}")
        if list(columns).count(name) > 1:
            raise DatasetError(f"{shown(file)} has several columns {shown(name)}: rename all but one.")
