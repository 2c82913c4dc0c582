"""Small pictures of an audit's images: each is made once, kept on disk below the output folder, and bounded.

A thumbnail's name is a digest of the image's content and of all that decides what is drawn, so that nothing ever has to
be made invalid, and a picture that was shown once is shown again where its file has moved since.
"""

from __future__ import annotations

import functools
import hashlib
import io
import os
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from gradattn_core.errors import GradattnError, StoreError
from gradattn_core.files import write_bytes
from gradattn_core.records import Evidence
from gradattn_core.render.overlays import Palette, display_size
from gradattn_core.store.images import Place
from gradattn_core.store.store import Store
from ui import components
from ui.api.makers import LIMIT, cache_folder, prune
from ui.pictures import paint, read_place

SIDE = 256
"""Pixels of a thumbnail's longer side."""

# Changes whenever the same input would be drawn differently.
_DRAWING = 1
_OPACITY = 0.8
# A file that cannot be read is not tried again for so many seconds.
_PATIENCE_WITH_BROKEN = 30.0


@dataclass(frozen=True)
class Thumbnail:
    """What there is to show for an image.

    Attributes:
        file: the JPEG; None where there is none, or none yet.
        problem: one sentence why there never will be one; empty while it is being made.
    """

    file: Path | None = None
    problem: str = ""

    @property
    def pending(self) -> bool:
        return self.file is None and not self.problem


@dataclass(frozen=True)
class ThumbnailRequest:
    """A thumbnail that a page shows, told without the session, so that it can be made on any thread.

    Attributes:
        target: where it is kept.
        palette: the colours of the evidence; None where no evidence is drawn.
        root: a folder named on the page: below it only what the audit saw is shown.
    """

    store: Store
    audit: str
    path: str
    target: Path
    palette: Palette | None
    root: str | None

    @property
    def key(self) -> tuple[Path, str | None]:
        """What two sessions that ask for the same share."""
        return self.target, self.root


def thumbnail(audit: str, path: str, evidence: bool = False) -> Path | None:
    """The JPEG of an image of the audit, made now if it has to be; None where its file is missing or broken."""
    return thumbnails(audit, [path], evidence)[path].file


def thumbnails(audit: str, paths: Sequence[str], evidence: bool = False) -> dict[str, Thumbnail]:
    """:func:`thumbnail` for many images at once, in the order of ``paths``.

    Raises:
        StoreError: the database cannot be read.
    """
    frame = components.store().candidates.page(audit, paths=list(paths))
    hashes = dict(zip(frame["path"].astype(str), frame["content_hash"].astype(str), strict=True))
    return make(requests(audit, {path: hashes.get(path, "") for path in paths}, evidence))


def requests(audit: str, hashes: Mapping[str, str], evidence: bool = False) -> list[ThumbnailRequest]:
    """For the images of ``hashes``, a content hash by path. Asks nothing of the store."""
    store, root = components.store(), components.data_root()
    palette = components.palette() if evidence else None
    folder = cache_folder(str(components.directory()))
    return [
        ThumbnailRequest(store, audit, path, _target(folder, audit, path, content_hash, palette), palette, root)
        for path, content_hash in hashes.items()
    ]


def make(requests: Iterable[ThumbnailRequest], *, patience: float | None = None) -> dict[str, Thumbnail]:
    """The thumbnails by path, all of one audit; those that are not there are made, by a few threads.

    Args:
        patience: seconds to wait for them; what is not ready then comes back as pending and is made all the same.
            None waits for all.

    Raises:
        StoreError: the database cannot be read.
    """
    requests = list(requests)
    outcomes = _maker().start([request for request in requests if not request.target.exists()])
    running = [outcome for outcome in outcomes.values() if isinstance(outcome, Future)]
    if running:
        wait(running, timeout=patience)
    return {request.path: _thumbnail(request, outcomes.get(request, "")) for request in requests}


@functools.cache
def _maker() -> _Maker:
    return _Maker()


