"""Labels that are one class in two spellings, none at all, or several in one cell, are found, said, and settled."""

from __future__ import annotations

import itertools
import unicodedata
from pathlib import Path

import pytest

from gradattn_core.dataset.labels import cells_of_several, is_no_class, spelling, spellings
from gradattn_core.dataset.listing import list_dataset
from gradattn_core.dataset.subset import LEFT_OUT
from tests.helpers.dataset_files import refusal, rows, touch

SAME = [
    ("cat", "Cat", "CAT", "cat ", " cat", "c\u200bat", "ｃａｔ"),
    ("café", unicodedata.normalize("NFD", "café"), "CAFÉ"),
    ("traffic light", "traffic_light", "Traffic-Light", "trafficlight", "traffic  light", "traffic\u00a0light"),
    ("1", "01", "1.0", "001", "+1", "1.", "1,0", "1.000"),
    ("-1", "-01", "-1.0"),
    ("class 1", "class_01", "Class-1"),
    ("straße", "STRASSE"),
    ("ﬁre", "fire"),
]
DIFFERENT = [
    "1",
    "-1",
    "10",
    "11",
    "1 1",
    "1.5",
    "cat",
    "cats",
    "cafe",
    "café",
    "a",
    "b",
    "C",
    "C++",
    "C#",
    "猫",
    "犬",
    "",
    "x1",
    "x11",
    "x-",
    "x+",
    "0.5",
    "0.05",
    "1.05",
    "1,5",
    "1,05",
    "1,000",
    "size 1.5",
    "size 1.05",
]


@pytest.mark.parametrize("labels", SAME, ids=[str(number) for number in range(len(SAME))])
def test_labels_that_differ_by_nothing_one_can_see_are_one(labels: tuple[str, ...]) -> None:
    assert len({spelling(label) for label in labels}) == 1


def test_labels_that_differ_stay_apart() -> None:
    for one, other in itertools.combinations([*DIFFERENT, *(each[0] for each in SAME[2:3])], 2):
        assert spelling(one) != spelling(other), (one, other)


def test_the_groups_are_ordered_by_how_many_pictures_they_have() -> None:
    groups = spellings({"cat": 3, "Cat": 9, "dog": 50, "Bird": 7, "bird": 7, "BIRD ": 1})
    assert [(group.labels, group.pictures) for group in groups] == [
        (("Bird", "bird", "BIRD "), (7, 7, 1)),
        (("Cat", "cat"), (9, 3)),
    ]


def table(folder: Path, *labels: str) -> Path:
    """A table with a picture for each label."""
    touch(folder, *(f"{number}.jpg" for number in range(len(labels))))
    lines = [f'{number}.jpg,"{label}"' for number, label in enumerate(labels)]
    (folder / "m.csv").write_text("\n".join(["path,label", *lines]), "utf-8")
    return folder / "m.csv"


def test_two_spellings_are_a_finding_with_what_merging_does_and_can_be_merged(tmp_path: Path) -> None:
    file = table(tmp_path, "anger", "ANGER", "anger", "fear", "Fear ", "joy")
    listing = list_dataset(file)
    assert listing.classes == ["ANGER", "Fear ", "anger", "fear", "joy"]
    [note] = listing.notes
    assert "'anger' (2), 'ANGER' (1)" in note and "--merge-spellings makes 3 classes of 5" in note
    merged = list_dataset(file, merge_spellings=True)
    assert [label for _, label in rows(merged)] == ["anger", "anger", "anger", "Fear ", "Fear ", "joy"]
    assert merged.notes == ("Spellings of one class were merged: 'ANGER' into 'anger'; 'fear' into 'Fear '.",)
    assert list_dataset(table(tmp_path, "a", "b", "a"), merge_spellings=True).notes == ()


def test_spellings_of_folders_are_found_as_those_of_a_table_are(tmp_path: Path) -> None:
    composed, decomposed = "é", unicodedata.normalize("NFD", "é")
    touch(tmp_path, f"{composed}/1.jpg", f"{decomposed}/2.jpg", "x/3.jpg")
    assert "Two spellings" in list_dataset(tmp_path).notes[0]
    assert len(list_dataset(tmp_path, merge_spellings=True).classes) == 2


@pytest.mark.parametrize(
    "label",
    [
        "no_label",
        "Skip",
        "Not sure",
        "-1",
        "unlabeled",
        "Unlabelled",
        "N/A",
        "nan",
        "?",
        "UNKNOWN",
        "other",
        "To-Do",
        "not_sure",
    ],
)
def test_the_usual_labels_that_are_no_class_are_named_and_can_be_left_out(tmp_path: Path, label: str) -> None:
    file = table(tmp_path, "cat", "dog", label, "cat", label)
    assert (
        f"--exclude-label {label!r}" in list_dataset(file).notes[0]
        or f"--exclude-label={label!r}" in list_dataset(file).notes[0]
    )
    listing = list_dataset(file, exclude_labels=[label])
    assert listing.classes == ["cat", "dog"] and len(listing.images) == 3
    assert [(each.path, each.given_label, each.reason) for each in listing.skipped] == [
        ("2.jpg", label, LEFT_OUT),
        ("4.jpg", label, LEFT_OUT),
    ]
    [note] = listing.notes
    assert "Left out by --exclude-label" in note and f"{label!r} (2)" in note


@pytest.mark.parametrize("label", ["cat", "bother", "skipper", "unknown soldier", "1", "nano", "skipping", "0"])
def test_other_labels_are_classes(label: str) -> None:
    assert not is_no_class(label)


def test_a_label_that_is_not_there_cannot_be_left_out(tmp_path: Path) -> None:
    file = table(tmp_path, "cat", "dog", "Skip")
    assert "--exclude-label 'skip' leaves nothing out" in refusal(file, exclude_labels=["skip"])
    assert "Did you mean 'Skip'?" in refusal(file, exclude_labels=["skip"])
    assert "one class only, 'cat'" in refusal(file, exclude_labels=["Skip", "dog"])


@pytest.mark.parametrize(
    ("labels", "several"),
    [
        (("cat", "dog", "cat,dog"), ["cat,dog"]),
        (("cat", "dog", "cat dog"), ["cat dog"]),
        (("a|b", "b|c", "a|c"), ["a|b", "b|c", "a|c"]),
        (("sky; sea", "sea; sand"), ["sky; sea", "sea; sand"]),
        (("black bear", "brown bear", "polar bear"), []),
        (("tench, Tinca tinca", "goldfish, Carassius auratus"), []),
        (("dog", "hot dog", "hot"), ["hot dog"]),
        (("dog", "hot dog"), []),
        (("a a", "a"), ["a a"]),
        (("['cat']", "['dog']", "['cat', 'dog']"), ["['cat', 'dog']"]),
        (('["a"]', '["a","b"]', "b"), ['["a","b"]']),
    ],
)
def test_several_labels_in_one_cell_are_told_from_names_of_several_words(
    labels: tuple[str, ...], several: list[str]
) -> None:
    assert cells_of_several(labels) == several


def test_several_labels_in_a_cell_and_several_rows_of_a_picture_are_said_to_be_judged_as_one(tmp_path: Path) -> None:
    file = table(tmp_path, "cat", "dog", "cat,dog")
    assert "1 picture has several labels in one cell ('cat,dog')" in list_dataset(file).notes[0]
    file.write_text(file.read_text() + "\n0.jpg,dog\n")
    assert any("under another label" in note for note in list_dataset(file).notes)
