"""Which images a dataset has, under which labels, whatever it lies in: one function that knows all forms by sight.

What is no dataset is refused in a sentence that says what would be one.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from gradattn_core.config import BOX_MARGIN, MIN_BOX
from gradattn_core.dataset import storage
from gradattn_core.dataset.address import (
    BOXES,
    canonical,
    common_folder,
    file_name,
    is_url,
    is_web,
    join,
    member,
    member_address,
    parent,
    relative,
)
from gradattn_core.dataset.annotations import AnnotatedSet, boxes_listing
from gradattn_core.dataset.archives import open_archive
from gradattn_core.dataset.beside import TABLES, own_table, passed_over_tables
from gradattn_core.dataset.contents import head_of, stand_in
from gradattn_core.dataset.detection import Files, detected, detected_by, files_of_folder, may_be_detection
from gradattn_core.dataset.endings import OUTPUT, SYSTEM, is_hidden, is_image, passed_over, suffix
from gradattn_core.dataset.folder import Tree, list_folder
from gradattn_core.dataset.labels import merged_spellings, notes_about
from gradattn_core.dataset.levels import METADATA, by_level, check_level
from gradattn_core.dataset.manifest import list_manifest
from gradattn_core.dataset.parquet import holds_pictures, image_column, list_tables, open_table
from gradattn_core.dataset.refusals import (
    FORMS,
    near_sibling,
    no_dataset,
    refuse_depth,
    refuse_flat,
    refuse_missing_folder,
    refuse_missing_split,
    refuse_unusable,
)
from gradattn_core.dataset.secrets import remember, without_secrets
from gradattn_core.dataset.selection import (
    LABEL_COLUMN,
    PATH_COLUMN,
    SPLIT_COLUMN,
    DatasetSelection,
    Subset,
    expand,
    is_pattern,
    of_split,
)
from gradattn_core.dataset.stamps import stamps
from gradattn_core.dataset.storage import Stamp
from gradattn_core.dataset.subset import of_classes, so_many, without_labels
from gradattn_core.dataset.tables import MANIFEST_SUFFIXES
from gradattn_core.dataset.text import data_note, file_problem, shown, shown_all
from gradattn_core.dataset.webdataset import SHARD_SUFFIXES, is_webdataset, list_shards
from gradattn_core.errors import DatasetError
from gradattn_core.files import user_path
from gradattn_core.records import Listing

_TABLE_SUFFIX = ".parquet"
_YAML = (".yaml", ".yml")
_ANNOTATION_SUFFIXES = (".json", ".json.gz", *_YAML)


def list_dataset(
    source: str | Path,
    *,
    path_column: str = PATH_COLUMN,
    label_column: str = LABEL_COLUMN,
    split_column: str = SPLIT_COLUMN,
    split: str | None = None,
    image_root: str | None = None,
    image_ending: str | None = None,
    label_depth: str | None = None,
    exclude_labels: Sequence[str] = (),
    classes: Sequence[str] = (),
    limit: int = 0,
    sample: int = 0,
    seed: int = 0,
    merge_spellings: bool = False,
    box_margin: float = BOX_MARGIN,
    min_box: int = MIN_BOX,
) -> Listing:
    """List a labelled dataset, ordered by path, so that the same dataset always lists the same.

    A folder is read as ``root/<label>/**/image`` with the endings of ``endings.IMAGE_SUFFIXES`` in any case. Hidden
    entries, files that are not images and images directly in the root are skipped and counted (a hidden folder of this
    machine counts once). Links are followed; one that leads back into its own class is not entered twice. A zip or tar,
    gzipped or not, is read the same way from its index, without a folder that everything was packed in.

    A CSV, TSV, Parquet or JSONL manifest names the images and their labels; relative paths start at its folder, and
    URLs name images anywhere. ``metadata.csv`` or ``.jsonl`` in a folder is its manifest.

    Tars of samples (WebDataset) and Parquet files with pictures in them may be many: a folder of them, or a pattern
    such as ``train-{000..012}.tar`` or ``data/*.parquet``.

    A detection set (:mod:`gradattn_core.dataset.detection`) is listed as its boxes, each of which is a picture.

    All of these may lie on this machine or at a URL that fsspec knows. No picture is read,
    but for the headers of those with boxes.

    Args:
        source: path, URL or pattern. Passwords and signatures in a URL are kept in memory and not in the listing.
        path_column: the manifest's column of paths, or the Parquet column of pictures.
        label_column: the manifest's or table's column, or the field of a sample's JSON.
        split_column, split: list only one split: the rows whose ``split_column`` equals ``split``, the folder of that
            name, or the files whose names begin with it.
        image_root: folder, archive or URL where the paths of a manifest start; its own folder without it.
        image_ending: of the pictures' names where a manifest's paths have none.
        label_depth: which level of folders is the label: ``"2"``, or ``"1-2"`` for two joined by a slash.
        exclude_labels, classes, limit, sample, seed: which part of it is listed, see
            :class:`~gradattn_core.dataset.selection.Subset`.
        merge_spellings: take labels that differ only in case, blanks, ``_``, ``-``, zeros or Unicode form for one.
        box_margin, min_box: of annotated boxes: the margin in parts of a box's sides, and the pixels that its shorter
            side has at least.

    Raises:
        DatasetError: nothing can be audited: the source is missing, unreadable, of no known form, empty, or has
            one class only; a column or the split is not there; the package that reads such a URL is not installed.
    """
    if image_ending is not None:
        image_ending = f".{image_ending.removeprefix('.')}"
    if label_depth is not None:
        check_level(label_depth)
    selection = DatasetSelection(
        path_column,
        label_column,
        split_column,
        split,
        image_root and _image_root(image_root),
        image_ending,
        label_depth,
        merge_spellings,
        Subset(tuple(exclude_labels), tuple(classes), limit, sample, seed),
        box_margin,
        min_box,
    )
    public = without_secrets(str(source))
    place = canonical(remember(str(source)))
    try:
        listing = _list(place, selection) if is_url(place) else _list_local(Path(place), selection)
    except (OSError, ValueError) as error:
        raise DatasetError(f"{shown(public)} {file_problem(error)}.") from None
    if (box_margin, min_box) != (BOX_MARGIN, MIN_BOX) and not listing.root.startswith(f"{BOXES}://"):
        raise DatasetError(f"{shown(public)} has no annotated boxes, of which --box-margin and --min-box speak.")
    listing = of_classes(without_labels(listing, selection.subset.exclude_labels), selection.subset.classes)
    if merge_spellings:
        listing = merged_spellings(listing)
    listing = so_many(listing, selection.subset)
    refuse_unusable(public, listing)
    return replace(listing, notes=(*listing.notes, *_about_passed_over(listing), *notes_about(listing)))


def _image_root(source: str) -> str:
    """The address of the folder or archive where the paths of a table start.

    Raises:
        DatasetError: there is none of this name on this machine.
    """
    place = canonical(remember(source))
    if not is_url(place):
        folder = user_path(place).resolve()
        if not folder.exists():
            raise DatasetError(f"--image-root {shown(source)} does not exist.{near_sibling(folder)}{data_note()}")
        place = str(folder)
        if folder.is_dir():
            return place
    lower = file_name(place).lower()
    if member(place) is None and lower.endswith((".zip", *SHARD_SUFFIXES)):
        return member_address("zip" if lower.endswith(".zip") else "tar", "", place)
    if not is_url(place):
        raise DatasetError(f"--image-root {shown(source)} is neither a folder nor a zip or tar.")
    return place


def _list(place: str, selection: DatasetSelection) -> Listing:
    """A dataset at a URL, or in a container that was named in the way of URLs."""
    inner = member(place)
    if inner is not None and inner.kind == BOXES:
        raise DatasetError(f"{shown(place)} names boxes of an audit: give the folder or file with the annotations.")
    if inner is not None and inner.kind in ("zip", "tar"):
        return _list_archive(inner.kind, inner.outer, inner.inside, selection)
    if inner is not None:
        selection = replace(selection, path_column=inner.inside or selection.path_column)
        return _list(inner.outer, selection) if is_url(inner.outer) else _list_local(Path(inner.outer), selection)
    if is_pattern(place):
        return _list_files(expand(place), None, selection)
    if _is_file_name(place):
        return _list_file(place, selection)
    files = dict(storage.files_below(place))
    if is_web(place):
        # A web server's page about a folder says nothing of its files but their names.
        stamp_of = stamps(join(place, file) for file in files if is_image(file))
        files |= {file: stamp for file in files if isinstance(stamp := stamp_of.get(join(place, file)), Stamp)}
    if not files:
        raise DatasetError(f"{shown(place)} is not a dataset: give {FORMS}.")
    tree = Tree(place, files, {})
    if not any(is_image(file) and "/" in file for file in files) and not any(file in files for file in METADATA):
        shards = _shards(list(files))
        if shards:
            return _list_files([join(place, file) for file in shards], place, selection)
    return _list_tree(tree, selection)


def _list_local(source: Path, selection: DatasetSelection) -> Listing:
    try:
        status = source.stat()
    except (FileNotFoundError, NotADirectoryError):
        if is_pattern(str(source)):
            return _list_files(expand(os.path.abspath(source)), None, selection)
        raise DatasetError(f"{shown(source)} does not exist.{near_sibling(source)}{data_note()}") from None
    except PermissionError:
        raise DatasetError(f"{shown(source)} may not be read: no permission.") from None
    if stat.S_ISDIR(status.st_mode):
        return _list_local_folder(_unwrapped(source.resolve()), selection)
    if stat.S_ISREG(status.st_mode) and _is_file_name(str(source)):
        # The file may be a link into another folder; what it names lies beside the link.
        return _list_file(str(source.parent.resolve() / source.name), selection)
    raise no_dataset(str(source))


def _list_local_folder(root: Path, selection: DatasetSelection) -> Listing:
    if not any((root / name).is_file() for name in METADATA) and may_be_detection(str(root)):
        found = _boxes_among(lambda: files_of_folder(str(root)), selection)
        if found is not None:
            return found
    if selection.split is not None and (root / selection.split).is_dir():
        root, selection = _unwrapped(root / selection.split), selection.without_split()
    tables = [each for each in sorted(os.listdir(root)) if each.lower().endswith(TABLES) and (root / each).is_file()]
    table = own_table(str(root), tables, selection)
    if table is not None:
        return _list_table(table, str(root), selection)
    listing = list_folder(root)
    if not listing.images:
        refuse_flat(root)
        shards = _shards([file.relative_to(root).as_posix() for file in root.rglob("*.*") if file.is_file()])
        if shards:
            return _list_files([str(root / file) for file in shards], str(root), selection)
    listing = _within_split(passed_over_tables(listing, tables, selection), selection)
    return by_level(listing, selection.label_depth, lambda file: (root / file).is_file())


def _unwrapped(root: Path) -> Path:
    """The folder, or the one of its own name that is all there is in it, as some programs unpack archives."""
    inner = root / root.name
    while inner.is_dir() and [each for each in os.listdir(root) if not passed_over(each, folder=True)] == [root.name]:
        root, inner = inner, inner / root.name
    return root


def _list_tree(tree: Tree, selection: DatasetSelection) -> Listing:
    visible = frozenset(name for name in tree.files if not is_hidden(name))
    found = None if visible & {*METADATA} else _boxes_among(lambda: Files(tree.root, visible), selection)
    if found is not None:
        return found
    if selection.split is not None and selection.split in tree.folders:
        tree, selection = tree.below(selection.split, join(tree.root, selection.split)), selection.without_split()
    tables = (
        [] if is_web(tree.root) else sorted(each for each in tree.files if "/" not in each and each.endswith(TABLES))
    )
    table = own_table(tree.root, tables, selection)
    if table is not None:
        return _list_table(table, tree.root, selection)
    listing = _within_split(passed_over_tables(tree.listing(), tables, selection), selection)
    return by_level(listing, selection.label_depth, tree.files.__contains__)


def _list_table(table: str, root: str, selection: DatasetSelection) -> Listing:
    refuse_depth(table, selection)
    return list_manifest(table, root, selection)


def _boxes_among(files: Callable[[], Files], selection: DatasetSelection) -> Listing | None:
    """The boxes of a detection set; None of any other dataset, and where a level or column of labels was named."""
    columns = (selection.path_column, selection.label_column, selection.split_column)
    if selection.label_depth is not None or columns != (PATH_COLUMN, LABEL_COLUMN, SPLIT_COLUMN):
        return None
    return _boxes(detected(files(), selection), selection)


def _boxes(found: AnnotatedSet | None, selection: DatasetSelection) -> Listing | None:
    return None if found is None else boxes_listing(found, selection.box_margin, selection.min_box)


def _within_split(listing: Listing, selection: DatasetSelection) -> Listing:
    """Only the pictures in folders of the split's name within the classes, where there are any.

    Raises:
        DatasetError: nothing in the dataset could be the split.
    """
    if selection.split is None:
        return listing

    def is_of_split(path: str) -> bool:
        return selection.split in path.split("/")[1:-1]

    images = tuple(image for image in listing.images if is_of_split(image.path))
    if not images:
        refuse_missing_split(listing.root, selection, {image.label for image in listing.images})
    failures = tuple(failure for failure in listing.failures if is_of_split(failure.path))
    return replace(listing, images=images, failures=failures)


def _about_passed_over(listing: Listing) -> list[str]:
    """That folders of systems, and output folders of ours, were passed over: their pictures are none of the dataset."""
    sentences = []
    for what, reason in (("made by a system or a packer", SYSTEM), ("of gradattn's output", OUTPUT)):
        paths = [each.path for each in listing.skipped if each.reason == reason]
        folders = [path for path in paths if suffix(path) not in (".db", ".ini", ".jbf")]
        if folders:
            counted = "1 folder" if len(folders) == 1 else f"{len(folders):,} folders"
            sentences.append(f"Passed over: {counted} {what} ({shown_all(folders[:5])}).")
    return sentences


def _list_file(file: str, selection: DatasetSelection) -> Listing:
    lower = file_name(file).lower()
    if not is_url(file) and (other := stand_in(head_of(file))):
        raise DatasetError(f"{shown(file)} is {other}.")
    if lower.endswith(".zip"):
        return _list_archive("zip", file, "", selection)
    if lower.endswith(SHARD_SUFFIXES):
        return _list_archive("tar", file, "", selection)
    if lower.endswith(_ANNOTATION_SUFFIXES):
        found = _boxes(detected_by(file, selection), selection)
        if found is not None:
            refuse_depth(file, selection)
            return found
    if lower.endswith(_TABLE_SUFFIX):
        with open_table(file, fresh=True) as table:
            column = image_column(table.schema_arrow, selection.path_column)
            if column is not None and holds_pictures(table, column):
                refuse_depth(file, selection)
                return list_tables([file], parent(file), selection)
    return _list_table(file, parent(file), selection)


def _list_archive(kind: str, file: str, inside: str, selection: DatasetSelection) -> Listing:
    archive, _ = open_archive(kind, file, fresh=True)
    if archive.damage:
        raise DatasetError(
            f"{shown(file)} is damaged after {len(archive.entries):,} members ({archive.damage}): copy it again."
        )
    if kind == "tar" and not inside and is_webdataset(archive):
        refuse_depth(file, selection)
        return list_shards([file], parent(file), selection.label_column, fresh=False)
    tree = Tree(member_address(kind, "", file), archive.stamps, archive.problems)
    folder = inside.strip("/")
    if folder:
        if not any(name.startswith(f"{folder}/") for name in (*tree.files, *tree.problems)):
            refuse_missing_folder(file, folder, tree.folders)
        tree = tree.below(folder, member_address(kind, folder, file))
    while not folder and (wrapper := tree.wrapper()) is not None and wrapper != selection.split:
        tree = tree.below(wrapper, join(tree.root, wrapper))
    listing = _list_tree(tree, selection)
    if archive.guessed:
        note = (
            f"{shown(file_name(file))} does not say in which encoding its names are, {shown(archive.guessed, 120)} "
            "among them: letters of labels may be others. Pack it with names in UTF-8."
        )
        listing = replace(listing, notes=(*listing.notes, note))
    return listing


def _list_files(files: Sequence[str], folder: str | None, selection: DatasetSelection) -> Listing:
    """Tars of samples or tables of pictures, all of one kind, in the folder that they have in common."""
    folder = folder or common_folder(files)
    if folder is None:
        raise DatasetError(f"{shown(files[0])} and {shown(files[-1])} do not lie in one place: pass one of them.")
    names = {relative(file, folder): file for file in files}
    tables = [file for file in files if file_name(file).lower().endswith(_TABLE_SUFFIX)]
    tars = [file for file in files if file_name(file).lower().endswith(SHARD_SUFFIXES)]
    if len(files) not in (len(tables), len(tars)):
        if len(files) == 1:
            return _list(files[0], selection) if is_url(files[0]) else _list_local(Path(files[0]), selection)
        raise DatasetError(
            f"{len(files):,} files, {shown(files[0])} among them, are not one dataset: only WebDataset tars and "
            "Parquet files with pictures may be many."
        )
    refuse_depth(folder, selection)
    if selection.split is not None:
        names_of_split = of_split(list(names), selection.split)
        if names_of_split:
            files, selection = [names[each] for each in names_of_split], selection.without_split()
        elif tars:
            raise DatasetError(f"No tar in {shown(folder)} belongs to the split {shown(selection.split)}.")
    return list_shards(files, folder, selection.label_column) if tars else list_tables(files, folder, selection)


def _shards(names: Sequence[str]) -> list[str]:
    """The tables of pictures among the names, or else the tars."""
    visible = sorted(each for each in names if not is_hidden(each))
    tables = [each for each in visible if each.lower().endswith(_TABLE_SUFFIX)]
    return tables or [each for each in visible if each.lower().endswith(SHARD_SUFFIXES)]


def _is_file_name(place: str) -> bool:
    return file_name(place).lower().endswith((".zip", *SHARD_SUFFIXES, *MANIFEST_SUFFIXES, *_YAML))
