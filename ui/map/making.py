"""The map of an audit is made by a process of its own, ``gradattn embed``, so that every other page stays quick.

Knows nothing of Streamlit. What the process says of its progress is read when somebody asks how far it is.
"""

from __future__ import annotations

import json
import threading
from pathlib import Path

from ui.errand import Errand

# What share of the whole time each step begins at and takes, of 50,000 pictures.
_STEPS = {"neighbours": (0.0, 0.2), "layout": (0.2, 0.8)}


class Maker:
    """Makes the map of one audit, in the process ``work``, which says a JSON object a line."""

    def __init__(self, out: Path, audit: str) -> None:
        self.work = Errand(["embed", f"--out={out}", f"--audit={audit}", "--log-format=json"])

    @property
    def problem(self) -> str:
        """Why the last process failed, in one sentence; ``""`` where it did not."""
        said = self.work.problem
        # What was said last may be how far it was.
        return str(_entry(said).get("message") or "its process ended early") if said else ""

    def progress(self) -> float | None:
        """How much of the work is done, 0 to 1; None where nothing is at work."""
        if not self.work.is_busy():
            return None
        return max((_share(_entry(line)) for line in self.work.lines()), default=0.0)


def _entry(line: str) -> dict[str, object]:
    """What a line says; one that is no object, such as a traceback's, counts as its message."""
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
