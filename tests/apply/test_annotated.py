"""Detection sets corrected as new ones: what is written says what was decided, and all else is as it was."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from gradattn_core.apply.annotated import coco_edited, write_annotations, write_coco
from gradattn_core.dataset.address import box_path
from gradattn_core.dataset.listing import list_dataset
from gradattn_core.errors import ApplyError
from gradattn_core.store.store import Store
from tests.helpers.annotated import LAYOUTS, coco_of, things, write_darknet, write_voc, zipped
from tests.helpers.annotated import write_coco as coco_set
from tests.helpers.command_line import run_here
from tests.helpers.reviewed_dataset import audited, corrections_of, decide, ignored, in_place, snapshot

DRAWN = things(4, wrong=[(0, 1)])


def wrong_path(store: Store) -> tuple[str, str]:
    """The box that was annotated as something else, and its true class."""
    thing = DRAWN[0].things[1]
    box = ",".join(map(str, thing.box))
    paths = [path for path in store.candidates.page("first")["path"] if f"{DRAWN[0].name}." in path]
    [path] = [path for path in paths if path.endswith(f"@{box}")]
    return path, thing.colour


def listed(source: Path) -> Counter[tuple[str, str]]:
    """Label and box below the name of its picture."""
    return Counter((image.label, image.path.replace("\\", "/")) for image in list_dataset(source).images)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_new_dataset_differs_in_what_was_decided_and_the_old_one_stays(tmp_path: Path, layout: str) -> None:
    root = LAYOUTS[layout](tmp_path / "set", DRAWN)
    before, was = snapshot(root), listed(root)
    store = audited(root, tmp_path / "out")
    wrong, truth = wrong_path(store)
    gone = next(path for path in store.candidates.page("first")["path"] if f"{DRAWN[2].name}." in path)
    decide(store, {wrong: truth, gone: None})
    applied = write_annotations(corrections_of(store), tmp_path / "new", "symlink", ignored)
    assert (applied.relabelled, applied.removed, applied.as_before, applied.left_alone) == (1, 1, 10, ())
    assert snapshot(root) == before
    now = listed(tmp_path / "new")
    given = DRAWN[0].things[1].label
    removed = next(label for label, path in was if path == gone)
    # Of Pascal VOC and YOLO a box's id is its place, which moves up where one before it goes.
    boxes = {(label, Path(path.rpartition("#")[0]).name, path.rpartition("@")[2]) for label, path in now}
    old = {(label, Path(path.rpartition("#")[0]).name, path.rpartition("@")[2]) for label, path in was}
    name, box = Path(wrong.rpartition("#")[0]).name, wrong.rpartition("@")[2]
    assert old - boxes == {(given, name, box), (removed, Path(gone.rpartition("#")[0]).name, gone.rpartition("@")[2])}
    assert boxes - old == {(truth, name, box)}
    assert {file.relative_to(tmp_path / "new") for file in (tmp_path / "new").rglob("*.jpg")} == {
        file.relative_to(root) for file in root.rglob("*.jpg")
    }
    again = write_annotations(corrections_of(store), tmp_path / "new", "symlink", ignored)
    assert (again.relabelled, again.removed) == (1, 1) and listed(tmp_path / "new") == now


def test_a_coco_file_keeps_all_but_the_corrected_annotations(tmp_path: Path) -> None:
    root = coco_set(tmp_path / "set", DRAWN)
    store = audited(root, tmp_path / "out")
    wrong, _ = wrong_path(store)
    other = next(path for path in store.candidates.page("first")["path"] if path != wrong)
    decide(store, {wrong: 'a "new" class </b>', other: None})
    write_coco(corrections_of(store), tmp_path / "corrected.json", ignored)
    was, now = coco_of(DRAWN), json.loads((tmp_path / "corrected.json").read_text())
    numbers = {path: int(part.annotation) for path in (wrong, other) if (part := box_path(path)) is not None}
    new = {"id": 31, "name": 'a "new" class </b>', "supercategory": ""}
    assert now["categories"] == [*was["categories"], new]
    expected = [dict(each) for each in was["annotations"] if each["id"] != numbers[other]]
    for each in expected:
        if each["id"] == numbers[wrong]:
            each["category_id"] = 31
    assert now["annotations"] == expected
    assert {key: now[key] for key in ("info", "licenses", "images")} == {
        key: was[key] for key in ("info", "licenses", "images")
    }


def test_the_command_writes_it_and_says_what_comes_next(tmp_path: Path) -> None:
    root = coco_set(tmp_path / "set", DRAWN)
    store = audited(root, tmp_path / "out")
    wrong, truth = wrong_path(store)
    decide(store, {wrong: truth})
    status, said = run_here("apply", "--manifest", tmp_path / "new.json", out=tmp_path / "out")
    assert status == 0 and "1 relabelled, 0 removed, 11 as they were" in said
    assert f"new.json --image-root {root}" in said
    assert len(list_dataset(tmp_path / "new.json", image_root=str(root)).images) == 12
    status, said = run_here("apply", "--manifest", tmp_path / "new.csv", out=tmp_path / "out")
    assert status == 2 and not (tmp_path / "new.csv").exists()
    status, said = run_here("apply", "--to", tmp_path / "new", out=tmp_path / "out")
    assert status == 0 and "1 file of annotations changed" in said
    (tmp_path / "set" / "extra.json").write_bytes((tmp_path / "new.json").read_bytes())
    assert {label for label, path in listed(tmp_path / "new") if path == wrong} == {truth}


def test_what_cannot_be_corrected_is_refused_or_left_alone_and_said(tmp_path: Path) -> None:
    root = write_darknet(tmp_path / "set", DRAWN)
    store = audited(root, tmp_path / "out")
    wrong, truth = wrong_path(store)
    decide(store, {wrong: "no such class"})
    with pytest.raises(ApplyError, match="in a new file and not in place"):
        in_place(store)
    with pytest.raises(ApplyError, match="not in one of COCO"):
        write_coco(corrections_of(store), tmp_path / "new.json", ignored)
    with pytest.raises(ApplyError, match="lies in the dataset"):
        write_annotations(corrections_of(store), root / "new", "copy", ignored)
    applied = write_annotations(corrections_of(store), tmp_path / "new", "copy", ignored)
    [left] = applied.left_alone
    assert left.path == wrong and "has no number among the classes" in left.reason
    decide(store, {wrong: truth})
    # The box was moved since: the decision is about a box that is not there any more.
    file = root / f"{DRAWN[0].name}.txt"
    lines = file.read_text().splitlines()
    lines[1] = f"{lines[1].split()[0]} 0.5 0.5 0.4 0.4"
    file.write_text("\n".join(lines))
    moved = write_annotations(corrections_of(store), tmp_path / "third", "copy", ignored)
    assert [each.reason for each in moved.left_alone] == ["there is no such box among the annotations any more"]
    assert moved.relabelled == 0


def test_a_dataset_in_an_archive_is_corrected_after_it_was_unpacked(tmp_path: Path) -> None:
    archive = zipped(write_voc(tmp_path / "set", DRAWN), tmp_path / "set.zip")
    store = audited(archive, tmp_path / "out")
    wrong, truth = wrong_path(store)
    decide(store, {wrong: truth})
    with pytest.raises(ApplyError, match="unpack it"):
        write_annotations(corrections_of(store), tmp_path / "new", "copy", ignored)


def test_a_new_class_takes_no_id_that_another_has_however_it_is_written() -> None:
    content: dict[str, list[dict[str, object]]] = {
        "images": [{"id": 1, "file_name": "half \ud800.jpg"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": "7"}],
        "categories": [{"id": "7", "name": "x"}, {"id": "8", "name": "two"}, {"id": 8, "name": "names"}],
    }
    written = coco_edited("a.json", json.dumps(content).encode(), {0: "two"})
    now = json.loads(written)
    [new] = [each["id"] for each in now["categories"] if each not in content["categories"]]
    assert new == 9 and now["annotations"][0]["category_id"] == 9 and now["images"] == content["images"]
    del content["categories"][2]
    now = json.loads(coco_edited("a.json", json.dumps(content).encode(), {0: "three"}))
    assert now["categories"][-1] == {"id": "9", "name": "three", "supercategory": ""}


def test_a_class_that_xml_cannot_hold_is_left_alone_and_said(tmp_path: Path) -> None:
    store = audited(write_voc(tmp_path / "set", DRAWN), tmp_path / "out")
    wrong, _ = wrong_path(store)
    decide(store, {wrong: "bell\x07"})
    applied = write_annotations(corrections_of(store), tmp_path / "new", "symlink", ignored)
    assert [each.path for each in applied.left_alone] == [wrong] and applied.relabelled == 0
    assert "in XML" in applied.left_alone[0].reason and listed(tmp_path / "new") == listed(tmp_path / "set")
