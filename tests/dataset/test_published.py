"""Seven public datasets rebuilt small, as published: tables elsewhere, ids, spellings, placeholders, rare classes.

Of each: what stands in its repository, and what its first reader types.
"""

from __future__ import annotations

import io
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from gradattn_core.dataset.listing import list_dataset
from tests.helpers.dataset_files import reasons, refusal, touch


def test_clothing_dataset_small_is_split_folders_of_classes(tmp_path: Path) -> None:
    names = [
        f"{split}/{label}/{number}.jpg"
        for split in ("train", "test")
        for label in ("dress", "hat")
        for number in (1, 2)
    ]
    touch(tmp_path, *names)
    assert "--split train" in refusal(tmp_path)
    assert Counter(image.label for image in list_dataset(tmp_path, split="train").images) == {"dress": 2, "hat": 2}


def test_clothing_dataset_is_a_table_of_ids_with_labels_that_are_no_class(tmp_path: Path) -> None:
    labels = ["T-Shirt", "Shoes", "Skip", "Not sure", "T-Shirt", "Shoes"]
    ids = [f"{number:08x}-2ca2-4700-8ae8-{number:012x}" for number in range(len(labels))]
    touch(tmp_path, *(f"images/{each}.jpg" for each in ids))
    table = tmp_path / "images.csv"
    table.write_text(
        "image,sender_id,label,kids\n"
        + "".join(f"{i},124,{label},False\n" for i, label in zip(ids, labels, strict=True))
    )
    assert (
        "'images.csv' has no column path: the pictures' paths are taken from 'image'." in list_dataset(table).notes[0]
    )
    listing = list_dataset(table, path_column="image")
    assert [image.label for image in listing.images] == labels and not listing.failures
    assert any("by name below" in note for note in listing.notes)
    assert any("--exclude-label" in note and "Skip" in note for note in listing.notes)
    again = list_dataset(
        table, path_column="image", image_root=str(tmp_path / "images"), exclude_labels=("Skip", "Not sure")
    )
    assert again.classes == ["Shoes", "T-Shirt"] and again.root == str(tmp_path / "images")


def test_facial_expressions_has_its_table_in_another_folder_and_many_spellings(tmp_path: Path) -> None:
    spellings = ["anger", "ANGER", "happiness", "HAPPINESS", "neutral", "neutral", "contempt", "anger"]
    touch(tmp_path, *(f"images/Aaron_{number:04d}.jpg" for number in range(len(spellings))))
    (tmp_path / "data").mkdir()
    table = tmp_path / "data" / "legend.csv"
    rows = (f"628,Aaron_{number:04d}.jpg,{label}\n" for number, label in enumerate(spellings))
    table.write_text("user.id,image,emotion\n" + "".join(rows))
    columns = {"path_column": "image", "label_column": "emotion"}
    assert f"They seem to lie in '{tmp_path}/images': say --image-root with it." in refusal(table, **columns)
    listing = list_dataset(table, path_column="image", label_column="emotion", image_root=str(tmp_path / "images"))
    assert len(listing.images) == len(spellings)
    [note] = [note for note in listing.notes if "spelling" in note]
    assert "anger" in note and "ANGER" in note
    merged = list_dataset(
        table,
        path_column="image",
        label_column="emotion",
        image_root=str(tmp_path / "images"),
        merge_spellings=True,
    )
    assert len(merged.classes) == 4


def test_segmentation_wbc_has_ids_without_zeros_and_a_mask_beside_each_picture(tmp_path: Path) -> None:
    labels = [1, 2, 1, 3, 2, 5]
    folder = "Dataset 1"
    touch(tmp_path, *(f"{folder}/{number:03d}.{kind}" for number in range(1, 7) for kind in ("bmp", "png")))
    table = tmp_path / "Class Labels of Dataset 1.csv"
    table.write_text("image ID,class\n" + "".join(f"{number},{label}\n" for number, label in enumerate(labels, 1)))
    columns = {"path_column": "image ID", "label_column": "class"}
    assert "--image-ending" in refusal(table, **columns)
    listing = list_dataset(table, path_column="image ID", label_column="class", image_ending="bmp")
    assert [(image.path, image.label) for image in listing.images] == [
        (f"{folder}/{number:03d}.bmp", str(label)) for number, label in enumerate(labels, 1)
    ]


def test_sign_language_digits_and_face_masks_are_class_folders(tmp_path: Path) -> None:
    touch(
        tmp_path / "digits/Dataset", *(f"{digit}/IMG_{digit}{number}.JPG" for digit in range(10) for number in range(2))
    )
    assert list_dataset(tmp_path / "digits/Dataset").classes == [str(digit) for digit in range(10)]
    touch(tmp_path / "masks/dataset", "with_mask/1.jpg", "without_mask/1.jpg", "without_mask/2.jpeg")
    assert list_dataset(tmp_path / "masks/dataset").classes == ["with_mask", "without_mask"]


def test_bccd_crops_are_named_in_a_table_with_paths_of_another_machine(tmp_path: Path) -> None:
    cells = [("RBC", 1), ("WBC", 1), ("Platelets", 1), ("RBC", 2), ("WBC", 2)]
    touch(tmp_path, *(f"crops/{kind}/{number}.jpg" for kind, number in cells))
    table = tmp_path / "test.csv"
    lines = (f"C:\\Users\\cell\\BCCD\\crops\\{kind}\\{number}.jpg,{kind}\n" for kind, number in cells)
    table.write_text("filename,cell_type\n" + "".join(lines))
    listing = list_dataset(table, path_column="filename", label_column="cell_type")
    assert Counter(image.label for image in listing.images) == {"RBC": 2, "WBC": 2, "Platelets": 1}
    assert all(image.path == f"crops/{image.label}/{image.path[-5]}.jpg" for image in listing.images)


def zip_of(file: Path, names: list[bytes], system: int = 3) -> Path:
    """A zip whose names are these bytes, without a word on their encoding."""
    content = io.BytesIO()
    places = [f"{number:0{len(name)}d}" for number, name in enumerate(names)]
    with zipfile.ZipFile(content, "w") as archive:
        for place in places:
            header = zipfile.ZipInfo(place)
            header.create_system = system
            archive.writestr(header, b"x")
    packed = content.getvalue()
    for place, name in zip(places, names, strict=True):
        packed = packed.replace(place.encode(), name)
    file.write_bytes(packed)
    return file


@pytest.mark.parametrize(
    ("encoding", "label", "is_noted"), [("utf-8", "Füchse", False), ("cp437", "Füchse", True), ("cp932", None, True)]
)
def test_names_of_zips_are_utf8_where_they_can_be_and_noted_where_not(
    tmp_path: Path, encoding: str, label: str | None, is_noted: bool
) -> None:
    names = ["Füchse/1.png", "Hunde/2.png"] if label else ["キツネ/1.png", "犬/2.png"]
    listing = list_dataset(zip_of(tmp_path / "set.zip", [name.encode(encoding) for name in names]))
    assert len(listing.images) == 2 and (label is None or listing.images[0].label == label)
    assert any("does not say in which encoding" in note for note in listing.notes) == is_noted


@pytest.mark.parametrize("system", [0, 3])
def test_zips_with_backslashes_have_folders(tmp_path: Path, system: int) -> None:
    names = [rb"set\kite\1.png", rb"set\owl\22.png"]
    listing = list_dataset(zip_of(tmp_path / "set.zip", names, system))
    assert listing.classes == ["kite", "owl"] and not reasons(listing)
