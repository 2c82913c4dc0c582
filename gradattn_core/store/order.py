"""Images in a new order that reviewers' decisions have taught, what it is learnt from, and the way back.

Only the undecided suspects move and those images, decided meanwhile or not, that what was learnt makes suspects, and
only among the ranks that they had. So every image keeps a rank of its own, the suspects stay in the first blocks of
each table, and the decided suspects of the audit stay where it had them. What the audit said is kept beside, in
``audit_rank``, ``audit_suspicion`` and ``audit_is_suspect``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import ArrayLike

from gradattn_core import estimates
from gradattn_core.errors import StoreError
from gradattn_core.evidence import STATISTICS, SUMS
from gradattn_core.store.database import Part, rows, value
from gradattn_core.store.schema import RANKED

OF_SAME = "ON d.content_hash = i.content_hash AND d.given_label = i.given_label"
"""Of images ``i``, the decisions ``d`` about their content and given label."""

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
WHERE s.audit_id = $audit_id AND coalesce(s.audit_is_suspect, s.is_suspect) ORDER BY {_RANK}"""

# As ranking.noise.class_pairs, once suspicions have changed and suspects perhaps have come or gone.
_PAIRS = """
INSERT INTO class_pairs (audit_id, given_label, suggested_label, suspects, class_size, share, mean_suspicion, expected,
    lift)
WITH pairs AS (
        SELECT i.given_label AS given, s.suggested_label AS suggested, count(*) AS suspects,
            fsum(s.suspicion) AS expected
        FROM scores s JOIN images i ON i.audit_id = $audit_id AND i.image_rank = s.rank
        WHERE s.audit_id = $audit_id AND s.is_suspect GROUP BY ALL),
    sizes AS (SELECT given_label AS given, count(*) AS images FROM images WHERE audit_id = $audit_id GROUP BY ALL),
    as_suggested AS (SELECT suggested, sum(suspects) AS suspects FROM pairs GROUP BY ALL)
SELECT $audit_id, given, p.suggested, p.suspects, images, p.suspects / images, expected / p.suspects, expected,
    p.suspects * (sum(p.suspects) OVER () - coalesce(g.suspects, 0))
        / (sum(p.suspects) OVER (PARTITION BY p.given) * sum(p.suspects) OVER (PARTITION BY p.suggested))
FROM pairs p JOIN sizes USING (given) LEFT JOIN as_suggested g ON g.suggested = p.given"""

_LEARNING = f"""
SELECT coalesce(a.learning, true) AS "on", coalesce(a.reranked_decisions, 0) AS learnt_from,
    coalesce(a.learnt_by, '') AS learnt_by,
    (SELECT count(DISTINCT (i.content_hash, i.given_label)) FROM images i JOIN current_decisions d {OF_SAME}
        WHERE i.audit_id = $audit_id AND d.decision <> 'unsure') AS verdicts,
    (SELECT count(*) FROM scores s WHERE s.audit_id = $audit_id AND NOT s.audit_is_suspect) AS risen
FROM audits a WHERE a.audit_id = $audit_id"""


@dataclass(frozen=True, slots=True)
class Learning:
    """What the order of an audit's images learns from decisions.

    Attributes:
        on: whether it learns by itself, after every so many decisions.
        learnt_from: how many verdicts the order in force was learnt from, 0 for the audit's own; ``learnt_by`` is the
            method of ``rerank``, ``""`` where an older version learnt.
        verdicts: labels that reviewers found right or wrong by now, of copies one.
        risen: images that were no suspects of the audit and are now.
    """

    on: bool
    learnt_from: int
    learnt_by: str
    verdicts: int
    risen: int


