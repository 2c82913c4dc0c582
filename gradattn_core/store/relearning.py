"""Suspects in a new order: what can be learnt from, the new suspicions written in place, and the way back.

Only undecided suspects move, and only among the ranks that undecided suspects had. So every image keeps a rank of its
own, the suspects stay in the first blocks of each table, and the decided ones stay where their reviewer saw them. What
the audit said is kept beside, in ``audit_rank`` and ``audit_suspicion``.
"""

from __future__ import annotations

from collections.abc import Sequence

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import ArrayLike

from gradattn_core.errors import StoreError
from gradattn_core.store.rows import value
from gradattn_core.store.schema import RANKED

_RANK = "coalesce(s.audit_rank, s.rank)"
_SUSPICION = "coalesce(s.audit_suspicion, s.suspicion)"

_SUSPECTS = f"""
SELECT s.path, {_RANK} AS rank, {_SUSPICION} AS suspicion, i.given_label, s.suggested_label, i.content_hash, s.cluster,
    coalesce(d.decision, '') AS decision, p.margin, p.entropy, e.for_logit::DOUBLE - e.against_logit AS map_margin,
    e.positive_mass, e.negative_mass, e.balance, e.concentration, e.overlap, s.components
FROM scores s
JOIN images i ON i.audit_id = $audit_id AND i.image_rank = s.rank
LEFT JOIN current_decisions d ON d.content_hash = i.content_hash AND d.given_label = i.given_label
LEFT JOIN predictions p ON p.audit_id = $audit_id AND p.image_rank = s.rank
LEFT JOIN interpretations e ON e.audit_id = $audit_id AND e.image_rank = s.rank
WHERE s.audit_id = $audit_id AND s.is_suspect ORDER BY {_RANK}"""


def suspects(connection: duckdb.DuckDBPyConnection, audit_id: str) -> pd.DataFrame:
    """See ``Store.review.suspects``."""
    frame = connection.execute(_SUSPECTS, {"audit_id": audit_id}).df()
    components = pd.DataFrame([entry or {} for entry in frame.pop("components")], index=frame.index, dtype=float)
    return frame.join(components[[name for name in components if name not in frame]])


def alike(connection: duckdb.DuckDBPyConnection, audit_id: str, similarity: float) -> pd.DataFrame:
    """Pairs of suspect and neighbour, by path, of at least this similarity."""
    return connection.execute(
        "SELECT path, neighbour_path FROM neighbours WHERE audit_id = ? AND similarity >= ? ORDER BY ALL",
        [audit_id, similarity],
    ).df()


def rerank(
    connection: duckdb.DuckDBPyConnection,
    audit_id: str,
    paths: Sequence[str],
    suspicion: ArrayLike,
    decisions: int,
) -> None:
    """See ``Store.review.rerank``."""
    _restore(connection, audit_id)
    learnt = pa.table({"path": pa.array(paths, pa.string()), "suspicion": pa.array(np.asarray(suspicion, float))})
    connection.register("learnt", learnt)
    connection.execute(
        """CREATE OR REPLACE TEMP TABLE moved AS
            WITH found AS (
                SELECT s.rank, s.suspicion AS old, l.suspicion, row_number() OVER (ORDER BY s.rank) AS place
                FROM learnt l JOIN scores s ON s.audit_id = ? AND s.path = l.path WHERE s.is_suspect),
            sorted AS (SELECT *, row_number() OVER (ORDER BY suspicion DESC, rank) AS new_place FROM found)
            SELECT a.rank AS old_rank, b.rank AS new_rank, a.old AS old_suspicion, a.suspicion
            FROM sorted a JOIN sorted b ON b.place = a.new_place""",
        [audit_id],
    )
    connection.unregister("learnt")
    if value(connection.execute("SELECT count(*) FROM moved")) != len(learnt):
        raise StoreError(f"audit {audit_id} was replaced while its suspects were ranked anew; rerank it again")
    connection.execute(
        """UPDATE scores SET rank = m.new_rank, suspicion = m.suspicion, audit_rank = m.old_rank,
               audit_suspicion = m.old_suspicion
           FROM moved m WHERE audit_id = ? AND rank = m.old_rank""",
        [audit_id],
    )
    _follow(connection, audit_id)
    connection.execute("UPDATE audits SET reranked_decisions = ? WHERE audit_id = ?", [decisions, audit_id])


def reset(connection: duckdb.DuckDBPyConnection, audit_id: str) -> bool:
    """See ``Store.review.reset``."""
    before = value(connection.execute("SELECT reranked_decisions FROM audits WHERE audit_id = ?", [audit_id]))
    _restore(connection, audit_id)
    return before is not None


def _restore(connection: duckdb.DuckDBPyConnection, audit_id: str) -> None:
    """Every suspect back to the rank and suspicion of the audit."""
    connection.execute(
        """CREATE OR REPLACE TEMP TABLE moved AS SELECT rank AS old_rank, audit_rank AS new_rank
           FROM scores WHERE audit_id = ? AND audit_rank IS NOT NULL""",
        [audit_id],
    )
    if value(connection.execute("SELECT count(*) FROM moved")) == 0:
        return
    connection.execute(
        """UPDATE scores SET rank = audit_rank, suspicion = audit_suspicion, audit_rank = NULL, audit_suspicion = NULL
           WHERE audit_id = ? AND audit_rank IS NOT NULL""",
        [audit_id],
    )
    _follow(connection, audit_id)
    connection.execute("UPDATE audits SET reranked_decisions = NULL WHERE audit_id = ?", [audit_id])


def _follow(connection: duckdb.DuckDBPyConnection, audit_id: str) -> None:
    """Whatever is kept by rank, or counted from the suspicions, after the table ``moved``."""
    for table in RANKED:
        connection.execute(
            f"""UPDATE {table} SET image_rank = m.new_rank FROM moved m
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
