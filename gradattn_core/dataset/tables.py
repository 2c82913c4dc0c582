"""Tables with one row per image, in every form that they come in: their columns, and the cells of some of them.

CSV and TSV, Parquet, JSON as an array or an object a line, and lists of ``path label`` lines; all but Parquet may be
gzipped.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import posixpath
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import IO, Any

from gradattn_core.dataset import parquet
from gradattn_core.dataset.address import file_name, is_url
from gradattn_core.dataset.coco import CocoFile, labels_of, read_coco
from gradattn_core.dataset.decoding import MAX_FILE_BYTES, read_address
from gradattn_core.dataset.endings import is_image
from gradattn_core.dataset.text import cause, shown
from gradattn_core.errors import DatasetError, UnreadableImageError

_TEXT_FORMS = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".txt", ".lst")
MANIFEST_SUFFIXES = (".parquet", *_TEXT_FORMS, *(f"{form}.gz" for form in _TEXT_FORMS))
"""Endings of the files that can be read."""

_COLUMNS_OF_LISTS = ("path", "label")
_LINES_LOOKED_AT = 20
# A field of base64 or of a mask is long, and nobody may have asked for it.
csv.field_size_limit(2**27)

Row = tuple[str, Sequence[object] | str]
"""Where a row stands in the file, and the values of the chosen columns, or why they cannot be read."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table of pictures.

    Attributes:
        columns: their names in the order of the file; of nested ones ``data.image``.
        read: the rows, from the first, with the values of the columns that it is given.
        names: of a column, what its numbers stand for (a ``ClassLabel``); empty where they stand for themselves.
    """

    columns: tuple[str, ...]
    read: Callable[[Sequence[str]], Iterator[Row]]
    names: Callable[[str], Sequence[str]] = lambda column: ()


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
        if form in (".jsonl", ".ndjson", ".json"):
            return _json(file)
        return _list(file) if form in (".txt", ".lst") else _delimited(file)
    except PermissionError:
        raise DatasetError(f"{shown(file)} may not be read: no permission.") from None
    except (OSError, EOFError, zlib.error, UnicodeError, UnreadableImageError, csv.Error) as error:
        raise DatasetError(f"{shown(file)} cannot be read as a manifest: {cause(error)}.") from None


def _open(file: str) -> IO[bytes]:
    stream: IO[bytes] = io.BytesIO(read_address(file)) if is_url(file) else open(file, "rb")  # noqa: SIM115 - returned
    if not file_name(file).lower().endswith(".gz"):
        return stream
    with stream, gzip.GzipFile(fileobj=stream) as packed:
        content = packed.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise OSError(f"unpacks to more than {MAX_FILE_BYTES:,} bytes")
    return io.BytesIO(content)


def _text(stream: IO[bytes], newline: str | None = None) -> io.TextIOWrapper:
    utf16 = stream.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)  # what Excel calls "Unicode text"
    stream.seek(0)
    # Bytes in another encoding spoil their own row only.
    return io.TextIOWrapper(
        stream, newline=newline, encoding="utf-16" if utf16 else "utf-8-sig", errors="surrogateescape"
    )


def _delimited(file: str) -> Table:
    with _open(file) as stream, _text(stream, "") as lines:
        first = lines.readline()
        delimiter, before = delimiter_of(first), int(names_delimiter(first))
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


def delimiter_of(first: str) -> str:
    """What stands between the fields of a table, by its first line; Excel writes semicolons beside decimal commas."""
    return first.strip('"\r\n')[-1] if names_delimiter(first) else max(",;\t|", key=first.count)


def names_delimiter(first: str) -> bool:
    """Whether the first line is no header but ``sep=;``, by which Excel is told what stands between the fields."""
    return re.fullmatch(r'"?sep=[,;\t|]"?', first.rstrip("\r\n"), re.IGNORECASE) is not None


def shown_line(fields: Sequence[str]) -> str:
    """A line's fields as messages show them."""
    return shown(", ".join(fields), 60)


