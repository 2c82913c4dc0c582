"""Tables whose pictures lie elsewhere or are written otherwise: what is found, what is said, what is never guessed."""

from __future__ import annotations

import gzip
import json
import unicodedata
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gradattn_core.dataset.decoding import read_bytes
from gradattn_core.dataset.listing import list_dataset
from tests.helpers.dataset_files import reasons, refusal, rows, touch

Form = Literal["NFC", "NFD"]
LABELS = ("cat", "dog")


def table(file: Path, paths: Mapping[str, str] | list[str], header: str = "path,label") -> Path:
    """A CSV of these paths, with labels by turns where none are given."""
    labelled = paths if isinstance(paths, Mapping) else {path: LABELS[at % 2] for at, path in enumerate(paths)}
    file.parent.mkdir(parents=True, exist_ok=True)
    quoted = (f'"{path}",{label}\n' for path, label in labelled.items())
    file.write_text(header + "\n" + "".join(quoted), encoding="utf-8")
    return file


SPELLINGS = {
    "backslashes": r"img\a 1.png",
    "a drive": r"C:\img\a 1.png",
    "from the root on": "/img/a 1.png",
    "escaped": "img/a%201.png",
    "without its ending": "img/a 1",
    "Label Studio, a local file": "/data/local-files/?d=img/a%201.png",
    "Label Studio with its host": "http://127.0.0.1:8080/data/local-files/?d=img%2Fa%201.png",
    "Label Studio on Windows": "/data/local-files/?d=img%5Ca%201.png",
    "with a point before": "./img//a 1.png",
    "blanks around": " img/a 1.png\t",
}


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS)
def test_other_spellings_of_a_path_are_found_and_said(tmp_path: Path, spelling: str) -> None:
    touch(tmp_path, "img/a 1.png", "img/b.png", "img/c.png")
    listing = list_dataset(table(tmp_path / "m.csv", [spelling, "img/b.png", "img/c.png"]))
    assert [path for path, _ in rows(listing)] == ["img/a 1.png", "img/b.png", "img/c.png"]
    if spelling != "./img//a 1.png":
        [note] = listing.notes
        assert "Of 3 paths in 'm.csv' 1 are no paths of files and were found in another spelling" in note
        assert note.endswith("is 'img/a 1.png'.")


@pytest.mark.parametrize(("there", "written"), [("NFD", "NFC"), ("NFC", "NFD")])
def test_accents_are_found_whether_they_are_signs_of_their_own_or_not(
    tmp_path: Path, there: Form, written: Form
) -> None:
    names = [unicodedata.normalize(there, name) for name in ("Käfer/é1.png", "Käfer/é2.png", "ours/å.png")]
    touch(tmp_path, *names)
    texts = [unicodedata.normalize(written, name) for name in names]
    assert [path for path, _ in rows(list_dataset(table(tmp_path / "m.csv", texts)))] == sorted(names)
    moved = table(tmp_path / "moved.csv", [f"/old/{text}" for text in texts])
    assert [path for path, _ in rows(list_dataset(moved))] == sorted(names)


def test_numbers_that_a_table_made_decimals_find_their_pictures(tmp_path: Path) -> None:
    touch(tmp_path, "img/0001.png", "img/0002.png", "img/10.png")
    found = list_dataset(table(tmp_path / "m.csv", ["1.0", "2.0", "10.0"], "id,label"), path_column="id")
    assert [path for path, _ in rows(found)] == ["img/0001.png", "img/0002.png", "img/10.png"]


@pytest.mark.parametrize("name", ["a1b2c3d4-owl.png", "owl.png"])
@pytest.mark.parametrize("project", ["", "12/"])
def test_what_was_uploaded_to_label_studio_is_found_with_and_without_its_hash(
    tmp_path: Path, name: str, project: str
) -> None:
    touch(tmp_path, "media/owl.png", f"media/{name}", "media/a.png", "media/b.png")
    uploads = [f"/data/upload/{project}a1b2c3d4-owl.png", f"/data/upload/{project}0f0f0f0f-a.png"]
    listing = list_dataset(table(tmp_path / "m.csv", uploads), image_root=str(tmp_path / "media"))
    assert listing.root == str(tmp_path / "media")
    assert [path for path, _ in rows(listing)] == sorted([name, "a.png"])


