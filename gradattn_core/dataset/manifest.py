"""Manifests: a CSV, TSV, Parquet or JSONL table with one row per image, and whether the images it names are there."""

from __future__ import annotations

import codecs
import csv
import io
import json
import os
import posixpath
import stat
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import IO

from gradattn_core.dataset import parquet, storage
from gradattn_core.dataset.address import (
    Member,
    file_name,
    is_plain_file,
    is_url,
    is_web,
    join,
    listed_path,
    member,
    parent,
)
from gradattn_core.dataset.archives import open_archive
from gradattn_core.dataset.decoding import read_address
from gradattn_core.dataset.secrets import remember
from gradattn_core.dataset.selection import PATH_COLUMN, DatasetSelection
from gradattn_core.dataset.storage import Stamp
from gradattn_core.dataset.text import (
    as_text,
    cause,
    cell_text,
    check_columns,
    did_you_mean,
    is_text,
    shown,
    shown_all,
)
from gradattn_core.errors import DatasetError, UnreadableImageError
from gradattn_core.records import Failure, ImageRecord, Listing

MANIFEST_SUFFIXES = frozenset({".csv", ".tsv", ".parquet", ".jsonl"})

# What Hugging Face calls the column of paths.
_OTHER_PATH_COLUMN = "file_name"
_ABSENT = "the file does not exist"
_THREADS = 16

# where a row stands in the file, and the values of the selected columns or why they cannot be read
_Row = tuple[str, Sequence[object] | str]


def list_manifest(file: str, root: str, selection: DatasetSelection) -> Listing:
    """List the images that a manifest names; see ``list_dataset``.

    Labels are taken exactly as written: "001", "NA" and " x" are labels. Numbers in Parquet and JSONL become their
    decimal text, whole ones without a fraction, and those of a ``ClassLabel`` their names. Rows without a path or a
    label, of missing files, and repeated rows go to the failures; of two rows that contradict each other the first is
    kept.

    Args:
        file: address of the manifest.
        root: address of the folder where relative paths start.

    Raises:
        DatasetError: the file cannot be read as what its ending says, or the columns or the split are not there.
    """
    splits: Counter[str] = Counter()
    image_rows = _ImageRows(root)
    try:
        for where, values in _rows(file, selection):
            if isinstance(values, str):
                image_rows.failures.append(Failure(where, "list", values))
                continue
            if selection.split is not None:
                of_row = cell_text(values[2]) or ""
                splits[of_row] += 1
                if of_row != selection.split:
                    continue
            image_rows.add(where, cell_text(values[0]), cell_text(values[1]))
    except PermissionError:
        raise DatasetError(f"{shown(file)} may not be read: no permission.") from None
    except (OSError, UnicodeError, UnreadableImageError, csv.Error) as error:
        raise DatasetError(f"{shown(file)} cannot be read as a manifest: {cause(error)}.") from None
    if selection.split is not None and selection.split not in splits:
        raise DatasetError(
            f"{shown(file)} has no split {shown(selection.split)}; column {shown(selection.split_column)} has "
            f"{shown_all(sorted(splits))}.{did_you_mean(selection.split, splits)}"
        )
    return image_rows.listing()


def describes(file: str, selection: DatasetSelection) -> bool:
    """Whether a table has the selected columns; False where it cannot be read."""
    try:
        next(_rows(file, selection), None)
    except (DatasetError, OSError, UnicodeError, UnreadableImageError, csv.Error):
        return False
    return True


