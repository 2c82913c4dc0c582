"""Which images a manifest lists: every form, exact labels, rows that cannot be used, and files that are refused."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from gradattn_core.dataset.listing import list_dataset
from gradattn_core.records import Failure, ImageRecord
from tests.helpers.dataset_files import reasons, refusal, rows, touch


def write(file: Path, columns: Sequence[str], table: Sequence[Sequence[Any]]) -> Path:
    frame = pd.DataFrame([list(row) for row in table], columns=list(columns))
    if file.suffix == ".parquet":
        frame.to_parquet(file, index=False)
    elif file.suffix == ".jsonl":
        lines = [json.dumps(dict(zip(columns, row, strict=True))) for row in table]
        file.write_text("\n".join(lines) + "\n\n", encoding="utf-8")
    else:
        frame.to_csv(file, index=False, sep="\t" if file.suffix == ".tsv" else ",")
    return file


FORMS = [".csv", ".tsv", ".parquet", ".jsonl"]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_manifest_lists_the_same(tmp_path: Path, form: str) -> None:
    outside = touch(tmp_path / "outside", "o.jpg") / "o.jpg"
    root = touch(tmp_path / "set", "img/1.jpg", "img/2.jpg", 'img/ä,"b".jpg')
    (root / "img" / "1.jpg").write_bytes(b"123")
    table = [
        ("img/2.jpg", "dog"),
        ("./img/sub/../1.jpg", "cat"),
        ('img/ä,"b".jpg', "NA"),
        (str(outside), "null"),
        ("../outside/o.jpg", "null"),
        (str(root / "img" / "2.jpg"), "wolf"),
        ("img/gone.jpg", "cat"),
        ("img", "cat"),
        ("img/1.jpg", "cat"),
    ]
    manifest = write(root / f"m{form.upper()}" if form == ".csv" else root / f"m{form}", ("path", "label"), table)
    listing = list_dataset(manifest)
    assert listing.root == str(root.resolve())
    assert rows(listing) == [
        (outside.as_posix(), "null"),
        ("img/1.jpg", "cat"),
        ("img/2.jpg", "dog"),
        ('img/ä,"b".jpg', "NA"),
    ]
    stored = (root / "img" / "1.jpg").stat()
    assert listing.images[1] == ImageRecord("img/1.jpg", "cat", 3, stored.st_mtime_ns)
    assert listing.failures == (
        Failure(outside.as_posix(), "list", "duplicate row", "null"),
        Failure("img/2.jpg", "list", "listed as 'dog' (kept) and as 'wolf'", "wolf"),
        Failure("img/gone.jpg", "list", "the file does not exist", "cat"),
        Failure("img", "list", "a folder, not a file", "cat"),
        Failure("img/1.jpg", "list", "duplicate row", "cat"),
    )


@pytest.mark.parametrize("form", FORMS)
def test_columns_and_split_are_selectable(tmp_path: Path, form: str) -> None:
    touch(tmp_path, "1.jpg", "2.jpg", "3.jpg", "4.jpg")
    columns = ("file name", "class", "set")
    table = [("1.jpg", "cat", "train"), ("2.jpg", "dog", "train"), ("3.jpg", "dog", "test"), ("4.jpg", "cat", None)]
    names: dict[str, Any] = {"path_column": "file name", "label_column": "class", "split_column": "set"}
    manifest = write(tmp_path / f"m{form}", columns, table)
    assert rows(list_dataset(manifest, split="train", **names)) == [("1.jpg", "cat"), ("2.jpg", "dog")]
    assert len(list_dataset(manifest, **names).images) == 4
    message = refusal(manifest, split="Trian", **names)
    assert "has no split 'Trian'; column 'set' has '', 'test', 'train'. Did you mean 'train'?" in message
    message = refusal(manifest, **(names | {"label_column": "Klass"}))
    assert "has no column 'Klass'; its columns are 'file name', 'class', 'set'. Did you mean 'class'?" in message
    assert "has no column 'split'" in refusal(manifest, split="train", **(names | {"split_column": "split"}))


@pytest.mark.parametrize("form", FORMS)
def test_missing_paths_and_labels_are_failures(tmp_path: Path, form: str) -> None:
    touch(tmp_path, "1.jpg", "2.jpg", "3.jpg", "4.jpg")
    table = [("1.jpg", "cat"), ("2.jpg", "dog"), ("3.jpg", None), ("4.jpg", "  "), (None, "cat"), ("", "cat")]
    listing = list_dataset(write(tmp_path / f"m{form}", ("path", "label"), table))
    assert rows(listing) == [("1.jpg", "cat"), ("2.jpg", "dog")]
    assert [failure.reason for failure in listing.failures] == ["the row has no label"] * 2 + [
        "the row has no path"
    ] * 2
    first = 6 if form in (".csv", ".tsv") else 5
    unit = "row" if form == ".parquet" else "line"
    assert [failure.path for failure in listing.failures] == [
        "3.jpg",
        "4.jpg",
        f"m{form} {unit} {first}",
        f"m{form} {unit} {first + 1}",
    ]


def test_text_labels_are_taken_exactly(tmp_path: Path) -> None:
    labels = ["001", "1", "1.0", "1e3", "NA", "nan", "null", "None", "True", " padded ", "N/A", "-0", "1_000"]
    touch(tmp_path, *(f"{index}.jpg" for index in range(len(labels))))
    table = [(f"{index}.jpg", label) for index, label in enumerate(labels)]
    for form in FORMS:
        listing = list_dataset(write(tmp_path / f"m{form}", ("path", "label"), table))
        assert {image.path: image.label for image in listing.images} == dict(table)


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pd.Series([1, 10, 2**60], dtype="int64"), ["1", "10", str(2**60)]),
        (pd.Series([1, 10, None], dtype="float64"), ["1", "10", None]),
        (pd.Series([1, 10, None], dtype="Int16"), ["1", "10", None]),
        (pd.Series([0.5, 10, float("nan")], dtype="float64"), ["0.5", "10", None]),
        (pd.Series(["x", "007", None], dtype="category"), ["x", "007", None]),
        (pd.Series([b"x", b"y", b"\xff"], dtype="object"), ["x", "y", None]),
        (pd.Series([True, False, None], dtype="object"), ["True", "False", None]),
        (pd.Series([["x"], ["y"], []], dtype="object"), ["x", "y", None]),
    ],
    ids=["int", "int with gaps as float", "nullable int", "float", "category", "bytes", "bool", "list"],
)
def test_typed_parquet_labels_become_plain_text(
    tmp_path: Path, column: pd.Series[Any], expected: list[str | None]
) -> None:
    paths = [f"{index}.jpg" for index in range(5)]
    touch(tmp_path, *paths)
    typed, text = tmp_path / "typed.parquet", tmp_path / "text.parquet"
    pd.DataFrame({"path": paths[:3], "label": column}).to_parquet(typed, index=False)
    usable = [(path, label) for path, label in zip(paths, expected, strict=False) if label is not None]
    assert rows(list_dataset(typed)) == usable
    # and they are the same labels as when the table holds text
    pd.DataFrame(usable, columns=["path", "label"]).to_parquet(text, index=False)
    assert list_dataset(typed).images == list_dataset(text).images


def test_numbers_in_json_become_plain_text(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{index}.jpg" for index in range(4)))
    lines = ['{"path": "0.jpg", "label": 7}', '{"path": "1.jpg", "label": 7.0}', '{"path": "2.jpg", "label": 0.5}']
    lines.append('{"path": "3.jpg", "label": NaN}')
    (tmp_path / "m.jsonl").write_text("\n".join(lines))
    listing = list_dataset(tmp_path / "m.jsonl")
    assert rows(listing) == [("0.jpg", "7"), ("1.jpg", "7"), ("2.jpg", "0.5")]
    assert reasons(listing) == {"3.jpg": "the row has no label"}


def test_broken_json_lines_are_failures(tmp_path: Path) -> None:
    touch(tmp_path, "1.jpg", "2.jpg")
    lines = ['{"path": "1.jpg", "label": "cat"}', "{oops", '["a"]', '{"path": "2.jpg", "label": "dog"}', "[" * 100_000]
    lines += ['{"path": "\\ud800.jpg", "label": "x"}', '{"path": "1.jpg\\u0000", "label": "x"}']
    (tmp_path / "m.jsonl").write_text("\n".join(lines))
    listing = list_dataset(tmp_path / "m.jsonl")
    assert len(listing.images) == 2
    assert reasons(listing) == {
        "m.jsonl line 2": "the line is not JSON",
        "m.jsonl line 3": "the line is not a JSON object",
        "m.jsonl line 5": "the line is not JSON",
        "\\ud800.jpg": "the row is not valid UTF-8",
        "1.jpg\0": "cannot be read: embedded null byte",
    }


@pytest.mark.parametrize(
    "data",
    [
        b"path;label\r\n1.jpg;a,b\r\n2.jpg;dog\r\n",
        b"path\tlabel\n1.jpg\ta,b\n2.jpg\tdog\n",
        '\ufeffpath,label\n1.jpg,"a,b"\n\n2.jpg,dog,\n'.encode(),
        'path,label\n1.jpg,"a,b"\n2.jpg,dog'.encode("utf-16"),
        'path,label\n1.jpg,"a,b"\n2.jpg,dog'.encode("utf-16-le"),
        'path,label\n1.jpg,"a,b"\n2.jpg,dog'.encode("utf-16-be"),
        'path,label\n1.jpg,"a,b"\n2.jpg,dog'.encode("utf-32"),
        b'\r\n# made by us, today\nsep=;\n\npath;label\n1.jpg;"a,b"\n2.jpg;dog\n',
        gzip.compress(b'path,label\n1.jpg,"a,b"\n2.jpg,dog\n'),
    ],
    ids=[
        *("semicolons", "tabs", "byte order mark", "utf-16", "utf-16 without mark", "utf-16 big without mark"),
        *("utf-32", "lines before", "gzipped under another name"),
    ],
)
def test_csv_as_spreadsheets_write_it(tmp_path: Path, data: bytes) -> None:
    touch(tmp_path, "1.jpg", "2.jpg")
    (tmp_path / "m.csv").write_bytes(data)
    listing = list_dataset(tmp_path / "m.csv")
    assert rows(listing) == [("1.jpg", "a,b"), ("2.jpg", "dog")]
    assert listing.failures == ()


def test_csv_rows_of_other_width_or_encoding_are_failures(tmp_path: Path) -> None:
    touch(tmp_path, "1.jpg", "2.jpg", "3.jpg", "4.jpg")
    (tmp_path / "m.csv").write_bytes(b"path,label\n1.jpg,cat\n2.jpg,dog\n3.jpg,cat, big\n4.jpg\ncaf\xe9.jpg,cat\n")
    listing = list_dataset(tmp_path / "m.csv")
    assert len(listing.images) == 2
    assert reasons(listing) == {
        "m.csv line 4": "the row has 3 fields, the header 2: quote the comma in a field",
        "4.jpg": "the row has no label",
        "caf\\udce9.jpg": "the row is not valid UTF-8",
    }


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("m.csv", b"", "has no column 'path'; it is empty"),
        ("m.csv", b"\x89PNG\r\n\x1a\n\0\0", "has no column 'path'"),
        ("m.csv", b'path,label\n1.jpg,"cat\n', "line 2: a quote is opened that nothing closes"),
        ("m.csv", b"path,label,label\n1.jpg,a,b\n", "has several columns 'label'"),
        ("m.csv", b"path,label\n", "has no usable images"),
        ("m.csv", b"\xff\xfep", "cannot be read as a manifest"),
        ("m.parquet", b"PAR1 nonsense PAR1", "cannot be read as Parquet"),
        ("m.parquet", b"", "cannot be read as Parquet"),
        ("m.jsonl", b"", "has no column 'path'; it is empty"),
        ("m.jsonl", b'[{"path": 1}]', "has no column 'label'; its columns are 'path'. --label-column names another."),
        ("m.json", b'"text"', "is JSON and no table"),
        ("m.json", b"[1, 2, 3]", "holds no JSON object (m.json entry 1: it is not a JSON object)"),
        ("m.jsonl", b"[" * 100_000, "holds no JSON object (m.jsonl line 1: the line is not JSON)"),
        ("m.csv", b"1.jpg,cat\n2.jpg,dog\n", "its first line must name the columns, such as path,label"),
        ("m.csv", b"path,label,label\n1.jpg,a,b\n", "has several columns 'label'"),
        ("m.csv.gz", b"path,label\n", "there is no row below its columns 'path', 'label'"),
        ("m.json", b'[{"path": "1.jpg", "label": "x"},\n]', "is broken JSON (line 2 column 1: "),
        ("m.jsonl", b'{"paths": "1.jpg", "label": "x"}', "Did you mean 'paths'?"),
    ],
)
def test_an_unusable_manifest_is_refused(tmp_path: Path, name: str, data: bytes, reason: str) -> None:
    (tmp_path / name).write_bytes(data)
    assert reason in refusal(tmp_path / name)


def test_a_manifest_of_one_class_or_of_missing_files_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "1.jpg")
    manifest = write(tmp_path / "m.csv", ("path", "label"), [("1.jpg", "cat"), ("2.jpg", "dog")])
    assert "has one class only, 'cat'" in refusal(manifest)
    (tmp_path / "1.jpg").unlink()
    message = refusal(manifest)
    assert "has no usable images" in message
    assert f"looked for as paths and by their names below '{tmp_path}'; the first: '1.jpg'" in message
    assert "--image-root" in message and "--path-column; the columns are 'path', 'label'." in message


def test_a_linked_manifest_resolves_paths_against_the_links_folder(tmp_path: Path) -> None:
    touch(tmp_path / "set", "1.jpg", "2.jpg")
    stored = write(tmp_path / "cache.csv", ("path", "label"), [("1.jpg", "cat"), ("2.jpg", "dog")])
    (tmp_path / "set" / "m.csv").symlink_to(stored)
    assert len(list_dataset(tmp_path / "set" / "m.csv").images) == 2


def test_hostile_labels_stay_data(tmp_path: Path) -> None:
    touch(tmp_path, "1.jpg", "2.jpg")
    hostile = '=HYPERLINK("http://x")\n\'; DROP TABLE images;--<script>../../🦅'
    for form in FORMS:
        table = [("1.jpg", hostile), ("2.jpg", "dog"), ("2.jpg", hostile)]
        listing = list_dataset(write(tmp_path / f"m{form}", ("path", "label"), table))
        assert listing.images[0].label == hostile
        assert "\n" not in reasons(listing)["2.jpg"]


def test_columns_of_the_usual_names_may_have_capitals_and_blanks(tmp_path: Path) -> None:
    touch(tmp_path, "1.jpg", "2.jpg")
    (tmp_path / "m.csv").write_text("Path, LABEL ,Split\n1.jpg,cat,train\n2.jpg,dog,train\n")
    assert rows(list_dataset(tmp_path / "m.csv", split="train")) == [("1.jpg", "cat"), ("2.jpg", "dog")]
    assert "Did you mean 'Path'?" in refusal(tmp_path / "m.csv", path_column="PATH")
    (tmp_path / "m.csv").write_text("Path,PATH,label\n1.jpg,2.jpg,cat\n")
    assert "has no column 'path'" in refusal(tmp_path / "m.csv")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pipes.csv", "path|label\na.jpg|cat\nb.jpg|dog\n"),
        ("excel.csv", "sep=;\npath;label\na.jpg;cat\nb.jpg;dog\n"),
        ("quoted.csv", '\ufeff"sep=|"\r\npath|label\r\na.jpg|cat\r\nb.jpg|dog\r\n'),
        ("label_first.txt", "cat a.jpg\n# the second\ndog b.jpg\n"),
        ("path_first.lst", "a.jpg cat\nb.jpg dog\n"),
        ("by_class.json", '{"cat": ["a.jpg"], "dog": ["b.jpg"]}'),
        ("named.csv", "image,class\na.jpg,cat\nb.jpg,dog\n"),
        ("ids.csv", "id,Image_Name,Category\n7,a.jpg,cat\n8,b.jpg,dog\n"),
    ],
)
def test_tables_as_people_write_them_list_the_same(tmp_path: Path, name: str, text: str) -> None:
    root = touch(tmp_path, "a.jpg", "b.jpg")
    (root / name).write_text(text, "utf-8")
    assert rows(list_dataset(root / name)) == [("a.jpg", "cat"), ("b.jpg", "dog")]


def test_columns_of_usual_names_are_said_and_several_are_asked(tmp_path: Path) -> None:
    root = touch(tmp_path, "a.jpg", "b.jpg")
    (root / "one.csv").write_text("image,class\na.jpg,cat\nb.jpg,dog\n")
    assert [note.split(":")[0].replace("'", "") for note in list_dataset(root / "one.csv").notes] == [
        "one.csv has no column path",
        "one.csv has no column label",
    ]
    (root / "two.csv").write_text("image,class,species\na.jpg,cat,felis\nb.jpg,dog,canis\n")
    assert "--label-column names another" in refusal(root / "two.csv")
    (root / "odd.csv").write_text("sep=;\npath;label\na.jpg;cat\nb.jpg;dog\nc.jpg;dog;x\n")
    assert [failure.path for failure in list_dataset(root / "odd.csv").failures] == ["odd.csv line 5"]


def test_lists_of_mxnet_and_pairs_of_json_are_tables(tmp_path: Path) -> None:
    touch(tmp_path, "1.jpg", "2.jpg", "3.jpg")
    expected = [("1.jpg", "0"), ("2.jpg", "1"), ("3.jpg", "1")]
    (tmp_path / "m.lst").write_text("0\t0\t1.jpg\n1\t1\t2.jpg\n2\t1\t3.jpg\n")
    (tmp_path / "m.json").write_text(json.dumps([["1.jpg", 0], ["2.jpg", 1], ["3.jpg", 1]]))
    (tmp_path / "of.json").write_text(json.dumps({"labels": [["1.jpg", 0], ["2.jpg", 1], ["3.jpg", 1]]}))
    for name in ("m.lst", "m.json", "of.json"):
        assert rows(list_dataset(tmp_path / name)) == expected
