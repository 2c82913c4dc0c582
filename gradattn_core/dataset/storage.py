"""Files that are not on this machine, through fsspec: one filesystem per process and host, and one kind of error.

Every function raises OSError, FileNotFoundError and PermissionError among them, with a ``strerror`` that can be shown,
and DatasetError where no filesystem can be had for the URL.
"""

from __future__ import annotations

import errno
import gzip
import hashlib
import importlib
import io
import os
import re
import stat
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import IO, Any, NamedTuple, TypeVar

from gradattn_core.dataset.address import is_url, is_web, join, parent
from gradattn_core.dataset.secrets import with_secrets, without_secrets
from gradattn_core.dataset.text import shown
from gradattn_core.errors import DatasetError, GradattnError

T = TypeVar("T")

_WILD = re.compile(r"[*?\[]")
_PAUSES = (0.2, 1.0)
# What tells an object's content from an earlier one, the surest first; filesystems name it differently.
_MARKS = (
    *("ETag", "etag", "md5Hash", "Content-MD5", "blob_id", "sha", "checksum", "generation"),
    *("LastModified", "Last-Modified", "last_modified", "last_commit", "updated", "mtime", "modified", "created"),
)


class State(NamedTuple):
    """Size in bytes, and a number that changes when the content does."""

    size: int
    modified: int


