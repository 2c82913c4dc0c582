"""Parquet files with pictures in them, and tables that lie beside pictures."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gradattn_core.dataset import parquet
from gradattn_core.dataset.decoding import read_bytes
from gradattn_core.dataset.listing import list_dataset
from gradattn_core.errors import UnreadableImageError
from tests.helpers import dataset_files as forms
from tests.helpers.dataset_files import reasons, refusal, rows, touch

KITE, OWL = b"\x89PNG a kite", b"\x89PNG an owl"


def test_parquet_with_pictures_lists_class_names_and_opens_rows(tmp_path: Path) -> None:
    folder = forms.write_pictures(tmp_path / "set", 30)
    root = forms.write_tables(folder, tmp_path / "hf")
    forms.write_tables(folder, tmp_path / "hf", split="test")
    listing = list_dataset(root, split="train")
    files = forms.pictures(folder)
    assert [image.label for image in listing.images] == [file.parent.name for file in files]
    assert listing.images[1].path == "data/train-00000-of-00002.parquet#01"
    assert [read_bytes(listing.root, image.path) for image in listing.images] == [file.read_bytes() for file in files]
    assert len(list_dataset(root).images) == 60
    with pytest.raises(UnreadableImageError, match="the table has 15 rows"):
        read_bytes(listing.root, "data/train-00000-of-00002.parquet#99")


def test_the_columns_of_pictures_labels_and_split_can_be_chosen(tmp_path: Path) -> None:
    table = pa.table(
        {
            "photo": pa.array([KITE, OWL, None, KITE], pa.binary()),
            "mask": pa.array([b"m"] * 4, pa.binary()),
            "kind": pa.array([b"kite", b"owl", b"owl", None], pa.binary()),
            "set": ["train", "train", "train", "test"],
        }
    )
    file = tmp_path / "t.parquet"
    pq.write_table(table, file)
    assert "Several columns hold pictures, 'photo', 'mask'" in refusal(file)
    assert "has no column 'label'" in refusal(file, path_column="photo")
    listing = list_dataset(file, path_column="photo", label_column="kind", split_column="set", split="train")
    assert rows(listing) == [("t.parquet#0", "kite"), ("t.parquet#1", "owl"), ("t.parquet#2", "owl")]
    assert read_bytes(listing.root, "t.parquet#1") == OWL
    with pytest.raises(UnreadableImageError, match=r"'t.parquet#2' holds no picture"):
        read_bytes(listing.root, "t.parquet#2")
    assert "has no split 'dev'" in refusal(
        file, path_column="photo", label_column="kind", split_column="set", split="dev"
    )
    assert (
        reasons(list_dataset(file, path_column="photo", label_column="kind"))["t.parquet#3"] == "the row has no label"
    )


def test_a_label_that_is_no_text_is_a_failure(tmp_path: Path) -> None:
    labels = pa.array([b"kite", b"owl", b"\xff"], pa.binary())
    table = pa.table({"image": pa.array([KITE] * 3, pa.binary()), "label": labels})
    pq.write_table(table, tmp_path / "t.parquet")
    listing = list_dataset(tmp_path / "t.parquet", path_column="image")
    assert listing.classes == ["kite", "owl"] and reasons(listing) == {"t.parquet#2": "the row is not valid UTF-8"}


@pytest.mark.parametrize("cache_bytes", [1, 2**12, 2**29])
def test_row_groups_of_any_size_are_read_in_any_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache_bytes: int
) -> None:
    monkeypatch.setattr(parquet, "_CACHE_BYTES", cache_bytes)
    parquet._groups.cache_clear()
    pictures = [bytes([row]) * 1000 for row in range(12)]
    table = pa.table({"image": pa.array(pictures, pa.binary()), "label": ["kite", "owl"] * 6})
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=3)
    listing = list_dataset(tmp_path / "t.parquet")
    for row in (0, 11, 1, 5, 4, 0, 8, 2):
        assert read_bytes(listing.root, listing.images[row].path) == pictures[row]
    parquet._groups.cache_clear()


def test_a_manifest_in_parquet_may_name_its_classes_by_number(tmp_path: Path) -> None:
    touch(tmp_path, "1.png", "2.png")
    schema = forms.table([], ["kite", "owl"]).schema
    table = pa.table({"file_name": ["1.png", "2.png"], "label": pa.array([1, 0])})
    pq.write_table(table.replace_schema_metadata(schema.metadata), tmp_path / "t.parquet")
    assert rows(list_dataset(tmp_path / "t.parquet")) == [("1.png", "owl"), ("2.png", "kite")]


@pytest.mark.parametrize("packed", [False, True])
def test_an_imagefolder_has_its_labels_in_metadata_beside_the_pictures(tmp_path: Path, packed: bool) -> None:
    root = tmp_path / "set"
    for split in ("train", "test"):
        touch(root / split, "img/1.png", "2.png", "3.png")
        lines = [{"file_name": "img/1.png", "label": f"{split} kite"}, {"file_name": "2.png", "label": "owl"}]
        lines.append({"file_name": "gone.png", "label": "owl"})
        (root / split / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    if packed:
        shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path, "set")
    listing = list_dataset(tmp_path / "packed.zip" if packed else root, split="test")
    assert rows(listing) == [("2.png", "owl"), ("img/1.png", "test kite")]
    assert set(reasons(listing)) == {"gone.png"}
    assert "--split" in refusal(tmp_path / "packed.zip" if packed else root)


def test_a_table_beside_class_folders_that_has_no_labels_changes_nothing(tmp_path: Path) -> None:
    touch(tmp_path, "kite/1.png", "owl/2.png")
    for text in ("file_name,camera\nkite/1.png,old\n", "\0", "author,year\nme,2026\n"):
        (tmp_path / "metadata.csv").write_text(text)
        assert rows(list_dataset(tmp_path)) == [("kite/1.png", "kite"), ("owl/2.png", "owl")]


def test_metadata_of_endless_brackets_names_no_class() -> None:
    schema = pa.schema([("label", pa.int64())], metadata={b"huggingface": b"[" * 100_000})
    assert parquet.label_names(schema, "label") == []
