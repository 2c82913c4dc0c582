"""What Prefect knows of scheduled audits, asked in a process of its own: Prefect takes seconds to import."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pandas as pd

from gradattn_core.errors import GradattnError

_PATIENCE = 60
_asking = ThreadPoolExecutor(1, thread_name_prefix="prefect")


def server() -> str | None:
    """The address of the Prefect server that is set for this page, else of the one that gradattn worker runs here."""
    return os.environ.get("PREFECT_API_URL") or _workers_own()


def ask() -> Future[pd.DataFrame]:
    """Ask in the background for the frame of ``flows.status.schedules``, which raises GradattnError."""
    return _asking.submit(_ask)


def _workers_own() -> str | None:
    """Where flows.server writes it down. Asking there would import Prefect."""
    home = Path(os.environ.get("PREFECT_HOME") or "~/.prefect").expanduser()
    try:
        return (home / "gradattn-server").read_text("utf-8").strip() or None
    except OSError:
        return None


def _ask() -> pd.DataFrame:
    above = [str(Path(__file__).resolve().parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
    try:
        answer = subprocess.run(
            [sys.executable, "-P", "-m", "flows.status"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(above)},
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise GradattnError(f"Prefect's server at {server()} has not answered for {_PATIENCE} s") from None
    if answer.returncode:
        said = answer.stderr.strip().splitlines() or ["it ended without a word"]
        raise GradattnError(said[-1])
    return pd.DataFrame(json.loads(answer.stdout))
