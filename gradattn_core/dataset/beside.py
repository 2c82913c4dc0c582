"""Tables beside the pictures of a folder: which one says what these show, and what is said of one that does not."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import fields, replace

from gradattn_core.dataset.address import join
from gradattn_core.dataset.endings import is_image
from gradattn_core.dataset.levels import METADATA
from gradattn_core.dataset.manifest import check_selected, describes
from gradattn_core.dataset.selection import DatasetSelection
from gradattn_core.dataset.tables import glance
from gradattn_core.dataset.text import shown, shown_all
from gradattn_core.errors import DatasetError, UnreadableImageError
from gradattn_core.records import Listing

TABLES = (".csv", ".tsv", ".parquet", ".jsonl", ".ndjson", ".json", ".csv.gz", ".tsv.gz", ".jsonl.gz", ".json.gz")
"""Endings of tables that somebody may have meant to be read."""
_LOOKED_AT = 20
_OPTIONS = ("path_column", "label_column", "split_column", "image_root", "image_ending")


def own_table(root: str, tables: Sequence[str], selection: DatasetSelection) -> str | None:
    """The address of the table in a folder that says what its pictures show; None where there is none.

    Args:
        tables: names of the tables directly in the folder.

    Raises:
        DatasetError: columns are named that the folder's ``metadata.*`` has not.
    """
    own = [join(root, name) for name in METADATA if name in tables]
    found = next((table for table in own if describes(table, selection)), None)
    if found is None and own and _named(selection):
        check_selected(own[0], selection)
    return found


def passed_over_tables(listing: Listing, tables: Sequence[str], selection: DatasetSelection) -> Listing:
    """The class folders, with a note on each table beside them whose columns were not asked for.

    Raises:
        DatasetError: columns are named though the labels are names of folders.
    """
    if not listing.images:
        return listing
    options = _named(selection)
    if options:
        said = ", ".join(options)
        having = next((each for each in tables if describes(join(listing.root, each), selection)), None)
        instead = "leave it out, or pass a table" if having is None else f"pass {shown(join(listing.root, having))}"
        raise DatasetError(
            f"{shown(listing.root)} has class folders, of which {said} says nothing, and no metadata.csv, .jsonl or "
            f".parquet; {instead}."
        )
    notes = []
    for name in tables:
        columns = _of_pictures(join(listing.root, name))
        if columns:
            notes.append(
                f"{shown(name)} was passed over: labels are the names of the folders. To take its instead, pass "
                f"{'the folder' if name in METADATA else 'it'} with --label-column and one of its columns, "
                f"{shown_all(columns)}."
            )
    return replace(listing, notes=(*listing.notes, *notes))


def _named(selection: DatasetSelection) -> list[str]:
    """The options of tables that somebody has given another value than they have by themselves."""
    default = {field.name: field.default for field in fields(selection)}
    given = [name for name in _OPTIONS if getattr(selection, name) != default[name]]
    return [f"--{name.replace('_', '-')} {shown(getattr(selection, name))}" for name in given]


def names_pictures(table: str) -> bool:
    """Whether the rows of a table name pictures."""
    return bool(_of_pictures(table))


def _of_pictures(table: str) -> Sequence[str]:
    """The columns of a table whose rows name pictures; nothing of another one."""
    try:
        columns, rows = glance(table, _LOOKED_AT)
    except (DatasetError, OSError, UnicodeError, UnreadableImageError, csv.Error):
        return ()
    naming = any(isinstance(value, str) and is_image(value) for values in rows for value in values)
    return columns if naming and len(columns) > 1 else ()