def mark(*values: object) -> int:
    """A number in [0, 2^63) that stands for the values."""
    digest = hashlib.blake2b("\0".join(map(str, values)).encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def state(url: str) -> State:
    """Of one file."""
    return state_of(info(url))


def info(url: str) -> Mapping[str, Any]:
    """What the filesystem says of a file or folder: ``type`` and, of a file, ``size`` (None where it does not tell)."""

    def work(fs: Any, path: str) -> Mapping[str, Any]:
        fs.invalidate_cache(path)
        found: Mapping[str, Any] = fs.info(path)
        return found

    return attempt(url, work)


def find(url: str) -> list[tuple[str, State]]:
    """Every file below a folder with its path relative to it, from one listing."""

    def work(fs: Any, path: str) -> Mapping[str, Any]:
        fs.invalidate_cache()
        found: Mapping[str, Any] = fs.find(path, detail=True)
        return found or {path: fs.info(path)}  # which says why there is nothing

    return _relative(url, attempt(url, work).values())


def children(url: str) -> list[tuple[str, State]]:
    """The files directly in a folder."""

    def work(fs: Any, path: str) -> list[Mapping[str, Any]]:
        fs.invalidate_cache()
        found: list[Mapping[str, Any]] = fs.ls(path, detail=True)
        return found

    return _relative(url, attempt(url, work))


def glob(url: str) -> list[str]:
    """The addresses of the files that match a pattern, sorted."""
    base = parent(_WILD.split(url, maxsplit=1)[0] + "x")
    _, above = _opened(base)

    def work(fs: Any, path: str) -> list[str]:
        fs.invalidate_cache()
        return [join(base, name.removeprefix(above).lstrip("/")) for name in fs.glob(path)]

    return sorted(attempt(url, work))


def read(url: str, start: int | None = None, end: int | None = None) -> bytes:
    """The bytes of a file, or the range [start, end) of them."""
    data: bytes = attempt(url, lambda fs, path: fs.cat_file(path, start=start, end=end))
    return data


def attempt(url: str, work: Callable[[Any, str], T]) -> T:
    """Let ``work`` use the filesystem and the path of the URL; what may pass is tried again a little later."""
    fs, path = _opened(url)
    for pause in _PAUSES:
        try:
            return _once(fs, path, work)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
        time.sleep(pause)
    return _once(fs, path, work)


def _once(fs: Any, path: str, work: Callable[[Any, str], T]) -> T:
    try:
        return work(fs, path)
    except GradattnError:
        raise
    except Exception as error:  # each filesystem has errors of its own, few of them OSErrors
        raise _plain(error) from None


def _opened(url: str) -> tuple[Any, str]:
    secret = with_secrets(url)
    scheme, rest = secret.split("://", 1)
    # Web addresses need their host only when they are opened.
    place = f"{scheme}://" if is_web(url) else f"{scheme}://{rest.partition('/')[0]}"
    fs = _filesystem(os.getpid(), place)
    return fs, str(fs._strip_protocol(secret))


@lru_cache(maxsize=64)
def _filesystem(process: int, place: str) -> Any:
    """One filesystem for all threads: what is inherited by a forked process is never used there."""
    core = importlib.import_module("fsspec.core")
    registry = importlib.import_module("fsspec.registry")
    scheme = place.split("://")[0]
    options: dict[str, Any] = {"skip_instance_cache": True}
    try:
        if is_web(place):
            # a server that falls silent must not hold a thread for fsspec's five minutes
            timeout = importlib.import_module("aiohttp").ClientTimeout(total=None, sock_connect=10, sock_read=30)
            options["client_kwargs"] = {"timeout": timeout}
        return core.url_to_fs(place, **options)[0]
    except ImportError as error:
        known = registry.known_implementations.get(scheme, {}).get("class", "fsspec").split(".")[0]
        package = known if known != "fsspec" else (error.name or "a package")
        raise DatasetError(
            f"{scheme}:// needs the package {package.replace('_', '-')}, which is not installed: "
            f"pip install {package.replace('_', '-')}."
        ) from None
    except ValueError as error:
        if scheme in registry.known_implementations:
            raise DatasetError(f"{shown(without_secrets(place))} cannot be used: {_words(error)}.") from None
        raise DatasetError(
            f"{shown(scheme + '://')} is no known storage; s3://, gs://, abfs://, hf://, https:// and sftp:// are."
        ) from None


def _relative(url: str, found: Iterable[Mapping[str, Any]]) -> list[tuple[str, State]]:
    _, path = _opened(url)
    below = f"{path.rstrip('/')}/"
    files = [entry for entry in found if entry.get("type") == "file"]
    return [(str(entry["name"]).removeprefix(below), state_of(entry)) for entry in files if str(entry["name"]) != path]


def state_of(entry: Mapping[str, Any]) -> State:
    """The state in what :func:`info` gave."""
    known = next((entry[name] for name in _MARKS if entry.get(name)), "")
    size = int(entry.get("size") or 0)
    # Without a validator nothing tells a changed file.
    return State(size, mark(size, known) if known else 0)


def _plain(error: Exception) -> OSError:
    if type(error.__cause__).__module__.startswith("aiohttp"):
        error = error.__cause__  # type: ignore[assignment]  # fsspec calls whatever a web server says "not found"
    status = getattr(error, "status", None)
    if isinstance(error, FileNotFoundError) or status in (404, 410):
        return FileNotFoundError(errno.ENOENT, "does not exist")
    if isinstance(error, PermissionError) or status in (401, 403) or "Credentials" in type(error).__name__:
        return PermissionError(errno.EACCES, "no permission; give credentials in the environment")
    if isinstance(error, (IsADirectoryError, NotADirectoryError, NotImplementedError, ValueError)):
        return OSError(errno.EINVAL, _words(error))
    return OSError(errno.EIO, _words(error))


def _words(error: Exception) -> str:
    said = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return without_secrets(" ".join(str(said).split()))[:200].rstrip(".")


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
    facts = info(address)
    if facts.get("type") == "directory":
        raise OSError(errno.EISDIR, "a folder, not a file")
    state = state_of(facts)
    if address.split("?")[0].lower().endswith(_GZIP_ENDINGS) or not _gives_ranges(address, facts.get("size")):
        return _copied(process, address, state)
    return Blob(address, state, state.size, lambda start, end: read(address, start, end))


def _gives_ranges(address: str, size: object) -> bool:
    return bool(size) and (not is_web(address) or len(read(address, 0, 1)) == 1)


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
                attempt(address, lambda fs, path: fs.get_file(path, fetched.name))
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
