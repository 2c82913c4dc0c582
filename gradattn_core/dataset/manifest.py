"""Datasets that a table describes: CSV, TSV, Parquet or JSONL with one row per image."""

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

from gradattn_core.dataset import address, parquet, storage
from gradattn_core.dataset.address import Member, is_url, is_web, member, name, parent
from gradattn_core.dataset.archives import open_archive
from gradattn_core.dataset.decoding import read_address
from gradattn_core.dataset.secrets import remember
from gradattn_core.dataset.selection import PATH_COLUMN, Wanted
from gradattn_core.dataset.storage import State, blob
from gradattn_core.dataset.text import as_text, cause, check_columns, did_you_mean, is_text, shown, shown_all, text
from gradattn_core.errors import DatasetError, UnreadableImageError
from gradattn_core.records import Failure, ImageRecord, Listing

_AT_ONCE = 16
_ABSENT = "the file does not exist"


def states(addresses: Iterable[str]) -> dict[str, State | str]:
    """The state of each image, or why it cannot be read.

    Folders of an object store are listed, one call each; web servers are asked image by image; of a container only its
    index is read.
    """
    distinct = list(dict.fromkeys(addresses))
    found: dict[str, State | str] = {}
    folders: defaultdict[str, list[str]] = defaultdict(list)
    containers: defaultdict[tuple[str, str], list[tuple[str, Member]]] = defaultdict(list)
    web: list[str] = []
    for each in distinct:
        inner = member(each)
        if inner is not None:
            containers[inner.kind, inner.outer].append((each, inner))
        elif not is_url(each):
            found[each] = local_state(each)
        elif is_web(each):
            web.append(each)
        else:
            folders[parent(each)].append(each)
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="list") as pool:
        for group in pool.map(_of_folder, folders.items()):
            found |= group
        for group in pool.map(_of_container, containers.items()):
            found |= group
        return found | dict(zip(web, pool.map(_of_web, web), strict=True))


