"""Manifests: a CSV, TSV, Parquet or JSONL table with one row per image, and whether the images it names are there."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import NamedTuple

from gradattn_core.dataset import parquet
from gradattn_core.dataset.address import (
    file_name,
    is_url,
)
from gradattn_core.dataset.endings import is_image
from gradattn_core.dataset.places import nothing_found, places_of
from gradattn_core.dataset.secrets import remember
from gradattn_core.dataset.selection import LABEL_COLUMN, PATH_COLUMN, SPLIT_COLUMN, DatasetSelection
from gradattn_core.dataset.storage import Stamp
from gradattn_core.dataset.table_text import Table
from gradattn_core.dataset.tables import open_table
from gradattn_core.dataset.text import (
    as_text,
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
# What others call both, without signs and capitals.
_USUAL_PATHS = frozenset(
    f"{what}{which}"
    for what in ("image", "img", "file", "")
    for which in ("", "name", "filename", "file", "path", "id")
) - {"", "name"}
_USUAL_LABELS = frozenset(("labels", "class", "classname", "classlabel", "labelname", "category", "target", "species"))
_NOT_UTF8 = "the row is not valid UTF-8"
_LOOKED_AT = 20
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
    columns = _Columns.of(file, table, selection, usual=True)
    rows = _read_rows(file, table, columns, selection)
    if not rows and selection.split is None:
        raise DatasetError(
            f"{shown(file)} has no usable images: there is no row below its columns {shown_all(table.columns)}."
        )
    places = places_of([row.path for row in rows if row.problem is None], file, root, selection)
    listing = _listing(root, rows, places.found)
    if not listing.images and rows and places.missing:
        raise nothing_found(file, table.columns, root, places)
    notes = columns.notes + places.notes
    if strange := sum(row.problem == _NOT_UTF8 for row in rows):
        notes += (f"{strange:,} rows of {shown(file_name(file))} are not valid UTF-8: save the table as UTF-8.",)
    return replace(listing, notes=notes)


@dataclass(frozen=True)
class Correspondence:
    """How the cells of a table stand for what its listing says.

    Attributes:
        path, labels, split: the columns; of the labels one, or one for each class; of the split none or one.
        paths: of each cell with a path, as it is written, the path in the listing; cells that lead nowhere are absent.
        names: what the numbers of the column of labels stand for; empty where they stand for themselves.
    """

    path: str
    labels: tuple[str, ...]
    split: tuple[str, ...]
    paths: Mapping[str, str]
    names: Sequence[str]


def correspondence(file: str, root: str, selection: DatasetSelection) -> Correspondence:
    """What :func:`list_manifest` makes of the cells of a table; raises the same."""
    table = open_table(file)
    columns = _Columns.of(file, table, selection, usual=True)
    cells = (cell_text(values[0]) for _, values in table.read([columns.path]) if not isinstance(values, str))
    texts = {cell: _bare(cell) for cell in cells if cell is not None and is_text(cell)}
    found = places_of(list(texts.values()), file, root, selection).found
    paths = {cell: place[0] for cell, text in texts.items() if not isinstance(place := found[text], str)}
    return Correspondence(columns.path, columns.labels, columns.split, paths, table.names(columns.labels[0]))


def check_selected(file: str, selection: DatasetSelection) -> None:
    """Raises:
    DatasetError: the table cannot be read or lacks a selected column.
    """
    _Columns.of(file, open_table(file), selection)


def describes(file: str, selection: DatasetSelection) -> bool:
    """Whether a table has the selected columns; False where it cannot be read."""
    try:
        check_selected(file, selection)
    except (DatasetError, OSError, UnicodeError, UnreadableImageError, csv.Error):
        return False
    return True


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
    def of(cls, file: str, table: Table, selection: DatasetSelection, *, usual: bool = False) -> _Columns:
        """Those that are selected; where nothing is and there is no ``path`` or ``label``, those of a ``usual`` name.

        Raises:
            DatasetError: one of them is not there, or is there twice.
        """
        path = _as_written(selection.path_column, PATH_COLUMN, table.columns)
        label = _as_written(selection.label_column, LABEL_COLUMN, table.columns)
        notes: tuple[str, ...] = ()
        if path == PATH_COLUMN and path not in table.columns:
            named = (_OTHER_PATH_COLUMN, *(name for name in table.columns if name.endswith(".path")))
            path = next((name for name in named if name in table.columns), path)
            if usual and path not in table.columns:
                path, notes = _usual(file, table, PATH_COLUMN, _USUAL_PATHS)
        labels: tuple[str, ...] = (label,)
        several = tuple(part.strip() for part in label.split(","))
        if label not in table.columns and len(several) > 1:
            labels = several
        elif label == LABEL_COLUMN and label not in table.columns and path in table.columns:
            labels = _one_of_each_class(table, path) or labels
            if len(labels) > 1:
                notes += (
                    f"{shown(file_name(file))} has a column for each class, {shown_all(labels)}: the label is the "
                    "name of the one that has a 1.",
                )
            elif usual and labels == (LABEL_COLUMN,):
                name, note = _usual(file, table, LABEL_COLUMN, _USUAL_LABELS)
                labels, notes = (name,), notes + note
        if labels == (LABEL_COLUMN,) and path in table.columns and LABEL_COLUMN not in table.columns:
            _refuse_several_labels(file, table, path)
        split_column = _as_written(selection.split_column, SPLIT_COLUMN, table.columns)
        split = () if selection.split is None else (split_column,)
        check_columns(file, table.columns, [path], "--path-column")
        check_columns(file, table.columns, labels, "--label-column")
        check_columns(file, table.columns, split, "--split-column")
        return cls(path, labels, split, notes)

    @property
    def names(self) -> tuple[str, ...]:
        return (self.path, *self.labels, *self.split)


def _as_written(name: str, default: str, columns: Sequence[str]) -> str:
    """The column of a default name, which may have capitals or blanks in a table; any other is taken to the letter."""
    alike = [column for column in columns if column.strip().casefold() == default]
    return alike[0] if name == default and name not in columns and len(alike) == 1 else name


def _usual(file: str, table: Table, default: str, names: frozenset[str]) -> tuple[str, tuple[str, ...]]:
    """The one column with one of these names, and a note that it is taken; of several of paths the one of pictures."""
    found = [name for name in dict.fromkeys(table.columns) if _plain(name) in names and table.columns.count(name) == 1]
    if len(found) > 1 and default == PATH_COLUMN:
        rows = [values for _, values in islice(table.read(found), _LOOKED_AT) if not isinstance(values, str)]
        cells = dict(zip(found, zip(*rows, strict=True), strict=False))
        found = [name for name in cells if all(map(_names_picture, cells[name]))]
    if len(found) != 1:
        return default, ()
    what = "the pictures' paths" if default == PATH_COLUMN else "the labels"
    note = f"{shown(file_name(file))} has no column {default}: {what} are taken from {shown(found[0])}."
    return found[0], (f"{note} --{default}-column names another.",)


def _plain(name: str) -> str:
    return "".join(sign for sign in name.casefold() if sign.isalnum())


def _names_picture(cell: object) -> bool:
    return isinstance(cell, str) and is_image(cell)


class _Row(NamedTuple):
    """One row: where it stands, its path and label, and why it is no image; of a bad row the path may be anything."""

    where: str
    path: str
    label: str
    problem: str | None = None


def _one_of_each_class(table: Table, path: str) -> tuple[str, ...]:
    """The columns that hold 0 and 1 only and, together, one 1 in every row; none where there are no such columns."""
    names, rows = _flags(table, path)
    chosen = [len(ones) for _, ones in rows]
    if len(names) < 2 or not rows or max(chosen) > 1 or sum(chosen) < 0.9 * len(rows):
        return ()
    return names


def _refuse_several_labels(file: str, table: Table, path: str) -> None:
    """Refuse a table whose columns of 0 and 1 would be its labels if no row had a 1 in several of them."""
    names, rows = _flags(table, path)
    several = [(where, ones) for where, ones in rows if len(ones) > 1]
    if not several or sum(bool(ones) for _, ones in rows) < 0.9 * len(rows):
        return
    where, ones = several[0]
    names = tuple(name for name in names if any(name in each for _, each in rows))
    raise DatasetError(
        f"{shown(file)} has no column {shown(LABEL_COLUMN)}, and its columns of 0 and 1, {shown_all(names)}, give "
        f"several labels to {len(several):,} of {len(rows):,} rows, the first of them {where} "
        f"({shown_all(ones)}): an audit is of one label for each picture. --label-column names the columns of the "
        "classes, with commas between; rows with a 1 in several of these are then left out and named."
    )


def _flags(table: Table, path: str) -> tuple[tuple[str, ...], list[tuple[str, tuple[str, ...]]]]:
    """The columns that hold 0 and 1 only, and of each row where it stands and which of them have its 1s."""
    names = [name for name in dict.fromkeys(table.columns) if name != path and table.columns.count(name) == 1]
    read = [(where, values) for where, values in islice(table.read(names), _ASKED) if not isinstance(values, str)]
    cells = [[_flag(value) for value in values] for _, values in read]
    flags = [at for at in range(len(names)) if all(row[at] is not None for row in cells)]
    ones = (tuple(names[at] for at in flags if row[at]) for row in cells)
    return tuple(names[at] for at in flags), [(where, each) for (where, _), each in zip(read, ones, strict=True)]


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
    return _Row(where, _bare(path or where), label if isinstance(label, str) else "", problem)


def _bare(path: str) -> str:
    """A path or URL as it is shown and stored: what is secret in it stays in memory."""
    bare = path.removeprefix("file://")
    return remember(bare) if is_url(bare) else bare


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
