"""What comes out of a review: the corrected labels, the images to take away, and which images that changes."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pandas as pd

from gradattn_core.dataset.address import join, moved
from gradattn_core.store.rows import TIME, check_page, value

_SAID = "ON d.content_hash = i.content_hash AND d.given_label = i.given_label"


def corrected(
    connection: duckdb.DuckDBPyConnection,
    audit_id: str,
    *,
    data_root: Path | None,
    folder: Path | None,
    top: int | None,
) -> pd.DataFrame:
    """See ``Store.review.corrected``."""
    check_page(top, 0)
    stored = value(connection.execute("SELECT root FROM audits WHERE audit_id = ?", [audit_id]))
    frame = connection.execute(
        f"""SELECT i.path, CASE d.decision WHEN 'relabel' THEN d.new_label ELSE i.given_label END AS label
            FROM images i LEFT JOIN current_decisions d {_SAID}
            WHERE i.audit_id = ? AND coalesce(d.decision, '') <> 'remove' ORDER BY i.path LIMIT ?""",
        [audit_id, top],
    ).df()
    root = (stored if data_root is None else moved(stored, data_root)).rstrip("/") or "/"
    whole = [join(root, path) for path in frame["path"]]
    below = None if folder is None else f"{folder.resolve().as_posix().rstrip('/')}/"
    frame["path"] = [path.removeprefix(below) for path in whole] if below else whole
    return frame


def corrections(connection: duckdb.DuckDBPyConnection, audit_id: str, *, everything: bool) -> pd.DataFrame:
    """See ``Store.review.corrections``."""
    return connection.execute(
        f"""SELECT i.path, i.content_hash, i.given_label, coalesce(d.decision, '') AS decision,
                CASE d.decision WHEN 'relabel' THEN d.new_label WHEN 'remove' THEN '' ELSE i.given_label END AS label
            FROM images i LEFT JOIN current_decisions d {_SAID}
            WHERE i.audit_id = $audit_id AND ($everything OR label <> i.given_label) ORDER BY i.path""",
        {"audit_id": audit_id, "everything": everything},
    ).df()


def removals(connection: duckdb.DuckDBPyConnection, audit_id: str) -> pd.DataFrame:
    """See ``Store.review.removals``."""
    return connection.execute(
        f"""SELECT i.path, i.given_label, d.reviewer, d.note, {TIME.format("decided_at")}
            FROM images i JOIN current_decisions d {_SAID}
            WHERE i.audit_id = ? AND d.decision = 'remove' ORDER BY i.path""",
        [audit_id],
    ).df()
