"""Files that are whole or not there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gradattn_core.errors import StoreError
from gradattn_core.files import (
    clear_drafts,
    drafts_of,
    is_whole,
    new_draft,
    user_path,
    write_bytes,
    write_output,
    write_parquet,
    write_whole,
)


def test_a_file_that_is_replaced_keeps_its_permissions(tmp_path: Path) -> None:
    target = tmp_path / "a.csv"
    target.write_bytes(b"before")
    for mode in (0o640, 0o400):
        target.chmod(mode)
        write_bytes(target, b"after")
        assert target.read_bytes() == b"after" and target.stat().st_mode & 0o777 == mode


def test_what_breaks_off_leaves_the_earlier_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "a.csv"
    write_bytes(target, b"before")

    def half(draft: Path) -> None:
        draft.write_bytes(b"half")
        raise ValueError

    with pytest.raises(ValueError):
        write_whole(target, half)
    assert target.read_bytes() == b"before" and list(tmp_path.iterdir()) == [target]


def test_a_file_that_cannot_be_written_is_named_and_not_its_draft(tmp_path: Path) -> None:
    with pytest.raises(StoreError) as caught:
        write_output(tmp_path / "gone" / "a.csv", b"")
    assert str(caught.value) == (
        f"cannot write {tmp_path / 'gone' / 'a.csv'}: No such file or directory; choose another file or make room"
    )


def test_drafts_of_one_file_are_cleared_and_no_other_files(tmp_path: Path) -> None:
    drafts = [f".a.csv.{'0' * 32}", f".a.csv.{'0f' * 16}"]
    others = [f".b.csv.{'0' * 32}", ".a.csv.swp", "a.csv", f"a.csv.{'0' * 32}", f".aXcsv.{'0' * 32}"]
    for name in (*drafts, *others):
        (tmp_path / name).touch()
    clear_drafts(tmp_path / "a.csv")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(others)


def test_drafts_of_a_database_and_their_logs_are_told_and_nothing_else(tmp_path: Path) -> None:
    drafts = [f".a.duckdb.{'0f' * 16}", f".a.duckdb.{'0f' * 16}.wal", new_draft(tmp_path / "a.duckdb").name]
    for name in (*drafts, "a.duckdb", "a.duckdb.wal", f".b.duckdb.{'0' * 32}", f".a.duckdb.{'0' * 31}"):
        (tmp_path / name).touch()
    assert sorted(path.name for path in drafts_of(tmp_path / "a.duckdb")) == sorted(drafts)


@pytest.mark.parametrize(
    ("typed", "path"), [("~/x", Path.home() / "x"), ("~nouser/x", Path("~nouser/x")), ("a", Path("a"))]
)
def test_a_path_as_it_is_typed(typed: str, path: Path) -> None:
    assert user_path(typed) == path


def test_a_name_as_long_as_names_can_be_is_written_and_its_drafts_are_cleared(tmp_path: Path) -> None:
    for name in ("a" * 251 + ".csv", "ä" * 125 + ".csv", "日" * 83 + ".csv"):
        write_output(tmp_path / name, b"whole")
        assert (tmp_path / name).read_bytes() == b"whole"

        def killed(draft: Path) -> None:
            draft.touch()
            os.link(draft, draft.with_name(draft.name[:-1] + ("1" if draft.name[-1] == "0" else "0")))

        write_whole(tmp_path / name, killed)
        clear_drafts(tmp_path / name)
        assert list(tmp_path.iterdir()) == [tmp_path / name]
        (tmp_path / name).unlink()


def test_a_link_is_followed_and_stays_a_link(tmp_path: Path) -> None:
    real, link, ahead = tmp_path / "real.csv", tmp_path / "link.csv", tmp_path / "ahead.csv"
    real.write_bytes(b"stale")
    link.symlink_to("real.csv")
    ahead.symlink_to("later.csv")
    for path, content in ((link, real), (ahead, tmp_path / "later.csv")):
        write_output(path, b"new")
        assert path.is_symlink() and content.read_bytes() == b"new"


def test_a_device_is_written_to_and_stays_one() -> None:
    write_output(Path("/dev/null"), b"x")
    assert Path("/dev/null").is_char_device()
    with pytest.raises(StoreError, match="cannot write /dev/full: No space left on device"):
        write_output(Path("/dev/full"), b"x")


def test_a_url_is_no_file_to_write_to(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="that is a URL; name a file of this machine"):
        write_output(Path("s3://bucket/x.csv"), b"x")
    (tmp_path / "a:").mkdir()
    write_output(tmp_path / "a:" / "x.csv", b"x")


def test_a_named_pipe_is_written_to(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", str(pipe)], stdout=subprocess.PIPE) as reader:
        write_output(pipe, b"rows")
        assert reader.communicate(timeout=20)[0] == b"rows"
    assert pipe.is_fifo()


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_what_a_shell_has_opened_is_written_where_it_stands(tmp_path: Path, name: str) -> None:
    program = f"from pathlib import Path; from gradattn_core.files import *; write_output(Path({name!r}), b'new')"
    log = tmp_path / "log"
    log.write_bytes(b"old ")
    with log.open("ab") as appended:
        subprocess.run([sys.executable, "-c", program], stdout=appended, check=True)
    assert log.read_bytes() == b"old new" and not log.is_symlink()
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout == b"new"


def shard() -> pa.Table:
    """Of every kind of column that a step writes: texts, whole numbers and others, lists and lists of structures."""
    random = np.random.default_rng(1)
    values = random.normal(size=(300, 64))
    parts = pa.struct([("weight", pa.float32()), ("box", pa.list_(pa.int32())), ("sign", pa.string())])
    regions = [None, [], *([{"weight": 0.5, "box": [1, 2], "sign": "red"}, None] for _ in range(298))]
    return pa.table(
        {
            "path": [f"class/{row}.png" for row in range(300)],
            "given_label": ["cat", None, "dog"] * 100,
            "size": pa.array(random.integers(0, 2**40, 300)),
            "width": pa.array(random.integers(0, 999, 300), pa.int32()),
            "is_suspect": [True, False, None] * 100,
            "suspicion": pa.array([None, float("nan"), 1e-30] * 100, pa.float64()),
            "features": pa.array(list(values.astype(np.float16)), pa.list_(pa.float16())),
            "logits": pa.array([None, *values.astype(np.float32)[1:]], pa.list_(pa.float32())),
            "map": pa.array(list(values[:, :4].astype(np.float32)), pa.list_(pa.float32(), 4)),
            "regions": pa.array(regions, pa.list_(parts)),
        }
    ).replace_schema_metadata({b"taken_over": b"3"})


def test_a_table_is_read_as_it_was_written_here_and_by_duckdb(tmp_path: Path) -> None:
    table, file = shard(), tmp_path / "shard.parquet"
    write_parquet(file, table)
    found = pq.read_table(file, page_checksum_verification=True)
    assert str(found.to_pylist()) == str(table.to_pylist()) and found.schema.metadata == table.schema.metadata
    assert is_whole(file)
    with duckdb.connect() as connection:
        # Which cannot read half-precision numbers that are split by bytes, and nobody asks it for features.
        names = [name for name in table.column_names if name != "features"]
        theirs = connection.execute(f"SELECT {', '.join(names)} FROM read_parquet(?)", [str(file)]).fetchall()
    assert str(theirs) == str([tuple(row.values()) for row in table.select(names).to_pylist()])


def test_only_texts_have_dictionaries_and_statistics_and_numbers_are_split_by_bytes(tmp_path: Path) -> None:
    file = tmp_path / "shard.parquet"
    write_parquet(file, shard())
    group = pq.read_metadata(file).row_group(0)
    columns = {(column := group.column(index)).path_in_schema: column for index in range(group.num_columns)}
    texts = {name for name, column in columns.items() if column.has_dictionary_page}
    assert texts == {"path", "given_label", "regions.list.element.sign"}
    assert {name for name, column in columns.items() if column.statistics is not None} == {*texts, "is_suspect"}
    split = {name for name, column in columns.items() if "BYTE_STREAM_SPLIT" in column.encodings}
    weight = "regions.list.element.weight"
    assert split == {"suspicion", "features.list.element", "logits.list.element", "map.list.element", weight}


def test_a_shard_as_older_versions_wrote_it_is_read(tmp_path: Path) -> None:
    old, new = tmp_path / "old.parquet", tmp_path / "new.parquet"
    pq.write_table(shard(), old, compression="zstd")
    write_parquet(new, shard())
    assert str(pq.read_table(old).to_pylist()) == str(pq.read_table(new).to_pylist()) and is_whole(old)
    assert new.stat().st_size < old.stat().st_size
