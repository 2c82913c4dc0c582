"""A detection set corrected as a new one: the classes of some boxes, fewer boxes, and nothing else about its files.

Which annotation a decision is about is told by the same reading that listed the boxes, so a box that somebody has moved
or renamed since is left alone.
"""

from __future__ import annotations

import gzip
import json
import posixpath
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias
from xml.etree import ElementTree

from gradattn_core.apply.corrections import (
    ApplyResult,
    AuditedImage,
    Corrections,
    Progress,
    UntouchedFile,
    check_changes,
    require_dataset,
)
from gradattn_core.apply.names import TreePath
from gradattn_core.apply.tree import UNJUDGED, Placement, TreeWriter, claim
from gradattn_core.dataset.address import is_url, join, whole_picture
from gradattn_core.dataset.annotations import AnnotatedSet, located
from gradattn_core.dataset.coco import by_id, id_key, unpacked
from gradattn_core.dataset.decoding import content_hash, read_address
from gradattn_core.dataset.detection import detected, detected_by, files_of_folder
from gradattn_core.dataset.text import is_text, shown
from gradattn_core.dataset.voc import can_name, objects_of, parse_voc
from gradattn_core.errors import ApplyError, DatasetError
from gradattn_core.files import user_path, write_output
from gradattn_core.records import ImageRecord

Edits: TypeAlias = Mapping[int, str | None]
"""Of a file's boxes, by their place: the new class, or None for one that goes."""

_FILES = (".json", ".json.gz", ".yaml", ".yml")


@dataclass(frozen=True)
class Edited:
    """Which files change, and how.

    Attributes:
        edits: by the file's name.
        done: the boxes that change.
        untouched: those that cannot, and why.
        others: boxes that were not judged and stay.
    """

    found: AnnotatedSet
    edits: Mapping[str, Edits]
    done: tuple[AuditedImage, ...]
    already: int
    untouched: tuple[UntouchedFile, ...]
    others: int

    def content(self, name: str) -> bytes:
        """A file of annotations as it is with its boxes corrected; unchanged where none of its boxes changes.

        Raises:
            ApplyError: it cannot be read, or a class has no number in it.
        """
        data = read_address(join(self.found.folder, name))
        edits = self.edits.get(name)
        if not edits:
            return data
        if self.found.form == "COCO":
            return coco_edited(name, data, edits)
        if self.found.form == "Pascal VOC":
            return voc_edited(name, data, edits)
        return yolo_edited(data, edits, self.found.numbers)


def edits_of(corrections: Corrections, progress: Progress) -> Edited:
    """Find the annotations that the decisions are about.

    Raises:
        ApplyError: the annotations are not on this machine, or not there any more.
    """
    require_dataset(corrections)
    sound, untouched = check_changes(corrections, progress)
    found = _found(corrections)
    wanted = {image.path: image for image in sound}
    edits: defaultdict[str, dict[int, str | None]] = defaultdict(dict)
    done, others, already, met = [], 0, 0, set()
    numbers = found.numbers if found.form == "YOLO" else None
    known = {image.path for image in corrections.images}
    for annotation, record in located(found, corrections.selection.min_box):
        path = record.path if isinstance(record, ImageRecord) else ""
        others += path not in known
        image = wanted.get(path)
        if image is None or path in met:
            continue
        met.add(path)
        if annotation.label == image.label:
            already += 1
        elif annotation.label != image.given_label and not corrections.selection.merge_spellings:
            reason = f"it is annotated as {shown(annotation.label, 60)} by now"
            untouched.append(UntouchedFile(path, reason))
        elif numbers is not None and image.label is not None and image.label not in numbers:
            reason = f"{shown(image.label, 60)} has no number among the classes of the dataset: name it there first"
            untouched.append(UntouchedFile(path, reason))
        elif found.form == "Pascal VOC" and image.label is not None and not can_name(image.label):
            untouched.append(UntouchedFile(path, f"{shown(image.label, 60)} cannot be written as a name in XML"))
        else:
            edits[annotation.file][annotation.at] = image.label
            done.append(image)
    gone = [image for image in sound if image.path not in met]
    already += sum(image.label is None for image in gone)
    reason = "there is no such box among the annotations any more"
    untouched += [UntouchedFile(image.path, reason) for image in gone if image.label is not None]
    return Edited(found, edits, tuple(done), already, tuple(untouched), others)


def write_annotations(corrections: Corrections, target: Path, link: str, progress: Progress) -> ApplyResult:
    """Make ``target`` the dataset anew with corrected annotations, its pictures and other files linked or copied.

    Args:
        corrections: with all images.
        link: as of :func:`gradattn_core.apply.tree.make_tree`; annotations are always written.

    Raises:
        ApplyError: the dataset is gone, lies in an archive or on another machine; ``target`` is in use or lies in it.
    """
    root = whole_picture(corrections.root)
    if is_url(root):
        raise ApplyError(
            f"{shown(root)} is no folder of this machine, so no corrected copy can be made of it; give --manifest "
            "FILE.json for annotations of COCO, or unpack it"
        )
    if target.resolve().is_relative_to(Path(root).resolve()):
        raise ApplyError(f"{target} lies in the dataset; give a folder outside {root}")
    edited = edits_of(corrections, progress)
    if not edited.found.folder == root:
        raise ApplyError(
            f"{corrections.dataset} lies apart from its pictures, so only itself can be corrected; give --manifest "
            "FILE.json"
        )
    written = {name: edited.content(name) for name in edited.edits}
    every = sorted(files_of_folder(root).names)
    placements = [
        _placement(root, name, content_hash(written[name]) if name in written else UNJUDGED) for name in every
    ]
    claim(target, corrections, placements)
    writer = TreeWriter(root, target, link)
    failed = writer.place([placement for placement in placements if placement.image.path not in written])
    for name, content in written.items():
        at = target / name
        at.parent.mkdir(parents=True, exist_ok=True)
        at.unlink(missing_ok=True)
        write_output(at, content)
    untouched = [*edited.untouched, *(UntouchedFile(path, reason) for path, reason in sorted(failed.items()))]
    files = "1 file" if len(written) == 1 else f"{len(written):,} files"
    return _result(corrections, edited, tuple(untouched), (f"{files} of annotations changed", *writer.notes))


