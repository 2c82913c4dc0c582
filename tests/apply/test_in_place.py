"""``apply --in-place`` of a class folder and ``apply --undo``: also killed, repeated, and after others were there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from gradattn_core.apply.corrections import UntouchedFile
from gradattn_core.apply.in_place import UndoResult, undo
from gradattn_core.apply.names import folder_name
from gradattn_core.apply.tree import make_tree
from gradattn_core.dataset.decoding import content_hash
from gradattn_core.errors import ApplyError
from gradattn_core.store.store import Store
from tests.helpers.reviewed_dataset import (
    audited,
    corrected,
    corrections_of,
    decide,
    ignored,
    in_place,
    journal,
    labelled,
    snapshot,
    take_back,
    write_files,
)
from tests.helpers.signals import run_killed

# Enough for more than one batch of moves.
COUNT = 40
RELABELLED, REMOVED = COUNT + 2, COUNT - 1


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    files = {f"kite/{number}.jpg": f"kite {number}" for number in range(COUNT)}
    files |= {f"kite/2020/{number}.jpg": f"old kite {number}" for number in range(COUNT)}
    files |= {"kite/copy.jpg": "kite 0", "kite/stays.jpg": "stays", "owl/0.jpg": "an owl", "owl/notes.txt": "note"}
    root = write_files(tmp_path / "photos", files)
    (root / "kite" / "0.jpg").chmod(0o640)
    return root


@pytest.fixture
def store(photos: Path, tmp_path: Path) -> Store:
    store = audited(photos, tmp_path / "out")
    relabelled = {f"kite/{number}.jpg": "owl" for number in range(COUNT - 1)}
    decide(store, {**relabelled, f"kite/{COUNT - 1}.jpg": "snowy/owl", "kite/2020/0.jpg": "hawk"})
    decide(store, {f"kite/2020/{number}.jpg": None for number in range(1, COUNT)})
    return store


def test_files_move_between_class_folders_and_come_back_to_the_byte(store: Store, photos: Path) -> None:
    before, expected = snapshot(photos), corrected(store)
    applied = in_place(store)
    assert (applied.relabelled, applied.removed, applied.left_alone) == (RELABELLED, REMOVED, ())
    assert labelled(photos) == sorted((content, folder_name(label)) for content, label in expected)
    moved = {path.relative_to(photos).as_posix() for path in photos.rglob("*.jpg")}
    assert {"owl/0.jpg", "owl/1.jpg", "owl/copy.jpg", "hawk/2020/0.jpg", f"snowy%2Fowl/{COUNT - 1}.jpg"} <= moved
    assert len([path for path in (photos / "owl").iterdir() if path.name.startswith("0~")]) == 1
    removed = [path for path in (store.directory / "removed").rglob("*.jpg")]
    assert {path.read_bytes() for path in removed} == {before[f"kite/2020/{n}.jpg"][1] for n in range(1, COUNT)}
    undone = take_back(store)
    assert (undone.files, undone.left_alone) == (RELABELLED + REMOVED, ())
    assert snapshot(photos) == before
    assert list((store.directory / "removed").rglob("*")) == []
    with pytest.raises(ApplyError, match="nothing was applied in place, or all of it was undone"):
        take_back(store)


def test_every_move_is_in_the_journal_before_it_is_made(store: Store, photos: Path) -> None:
    run_killed("link", 1, "apply", "--in-place", "--out", store.directory)
    written = journal(store)
    assert written[0]["what"] == "begin" and written[-1]["what"] == "move"
    assert sum(line["what"] == "move" for line in written) == 64
    assert not any(Path(line["new"]).exists() for line in written if line["what"] == "move")


def slow(call: str, count: int) -> Any:
    """A moment that a quick run passes over, because others are like it."""
    return pytest.param(call, count, marks=pytest.mark.slow)


# A move is a link and an unlink; folders are made once per batch; the journal is what is synced. The first mkdir
# and the first unlink are the lock's, which sees to it that the output folder can be written to.
POINTS = [
    *(("link", 70), ("unlink", 2), ("unlink", 71), ("mkdir", 3), ("fsync", 3)),
    *(slow("link", count) for count in (1, 2, 64, 65, 81)),
    *(slow("unlink", count) for count in (3, 65, 66, 82)),
    *(slow("fsync", count) for count in (1, 2, 4, 5)),
    *(slow("mkdir", count) for count in (2, 4, 5)),
]


@pytest.mark.parametrize(("call", "count"), POINTS)
def test_killed_anywhere_it_is_undone_to_the_byte(store: Store, photos: Path, call: str, count: int) -> None:
    before = snapshot(photos)
    run_killed(call, count, "apply", "--in-place", "--out", store.directory)
    if (store.directory / "applied.jsonl").exists() and any(line["what"] == "move" for line in journal(store)):
        assert take_back(store).left_alone == ()
    assert snapshot(photos) == before
    with pytest.raises(ApplyError, match="nothing was applied"):
        take_back(store)
    in_place(store)
    take_back(store)
    assert snapshot(photos) == before


@pytest.mark.parametrize(("call", "count"), [("link", 70), ("unlink", 2), slow("unlink", 71), slow("fsync", 5)])
def test_killed_anywhere_the_same_command_finishes_it_as_one_apply(
    store: Store, photos: Path, tmp_path: Path, call: str, count: int
) -> None:
    before = snapshot(photos)
    in_place(store)
    after = snapshot(photos)
    take_back(store)
    (store.directory / "applied.jsonl").unlink()
    run_killed(call, count, "apply", "--in-place", "--out", store.directory)
    applied = in_place(store)
    assert applied.left_alone == () and applied.relabelled + applied.removed + applied.already == RELABELLED + REMOVED
    assert snapshot(photos) == after
    take_back(store)
    assert snapshot(photos) == before
    with pytest.raises(ApplyError, match="nothing was applied"):
        take_back(store)


@pytest.mark.parametrize(("call", "count"), [("link", 6), slow("unlink", 91), ("rmdir", 2)])
def test_an_undo_that_was_killed_is_finished_by_the_next_and_goes_no_further(
    store: Store, photos: Path, call: str, count: int
) -> None:
    before = snapshot(photos)
    in_place(store)
    decide(store, {"kite/stays.jpg": "owl"})
    between = snapshot(photos)
    in_place(store)
    run_killed("unlink", 3, "apply", "--undo", "--out", store.directory)
    take_back(store)
    assert snapshot(photos) == between
    run_killed(call, count, "apply", "--undo", "--out", store.directory)
    take_back(store)
    assert snapshot(photos) == before


def test_a_line_that_a_power_cut_left_half_written_is_passed_over_and_ends_before_the_next(
    store: Store, photos: Path
) -> None:
    before = snapshot(photos)
    in_place(store)
    file = store.directory / "applied.jsonl"
    file.write_bytes(file.read_bytes() + b'{"apply": "x", "what": "mo')
    decide(store, {"kite/stays.jpg": "owl"})
    in_place(store)
    take_back(store)
    take_back(store)
    assert snapshot(photos) == before


def test_applies_are_undone_one_by_one_the_newest_first(store: Store, photos: Path) -> None:
    before = snapshot(photos)
    in_place(store)
    between = snapshot(photos)
    decide(store, {"kite/stays.jpg": "owl"})
    applied = in_place(store)
    assert (applied.relabelled, applied.removed, applied.already) == (1, 0, RELABELLED + REMOVED)
    take_back(store)
    assert snapshot(photos) == between
    take_back(store)
    assert snapshot(photos) == before


def test_repeated_it_changes_nothing(store: Store, photos: Path) -> None:
    in_place(store)
    after = snapshot(photos)
    applied = in_place(store)
    assert (applied.relabelled, applied.removed, applied.already, applied.left_alone) == (
        0,
        0,
        RELABELLED + REMOVED,
        (),
    )
    assert snapshot(photos) == after


def test_a_decision_that_changed_after_it_was_applied_asks_for_the_undo_first(store: Store, photos: Path) -> None:
    in_place(store)
    decide(store, {"kite/1.jpg": "hawk"})
    after = snapshot(photos)
    left = in_place(store).left_alone
    assert [skipped.path for skipped in left] == ["kite/1.jpg"] and "gradattn apply --undo" in left[0].reason
    assert snapshot(photos) == after


def test_files_that_are_not_what_was_decided_about_are_left_alone(store: Store, photos: Path) -> None:
    write_files(photos, {"kite/1.jpg": "edited", "kite/2020/2.jpg": "edited too"})
    (photos / "kite" / "2.jpg").unlink()
    applied = in_place(store)
    assert applied.left_alone == (
        UntouchedFile("kite/1.jpg", "its content is not what the audit saw"),
        UntouchedFile("kite/2.jpg", "'2.jpg' does not exist."),
        UntouchedFile("kite/2020/2.jpg", "its content is not what the audit saw"),
    )
    assert (photos / "kite/1.jpg").read_bytes().endswith(b"edited")
    assert (photos / "kite/2020/2.jpg").exists() and not (photos / "kite/2020/3.jpg").exists()


def test_what_others_changed_since_is_not_overwritten_by_the_undo_and_tried_again_later(
    store: Store, photos: Path
) -> None:
    before = snapshot(photos)
    in_place(store)
    write_files(photos, {"owl/1.jpg": "edited since", "kite/2.jpg": "new at the old place"})
    (photos / "owl" / "3.jpg").rename(photos / "mine.jpg")
    undone = take_back(store)
    assert undone.files == RELABELLED + REMOVED - 3
    assert {skipped.path: skipped.reason.split(" ")[-2:] for skipped in undone.left_alone} == {
        "kite/1.jpg": ["changed", "since"],
        "kite/2.jpg": ["at", str(photos / "owl/2.jpg")],
        "kite/3.jpg": ["any", "more"],
    }
    assert (photos / "owl/1.jpg").read_bytes().endswith(b"edited since")
    assert (photos / "kite/2.jpg").read_bytes().endswith(b"new at the old place")
    assert take_back(store).files == 0
    (photos / "kite/2.jpg").unlink()
    assert take_back(store).files == 1
    (photos / "mine.jpg").rename(photos / "owl" / "3.jpg")
    write_files(photos, {"owl/1.jpg": "kite 1"})
    assert take_back(store).left_alone == ()
    assert snapshot(photos) == before


def test_what_cannot_be_taken_back_does_not_bar_the_way_to_the_apply_before(store: Store, photos: Path) -> None:
    before = snapshot(photos)
    in_place(store)
    decide(store, {"kite/stays.jpg": "owl"})
    in_place(store)
    (photos / "owl" / "stays.jpg").unlink()
    undone = take_back(store)
    assert (undone.files, [skipped.path for skipped in undone.left_alone]) == (RELABELLED + REMOVED, ["kite/stays.jpg"])
    lost = snapshot(photos)
    assert {path for path in before if path not in lost} == {"kite/stays.jpg"}
    assert all(before[path] == lost[path] for path in lost)


def test_a_file_where_a_class_folder_would_be_is_in_the_way_of_its_images_only(store: Store, photos: Path) -> None:
    (photos / "hawk").write_text("a file")
    before = snapshot(photos)
    applied = in_place(store)
    assert [skipped.path for skipped in applied.left_alone] == ["kite/2020/0.jpg"]
    assert "cannot be moved to" in applied.left_alone[0].reason and applied.relabelled == RELABELLED - 1
    take_back(store)
    assert snapshot(photos) == before


def test_a_folder_that_others_have_used_since_stays(store: Store, photos: Path) -> None:
    in_place(store)
    write_files(photos, {"hawk/new.jpg": "new"})
    assert take_back(store).left_alone == ()
    assert [path.name for path in (photos / "hawk").iterdir()] == ["new.jpg"]


def test_links_that_would_break_or_lead_out_of_the_dataset_stay(store: Store, photos: Path, tmp_path: Path) -> None:
    outside = write_files(tmp_path / "elsewhere", {f"{n}.jpg": f"kite {n}" for n in range(1, 5)})
    for number, to in {1: outside / "1.jpg", 2: Path("../../elsewhere/2.jpg"), 3: photos / "owl/3.jpg"}.items():
        (photos / f"kite/{number}.jpg").unlink()
        (photos / f"kite/{number}.jpg").symlink_to(to)
    write_files(photos, {"owl/3.jpg": "kite 3"})
    for number in (1, 2):
        (photos / "kite" / "2020" / f"{number}.jpg").unlink()
    (photos / "kite/2020/1.jpg").symlink_to("../../../elsewhere/1.jpg")
    write_files(outside, {"1.jpg": "kite 1"})
    before = snapshot(photos)
    applied = in_place(store)
    reasons = {skipped.path: skipped.reason for skipped in applied.left_alone}
    assert reasons["kite/3.jpg"] == "it is a link to another file of the dataset"
    assert (photos / "owl/1.jpg").is_symlink() and (photos / "owl/2.jpg").resolve() == outside / "2.jpg"
    take_back(store)
    assert snapshot(photos) == before and len(list(outside.iterdir())) == 4


def test_a_class_folder_that_is_a_link_out_of_the_dataset_is_left_alone(tmp_path: Path) -> None:
    root = write_files(tmp_path / "photos", {"owl/a.jpg": "a"})
    outside = write_files(tmp_path / "kites", {"b.jpg": "b"})
    (root / "kite").symlink_to(outside)
    store = audited(root, tmp_path / "out")
    decide(store, {"kite/b.jpg": "owl", "owl/a.jpg": "kite"})
    applied = in_place(store)
    assert [skipped.path for skipped in applied.left_alone] == ["kite/b.jpg", "owl/a.jpg"]
    assert all("a link that leaves the dataset" in skipped.reason for skipped in applied.left_alone)
    assert [path.name for path in outside.iterdir()] == ["b.jpg"]


def test_removed_files_cross_to_another_disk_and_come_back_whatever_was_killed(photos: Path, store: Store) -> None:
    out = Path("/dev/shm") / f"gradattn-{os.getpid()}"
    if not out.parent.is_dir() or out.parent.stat().st_dev == photos.stat().st_dev:
        pytest.skip("there is no second file system here")
    before = snapshot(photos)
    out.mkdir()
    try:
        (out / store.database.name).write_bytes(store.database.read_bytes())
        # Links and unlinks of files on the way between disks come in between.
        for call, count in (("link", 3), ("unlink", 4), ("fsync", 5)):
            run_killed(call, count, "apply", "--in-place", "--out", out)
            assert take_back(Store(out)).left_alone == ()
            assert snapshot(photos) == before, (call, count)
        in_place(Store(out))
        for call, count in (("link", 2), ("unlink", 7)):
            run_killed(call, count, "apply", "--undo", "--out", out)
        assert take_back(Store(out)).left_alone == ()
        assert snapshot(photos) == before
        applied = in_place(Store(out))
        assert applied.removed == len(list((out / "removed").rglob("*.jpg"))) == REMOVED
        take_back(Store(out))
        assert snapshot(photos) == before and not list(out.rglob("*.jpg")) + list(out.rglob(".part*"))
    finally:
        for path in sorted(out.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        out.rmdir()


def test_inside_the_dataset_the_removed_files_are_hidden_from_its_listing(tmp_path: Path) -> None:
    root = write_files(tmp_path / "photos", {"kite/a.jpg": "a", "kite/b.jpg": "b", "owl/c.jpg": "c"})
    store = audited(root, root / "gradattn-out")
    decide(store, {"kite/a.jpg": None})
    expected = corrected(store)
    in_place(store)
    assert labelled(root) == expected
    assert (root / "gradattn-out" / ".removed").is_dir()


@pytest.mark.parametrize("root", ["https://example.org/photos", "s3://bucket/photos", "{tmp}/photos.tar"])
def test_what_is_no_folder_or_manifest_here_is_refused(tmp_path: Path, photos: Path, store: Store, root: str) -> None:
    (tmp_path / "photos.tar").write_bytes(b"archive")
    elsewhere = root.format(tmp=tmp_path)
    there = audited(photos, tmp_path / "out2", root=elsewhere)
    decide(there, {"kite/0.jpg": "owl"})
    before = snapshot(photos)
    with pytest.raises(ApplyError, match="no folder of class folders and no manifest on this machine") as caught:
        in_place(there)
    assert elsewhere in str(caught.value) and "--to DIR or --manifest FILE" in str(caught.value)
    assert snapshot(photos) == before and not (there.directory / "applied.jsonl").exists()


def test_a_label_that_no_folder_can_hold_is_refused_before_anything_moves(store: Store, photos: Path) -> None:
    decide(store, {"kite/stays.jpg": "very long " * 30})
    before = snapshot(photos)
    with pytest.raises(ApplyError, match="too long"):
        in_place(store)
    assert snapshot(photos) == before and not (store.directory / "applied.jsonl").exists()


def test_what_version_0_1_has_applied_is_undone(tmp_path: Path) -> None:
    """The journal's lines are spelled out: they lie in output folders of others."""
    root = write_files(tmp_path / "photos", {"owl/a.jpg": "a", "owl/c.jpg": "c"})
    out = tmp_path / "out"
    removed = write_files(out / "removed" / "20261101T101112.000131", {"kite/b.jpg": "b"}) / "kite" / "b.jpg"
    kept = out / "manifests" / "20261102T101112.000131-list.csv"
    kept.parent.mkdir()
    kept.write_text("path,label\na.jpg,kite\n")
    (root / "list.csv").write_text("path,label\na.jpg,owl\n")
    hashes = [content_hash(file.read_bytes()) for file in (root / "owl/a.jpg", removed, kept, root / "list.csv")]
    first, second = '{"apply": "20261101T101112.000131", ', '{"apply": "20261102T101112.000131", '
    (out / "applied.jsonl").write_text(
        f'''{first}"what": "begin", "audit_id": "first", "root": "{root}"}}
{first}"what": "folder", "folder": "{root}/owl"}}
{first}"what": "folder", "folder": "{removed.parent}"}}
{first}"what": "move", "number": 1, "path": "kite/a.jpg", "old": "{root}/kite/a.jpg", "new": "{root}/owl/a.jpg", '''
        f'''"label": "owl", "content_hash": "{hashes[0]}"}}
{first}"what": "move", "number": 2, "path": "kite/b.jpg", "old": "{root}/kite/b.jpg", "new": "{removed}", '''
        f'''"label": null, "content_hash": "{hashes[1]}"}}
{{"what": "end", "apply": "20261101T101112.000131"}}
{second}"what": "begin", "audit_id": "second", "root": "{root}"}}
{second}"what": "rewrite", "file": "{root}/list.csv", "kept": "{kept}", "before": "{hashes[2]}", '''
        f'''"after": "{hashes[3]}"}}
{{"what": "end", "apply": "20261102T101112.000131"}}
'''
    )
    assert undo(out, ignored) == UndoResult("second", 1)
    assert (root / "list.csv").read_bytes() == kept.read_bytes()
    assert undo(out, ignored) == UndoResult("first", 2)
    assert sorted(path.relative_to(root).as_posix() for path in root.rglob("*.jpg")) == [
        "kite/a.jpg", "kite/b.jpg", "owl/c.jpg"
    ]  # fmt: skip
    with pytest.raises(ApplyError, match="nothing was applied in place, or all of it was undone"):
        undo(out, ignored)


