"""``apply --in-place`` of a manifest: what changes in the file, what stays to the byte, and the way back."""

from __future__ import annotations

import codecs
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gradattn_core.dataset.listing import list_dataset
from gradattn_core.errors import ApplyError
from gradattn_core.store.store import Store
from tests.helpers.hostile import HOSTILE
from tests.helpers.reviewed_dataset import audited, corrected, decide, in_place, labelled, take_back, write_files
from tests.helpers.signals import run_killed

NAMES = ("a", "b", "c", "d")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write_files(tmp_path / "photos", {f"{name}.jpg": name for name in (*NAMES, "other")})


def review(manifest: Path, new_label: str = "owl", **parameters: Any) -> Store:
    """a is relabelled, b removed, c and d stay."""
    store = audited(manifest, manifest.parent / "out", **parameters)
    decide(store, {"a.jpg": new_label, "b.jpg": None})
    return store


CSV = (
    'path,note,label\r\n./a.jpg,"quoted, and ""odd""","kite"\r\n"b.jpg",,kite\r\n\r\nc.jpg,"two\r\nlines",kite\r\n'
    "d.jpg,ü,hawk\r\nd.jpg,,hawk\r\ngone.jpg,,kite\r\nno label,,\r\n"
)
CORRECTED = CSV.replace('./a.jpg,"quoted, and ""odd""","kite"', './a.jpg,"quoted, and ""odd""",owl').replace(
    '"b.jpg",,kite\r\n', ""
)
WRITTEN: dict[str, tuple[str, Callable[[str], bytes]]] = {
    "crlf": ("list.csv", str.encode),
    "lf": ("list.csv", lambda text: text.replace("\r\n", "\n").encode()),
    "byte order mark": ("list.csv", lambda text: codecs.BOM_UTF8 + text.encode()),
    "utf-16": ("list.csv", lambda text: codecs.BOM_UTF16_LE + text.encode("utf-16-le")),
    "utf-16 without mark": ("list.csv", lambda text: text.encode("utf-16-le")),
    "lines before": ("list.csv", lambda text: ("# the third\r\n\r\n" + text).encode()),
    "utf-16 big": ("list.csv", lambda text: codecs.BOM_UTF16_BE + text.encode("utf-16-be")),
    "semicolons": ("list.csv", lambda text: text.replace(", ", "~").replace(",", ";").replace("~", ", ").encode()),
    "tabs": ("list.tsv", lambda text: text.replace(", ", "~").replace(",", "\t").replace("~", ", ").encode()),
    "for excel": (
        "list.csv",
        lambda text: ("sep=|\r\n" + text.replace(", ", "~").replace(",", "|").replace("~", ", ")).encode(),
    ),
    "other names": ("list.csv", lambda text: text.replace("path,note,label", "Image_ID,note,class").encode()),
    "no last line end": ("list.csv", lambda text: text.removesuffix("\r\n").encode()),
    "not utf-8": ("list.csv", lambda text: text.encode().replace("ü".encode(), b"\xfc")),
}


@pytest.mark.parametrize("written", list(WRITTEN))
def test_only_the_rows_that_were_decided_about_change(photos: Path, written: str) -> None:
    name, encode = WRITTEN[written]
    manifest = photos / name
    manifest.write_bytes(encode(CSV))
    manifest.chmod(0o640)
    store = review(manifest)
    applied = in_place(store)
    assert (applied.relabelled, applied.removed, applied.left_alone) == (1, 1, ())
    assert manifest.read_bytes() == encode(CORRECTED) and manifest.stat().st_mode & 0o777 == 0o640
    found = [(image.path, image.label) for image in list_dataset(manifest).images]
    assert found == [("a.jpg", "owl"), ("c.jpg", "kite"), ("d.jpg", "hawk")]
    assert in_place(store).already == 2
    assert take_back(store).files == 1
    assert manifest.read_bytes() == encode(CSV) and manifest.stat().st_mode & 0o777 == 0o640


