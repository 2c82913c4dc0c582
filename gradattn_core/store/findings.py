"""What an audit found: its classes and class pairs, kinds of doubt, and examples."""

from __future__ import annotations

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa

from gradattn_core.estimates import MODEL_ERROR, TWO_SIDED
from gradattn_core.records import FloatArray
from gradattn_core.store.rows import TIME, value

_SUSPECTS = """
    SELECT s.rank, s.suspicion, i.given_label, s.suggested_label, i.content_hash
    FROM scores s JOIN images i ON i.image_rank = s.rank
    WHERE s.audit_id = $audit_id AND i.audit_id = $audit_id AND s.is_suspect"""
_OF_SAME = "ON d.content_hash = s.content_hash AND d.given_label = s.given_label"


def audits(connection: duckdb.DuckDBPyConnection) -> pd.DataFrame:
    """See ``Store.audits.all``."""
    frame = connection.execute(
        f"""SELECT audit_id, dataset, root, model, coalesce(checkpoint, '') AS checkpoint,
                coalesce(head, '') AS head, coalesce(fingerprint, '') AS fingerprint,
                {TIME.format("started_at")}, {TIME.format("finished_at")}, state,
                coalesce(images, 0) AS images, coalesce(failures, 0) AS failures,
                coalesce(skipped, 0) AS skipped, coalesce(suspects, 0) AS suspects, estimated_errors,
                estimated_low, estimated_high,
                coalesce(features, '') AS features, coalesce(parameters::TEXT, '{{}}') AS parameters,
                coalesce(versions::TEXT, '{{}}') AS versions, coalesce(warnings, []) AS warnings
            FROM audits a ORDER BY a.finished_at DESC NULLS LAST, audit_id DESC"""
    ).df()
    frame["warnings"] = frame["warnings"].map(list)
    return frame


def class_pairs(connection: duckdb.DuckDBPyConnection, audit_id: str) -> pd.DataFrame:
    """See ``Store.audits.class_pairs``."""
    return connection.execute(
        f"""WITH suspects AS MATERIALIZED ({_SUSPECTS}),
            decided AS (
                SELECT s.given_label, s.suggested_label, count(*) AS decided
                FROM suspects s SEMI JOIN current_decisions d {_OF_SAME} GROUP BY ALL)
            SELECT c.given_label, c.suggested_label, coalesce(c.suspects, 0) AS suspects,
                coalesce(c.class_size, 0) AS class_size, c.share, c.mean_suspicion, c.expected, c.lift,
                coalesce(d.decided, 0) AS decided
            FROM class_pairs c LEFT JOIN decided d USING (given_label, suggested_label)
            WHERE c.audit_id = $audit_id ORDER BY c.expected DESC, given_label, suggested_label""",
        {"audit_id": audit_id},
    ).df()


def class_health(connection: duckdb.DuckDBPyConnection, audit_id: str) -> pd.DataFrame:
    """See ``Store.audits.class_health``."""
    return connection.execute(
        f"""WITH suspects AS MATERIALIZED ({_SUSPECTS}),
            decided AS (SELECT s.given_label, count(*) AS decided
                FROM suspects s SEMI JOIN current_decisions d {_OF_SAME} GROUP BY ALL),
            classes AS (
                SELECT i.given_label, count(*) AS images, count(*) FILTER (s.is_suspect) AS suspects,
                    sum(s.suspicion) AS wrong,
                    sum(s.suspicion * (1 - s.suspicion)) AS variance,
                    sqrt({TWO_SIDED**2} * variance + ({MODEL_ERROR} * wrong) ** 2) AS width
                FROM images i JOIN scores s ON s.rank = i.image_rank
                WHERE i.audit_id = $audit_id AND s.audit_id = $audit_id GROUP BY i.given_label)
            SELECT given_label, images, suspects, wrong, greatest(wrong - width, 0) AS low,
                least(wrong + width, images::DOUBLE) AS high, coalesce(decided, 0) AS decided
            FROM classes LEFT JOIN decided USING (given_label) ORDER BY wrong DESC, given_label""",
        {"audit_id": audit_id},
    ).df()


def failures(connection: duckdb.DuckDBPyConnection, audit_id: str) -> pd.DataFrame:
    """See ``Store.audits.failures``."""
    return connection.execute(
        "SELECT path, stage, reason FROM failures WHERE audit_id = ? ORDER BY path, stage", [audit_id]
    ).df()


def classes(connection: duckdb.DuckDBPyConnection, audit_id: str) -> list[str]:
    """See ``Store.audits.classes``."""
    return sorted(value(connection.execute("SELECT classes FROM audits WHERE audit_id = ?", [audit_id])))


def kinds(connection: duckdb.DuckDBPyConnection, audit_id: str) -> dict[str, int]:
    """See ``Store.audits.kinds``."""
    counted = connection.execute(
        """SELECT kind, count(*) AS suspects FROM scores WHERE audit_id = ? AND is_suspect AND kind IS NOT NULL
           GROUP BY kind ORDER BY suspects DESC, kind""",
        [audit_id],
    ).fetchall()
    return dict(counted)


def pair_map(connection: duckdb.DuckDBPyConnection, audit_id: str, given: str, suggested: str) -> FloatArray | None:
    """See ``Store.audits.pair_map``."""
    found: pa.Table = connection.sql(
        """SELECT e.grid_height, e.grid_width, e.map
           FROM interpretations e JOIN scores s ON s.rank = e.image_rank
           WHERE e.audit_id = ? AND s.audit_id = ? AND e.for_label = ? AND e.against_label = ? AND s.is_suspect""",
        params=[audit_id, audit_id, given, suggested],
    ).to_arrow_table()
    if found.num_rows == 0:
        return None
    shapes = np.stack([found["grid_height"].to_numpy(), found["grid_width"].to_numpy()], axis=1)
    grids, counts = np.unique(shapes, axis=0, return_counts=True)
    height, width = grids[counts.argmax()]
    same = (shapes == (height, width)).all(axis=1)
    maps = np.concatenate([chunk.flatten().to_numpy() for chunk in found.filter(same)["map"].chunks])
    maps = maps.reshape(-1, height, width).astype(np.float32)
    largest = np.abs(maps).max(axis=(1, 2), keepdims=True)
    mean: FloatArray = np.divide(maps, largest, out=np.zeros_like(maps), where=largest > 0).mean(axis=0)
    return mean


def neighbours(connection: duckdb.DuckDBPyConnection, audit_id: str, path: str) -> pd.DataFrame:
    """See ``Store.images.neighbours``."""
    return connection.execute(
        """SELECT position::BIGINT AS position, neighbour_path AS path, neighbour_label AS given_label, similarity
           FROM neighbours n WHERE audit_id = ? AND n.path = ? ORDER BY n.position""",
        [audit_id, path],
    ).df()


def exemplars(connection: duckdb.DuckDBPyConnection, audit_id: str, label: str) -> pd.DataFrame:
    """See ``Store.images.exemplars``."""
    return connection.execute(
        """SELECT position::BIGINT AS position, path, suspicion FROM exemplars e
           WHERE audit_id = ? AND label = ? ORDER BY e.position""",
        [audit_id, label],
    ).df()
