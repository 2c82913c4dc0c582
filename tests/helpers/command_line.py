"""``gradattn`` as people run it, and the same within this process, which takes no second to start."""

from __future__ import annotations

import contextlib
import io
import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

from gradattn_core.cli import main


def gradattn(
    *arguments: str | Path, out: Path | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """A process of its own, in the folder ``cwd``, with ``--out``."""
    command = [sys.executable, "-m", "gradattn_core", *map(str, arguments), *_out(out)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300, check=False)


def run_here(*arguments: str | Path, out: Path | None = None) -> tuple[int, str]:
    """In this process: the exit code and what was written on standard output."""
    written = io.StringIO()
    with contextlib.redirect_stdout(written):
        status = main([*map(str, arguments), *_out(out)])
    return status, written.getvalue()


def json_here(*arguments: str | Path, out: Path | None = None) -> Any:
    """In this process: what a command that does its work answers with ``--json``."""
    status, text = run_here(*arguments, "--json", out=out)
    assert status == 0
    return json.loads(text)


def _out(folder: Path | None) -> list[str]:
    return [] if folder is None else ["--out", str(folder)]


def processor_seconds() -> float:
    """What all commands that have ended took of the processor, the system's part included."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
