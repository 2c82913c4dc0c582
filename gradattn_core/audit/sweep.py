"""Swept shards as files: written while the next ones are swept, each whole or not there, and read back."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gradattn_core.audit.brought import FEATURES, PREDICTIONS, brought_of_shard, lists_of, log_of
from gradattn_core.audit.plan import Plan, failures_table
from gradattn_core.audit.repair import require_root
from gradattn_core.audit.sweeping import SCHEMA, Shard, swept_shards
from gradattn_core.files import write_parquet
from gradattn_core.outfolder import failures_beside
from gradattn_core.progress import Progress, silent
from gradattn_core.ranking.outside import Outside
from gradattn_core.records import FloatArray, ImageRecord

_TAKEN, _WIDENED = b"taken_over", b"widened"
_HALF = float(np.finfo(np.float16).max) / 2


def sweep_shard(plan: Plan, index: int, progress: Progress = silent) -> Path:
    """Run the frozen model over one shard, unless its result is there; images that earlier audits saw are taken over.

    Args:
        plan: the audit.
        index: of the shard, in [0, plan.shards).
        progress: told about images of the whole audit.

    Raises:
        DatasetError: the dataset has vanished meanwhile.

    Returns:
        the parquet file, in listing order: path, content_hash, given_label, size, modified, width, height, readout,
        features, and for the as-is head logits of the dataset's classes and, where the model has others, its best class
        outside them and what :class:`~gradattn_core.ranking.outside.Outside` keeps.
    """
    sweep_shards(plan, [index], progress)
    return plan.files.sweep(index)


def sweep_shards(plan: Plan, indices: Iterable[int], progress: Progress = silent) -> None:
    """:func:`sweep_shard` for some, one after the other; a shard is written while the next one is swept.

    All are whole when this returns. Where it is stopped, at most the shard at work and the one before it are lost.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="write") as pool:
        writing: Future[None] | None = None
        for shard in swept_shards(plan, indices, progress):
            # One at a time, so that two shards are in memory at most and a full disk is noticed within one.
            if writing is not None:
                writing.result()
            writing = pool.submit(_write, plan, shard)
        if writing is not None:
            writing.result()


def has_features(plan: Plan) -> bool:
    """Whether the pictures have features: predictions that were brought alone have none."""
    return plan.config.has_model or plan.config.features is not None


def count_taken_over(plan: Plan) -> int:
    """How many images of a swept audit were not swept anew."""
    return _counted(plan, _TAKEN)


def count_widened(plan: Plan) -> int:
    """How many images of a swept audit had numbers too large for its precision, or came after one in a process."""
    return _counted(plan, _WIDENED)


def _counted(plan: Plan, fact: bytes) -> int:
    return sum(int(pq.read_schema(plan.files.sweep(index)).metadata.get(fact, 0)) for index in range(plan.shards))


def swept_table(plan: Plan, columns: Sequence[str]) -> pa.Table:
    """The named columns of every swept image, in listing order."""
    tables = [pq.read_table(plan.files.sweep(index), columns=list(columns)) for index in range(plan.shards)]
    return pa.concat_tables(tables)


def swept_outside(plan: Plan) -> Outside | None:
    """What the model's other outputs say of every swept image, in listing order; None where it has no others."""
    if plan.alignment is None:
        return None
    table = swept_table(plan, ["outside_label", "outside_log_odds", "outside_outputs", "outside_log_p"])
    if table["outside_log_odds"].null_count:
        return None
    outputs = matrix(table["outside_outputs"])
    return Outside(
        table["outside_log_odds"].to_numpy().astype(np.float32),
        outputs.astype(np.int64),
        matrix(table["outside_log_p"]),
        np.asarray(table["outside_label"].is_valid()),
        len(plan.alignment.indices),
        plan.outputs - len(plan.alignment.indices),
    )


def swept_matrix(plan: Plan, column: str, kept: Sequence[int] | None = None) -> FloatArray:
    """A list column of every swept image as [N, D] float32 on disk, in listing order; ``kept`` names the D places."""
    files = [plan.files.sweep(index) for index in range(plan.shards)]
    rows = sum(pq.read_metadata(file).num_rows for file in files)
    table: FloatArray | None = None
    start = 0
    for file in files:
        part = matrix(pq.read_table(file, columns=[column])[column])
        if not len(part):
            continue
        part = part if kept is None else part[:, kept]
        table = array_on_disk(plan.folder, rows, part.shape[1]) if table is None else table
        table[start : start + len(part)] = part
        start += len(part)
    assert table is not None, "no image was swept"
    return table


