"""Learning from decisions while somebody reviews: a process of its own, so that no key waits for it.

Knows nothing of Streamlit. After every ``EVERY`` decisions ``gradattn rerank --due`` looks whether there is anything
new to learn from, whoever decided it. It writes the new order in one transaction; the review page holds the pictures
that it has shown by their paths, so only others change places.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from gradattn_core.errors import StoreError
from gradattn_core.learning import EVERY
from gradattn_core.store.store import Store
from ui.launch import begin_beside

LEARNING = "GRADATTN_LEARNING"


@dataclass
class Learner:
    """Learns from the decisions on one audit, one process at a time.

    Attributes:
        since: decisions of this page since it last looked, to begin with those since the order was last learnt.
        problem: why the last process failed, in one sentence; ``""`` where it did not.
    """

    out: Path
    audit: str
    since: int | None = None
    problem: str = ""
    _process: subprocess.Popen[bytes] | None = None
    _said: IO[bytes] | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def decided(self, store: Store, count: int = 1) -> None:
        """So many decisions were stored: learn from them if it is time. Returns at once."""
        with self._lock:
            if self.since is None:
                learning = store.review.learning(self.audit)
                self.since = learning.verdicts - learning.learnt_from
            else:
                self.since += count
            if self.since < EVERY or self._is_busy():
                return
            self.since = 0
            self._start()

    def wait(self, seconds: float) -> None:
        """Until what was begun is done; raises ``subprocess.TimeoutExpired`` where it takes longer."""
        if self._process is not None:
            self._process.wait(seconds)
        with self._lock:
            self._is_busy()

    def _is_busy(self) -> bool:
        if self._process is None or self._said is None:
            return False
        status = self._process.poll()
        if status is None:
            return True
        self._said.seek(0)
        lines = self._said.read().decode("utf-8", "replace").strip().splitlines()
        self._said.close()
        self.problem = (lines[-1] if lines else f"it ended with status {status}") if status else ""
        self._process = self._said = None
        return False

    def _start(self) -> None:
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 (read when the process has ended)
        # One thread: the cores belong to whoever looks at pictures.
        threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        arguments = ["rerank", f"--out={self.out}", f"--audit={self.audit}", "--due", "--quiet"]
        try:
            self._process = begin_beside(arguments, self._said, **threads)
        except OSError as error:
            self._said.close()
            self._said, self.problem = None, f"the process could not be started: {error}"


_learners: dict[tuple[Path, str], Learner] = {}
_lock = threading.Lock()


def learner(out: Path, audit: str) -> Learner:
    """The one of this page for this audit."""
    with _lock:
        return _learners.setdefault((out, audit), Learner(out, audit))


def is_allowed() -> bool:
    """Whether this page may change the order by itself: not if read-only, nor with ``gradattn ui --no-learning``."""
    return os.environ.get("GRADATTN_READ_ONLY") != "1" and os.environ.get(LEARNING, "1") != "0"


def tell(store: Store, audit: str, count: int = 1) -> None:
    """So many decisions were stored on this page."""
    if not (count and is_allowed()):
        return
    each = learner(store.directory, audit)
    try:
        each.decided(store, count)
    except StoreError as error:
        each.problem = str(error)
