"""How far the review of an audit is, and what is left to find."""

from __future__ import annotations

import math
from typing import Any

import duckdb

from gradattn_core import estimates
from gradattn_core.store.decisions import DECISIONS
from gradattn_core.store.rows import rows, value

# The decided images are few, so they are looked up among all images first.
_DECIDED = """
    decided AS MATERIALIZED (
        SELECT i.image_rank, d.decision, hash(i.content_hash, i.given_label) AS key
        FROM images i JOIN current_decisions d
            ON d.content_hash = i.content_hash AND d.given_label = i.given_label
        WHERE i.audit_id = $audit_id),
    found AS MATERIALIZED (
        SELECT d.decision, d.key, s.suspicion, coalesce(s.is_suspect, false) AS is_suspect
        FROM decided d LEFT JOIN scores s ON s.audit_id = $audit_id AND s.rank = d.image_rank)"""

_SUMS = """coalesce(sum(suspicion) FILTER (is_suspect), 0) AS expected,
    coalesce(sum(suspicion * (1 - suspicion)) FILTER (is_suspect), 0) AS variance"""


def review(connection: duckdb.DuckDBPyConnection, audit_id: str) -> dict[str, Any]:
    """See ``Store.audits.summary``, which adds these keys to the audit's row."""
    counted = connection.execute(
        f"WITH {_DECIDED} SELECT decision, count(*), count(*) FILTER (is_suspect) FROM found GROUP BY decision",
        {"audit_id": audit_id},
    ).fetchall()
    suspects = value(connection.execute("SELECT count(*) FROM scores WHERE audit_id = ? AND is_suspect", [audit_id]))
    decided = sum(of_suspects for _, _, of_suspects in counted)
    return {
        "decided": decided,
        "undecided": suspects - decided,
        "decisions": {name: 0 for name in DECISIONS} | {name: images for name, images, _ in counted},
    }


def review_progress(connection: duckdb.DuckDBPyConnection, audit_id: str) -> dict[str, Any]:
    """See ``Store.review.progress``."""
    found = rows(
        connection.execute(
            f"""WITH {_DECIDED},
                said AS (SELECT count(*) AS reviewed,
                        count(*) FILTER (decision IN ('relabel', 'remove')) AS wrong,
                        count(*) FILTER (decision = 'keep') AS "right", count(*) FILTER (decision = 'unsure') AS unsure,
                        count(*) FILTER (is_suspect) AS suspects_decided,
                        count(DISTINCT key) FILTER (is_suspect AND decision IN ('relabel', 'remove')) AS learnt_wrong,
                        count(DISTINCT key) FILTER (is_suspect AND decision = 'keep') AS learnt_right,
                        {_SUMS} FROM found),
                audit AS (SELECT count(*) FILTER (is_suspect) AS suspects, {_SUMS}
                    FROM scores WHERE audit_id = $audit_id)
                SELECT said.* EXCLUDE (expected, variance), suspects,
                    greatest(audit.expected - said.expected, 0) AS estimated_left,
                    greatest(audit.variance - said.variance, 0) AS variance,
                    (SELECT coalesce(reranked_decisions, 0) FROM audits WHERE audit_id = $audit_id) AS reranked
                FROM said, audit""",
            {"audit_id": audit_id},
        )
    )[0]
    judged = found["wrong"] + found["right"]
    found["precision"] = found["wrong"] / judged if judged else math.nan
    found["precision_low"], found["precision_high"] = estimates.share(found["wrong"], judged)
    left = found["suspects"] - found["suspects_decided"]
    found["left_low"], found["left_high"] = estimates.wrong_labels(found["estimated_left"], found.pop("variance"), left)
    return found


def expected_found(connection: duckdb.DuckDBPyConnection, audit_id: str, first: int) -> float:
    """See ``Store.audits.expected_found``."""
    share = value(
        connection.execute(
            "SELECT coalesce(sum(suspicion) FILTER (rank <= ?), 0) / sum(suspicion) FROM scores WHERE audit_id = ?",
            [first, audit_id],
        )
    )
    return float("nan") if share is None else float(share)
