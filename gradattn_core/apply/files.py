"""A file from one place to another: never over another file, and never lost when the process is killed in between."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

from gradattn_core.apply.journal import Move
from gradattn_core.dataset.decoding import content_hash, read_file
from gradattn_core.errors import UnreadableImageError
from gradattn_core.files import sync_folder


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


def is_same(old: Path, new: Path) -> bool:
    """Whether two names are those of one file."""
    return os.path.samestat(old.lstat(), new.lstat())


def is_half_done(step: Move) -> bool:
    """Whether a file that is at its new place is still at the old one too, because a kill came in between."""
    old, new = Path(step.old), Path(step.new)
    # From disk to disk it is a copy. Where removed files are kept nobody else puts any.
    return is_same(old, new) or (step.label is None and has_content(old, step.content_hash))


def has_content(file: Path, expected: str) -> bool:
    """Whether a readable file is there whose content has this hash."""
    try:
        return content_hash(read_file(file)) == expected
    except UnreadableImageError:
        return False


def is_there(file: Path) -> bool:
    """Whether anything has this name, a broken link too."""
    return os.path.lexists(file)


def draft_of(new: Path) -> Path:
    """Where a file that comes from another disk is put together; hidden, and the same when it is tried again."""
    return new.with_name(f".part-{content_hash(new.name.encode())}")


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
