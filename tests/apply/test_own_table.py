"""Corrections of folders whose labels stand in a table beside the pictures, and of datasets that are gone."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gradattn_core.apply.tree import make_tree
from gradattn_core.cli import main
from gradattn_core.errors import ApplyError
from tests.helpers.reviewed_dataset import (
    audited,
    corrections_of,
    decide,
    ignored,
    in_place,
    labelled,
    snapshot,
    take_back,
    write_files,
)

FILES = {"cat/1.jpg": "1", "cat/2.jpg": "2", "cat/5.jpg": "5", "dog/3.jpg": "3", "dog/4.jpg": "4"}


def write_table(folder: Path, form: str, labels: dict[str, str]) -> None:
    rows = [{"file_name": path, "label": label} for path, label in labels.items()]
    if form == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), folder / "metadata.parquet")
    elif form == "jsonl":
        (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        text = "".join(f"{row['file_name']},{row['label']}\n" for row in rows)
        (folder / "metadata.csv").write_text(f"file_name,label\n{text}")


@pytest.mark.parametrize(
    ("form", "is_flat", "split"),
    [("csv", False, None), ("jsonl", True, None), ("parquet", False, "train"), ("csv", True, "train")],
)
def test_a_table_in_the_folder_is_what_is_corrected(
    tmp_path: Path, form: str, is_flat: bool, split: str | None
) -> None:
    labels = {(path.replace("/", "-") if is_flat else path): path[:3] for path in FILES}
    folder = tmp_path / "set" / (split or "")
    write_files(folder, dict(zip(labels, FILES.values(), strict=True)))
    write_table(folder, form, labels)
    store = audited(tmp_path / "set", tmp_path / "out", **({} if split is None else {"split": split}))
    first, second, *_ = labels
    decide(store, {first: "dog", second: None})
    before, expected = snapshot(tmp_path / "set"), dict(labelled(folder))
    applied = in_place(store)
    assert (applied.relabelled, applied.removed, applied.left_alone) == (1, 1, ())
    after = labelled(folder)
    assert len(after) == 4 and sum(expected[content] != label for content, label in after) == 1
    changed = {path for path, content in snapshot(tmp_path / "set").items() if before[path] != content}
    assert {Path(path).name for path in changed} == {f"metadata.{form}"}
    take_back(store)
    assert snapshot(tmp_path / "set") == before


def test_a_dataset_that_is_gone_is_refused_and_nothing_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = write_files(tmp_path / "photos", FILES)
    store = audited(photos, tmp_path / "out")
    decide(store, {"cat/1.jpg": "dog"})
    photos.rename(tmp_path / "moved")
    out = ["--out", str(tmp_path / "out")]
    for way in (["--to", str(tmp_path / "new")], ["--in-place"], ["--dry-run"]):
        assert main(["apply", *way, *out]) == 2
        said = capsys.readouterr().err
        assert f"{photos}: there is no such folder or file any more" in said and "give --data-root DIR" in said
        assert main(["apply", *way, *out, "--data-root", "/nope"]) == 2
        assert "--data-root /nope: there is no such folder" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
    assert main(["apply", "--to", str(tmp_path / "new"), *out, "--data-root", str(tmp_path / "moved")]) == 0
    assert (tmp_path / "new/dog/1.jpg").exists()


def test_a_picture_that_is_gone_was_not_copied(tmp_path: Path) -> None:
    photos = write_files(tmp_path / "photos", FILES)
    store = audited(photos, tmp_path / "out")
    (photos / "cat/1.jpg").unlink()
    made = make_tree(corrections_of(store), tmp_path / "new", "symlink", ignored)
    assert made.notes == () and [file.path for file in made.left_alone] == ["cat/1.jpg"]


def test_a_label_that_names_no_folder_is_said_in_place_too(tmp_path: Path) -> None:
    store = audited(write_files(tmp_path / "photos", FILES), tmp_path / "out")
    decide(store, {"cat/1.jpg": "a/b", "cat/2.jpg": "dog"})
    [note] = in_place(store).notes
    assert note.startswith("'a/b' names no folder, so it is in 'a%2Fb'")
    assert (tmp_path / "photos/a%2Fb/1.jpg").exists()


def test_a_moved_archive_is_refused_too(tmp_path: Path) -> None:
    store = audited(write_files(tmp_path / "photos", FILES), tmp_path / "out", root=f"zip://::{tmp_path}/gone.zip")
    with pytest.raises(ApplyError, match=r"gone\.zip: there is no such folder or file"):
        make_tree(corrections_of(store), tmp_path / "new", "copy", ignored)
