"""WebDataset: tars whose members belong together by the part of their name before its first dot."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from gradattn_core.dataset.address import member_address, relative
from gradattn_core.dataset.archives import NOTE_SUFFIXES, Archive, open_archive
from gradattn_core.dataset.endings import (
    HIDDEN,
    IMAGE_ENDINGS,
    NO_PICTURE,
    SYSTEM,
    is_hidden,
    is_image,
    passed_over_part,
    unread_picture,
)
from gradattn_core.dataset.selection import LABEL_COLUMN
from gradattn_core.dataset.text import as_text, cause, cell_text, is_text, shown
from gradattn_core.records import Failure, ImageRecord, Listing

SHARD_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
# Of several pictures of one sample the first of these is taken; endings with two dots, as of masks, are not.
_IMAGE_ENDINGS = tuple(ending.removeprefix(".") for ending in IMAGE_ENDINGS)
_THREADS = 8
_NO_IMAGE = "the sample has no picture"
_OTHER_IMAGE = "another picture of its sample"
_DOTTED = "a dot before its ending: of a sample's file, all behind the first dot says what it is; rename it"
_HARMLESS = (_OTHER_IMAGE, NO_PICTURE, HIDDEN, SYSTEM)


@dataclass(slots=True)
class _Sample:
    """``others`` are its members that are neither; ``names`` are those of all notes."""

    images: dict[str, str] = field(default_factory=dict)
    notes: dict[str, bytes] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)

    @property
    def image(self) -> str | None:
        return next((self.images[ending] for ending in _IMAGE_ENDINGS if ending in self.images), None)


def is_webdataset(archive: Archive) -> bool:
    """Whether a single tar holds samples: a picture has its ``.cls``, or all lie in no folder and some have a note."""
    samples = [sample for sample in _samples(archive).values() if sample.image]
    if any("cls" in sample.notes for sample in samples):
        return True
    flat = all("/" not in (sample.image or "") for sample in samples)
    return flat and any(sample.notes for sample in samples)


def list_shards(files: Sequence[str], folder: str, label_column: str, *, fresh: bool = True) -> Listing:
    """List the samples of tars below a folder; see ``list_dataset``. Headers and labels are read, no pictures.

    A tar that cannot be read is one of the failures.

    Args:
        fresh: read the tars anew, even if this process has just read their headers.
    """
    images: list[ImageRecord] = []
    failures: list[Failure] = []
    skipped: list[Failure] = []
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="list") as pool:
        for file, archive in zip(files, pool.map(lambda file: _open(file, fresh), files), strict=True):
            shard = relative(file, folder)
            if isinstance(archive, str):
                failures.append(Failure(shard, "list", archive))
                continue
            if archive.damage:
                reason = f"damaged after {len(archive.entries):,} members: {archive.damage}"
                failures.append(Failure(shard, "list", reason))
            failures += [Failure(as_text(f"{shard}/{name}"), "list", why) for name, why in archive.problems.items()]
            for sample in _samples(archive).values():
                label = _label(sample, label_column)
                for name in sample.others:
                    reason = _unread(name, sample)
                    place, stage = (skipped, "skip") if reason in _HARMLESS else (failures, "list")
                    place.append(Failure(as_text(f"{shard}/{name}"), stage, reason, label or ""))
                if sample.image is None:
                    if not sample.others:
                        skipped += [Failure(as_text(f"{shard}/{name}"), "skip", _NO_IMAGE) for name in sample.names]
                    continue
                path = f"{shard}/{sample.image}"
                if label is None:
                    failures.append(Failure(path, "list", _no_label(label_column)))
                else:
                    images.append(ImageRecord(path, label, *archive.stamps[sample.image]))
            archive.notes.clear()  # the index stays in memory, and nobody asks for the labels again
    images.sort(key=lambda image: image.path)
    return Listing(member_address("webdataset", "", folder), tuple(images), tuple(failures), tuple(skipped))


def _open(file: str, fresh: bool) -> Archive | str:
    try:
        return open_archive("tar", file, fresh=fresh)[0]
    except OSError as error:
        return f"cannot be read: {cause(error)}"


def _samples(archive: Archive) -> dict[str, _Sample]:
    samples: dict[str, _Sample] = {}
    for name in archive.entries:
        folder, base = posixpath.split(name)
        key, _, ending = base.partition(".")
        if not key or is_hidden(name):
            sample = samples.setdefault(name, _Sample())
            sample.others.append(name)
            continue
        sample = samples.setdefault(posixpath.join(folder, key), _Sample())
        ending = ending.lower()
        if ending in _IMAGE_ENDINGS and ending not in sample.images and is_image(name):
            sample.images[ending] = name
        elif f".{ending}" in NOTE_SUFFIXES and name in archive.notes:
            sample.notes[ending] = archive.notes[name]
            sample.names.append(name)
        else:
            sample.others.append(name)
    for sample in samples.values():
        sample.others += [name for name in sample.images.values() if name != sample.image]
    return samples


def _unread(name: str, sample: _Sample) -> str:
    """Why a member is not the picture of its sample."""
    over = passed_over_part(name)
    if over is not None:
        return over[1]
    if is_image(name):
        return _OTHER_IMAGE if sample.image else _DOTTED
    return unread_picture(name) or NO_PICTURE


def _label(sample: _Sample, label_column: str) -> str | None:
    """What ``label_column`` of the JSON says where it is named, else class file, JSON, text file in this order."""
    field_label = _json_label(sample.notes.get("json"), label_column)
    if label_column != LABEL_COLUMN:
        return field_label
    return _text_label(sample.notes.get("cls")) or field_label or _text_label(sample.notes.get("txt"))


def _text_label(note: bytes | None) -> str | None:
    label = (note or b"").decode("utf-8", "surrogateescape").strip()
    return label if label and is_text(label) else None


def _json_label(note: bytes | None, name: str) -> str | None:
    try:
        fields = json.loads(note or b"null")
    except (ValueError, RecursionError):
        return None
    label = cell_text(fields.get(name)) if isinstance(fields, dict) else None
    return label if label and is_text(label) else None


def _no_label(label_column: str) -> str:
    field_name = shown(label_column)
    if label_column != LABEL_COLUMN:
        return f"the sample's .json has no field {field_name}"
    return f"the sample has no .cls, no .txt and no .json with a field {field_name}"
