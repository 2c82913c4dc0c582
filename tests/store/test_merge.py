"""A finished audit goes into the database whole or not at all."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gradattn_core.errors import StoreError
from gradattn_core.store.store import Store
from tests.helpers.sample_audit import PATHS, Tables, as_parquet, audit_row, sample_store, tables


def content(store: Store, audit_id: str = "first") -> list[pd.DataFrame]:
    """Everything a reader can see of an audit, decisions included."""
    return [
        store.audits.all().drop(columns="warnings"),
        store.candidates.page(audit_id, everything=True),
        store.audits.class_pairs(audit_id),
        store.audits.failures(audit_id),
        store.decisions.page(),
    ]


def same(first: list[pd.DataFrame], second: list[pd.DataFrame]) -> bool:
    return all(left.equals(right) for left, right in zip(first, second, strict=True))


def test_shards_and_frames_give_the_same_database(tmp_path: Path) -> None:
    frames = tables(PATHS, suspects=6, interpreted=4)
    shards = Store(tmp_path / "a")
    shards.directory.mkdir()
    shards.audits.merge(audit_row(), as_parquet(frames, tmp_path / "shards", shards=3))
    (tmp_path / "b").mkdir()
    assert same(content(shards), content(sample_store(tmp_path / "b")))
    assert shards.images.prediction("first", PATHS[2]) == sample_store(tmp_path / "b").images.prediction(
        "first", PATHS[2]
    )
    assert shards.images.evidence("first", PATHS[3]) is not None


def test_merging_again_replaces_and_never_doubles(tmp_path: Path) -> None:
    store = sample_store(tmp_path)
    store.audits.merge(audit_row("second"), tables(["kite/x.jpg"], suspects=1))
    store.audits.merge(audit_row(estimated_errors=1.0), tables(PATHS[:4], suspects=2))
    assert list(store.candidates.page("first", everything=True)["path"]) == PATHS[:4]
    assert store.images.evidence("first", PATHS[3]) is None
    assert sorted(store.audits.all()["audit_id"]) == ["first", "second"]
    assert store.audits.one("first").estimated_errors == 1.0
    assert list(store.candidates.page("second")["path"]) == ["kite/x.jpg"]


def test_columns_are_found_by_name_and_others_are_ignored(tmp_path: Path) -> None:
    frames = tables(PATHS, suspects=6, interpreted=4)
    odd = {name: frame[frame.columns[::-1]].assign(audit_id="wrong", extra=1) for name, frame in frames.items()}
    (tmp_path / "plain").mkdir()
    store = Store(tmp_path)
    store.audits.merge(audit_row(), as_parquet(odd, tmp_path / "shards"))
    assert same(content(store), content(sample_store(tmp_path / "plain")))


def test_a_shard_without_any_text_in_a_column_joins_one_with_text(tmp_path: Path) -> None:
    frames = tables(PATHS, suspects=6)
    frames["predictions"]["outside_label"] = pd.Series([None] * 5 + ["tape player"] * 5, dtype=object)
    files = as_parquet(frames, tmp_path / "shards", shards=2)
    assert pq.read_schema(files["predictions"][0]).field("outside_label").type == pa.null()
    store = Store(tmp_path)
    store.audits.merge(audit_row(), files)
    assert list(store.candidates.page("first", everything=True)["outside_label"]) == [""] * 5 + ["tape player"] * 5


def test_components_may_be_a_map_column(tmp_path: Path) -> None:
    files = as_parquet(tables(PATHS, suspects=6), tmp_path / "shards", shards=1)
    table = pq.read_table(files["scores"][0])
    maps = pa.array([[("margin", 0.5)]] * len(PATHS), pa.map_(pa.string(), pa.float64()))
    pq.write_table(table.set_column(table.schema.get_field_index("components"), "components", maps), files["scores"][0])
    store = Store(tmp_path)
    store.audits.merge(audit_row(), files)
    prediction = store.images.prediction("first", PATHS[0])
    assert prediction is not None and prediction.components == {"margin": 0.5}


@pytest.mark.parametrize("name", ["out[1]", "all*", "audit_id=second", 'it\'s "quoted"'])
def test_a_folder_of_any_name_can_hold_the_shards(tmp_path: Path, name: str) -> None:
    files = as_parquet(tables(PATHS, suspects=6), tmp_path / name)
    store = Store(tmp_path / name)
    store.audits.merge(audit_row(), files)
    assert list(store.candidates.page("first")["path"]) == PATHS[:6]


def drop_column(frames: Tables) -> None:
    del frames["predictions"]["entropy"]


def double_path(frames: Tables) -> None:
    frames["images"] = pd.concat([frames["images"], frames["images"].iloc[[3]]])


def double_rank(frames: Tables) -> None:
    frames["scores"].loc[4, "rank"] = 1


def unlisted_path(frames: Tables) -> None:
    frames["scores"].loc[4, "path"] = "kite/unlisted.jpg"


def absent_label(frames: Tables) -> None:
    frames["images"].loc[4, "given_label"] = None


def text_for_number(frames: Tables) -> None:
    frames["scores"]["suspicion"] = "very"


def map_of_another_shape(frames: Tables) -> None:
    frames["interpretations"]["grid_width"] = 4


def unknown_table(frames: Tables) -> None:
    frames["pictures"] = frames["images"]


@pytest.mark.parametrize("kind", ["frames", "files"])
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (drop_column, "lacks the column entropy"),
        (double_path, f"images .*2 rows for path '{PATHS[3]}'"),
        (double_rank, "scores .*2 rows for rank 1"),
        (unlisted_path, "'kite/unlisted.jpg', which is not among its images"),
        (absent_label, "NOT NULL.*given_label"),
        (text_for_number, "very"),
        (map_of_another_shape, "CHECK.*interpretations"),
        (unknown_table, "no table 'pictures'.*images, predictions"),
    ],
)
def test_unusable_tables_are_refused_by_name_and_change_nothing(
    tmp_path: Path, kind: str, damage: object, message: str
) -> None:
    store = sample_store(tmp_path)
    before = content(store)
    frames = tables(PATHS, suspects=3)
    assert callable(damage)
    damage(frames)
    with pytest.raises(StoreError, match=message):
        store.audits.merge(
            audit_row(model="other"), frames if kind == "frames" else as_parquet(frames, tmp_path / "shards")
        )
    assert same(content(store), before)


def test_a_column_that_one_shard_lacks_is_refused_with_the_shard(tmp_path: Path) -> None:
    files = as_parquet(tables(PATHS, suspects=6), tmp_path / "shards")
    pd.read_parquet(files["images"][1]).drop(columns="width").to_parquet(files["images"][1])
    with pytest.raises(StoreError, match=r"images-1\.parquet lacks the column width"):
        Store(tmp_path).audits.merge(audit_row(), files)


@pytest.mark.parametrize("damage", [lambda file: os.truncate(file, 500), lambda file: file.unlink()])
def test_a_broken_shard_is_refused_by_name(tmp_path: Path, damage: object) -> None:
    files = as_parquet(tables(PATHS, suspects=6), tmp_path / "shards")
    assert callable(damage)
    damage(files["scores"][1])
    with pytest.raises(StoreError, match=r"cannot read .*scores-1\.parquet"):
        Store(tmp_path).audits.merge(audit_row(), files)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"dataset": "d"}, "needs a text audit_id"),
        ({**audit_row(), "colour": "red"}, "no column colour"),
        ({**audit_row(), "root": None}, "NOT NULL.*root"),
    ],
)
def test_an_unusable_audit_row_is_refused(tmp_path: Path, row: dict[str, object], message: str) -> None:
    with pytest.raises(StoreError, match=message):
        Store(tmp_path).audits.merge(row, {})


def many(count: int) -> list[str]:
    return [f"kite/{row:07d}.jpg" for row in range(count)]


def merge_files(folder: Path, files: dict[str, list[Path]], limit: int | None = None) -> None:
    if limit is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        with pytest.raises(StoreError, match=r"gradattn\.duckdb"):
            Store(folder).audits.merge(audit_row(model="other"), files)
        return
    Store(folder).audits.merge(audit_row(model="other"), files)


def test_a_kill_in_the_middle_of_a_merge_leaves_the_earlier_content(tmp_path: Path) -> None:
    store = sample_store(tmp_path)
    store.decisions.append("first", PATHS[0], "keep", reviewer="ann")
    before = content(store)
    files = as_parquet(tables(many(60_000), suspects=6_000), tmp_path / "shards")
    spawn = multiprocessing.get_context("spawn")
    killed = 0
    for delay in (0.0, 0.05, 0.2):
        size = store.database.stat().st_size
        child = spawn.Process(target=merge_files, args=(tmp_path, files))
        child.start()
        # The rows are written to the file before the commit: its growth shows that the merge is under way.
        while child.is_alive() and store.database.stat().st_size <= size:
            time.sleep(0.002)
        time.sleep(delay)
        child.kill()
        child.join()
        if store.audits.all()["model"][0] == "other":
            break
        killed += child.exitcode == -signal.SIGKILL
        assert same(content(store), before)
    assert killed > 0
    merge_files(tmp_path, files)
    assert store.candidates.count("first") == 6_000
    assert len(store.decisions.page()) == 1


def test_a_full_disk_in_the_middle_of_a_merge_leaves_the_earlier_content(tmp_path: Path) -> None:
    store = sample_store(tmp_path)
    before = content(store)
    files = as_parquet(tables(many(60_000), suspects=6_000), tmp_path / "shards")
    limit = store.database.stat().st_size + 2**20
    child = multiprocessing.get_context("spawn").Process(target=merge_files, args=(tmp_path, files, limit))
    child.start()
    child.join()
    assert child.exitcode == 0
    assert same(content(store), before)


def test_ranks_need_not_come_in_the_order_of_the_listing(tmp_path: Path) -> None:
    frames = tables(many(1000), suspects=500)
    frames["scores"]["rank"] = np.random.default_rng(5).permutation(1000) + 1
    store = Store(tmp_path)
    store.audits.merge(audit_row(), frames)
    page = store.candidates.page("first", top=20)
    ranks = frames["scores"].set_index("path")["rank"]
    assert list(page["rank"]) == sorted(ranks.iloc[:500])[:20] == [ranks[path] for path in page["path"]]