def test_hostile_labels_go_into_a_csv_and_come_back_from_it(photos: Path) -> None:
    labels = {f"{number}.jpg": text for number, text in enumerate(HOSTILE) if text.strip() and len(text) < 1000}
    write_files(photos, {path: path for path in labels})
    manifest = photos / "list.csv"
    manifest.write_text("path,label\n" + "".join(f"{path},kite\n" for path in labels) + "c.jpg,owl\n")
    store = audited(manifest, photos / "out")
    decide(store, labels)
    assert in_place(store).relabelled == len(labels)
    assert {image.path: image.label for image in list_dataset(manifest).images} == {**labels, "c.jpg": "owl"}


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le"])
def test_json_lines_stay_in_their_encoding(photos: Path, encoding: str) -> None:
    manifest = photos / "list.jsonl"
    lines = [json.dumps({"path": f"{name}.jpg", "label": label}) for name, label in zip("abcd", "xxyy", strict=True)]
    manifest.write_bytes("\n".join(lines).encode(encoding))
    assert in_place(review(manifest, "y")).relabelled == 1
    changed = [json.dumps({"path": "a.jpg", "label": "y"}), *lines[2:]]
    assert manifest.read_bytes() == "\n".join(changed).encode(encoding)


def test_a_gzipped_table_is_refused_in_place_whatever_it_is_called(photos: Path) -> None:
    manifest = photos / "list.csv"
    manifest.write_bytes(gzip.compress(CSV.encode()))
    with pytest.raises(ApplyError, match="it is gzipped, whatever its name says; --manifest writes a new table"):
        in_place(review(manifest))


def test_json_lines_keep_their_other_keys_and_numbers(photos: Path) -> None:
    manifest = photos / "list.jsonl"
    lines = [
        '{"path":"a.jpg",  "label":7,"box":[1, 2.50]}', '{"path": "b.jpg", "label": 7}', "not JSON", "",
        '{"path": "c.jpg", "label": 7.0, "x": null}', '{"path": "d.jpg", "label": "8"}',
    ]  # fmt: skip
    manifest.write_text("\n".join(lines))
    store = review(manifest, "8")
    assert in_place(store).relabelled == 1
    after = manifest.read_text().split("\n")
    assert json.loads(after[0]) == {"path": "a.jpg", "label": 8, "box": [1, 2.5]}
    assert after[1:] == lines[2:]
    take_back(store)
    assert manifest.read_text() == "\n".join(lines)


@pytest.mark.parametrize(
    ("kind", "labels", "new"),
    [
        (pa.string(), ["kite", "kite", "owl", "owl"], HOSTILE[0]),
        (pa.dictionary(pa.int8(), pa.string()), ["kite", "kite", "owl", "owl"], "a class of its own"),
        (pa.int32(), [1, 1, 2, None], "12"),
        (pa.float64(), [1.0, 1.0, 2.0, None], "3"),
        (pa.binary(), [b"kite", b"kite", b"owl", b"owl"], "é"),
    ],
)
def test_parquet_keeps_its_schema_and_its_other_columns(photos: Path, kind: Any, labels: list[Any], new: str) -> None:
    manifest = photos / "list.parquet"
    schema = pa.schema(
        [pa.field("extra", pa.list_(pa.int8())), pa.field("path", pa.string()), pa.field("label", kind)],
        metadata={"who": "me"},
    )
    columns = {"extra": [[1], [2, 3], None, []], "path": [f"{name}.jpg" for name in NAMES], "label": labels}
    pq.write_table(pa.table(columns, schema=schema), manifest, compression="gzip")
    before, written = manifest.read_bytes(), pq.read_schema(manifest)
    store = review(manifest, new)
    applied = in_place(store)
    assert (applied.relabelled, applied.removed) == (1, 1)
    after = pq.read_table(manifest)
    assert after.schema.equals(written, check_metadata=True)
    assert after["extra"].to_pylist() == [[1], None, []] and after["path"].to_pylist() == ["a.jpg", "c.jpg", "d.jpg"]
    assert pq.ParquetFile(manifest).metadata.row_group(0).column(1).compression == "GZIP"
    assert {image.path: image.label for image in list_dataset(manifest).images}["a.jpg"] == new
    take_back(store)
    assert manifest.read_bytes() == before


