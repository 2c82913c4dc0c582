"""Rank an audit's images anew by what reviewers said: read, learn, write. For command line and page."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from gradattn_core import estimates
from gradattn_core.config import AuditConfig
from gradattn_core.export import update_candidates
from gradattn_core.kinds import suggestion
from gradattn_core.learning import METHODS, NEAR, REFITTED, Lesson, learn_from_features, lessons, verdicts
from gradattn_core.ranking.folds import NEAR_DUPLICATE
from gradattn_core.ranking.noise import shifted
from gradattn_core.ranking.recalibration import Influence, Recalibration, recalibrate
from gradattn_core.records import IntArray
from gradattn_core.store.store import Store
from gradattn_core.wording import count_of

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
        method: of ``learning.METHODS``.
        used: whether there is an order that was learnt; ``reason`` is one sentence on why, or why not.
        decisions: how many verdicts there were to learn from, and how many of these were "label ``wrong``".
        risen: images that were no suspects of the audit and are now.
        lessons: what verdicts on labels came to, the clearest first.
        recalibration: with the method ``numbers``, what taught it; its ``suspicion`` is that of all suspects.
        undecided: how many suspects nobody has decided.
        estimated_left: how many labels of these the model believes to be wrong, after what was learnt; ``left_low`` to
            ``left_high`` is the range of :func:`gradattn_core.estimates.assumed_range`.
    """

    audit_id: str
    method: str
    used: bool
    reason: str
    decisions: int
    wrong: int
    risen: int
    lessons: tuple[Lesson, ...]
    recalibration: Recalibration | None
    undecided: int
    estimated_left: float
    left_low: float
    left_high: float


def rerank(store: Store, audit_id: str, *, dry_run: bool = False) -> Reranking:
    """Learn from the decisions that stand, and order the images that nobody has decided by it.

    Depends on nothing but the audit and the decisions that stand. Where the features of the images are gone, only the
    suspects' numbers are left to learn from, and the order is used only if it is clearly better. ``candidates.csv``
    follows if the audit is the newest.

    Raises:
        StoreError: there is no such audit, or the database cannot be written.
    """
    audit = store.audits.one(audit_id)
    # Where nothing will be fitted again, the images that come last teach nothing and do not move.
    whole = audit.images <= REFITTED
    images = store.review.images(audit_id, first=None if whole else NEAR)
    verdict = verdicts(images)
    decisions, wrong = int((~np.isnan(verdict)).sum()), int(np.nansum(verdict))
    learnt = None
    if decisions and not audit.parameters.get("from_scratch"):
        learnt = learn_from_features(images, store.directory / audit.features, whole=whole)
    recalibration = None
    if learnt is None:
        suspects, pairs = store.review.suspects(audit_id, NEAR_DUPLICATE)
        recalibration = learn(suspects, pairs)
        method, used, reason = "numbers", recalibration.used, recalibration.reason
        decisions, wrong = recalibration.decisions, recalibration.wrong
        undecided = (suspects["decision"] == "").to_numpy()
        now = pd.Series(recalibration.suspicion, index=suspects["path"])[undecided]
    else:
        method, used = learnt.method, True
        threshold = audit.parameters.get("threshold", AuditConfig.threshold)
        rising = ~images["is_suspect"] & (learnt.suspicion >= threshold) & (learnt.suspicion > images["suspicion"])
        moving = rising | (images["is_suspect"] & (images["decision"] == ""))
        now = pd.Series(learnt.suspicion, index=images["path"])[moving.to_numpy()]
        reason = f"Learnt from {count_of(decisions, 'decision')}: {METHODS[method]}."
    if not dry_run:
        if used:
            store.review.rerank(audit_id, now.index.tolist(), now.to_numpy(), decisions=decisions, learnt_by=method)
        else:
            store.review.reset(audit_id)
        update_candidates(store, audit_id)
    listed = images.set_index("path")
    after = now[(listed["decision"].reindex(now.index) == "").to_numpy()]
    before = listed.reindex(after.index)
    total = float(after.sum())
    old, new = np.asarray(before["suspicion"], dtype=float), np.asarray(after, dtype=float)
    sums = (float(shifted(np.asarray(before[name], dtype=float), old, new).sum()) for name in estimates.ASSUMPTIONS)
    return Reranking(
        audit_id=audit_id,
        method=method,
        used=used,
        reason=reason,
        decisions=decisions,
        wrong=wrong,
        risen=int((~listed["is_suspect"].reindex(now.index).to_numpy(dtype=bool)).sum()),
        lessons=tuple(lessons(images)) if used else (),
        recalibration=recalibration,
        undecided=len(after),
        estimated_left=total,
        **dict(zip(("left_low", "left_high"), estimates.assumed_range(total, *sums), strict=True)),
    )


def reset(store: Store, audit_id: str) -> bool:
    """Put the audit's own order back, and learn no more by itself; returns whether there was another one.

    Raises:
        StoreError: there is no such audit, or the database cannot be written.
    """
    changed = store.review.reset(audit_id)
    store.review.switch_learning(audit_id, False)
    update_candidates(store, audit_id)
    return changed


def learn(suspects: pd.DataFrame, pairs: pd.DataFrame) -> Recalibration:
    """What the decisions teach; ``unsure`` teaches nothing, and of copies under one label only the first counts.

    Args:
        suspects: of ``Store.review.suspects``,
        pairs: and its pairs of near-duplicates.
    """
    numbers = suspects[[name for name in NUMBERS if name in suspects and name != "suspicion"]]
    suggested = suspects["suggested_label"].map(suggestion)
    names = suspects.assign(
        suggested_label=suggested,
        pair=suspects["given_label"] + " → " + suggested,
        cluster=suspects["cluster"].map(lambda number: "" if pd.isna(number) else str(int(number))),
    )[list(NAMES)]
    groups = _near_duplicate_groups(suspects["path"], pairs)
    return recalibrate(suspects["suspicion"].to_numpy(), numbers, names, verdicts(suspects), groups)


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
