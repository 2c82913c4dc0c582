"""Detection sets in their published layouts: what is listed of them, cut out of them and found wrong in them."""

from __future__ import annotations

import gzip
import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gradattn_core.audit.run import audit_images
from gradattn_core.dataset import coco
from gradattn_core.dataset.address import box_path, join
from gradattn_core.dataset.annotations import CROWD, TOO_SMALL
from gradattn_core.dataset.boxes import mark, part_of
from gradattn_core.dataset.decoding import content_hash, decode_image, read_bytes, read_image
from gradattn_core.dataset.listing import list_dataset
from gradattn_core.errors import DatasetError, UnreadableImageError
from gradattn_core.records import Listing
from gradattn_core.store.store import Store
from gradattn_core.store.unjudged import ending_of
from tests.helpers.annotated import (
    CLASSES,
    HEIGHT,
    LAYOUTS,
    WIDTH,
    Drawn,
    coco_of,
    draw,
    things,
    voc_of,
    write_coco,
    write_darknet,
    write_voc,
    write_yolo,
    zipped,
)
from tests.helpers.command_line import json_here
from tests.helpers.dataset_files import refusal
from tests.helpers.tiny import COLOURS, Tiny, model_options, write_tiny_vit

DRAWN = things(8, wrong=[(0, 1)])


def boxes(listing: Listing) -> Counter[tuple[str, str, str]]:
    """Name of the picture, label and box, however the layout names paths and ids."""
    found: Counter[tuple[str, str, str]] = Counter()
    for image in listing.images:
        part = box_path(image.path)
        assert part is not None
        found[Path(part.picture).stem, image.label, part.box] += 1
    return found


EXPECTED = Counter(
    (drawn.name, thing.label, ",".join(map(str, thing.box))) for drawn in DRAWN for thing in drawn.things
)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("packed", [False, True])
def test_each_published_layout_lists_the_same_boxes(tmp_path: Path, layout: str, packed: bool) -> None:
    root = LAYOUTS[layout](tmp_path / "set", DRAWN)
    listing = list_dataset(zipped(root, tmp_path / "set.zip") if packed else root)
    assert boxes(listing) == EXPECTED
    assert (listing.failures, listing.skipped, listing.classes) == ((), (), CLASSES)
    assert (
        "24 boxes in 8 pictures, each of which is a picture of its own here" in listing.notes[0]
        and "margin of 10%" in listing.notes[0]
    )
    first = decode_image(read_bytes(listing.root, listing.images[0].path), listing.images[0].path)
    assert np.asarray(first.image).std() > 5


@pytest.mark.parametrize(
    ("layout", "split", "pictures"),
    [
        ("coco", "val2017", 8),
        ("roboflow-coco", "valid", 4),
        ("voc", "val", 4),
        ("yolo", "val", 4),
        ("roboflow-yolo", "train", 4),
        ("roboflow-yolo", "val", 4),
    ],
)
def test_a_split_is_chosen_as_each_layout_has_it(tmp_path: Path, layout: str, split: str, pictures: int) -> None:
    listing = list_dataset(LAYOUTS[layout](tmp_path, DRAWN), split=split)
    assert len(listing.images) == 3 * pictures
    assert "no annotations of a split 'tset'" in refusal(tmp_path, split="tset")


def test_the_file_of_annotations_may_be_named_itself(tmp_path: Path) -> None:
    coco = write_coco(tmp_path / "a", DRAWN)
    assert boxes(list_dataset(coco / "annotations" / "instances_val2017.json")) == EXPECTED
    yolo = write_yolo(tmp_path / "b", DRAWN)
    assert boxes(list_dataset(yolo / "data.yaml")) == EXPECTED
    (tmp_path / "c").mkdir()
    described = (yolo / "data.yaml").read_text()
    (tmp_path / "c" / "mine.yaml").write_text(f"path: ../b\n{described}")
    assert boxes(list_dataset(tmp_path / "c" / "mine.yaml")) == EXPECTED
    (tmp_path / "c" / "other.yaml").write_text("a: 1")
    assert "no names of classes" in refusal(tmp_path / "c" / "other.yaml")