def test_pictures_in_another_folder_are_refused_with_where_they_seem_to_lie(tmp_path: Path) -> None:
    touch(tmp_path, *(f"set/images/{number}.jpg" for number in range(6)))
    manifest = table(tmp_path / "set/data/legend.csv", [f"{number}.jpg" for number in range(6)])
    message = refusal(manifest)
    assert f"below '{tmp_path}/set/data'" in message
    assert f"They seem to lie in '{tmp_path}/set/images': say --image-root with it." in message
    assert len(list_dataset(manifest, image_root=str(tmp_path / "set/images")).images) == 6


@pytest.mark.parametrize("ending", ["png", ".png"])
def test_ids_are_found_in_subfolders_and_the_kind_of_file_is_asked_where_there_are_two(
    tmp_path: Path, ending: str
) -> None:
    touch(tmp_path, *(f"set 1/{number:03d}.{kind}" for number in range(1, 7) for kind in ("bmp", "png")))
    manifest = table(tmp_path / "classes.csv", [str(number) for number in range(1, 7)], "path,label")
    message = refusal(manifest)
    assert "it may be 'set 1/001.bmp' or 'set 1/001.png'" in message and "--image-ending" in message
    listing = list_dataset(manifest, image_ending=ending)
    assert [path for path, _ in rows(listing)] == [f"set 1/{number:03d}.png" for number in range(1, 7)]
    assert "by name below" in listing.notes[0] and "'1' is 'set 1/001.png'" in listing.notes[0]


