"""Where the pictures lie that a page is about to ask for: looked up together, as one costs nearly as much as hundreds.

Of a million images the path of one that is no suspect is looked for among all; a suspect comes with a dozen such.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import TypeAlias

from gradattn_core.errors import StoreError
from gradattn_core.store.images import Place
from gradattn_core.store.store import Store

Key: TypeAlias = tuple[str, str, str, str]
"""Output folder, data root, audit, path."""

SECONDS = 60.0
"""So long a place is believed: the audit's images do not change, but copies of them may be cleared away."""
_MOST = 20_000
_AT_ONCE = 1_000


class Whereabouts:
    """Places of images by path, and the paths that will be asked for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._turn = threading.Lock()
        self._known: OrderedDict[Key, tuple[float, Place]] = OrderedDict()
        self._expected: OrderedDict[Key, None] = OrderedDict()

    def expect(self, store: Store, audit: str, paths: Iterable[str]) -> None:
        """These images of the audit will soon be asked for. Asks nothing of the store."""
        with self._lock:
            for path in paths:
                key = _key(store, audit, path)
                if key not in self._known:
                    self._expected[key] = None
                    self._expected.move_to_end(key)
            while len(self._expected) > _AT_ONCE:
                self._expected.popitem(last=False)

    def of(self, store: Store, audit: str, path: str) -> Place:
        """The place of one image; what is expected of the same audit is looked up with it.

        Raises:
            StoreError: as ``store.images.places``.
        """
        key = _key(store, audit, path)
        found = self._look(key)
        if found is not None:
            return found
        # One looks for all; those who waited find theirs.
        with self._turn:
            found = self._look(key)
            if found is not None:
                return found
            with self._lock:
                others = [other for other in self._expected if other[:3] == key[:3] and other != key]
                for each in (key, *others):
                    self._expected.pop(each, None)
            places = self._places(store, key, others)
            with self._lock:
                now = time.monotonic()
                self._known |= {each: (now, place) for each, place in places.items()}
                while len(self._known) > _MOST:
                    self._known.popitem(last=False)
        return places[key]

    def all_of(self, store: Store, audit: str, paths: Sequence[str]) -> dict[str, Place]:
        """The places of several images by path; one that cannot be found is absent."""
        self.expect(store, audit, paths)
        found = {}
        for path in paths:
            with suppress(StoreError):
                found[path] = self.of(store, audit, path)
        return found

    def _look(self, key: Key) -> Place | None:
        with self._lock:
            since, place = self._known.get(key, (0.0, None))
            return place if time.monotonic() - since < SECONDS else None

    def _places(self, store: Store, key: Key, others: list[Key]) -> dict[Key, Place]:
        keys = [key, *others]
        try:
            return dict(zip(keys, store.images.places(key[2], [each[3] for each in keys]), strict=True))
        except StoreError:
            if not others:
                raise
        # One that cannot be found spoils no other.
        return self._places(store, key, [])


def _key(store: Store, audit: str, path: str) -> Key:
    return str(store.directory), str(store.data_root or ""), audit, path


whereabouts = Whereabouts()
"""Those of this process."""
