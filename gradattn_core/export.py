"""The list of suspects as a CSV file that a spreadsheet opens without harm and that is read back exactly.

RFC 4180: comma, double quotes where needed, CRLF, one header line; UTF-8 without a byte order mark.

Text that a spreadsheet could run as a formula gets an apostrophe in front, and so does text that begins with an
apostrophe itself. A text cell that begins with an apostrophe therefore always carries exactly one that is not its own,
and taking it away gives every text back. Numbers are never touched: -0.3 stays a number.
"""

from __future__ import annotations

import contextlib
import csv
import io
import os
import re
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from gradattn_core.errors import StoreError

COLUMNS: dict[str, str] = {
    "rank": "int64",
    "path": "str",
    "given_label": "str",
    "suggested_label": "str",
    "suspicion": "float64",
    "given_probability": "float64",
    "suggested_probability": "float64",
    "margin": "float64",
    "positive_mass": "float64",
    "negative_mass": "float64",
    "balance": "float64",
    "top_region_box": "str",
    "decision": "str",
    "reviewer": "str",
    "note": "str",
}
"""The columns of candidates.csv in their order, each with its type in a frame."""

# What a spreadsheet skips before it looks for a formula: white space, control characters, invisible ones.
_SKIPPED = r"[\s\x00-\x1f\x7f-\x9f\u00ad\u200b-\u200f\u2060-\u2064\ufeff]*"
# =, +, - and @ in their ordinary, full-width, small and mathematical forms.
_FORMULA = re.compile(rf"[\t\r\n]|{_SKIPPED}[=+\-@＝＋－＠﹦﹢﹣﹫−]")


def candidates_csv(frame: pd.DataFrame) -> str:
    """The text of candidates.csv for a frame of ``Store.candidates``; columns beyond ``COLUMNS`` are left out.

    Numbers have six significant digits, so an audit gives the same bytes on every machine; absent values are empty. A
    relabel to another class than the suggested one names it: ``relabel:bald eagle``.

    Raises:
        StoreError: where the frame lacks a column.
    """
    missing = [name for name in COLUMNS if name not in frame.columns]
    if missing:
        raise StoreError(f"the candidates lack the column {', '.join(missing)}; needed are {', '.join(COLUMNS)}")
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    frame = frame.assign(decision=_decisions(frame))
    cells = [[_cell(value, kind) for value in frame[name].tolist()] for name, kind in COLUMNS.items()]
    writer.writerows(zip(*cells, strict=True))
    return text.getvalue()


def write_candidates(frame: pd.DataFrame, target: Path) -> Path:
    """Write candidates.csv so that ``target`` is at every moment the old file or the whole new one.

    Returns:
        ``target``.

    Raises:
        StoreError: where the frame lacks a column, or the file cannot be written; an earlier file is untouched then.
    """
    text = candidates_csv(frame)
    draft = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        with open(draft, "xb") as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        draft.replace(target)
        _sync_folder(target.parent)
    except OSError as error:
        raise StoreError(f"cannot write {target}: {error.strerror}; choose another file or make room") from error
    except UnicodeEncodeError as error:
        raise StoreError(f"cannot write {target}: {error.object[error.start]!r} is not a Unicode character") from error
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
    return target


def read_candidates(path: Path) -> pd.DataFrame:
    """The frame that :func:`write_candidates` wrote: every text exactly, numbers to six digits, absent numbers as NaN.

    Columns may come in another order and others may stand beside them; the result has ``COLUMNS`` in their order.

    Raises:
        StoreError: where the file cannot be read, is not CSV in UTF-8, lacks a column, or has a number that is none.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file, _cells_of_any_size():
            rows = list(csv.reader(file, strict=True))
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise StoreError(f"{path} is not a CSV file in UTF-8: {error}") from error
    header = rows[0] if rows else []
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        raise StoreError(f"{path} lacks the column {', '.join(missing)}; needed are {', '.join(COLUMNS)}")
    columns: dict[str, list[Any]] = {}
    for name, kind in COLUMNS.items():
        position = header.index(name)
        columns[name] = [
            _value(row, position, kind, f"{path}, row {number}, {name}") for number, row in enumerate(rows[1:], 2)
        ]
    return pd.DataFrame(columns).astype(COLUMNS)


def _decisions(frame: pd.DataFrame) -> list[str]:
    if "new_label" not in frame.columns:
        return [str(decision) for decision in frame["decision"]]
    columns = (frame["decision"], frame["new_label"], frame["suggested_label"])
    return [
        f"relabel:{label}" if decision == "relabel" and label != suggested else str(decision)
        for decision, label, suggested in zip(*columns, strict=True)
    ]


def _cell(value: Any, kind: str) -> str:
    if value is None or value is pd.NA or value != value:
        return ""
    if kind == "int64":
        return str(int(value))
    if kind == "float64":
        # Adding zero makes the negative zero a plain one.
        return format(float(value) + 0.0, ".6g")
    text = str(value)
    return f"'{text}" if text.startswith("'") or _FORMULA.match(text) else text


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


@contextlib.contextmanager
def _cells_of_any_size() -> Iterator[None]:
    before = csv.field_size_limit(sys.maxsize)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _sync_folder(folder: Path) -> None:
    """Make the rename itself survive a power cut, where the system can sync folders."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
