"""Large files read piece by piece from many threads: of this machine, remote, or unpacked for as long as we run."""

from __future__ import annotations

import errno
import gzip
import io
import os
import stat
import tempfile
import threading
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import IO

from gradattn_core.dataset import remote
from gradattn_core.dataset.address import is_url, is_web
from gradattn_core.dataset.remote import State

# Headers of a remote tar are read in pieces of this size: few requests, and large pictures are still skipped.
_PIECE = 2**20
_GZIP_ENDINGS = (".gz", ".tgz")
_MOST_UNPACKED, _UNPACKED_PER_BYTE = 2**30, 200


@dataclass(frozen=True, slots=True)
class Blob:
    """A file as a function: ``read(start, end)`` gives the bytes of that range and may be called from any thread."""

    address: str
    state: State
    size: int
    read: Callable[[int, int], bytes]

    def stream(self) -> io.BufferedReader:
        """The same as a file to seek in, for one thread."""
        return io.BufferedReader(_Raw(self), _PIECE if is_url(self.address) else io.DEFAULT_BUFFER_SIZE)


def blob(address: str, *, fresh: bool = False) -> Blob:
    """The file at an address, unpacked first where it is gzipped, copied first where its server sends it whole only.

    What was found once is kept for the process; ``fresh`` looks again. A file of this machine is always looked at.

    Raises:
        OSError: it cannot be read; ``strerror`` says why.
    """
    if not is_url(address):
        found = os.stat(address)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        state = State(found.st_size, found.st_mtime_ns)
        if address.lower().endswith(_GZIP_ENDINGS):
            return _copied(os.getpid(), address, state)
        return Blob(address, state, found.st_size, lambda start, end: _read_local(address, start, end))
    key = os.getpid(), address
    if fresh or key not in _remotes:
        _remotes[key] = _remote(*key)
    return _remotes[key]


_remotes: dict[tuple[int, str], Blob] = {}


def _remote(process: int, address: str) -> Blob:
    facts = remote.info(address)
    if facts.get("type") == "directory":
        raise OSError(errno.EISDIR, "a folder, not a file")
    state = remote.state_of(facts)
    if address.split("?")[0].lower().endswith(_GZIP_ENDINGS) or not _gives_ranges(address, facts.get("size")):
        return _copied(process, address, state)
    return Blob(address, state, state.size, lambda start, end: remote.read(address, start, end))


def _gives_ranges(address: str, size: object) -> bool:
    return bool(size) and (not is_web(address) or len(remote.read(address, 0, 1)) == 1)


@lru_cache(maxsize=64)
def _gate(process: int, address: str) -> threading.Lock:
    return threading.Lock()


_copies: dict[tuple[int, str, State], IO[bytes]] = {}


def _copied(process: int, address: str, state: State) -> Blob:
    """Of a file without a name in the system's temporary folder, which goes when the process ends."""
    key = (process, address, state)
    with _gate(process, address):
        if key not in _copies:
            _copies[key] = _copy(address, state)
        descriptor = _copies[key].fileno()
    size = os.fstat(descriptor).st_size
    return Blob(address, state, size, lambda start, end: os.pread(descriptor, end - start, start))


def _copy(address: str, state: State) -> IO[bytes]:
    target = tempfile.TemporaryFile(prefix="gradattn-")  # noqa: SIM115 - stays open for the process
    try:
        with tempfile.NamedTemporaryFile(prefix="gradattn-") as fetched:
            if is_url(address):
                remote.attempt(address, lambda fs, path: fs.get_file(path, fetched.name))
            source = fetched.name if is_url(address) else address
            with open(source, "rb") as plain:
                zipped = plain.read(2) == b"\x1f\x8b"
                plain.seek(0)
                length = os.fstat(plain.fileno()).st_size
                _pour(gzip.GzipFile(fileobj=plain) if zipped else plain, target, length * _UNPACKED_PER_BYTE)
    except BaseException:
        target.close()
        raise
    return target


def _pour(source: IO[bytes] | gzip.GzipFile, target: IO[bytes], most: int) -> None:
    written = 0
    try:
        while piece := source.read(_PIECE):
            written += len(piece)
            if written > max(most, _MOST_UNPACKED):
                raise OSError(errno.EFBIG, f"unpacks to more than {_UNPACKED_PER_BYTE} times its size")
            target.write(piece)
    except EOFError:
        raise OSError(errno.EINVAL, "damaged: it ends too early") from None
    except zlib.error as error:
        raise OSError(errno.EINVAL, f"damaged: {error}") from None
    target.flush()


def _read_local(address: str, start: int, end: int) -> bytes:
    with open(address, "rb", buffering=0) as file:
        file.seek(start)
        pieces = []
        while start < end and (piece := file.read(end - start)):
            pieces.append(piece)
            start += len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)


class _Raw(io.RawIOBase):
    def __init__(self, source: Blob) -> None:
        self._source, self._at = source, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._source.size}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        end = min(self._at + len(buffer), self._source.size)
        if self._at >= end:
            return 0
        data = self._source.read(self._at, end)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)
