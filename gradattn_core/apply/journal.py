"""What was done to a dataset in place: one JSON object per line, on disk before anything is done.

A line says what is about to happen, so after a kill the last ones may not have. Whoever reads the journal looks at the
files to learn which; a line cut off by a power cut stands for something that was never begun.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from gradattn_core import outfolder
from gradattn_core.errors import ApplyError
from gradattn_core.files import sync_folder


@dataclass(frozen=True, slots=True)
class Move:
    """A file that goes from ``old`` to ``new``, both absolute.

    Attributes:
        number: counts the moves of one application from 1.
        path: what the audit calls the file.
        label: the one it gets; None where it is removed.
    """

    number: int
    path: str
    old: str
    new: str
    label: str | None
    content_hash: str


@dataclass(frozen=True, slots=True)
class ManifestChange:
    """A manifest whose content goes from one hash to another, and where the original is kept."""

    file: str
    kept: str
    before: str
    after: str


@dataclass(slots=True)
class Application:
    """One ``--in-place``, as far as it came, less what was undone."""

    name: str
    audit_id: str = ""
    root: str = ""
    ended: bool = False
    moves: dict[int, Move] = field(default_factory=dict)
    folders: list[str] = field(default_factory=list)
    rewrite: ManifestChange | None = None

    @property
    def stands(self) -> bool:
        return bool(self.moves) or self.rewrite is not None


def new_name() -> str:
    """Of an application that begins now; names sort by time."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S.%f}"


class Journal:
    """The journal of one output folder."""

    def __init__(self, out: Path) -> None:
        self.file = outfolder.journal(out)

    def applications(self) -> list[Application]:
        """Everything that was applied, oldest first.

        Raises:
            ApplyError: the journal is there and cannot be read.
        """
        applications: dict[str, Application] = {}
        for number, line in self._lines():
            try:
                name = line.pop("apply")
                _read_into(applications.setdefault(name, Application(name)), line)
            except (AttributeError, KeyError, TypeError) as error:
                raise ApplyError(f"{self.file}, line {number} is none that gradattn apply writes") from error
        return list(applications.values())

    def begin(self, application: Application) -> None:
        facts = {"audit_id": application.audit_id, "root": application.root}
        self._append([{"apply": application.name, "what": "begin", **facts}])

    def intend(
        self, application: Application, *, folders: Sequence[Path] = (), steps: Sequence[Move | ManifestChange]
    ) -> None:
        """Write down what is about to be done, folders first; it is on disk when this returns."""
        lines: list[dict[str, object]] = [{"what": "folder", "folder": str(folder)} for folder in folders]
        lines += [{"what": "move" if isinstance(step, Move) else "rewrite", **asdict(step)} for step in steps]
        self._append([{"apply": application.name, **line} for line in lines])

    def end(self, application: Application) -> None:
        self._append([{"what": "end", "apply": application.name}])

    def record_undo(self, application: Application, moves: list[int], *, rewrite: bool) -> None:
        """Write down which moves, by their numbers, have been undone, and whether the manifest has."""
        self._append([{"what": "undone", "apply": application.name, "moves": moves, "rewrite": rewrite}])

    def _append(self, lines: Sequence[Mapping[str, object]]) -> None:
        text = "".join(json.dumps(line) + "\n" for line in lines)
        new = not self.file.exists()
        with self.file.open("a+b") as file:
            # What a power cut left of a line must not swallow the next one.
            file.write((b"\n" if _is_torn(file) else b"") + text.encode())
            file.flush()
            os.fsync(file.fileno())
        if new:
            sync_folder(self.file.parent)

    def _lines(self) -> Iterator[tuple[int, Any]]:
        if not self.file.exists():
            return
        try:
            lines = self.file.read_bytes().decode("ascii", "replace").split("\n")
        except OSError as error:
            raise ApplyError(f"{self.file} cannot be read: {error.strerror}") from error
        for number, line in enumerate(lines, 1):
            with suppress(ValueError):
                yield number, json.loads(line)


def _read_into(application: Application, line: dict[str, Any]) -> None:
    what = line.pop("what")
    if what == "begin":
        application.audit_id, application.root = line["audit_id"], line["root"]
    elif what == "folder":
        application.folders.append(line["folder"])
    elif what == "move":
        application.moves[line["number"]] = Move(**line)
    elif what == "rewrite":
        application.rewrite = ManifestChange(**line)
    elif what in ("end", "undone"):
        application.ended = True
        undone = set(line.get("moves", ()))
        application.moves = {number: move for number, move in application.moves.items() if number not in undone}
        application.rewrite = None if line.get("rewrite") else application.rewrite
    else:
        raise KeyError(what)


def _is_torn(file: BinaryIO) -> bool:
    """Whether the last line of an open file has no end."""
    if file.seek(0, os.SEEK_END) == 0:
        return False
    file.seek(-1, os.SEEK_END)
    return file.read(1) != b"\n"
