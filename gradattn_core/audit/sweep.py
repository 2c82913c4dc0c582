"""Sweeps shards: decode, one forward pass, features and logits of each shard to one parquet file."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gradattn_core.audit.brought import FEATURES, PREDICTIONS, brought_of_shard, lists_of, log_of
from gradattn_core.audit.loading import Batch, LoadedImage, audit_model, load_batches, read_facts
from gradattn_core.audit.plan import Plan, failures_table
from gradattn_core.audit.repair import require_root
from gradattn_core.audit.reuse import swept_images
from gradattn_core.files import write_parquet
from gradattn_core.model.classes import Alignment, class_names, outside_names
from gradattn_core.model.device_memory import in_parts
from gradattn_core.model.forward import Forward, forward
from gradattn_core.model.preprocessing import Preprocessing
from gradattn_core.outfolder import failures_beside
from gradattn_core.progress import SWEEP, Progress, silent
from gradattn_core.ranking.outside import Outside, outside_of
from gradattn_core.records import Failure, FloatArray, ImageRecord

_TAKEN, _WIDENED = b"taken_over", b"widened"
_LARGEST = float(np.finfo(np.float16).max)
_HALF = _LARGEST / 2
_TOLD = 64
_SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("content_hash", pa.string()),
        ("given_label", pa.string()),
        ("size", pa.int64()),
        ("modified", pa.int64()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("readout", pa.list_(pa.float32())),
        ("features", pa.list_(pa.float16())),
        ("logits", pa.list_(pa.float32())),
        ("outside_label", pa.string()),
        ("outside_probability", pa.float32()),
        ("outside_log_odds", pa.float32()),
        ("outside_outputs", pa.list_(pa.int32())),
        ("outside_log_p", pa.list_(pa.float32())),
    ]
)


@dataclass(frozen=True, slots=True)
class _Swept:
    """A shard on its way to its file.

    Attributes:
        taken, new: rows of the images that earlier audits saw, and of the others.
        widened: how many of these were computed in another precision than the plan's.
    """

    images: tuple[ImageRecord, ...]
    taken: pa.Table
    new: list[pa.Table]
    failures: list[Failure]
    widened: int


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
        for index in indices:
            images = plan.shard(index)
            if plan.files.sweep(index).exists():
                progress(SWEEP.name, index * plan.shard_size + len(images), plan.images)
                continue
            swept = _sweep(plan, index, images, progress)
            # One at a time, so that two shards are in memory at most and a full disk is noticed within one.
            if writing is not None:
                writing.result()
            writing = pool.submit(_write, plan, index, swept)
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


def _sweep(plan: Plan, index: int, images: Sequence[ImageRecord], progress: Progress) -> _Swept:
    taken = swept_images(plan.root, plan.sources).take(images, _SCHEMA)
    paths = set(taken["path"].to_pylist())
    new = [image for image in images if image.path not in paths]
    tables: list[pa.Table] = []
    failures: list[Failure] = []
    if not new:
        progress(SWEEP.name, index * plan.shard_size + len(taken), plan.images)
        return _Swept(tuple(images), taken, tables, failures, 0)
    if not plan.config.has_model:
        first = index * plan.shard_size + len(taken)
        tables.append(_read(plan, new, failures, lambda done: progress(SWEEP.name, first + done, plan.images)))
        return _Swept(tuple(images), taken, tables, failures, 0)
    model = audit_model(plan.config, len(plan.classes) if plan.config.from_scratch else None)
    device = next(model.parameters()).device
    names = outside_names(plan.classes, plan.alignment, class_names(model), int(getattr(model, "num_classes", 0)))
    done, widened = index * plan.shard_size + len(taken), 0
    preprocessing = Preprocessing.of(model)
    for batch in load_batches(plan.root, new, preprocessing, plan.config, device, plan.white):
        failures += batch.failed

        def run(part: slice, batch: Batch = batch) -> None:
            pixels = preprocessing.normalised(batch.pixels[part].to(device, non_blocking=True))
            nonlocal widened
            result = forward(model, pixels, plan.precision)
            widened += len(pixels) * (result.precision != plan.precision)
            tables.append(_table(batch.images[part], result, plan.alignment, names))

        in_parts(run, len(batch.images), device, (SWEEP.name, plan.sweep_key))
        done += len(batch)
        progress(SWEEP.name, done, plan.images)
    return _Swept(tuple(images), taken, tables, failures, widened)


def _write(plan: Plan, index: int, swept: _Swept) -> None:
    """The files of a shard.

    Raises:
        DatasetError: the dataset has vanished meanwhile.
    """
    target = plan.files.sweep(index)
    if swept.failures:
        require_root(plan.root)
    write_parquet(failures_beside(target), failures_table(swept.failures))
    # The result is renamed into place last: where it is, its failures are too.
    facts = {_TAKEN: str(len(swept.taken)), **({_WIDENED: str(swept.widened)} if swept.widened else {})}
    table = _in_order(pa.concat_tables([swept.taken, *swept.new]), swept.images)
    table = _with_brought(plan, index, table, swept.images)
    write_parquet(target, table.replace_schema_metadata(facts))


def _read(plan: Plan, images: list[ImageRecord], failures: list[Failure], progress: Callable[[int], None]) -> pa.Table:
    """What is known of the pictures themselves, where no model looks at them."""
    loaded: list[LoadedImage] = []
    for done, each in enumerate(read_facts(plan.root, images, plan.config.workers, plan.white), 1):
        if isinstance(each, Failure):
            failures.append(each)
        else:
            loaded.append(each)
        if done % _TOLD == 0 or done == len(images):
            progress(done)
    facts = _facts(loaded)
    missing = {field.name: pa.nulls(len(loaded), field.type) for field in _SCHEMA if field.name not in facts}
    return pa.table({**facts, **missing}, schema=_SCHEMA)


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
    return table.set_column(table.schema.get_field_index(name), _SCHEMA.field(name), values)


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


def _table(
    images: list[LoadedImage], result: Forward, alignment: Alignment | None, names: Mapping[int, str]
) -> pa.Table:
    count = len(images)
    columns: dict[str, pa.Array | list[object]] = {
        **_facts(images),
        "readout": lists_of(result.readout.numpy()),
        # Half precision: these only feed the ranking, and they are the largest column by far.
        "features": lists_of(result.features.numpy().clip(-_LARGEST, _LARGEST).astype(np.float16)),
    }
    if alignment is not None:
        columns["logits"] = lists_of(result.logits[:, list(alignment.indices)].numpy())
        if names:
            columns |= _outside(outside_of(result.logits.numpy(), alignment.indices), names)
    missing = {field.name: pa.nulls(count, field.type) for field in _SCHEMA if field.name not in columns}
    return pa.table(columns | missing, schema=_SCHEMA)


def _facts(images: list[LoadedImage]) -> dict[str, pa.Array | list[object]]:
    return {
        "path": [image.record.path for image in images],
        "content_hash": [image.content_hash for image in images],
        "given_label": [image.record.label for image in images],
        "size": [image.record.size for image in images],
        "modified": [image.record.modified for image in images],
        "width": [image.width for image in images],
        "height": [image.height for image in images],
    }


def _outside(outside: Outside, names: Mapping[int, str]) -> dict[str, pa.Array | list[object]]:
    """The columns of what the model says beyond the dataset's classes; of its best one where that leads them all."""
    best = [code if leads else None for code, leads in zip(outside.outputs[:, 0].tolist(), outside.leads, strict=True)]
    return {
        "outside_label": [None if code is None else names[code] for code in best],
        "outside_probability": pa.array(np.exp(outside.log_p[:, 0]), mask=~outside.leads),
        "outside_log_odds": outside.log_odds.tolist(),
        "outside_outputs": lists_of(outside.outputs.astype(np.int32)),
        "outside_log_p": lists_of(outside.log_p),
    }
