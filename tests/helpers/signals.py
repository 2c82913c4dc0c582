"""Processes that are interrupted or killed at a chosen moment.

``python -m tests.helpers.signals CALL N ARGUMENTS…`` is gradattn with these arguments, killed at a chosen moment.

Just before the N-th time that it calls ``os.CALL``, the process sends itself the signal that cannot be caught.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from gradattn_core.cli import main


def run_killed(call: str, count: int, *arguments: str | Path) -> None:
    """Run it, and make sure that the kill came before the end."""
    command = [sys.executable, "-m", "tests.helpers.signals", call, str(count), *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == -signal.SIGKILL, (result.returncode, result.stdout, result.stderr)


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


def _kill_before(call: str, count: int) -> None:
    real, calls = getattr(os, call), 0

    def counting(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **options)

    setattr(os, call, counting)


if __name__ == "__main__":
    _kill_before(sys.argv[1], int(sys.argv[2]))
    sys.exit(main(sys.argv[3:]))
