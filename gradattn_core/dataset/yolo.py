"""YOLO's text files: a line for each box, a class's number and the box's middle and sides in parts of the picture's.

As Ultralytics reads them (https://docs.ultralytics.com/datasets/detect): ``labels`` in place of ``images`` in a
picture's path and ``.txt`` for its ending, names in ``data.yaml``. Lines of outlines (segmentation, corners of turned
boxes) stand for the box around them.
"""

from __future__ import annotations

import math
import posixpath
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from gradattn_core.dataset.annotations import Annotation, Corners
from gradattn_core.dataset.endings import is_image
from gradattn_core.dataset.text import shown

_MOST_BYTES = 2**22
_YAML = (".yaml", ".yml")
_LISTS = ("classes.txt", "obj.names", "_darknet.labels", "classes.names", "labels.names")


def is_yolo_yaml(name: str) -> bool:
    """Whether a file may be the description of a YOLO dataset, by its ending."""
    return name.lower().endswith(_YAML)


def read_yaml(data: bytes) -> Mapping[str, Any] | None:
    """The description of a dataset; None where the file is none."""
    import yaml  # only this form of dataset needs it

    if len(data) > _MOST_BYTES:
        return None
    try:
        found = yaml.safe_load(data)
    except (yaml.YAMLError, RecursionError, ValueError, UnicodeError):
        return None
    return found if isinstance(found, dict) and isinstance(found.get("names"), (list, dict)) else None


def names_of(description: Mapping[str, Any]) -> dict[int, str]:
    """The classes by their numbers."""
    names = description.get("names")
    pairs = names.items() if isinstance(names, dict) else enumerate(names or ())
    return {
        int(number): str(name)
        for number, name in pairs
        # What is nested is no name, and may be endless by its anchors.
        if isinstance(number, (int, str)) and str(number).strip().isdecimal() and isinstance(name, (str, int, float))
    }


def list_of_names(names: Collection[str]) -> str | None:
    """The file with a class a line, as Darknet and labelling tools write it; None where there is none."""
    found = [name for name in names if posixpath.basename(name) in _LISTS or name.endswith(".names")]
    return min(found, key=lambda name: (name.count("/"), name), default=None)


def labelled_pictures(names: Collection[str]) -> dict[str, str]:
    """Of each text file that may have a picture's boxes the picture."""
    # Of a.jpg and a.png it is the same one each time.
    pictures = {posixpath.splitext(name)[0]: name for name in sorted(names, reverse=True) if is_image(name)}
    found = {}
    for name in names:
        if not name.endswith(".txt") or posixpath.basename(name) in _LISTS:
            continue
        stem = posixpath.splitext(name)[0]
        parts = stem.split("/")
        others = ["/".join([*parts[:at], "images", *parts[at + 1 :]]) for at in _places(parts, "labels")]
        picture = next((pictures[each] for each in (*others, stem) if each in pictures), None)
        if picture is not None:
            found[name] = picture
    return found


def _places(parts: Sequence[str], name: str) -> list[int]:
    """Where folders of this name stand, the last one first, as Ultralytics takes it."""
    return [at for at in reversed(range(len(parts) - 1)) if parts[at] == name]


def boxes_of(file: str, data: bytes, picture: str, names: Mapping[int, str], *, poses: bool) -> list[Annotation]:
    """The boxes of one file, one a line; empty lines are none.

    Args:
        names: of the classes by number; where it is empty the numbers are the labels.
        poses: the numbers behind the first four are key points and no outline.
    """
    found = []
    for at, line in enumerate(data.decode("utf-8-sig", "replace").splitlines()):
        fields = line.split()
        if not fields:
            continue
        number = _whole(fields[0])
        label = "" if number is None else names.get(number, "") if names else str(number)
        corners = _corners(fields[1:], poses=poses)
        problem = ""
        if number is None:
            problem = f"its line begins with {shown(fields[0], 40)} and not with a class's number"
        elif not label:
            problem = f"its class {number} is not among the {len(names):,} names"
        elif corners is None:
            problem = "its box is no four numbers"
        elif not all(-0.01 <= value <= 1.01 for value in corners):
            problem = "its box reaches out of the picture by more than a hundredth: are its numbers parts of the sides?"
        found.append(Annotation(file, at, picture, str(at + 1), label, corners, None, problem, True))
    return found


def is_yolo(data: bytes) -> bool | None:
    """Whether a text is one of boxes: its first line is a number and at least four numbers; None where it is empty."""
    lines = data[:4096].decode("utf-8-sig", "replace").splitlines()
    fields = next((line.split() for line in lines if line.strip()), None)
    if fields is None:
        return None
    return len(fields) >= 5 and _whole(fields[0]) is not None and _numbers(fields[1:5]) is not None


def _whole(text: str) -> int | None:
    """A class's number; some tools write it with a fraction of 0."""
    whole = text.removesuffix(".0")
    return int(whole) if whole.isascii() and whole.isdecimal() and len(whole) < 9 else None


def _numbers(fields: Sequence[str]) -> list[float] | None:
    try:
        values = [float(field) for field in fields]
    except ValueError:
        return None
    return values if all(map(math.isfinite, values)) else None


def _corners(fields: Sequence[str], *, poses: bool) -> Corners | None:
    values = _numbers(fields)
    if values is None or len(values) < 4:
        return None
    if len(values) >= 6 and len(values) % 2 == 0 and not poses:
        across, down = values[::2], values[1::2]
        return Corners(min(across), min(down), max(across), max(down))
    middle, height_of_middle, width, height = values[:4]
    return Corners(middle - width / 2, height_of_middle - height / 2, middle + width / 2, height_of_middle + height / 2)
