"""Images by their paths: what they are, and where their files lie."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import duckdb

from gradattn_core.dataset.address import is_url, join, moved
from gradattn_core.errors import StoreError, UnreadableImageError
from gradattn_core.store.rows import PATHS, value


@dataclass(frozen=True, slots=True)
class Image:
    """What an image is found by: its rank (None: it was not ranked), its content and its given label; and its size."""

    rank: int | None
    content_hash: str
    given_label: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Place:
    """Where a picture can be read.

    Attributes:
        address: what ``gradattn_core.dataset.read_image`` takes: a path of this machine, or a URL.
        content_hash: of the picture that the audit saw.
        preview: a smaller copy on this machine, where one was kept because the picture is not a plain file of it.
        width, height: of the original in pixels.
    """

    address: str
    content_hash: str
    preview: Path | None
    width: int
    height: int


def preview_file(directory: Path, content_hash: str) -> Path:
    """Where the preview of a picture is kept below the output folder."""
    return directory / "previews" / content_hash[:2] / f"{content_hash}.webp"


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
        f"""SELECT path, image_rank, content_hash, given_label, width, height FROM images
            WHERE audit_id = ? AND {where} AND path IN {PATHS}""",
        parameters,
    ).fetchall()
    return {path: Image(*facts) for path, *facts in listed}


def places(
    connection: duckdb.DuckDBPyConnection, audit_id: str, paths: Sequence[str], directory: Path, data_root: Path | None
) -> list[Place]:
    """Where each image lies, below ``data_root`` where one is given; see ``Store.images.places``."""
    stored = value(connection.execute("SELECT root FROM audits WHERE audit_id = ?", [audit_id]))
    root = stored if data_root is None else moved(stored, data_root)
    listed = find(connection, audit_id, paths)
    found = []
    for path in paths:
        if path not in listed:
            raise StoreError(f"audit {audit_id} has no image {path!r}")
        image = listed[path]
        address = _address(root, path, audit_id)
        # A folder that somebody named wins over what was kept of the pictures that may lie in it.
        far = is_url(address) and (data_root is None or is_url(path))
        kept = preview_file(directory, image.content_hash)
        preview = kept if far and kept.is_file() else None
        found.append(Place(address, image.content_hash, preview, image.width, image.height))
    return found


def local_file(place: Place) -> Path:
    """Raises:
    StoreError: where the image is no file of its own on this machine.
    """
    if is_url(place.address):
        raise StoreError(f"the image {place.address!r} is no file of its own on this machine")
    return Path(place.address)


def _address(root: str, path: str, audit_id: str) -> str:
    if is_url(root) or is_url(path):
        try:
            return join(root, path)
        except UnreadableImageError as error:
            raise StoreError(f"audit {audit_id}: {error}") from None
    if PurePosixPath(path).is_absolute():
        return path
    # Normalised without looking at the disk: images behind a symbolic link inside the root stay reachable.
    inside = os.path.normpath(path)
    if inside.split(os.sep)[0] == os.pardir:
        raise StoreError(f"the image path {path!r} of audit {audit_id} leaves the dataset's root and is not opened")
    return os.path.join(root, inside)
