"""Files wherever they lie: listed and read through fsspec, or opened so that any part of them can be read.

Every function raises OSError, FileNotFoundError and PermissionError among them, with a ``strerror`` that can be shown,
and DatasetError where no filesystem can be had for the URL. There is one filesystem per process and host.
"""

from __future__ import annotations

import bz2
import errno
import gzip
import hashlib
import importlib
import io
import lzma
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
from typing import IO, Any, NamedTuple, TypeVar, cast

from gradattn_core.dataset.address import is_url, is_web, join, parent
from gradattn_core.dataset.secrets import with_secrets, without_secrets
from gradattn_core.dataset.text import shown
from gradattn_core.errors import DatasetError, GradattnError

T = TypeVar("T")

_WILDCARD = re.compile(r"[*?\[]")
_PAUSES = (0.2, 1.0)
_LATEST = 2**63 - 1
# What tells an object's content from an earlier one, the surest first; filesystems name it differently.
_VALIDATORS = (
    *("ETag", "etag", "md5Hash", "Content-MD5", "blob_id", "sha", "checksum", "generation"),
    *("LastModified", "Last-Modified", "last_modified", "last_commit", "updated", "mtime", "modified", "created"),
)
# Headers of a remote tar are read in pieces of this size: few requests, and large pictures are still skipped.
_PIECE_BYTES = 2**20
# How fsspec says which package a storage needs, where it is not the one that the storage's class is in.
_QUOTED, _INSTALL = re.compile(r'"([\w.-]+)"'), re.compile(r"[Ii]nstall (?:the )?([\w.-]+)")
_PACKAGES = {
    "libarchive": "libarchive-c",
    "dask": "distributed",
    "root": "fsspec-xrootd",
    "hdfs": "pyarrow",
    "arrow_hdfs": "pyarrow",
}
_PACKED_ENDINGS = (".gz", ".tgz", ".bz2", ".tbz2", ".xz", ".txz")
_UNPACKING: tuple[tuple[bytes, Callable[[IO[bytes]], IO[bytes]]], ...] = (
    (b"\x1f\x8b", lambda packed: cast("IO[bytes]", gzip.GzipFile(fileobj=packed))),
    (b"BZh", lambda packed: cast("IO[bytes]", bz2.BZ2File(packed))),
    (b"\xfd7zXZ\0", lambda packed: cast("IO[bytes]", lzma.LZMAFile(packed))),  # noqa: SIM115 - whoever asks closes it
)
_MAX_UNPACKED, _MAX_UNPACKED_RATIO = 2**30, 200


class Stamp(NamedTuple):
    """Tells a changed file cheaply: its size in bytes, and a number that changes when the content does.

    ``changed`` follows from change time and inode of a file of this machine, of a member from those of its container:
    it differs where two files of one size and time have changed places. It is 0 where the two others say enough.
    """

    size: int
    modified: int
    changed: int = 0


@dataclass(frozen=True, slots=True)
class RandomAccessFile:
    """A file as a function: ``read(start, end)`` gives the bytes of that range and may be called from any thread."""

    address: str
    stamp: Stamp
    size: int
    read: Callable[[int, int], bytes]

    def stream(self) -> io.BufferedReader:
        """The same as a file to seek in, for one thread."""
        return io.BufferedReader(_Stream(self), _PIECE_BYTES if is_url(self.address) else io.DEFAULT_BUFFER_SIZE)


def digest(*values: object) -> int:
    """A number in [0, 2^63) that stands for the values."""
    text = "\0".join(map(str, values)).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1


def stamp_of(status: os.stat_result) -> Stamp:
    """Of a file of this machine."""
    # Some clocks are set beyond the year 2262, the last one whose nanoseconds a column of numbers holds.
    return Stamp(status.st_size, min(status.st_mtime_ns, _LATEST), digest(status.st_ctime_ns, status.st_ino))


def stamp(url: str) -> Stamp:
    """Of one file."""
    return _stamp_of(_info(url))


def files_below(url: str) -> list[tuple[str, Stamp]]:
    """Every file below a folder with its path relative to it, from one listing."""

    def find(fs: Any, path: str) -> Mapping[str, Any]:
        fs.invalidate_cache()
        entries: Mapping[str, Any] = fs.find(path, detail=True)
        return entries or {path: fs.info(path)}  # which says why there is nothing

    return _relative(url, with_filesystem(url, find).values())


def files_in(url: str) -> list[tuple[str, Stamp]]:
    """The files directly in a folder."""

    def children(fs: Any, path: str) -> list[Mapping[str, Any]]:
        fs.invalidate_cache()
        entries: list[Mapping[str, Any]] = fs.ls(path, detail=True)
        return entries

    return _relative(url, with_filesystem(url, children))


