"""candidates.csv follows what is decided on the page: moments later, in a thread, so that no key waits for it."""

from __future__ import annotations

import atexit
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field

from gradattn_core.errors import GradattnError
from gradattn_core.export import update_candidates
from gradattn_core.store.store import Store
from ui.launch import read_only

_SOON = 1.0
"""Seconds after a decision; what is decided meanwhile is written with it."""
_RARELY = 50
"""Of so many seconds, one at most is spent on the file, so that hardly any press waits for it."""


@dataclass
class Follower:
    """Writes the file of one audit, at most once at a time."""

    store: Store
    audit: str
    _took: float = 0.0
    _timer: threading.Timer | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _at_work: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def decided(self) -> None:
        """Something was decided or taken back. Returns at once."""
        with self._lock:
            if self._timer is None:
                self._timer = threading.Timer(max(_SOON, _RARELY * self._took), self.write)
                self._timer.daemon = True
                self._timer.start()

    def write(self) -> None:
        """Write what is due now, if anything is; the file is written when this returns, by whomever."""
        # Else what was read earlier could be written later, and the page could end amid another thread's writing.
        with self._at_work:
            with self._lock:
                timer, self._timer = self._timer, None
            if timer is None:
                return
            timer.cancel()
            began = time.monotonic()
            # A full disk harms the decisions as little as a database that others hold: the next one writes the file.
            with suppress(GradattnError):
                update_candidates(self.store, self.audit)
            self._took = time.monotonic() - began


_followers: dict[tuple[str, str], Follower] = {}
_lock = threading.Lock()


def follow(store: Store, audit: str) -> None:
    """Something was decided on this page, or taken back."""
    if read_only():
        return
    with _lock:
        follower = _followers.setdefault((str(store.directory), audit), Follower(store, audit))
    follower.decided()


@atexit.register
def write_all() -> None:
    """Write what is due; the page is about to end."""
    for follower in list(_followers.values()):
        follower.write()