def array_on_disk(folder: Path, rows: int, width: int) -> FloatArray:
    """[rows, width] float32 zeros, mapped from a file in ``folder`` that has no name: it goes with its last reader."""
    with tempfile.TemporaryFile(dir=folder) as file:
        if hasattr(os, "posix_fallocate"):
            # A full disk is an error here; in the mapping it would be the end of the process.
            os.posix_fallocate(file.fileno(), 0, 4 * rows * width)
        return np.asarray(np.memmap(file, np.float32, "w+", shape=(rows, width)))


def matrix(column: pa.ChunkedArray) -> FloatArray:
    """A list column as [N, D] float32; [0, 0] where there is no row to tell D from."""
    if not len(column):
        return np.empty((0, 0), np.float32)
    flat = pa.concat_arrays([chunk.flatten() for chunk in column.chunks]) if column.num_chunks else pa.array([])
    values: FloatArray = flat.to_numpy(zero_copy_only=False).astype(np.float32).reshape(len(column), -1)
    return values


def _write(plan: Plan, shard: Shard) -> None:
    """The files of a shard.

    Raises:
        DatasetError: the dataset has vanished meanwhile.
    """
    target = plan.files.sweep(shard.index)
    if shard.failures:
        require_root(plan.root)
    write_parquet(failures_beside(target), failures_table(shard.failures))
    # The result is renamed into place last: where it is, its failures are too.
    facts = {_TAKEN: str(len(shard.taken)), **({_WIDENED: str(shard.widened)} if shard.widened else {})}
    table = _in_order(pa.concat_tables([shard.taken, *shard.new]), shard.images)
    table = _with_brought(plan, shard.index, table, shard.images)
    write_parquet(target, table.replace_schema_metadata(facts))


def _with_brought(plan: Plan, index: int, table: pa.Table, images: Sequence[ImageRecord]) -> pa.Table:
    """The swept images with the features that were brought in place of the model's, and with what is no model's."""
    config = plan.config
    if config.has_model and config.features is None:
        return table
    place = {image.path: position for position, image in enumerate(images)}
    rows = np.array([place[path] for path in table["path"].to_pylist()], dtype=np.int64)
    if config.features is None:
        # A column of nothing would be taken for features.
        table = table.drop_columns(["features"])
    else:
        features = brought_of_shard(plan.files.brought, index, FEATURES)[rows]
        # Scaled where half precision cannot hold them: only directions matter.
        features = features * min(1.0, _HALF / float(np.abs(features).max(initial=1.0)))
        table = _with(table, "features", lists_of(features.astype(np.float16)))
    if plan.head == "given":
        said = brought_of_shard(plan.files.brought, index, PREDICTIONS)[rows]
        table = _with(table, "logits", lists_of(log_of(said, config.logits is not None)))
    return table


def _with(table: pa.Table, name: str, values: pa.ListArray) -> pa.Table:
    return table.set_column(table.schema.get_field_index(name), SCHEMA.field(name), values)


def brought_matrix(plan: Plan, name: str) -> FloatArray:
    """``features`` or ``predictions`` that were brought, of every swept image, [N, D] float32 on disk."""
    files = [plan.files.sweep(index) for index in range(plan.shards)]
    rows = sum(pq.read_metadata(file).num_rows for file in files)
    table: FloatArray | None = None
    start = 0
    for index, file in enumerate(files):
        values = brought_of_shard(plan.files.brought, index, name)
        place = {image.path: position for position, image in enumerate(plan.shard(index))}
        swept = [place[path] for path in pq.read_table(file, columns=["path"])["path"].to_pylist()]
        table = array_on_disk(plan.folder, rows, values.shape[1]) if table is None else table
        table[start : start + len(swept)] = values[swept]
        start += len(swept)
    assert table is not None, "no image was swept"
    return table


def _in_order(table: pa.Table, images: Sequence[ImageRecord]) -> pa.Table:
    place = {image.path: position for position, image in enumerate(images)}
    return table.take(pa.array(np.argsort([place[path] for path in table["path"].to_pylist()]), pa.int64()))
