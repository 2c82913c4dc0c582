"""Datasets that a table describes: CSV, TSV, Parquet or JSONL with one row per image."""

from __future__ import annotations

import codecs
import csv
import json
import os
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from gradattn_core.dataset.wording import as_text, did_you_mean, is_text, shown, shown_all
from gradattn_core.errors import DatasetError
from gradattn_core.records import Failure, ImageRecord, Listing

# where a row stands in the file, and the values of the wanted columns or why they cannot be read
_Row = tuple[str, Sequence[object] | str]


def list_manifest(file: Path, path_column: str, label_column: str, split_column: str, split: str | None) -> Listing:
    """List the images that a manifest names; see ``list_dataset``.

    Labels are taken exactly as written: "001", "NA" and " x" are labels. Numbers in Parquet and JSONL become their
    decimal text, whole ones without a fraction. Rows without a path or a label, of missing files, and repeated rows
    go to the failures; of two rows that contradict each other the first is kept.

    Raises:
        DatasetError: the file cannot be read as what its ending says, or the columns or the split are not there.
    """
    wanted = [path_column, label_column] if split is None else [path_column, label_column, split_column]
    root = file.parent.resolve()
    images: dict[str, ImageRecord] = {}
    failures: list[Failure] = []
    splits: Counter[str] = Counter()
    try:
        for where, values in _READERS[file.suffix.lower()](file, wanted):
            if isinstance(values, str):
                failures.append(Failure(where, "list", values))
                continue
            if split is not None:
                of_row = _text(values[2]) or ""
                splits[of_row] += 1
                if of_row != split:
                    continue
            _add(where, _text(values[0]), _text(values[1]), root, images, failures)
    except PermissionError:
        raise DatasetError(f"{shown(file)} may not be read: no permission.") from None
    except (OSError, UnicodeError, csv.Error) as error:
        raise DatasetError(f"{shown(file)} cannot be read as a manifest: {_cause(error)}.") from None
    if split is not None and split not in splits:
        raise DatasetError(
            f"{shown(file)} has no split {shown(split)}; column {shown(split_column)} has "
            f"{shown_all(sorted(splits))}.{did_you_mean(split, splits)}"
        )
    return Listing(str(root), tuple(sorted(images.values(), key=lambda image: image.path)), tuple(failures))


def _add(
    where: str,
    path: str | None,
    label: str | None,
    root: Path,
    images: dict[str, ImageRecord],
    failures: list[Failure],
) -> None:
    def fail(reason: str) -> None:
        failures.append(Failure(as_text(path or where), "list", reason))

    if not path:
        return fail("the row has no path")
    if not label:
        return fail("the row has no label")
    if not is_text(path) or not is_text(label):
        return fail("the row is not valid UTF-8")
    path = _relative(path, root)
    if path in images:
        kept = images[path].label
        return fail("duplicate row" if kept == label else f"listed as {shown(kept)} (kept) and as {shown(label)}")
    try:
        status = os.stat(os.path.join(root, path))
    except FileNotFoundError:
        return fail("the file does not exist")
    except (OSError, ValueError) as error:
        return fail(f"cannot be read: {_cause(error)}")
    if not stat.S_ISREG(status.st_mode):
        return fail("a folder, not a file" if stat.S_ISDIR(status.st_mode) else "not a regular file")
    images[path] = ImageRecord(path, label, status.st_size, status.st_mtime_ns)


def _relative(path: str, root: Path) -> str:
    """One spelling per file: relative to the root where it lies below, else absolute."""
    below = os.path.join(root, "")
    whole = os.path.normpath(os.path.join(below, path))
    return whole.removeprefix(below).replace(os.sep, "/")


def _text(value: object) -> str | None:
    """The exact text of a cell; None where it is missing, blank, or neither text nor number."""
    if value is None or isinstance(value, (dict, list)) or value != value:
        return None
    if isinstance(value, bytes):
        value = value.decode("utf-8", "surrogateescape")
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # a table writes whole numbers as floats once one of its cells is missing
    text = str(value)
    return text if text.strip() else None


def _cause(error: Exception) -> str:
    return " ".join(str(getattr(error, "strerror", None) or error).split())[:200]


def _check_columns(file: Path, columns: Sequence[str], wanted: Sequence[str]) -> None:
    for name in wanted:
        if name not in columns:
            there = f"its columns are {shown_all(columns)}" if columns else "it is empty"
            raise DatasetError(f"{shown(file)} has no column {shown(name)}; {there}.{did_you_mean(name, columns)}")
        if list(columns).count(name) > 1:
            raise DatasetError(f"{shown(file)} has several columns {shown(name)}: rename all but one.")


def _delimited_rows(file: Path, wanted: Sequence[str]) -> Iterator[_Row]:
    with file.open("rb") as stream:
        utf16 = stream.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)  # what Excel calls "Unicode text"
    # bytes in another encoding spoil their own row only
    with file.open(newline="", encoding="utf-16" if utf16 else "utf-8-sig", errors="surrogateescape") as text:
        first = text.readline()
        text.seek(0)
        # Excel writes semicolons where the comma is the decimal sign
        reader = csv.reader(text, delimiter=max(",;\t", key=first.count), strict=True)
        header = next(reader, [])
        _check_columns(file, header, wanted)
        positions = [header.index(name) for name in wanted]
        for fields in reader:
            where = f"{file.name} line {reader.line_num}"
            if len(fields) > len(header) and any(fields[len(header) :]):
                yield where, f"the row has {len(fields)} fields, the header {len(header)}: quote the comma in a field"
            elif fields:
                yield where, [fields[at] if at < len(fields) else None for at in positions]


def _parquet_rows(file: Path, wanted: Sequence[str]) -> Iterator[_Row]:
    import pyarrow  # decoding workers import this package and need no pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(file) as table:
            _check_columns(file, table.schema_arrow.names, wanted)
            number = 0
            for batch in table.iter_batches(columns=wanted):
                for values in zip(*(batch.column(name).to_pylist() for name in wanted), strict=True):
                    number += 1
                    yield f"{file.name} row {number}", values
    except pyarrow.ArrowException as error:
        raise DatasetError(f"{shown(file)} cannot be read as Parquet: {_cause(error)}.") from None


def _json_rows(file: Path, wanted: Sequence[str]) -> Iterator[_Row]:
    keys: dict[str, None] = {}
    rows: list[_Row] = []
    with file.open(encoding="utf-8-sig", errors="surrogateescape") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            where = f"{file.name} line {number}"
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                rows.append((where, "the line is not JSON"))
                continue
            if isinstance(row, dict):
                keys.update(dict.fromkeys(row))
                rows.append((where, [row.get(name) for name in wanted]))
            else:
                rows.append((where, "the line is not a JSON object"))
    _check_columns(file, list(keys), wanted)
    yield from rows


_READERS = {".csv": _delimited_rows, ".tsv": _delimited_rows, ".parquet": _parquet_rows, ".jsonl": _json_rows}
MANIFEST_SUFFIXES = frozenset(_READERS)
