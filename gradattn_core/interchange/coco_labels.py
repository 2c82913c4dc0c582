"""Suspects in the JSON of COCO, with one annotation without a box for each picture, and its categories back.

Source: COCO, "Data format", cocodataset.org/#format-data: ``images`` with ``id, file_name, width, height``,
``annotations`` with ``id, image_id, category_id``, ``categories`` with ``id, name``. What COCO does not know stands in
``attributes`` of an annotation, as Datumaro and CVAT write it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from gradattn_core.errors import StoreError
from gradattn_core.interchange.handed import Handed, Known
from gradattn_core.interchange.sheets import claim_of_label, claim_of_words
from gradattn_core.store.claims import Claim


def coco_of(images: Sequence[Handed], classes: Sequence[str], audit_id: str) -> bytes:
    """The JSON; a picture's ``file_name`` is its path in the dataset."""
    numbers = {label: number for number, label in enumerate(sorted(classes), 1)}
    listed = [
        {"id": number, "file_name": image.path, "width": image.width, "height": image.height}
        for number, image in enumerate(images, 1)
    ]
    annotations = [
        {
            "id": number,
            "image_id": number,
            "category_id": numbers[image.given_label],
            "iscrowd": 0,
            "attributes": {name: fact for name, fact in image.facts().items() if name != "path"},
        }
        for number, image in enumerate(images, 1)
    ]
    content = {
        "info": {"description": f"suspects of the gradattn audit {audit_id}"},
        "images": listed,
        "annotations": annotations,
        "categories": [{"id": number, "name": label, "supercategory": ""} for label, number in numbers.items()],
    }
    return json.dumps(content, ensure_ascii=False, indent=1).encode()


def claims_of_coco(
    file: Path, content: Mapping[str, object], known: Known, *, all_reviewed: bool = False
) -> list[Claim]:
    """What a file says by another category than the given label, or by ``attributes`` of an annotation.

    Raises:
        StoreError: where it is not of that form, or names an unknown picture, or one picture has several labels.
    """
    names = _by_id(file, content, "categories", "name")
    images = _by_id(file, content, "images", "file_name")
    claims, seen = list[Claim](), dict[str, str]()
    for annotation in _objects(file, content, "annotations"):
        where = f"{file}, annotation {annotation.get('id')}"
        name, label = (
            each.get(str(annotation.get(key))) for each, key in ((images, "image_id"), (names, "category_id"))
        )
        if name is None or label is None:
            raise StoreError(f"{where} names an image or a category that the file does not have")
        path = known.path_of(name)
        if path is None:
            raise StoreError(f"{where}: the audit has no image {name!r}")
        if seen.setdefault(path, label) != label:
            raise StoreError(f"{where}: {path!r} has several labels, {seen[path]!r} and {label!r}; leave one of them")
        attributes = annotation.get("attributes")
        said = attributes if isinstance(attributes, Mapping) else {}
        words = {name: text for name, text in said.items() if isinstance(text, str)}
        # What the label was when the file was made: of an earlier state of the dataset every label would look changed.
        given = words.get("given_label", known.labels[path])
        if label == given and words.get("decision"):
            claims.append(claim_of_words(where, path, words, given_label=given))
            continue
        claim = claim_of_label(where, path, given, label, all_reviewed=all_reviewed)
        if claim is not None:
            claims.append(claim)
    return claims


def _by_id(file: Path, content: Mapping[str, object], name: str, text: str) -> dict[str, str]:
    """A text of each object by its ``id``, which may be a number or a word."""
    found = {str(each.get("id")): each.get(text) for each in _objects(file, content, name)}
    if not all(isinstance(each, str) for each in found.values()):
        raise StoreError(f"{file}: one of its {name} has no {text}")
    return {number: str(each) for number, each in found.items()}


def _objects(file: Path, content: Mapping[str, object], name: str) -> list[Mapping[str, object]]:
    objects = content.get(name)
    if not isinstance(objects, list) or not all(isinstance(each, dict) for each in objects):
        raise StoreError(f"{file}: {name} is no list of objects, as COCO has it")
    return objects
