"""One reviewer's way through the queue of suspects: where they are, and the way back."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from gradattn_core.store.candidates import CandidateFilter
from gradattn_core.store.store import Store
from ui.components import Row, rows_of


@dataclass
class Queue:
    """A place in the filtered, ordered list of suspects. It holds positions and paths, never the list itself.

    Streamlit answers a second press of a key on another thread while the first is still at work, so every step holds
    the lock, and a step for a suspect that is no longer the one shown does nothing: nobody decides what they have not
    seen, and nothing is decided twice.

    Attributes:
        at: offset in the list. A decided suspect may leave the list, so that its successor takes over its offset.
        pinned: a suspect shown out of turn, because the reviewer went back to it.
        trail: (offset, path) of where the reviewer came from, newest last.
        decided: what was decided here, newest last.
        showing: the path that the buttons on the screen belong to.
        linked: the suspect that the address named, until the reviewer goes on from it.
    """

    audit: str
    filters: CandidateFilter
    at: int = 0
    pinned: str | None = None
    trail: list[tuple[int, str]] = field(default_factory=list)
    decided: list[tuple[int, str]] = field(default_factory=list)
    showing: str | None = None
    linked: str | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def show(self, store: Store) -> Row | None:
        """The suspect to show from now on; None at the end of the list."""
        with self._lock:
            row = self._pinned_row(store) or next(iter(self.ahead(store)), None)
            self.showing = None if row is None else str(row["path"])
            return row

    def ahead(self, store: Store, count: int = 1) -> list[Row]:
        """At most ``count`` suspects of the list from the current offset on."""
        return rows_of(store.candidates.page(self.audit, **self.filters, top=count, offset=self.at))

    def decide(
        self, store: Store, path: str, decision: str, *, new_label: str | None, reviewer: str, note: str
    ) -> None:
        """Store the decision about the suspect shown and go on. Raises StoreError, and then stays."""
        with self._lock:
            if self.showing != path:
                return
            store.decisions.append(self.audit, path, decision, new_label=new_label, reviewer=reviewer, note=note)
            self.decided.append((self.at, path))
            self._advance(store, path)

    def skip(self, store: Store, path: str) -> None:
        with self._lock:
            if self.showing == path:
                self._advance(store, path)

    def undo(self, store: Store, path: str, *, reviewer: str) -> None:
        """Take back the newest decision made here, or else that of the suspect at ``path``, and show that suspect.

        Raises StoreError, and then stays.
        """
        with self._lock:
            at, undone = self.decided[-1] if self.decided else (self.at, path)
            store.decisions.undo(self.audit, undone, reviewer=reviewer)
            self.decided = self.decided[:-1]
            self.at, self.pinned, self.showing = at, undone, None

    def follow(self, link: str | None) -> bool:
        """Show the suspect that the address names, out of turn; False once the reviewer has gone on from it."""
        with self._lock:
            if link is not None and link != self.linked:
                self.linked = self.pinned = link
            elif self.pinned != self.linked:
                self.linked = None
            return self.linked is not None

    def back(self) -> None:
        """To the suspect that was shown before, decided or not."""
        with self._lock:
            if self.trail:
                self.at, self.pinned = self.trail.pop()
                self.showing = None

    def restart(self) -> None:
        with self._lock:
            self.at, self.pinned = 0, None

    def _advance(self, store: Store, path: str) -> None:
        self.trail.append((self.at, path))
        self.pinned = self.showing = None
        # What was just decided is still at this offset where the filters let decided suspects through.
        if any(row["path"] == path for row in self.ahead(store)):
            self.at += 1

    def _pinned_row(self, store: Store) -> Row | None:
        if self.pinned is None:
            return None
        return next(iter(rows_of(store.candidates.page(self.audit, paths=[self.pinned]))), None)
