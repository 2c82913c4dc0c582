"""A class folder corrected in place: files move between class folders, removed ones into the output folder."""

from __future__ import annotations

import os
from collections.abc import Container, Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from gradattn_core.apply.corrections import Applied, Image, LeftAlone, Plan, Progress, objection
from gradattn_core.apply.files import has_content, is_half_done, is_there, move
from gradattn_core.apply.journal import REMOVED, Application, Journal, Move
from gradattn_core.apply.names import alternatives, below_class, folder_name
from gradattn_core.errors import ApplyError

# So many moves are written down at once: the wait for the disk is shared, and a kill leaves no more to look after.
_BATCH = 64


def move_files(plan: Plan, out: Path, progress: Progress) -> Applied:
    """Move every relabelled file into its class folder, every removed one below ``out/removed``.

    A run that was interrupted is continued by the same call. Files that are no longer what was decided about, and
    links that would not survive the move, are left alone and reported.

    Raises:
        ApplyError: the dataset is no class folder on this machine, or a label names no folder.
    """
    root = _class_folder(plan)
    changes = plan.changes
    for label in sorted({image.label for image in changes if image.label is not None}):
        folder_name(label)  # refuses before the first move
    journal = Journal(out)
    known = journal.applications()
    begun = known[-1] if known and not known[-1].ended and known[-1].root == str(root) else None
    mover = _Mover(journal, begun or _begin(plan, root), root, out, earlier=known, is_new=begun is None)
    for start in range(0, len(changes), _BATCH):
        mover.move(changes[start : start + _BATCH])
        progress(min(start + _BATCH, len(changes)), len(changes))
    return mover.done()


def _class_folder(plan: Plan) -> Path:
    root = Path(plan.root)
    strange = next((image for image in plan.changes if not image.path.startswith(f"{image.given_label}/")), None)
    if not root.is_absolute() or not root.is_dir() or strange is not None:
        raise ApplyError(
            f"{plan.dataset} (in {plan.root}) is no folder of class folders and no manifest on this machine, so it "
            "cannot be changed in place; give --to DIR or --manifest FILE"
        )
    return root


def _begin(plan: Plan, root: Path) -> Application:
    return Application(f"{datetime.now(UTC):%Y%m%dT%H%M%S.%f}", plan.audit_id, str(root))


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
        # Hidden where a listing of the dataset would take it for a class.
        removed = f".{REMOVED}" if out.resolve().is_relative_to(root.resolve()) else REMOVED
        self._bin = out / removed / application.name
        self._earlier = {known.old: known for before in earlier for known in before.moves.values()}
        self._number = max(application.moves, default=0)
        self._relabelled = self._removed = self._already = 0
        self._left: list[LeftAlone] = []

    def move(self, images: Sequence[Image]) -> None:
        steps: list[Move] = []
        for image in images:
            step = self._step(image, {step.new for step in steps})
            if isinstance(step, Move):
                steps.append(step)
            elif step is not None:
                self._left.append(LeftAlone(image.path, step))
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

    def done(self) -> Applied:
        if not self._is_new:
            self._journal.end(self._application)
        return Applied(self._relabelled, self._removed, already=self._already, left_alone=tuple(self._left))

    def _step(self, image: Image, taken: Container[str]) -> Move | str | None:
        """The move to be made; or why none can be; or None where it was made before."""
        old = self._root / image.path
        known = self._earlier.get(str(old))
        if known is not None and has_content(Path(known.new), image.content_hash):
            if not is_there(old):
                return self._of_moved(image, known)
            if is_half_done(known):
                Path(known.new).unlink()
        new = self._bin / image.path
        if image.label is not None:
            new = self._root / folder_name(image.label) / below_class(image.path, image.given_label)
        reason = objection(str(self._root), image) or self._would_break(old, new)
        if reason is not None:
            return reason
        names = (new.name, *alternatives(image.path, new.name))
        free = (new.with_name(name) for name in names)
        chosen = next((place for place in free if not is_there(place) and str(place) not in taken), None)
        if chosen is None:
            return f"{new.parent} has no free name for it"
        self._number += 1
        return Move(self._number, image.path, str(old), str(chosen), image.label, image.content_hash)

    def _of_moved(self, image: Image, known: Move) -> str | None:
        if known.label == image.label:
            self._already += 1
            return None
        return (
            f"an earlier apply moved it to {known.new}, and its decision is another one now; take that back first with "
            "gradattn apply --undo"
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
            self._left.append(LeftAlone(step.path, f"it cannot be moved to {step.new}: {error.strerror}"))
            return
        if step.label is None:
            self._removed += 1
        else:
            self._relabelled += 1


def _missing(folders: Iterable[Path]) -> list[Path]:
    """The folders that must be made first, parents before their children."""
    found: dict[Path, None] = {}
    for folder in folders:
        missing = [parent for parent in (folder, *folder.parents) if parent not in found and not parent.is_dir()]
        found.update(dict.fromkeys(reversed(missing)))
    return list(found)
