"""Tables with one row per image, in every form that they come in: their columns, and the cells of some of them.

CSV and TSV, Parquet, JSON as an array or an object a line, and lists of ``path label`` lines; all but Parquet may be
gzipped.
"""

from __future__ import annotations

import csv
import os
import posixpath
import re
import zlib
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from gradattn_core.dataset import parquet
from gradattn_core.dataset.address import file_name, is_url
from gradattn_core.dataset.endings import is_image
from gradattn_core.dataset.json_tables import COLUMNS_OF_LISTS, GLANCED_AT, first_objects, json_table
from gradattn_core.dataset.table_text import Row, Table, as_lines, open_bytes
from gradattn_core.dataset.text import cause, shown
from gradattn_core.errors import DatasetError, UnreadableImageError

_JSON_FORMS = (".jsonl", ".ndjson", ".json")
_TEXT_FORMS = (".csv", ".tsv", *_JSON_FORMS, ".txt", ".lst")
MANIFEST_SUFFIXES = (".parquet", *_TEXT_FORMS, *(f"{form}.gz" for form in _TEXT_FORMS))
"""Endings of the files that can be read."""

_NUMBERED = re.compile(r"\d+\t[^\t]+\t[^\t]*[^\d.\t][^\t]*")
_LINES_LOOKED_AT = 20
LINES_BEFORE = 50
"""So many lines are looked at for the one that names the columns."""


def open_table(file: str) -> Table:
    """The table at an address, read as its ending says.

    Raises:
        DatasetError: it cannot be read as what its ending says; the message names the line where there is one.
    """
    name = file_name(file).lower().removesuffix(".gz")
    form = posixpath.splitext(name)[1]
    try:
        if form == ".parquet":
            return _parquet(file)
        if form in _JSON_FORMS:
            return json_table(file)
        return _list(file) if form in (".txt", ".lst") else _delimited(file)
    except PermissionError:
        raise DatasetError(f"{shown(file)} may not be read: no permission.") from None
    except (OSError, EOFError, zlib.error, UnicodeError, UnreadableImageError, csv.Error) as error:
        raise DatasetError(f"{shown(file)} cannot be read as a manifest: {cause(error)}.") from None


def glance(file: str, most: int) -> tuple[Sequence[str], list[Sequence[object]]]:
    """The columns of a table and its first rows; of a large JSON no more is read than its beginning.

    Args:
        most: so many rows.

    Raises:
        DatasetError: as :func:`open_table`.
    """
    is_json = file_name(file).lower().removesuffix(".gz").endswith(_JSON_FORMS)
    if is_json and not is_url(file) and os.path.getsize(file) > GLANCED_AT:
        objects = first_objects(file, most)
        columns = tuple(dict.fromkeys(name for row in objects for name in row))
        return columns, [[row.get(name) for name in columns] for row in objects]
    table = open_table(file)
    names = [name for name in dict.fromkeys(table.columns) if table.columns.count(name) == 1]
    return table.columns, [row for _, row in islice(table.read(names), most) if not isinstance(row, str)]


def _delimited(file: str) -> Table:
    with open_bytes(file) as stream, as_lines(stream, "") as lines:
        head = list(islice(lines, LINES_BEFORE))
        before, delimiter = layout(head)
        lines.seek(0)
        reader = csv.reader(islice(lines, before, None), delimiter=delimiter, strict=True)
        try:
            header = tuple(next(reader, ()))
        except csv.Error as error:
            named = f"{shown(file)} line {1 + before}, its column names,"
            raise DatasetError(f"{named} cannot be read: {cause(error)}.") from None
    if any(is_image(name) for name in header):
        raise DatasetError(
            f"{shown(file)} begins with a picture, {shown_line(header)}: its first line must name the columns, such as "
            f"path{delimiter}label."
        )
    return Table(header, lambda names: _delimited_rows(file, delimiter, header, names, before))


def layout(head: Sequence[str]) -> tuple[int, str]:
    """How many lines stand before the one that names the columns, and what stands between the fields of a table.

    Before it may be empty lines, comments, and ``sep=;``, by which Excel is told what stands between the fields. Excel
    writes semicolons beside decimal commas.

    Args:
        head: its first ``LINES_BEFORE`` lines.
    """
    named = ""
    for number, line in enumerate(head):
        is_comment = line.startswith("#") and (line.startswith("# ") or not any(sign in line for sign in ",;\t|"))
        if sign := re.fullmatch(r'"?sep=([,;\t|])"?', line.rstrip("\r\n"), re.IGNORECASE):
            named = sign[1]
        elif line.strip() and not is_comment:
            return number, named or max(",;\t|", key=line.count)
    return 0, ","


