"""How far the review of an audit is, what comes out of it, and suspects in a new order that it taught.

Only undecided suspects move, and only among the ranks that undecided suspects had. So every image keeps a rank of its
own, the suspects stay in the first blocks of each table, and the decided ones stay where their reviewer saw them. What
the audit said is kept beside, in ``audit_rank`` and ``audit_suspicion``.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import ArrayLike

from gradattn_core import estimates
from gradattn_core.dataset.address import is_plain_file, join, relocate
from gradattn_core.dataset.endings import NO_PICTURE
from gradattn_core.errors import StoreError, UnreadableImageError
from gradattn_core.evidence import STATISTICS, SUMS
from gradattn_core.store.database import BELIEFS, TIME, Part, check_page, rows, value
from gradattn_core.store.schema import RANKED

_OF_SAME = "ON d.content_hash = i.content_hash AND d.given_label = i.given_label"

_SUMS = """coalesce(sum(suspicion) FILTER (is_suspect), 0) AS expected,
    coalesce(sum(class_noise_suspicion) FILTER (is_suspect), 0) AS class_noise,
    coalesce(sum(instance_noise_suspicion) FILTER (is_suspect), 0) AS instance_noise"""

# The decided images are few, so they are looked up among all images first.
_PROGRESS = f"""
WITH decided AS MATERIALIZED (
        SELECT i.image_rank, d.decision, hash(i.content_hash, i.given_label) AS key
        FROM images i JOIN current_decisions d {_OF_SAME} WHERE i.audit_id = $audit_id),
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
    audit AS (SELECT count(*) FILTER (is_suspect) AS suspects, {_SUMS} FROM {BELIEFS} WHERE audit_id = $audit_id)
SELECT said.* EXCLUDE (expected, class_noise, instance_noise), suspects,
    greatest(audit.expected - said.expected, 0) AS estimated_left,
    greatest(audit.class_noise - said.class_noise, 0) AS class_noise,
    greatest(audit.instance_noise - said.instance_noise, 0) AS instance_noise,
    (SELECT coalesce(reranked_decisions, 0) FROM audits WHERE audit_id = $audit_id) AS reranked
FROM said, audit"""

_RANK = "coalesce(s.audit_rank, s.rank)"
_SUSPICION = "coalesce(s.audit_suspicion, s.suspicion)"

_SUSPECTS = f"""
SELECT s.path, {_RANK} AS rank, {_SUSPICION} AS suspicion, i.given_label, s.suggested_label, i.content_hash, s.cluster,
    coalesce(d.decision, '') AS decision, p.margin, p.entropy, e.for_logit::DOUBLE - e.against_logit AS map_margin,
    {", ".join(f"e.{name}" for name in (*STATISTICS, *SUMS) if name != "head")},
    {", ".join(f"s.{name}" for name in estimates.ASSUMPTIONS)}, s.components
