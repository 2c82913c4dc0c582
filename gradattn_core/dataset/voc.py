"""Pascal VOC's XML: a file for each picture, with its objects and their corners in pixels from 1.

The format is that of http://host.robots.ox.ac.uk/pascal/VOC/voc2012/htmldoc/devkit_doc.html: ``xmax`` and ``ymax`` are
the last pixels of the box, so a box of one pixel has equal corners.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Collection
from xml.etree import ElementTree

from gradattn_core.dataset.annotations import Annotation, Corners

MOST_BYTES = 4 * 2**20
_FOLDERS = ("JPEGImages", "images", "Images", "jpegimages", "imgs", "img")


def parse_voc(data: bytes) -> ElementTree.Element | str:
    """The document of one picture, or why it is none.

    Document types, and so entities of any kind, are refused: no annotation needs them, and they name other files.
    """
    if not data:
        return "it is empty"
    if len(data) > MOST_BYTES:
        return f"it has {len(data):,} bytes, more than {MOST_BYTES:,}"
    if b"<!DOCTYPE" in (plain := data.replace(b"\0", b"")) or b"<!ENTITY" in plain:
        return "it has a document type, which annotations do without and which is not read"
    try:
        root = ElementTree.fromstring(data)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        return f"it is no XML that can be read ({error})"
    return root if root.tag == "annotation" else "it is no annotation of Pascal VOC"


def can_name(label: str) -> bool:
    """Whether XML holds a label so that it is read as it was written: not with control characters, or blanks around."""
    element = ElementTree.Element("name")
    element.text = label
    try:
        written = ElementTree.fromstring(ElementTree.tostring(element, encoding="utf-8"))
    except (ElementTree.ParseError, ValueError):
        return False
    return (written.text or "").strip() == label != ""


def has_objects(data: bytes) -> bool | None:
    """Whether a file is an annotation with boxes; None of one without."""
    document = parse_voc(data)
    return False if isinstance(document, str) else bool(objects_of(document)) or None


def objects_of(document: ElementTree.Element) -> list[ElementTree.Element]:
    """The boxes of a picture, in order; parts of things are none of them."""
    return document.findall("object")


def boxes_of(file: str, document: ElementTree.Element, placed: Callable[[str, str], str]) -> list[Annotation]:
    """The boxes of one file.

    Args:
        placed: from the file's name and the picture's ``filename`` to the path that the listing has.
    """
    picture = placed(file, (document.findtext("filename") or "").strip())
    width, height = (_number(document, f"size/{name}") for name in ("width", "height"))
    size = (width, height) if width and height and width > 0 and height > 0 else None
    found = []
    for at, each in enumerate(objects_of(document)):
        label = (each.findtext("name") or "").strip()
        problem = "" if label else "it has no name"
        left, top, right, bottom = (_number(each, f"bndbox/{name}") for name in ("xmin", "ymin", "xmax", "ymax"))
        corners = None
        if left is not None and top is not None and right is not None and bottom is not None:
            corners = Corners(left - 1, top - 1, right, bottom) if right >= left and bottom >= top else None
        if corners is None and not problem:
            problem = "its box has no area" if right is not None and left is not None else "its box is no four numbers"
        found.append(Annotation(file, at, picture, str(at + 1), label, corners, size, problem))
    return found


def _number(element: ElementTree.Element, path: str) -> float | None:
    text = (element.findtext(path) or "").strip()
    try:
        return float(text)
    except ValueError:
        return None


def candidates(file: str, picture: str) -> list[str]:
    """Where the picture of an annotation may lie, below the dataset's root, the likeliest first; endings may lack."""
    folder, _, base = file.rpartition("/")
    names = [picture.replace("\\", "/").rpartition("/")[2] or picture, posixpath.splitext(base)[0]]
    parts = folder.split("/") if folder else []
    folders = [folder]
    for at in reversed(range(len(parts))):
        if re.fullmatch("annotations?|xmls?|labels", parts[at], re.IGNORECASE):
            folders += ["/".join([*parts[:at], other, *parts[at + 1 :]]) for other in _FOLDERS]
            folders.append("/".join([*parts[:at], *parts[at + 1 :]]))
    return list(dict.fromkeys(f"{place}/{name}".strip("/") for place in folders for name in names if name))


def voc_files(names: Collection[str]) -> list[str]:
    """Which files of a dataset may be annotations of Pascal VOC."""
    return sorted(name for name in names if name.lower().endswith(".xml"))