def stamps(addresses: Iterable[str]) -> dict[str, Stamp | str]:
    """The stamp of each image, or why it cannot be read.

    Folders of an object store are listed, one call each; web servers are asked image by image; of a container only its
    index is read.
    """
    result: dict[str, Stamp | str] = {}
    folders: defaultdict[str, list[str]] = defaultdict(list)
    containers: defaultdict[tuple[str, str], list[tuple[str, Member]]] = defaultdict(list)
    web: list[str] = []
    for address in dict.fromkeys(addresses):
        inner = member(address)
        if inner is not None:
            containers[inner.kind, inner.outer].append((address, inner))
        elif not is_url(address):
            result[address] = _local_stamp(address)
        elif is_web(address):
            web.append(address)
        else:
            folders[parent(address)].append(address)
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="list") as pool:
        for group in pool.map(_folder_stamps, folders.items()):
            result |= group
        for group in pool.map(_container_stamps, containers.items()):
            result |= group
        return result | dict(zip(web, pool.map(_web_stamp, web), strict=True))


@dataclass
class _ImageRows:
    """The images that rows have named so far. Those beyond this machine are looked for together, at the end."""

    root: str
    images: dict[str, ImageRecord] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)

    def add(self, where: str, path: str | None, label: str | None) -> None:
        """The image of one row; ``where`` names a row that has no path."""

        def fail(reason: str) -> None:
            self.failures.append(Failure(as_text(path or where), "list", reason, as_text(label or "")))

        if not path:
            return fail("the row has no path")
        if not label:
            return fail("the row has no label")
        if not is_text(path) or not is_text(label):
            return fail("the row is not valid UTF-8")
        bare = path.removeprefix("file://")
        place = listed_path(self.root, remember(bare) if is_url(bare) else bare)
        if place is None:
            return fail("a place of this machine in a manifest from elsewhere, or one that leads out; it is not opened")
        path = place
        if path in self.images:
            first = self.images[path].label
            return fail("duplicate row" if first == label else f"listed as {shown(first)} (kept) and as {shown(label)}")
        stamp: Stamp | str = Stamp(0, 0)
        if is_plain_file(self.root, path):
            stamp = _local_stamp(os.path.join(self.root, path))
        if isinstance(stamp, str):
            return fail(stamp)
        self.images[path] = ImageRecord(path, label, *stamp)

    def listing(self) -> Listing:
        """With the stamp of every image that is not a file of this machine."""
        addresses = {path: join(self.root, path) for path in self.images if not is_plain_file(self.root, path)}
        stamp_of = stamps(addresses.values())
        for path, address in addresses.items():
            stamp, image = stamp_of[address], self.images[path]
            if isinstance(stamp, str):
                self.failures.append(Failure(path, "list", stamp, image.label))
                del self.images[path]
            else:
                self.images[path] = ImageRecord(path, image.label, *stamp)
        images = sorted(self.images.values(), key=lambda image: image.path)
        return Listing(self.root, tuple(images), tuple(self.failures))


def _rows(file: str, selection: DatasetSelection) -> Iterator[_Row]:
    """The rows of a table, read as its ending says."""
    suffix = posixpath.splitext(file_name(file))[1].lower()
    if suffix == ".parquet":
        return _parquet_rows(file, selection)
    return _json_rows(file, selection) if suffix == ".jsonl" else _delimited_rows(file, selection)


def _open(file: str) -> IO[bytes]:
    return io.BytesIO(read_address(file)) if is_url(file) else open(file, "rb")


def _columns(file: str, there: Sequence[str], selection: DatasetSelection) -> list[str]:
    """The columns to read: path, label and, where one is chosen, split."""
    path = selection.path_column
    if path == PATH_COLUMN and path not in there and _OTHER_PATH_COLUMN in there:
        path = _OTHER_PATH_COLUMN
    columns = [path, selection.label_column] + ([] if selection.split is None else [selection.split_column])
    check_columns(file, there, columns)
    return columns