def test_annotations_whose_pictures_lie_elsewhere_take_a_root(tmp_path: Path) -> None:
    root = write_coco(tmp_path / "set", DRAWN)
    file = tmp_path / "mine.json"
    file.write_bytes((root / "annotations" / "instances_val2017.json").read_bytes())
    other = tmp_path / "other"
    other.mkdir()
    (other / "mine.json").write_bytes(file.read_bytes())
    assert "--image-root" in refusal(other / "mine.json")
    assert boxes(list_dataset(other / "mine.json", image_root=str(root / "val2017"))) == EXPECTED
    packed = zipped(root / "val2017", tmp_path / "pictures.zip")
    assert boxes(list_dataset(other / "mine.json", image_root=str(packed))) == EXPECTED


def test_what_is_cut_out_is_the_box_with_its_margin_clipped_to_the_picture(tmp_path: Path) -> None:
    root = write_coco(tmp_path, DRAWN[:2])
    file = root / "annotations" / "instances_val2017.json"
    content = coco_of(DRAWN[:2])
    content["annotations"] = content["annotations"][:2]
    content["annotations"][0]["bbox"] = [0.4, 10.0, 40.2, 20]  # at the left edge; rounded outwards
    content["annotations"][1]["bbox"] = [100.0, 70.0, 20, 20]  # up to the right and the bottom edge
    content["annotations"][1]["category_id"] = 20 if content["annotations"][0]["category_id"] != 20 else 10
    file.write_text(json.dumps(content))
    listing = list_dataset(root, box_margin=0.25)
    assert [image.path for image in listing.images] == [
        "val2017/p00.jpg#100@0,10,41,20",
        "val2017/p00.jpg#101@100,70,20,20",
    ]
    whole = np.asarray(read_image(root / "val2017" / "p00.jpg").image)
    for image, corners in zip(listing.images, [(0, 5, 51, 35), (95, 65, 120, 90)], strict=True):
        left, top, right, bottom = corners
        cut = read_image(join(listing.root, image.path))
        assert (cut.width, cut.height) == (right - left, bottom - top)
        assert np.array_equal(np.asarray(cut.image), whole[top:bottom, left:right])
    hashes = {content_hash(read_bytes(listing.root, image.path)) for image in listing.images}
    assert len(hashes) == 2 and list_dataset(root).root != listing.root