def shown_line(fields: Sequence[str]) -> str:
    """A line's fields as messages show them."""
    return shown(", ".join(fields), 60)


def _delimited_rows(
    file: str, delimiter: str, header: Sequence[str], names: Sequence[str], before: int
) -> Iterator[Row]:
    """The rows below the header, which has so many lines ``before`` it."""
    positions = [header.index(name) for name in names]
    with open_bytes(file) as stream, as_lines(stream, "") as lines:
        reader = csv.reader(islice(lines, before, None), delimiter=delimiter, strict=True)
        next(reader, None)
        while True:
            begins = before + reader.line_num + 1
            where = f"{file_name(file)} line {begins}"
            try:
                fields = next(reader, None)
            except csv.Error as error:
                if "unexpected end of data" in str(error):
                    raise DatasetError(
                        f"{shown(file)} line {begins}: a quote is opened that nothing closes, so the rest of the file "
                        'would be one field; close it, or write "" for a quote within a field.'
                    ) from None
                yield where, f"the line cannot be read: {cause(error)}"
                continue
            if fields is None:
                return
            where = f"{file_name(file)} line {before + reader.line_num}"
            if len(fields) > len(header) and any(fields[len(header) :]):
                yield where, f"the row has {len(fields)} fields, the header {len(header)}: quote the comma in a field"
            elif fields:
                yield where, [fields[at] if at < len(fields) else None for at in positions]


def _list(file: str) -> Table:
    """Lines of a path and a label, with a tab, a comma or blanks between them, as many benchmarks are published.

    The label comes first where that leaves names of pictures behind it, and the other order does not. MXNet's lists
    have a number of the picture before both.
    """

    def every() -> Iterator[tuple[int, str]]:
        with open_bytes(file) as stream, as_lines(stream) as text:
            for number, line in enumerate(text, 1):
                if line.strip() and not line.startswith("#"):
                    yield number, line.rstrip("\r\n")

    is_numbered = all(_NUMBERED.fullmatch(line) for _, line in islice(every(), _LINES_LOOKED_AT))

    def lines() -> Iterator[tuple[int, str]]:
        return ((number, line.split("\t", 1)[1] if is_numbered else line) for number, line in every())

    some = [line for _, line in islice(lines(), _LINES_LOOKED_AT)]
    label_first = bool(some) and all(is_image(_two(line, True)[1] or "") for line in some)
    label_first = label_first and not any(is_image(_two(line, False)[0] or "") for line in some)

    def read(names: Sequence[str]) -> Iterator[Row]:
        for number, line in lines():
            first, second = _two(line, label_first)
            cells = dict(zip(COLUMNS_OF_LISTS, (second, first) if label_first else (first, second), strict=True))
            yield f"{file_name(file)} line {number}", [cells[name] for name in names]

    return Table(COLUMNS_OF_LISTS, read)


def _two(line: str, label_first: bool) -> tuple[str, str | None]:
    """The two cells of a line of a list; a path may have blanks, a label has none."""
    sign = next((sign for sign in "\t," if sign in line), None)
    cells = [cell.strip() for cell in (line.split(sign, 1) if label_first else line.rsplit(sign, 1))]
    return cells[0], cells[1] if len(cells) > 1 else None


def _parquet(file: str) -> Table:
    import pyarrow  # decoding workers import this package and need no pyarrow
    import pyarrow.types

    with parquet.open_table(file, fresh=True) as table:
        schema = table.schema_arrow
    columns = [field.name for field in schema]
    for field in schema:
        if pyarrow.types.is_struct(field.type):
            columns += [f"{field.name}.{inner.name}" for inner in field.type]

    def read(names: Sequence[str]) -> Iterator[Row]:
        number = 0
        try:
            with parquet.open_table(file) as table:
                for batch in table.iter_batches(columns=list(names)):
                    for values in zip(*(_cells(batch, name) for name in names), strict=True):
                        number += 1
                        yield f"{file_name(file)} row {number}", values
        except pyarrow.ArrowException as error:
            raise DatasetError(f"{shown(file)} cannot be read as Parquet: {cause(error)}.") from None

    return Table(tuple(columns), read, lambda column: parquet.label_names(schema, column))


def _cells(batch: Any, name: str) -> list[object]:
    if name in batch.schema.names:
        return list(batch.column(name).to_pylist())
    outer, _, inner = name.partition(".")
    return [None if cell is None else cell.get(inner) for cell in batch.column(outer).to_pylist()]
