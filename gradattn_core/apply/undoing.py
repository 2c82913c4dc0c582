"""What was done in place, taken back: from the journal and the files alone, whatever state a kill left them in."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from gradattn_core.apply.corrections import LeftAlone, Progress
from gradattn_core.apply.files import draft_of, has_content, is_half_done, is_there, move
from gradattn_core.apply.journal import Application, Journal, Move, Rewrite
from gradattn_core.dataset.decoding import content_hash
from gradattn_core.errors import ApplyError, StoreError
from gradattn_core.files import clear_drafts, write_output


@dataclass(frozen=True, slots=True)
class Undone:
    """What was taken back.

    Attributes:
        audit_id: the audit whose decisions had been applied.
        files: how many files are back at their old places, the manifest among them.
        left_alone: files that others have changed, moved or replaced since.
    """

    audit_id: str
    files: int
    left_alone: tuple[LeftAlone, ...] = ()


def undo(out: Path, progress: Progress) -> Undone:
    """Take back the newest ``--in-place`` of which anything can be taken back.

    Nothing is overwritten: what others have changed since is left alone and reported, and tried again next time.

    Raises:
        ApplyError: nothing stands that was applied in place.
    """
    journal = Journal(out)
    standing = [application for application in journal.applications() if application.stands]
    if not standing:
        raise ApplyError(f"output folder {out}: nothing was applied in place, or all of it was undone")
    left: list[LeftAlone] = []
    for application in reversed(standing):
        back, refused = _undo_moves(application, progress)
        rewritten = _undo_rewrite(application.rewrite, refused)
        left += refused
        if back or rewritten:
            if len(back) == len(application.moves):
                _remove_empty(application.folders)
            journal.undone(application, back, rewrite=rewritten)
            return Undone(application.audit_id, len(back) + rewritten, tuple(left))
    return Undone(standing[-1].audit_id, 0, tuple(left))


def _undo_moves(application: Application, progress: Progress) -> tuple[list[int], list[LeftAlone]]:
    """The numbers of the moves that are undone now, and what was left alone; the newest move goes first."""
    back: list[int] = []
    left: list[LeftAlone] = []
    for done, step in enumerate(reversed(application.moves.values()), 1):
        reason = _move_back(step)
        if reason is None:
            back.append(step.number)
        else:
            left.append(LeftAlone(step.path, reason))
        progress(done, len(application.moves))
    return back, left


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


def _undo_rewrite(rewrite: Rewrite | None, left: list[LeftAlone]) -> bool:
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
            left.append(LeftAlone(rewrite.file, f"it was changed since; the original is {rewrite.kept}"))
            return False
    except (OSError, StoreError) as error:
        left.append(LeftAlone(rewrite.file, f"it cannot be put back ({error}); the original is {rewrite.kept}"))
        return False
    return True


def _remove_empty(folders: Iterable[str]) -> None:
    """Remove the folders that were made for the files, unless something else is in them now."""
    for folder in sorted(folders, key=len, reverse=True):
        with suppress(OSError):
            os.rmdir(folder)
