"""Manifests: a CSV, TSV, Parquet or JSONL table with one row per image, and whether the images it names are there."""

from __future__ import annotations

import csv
import os
import posixpath
import stat
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from typing import NamedTuple

from gradattn_core.dataset import parquet, storage
from gradattn_core.dataset.address import (
    Member,
    file_name,
    is_local,
    is_url,
    is_web,
    join,
    leads_out,
    listed_path,
    member,
    parent,
)
from gradattn_core.dataset.archives import open_archive
from gradattn_core.dataset.lookup import Finder, ambiguous, folder_with
from gradattn_core.dataset.secrets import remember
from gradattn_core.dataset.selection import LABEL_COLUMN, PATH_COLUMN, DatasetSelection
from gradattn_core.dataset.storage import Stamp
from gradattn_core.dataset.tables import Table, open_table
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

# What Hugging Face calls the column of paths.
_OTHER_PATH_COLUMN = "file_name"
_ABSENT = "the file does not exist"
_ELSEWHERE = "a place of this machine in a manifest from elsewhere, or one that leads out; it is not opened"
_NOT_UTF8 = "the row is not valid UTF-8"
_THREADS = 16
# So many rows are asked whether columns of 0 and 1 hold their label.
_ASKED = 1000
_ONE, _ZERO = frozenset({"1", "1.0", "true", "True", "TRUE"}), frozenset({"0", "0.0", "false", "False", "FALSE", ""})


def list_manifest(file: str, root: str, selection: DatasetSelection) -> Listing:
    """List the images that a manifest names; see ``list_dataset``.

    Labels are taken exactly as written: "001", "NA" and " x" are labels. Numbers in Parquet and JSON become their
    decimal text, whole ones without a fraction, and those of a ``ClassLabel`` their names. A list of one label is that
    label. Where there is no column of labels but one of 0 and 1 for each class, the label is the name of the column
    that has the 1; ``label_column`` may name them, with commas between. Rows without a path or a label or with several
    labels, of missing files, and repeated rows go to the failures; of two rows that contradict each other the first is
    kept.

    Args:
        file: address of the manifest.
        root: address of the folder where relative paths start unless ``selection`` names another.

    Raises:
        DatasetError: the file cannot be read as what its ending says, the columns or the split are not there, or none
            of the pictures is.
    """
    if selection.image_root is not None:
        root = selection.image_root
    table = open_table(file)
    columns = _Columns.of(file, table, selection)
    rows = _read_rows(file, table, columns, selection)
    places = _places([row.path for row in rows if row.problem is None], file, root, selection)
    listing = _listing(root, rows, places.found)
    if not listing.images and rows and places.missing:
        raise _nothing_found(file, table, root, places)
    notes = columns.notes + places.notes
    if strange := sum(row.problem == _NOT_UTF8 for row in rows):
        notes += (f"{strange:,} rows of {shown(file_name(file))} are not valid UTF-8: save the table as UTF-8.",)
    return replace(listing, notes=notes)


def describes(file: str, selection: DatasetSelection) -> bool:
    """Whether a table has the selected columns; False where it cannot be read."""
    try:
        _Columns.of(file, open_table(file), selection)
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


@dataclass(frozen=True)
class _Columns:
    """The columns that are read: of the path, of the label, and of the split where one is chosen.

    Attributes:
        labels: one, or one for each class.
    """

    path: str
    labels: tuple[str, ...]
    split: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, file: str, table: Table, selection: DatasetSelection) -> _Columns:
        """Raises:
        DatasetError: one of them is not there, or is there twice.
        """
        path, label = selection.path_column, selection.label_column
        notes: tuple[str, ...] = ()
        if path == PATH_COLUMN and path not in table.columns:
            named = (_OTHER_PATH_COLUMN, *(name for name in table.columns if name.endswith(".path")))
            path = next((name for name in named if name in table.columns), path)
        labels: tuple[str, ...] = (label,)
        several = tuple(part.strip() for part in label.split(","))
        if label not in table.columns and len(several) > 1:
            labels = several
        elif label == LABEL_COLUMN and label not in table.columns and path in table.columns:
            labels = _one_of_each_class(table, path) or labels
            if len(labels) > 1:
                notes = (
                    f"{shown(file_name(file))} has a column for each class, {shown_all(labels)}: the label is the "
                    "name of the one that has a 1.",
                )
        split = () if selection.split is None else (selection.split_column,)
        check_columns(file, table.columns, [path], "--path-column")
        check_columns(file, table.columns, labels, "--label-column")
        check_columns(file, table.columns, split, "--split-column")
        return cls(path, labels, split, notes)

    @property
    def names(self) -> tuple[str, ...]:
        return (self.path, *self.labels, *self.split)


