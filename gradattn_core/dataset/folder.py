"""The class folder of this machine: ``root/<label>/**/image``."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from gradattn_core.dataset.tree import is_image
from gradattn_core.dataset.wording import as_text, is_text, shown
from gradattn_core.errors import DatasetError
from gradattn_core.records import Failure, ImageRecord, Listing


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
