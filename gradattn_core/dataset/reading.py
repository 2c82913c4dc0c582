"""The bytes of an image, wherever its dataset lies."""

from __future__ import annotations

import stat
from pathlib import Path

from gradattn_core.dataset import remote
from gradattn_core.dataset.address import is_url, join, member, name
from gradattn_core.dataset.archives import read_member
from gradattn_core.dataset.cells import cause
from gradattn_core.dataset.parquet import read_cell
from gradattn_core.dataset.wording import shown
from gradattn_core.errors import UnreadableImageError

MAX_FILE_BYTES = 2**30


def read_bytes(root: str, path: str) -> bytes:
    """Read the image that a dataset with this root lists under ``path``. May be called from many threads at once.

    Raises:
        UnreadableImageError: see :func:`read_file`.
        DatasetError: the package that reads such a URL is not installed.
    """
    return read_address(join(root, path))


def read_address(address: str) -> bytes:
    """Read one file or member, see :mod:`gradattn_core.dataset.address`; raises what :func:`read_bytes` does."""
    if not is_url(address):
        return read_file(Path(address))
    inner = member(address)
    file = shown(name(inner.outer if inner else address))
    try:
        if inner is None:
            data = remote.read(address)
        elif inner.kind == "parquet":
            column, _, row = inner.inside.rpartition("/")
            data = read_cell(column, int(row) if row.isdecimal() else -1, inner.outer)
        else:
            data = read_member(inner.kind, inner.inside, inner.outer)
    except FileNotFoundError:
        raise UnreadableImageError(f"{file} does not exist.") from None
    except PermissionError as error:
        raise UnreadableImageError(f"{file} may not be read: {cause(error)}.") from None
    except (OSError, ValueError) as error:
        raise UnreadableImageError(f"{file} cannot be read: {cause(error)}.") from None
    if not data:
        raise UnreadableImageError(f"{shown(name(address))} is empty (0 bytes).")
    return data


def read_file(path: Path) -> bytes:
    """Read one image file of this machine whole.

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
        if status.st_size > MAX_FILE_BYTES:
            raise UnreadableImageError(f"{name} has {status.st_size:,} bytes, more than {MAX_FILE_BYTES:,}.")
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
