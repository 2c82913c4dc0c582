"""What the sweep found, of all images together; what is too large for the memory lies on disk and is read by blocks."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gradattn_core.audit.plan import Plan
from gradattn_core.audit.sweep import sweep_file
from gradattn_core.records import FloatArray


def swept(plan: Plan, columns: Sequence[str]) -> pa.Table:
    """The named columns of every swept image, in listing order."""
    tables = [pq.read_table(sweep_file(plan, index), columns=list(columns)) for index in range(plan.shards)]
    return pa.concat_tables(tables)


def swept_matrix(plan: Plan, column: str, kept: Sequence[int] | None = None) -> FloatArray:
    """A list column of every swept image as [N, D] float32 on disk, in listing order; ``kept`` names the D places."""
    files = [sweep_file(plan, index) for index in range(plan.shards)]
    rows = sum(pq.read_metadata(file).num_rows for file in files)
    table: FloatArray | None = None
    start = 0
    for file in files:
        part = matrix(pq.read_table(file, columns=[column])[column])
        if not len(part):
            continue
        part = part if kept is None else part[:, kept]
        table = on_disk(plan.folder, rows, part.shape[1]) if table is None else table
        table[start : start + len(part)] = part
        start += len(part)
    assert table is not None, "no image was swept"
    return table


def on_disk(folder: Path, rows: int, width: int) -> FloatArray:
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
