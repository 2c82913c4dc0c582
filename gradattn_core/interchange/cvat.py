"""Suspects for CVAT in its format ImageNet 1.1, and what was labelled there back.

Source: CVAT, "ImageNet", docs.cvat.ai/docs/dataset_management/formats/format-imagenet: a zip with a folder of pictures
for each label; or, annotations alone, ``<subset>.txt`` whose lines are a picture and numbers of labels, and
``synsets.txt`` with the labels. The format has one label a picture, so it is the given one that goes out: were it the
suggested one, whatever nobody has looked at would come back as relabelled.
"""

from __future__ import annotations

import re
import zipfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from gradattn_core.dataset.text import cause, shown
from gradattn_core.errors import StoreError
from gradattn_core.files import write_whole
from gradattn_core.interchange.handed import Handed, Known, Left, with_pictures, written
from gradattn_core.interchange.sheets import claim_of_label
from gradattn_core.store.claims import Claim

_LABELS = "synsets.txt"
_NO_LABEL = "no_label"
_PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif")
_LINE = re.compile(r'(?:"(?P<quoted>[^"]*)"(?P<ending>\S*)|(?P<plain>\S+))(?P<numbers>(?:\s+\d+)*)\s*')
_LONGEST_LIST = 2**28


def write_cvat(target: Path, images: Sequence[Handed], *, pictures: bool = True) -> tuple[int, list[Left]]:
    """Write the zip; returns how many pictures it has, and what is left out.

    Args:
        pictures: a folder of pictures for each label, from which CVAT makes a task; else the labels alone, for a task
            that has the pictures under the names of :class:`Handed`.
    """
    told: list[tuple[int, list[Left]]] = []

    def fill(draft: Path) -> None:
        with zipfile.ZipFile(draft, "w") as archive:
            told.append(_with_pictures(archive, images) if pictures else _labels_alone(archive, images))

    if target.is_dir():
        raise StoreError(f"{target} is a folder; name a file in it")
    try:
        write_whole(target, fill)
    except OSError as error:
        raise StoreError(f"cannot write {target}: {error.strerror}; choose another file or make room") from error
    return told[0]


def claims_of_zip(file: Path, known: Known, *, all_reviewed: bool = False) -> list[Claim]:
    """What a zip says that CVAT exported with or without pictures; a picture without a label says nothing.

    Raises:
        StoreError: where it has no such form, names an unknown picture, or one picture has several labels.
    """
    found: dict[str, set[str]] = defaultdict(set)
    try:
        with zipfile.ZipFile(file) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
            lists = [entry for entry in entries if entry.filename.endswith(".txt")]
            if sum(entry.file_size for entry in lists) > _LONGEST_LIST:
                raise StoreError(
                    f"{file} has lists of more than {_LONGEST_LIST // 2**20} MB; that is no export of CVAT's"
                )
            texts = {entry.filename: archive.read(entry).decode("utf-8-sig") for entry in lists}
    except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError, ValueError) as error:
        raise StoreError(f"{file} cannot be read as a zip of CVAT's: {cause(error)}") from error
    labels = texts.pop(_LABELS, None)
    if labels is not None:
        for name, text in texts.items():
            _add_lines(found, f"{file}, {name}", text, labels.splitlines())
    else:
        for entry in entries:
            parts = PurePosixPath(entry.filename).parts
            if PurePosixPath(entry.filename).suffix.lower() in _PICTURES and len(parts) > 1:
                # A task of one's own pictures has them below the label by their paths, folders and all.
                own = (at for at in range(1, len(parts)) if "/".join(parts[at:]) in known.labels)
                at = next(own, len(parts) - 1)
                found["/".join(parts[at:])].add("/".join(parts[:at]))
    if not found:
        raise StoreError(f"{file} has neither folders of pictures nor {_LABELS}; export it from CVAT as ImageNet 1.1")
    claims, classes = [], known.read_by(written)
    # A class may have this name too.
    unlabelled = {_NO_LABEL} - set(classes)
    for name, names in found.items():
        labels_there = {classes.get(each, unquote(each)) for each in names - unlabelled}
        claim = _claim(file, name, labels_there, known, all_reviewed)
        if claim is not None:
            claims.append(claim)
    return claims


def _with_pictures(archive: zipfile.ZipFile, images: Sequence[Handed]) -> tuple[int, list[Left]]:
    there, left = with_pictures(
        images, lambda image, file, data: archive.writestr(f"{written(image.given_label)}/{file}", data)
    )
    return len(there), left


def _labels_alone(archive: zipfile.ZipFile, images: Sequence[Handed]) -> tuple[int, list[Left]]:
    labels = sorted({written(image.given_label) for image in images})
    there, left = with_pictures(images, lambda *_: None)
    lines = [f"{file} {labels.index(written(image.given_label))}\n" for image, file in there]
    archive.writestr(_LABELS, "".join(f"{label}\n" for label in labels))
    archive.writestr("default.txt", "".join(lines))
    return len(there), left


def _add_lines(found: dict[str, set[str]], where: str, text: str, labels: Sequence[str]) -> None:
    for number, line in enumerate(text.splitlines(), 1):
        parts = _LINE.fullmatch(line)
        if not line.strip():
            continue
        if parts is None:
            raise StoreError(f"{where}, line {number}: {shown(line, 80)} is no picture with numbers of labels")
        name = parts["plain"] or f"{parts['quoted']}{parts['ending']}"
        found[name] |= set()
        for label in parts["numbers"].split():
            if int(label) >= len(labels):
                raise StoreError(f"{where}, line {number}: there is no label {label} in {_LABELS}")
            found[name].add(labels[int(label)].strip())


def _claim(file: Path, name: str, names: set[str], known: Known, all_reviewed: bool) -> Claim | None:
    where = f"{file}, {shown(name, 120)}"
    path = known.path_of(name)
    if path is None:
        raise StoreError(f"{where}: the audit has no such picture")
    if len(names) > 1:
        raise StoreError(f"{where} has several labels, {', '.join(map(shown, sorted(names)))}; leave one of them")
    for label in names:
        return claim_of_label(where, path, known.labels[path], label, all_reviewed=all_reviewed)
    return None
