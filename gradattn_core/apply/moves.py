"""A class folder corrected in place: files move between class folders, removed ones into the output folder.

A file is never moved over another one, and never lost when the process is killed in between.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Container, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from gradattn_core import outfolder
from gradattn_core.apply.corrections import (
    ApplyResult,
    AuditedImage,
    Corrections,
    Progress,
    UntouchedFile,
    objection,
)
from gradattn_core.apply.journal import Application, Journal, Move, new_name
from gradattn_core.apply.names import alternatives, below_class, folder_name
from gradattn_core.dataset.decoding import content_hash, read_address
from gradattn_core.dataset.text import shown
from gradattn_core.errors import ApplyError, UnreadableImageError
from gradattn_core.files import sync_folder

# So many moves are written down at once: the wait for the disk is shared, and a kill leaves no more to look after.
_BATCH = 64


def move_files(corrections: Corrections, out: Path, progress: Progress) -> ApplyResult:
    """Move every relabelled file into its class folder, every removed one below ``out/removed``.

    A run that was interrupted is continued by the same call. Files that are no longer what was decided about, and
    links that would not survive the move, are left alone and reported.

    Raises:
        ApplyError: the dataset is no class folder on this machine, or a label names no folder.
    """
    root = _class_folder(corrections)
    changes = corrections.changes
    for label in sorted({image.label for image in changes if image.label is not None}):
        folder_name(label)  # refuses before the first move
    journal = Journal(out)
    earlier = journal.applications()
    last = earlier[-1] if earlier else None
    unfinished = last if last is not None and not last.ended and last.root == str(root) else None
    application = unfinished or Application(new_name(), corrections.audit_id, str(root))
    mover = _Mover(journal, application, root, out, earlier=earlier, is_new=unfinished is None)
    for start in range(0, len(changes), _BATCH):
        mover.move(changes[start : start + _BATCH])
        progress(min(start + _BATCH, len(changes)), len(changes))
    return mover.done()


def move(old: Path, new: Path) -> None:
    """Move a file or symbolic link; a kill leaves it at the old place, the new one, or both.

    Raises:
        FileExistsError: something is at the new place.
    """
    try:
        # Unlike a rename, a link refuses to replace what is there.
        os.link(old, new, follow_symlinks=False)
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno == errno.EXDEV:
            _copy(old, new)
        else:
            _rename(old, new)
            return
    old.unlink()


def is_half_done(step: Move) -> bool:
    """Whether a file that is at its new place is still at the old one too, because a kill came in between."""
    old, new = Path(step.old), Path(step.new)
    # From disk to disk it is a copy. Where removed files are kept nobody else puts any.
    return os.path.samestat(old.lstat(), new.lstat()) or (step.label is None and has_content(old, step.content_hash))


def has_content(file: Path, expected: str) -> bool:
    """Whether a readable file is there whose content has this hash."""
    try:
        return content_hash(read_address(os.fspath(file))) == expected
    except UnreadableImageError:
        return False


def is_there(file: Path) -> bool:
    """Whether anything has this name, a broken link too."""
    return os.path.lexists(file)


def draft_of(new: Path) -> Path:
    """Where a file that comes from another disk is put together; hidden, and the same when it is tried again."""
    return new.with_name(f".part-{content_hash(new.name.encode())}")


def _class_folder(corrections: Corrections) -> Path:
    root = Path(corrections.root)
    strange = next((image for image in corrections.changes if not image.path.startswith(f"{image.given_label}/")), None)
    if not root.is_absolute() or not root.is_dir() or strange is not None:
        raise ApplyError(
            f"{corrections.dataset} (in {corrections.root}) is no folder of class folders and no manifest on this "
            "machine, so it cannot be changed in place; give --to DIR or --manifest FILE"
        )
    return root


class _Mover:
    """Writes down and moves, batch by batch."""

    def __init__(
        self,
        journal: Journal,
        application: Application,
        root: Path,
        out: Path,
        *,
        earlier: Sequence[Application],
        is_new: bool,
    ) -> None:
        self._journal, self._application, self._root, self._is_new = journal, application, root, is_new
        removed = outfolder.removed(out)
        if out.resolve().is_relative_to(root.resolve()):
            removed = removed.with_name(f".{removed.name}")  # else a listing of the dataset would take it for a class
        self._bin = removed / application.name
        self._earlier = {step.old: step for application in earlier for step in application.moves.values()}
        self._number = max(application.moves, default=0)
        self._relabelled = self._removed = self._already = 0
        self._untouched: list[UntouchedFile] = []
        self._escaped: dict[str, str] = {}

    def move(self, images: Sequence[AuditedImage]) -> None:
        steps: list[Move] = []
        for image in images:
            step = self._step(image, {step.new for step in steps})
            if isinstance(step, Move):
                steps.append(step)
            elif step is not None:
                self._untouched.append(UntouchedFile(image.path, step))
        if not steps:
            return
        if self._is_new:
            self._journal.begin(self._application)
            self._is_new = False
        folders = _missing([Path(step.new).parent for step in steps])
        self._journal.intend(self._application, folders=folders, steps=steps)
        for folder in folders:
            with suppress(FileExistsError, NotADirectoryError):  # a file is in the way of the moves into it
                folder.mkdir()
        for step in steps:
            self._carry_out(step)

    def done(self) -> ApplyResult:
        if not self._is_new:
            self._journal.end(self._application)
        return ApplyResult(
            *(self._relabelled, self._removed),
            already=self._already,
            left_alone=tuple(self._untouched),
            notes=tuple(
                f"{shown(label, 60)} names no folder, so it is in {shown(folder, 60)}, which is the label of an audit "
                "of this folder from now on; --to writes a manifest with every label to the letter"
                for label, folder in sorted(self._escaped.items())
            ),
        )

    def _step(self, image: AuditedImage, targets: Container[str]) -> Move | str | None:
        """The move to be made; or why none can be; or None where it was made before."""
        old = self._root / image.path
        earlier = self._earlier.get(str(old))
        if earlier is not None and has_content(Path(earlier.new), image.content_hash):
            if not is_there(old):
                return self._refuse_second_move(image, earlier)
            if is_half_done(earlier):
                Path(earlier.new).unlink()
        new = self._bin / image.path
        if image.label is not None:
            new = self._root / folder_name(image.label) / below_class(image.path, image.given_label)
        reason = objection(str(self._root), image) or self._would_break(old, new)
        if reason is not None:
            return reason
        names = (new.name, *alternatives(image.path, new.name))
        free = (new.with_name(name) for name in names)
        target = next((place for place in free if not is_there(place) and str(place) not in targets), None)
        if target is None:
            return f"{new.parent} has no free name for it"
        self._number += 1
        return Move(self._number, image.path, str(old), str(target), image.label, image.content_hash)

    def _refuse_second_move(self, image: AuditedImage, earlier: Move) -> str | None:
        if earlier.label == image.label:
            self._already += 1
            return None
        return (
            f"an earlier apply moved it to {earlier.new}, and its decision is another one now; take that back first "
            "with gradattn apply --undo"
        )

    def _would_break(self, old: Path, new: Path) -> str | None:
        """Why a move would reach beyond the dataset, or leave a link that leads nowhere."""
        root = self._root.resolve()
        if not old.parent.resolve().is_relative_to(root):
            return "it lies behind a link that leaves the dataset"
        if not new.is_relative_to(self._bin) and not new.parent.resolve().is_relative_to(root):
            return f"the folder {new.parent} is a link that leaves the dataset"
        if old.is_symlink():
            if old.resolve().is_relative_to(root):
                return "it is a link to another file of the dataset"
            if (new.parent.resolve() / os.readlink(old)).resolve() != old.resolve():
                return "it is a relative link, which leads elsewhere from its new place"
        return None

    def _carry_out(self, step: Move) -> None:
        try:
            move(Path(step.old), Path(step.new))
        except (FileExistsError, FileNotFoundError, NotADirectoryError, PermissionError) as error:
            self._untouched.append(UntouchedFile(step.path, f"it cannot be moved to {step.new}: {error.strerror}"))
            return
        if step.label is None:
            self._removed += 1
        else:
            self._relabelled += 1
            folder = folder_name(step.label)
            if folder != step.label:
                self._escaped[step.label] = folder


def _missing(folders: Iterable[Path]) -> list[Path]:
    """The folders that must be made first, parents before their children."""
    result: dict[Path, None] = {}
    for folder in folders:
        missing = [parent for parent in (folder, *folder.parents) if parent not in result and not parent.is_dir()]
        result.update(dict.fromkeys(reversed(missing)))
    return list(result)


def _rename(old: Path, new: Path) -> None:
    """For file systems without hard links; nobody else writes there between the two calls, as far as we know."""
    if is_there(new):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(new))
    old.rename(new)


def _copy(old: Path, new: Path) -> None:
    """To another disk, whole and on it before the caller lets go of the original."""
    draft = draft_of(new)
    draft.unlink(missing_ok=True)
    if old.is_symlink():
        draft.symlink_to(os.readlink(old))
    else:
        shutil.copy2(old, draft)
        with draft.open("rb") as file:
            os.fsync(file.fileno())
    move(draft, new)
    sync_folder(new.parent)
