"""The audited dataset itself corrected, and that taken back.

What was done is undone from the journal and the files alone, whatever state a kill left them in.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from gradattn_core import outfolder
from gradattn_core.apply.corrections import ApplyResult, Corrections, Progress, UntouchedFile, require_dataset
from gradattn_core.apply.journal import Application, Journal, ManifestChange, Move
from gradattn_core.apply.manifest import rewrite_manifest
from gradattn_core.apply.moves import draft_of, has_content, is_half_done, is_there, move, move_files
from gradattn_core.dataset.decoding import content_hash
from gradattn_core.errors import ApplyError, StoreError
from gradattn_core.files import clear_drafts, write_output


@dataclass(frozen=True, slots=True)
class UndoResult:
    """What was taken back.

    Attributes:
        audit_id: the audit whose decisions had been applied.
        files: how many files are back at their old places, the manifest among them.
        left_alone: files that others have changed, moved or replaced since.
    """

    audit_id: str
    files: int
    left_alone: tuple[UntouchedFile, ...] = ()


def apply_in_place(corrections: Corrections, out: Path, progress: Progress) -> ApplyResult:
    """Change the audited dataset itself: move files between class folders, or rewrite the manifest.

    Args:
        corrections: the images that change are enough.
        out: the output folder, for the journal, removed files and original manifests.

    Raises:
        ApplyError: the dataset is neither on this machine, or a label cannot be applied; nothing is changed then.
        OutputBusyError: an audit is at work there, which would miss the files that are moved meanwhile.
    """
    require_dataset(corrections)
    if corrections.are_boxes:
        raise ApplyError(
            f"{corrections.dataset} is annotated boxes, which are corrected in a new file and not in place; give --to "
            "DIR, or --manifest FILE.json for annotations of COCO"
        )
    _refuse_other_labels(corrections)
    with outfolder.lock(out):
        if corrections.manifest is not None:
            return rewrite_manifest(corrections, corrections.manifest, out.absolute(), progress)
        return move_files(corrections, out.absolute(), progress)


def _refuse_other_labels(corrections: Corrections) -> None:
    """Refuse a dataset whose audited labels are not those that stand in it: there is no one place for a new one."""
    selection = corrections.selection
    options = {
        "--label-depth": selection.label_depth not in (None, "1"),
        "--merge-spellings": selection.merge_spellings,
    }
    asked = " and ".join(option for option, is_on in options.items() if is_on)
    if asked and corrections.changes:
        raise ApplyError(
            f"{corrections.dataset} was audited with {asked}, so its labels do not stand in it as they were judged, "
            "and it cannot be changed in place; give --to DIR or --manifest FILE"
        )


def undo(out: Path, progress: Progress) -> UndoResult:
    """Take back the newest :func:`apply_in_place` of an output folder of which anything can be taken back.

    Nothing is overwritten: what others have changed since is left alone and reported, and tried again next time.

    Raises:
        ApplyError: nothing stands that was applied in place.
        OutputBusyError: as for :func:`apply_in_place`.
    """
    with outfolder.lock(out):
        journal = Journal(out)
        standing = [application for application in journal.applications() if application.stands]
        if not standing:
            raise ApplyError(f"output folder {out}: nothing was applied in place, or all of it was undone")
        untouched: list[UntouchedFile] = []
        for application in reversed(standing):
            moves, refused = _undo_moves(application, progress)
            rewritten = _undo_rewrite(application.rewrite, refused)
            untouched += refused
            if moves or rewritten:
                if len(moves) == len(application.moves):
                    _remove_empty(application.folders)
                journal.record_undo(application, moves, rewrite=rewritten)
                return UndoResult(application.audit_id, len(moves) + rewritten, tuple(untouched))
        return UndoResult(standing[-1].audit_id, 0, tuple(untouched))


def _undo_moves(application: Application, progress: Progress) -> tuple[list[int], list[UntouchedFile]]:
    """The numbers of the moves that are undone now, and what was left alone; the newest move goes first."""
    moves: list[int] = []
    untouched: list[UntouchedFile] = []
    for done, step in enumerate(reversed(application.moves.values()), 1):
        reason = _move_back(step)
        if reason is None:
            moves.append(step.number)
        else:
            untouched.append(UntouchedFile(step.path, reason))
        progress(done, len(application.moves))
    return moves, untouched


def _move_back(step: Move) -> str | None:
    """Bring one file back; the reason where that would harm something."""
    old, new = Path(step.old), Path(step.new)
    for draft in (draft_of(new), draft_of(old)):
        with suppress(OSError):
            draft.unlink(missing_ok=True)
    if not is_there(new):
        if has_content(old, step.content_hash):
            return None
        return f"it is neither at its old place nor at {new} any more"
    if not has_content(new, step.content_hash):
        return f"{new} was changed since"
    if is_there(old) and not is_half_done(step):
        return f"another file is at its old place; it stays at {new}"
    try:
        if is_there(old):
            new.unlink()
        else:
            old.parent.mkdir(parents=True, exist_ok=True)
            move(new, old)
    except (FileExistsError, NotADirectoryError, PermissionError) as error:
        return f"it cannot be moved back from {new}: {error.strerror}"
    return None


def _undo_rewrite(rewrite: ManifestChange | None, untouched: list[UntouchedFile]) -> bool:
    """Put the original manifest back; whether it is there now."""
    if rewrite is None:
        return False
    file = Path(rewrite.file)
    try:
        clear_drafts(file)
        now = content_hash(file.read_bytes())
        if now == rewrite.after:
            write_output(file, Path(rewrite.kept).read_bytes())
        elif now != rewrite.before:
            untouched.append(UntouchedFile(rewrite.file, f"it was changed since; the original is {rewrite.kept}"))
            return False
    except (OSError, StoreError) as error:
        reason = f"it cannot be put back ({error}); the original is {rewrite.kept}"
        untouched.append(UntouchedFile(rewrite.file, reason))
        return False
    return True


def _remove_empty(folders: Iterable[str]) -> None:
    """Remove the folders that were made for the files, unless something else is in them now."""
    for folder in sorted(folders, key=len, reverse=True):
        with suppress(OSError):
            os.rmdir(folder)
