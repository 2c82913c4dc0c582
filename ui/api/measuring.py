"""What the model is asked anew about one picture: its numbers measured, and its map by another method.

Only who asks pays: the model is loaded, and torch with it, when the first picture is measured. One thread of its own
does all of it, one picture after another, so that lists, pictures and decisions are answered meanwhile.
"""

from __future__ import annotations

import asyncio
import functools
import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from gradattn_core.store.store import Store
from gradattn_core.wording import names_of
from ui.api.answers import PATIENCE, Asked, AskedWrongly, Conflict, Handler, get, post
from ui.api.evidence_map import in_digits
from ui.api.lists import one
from ui.api.shapes import OtherMap, Suspect
from ui.launch import read_only

if TYPE_CHECKING:
    from gradattn_core.audit.judge import Judge
    from gradattn_core.peers.question import Peer

MOST_WAITING = 8
"""Questions to the model that wait or run; whoever comes then is asked to come again."""

_places = threading.BoundedSemaphore(MOST_WAITING)


@dataclass(frozen=True, slots=True)
class Method:
    """A method that is drawn while somebody waits.

    Attributes:
        says: what a reader of its map should know.
    """

    name: str
    title: str
    passes: str
    signed: bool
    says: str


def measure(asked: Asked) -> Suspect:
    """``POST measure``: all parts of a picture's map measured and kept; the suspect anew."""
    path, store = asked.text("path"), asked.store
    judge = _judge(asked)
    began = time.monotonic()
    judge.measure(store, path)
    took = f"{time.monotonic() - began:.1f} s"
    suspect = one(asked)
    if suspect.map is None or suspect.map.measuring is None:
        return suspect
    return replace(suspect, map=replace(suspect.map, measuring=replace(suspect.map.measuring, took=took)))


def methods(asked: Asked) -> Sequence[Method]:
    """``GET methods``: those of a few passes."""
    return [
        Method(
            name=peer.name,
            title=peer.title,
            passes=f"{peer.passes} {'pass' if peer.passes == 1 else 'passes'}",
            signed=peer.has_sides,
            says=peer.properties,
        )
        for peer in _peers()
    ]


def other_map(asked: Asked) -> OtherMap:
    """``POST method``: the map of a picture by a method, between the classes of its own map."""
    path, name = asked.text("path"), asked.text("method", longest=100)
    peer = next((each for each in _peers() if each.name == name), None)
    if peer is None:
        raise AskedWrongly(f"{name} is none of the methods that are drawn while somebody waits")
    evidence, scores = _judge(asked).map(asked.store, path, name)
    if not peer.has_sides:
        # Rounding: what only matters is never less than nothing.
        scores = scores.clip(min=0)
    names = names_of([label for label in (evidence.for_label, evidence.against_label) if label])
    crop = evidence.crop
    return OtherMap(
        scores=in_digits(scores),
        signed=peer.has_sides,
        crop=(crop.left, crop.top, crop.right, crop.bottom),
        for_name=names.get(evidence.for_label, evidence.for_label),
        against_name=names.get(evidence.against_label, evidence.against_label),
        title=f"Map by {peer.title}{'' if peer.has_sides else ': unsigned'}",
        note=f"{peer.title} ({peer.source}): {peer.properties}. Each map has a scale of its own.",
    )


async def in_line(handler: Handler, asked: Asked) -> object:
    """A handler's answer, found on the model's own thread after those who asked before.

    Raises:
        Conflict: this page computes nothing, or too many wait already.
    """
    if read_only():
        raise Conflict("This page was opened read-only: nothing is measured or drawn anew.")
    if not _places.acquire(blocking=False):
        raise Conflict("Several people wait for the model already; try again in a moment.")
    try:
        return await asyncio.wrap_future(_line().submit(handler, asked))
    finally:
        _places.release()


def stop() -> None:
    """Whoever waits is not answered any more: the process is about to end."""
    _line().shutdown(wait=False, cancel_futures=True)
    _line.cache_clear()


ROUTES = [
    post("measure", measure, in_line),
    get("methods", methods, in_line),
    post("method", other_map, in_line),
]


@functools.cache
def _line() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix="model")


def _judge(asked: Asked) -> Judge:
    """The audit's own model and head, loaded once for all who look at this page."""
    return _loaded(str(asked.store.directory), asked.audit)


@functools.lru_cache(maxsize=1)
def _loaded(directory: str, audit: str) -> Judge:
    import torch

    from gradattn_core.audit.judge import Judge

    # One core is for those who go on deciding. It holds for the thread that says so.
    torch.set_num_threads(max(1, min(torch.get_num_threads(), (os.cpu_count() or 2) - 1)))
    return Judge.of(Store(Path(directory), patience=PATIENCE), audit)


def _peers() -> Sequence[Peer]:
    from gradattn_core.peers.registry import PEERS

    return [peer for peer in PEERS.values() if peer.is_cheap]
