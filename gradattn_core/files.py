"""Files that are either whole or not there: written under another name, then renamed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a temporary file beside ``path``, then rename it: a killed process leaves no half file."""
    # Processes of two machines may have one number, and may write the same file when a lost one turns out to live.
    temporary = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_folder(folder: Path, first: Sequence[str]) -> None:
    """Remove a folder, and in it the files that say what it is before all others: killed in between, it is nothing."""
    for name in first:
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder)


def write_parquet(path: Path, table: pa.Table) -> None:
    """Write a table whole."""
    write_whole(path, lambda temporary: pq.write_table(table, temporary, compression="zstd"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write bytes whole."""
    write_whole(path, lambda temporary: temporary.write_bytes(content))


def write_text(path: Path, text: str) -> None:
    """Write a text whole."""
    write_whole(path, lambda temporary: temporary.write_text(text, "utf-8"))
