"""Which images a class folder lists, what it skips and reports, and what is refused in one sentence."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tarfile
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest

from gradattn_core.dataset.endings import HIDDEN, NO_CLASS, NO_PICTURE, SYSTEM, reads_heif
from gradattn_core.dataset.listing import list_dataset
from gradattn_core.errors import DatasetError
from gradattn_core.records import ImageRecord
from tests.helpers.dataset_files import reasons, refusal, rows, touch


@contextmanager
def without_privileges() -> Iterator[None]:
    """Tests often run as root, whom no permission stops."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_folder_lists_every_image_below_its_class_ordered_by_path(tmp_path: Path) -> None:
    touch(
        tmp_path, "dog/b.PNG", "dog/a.jpg", "cat/deep/er/1.JPEG", "cat/2.webp", "cat/3.tif", "cat/4.tiff", "cat/5.gif"
    )
    touch(tmp_path, "cat/6.bmp")
    (tmp_path / "dog" / "a.jpg").write_bytes(b"12345")
    os.utime(tmp_path / "dog" / "a.jpg", ns=(0, 1_234_567_890_123_456_789))
    listing = list_dataset(str(tmp_path))
    assert rows(listing) == [
        ("cat/2.webp", "cat"),
        ("cat/3.tif", "cat"),
        ("cat/4.tiff", "cat"),
        ("cat/5.gif", "cat"),
        ("cat/6.bmp", "cat"),
        ("cat/deep/er/1.JPEG", "cat"),
        ("dog/a.jpg", "dog"),
        ("dog/b.PNG", "dog"),
    ]
    assert listing.images[6] == ImageRecord("dog/a.jpg", "dog", 5, 1_234_567_890_123_456_789)
    assert listing.root == str(tmp_path.resolve())
    assert (listing.classes, listing.failures, listing.skipped) == (["cat", "dog"], (), ())


def test_hidden_entries_non_images_and_images_in_the_root_are_skipped_and_counted(tmp_path: Path) -> None:
    touch(tmp_path, "cat/1.jpg", "dog/1.jpg")
    touch(
        tmp_path, "top.jpg", "README.md", ".DS_Store", ".git/x.jpg", "cat/.hidden.jpg", "cat/.thumbs/1.jpg", "cat/jpg"
    )
    touch(tmp_path, "dog/Thumbs.db", "dog/notes.txt", "dog/movie.jpg.mp4")
    listing = list_dataset(tmp_path)
    assert rows(listing) == [("cat/1.jpg", "cat"), ("dog/1.jpg", "dog")]
    assert {each.path: (each.given_label, each.reason) for each in listing.skipped} == {
        ".DS_Store": ("", HIDDEN),
        ".git": ("", HIDDEN),
        "README.md": ("", NO_PICTURE),
        "cat/.hidden.jpg": ("", HIDDEN),
        "cat/.thumbs": ("", HIDDEN),
        "cat/jpg": ("cat", NO_PICTURE),
        "dog/Thumbs.db": ("", SYSTEM),
        "dog/movie.jpg.mp4": ("dog", NO_PICTURE),
        "dog/notes.txt": ("dog", NO_PICTURE),
        "top.jpg": ("", NO_CLASS),
    }
    assert listing.failures == ()


@pytest.mark.parametrize(
    "label",
    [
        "a b",
        "naïve",
        "猫",
        "🦅",
        "'quote\" `",
        "line\nbreak\ttab",
        "=1+1",
        "-x",
        "<b>&amp;",
        "x.jpg",
        "C:\\x",
    ],
)
def test_labels_with_odd_characters_are_kept_exactly(tmp_path: Path, label: str) -> None:
    touch(tmp_path, f"{label}/1.jpg", "plain/1.jpg")
    found = rows(list_dataset(tmp_path))
    assert (f"{label}/1.jpg", label) in found
    manifest = tmp_path / "m.csv"
    pd.DataFrame({"path": ["plain/1.jpg", f"{label}/1.jpg"], "label": ["plain", label]}).to_csv(manifest, index=False)
    assert (f"{label}/1.jpg", label) in rows(list_dataset(manifest))


