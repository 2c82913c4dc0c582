"""The public datasets of tests/dataset/test_published.py with real pictures, each audited as published by one command.

The layouts, tables and labels are those of the repositories; the pictures are a few dozen of other, real ones.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import pytest
from PIL import Image

from gradattn_core.store.store import Store
from tests.helpers.command_line import gradattn

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

MODEL = "vit_tiny_patch16_224"


@dataclass(frozen=True)
class Audited:
    """What a command has left: the label of each picture by its path, in the order of paths, and what was said."""

    labels: dict[str, str]
    said: str
    failures: int


@pytest.fixture
def pictures(shared_data: Path) -> dict[str, list[Path]]:
    """Real pictures by what they show."""
    found: dict[str, list[Path]] = {}
    for name in ("cifar10n", "imagenette", "roman"):
        with open(shared_data / "data" / f"{name}.truth.csv", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                if row.get("is_error", "0") == "0":
                    shows = row.get("true_label") or row["given_label"]
                    found.setdefault(f"{name}/{shows}", []).append(shared_data / "data" / name / row["path"])
    return found


def copy(picture: Path, *targets: Path) -> None:
    """The picture, in the format that each target's ending says."""
    for target in targets:
        target.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(picture) as opened:
            opened.convert("RGB").save(target)


def fill(root: Path, pictures: Sequence[Path], names: Iterable[str]) -> None:
    for picture, name in zip(pictures, names, strict=False):
        copy(picture, root / name)