@pytest.mark.parametrize("orientation", [1, 3, 5, 6, 7, 8])
@pytest.mark.parametrize("declared", ["upright", "as it lies"])
def test_a_box_of_a_turned_picture_is_of_the_picture_whose_size_the_annotation_says(
    tmp_path: Path, orientation: int, declared: str
) -> None:
    if orientation < 5 and declared == "as it lies":
        pytest.skip("the size does not tell which is meant, and the upright one is")
    upright = np.full((90, 120, 3), 30, np.uint8)
    upright[20:50, 10:50] = (250, 20, 20)
    back = {
        1: upright,
        3: upright[::-1, ::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: np.rot90(upright, 2).transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }
    stored = back[orientation]
    (tmp_path / "val").mkdir()
    image = Image.fromarray(np.ascontiguousarray(stored))
    exif = image.getexif()
    exif[0x0112] = orientation
    image.save(tmp_path / "val" / "t.png", exif=exif)
    image.save(tmp_path / "val" / "t.jpg", quality=98, exif=exif)
    red = np.argwhere((upright if declared == "upright" else stored)[:, :, 0] > 200)
    (top, left), (bottom, right) = red.min(axis=0), red.max(axis=0) + 1
    height, width = (upright if declared == "upright" else stored).shape[:2]
    box = [int(value) for value in (left, top, right - left, bottom - top)]
    write_annotations(tmp_path, ["t.jpg"], width, height, [box, box])
    listing = list_dataset(tmp_path, box_margin=0.0)
    assert {image.path.rpartition("@")[2] for image in listing.images} == {"10,20,40,30"}
    cut = np.asarray(read_image(join(listing.root, listing.images[0].path)).image)
    assert cut.shape == (30, 40, 3) and cut[:, :, 0].mean() > 230


def write_annotations(
    root: Path, names: list[str], width: Any, height: Any, boxes_of_each: list[Any], **changes: Any
) -> None:
    """A COCO file of pictures with boxes of two classes in turn."""
    images = [{"id": n, "file_name": name, "width": width, "height": height} for n, name in enumerate(names)]
    annotations: list[dict[str, Any]] = [
        {"id": 7 + number, "image_id": number % len(names), "category_id": number % 2, "bbox": box}
        for number, box in enumerate(boxes_of_each)
    ]
    categories = [{"id": 0, "name": "cat"}, {"id": 1, "name": "dog"}]
    (root / "annotations").mkdir(exist_ok=True)
    content = {"images": images, "annotations": annotations, "categories": categories, **changes}
    (root / "annotations" / "instances_val.json").write_text(json.dumps(content))


def test_boxes_that_are_not_audited_are_named_with_the_reason(tmp_path: Path) -> None:
    draw(tmp_path / "val" / "a.jpg", DRAWN[0])
    good, far = [5, 5, 40, 40], [WIDTH + 5, 5, 20, 20]
    write_annotations(
        tmp_path,
        ["a.jpg"],
        WIDTH,
        HEIGHT,
        [good, good, [5, 5, 0, 9], [5, 5, -3, 9], far, [1, 1, 6, 30], None, "x", [1, 2, 3], [0, 0, float("nan"), 4]],
    )
    file = tmp_path / "annotations" / "instances_val.json"
    content = json.loads(file.read_text())
    content["annotations"] += [
        {"id": 90, "image_id": 0, "category_id": 0, "bbox": [0, 0, 90, 90], "iscrowd": 1},
        {"id": 91, "image_id": 5, "category_id": 0, "bbox": [0, 0, 90, 90]},
        {"id": 92, "image_id": 0, "category_id": 9, "bbox": [0, 0, 90, 90]},
        {"id": 92, "image_id": 0, "category_id": 0, "bbox": [5, 5, 41, 40]},
    ]
    content["images"].append({"id": 3, "file_name": "gone.jpg", "width": 10, "height": 10})
    content["annotations"].append({"id": 94, "image_id": 3, "category_id": 1, "bbox": [0, 0, 20, 20]})
    file.write_text(json.dumps(content))
    listing = list_dataset(tmp_path)
    assert [image.path for image in listing.images] == [
        "val/a.jpg#7@5,5,40,40",
        "val/a.jpg#8@5,5,40,40",
        "val/a.jpg#at-13@5,5,41,40",
    ]
    assert {(each.path, each.reason) for each in listing.skipped} == {
        ("val/a.jpg#12", TOO_SMALL),
        ("val/a.jpg#90", CROWD),
    }
    reasons = {each.path: each.reason for each in listing.failures}
    assert reasons["val/a.jpg#9"] == reasons["val/a.jpg#10"] == "its box has no area"
    assert reasons["val/a.jpg#11"] == "its box lies outside of the picture"
    assert {reasons[f"val/a.jpg#{number}"] for number in (13, 14, 15, 16)} == {"its box is no four numbers"}
    assert "not among the images" in next(why for path, why in reasons.items() if path.endswith("#91"))
    assert "not among the categories" in reasons["val/a.jpg#at-12"]
    assert next(why for path, why in reasons.items() if path.endswith("#94")) == "the file does not exist"
    assert len(listing.images) + len(listing.failures) + len(listing.skipped) == 15
    assert len(list_dataset(tmp_path, min_box=6).images) == 4


def test_a_picture_of_another_size_than_its_annotation_says_is_not_cut_at_the_wrong_place(tmp_path: Path) -> None:
    draw(tmp_path / "val" / "a.jpg", DRAWN[0])
    draw(tmp_path / "val" / "b.jpg", DRAWN[1])
    write_annotations(tmp_path, ["a.jpg", "b.jpg"], WIDTH, HEIGHT, [[5, 5, 40, 40]] * 4)
    Image.new("RGB", (60, 45)).save(tmp_path / "val" / "b.jpg")
    content = json.loads((tmp_path / "annotations" / "instances_val.json").read_text())
    content["annotations"][2]["category_id"] = 1
    (tmp_path / "annotations" / "instances_val.json").write_text(json.dumps(content))
    listing = list_dataset(tmp_path)
    assert {image.path.partition("#")[0] for image in listing.images} == {"val/a.jpg"}
    assert {each.reason for each in listing.failures} == {
        "its annotation is of a picture of 120 x 90 pixels, and this one has 60 x 45"
    }


def test_a_picture_that_shrank_after_the_audit_is_no_picture_of_the_box(tmp_path: Path) -> None:
    listing = list_dataset(write_coco(tmp_path, DRAWN))
    image = listing.images[-1]
    part = box_path(image.path)
    assert part is not None
    Image.new("RGB", (20, 20)).save(tmp_path / part.picture)
    with pytest.raises(UnreadableImageError, match="its box does not lie in them"):
        decode_image(read_bytes(listing.root, image.path), image.path)


HOSTILE = ["<b>&amp;</b>", "a/b", "../up", "rtl \u202e x", "'; DROP TABLE images;--", "\x1b[31mred", "ü" * 200, "a,b"]


def test_hostile_names_of_classes_and_ids_stay_what_they_are(tmp_path: Path) -> None:
    draw(tmp_path / "val" / "a@1,2,3,4#5.jpg", DRAWN[0])
    content = {
        "images": [{"id": "x/../y", "file_name": "a@1,2,3,4#5.jpg", "width": WIDTH, "height": HEIGHT}],
        "annotations": [
            {"id": f"../{number}#@", "image_id": "x/../y", "category_id": number, "bbox": [2, 2, 30 + number, 30]}
            for number in range(len(HOSTILE))
        ],
        "categories": [{"id": number, "name": name} for number, name in enumerate(HOSTILE)],
    }
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "instances_val.json").write_text(json.dumps(content))
    listing = list_dataset(tmp_path)
    assert sorted(image.label for image in listing.images) == sorted(HOSTILE)
    assert all(image.path.startswith("val/a@1,2,3,4#5.jpg#at-") for image in listing.images)
    assert all(read_image(join(listing.root, image.path)).width > 30 for image in listing.images)


