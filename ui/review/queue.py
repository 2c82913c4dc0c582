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

    The order may change meanwhile, by what decisions teach. So what is shown and what is prepared to be shown next are
    held by their paths, and what was passed over is left out by its path: nothing is shown twice and nothing missed.

    Streamlit answers a second press of a key on another thread while the first is still at work, so every step holds
    the lock, and a step for a suspect that is no longer the one shown does nothing: nobody decides what they have not
    seen, and nothing is decided twice.

    Attributes:
        start: offset in the list where this session began, from the address.
        passed: what was passed over since, and is still in the list; ``at`` counts both, as the place in the address.
        held: paths of the suspect shown and of those prepared after it.
        pinned: a suspect shown out of turn, because the reviewer went back to it.
        trail: where the reviewer came from, newest last.
        decided: what was decided here, newest last.
        showing: the path that the buttons on the screen belong to.
        linked: the suspect that the address named, until the reviewer goes on from it.
    """

    audit: str
    filters: CandidateFilter
    start: int = 0
    pinned: str | None = None
    passed: list[str] = field(default_factory=list)
    held: list[str] = field(default_factory=list)
    trail: list[str] = field(default_factory=list)
    decided: list[str] = field(default_factory=list)
    showing: str | None = None
    linked: str | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    @property
    def at(self) -> int:
        return self.start + len(self.passed)

    def show(self, store: Store) -> Row | None:
        """The suspect to show from now on; None at the end of the list."""
        with self._lock:
            row = self._pinned_row(store) or next(iter(self._rows(store, 1)), None)
            self.showing = None if row is None else str(row["path"])
            if self.showing is not None and self.pinned is None:
                self._hold_first(self.showing)
            return row

    def ahead(self, store: Store, count: int = 1) -> list[Row]:
        """At most ``count`` suspects of the list from here on; they are held, as their pictures are being prepared."""
        with self._lock:
            rows = self._rows(store, count)
            self.held = [str(row["path"]) for row in rows]
            return rows

    def decide(
        self, store: Store, path: str, decision: str, *, new_label: str | None, reviewer: str, note: str
    ) -> None:
        """Store the decision about the suspect shown and go on. Raises StoreError, and then stays."""
        with self._lock:
            if self.showing != path:
                return
            store.decisions.append(self.audit, path, decision, new_label=new_label, reviewer=reviewer, note=note)
            self.decided.append(path)
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
            undone = self.decided[-1] if self.decided else path
            store.decisions.undo(self.audit, undone, reviewer=reviewer)
            self.decided = self.decided[:-1]
            self._return_to(undone)

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
                self._return_to(self.trail.pop())

    def restart(self) -> None:
        with self._lock:
            self.start, self.pinned, self.passed, self.held = 0, None, [], []

    def _advance(self, store: Store, path: str) -> None:
        self.trail.append(path)
        # What was just decided is still in the list where the filters let decided suspects through.
        if any(row["path"] == path for row in self._rows(store, 1)):
            self.passed.append(path)
        self.held = [each for each in self.held if each != path]
        self.pinned = self.showing = None

    def _return_to(self, path: str) -> None:
        self.passed = [each for each in self.passed if each != path]
        self._hold_first(path)
        self.pinned, self.showing = path, None

    def _hold_first(self, path: str) -> None:
        self.held = [path, *(each for each in self.held if each != path)]

    def _rows(self, store: Store, count: int) -> list[Row]:
        """The next of the list, first those that are held."""
        page, filters = store.candidates.page, self.filters
        found: dict[str, Row] = {}
        if self.held:
            found = {str(row["path"]): row for row in rows_of(page(self.audit, **(filters | {"paths": self.held})))}
        held = [found[path] for path in self.held if path in found and path not in self.passed][:count]
        if len(held) == count:
            return held
        without = [*self.passed, *(str(row["path"]) for row in held)]
        others = page(self.audit, **(filters | {"without": without}), top=count - len(held), offset=self.start)
        return [*held, *rows_of(others)]

    def _pinned_row(self, store: Store) -> Row | None:
        if self.pinned is None:
            return None
        return next(iter(rows_of(store.candidates.page(self.audit, paths=[self.pinned]))), None)
