"""Decisions in tables of our own columns: candidates.csv as a spreadsheet leaves it, exports as Parquet and JSON.

A table says what was decided in one of two ways: by a column ``decision``, whose words are those of candidates.csv, or
by a column ``label`` beside ``given_label``, as the folders for other tools have it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from gradattn_core.csv_tables import csv_rows
from gradattn_core.dataset.parquet import label_names, label_text
from gradattn_core.dataset.text import cause
from gradattn_core.errors import StoreError
from gradattn_core.store.claims import Claim

_TRUE = ("true", "1", "wahr", "vrai", "yes")
_SAID = ("decision", "label")
_READ = (
    *("path", "given_label", "label", "decision", "new_label", "suggested_label", "reviewer", "note"),
    *("decision_id", "stands", "conflict"),
)


def claims_of_csv(file: Path, *, all_reviewed: bool = False) -> list[Claim]:
    """What a CSV file says; a spreadsheet may have put semicolons, tabulators, a byte order mark or UTF-16 into it.

    Raises:
        StoreError: where it is no CSV, or lacks a column.
    """
    table = csv_rows(file)
    header = table[0] if table else []
    rows = [
        (f"{file}, row {number}", {name: cell.removeprefix("'") for name, cell in zip(header, row, strict=False)})
        for number, row in enumerate(table[1:], 2)
    ]
    return claims_of_rows(file, header, rows, all_reviewed=all_reviewed)


def claims_of_parquet(file: Path, *, all_reviewed: bool = False) -> list[Claim]:
    """What a Parquet file says.

    Raises:
        StoreError: where it cannot be read, or lacks a column.
    """
    try:
        # Pictures may stand beside what is read.
        schema = pq.read_schema(file)
        columns = [name for name in schema.names if name in _READ]
        table = pq.read_table(file, columns=columns)
    except (OSError, pa.ArrowException) as error:
        raise StoreError(f"{file} cannot be read as Parquet: {cause(error)}") from error
    # A ClassLabel of Hugging Face is a number, and its number is no name, not even of a class that is called 3.
    names = {column: found for column in columns if (found := label_names(schema, column))}
    rows = [
        {column: label_text(value, names[column]) if column in names else value for column, value in row.items()}
        for row in table.to_pylist()
    ]
    return claims_of_objects(file, rows, table.column_names, all_reviewed=all_reviewed)


def claims_of_objects(
    file: Path, objects: Sequence[Mapping[str, object]], columns: Sequence[str] = (), *, all_reviewed: bool = False
) -> list[Claim]:
    """What JSON objects say, one a row."""
    header = columns or list(dict.fromkeys(name for each in objects for name in each))
    rows = [
        (f"{file}, row {number}", {name: _cell(value) for name, value in each.items()})
        for number, each in enumerate(objects, 1)
    ]
    return claims_of_rows(file, header, rows, all_reviewed=all_reviewed)


def claims_of_rows(
    file: Path, header: Sequence[str], rows: Iterable[tuple[str, Mapping[str, str]]], *, all_reviewed: bool
) -> list[Claim]:
    """The rows that say something, in the order in which they were said.

    Args:
        rows: each with its place and its cells as text.
        all_reviewed: a ``label`` that is the given one says that it is right; else it says nothing.

    Raises:
        StoreError: where a column is missing.
    """
    if "path" not in header or not any(name in header for name in _SAID):
        raise StoreError(
            f"{file} has no columns path and decision; import a candidates.csv with decisions in it, an export of "
            "gradattn's, or one of Label Studio, CVAT, FiftyOne, Hugging Face or COCO"
        )
    if "decision" not in header and "given_label" not in header:
        raise StoreError(f"{file} has labels and no column given_label, so nobody knows which of them are new")
    is_log = "decision_id" in header and "stands" in header
    claims, standing = list[Claim](), list[Claim]()
    for where, cells in rows:
        stands, differs = (cells.get(name, "").strip().lower() in _TRUE for name in ("stands", "conflict"))
        if is_log and not (stands or differs):
            continue
        claim = _claim(where, cells, header, all_reviewed)
        if claim is not None and claim.decision != "undo":
            (standing if is_log and stands else claims).append(claim)
    # A log has the newest first. Somebody may have sorted it: what stands is said last all the same.
    return [*claims[::-1], *standing[::-1]] if is_log else claims


def claim_of_label(
    where: str, path: str, given: str, label: str, *, reviewer: str = "", note: str | None = None, all_reviewed: bool
) -> Claim | None:
    """What a tool says by the label that a picture has there; None for nothing."""
    if label != given:
        return Claim(where, path, "relabel", label, reviewer, note, given)
    return Claim(where, path, "keep", "", reviewer, note, given) if all_reviewed else None


def _claim(where: str, cells: Mapping[str, str], header: Sequence[str], all_reviewed: bool) -> Claim | None:
    given = cells.get("given_label", "") if "given_label" in header else None
    path, label = cells.get("path", ""), cells.get("label", "")
    said = cells.get("decision", "").strip()
    changed = "label" in header and given is not None and path and label != given
    # Whoever changes the label need not mind what was decided before.
    if said and not changed:
        return claim_of_words(where, path, cells, given_label=given)
    if given is None or "label" not in header or not path:
        return None
    # The note and the reviewer that stand there are of what was decided before.
    note, reviewer = (None, "") if said else (cells.get("note"), cells.get("reviewer", ""))
    return claim_of_label(where, path, given, label, reviewer=reviewer, note=note, all_reviewed=all_reviewed)


def claim_of_words(where: str, path: str, cells: Mapping[str, str], *, given_label: str | None) -> Claim:
    """What stands in ``decision`` and, beside it, ``new_label``, ``suggested_label``, ``reviewer`` and ``note``."""
    verb, _, label = cells["decision"].partition(":")
    verb = verb.strip().lower()
    if verb == "accept":
        verb, label = "relabel", ""
    if verb == "relabel":
        label = label or cells.get("new_label", "") or cells.get("suggested_label", "")
    elif not label:
        label = cells.get("new_label", "")
    return Claim(where, path, verb, label, cells.get("reviewer", ""), cells.get("note"), given_label)


def _cell(value: object) -> str:
    if value is None or value != value:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)