@pytest.mark.parametrize(
    ("xml", "why"),
    [
        ('<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation>&x;</annotation>', "document type"),
        ("<annotation>", "no XML"),
        ("<html/>", "no annotation of Pascal VOC"),
        ("", "empty"),
    ],
)
def test_a_hostile_or_broken_xml_is_one_failure(tmp_path: Path, xml: str, why: str) -> None:
    root = write_voc(tmp_path, DRAWN)
    (root / "VOCdevkit" / "VOC2012" / "Annotations" / "zz.xml").write_text(xml)
    listing = list_dataset(root)
    assert boxes(listing) == EXPECTED
    [failure] = listing.failures
    assert why in failure.reason and failure.path.startswith("VOCdevkit/VOC2012/Annotations/zz.xml")


def test_a_document_type_in_another_encoding_is_refused_too(tmp_path: Path) -> None:
    root = write_voc(tmp_path, DRAWN)
    bomb = '<?xml version="1.0" encoding="utf-16"?><!DOCTYPE a [<!ENTITY b "ha">]><annotation>&b;</annotation>'
    (root / "VOCdevkit" / "VOC2012" / "Annotations" / "zz.xml").write_bytes(bomb.encode("utf-16"))
    [failure] = list_dataset(root).failures
    assert "document type" in failure.reason


def test_voc_without_a_size_and_with_a_wrong_name_of_the_picture_is_read_by_its_own(tmp_path: Path) -> None:
    root = write_voc(tmp_path, DRAWN)
    file = root / "VOCdevkit" / "VOC2012" / "Annotations" / "p03.xml"
    text = voc_of(DRAWN[3]).replace("p03.jpg", "C:\\somewhere\\else.jpeg")
    file.write_text(text[: text.index("<size>")] + text[text.index("</size>") + 7 :])
    assert boxes(list_dataset(root)) == EXPECTED