class _Maker:
    """Makes thumbnails on a few threads, each once however many sessions ask for it, and keeps the cache bounded."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(min(4, os.cpu_count() or 1), thread_name_prefix="thumbnail")
        self._lock = threading.Lock()
        self._running: dict[tuple[Path, str | None], Future[str]] = {}
        self._broken: dict[tuple[Path, str | None], tuple[float, str]] = {}
        self._sizes: dict[Path, int] = {}

    def start(self, requests: Sequence[ThumbnailRequest]) -> dict[ThumbnailRequest, Future[str] | str]:
        """For each the work that ends with "" or a problem, or the problem at once; the store is asked once."""
        with self._lock:
            outcomes = {request: outcome for request in requests if (outcome := self._outcome(request))}
        fresh = [request for request in requests if request not in outcomes]
        if not fresh:
            return outcomes
        store, audit, paths = fresh[0].store, fresh[0].audit, [request.path for request in fresh]
        places = _places(store, audit, paths)
        maps = store.images.evidences(audit, paths) if fresh[0].palette else {}
        with self._lock:
            for request in fresh:
                place = places[request.path]
                outcomes[request] = self._outcome(request) or (
                    place if isinstance(place, str) else self._submit(request, place, maps.get(request.path))
                )
        return outcomes

    def _outcome(self, request: ThumbnailRequest) -> Future[str] | str:
        """What another session has begun, or why it failed a moment ago; else empty."""
        since, problem = self._broken.get(request.key, (0.0, ""))
        fresh = time.monotonic() - since < _PATIENCE_WITH_BROKEN
        return self._running.get(request.key) or (problem if fresh else "")

    def _submit(self, request: ThumbnailRequest, place: Place, evidence: Evidence | None) -> Future[str]:
        work = self._running[request.key] = self._pool.submit(self._make, request, place, evidence)
        return work

    def _make(self, request: ThumbnailRequest, place: Place, evidence: Evidence | None) -> str:
        try:
            problem = self._write(request, place, evidence)
        finally:
            with self._lock:
                self._running.pop(request.key, None)
        with self._lock:
            self._broken.pop(request.key, None)
            if problem:
                # Thousands of missing files are remembered, millions are not.
                if len(self._broken) >= 10_000:
                    self._broken.clear()
                self._broken[request.key] = (time.monotonic(), problem)
        return problem

    def _write(self, request: ThumbnailRequest, place: Place, evidence: Evidence | None) -> str:
        try:
            content = _draw(request, place, evidence)
            request.target.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(request.target, content)
        except GradattnError as error:
            return str(error)
        except OSError as error:
            return f"The small picture cannot be kept: {error.strerror or error}."
        folder = request.target.parents[1]
        with self._lock:
            if folder in self._sizes and self._sizes[folder] + len(content) <= LIMIT:
                self._sizes[folder] += len(content)
            else:
                self._sizes[folder] = prune(folder, LIMIT)
        return ""


def _thumbnail(request: ThumbnailRequest, outcome: Future[str] | str) -> Thumbnail:
    if isinstance(outcome, Future):
        if not outcome.done():
            return Thumbnail()
        outcome = outcome.result()
    return Thumbnail(problem=outcome) if outcome else Thumbnail(request.target)


def _places(store: Store, audit: str, paths: list[str]) -> dict[str, Place | str]:
    """Where each image lies, or one sentence why it has no place. One question, unless one of the paths is unusable."""
    try:
        return dict(zip(paths, store.images.places(audit, paths), strict=True))
    except StoreError as error:
        if len(paths) < 2:
            return dict.fromkeys(paths, str(error))
    return {path: place for single in paths for path, place in _places(store, audit, [single]).items()}


def _target(folder: Path, audit: str, path: str, content_hash: str, palette: Palette | None) -> Path:
    """Evidence belongs to an image of an audit, a picture without it only to its content."""
    parts = [str(_DRAWING), str(SIDE), content_hash, *((audit, path, palette) if palette else ())]
    # A content hash is never absent, but should one be, two images must not share a thumbnail.
    parts += [] if content_hash else [audit, path]
    digest = hashlib.blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=20).hexdigest()
    return folder / digest[:2] / f"{digest[2:]}.jpg"


def _draw(request: ThumbnailRequest, place: Place, evidence: Evidence | None) -> bytes:
    """The JPEG. Raises GradattnError."""
    read = read_place(place, request.root)
    size = read.width, read.height
    image = read.image.resize(display_size(*size, SIDE), Image.Resampling.BICUBIC, reducing_gap=2.0)
    if evidence is not None and request.palette:
        image = paint(image, evidence, size, opacity=_OPACITY, palette=request.palette)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=82)
    return buffer.getvalue()
