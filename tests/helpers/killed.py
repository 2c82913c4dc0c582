"""``python -m tests.helpers.killed CALL N ARGUMENTS…``: gradattn with these arguments, killed at a chosen moment.

Just before the N-th time that it calls ``os.CALL``, the process sends itself the signal that cannot be caught.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from gradattn_core.cli import main


def run_killed(call: str, count: int, *arguments: str | Path) -> None:
    """Run it, and make sure that the kill came before the end."""
    command = [sys.executable, "-m", "tests.helpers.killed", call, str(count), *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == -signal.SIGKILL, (result.returncode, result.stdout, result.stderr)


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