def _delimited_rows(file: str, selection: DatasetSelection) -> Iterator[_Row]:
    with _open(file) as stream:
        utf16 = stream.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)  # what Excel calls "Unicode text"
        stream.seek(0)
        # bytes in another encoding spoil their own row only
        encoding = "utf-16" if utf16 else "utf-8-sig"
        lines = io.TextIOWrapper(stream, newline="", encoding=encoding, errors="surrogateescape")
        first = lines.readline()
        lines.seek(0)
        # Excel writes semicolons where the comma is the decimal sign
        reader = csv.reader(lines, delimiter=max(",;\t", key=first.count), strict=True)
        header = next(reader, [])
        positions = [header.index(name) for name in _columns(file, header, selection)]
        for fields in reader:
            where = f"{file_name(file)} line {reader.line_num}"
            if len(fields) > len(header) and any(fields[len(header) :]):
                yield where, f"the row has {len(fields)} fields, the header {len(header)}: quote the comma in a field"
            elif fields:
                yield where, [fields[at] if at < len(fields) else None for at in positions]


def _parquet_rows(file: str, selection: DatasetSelection) -> Iterator[_Row]:
    import pyarrow  # decoding workers import this package and need no pyarrow

    try:
        with parquet.open_table(file, fresh=True) as table:
            schema = table.schema_arrow
            columns = _columns(file, schema.names, selection)
            names = parquet.label_names(schema, selection.label_column)
            number = 0
            for batch in table.iter_batches(columns=columns):
                for values in zip(*(batch.column(name).to_pylist() for name in columns), strict=True):
                    number += 1
                    label = parquet.label_text(values[1], names)
                    yield f"{file_name(file)} row {number}", (values[0], label, *values[2:])
    except pyarrow.ArrowException as error:
        raise DatasetError(f"{shown(file)} cannot be read as Parquet: {cause(error)}.") from None


def _json_rows(file: str, selection: DatasetSelection) -> Iterator[_Row]:
    keys: dict[str, None] = {}
    names = (selection.path_column, _OTHER_PATH_COLUMN, selection.label_column, selection.split_column)
    rows: list[tuple[str, dict[str, object] | str]] = []
    with _open(file) as stream:
        for number, line in enumerate(io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape"), 1):
            if not line.strip():
                continue
            where = f"{file_name(file)} line {number}"
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                rows.append((where, "the line is not JSON"))
                continue
            if isinstance(row, dict):
                keys.update(dict.fromkeys(row))
                rows.append((where, {name: row[name] for name in names if name in row}))
            else:
                rows.append((where, "the line is not a JSON object"))
    columns = _columns(file, list(keys), selection)
    for where, row in rows:
        yield where, row if isinstance(row, str) else [row.get(name) for name in columns]


def _local_stamp(path: str) -> Stamp | str:
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return _ABSENT
    except (OSError, ValueError) as error:
        return f"cannot be read: {cause(error)}"
    if not stat.S_ISREG(status.st_mode):
        return "a folder, not a file" if stat.S_ISDIR(status.st_mode) else "not a regular file"
    return Stamp(status.st_size, status.st_mtime_ns)


def _web_stamp(url: str) -> Stamp | str:
    try:
        return storage.stamp(url)
    except OSError as error:
        return _problem(error)


def _folder_stamps(item: tuple[str, list[str]]) -> dict[str, Stamp | str]:
    folder, files = item
    try:
        there: dict[str, Stamp] = dict(storage.files_in(folder))
    except OSError as error:
        return dict.fromkeys(files, _problem(error))
    return {file: there.get(file_name(file), _ABSENT) for file in files}


def _container_stamps(item: tuple[tuple[str, str], list[tuple[str, Member]]]) -> dict[str, Stamp | str]:
    (kind, outer), members = item
    container = shown(posixpath.basename(outer))
    try:
        if kind == "parquet":
            return dict.fromkeys((address for address, _ in members), storage.open_file(outer, fresh=True).stamp)
        archive, _ = open_archive(kind, outer, fresh=True)
    except OSError as error:
        return dict.fromkeys((address for address, _ in members), f"{container}: {_problem(error)}")
    return {
        address: archive.stamps.get(inner.inside) or archive.problems.get(inner.inside, f"not in {container}")
        for address, inner in members
    }


def _problem(error: OSError) -> str:
    return _ABSENT if isinstance(error, FileNotFoundError) else f"cannot be read: {cause(error)}"
