"""Whether a picture's file is still the one that the audit saw, and what is said where it is not.

A file that has not been touched since the audit began is the same: that is asked of the file system, for every picture
of a list. Of a file that is newer only its content tells; it is read once, when its picture is fetched anyway, and
remembered until the file is touched again.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from typing import Literal, TypeAlias

from gradattn_core.dataset.address import is_local, is_url, outermost
from gradattn_core.dataset.decoding import content_hash, read_address
from gradattn_core.errors import StoreError, UnreadableImageError
from gradattn_core.store.images import Place
from ui.api.answers import Asked, post
from ui.api.whereabouts import whereabouts

State: TypeAlias = Literal["same", "changed", "gone", "unknown"]

MOST = 240
"""Pictures of one request."""
CHANGED = "This file has changed since the audit: what is said here, and what you decide, is of the older picture."
GONE = "This file is gone since the audit: what is said here, and what you decide, is of the picture it was."
SENTENCES: Mapping[State, str] = {"changed": CHANGED, "gone": GONE, "same": "", "unknown": ""}

_COARSE = 2.0  # Seconds: file systems count time in steps of up to so much.
_REMEMBERED = 20_000
# The hash of a content, by its address and by what its file was like when it was read. Threads share it.
_read: OrderedDict[tuple[object, ...], str] = OrderedDict()


def state(place: Place) -> State:
    """What is known of a picture's file without reading it; ``unknown`` where only its content tells."""
    try:
        stamp = _stamp(place.address)
    except (FileNotFoundError, NotADirectoryError):
        return "gone"
    except (OSError, ValueError):
        return "unknown"
    found = _read.get((place.address, *stamp))
    if found is not None:
        return "same" if found == place.content_hash else "changed"
    if not stamp:
        # A copy that was kept is of what the audit saw.
        return "unknown" if place.preview is None else "same"
    size, *times = stamp
    is_as_large = is_url(place.address) or place.size in (None, size)
    return "same" if is_as_large and max(times) / 1e9 < place.since - _COARSE else "unknown"


def read_now(place: Place) -> tuple[bytes, str]:
    """The file as it is now, and the hash of its content, which is remembered.

    Raises:
        UnreadableImageError: why it cannot be read.
    """
    before = _stamp_or_none(place.address)
    data = read_address(place.address)
    found = content_hash(data)
    # What is written to meanwhile is read again.
    if before is not None and before == _stamp_or_none(place.address):
        _read[place.address, *before] = found
        while len(_read) > _REMEMBERED:
            with suppress(KeyError):
                _read.popitem(last=False)
    return data, found


def changed(asked: Asked) -> Mapping[str, Mapping[str, str]]:
    """``POST changed``: of these pictures, which have been fetched, a sentence on each that is not what it was."""
    said = {}
    for path in asked.texts("paths", MOST):
        # What cannot be read is said where the picture would be.
        with suppress(StoreError, UnreadableImageError, OSError):
            place = whereabouts.of(asked.store, asked.audit, path)
            if state(place) == "unknown" and is_local(place.address):
                read_now(place)
            said[path] = SENTENCES[state(place)]
    return {"said": {path: sentence for path, sentence in said.items() if sentence}}


ROUTES = [post("changed", changed)]


def _stamp(address: str) -> tuple[int, ...]:
    """Size and times in nanoseconds of the file that holds a picture; empty where it lies on another machine.

    A link that points elsewhere, and a folder that took another's place, are newer than what they lead to.
    """
    if not is_local(address):
        return ()
    file = outermost(address)
    status = os.stat(file)
    touched = os.lstat(file).st_ctime_ns, os.stat(os.path.dirname(file)).st_ctime_ns
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, *touched


def _stamp_or_none(address: str) -> tuple[int, ...] | None:
    try:
        return _stamp(address)
    except (OSError, ValueError):
        return None