class _Row(NamedTuple):
    """One row: where it stands, its path and label, and why it is no image; of a bad row the path may be anything."""

    where: str
    path: str
    label: str
    problem: str | None = None


def _one_of_each_class(table: Table, path: str) -> tuple[str, ...]:
    """The columns that hold 0 and 1 only and, together, one 1 in every row; none where there are no such columns."""
    names = [name for name in dict.fromkeys(table.columns) if name != path and table.columns.count(name) == 1]
    rows = [values for _, values in islice(table.read(names), _ASKED) if not isinstance(values, str)]
    cells = [[_flag(value) for value in values] for values in rows]
    flags = [at for at in range(len(names)) if all(row[at] is not None for row in cells)]
    chosen = [sum(bool(row[at]) for at in flags) for row in cells]
    if len(flags) < 2 or not cells or any(count > 1 for count in chosen) or sum(chosen) < 0.9 * len(cells):
        return ()
    return tuple(names[at] for at in flags)


def _flag(value: object) -> bool | None:
    text = "" if value is None else str(value).strip()
    return True if text in _ONE else False if text in _ZERO else None


def _read_rows(file: str, table: Table, columns: _Columns, selection: DatasetSelection) -> list[_Row]:
    """The rows of the chosen split.

    Raises:
        DatasetError: there is no such split.
    """
    splits: Counter[str] = Counter()
    names = [table.names(column) for column in columns.labels]
    rows = []
    for where, values in table.read(columns.names):
        if isinstance(values, str):
            rows.append(_Row(where, where, "", values))
            continue
        if selection.split is not None:
            of_row = cell_text(values[-1]) or ""
            splits[of_row] += 1
            if of_row != selection.split:
                continue
        path = cell_text(values[0])
        rows.append(_row(where, path, _label(columns.labels, values[1 : 1 + len(names)], names[0])))
    if selection.split is not None and selection.split not in splits:
        raise DatasetError(
            f"{shown(file)} has no split {shown(selection.split)}; column {shown(selection.split_column)} has "
            f"{shown_all(sorted(splits))}.{did_you_mean(selection.split, splits)}"
        )
    return rows


def _row(where: str, path: str | None, label: str | tuple[str, ...] | None) -> _Row:
    problem = None
    if not path:
        problem = "the row has no path"
    elif not label:
        problem = "the row has no label"
    elif isinstance(label, tuple):
        problem = f"several labels, {shown_all(label)}: an audit is of one label for each picture"
    elif not is_text(path) or not is_text(label):
        problem = _NOT_UTF8
    bare = (path or where).removeprefix("file://")
    # What is secret in a URL stays in memory.
    return _Row(where, remember(bare) if is_url(bare) else bare, label if isinstance(label, str) else "", problem)


def _label(columns: Sequence[str], cells: Sequence[object], names: Sequence[str]) -> str | tuple[str, ...] | None:
    """The label that the cells give; several where they give several."""
    if len(columns) > 1:
        given = tuple(name for name, cell in zip(columns, cells, strict=True) if _flag(cell))
    elif isinstance(cells[0], (list, tuple)):
        every = (parquet.label_text(each, names) for each in cells[0])
        given = tuple(dict.fromkeys(each for each in every if each))
    else:
        return parquet.label_text(cells[0], names)
    return given if len(given) > 1 else next(iter(given), None)


@dataclass
class _Places:
    """Where the texts of a table's paths lead.

    Attributes:
        found: of each text the path as the listing spells it and the file's stamp, or why there is none.
        missing: the texts whose files do not exist.
    """

    found: dict[str, tuple[str, Stamp] | str]
    missing: list[str]
    notes: tuple[str, ...] = ()


def _places(texts: Sequence[str], file: str, root: str, selection: DatasetSelection) -> _Places:
    """Find the pictures: as written, else in another spelling; by name where fewer than half are found so."""
    # A table from elsewhere names no files of this machine but those below the folder that somebody here has chosen.
    from_elsewhere = not is_local(file) and is_local(root)
    found: dict[str, tuple[str, Stamp] | str] = {}
    as_written: dict[str, str] = {}
    for text in dict.fromkeys(texts):
        place = listed_path(root, text)
        if place is None or (from_elsewhere and not is_url(text) and leads_out(text)):
            found[text] = _ELSEWHERE
        else:
            as_written[text] = place
    found |= _stamped(root, as_written)
    missing = [text for text, place in found.items() if place in (_ABSENT, _ELSEWHERE) or _may_lie_here(text, place)]
    if selection.image_root is None:
        missing = [text for text in missing if not is_url(text) or "/data/" in text]
    if not missing:
        return _Places(found, [])
    finder = Finder(root, selection.image_ending)
    other = {text: path for text in missing if (path := finder.rewritten(text)) is not None}
    notes = _found_otherwise(file, len(found), other)
    absent = [text for text in missing if text not in other]
    if 2 * len(absent) > len(found):
        by_name = {text: finder.searched(text) for text in absent}
        claims = Counter(paths[0] for paths in by_name.values() if len(paths) == 1)
        searched = {}
        for text, paths in by_name.items():
            if len(paths) > 1:
                found[text] = ambiguous(paths)
            elif paths and claims[paths[0]] > 1:
                found[text] = f"it and other rows seem to mean {shown(paths[0])}, as no file has their own paths"
            elif paths:
                searched[text] = paths[0]
        notes += _found_otherwise(file, len(found), searched, root)
        other |= searched
    found |= _stamped(root, other)
    return _Places(found, [text for text in missing if isinstance(found[text], str)], notes)


