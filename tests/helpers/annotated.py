"""Detection sets in each published layout: pictures with coloured things in them, some under a wrong class."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
from PIL import Image

from tests.helpers.tiny import COLOURS

WIDTH, HEIGHT = 120, 90
CLASSES = sorted(COLOURS)


@dataclass(frozen=True)
class Thing:
    """A thing in a picture: its colour, what it is annotated as, and left, top, width and height in pixels."""

    colour: str
    label: str
    box: tuple[int, int, int, int]


@dataclass(frozen=True)
class Drawn:
    """A picture by its name and what is in it."""

    name: str
    things: tuple[Thing, ...]


def things(pictures: int = 24, wrong: Sequence[tuple[int, int]] = ((0, 1), (5, 2), (11, 0))) -> list[Drawn]:
    """Pictures with a thing of each colour at places of its own; those of ``wrong`` (picture, thing) are misnamed."""
    rng = np.random.default_rng(3)
    found = []
    for number in range(pictures):
        placed = []
        for place, colour in enumerate(rng.permutation(CLASSES).tolist()):
            left, top = 5 + 38 * place + int(rng.integers(4)), 8 + int(rng.integers(30))
            label = CLASSES[(CLASSES.index(colour) + 1) % 3] if (number, place) in wrong else colour
            placed.append(Thing(colour, label, (left, top, 30 + int(rng.integers(3)), 36 + int(rng.integers(4)))))
        found.append(Drawn(f"p{number:02d}", tuple(placed)))
    return found


def draw(file: Path, drawn: Drawn) -> None:
    """Write the picture."""
    rng = np.random.default_rng(sum(map(ord, drawn.name)))
    pixels = np.full((HEIGHT, WIDTH, 3), 128.0)
    for thing in drawn.things:
        left, top, width, height = thing.box
        noise = rng.normal(0, 25, (height, width, 3))
        pixels[top : top + height, left : left + width] = np.array(COLOURS[thing.colour]) + noise
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(file, quality=95)


def coco_of(pictures: Sequence[Drawn], *, folder: str = "", ending: str = ".jpg") -> dict[str, Any]:
    """As COCO publishes it, with the outline of each box; ids of annotations begin at 100."""
    images = [
        {"id": number, "file_name": f"{folder}{drawn.name}{ending}", "width": WIDTH, "height": HEIGHT, "license": 1}
        for number, drawn in enumerate(pictures, 1)
    ]
    annotations: list[dict[str, Any]] = []
    for number, drawn in enumerate(pictures, 1):
        for thing in drawn.things:
            left, top, width, height = thing.box
            outline = [left, top, left + width, top, left + width, top + height, left, top + height]
            annotations.append(
                {
                    "id": 100 + len(annotations),
                    "image_id": number,
                    "category_id": 10 * (1 + CLASSES.index(thing.label)),
                    "bbox": [float(value) for value in thing.box],
                    "area": float(width * height),
                    "segmentation": [outline],
                    "iscrowd": 0,
                }
            )
    categories = [
        {"id": 10 * number, "name": name, "supercategory": "colour"} for number, name in enumerate(CLASSES, 1)
    ]
    return {
        "info": {"description": "drawn"},
        "licenses": [{"id": 1, "name": "none", "url": ""}],
        "images": images,
        "annotations": annotations,
        "categories": categories,
    }


def write_coco(root: Path, pictures: Sequence[Drawn], split: str = "val2017") -> Path:
    """``annotations/instances_val2017.json`` and ``val2017/*.jpg``."""
    for drawn in pictures:
        draw(root / split / f"{drawn.name}.jpg", drawn)
    file = root / "annotations" / f"instances_{split}.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(coco_of(pictures)))
    return root


def write_roboflow_coco(root: Path, pictures: Sequence[Drawn]) -> Path:
    """``train/_annotations.coco.json`` beside the pictures, and the same for ``valid``; ids begin anew in each."""
    half = len(pictures) // 2
    for split, some in (("train", pictures[:half]), ("valid", pictures[half:])):
        for drawn in some:
            draw(root / split / f"{drawn.name}.jpg", drawn)
        (root / split / "_annotations.coco.json").write_text(json.dumps(coco_of(some)))
    return root


def write_fiftyone_coco(root: Path, pictures: Sequence[Drawn]) -> Path:
    """``labels.json`` and ``data/*.jpg``."""
    for drawn in pictures:
        draw(root / "data" / f"{drawn.name}.jpg", drawn)
    (root / "labels.json").write_text(json.dumps(coco_of(pictures)))
    return root


def voc_of(drawn: Drawn, ending: str = ".jpg") -> str:
    """The XML of one picture, as the devkit has it; the corners are of pixels from 1."""
    objects = "".join(
        f"""
  <object><name>{escape(thing.label)}</name><pose>Unspecified</pose><truncated>0</truncated><difficult>0</difficult>
    <bndbox><xmin>{thing.box[0] + 1}</xmin><ymin>{thing.box[1] + 1}</ymin>
      <xmax>{thing.box[0] + thing.box[2]}</xmax><ymax>{thing.box[1] + thing.box[3]}</ymax></bndbox>
    <part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>5</xmax><ymax>5</ymax></bndbox></part>
  </object>"""
        for thing in drawn.things
    )
    return f"""<annotation>
  <folder>VOC2012</folder><filename>{escape(drawn.name)}{ending}</filename><segmented>0</segmented>
  <size><width>{WIDTH}</width><height>{HEIGHT}</height><depth>3</depth></size>{objects}
</annotation>
"""


def write_voc(root: Path, pictures: Sequence[Drawn]) -> Path:
    """``VOCdevkit/VOC2012`` with ``Annotations``, ``JPEGImages`` and ``ImageSets/Main``."""
    base = root / "VOCdevkit" / "VOC2012"
    for folder in ("Annotations", "ImageSets/Main"):
        (base / folder).mkdir(parents=True)
    for drawn in pictures:
        draw(base / "JPEGImages" / f"{drawn.name}.jpg", drawn)
        (base / "Annotations" / f"{drawn.name}.xml").write_text(voc_of(drawn))
    half = len(pictures) // 2
    for split, some in (("train", pictures[:half]), ("val", pictures[half:])):
        (base / "ImageSets" / "Main" / f"{split}.txt").write_text("".join(f"{each.name}\n" for each in some))
    return root


def write_labelimg(root: Path, pictures: Sequence[Drawn]) -> Path:
    """XML beside each picture."""
    for drawn in pictures:
        draw(root / f"{drawn.name}.jpg", drawn)
        (root / f"{drawn.name}.xml").write_text(voc_of(drawn))
    return root


def yolo_of(drawn: Drawn) -> str:
    """The lines of one picture."""
    lines = []
    for thing in drawn.things:
        left, top, width, height = thing.box
        numbers = ((left + width / 2) / WIDTH, (top + height / 2) / HEIGHT, width / WIDTH, height / HEIGHT)
        lines.append(f"{CLASSES.index(thing.label)} {' '.join(f'{number:.6f}' for number in numbers)}\n")
    return "".join(lines)


def write_yolo(root: Path, pictures: Sequence[Drawn]) -> Path:
    """Ultralytics': ``images/train``, ``labels/train`` and ``data.yaml``."""
    half = len(pictures) // 2
    for split, some in (("train", pictures[:half]), ("val", pictures[half:])):
        (root / "labels" / split).mkdir(parents=True)
        for drawn in some:
            draw(root / "images" / split / f"{drawn.name}.jpg", drawn)
            (root / "labels" / split / f"{drawn.name}.txt").write_text(yolo_of(drawn))
    names = "".join(f"  {number}: {name}\n" for number, name in enumerate(CLASSES))
    (root / "data.yaml").write_text(f"train: images/train\nval: images/val\nnames:\n{names}")
    return root


def write_roboflow_yolo(root: Path, pictures: Sequence[Drawn]) -> Path:
    """``train/images``, ``train/labels`` and a list of names in ``data.yaml``."""
    half = len(pictures) // 2
    for split, some in (("train", pictures[:half]), ("valid", pictures[half:])):
        (root / split / "labels").mkdir(parents=True)
        for drawn in some:
            draw(root / split / "images" / f"{drawn.name}.jpg", drawn)
            (root / split / "labels" / f"{drawn.name}.txt").write_text(yolo_of(drawn))
    names = ", ".join(f"'{name}'" for name in CLASSES)
    (root / "data.yaml").write_text(f"train: ../train/images\nval: ../valid/images\nnc: 3\nnames: [{names}]\n")
    return root


def write_darknet(root: Path, pictures: Sequence[Drawn]) -> Path:
    """Text beside each picture and ``classes.txt``, as LabelImg writes it."""
    for drawn in pictures:
        draw(root / f"{drawn.name}.jpg", drawn)
        (root / f"{drawn.name}.txt").write_text(yolo_of(drawn))
    (root / "classes.txt").write_text("".join(f"{name}\n" for name in CLASSES))
    return root


LAYOUTS: dict[str, Callable[[Path, Sequence[Drawn]], Path]] = {
    "coco": write_coco,
    "roboflow-coco": write_roboflow_coco,
    "fiftyone-coco": write_fiftyone_coco,
    "voc": write_voc,
    "labelimg": write_labelimg,
    "yolo": write_yolo,
    "roboflow-yolo": write_roboflow_yolo,
    "darknet": write_darknet,
}


def zipped(root: Path, target: Path) -> Path:
    """The folder as an archive, without itself."""
    with zipfile.ZipFile(target, "w") as archive:
        for file in sorted(root.rglob("*")):
            if file.is_file():
                archive.write(file, file.relative_to(root).as_posix())
    return target
