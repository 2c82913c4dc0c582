"""``apply --to``: the corrected dataset as a new tree, compared with the corrected manifest."""

from __future__ import annotations

import csv
import io
import os
import random
from pathlib import Path

import pytest

from gradattn_core.apply.corrections import UntouchedFile
from gradattn_core.apply.names import folder_name
from gradattn_core.apply.tree import LABELS, MARK, make_tree
from gradattn_core.dataset.listing import list_dataset
from gradattn_core.errors import ApplyError
from gradattn_core.export import encode
from gradattn_core.files import write_output
from gradattn_core.store.store import Store
from tests.helpers.hostile import HOSTILE
from tests.helpers.reviewed_dataset import (
    audited,
    corrected,
    corrections_of,
    decide,
    ignored,
    labelled,
    snapshot,
    write_files,
)
from tests.helpers.signals import run_killed

LINKS = ("symlink", "hard", "copy")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    files = {
        "kite/a.jpg": "a", "kite/copy of a.jpg": "a", "kite/b.jpg": "b", "kite/2020/b.jpg": "b2020", "kite/c.jpg": "c",
        "kite/d.jpg": "d", "owl/a.jpg": "an owl", "owl/A.JPG": "another", "owl/e.jpg": "e",
    }  # fmt: skip
    return write_files(tmp_path / "photos", files)


@pytest.fixture
def store(photos: Path, tmp_path: Path) -> Store:
    store = audited(photos, tmp_path / "out")
    decide(store, {"kite/a.jpg": "owl", "kite/2020/b.jpg": "owl", "kite/b.jpg": None, "owl/e.jpg": "hawk"})
    store.decisions.append("first", "kite/c.jpg", "keep", reviewer="ann")
    store.decisions.append("first", "kite/d.jpg", "unsure", reviewer="ann")
    return store


@pytest.mark.parametrize("link", LINKS)
def test_the_tree_lists_as_the_corrected_manifest_and_leaves_the_dataset_alone(
    store: Store, photos: Path, tmp_path: Path, link: str
) -> None:
    before = snapshot(photos)
    applied = make_tree(corrections_of(store), tmp_path / "new", link, ignored)
    assert (applied.relabelled, applied.removed, applied.as_before) == (4, 1, 4)
    assert applied.left_alone == () and applied.notes == ()
    assert labelled(tmp_path / "new") == corrected(store)
    assert snapshot(photos) == before
    moved = tmp_path / "new" / "owl" / "2020" / "b.jpg"
    original = photos / "kite/2020/b.jpg"
    assert moved.is_symlink() == (link == "symlink")
    assert moved.samefile(original) == (link != "copy")
    assert not (tmp_path / "new" / LABELS).exists()


@pytest.mark.parametrize("link", ["symlink", "copy"])
def test_hostile_labels_and_paths_stay_inside_and_come_back_to_the_letter(tmp_path: Path, link: str) -> None:
    labels = [text for text in HOSTILE if len(text) < 200 and text.strip()]
    labels += ["..", ".", "../../up", "/abs", ".hidden", "a/b", "a%2Fb"]
    files = {f"images/{number}.jpg": f"picture {number}" for number in range(len(labels))}
    files |= {"images/.hidden.jpg": "hidden", "images/no ending": "none", "images/sub/0.jpg": "same name"}
    root = write_files(tmp_path / "data", files)
    rows = [["path", "label"], *([path, "plain"] for path in files)]
    text = io.StringIO(newline="")
    csv.writer(text).writerows([*rows, [str(tmp_path / "elsewhere.jpg"), "plain"], ["images/0.jpg", "again"]])
    write_files(tmp_path, {"elsewhere.jpg": "elsewhere"})
    text.write('images/extra.jpg,"other"\r\n')
    write_files(root, {"images/extra.jpg": "extra"})
    (root / "list.csv").write_text(text.getvalue(), "utf-8", newline="")
    store = audited(root / "list.csv", tmp_path / "out")
    decide(store, {f"images/{number}.jpg": label for number, label in enumerate(labels)})
    target = tmp_path / "new"
    outside = snapshot(root)
    applied = make_tree(corrections_of(store), target, link, ignored)
    assert applied.left_alone == () and "names no folder" in applied.notes[0]
    everything = {path for path in tmp_path.iterdir() if path.name not in ("data", "out", "new", "elsewhere.jpg")}
    assert everything == set() and snapshot(root) == outside
    # The folders say it with escapes, the manifest in the tree to the letter.
    assert labelled(target) == sorted((content, folder_name(label)) for content, label in corrected(store))
    assert labelled(target / LABELS) == corrected(store)