FROM scores s
JOIN images i ON i.audit_id = $audit_id AND i.image_rank = s.rank
LEFT JOIN current_decisions d ON d.content_hash = i.content_hash AND d.given_label = i.given_label
LEFT JOIN predictions p ON p.audit_id = $audit_id AND p.image_rank = s.rank
LEFT JOIN interpretations e ON e.audit_id = $audit_id AND e.image_rank = s.rank
WHERE s.audit_id = $audit_id AND s.is_suspect ORDER BY {_RANK}"""


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


class Review(Part):
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

    def suspects(self, audit_id: str, similarity: float) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Every suspect with all that is stored about it, and which of them look alike; in the audit's own order.

        Returns:
            One row per suspect: ``path, rank, suspicion`` (as the audit found them), ``given_label, suggested_label,
            content_hash, cluster, decision`` (the one that stands, or ``""``), then numbers, NaN where absent:
            ``margin`` and ``entropy`` of the head, ``map_margin`` of the explained classes, the statistics of the map,
            the suspicion under each assumption (as the audit found it), and the components. And the pairs ``path,
            neighbour_path`` of at least this ``similarity``; the neighbour may be no suspect.
        """
        with self._reading(audit_id) as connection:
            frame = connection.execute(_SUSPECTS, {"audit_id": audit_id}).df()
            alike = connection.execute(
                "SELECT path, neighbour_path FROM neighbours WHERE audit_id = ? AND similarity >= ? ORDER BY ALL",
                [audit_id, similarity],
            ).df()
        components = pd.DataFrame([entry or {} for entry in frame.pop("components")], index=frame.index, dtype=float)
        return frame.join(components[[name for name in components if name not in frame]]), alike

    def rerank(self, audit_id: str, paths: Sequence[str], suspicion: ArrayLike, *, decisions: int) -> None:
        """Give suspects new suspicions and, among the ranks that they had in the audit, the ranks that follow.

        Starts from the audit's own order, whatever an earlier call made of it. All other images stay where they are.
        Every reader sees the new order at once; :meth:`reset` takes it back.

        Args:
            paths, suspicion: the suspects that may move, and the probability in [0, 1] that each one's label is wrong.
            decisions: how many the suspicions were learnt from.

        Raises:
            StoreError: where one of the paths is no suspect of the audit; nothing is written then.
        """
        with self._writing(audit_id) as connection:
            _restore(connection, audit_id)
            suspicions = pa.table(
                {"path": pa.array(paths, pa.string()), "suspicion": pa.array(np.asarray(suspicion, float))}
            )
            connection.register("suspicions", suspicions)
            connection.execute(
                """CREATE OR REPLACE TEMP TABLE moves AS
                    WITH found AS (
                        SELECT s.rank, s.suspicion AS old, l.suspicion, row_number() OVER (ORDER BY s.rank) AS place
                        FROM suspicions l JOIN scores s ON s.audit_id = ? AND s.path = l.path WHERE s.is_suspect),
                    sorted AS (SELECT *, row_number() OVER (ORDER BY suspicion DESC, rank) AS new_place FROM found)
                    SELECT a.rank AS old_rank, b.rank AS new_rank, a.old AS old_suspicion, a.suspicion
                    FROM sorted a JOIN sorted b ON b.place = a.new_place""",
                [audit_id],
            )
            connection.unregister("suspicions")
            if value(connection.execute("SELECT count(*) FROM moves")) != len(suspicions):
                raise StoreError(f"audit {audit_id} was replaced while its suspects were ranked anew; rerank it again")
            connection.execute(
                """UPDATE scores SET rank = m.new_rank, suspicion = m.suspicion, audit_rank = m.old_rank,
                       audit_suspicion = m.old_suspicion
                   FROM moves m WHERE audit_id = ? AND rank = m.old_rank""",
                [audit_id],
            )
            _follow(connection, audit_id)
            connection.execute("UPDATE audits SET reranked_decisions = ? WHERE audit_id = ?", [decisions, audit_id])

    def reset(self, audit_id: str) -> bool:
        """Take back :meth:`rerank`: the audit's own ranks and suspicions. Returns whether there was one."""
        with self._writing(audit_id) as connection:
            in_force = "SELECT reranked_decisions IS NOT NULL FROM audits WHERE audit_id = ?"
            before = bool(value(connection.execute(in_force, [audit_id])))
            _restore(connection, audit_id)
        return before

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
                    FROM images i LEFT JOIN current_decisions d {_OF_SAME}
                    WHERE i.audit_id = ? AND coalesce(d.decision, '') <> 'remove' ORDER BY i.path LIMIT ?""",
                [audit_id, top],
            ).df()
        if not judged_only:
            others = self.unjudged(audit_id)
            frame = pd.concat([frame, others.loc[others["is_picture"], ["path", "label"]]])
            frame = frame.sort_values("path", ignore_index=True).iloc[:top]
        root = (stored if self.data_root is None else relocate(stored, self.data_root)).rstrip("/") or "/"
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
                    FROM images i LEFT JOIN current_decisions d {_OF_SAME}
                    WHERE i.audit_id = $audit_id AND ($everything OR label <> i.given_label) ORDER BY i.path""",
                {"audit_id": audit_id, "everything": everything},
            ).df()

    def removals(self, audit_id: str) -> pd.DataFrame:
        """The images that are to be removed, ordered by path: ``path, given_label, reviewer, note, decided_at``."""
        with self._reading(audit_id) as connection:
            return connection.execute(
                f"""SELECT i.path, i.given_label, d.reviewer, d.note, {TIME.format("decided_at")}
                    FROM images i JOIN current_decisions d {_OF_SAME}
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


def _restore(connection: duckdb.DuckDBPyConnection, audit_id: str) -> None:
    """Every suspect back to the rank and suspicion of the audit."""
    connection.execute(
        """CREATE OR REPLACE TEMP TABLE moves AS SELECT rank AS old_rank, audit_rank AS new_rank
           FROM scores WHERE audit_id = ? AND audit_rank IS NOT NULL""",
        [audit_id],
    )
    if value(connection.execute("SELECT count(*) FROM moves")) == 0:
        return
    connection.execute(
        """UPDATE scores SET rank = audit_rank, suspicion = audit_suspicion, audit_rank = NULL, audit_suspicion = NULL
           WHERE audit_id = ? AND audit_rank IS NOT NULL""",
        [audit_id],
    )
    _follow(connection, audit_id)
    connection.execute("UPDATE audits SET reranked_decisions = NULL WHERE audit_id = ?", [audit_id])


def _follow(connection: duckdb.DuckDBPyConnection, audit_id: str) -> None:
    """Whatever is kept by rank, or counted from the suspicions, after the table ``moves``."""
    for table in RANKED:
        connection.execute(
            f"""UPDATE {table} SET image_rank = m.new_rank FROM moves m
                WHERE audit_id = ? AND image_rank = m.old_rank AND m.new_rank <> m.old_rank""",
            [audit_id],
        )
    connection.execute(
        """UPDATE class_pairs SET mean_suspicion = n.mean, expected = n.expected
           FROM (SELECT i.given_label, s.suggested_label, fsum(s.suspicion) AS expected, expected / count(*) AS mean
               FROM scores s JOIN images i ON i.audit_id = $audit_id AND i.image_rank = s.rank
               WHERE s.audit_id = $audit_id AND s.is_suspect GROUP BY ALL) n
           WHERE audit_id = $audit_id AND class_pairs.given_label = n.given_label
               AND class_pairs.suggested_label = n.suggested_label""",
        {"audit_id": audit_id},
    )
