"""Rank an audit's undecided suspects anew by what reviewers said: read, learn, write. For command line and page."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from gradattn_core import estimates, outfolder
from gradattn_core.export import write_candidates
from gradattn_core.kinds import suggestion
from gradattn_core.ranking.folds import NEAR_DUPLICATE
from gradattn_core.ranking.noise import shifted
from gradattn_core.ranking.recalibration import Influence, Recalibration, recalibrate
from gradattn_core.records import IntArray
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
    "log_odds_without_picture": "lead of the given label without any picture",
    "red_log_odds": "evidence for the given label",
    "blue_log_odds": "lack of evidence for the other class",
    "concentration": "concentration of the evidence",
    "overlap": "overlap of both classes' evidence",
}
"""The numbers that are learnt from, in words."""


@dataclass(frozen=True, slots=True)
class Reranking:
    """What the decisions on an audit made of its order.

    Attributes:
        recalibration: what they taught; its ``suspicion`` is that of all suspects in the audit's order.
        undecided: how many suspects nobody has decided.
        estimated_left: how many labels of these the model believes to be wrong, after what was learnt; ``left_low`` to
            ``left_high`` is the range of :func:`gradattn_core.estimates.assumed_range`.
    """

    audit_id: str
    recalibration: Recalibration
    undecided: int
    estimated_left: float
    left_low: float
    left_high: float


def rerank(store: Store, audit_id: str, *, dry_run: bool = False) -> Reranking:
    """Learn from the decisions that stand, and order the undecided suspects by it if that is clearly better.

    Depends on nothing but the audit and the decisions: where they teach no better order, the audit's own is in force
    afterwards, even if fewer decisions had taught one before. ``candidates.csv`` follows if the audit is the newest.

    Raises:
        StoreError: there is no such audit, or the database cannot be written.
    """
    suspects, pairs = store.review.suspects(audit_id, NEAR_DUPLICATE)
    result = learn(suspects, pairs)
    undecided = (suspects["decision"] == "").to_numpy()
    suspicion = result.suspicion[undecided]
    if not dry_run:
        if result.used:
            paths = suspects["path"][undecided].tolist()
            store.review.rerank(audit_id, paths, suspicion, decisions=result.decisions)
        else:
            store.review.reset(audit_id)
        _update_candidates(store, audit_id)
    total = float(suspicion.sum())
    before = suspects["suspicion"].to_numpy()[undecided]
    assumed = (suspects[name].to_numpy(dtype=float)[undecided] for name in estimates.ASSUMPTIONS)
    sums = (float(shifted(belief, before, suspicion).sum()) for belief in assumed)
    return Reranking(audit_id, result, len(suspicion), total, *estimates.assumed_range(total, *sums))


def reset(store: Store, audit_id: str) -> bool:
    """Put the audit's own order back; returns whether there was another one.

    Raises:
        StoreError: there is no such audit, or the database cannot be written.
    """
    changed = store.review.reset(audit_id)
    _update_candidates(store, audit_id)
    return changed


def learn(suspects: pd.DataFrame, pairs: pd.DataFrame) -> Recalibration:
    """What the decisions teach; ``unsure`` teaches nothing, and of copies under one label only the first counts.

    Args:
        suspects: of ``Store.review.suspects``,
        pairs: and its pairs of near-duplicates.
    """
    verdicts = suspects["decision"].map({"keep": 0.0, "relabel": 1.0, "remove": 1.0}).astype(float)
    verdicts = verdicts.mask(suspects.duplicated(["content_hash", "given_label"]))
    numbers = suspects[[name for name in NUMBERS if name in suspects and name != "suspicion"]]
    suggested = suspects["suggested_label"].map(suggestion)
    names = suspects.assign(
        suggested_label=suggested,
        pair=suspects["given_label"] + " → " + suggested,
        cluster=suspects["cluster"].map(lambda number: "" if pd.isna(number) else str(int(number))),
    )[list(NAMES)]
    groups = _near_duplicate_groups(suspects["path"], pairs)
    return recalibrate(suspects["suspicion"].to_numpy(), numbers, names, np.asarray(verdicts), groups)


def phrase(influence: Influence) -> str:
    """A feature and its effect as a phrase; labels stand in it as they are."""
    more = "more" if influence.weight > 0 else "less"
    if not influence.name:
        return f"the greater the {NUMBERS[influence.feature]}, the {more} often wrong"
    what = {
        "given_label": f"labelled {influence.name}",
        "suggested_label": f"looking like {influence.name}",
        "pair": influence.name,
        "cluster": f"suspects that look alike, group {influence.name}",
    }
    return f"{what[influence.feature]}: {more} often wrong"


def _near_duplicate_groups(paths: pd.Series, pairs: pd.DataFrame) -> IntArray:
    """A number per suspect, the same for those that are near-duplicates, if only by way of other suspects."""
    place = pd.Series(np.arange(len(paths)), index=paths)
    ends = [pairs[column].map(place) for column in ("path", "neighbour_path")]
    both_suspects = ends[0].notna() & ends[1].notna()
    rows, columns = (end[both_suspects].to_numpy(dtype=np.int64) for end in ends)
    graph = coo_array((np.ones(len(rows)), (rows, columns)), shape=(len(paths), len(paths)))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)


def _update_candidates(store: Store, audit_id: str) -> None:
    """Write candidates.csv, which lists the newest audit, anew if this is it."""
    if store.audits.latest_id() == audit_id:
        write_candidates(store.candidates.page(audit_id), outfolder.candidates(store.directory))