def test_links_are_followed_and_loops_end(tmp_path: Path) -> None:
    root = touch(tmp_path / "set", "cat/real/1.jpg", "cat/zoo/2.jpg", "dog/1.jpg")
    outside = touch(tmp_path / "elsewhere", "o.jpg")
    (root / "cat" / "link.jpg").symlink_to(outside / "o.jpg")
    (root / "cat" / "a-folder").symlink_to(outside)
    for view in range(20):
        (root / "cat" / f"a-view-{view}").symlink_to(root / "cat" / "real")
    (root / "cat" / "zoo" / "up").symlink_to(root / "cat")
    (root / "cat" / "root").symlink_to(root)
    (root / "wolf").symlink_to(root / "dog")
    (root / "self").symlink_to(root)
    (root / "cat" / "broken.jpg").symlink_to(tmp_path / "gone.jpg")
    (root / "cat" / "itself.jpg").symlink_to("itself.jpg")
    listing = list_dataset(root)
    assert rows(listing) == [
        ("cat/a-folder/o.jpg", "cat"),
        ("cat/link.jpg", "cat"),
        ("cat/real/1.jpg", "cat"),
        ("cat/zoo/2.jpg", "cat"),
        ("dog/1.jpg", "dog"),
        ("wolf/1.jpg", "wolf"),
    ]
    assert set(reasons(listing)) == {"cat/broken.jpg", "cat/itself.jpg"}
    assert "does not exist" in reasons(listing)["cat/broken.jpg"]


def test_a_dataset_reached_through_a_link_lists_the_same(tmp_path: Path) -> None:
    touch(tmp_path / "real", "cat/1.jpg", "dog/1.jpg")
    (tmp_path / "link").symlink_to("real")
    assert list_dataset(tmp_path / "link") == list_dataset(tmp_path / "real")


def test_names_that_are_not_utf8_become_failures(tmp_path: Path) -> None:
    touch(tmp_path, "cat/1.jpg", "dog/1.jpg")
    os.close(os.open(os.fsencode(tmp_path) + b"/cat/caf\xe9.jpg", os.O_CREAT))
    os.mkdir(os.fsencode(tmp_path) + b"/\xff")
    os.close(os.open(os.fsencode(tmp_path) + b"/\xff/2.jpg", os.O_CREAT))
    listing = list_dataset(tmp_path)
    assert len(listing.images) == 2
    assert [failure.path for failure in listing.failures] == ["\\udcff/2.jpg", "cat/caf\\udce9.jpg"]
    for failure in listing.failures:
        assert "UTF-8" in failure.reason
        json.dumps(failure.path, ensure_ascii=False).encode()


def test_pipes_named_like_images_are_failures(tmp_path: Path) -> None:
    touch(tmp_path, "cat/1.jpg", "dog/1.jpg")
    os.mkfifo(tmp_path / "cat" / "pipe.jpg")
    assert reasons(list_dataset(tmp_path)) == {"cat/pipe.jpg": "not a regular file"}


def test_a_class_without_permission_is_a_failure_and_a_root_without_it_an_error(open_folder: Path) -> None:
    touch(open_folder, "cat/1.jpg", "dog/1.jpg", "secret/1.jpg")
    (open_folder / "secret").chmod(0)
    with without_privileges():
        listing = list_dataset(open_folder)
    assert len(listing.images) == 2
    assert reasons(listing) == {"secret": "the folder cannot be read: Permission denied"}
    open_folder.chmod(0)
    with without_privileges(), pytest.raises(DatasetError, match=r"may not be read: Permission denied|no permission"):
        list_dataset(open_folder)
    with without_privileges(), pytest.raises(DatasetError, match="no permission"):
        list_dataset(open_folder / "cat")


@pytest.fixture
def open_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder that a user without privileges can reach; pytest's own are closed to others."""
    folder = tmp_path_factory.mktemp("open")
    closed = [parent for parent in (folder, *folder.parents) if not parent.stat().st_mode & 0o001]
    modes = {parent: parent.stat().st_mode & 0o777 for parent in closed}
    for parent in closed:
        parent.chmod(0o755)
    yield folder
    folder.chmod(0o755)
    for parent, mode in modes.items():
        parent.chmod(mode)
    for entry in folder.iterdir():
        entry.chmod(0o755)


def test_in_a_container_a_missing_path_says_where_datasets_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADATTN_DATA_NOTE", "./data is /data in this container")
    assert refusal(tmp_path / "photos").endswith("photos' does not exist. ./data is /data in this container.")