def glob(url: str) -> list[str]:
    """The addresses of the files that match a pattern, sorted."""
    base = parent(_WILDCARD.split(url, maxsplit=1)[0] + "x")
    _, above = _filesystem_and_path(base)

    def matches(fs: Any, path: str) -> list[str]:
        fs.invalidate_cache()
        return [join(base, name.removeprefix(above).lstrip("/")) for name in fs.glob(path)]

    return sorted(with_filesystem(url, matches))


def read(url: str, start: int | None = None, end: int | None = None) -> bytes:
    """The bytes of a file, or the range [start, end) of them."""
    data: bytes = with_filesystem(url, lambda fs, path: fs.cat_file(path, start=start, end=end))
    return data


def open_file(address: str, *, fresh: bool = False) -> RandomAccessFile:
    """The file at an address, unpacked first where it is packed, copied first where its server sends it whole only.

    A file that is not on this machine is looked up once per process; ``fresh`` looks again.

    Raises:
        OSError: it cannot be read; ``strerror`` says why.
    """
    if is_url(address):
        if fresh or address not in _remote_files:
            _remote_files[address] = _open_remote(address)
        return _remote_files[address]
    status = os.stat(address)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "not a regular file")
    local = stamp_of(status)
    if address.lower().endswith(_PACKED_ENDINGS):
        return _open_copy(address, local)
    return RandomAccessFile(address, local, local.size, lambda start, end: _read_local(address, start, end))


def with_filesystem(url: str, work: Callable[[Any, str], T]) -> T:
    """Let ``work`` use the filesystem and the path of the URL; what may pass is tried again a little later."""
    fs, path = _filesystem_and_path(url)
    for pause in _PAUSES:
        try:
            return _once(fs, path, work)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
        time.sleep(pause)
    return _once(fs, path, work)


def lock_of(*names: object) -> threading.Lock:
    """This process's lock for the thing of this name. One that a forked process inherits may be held for ever."""
    return _lock(os.getpid(), *names)


@lru_cache(maxsize=8192)
def _lock(*names: object) -> threading.Lock:
    return threading.Lock()


def _once(fs: Any, path: str, work: Callable[[Any, str], T]) -> T:
    try:
        return work(fs, path)
    except GradattnError:
        raise
    except Exception as error:  # each filesystem has errors of its own, few of them OSErrors
        raise _os_error(error) from None


def _filesystem_and_path(url: str) -> tuple[Any, str]:
    secret = with_secrets(url)
    scheme, rest = secret.split("://", 1)
    # Web addresses need their host only when they are opened.
    place = f"{scheme}://" if is_web(url) else f"{scheme}://{rest.partition('/')[0]}"
    fs = _filesystem(os.getpid(), place)
    try:
        return fs, str(fs._strip_protocol(secret))
    except Exception as error:
        raise _unusable(place, error) from None


@lru_cache(maxsize=64)
def _filesystem(process: int, place: str) -> Any:
    """One filesystem for all threads: what is inherited by a forked process is never used there."""
    core = importlib.import_module("fsspec.core")
    implementations: Mapping[str, Any] = importlib.import_module("fsspec.registry").known_implementations
    scheme = place.split("://")[0]
    options: dict[str, object] = {"skip_instance_cache": True}
    try:
        if is_web(place):
            # a server that falls silent must not hold a thread for fsspec's five minutes
            timeout = importlib.import_module("aiohttp").ClientTimeout(total=None, sock_connect=10, sock_read=30)
            options["client_kwargs"] = {"timeout": timeout}
        return core.url_to_fs(place, **options)[0]
    except ImportError as error:
        package = _package(scheme, implementations.get(scheme, {}), error)
        needs = f"the package {package}, which is not installed: pip install {package}" if package else _sentence(error)
        raise DatasetError(f"{scheme}:// needs {needs}.") from None
    except OSError as error:
        raise _os_error(error) from None
    except Exception as error:  # what a storage makes of an address that it was not made for is anything
        if scheme in implementations:
            raise _unusable(place, error) from None
        raise DatasetError(
            f"{shown(scheme + '://')} is no known storage; s3://, gs://, abfs://, hf://, https:// and sftp:// are."
        ) from None


def _unusable(place: str, error: Exception) -> DatasetError:
    said = "it needs more than an address" if isinstance(error, (TypeError, AttributeError)) else _sentence(error)
    return DatasetError(f"{shown(without_secrets(place))} cannot be used: {said}.")


def _package(scheme: str, implementation: Mapping[str, str], error: ImportError) -> str:
    """What to install for a storage, as far as fsspec tells; "" where it does not."""
    if scheme in _PACKAGES:
        return _PACKAGES[scheme]
    module = implementation.get("class", "fsspec").split(".")[0]
    if module == "fsspec":
        said = _QUOTED.search(implementation.get("err") or "") or _INSTALL.search(implementation.get("err") or "")
        module = said[1] if said else (error.name or "").split(".")[0]
    return module.replace("_", "-")


