"""Annotated boxes, in whatever form they are published, to records of pictures: one for each box.

The path of a box is ``photo.jpg#1768@236,142,26,71``: of its picture, the annotation's id, and left, top, width and
height in pixels of the upright picture, rounded outwards. So whoever has the path and the picture has the box, and a
box that is moved is another picture.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple

from gradattn_core.dataset.address import BOXES, is_url, join, member_address
from gradattn_core.dataset.decoding import picture_size
from gradattn_core.dataset.storage import Stamp
from gradattn_core.dataset.text import as_text, is_text, shown
from gradattn_core.errors import DatasetError, UnreadableImageError
from gradattn_core.records import Failure, ImageRecord, Listing

CROWD = "it is a crowd and not one thing (iscrowd)"
TOO_SMALL = "its box is too small (--min-box)"
_THREADS = 16
_PLAIN_ID = re.compile(r"[A-Za-z0-9_.-]{1,40}")


class Corners(NamedTuple):
    """Left, top, right and bottom as an annotation has them, right and bottom exclusive."""

    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True, slots=True)
class Annotation:
    """A box as it is annotated.

    Attributes:
        file: the name of the file that holds it, below the dataset's root; ``at`` counts the file's boxes from 0.
        picture: the path of its picture as the listing spells it, or as the annotation has it where there is none.
        number: the annotation's own id, or its place.
        label: of the box; "" where nothing says it.
        corners: in pixels, or in parts of the picture's sides where ``is_relative``.
        size: width and height of the picture as the annotation says; None where it does not.
        problem: why it is no labelled box; empty where it is.
    """

    file: str
    at: int
    picture: str
    number: str
    label: str
    corners: Corners | None
    size: tuple[float, float] | None = None
    problem: str = ""
    is_relative: bool = False


@dataclass(frozen=True)
class AnnotatedSet:
    """What is annotated in a dataset.

    Attributes:
        form: ``COCO``, ``Pascal VOC`` or ``YOLO``.
        root: address of the folder or container from which the paths of pictures start.
        files: names of the files with annotations.
        folder: address from which these names start.
        annotations: every box.
        stamps: of each picture its stamp, or why it is not there.
        notes: sentences on what was understood how.
        numbers: of YOLO's classes by their names.
    """

    form: str
    root: str
    files: tuple[str, ...]
    folder: str
    annotations: tuple[Annotation, ...]
    stamps: Mapping[str, Stamp | str]
    notes: tuple[str, ...] = ()
    numbers: Mapping[str, int] = field(default_factory=dict)


def box_id(value: object, at: int, uses: Mapping[str, int]) -> str:
    """What a box is called: its own id where that is short, plain and its alone, else its place."""
    text = str(value) if isinstance(value, (int, str)) and not isinstance(value, bool) else ""
    return text if _PLAIN_ID.fullmatch(text) and uses.get(text, 0) == 1 else f"at-{at}"


def ids_used(values: Iterable[object]) -> Counter[str]:
    """How often each id is given."""
    return Counter(str(value) for value in values)


def each_read(names: Sequence[str], read: Callable[[str], bytes]) -> Iterable[tuple[str, bytes | str]]:
    """Each file with its bytes, or why it cannot be read."""

    def attempt(name: str) -> bytes | str:
        try:
            return read(name)
        except (UnreadableImageError, DatasetError) as error:
            return str(error).rstrip(".")

    with ThreadPoolExecutor(_THREADS, thread_name_prefix="annotations") as pool:
        yield from zip(names, pool.map(attempt, names), strict=True)


def located(found: AnnotatedSet, least_side: int) -> list[tuple[Annotation, ImageRecord | Failure]]:
    """Each box with its record, or why it is none."""
    pictures = dict.fromkeys(each.picture for each in found.annotations if not each.problem)
    sizes = _sizes(found, [picture for picture in pictures if not isinstance(found.stamps[picture], str)])
    return [(each, _record(each, found.stamps, sizes, least_side)) for each in found.annotations]


def boxes_listing(found: AnnotatedSet, margin: float, least_side: int) -> Listing:
    """The boxes as pictures; each failure and what is passed over is named by the box.

    Args:
        margin: in parts of a box's sides, part of the root and so of what the pictures are.
        least_side: boxes whose shorter side has fewer pixels are passed over.
    """
    images: dict[str, ImageRecord] = {}
    failures: list[Failure] = []
    skipped: list[Failure] = []
    for _, record in located(found, least_side):
        if isinstance(record, Failure):
            (skipped if record.stage == "skip" else failures).append(record)
        elif record.path not in images:
            images[record.path] = record
        else:
            first = images[record.path].label
            both = f"listed as {shown(first)} (kept) and as {shown(record.label)}"
            reason = "duplicate box" if first == record.label else both
            failures.append(Failure(record.path, "list", reason, record.label))
    pictures = len({path.rpartition("#")[0] for path in images})
    files = "1 file" if len(found.files) == 1 else f"{len(found.files):,} files"
    note = (
        f"{found.form} annotations in {files}: {len(images):,} boxes in {pictures:,} pictures, each of which is a "
        f"picture of its own here, with a margin of {margin:.0%} (--box-margin)."
    )
    return Listing(
        member_address(BOXES, f"{margin:g}", found.root),
        tuple(sorted(images.values(), key=lambda image: image.path)),
        tuple(failures),
        tuple(skipped),
        (note, *found.notes),
    )


_Size = tuple[int, int, int]


def _sizes(found: AnnotatedSet, pictures: Sequence[str]) -> dict[str, _Size | str]:
    """Width, height and EXIF orientation of upright pictures, or why these cannot be read.

    Pictures of this machine are asked, as annotations are often made before pictures are turned or scaled; those in
    archives and elsewhere only where the annotations do not say a size.
    """
    said = {each.picture: each.size for each in found.annotations if each.size is not None}
    ask = [picture for picture in pictures if picture not in said or not is_url(join(found.root, picture))]
    sizes: dict[str, _Size | str] = {
        picture: (math.ceil(size[0]), math.ceil(size[1]), 1) for picture, size in said.items()
    }

    def size(picture: str) -> _Size | str:
        try:
            return picture_size(join(found.root, picture))
        except (UnreadableImageError, DatasetError) as error:
            return str(error).rstrip(".")

    with ThreadPoolExecutor(_THREADS, thread_name_prefix="sizes") as pool:
        return sizes | dict(zip(ask, pool.map(size, ask), strict=True))


def _record(
    each: Annotation, stamps: Mapping[str, Stamp | str], sizes: Mapping[str, _Size | str], least_side: int
) -> ImageRecord | Failure:
    name, label = as_text(f"{each.picture}#{each.number}"), as_text(each.label)
    if each.problem:
        return Failure(name, "skip" if each.problem == CROWD else "list", each.problem, label)
    stamp, size = stamps[each.picture], sizes.get(each.picture, "")
    if isinstance(stamp, str):
        return Failure(name, "list", stamp, label)
    if isinstance(size, str):
        return Failure(name, "list", size, label)
    if not is_text(each.picture) or not is_text(each.label):
        return Failure(name, "list", "its name or label is not valid UTF-8", label)
    box = _upright(each, size)
    if isinstance(box, str):
        return Failure(name, "list", box, label)
    width, height = box[2] - box[0], box[3] - box[1]
    if min(width, height) < least_side:
        return Failure(name, "skip", TOO_SMALL, label)
    return ImageRecord(f"{each.picture}#{each.number}@{box[0]},{box[1]},{width},{height}", each.label, *stamp)


def _upright(each: Annotation, size: _Size) -> tuple[int, int, int, int] | str:
    """The box in whole pixels of the upright picture, clipped to it; or why there is none.

    Where the annotation says the size of the picture as it lies in the file, its coordinates are of that.
    """
    width, height, orientation = size
    corners = each.corners
    if corners is None or not all(map(math.isfinite, corners)):
        return "its box is no four numbers"
    if each.is_relative:
        corners = Corners(corners[0] * width, corners[1] * height, corners[2] * width, corners[3] * height)
    elif each.size is not None and orientation > 4 and width != height and _same(each.size, (height, width)):
        corners = _turned(corners, width, height, orientation)
    elif each.size is not None and not _same(each.size, (width, height)):
        return (
            f"its annotation is of a picture of {each.size[0]:,.0f} x {each.size[1]:,.0f} pixels, and this one has "
            f"{width:,} x {height:,}"
        )
    # A hundredth of a pixel beyond a whole one is a rounded number and no pixel more.
    left, top = (max(0, math.floor(value + 0.01)) for value in corners[:2])
    right, bottom = min(width, math.ceil(corners.right - 0.01)), min(height, math.ceil(corners.bottom - 0.01))
    if corners.right <= corners.left or corners.bottom <= corners.top:
        return "its box has no area"
    return (left, top, right, bottom) if right > left and bottom > top else "its box lies outside of the picture"


def _turned(box: Corners, width: int, height: int, orientation: int) -> Corners:
    """A box of a picture as it lies in its file, in the upright picture of this width and height."""
    left, top, right, bottom = box
    return {
        5: Corners(top, left, bottom, right),
        6: Corners(width - bottom, left, width - top, right),
        7: Corners(width - bottom, height - right, width - top, height - left),
        8: Corners(top, height - right, bottom, height - left),
    }[orientation]


def _same(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return abs(one[0] - other[0]) < 1 and abs(one[1] - other[1]) < 1