@pytest.mark.parametrize(
    ("line", "box", "why"),
    [
        ("0 0.5 0.5 0.5 0.4", "30,27,60,36", ""),
        ("0 .25 .3 .75 .3 .75 .7 .25 .7", "30,27,60,36", ""),  # an outline
        ("0.0 5e-1 .5 .5 .4", "30,27,60,36", ""),
        ("0 0.5 0.5 0.5 0.4 0.98", "30,27,60,36", ""),  # with a confidence, as predictions are written
        ("0 0.5 0.5 0.5", "", "no four numbers"),
        ("9 0.5 0.5 0.5 0.4", "", "not among the 3 names"),
        ("cat 0.5 0.5 0.5 0.4", "", "not with a class's number"),
        ("0 60 45 60 36", "", "parts of the sides"),
        ("0 0.5 0.5 0 0.4", "", "no area"),
        ("0 nan 0.5 0.1 0.4", "", "no four numbers"),
    ],
)
def test_a_line_of_yolo_is_a_box_or_a_failure_of_its_own(tmp_path: Path, line: str, box: str, why: str) -> None:
    root = write_darknet(tmp_path, DRAWN)
    (root / "p02.txt").write_text(f"\n{line}\n")
    listing = list_dataset(root)
    mine = [image for image in listing.images if image.path.startswith("p02")]
    assert [image.path for image in mine] == ([f"p02.jpg#2@{box}"] if box else [])
    assert [why in failure.reason for failure in listing.failures] == ([] if box else [True])


def test_class_folders_and_tables_stay_what_they_are(tmp_path: Path) -> None:
    for label in ("annotations", "labels", "images"):
        draw(tmp_path / label / "a.jpg", DRAWN[0])
        (tmp_path / label / "readme.json").write_text('{"a": 1}')
        (tmp_path / label / "a.txt").write_text("a note")
    assert list_dataset(tmp_path).classes == ["annotations", "images", "labels"]
    assert "no annotated boxes" in refusal(tmp_path, box_margin=0.5)
    root = write_coco(tmp_path / "set", DRAWN)
    (root / "metadata.csv").write_text("path,label\nval2017/p00.jpg,cat\nval2017/p01.jpg,dog\n")
    assert list_dataset(root).classes == ["cat", "dog"]


def test_coco_without_boxes_is_labels_of_pictures(tmp_path: Path) -> None:
    content = coco_of(DRAWN[:4])
    content["annotations"] = [
        {"id": number, "image_id": image, "category_id": category}
        for number, (image, category) in enumerate([(1, 10), (2, 20), (3, 10), (3, 20), (4, 10), (4, 10)])
    ]
    for drawn in DRAWN[:4]:
        draw(tmp_path / f"{drawn.name}.jpg", drawn)
    (tmp_path / "labels.json").write_text(json.dumps(content))
    listing = list_dataset(tmp_path / "labels.json")
    assert [(image.path, image.label) for image in listing.images] == [
        ("p00.jpg", "blue"),
        ("p01.jpg", "green"),
        ("p03.jpg", "blue"),
    ]
    [failure] = listing.failures
    assert failure.path == "p02.jpg" and failure.reason.startswith("several labels, 'blue', 'green'")


