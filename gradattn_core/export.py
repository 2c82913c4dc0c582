"""What an audit found and what reviewers said as files: CSV for people, Parquet and JSON for programs.

CSV opens in a spreadsheet without harm and is read back exactly. It is that of RFC 4180 (comma, double quotes where
needed, CRLF, one header line) in UTF-8 without a byte order mark.

Text that a spreadsheet could run as a formula gets an apostrophe in front, and so does text that begins with an
apostrophe itself. A text cell that begins with an apostrophe therefore always carries exactly one that is not its own,
and taking it away gives every text back. Numbers are never touched: -0.3 stays a number.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from gradattn_core import outfolder
from gradattn_core.dataset.text import did_you_mean
from gradattn_core.errors import StoreError
from gradattn_core.files import write_output
from gradattn_core.store.store import Store

COLUMNS: dict[str, str] = {
    "rank": "int64",
    "path": "str",
    "given_label": "str",
    "suggested_label": "str",
    "suspicion": "float64",
    "given_probability": "float64",
    "suggested_probability": "float64",
    "margin": "float64",
    "model_log_odds": "float64",
    "log_odds_without_picture": "float64",
    "red_log_odds": "float64",
    "blue_log_odds": "float64",
    "top_region_box": "str",
    "top_region_log_odds": "float64",
    "top_region_measured": "float64",
    "decision": "str",
    "reviewer": "str",
    "note": "str",
    "outside_label": "str",
    "kind": "str",
}
"""The columns of candidates.csv in their order, each with its type in a frame."""
NEW_SUSPECT_COLUMNS: dict[str, str] = {
    "rank": "int64",
    "path": "str",
    "given_label": "str",
    "suggested_label": "str",
    "suspicion": "float64",
    "why": "str",
}
TABLES: dict[str, dict[str, str]] = {
    "candidates": COLUMNS,
    "decisions": {
        "decided_at": "str",
        "reviewer": "str",
        "decision": "str",
        "path": "str",
        "given_label": "str",
        "new_label": "str",
        "note": "str",
        "stands": "bool",
        "conflict": "bool",
        "drawn": "bool",
        "audit_id": "str",
        "content_hash": "str",
        "decision_id": "str",
    },
    "corrected": {"path": "str", "label": "str"},
    "spot-check": dict.fromkeys(("path", "given_label", "decision", "new_label", "note"), "str"),
    "removals": dict.fromkeys(("path", "given_label", "reviewer", "note", "decided_at"), "str"),
    "failures": dict.fromkeys(("path", "given_label", "stage", "reason"), "str"),
    "images": {
        **{"path": "str", "given_label": "str", "rank": "int64", "suspicion": "float64", "is_suspect": "bool"},
        **{"suggested_label": "str", "given_probability": "float64", "suggested_probability": "float64"},
        **dict.fromkeys(("kind", "decision", "new_label", "reviewer", "content_hash"), "str"),
        **dict.fromkeys(("width", "height"), "int64"),
    },
    "pairs": {
        **{"given_label": "str", "suggested_label": "str", "suspects": "int64", "class_size": "int64"},
        **dict.fromkeys(("share", "mean_suspicion", "expected", "lift"), "float64"),
        "decided": "int64",
    },
    "neighbours": {
        **{"path": "str", "position": "int64", "neighbour_path": "str"},
        **{"neighbour_label": "str", "similarity": "float64"},
    },
}
"""What can be exported, and the columns of its CSV file."""

MEDIA_TYPES: dict[str, str] = {
    "csv": "text/csv",
    "parquet": "application/vnd.apache.parquet",
    "json": "application/json",
    "jsonl": "application/jsonl",
}
"""The formats, which are also the files' endings, each with its media type."""

# Suspects that are read at once: whoever decides meanwhile waits for no more of them.
_STRETCH = 2_000
# What a spreadsheet skips before it looks for a formula: white space, control characters, invisible ones.
_SKIPPED = r"[\s\x00-\x1f\x7f-\x9f\u00ad\u200b-\u200f\u2060-\u2064\ufeff]*"
# =, +, - and @ in their ordinary, full-width, small and mathematical forms.
_FORMULA = re.compile(rf"[\t\r\n]|{_SKIPPED}[=+\-@＝＋－＠﹦﹢﹣﹫−]")


def encode(
    table: str, frame: pd.DataFrame, form: str, *, excel: bool = False, columns: Sequence[str] | None = None
) -> bytes:
    """A whole file with the rows of ``frame``, which the store answers for ``table``.

    CSV has the columns of ``TABLES`` and is safe in a spreadsheet, but for ``corrected``: that is a manifest for
    programs, so its labels stay as they are, to the letter. Its numbers have six significant digits, so an audit gives
    the same bytes on every machine; absent values are empty. Among the candidates, a relabel to another class than the
    suggested one names it: ``relabel:bald eagle``. The other formats have every column of the frame and exact
    numbers: Parquet, JSON (an array of objects) and JSONL (an object per line), where NaN and infinities become null.

    Args:
        excel: CSV begins with a byte order mark, without which Excel takes UTF-8 for the encoding of its country.

        columns: of the frame, in the order wanted, in place of those that the form has.

    Raises:
        StoreError: for an unknown table, format or column, where the frame lacks a column or holds half a character.
    """
    if table not in TABLES:
        raise StoreError(f"there is no table {table!r} to export; choose {', '.join(TABLES)}")
    if form not in MEDIA_TYPES:
        raise StoreError(f"there is no format {form!r}; choose {', '.join(MEDIA_TYPES)}")
    _require(frame, TABLES[table], f"the {table}")
    kinds = TABLES[table] if columns is None else {name: _kind(frame, name) for name in _known(frame, columns)}
    if columns is not None and not (form == "csv" and table == "candidates"):
        frame = frame[list(columns)]
    try:
        if form == "parquet":
            file = io.BytesIO()
            pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), file)
            return file.getvalue()
        if form == "csv":
            frame = frame.assign(decision=_decisions(frame)) if table == "candidates" else frame
            return _csv(frame, kinds, safe=table != "corrected").encode("utf-8-sig" if excel else "utf-8")
        return _json(frame, lines=form == "jsonl").encode()
    except UnicodeEncodeError as error:
        raise StoreError(f"cannot export {error.object[error.start]!r}: it is not a Unicode character") from error