def audited(shared_data: Path, tmp_path: Path, dataset: Path, *options: str) -> Audited:
    """What one ``gradattn audit`` made of a dataset; its table is whole."""
    out = tmp_path / "out"
    weights = shared_data / "weights" / f"{MODEL}.safetensors"
    model = ("--model", MODEL, "--checkpoint", weights, "--head", "probe")
    process = gradattn("audit", dataset, *options, *model, "--json", out=out)
    assert process.returncode == 0, process.stderr
    assert "Traceback" not in process.stderr
    summary = json.loads(process.stdout)
    ranked = Store(out).candidates.page(summary["audit_id"], min_suspicion=0.0)
    assert len(ranked) == summary["images"]
    with open(summary["candidates"], encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    labels = dict(sorted(zip(ranked["path"], ranked["given_label"], strict=True)))
    assert len(rows) == summary["suspects"]
    assert [row["path"] for row in rows] == [ranked["path"].iloc[int(row["rank"]) - 1] for row in rows]
    assert all(labels[row["path"]] == row["given_label"] != row["suggested_label"] for row in rows)
    assert all(None not in row and None not in row.values() for row in rows)
    assert {row["suggested_label"] for row in rows} <= set(labels.values())
    return Audited(labels, "\n".join(summary["warnings"]), summary["failures"])


def refused(dataset: Path, tmp_path: Path, *options: str) -> str:
    process = gradattn("audit", dataset, *options, out=tmp_path / "out")
    assert process.returncode == 2 and process.stderr.count("\n") == 1, process.stderr
    return process.stderr


def test_clothing_dataset_small(shared_data: Path, tmp_path: Path, pictures: dict[str, list[Path]]) -> None:
    root = tmp_path / "clothing-dataset-small"
    classes = {"dress": "n02102040", "hat": "n03417042", "t-shirt": "n03888257"}
    for label, wnid in classes.items():
        shown = pictures[f"imagenette/{wnid}"]
        fill(root / "train" / label, shown, [f"{number:08x}.jpg" for number in range(14)])
        fill(root / "test" / label, shown[14:], [f"{number:08x}.jpg" for number in range(4)])
    # One wrong label, to be found: a parachute among the dresses.
    copy(pictures["imagenette/n03888257"][20], root / "train/dress/wrong.jpg")
    assert "--split train" in refused(root, tmp_path)
    done = audited(shared_data, tmp_path, root, "--split", "train")
    assert Counter(done.labels.values()) == {"dress": 15, "hat": 14, "t-shirt": 14} and not done.failures
    first = next(csv.DictReader((tmp_path / "out/candidates.csv").read_text("utf-8").splitlines()))
    assert (Path(first["path"]).name, first["suggested_label"]) == ("wrong.jpg", "t-shirt")


def test_clothing_dataset(shared_data: Path, tmp_path: Path, pictures: dict[str, list[Path]]) -> None:
    root = tmp_path / "clothing-dataset"
    shows = {"T-Shirt": "n02102040", "Shoes": "n03417042", "Not sure": "n03888257", "Skip": "n01440764"}
    labels = ["T-Shirt"] * 16 + ["Shoes"] * 16 + ["Not sure"] * 4 + ["Skip"] * 6
    ids = [f"{number:08x}-2ca2-4700-8ae8-{number:012x}" for number in range(len(labels))]
    for at, (each, label) in enumerate(zip(ids, labels, strict=True)):
        copy(pictures[f"imagenette/{shows[label]}"][at], root / "images" / f"{each}.jpg")
    lines = (f"{each},124,{label},False\n" for each, label in zip(ids, labels, strict=True))
    (root / "images.csv").write_text("image,sender_id,label,kids\n" + "".join(lines))
    done = audited(shared_data, tmp_path, root / "images.csv")
    assert list(done.labels.values()) == labels and not done.failures
    assert "taken from 'image'" in done.said and "by name below" in done.said
    assert "--exclude-label" in done.said and "Skip" in done.said and "Not sure" in done.said
    placeholders = ("--exclude-label", "Skip", "--exclude-label", "Not sure")
    again = audited(shared_data, tmp_path, root / "images.csv", "--image-root", str(root / "images"), *placeholders)
    assert Counter(again.labels.values()) == {"T-Shirt": 16, "Shoes": 16}


def test_facial_expressions(shared_data: Path, tmp_path: Path, pictures: dict[str, list[Path]]) -> None:
    root = tmp_path / "facial_expressions"
    # Fifteen spellings of eight labels, some of them of a single picture, as in the original.
    counts = {
        **{"anger": 8, "ANGER": 1, "happiness": 12, "HAPPINESS": 2, "Happiness": 1, "neutral": 14, "NEUTRAL": 1},
        **{"surprise": 6, "SURPRISE": 1, "disgust": 4, "DISGUST": 1, "fear": 3, "FEAR": 1, "sadness": 4, "contempt": 1},
    }
    assert len(counts) == 15 and len({each.casefold() for each in counts}) == 8
    shows = dict(zip(sorted({each.casefold() for each in counts}), sorted(pictures), strict=False))
    labels = [label for label, count in counts.items() for _ in range(count)]
    for number, label in enumerate(labels):
        copy(pictures[shows[label.casefold()]][number], root / f"images/Aaron_{number:04d}.jpg")
    (root / "data").mkdir()
    rows = (f"628,Aaron_{number:04d}.jpg,{label}\n" for number, label in enumerate(labels))
    (root / "data/legend.csv").write_text("user.id,image,emotion\n" + "".join(rows))
    columns = ("--path-column", "image", "--label-column", "emotion")
    assert "--image-root" in refused(root / "data/legend.csv", tmp_path, *columns)
    where = (*columns, "--image-root", str(root / "images"))
    done = audited(shared_data, tmp_path, root / "data/legend.csv", *where)
    assert list(done.labels.values()) == labels and not done.failures
    assert "spelling" in done.said and "ANGER" in done.said and "--merge-spellings" in done.said
    merged = audited(shared_data, tmp_path, root / "data/legend.csv", *where, "--merge-spellings")
    assert len(set(merged.labels.values())) == 8 and len(merged.labels) == len(labels)


def test_sign_language_digits(shared_data: Path, tmp_path: Path, pictures: dict[str, list[Path]]) -> None:
    root = tmp_path / "Sign-Language-Digits-Dataset/Dataset"
    shown = [each for each in pictures if each.startswith("roman/")]
    for digit, shows in enumerate(shown):
        names = [f"IMG_{1100 + 10 * digit + number}.JPG" for number in range(6)]
        fill(root / str(digit), pictures[shows], names)
    done = audited(shared_data, tmp_path, root)
    assert Counter(done.labels.values()) == {str(digit): 6 for digit in range(10)} and not done.failures


def test_face_mask_detection(shared_data: Path, tmp_path: Path, pictures: dict[str, list[Path]]) -> None:
    root = tmp_path / "Face-Mask-Detection/dataset"
    fill(root / "with_mask", pictures["imagenette/n02102040"], [f"{number}-with-mask.jpg" for number in range(18)])
    fill(root / "without_mask", pictures["imagenette/n03417042"], [f"{number}.jpeg" for number in range(17)])
    copy(pictures["imagenette/n02102040"][30], root / "without_mask/99.png")
    done = audited(shared_data, tmp_path, root)
    assert Counter(done.labels.values()) == {"with_mask": 18, "without_mask": 18} and not done.failures
    first = next(csv.DictReader((tmp_path / "out/candidates.csv").read_text("utf-8").splitlines()))
    assert first["path"] == "without_mask/99.png"


def test_segmentation_wbc(shared_data: Path, tmp_path: Path, pictures: dict[str, list[Path]]) -> None:
    root = tmp_path / "segmentation_WBC-master"
    labels = list(islice(cycle("1112132114"), 40))
    labels[-1] = "5"  # a class of one picture, as there
    for number, label in enumerate(labels, 1):
        picture = pictures[f"roman/{'i' * int(label) if label < '4' else {'4': 'iv', '5': 'v'}[label]}"][number]
        copy(picture, root / f"Dataset 1/{number:03d}.bmp")
        with Image.open(picture) as opened:
            opened.convert("L").point(lambda value: 255 * (value < 128)).save(root / f"Dataset 1/{number:03d}.png")
    table = root / "Class Labels of Dataset 1.csv"
    table.write_text("image ID,class\n" + "".join(f"{number},{label}\n" for number, label in enumerate(labels, 1)))
    columns = ("--path-column", "image ID", "--label-column", "class")
    assert "--image-ending" in refused(table, tmp_path, *columns)
    done = audited(shared_data, tmp_path, table, *columns, "--image-ending", "bmp")
    assert done.labels == {f"Dataset 1/{number:03d}.bmp": label for number, label in enumerate(labels, 1)}
    assert not done.failures


def test_bccd(shared_data: Path, tmp_path: Path, pictures: dict[str, list[Path]]) -> None:
    root = tmp_path / "BCCD_Dataset/BCCD"
    kinds = {"RBC": "n02102040", "WBC": "n03417042", "Platelets": "n03888257"}
    (root / "Annotations").mkdir(parents=True)
    for number in range(13):
        name = f"BloodImage_{number:05d}"
        smear = Image.new("RGB", (672, 224))
        objects = ""
        for at, (kind, wnid) in enumerate(kinds.items()):
            # Of the first smear the white cell is called a platelet.
            label = "Platelets" if (number, kind) == (0, "WBC") else kind
            with Image.open(pictures[f"imagenette/{wnid}"][number]) as cell:
                smear.paste(cell.convert("RGB").resize((224, 224)), (224 * at, 0))
            objects += (
                f"<object><name>{label}</name><pose>Unspecified</pose><bndbox><xmin>{224 * at + 1}</xmin><ymin>1</ymin>"
                f"<xmax>{224 * at + 224}</xmax><ymax>224</ymax></bndbox></object>"
            )
        (root / "JPEGImages").mkdir(exist_ok=True)
        smear.save(root / f"JPEGImages/{name}.jpg")
        (root / f"Annotations/{name}.xml").write_text(
            f"<annotation><folder>JPEGImages</folder><filename>{name}.jpg</filename><path>/home/pi/{name}.jpg</path>"
            f"<size><width>672</width><height>224</height><depth>3</depth></size>{objects}</annotation>"
        )
    done = audited(shared_data, tmp_path, root)
    assert Counter(done.labels.values()) == {"RBC": 13, "WBC": 12, "Platelets": 14} and not done.failures
    first = next(csv.DictReader((tmp_path / "out/candidates.csv").read_text("utf-8").splitlines()))
    assert (first["given_label"], first["suggested_label"]) == ("Platelets", "WBC")
    assert "BloodImage_00000" in first["path"]
