"""A command of gradattn at work beside the page, in a process of its own, so that no page and no key waits for it.

Knows nothing of Streamlit. What the process says is read when somebody asks how far it is, and why it failed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO

from ui.launch import child_environment

_NICE = 10


@dataclass
class Errand:
    """One command, of which at most one process is at work.

    Attributes:
        arguments: of ``gradattn``; it leaves the processor to the page.
        variables: added to its environment.
        problem: why the last process failed: the last line that it said, ``""`` where it did not fail.
    """

    arguments: Sequence[str]
    variables: Mapping[str, str] = field(default_factory=dict)
    problem: str = ""
    _process: subprocess.Popen[bytes] | None = None
    _said: IO[bytes] | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def begin(self) -> bool:
        """Begin and return at once; false where it is at work already."""
        with self._lock:
            if self._is_busy():
                return False
            self.problem = ""
            if self._said is not None:
                self._said.close()
            self._said = tempfile.TemporaryFile()  # noqa: SIM115 (read while the process writes)
            try:
                self._process = self._started(self._said)
            except OSError as error:
                self.problem = f"the process could not be started: {error}"
            return True

    def is_busy(self) -> bool:
        """Whether it is at work; of a process that has ended since, it is known then why it failed."""
        with self._lock:
            return self._is_busy()

    def wait(self, seconds: float) -> None:
        """Until what was begun is done; raises ``subprocess.TimeoutExpired`` where it takes longer."""
        with self._lock:
            process = self._process
        if process is not None:
            process.wait(seconds)
        self.is_busy()

    def lines(self) -> list[str]:
        """What the last process has said by now on its standard error."""
        with self._lock:
            return self._lines()

    def _lines(self) -> list[str]:
        if self._said is None:
            return []
        # Not through the handle: the process writes at its place.
        size = os.fstat(self._said.fileno()).st_size
        lines = os.pread(self._said.fileno(), size, 0).decode("utf-8", "replace").splitlines()
        return [line for line in lines if line.strip()]

    def _is_busy(self) -> bool:
        if self._process is None:
            return False
        status = self._process.poll()
        if status is None:
            return True
        self._process = None
        if status:
            self.problem = [f"its process ended with status {status}", *self._lines()][-1]
        return False

    def _started(self, said: IO[bytes]) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "gradattn_core", *self.arguments]
        if os.name == "posix":
            command = ["nice", "-n", str(_NICE), *command]
        environment = child_environment(**self.variables)
        nothing = subprocess.DEVNULL
        return subprocess.Popen(command, env=environment, stdin=nothing, stdout=nothing, stderr=said)
