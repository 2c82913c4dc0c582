"""What reviewers said: an append-only log, keyed by image content and given label so that it outlives an audit."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import duckdb

from gradattn_core.errors import StoreError
from gradattn_core.store import images

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


def decide_many(
    connection: duckdb.DuckDBPyConnection,
    audit_id: str,
    paths: Sequence[str],
    decision: str,
    *,
    new_label: str | None,
    reviewer: str,
    note: str,
) -> list[str]:
    """Append one row per path, in their order, and return the rows' ids; see ``Store.decisions.append_many``."""
    keys = _keys(connection, audit_id, paths)
    return _append(connection, keys, decision, new_label, reviewer, note, audit_id)


def undo_many(
    connection: duckdb.DuckDBPyConnection, audit_id: str, paths: Sequence[str], *, reviewer: str
) -> list[str]:
    """Append an undo per path where a decision stands, and return the undos' ids; see ``Store.decisions.undo_many``."""
    keys = _keys(connection, audit_id, paths)
    left = _depths(connection, list(keys.values()))
    undone = {}
    for path, key in keys.items():
        # Copies of one picture share a stack: each takes back one decision, as long as there are any.
        if left.get(key, 0) > 0:
            left[key] -= 1
            undone[path] = key
    return _append(connection, undone, "undo", None, reviewer, "", audit_id)


def _keys(connection: duckdb.DuckDBPyConnection, audit_id: str, paths: Sequence[str]) -> dict[str, tuple[str, str]]:
    """What decisions about these images are kept under, in the order of the paths, each once."""
    known = images.find(connection, audit_id, paths)
    for path in paths:
        if path not in known:
            raise StoreError(f"audit {audit_id} has no image {path!r}; a decision needs a path as the audit lists it")
    return {path: (known[path].content_hash, known[path].given_label) for path in paths}


def _depths(connection: duckdb.DuckDBPyConnection, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], int]:
    """How many decisions there are to take back under each key; keys without any may be absent."""
    counted = connection.execute(
        """SELECT d.content_hash, d.given_label, sum(CASE decision WHEN 'undo' THEN -1 ELSE 1 END)::BIGINT
           FROM decisions d SEMI JOIN (SELECT unnest(CAST(? AS TEXT[])) AS content_hash,
               unnest(CAST(? AS TEXT[])) AS given_label) wanted
               ON d.content_hash = wanted.content_hash AND d.given_label = wanted.given_label
           GROUP BY ALL""",
        [[content_hash for content_hash, _ in keys], [given_label for _, given_label in keys]],
    ).fetchall()
    return {(content_hash, given_label): depth for content_hash, given_label, depth in counted}


def _append(
    connection: duckdb.DuckDBPyConnection,
    keys: Mapping[str, tuple[str, str]],
    decision: str,
    new_label: str | None,
    reviewer: str,
    note: str,
    audit_id: str,
) -> list[str]:
    ids = [str(uuid.uuid4()) for _ in keys]
    # The transaction holds the only writing connection there is, so the next numbers are free.
    connection.execute(
        """INSERT INTO decisions (decision_id, sequence, content_hash, given_label, decision, new_label,
               reviewer, note, decided_at, audit_id, path)
           SELECT id, (SELECT coalesce(max(sequence), 0) FROM decisions) + number, content_hash, given_label,
               $decision, $new_label, $reviewer, $note, $now, $audit_id, path
           FROM (SELECT unnest(CAST($ids AS TEXT[])) AS id, unnest(range(1, len($ids) + 1)) AS number,
               unnest(CAST($hashes AS TEXT[])) AS content_hash, unnest(CAST($labels AS TEXT[])) AS given_label,
               unnest(CAST($paths AS TEXT[])) AS path)
           ORDER BY number""",
        {
            "ids": ids,
            "hashes": [content_hash for content_hash, _ in keys.values()],
            "labels": [given_label for _, given_label in keys.values()],
            "paths": list(keys),
            "decision": decision,
            "new_label": new_label,
            "reviewer": reviewer,
            "note": note,
            "now": datetime.now(UTC),
            "audit_id": audit_id,
        },
    )
    return ids
