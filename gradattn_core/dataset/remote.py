"""Files that are not on this machine, through fsspec: one filesystem per process and host, and one kind of error.

Every function raises OSError, FileNotFoundError and PermissionError among them, with a ``strerror`` that can be shown,
and DatasetError where no filesystem can be had for the URL.
"""

from __future__ import annotations

import errno
import hashlib
import importlib
import os
import re
import time
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

from gradattn_core.dataset.address import is_web, join, parent
from gradattn_core.dataset.secrets import with_secrets, without_secrets
from gradattn_core.dataset.wording import shown
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
