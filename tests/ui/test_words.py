"""The sentences about a suspect, and the names of ImageNet ids."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from gradattn_core.interpret.regions import map_statistics
from gradattn_core.records import Box, Evidence, FloatArray
from ui.words import disagreement, distinct_names, full_name, nearest_labels, place, short_name, strongest_part

SIZE = (300, 300)
NAMES = ("kite", "bald eagle")


def evidence(scores: FloatArray) -> Evidence:
    crop = Box(0, 0, *SIZE)
    statistics = map_statistics(scores, crop, *SIZE)
    return Evidence("kite", "bald eagle", 0.0, 1.0, scores, crop, "difference", "complete", statistics)


def test_the_strongest_part_of_the_other_class_is_named_with_its_place_and_share() -> None:
    scores = np.zeros((9, 9), np.float32)
    scores[0:2, 0:2] = -1.5  # 6 of 8 against
    scores[8, 8] = -2.0
    scores[4, 4] = 5.0
    assert (
        strongest_part(evidence(scores), SIZE, names=NAMES)
        == "The strongest blue part, upper left, holds 75% of the evidence for bald eagle."
    )
    purple = strongest_part(evidence(scores), SIZE, names=NAMES, colours=("orange", "purple"))
    assert purple.startswith("The strongest purple part, upper left,")


def test_where_nothing_speaks_for_the_other_class_the_given_label_is_spoken_of() -> None:
    scores = np.zeros((9, 9), np.float32)
    scores[7:, 3:6] = 1.0
    assert (
        strongest_part(evidence(scores), SIZE, names=NAMES)
        == "The strongest red part, at the bottom, holds 100% of the evidence for kite."
    )


def test_a_map_without_regions_says_nothing() -> None:
    assert strongest_part(evidence(np.zeros((9, 9), np.float32)), SIZE, names=NAMES) == ""


@pytest.mark.parametrize(
    ("box", "where"),
    [
        (Box(0, 0, 60, 60), "upper left"),
        (Box(120, 0, 180, 60), "at the top"),
        (Box(240, 240, 300, 300), "lower right"),
        (Box(0, 120, 60, 180), "on the left"),
        (Box(240, 120, 300, 180), "on the right"),
        (Box(100, 100, 200, 200), "in the middle"),
        (Box(0, 0, 300, 200), "over most of the picture"),
    ],
)
def test_a_place_is_the_third_of_the_picture_that_the_middle_of_the_box_lies_in(box: Box, where: str) -> None:
    assert place(box, SIZE) == where


def test_the_nearest_images_are_counted_by_what_they_are_filed_as() -> None:
    labels = ["eagle", "eagle", "owl", "eagle", "kite", "eagle"]
    assert (
        nearest_labels(labels, "kite", "eagle", names=NAMES)
        == "Of the 6 images most like it, 4 are filed as bald eagle and 1 as kite."
    )
    assert "none are filed as bald eagle and none as kite" in nearest_labels(["owl"] * 3, "kite", "eagle", names=NAMES)
    assert nearest_labels([], "kite", "eagle", names=NAMES) == ""


def test_reviewers_who_differ_are_quoted_newest_first() -> None:
    words = [("ann", "remove", ""), ("bob", "relabel", "owl"), ("cy", "keep", "")]
    assert (
        disagreement(words)
        == "Reviewers differ: ann said remove, bob said relabel to owl, cy said keep. The newest stands."
    )


def test_imagenet_ids_have_the_names_that_timm_gives_them() -> None:
    from timm.data import ImageNetInfo

    info = ImageNetInfo("imagenet-22k")
    for index, wnid in enumerate(info.label_names()):
        name = info.index_to_description(index).split(",")[0].strip()
        assert full_name(wnid) == f"{name} · {wnid}"


def test_other_labels_are_left_as_they_are() -> None:
    for label in ("kite", "n123", "n99999999", "xn01440764", "n01440764 ", "", "<b>"):
        assert (full_name(label), short_name(label)) == (label, label)


def test_two_classes_of_one_name_are_told_apart_by_their_ids() -> None:
    assert distinct_names("n01440764", "n03425413") == ("tench", "gas pump")
    assert distinct_names("n02012849", "n03126707") == ("crane · n02012849", "crane · n03126707")


def test_the_page_never_imports_torch() -> None:
    code = (
        "import sys; from ui.words import full_name; assert full_name('n01440764') == 'tench · n01440764'; "
        "from ui.review import card; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "False"