def test_random_datasets_and_decisions_come_out_as_the_corrected_manifest_says(tmp_path: Path) -> None:
    choose = random.Random(7)
    for turn in range(4):
        names = ["a.jpg", "A.jpg", "b.png", "x/a.jpg", "x/b.JPEG", "c~1.jpg", "é.jpg", "e\u0301.jpg"]
        files = {
            f"{label}/{name}": f"{choose.randrange(12)}"
            for label in ("kite", "owl", "bald eagle")
            for name in choose.sample(names, choose.randrange(3, 8))
        }
        root = write_files(tmp_path / f"{turn}" / "data", files)
        store = audited(root, tmp_path / f"{turn}" / "out")
        chosen = choose.sample(sorted(files), len(files) // 2)
        decide(store, {path: choose.choice([None, "kite", "owl", "50% grey/blue"]) for path in chosen})
        store.decisions.undo_many("first", chosen[:2], reviewer="bob")
        target = tmp_path / f"{turn}" / "new"
        applied = make_tree(corrections_of(store), target, choose.choice(LINKS), ignored)
        expected = corrected(store)
        assert applied.relabelled + applied.as_before == len(expected)
        assert applied.removed == len(files) - len(expected)
        assert labelled(target) == sorted((content, folder_name(label)) for content, label in expected)


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("before", LINKS)
def test_a_run_that_was_interrupted_or_tampered_with_is_repeated_to_the_same_tree(
    store: Store, tmp_path: Path, before: str, link: str
) -> None:
    make_tree(corrections_of(store), tmp_path / "whole", link, ignored)
    target = tmp_path / "new"
    make_tree(corrections_of(store), target, before, ignored)
    (target / "owl" / "a.jpg").unlink(missing_ok=True)
    first, second = sorted(path for path in target.rglob("*.jpg"))[:2]
    first.unlink()
    if before == "copy":
        second.write_bytes(b"half a cop")
    make_tree(corrections_of(store), target, link, ignored)
    assert snapshot(target) == snapshot(tmp_path / "whole")


@pytest.mark.parametrize(
    ("call", "count", "link"), [("replace", 1, "copy"), ("replace", 4, "copy"), ("symlink", 3, "symlink")]
)
def test_killed_on_the_way_the_same_command_makes_the_same_tree(
    store: Store, tmp_path: Path, call: str, count: int, link: str
) -> None:
    make_tree(corrections_of(store), tmp_path / "whole", link, ignored)
    target = tmp_path / "new"
    run_killed(call, count, "apply", "--to", target, "--link", link, "--out", store.directory)
    assert snapshot(target) != snapshot(tmp_path / "whole")
    make_tree(corrections_of(store), target, link, ignored)
    assert snapshot(target) == snapshot(tmp_path / "whole")


def test_a_folder_in_use_is_refused_and_not_touched(store: Store, photos: Path, tmp_path: Path) -> None:
    used = write_files(tmp_path / "used", {"notes.txt": "mine"})
    with pytest.raises(ApplyError, match="not empty and was not made by gradattn apply"):
        make_tree(corrections_of(store), used, "symlink", ignored)
    assert [path.name for path in used.iterdir()] == ["notes.txt"]
    with pytest.raises(ApplyError, match="cannot be used"):
        make_tree(corrections_of(store), used / "notes.txt", "symlink", ignored)
    (tmp_path / "alias").symlink_to(photos)
    for inside in (photos, photos / "new", photos / "kite" / "new", tmp_path / "alias" / "new"):
        with pytest.raises(ApplyError, match="lies in the dataset"):
            make_tree(corrections_of(store), inside, "symlink", ignored)
    assert not (photos / "new").exists()


def test_a_tree_of_other_decisions_is_refused_until_it_is_deleted(store: Store, tmp_path: Path) -> None:
    make_tree(corrections_of(store), tmp_path / "new", "symlink", ignored)
    before = snapshot(tmp_path / "new")
    decide(store, {"kite/d.jpg": "owl"})
    with pytest.raises(ApplyError, match=r"other decisions or images \(audit first\); delete it"):
        make_tree(corrections_of(store), tmp_path / "new", "symlink", ignored)
    assert snapshot(tmp_path / "new") == before


def test_what_others_put_into_the_tree_does_not_lead_out_of_it(store: Store, tmp_path: Path) -> None:
    target = tmp_path / "new"
    make_tree(corrections_of(store), target, "symlink", ignored)
    (tmp_path / "elsewhere").mkdir()
    for path in (target / "owl").rglob("*.*"):
        path.unlink()
    (target / "owl" / "2020").rmdir()
    (target / "owl").rmdir()
    (target / "owl").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ApplyError, match=r"leads out of .* by a link"):
        make_tree(corrections_of(store), target, "symlink", ignored)
    assert list((tmp_path / "elsewhere").iterdir()) == []
    (target / "owl").unlink()
    (target / "owl").symlink_to(target / "kite")
    with pytest.raises(ApplyError, match="the labels 'kite' and 'owl' are one folder on the file system"):
        make_tree(corrections_of(store), target, "symlink", ignored)
    (target / "owl").unlink()
    (target / "owl").write_text("a file")
    with pytest.raises(ApplyError, match="is a file where a class belongs"):
        make_tree(corrections_of(store), target, "symlink", ignored)