def test_a_journal_that_is_none_is_refused(store: Store) -> None:
    file = store.directory / "applied.jsonl"
    for content in ('{"apply": "x", "what": "dance"}\n', "[1, 2]\n", '{"what": "begin"}\n'):
        file.write_text("\n" + content)
        with pytest.raises(ApplyError, match=r"applied\.jsonl, line 2 is none that gradattn apply writes"):
            take_back(store)


@pytest.mark.parametrize("how", [{"label_depth": "2"}, {"merge_spellings": True}], ids=["depth", "spellings"])
def test_labels_that_do_not_stand_in_the_dataset_are_not_changed_in_it(tmp_path: Path, how: dict[str, Any]) -> None:
    files = {"birds/kite/a.jpg": "a", "birds/owl/b.jpg": "b", "Birds/kite/c.jpg": "c", "cats/kite/d.jpg": "d"}
    photos = write_files(tmp_path / "photos", files)
    before = snapshot(photos)
    store = audited(photos, tmp_path / "out", **how)
    decide(store, {"birds/kite/a.jpg": "owl" if "label_depth" in how else "cats"})
    with pytest.raises(ApplyError, match=r"was audited with --(label-depth|merge-spellings), .* give --to DIR"):
        in_place(store)
    assert snapshot(photos) == before
    applied = make_tree(corrections_of(store), tmp_path / "new", "symlink", ignored)
    assert (applied.relabelled, applied.as_before) == (1, 3)
    assert labelled(tmp_path / "new") == corrected(store)
