"""The tools that people label in, as they are: packages that are not ours to depend on, perhaps of another Python."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path

import pytest

PYTHONS = "GRADATTN_TOOLS_PYTHON"
"""Names other Pythons that have such packages, separated as in PATH."""


@functools.cache
def python_with(package: str) -> str | None:
    """A Python that has the package: this one, or one of those that are named."""
    for python in (sys.executable, *filter(None, os.environ.get(PYTHONS, "").split(os.pathsep))):
        check = [python, "-c", f"import importlib.util as u; raise SystemExit(u.find_spec({package!r}) is None)"]
        if subprocess.run(check, check=False).returncode == 0:
            return python
    return None


def run_with(package: str, code: str, *arguments: str | Path, cwd: Path) -> str:
    """What a script prints that a Python with this package runs; skips the test where there is none."""
    python = python_with(package)
    if python is None:
        pytest.skip(f"{package} is not installed, and no Python that {PYTHONS} names has it")
    quiet = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(cwd / "cache"), "FIFTYONE_DO_NOT_TRACK": "true"}
    done = subprocess.run(
        [python, "-c", code, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, **quiet},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout
