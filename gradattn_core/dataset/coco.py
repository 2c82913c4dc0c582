"""COCO's JSON: ``images``, ``annotations`` and ``categories``; with boxes, or with one label a picture.

The format is that of https://cocodataset.org/#format-data: ``bbox`` is left, top, width and height in pixels from 0.
"""

from __future__ import annotations

import gzip
import io
import json
import posixpath
import re
import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gradattn_core.dataset.annotations import CROWD, Annotation, Corners, box_id, ids_used
from gradattn_core.dataset.decoding import MAX_FILE_BYTES
from gradattn_core.dataset.text import cause, shown
from gradattn_core.errors import DatasetError

_KEYS = (b'"images"', b'"annotations"', b'"categories"')
_OF_IMAGES = ("file_name", "width", "height", "id", "coco_url")
_OF_ANNOTATIONS = ("id", "image_id", "category_id", "bbox", "iscrowd")
_SPLIT_OF_NAME = re.compile(r"(?:instances|person_keypoints|panoptic|stuff)_(.+)")
# Names of COCO's files of other tasks, whose boxes are those of the instances once more, or none.
_OTHER_TASKS = ("captions_", "person_keypoints_", "stuff_", "panoptic_", "image_info_", "densepose_")


@dataclass(frozen=True, slots=True)
class CocoFile:
    """What a file of COCO's holds, without the outlines of things.

    Attributes:
        names: of the categories by id, but for those whose id is another's too.
        ambiguous: these ids.
    """

    images: Sequence[Mapping[str, Any]]
    annotations: Sequence[Mapping[str, Any]]
    names: Mapping[object, str]
    ambiguous: frozenset[object] = frozenset()

    @property
    def has_boxes(self) -> bool:
        """Whether it is about things in pictures rather than about pictures."""
        return any(each.get("bbox") for each in self.annotations)


