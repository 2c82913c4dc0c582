"""How far the review of an audit is, and what comes out of it."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from gradattn_core import estimates
from gradattn_core.dataset.address import is_plain_file, join, relocate, whole_picture
from gradattn_core.dataset.endings import NO_PICTURE
from gradattn_core.errors import UnreadableImageError
from gradattn_core.store.database import BELIEFS, TIME, check_page, rows, value
from gradattn_core.store.order import OF_SAME, Order

_SUMS = """coalesce(sum(suspicion) FILTER (is_suspect), 0) AS expected,
    coalesce(sum(class_noise_suspicion) FILTER (is_suspect), 0) AS class_noise,
    coalesce(sum(instance_noise_suspicion) FILTER (is_suspect), 0) AS instance_noise"""

# The decided images are few, so they are looked up among all images first.
_PROGRESS = f"""
WITH decided AS MATERIALIZED (
        SELECT i.image_rank, d.decision, hash(i.content_hash, i.given_label) AS key
        FROM images i JOIN current_decisions d {OF_SAME} WHERE i.audit_id = $audit_id),
    found AS MATERIALIZED (
        SELECT d.decision, d.key, s.suspicion, s.class_noise_suspicion, s.instance_noise_suspicion,
            coalesce(s.is_suspect, false) AS is_suspect
        FROM decided d LEFT JOIN {BELIEFS} s ON s.audit_id = $audit_id AND s.rank = d.image_rank),
    said AS (
        SELECT count(*) AS reviewed, count(*) FILTER (decision IN ('relabel', 'remove')) AS wrong,
            count(*) FILTER (decision = 'remove') AS removed, count(*) FILTER (decision = 'keep') AS "right",
            count(*) FILTER (decision = 'unsure') AS unsure, count(*) FILTER (is_suspect) AS suspects_decided,
            count(DISTINCT key) FILTER (is_suspect AND decision IN ('relabel', 'remove')) AS learnt_wrong,
            count(DISTINCT key) FILTER (is_suspect AND decision = 'keep') AS learnt_right, {_SUMS} FROM found),
    audit AS (SELECT count(*) AS suspects, {_SUMS} FROM {BELIEFS} WHERE audit_id = $audit_id AND is_suspect)
SELECT said.* EXCLUDE (expected, class_noise, instance_noise), suspects,
    greatest(audit.expected - said.expected, 0) AS estimated_left,
    greatest(audit.class_noise - said.class_noise, 0) AS class_noise,
    greatest(audit.instance_noise - said.instance_noise, 0) AS instance_noise,
    (SELECT coalesce(reranked_decisions, 0) FROM audits WHERE audit_id = $audit_id) AS reranked
