"""The corrected dataset as a new tree of class folders, of links or of copies."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from gradattn_core.apply.corrections import (
    ApplyResult,
    AuditedImage,
    Corrections,
    Progress,
    UntouchedFile,
    check_changes,
    leaves_root,
    require_dataset,
)
from gradattn_core.apply.moves import has_content
from gradattn_core.apply.names import TreePath, below_class, folder_name, label_of, tree_paths
from gradattn_core.dataset.decoding import read_bytes
from gradattn_core.dataset.endings import is_image
from gradattn_core.dataset.text import shown
from gradattn_core.errors import ApplyError, UnreadableImageError
from gradattn_core.export import encode
from gradattn_core.files import clear_drafts, write_output

MARK, LABELS = ".gradattn-tree.json", "labels.csv"
_ENDINGS = {b"\xff\xd8\xff": ".jpg", b"\x89PNG": ".png", b"RIFF": ".webp", b"BM": ".bmp", b"GIF8": ".gif"}
_BATCH = 512
UNJUDGED = ""
"""In place of the hash of a content that nobody has read."""
# How a system says that it has no such links there.
_NO_LINKS = {errno.EXDEV, errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
_OF_THIS_FILE = {errno.ENAMETOOLONG, errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOENT}
_READERS = 8


def make_tree(
    corrections: Corrections, target: Path, link: str, progress: Progress, *, judged_only: bool = False
) -> ApplyResult:
    """Make ``target/<label>/…`` with every image under the label that now holds; the dataset is only read.

    Files of the dataset's classes that were not judged are taken along under their labels, unless ``judged_only``.

    A run that was interrupted is continued by the same call, and ends in the same tree. An image about which a decision
    was made and whose content has changed since stays under its given label, and is reported.

    Args:
        corrections: with all images.
        link: ``symlink``, ``hard`` or ``copy``. Where links cannot be made the images are copied, and a note
            says so; so are images that are no files of their own.

    Raises:
        ApplyError: the dataset is gone; ``target`` is in use, or lies in the dataset; a label names no folder; two
            labels' folders are one.
    """
    require_dataset(corrections)
    _refuse_overlap(corrections, target)
    sound, doubtful = check_changes(corrections, progress)
    objections = {file.path: file.reason for file in doubtful}
    placements = _placements(corrections, objections, judged_only=judged_only)
    claim(target, corrections, placements)
    folders = sorted({placement.path.folder for placement in placements})
    _make_folders(target, folders)
    writer = TreeWriter(corrections.root, target, link)
    placed: list[Placement] = []
    for start in range(0, len(placements), _BATCH):
        batch = placements[start : start + _BATCH]
        failed = writer.place(batch)
        placed += [placement for placement in batch if placement.image.path not in failed]
        objections = failed | objections
        progress(start + len(batch), len(placements))
    relabelled = sum(placement.label != placement.image.given_label for placement in placed)
    taken_along = sum(placement.is_unjudged for placement in placed)
    return ApplyResult(
        relabelled=relabelled,
        removed=sum(image.label is None for image in sound),
        as_before=len(placed) - relabelled - taken_along,
        taken_along=taken_along,
        left_out=len(corrections.unjudged) + corrections.unplaced - taken_along,
        left_alone=tuple(UntouchedFile(path, reason) for path, reason in sorted(objections.items())),
        notes=(*writer.notes, *_labels_note(target, folders, placed)),
    )


def _refuse_overlap(corrections: Corrections, target: Path) -> None:
    """A class-folder dataset takes every folder in it for a class."""
    root = Path(corrections.root)
    if root.is_dir() and corrections.manifest is None and target.resolve().is_relative_to(root.resolve()):
        raise ApplyError(f"{target} lies in the dataset, where it would be a class; give a folder outside {root}")


def _placements(corrections: Corrections, objections: dict[str, str], *, judged_only: bool) -> list[Placement]:
    """Every image that stays, with its place; those that cannot be taken along are added to ``objections``."""
    images: list[tuple[AuditedImage, str, Path | None]] = []
    names: list[tuple[str, str, str]] = []
    folders: dict[str, str] = {}
    unjudged = () if judged_only else corrections.unjudged
    others = (AuditedImage(file.path, UNJUDGED, file.label, file.label) for file in unjudged)
    for image in (*corrections.images, *others):
        label = image.given_label if image.path in objections else image.label
        if label is None:
            continue
        file = Path(corrections.root, image.path)
        try:
            if leaves_root(image.path):
                raise UnreadableImageError("its path leaves the dataset's root")
            source = file if file.is_file() else None
            name = below_class(image.path, image.given_label)
            if image.content_hash != UNJUDGED:
                name += _missing_ending(corrections.root, image.path, source)
        except UnreadableImageError as error:
            objections.setdefault(image.path, str(error))
            continue
        if label not in folders:
            folders[label] = folder_name(label)
        images.append((image, label, source))
        names.append((image.path, folders[label], name))
    every = zip(images, tree_paths(names), strict=True)
    return [Placement(image, label, path, source) for (image, label, source), path in every]


def _missing_ending(root: str, path: str, source: Path | None) -> str:
    """What a name needs behind it so that a listing of the tree sees an image: mostly nothing."""
    if is_image(path):
        return ""
    if source is None:
        data = read_bytes(root, path)
    else:
        try:
            with source.open("rb") as file:
                data = file.read(12)
        except OSError as error:
            raise UnreadableImageError(f"it cannot be read: {error.strerror}") from error
    # TIFF, with its many beginnings, is what else the audit reads.
    return next((ending for begin, ending in _ENDINGS.items() if data.startswith(begin)), ".tif")


def claim(target: Path, corrections: Corrections, placements: Sequence[Placement]) -> None:
    """Make the folder ours, or find that it was: made by the same images with the same labels."""
    digest = hashlib.blake2b(json.dumps(corrections.root).encode(), digest_size=16)
    for placement in placements:
        digest.update(json.dumps([placement.image.path, placement.image.content_hash, str(placement.path)]).encode())
    mark = {"made by": "gradattn apply", "audit": corrections.audit_id, "tree": digest.hexdigest()}
    try:
        target.mkdir(parents=True, exist_ok=True)
        for file in (target / MARK, target / LABELS):
            clear_drafts(file)
        there = os.listdir(target)
        earlier = dict(json.loads((target / MARK).read_text("utf-8"))) if MARK in there else None
    except (OSError, ValueError, TypeError) as error:
        raise ApplyError(f"{target} cannot be used: {error}; give another folder") from error
    if earlier is not None and earlier.get("tree") != mark["tree"]:
        raise ApplyError(
            f"{target} holds a tree of other decisions or images (audit {earlier.get('audit')}); delete it or give an "
            "empty folder"
        )
    if earlier is None and there:
        raise ApplyError(f"{target} is not empty and was not made by gradattn apply; give an empty or a new folder")
    write_output(target / MARK, json.dumps(mark).encode())


def _make_folders(target: Path, folders: Sequence[str]) -> None:
    made: dict[tuple[int, int], str] = {}
    for folder in folders:
        try:
            (target / folder).mkdir(exist_ok=True)
        except FileExistsError:
            raise ApplyError(f"{target / folder} is a file where a class belongs; delete it") from None
        status = os.stat(target / folder)
        other = made.setdefault((status.st_dev, status.st_ino), folder)
        if other != folder:
            raise ApplyError(
                f"the labels {shown(label_of(other))} and {shown(label_of(folder))} are one folder on the file system "
                f"of {target}; give a folder on another one, or --manifest FILE instead"
            )


def _labels_note(target: Path, folders: Sequence[str], placed: Sequence[Placement]) -> list[str]:
    """Where folders cannot say every label to the letter, a manifest in the tree does."""
    escaped = [folder for folder in folders if label_of(folder) != folder]
    if not escaped:
        return []
    rows = {"path": [str(placement.path) for placement in placed], "label": [placement.label for placement in placed]}
    write_output(target / LABELS, encode("corrected", pd.DataFrame(rows), "csv"))
    return [
        f"{shown(label_of(escaped[0]), 60)} names no folder, so it is in {shown(escaped[0], 60)}"
        + (f", and so on for {len(escaped):,} labels" if len(escaped) > 1 else "")
        + f"; {target / LABELS} is a manifest with every label to the letter"
    ]


@dataclass(frozen=True, slots=True)
class Placement:
    """An image, the label it goes under, and where; ``source`` is its file, None where it is no file of its own."""

    image: AuditedImage
    label: str
    path: TreePath
    source: Path | None

    @property
    def is_unjudged(self) -> bool:
        return self.image.content_hash == UNJUDGED


class TreeWriter:
    """Links or copies images below ``target``; ``notes`` says where it had to do otherwise than was asked for."""

    def __init__(self, root: str, target: Path, link: str) -> None:
        self.notes: list[str] = []
        self._root, self._target, self._link = root, target, link
        self._folders: set[Path] = set()

    def place(self, placements: Sequence[Placement]) -> dict[str, str]:
        """Put each image in its place, unless it is there; what was in its way in a tree of ours is replaced.

        Returns:
            the images that could not be placed: the reason by path.
        """
        failed: dict[str, str] = {}
        copies: list[Placement] = []
        for placement in placements:
            try:
                self._make_folder((self._target / str(placement.path)).parent)
                if not self._linked(placement):
                    copies.append(placement)
            except OSError as error:
                failed[placement.image.path] = _of_this_file(error)
        with ThreadPoolExecutor(_READERS) as pool:
            outcomes = list(zip(copies, pool.map(self._copy, copies), strict=True))
        if self._link != "copy" and any(copy.source is None and reason is None for copy, reason in outcomes):
            self._note("images that are no files of their own were copied")
        return failed | {copy.image.path: reason for copy, reason in outcomes if reason is not None}

    def _make_folder(self, folder: Path) -> None:
        """Make a folder of the tree, unless a link that somebody put there leads out of it."""
        if folder in self._folders:
            return
        if not folder.resolve().is_relative_to(self._target.resolve()):
            raise ApplyError(f"{folder} leads out of {self._target} by a link; delete that")
        folder.mkdir(parents=True, exist_ok=True)
        self._folders.add(folder)

    def _linked(self, placement: Placement) -> bool:
        """Link the image's file; False where it is to be copied."""
        if self._link == "copy":
            return False
        if placement.source is None:
            return False
        at = self._target / str(placement.path)
        try:
            try:
                self._make_link(placement.source, at)
            except FileExistsError:
                if not self._is_link(placement.source, at):
                    part = _part(at)
                    part.unlink(missing_ok=True)
                    self._make_link(placement.source, part)
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

    def _copy(self, placement: Placement) -> str | None:
        """Copy the image; the reason where that is not possible."""
        at = self._target / str(placement.path)
        # A file with several names is an earlier run's hard link to the dataset's own.
        if not at.is_symlink() and has_content(at, placement.image.content_hash) and at.stat().st_nlink == 1:
            return None
        try:
            if placement.is_unjudged and placement.source is not None:
                # Of what it is nothing is known; it may be empty.
                data = placement.source.read_bytes()
            else:
                data = read_bytes(self._root, placement.image.path)
        except (UnreadableImageError, OSError) as error:
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
    return at.with_name(f".part-{hashlib.blake2b(at.name.encode(), digest_size=8).hexdigest()}")


def _of_this_file(error: OSError) -> str:
    """The reason why one image cannot be placed; what ails the whole disk is raised."""
    if error.errno in _OF_THIS_FILE:
        return f"it cannot be written: {error.strerror}"
    raise error