def test_a_column_of_numbers_refuses_a_word(photos: Path) -> None:
    manifest = photos / "list.parquet"
    pq.write_table(pa.table({"path": ["a.jpg", "b.jpg", "c.jpg"], "label": [1, 1, 2]}), manifest)
    before = manifest.read_bytes()
    store = review(manifest, "owl")
    with pytest.raises(ApplyError, match="column 'label' holds numbers, and 'owl' is none"):
        in_place(store)
    assert manifest.read_bytes() == before and not (store.directory / "applied.jsonl").exists()


def test_columns_and_the_split_are_those_of_the_audit(photos: Path) -> None:
    manifest = photos / "list.csv"
    text = "file,class,part\na.jpg,kite,train\na.jpg,kite,test\nb.jpg,kite,train\nb.jpg,kite,test\nc.jpg,owl,train\n"
    manifest.write_text(text)
    columns = {"path_column": "file", "label_column": "class", "split_column": "part", "split": "train"}
    in_place(review(manifest, **columns))
    assert manifest.read_text() == (
        "file,class,part\na.jpg,owl,train\na.jpg,kite,test\nb.jpg,kite,test\nc.jpg,owl,train\n"
    )


def test_images_outside_and_files_changed_since_are_matched_and_left_alone(photos: Path, tmp_path: Path) -> None:
    write_files(tmp_path, {"outside.jpg": "outside"})
    manifest = photos / "list.csv"
    manifest.write_text("path,label\n../outside.jpg,kite\na.jpg,kite\nb.jpg,kite\nc.jpg,owl\n")
    store = review(manifest)
    decide(store, {str(tmp_path / "outside.jpg"): "owl"})
    write_files(photos, {"a.jpg": "edited"})
    manifest.write_text(manifest.read_text().replace("b.jpg,kite\n", "b.jpg,hawk\n"))
    applied = in_place(store)
    assert manifest.read_text() == "path,label\n../outside.jpg,owl\na.jpg,kite\nb.jpg,hawk\nc.jpg,owl\n"
    # The row that another hand gave a third label is still there: nobody has removed it already.
    assert [skipped.path for skipped in applied.left_alone] == ["a.jpg", "b.jpg"]
    assert (applied.relabelled, applied.removed, applied.already) == (1, 0, 0)


def test_rows_whose_paths_are_file_urls_are_met(photos: Path) -> None:
    manifest = photos / "list.csv"
    rows = [f"file://{photos}/a.jpg,kite", "file://b.jpg,kite", "c.jpg,hawk"]
    manifest.write_text("\n".join(["path,label", *rows]))
    applied = in_place(review(manifest))
    assert (applied.relabelled, applied.removed, applied.left_alone) == (1, 1, ())
    assert manifest.read_text().splitlines()[1:] == [f"file://{photos}/a.jpg,owl", "c.jpg,hawk"]


def test_a_manifest_that_was_changed_since_is_not_overwritten_by_the_undo(photos: Path) -> None:
    manifest = photos / "list.csv"
    manifest.write_text("path,label\na.jpg,kite\nb.jpg,kite\nc.jpg,owl\n")
    before = manifest.read_bytes()
    store = review(manifest)
    in_place(store)
    mine = manifest.read_text() + "d.jpg,hawk\n"
    manifest.write_text(mine)
    undone = take_back(store)
    assert undone.files == 0 and "it was changed since; the original is " in undone.left_alone[0].reason
    assert manifest.read_text() == mine
    kept = Path(undone.left_alone[0].reason.rsplit(" ", 1)[1])
    assert kept.read_bytes() == before and kept.is_relative_to(store.directory / "manifests")
    manifest.unlink()
    assert take_back(store).files == 0
    manifest.write_bytes(before)
    assert take_back(store).files == 1


