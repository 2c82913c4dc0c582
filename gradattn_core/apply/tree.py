"""The corrected dataset as a new tree of class folders, of links or of copies."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from gradattn_core.apply.corrections import Applied, Image, LeftAlone, Plan, Progress, leaves_root, sound_changes
from gradattn_core.apply.names import below_class, folder_name, label_of, places
from gradattn_core.apply.placing import Item, Placing
from gradattn_core.dataset.decoding import read_bytes
from gradattn_core.dataset.folder import IMAGE_SUFFIXES
from gradattn_core.dataset.text import shown
from gradattn_core.errors import ApplyError, UnreadableImageError
from gradattn_core.export import encode
from gradattn_core.files import clear_drafts, write_output

MARK, LABELS = ".gradattn-tree.json", "labels.csv"
_ENDINGS = {b"\xff\xd8\xff": ".jpg", b"\x89PNG": ".png", b"RIFF": ".webp", b"BM": ".bmp", b"GIF8": ".gif"}
_BATCH = 512


def make_tree(plan: Plan, target: Path, link: str, progress: Progress) -> Applied:
    """Make ``target/<label>/…`` with every image under the label that now holds; the dataset is only read.

    A run that was interrupted is continued by the same call, and ends in the same tree. An image about which a decision
    was made and whose content has changed since stays under its given label, and is reported.

    Args:
        plan: with all images.
        link: ``symlink``, ``hard`` or ``copy``. Where links cannot be made the images are copied, and a note
            says so; so are images that are no files of their own.

    Raises:
        ApplyError: ``target`` is in use, or lies in the dataset; a label names no folder; two labels' folders are one.
    """
    _refuse_overlap(plan, target)
    sound, doubtful = sound_changes(plan, progress)
    left = {skipped.path: skipped.reason for skipped in doubtful}
    items = _items(plan, left)
    _claim(target, plan, items)
    folders = sorted({item.place.folder for item in items})
    _make_folders(target, folders)
    placing = Placing(plan.root, target, link)
    placed: list[Item] = []
    for start in range(0, len(items), _BATCH):
        batch = items[start : start + _BATCH]
        failed = placing.place(batch)
        placed += [item for item in batch if item.image.path not in failed]
        left = failed | left
        progress(start + len(batch), len(items))
    relabelled = sum(item.label != item.image.given_label for item in placed)
    return Applied(
        relabelled=relabelled,
        removed=sum(image.label is None for image in sound),
        as_before=len(placed) - relabelled,
        left_alone=tuple(LeftAlone(path, reason) for path, reason in sorted(left.items())),
        notes=(*placing.notes, *_labels_note(target, folders, placed)),
    )


def _refuse_overlap(plan: Plan, target: Path) -> None:
    """A class-folder dataset takes every folder in it for a class."""
    root = Path(plan.root)
    if root.is_dir() and plan.manifest is None and target.resolve().is_relative_to(root.resolve()):
        raise ApplyError(f"{target} lies in the dataset, where it would be a class; give a folder outside {root}")


def _items(plan: Plan, left: dict[str, str]) -> list[Item]:
    """Every image that stays, with its place; those that cannot be taken along are added to ``left``."""
    wanted: list[tuple[Image, str, Path | None]] = []
    names: list[tuple[str, str, str]] = []
    folders: dict[str, str] = {}
    for image in plan.images:
        label = image.given_label if image.path in left else image.label
        if label is None:
            continue
        file = Path(plan.root, image.path)
        try:
            if leaves_root(image.path):
                raise UnreadableImageError("its path leaves the dataset's root")
            source = file if file.is_file() else None
            name = below_class(image.path, image.given_label) + _missing_ending(plan.root, image.path, source)
        except UnreadableImageError as error:
            left.setdefault(image.path, str(error))
            continue
        if label not in folders:
            folders[label] = folder_name(label)
        wanted.append((image, label, source))
        names.append((image.path, folders[label], name))
    every = zip(wanted, places(names), strict=True)
    return [Item(image, label, place, source) for (image, label, source), place in every]


def _missing_ending(root: str, path: str, source: Path | None) -> str:
    """What a name needs behind it so that a listing of the tree sees an image: mostly nothing."""
    if os.path.splitext(path)[1].lower() in IMAGE_SUFFIXES:
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


def _claim(target: Path, plan: Plan, items: Sequence[Item]) -> None:
    """Make the folder ours, or find that it was: made by the same images with the same labels."""
    digest = hashlib.blake2b(json.dumps(plan.root).encode(), digest_size=16)
    for item in items:
        digest.update(json.dumps([item.image.path, item.image.content_hash, str(item.place)]).encode())
    mark = {"made by": "gradattn apply", "audit": plan.audit_id, "tree": digest.hexdigest()}
    try:
        target.mkdir(parents=True, exist_ok=True)
        for file in (target / MARK, target / LABELS):
            clear_drafts(file)
        there = os.listdir(target)
        known = dict(json.loads((target / MARK).read_text("utf-8"))) if MARK in there else None
    except (OSError, ValueError, TypeError) as error:
        raise ApplyError(f"{target} cannot be used: {error}; give another folder") from error
    if known is not None and known.get("tree") != mark["tree"]:
        raise ApplyError(
            f"{target} holds a tree of other decisions or images (audit {known.get('audit')}); delete it or give an "
            "empty folder"
        )
    if known is None and there:
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


def _labels_note(target: Path, folders: Sequence[str], placed: Sequence[Item]) -> list[str]:
    """Where folders cannot say every label to the letter, a manifest in the tree does."""
    escaped = [folder for folder in folders if label_of(folder) != folder]
    if not escaped:
        return []
    rows = {"path": [str(item.place) for item in placed], "label": [item.label for item in placed]}
    write_output(target / LABELS, encode("corrected", pd.DataFrame(rows), "csv"))
    return [
        f"{shown(label_of(escaped[0]), 60)} names no folder, so it is in {shown(escaped[0], 60)}"
        + (f", and so on for {len(escaped):,} labels" if len(escaped) > 1 else "")
        + f"; {target / LABELS} is a manifest with every label to the letter"
    ]