def test_a_missing_path_names_a_near_sibling(tmp_path: Path) -> None:
    touch(tmp_path / "imagenette", "cat/1.jpg", "dog/1.jpg")
    message = refusal(tmp_path / "imagenete")
    assert "imagenete' does not exist. Did you mean 'imagenette'?" in message
    assert "Did you mean 'imagenette'?" in refusal(tmp_path / "Imagenet" / "cat")
    assert "Did you mean" not in refusal(tmp_path / "zzz")
    assert "does not exist" in refusal(tmp_path / "imagenette" / "cat" / "1.jpg" / "x")
    assert "cannot be read" in refusal("nul\0")


def test_a_file_that_is_no_manifest_says_what_would_be_one(tmp_path: Path) -> None:
    for name, instead in {
        "photo.jpg": "is one picture, and labels are judged by other pictures",
        "photo.heic": "is one picture",
        "data.rar": "Unpack it first.",
        "labels.xlsx": "Save the sheet as CSV.",
        "labels.feather": "Write the table as CSV or Parquet",
        "labels": "is not a dataset",
    }.items():
        message = refusal(touch(tmp_path, name) / name)
        assert f"{name}' is " in message and instead in message
        assert ".csv, .json, .jsonl, .lst, .ndjson, .parquet, .tsv, .txt" in message


def test_a_file_of_another_ending_is_called_what_it_is(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "set", "w") as archive:
        archive.writestr("cat/1.jpg", b"x")
    assert "By its content it is a zip: give it that ending, .zip." in refusal(tmp_path / "set")
    for name in ("set.zip", "set.csv", "set.parquet"):
        (tmp_path / name).write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
        assert "is a Git LFS pointer and not the file itself: run git lfs pull" in refusal(tmp_path / name)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    for name in ("pipe", "pipe.csv", "pipe.zip"):
        os.mkfifo(tmp_path / name)
        assert "is not a dataset" in refusal(tmp_path / name)


def test_one_class_of_several_is_told_what_to_pass(tmp_path: Path) -> None:
    root = touch(tmp_path, "data/images/cat/1.jpg", "data/images/cat/2.jpg", "data/images/dog/1.jpg") / "data/images"
    instead = f"If 'cat' is one class of several, pass what they all lie in: {str(root)!r}."
    assert instead in refusal(root / "cat")
    touch(root, "cat/young/3.jpg")
    assert instead in refusal(root / "cat")
    touch(tmp_path, "alone/1.jpg")
    assert "one class of several" not in refusal(tmp_path / "alone")
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for name in ("set/cat/1.jpg", "set/dog/1.jpg"):
            archive.writestr(name, b"x")
    whole = f"zip://set::{tmp_path / 'set.zip'}"
    assert f"pass what they all lie in: {whole!r}" in refusal(f"zip://set/cat::{tmp_path / 'set.zip'}")
    assert "has no folder 'set/car': its folders are 'set'." in refusal(f"zip://set/car::{tmp_path / 'set.zip'}")


def test_an_archive_in_a_folder_is_proposed(tmp_path: Path) -> None:
    assert f"Pass {str(tmp_path / 'set.zip')!r} if the pictures are in it." in refusal(touch(tmp_path, "set.zip"))


