"""A dataset of small files, audited: real files and a real store, no model."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from gradattn_core.apply.corrections import ApplyResult, Corrections, read_corrections
from gradattn_core.apply.in_place import UndoResult, apply_in_place, undo
from gradattn_core.dataset.decoding import content_hash, read_bytes
from gradattn_core.dataset.listing import list_dataset
from gradattn_core.store.store import Store
from tests.helpers.sample_audit import audit_row, tables

JPEG = b"\xff\xd8\xff"


def write_files(root: Path, files: Mapping[str, str]) -> Path:
    """Files that begin like a JPEG and go on with a text; the same text makes the same content."""
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(JPEG + text.encode())
    return root


def audited(source: Path, out: Path, audit_id: str = "first", *, root: str | None = None, **parameters: Any) -> Store:
    """A store with an audit of a dataset as it is listed, all of it suspect; ``root`` is where it is said to lie."""
    listing = list_dataset(source, **parameters)
    images = listing.images
    frames = tables([image.path for image in images], suspects=len(images), given=[image.label for image in images])
    frames["images"]["content_hash"] = [content_hash(read_bytes(listing.root, image.path)) for image in images]
    out.mkdir(parents=True, exist_ok=True)
    store = Store(out)
    place = {"root": root or listing.root, "dataset": root or str(source)}
    row = audit_row(audit_id, **place, parameters=parameters, images=len(images))
    unjudged = [asdict(failure) for failure in (*listing.failures, *listing.skipped)]
    frames["failures"] = pd.DataFrame(unjudged, columns=["path", "stage", "reason", "given_label"])
    store.audits.merge(row, {name: frames[name] for name in ("images", "scores", "failures")})
    return store


def decide(store: Store, decisions: Mapping[str, str | None], audit_id: str = "first") -> None:
    """New labels by path; None takes the image away."""
    for label in dict.fromkeys(decisions.values()):
        paths = [path for path, new in decisions.items() if new == label]
        said = "remove" if label is None else "relabel"
        store.decisions.append_many(audit_id, paths, said, new_label=label, reviewer="ann")


def corrections_of(store: Store, audit_id: str = "first") -> Corrections:
    return read_corrections(store, audit_id, everything=True)


def in_place(store: Store, audit_id: str = "first") -> ApplyResult:
    return apply_in_place(corrections_of(store, audit_id), store.directory, ignored)


def take_back(store: Store) -> UndoResult:
    return undo(store.directory, ignored)


def ignored(done: int, total: int) -> None:
    assert 0 <= done <= total


def snapshot(root: Path) -> dict[str, tuple[int, bytes]]:
    """Every folder, file and link below a folder: its mode, and its bytes or where it leads."""
    found: dict[str, tuple[int, bytes]] = {}
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = Path(folder, name)
            status = path.lstat()
            if path.is_symlink():
                content = os.readlink(path).encode()
            else:
                content = path.read_bytes() if stat.S_ISREG(status.st_mode) else b""
            found[path.relative_to(root).as_posix()] = (status.st_mode, content)
    return found


def labelled(source: Path) -> list[tuple[str, str]]:
    """(content, label) of every image that a listing of the dataset has, sorted."""
    listing = list_dataset(source)
    assert not listing.failures
    return sorted((content_hash(read_bytes(listing.root, image.path)), image.label) for image in listing.images)


def corrected(store: Store, audit_id: str = "first") -> list[tuple[str, str]]:
    """The same of what the corrected manifest has."""
    frame = store.review.corrections(audit_id, everything=True)
    kept = frame[frame["decision"] != "remove"]
    exported = store.review.corrected(audit_id)
    assert list(exported["label"]) == list(kept["label"])
    return sorted(zip(kept["content_hash"], kept["label"], strict=True))


def journal(store: Store) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (store.directory / "applied.jsonl").read_text().splitlines()]
