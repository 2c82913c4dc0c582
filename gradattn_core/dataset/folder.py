"""Class folders, ``root/<label>/**/image``: from the names of files, or by a walk through a folder of this machine."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from gradattn_core.dataset.address import leads_out
from gradattn_core.dataset.endings import (
    NO_CLASS,
    NO_PICTURE,
    OUTPUT,
    is_hidden,
    is_image,
    passed_over,
    passed_over_part,
    unread_picture,
)
from gradattn_core.dataset.storage import Stamp, stamp_of
from gradattn_core.dataset.text import as_text, is_text, shown
from gradattn_core.errors import DatasetError
from gradattn_core.outfolder import DATABASE
from gradattn_core.records import Failure, ImageRecord, Listing

T = TypeVar("T")


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
        failures: list[Failure] = []
        skipped: dict[str, Failure] = {}
        ours = self._output_folders()
        for name, problem in (*((name, None) for name in self.files), *self.problems.items()):
            label = as_text(name.split("/")[0]) if "/" in name else ""
            over = passed_over_part(name) or next(((folder, OUTPUT) for folder in ours if is_below(name, folder)), None)
            if leads_out(name):
                why = problem or "the name leads out of the dataset; it is not opened"
                failures.append(Failure(as_text(name), "list", why))
            elif over is not None:
                skipped.setdefault(over[0], Failure(as_text(over[0]), "skip", over[1]))
            elif not label:
                skipped[name] = Failure(as_text(name), "skip", NO_CLASS if is_image(name) else NO_PICTURE)
            elif not is_image(name):
                unread = unread_picture(name)
                if unread is None:
                    skipped[name] = Failure(as_text(name), "skip", NO_PICTURE, label)
                else:
                    failures.append(Failure(as_text(name), "list", unread, label))
            elif problem is not None or not is_text(name):
                why = problem or "the name is not valid UTF-8: rename it"
                failures.append(Failure(as_text(name), "list", why, label))
            else:
                images.append(ImageRecord(name, label, *self.files[name]))
        images.sort(key=lambda image: image.path)
        failures.sort(key=lambda failure: failure.path)
        passed = tuple(skipped[name] for name in sorted(skipped))
        return Listing(self.root, tuple(images), tuple(failures), passed)

    def _output_folders(self) -> list[str]:
        """Folders with a database of gradattn: what lies in them was made from the dataset."""
        return [name.removesuffix(f"/{DATABASE}") for name in self.files if name.endswith(f"/{DATABASE}")]


def is_below(name: str, folder: str) -> bool:
    """Whether a path lies in a folder or is the folder itself."""
    return name == folder or name.startswith(f"{folder}/")


def list_folder(root: Path) -> Listing:
    """List a class folder; see ``list_dataset``.

    Raises:
        DatasetError: the folder may not be read.
    """
    labels: list[str] = []
    walk = _Walk(root)
    try:
        with os.scandir(root) as entries:
            for entry in entries:
                if walk.passes_over(entry, entry.name):
                    continue
                if _is_folder(entry):
                    labels.append(entry.name)
                else:
                    walk.skip(entry.name, NO_CLASS if is_image(entry.name) else NO_PICTURE)
    except OSError as error:
        raise DatasetError(f"{shown(root)} may not be read: {error.strerror}.") from None
    for label in labels:
        walk.enter_class(label)
    walk.images.sort(key=lambda image: image.path)
    walk.failures.sort(key=lambda failure: failure.path)
    walk.skipped.sort(key=lambda failure: failure.path)
    return Listing(str(root), tuple(walk.images), tuple(walk.failures), tuple(walk.skipped))


@dataclass
class _Walk:
    """A walk through the classes of a folder, and what it has met so far."""

    root: Path
    images: list[ImageRecord] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    skipped: list[Failure] = field(default_factory=list)
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
                self._fail(relative, f"the folder cannot be read: {error.strerror}", label)

    def passes_over(self, entry: os.DirEntry[str], path: str) -> bool:
        """Whether an entry is none of the dataset's; it counts once then, whatever is in it."""
        why = passed_over(entry.name, folder=_is_folder(entry))
        if why is None and _is_folder(entry) and os.path.isfile(os.path.join(entry.path, DATABASE)):
            why = OUTPUT
        if why is not None:
            self.skip(path, why)
        return why is not None

    def skip(self, path: str, reason: str, label: str = "") -> None:
        self.skipped.append(Failure(as_text(path), "skip", reason, as_text(label)))

    def _take(self, entry: os.DirEntry[str], path: str, label: str) -> None:
        if self.passes_over(entry, path):
            return
        if _is_folder(entry):
            (self._links if entry.is_symlink() else self._folders).append(path)
        elif not is_image(entry.name):
            why = unread_picture(entry.name)
            if why is None:
                self.skip(path, NO_PICTURE, label)
            else:
                self._fail(path, why, label)
        elif not is_text(path):
            self._fail(path, "the name is not valid UTF-8: rename it", label)
        else:
            try:
                status = entry.stat()
            except FileNotFoundError:
                self._fail(path, "a link to a file that does not exist", label)
            except OSError as error:
                self._fail(path, f"cannot be read: {error.strerror}", label)
            else:
                if stat.S_ISREG(status.st_mode):
                    self.images.append(ImageRecord(path, label, *stamp_of(status)))
                else:
                    self._fail(path, "not a regular file", label)

    def _fail(self, path: str, reason: str, label: str) -> None:
        self.failures.append(Failure(as_text(path), "list", reason, as_text(label)))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, or into a folder without permission
        return False


def _identity(folder: str) -> tuple[int, int]:
    status = os.stat(folder)
    return status.st_dev, status.st_ino