class Order(Part):
    """The order of an audit's images."""

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

    def images(self, audit_id: str, *, decided: bool = False, first: int | None = None) -> pd.DataFrame:
        """Every image (or those ``decided``) as the audit ranked it, and what stands about it: to learn from.

        With ``first`` only so many of the audit's order, its suspects, and those about which something stands.

        Columns: ``path, suspicion, is_suspect`` (as the audit found them), ``given_label, content_hash, decision`` (the
        one that stands, or ``""``), ``new_label`` and the suspicion under each assumption; in the audit's own order.
        """
        with self._reading(audit_id) as connection:
            found = connection.sql(
                f"""WITH said AS MATERIALIZED (SELECT content_hash, given_label, decision, new_label
                        FROM current_decisions)
                    SELECT s.path, {_RANK} AS rank, {_SUSPICION} AS suspicion,
                        coalesce(s.audit_is_suspect, s.is_suspect) AS is_suspect,
                        i.given_label, i.content_hash, coalesce(d.decision, '') AS decision,
                        coalesce(d.new_label, '') AS new_label,
                        {", ".join(f"s.{name}" for name in estimates.ASSUMPTIONS)}
                    FROM scores s JOIN images i ON i.audit_id = $audit_id AND i.image_rank = s.rank
                    LEFT JOIN said d {OF_SAME}
                    WHERE s.audit_id = $audit_id AND ($all OR d.decision IS NOT NULL
                        OR ($some AND ({_RANK} <= $first OR coalesce(s.audit_is_suspect, s.is_suspect))))""",
                params={
                    "audit_id": audit_id,
                    "all": not decided and first is None,
                    "some": not decided,
                    "first": first or 0,
                },
            ).to_arrow_table()
        # While the file is held nobody decides: what takes longest, to sort and to make Python of it, comes afterwards.
        frame: pd.DataFrame = found.to_pandas()
        return frame.sort_values("rank", ignore_index=True).drop(columns="rank")

    def rerank(
        self, audit_id: str, paths: Sequence[str], suspicion: ArrayLike, *, decisions: int, learnt_by: str
    ) -> None:
        """Give images new suspicions and, among the ranks that they had in the audit, the ranks that follow.

        Starts from the audit's own order, whatever an earlier call made of it, and makes suspects of those that were
        none. All other images stay where they are. Every reader sees the new order at once; :meth:`reset` takes it
        back.

        Args:
            paths, suspicion: the images that may move, and the probability in [0, 1] that each one's label is wrong.
            decisions: how many the suspicions were learnt from, and ``learnt_by`` which method of ``rerank``.

        Raises:
            StoreError: where one of the paths is no image of the audit; nothing is written then.
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
                        SELECT s.rank, s.suspicion AS old, s.is_suspect, l.suspicion,
                            row_number() OVER (ORDER BY s.rank) AS place
                        FROM suspicions l JOIN scores s ON s.audit_id = ? AND s.path = l.path),
                    sorted AS (SELECT *, row_number() OVER (ORDER BY suspicion DESC, rank) AS new_place FROM found)
                    SELECT a.rank AS old_rank, b.rank AS new_rank, a.old AS old_suspicion, a.is_suspect, a.suspicion
                    FROM sorted a JOIN sorted b ON b.place = a.new_place""",
                [audit_id],
            )
            connection.unregister("suspicions")
            if value(connection.execute("SELECT count(*) FROM moves")) != len(suspicions):
                raise StoreError(f"audit {audit_id} was replaced while its suspects were ranked anew; rerank it again")
            connection.execute(
                """UPDATE scores SET rank = m.new_rank, suspicion = m.suspicion, is_suspect = true,
                       audit_rank = m.old_rank, audit_suspicion = m.old_suspicion, audit_is_suspect = m.is_suspect
                   FROM moves m WHERE audit_id = ? AND rank = m.old_rank""",
                [audit_id],
            )
            _follow(connection, audit_id)
            connection.execute(
                "UPDATE audits SET reranked_decisions = ?, learnt_by = ? WHERE audit_id = ?",
                [decisions, learnt_by, audit_id],
            )

    def reset(self, audit_id: str) -> bool:
        """Take back :meth:`rerank`: the audit's own ranks, suspicions and suspects. Returns whether there was one."""
        with self._writing(audit_id) as connection:
            in_force = "SELECT reranked_decisions IS NOT NULL FROM audits WHERE audit_id = ?"
            before = bool(value(connection.execute(in_force, [audit_id])))
            _restore(connection, audit_id)
        return before

    def learning(self, audit_id: str) -> Learning:
        """Whether the order learns from decisions by itself, and what the order in force was learnt from."""
        with self._reading(audit_id) as connection:
            [facts] = rows(connection.execute(_LEARNING, {"audit_id": audit_id}))
        return Learning(**facts)

    def switch_learning(self, audit_id: str, on: bool) -> None:
        """Whether the order is to learn from decisions by itself, from now on; the order in force stays."""
        with self._writing(audit_id) as connection:
            connection.execute("UPDATE audits SET learning = ? WHERE audit_id = ?", [on, audit_id])


def _restore(connection: duckdb.DuckDBPyConnection, audit_id: str) -> None:
    """Every image back to the rank and suspicion of the audit, and no suspects but its own."""
    connection.execute(
        """CREATE OR REPLACE TEMP TABLE moves AS SELECT rank AS old_rank, audit_rank AS new_rank
           FROM scores WHERE audit_id = ? AND audit_rank IS NOT NULL""",
        [audit_id],
    )
    connection.execute("UPDATE audits SET reranked_decisions = NULL, learnt_by = NULL WHERE audit_id = ?", [audit_id])
    if value(connection.execute("SELECT count(*) FROM moves")) == 0:
        return
    connection.execute(
        """UPDATE scores SET rank = audit_rank, suspicion = audit_suspicion,
               is_suspect = coalesce(audit_is_suspect, is_suspect),
               audit_rank = NULL, audit_suspicion = NULL, audit_is_suspect = NULL
           WHERE audit_id = ? AND audit_rank IS NOT NULL""",
        [audit_id],
    )
    _follow(connection, audit_id)


def _follow(connection: duckdb.DuckDBPyConnection, audit_id: str) -> None:
    """Whatever is kept by rank, or counted from the suspects and their suspicions, after the table ``moves``."""
    for table in RANKED:
        connection.execute(
            f"""UPDATE {table} SET image_rank = m.new_rank FROM moves m
                WHERE audit_id = ? AND image_rank = m.old_rank AND m.new_rank <> m.old_rank""",
            [audit_id],
        )
    connection.execute("DELETE FROM class_pairs WHERE audit_id = ?", [audit_id])
    connection.execute(_PAIRS, {"audit_id": audit_id})
    connection.execute(
        """UPDATE audits SET suspects = (SELECT count(*) FROM scores WHERE audit_id = $audit_id AND is_suspect)
           WHERE audit_id = $audit_id""",
        {"audit_id": audit_id},
    )