def _delimited_rows(
    file: str, delimiter: str, header: Sequence[str], names: Sequence[str], before: int
) -> Iterator[Row]:
    """The rows below the header, which has so many lines ``before`` it."""
    positions = [header.index(name) for name in names]
    with _open(file) as stream, _text(stream, "") as lines:
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

    The label comes first where that leaves names of pictures behind it, and the other order does not.
    """

    def lines() -> Iterator[tuple[int, str]]:
        with _open(file) as stream, _text(stream) as text:
            for number, line in enumerate(text, 1):
                if line.strip() and not line.startswith("#"):
                    yield number, line.rstrip("\r\n")

    some = [line for _, line in islice(lines(), _LINES_LOOKED_AT)]
    label_first = bool(some) and all(is_image(_two(line, True)[1] or "") for line in some)
    label_first = label_first and not any(is_image(_two(line, False)[0] or "") for line in some)

    def read(names: Sequence[str]) -> Iterator[Row]:
        for number, line in lines():
            first, second = _two(line, label_first)
            cells = dict(zip(_COLUMNS_OF_LISTS, (second, first) if label_first else (first, second), strict=True))
            yield f"{file_name(file)} line {number}", [cells[name] for name in names]

    return Table(_COLUMNS_OF_LISTS, read)


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


def _json(file: str) -> Table:
    with _open(file) as stream, _text(stream) as lines:
        content = lines.read()
    published = read_coco(content.encode("utf-8", "surrogateescape"))
    if published is not None:
        return _labels_of_pictures(file, published)
    rows = _json_rows(file, content)
    flat = [(where, row if isinstance(row, str) else _flat(row)) for where, row in rows]
    columns = dict.fromkeys(name for _, row in flat if not isinstance(row, str) for name in row)

    def read(names: Sequence[str]) -> Iterator[Row]:
        for where, row in flat:
            yield where, row if isinstance(row, str) else [row.get(name) for name in names]

    return Table(tuple(columns), read)


def _labels_of_pictures(file: str, content: CocoFile) -> Table:
    """A file of COCO's with labels of pictures and no boxes; pictures without a label have none."""

    def read(names: Sequence[str]) -> Iterator[Row]:
        for number, (path, labels) in enumerate(labels_of(content), 1):
            cells: dict[str, object] = dict(zip(_COLUMNS_OF_LISTS, (path, list(labels)), strict=True))
            yield f"{file_name(file)} image {number}", [cells[name] for name in names]

    return Table(_COLUMNS_OF_LISTS, read)


def _json_rows(file: str, content: str) -> list[tuple[str, dict[str, object] | str]]:
    """The objects of a JSON document that is a table, or of its lines."""
    name = file_name(file)
    try:
        whole = json.loads(content)
    except (ValueError, RecursionError):
        whole = None
    # One line alone is a JSON document, too.
    is_document = name.lower().removesuffix(".gz").endswith(".json") and whole is not None
    if isinstance(whole, list) or is_document:
        objects = _objects(whole)
        if objects is None:
            raise DatasetError(
                f"{shown(file)} is JSON and no table: write an array of objects, one for each picture, such as "
                '[{"path": "1.jpg", "label": "cat"}].'
            )
        entries = ((row if isinstance(row, dict) else "it is not a JSON object") for row in objects)
        return _some_objects(file, [(f"{name} entry {number}", row) for number, row in enumerate(entries, 1)])
    rows: list[tuple[str, dict[str, object] | str]] = []
    for number, line in enumerate(content.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            rows.append((f"{name} line {number}", "the line is not JSON"))
        else:
            rows.append((f"{name} line {number}", row if isinstance(row, dict) else "the line is not a JSON object"))
    return _some_objects(file, rows)


def _some_objects(
    file: str, rows: list[tuple[str, dict[str, object] | str]]
) -> list[tuple[str, dict[str, object] | str]]:
    """The rows, refused where none of them is an object."""
    if rows and all(isinstance(row, str) for _, row in rows):
        where, problem = rows[0]
        raise DatasetError(
            f"{shown(file)} holds no JSON object ({where}: {problem}): write one for each picture, such as "
            '{"path": "1.jpg", "label": "cat"}.'
        )
    return rows


def _objects(whole: Any) -> list[Any] | None:
    """The rows of a document: an array, ``{"data": [...]}``, ``{path: label}``, ``{label: [path, …]}``, or columns as
    pandas writes them."""
    if isinstance(whole, list):
        return whole
    if not isinstance(whole, dict):
        return None
    values = list(whole.values())
    lists = [value for value in values if isinstance(value, list) and all(isinstance(each, dict) for each in value)]
    if len(lists) == 1 and lists[0]:
        return lists[0]
    if values and all(isinstance(value, (str, int)) for value in values):
        return [{"path": path, "label": label} for path, label in whole.items()]
    if len(values) > 1 and all(_paths(value) for value in values):
        return [{"path": path, "label": label} for label, paths in whole.items() for path in paths]
    if values and all(isinstance(value, list) for value in values) and len({len(value) for value in values}) == 1:
        return [dict(zip(whole, cells, strict=True)) for cells in zip(*values, strict=True)]
    if not values or not all(isinstance(value, dict) for value in values):
        return None
    if any(is_image(name) for name in whole):  # rows by their path
        return [{"path": path, **row} for path, row in whole.items()]
    keys = dict.fromkeys(key for column in values for key in column)  # columns by the number of the row
    return [{name: column.get(key) for name, column in whole.items()} for key in keys]


def _paths(value: object) -> bool:
    """Whether this is a list of names of pictures."""
    return isinstance(value, list) and all(isinstance(each, str) and is_image(each) for each in value)


def _flat(row: Mapping[str, object]) -> dict[str, object]:
    """Objects within the row as columns ``outer.inner``; a list of one object counts as that object."""
    flat: dict[str, object] = {}
    waiting: list[tuple[str, object]] = [(str(name), value) for name, value in reversed(list(row.items()))]
    while waiting:
        name, value = waiting.pop()
        if isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict):
            value = value[0]
        if isinstance(value, dict):
            waiting += [(f"{name}.{inner}", each) for inner, each in reversed(list(value.items()))]
        else:
            flat[name] = value
    return flat
