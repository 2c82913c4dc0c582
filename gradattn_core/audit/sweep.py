"""Sweeps one shard: decode, one forward pass, features and logits to one parquet file."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from gradattn_core.audit.loading import Batch, LoadedImage, audit_model, in_parts, load_batches
from gradattn_core.audit.plan import Plan, failures_table
from gradattn_core.audit.reuse import swept_images
from gradattn_core.files import write_parquet
from gradattn_core.model.classes import Alignment, ClassNames, class_names
from gradattn_core.model.forward import Forward, forward
from gradattn_core.model.preprocessing import Preprocessing
from gradattn_core.outfolder import failures_beside
from gradattn_core.progress import SWEEP, Progress, silent
from gradattn_core.records import Failure, FloatArray, ImageRecord

_TAKEN = b"taken_over"
_LARGEST = float(np.finfo(np.float16).max)
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
    ]
)


def sweep_shard(plan: Plan, index: int, progress: Progress = silent) -> Path:
    """Run the frozen model over one shard, unless its result is there; images that earlier audits saw are taken over.

    Args:
        plan: the audit.
        index: of the shard, in [0, plan.shards).
        progress: told about images of the whole audit.

    Returns:
        the parquet file, in listing order: path, content_hash, given_label, size, modified, width, height, readout,
        features, and for the as-is head logits of the dataset's classes and the model's best class outside them.
    """
    target = plan.files.sweep(index)
    images = plan.shard(index)
    first = index * plan.shard_size
    if not target.exists():
        taken = swept_images(plan.root, plan.sources).take(images, _SCHEMA)
        paths = set(taken["path"].to_pylist())
        new = [image for image in images if image.path not in paths]
        failures: list[Failure] = []
        tables = [taken]
        if new:
            tables += _sweep(
                plan, new, failures, lambda done: progress(SWEEP.name, first + len(taken) + done, plan.images)
            )
        write_parquet(failures_beside(target), failures_table(failures))
        # The result is renamed into place last: where it is, its failures are too.
        write_parquet(
            target, _in_order(pa.concat_tables(tables), images).replace_schema_metadata({_TAKEN: str(len(taken))})
        )
    progress(SWEEP.name, first + len(images), plan.images)
    return target


def count_taken_over(plan: Plan) -> int:
    """How many images of a swept audit were not swept anew."""
    return sum(int(pq.read_schema(plan.files.sweep(index)).metadata[_TAKEN]) for index in range(plan.shards))


def swept_table(plan: Plan, columns: Sequence[str]) -> pa.Table:
    """The named columns of every swept image, in listing order."""
    tables = [pq.read_table(plan.files.sweep(index), columns=list(columns)) for index in range(plan.shards)]
    return pa.concat_tables(tables)


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
    """A list column as [N, D] float32."""
    flat = pa.concat_arrays([chunk.flatten() for chunk in column.chunks]) if column.num_chunks else pa.array([])
    values: FloatArray = flat.to_numpy(zero_copy_only=False).astype(np.float32).reshape(len(column), -1)
    return values


def _sweep(
    plan: Plan, images: list[ImageRecord], failures: list[Failure], progress: Callable[[int], None]
) -> list[pa.Table]:
    model = audit_model(plan.config, len(plan.classes) if plan.config.from_scratch else None)
    device = next(model.parameters()).device
    names = class_names(model)
    tables: list[pa.Table] = []
    done = 0
    preprocessing = Preprocessing.of(model)
    for batch in load_batches(plan.root, images, preprocessing, plan.config, device, plan.white):
        failures += batch.failed

        def run(part: slice, batch: Batch = batch) -> None:
            pixels = preprocessing.normalised(batch.pixels[part].to(device, non_blocking=True))
            result = forward(model, pixels, plan.precision)
            tables.append(_table(batch.images[part], result, plan.alignment, names))

        in_parts(run, len(batch.images), device)
        done += len(batch)
        progress(done)
    return tables


def _in_order(table: pa.Table, images: Sequence[ImageRecord]) -> pa.Table:
    place = {image.path: position for position, image in enumerate(images)}
    return table.take(pa.array(np.argsort([place[path] for path in table["path"].to_pylist()]), pa.int64()))


def _table(images: list[LoadedImage], result: Forward, alignment: Alignment | None, names: ClassNames) -> pa.Table:
    count = len(images)
    outside: tuple[list[str | None], list[float | None]]
    if alignment is None:
        logits, outside = pa.nulls(count, _SCHEMA.field("logits").type), ([None] * count, [None] * count)
    else:
        logits = _lists(result.logits[:, list(alignment.indices)].numpy())
        outside = _outside(result.logits, alignment, names)
    return pa.table(
        {
            "path": [image.record.path for image in images],
            "content_hash": [image.content_hash for image in images],
            "given_label": [image.record.label for image in images],
            "size": [image.record.size for image in images],
            "modified": [image.record.modified for image in images],
            "width": [image.width for image in images],
            "height": [image.height for image in images],
            "readout": _lists(result.readout.numpy()),
            # Half precision: these only feed the ranking, and they are the largest column by far.
            "features": _lists(result.features.numpy().clip(-_LARGEST, _LARGEST).astype(np.float16)),
            "logits": logits,
            "outside_label": outside[0],
            "outside_probability": outside[1],
        },
        schema=_SCHEMA,
    )


def _lists(values: NDArray[np.floating]) -> pa.ListArray:
    """[B, D] as a column of lists."""
    count, width = values.shape
    return pa.ListArray.from_arrays(np.arange(count + 1, dtype=np.int32) * width, values.ravel())


def _outside(
    logits: torch.Tensor, alignment: Alignment, names: ClassNames
) -> tuple[list[str | None], list[float | None]]:
    """The model's best class where it is none of the dataset's: a hint, never a suggestion."""
    best = logits.softmax(dim=1).max(dim=1)
    outside = [code not in alignment.indices for code in best.indices.tolist()]
    labels = [names.display(code) if out else None for code, out in zip(best.indices.tolist(), outside, strict=True)]
    return labels, [value if out else None for value, out in zip(best.values.tolist(), outside, strict=True)]
