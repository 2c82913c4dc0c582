"""Detection sets, told by sight: which files of a folder, an archive or a bucket annotate which of its pictures.

Layouts that are known: COCO's (``annotations/*.json``, the pictures beside), Roboflow's (``_annotations.coco.json``,
XML or ``labels`` in each split), FiftyOne's (``labels.json`` and ``data``), Pascal VOC's (``Annotations`` and
``JPEGImages``, alone or in ``VOCdevkit/VOC2012``), LabelImg's (XML or text beside each picture), Ultralytics' and
Darknet's (``images`` and ``labels``, ``data.yaml`` or a list of names).
"""

from __future__ import annotations

import os
import posixpath
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from gradattn_core.dataset import coco, voc, yolo
from gradattn_core.dataset.address import file_name, is_url, join, parent
from gradattn_core.dataset.annotations import AnnotatedSet, Annotation, each_read
from gradattn_core.dataset.decoding import read_address
from gradattn_core.dataset.endings import is_image, passed_over
from gradattn_core.dataset.places import places_of
from gradattn_core.dataset.selection import SPLIT_NAMES, DatasetSelection
from gradattn_core.dataset.stamps import ABSENT, stamps
from gradattn_core.dataset.storage import Stamp
from gradattn_core.dataset.text import shown, shown_all
from gradattn_core.errors import DatasetError, EmptyFileError, UnreadableImageError
from gradattn_core.outfolder import DATABASE

_WRAPPER = re.compile(r"VOCdevkit|VOC\d{4}", re.IGNORECASE)
_SIGNS = frozenset({"annotations", "labels.json", "_annotations.coco.json", "_darknet.labels", "obj.names"})
_SIGNS_OF_SPLITS = frozenset({"labels", "annotations", "_annotations.coco.json", "_darknet.labels", "_classes.txt"})
_ANNOTATIONS = ("annotations", "annotation")
_TRIED, _ASKED = 5, 20


@dataclass(frozen=True)
class Files:
    """The visible files of a dataset.

    Attributes:
        root: address of the folder or container that their names are below.
        names: of all files.
    """

    root: str
    names: frozenset[str]

    def read(self, name: str) -> bytes:
        """The bytes of a file; one of none says that there is nothing in a picture."""
        try:
            return read_address(join(self.root, name))
        except EmptyFileError:
            return b""

    @cached_property
    def pictures(self) -> dict[str, list[str]]:
        """The pictures by their names without folder and ending."""
        found: defaultdict[str, list[str]] = defaultdict(list)
        for name in self.names:
            if is_image(name):
                found[posixpath.splitext(posixpath.basename(name))[0]].append(name)
        return found

    def picture(self, candidates: Sequence[str]) -> str | None:
        """The first of the paths that is a picture, with its ending or without; else the only one of such a name."""
        stems = {name: posixpath.splitext(name)[0] for name in candidates}
        for name in candidates:
            if name in self.names and is_image(name):
                return name
            beside = self.pictures.get(posixpath.basename(stems[name]), ())
            same = [each for each in beside if posixpath.splitext(each)[0] in (stems[name], name)]
            if len(same) == 1:
                return same[0]
        for name in candidates:
            alike = self.pictures.get(posixpath.basename(stems[name]), ())
            if len(alike) == 1:
                return alike[0]
        return None


def files_of_folder(root: str) -> Files:
    """The visible files below a folder of this machine."""
    names: list[str] = []
    for folder, folders, files in os.walk(root):
        if DATABASE in files:
            folders.clear()
            continue
        folders[:] = [name for name in folders if passed_over(name, folder=True) is None]
        inside = os.path.relpath(folder, root).replace(os.sep, "/")
        start = "" if inside == "." else f"{inside}/"
        names += [f"{start}{name}" for name in files if passed_over(name) is None]
    return Files(root, frozenset(names))


def may_be_detection(root: str) -> bool:
    """Whether a folder of this machine looks like a detection set, from its first level and that of its splits."""
    entries = {name.lower(): name for name in os.listdir(root)}
    if _SIGNS & set(entries) or {"images", "labels"} <= set(entries) or any(map(_WRAPPER.fullmatch, entries)):
        return True
    if any(name.endswith((".yaml", ".yml", ".xml", "coco.json", ".names")) for name in entries):
        return True
    if "classes.txt" in entries and any(is_image(name) for name in entries):
        return True
    for name in SPLIT_NAMES & set(entries):
        folder = os.path.join(root, entries[name])
        if os.path.isdir(folder):
            within = {each.lower() for each in os.listdir(folder)}
            if _SIGNS_OF_SPLITS & within or any(each.endswith(".xml") for each in within):
                return True
    return False