def write_coco(corrections: Corrections, target: Path, progress: Progress) -> ApplyResult:
    """Write the one file of COCO's that was audited with its boxes corrected.

    Raises:
        ApplyError: the annotations are none of COCO's, or in several files; ``target`` is the file itself.
    """
    edited = edits_of(corrections, progress)
    if edited.found.form != "COCO" or len(edited.found.files) != 1:
        what = f"{len(edited.found.files):,} files of {edited.found.form}"
        raise ApplyError(f"{corrections.dataset} is annotated in {what}, not in one of COCO; give --to DIR")
    [name] = edited.found.files
    source = join(edited.found.folder, name)
    if not is_url(source) and target.exists() and target.samefile(source):
        raise ApplyError(f"{target} is the audited file itself; give another file")
    content = edited.content(name)
    write_output(target, unpacked(name, content))
    return _result(corrections, edited, edited.untouched, ())


def _result(
    corrections: Corrections, edited: Edited, untouched: tuple[UntouchedFile, ...], notes: tuple[str, ...]
) -> ApplyResult:
    removed = sum(image.label is None for image in edited.done)
    return ApplyResult(
        len(edited.done) - removed,
        removed,
        as_before=len(corrections.images) - len(edited.done) - edited.already,
        already=edited.already,
        taken_along=edited.others,
        left_alone=untouched,
        notes=notes,
    )


def _found(corrections: Corrections) -> AnnotatedSet:
    """What is annotated now, read as it was for the audit.

    Raises:
        ApplyError: it is not there any more.
    """
    root, selection = whole_picture(corrections.root), corrections.selection
    name = Path(corrections.dataset).name
    try:
        if name.lower().endswith(_FILES) and not user_path(corrections.dataset).is_dir():
            places = [user_path(corrections.dataset), *(Path(root, *below, name) for below in ((), ("annotations",)))]
            file = next((place for place in places if place.is_file()), None)
            found = None if file is None else detected_by(str(file.resolve()), selection)
        else:
            found = None if is_url(root) else detected(files_of_folder(root), selection)
    except DatasetError as error:
        raise ApplyError(f"{corrections.dataset}: {error}") from error
    if found is None:
        raise ApplyError(
            f"the annotations of {corrections.dataset} are not on this machine, where they could be corrected"
        )
    return found


def _placement(root: str, name: str, content: str) -> Placement:
    image = AuditedImage(name, content, "", "")
    return Placement(image, "", TreePath(posixpath.dirname(name) or ".", posixpath.basename(name)), Path(root, name))


def coco_edited(name: str, data: bytes, edits: Edits) -> bytes:
    """A file of COCO's; a class that is new to it gets the next number."""
    text = unpacked(name, data).decode("utf-8-sig", "surrogateescape")
    whole = json.loads(text)
    names, _ = by_id(whole["categories"], "name")
    ids: dict[str, object] = {}
    for category in whole["categories"]:
        name_of = names.get(id_key(category.get("id")))
        if name_of is not None:
            ids.setdefault(name_of, category.get("id"))
    used = [category.get("id") for category in whole["categories"]]
    last = max((int(key) for key in map(id_key, used) if re.fullmatch("[0-9]+", key)), default=0)
    is_textual = bool(used) and all(isinstance(each, str) for each in used)
    lacking = {label for label in edits.values() if label is not None and label not in ids}
    for number, new in enumerate(sorted(lacking), last + 1):
        ids[new] = str(number) if is_textual else number
        whole["categories"].append({"id": ids[new], "name": new, "supercategory": ""})
    kept = []
    for at, annotation in enumerate(whole["annotations"]):
        label = edits.get(at, "")
        if label:
            annotation["category_id"] = ids[label]
        if label is not None:
            kept.append(annotation)
    whole["annotations"] = kept
    written = json.dumps(whole, ensure_ascii=False)
    if is_text(text) and not is_text(written):
        written = json.dumps(whole)  # halves of characters that were escapes stay escapes
    try:
        content = written.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise ApplyError(f"{shown(name)} holds text that is neither UTF-8 nor can be written as it") from None
    return gzip.compress(content) if name.lower().endswith(".gz") else content


def voc_edited(name: str, data: bytes, edits: Edits) -> bytes:
    """The XML of one picture."""
    document = parse_voc(data)
    if isinstance(document, str):
        raise ApplyError(f"{name}: {document}")
    for at, thing in enumerate(objects_of(document)):
        label = edits.get(at, "")
        called = thing.find("name")
        if label is None:
            document.remove(thing)
        elif label and called is not None:
            called.text = label
    declared = data.lstrip().startswith(b"<?xml")
    return bytes(ElementTree.tostring(document, encoding="utf-8", xml_declaration=declared))


def yolo_edited(data: bytes, edits: Edits, numbers: Mapping[str, int]) -> bytes:
    """The lines of one picture; those that do not change keep their bytes."""
    lines = []
    for at, line in enumerate(data.decode("utf-8", "surrogateescape").splitlines(keepends=True)):
        label = edits.get(at, "")
        if label:
            first = line.split()[0]
            line = line.replace(first, str(numbers[label]), 1)
        if label is not None:
            lines.append(line)
    return "".join(lines).encode("utf-8", "surrogateescape")
