"""Files that are whole or not there: written under another name beside their place, then renamed.

Whoever reads at any moment, also after a kill or a power cut, finds the earlier file or the new one.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from gradattn_core.errors import StoreError

if TYPE_CHECKING:
    import pyarrow as pa

# Names of what a process has open already, as a shell passes them: `>(gzip > x.gz)`, `-o /dev/stdout`.
_OPEN = re.compile(r"/dev/fd/(\d+)|/proc/(?:self|thread-self)/fd/(\d+)|/dev/std(in|out|err)")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/[^/]")  # as a path has it: of s3://bucket one slash is left
_STANDARD = {"in": 0, "out": 1, "err": 2}
_LONGEST = 255 - len(f"..{'0' * 32}")
"""Bytes of a file's name that its draft's can repeat."""


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a draft beside ``path``, then rename it. The permissions of an earlier file stay.

    Raises:
        OSError: the file cannot be written; an earlier one is untouched then, and nothing else is left behind.
    """
    draft = new_draft(path)
    try:
        write(draft)
        with draft.open("r+b") as file:
            os.fsync(file.fileno())
        with suppress(FileNotFoundError):
            shutil.copymode(path, draft)
        draft.replace(path)
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write bytes whole."""
    write_whole(path, lambda draft: draft.write_bytes(content))


def write_text(path: Path, text: str) -> None:
    """Write a text whole."""
    write_bytes(path, text.encode())


def write_parquet(path: Path, table: pa.Table) -> None:
    """Write a table whole."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    leaves = [leaf for field in table.schema for leaf in _leaves(field.name, field.type)]
    texts = [name for name, kind in leaves if not _is_number(kind)]
    options: dict[str, object] = {
        "compression": "zstd",
        # So that a damaged file is found out before its numbers are taken for true.
        "write_page_checksum": True,
        # Numbers hardly ever repeat: looking for repeats and for the greatest of them takes most of the time.
        "use_dictionary": texts,
        "write_statistics": texts,
        # First bytes beside first bytes, which are alike.
        "column_encoding": {name: "BYTE_STREAM_SPLIT" for name, kind in leaves if pa.types.is_floating(kind)},
    }
    write_whole(path, lambda draft: pq.write_table(table, draft, **options))


def _leaves(name: str, kind: pa.DataType) -> Iterator[tuple[str, pa.DataType]]:
    """What Parquet keeps apart of a column, each by the name that it has there."""
    import pyarrow as pa

    if pa.types.is_struct(kind):
        for field in kind:
            yield from _leaves(f"{name}.{field.name}", field.type)
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        yield from _leaves(f"{name}.list.element", kind.value_type)
    else:
        yield name, kind


def _is_number(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def is_whole(file: Path) -> bool:
    """Whether a file of tables or tensors can be read from end to end, checksums included where it has them."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from safetensors import SafetensorError, safe_open

    try:
        if file.suffix == ".safetensors":
            with safe_open(file, "np") as tensors:
                return bool(tensors.keys())
        with pq.ParquetFile(file, page_checksum_verification=True) as table:
            for _ in table.iter_batches():
                pass
        return True
    except (OSError, ValueError, pa.ArrowException, SafetensorError):
        return False


def write_output(path: Path, content: bytes) -> None:
    """Write to where the user points: a file for good when this returns; a device, a pipe or a link as what it is.

    A link is followed, so that the file behind it changes. What is no regular file is written to, never replaced.

    Raises:
        StoreError: it cannot be written; an earlier file is untouched then.
    """
    try:
        opened = _OPEN.fullmatch(str(path))
        if opened is not None:
            with os.fdopen(os.dup(_descriptor(opened)), "wb") as stream:
                stream.write(content)
        elif _is_special(path):
            with path.open("wb") as stream:
                stream.write(content)
        else:
            target = Path(os.path.realpath(path)) if path.is_symlink() else path
            if target.is_dir():
                raise StoreError(f"{path} is a folder; name a file in it")
            write_bytes(target, content)
            sync_folder(target.parent)
    except BrokenPipeError:
        raise
    except OSError as error:
        if _URL.match(str(path)) and not path.parent.is_dir():
            raise StoreError(f"cannot write {path}: that is a URL; name a file of this machine") from error
        raise StoreError(f"cannot write {path}: {error.strerror}; choose another file or make room") from error


def user_path(text: str | Path) -> Path:
    """A path as somebody typed it, with ``~`` for a home; that of a user who is not here stays as it is."""
    # Not Path.expanduser, which raises RuntimeError then.
    return Path(os.path.expanduser(text))


def new_draft(path: Path) -> Path:
    """A name beside a file for what will become it."""
    # Processes of two machines may have one number, and may write the same file when a lost one turns out to live.
    return path.with_name(f"{_draft_prefix(path)}{uuid4().hex}")


def drafts_of(path: Path) -> list[Path]:
    """What processes are writing to become a file, or were when they were killed; a database's logs too."""
    draft = re.compile(rf"{re.escape(_draft_prefix(path))}[0-9a-f]{{32}}(\.wal)?")
    return [path.with_name(entry) for entry in sorted(os.listdir(path.parent)) if draft.fullmatch(entry)]


def clear_drafts(path: Path) -> None:
    """Remove :func:`drafts_of` a file; whoever is still at work on one must find the file in its place."""
    for draft in drafts_of(path):
        with suppress(OSError):
            draft.unlink()


def _draft_prefix(path: Path) -> str:
    """The name that drafts of a file begin with: its own, but for what would make theirs longer than names can be."""
    name = os.fsencode(path.name)
    return f".{path.name}." if len(name) <= _LONGEST else f".{name[: _LONGEST - 8].decode(errors='ignore')}."


def _descriptor(opened: re.Match[str]) -> int:
    number = opened[1] or opened[2]
    return int(number) if number else _STANDARD[opened[3]]


def _is_special(path: Path) -> bool:
    """Whether something is there that is neither a file nor a folder: a device, a named pipe, a socket."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def sync_folder(folder: Path) -> None:
    """Make a rename itself survive a power cut, where the system can sync folders."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def remove_folder(folder: Path, first: Sequence[str]) -> None:
    """Remove a folder, and in it the files that say what it is before all others: killed in between, it is nothing."""
    for name in first:
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder)


def digest(path: Path) -> str:
    """32 hexadecimal digits that tell the file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
