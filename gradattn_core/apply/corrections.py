"""What the standing decisions make of an audited dataset, and whether its files still are what was decided about."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias

from gradattn_core.config import MIN_BOX
from gradattn_core.dataset.address import is_url, outermost, whole_picture
from gradattn_core.dataset.beside import own_table
from gradattn_core.dataset.decoding import content_hash, read_bytes
from gradattn_core.dataset.levels import METADATA
from gradattn_core.dataset.selection import LABEL_COLUMN, PATH_COLUMN, SPLIT_COLUMN, DatasetSelection
from gradattn_core.dataset.tables import MANIFEST_SUFFIXES
from gradattn_core.errors import ApplyError, UnreadableImageError
from gradattn_core.files import user_path
from gradattn_core.store.store import Store

Progress: TypeAlias = Callable[[int, int], None]
"""Told ``(done, total)`` in images."""


@dataclass(frozen=True, slots=True)
class AuditedImage:
    """An image of the audit; ``label`` is the one that now holds, None where it is to be removed."""

    path: str
    content_hash: str
    given_label: str
    label: str | None

    @property
    def changes(self) -> bool:
        return self.label != self.given_label


@dataclass(frozen=True, slots=True)
class UntouchedFile:
    """A file that was not changed, and why."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class UnjudgedFile:
    """A file of the dataset that was not judged and stays under its label; no picture where ``is_picture`` is False."""

    path: str
    label: str
    is_picture: bool


@dataclass(frozen=True, slots=True)
class Corrections:
    """The corrected dataset.

    Attributes:
        root: what relative paths resolve against: a folder, or whatever else ``read_bytes`` reads from.
        dataset: what was audited, as it was typed.
        selection: the columns and the split of a manifest, as they were audited.
        images: ordered by path; all of them, or those that change.
        unjudged: files of the dataset's classes that were not judged; ``unplaced`` is the number of those whose class
            the audit does not know.
    """

    audit_id: str
    root: str
    dataset: str
    selection: DatasetSelection
    images: tuple[AuditedImage, ...]
    unjudged: tuple[UnjudgedFile, ...] = ()
    unplaced: int = 0

    @property
    def are_boxes(self) -> bool:
        """Whether the images are annotated boxes of pictures."""
        return whole_picture(self.root) != self.root

    @property
    def manifest(self) -> Path | None:
        """The manifest that was audited, where it is a file on this machine."""
        if self.are_boxes:
            return None
        # Beside the pictures, wherever the dataset was moved to; or where it was audited, with its pictures elsewhere.
        beside, typed = Path(self.root, Path(self.dataset).name), user_path(self.dataset)
        file = beside if self.selection.image_root is None else typed
        if file.name.lower().endswith(MANIFEST_SUFFIXES) and file.is_file():
            return file
        # Of a folder, the table in it from which its labels were read.
        folder = Path(self.root) if self.selection.image_root is None else typed
        if not folder.is_absolute() or not folder.is_dir():
            return None
        own = own_table(str(folder), [name for name in METADATA if (folder / name).is_file()], self.selection)
        return None if own is None else Path(own)

    @property
    def changes(self) -> list[AuditedImage]:
        return [image for image in self.images if image.changes]


@dataclass(frozen=True, slots=True)
class ApplyResult:
    """What was done.

    Attributes:
        relabelled, removed: images that were changed.
        as_before: images that are in the corrected dataset under their given label.
        already: images that an earlier run had changed.
        taken_along: files that were not judged and are in the corrected dataset too; ``left_out`` are not in it.
        left_alone: images that a decision changes and that could not be, or files that could not be taken along.
        notes: sentences on what came out otherwise than one might expect.
    """

    relabelled: int
    removed: int
    as_before: int = 0
    already: int = 0
    taken_along: int = 0
    left_out: int = 0
    left_alone: tuple[UntouchedFile, ...] = ()
    notes: tuple[str, ...] = ()


