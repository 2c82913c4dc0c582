"""Rank an audit's undecided suspects anew by what reviewers said: read, learn, write. For command line and page."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from gradattn_core import estimates
from gradattn_core.export import CANDIDATES, write_candidates
from gradattn_core.ranking.folds import NEAR_DUPLICATE
from gradattn_core.ranking.relearn import Influence, Relearned, relearn
from gradattn_core.store.store import Store

NAMES = ("given_label", "suggested_label", "pair", "cluster")
NUMBERS = {
    "suspicion": "suspicion of the audit",
    "self_confidence": "doubt in the given label",
    "log_margin": "lead of the other class",
    "adjusted_margin": "lead of the other class, against what is usual for the class",
    "cwe": "indecision for so little trust in the label",
    "mistakenness": "certainty that it is another class",
    "margin": "margin of the given label",
    "entropy": "indecision of the head",
    "map_margin": "margin that the map explains",
    "positive_mass": "evidence for the given label",
    "negative_mass": "evidence for the other class",
    "balance": "balance of the evidence towards the given label",
    "concentration": "concentration of the evidence",
    "overlap": "overlap of both classes' evidence",
}
"""The numbers that are learnt from, in words."""


@dataclass(frozen=True, slots=True)
class Reranked:
    """What came of it.

    Attributes:
        learnt: what the decisions taught; its ``suspicion`` is that of all suspects in the audit's order.
        undecided: how many suspects are.
        left, left_low, left_high: expected number of wrong labels among these, after it, and its interval.
    """

    audit_id: str
    learnt: Relearned
    undecided: int
    left: float
    left_low: float
    left_high: float


def rerank(store: Store, audit_id: str, *, dry_run: bool = False) -> Reranked:
    """Learn from the decisions that stand, and order the undecided suspects by it if that is clearly better.

    Depends on nothing but the audit and the decisions: where they teach no better order, the audit's own is in force
    afterwards, even if fewer decisions had taught one before. ``candidates.csv`` follows if the audit is the newest.

    Raises:
        StoreError: there is no such audit, or the database cannot be written.
    """
    suspects, alike = store.review.suspects(audit_id, NEAR_DUPLICATE)
    learnt = learn(suspects, alike)
    undecided = (suspects["decision"] == "").to_numpy()
    if not dry_run:
        if learnt.used:
            paths = suspects["path"][undecided].tolist()
            store.review.rerank(audit_id, paths, learnt.suspicion[undecided], decisions=learnt.decisions)
        else:
            store.review.reset(audit_id)
        _follow(store, audit_id)
    left = learnt.suspicion[undecided]
    interval = estimates.wrong_labels(left.sum(), (left * (1 - left)).sum(), len(left))
    return Reranked(audit_id, learnt, len(left), float(left.sum()), *interval)


def reset(store: Store, audit_id: str) -> bool:
    """Put the audit's own order back; returns whether there was another one.

    Raises:
        StoreError: there is no such audit, or the database cannot be written.
    """
    was = store.review.reset(audit_id)
    _follow(store, audit_id)
    return was


def learn(suspects: pd.DataFrame, alike: pd.DataFrame) -> Relearned:
    """What the decisions of ``Store.review.suspects`` teach; ``unsure`` teaches nothing, of copies one does."""
    verdict = suspects["decision"].map({"keep": 0.0, "relabel": 1.0, "remove": 1.0}).astype(float)
    verdict = verdict.mask(suspects.duplicated(["content_hash", "given_label"]))
    numbers = suspects[[name for name in NUMBERS if name in suspects and name != "suspicion"]]
    names = suspects.assign(
        pair=suspects["given_label"] + " → " + suspects["suggested_label"],
        cluster=suspects["cluster"].map(lambda number: "" if pd.isna(number) else str(int(number))),
    )[list(NAMES)]
    groups = _near_duplicates(suspects["path"], alike)
    said = np.asarray(verdict, dtype=np.float64)
    return relearn(suspects["suspicion"].to_numpy(), numbers, names, said, groups)


def in_words(influence: Influence) -> str:
    """A feature and its effect as a phrase; labels stand in it as they are."""
    more = "more" if influence.weight > 0 else "less"
    if not influence.name:
        return f"the greater the {NUMBERS[influence.feature]}, the {more} often wrong"
    what = {
        "given_label": f"labelled {influence.name}",
        "suggested_label": f"looking like {influence.name}",
        "pair": influence.name,
        "cluster": f"alike suspects, group {influence.name}",
    }
    return f"{what[influence.feature]}: {more} often wrong"


def _near_duplicates(paths: pd.Series, alike: pd.DataFrame) -> NDArray[np.int64]:
    """A number per suspect, the same for those that are alike, if only by way of others."""
    place = pd.Series(np.arange(len(paths)), index=paths)
    edges = [alike[column].map(place) for column in ("path", "neighbour_path")]
    known = edges[0].notna() & edges[1].notna()
    rows, columns = (edge[known].to_numpy(dtype=np.int64) for edge in edges)
    graph = coo_array((np.ones(len(rows)), (rows, columns)), shape=(len(paths), len(paths)))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)


def _follow(store: Store, audit_id: str) -> None:
    """candidates.csv lists the newest audit."""
    if store.audits.latest_id() == audit_id:
        write_candidates(store.candidates.page(audit_id), store.directory / CANDIDATES)
