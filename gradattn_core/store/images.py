"""Images by their paths: what they are, and where their files lie."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import duckdb

from gradattn_core.errors import StoreError
from gradattn_core.store.rows import PATHS, value


@dataclass(frozen=True, slots=True)
class Image:
    """What an image is found by: its rank (None: it was not ranked), its content and its given label."""

    rank: int | None
    content_hash: str
    given_label: str


def find(connection: duckdb.DuckDBPyConnection, audit_id: str, paths: Iterable[str]) -> dict[str, Image]:
    """The images of the audit that have these paths, by path; a path that it does not list is absent.

    Nearly all questions are about suspects, whose ranks are the first: those are looked through before all others.
    """
    wanted = dict.fromkeys(paths)
    last = value(connection.execute("SELECT max(rank) FROM scores WHERE audit_id = ? AND is_suspect", [audit_id]))
    found = _find(connection, "image_rank <= ?", [audit_id, last, list(wanted)])
    others = [path for path in wanted if path not in found]
    if others:
        found |= _find(connection, "true", [audit_id, others])
    return found


def _find(connection: duckdb.DuckDBPyConnection, where: str, parameters: list[object]) -> dict[str, Image]:
    listed = connection.execute(
        f"""SELECT path, image_rank, content_hash, given_label FROM images
            WHERE audit_id = ? AND {where} AND path IN {PATHS}""",
        parameters,
    ).fetchall()
    return {path: Image(*facts) for path, *facts in listed}


def places(
    connection: duckdb.DuckDBPyConnection, audit_id: str, paths: Sequence[str], data_root: Path | None
) -> list[Path]:
    """The absolute place of each image, below ``data_root`` where one is given; see ``Store.image_files``."""
    root = value(connection.execute("SELECT root FROM audits WHERE audit_id = ?", [audit_id]))
    listed = find(connection, audit_id, paths)
    return [_place(data_root or Path(root), path, audit_id, path in listed) for path in paths]


def _place(root: Path, path: str, audit_id: str, is_listed: bool) -> Path:
    if not is_listed:
        raise StoreError(f"audit {audit_id} has no image {path!r}")
    if PurePosixPath(path).is_absolute():
        return Path(path)
    # Normalised without looking at the disk: images behind a symbolic link inside the root stay reachable.
    inside = os.path.normpath(path)
    if inside.split(os.sep)[0] == os.pardir:
        raise StoreError(f"the image path {path!r} of audit {audit_id} leaves the dataset's root and is not opened")
    return root / inside
