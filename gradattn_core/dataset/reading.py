"""The bytes of an image, wherever its dataset lies."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from gradattn_core.dataset.wording import shown
from gradattn_core.errors import UnreadableImageError

_MAX_FILE_BYTES = 2**30


def read_bytes(root: str, path: str) -> bytes:
    """Read the image that a dataset with this root lists under ``path``. May be called from many threads at once.

    Raises:
        UnreadableImageError: see :func:`read_file`.
    """
    return read_file(Path(os.path.join(root, path)))


def read_file(path: Path) -> bytes:
    """Read one image file whole.

    Raises:
        UnreadableImageError: it cannot be read, is empty, or too large; the message names it without its folder.
    """
    name = shown(path.name)
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise UnreadableImageError(f"{name} is a folder, not an image.")
        if not stat.S_ISREG(status.st_mode):  # a named pipe would block for ever
            raise UnreadableImageError(f"{name} is not a regular file.")
        if status.st_size > _MAX_FILE_BYTES:
            raise UnreadableImageError(f"{name} has {status.st_size:,} bytes, more than {_MAX_FILE_BYTES:,}.")
        data = path.read_bytes()
    except FileNotFoundError:
        raise UnreadableImageError(f"{name} does not exist.") from None
    except PermissionError:
        raise UnreadableImageError(f"{name} may not be read: no permission.") from None
    except (OSError, ValueError) as error:
        raise UnreadableImageError(f"{name} cannot be read: {getattr(error, 'strerror', None) or error}.") from None
    if not data:
        raise UnreadableImageError(f"{name} is empty (0 bytes).")
    return data