def _chosen(
    files: Files, names: Sequence[str], of_split: Callable[[str], Sequence[str]], split: str | None
) -> list[str]:
    """The files of the split, or all of them.

    Raises:
        DatasetError: none is of the split.
    """
    if split is None:
        return list(names)
    chosen = list(of_split(split))
    if not chosen:
        raise DatasetError(
            f"{shown(files.root)} has no annotations of a split {shown(split)}; it has {shown_all(list(names)[:5])}."
        )
    return chosen


def _coco(files: Files, selection: DatasetSelection) -> AnnotatedSet | None:
    contents = {}
    for name in coco.coco_files(files.names):
        content = _boxes_in(join(files.root, name))
        if content is not None:
            contents[name] = content
    if not contents:
        return None
    chosen = _chosen(files, list(contents), lambda split: coco.of_split(list(contents), split), selection.split)
    return _coco_of(files, {name: contents[name] for name in chosen}, selection)


def _boxes_in(file: str) -> coco.CocoFile | None:
    """What a file of COCO's with boxes holds; None of any other, and of one that cannot be read."""
    try:
        content = coco.read_coco(coco.unpacked(file, read_address(file)))
    except (DatasetError, UnreadableImageError):
        return None
    return content if content is not None and content.has_boxes else None


def _coco_of(files: Files, contents: Mapping[str, coco.CocoFile], selection: DatasetSelection) -> AnnotatedSet:
    root = files.root if selection.image_root is None else selection.image_root
    annotations: list[Annotation] = []
    stamp_of: dict[str, Stamp | str] = {}
    notes: tuple[str, ...] = ()
    for name in contents:
        texts = [str(image.get("file_name", "")) for image in contents[name].images]
        start = _folder_of_pictures(files, name, texts) if selection.image_root is None else ""
        as_written = {text: f"{start}/{text}" if start and not is_url(text) else text for text in texts if text}
        places = places_of(list(dict.fromkeys(as_written.values())), join(files.root, name), root, selection)
        notes += places.notes
        paths = {}
        for text, path in as_written.items():
            place = places.found[path]
            paths[text] = path if isinstance(place, str) else place[0]
            stamp_of[paths[text]] = place if isinstance(place, str) else place[1]
        annotations += coco.boxes_of(name, contents[name], paths)
        if texts and len(places.missing) == len(as_written):
            raise DatasetError(
                f"{shown(name)} has no usable images, none of its {len(as_written):,} pictures was found; the first, "
                f"{shown(texts[0], 120)}, was looked for below {shown(root)}. Name the folder or archive that has them "
                "with --image-root."
            )
    return AnnotatedSet("COCO", root, tuple(contents), files.root, tuple(annotations), stamp_of, notes)


def _folder_of_pictures(files: Files, name: str, texts: Sequence[str]) -> str:
    """The folder that most of the first pictures lie in, "" for the dataset's own."""
    some = texts[:_ASKED]
    folders = coco.picture_folders(name)
    counts = [sum(f"{folder}/{text}".strip("/") in files.names for text in some) for folder in folders]
    return folders[counts.index(max(counts))] if max(counts) else ""


def _any_of(files: Files, names: Sequence[str], tried: int, is_one: Callable[[bytes], bool | None]) -> bool:
    """Whether one of the first files is of a form; those of pictures without things (None) tell nothing."""
    for start in range(0, len(names), 4 * _TRIED):
        for _, data in each_read(names[start : start + 4 * _TRIED], files.read):
            found = is_one(data) if isinstance(data, bytes) else False
            if found:
                return True
            tried -= found is not None
            if not tried:
                return False
    return False


def _voc(files: Files, selection: DatasetSelection) -> AnnotatedSet | None:
    names = voc.voc_files(files.names)
    if not _any_of(files, names, _TRIED, voc.has_objects):
        return None
    chosen = _chosen(files, names, lambda split: _voc_split(files, names, split), selection.split)
    annotations: list[Annotation] = []

    def placed(file: str, picture: str) -> str:
        found = files.picture(voc.candidates(file, picture))
        return found or picture or file

    for name, data in each_read(chosen, files.read):
        document = data if isinstance(data, str) else voc.parse_voc(data)
        if isinstance(document, str):
            annotations.append(Annotation(name, 0, name, "all", "", None, None, document))
        else:
            annotations += voc.boxes_of(name, document, placed)
    return _stamped("Pascal VOC", files, chosen, annotations)


def _voc_split(files: Files, names: Sequence[str], split: str) -> list[str]:
    """By the list of the split in ``ImageSets/Main``, else by folders."""
    lists = [name for name in files.names if name.endswith(f"ImageSets/Main/{split}.txt")]
    if not lists:
        return [name for name in names if split in name.split("/")[:-1]]
    lines = [line.split() for name in lists for line in files.read(name).decode("utf-8", "replace").splitlines()]
    ids = {fields[0] for fields in lines if fields}
    return [name for name in names if posixpath.splitext(posixpath.basename(name))[0] in ids]


