"""Parquet tables that hold the pictures themselves, as Hugging Face writes them: rows as records, a row's picture."""

from __future__ import annotations

import json
import os
import threading
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import accumulate
from typing import Any, NamedTuple

from cachetools import LRUCache

from gradattn_core.dataset.address import file_name, is_url, member_address, relative
from gradattn_core.dataset.selection import PATH_COLUMN, DatasetSelection
from gradattn_core.dataset.storage import Stamp, lock_of, open_file
from gradattn_core.dataset.text import cause, cell_text, check_columns, is_text, shown, shown_all
from gradattn_core.errors import DatasetError, UnreadableImageError
from gradattn_core.records import Failure, ImageRecord, Listing

# Row groups that stay in memory, so that a table read row by row is unpacked once.
_CACHE_BYTES = 2**29
_MAX_GROUP_BYTES = 2**32
_USUAL_NAMES = ("image", "img", "picture")
_THREADS = 8


def image_column(schema: Any, path_column: str) -> str | None:
    """The column of a Parquet schema that holds pictures: binary, or a struct with binary ``bytes``.

    None where ``path_column`` is there and holds paths, or no column holds pictures.

    Raises:
        DatasetError: there are several and none of a usual name.
    """
    holding = [field.name for field in schema if _holds_bytes(field.type)]
    if path_column in schema.names or path_column != PATH_COLUMN:
        return path_column if path_column in holding else None
    usual = [name for name in _USUAL_NAMES if name in holding] or holding
    if len(usual) > 1:
        raise DatasetError(f"Several columns hold pictures, {shown_all(usual)}: choose one with --path-column.")
    return usual[0] if usual else None


def holds_pictures(table: Any, column: str) -> bool:
    """Whether a row of a ``ParquetFile`` has bytes in its column of pictures; Hugging Face may write paths alone."""
    if not table.metadata.num_rows:
        return True
    leaves = [f"{column}.bytes", column]
    for group in range(table.metadata.num_row_groups):
        part = table.metadata.row_group(group)
        for leaf in (part.column(index) for index in range(part.num_columns)):
            statistics = leaf.statistics if leaf.path_in_schema in leaves else None
            if leaf.path_in_schema in leaves and (
                statistics is None or not statistics.has_null_count or statistics.null_count < part.num_rows
            ):
                return True
    return False


def open_table(file: str, *, fresh: bool = False) -> Any:
    """The ``pyarrow.parquet.ParquetFile`` at an address.

    Raises:
        DatasetError: it is not Parquet.
        OSError: it cannot be read.
    """
    import pyarrow  # decoding workers import this package and need no pyarrow
    import pyarrow.parquet

    source = open_file(file, fresh=fresh)
    try:
        return pyarrow.parquet.ParquetFile(source.stream() if is_url(file) else file)
    except pyarrow.ArrowException as error:
        raise DatasetError(f"{shown(file)} cannot be read as Parquet: {cause(error)}.") from None


