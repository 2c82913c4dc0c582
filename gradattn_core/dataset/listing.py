"""Which images a dataset has, under which labels: the class folder, and the dispatch to manifests."""

from __future__ import annotations

import os
import stat
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from gradattn_core.dataset.manifest import MANIFEST_SUFFIXES, list_manifest
from gradattn_core.dataset.wording import as_text, did_you_mean, is_text, shown, shown_all
from gradattn_core.errors import DatasetError
from gradattn_core.records import Failure, ImageRecord, Listing

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"})
_SPLIT_NAMES = frozenset({"train", "training", "val", "valid", "validation", "dev", "test", "testing"})
_FORMS = "a folder root/<label>/… of images, or a manifest (" + ", ".join(sorted(MANIFEST_SUFFIXES)) + ")"


def list_dataset(
    source: str | Path,
    *,
    path_column: str = "path",
    label_column: str = "label",
    split_column: str = "split",
    split: str | None = None,
) -> Listing:
    """List a labelled dataset, ordered by path, so that the same dataset always lists the same.

    A folder is read as ``root/<label>/**/image`` with the endings of ``IMAGE_SUFFIXES`` in any case. Hidden entries,
    files that are not images and images directly in the root are skipped and counted (a hidden folder counts once).
    Links are followed; one that leads back into its own class is not entered twice.

    A CSV, TSV, Parquet or JSONL manifest names the images and their labels; relative paths start at its folder.

    Args:
        source: the folder or the manifest.
        path_column, label_column: the manifest's columns.
        split_column, split: list only the rows whose ``split_column`` equals ``split`` (manifests only).

    Raises:
        DatasetError: nothing can be audited: the source is missing, unreadable, of no known form, empty, or has
            one class only; a column or the split is not there.
    """
    source = Path(source)
    status = _status(source)
    if stat.S_ISDIR(status.st_mode):
        if split is not None:
            raise DatasetError(
                f"A split can be chosen in a manifest only; {shown(source)} is a folder: pass the folder of the split."
            )
        listing = _list_folder(source.resolve())
    elif stat.S_ISREG(status.st_mode) and source.suffix.lower() in MANIFEST_SUFFIXES:
        listing = list_manifest(source, path_column, label_column, split_column, split)
    else:
        raise DatasetError(f"{shown(source)} is not a dataset: give {_FORMS}.")
    _refuse_unusable(source, listing)
    return listing


def _refuse_unusable(source: Path, listing: Listing) -> None:
    if not is_text(listing.root):
        raise DatasetError(f"The folder {shown(listing.root)} has a name that is not valid UTF-8: rename it.")
    classes = listing.classes
    if not classes:
        problem = ""
        if listing.failures:
            first = listing.failures[0]
            problem = f" The first of {len(listing.failures):,} problems: {shown(first.path)}: {first.reason}."
        raise DatasetError(f"{shown(source)} has no usable images: give {_FORMS}.{problem}")
    if len(classes) == 1:
        raise DatasetError(
            f"{shown(source)} has one class only, {shown(classes[0])}: wrong labels can be found between two or more."
        )


def _status(source: Path) -> os.stat_result:
    try:
        return source.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise DatasetError(f"{shown(source)} does not exist.{_near_sibling(source)}") from None
    except PermissionError:
        raise DatasetError(f"{shown(source)} may not be read: no permission.") from None
    except (OSError, ValueError) as error:
        raise DatasetError(f"{shown(source)} cannot be read: {getattr(error, 'strerror', None) or error}.") from None


def _near_sibling(source: Path) -> str:
    """What the first missing part of the path may have meant."""
    missing = source
    while not missing.parent.is_dir() and missing.parent != missing:
        missing = missing.parent
    try:
        siblings = sorted(os.listdir(missing.parent))
    except OSError:
        return ""
    return did_you_mean(missing.name, siblings)