def _yolo(
    files: Files, selection: DatasetSelection, described: Mapping[str, object] | None = None
) -> AnnotatedSet | None:
    pictures = yolo.labelled_pictures(files.names)
    if not pictures:
        return None
    if not _any_of(files, sorted(pictures), 4 * _TRIED, yolo.is_yolo):
        return None
    description, names, notes = _yolo_names(files) if described is None else (described, yolo.names_of(described), ())
    poses = "kpt_shape" in description
    labels = sorted(pictures)
    chosen = _chosen(
        files, labels, lambda split: _yolo_split(labels, pictures, description.get(split), split), selection.split
    )
    annotations: list[Annotation] = []
    for name, data in each_read(chosen, files.read):
        if isinstance(data, str):
            annotations.append(Annotation(name, 0, pictures[name], "all", "", None, None, data))
        else:
            annotations += yolo.boxes_of(name, data, pictures[name], names, poses=poses)
    # Of numbers without names the labels are the numbers.
    every = names or {int(each.label): each.label for each in annotations if each.label}
    numbers = {label: number for number, label in sorted(every.items(), reverse=True)}
    return replace(_stamped("YOLO", files, chosen, annotations, notes), numbers=numbers)


def _yolo_names(files: Files) -> tuple[Mapping[str, object], dict[int, str], tuple[str, ...]]:
    """The description, the names of the classes, and what is to be said of them."""
    for name in sorted(filter(yolo.is_yolo_yaml, files.names), key=lambda each: (each.count("/"), each)):
        description = yolo.read_yaml(files.read(name))
        if description is not None:
            return description, yolo.names_of(description), ()
    listed = yolo.list_of_names(files.names)
    if listed is not None:
        lines = files.read(listed).decode("utf-8-sig", "replace").splitlines()
        return {}, {number: line.strip() for number, line in enumerate(lines) if line.strip()}, ()
    note = (
        "No data.yaml and no classes.txt names the classes: their numbers are the labels. A classes.txt with a name a "
        "line, beside the pictures, gives them names."
    )
    return {}, {}, (note,)


def _yolo_split(labels: Sequence[str], pictures: Mapping[str, str], place: object, split: str) -> list[str]:
    """By the folder that ``data.yaml`` has for the split, else by folders of its name."""
    if isinstance(place, str):
        folder = re.sub(r"^(\.{0,2}/)+", "", posixpath.normpath(place))
        by_place = [name for name in labels if f"/{pictures[name]}".find(f"/{folder}/") >= 0]
        if by_place:
            return by_place
    return [name for name in labels if split in pictures[name].split("/")[:-1]]


def _stamped(
    form: str, files: Files, chosen: Sequence[str], annotations: Sequence[Annotation], notes: tuple[str, ...] = ()
) -> AnnotatedSet:
    pictures = dict.fromkeys(each.picture for each in annotations if not each.problem)
    there = {picture: join(files.root, picture) for picture in pictures if picture in files.names}
    stamp_of = stamps(there.values())
    found: dict[str, Stamp | str] = {
        picture: stamp_of[there[picture]] if picture in there else ABSENT for picture in pictures
    }
    return AnnotatedSet(form, files.root, tuple(chosen), files.root, tuple(annotations), found, notes)


def detected(files: Files, selection: DatasetSelection) -> AnnotatedSet | None:
    """What is annotated in a dataset; None where nothing is.

    Raises:
        DatasetError: there is no such split, or no picture that the annotations name.
    """
    for find in (_coco, _voc, _yolo):
        found = find(files, selection)
        if found is not None and found.annotations:
            return found
    return None


def detected_by(file: str, selection: DatasetSelection) -> AnnotatedSet | None:
    """What a file of annotations says of the pictures around it; None where it is another file.

    Args:
        file: address of a COCO file, or of the ``data.yaml`` of a YOLO dataset.

    Raises:
        DatasetError: as :func:`detected`; or the file is the description of no dataset.
    """
    if not yolo.is_yolo_yaml(file):
        folder = parent(file)
        around = parent(folder) if file_name(folder).lower() in _ANNOTATIONS else folder
        content = _boxes_in(file)
        if content is None:
            return None
        name = file.removeprefix(around if around.endswith("/") else f"{around}/")
        return _coco_of(_around(around, name), {name: content}, selection)
    description = yolo.read_yaml(read_address(file))
    if description is None:
        raise DatasetError(f"{shown(file)} has no names of classes, as the data.yaml of a YOLO dataset does.")
    root, place = parent(file), description.get("path")
    if isinstance(place, str) and not is_url(file):
        named = os.path.normpath(os.path.join(root, place))
        root = named if os.path.isdir(named) else root
    found = _yolo(_around(root, file_name(file)), selection, description)
    if found is None:
        raise DatasetError(
            f"{shown(file)} describes a YOLO dataset, but below {shown(root)} no labels are beside pictures."
        )
    return found


def _around(root: str, name: str) -> Files:
    """The files around one that was named; of another machine's only itself."""
    return Files(root, frozenset({name})) if is_url(root) else files_of_folder(root)