def read_corrections(store: Store, audit_id: str, *, everything: bool) -> Corrections:
    """Read an audit's images with the labels that now hold; without ``everything`` only those that change.

    Raises:
        StoreError: there is no such audit, or the database cannot be read.
    """
    audit = store.audits.one(audit_id)
    frame, others = store.review.corrections(audit_id, everything=everything), store.review.unjudged(audit_id)
    columns = (frame[name].tolist() for name in ("path", "content_hash", "given_label", "decision", "label"))
    images = tuple(
        AuditedImage(path, content, given, None if decision == "remove" else label)
        for path, content, given, decision, label in zip(*columns, strict=True)
    )
    root = audit.root if store.data_root is None else str(store.data_root)
    columns = (others[name].tolist() for name in ("path", "label", "is_picture"))
    unjudged = tuple(UnjudgedFile(*each) for each in zip(*columns, strict=True))
    failures = store.audits.failures(audit_id)
    unplaced = int((failures["stage"].isin(["list", "decode"]) & (failures["given_label"] == "")).sum())
    selection = _selection(audit.parameters)
    name = Path(audit.dataset).name
    if Path(audit.root).name == selection.split != name and not name.lower().endswith(MANIFEST_SUFFIXES):
        # The split was a folder of the dataset, and no column of a table in it.
        selection = selection.without_split()
    return Corrections(audit_id, root, audit.dataset, selection, images, unjudged, unplaced)


def require_dataset(corrections: Corrections) -> None:
    """Raises:
    ApplyError: the dataset is not where the audit found it any more, nor where ``--data-root`` says.
    """
    place = outermost(corrections.root)
    elsewhere = any(is_url(image.path) or image.path.startswith("/") for image in corrections.images[:1])
    if not is_url(place) and not Path(place).exists() and not elsewhere:
        raise ApplyError(
            f"{place}: there is no such folder or file any more, where the dataset {corrections.dataset} was; "
            "give --data-root DIR, where it is now"
        )


def objection(root: str, image: AuditedImage) -> str | None:
    """Why a decision about an image says nothing about the file that is there now; None where it does."""
    if leaves_root(image.path):
        return "its path leaves the dataset's root"
    try:
        data = read_bytes(root, image.path)
    except UnreadableImageError as error:
        return str(error)
    return None if content_hash(data) == image.content_hash else "its content is not what the audit saw"


def check_changes(corrections: Corrections, progress: Progress) -> tuple[list[AuditedImage], list[UntouchedFile]]:
    """The images that change and whose files are what was decided about, and the others with the reason."""
    sound: list[AuditedImage] = []
    doubtful: list[UntouchedFile] = []
    changes = corrections.changes
    for number, image in enumerate(changes, 1):
        reason = objection(corrections.root, image)
        if reason is None:
            sound.append(image)
        else:
            doubtful.append(UntouchedFile(image.path, reason))
        progress(number, len(changes))
    return sound, doubtful


def leaves_root(path: str) -> bool:
    """Whether a path that no listing gives tries to climb out of the dataset."""
    return not PurePosixPath(path).is_absolute() and os.path.normpath(path).split(os.sep)[0] == os.pardir


def count_changes(images: Sequence[AuditedImage]) -> tuple[int, int, int]:
    """How many images are relabelled, removed, and neither."""
    removed = sum(image.label is None for image in images)
    relabelled = sum(image.changes for image in images) - removed
    return relabelled, removed, len(images) - relabelled - removed


def _selection(parameters: Mapping[str, Any]) -> DatasetSelection:
    """The columns and the split among an audit's parameters, which may lack them."""
    return DatasetSelection(
        path_column=str(parameters.get("path_column") or PATH_COLUMN),
        label_column=str(parameters.get("label_column") or LABEL_COLUMN),
        split_column=str(parameters.get("split_column") or SPLIT_COLUMN),
        split=parameters.get("split"),
        label_depth=parameters.get("label_depth"),
        merge_spellings=bool(parameters.get("merge_spellings")),
        image_root=parameters.get("image_root"),
        image_ending=parameters.get("image_ending"),
        min_box=int(parameters.get("min_box") or MIN_BOX),
    )
