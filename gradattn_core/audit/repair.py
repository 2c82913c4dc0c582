"""What an earlier run left that is of no use any more: damaged files, and failures to read that have passed."""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq

from gradattn_core.dataset.address import is_url, outermost
from gradattn_core.dataset.decoding import decode_image, read_bytes
from gradattn_core.errors import DatasetError, UnreadableImageError
from gradattn_core.model.preprocessing import TOO_UNEQUAL

DECODE = "decode"
"""The stage of a failure to read or decode a picture."""


def passed(root: str, failures: Iterable[tuple[str, str]]) -> str:
    """The first of these pictures, which could not be read, that can be now; "" where all still fail.

    Args:
        failures: path and reason of each. One whose sides do not suit the model can be read, then as now.
    """
    listed = [path for path, reason in failures if TOO_UNEQUAL not in reason]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for path, is_readable in zip(listed, pool.map(partial(_is_readable, root), listed), strict=True):
            if is_readable:
                pool.shutdown(cancel_futures=True)
                return path
    return ""


def require_root(root: str) -> None:
    """Stop where pictures cannot be read because the whole dataset is gone, as a share that is not mounted any more.

    Raises:
        DatasetError: it is; what was swept stays, and the same command continues.
    """
    place = outermost(root)
    if not is_url(place) and not os.path.exists(place):
        raise DatasetError(
            f"{place} was there when the audit began and is gone; bring it back, and the same command continues"
        )


def unread(failures: Path) -> list[tuple[str, str]]:
    """Path and reason of each picture that could not be read or decoded, by a file of failures."""
    rows = pq.read_table(failures, columns=["path", "stage", "reason"]).to_pylist()
    return [(row["path"], row["reason"]) for row in rows if row["stage"] == DECODE]


def _is_readable(root: str, path: str) -> bool:
    try:
        decode_image(read_bytes(root, path), path)
    except (UnreadableImageError, OSError):
        return False
    return True
