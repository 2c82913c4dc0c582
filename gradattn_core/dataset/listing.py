"""Which images a dataset has, under which labels, whatever it lies in: one function that knows all forms by sight."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from gradattn_core.dataset import storage
from gradattn_core.dataset.address import (
    canonical,
    common_folder,
    is_url,
    is_web,
    join,
    member,
    member_address,
    name,
    parent,
    relative,
)
from gradattn_core.dataset.archives import open_archive
from gradattn_core.dataset.folder import Tree, is_hidden, is_image, list_folder
from gradattn_core.dataset.manifest import MANIFEST_SUFFIXES, describes, list_manifest, states
from gradattn_core.dataset.parquet import image_column, list_tables, open_table
from gradattn_core.dataset.refusals import (
    FORMS,
    METADATA,
    near_sibling,
    refuse_flat,
    refuse_missing_split,
    refuse_unusable,
    refuse_wrapper,
)
from gradattn_core.dataset.secrets import remember, without_secrets
from gradattn_core.dataset.selection import Wanted, expand, is_pattern, of_split
from gradattn_core.dataset.storage import State
from gradattn_core.dataset.text import cause, shown
from gradattn_core.dataset.webdataset import SHARD_SUFFIXES, is_webdataset, list_shards
from gradattn_core.errors import DatasetError
from gradattn_core.records import Listing

_TABLE = ".parquet"


def list_dataset(
    source: str | Path,
    *,
    path_column: str = "path",
    label_column: str = "label",
    split_column: str = "split",
    split: str | None = None,
) -> Listing:
    """List a labelled dataset, ordered by path, so that the same dataset always lists the same.

    A folder is read as ``root/<label>/**/image`` with the endings of ``tree.IMAGE_SUFFIXES`` in any case. Hidden
    entries, files that are not images and images directly in the root are skipped and counted (a hidden folder of this
    machine counts once). Links are followed; one that leads back into its own class is not entered twice. A zip or tar,
    gzipped or not, is read the same way from its index, without a folder that everything was packed in.

    A CSV, TSV, Parquet or JSONL manifest names the images and their labels; relative paths start at its folder, and
    URLs name images anywhere. ``metadata.csv`` or ``.jsonl`` in a folder is its manifest.

    Tars of samples (WebDataset) and Parquet files with pictures in them may be many: a folder of them, or a pattern
    such as ``train-{000..012}.tar`` or ``data/*.parquet``.

    All of these may lie on this machine or at a URL that fsspec knows. No picture is read.

    Args:
        source: path, URL or pattern. Passwords and signatures in a URL are kept in memory and not in the listing.
        path_column: the manifest's column of paths, or the Parquet column of pictures.
        label_column: the manifest's or table's column, or the field of a sample's JSON.
        split_column, split: list only one split: the rows whose ``split_column`` equals ``split``, the folder of that
            name, or the files whose names begin with it.

    Raises:
        DatasetError: nothing can be audited: the source is missing, unreadable, of no known form, empty, or has
            one class only; a column or the split is not there; the package that reads such a URL is not installed.
    """
    wanted = Wanted(path_column, label_column, split_column, split)
    said = without_secrets(str(source))
    place = canonical(remember(str(source)))
    try:
        listing = _list(place, wanted) if is_url(place) else _list_local(Path(place), wanted)
    except FileNotFoundError:
        raise DatasetError(f"{shown(said)} does not exist.") from None
    except PermissionError as error:
        raise DatasetError(f"{shown(said)} may not be read: {cause(error)}.") from None
    except (OSError, ValueError) as error:
        raise DatasetError(f"{shown(said)} cannot be read: {cause(error)}.") from None
    refuse_unusable(said, listing)
    return listing


def _list(place: str, wanted: Wanted) -> Listing:
    """A dataset at a URL, or in a container that was named in the way of URLs."""
    inner = member(place)
    if inner is not None and inner.kind in ("zip", "tar"):
        return _list_archive(inner.kind, inner.outer, inner.inside, wanted)
    if inner is not None:
        wanted = replace(wanted, path_column=inner.inside or wanted.path_column)
        return _list(inner.outer, wanted) if is_url(inner.outer) else _list_local(Path(inner.outer), wanted)
    if is_pattern(place):
        return _list_files(expand(place), None, wanted)
    if _is_file_name(place):
        return _list_file(place, wanted)
    files = dict(storage.find(place))
    if is_web(place):
        # A web server's page about a folder says nothing of its files but their names.
        told = states(join(place, file) for file in files if is_image(file))
        files |= {file: state for file in files if isinstance(state := told.get(join(place, file)), State)}
    if not files:
        raise DatasetError(f"{shown(place)} is not a dataset: give {FORMS}.")
    tree = Tree(place, files, {})
    if not any(is_image(file) and "/" in file for file in files) and not any(file in files for file in METADATA):
        shards = _shards(list(files))
        if shards:
            return _list_files([join(place, file) for file in shards], place, wanted)
    return _list_tree(tree, wanted)


def _list_local(source: Path, wanted: Wanted) -> Listing:
    try:
        status = source.stat()
    except (FileNotFoundError, NotADirectoryError):
        if is_pattern(str(source)):
            return _list_files(expand(os.path.abspath(source)), None, wanted)
        raise DatasetError(f"{shown(source)} does not exist.{near_sibling(source)}") from None
    except PermissionError:
        raise DatasetError(f"{shown(source)} may not be read: no permission.") from None
    if stat.S_ISDIR(status.st_mode):
        return _list_local_folder(source.resolve(), wanted)
    if stat.S_ISREG(status.st_mode) and _is_file_name(str(source)):
        # The file may be a link into another folder; what it names lies beside the link.
        return _list_file(str(source.parent.resolve() / source.name), wanted)
    raise DatasetError(f"{shown(source)} is not a dataset: give {FORMS}.")


def _list_local_folder(root: Path, wanted: Wanted) -> Listing:
    if wanted.split is not None and (root / wanted.split).is_dir():
        root, wanted = root / wanted.split, wanted.without_split()
    table = _own_table(str(root), lambda file: (root / file).is_file(), wanted)
    if table is not None:
        return list_manifest(table, str(root), wanted)
    listing = list_folder(root)
    if not listing.images:
        refuse_flat(root)
        shards = _shards([file.relative_to(root).as_posix() for file in root.rglob("*.*") if file.is_file()])
        if shards:
            return _list_files([str(root / file) for file in shards], str(root), wanted)
    refuse_missing_split(str(root), wanted, {image.label for image in listing.images})
    refuse_wrapper(listing, lambda file: (root / file).is_file())
    return listing


def _list_tree(tree: Tree, wanted: Wanted) -> Listing:
    if wanted.split is not None and wanted.split in tree.folders:
        tree, wanted = tree.below(wanted.split, join(tree.root, wanted.split)), wanted.without_split()
    table = _own_table(tree.root, tree.files.__contains__, wanted)
    if table is not None:
        return list_manifest(table, tree.root, wanted)
    refuse_missing_split(tree.root, wanted, tree.folders)
    listing = tree.listing()
    refuse_wrapper(listing, tree.files.__contains__)
    return listing


def _own_table(root: str, has: Callable[[str], bool], wanted: Wanted) -> str | None:
    """The table in a folder that says what its pictures show; others of these names are no concern of ours."""
    there = (join(root, file) for file in METADATA if has(file))
    return next((table for table in there if describes(table, wanted)), None)


def _list_file(file: str, wanted: Wanted) -> Listing:
    lower = name(file).lower()
    if lower.endswith(".zip"):
        return _list_archive("zip", file, "", wanted)
    if lower.endswith(SHARD_SUFFIXES):
        return _list_archive("tar", file, "", wanted)
    if lower.endswith(_TABLE):
        with open_table(file, fresh=True) as table:
            if image_column(table.schema_arrow, wanted.path_column) is not None:
                return list_tables([file], parent(file), wanted)
    return list_manifest(file, parent(file), wanted)


def _list_archive(kind: str, file: str, inside: str, wanted: Wanted) -> Listing:
    archive, _ = open_archive(kind, file, fresh=True)
    if archive.damage:
        raise DatasetError(
            f"{shown(file)} is damaged after {len(archive.slots):,} members ({archive.damage}): copy it again."
        )
    if kind == "tar" and not inside and is_webdataset(archive):
        return list_shards([file], parent(file), wanted.label_column, fresh=False)
    tree = Tree(member_address(kind, "", file), archive.states, archive.problems)
    folder = inside.strip("/")
    if folder:
        tree = tree.below(folder, member_address(kind, folder, file))
    while not folder and (wrapper := tree.wrapper()) is not None and wrapper != wanted.split:
        tree = tree.below(wrapper, join(tree.root, wrapper))
    return _list_tree(tree, wanted)


def _list_files(files: Sequence[str], folder: str | None, wanted: Wanted) -> Listing:
    """Tars of samples or tables of pictures, all of one kind, in the folder that they have in common."""
    folder = folder or common_folder(files)
    if folder is None:
        raise DatasetError(f"{shown(files[0])} and {shown(files[-1])} do not lie in one place: pass one of them.")
    names = {relative(file, folder): file for file in files}
    tables = [file for file in files if name(file).lower().endswith(_TABLE)]
    tars = [file for file in files if name(file).lower().endswith(SHARD_SUFFIXES)]
    if len(files) not in (len(tables), len(tars)):
        if len(files) == 1:
            return _list(files[0], wanted) if is_url(files[0]) else _list_local(Path(files[0]), wanted)
        raise DatasetError(
            f"{len(files):,} files, {shown(files[0])} among them, are not one dataset: only WebDataset tars and "
            "Parquet files with pictures may be many."
        )
    if wanted.split is not None:
        chosen = of_split(list(names), wanted.split)
        if chosen:
            files, wanted = [names[each] for each in chosen], wanted.without_split()
        elif tars:
            raise DatasetError(f"No tar in {shown(folder)} belongs to the split {shown(wanted.split)}.")
    return list_shards(files, folder, wanted.label_column) if tars else list_tables(files, folder, wanted)


def _shards(names: Sequence[str]) -> list[str]:
    """The tables of pictures among the names, or else the tars."""
    visible = sorted(each for each in names if not is_hidden(each))
    tables = [each for each in visible if each.lower().endswith(_TABLE)]
    return tables or [each for each in visible if each.lower().endswith(SHARD_SUFFIXES)]


def _is_file_name(place: str) -> bool:
    return name(place).lower().endswith((".zip", *SHARD_SUFFIXES, *MANIFEST_SUFFIXES))
