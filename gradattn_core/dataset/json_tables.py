"""JSON as a table of pictures: an array of objects, their lines, a map of labels, columns, or COCO without boxes."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gradattn_core.dataset.address import file_name
from gradattn_core.dataset.coco import CocoFile, labels_of, read_coco
from gradattn_core.dataset.endings import is_image
from gradattn_core.dataset.table_text import Row, Table, as_lines, open_bytes
from gradattn_core.dataset.text import cause, shown
from gradattn_core.errors import DatasetError

COLUMNS_OF_LISTS = ("path", "label")
GLANCED_AT = 2**20
"""Bytes of a JSON that are read to see what it is about."""


def json_table(file: str) -> Table:
    with open_bytes(file) as stream, as_lines(stream) as lines:
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
            cells: dict[str, object] = dict(zip(COLUMNS_OF_LISTS, (path, list(labels)), strict=True))
            yield f"{file_name(file)} image {number}", [cells[name] for name in names]

    return Table(COLUMNS_OF_LISTS, read)


def _json_rows(file: str, content: str) -> list[tuple[str, dict[str, object] | str]]:
    """The objects of a JSON document that is a table, or of its lines."""
    name = file_name(file)
    whole, broken = None, ""
    try:
        whole = json.loads(content)
    except json.JSONDecodeError as error:
        broken = f"line {error.lineno} column {error.colno}: {error.msg}"
    except (ValueError, RecursionError) as error:
        broken = cause(error)
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
    if name.lower().removesuffix(".gz").endswith(".json") and rows and all(isinstance(row, str) for _, row in rows):
        raise DatasetError(f"{shown(file)} is broken JSON ({broken}).")
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
    """The rows of a document: an array, also one of pairs, ``{"data": [...]}``, ``{path: label}``, ``{label: [path,
    …]}``, or columns as pandas writes them."""
    if isinstance(whole, list):
        return [{"path": path, "label": label} for path, label in whole] if _pairs(whole) else whole
    if not isinstance(whole, dict):
        return None
    values = list(whole.values())
    if len(values) == 1 and _pairs(values[0]):
        return [{"path": path, "label": label} for path, label in values[0]]
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


def _pairs(value: object) -> bool:
    """Whether this is a list of pairs of a picture and its label."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(each, list) and len(each) == 2 and isinstance(each[0], str) for each in value)
    )


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


def first_objects(file: str, most: int) -> list[dict[str, object]]:
    """The first objects of a JSON's beginning that hold no others, flat: lines, an array, or an array in an object."""
    with open(file, "rb") as stream:
        is_packed = stream.read(2) == b"\x1f\x8b"
        stream.seek(0)
        with gzip.GzipFile(fileobj=stream) if is_packed else stream as plain:
            text = plain.read(GLANCED_AT).decode("utf-8-sig", "replace")
    found: list[dict[str, object]] = []
    decoder, at = json.JSONDecoder(), text.find("{")
    for _ in range(10 * most):
        if at < 0 or len(found) == most:
            break
        try:
            value, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            end = at + 1  # it ends behind what was read, or is broken: what is in it may be whole
        else:
            found.append(_flat(value))
        at = text.find("{", end)
    return found