def _info(url: str) -> Mapping[str, Any]:
    """What the filesystem says of a file or folder: ``type`` and, of a file, ``size`` (None where it does not tell)."""

    def info(fs: Any, path: str) -> Mapping[str, Any]:
        fs.invalidate_cache(path)
        entry: Mapping[str, Any] = fs.info(path)
        return entry

    return with_filesystem(url, info)


def _relative(url: str, entries: Iterable[Mapping[str, Any]]) -> list[tuple[str, Stamp]]:
    _, path = _filesystem_and_path(url)
    below = f"{path.rstrip('/')}/"
    files = [entry for entry in entries if entry.get("type") == "file"]
    return [(str(entry["name"]).removeprefix(below), _stamp_of(entry)) for entry in files if str(entry["name"]) != path]


def _stamp_of(entry: Mapping[str, Any]) -> Stamp:
    validator = next((entry[name] for name in _VALIDATORS if entry.get(name)), "")
    size = int(entry.get("size") or 0)
    # Without a validator nothing tells a changed file.
    return Stamp(size, digest(size, validator) if validator else 0)


def _os_error(error: Exception) -> OSError:
    if type(error.__cause__).__module__.startswith("aiohttp"):
        error = error.__cause__  # type: ignore[assignment]  # fsspec calls whatever a web server says "not found"
    status = getattr(error, "status", None)
    if isinstance(error, FileNotFoundError) or status in (404, 410):
        return FileNotFoundError(errno.ENOENT, "does not exist")
    if isinstance(error, PermissionError) or status in (401, 403) or "Credentials" in type(error).__name__:
        return PermissionError(errno.EACCES, "no permission; give credentials in the environment")
    if isinstance(error, (IsADirectoryError, NotADirectoryError, NotImplementedError, ValueError)):
        return OSError(errno.EINVAL, _sentence(error))
    return OSError(errno.EIO, _sentence(error))


def _sentence(error: Exception) -> str:
    """What an error says; secrets go before it is cut, since half of one would not look like one."""
    said = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return without_secrets(" ".join(str(said).split()))[:200].rstrip(".")


_remote_files: dict[str, RandomAccessFile] = {}


def _open_remote(address: str) -> RandomAccessFile:
    info = _info(address)
    if info.get("type") == "directory":
        raise OSError(errno.EISDIR, "a folder, not a file")
    remote = _stamp_of(info)
    if address.split("?")[0].lower().endswith(_PACKED_ENDINGS) or not _gives_ranges(address, remote.size):
        return _open_copy(address, remote)
    return RandomAccessFile(address, remote, remote.size, lambda start, end: read(address, start, end))


def _gives_ranges(address: str, size: int) -> bool:
    return size > 0 and (not is_web(address) or len(read(address, 0, 1)) == 1)


# Of files without a name in the system's temporary folder, which go when the process ends.
_copies: dict[tuple[str, Stamp], IO[bytes]] = {}


def _open_copy(address: str, original: Stamp) -> RandomAccessFile:
    with lock_of("copy", address):
        if (address, original) not in _copies:
            _copies[address, original] = _copy(address)
        descriptor = _copies[address, original].fileno()
    size = os.fstat(descriptor).st_size
    return RandomAccessFile(address, original, size, lambda start, end: os.pread(descriptor, end - start, start))


def _copy(address: str) -> IO[bytes]:
    target = tempfile.TemporaryFile(prefix="gradattn-")  # noqa: SIM115 - stays open for the process
    try:
        with tempfile.NamedTemporaryFile(prefix="gradattn-") as download:
            if is_url(address):
                with_filesystem(address, lambda fs, path: fs.get_file(path, download.name))
            with open(download.name if is_url(address) else address, "rb") as plain:
                head = plain.read(6)
                plain.seek(0)
                length = os.fstat(plain.fileno()).st_size
                unpack = next((unpack for sign, unpack in _UNPACKING if head.startswith(sign)), None)
                _pour(plain if unpack is None else unpack(plain), target, length * _MAX_UNPACKED_RATIO)
    except BaseException:
        target.close()
        raise
    return target


def _pour(source: IO[bytes], target: IO[bytes], limit: int) -> None:
    written = 0
    try:
        while piece := source.read(_PIECE_BYTES):
            written += len(piece)
            if written > max(limit, _MAX_UNPACKED):
                raise OSError(errno.EFBIG, f"unpacks to more than {_MAX_UNPACKED_RATIO} times its size")
            target.write(piece)
    except EOFError:
        raise OSError(errno.EINVAL, "damaged: it ends too early") from None
    except (zlib.error, lzma.LZMAError) as error:
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


class _Stream(io.RawIOBase):
    def __init__(self, source: RandomAccessFile) -> None:
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
