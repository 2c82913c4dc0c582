"""What an output folder holds, audit by audit, and which of it can go: nothing that a person has decided or done."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from gradattn_core import outfolder
from gradattn_core.errors import StoreError
from gradattn_core.export import write_candidates
from gradattn_core.files import drafts_of, remove_folder
from gradattn_core.outfolder import AuditFolder
from gradattn_core.store.store import Store

FINISHED, UNFINISHED = "finished", "unfinished"


@dataclass(frozen=True, slots=True)
class KeptAudit:
    """An audit of an output folder.

    Attributes:
        state: ``finished``, or ``unfinished`` while it is made or after it was interrupted.
        when: its end, or where it has none its beginning, ISO 8601 in UTC.
        suspects, decisions: None before it is finished; ``decisions`` are its images with a standing decision.
        work_bytes, feature_bytes: of its folders in ``work`` and in ``features``.
    """

    audit_id: str
    dataset: str
    state: str
    when: str
    images: int
    suspects: int | None
    decisions: int | None
    work_bytes: int
    feature_bytes: int


@dataclass(frozen=True, slots=True)
class Freed:
    """Something that went, or would go, and the bytes that its files had."""

    what: str
    path: str
    bytes: int


def kept_audits(out: Path) -> list[KeptAudit]:
    """All audits of an output folder, the newest first.

    Raises:
        StoreError: the database cannot be read.
    """
    store = Store(out)
    found = []
    if store.database.exists():
        decided = store.audits.decided()
        for row in store.audits.all().to_dict("records"):
            name = str(row["audit_id"])
            spaces = _size(outfolder.work(out) / name), _size(outfolder.features(out) / name)
            when = str(row["finished_at"] or row["started_at"])
            counts = int(row["images"]), int(row["suspects"]), decided.get(name, 0)
            found.append(KeptAudit(name, str(row["dataset"]), FINISHED, when, *counts, *spaces))
    finished = {audit.audit_id for audit in found}
    for files in outfolder.unfinished_folders(out):
        if files.path.name not in finished:
            found.append(_begun(files))
    return sorted(found, key=lambda audit: (audit.when, audit.audit_id), reverse=True)


def clean(out: Path, *, dry_run: bool = False) -> list[Freed]:
    """Remove what no audit of the folder needs: unfinished audits, features that a later audit has superseded,
    drafts of killed processes, previews of pictures that no audit has, and thumbnails.

    Decisions, finished audits, the journal, removed files and original manifests stay.

    Returns:
        what went, or would go with ``dry_run``.

    Raises:
        OutputBusyError: an audit is at work there.
        StoreError: the database cannot be read.
    """
    with outfolder.lock(out):
        freed = [*_unfinished(out), *_superseded(out), *_drafts(out), *_old_pictures(out)]
        for item in [] if dry_run else freed:
            _remove(Path(out, item.path))
    return freed


def clean_audit(out: Path, audit_id: str, *, dry_run: bool = False) -> list[Freed]:
    """Remove one audit, finished or not: its folders, and from the database what is said of it, but no decision.

    Raises:
        OutputBusyError: an audit is at work there.
        StoreError: there is no such audit.
    """
    with outfolder.lock(out):
        store = Store(out)
        known = {audit.audit_id: audit for audit in kept_audits(out)}
        if audit_id not in known:
            raise StoreError(
                f"there is no audit {audit_id!r} in {out}; there are {', '.join(list(known)[:5]) or 'none'}"
            )
        folders = [outfolder.work(out) / audit_id, outfolder.features(out) / audit_id]
        freed = [Freed("folder of the audit", _below(out, each), _size(each)) for each in folders if each.is_dir()]
        if known[audit_id].state == FINISHED:
            freed.append(Freed("rows of the audit, whose place in the database is used again", outfolder.DATABASE, 0))
        if dry_run:
            return freed
        for folder in folders:
            if folder.is_dir():
                _remove(folder)
        if known[audit_id].state == FINISHED:
            store.audits.remove(audit_id)
            if store.audits.all().empty:
                outfolder.candidates(out).unlink(missing_ok=True)
            else:
                write_candidates(store.candidates.page(store.audits.latest_id()), outfolder.candidates(out))
        return freed


def _begun(files: AuditFolder) -> KeptAudit:
    try:
        plan = files.read_plan()
        dataset, when, images = plan["config"]["dataset"], plan["started_at"], plan["images"]
    except (OSError, ValueError, KeyError, TypeError):
        # A damaged plan says nothing of its audit, which takes room all the same.
        dataset, when, images = "", "", 0
    return KeptAudit(
        files.path.name, str(dataset), UNFINISHED, str(when), int(images), None, None, _size(files.path), 0
    )


def _unfinished(out: Path) -> Iterator[Freed]:
    """Work folders; those of a stored audit have its features yet, and the same command clears them up."""
    stored = _stored(out)
    for folder in _folders(outfolder.work(out)):
        if folder.name not in stored:
            yield Freed("unfinished audit", _below(out, folder), _size(folder))


def _superseded(out: Path) -> Iterator[Freed]:
    """Features of which a newer audit of the same dataset has the same kind, and those that nobody can tell."""
    stored = _stored(out)
    seen: set[tuple[str, ...]] = set()
    for folder in reversed(_folders(outfolder.features(out))):
        try:
            mark = AuditFolder(folder).read_mark()
            sweep = (mark["key"], mark["dataset"], mark["root"])
        except (OSError, ValueError, KeyError, TypeError):
            if folder.name not in stored:
                yield Freed("features of no audit", _below(out, folder), _size(folder))
            continue
        if sweep in seen:
            yield Freed("features that a newer audit has", _below(out, folder), _size(folder))
        seen.add(sweep)


def _drafts(out: Path) -> Iterator[Freed]:
    """What killed processes were writing beside the files of the folder."""
    for file in (outfolder.database(out), outfolder.candidates(out), outfolder.listed(out)):
        for draft in drafts_of(file):
            yield Freed("draft of a killed process", draft.name, _size(draft))


def _old_pictures(out: Path) -> Iterator[Freed]:
    """Previews of pictures that no audit has, and thumbnails, which the page makes again."""
    store = Store(out)
    if outfolder.previews(out).is_dir() and store.database.exists():
        contents = store.audits.contents()
        for file in sorted(outfolder.previews(out).glob("*/*.webp")):
            if file.stem not in contents:
                yield Freed("preview of no audit's picture", _below(out, file), _size(file))
    if any(outfolder.thumbnails(out).glob("*")):
        yield Freed("thumbnails", _below(out, outfolder.thumbnails(out)), _size(outfolder.thumbnails(out)))


def _stored(out: Path) -> set[str]:
    store = Store(out)
    return set(store.audits.all()["audit_id"]) if store.database.exists() else set()


def _folders(place: Path) -> list[Path]:
    return sorted(each for each in place.glob("*") if each.is_dir() and not each.is_symlink())


def _below(out: Path, path: Path) -> str:
    return path.relative_to(out).as_posix()


def _remove(path: Path) -> None:
    """Remove a file, or a folder and first in it what says that it is an audit or a sweep."""
    with suppress(FileNotFoundError):
        if path.is_dir() and not path.is_symlink():
            files = AuditFolder(path)
            remove_folder(path, (files.plan.name, files.mark.name))
        else:
            path.unlink()


def _size(path: Path) -> int:
    """Bytes of a file, or of all files below a folder; links are not followed."""
    if not path.is_dir() or path.is_symlink():
        return path.lstat().st_size if os.path.lexists(path) else 0
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            with suppress(OSError):
                total += os.lstat(os.path.join(folder, name)).st_size
    return total