@pytest.mark.parametrize(("call", "count"), [("replace", 1), ("replace", 2), ("fsync", 7)])
def test_killed_anywhere_the_manifest_is_whole_and_undone(photos: Path, call: str, count: int) -> None:
    manifest = photos / "list.csv"
    manifest.write_text("path,label\na.jpg,kite\nb.jpg,kite\nc.jpg,owl\n")
    before = manifest.read_bytes()
    store = review(manifest)
    in_place(store)
    after, files = manifest.read_bytes(), sorted(path.name for path in photos.iterdir())
    take_back(store)
    (store.directory / "applied.jsonl").unlink()
    run_killed(call, count, "apply", "--in-place", "--out", store.directory)
    assert manifest.read_bytes() in (before, after)
    in_place(store)
    assert manifest.read_bytes() == after
    take_back(store)
    assert manifest.read_bytes() == before and sorted(path.name for path in photos.iterdir()) == files
    with pytest.raises(ApplyError, match="nothing was applied"):
        take_back(store)


def test_a_linked_manifest_stays_a_link(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "lists").mkdir()
    real = tmp_path / "lists" / "real.csv"
    real.write_text("path,label\na.jpg,kite\nb.jpg,kite\nc.jpg,hawk\n")
    (photos / "list.csv").symlink_to(real)
    store = review(photos / "list.csv")
    in_place(store)
    assert (photos / "list.csv").is_symlink() and real.read_text() == "path,label\na.jpg,owl\nc.jpg,hawk\n"
    assert labelled(photos / "list.csv") == corrected(store)


def test_rows_whose_pictures_were_found_otherwise_are_met_in_place(tmp_path: Path) -> None:
    write_files(tmp_path / "images", {f"{name}.jpg": name for name in NAMES})
    manifest = tmp_path / "lists" / "legend.csv"
    manifest.parent.mkdir()
    manifest.write_text("image,kind\nC:\\a.jpg,kite\nb,kite\n/data/upload/1/0a1b2c3d-c.jpg,hawk\nd,hawk\n")
    chosen = {"path_column": "image", "label_column": "kind", "image_root": str(tmp_path / "images")}
    store = review(manifest, **chosen)
    result = in_place(store)
    assert (result.relabelled, result.removed, result.already, result.left_alone) == (1, 1, 0, ())
    assert manifest.read_text() == "image,kind\nC:\\a.jpg,owl\n/data/upload/1/0a1b2c3d-c.jpg,hawk\nd,hawk\n"


def test_numbers_that_stand_for_names_are_changed_by_name(photos: Path) -> None:
    names = json.dumps({"info": {"features": {"label": {"_type": "ClassLabel", "names": ["hawk", "kite", "owl"]}}}})
    schema = pa.schema([("path", pa.string()), ("label", pa.int64())], metadata={"huggingface": names})
    paths = [f"{name}.jpg" for name in NAMES]
    pq.write_table(pa.table({"path": paths, "label": [1, 1, 0, 0]}, schema=schema), photos / "list.parquet")
    store = review(photos / "list.parquet")
    result = in_place(store)
    assert (result.relabelled, result.removed, result.already) == (1, 1, 0)
    assert pq.read_table(photos / "list.parquet").to_pydict() == {
        "path": ["a.jpg", "c.jpg", "d.jpg"],
        "label": [2, 0, 0],
    }
    assert labelled(photos / "list.parquet") == corrected(store)


def test_a_row_that_another_has_relabelled_is_not_said_to_be_removed_already(photos: Path) -> None:
    manifest = photos / "list.csv"
    manifest.write_text("path,label\na.jpg,kite\nb.jpg,kite\nc.jpg,hawk\nd.jpg,hawk\n")
    store = review(manifest)
    manifest.write_text(manifest.read_text().replace("b.jpg,kite", "b.jpg,eagle"))
    result = in_place(store)
    assert (result.relabelled, result.removed, result.already) == (1, 0, 0)
    assert [file.path for file in result.left_alone] == ["b.jpg"] and "b.jpg,eagle" in manifest.read_text()


def test_tables_without_a_column_of_labels_are_refused_in_place(photos: Path) -> None:
    manifest = photos / "list.csv"
    manifest.write_text("path,kite,hawk\na.jpg,1,0\nb.jpg,1,0\nc.jpg,0,1\nd.jpg,0,1\n")
    before = manifest.read_bytes()
    with pytest.raises(ApplyError, match="it has a column for each class and none of labels; --manifest writes"):
        in_place(review(manifest))
    assert manifest.read_bytes() == before
