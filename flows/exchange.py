"""The files of an audit at an address that every node of a cluster reaches, for nodes that share no folder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any
from uuid import uuid4

from gradattn_core import outfolder
from gradattn_core.audit.plan import Plan
from gradattn_core.audit.stages import Stage
from gradattn_core.dataset.address import join
from gradattn_core.dataset.storage import files_below, with_filesystem
from gradattn_core.errors import GradattnError
from gradattn_core.files import write_whole

_BASE = (outfolder.PLAN, outfolder.LISTING, "checkpoint*")


def checkpoint_name(checkpoint: str) -> str:
    """Of the checkpoint's file among the others; its suffix tells how it is read."""
    return f"checkpoint{Path(checkpoint).suffix}"


@dataclass(frozen=True, slots=True)
class Exchange:
    """A folder at a URL that fsspec knows. A file in it is whole or not there.

    Every method raises GradattnError where the storage cannot be used.
    """

    url: str

    def begin(self, plan: Plan, stage: Stage) -> None:
        """Send what the parts of a stage need, and fetch those that an interrupted run has left here."""
        present = self._names()
        patterns = (*_BASE, *stage.needs)
        # The plan may say another device or batch size than that of an interrupted run.
        self.send(
            file
            for file in sorted(plan.folder.iterdir())
            if _matches(file.name, patterns) and (file.name not in present or file == plan.files.plan)
        )
        checkpoint = plan.config.checkpoint
        if checkpoint is not None and checkpoint_name(checkpoint) not in present:
            self._send(Path(checkpoint), checkpoint_name(checkpoint))
        for index in stage.missing(plan):
            files = stage.files(plan, index)
            if {file.name for file in files} <= present:
                self.fetch(files)

    def join_in(self, folder: Path, stage: Stage) -> None:
        """Bring what the parts of a stage need into a node's own folder, as far as it is not there."""
        names = sorted(name for name in self._names() if _matches(name, (*_BASE, *stage.needs)))
        self.fetch(folder / name for name in names if not (folder / name).exists())

    def send(self, files: Iterable[Path]) -> None:
        """Files under their own names, in this order."""
        for file in files:
            self._send(file, file.name)

    def fetch(self, files: Iterable[Path]) -> None:
        """Files under their own names, in this order, each whole or not at all."""
        for file in files:

            def get(temporary: Path, url: str = join(self.url, file.name)) -> None:
                with _usable(url):
                    with_filesystem(url, lambda fs, path: fs.get_file(path, str(temporary)))

            write_whole(file, get)

    def remove(self) -> None:
        """All of it, once the audit has what it needs."""
        with _usable(self.url):
            with_filesystem(self.url, lambda fs, path: fs.rm(path, recursive=True))

    def _names(self) -> set[str]:
        with _usable(self.url):
            try:
                return {name for name, _ in files_below(self.url) if not name.startswith(".")}
            except FileNotFoundError:
                return set()

    def _send(self, file: Path, name: str) -> None:
        def put(fs: Any, path: str) -> None:
            fs.makedirs(path, exist_ok=True)
            # Some storages show a file while it grows.
            part = f"{path}/.{name}.{uuid4().hex}"
            fs.put_file(str(file), part)
            fs.mv(part, f"{path}/{name}")

        with _usable(self.url):
            with_filesystem(self.url, put)


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


@contextmanager
def _usable(url: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise GradattnError(
            f"ray_storage {url}: {error.strerror or error}; every node must be able to read and write there"
        ) from error