def label_names(schema: Any, column: str) -> list[str]:
    """The names that the numbers of a ``ClassLabel`` stand for; empty where the column is none."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        names = features[column]["names"] if features[column]["_type"] == "ClassLabel" else []
    except (KeyError, TypeError, ValueError, RecursionError):
        return []
    return names if isinstance(names, list) and all(isinstance(name, str) for name in names) else []


def label_text(value: object, names: Sequence[str]) -> str | None:
    """The label of a cell, by its name where the numbers have names; None where there is none."""
    if names and isinstance(value, int):
        return names[value] if 0 <= value < len(names) else None
    return cell_text(value)


def list_tables(files: Sequence[str], folder: str, selection: DatasetSelection) -> Listing:
    """List the rows of Parquet files below a folder whose pictures are in the files; see ``list_dataset``.

    No picture is read. A row's path is ``file.parquet#000017``, counted from 0 in its file.

    Raises:
        DatasetError: a file is not Parquet, or lacks a column, or the split is not there.
        OSError: a file cannot be read.
    """
    with open_table(files[0]) as first:
        column = image_column(first.schema_arrow, selection.path_column)
        if column is None:
            check_columns(files[0], first.schema_arrow.names, [selection.path_column])
            raise DatasetError(
                f"Column {shown(selection.path_column)} of {shown(files[0])} holds no pictures: "
                "pass one table of paths, or choose the column with --path-column."
            )
    images: list[ImageRecord] = []
    failures: list[Failure] = []
    splits: set[str] = set()
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="list") as pool:
        for rows in pool.map(lambda file: list(_rows(file, folder, column, selection)), files):
            for record, split in rows:
                splits.add(split)
                if selection.split is not None and split != selection.split:
                    continue
                if isinstance(record, ImageRecord):
                    images.append(record)
                else:
                    failures.append(record)
    if selection.split is not None and selection.split not in splits:
        raise DatasetError(
            f"{shown(folder)} has no split {shown(selection.split)}; column {shown(selection.split_column)} has "
            f"{shown_all(sorted(splits))}."
        )
    images.sort(key=lambda image: image.path)
    return Listing(member_address("parquet", column, folder), tuple(images), tuple(failures))


def read_cell(column: str, row: int, file: str) -> bytes:
    """The picture of one row of a Parquet file.

    Raises:
        OSError: the file cannot be read.
        UnreadableImageError: it has no such row or column, or the row holds no picture.
    """
    name = shown(f"{file_name(file)}#{row}")
    table = _table(file, open_file(file).stamp)
    if not 0 <= row < table.starts[-1]:
        raise UnreadableImageError(f"{name} is not there: the table has {table.starts[-1]:,} rows.")
    group = bisect_right(table.starts, row) - 1
    data = _group(table, file, column, group)[row - table.starts[group]].as_py()
    if data is None:
        raise UnreadableImageError(f"{name} holds no picture, only perhaps the name of one.")
    return bytes(data)


def _holds_bytes(kind: Any) -> bool:
    import pyarrow

    if pyarrow.types.is_struct(kind):
        return any(field.name == "bytes" and _holds_bytes(field.type) for field in kind)
    return bool(pyarrow.types.is_binary(kind) or pyarrow.types.is_large_binary(kind))


def _rows(
    file: str, folder: str, column: str, selection: DatasetSelection
) -> Iterator[tuple[ImageRecord | Failure, str]]:
    """Every row with its split, "" where none is asked for."""
    columns = [selection.label_column] + ([] if selection.split is None else [selection.split_column])
    stamp = open_file(file, fresh=True).stamp
    name = relative(file, folder)
    with open_table(file) as table:
        schema = table.schema_arrow
        check_columns(file, schema.names, [column, *columns])
        names = label_names(schema, selection.label_column)
        width = len(str(max(table.metadata.num_rows - 1, 0)))
        number = 0
        for batch in table.iter_batches(columns=columns):
            labels = batch.column(selection.label_column).to_pylist()
            splits = batch.column(columns[1]).to_pylist() if len(columns) > 1 else [None] * len(labels)
            for value, split in zip(labels, splits, strict=True):
                path = f"{name}#{number:0{width}d}"
                yield _record(path, label_text(value, names), stamp), cell_text(split) or ""
                number += 1


def _record(path: str, label: str | None, stamp: Stamp) -> ImageRecord | Failure:
    if not label:
        return Failure(path, "list", "the row has no label")
    return ImageRecord(path, label, *stamp) if is_text(label) else Failure(path, "list", "the row is not valid UTF-8")


class _Table(NamedTuple):
    """A file's footer, its stamp, and the first row of each row group and behind the last."""

    metadata: Any
    stamp: Stamp
    starts: tuple[int, ...]


@lru_cache(maxsize=4096)
def _table(file: str, stamp: Stamp) -> _Table:
    try:
        with open_table(file) as opened:
            metadata = opened.metadata
    except DatasetError as error:
        raise UnreadableImageError(str(error)) from None
    rows = [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)]
    return _Table(metadata, stamp, (0, *accumulate(rows)))


def _group(table: _Table, file: str, column: str, group: int) -> Any:
    """The pictures of one row group, unpacked once even if many threads ask for it."""
    lock, groups = _groups(os.getpid())
    key = file, table.stamp, column, group
    with lock_of("group", file, group):
        with lock:
            values = groups.get(key)
        if values is None:
            values = _read_group(table, file, column, group)
            with lock:
                groups[key] = values
        return values


@lru_cache(maxsize=1)
def _groups(process: int) -> tuple[threading.Lock, LRUCache[object, Any]]:
    """The row groups asked for last, and the lock that guards them; one larger than the cache is kept alone in it."""
    return threading.Lock(), LRUCache(_CACHE_BYTES, getsizeof=lambda values: min(values.nbytes, _CACHE_BYTES))


def _read_group(table: _Table, file: str, column: str, group: int) -> Any:
    import pyarrow
    import pyarrow.compute
    import pyarrow.parquet

    part = table.metadata.row_group(group)
    leaves = [part.column(index) for index in range(part.num_columns)]
    paths = {leaf.path_in_schema: leaf for leaf in leaves}
    leaf = next((path for path in (column, f"{column}.bytes") if path in paths), None)
    where = shown(file_name(file))
    if leaf is None:
        raise UnreadableImageError(f"{where} has no pictures in column {shown(column)}.")
    if paths[leaf].total_uncompressed_size > _MAX_GROUP_BYTES:
        raise UnreadableImageError(
            f"{where}: a row group has {paths[leaf].total_uncompressed_size:,} bytes, more than {_MAX_GROUP_BYTES:,}; "
            "write it with fewer rows per group."
        )
    try:
        source = open_file(file).stream() if is_url(file) else file
        with pyarrow.parquet.ParquetFile(source, metadata=table.metadata) as opened:
            values = opened.read_row_group(group, columns=[leaf], use_threads=False).column(column)
    except (pyarrow.ArrowException, EOFError) as error:
        raise UnreadableImageError(f"{where} is damaged: {cause(error)}.") from None
    return pyarrow.compute.struct_field(values, "bytes") if leaf != column else values
