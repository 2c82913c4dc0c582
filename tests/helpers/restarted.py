"""A page's server that a test kills in the middle of something and starts again on the same port."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.helpers.browser import ROOT, free_port, wait_until_served

_CODE = "from pathlib import Path; from ui.launch import launch; launch(Path({!r}), port={})"


class Server:
    """The page over one output folder, for the reviewer Ada; its address stays the same.

    Attributes:
        url: where it is, or is not.
    """

    def __init__(self, directory: Path) -> None:
        self._port = free_port()
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"http://localhost:{self._port}"

    def start(self) -> None:
        """Returns once it answers."""
        above = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        self._process = subprocess.Popen(
            [sys.executable, "-c", _CODE.format(str(self._directory), self._port)],
            env={**os.environ, "PYTHONPATH": above, "GRADATTN_REVIEWER": "Ada", "GRADATTN_LEARNING": "0"},
            start_new_session=True,
        )
        wait_until_served(self.url)

    def kill(self) -> None:
        """At once and without a word, as when the power fails: the launcher and the server it started."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(10)
        self._process = None


@contextmanager
def serving(directory: Path) -> Iterator[Server]:
    """Such a server, started; it is gone in the end."""
    server = Server(directory)
    server.start()
    try:
        yield server
    finally:
        server.kill()