@pytest.fixture(scope="module")
def annotated(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    folder = tmp_path_factory.mktemp("annotated")
    root = write_coco(folder / "set", things())
    wrong = {f"val2017/p{picture:02d}.jpg#{100 + 3 * picture + place}" for picture, place in ((0, 1), (5, 2), (11, 0))}
    return Tiny(root, write_tiny_vit(folder / "tiny.safetensors"), frozenset(wrong))


def test_wrong_classes_of_boxes_are_found_first_and_an_audit_goes_on_where_it_was(
    annotated: Tiny, tmp_path: Path
) -> None:
    summary = audit_images(annotated.config(tmp_path / "out"))
    assert summary.images == 72 and summary.failures == 0
    store = Store(tmp_path / "out")
    first = store.candidates.page(summary.audit_id, top=3)
    paths = list(first["path"])
    assert {path.partition("@")[0] for path in paths} == annotated.wrong
    again = audit_images(annotated.config(tmp_path / "out"))
    assert again.audit_id == summary.audit_id
    # A wider margin shows the model other pictures, so that is another audit.
    wider = audit_images(annotated.config(tmp_path / "out", box_margin=0.3, sample=30))
    assert wider.images == 30 and wider.news is None


def test_check_counts_boxes_by_class_and_tries_them(annotated: Tiny, tmp_path: Path) -> None:
    found = json_here("check", annotated.dataset, *model_options(annotated), "--head", "probe")
    assert found["images"] == 72 and found["formats"] == {".jpg": 72} and found["unreadable"] == []
    assert set(found["classes"]) == set(COLOURS) and found["copies"]["groups"] == 0
    assert "72 boxes in 24 pictures" in found["warnings"][0]


def test_a_box_that_was_not_judged_is_counted_by_its_picture_s_ending() -> None:
    paths = {"a/b.JPG#7@1,2,3,4": ".jpg", "b.png#at-3": ".png", "t.parquet#000017": "", "a#b/c.jpg": ".jpg", "x#1": ""}
    assert {path: ending_of(path) for path in paths} == paths


def test_an_id_of_two_pictures_or_two_classes_labels_neither(tmp_path: Path) -> None:
    for name, drawn in zip(("a.jpg", "b.jpg"), DRAWN, strict=False):
        draw(tmp_path / "val" / name, drawn)
    box = {"bbox": [5, 5, 30, 30]}
    content = {
        "images": [
            *({"id": 1, "file_name": name} for name in ("a.jpg", "b.jpg")),
            {"id": 2, "file_name": "a.jpg"},
            {"id": 2, "file_name": "a.jpg"},
        ],
        "annotations": [
            {"id": 5, "image_id": 1, "category_id": 1, **box},
            {"id": 6, "image_id": 2.0, "category_id": "1", **box},
            {"id": 7, "image_id": 2, "category_id": 3.0, **box},
            {"id": 8, "image_id": 2, "category_id": 4, **box},
        ],
        "categories": [{"id": at, "name": name} for at, name in ((1, "x"), (3, "y"), (4, "x"), (4, "y"))],
    }
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "instances_val.json").write_text(json.dumps(content))
    listing = list_dataset(tmp_path)
    assert {image.path.partition("@")[0]: image.label for image in listing.images} == {
        "val/a.jpg#6": "x",
        "val/a.jpg#7": "y",
    }
    assert [failure.reason for failure in listing.failures] == [
        "its image '1' is the id of several pictures",
        "its category '4' has several names",
    ]


@pytest.mark.parametrize("layout", ["voc", "yolo", "labelimg", "darknet"])
def test_many_pictures_without_a_thing_hide_no_detection_set(tmp_path: Path, layout: str) -> None:
    empty = [Drawn(f"a{number:02d}", ()) for number in range(30)]
    listing = list_dataset(LAYOUTS[layout](tmp_path, [*empty, *DRAWN]))
    assert boxes(listing) == EXPECTED and not listing.failures


def test_names_within_names_are_no_classes_and_take_no_time(tmp_path: Path) -> None:
    root = write_yolo(tmp_path, DRAWN)
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    (root / "data.yaml").write_text("\n".join([*lines, "names: {0: *a11, 1: green, 2: red}"]))
    listing = list_dataset(root)
    assert {image.label for image in listing.images} == {"green", "red"}
    assert {failure.reason for failure in listing.failures} == {"its class 0 is not among the 2 names"}


def test_packed_annotations_that_are_damaged_or_endless_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coco, "MAX_FILE_BYTES", 500)
    packed = gzip.compress(b"x" * 1000)
    assert len(coco.unpacked("a.json.gz", packed)) == 1000
    for data, words in ((gzip.compress(b"x" * 1001), "more than 1,000"), (packed[:10] + b"\xff" * 30, "unpacked: ")):
        with pytest.raises(DatasetError, match=words):
            coco.unpacked("a.json.gz", data)


def test_bytes_that_end_as_a_box_does_but_with_no_possible_margin_are_a_picture() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30)).save(buffer, "PNG")
    for margin in ("1e999", "1e300", "-1e9"):
        data = mark(buffer.getvalue(), f"{margin}/1,2,3,4")
        assert part_of(data) is None and decode_image(data, "a.png").width == 40