def unpacked(name: str, data: bytes) -> bytes:
    """The file's text as bytes.

    Raises:
        DatasetError: it is packed and damaged, or too large.
    """
    if not name.lower().endswith(".gz"):
        return data
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as packed:
            content = packed.read(2 * MAX_FILE_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DatasetError(f"{shown(name)} cannot be unpacked: {cause(error)}.") from None
    if len(content) > 2 * MAX_FILE_BYTES:
        raise DatasetError(f"{shown(name)} unpacks to more than {2 * MAX_FILE_BYTES:,} bytes.")
    return content


def looks_like_coco(data: bytes) -> bool:
    """Whether a JSON document may be one of COCO's, without parsing it."""
    return all(key in data for key in _KEYS)


def read_coco(data: bytes) -> CocoFile | None:
    """A file of COCO's; None where it is another JSON, or none.

    Outlines are let go while the document is parsed, so that it takes about three times its size in memory and not
    seven times (``bench.detection``).
    """
    if not looks_like_coco(data):
        return None
    try:
        whole = json.loads(data.decode("utf-8-sig", "surrogateescape"), object_hook=_slim)
    except (ValueError, RecursionError):
        return None
    if not isinstance(whole, dict):
        return None
    parts = [whole.get(key) for key in ("images", "annotations", "categories")]
    if not all(isinstance(part, list) and all(isinstance(each, dict) for each in part) for part in parts):
        return None
    images, annotations, categories = parts
    names, ambiguous = by_id(categories or (), "name")
    return CocoFile(images or (), annotations or (), names, ambiguous)


def by_id(entries: Iterable[Mapping[str, Any]], name: str) -> tuple[dict[object, str], frozenset[object]]:
    """Of each id the text of the entry that has it; and the ids that entries of several texts have."""
    found: dict[object, str] = {}
    ambiguous = set()
    for each in entries:
        if each.get(name) is not None:
            key, text = id_key(each.get("id")), str(each[name])
            if found.setdefault(key, text) != text:
                ambiguous.add(key)
    return {key: text for key, text in found.items() if key not in ambiguous}, frozenset(ambiguous)


def _slim(value: dict[str, object]) -> dict[str, object]:
    if "image_id" in value:
        kept = {key: value[key] for key in _OF_ANNOTATIONS if key in value}
        outline = value.get("segmentation")
        if not kept.get("bbox") and isinstance(outline, list) and outline:
            kept["bbox"] = _around(outline)
        return kept
    return {key: value[key] for key in _OF_IMAGES if key in value} if "file_name" in value else value


def _around(outline: Sequence[object]) -> list[float] | None:
    """The box around polygons of x, y, x, y, …"""
    numbers = [each for part in outline for each in (part if isinstance(part, list) else [part])]
    if len(numbers) < 6 or not all(isinstance(each, (int, float)) for each in numbers):
        return None
    across, down = [float(str(each)) for each in numbers[::2]], [float(str(each)) for each in numbers[1::2]]
    return [min(across), min(down), max(across) - min(across), max(down) - min(down)]


def id_key(value: object) -> str:
    """An id as it is compared: some tools write the same one as a number and as text."""
    return str(int(value) if isinstance(value, float) and value.is_integer() else value)


def boxes_of(file: str, content: CocoFile, paths: Mapping[str, str]) -> list[Annotation]:
    """The boxes of a file.

    Args:
        paths: of each picture's ``file_name`` the path that the listing has.
    """
    images = {id_key(image.get("id")): image for image in content.images}
    _, of_several = by_id(content.images, "file_name")
    uses = ids_used(each.get("id") for each in content.annotations)
    found = []
    for at, each in enumerate(content.annotations):
        key = id_key(each.get("image_id"))
        image = images.get(key, {})
        label = content.names.get(id_key(each.get("category_id")), "")
        problem = ""
        if key in of_several:
            problem = f"its image {shown(str(each.get('image_id')), 40)} is the id of several pictures"
        elif not image.get("file_name"):
            problem = f"its image {shown(str(each.get('image_id')), 40)} is not among the images"
        elif id_key(each.get("category_id")) in content.ambiguous:
            problem = f"its category {shown(str(each.get('category_id')), 40)} has several names"
        elif not label:
            problem = (
                f"its category {shown(str(each.get('category_id')), 40)} is not among the categories, or has no name"
            )
        elif each.get("iscrowd") in (1, True, "1"):
            problem = CROWD
        picture = file if key in of_several else paths.get(str(image.get("file_name", "")), file)
        number = box_id(each.get("id"), at, uses)
        found.append(Annotation(file, at, picture, number, label, _corners(each.get("bbox")), _size(image), problem))
    return found


def labels_of(content: CocoFile) -> list[tuple[str, tuple[str, ...]]]:
    """Of each picture of a file without boxes its path and its labels, in the order of the file."""
    labels: dict[object, dict[str, None]] = {id_key(image.get("id")): {} for image in content.images}
    _, of_several = by_id(content.images, "file_name")
    for each in content.annotations:
        name = content.names.get(id_key(each.get("category_id")))
        if name and id_key(each.get("image_id")) in labels and id_key(each.get("image_id")) not in of_several:
            labels[id_key(each.get("image_id"))][name] = None
    return [(str(image.get("file_name", "")), tuple(labels[id_key(image.get("id"))])) for image in content.images]


def _corners(box: object) -> Corners | None:
    if not isinstance(box, list) or len(box) != 4 or not all(isinstance(each, (int, float)) for each in box):
        return None
    left, top, width, height = map(float, box)
    return Corners(left, top, left + width, top + height)


def _size(image: Mapping[str, Any]) -> tuple[float, float] | None:
    width, height = image.get("width"), image.get("height")
    if not isinstance(width, (int, float)) or not isinstance(height, (int, float)) or width <= 0 or height <= 0:
        return None
    return float(width), float(height)


def coco_files(names: Collection[str]) -> list[str]:
    """Which files of a dataset hold its boxes, by their names and places."""
    chosen = []
    for name in names:
        folder, _, base = name.lower().rpartition("/")
        plain = base.removesuffix(".gz")
        if not plain.endswith(".json"):
            continue
        in_annotations = folder.rpartition("/")[2] in ("annotations", "annotation")
        beside_data = base == "labels.json" and any(other.startswith(f"{name[:-11]}data/") for other in names)
        if (in_annotations and folder.count("/") <= 1) or plain.endswith("coco.json") or beside_data:
            chosen.append(name)
    instances = [name for name in chosen if posixpath.basename(name).startswith("instances")]
    return sorted(instances or [n for n in chosen if not posixpath.basename(n).startswith(_OTHER_TASKS)])


def of_split(names: Sequence[str], split: str) -> list[str]:
    """Those of COCO's files that are of a split: in its folder, or with its name as a part of their own."""
    found = []
    for name in names:
        *folders, base = name.split("/")
        stem = base.split(".")[0]
        if (
            split in folders
            or split == stem
            or split in re.split(r"[_\-.]|(?<=[a-z])(?=\d)", stem)
            or (stem.endswith(f"_{split}"))
        ):
            found.append(name)
    return found


def picture_folders(file: str) -> list[str]:
    """Where the pictures of one of COCO's files may lie, below the dataset's root: the likeliest first."""
    folder, _, base = file.rpartition("/")
    above = folder.rpartition("/")[0] if posixpath.basename(folder).lower() in ("annotations", "annotation") else folder
    named = _SPLIT_OF_NAME.fullmatch(base.split(".json")[0])
    split = named[1] if named else base.split(".json")[0]
    places = [folder, above, f"{above}/{split}", f"{above}/images/{split}", f"{above}/images", f"{above}/data"]
    return list(dict.fromkeys(place.strip("/") for place in places))
