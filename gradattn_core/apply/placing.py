"""One image after another into its place in a new tree, each whole or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from gradattn_core.apply.corrections import Image
from gradattn_core.apply.names import Place
from gradattn_core.dataset.decoding import content_hash, read_bytes, read_file
from gradattn_core.errors import ApplyError, UnreadableImageError

# How a system says that it has no such links there.
_NO_LINKS = {errno.EXDEV, errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
_OF_THIS_FILE = {errno.ENAMETOOLONG, errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOENT}
_READERS = 8


@dataclass(frozen=True, slots=True)
class Item:
    """An image, the label it goes under, and where; ``source`` is its file, None where it is no file of its own."""

    image: Image
    label: str
    place: Place
    source: Path | None


class Placing:
    """Links or copies images below ``target``; ``notes`` says where it had to do otherwise than was asked for."""

    def __init__(self, root: str, target: Path, link: str) -> None:
        self.notes: list[str] = []
        self._root, self._target, self._link = root, target, link
        self._folders: set[Path] = set()

    def place(self, items: Sequence[Item]) -> dict[str, str]:
        """Put each image in its place, unless it is there; what was in its way in a tree of ours is replaced.

        Returns:
            the images that could not be placed: the reason by path.
        """
        failed: dict[str, str] = {}
        copies: list[Item] = []
        for item in items:
            try:
                self._make_folder((self._target / str(item.place)).parent)
                if not self._linked(item):
                    copies.append(item)
            except OSError as error:
                failed[item.image.path] = _of_this_file(error)
        with ThreadPoolExecutor(_READERS) as pool:
            reasons = pool.map(self._copy, copies)
            return failed | {
                item.image.path: reason for item, reason in zip(copies, reasons, strict=True) if reason is not None
            }

    def _make_folder(self, folder: Path) -> None:
        """Make a folder of the tree, unless a link that somebody put there leads out of it."""
        if folder in self._folders:
            return
        if not folder.resolve().is_relative_to(self._target.resolve()):
            raise ApplyError(f"{folder} leads out of {self._target} by a link; delete that")
        folder.mkdir(parents=True, exist_ok=True)
        self._folders.add(folder)

    def _linked(self, item: Item) -> bool:
        """Link the image's file; False where it is to be copied."""
        if self._link == "copy":
            return False
        if item.source is None:
            self._note("images that are no files of their own were copied")
            return False
        at = self._target / str(item.place)
        try:
            try:
                self._make_link(item.source, at)
            except FileExistsError:
                if not self._is_link(item.source, at):
                    part = _part(at)
                    part.unlink(missing_ok=True)
                    self._make_link(item.source, part)
                    part.replace(at)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            kind = "symbolic" if self._link == "symlink" else "hard"
            self._note(f"no {kind} links can be made in {self._target} ({error.strerror}): images were copied")
            self._link = "copy"
            return False
        return True

    def _make_link(self, source: Path, at: Path) -> None:
        if self._link == "symlink":
            at.symlink_to(source)
        else:
            # A hard link to a symbolic link would be a second symbolic link.
            os.link(os.path.realpath(source), at)

    def _is_link(self, source: Path, at: Path) -> bool:
        if self._link == "symlink":
            return at.is_symlink() and os.readlink(at) == str(source)
        return not at.is_symlink() and at.samefile(source)

    def _copy(self, item: Item) -> str | None:
        """Copy the image; the reason where that is not possible."""
        at = self._target / str(item.place)
        try:
            if not at.is_symlink() and content_hash(read_file(at)) == item.image.content_hash and not _shared(at):
                return None
        except UnreadableImageError:
            pass
        try:
            data = read_bytes(self._root, item.image.path)
        except UnreadableImageError as error:
            return str(error)
        part = _part(at)
        try:
            part.unlink(missing_ok=True)
            part.write_bytes(data)
            part.replace(at)
        except OSError as error:
            with suppress(OSError):
                part.unlink(missing_ok=True)
            return _of_this_file(error)
        return None

    def _note(self, sentence: str) -> None:
        if sentence not in self.notes:
            self.notes.append(sentence)


def _part(at: Path) -> Path:
    """Where a file is made before it gets its name; hidden, and the same in the next run."""
    return at.with_name(f".part-{blake2b(at.name.encode(), digest_size=8).hexdigest()}")


def _shared(at: Path) -> bool:
    """Whether the file is a hard link: an earlier run's, to the dataset's own file."""
    return at.stat().st_nlink > 1


def _of_this_file(error: OSError) -> str:
    """The reason why one image cannot be placed; what ails the whole disk is raised."""
    if error.errno in _OF_THIS_FILE:
        return f"it cannot be written: {error.strerror}"
    raise error