@pytest.mark.parametrize("packed", ["bz2", "xz", "gz"])
def test_a_packed_tar_is_read(tmp_path: Path, packed: str) -> None:
    touch(tmp_path / "set", "cat/1.jpg", "cat/2.jpg", "dog/1.jpg")
    with tarfile.open(tmp_path / f"set.tar.{packed}", f"w:{packed}") as archive:  # type: ignore[call-overload]
        archive.add(tmp_path / "set", "set")
    assert len(list_dataset(tmp_path / f"set.tar.{packed}").images) == 3
    content = (tmp_path / f"set.tar.{packed}").read_bytes()
    (tmp_path / f"cut.tar.{packed}").write_bytes(content[: len(content) // 2])
    assert "cut.tar" in refusal(tmp_path / f"cut.tar.{packed}")


@pytest.mark.skipif(reads_heif(), reason="pillow-heif is installed, so HEIC is a picture like any other")
def test_heic_is_named_where_the_root_itself_has_it(tmp_path: Path) -> None:
    message = refusal(touch(tmp_path, "1.heic", "2.heic", "3.jpg"))
    assert "is a flat folder: 1 images and no labels" in message
    assert "2 more: HEIC needs the package pillow-heif: pip install 'gradattn[heif]'." in message


def test_an_empty_dataset_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    assert "has no usable images" in refusal(tmp_path)
    touch(tmp_path, "cat/readme.txt", "cat/.hidden.jpg", "dog/x.mp4")
    assert "has no usable images" in refusal(tmp_path)


def test_one_class_only_is_refused_by_name(tmp_path: Path) -> None:
    assert "has one class only, 'cat'" in refusal(touch(tmp_path, "cat/1.jpg", "cat/2.jpg"))


def test_a_flat_folder_is_recognised_and_its_manifest_proposed(tmp_path: Path) -> None:
    touch(tmp_path, "1.jpg", "2.JPG", ".3.jpg")
    assert "2 images and no labels; sort them into root/<label>/, or pass a table with" in refusal(tmp_path)
    touch(tmp_path, "notes.csv", "about.json")
    (tmp_path / "train.csv").write_text("path,label\n1.jpg,cat\n")
    assert f"pass its manifest {str(tmp_path / 'train.csv')!r}" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        ("cat.{}.jpg dog.{}.jpg", ["cat", "dog"]),
        ("with_mask_{:03d}.png without_mask_{:03d}.PNG", ["with_mask", "without_mask"]),
        ("great owl ({}).jpg kite{}.jpeg b{}.jpg", ["b", "great owl", "kite"]),
        ("{:05d}_cat.png {:05d}_brown-bear.png", ["brown-bear", "cat"]),
        ("n01440764_{}.JPEG n02102040_{}.JPEG", ["n01440764", "n02102040"]),
    ],
)
def test_a_flat_folder_whose_names_say_labels_gets_a_line_that_writes_them(
    tmp_path: Path, names: str, labels: list[str]
) -> None:
    alternatives = re.split(r"(?<=g|G) ", names)
    files = (each.format(number) for each in alternatives for number in range(5))
    folder = touch(tmp_path / "set", "readme.txt", *files)
    message = refusal(folder)
    assert f"The names seem to say {', '.join(map(repr, labels))}; " in message
    line = message.partition("writes such a table: ")[2]
    subprocess.run(["sh", "-c", line], cwd=folder, check=True)
    listing = list_dataset(folder / "labels.csv")
    assert Counter(image.label for image in listing.images) == dict.fromkeys(labels, 5) and not listing.failures
    assert refusal(folder).endswith(f"pass its manifest {str(folder / 'labels.csv')!r}.")


@pytest.mark.parametrize("name", ["{}.jpg", "cat_{}.jpg", "IMG_2024{:04d}.jpg", "photo.jpg of{}.jpg.png", "x,{}.jpg"])
def test_names_that_say_no_labels_are_not_read_for_any(tmp_path: Path, name: str) -> None:
    message = refusal(touch(tmp_path / "set", *(name.format(number) for number in range(6))))
    assert message.endswith("or pass a table with the columns path and label.")


def test_folders_of_splits_are_not_taken_for_classes(tmp_path: Path) -> None:
    root = touch(tmp_path / "imagenet", "train/cat/1.jpg", "train/dog/1.jpg", "val/cat/1.jpg")
    message = refusal(root)
    assert "'train', 'val'" in message
    assert "choose one with --split train, audit all with --label-depth 2, or say --label-depth 1" in message
    root = touch(tmp_path / "wrapped", "images/cat/1.jpg", "images/dog/1.jpg")
    assert refusal(root).endswith(f"pass {str(root / 'images')!r}.")


def test_a_split_of_a_folder_is_the_folder_of_that_name_around_the_classes(tmp_path: Path) -> None:
    root = touch(tmp_path / "imagenet", "train/cat/1.jpg", "train/dog/1.jpg", "val/cat/2.jpg", "val/dog/2.jpg")
    listing = list_dataset(root, split="val")
    assert (listing.root, rows(listing)) == (str(root / "val"), [("cat/2.jpg", "cat"), ("dog/2.jpg", "dog")])
    message = refusal(root, split="vall")
    assert "has no split 'vall'" in message and "its folders are 'train', 'val'. Did you mean 'val'?" in message


def test_real_class_folders_list_completely(shared_data: Path) -> None:
    listing = list_dataset(shared_data / "data" / "cifar10n")
    assert len(listing.images) == 10_000
    assert len(listing.classes) == 10
    assert listing == list_dataset(shared_data / "data" / "cifar10n")