def _list_folder(root: Path) -> Listing:
    labels: list[str] = []
    in_root: list[str] = []
    try:
        with os.scandir(root) as entries:
            for entry in entries:
                (labels if _is_folder(entry) and not entry.name.startswith(".") else in_root).append(entry.name)
    except OSError as error:
        raise DatasetError(f"{shown(root)} may not be read: {error.strerror}.") from None
    walk = _Walk(root, skipped=len(in_root))
    for label in labels:
        walk.enter_class(label)
    if walk.images:
        _refuse_wrapper(root, walk.images)
    else:
        _refuse_flat(root, in_root)
    walk.images.sort(key=lambda image: image.path)
    walk.failures.sort(key=lambda failure: failure.path)
    return Listing(str(root), tuple(walk.images), tuple(walk.failures), walk.skipped)


@dataclass
class _Walk:
    """A walk through the classes of a folder, and what it has met so far."""

    root: Path
    skipped: int
    images: list[ImageRecord] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    _folders: list[str] = field(default_factory=list)
    _links: list[str] = field(default_factory=list)

    def enter_class(self, label: str) -> None:
        """Collect everything below ``root/label``, each real folder once.

        Linked folders come after all real ones and in order, so that what a link shows again is always listed under
        its real place, whatever order the file system answers in.
        """
        entered = {_identity(os.fspath(self.root))}
        self._folders.append(label)
        while self._folders or self._links:
            if not self._folders:
                self._links.sort(reverse=True)
                self._folders.append(self._links.pop())
            relative = self._folders.pop()
            folder = os.path.join(self.root, relative)
            try:
                identity = _identity(folder)
                if identity not in entered:
                    entered.add(identity)
                    with os.scandir(folder) as entries:
                        for entry in entries:
                            self._take(entry, f"{relative}/{entry.name}", label)
            except OSError as error:
                self._fail(relative, f"the folder cannot be read: {error.strerror}")

    def _take(self, entry: os.DirEntry[str], path: str, label: str) -> None:
        if entry.name.startswith("."):
            self.skipped += 1
        elif _is_folder(entry):
            (self._links if entry.is_symlink() else self._folders).append(path)
        elif not _is_image_name(entry.name):
            self.skipped += 1
        elif not is_text(path):
            self._fail(path, "the name is not valid UTF-8: rename it")
        else:
            try:
                status = entry.stat()
            except FileNotFoundError:
                self._fail(path, "a link to a file that does not exist")
            except OSError as error:
                self._fail(path, f"cannot be read: {error.strerror}")
            else:
                if stat.S_ISREG(status.st_mode):
                    self.images.append(ImageRecord(path, label, status.st_size, status.st_mtime_ns))
                else:
                    self._fail(path, "not a regular file")

    def _fail(self, path: str, reason: str) -> None:
        self.failures.append(Failure(as_text(path), "list", reason))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, or into a folder without permission
        return False


def _is_image_name(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def _identity(folder: str) -> tuple[int, int]:
    status = os.stat(folder)
    return status.st_dev, status.st_ino


def _refuse_flat(root: Path, names: list[str]) -> None:
    images = sum(_is_image_name(name) and not name.startswith(".") for name in names)
    if not images:
        return
    manifests = sorted(name for name in names if os.path.splitext(name)[1].lower() in MANIFEST_SUFFIXES)
    instead = f"pass its manifest {shown(root / manifests[0])}" if manifests else "sort them into root/<label>/"
    raise DatasetError(f"{shown(root)} is a flat folder: {images:,} images and no labels; {instead}.")


def _refuse_wrapper(root: Path, images: list[ImageRecord]) -> None:
    """Refuse ``root/train/<label>/image`` and the like: the splits would pass for classes."""
    folders = Counter(image.label for image in images)
    only_splits = len(folders) == 1 or all(name.casefold() in _SPLIT_NAMES for name in folders)
    if only_splits and all(image.path.count("/") > 1 for image in images):
        largest = folders.most_common(1)[0][0]
        raise DatasetError(
            f"{shown(root)} has no class folders but {shown_all(sorted(folders))} around them: "
            f"pass {shown(root / largest)}."
        )
