"""Options of tables that reach no table, and tables that nobody asked for: refused or noted, never in silence."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from pathlib import Path

import pytest

from gradattn_core.cli import main
from gradattn_core.dataset.listing import list_dataset
from gradattn_core.errors import GradattnError
from tests.helpers.dataset_files import refusal, rows, touch

TABLE = "file_name,species\nann/1.png,owl\nbob/2.png,kite\n"


@pytest.fixture
def photographers(tmp_path: Path) -> Path:
    """Folders that are no classes: who took the pictures."""
    return touch(tmp_path / "set", "ann/1.png", "bob/2.png")


def test_a_named_column_that_the_folders_table_has_not_is_refused(photographers: Path) -> None:
    (photographers / "metadata.csv").write_text(TABLE)
    message = refusal(photographers, label_column="specis")
    assert "has no column 'specis'; its columns are 'file_name', 'species'. Did you mean 'species'?" in message
    assert "has no column 'where'" in refusal(photographers, path_column="where", label_column="species")
    assert rows(list_dataset(photographers, label_column="species")) == [("ann/1.png", "owl"), ("bob/2.png", "kite")]


def test_a_table_that_was_passed_over_is_noted_with_its_columns(photographers: Path) -> None:
    assert list_dataset(photographers).notes == ()
    (photographers / "metadata.csv").write_text(TABLE)
    (photographers / "sizes.csv").write_text("name,bytes\nall,12\n")
    (photographers / "broken.parquet").write_bytes(b"PAR1")
    listing = list_dataset(photographers)
    assert rows(listing) == [("ann/1.png", "ann"), ("bob/2.png", "bob")]
    [note] = listing.notes
    assert note.startswith("'metadata.csv' was passed over: labels are the names of the folders.")
    assert "pass the folder with --label-column and one of its columns, 'file_name', 'species'" in note


def test_a_table_of_another_name_is_noted_and_named_where_it_has_the_columns(photographers: Path) -> None:
    (photographers / "labels.csv").write_text(TABLE)
    assert "'labels.csv' was passed over" in list_dataset(photographers).notes[0]
    message = refusal(photographers, label_column="species")
    assert "has class folders, of which --label-column 'species' says nothing" in message
    assert message.endswith(f"pass '{photographers}/labels.csv'.")
    assert rows(list_dataset(photographers / "labels.csv", label_column="species"))[1] == ("bob/2.png", "kite")


@pytest.mark.parametrize(
    "option", [{"label_column": "x"}, {"path_column": "x"}, {"split_column": "x"}, {"image_root": "."}]
)
def test_options_of_tables_say_nothing_of_class_folders(photographers: Path, option: dict[str, str]) -> None:
    [(name, value)] = option.items()
    assert f"--{name.replace('_', '-')} '" in refusal(photographers, **option)
    assert value


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--head", "probe", "--class-map", "map.json"), "class_map 'map.json' says nothing to head 'probe'"),
        (("--head", "finetune", "--class-map", "map.json"), "class_map 'map.json' says nothing to head 'finetune'"),
        (("--epochs", "3"), "epochs 3 says nothing to head 'auto'; choose head 'finetune'"),
        (("--learning-rate", "1e-3", "--head", "as-is"), "learning_rate 0.001 says nothing to head 'as-is'"),
        (("--split-column", "fold"), "split_column 'fold' says nothing without a split"),
    ],
)
def test_idle_options_are_refused_before_anything_is_read(
    options: tuple[str, ...], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises((SystemExit, GradattnError)) as ended:
        raise SystemExit(main(["audit", str(tmp_path / "nowhere"), "--out", str(tmp_path / "out"), *options]))
    assert isinstance(ended.value, SystemExit) and ended.value.code == 2
    assert said in capsys.readouterr().err and not (tmp_path / "out").exists()


@pytest.mark.parametrize("form", ["array", "lines", "in an object", "packed", "of masks"])
def test_of_a_large_json_beside_folders_only_the_beginning_is_read(photographers: Path, form: str) -> None:
    listed = [{"file_name": f"ann/{n}.png", "species": "owl", "mask": "x" * 4000} for n in range(4000)]
    lines = "\n".join(map(json.dumps, listed))
    text = {"lines": lines, "in an object": json.dumps({"info": {"year": 2026}, "rows": listed})}.get(form)
    if form == "of masks":
        text = json.dumps([{"id": n, "mask": "x" * 4000} for n in range(4000)])
    content = (text or json.dumps(listed)).encode()
    name = "all.jsonl" if form == "lines" else "all.json"
    (photographers / (f"{name}.gz" if form == "packed" else name)).write_bytes(
        gzip.compress(content, 0) if form == "packed" else content
    )
    tracemalloc.start()
    listing = list_dataset(photographers)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < len(content) / 2
    assert rows(listing) == [("ann/1.png", "ann"), ("bob/2.png", "bob")]
    if form == "of masks":
        assert listing.notes == ()
    else:
        assert "all.json" in listing.notes[0] and "'file_name', 'species'" in listing.notes[0]
