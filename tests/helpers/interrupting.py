"""Ctrl-C for an audit that runs as a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path


def interrupt_once_there(process: subprocess.Popen[str], folder: Path, pattern: str) -> str:
    """Interrupt the process's whole group, as a terminal does, once a file is there; what it says on stderr."""
    try:
        deadline = time.monotonic() + 150
        while not list(folder.glob(pattern)):
            assert process.poll() is None and time.monotonic() < deadline, process.returncode
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        _, complaint = process.communicate(timeout=60)
    finally:
        process.kill()
    return complaint