def local_state(path: str) -> State | str:
    """The state of a file of this machine."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return _ABSENT
    except (OSError, ValueError) as error:
        return f"cannot be read: {cause(error)}"
    if not stat.S_ISREG(status.st_mode):
        return "a folder, not a file" if stat.S_ISDIR(status.st_mode) else "not a regular file"
    return State(status.st_size, status.st_mtime_ns)


def _of_web(url: str) -> State | str:
    try:
        return storage.state(url)
    except OSError as error:
        return _reason(error)


def _of_folder(item: tuple[str, list[str]]) -> dict[str, State | str]:
    folder, files = item
    try:
        there: dict[str, State] = dict(storage.children(folder))
    except OSError as error:
        return dict.fromkeys(files, _reason(error))
    return {file: there.get(name(file), _ABSENT) for file in files}


def _of_container(item: tuple[tuple[str, str], list[tuple[str, Member]]]) -> dict[str, State | str]:
    (kind, outer), members = item
    try:
        if kind == "parquet":
            state = blob(outer, fresh=True).state
            return {each: state for each, _ in members}
        archive, _ = open_archive(kind, outer, fresh=True)
    except OSError as error:
        return dict.fromkeys((each for each, _ in members), f"{shown(posixpath.basename(outer))}: {_reason(error)}")
    missing = f"not in {shown(posixpath.basename(outer))}"
    return {
        each: archive.states.get(inner.inside) or archive.problems.get(inner.inside, missing) for each, inner in members
    }


def _reason(error: OSError) -> str:
    return _ABSENT if isinstance(error, FileNotFoundError) else f"cannot be read: {cause(error)}"


# where a row stands in the file, and the values of the wanted columns or why they cannot be read
_Row = tuple[str, Sequence[object] | str]
# What Hugging Face calls the column of paths.
_OTHER_PATH_COLUMN = "file_name"


def list_manifest(file: str, root: str, wanted: Wanted) -> Listing:
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
    named = _Named(root)
    try:
        for where, values in _READERS[_suffix(file)](file, wanted):
            if isinstance(values, str):
                named.failures.append(Failure(where, "list", values))
                continue
            if wanted.split is not None:
                of_row = text(values[2]) or ""
                splits[of_row] += 1
                if of_row != wanted.split:
                    continue
            named.add(where, text(values[0]), text(values[1]))
    except PermissionError:
        raise DatasetError(f"{shown(file)} may not be read: no permission.") from None
    except (OSError, UnicodeError, UnreadableImageError, csv.Error) as error:
        raise DatasetError(f"{shown(file)} cannot be read as a manifest: {cause(error)}.") from None
    if wanted.split is not None and wanted.split not in splits:
        raise DatasetError(
            f"{shown(file)} has no split {shown(wanted.split)}; column {shown(wanted.split_column)} has "
            f"{shown_all(sorted(splits))}.{did_you_mean(wanted.split, splits)}"
        )
    return named.listing()


def describes(file: str, wanted: Wanted) -> bool:
    """Whether a table has the wanted columns; False where it cannot be read."""
    try:
        next(_READERS[_suffix(file)](file, wanted), None)
    except (DatasetError, OSError, UnicodeError, UnreadableImageError, csv.Error):
        return False
    return True


@dataclass
class _Named:
    """The images that rows have named so far. Those beyond this machine are looked for together, at the end."""

    root: str
    images: dict[str, ImageRecord] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)

    def add(self, where: str, path: str | None, label: str | None) -> None:
        def fail(reason: str) -> None:
            self.failures.append(Failure(as_text(path or where), "list", reason))

        if not path:
            return fail("the row has no path")
        if not label:
            return fail("the row has no label")
        if not is_text(path) or not is_text(label):
            return fail("the row is not valid UTF-8")
        found = _placed(path, self.root)
        if found is None:
            return fail("a place of this machine in a manifest from elsewhere, or one that leads out; it is not opened")
        path = found
        if path in self.images:
            kept = self.images[path].label
            return fail("duplicate row" if kept == label else f"listed as {shown(kept)} (kept) and as {shown(label)}")
        state: State | str = State(0, 0)
        if address.is_plain_file(self.root, path):
            state = local_state(os.path.join(self.root, path))
        if isinstance(state, str):
            return fail(state)
        self.images[path] = ImageRecord(path, label, *state)

    def listing(self) -> Listing:
        """With the state of every image that is not a file of this machine."""
        places = {
            path: address.join(self.root, path) for path in self.images if not address.is_plain_file(self.root, path)
        }
        found = states(places.values())
        for path, place in places.items():
            state, image = found[place], self.images[path]
            if isinstance(state, str):
                self.failures.append(Failure(path, "list", state))
                del self.images[path]
            else:
                self.images[path] = ImageRecord(path, image.label, *state)
        images = sorted(self.images.values(), key=lambda image: image.path)
        return Listing(self.root, tuple(images), tuple(self.failures))


def _placed(path: str, root: str) -> str | None:
    """One spelling per image: relative to the root where it lies below, else absolute; None where it may not be."""
    if path.startswith("file://"):
        path = path.removeprefix("file://")
    if address.is_url(path):
        path = remember(path)
        foreign = not address.is_local(root) and address.is_local(path)
        return None if foreign else address.relative(path, root)
    if not address.is_url(root):
        below = os.path.join(root, "")
        return os.path.normpath(os.path.join(below, path)).removeprefix(below).replace(os.sep, "/")
    if path.startswith("/"):
        return None
    if address.member(root) is not None:
        inside = posixpath.normpath(path)
        return None if address.leads_out(inside) else inside
    scheme, place = root.split("://", 1)
    whole = posixpath.normpath(f"{place}/{path}")
    if whole.split("/")[0] != place.split("/")[0] or address.leads_out(whole):
        return None
    return address.relative(f"{scheme}://{whole}", root)


def _suffix(file: str) -> str:
    return posixpath.splitext(address.name(file))[1].lower()


def _opened(file: str) -> IO[bytes]:
    return io.BytesIO(read_address(file)) if address.is_url(file) else open(file, "rb")


def _columns(file: str, there: Sequence[str], wanted: Wanted) -> list[str]:
    """The columns to read: path, label and, where one is chosen, split."""
    path = wanted.path_column
    if path == PATH_COLUMN and path not in there and _OTHER_PATH_COLUMN in there:
        path = _OTHER_PATH_COLUMN
    columns = [path, wanted.label_column] + ([] if wanted.split is None else [wanted.split_column])
    check_columns(file, there, columns)
    return columns


def _delimited_rows(file: str, wanted: Wanted) -> Iterator[_Row]:
    with _opened(file) as stream:
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
        positions = [header.index(name) for name in _columns(file, header, wanted)]
        for fields in reader:
            where = f"{address.name(file)} line {reader.line_num}"
            if len(fields) > len(header) and any(fields[len(header) :]):
                yield where, f"the row has {len(fields)} fields, the header {len(header)}: quote the comma in a field"
            elif fields:
                yield where, [fields[at] if at < len(fields) else None for at in positions]


def _parquet_rows(file: str, wanted: Wanted) -> Iterator[_Row]:
    import pyarrow  # decoding workers import this package and need no pyarrow

    try:
        with parquet.open_table(file, fresh=True) as table:
            schema = table.schema_arrow
            columns = _columns(file, schema.names, wanted)
            names = parquet.label_names(schema, wanted.label_column)
            number = 0
            for batch in table.iter_batches(columns=columns):
                for values in zip(*(batch.column(name).to_pylist() for name in columns), strict=True):
                    number += 1
                    label = parquet.label_text(values[1], names)
                    yield f"{address.name(file)} row {number}", (values[0], label, *values[2:])
    except pyarrow.ArrowException as error:
        raise DatasetError(f"{shown(file)} cannot be read as Parquet: {cause(error)}.") from None


def _json_rows(file: str, wanted: Wanted) -> Iterator[_Row]:
    keys: dict[str, None] = {}
    asked = (wanted.path_column, _OTHER_PATH_COLUMN, wanted.label_column, wanted.split_column)
    rows: list[tuple[str, dict[str, object] | str]] = []
    with _opened(file) as stream:
        for number, line in enumerate(io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape"), 1):
            if not line.strip():
                continue
            where = f"{address.name(file)} line {number}"
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                rows.append((where, "the line is not JSON"))
                continue
            if isinstance(row, dict):
                keys.update(dict.fromkeys(row))
                rows.append((where, {name: row[name] for name in asked if name in row}))
            else:
                rows.append((where, "the line is not a JSON object"))
    columns = _columns(file, list(keys), wanted)
    for where, row in rows:
        yield where, row if isinstance(row, str) else [row.get(name) for name in columns]


_READERS = {".csv": _delimited_rows, ".tsv": _delimited_rows, ".parquet": _parquet_rows, ".jsonl": _json_rows}
MANIFEST_SUFFIXES = frozenset(_READERS)