def new_suspects_csv(frame: pd.DataFrame) -> bytes:
    """The file with the new suspects of ``Store.audits.changes``, as safe in a spreadsheet as candidates.csv.

    Raises:
        StoreError: where the frame lacks a column.
    """
    _require(frame, NEW_SUSPECT_COLUMNS, "the new suspects")
    return _csv(frame, NEW_SUSPECT_COLUMNS, safe=True).encode()


def write_candidates(frame: pd.DataFrame, target: Path) -> Path:
    """Write candidates.csv so that ``target`` is at every moment the old file or the whole new one.

    Returns:
        ``target``.

    Raises:
        StoreError: where the frame lacks a column, or the file cannot be written; an earlier file is untouched then.
    """
    write_output(target, encode("candidates", frame, "csv"))
    return target


def update_candidates(store: Store, audit_id: str) -> None:
    """Write candidates.csv, which lists the newest audit, anew where this is it.

    Raises:
        StoreError: as :func:`write_candidates`.
    """
    if store.audits.latest_id() != audit_id:
        return
    stretches = [store.candidates.page(audit_id, top=_STRETCH)]
    while len(stretches[-1]) == _STRETCH:
        stretches.append(store.candidates.page(audit_id, top=_STRETCH, offset=_STRETCH * len(stretches)))
    frame = pd.concat(stretches, ignore_index=True) if stretches[1:] else stretches[0]
    if frame["path"].duplicated().any():
        # The order has changed meanwhile.
        frame = store.candidates.page(audit_id)
    write_candidates(frame, outfolder.candidates(store.directory))


def _decisions(frame: pd.DataFrame) -> list[str]:
    if "new_label" not in frame.columns:
        return [str(decision) for decision in frame["decision"]]
    columns = (frame["decision"], frame["new_label"], frame["suggested_label"])
    return [
        f"relabel:{label}" if decision == "relabel" and label != suggested else str(decision)
        for decision, label, suggested in zip(*columns, strict=True)
    ]


def _require(frame: pd.DataFrame, columns: Iterable[str], what: str) -> None:
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise StoreError(f"{what} lack the column {', '.join(missing)}; needed are {', '.join(columns)}")


def _known(frame: pd.DataFrame, columns: Sequence[str]) -> Sequence[str]:
    """The columns themselves.

    Raises:
        StoreError: where the frame lacks one, or one is there twice, or there is none.
    """
    for name in columns:
        if name not in frame.columns:
            there = [str(column) for column in frame.columns]
            raise StoreError(f"there is no column {name!r}; there are {', '.join(there)}.{did_you_mean(name, there)}")
    if not columns or len(set(columns)) < len(columns):
        raise StoreError("name each column once, and one at least")
    return columns


def _kind(frame: pd.DataFrame, name: str) -> str:
    """How a column's cells are written, by what it holds."""
    kind = {"i": "int64", "f": "float64", "b": "bool"}.get(frame[name].dtype.kind, "str")
    return COLUMNS.get(name, kind)


def _csv(frame: pd.DataFrame, columns: Mapping[str, str], *, safe: bool) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(columns)
    cells = [[_cell(value, kind, safe) for value in frame[name].tolist()] for name, kind in columns.items()]
    writer.writerows(zip(*cells, strict=True))
    return text.getvalue()


def _json(frame: pd.DataFrame, *, lines: bool) -> str:
    # Not pandas' to_json, which cuts numbers at 15 decimals: those near zero lose their digits.
    columns = [[_plain(value) for value in frame[name].tolist()] for name in frame.columns]
    names = [str(name) for name in frame.columns]
    rows = (dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True))
    objects = [json.dumps(row, ensure_ascii=False) for row in rows]
    return "".join(f"{entry}\n" for entry in objects) if lines else "[" + ",\n".join(objects) + "]\n"


def _plain(value: Any) -> Any:
    """The value as JSON knows it, which has neither NaN nor infinity."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _cell(value: Any, kind: str, safe: bool) -> str:
    if value is None or value is pd.NA or (not isinstance(value, list) and value != value):
        return ""
    if kind == "int64":
        return str(int(value))
    if kind == "float64":
        # Adding zero makes the negative zero a plain one.
        return format(float(value) + 0.0, ".6g")
    if kind == "bool":
        return "true" if value else "false"
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, list) else str(value)
    return f"'{text}" if safe and (text.startswith("'") or _FORMULA.match(text)) else text
