"""CSV files as they are read back: candidates.csv, checklists, and whatever a spreadsheet has made of them."""

from __future__ import annotations

import contextlib
import csv
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from gradattn_core.errors import StoreError
from gradattn_core.export import COLUMNS, TABLES

_ADDED = ("outside_label", "kind")
# Text columns that files of earlier versions lack, and that are empty in them.
REPLACED: dict[str, tuple[str, ...]] = {
    "positive_mass": ("red_log_odds",),
    "negative_mass": ("blue_log_odds",),
    "balance": ("model_log_odds", "log_odds_without_picture"),
}
"""Columns that candidates.csv had in earlier versions, each with those that say more truly what it was meant to say."""


def read_candidates(path: Path) -> pd.DataFrame:
    """The frame that :func:`write_candidates` wrote: every text exactly, numbers to six digits, absent numbers as NaN.

    Columns may come in another order and others may stand beside them; the result has ``COLUMNS`` in their order.

    Raises:
        StoreError: where the file cannot be read, is not CSV in UTF-8, lacks a column, or has a number that is none.
    """
    rows = csv_rows(path)
    header = rows[0] if rows else []
    missing = [name for name in COLUMNS if name not in header and name not in _ADDED]
    if missing and any(name in REPLACED for name in header):
        raise StoreError(
            f"{path} is of an earlier version of gradattn: {replaced()}; `gradattn export --csv FILE` or "
            "the next audit writes it anew"
        )
    if missing:
        raise StoreError(f"{path} lacks the column {', '.join(missing)}; needed are {', '.join(COLUMNS)}")
    columns: dict[str, list[Any]] = {name: [""] * (len(rows) - 1) for name in _ADDED}
    for name, kind in COLUMNS.items():
        if name not in header:
            continue
        position = header.index(name)
        columns[name] = [
            _value(row, position, kind, f"{path}, row {number}, {name}") for number, row in enumerate(rows[1:], 2)
        ]
    return pd.DataFrame(columns, columns=list(COLUMNS)).astype(COLUMNS)


def read_checklist(path: Path) -> dict[str, dict[str, str]]:
    """The rows of a filled CSV file ``spot-check`` that hold a decision: by path, the other cells by column.

    Decisions are in small letters. Columns may come in another order, others may stand beside them, and a spreadsheet
    may have put semicolons or tabulators in the place of commas.

    Raises:
        StoreError: where the file cannot be read, is not CSV in UTF-8, lacks a column, has a path twice, or a new label
            beside no decision.
    """
    rows = csv_rows(path)
    header, columns = (rows[0] if rows else []), TABLES["spot-check"]
    missing = [name for name in columns if name not in header]
    if missing:
        raise StoreError(f"{path} lacks the column {', '.join(missing)}; needed are {', '.join(columns)}")
    filled: dict[str, dict[str, str]] = {}
    for number, row in enumerate(rows[1:], 2):
        cells = {name: "".join(row[header.index(name) :][:1]).removeprefix("'") for name in columns}
        name = cells.pop("path")
        cells["decision"] = cells["decision"].strip().lower()
        if name in filled:
            raise StoreError(f"{path}, row {number}: {name!r} stands there twice; leave one of its rows")
        if cells["new_label"] and cells["decision"] != "relabel":
            raise StoreError(f"{path}, row {number}: a new label needs the decision 'relabel' beside it")
        if cells["decision"]:
            filled[name] = cells
    return filled


def replaced() -> str:
    """Which column of candidates.csv has taken the place of which, as a clause."""
    places = [f"{' and '.join(now)} {'have' if now[1:] else 'has'} replaced {was}" for was, now in REPLACED.items()]
    return ", ".join(places)


def _value(row: list[str], position: int, kind: str, where: str) -> Any:
    if position >= len(row):
        raise StoreError(f"{where}: the row ends before this column")
    cell = row[position]
    if kind == "str":
        return cell.removeprefix("'")
    try:
        if kind == "int64":
            return int(cell)
        return float(cell) if cell else float("nan")
    except ValueError as error:
        raise StoreError(f"{where}: {cell!r} is not a number") from error


def csv_rows(path: Path) -> list[list[str]]:
    """Every row of a CSV file, the header first, as a spreadsheet of any language may have written it.

    Raises:
        StoreError: where it cannot be read, or is not CSV in UTF-8 (or in UTF-16, marked as such).
    """
    try:
        content = path.read_bytes()
        text = content.decode("utf-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig")
        # A spreadsheet of another language than English writes semicolons.
        delimiter = max(",;\t", key=text.partition("\n")[0].count)
        with _cells_of_any_size():
            return list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise StoreError(
            f"{path} is not a CSV file in UTF-8 ({error}); a spreadsheet saves one as CSV UTF-8"
        ) from error


@contextlib.contextmanager
def _cells_of_any_size() -> Iterator[None]:
    before = csv.field_size_limit(sys.maxsize)
    try:
        yield
    finally:
        csv.field_size_limit(before)
