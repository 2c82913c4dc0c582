"""Threads that make pictures, what was asked last first, and the bounded folder on disk where they are kept."""

from __future__ import annotations

import atexit
import functools
import os
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeAlias

from gradattn_core import outfolder
from gradattn_core.errors import GradattnError, StoreBusyError

LIMIT = 512 * 2**20
"""Bytes that the thumbnails of one output folder may take; the oldest go first."""

Made: TypeAlias = tuple[bytes, str]
"""A picture to send, and the hash of the file it was made from."""

_PATIENCE_WITH_BROKEN = 10.0
_PATIENCE_AT_THE_END = 1.0
_THREADS = 2


@functools.cache
def makers() -> Makers:
    """Those of this process."""
    found = Makers()
    # Threads that outlive the interpreter take its modules with them, and DuckDB then complains of what was not freed.
    atexit.register(found.stop)
    return found


_ENDING = StoreBusyError("The page's server is about to end; the picture can be asked for again.")


def _failed(problem: GradattnError) -> Future[Made]:
    failed: Future[Made] = Future()
    failed.set_exception(problem)
    return failed


class Makers:
    """A few threads that make what was asked last first, each thing once however many ask for it."""

    def __init__(self) -> None:
        self._lock = threading.Condition()
        self._waiting: OrderedDict[object, tuple[Callable[[], Made], Future[Made]]] = OrderedDict()
        self._running: dict[object, Future[Made]] = {}
        self._broken: dict[object, tuple[float, GradattnError]] = {}
        self._sizes: dict[Path, int] = {}
        self._stopped = False
        self._threads = [
            threading.Thread(target=self._run, name=f"picture-{number}", daemon=True)
            for number in range(min(_THREADS, os.cpu_count() or 1))
        ]
        for thread in self._threads:
            thread.start()

    def start(self, key: object, make: Callable[[], Made]) -> Future[Made]:
        """The work that makes it; what was asked for again moves to the front."""
        with self._lock:
            since, problem = self._broken.get(key, (0.0, None))
            if self._stopped:
                return _failed(_ENDING)
            if problem is not None and time.monotonic() - since < _PATIENCE_WITH_BROKEN:
                return _failed(problem)
            if key in self._running:
                return self._running[key]
            entry = self._waiting.setdefault(key, (make, Future()))
            self._waiting.move_to_end(key)
            self._lock.notify()
            return entry[1]

    def count(self, folder: Path, size: int) -> None:
        """So many bytes were written below a folder; the oldest go where they are too many."""
        with self._lock:
            self._sizes[folder] = self._sizes.get(folder, LIMIT) + size
            if self._sizes[folder] <= LIMIT:
                return
            self._sizes[folder] = 0
        left = prune(folder, LIMIT)
        with self._lock:
            self._sizes[folder] += left

    def stop(self) -> None:
        """Make no more pictures: the process is about to end."""
        with self._lock:
            self._stopped = True
            for _, work in self._waiting.values():
                work.set_exception(_ENDING)
            self._waiting.clear()
            self._lock.notify_all()
        for thread in self._threads:
            thread.join(_PATIENCE_AT_THE_END)

    def _run(self) -> None:
        while True:
            with self._lock:
                while not self._waiting and not self._stopped:
                    self._lock.wait()
                if self._stopped:
                    return
                key, (make, work) = self._waiting.popitem()
                self._running[key] = work
            work.set_running_or_notify_cancel()
            try:
                content = make()
            except BaseException as error:
                self._end(key, error if isinstance(error, GradattnError) else None)
                work.set_exception(error)
            else:
                self._end(key, None)
                work.set_result(content)

    def _end(self, key: object, problem: GradattnError | None) -> None:
        with self._lock:
            self._running.pop(key, None)
            self._broken.pop(key, None)
            if problem is not None:
                # Thousands of missing files are remembered, millions are not.
                if len(self._broken) >= 10_000:
                    self._broken.clear()
                self._broken[key] = (time.monotonic(), problem)


@functools.cache
def cache_folder(directory: str) -> Path:
    """Where the thumbnails of an output folder are kept; a folder of this process where nothing may be written."""
    folder = outfolder.thumbnails(Path(directory))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".{uuid.uuid4().hex}"
        probe.touch()
        probe.unlink()
    except OSError:
        return Path(_own_folder().name)
    return folder


def prune(folder: Path, limit: int) -> int:
    """Delete the oldest files until the rest fits into nine tenths of ``limit``, if it exceeds it; returns the rest.

    Unfinished files of a process that was killed go the same way.
    """
    files: list[tuple[float, int, str]] = []
    for name in (os.path.join(root, file) for root, _, names in os.walk(folder) for file in names):
        with suppress(OSError):
            status = os.stat(name)
            files.append((status.st_mtime, status.st_size, name))
    total = sum(size for _, size, _ in files)
    if total <= limit:
        return total
    for _, size, name in sorted(files):
        if total <= 0.9 * limit:
            break
        with suppress(OSError):
            os.unlink(name)
            total -= size
    return total


@functools.cache
def _own_folder() -> TemporaryDirectory[str]:
    return TemporaryDirectory(prefix="gradattn-thumbnails-")
