"""Class folders, ``root/<label>/**/image``: from the names of files, or by a walk through a folder of this machine."""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from gradattn_core.dataset.address import leads_out
from gradattn_core.dataset.storage import Stamp
from gradattn_core.dataset.text import as_text, is_text, shown
from gradattn_core.errors import DatasetError
from gradattn_core.records import Failure, ImageRecord, Listing

T = TypeVar("T")

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"})
_PACKER_FOLDERS = ("__MACOSX",)


@dataclass(frozen=True)
class Tree:
    """Files by their path below a root's address, and why some cannot be read."""

    root: str
    files: Mapping[str, Stamp]
    problems: Mapping[str, str]

    def below(self, folder: str, root: str) -> Tree:
        """The part in a folder, which has an address of its own."""
        start = f"{folder}/"

        def part(names: Mapping[str, T]) -> dict[str, T]:
            return {name.removeprefix(start): value for name, value in names.items() if name.startswith(start)}

        return Tree(root, part(self.files), part(self.problems))

    @property
    def folders(self) -> set[str]:
        """The names of the visible folders directly below the root."""
        return {name.split("/")[0] for name in self.files if "/" in name and not is_hidden(name)}

    def wrapper(self) -> str | None:
        """The one folder that everything was packed in, if the classes are folders within it."""
        images = [name for name in self.files if is_image(name) and not is_hidden(name)]
        if len(self.folders) == 1 and any(name.count("/") > 1 for name in images):
            return next(iter(self.folders))
        return None

    def listing(self) -> Listing:
        """As ``label/**/image``, by the rules for a folder: see ``list_dataset``."""
        images: list[ImageRecord] = []
        failures = [
            Failure(as_text(name), "list", why)
            for name, why in self.problems.items()
            if is_image(name) or leads_out(name)
        ]
        skipped = len(self.problems) - len(failures)
        for name, stamp in self.files.items():
            if leads_out(name):
                failures.append(Failure(as_text(name), "list", "the name leads out of the dataset; it is not opened"))
            elif is_hidden(name) or not is_image(name) or "/" not in name:
                skipped += 1
            elif not is_text(name):
                failures.append(Failure(as_text(name), "list", "the name is not valid UTF-8: rename it"))
            else:
                images.append(ImageRecord(name, name.split("/")[0], *stamp))
        images.sort(key=lambda image: image.path)
        failures.sort(key=lambda failure: failure.path)
        return Listing(self.root, tuple(images), tuple(failures), skipped)


def is_image(name: str) -> bool:
    return posixpath.splitext(name)[1].lower() in IMAGE_SUFFIXES


def is_hidden(name: str) -> bool:
    """Whether a part of the path begins with a dot, or a packer put it there for itself."""
    return any(part.startswith(".") for part in name.split("/")) or name.split("/")[0] in _PACKER_FOLDERS


def list_folder(root: Path) -> Listing:
    """List a class folder; see ``list_dataset``.

    Raises:
        DatasetError: the folder may not be read.
    """
    labels: list[str] = []
    skipped = 0
    try:
        with os.scandir(root) as entries:
            for entry in entries:
                if _is_folder(entry) and not entry.name.startswith("."):
                    labels.append(entry.name)
                else:
                    skipped += 1
    except OSError as error:
        raise DatasetError(f"{shown(root)} may not be read: {error.strerror}.") from None
    walk = _Walk(root, skipped)
    for label in labels:
        walk.enter_class(label)
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
        elif not is_image(entry.name):
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


def _identity(folder: str) -> tuple[int, int]:
    status = os.stat(folder)
    return status.st_dev, status.st_ino
