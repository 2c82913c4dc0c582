"""Folders that are no classes: splits, systems, wrappers and hierarchies are understood, asked about, or noted."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from gradattn_core.dataset.endings import OUTPUT, SYSTEM
from gradattn_core.dataset.levels import is_split
from gradattn_core.dataset.listing import list_dataset
from gradattn_core.errors import DatasetError
from tests.helpers import dataset_files as forms
from tests.helpers.dataset_files import refusal, rows, touch

BOTH = ("cat/1.jpg", "cat/2.jpg", "dog/1.jpg", "dog/2.jpg")


def tree(root: Path, *folders: str) -> Path:
    """Two classes of two pictures in each folder; a folder that ends in / has two pictures and no classes."""
    for folder in folders:
        files = ("1.jpg", "2.jpg") if folder.endswith("/") else BOTH
        touch(root, *(f"{folder.rstrip('/')}/{file}" for file in files))
    return root


@pytest.mark.parametrize(
    "folders",
    [
        ("train", "val", "test/"),
        ("train", "unlabeled/"),
        ("seg_train", "seg_test", "seg_pred/"),
        ("training_set", "test_set"),
        ("train2017", "val2017"),
        ("images_train", "images_val", "images_test/"),
        ("Train", "Eval"),
        ("TRAIN", "holdout"),
        ("fold1", "fold2", "fold3"),
        ("split-0", "split-1"),
        ("dev", "test"),
        ("trainSet", "testSet"),
        ("flowers_train", "flowers_test"),
        ("train", "extra/"),
    ],
    ids="+".join,
)
def test_splits_of_any_usual_name_are_asked_for_and_can_be_chosen(tmp_path: Path, folders: tuple[str, ...]) -> None:
    root = tree(tmp_path / "set", *folders)
    message = refusal(root)
    first = next(folder for folder in folders if f"--split {folder}," in message)
    assert "--label-depth 2" in message and "--label-depth 1" in message
    assert rows(list_dataset(root, split=first)) == [(path, path.split("/")[0]) for path in BOTH]
    deep = [folder for folder in folders if not folder.endswith("/")]
    listing = list_dataset(root, label_depth="2")
    assert sorted(set(listing.classes)) == ["cat", "dog"] and len(listing.images) == 4 * len(deep)
    assert len([each for each in listing.skipped if "level 2" in each.reason]) == 2 * (len(folders) - len(deep))


@pytest.mark.parametrize("form", ["zip", "tar"])
def test_splits_in_an_archive_are_asked_for_as_in_a_folder(tmp_path: Path, form: str) -> None:
    names = [f"{split}/{path}" for split in ("seg_train", "seg_test") for path in BOTH]
    if form == "tar":
        source = forms.write_members(tmp_path / "a.tar", dict.fromkeys([*names, "seg_pred/1.jpg"], b"\xff\xd8\xff"))
    else:
        import zipfile

        source = tmp_path / "a.zip"
        with zipfile.ZipFile(source, "w") as file:
            for name in [*names, "seg_pred/1.jpg"]:
                file.writestr(name, b"\xff\xd8\xff")
    assert "--split seg_train" in refusal(source)
    assert len(list_dataset(source, split="seg_train").images) == 4


def test_a_folder_in_a_folder_of_its_own_name_is_seen_through(tmp_path: Path) -> None:
    root = touch(tmp_path / "intel", *(f"seg_{s}/seg_{s}/{path}" for s in ("train", "test") for path in BOTH))
    touch(root, "seg_pred/seg_pred/1.jpg")
    message = refusal(root)
    assert "--split seg_train" in message and "--label-depth 3" in message
    assert list_dataset(root, split="seg_train").classes == ["cat", "dog"]
    assert list_dataset(root, label_depth="3").classes == ["cat", "dog"]
    wrapped = touch(tmp_path / "photos", *(f"photos/{path}" for path in BOTH))
    listing = list_dataset(wrapped)
    assert listing.classes == ["cat", "dog"] and listing.root == str(wrapped / "photos")


def test_flat_folders_that_are_called_as_splits_have_no_labels_unless_somebody_says_so(tmp_path: Path) -> None:
    for names in (("train", "test"), ("fold1", "fold2", "fold3"), ("train2017", "val2017")):
        root = touch(tmp_path / "-".join(names), *(f"{name}/{number}.jpg" for name in names for number in range(2)))
        assert "look like splits" in refusal(root) and "--label-depth 1" in refusal(root)
        assert list_dataset(root, label_depth="1").classes == sorted(names)


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    root = touch(
        tmp_path / "vehicles", *(f"{name}/{number}.jpg" for name in ("train", "car", "bus") for number in "123")
    )
    listing = list_dataset(root)
    assert listing.classes == ["bus", "car", "train"]
    assert any("--exclude-label train" in note for note in listing.notes)
    for name in ("bullet train", "freight train", "test tube"):
        assert not is_split(name, only=True)


def test_the_same_names_below_several_folders_are_asked_about(tmp_path: Path) -> None:
    root = tree(tmp_path / "sites", "ann", "bob", "cem")
    message = refusal(root)
    assert "'cat', 'dog'" in message and "--label-depth 2" in message and "--label-depth 1-2" in message
    assert list_dataset(root, label_depth="1").classes == ["ann", "bob", "cem"]
    listing = list_dataset(root, label_depth="2")
    assert listing.classes == ["cat", "dog"] and "--label-depth 1-2" in listing.notes[0]
    assert list_dataset(root, label_depth="1-2").classes == [
        f"{a}/{b}" for a in ("ann", "bob", "cem") for b in ("cat", "dog")
    ]


def test_a_hierarchy_is_audited_by_its_first_level_with_a_word(tmp_path: Path) -> None:
    root = touch(
        tmp_path / "things", *(f"{path}/{n}.jpg" for path in ("animal/cat", "animal/dog", "tool/saw") for n in "12")
    )
    listing = list_dataset(root)
    assert listing.classes == ["animal", "tool"] and "--label-depth 2" in listing.notes[0]
    deeper = list_dataset(root, label_depth="2")
    assert (deeper.classes, deeper.notes) == (["cat", "dog", "saw"], ())
    assert rows(deeper)[0] == ("animal/cat/1.jpg", "cat")
    assert "no folders of level 3" in refusal(root, label_depth="3")


def test_folders_of_storage_only_are_no_level(tmp_path: Path) -> None:
    root = touch(
        tmp_path, *(f"{label}/{folder}/{n}.jpg" for label in "ab" for folder in ("images", "raw") for n in "12")
    )
    listing = list_dataset(root)
    assert (listing.classes, listing.notes) == (["a", "b"], ())


def test_splits_within_the_classes_are_told_and_can_be_chosen(tmp_path: Path) -> None:
    names = (f"{label}/{split}/{n}.jpg" for label in ("cat", "dog") for split in ("test", "train") for n in "12")
    root = touch(tmp_path / "whole", *names)
    listing = list_dataset(root)
    assert listing.classes == ["cat", "dog"] and "'test', 'train'" in listing.notes[0]
    assert rows(list_dataset(root, split="test")) == [
        ("cat/test/1.jpg", "cat"), ("cat/test/2.jpg", "cat"), ("dog/test/1.jpg", "dog"), ("dog/test/2.jpg", "dog"),
    ]  # fmt: skip
    assert list_dataset(root, split="test").notes == ()
    half = touch(tmp_path / "half", "cat/test/1.jpg", "cat/2.jpg", "dog/test/1.jpg", "dog/2.jpg")
    assert "--split test takes one" in list_dataset(half).notes[0]


@pytest.mark.parametrize("depth", ["0", "2-1", "x", "-1", "1-", "1,2"])
def test_a_depth_that_is_none_is_refused(tmp_path: Path, depth: str) -> None:
    assert "is no level of folders" in refusal(touch(tmp_path, *BOTH), label_depth=depth)


def test_a_depth_says_nothing_to_a_table(tmp_path: Path) -> None:
    touch(tmp_path, *BOTH)
    (tmp_path / "m.csv").write_text("path,label\ncat/1.jpg,cat\ndog/1.jpg,dog\n")
    assert "--label-depth" in refusal(tmp_path / "m.csv", label_depth="2")


@pytest.mark.parametrize(
    "folder",
    [
        "@eaDir", "$RECYCLE.BIN", "__MACOSX", "lost+found", "Thumbs", "System Volume Information", "#recycle",
        "RECYCLER", "@Recycle", "$Recycle.Bin", ".Trash-1000", ".ipynb_checkpoints", "Network Trash Folder", "@tmp",
    ],
)  # fmt: skip
@pytest.mark.parametrize("form", ["folder", "tar"])
def test_folders_of_systems_are_passed_over_wherever_they_lie(tmp_path: Path, folder: str, form: str) -> None:
    names = [*BOTH, f"{folder}/cat/1.jpg", f"{folder}/2.jpg", f"cat/{folder}/1.jpg", f"dog/deep/{folder}/x/SYNO.jpg"]
    if form == "folder":
        listing = list_dataset(touch(tmp_path / "set", *names))
    else:
        listing = list_dataset(forms.write_members(tmp_path / "a.tar", dict.fromkeys(names, b"\xff\xd8\xff")))
    assert [path for path, _ in rows(listing)] == list(BOTH)
    passed = [each.path for each in listing.skipped]
    assert passed == sorted([folder, f"cat/{folder}", f"dog/deep/{folder}"])
    if not folder.startswith("."):
        assert {each.reason for each in listing.skipped} == {SYSTEM}
        assert any(folder in note for note in listing.notes)


def test_an_output_folder_of_ours_in_the_dataset_is_none_of_its_classes(tmp_path: Path) -> None:
    touch(tmp_path, *BOTH, "results/gradattn.duckdb", "results/previews/ab/x.webp", "cat/gradattn-out/gradattn.duckdb")
    listing = list_dataset(tmp_path)
    assert listing.classes == ["cat", "dog"]
    assert [(each.path, each.reason) for each in listing.skipped] == [("cat/gradattn-out", OUTPUT), ("results", OUTPUT)]


def test_a_picture_above_the_level_of_the_labels_is_named(tmp_path: Path) -> None:
    touch(tmp_path, "animal/cat/1.jpg", "animal/dog/1.jpg", "animal/top.jpg")
    listing = list_dataset(tmp_path, label_depth="2")
    assert [(each.path, each.given_label) for each in listing.skipped] == [("animal/top.jpg", "")]


def test_what_is_refused_names_no_class_that_vanished_in_silence(tmp_path: Path) -> None:
    touch(tmp_path, "cat/1.jpg", "dog/1.svg", "dog/2.svg")
    with pytest.raises(DatasetError) as caught:
        list_dataset(tmp_path)
    assert "one class only" in str(caught.value) and ".svg" in str(caught.value)


def test_folds_with_splits_of_their_own_are_asked_about_by_the_level_of_the_classes(tmp_path: Path) -> None:
    root = tree(tmp_path / "set", *(f"fold{fold}/{split}" for fold in range(2) for split in ("train", "val")))
    assert "--label-depth 3" in refusal(root)
    assert list_dataset(root, label_depth="3").classes == ["cat", "dog"]


WORDS = (
    "train",
    "test",
    "val2017",
    "cat",
    "Cat",
    "dog",
    "images",
    "fold1",
    "unlabeled",
    "0",
    "@eaDir",
    "seg_train",
    "a b",
    "é",
)


@pytest.mark.parametrize("seed", range(20))
def test_any_tree_is_listed_or_refused_in_a_sentence_and_no_picture_is_lost(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    for case in range(10):
        names = {
            "/".join(
                [*draw.choices(WORDS, k=draw.randrange(4)), f"{number}.{draw.choice(('jpg', 'png', 'svg', 'txt'))}"]
            )
            for number in range(draw.randrange(1, 30))
        }
        root = touch(tmp_path / f"{case}", *names)
        choices: list[dict[str, Any]] = [{}, {"label_depth": draw.choice(("1", "2", "1-2", "3"))}]
        for options in (*choices, {"split": draw.choice(WORDS)}):
            try:
                listing = list_dataset(root, **options)
            except DatasetError as error:
                assert str(error).endswith((".", "?")) and "\n" not in str(error)
                continue
            assert len(listing.classes) > 1 and all(image.label for image in listing.images)
            if "split" in options or listing.root != str(root):
                continue
            named = [image.path for image in listing.images]
            named += [each.path for each in (*listing.failures, *listing.skipped)]
            assert len(named) == len(set(named))
            assert all(any(name == each or name.startswith(f"{each}/") for each in named) for name in names)


def test_one_folder_beside_a_table_is_told_of_the_table(tmp_path: Path) -> None:
    touch(tmp_path, "data/1.jpg", "data/2.jpg", "labels.json", "README.md")
    message = refusal(tmp_path)
    assert message.endswith(f"Pass its table {str(tmp_path / 'labels.json')!r} if that says the labels.")
    assert refusal(touch(tmp_path / "plain", "data/1.jpg")).endswith("between two or more.")
    message = refusal(touch(tmp_path / "drawings", "a/1.svg", "a/2.svg"))
    assert (
        "has no usable images: it holds 2 .svg (pictures of this kind are not read: convert it); give a folder"
        in message
    )


def test_classes_that_differ_by_the_word_of_a_split_are_told(tmp_path: Path) -> None:
    touch(tmp_path / "set", *(f"{name}/1.jpg" for name in ("train_cat", "train_dog", "test_cat", "test_dog", "kite")))
    [note] = [note for note in list_dataset(tmp_path / "set").notes if "word of a split" in note]
    assert note.startswith("'test_cat', 'train_cat' differ only by the word of a split")
    touch(tmp_path / "other", *(f"{name}/1.jpg" for name in ("test tube", "train", "training set", "bus")))
    assert not any("differ only" in note for note in list_dataset(tmp_path / "other").notes)


def test_a_split_with_blanks_is_named_as_it_may_be_typed(tmp_path: Path) -> None:
    touch(tmp_path, "Train set/cat/1.jpg", "Train set/dog/1.jpg", "Test set/cat/1.jpg", "Test set/dog/1.jpg")
    assert "choose one with --split 'Train set'," in refusal(tmp_path)