def test_a_missing_picture_among_others_is_not_taken_for_one_of_its_name(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.png", "a/2.png", "a/3.png", "b/4.png")
    listing = list_dataset(table(tmp_path / "m.csv", ["a/1.png", "a/2.png", "a/3.png", "a/4.png"]))
    assert reasons(listing) == {"a/4.png": "the file does not exist"} and not listing.notes


def test_pictures_of_another_split_and_of_two_rows_are_not_guessed(tmp_path: Path) -> None:
    touch(tmp_path, "train/cat/1.png", "train/cat/2.png", "train/dog/3.png")
    assert "does not exist" in refusal(table(tmp_path / "m.csv", ["val/cat/1.png", "val/cat/2.png", "val/dog/3.png"]))
    touch(tmp_path / "flat", "1.png", "2.png", "3.png")
    paths = ["a/1.png", "b/1.png", "a/2.png", "b/3.png"]
    listing = list_dataset(table(tmp_path / "n.csv", paths), image_root=str(tmp_path / "flat"))
    assert [path for path, _ in rows(listing)] == ["2.png", "3.png"]
    assert all("other rows seem to mean '1.png'" in reason for reason in reasons(listing).values())


def test_pictures_in_an_archive_and_of_a_bucket_that_was_copied(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "pictures.zip", "w") as archive:
        for number in range(4):
            archive.writestr(f"all/{number}.png", f"picture {number}")
    buckets = [f"s3://bucket/photos/{number}.png" for number in range(4)]
    for paths in ([f"{number}.png" for number in range(4)], [f"all/{number}" for number in range(4)], buckets):
        listing = list_dataset(table(tmp_path / "m.csv", paths), image_root=str(tmp_path / "pictures.zip"))
        assert [path for path, _ in rows(listing)] == [f"all/{number}.png" for number in range(4)]
        assert read_bytes(listing.root, listing.images[2].path) == b"picture 2"
    assert "does not exist" in refusal(tmp_path / "m.csv", image_root=str(tmp_path / "pictures.rar"))


def test_a_table_from_elsewhere_opens_nothing_but_what_lies_below_the_folder_somebody_chose(tmp_path: Path) -> None:
    import fsspec  # type: ignore[import-untyped]

    touch(tmp_path, "secret.png", "photos/1.png", "photos/2.png")
    text = f"path,label\n1.png,cat\n2.png,dog\n{tmp_path}/secret.png,cat\n../secret.png,dog\n"
    fsspec.filesystem("memory").pipe_file("/lookup/m.csv", text.encode())
    listing = list_dataset("memory://lookup/m.csv", image_root=str(tmp_path / "photos"))
    assert [path for path, _ in rows(listing)] == ["1.png", "2.png"]
    assert all("not opened" in reason for reason in reasons(listing).values()) and len(listing.failures) == 2


DOCUMENTS = {
    "m.json": json.dumps([{"path": "1.png", "label": "cat"}, {"path": "2.png", "label": "dog"}]),
    "lines.json": '{"path": "1.png", "label": "cat"}\n{"path": "2.png", "label": "dog"}\n',
    "array.jsonl": '[{"path": "1.png", "label": "cat"},\n {"path": "2.png", "label": "dog"}]',
    "m.ndjson": '{"path": "1.png", "label": "cat"}\n\n{"path": "2.png", "label": "dog"}',
    "data.json": json.dumps({"v": 1, "data": [{"path": "1.png", "label": "cat"}, {"path": "2.png", "label": "dog"}]}),
    "mapping.json": json.dumps({"1.png": "cat", "2.png": "dog"}),
    "columns.json": json.dumps({"path": ["1.png", "2.png"], "label": ["cat", "dog"]}),
    "pandas.json": json.dumps({"path": {"0": "1.png", "1": "2.png"}, "label": {"0": "cat", "1": "dog"}}),
    "index.json": json.dumps({"1.png": {"label": "cat"}, "2.png": {"label": ["dog"]}}),
    "blanks.txt": "1.png cat\n# a comment\n2.png dog\n",
    "tabs.lst": "1.png\tcat\n2.png\tdog\n",
    "commas.txt": "1.png,cat\n2.png,dog\n",
    "m.csv": "path,label\n1.png,cat\n2.png,dog\n",
    "m.tsv": "path\tlabel\n1.png\tcat\n2.png\tdog\n",
}


@pytest.mark.parametrize("name", DOCUMENTS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_every_form_of_text_lists_the_same_gzipped_too(tmp_path: Path, name: str, encoding: str) -> None:
    touch(tmp_path, "1.png", "2.png")
    content = DOCUMENTS[name].encode(encoding)
    (tmp_path / name).write_bytes(content)
    (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content))
    for file in (name, f"{name}.gz"):
        assert rows(list_dataset(tmp_path / file)) == [("1.png", "cat"), ("2.png", "dog")]


def test_label_studios_own_json_has_nested_columns(tmp_path: Path) -> None:
    touch(tmp_path, "1.png", "2.png", "3.png")
    tasks = [
        {
            "data": {"image": f"/data/upload/3/0a1b2c3d-{name}"},
            "annotations": [{"result": [{"value": {"choices": labels}}]}],
        }
        for name, labels in (("1.png", ["cat"]), ("2.png", ["dog"]), ("3.png", ["cat", "dog"]))
    ]
    (tmp_path / "project.json").write_text(json.dumps(tasks))
    assert "'data.image', 'annotations.result.value.choices'" in refusal(tmp_path / "project.json")
    choices = "annotations.result.value.choices"
    listing = list_dataset(tmp_path / "project.json", path_column="data.image", label_column=choices)
    assert rows(listing) == [("1.png", "cat"), ("2.png", "dog")]
    [reason] = reasons(listing).values()
    assert reason == "several labels, 'cat', 'dog': an audit is of one label for each picture"


@pytest.mark.parametrize(("yes", "no"), [("1", "0"), ("1.0", "0.0"), ("True", "False"), ("1", "")])
def test_a_column_for_each_class_is_a_label(tmp_path: Path, yes: str, no: str) -> None:
    touch(tmp_path, *(f"ISIC_{number}.jpg" for number in range(40)))
    lines = ["image,MEL,NV,BCC"]
    for number in range(39):
        lines.append(f"ISIC_{number}," + ",".join(yes if number % 3 == at else no for at in range(3)))
    (tmp_path / "truth.csv").write_text("\n".join([*lines, f"ISIC_39,{no},{no},{no}"]))
    listing = list_dataset(tmp_path / "truth.csv", path_column="image")
    assert listing.classes == ["BCC", "MEL", "NV"] and listing.images[0].label == "MEL"
    assert "has a column for each class, 'MEL', 'NV', 'BCC'" in listing.notes[0]
    assert list(reasons(listing).values()) == ["the row has no label"]
    assert list_dataset(tmp_path / "truth.csv", path_column="image", label_column="NV,BCC").classes == ["BCC", "NV"]


def test_columns_that_say_more_than_one_class_are_asked_about(tmp_path: Path) -> None:
    touch(tmp_path, "1.png", "2.png", "3.png")
    (tmp_path / "m.csv").write_text("path,cat,dog,outdoors\n1.png,1,0,1\n2.png,0,1,0\n3.png,1,1,0\n")
    message = refusal(tmp_path / "m.csv")
    assert "columns of 0 and 1, 'cat', 'dog', 'outdoors', give several labels to 2 of 3 rows" in message
    assert "the first of them m.csv line 2 ('cat', 'outdoors')" in message and "--label-column" in message
    listing = list_dataset(tmp_path / "m.csv", label_column="cat, dog")
    assert rows(listing) == [("1.png", "cat"), ("2.png", "dog")]
    assert "several labels, 'cat', 'dog'" in reasons(listing)["3.png"]


def test_parquet_of_paths_alone_is_a_table_of_paths(tmp_path: Path) -> None:
    touch(tmp_path, "img/1.png", "img/2.png")
    cells: list[dict[str, object]] = [{"bytes": None, "path": f"img/{number}.png"} for number in (1, 2)]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    pq.write_table(pa.table({"image": pa.array(cells, kind), "label": ["cat", "dog"]}), tmp_path / "m.parquet")
    assert rows(list_dataset(tmp_path / "m.parquet")) == [("img/1.png", "cat"), ("img/2.png", "dog")]
    cells[0]["bytes"] = b"\x89PNG"
    pq.write_table(pa.table({"image": pa.array(cells, kind), "label": ["cat", "dog"]}), tmp_path / "n.parquet")
    assert [path for path, _ in rows(list_dataset(tmp_path / "n.parquet"))] == ["n.parquet#0", "n.parquet#1"]


ODD = ["foo://bar/x.png", "gs://b/x.png", "smb://h/x/y.png", "reference://x", "dir://x", "dbfs://x/y", "jupyter://x"]
ODD += ["generic://x/y", "sftp://127.0.0.1/x.png", "git://x/y.png", "libarchive://x", "data://x", "zip://x::gone.zip"]


def test_one_odd_row_is_one_failure_and_names_the_package_it_needs(tmp_path: Path) -> None:
    touch(tmp_path, "1.png", "2.png")
    listing = list_dataset(table(tmp_path / "m.csv", ["1.png", "2.png", *ODD]))
    refused = reasons(listing)
    assert len(listing.images) == 2 and set(refused) == set(ODD)
    assert "paramiko" in refused["sftp://127.0.0.1/x.png"] and "smbprotocol" in refused["smb://h/x/y.png"]
    assert "pygit2" in refused["git://x/y.png"] and "libarchive-c" in refused["libarchive://x"]
    assert not any("a package" in reason or "__init__" in reason for reason in refused.values())


def test_a_csv_line_that_cannot_be_read_is_one_failure_that_names_it(tmp_path: Path) -> None:
    touch(tmp_path, "1.png", "2.png", "3.png")
    long = "x" * 200_000
    (tmp_path / "m.csv").write_text(f'path,label,mask\n1.png,cat,{long}\n"2.png"x,dog,\n3.png,dog,\n')
    listing = list_dataset(tmp_path / "m.csv")
    assert rows(listing) == [("1.png", "cat"), ("3.png", "dog")]
    assert "the line cannot be read" in reasons(listing)["m.csv line 3"]
