"""Learning from decisions while somebody reviews: a process of its own, so that no key waits for it.

Knows nothing of Streamlit. After every ``EVERY`` decisions ``gradattn rerank --due`` looks whether there is anything
new to learn from, whoever decided it. It writes the new order in one transaction; the review page holds the pictures
that it has shown by their paths, so only others change places.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path

from gradattn_core.errors import StoreError
from gradattn_core.learning import EVERY
from gradattn_core.store.store import Store
from ui.errand import Errand

LEARNING = "GRADATTN_LEARNING"

# One thread: the cores belong to whoever looks at pictures.
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


class Learner:
    """Learns from the decisions on one audit.

    Attributes:
        since: decisions of this page since it last looked, to begin with those since the order was last learnt.
        work: the process that learns.
    """

    def __init__(self, out: Path, audit: str, since: int | None = None) -> None:
        self.audit = audit
        self.since = since
        self.work = Errand(["rerank", f"--out={out}", f"--audit={audit}", "--due", "--quiet"], _ONE_THREAD)
        self._lock = threading.Lock()

    def decided(self, store: Store, count: int = 1) -> None:
        """So many decisions were stored: learn from them if it is time. Returns at once."""
        with self._lock:
            if self.since is None:
                learning = store.review.learning(self.audit)
                self.since = learning.verdicts - learning.learnt_from
            else:
                self.since += count
            if self.since >= EVERY and self.work.begin():
                self.since = 0


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
        each.work.problem = str(error)