FROM said, audit"""


@dataclass(frozen=True, slots=True)
class ReviewProgress:
    """How far the review of an audit is.

    Attributes:
        reviewed: images with a standing decision, suspects or not; of these ``wrong`` are to be relabelled or removed
            (``removed``: the latter alone), ``right`` are kept, and about ``unsure`` nobody knows.
        precision: wrong / (wrong + right), with its interval of 95 %; NaN where there are none.
        suspects: of the audit; ``suspects_decided`` of these have a standing decision.
        learnt_wrong, learnt_right: the verdicts on suspects that can be learnt from, of copies one.
        estimated_left: how many labels of the undecided suspects the model believes to be wrong, the sum of their
            suspicions; ``left_low`` to ``left_high`` is the range of :func:`gradattn_core.estimates.assumed_range`.
        reranked: how many decisions the order in force was learnt from, 0 for the audit's own.
    """

    reviewed: int
    wrong: int
    removed: int
    right: int
    unsure: int
    precision: float
    precision_low: float
    precision_high: float
    suspects: int
    suspects_decided: int
    learnt_wrong: int
    learnt_right: int
    estimated_left: float
    left_low: float
    left_high: float
    reranked: int


class Review(Order):
    """How far the review of an audit is, and what comes out of it."""

    def progress(self, audit_id: str) -> ReviewProgress:
        """How far the review is, over all images of the audit with a standing decision, suspects or not."""
        with self._reading(audit_id) as connection:
            [facts] = rows(connection.execute(_PROGRESS, {"audit_id": audit_id}))
        judged = facts["wrong"] + facts["right"]
        precision_low, precision_high = estimates.share(facts["wrong"], judged)
        left_low, left_high = estimates.assumed_range(
            facts["estimated_left"], facts.pop("class_noise"), facts.pop("instance_noise")
        )
        return ReviewProgress(
            **facts,
            precision=facts["wrong"] / judged if judged else math.nan,
            precision_low=precision_low,
            precision_high=precision_high,
            left_low=left_low,
            left_high=left_high,
        )

    def corrected(
        self, audit_id: str, *, folder: Path | None = None, top: int | None = None, judged_only: bool = False
    ) -> pd.DataFrame:
        """Every image (at most ``top``) of the audit with the label that now holds: ``path, label``, ordered by path.

        Standing relabels are applied; removed images are left out; whatever is undecided, kept or unsure has its given
        label, and so have the pictures of :meth:`unjudged`, unless ``judged_only``. Paths are absolute, below
        ``data_root`` where there is one, but relative where they lie below ``folder``, the folder the list is meant
        for: a manifest written there is a dataset that ``gradattn audit`` reads.
        """
        check_page(top, 0)
        with self._reading(audit_id) as connection:
            stored = value(connection.execute("SELECT root FROM audits WHERE audit_id = ?", [audit_id]))
            frame = connection.execute(
                f"""SELECT i.path, CASE d.decision WHEN 'relabel' THEN d.new_label ELSE i.given_label END AS label
                    FROM images i LEFT JOIN current_decisions d {OF_SAME}
                    WHERE i.audit_id = ? AND coalesce(d.decision, '') <> 'remove' ORDER BY i.path LIMIT ?""",
                [audit_id, top],
            ).df()
        if not judged_only:
            others = self.unjudged(audit_id)
            frame = pd.concat([frame, others.loc[others["is_picture"], ["path", "label"]]])
            frame = frame.sort_values("path", ignore_index=True).iloc[:top]
        root = (stored if self.data_root is None else relocate(stored, self.data_root)).rstrip("/") or "/"
        # Of boxes the picture with the annotation's id behind it, and not the address of what is cut out.
        root = whole_picture(root)
        whole = [join(root, path) for path in frame["path"]]
        below = None if folder is None else f"{folder.resolve().as_posix().rstrip('/')}/"
        frame["path"] = [path.removeprefix(below) for path in whole] if below else whole
        return frame

    def unjudged(self, audit_id: str) -> pd.DataFrame:
        """The files of the dataset's classes that the audit did not judge and that are still there.

        Columns ``path, label, is_picture``, ordered by path: pictures that could not be read or whose labels were left
        out, and files of other kinds, which are no pictures. Audits of versions before do not know their labels.
        """
        with self._reading(audit_id) as connection:
            stored = value(connection.execute("SELECT root FROM audits WHERE audit_id = ?", [audit_id]))
            frame = connection.execute(
                """SELECT f.path, any_value(f.given_label) AS label, bool_and(f.reason <> ?) AS is_picture
                   FROM failures f ANTI JOIN images i ON i.audit_id = f.audit_id AND i.path = f.path
                   WHERE f.audit_id = ? AND f.stage <> 'interpret' AND f.given_label <> ''
                   GROUP BY f.path ORDER BY f.path""",
                [NO_PICTURE, audit_id],
            ).df()
        root = stored if self.data_root is None else relocate(stored, self.data_root)
        there = [_may_be_there(root, path) for path in frame["path"]]
        return frame[np.array(there, dtype=bool)].reset_index(drop=True)

    def corrections(self, audit_id: str, *, everything: bool = False) -> pd.DataFrame:
        """What the standing decisions change: ``path, content_hash, given_label, decision, label``, ordered by path.

        ``label`` is the one that now holds, ``""`` where the image is to be removed. Only images whose label changes or
        that are removed, unless ``everything``: then every image of the audit. Copies of a picture under one given
        label share a decision, and each of them has a row.
        """
        with self._reading(audit_id) as connection:
            return connection.execute(
                f"""SELECT i.path, i.content_hash, i.given_label, coalesce(d.decision, '') AS decision,
                        CASE d.decision WHEN 'relabel' THEN d.new_label WHEN 'remove' THEN ''
                            ELSE i.given_label END AS label
                    FROM images i LEFT JOIN current_decisions d {OF_SAME}
                    WHERE i.audit_id = $audit_id AND ($everything OR label <> i.given_label) ORDER BY i.path""",
                {"audit_id": audit_id, "everything": everything},
            ).df()

    def removals(self, audit_id: str) -> pd.DataFrame:
        """The images that are to be removed, ordered by path: ``path, given_label, reviewer, note, decided_at``."""
        with self._reading(audit_id) as connection:
            return connection.execute(
                f"""SELECT i.path, i.given_label, d.reviewer, d.note, {TIME.format("decided_at")}
                    FROM images i JOIN current_decisions d {OF_SAME}
                    WHERE i.audit_id = ? AND d.decision = 'remove' ORDER BY i.path""",
                [audit_id],
            ).df()


def _may_be_there(root: str, path: str) -> bool:
    """Whether a file that was not judged can be named; of this machine's, whether it is there."""
    try:
        address = join(root, path)
    except UnreadableImageError:
        return False
    return not is_plain_file(root, path) or os.path.isfile(address)
