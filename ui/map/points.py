"""The questions of the map: where every picture lies and what stands about it, what is like it, what was selected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
from starlette.routing import BaseRoute

from gradattn_core.belief import PRIMARY
from gradattn_core.embedding import MOST, obstacle, similar_pictures
from gradattn_core.progress import duration
from gradattn_core.store.store import Store
from gradattn_core.wording import full_name, short_name
from ui.api.answers import Asked, get, post
from ui.api.cards import cards
from ui.launch import read_only
from ui.map.making import maker

SIMILAR = 24
"""Pictures like one of them."""
LARGEST = 65_535
"""Coordinates are whole numbers from 0 to this, both by one scale."""

_CARDS, _FOUND = 96, 12
# Seconds that a map takes up to so many pictures, on two cores.
_SECONDS = ((2_000, 10.0), (10_000, 30.0), (MOST, 150.0))


@dataclass(frozen=True, slots=True)
class Region:
    """A class on the map.

    Attributes:
        name: for people; ``whole`` tells it apart from another class of the same name.
        x, y: the median place of its pictures, as the points have theirs.
        pictures: of it on the map.
    """

    label: str
    name: str
    whole: str
    x: int
    y: int
    pictures: int


@dataclass(frozen=True, slots=True)
class Points:
    """All that is drawn, a column each, in the order of paths.

    Attributes:
        images: of the audit; of more than ``MOST`` only a sample is drawn. ``missing``: suspects that are not drawn.
        states: a letter a picture, see :func:`states`; ``ranks``: 1 is the most suspect.
        classes: by their number in ``given``.
    """

    images: int
    missing: int
    paths: list[str]
    x: list[int]
    y: list[int]
    given: list[int]
    ranks: list[int]
    states: str
    classes: list[Region]


def states(frame: pd.DataFrame) -> str:
    """One letter for each row of ``Store.embeddings.points``: ``w`` a suspect whose label is probably wrong, ``r``
    probably right, ``e`` either, ``d`` a picture that is decided, ``.`` one that is neither suspect nor decided."""
    suspicion = frame["suspicion"].to_numpy(dtype=float)
    letters = np.where(suspicion >= PRIMARY, "w", np.where(1 - suspicion >= PRIMARY, "r", "e"))
    letters = np.where(frame["is_suspect"].to_numpy(dtype=bool), letters, ".")
    return "".join(np.where((frame["decision"] != "").to_numpy(), "d", letters))


def points_of(frame: pd.DataFrame, images: int, missing: int) -> Points:
    """What is drawn of ``Store.embeddings.points``."""
    places = frame[["x", "y"]].to_numpy(dtype=float)
    low = places.min(axis=0)
    size = float(np.ptp(places, axis=0).max()) or 1.0
    whole = np.rint((places - low) / size * LARGEST).astype(int)
    labels, given = np.unique(frame["given_label"].to_numpy(dtype=object).astype(str), return_inverse=True)
    middles = pd.DataFrame(whole).groupby(given).median().round().astype(int).to_numpy()
    counts = np.bincount(given, minlength=len(labels))
    regions = [
        Region(label, short_name(label), full_name(label), int(x), int(y), int(count))
        for label, (x, y), count in zip(labels.tolist(), middles, counts, strict=True)
    ]
    return Points(
        images,
        missing,
        frame["path"].astype(str).tolist(),
        whole[:, 0].tolist(),
        whole[:, 1].tolist(),
        given.tolist(),
        frame["rank"].astype(int).tolist(),
        states(frame),
        regions,
    )


def whole_map(asked: Asked) -> Mapping[str, object]:
    """``GET map``: the points, or how far they are, or why there are none."""
    store, audit = asked.store, asked.audit
    facts = store.audits.one(audit)
    frame = store.embeddings.points(audit)
    if not frame.empty:
        _, missing = store.embeddings.count(audit)
        # As it is: a copy of 50,000 names as ``asdict`` makes it takes longer than to find them.
        return {"points": points_of(frame, facts.images, missing)}
    problem = obstacle(store, facts)
    if not problem and read_only():
        problem = "Nobody has made a map of this audit yet, and this page is read-only: gradattn embed makes it."
    if problem:
        return {"problem": problem}
    making = maker(store.directory, audit)
    share = making.progress()
    seconds = next(time for most, time in (*_SECONDS, (facts.images, _SECONDS[-1][1])) if facts.images <= most)
    return {"making": share, "failed": making.problem, "about": duration(seconds)}


def make(asked: Asked) -> Mapping[str, object]:
    """``POST map/make``: begin with the map, unless it is there or being made."""
    store, audit = asked.writing().store, asked.audit
    if obstacle(store, store.audits.one(audit)) or store.embeddings.count(audit)[0]:
        return {"making": None}
    making = maker(store.directory, audit)
    making.work.begin()
    return {"making": making.progress()}


def current(asked: Asked) -> Mapping[str, object]:
    """``GET map/states``: what stands about the pictures by now, a letter each, and how far the review is."""
    store, audit = asked.store, asked.audit
    frame = store.embeddings.points(audit)
    return {"states": states(frame), "progress": _progress(store, audit)}


def some_cards(asked: Asked) -> list[Mapping[str, object]]:
    """``POST map/cards``: what is thought of a few pictures, in their order; those of another audit are left out."""
    return _cards(asked.store, asked.audit, _paths(asked, _CARDS))


def similar(asked: Asked) -> Mapping[str, object]:
    """``GET map/similar``: the pictures that look most like one of them, that one first."""
    store, audit, path = asked.store, asked.audit, asked.text("path")
    features = store.audits.one(audit).features
    found = [each for each, _ in similar_pictures(store.directory / features, path, SIMILAR)] if features else []
    if not found:  # the features are gone; the audit has kept the nearest of each suspect
        found = store.images.neighbours(audit, path)["path"].astype(str).tolist()
    return {"paths": [path, *found], "cards": _cards(store, audit, [path, *found])}


def find(asked: Asked) -> list[Mapping[str, object]]:
    """``GET map/find``: pictures whose path contains a text, the most suspect first."""
    store, audit = asked.store, asked.audit
    frame = store.candidates.page(
        audit, path_contains=asked.text("text", longest=500), everything=True, decided="any", top=_FOUND
    )
    return [asdict(card) for card in cards(store, audit, frame)]


def select(asked: Asked) -> Mapping[str, str]:
    """``POST map/select``: keep a selection, so that Review and Grid can be opened on it by a short address."""
    paths = _paths(asked, MOST)
    # Looking needs no name, and a selection decides nothing.
    reviewer = asked.session.login or asked.text("reviewer", "", 100).strip() or "unnamed"
    return {"selection": asked.writing().store.selections.keep(asked.audit, paths, reviewer=reviewer)}


ROUTES: list[BaseRoute] = [
    get("map", whole_map),
    get("map/states", current),
    get("map/similar", similar),
    get("map/find", find),
    post("map/make", make),
    post("map/cards", some_cards),
    post("map/select", select),
]


def _progress(store: Store, audit: str) -> Mapping[str, int]:
    review = store.review.progress(audit)
    return {"suspects": review.suspects, "decided": review.suspects_decided}


def _cards(store: Store, audit: str, paths: Sequence[str]) -> list[Mapping[str, object]]:
    frame = store.candidates.page(audit, paths=paths, everything=True, decided="any")
    place = {path: at for at, path in enumerate(paths)}
    frame = frame.sort_values("path", key=lambda column: column.map(place))
    return [asdict(card) for card in cards(store, audit, frame)]


def _paths(asked: Asked, most: int) -> list[str]:
    return list(dict.fromkeys(asked.texts("paths", most)))
