"""The map of an audit is made by a process of its own, ``gradattn embed``, so that every other page stays quick.

Knows nothing of Streamlit. What the process says of its progress is read when somebody asks how far it is.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from gradattn_core.errors import GradattnError
from ui.launch import begin_beside

# What share of the whole time each step begins at and takes, of 50,000 pictures.
_STEPS = {"neighbours": (0.0, 0.2), "layout": (0.2, 0.8)}


@dataclass
class Maker:
    """Makes the map of one audit, one process at a time.

    Attributes:
        problem: why the last process failed, in one sentence; ``""`` where it did not.
    """

    out: Path
    audit: str
    problem: str = ""
    _process: subprocess.Popen[bytes] | None = None
    _said: IO[bytes] | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def start(self) -> None:
        """Begin, unless it is at work; returns at once."""
        with self._lock:
            if not self._is_busy():
                self.problem = ""
                self._start()

    def progress(self) -> float | None:
        """How much of the work is done, 0 to 1; None where nothing is at work."""
        with self._lock:
            if not self._is_busy():
                return None
            return max((_share(entry) for entry in self._entries()), default=0.0)

    def wait(self, seconds: float) -> None:
        """Until what was begun is done; raises ``subprocess.TimeoutExpired`` where it takes longer."""
        if self._process is not None:
            self._process.wait(seconds)
        with self._lock:
            self._is_busy()

    def _is_busy(self) -> bool:
        if self._process is None:
            return False
        status = self._process.poll()
        if status is None:
            return True
        said = [str(entry.get("message", "")) for entry in self._entries()]
        self.problem = (said[-1] if said else f"its process ended with status {status}") if status else ""
        self._process = None
        return False

    def _entries(self) -> list[dict[str, object]]:
        """What the process has said, a JSON object a line; what is none, such as a traceback, counts as its message."""
        if self._said is None:
            return []
        # Not through the handle: the process writes at its place.
        size = os.fstat(self._said.fileno()).st_size
        lines = os.pread(self._said.fileno(), size, 0).decode("utf-8", "replace").splitlines()
        return [_entry(line) for line in lines if line.strip()]

    def _start(self) -> None:
        if self._said is not None:
            self._said.close()
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 (read while the process writes)
        arguments = ["embed", f"--out={self.out}", f"--audit={self.audit}", "--log-format=json"]
        try:
            self._process = begin_beside(arguments, self._said)
        except OSError as error:
            raise GradattnError(f"The process that makes the map could not be started: {error}") from error


def _entry(line: str) -> dict[str, object]:
    try:
        entry = json.loads(line)
    except ValueError:
        entry = line
    return entry if isinstance(entry, dict) else {"message": line}


def _share(entry: dict[str, object]) -> float:
    begins, takes = _STEPS.get(str(entry.get("step")), (0.0, 0.0))
    done, total = entry.get("done"), entry.get("total")
    return begins + takes * done / total if isinstance(done, int) and isinstance(total, int) and total else begins


_makers: dict[tuple[Path, str], Maker] = {}
_lock = threading.Lock()


def maker(out: Path, audit: str) -> Maker:
    """The one of this page for this audit."""
    with _lock:
        return _makers.setdefault((out, audit), Maker(out, audit))