def test_a_label_that_no_folder_can_hold_is_refused_before_anything_is_made(store: Store, tmp_path: Path) -> None:
    decide(store, {"kite/d.jpg": "very long " * 30})
    with pytest.raises(ApplyError, match="too long for the name of a folder"):
        make_tree(corrections_of(store), tmp_path / "new", "symlink", ignored)
    assert not (tmp_path / "new").exists()


def test_files_that_changed_since_keep_their_label_and_files_that_are_gone_are_named(
    store: Store, photos: Path, tmp_path: Path
) -> None:
    write_files(photos, {"kite/b.jpg": "to be removed, but edited", "kite/2020/b.jpg": "edited"})
    (photos / "kite" / "d.jpg").unlink()
    applied = make_tree(corrections_of(store), tmp_path / "new", "symlink", ignored)
    assert applied.left_alone == (
        UntouchedFile("kite/2020/b.jpg", "its content is not what the audit saw"),
        UntouchedFile("kite/b.jpg", "its content is not what the audit saw"),
        UntouchedFile("kite/d.jpg", "'d.jpg' does not exist."),
    )
    assert {path.name for path in (tmp_path / "new" / "kite").rglob("*.jpg")} == {"b.jpg", "c.jpg"}
    assert (tmp_path / "new" / "kite" / "2020" / "b.jpg").exists()
    assert (applied.relabelled, applied.removed, applied.as_before) == (3, 0, 5)


def test_without_links_between_file_systems_the_images_are_copied_and_a_note_says_so(
    store: Store, photos: Path, tmp_path: Path
) -> None:
    other = Path("/dev/shm") / f"gradattn-{os.getpid()}"
    if not other.parent.is_dir() or other.parent.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system here")
    try:
        applied = make_tree(corrections_of(store), other, "hard", ignored)
        assert "no hard links" in applied.notes[0] and "images were copied" in applied.notes[0]
        assert len(applied.notes) == 1 and labelled(other) == corrected(store)
        assert not any(path.is_symlink() for path in other.rglob("*"))
    finally:
        for path in sorted(other.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        other.rmdir()


def test_a_dataset_that_moved_is_found_below_the_data_root(store: Store, photos: Path, tmp_path: Path) -> None:
    photos.rename(tmp_path / "moved")
    there = Store(store.directory, data_root=tmp_path / "moved")
    make_tree(corrections_of(there), tmp_path / "new", "symlink", ignored)
    assert labelled(tmp_path / "new") == corrected(there)


def test_the_tree_and_the_manifest_agree_with_the_export(store: Store, tmp_path: Path) -> None:
    make_tree(corrections_of(store), tmp_path / "new", "copy", ignored)
    frame = store.review.corrected("first", folder=tmp_path)
    write_output(tmp_path / "manifest.csv", encode("corrected", frame, "csv"))
    assert labelled(tmp_path / "manifest.csv") == labelled(tmp_path / "new")
    assert {path.name for path in (tmp_path / "new").iterdir()} == {MARK, "kite", "owl", "hawk"}
    assert [each.path for each in list_dataset(tmp_path / "new").skipped] == [".gradattn-tree.json"]


def test_what_was_not_judged_is_taken_along_and_counted(photos: Path, tmp_path: Path) -> None:
    write_files(
        photos, {"owl/raw/z.nef": "z", "kite/notes.txt": "n", "kite/.hidden": "h", "README.md": "r", "skip/s.jpg": "s"}
    )
    (photos / "kite" / "vector.svg").touch()
    store = audited(photos, tmp_path / "out", exclude_labels=["skip"])
    decide(store, {"kite/a.jpg": "owl"})
    for link in LINKS:
        applied = make_tree(corrections_of(store), tmp_path / link, link, ignored)
        assert (applied.relabelled, applied.as_before, applied.taken_along, applied.left_out) == (2, 7, 4, 0)
        assert applied.left_alone == ()
        others = ("owl/raw/z.nef", "kite/notes.txt", "skip/s.jpg", "kite/vector.svg")
        assert all((tmp_path / link / path).read_bytes() == (photos / path).read_bytes() for path in others)
        assert len([file for file in (tmp_path / link).rglob("*") if file.is_file()]) == 9 + 4 + 1
        assert make_tree(corrections_of(store), tmp_path / link, link, ignored) == applied
    alone = make_tree(corrections_of(store), tmp_path / "alone", "symlink", ignored, judged_only=True)
    assert (alone.as_before, alone.taken_along, alone.left_out) == (7, 0, 4)
    assert len([file for file in (tmp_path / "alone").rglob("*") if file.is_file()]) == 9 + 1
    frame = store.review.corrected("first", folder=photos)
    assert set(frame["path"]) >= {"owl/raw/z.nef", "skip/s.jpg", "kite/vector.svg"} and len(frame) == 9 + 3
    assert len(store.review.corrected("first", judged_only=True)) == 9
    (photos / "owl" / "raw" / "z.nef").unlink()
    assert len(store.review.corrected("first")) == 9 + 2
