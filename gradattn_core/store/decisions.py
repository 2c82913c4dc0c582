"""What reviewers said: an append-only log, keyed by image content and given label so that it outlives an audit."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

import duckdb

from gradattn_core.errors import StoreError

DECISIONS = ("keep", "relabel", "remove", "unsure")


def check_decision(decision: str, new_label: str | None, reviewer: str) -> None:
    """Refuse what must never reach the log.

    Raises:
        StoreError: for an unknown decision, a relabel without a new label, a new label without relabel, a nameless
            reviewer.
    """
    if decision not in DECISIONS:
        raise StoreError(f"{decision!r} is no decision; choose one of {', '.join(DECISIONS)}")
    if decision == "relabel" and not (isinstance(new_label, str) and new_label.strip()):
        raise StoreError("a relabel decision needs the new label")
    if decision != "relabel" and new_label is not None:
        raise StoreError(f"a new label ({new_label!r}) belongs to a relabel decision, not to {decision!r}")
    check_reviewer(reviewer)


def check_reviewer(reviewer: str) -> None:
    """Raises:
    StoreError: where the reviewer has no name.
    """
    if not isinstance(reviewer, str) or not reviewer.strip():
        raise StoreError("a decision needs the reviewer's name")


def decide(
    connection: duckdb.DuckDBPyConnection,
    audit_id: str,
    path: str,
    decision: str,
    *,
    new_label: str | None,
    reviewer: str,
    note: str,
) -> str:
    """Append one row; see ``Store.decide``."""
    content_hash, given_label = _key(connection, audit_id, path)
    return _append(connection, content_hash, given_label, decision, new_label, reviewer, note, audit_id, path)


def undo(connection: duckdb.DuckDBPyConnection, audit_id: str, path: str, *, reviewer: str) -> str | None:
    """Append an undo where a decision stands; see ``Store.undo``."""
    content_hash, given_label = _key(connection, audit_id, path)
    standing = connection.execute(
        "SELECT 1 FROM current_decisions WHERE content_hash = ? AND given_label = ?", [content_hash, given_label]
    ).fetchone()
    if standing is None:
        return None
    return _append(connection, content_hash, given_label, "undo", None, reviewer, "", audit_id, path)


def _key(connection: duckdb.DuckDBPyConnection, audit_id: str, path: str) -> tuple[str, str]:
    row = connection.execute(
        "SELECT content_hash, given_label FROM images WHERE audit_id = ? AND path = ?", [audit_id, path]
    ).fetchone()
    if row is None:
        raise StoreError(f"audit {audit_id} has no image {path!r}; a decision needs a path as the audit lists it")
    return row[0], row[1]


def _append(connection: duckdb.DuckDBPyConnection, content_hash: str, given_label: str, *rest: str | None) -> str:
    decision, new_label, reviewer, note, audit_id, path = rest
    decision_id = str(uuid.uuid4())
    # The transaction holds the only writing connection there is, so the next number is free.
    connection.execute(
        """INSERT INTO decisions (decision_id, sequence, content_hash, given_label, decision, new_label,
               reviewer, note, decided_at, audit_id, path)
           SELECT ?, coalesce(max(sequence), 0) + 1, ?, ?, ?, ?, ?, ?, ?, ?, ? FROM decisions""",
        [
            decision_id,
            content_hash,
            given_label,
            decision,
            new_label,
            reviewer,
            note,
            datetime.now(UTC),
            audit_id,
            path,
        ],
    )
    return decision_id
