"""What is no dataset, in a sentence that says what would be one: the parent of a class, the table beside pictures."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from gradattn_core.dataset.address import file_name, is_url, join, member, member_address, parent
from gradattn_core.dataset.beside import TABLES, names_pictures
from gradattn_core.dataset.contents import EMPTY, TAR, ZIP, head_of, what_it_is
from gradattn_core.dataset.endings import NO_CLASS, is_image, passed_over, suffix, unread_picture
from gradattn_core.dataset.selection import DatasetSelection
from gradattn_core.dataset.tables import MANIFEST_SUFFIXES
from gradattn_core.dataset.text import did_you_mean, is_text, shown, shown_all
from gradattn_core.errors import DatasetError
from gradattn_core.records import Listing

FORMS = (
    "a folder root/<label>/… of images, a zip or tar of one, WebDataset tars, or a manifest ("
    + ", ".join(each for each in sorted(MANIFEST_SUFFIXES) if not each.endswith(".gz"))
    + "), or boxes as COCO, Pascal VOC or YOLO have them"
)
_ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz", ".tbz2", ".tar.bz2", ".txz", ".tar.xz")
_SHEETS = frozenset({".xlsx", ".xls", ".xlsm", ".xlsb", ".ods", ".numbers", ".gsheet"})
_FRAMES = frozenset({".feather", ".arrow", ".orc", ".h5", ".hdf5", ".pkl", ".pickle", ".db", ".sqlite", ".npz", ".npy"})
_PACKED = frozenset({".7z", ".rar", ".zst", ".lz4", ".lzma", ".z", ".iso", ".cab", ".bz2", ".xz", ".gz"})
_LOOKED_AT, _ENTRIES = 50, 200
_TABLE = "pass a table with the columns path and label"
# Labels in names, before a number or behind one, for Python and sed alike, and which group is the label.
_NAMED = (
    ("(n[0-9]{8}|[A-Za-z][A-Za-z _-]*[A-Za-z]|[A-Za-z])([._ -]*)[(]?[0-9]+[)]?[.][A-Za-z0-9]+", 1),
    ("([0-9]+)[._ -]+([A-Za-z][A-Za-z _-]*)[.][A-Za-z0-9]+", 2),
)


def no_dataset(source: str) -> DatasetError:
    """The refusal of a file of this machine that is none of the forms, with what may be done about it."""
    ending, instead = suffix(source), ""
    what = what_it_is(head_of(source))
    if is_image(source) or unread_picture(source) is not None:
        return DatasetError(
            f"{shown(source)} is one picture, and labels are judged by other pictures: give {FORMS}. gradattn explain "
            "shows where a model looks in one picture."
        )
    if ending in _SHEETS:
        instead = " Save the sheet as CSV."
    elif ending in _FRAMES:
        instead = " Write the table as CSV or Parquet, and arrays of pictures as files."
    elif ending in _PACKED:
        instead = " Unpack it first."
    elif what in (ZIP, TAR):
        instead = f" By its content it is {what}: give it that ending, .{what.split()[-1]}."
    elif what and what != EMPTY:
        instead = f" By its content it is {what}."
    return DatasetError(f"{shown(source)} is not a dataset: give {FORMS}.{instead}")


def refuse_unusable(source: str, listing: Listing) -> None:
    """Refuse a listing without images, or with one class only."""
    if not is_text(listing.root):
        raise DatasetError(f"The folder {shown(listing.root)} has a name that is not valid UTF-8: rename it.")
    classes = listing.classes
    if not classes:
        problem = ""
        if listing.failures:
            first = listing.failures[0]
            problem = f" The first of {len(listing.failures):,} problems: {shown(first.path)}: {first.reason}."
        raise DatasetError(
            f"{shown(source)} has no usable images: {_what_there_is(listing)}give {FORMS}.{problem}"
            f"{_one_of_several(listing)}{_archives_in(listing)}"
        )
    if len(classes) == 1:
        held = _what_there_is(listing).rstrip("; ")
        tables = [each.path for each in listing.skipped if each.path.lower().endswith(TABLES) and "/" not in each.path]
        instead = f" Pass its table {shown(join(listing.root, tables[0]))} if that says the labels." if tables else ""
        raise DatasetError(
            f"{shown(source)} has one class only, {shown(classes[0])}: wrong labels can be found between two or more."
            f"{f' I{held[1:]}.' if held else ''}{instead}{_one_of_several(listing)}"
        )


def _what_there_is(listing: Listing) -> str:
    """The endings of what was not listed, as the beginning of a sentence; nothing where there is nothing."""
    unlisted = [each for each in (*listing.failures, *listing.skipped) if each.given_label or each.reason == NO_CLASS]
    if not unlisted:
        return ""
    kinds = Counter((suffix(each.path) or "no ending", each.reason) for each in unlisted)
    said = "; ".join(f"{count:,} {ending} ({reason})" for (ending, reason), count in kinds.most_common(3))
    return f"it holds {said}; "


def _archives_in(listing: Listing) -> str:
    """A sentence on an archive that lies where pictures were looked for, or nothing."""
    found = [each.path for each in listing.skipped if each.path.lower().endswith(_ARCHIVES)]
    return f" Pass {shown(join(listing.root, found[0]))} if the pictures are in it." if found else ""


def _one_of_several(listing: Listing) -> str:
    """A sentence on the folder around one that has pictures and no folders of them, as a single class has."""
    if not any(each.reason == NO_CLASS and is_image(each.path) for each in listing.skipped):
        return ""
    return around(listing.root)


def around(root: str) -> str:
    """A sentence on what to pass where a folder is one class of several; nothing where nothing beside it says so."""
    inner = member(root)
    if inner is not None and inner.inside:
        above = inner.inside.rpartition("/")[0]
        whole = member_address(inner.kind, above, inner.outer) if above else inner.outer
    elif is_url(root) or not _beside(Path(root)):
        return ""
    else:
        whole = parent(root)
    return f" If {shown(file_name(root), 60)} is one class of several, pass what they all lie in: {shown(whole)}."


def _beside(root: Path) -> bool:
    """Whether another folder of pictures lies beside this one."""
    try:
        with os.scandir(root.parent) as entries:
            folders = [entry.path for entry in islice(entries, _LOOKED_AT) if entry.is_dir() and _may_be_class(entry)]
        return any(_holds_pictures(folder) for folder in folders if not os.path.samefile(folder, root))
    except OSError:
        return False


def _may_be_class(entry: os.DirEntry[str]) -> bool:
    return passed_over(entry.name, folder=True) is None


def _holds_pictures(folder: str) -> bool:
    with os.scandir(folder) as entries:
        return any(is_image(entry.name) or unread_picture(entry.name) for entry in islice(entries, _ENTRIES))


def near_sibling(source: Path) -> str:
    """A sentence on what the first missing part of a path may have meant, or nothing."""
    missing = source
    while not missing.parent.is_dir() and missing.parent != missing:
        missing = missing.parent
    try:
        siblings = sorted(os.listdir(missing.parent))
    except OSError:
        return ""
    return did_you_mean(missing.name, siblings)


def refuse_flat(root: Path) -> None:
    """Refuse a folder that has its images directly in it."""
    names = [each for each in os.listdir(root) if passed_over(each) is None and not (root / each).is_dir()]
    images = sum(map(is_image, names))
    unread = Counter(why for each in names if not is_image(each) and (why := unread_picture(each)) is not None)
    if not images and not unread:
        return
    tables = sorted(each for each in names if each.lower().endswith(MANIFEST_SUFFIXES))
    table = next((each for each in tables if names_pictures(str(root / each))), None)
    instead = f"pass its manifest {shown(root / table)}" if table else f"sort them into root/<label>/, or {_TABLE}"
    also = "".join(f" {count:,} more: {why}." for why, count in unread.items())
    raise DatasetError(
        f"{shown(root)} is a flat folder: {images:,} images and no labels; {instead}.{also}{around(str(root))}"
        f"{'' if table else _by_name(names)}"
    )


def _by_name(names: list[str]) -> str:
    """A sentence with a line for a shell that writes the table of what the images' names say, or nothing."""
    images = list(filter(is_image, names))
    for pattern, group in _NAMED:
        found = [match[group] for each in images if (match := re.fullmatch(pattern, each, re.ASCII)) is not None]
        labels = sorted(set(found))
        if len(labels) > 1 and len(found) >= max(2 * len(labels), 0.9 * len(images)):
            line = f"(echo path,label; ls | sed -nE 's/^{pattern}$/&,\\{group}/p') > labels.csv"
            # It ends the message, without a full stop, so that it can be copied.
            return f" The names seem to say {shown_all(labels)}; typed in that folder, this writes such a table: {line}"
    return ""


def refuse_missing_folder(source: str, inside: str, folders: Iterable[str]) -> None:
    """Refuse a folder that an archive has not."""
    there = sorted(folders)
    has = f"its folders are {shown_all(there)}" if there else "it has no folders"
    raise DatasetError(f"{shown(source)} has no folder {shown(inside)}: {has}.{did_you_mean(inside, there)}")


def refuse_missing_split(root: str, selection: DatasetSelection, folders: set[str]) -> None:
    """Refuse a split that nothing in the dataset could be."""
    if selection.split is not None:
        raise DatasetError(
            f"{shown(root)} has no split {shown(selection.split)}, which would be a folder around the classes; its "
            f"folders are {shown_all(sorted(folders))}.{did_you_mean(selection.split, folders)}"
        )


def refuse_depth(source: str, selection: DatasetSelection) -> None:
    """Refuse a level of folders where folders say nothing of labels."""
    if selection.label_depth is not None:
        raise DatasetError(
            f"--label-depth {selection.label_depth} says nothing to {shown(source)}, whose labels stand in it; leave "
            "it out."
        )