def _may_lie_here(text: str, place: tuple[str, Stamp] | str) -> bool:
    """Whether the text is a URL that could not be read: its picture may have been copied."""
    return isinstance(place, str) and is_url(text)


def _stamped(root: str, paths: Mapping[str, str]) -> dict[str, tuple[str, Stamp] | str]:
    """Of each text with its path: the path and the file's stamp, or why it cannot be read."""
    addresses = {path: join(root, path) for path in paths.values()}
    stamp_of = stamps(addresses.values())
    places = ((text, path, stamp_of[addresses[path]]) for text, path in paths.items())
    return {text: stamp if isinstance(stamp, str) else (path, stamp) for text, path, stamp in places}


def _found_otherwise(file: str, rows: int, paths: Mapping[str, str], root: str | None = None) -> tuple[str, ...]:
    """A sentence on the texts that are taken for other paths than they spell; ``root`` where they were searched for."""
    differing = [(text, path) for text, path in paths.items() if text != path]
    if not differing:
        return ()
    text, path = differing[0]
    how = "in another spelling" if root is None else f"by name below {shown(root)}"
    return (
        f"Of {rows:,} paths in {shown(file_name(file))} {len(differing):,} are no paths of files and were found {how}: "
        f"{shown(text, 120)} is {shown(path, 120)}.",
    )


def _nothing_found(file: str, table: Table, root: str, places: _Places) -> DatasetError:
    """Where the pictures of a table were looked for in vain, and what may help."""
    text = places.missing[0]
    reason = str(places.found[text])
    near = folder_with(root, places.missing)
    if near is not None:
        instead = f"they seem to lie in {shown(near)}: say --image-root with it"
    else:
        instead = (
            "name the folder or archive that has them with --image-root, or another column with --path-column; the "
            f"columns are {shown_all(table.columns)}"
        )
    return DatasetError(
        f"{shown(file)} has no usable images, none of its {len(places.found):,} pictures was found. They were looked "
        f"for as paths and by their names below {shown(root)}; the first: {shown(text, 120)}: {reason}. "
        f"{instead[0].upper()}{instead[1:]}."
    )


def _listing(root: str, rows: Sequence[_Row], places: Mapping[str, tuple[str, Stamp] | str]) -> Listing:
    """Rows and places as images; of rows that lead to one file the first one counts."""
    images: dict[str, ImageRecord] = {}
    failures = []
    for row in rows:
        place = places[row.path] if row.problem is None else row.problem
        if isinstance(place, str):
            failures.append(Failure(as_text(row.path), "list", place, as_text(row.label)))
            continue
        path, stamp = place
        if path not in images:
            images[path] = ImageRecord(path, row.label, *stamp)
            continue
        first = images[path].label
        both = f"listed as {shown(first)} (kept) and as {shown(row.label)}"
        failures.append(Failure(path, "list", "duplicate row" if first == row.label else both, row.label))
    return Listing(root, tuple(sorted(images.values(), key=lambda image: image.path)), tuple(failures))


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
    except DatasetError as error:
        return str(error).rstrip(".")
    except OSError as error:
        return _problem(error)


def _folder_stamps(item: tuple[str, list[str]]) -> dict[str, Stamp | str]:
    folder, files = item
    try:
        there: dict[str, Stamp] = dict(storage.files_in(folder))
    except DatasetError as error:  # no such storage, or its package is not installed
        return dict.fromkeys(files, str(error).rstrip("."))
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
    except DatasetError as error:
        return dict.fromkeys((address for address, _ in members), str(error).rstrip("."))
    except OSError as error:
        return dict.fromkeys((address for address, _ in members), f"{container}: {_problem(error)}")
    return {
        address: archive.stamps.get(inner.inside) or archive.problems.get(inner.inside, f"not in {container}")
        for address, inner in members
    }


def _problem(error: OSError) -> str:
    return _ABSENT if isinstance(error, FileNotFoundError) else f"cannot be read: {cause(error)}"
