"""Where an audit's pictures lie on its map, and all that the map says of each."""

from __future__ import annotations

import pandas as pd

from gradattn_core.errors import StoreError
from gradattn_core.store.database import Part, value
from gradattn_core.store.order import OF_SAME

# The points are few, so they are looked up among all images first.
_POINTS = f"""
WITH points AS MATERIALIZED (SELECT path, image_rank, x, y FROM embeddings WHERE audit_id = $audit_id),
    images AS MATERIALIZED (
        SELECT i.image_rank, i.content_hash, i.given_label FROM images i
        SEMI JOIN points p ON p.image_rank = i.image_rank WHERE i.audit_id = $audit_id),
    likely AS MATERIALIZED (
        SELECT s.rank, s.suspicion, s.is_suspect FROM scores s
        SEMI JOIN points p ON p.image_rank = s.rank WHERE s.audit_id = $audit_id),
    decided AS MATERIALIZED (SELECT i.image_rank AS rank, d.decision FROM images i JOIN current_decisions d {OF_SAME})
SELECT p.path, p.x::DOUBLE AS x, p.y::DOUBLE AS y, i.given_label, s.rank, s.suspicion, s.is_suspect,
    coalesce(d.decision, '') AS decision
FROM points p
JOIN images i ON i.image_rank = p.image_rank
JOIN likely s ON s.rank = p.image_rank
LEFT JOIN decided d ON d.rank = p.image_rank
ORDER BY p.path"""

_COUNT = """
SELECT (SELECT count(*) FROM embeddings WHERE audit_id = $audit_id),
    (SELECT count(*) FROM scores WHERE audit_id = $audit_id AND is_suspect),
    (SELECT count(*) FROM embeddings e JOIN scores s ON s.audit_id = $audit_id AND s.rank = e.image_rank
        WHERE e.audit_id = $audit_id AND s.is_suspect)"""


class Embeddings(Part):
    """Of each audit, where its pictures lie so that those that look alike are near each other."""

    def pictures(self, audit_id: str) -> pd.DataFrame:
        """Every picture of an audit, the most suspect first: ``path, is_suspect``."""
        with self._reading(audit_id) as connection:
            return connection.execute(
                "SELECT path, is_suspect FROM scores WHERE audit_id = ? ORDER BY rank", [audit_id]
            ).df()

    def write(self, audit_id: str, points: pd.DataFrame) -> None:
        """Store where pictures lie in place of what was stored before.

        Args:
            points: ``path, x, y``, each path at most once.

        Raises:
            StoreError: where the audit has no such picture; nothing is written then.
        """
        with self._writing(audit_id) as connection:
            connection.execute("DELETE FROM embeddings WHERE audit_id = ?", [audit_id])
            connection.register("laid_out", points[["path", "x", "y"]])
            connection.execute(
                """INSERT INTO embeddings (audit_id, image_rank, path, x, y)
                   SELECT $audit_id, s.rank, s.path, l.x, l.y
                   FROM (SELECT rank, path FROM scores WHERE audit_id = $audit_id) s JOIN laid_out l USING (path)
                   ORDER BY s.rank""",
                {"audit_id": audit_id},
            )
            stored = value(connection.execute("SELECT count(*) FROM embeddings WHERE audit_id = ?", [audit_id]))
            if stored != len(points):
                raise StoreError(f"audit {audit_id} lacks {len(points) - stored:,} of the pictures of its map")

    def points(self, audit_id: str) -> pd.DataFrame:
        """The pictures on the map of an audit with what stands about them, ordered by path; empty where none was made.

        Columns: ``path, x, y`` (without unit), ``given_label, rank, suspicion, is_suspect``, and ``decision`` that
        stands (``""`` where there is none).
        """
        with self._reading(audit_id) as connection:
            return connection.execute(_POINTS, {"audit_id": audit_id}).df()

    def count(self, audit_id: str) -> tuple[int, int]:
        """How many pictures are on the map, and how many suspects are not: those that a re-ranking has made since."""
        with self._reading(audit_id) as connection:
            pictures, suspects, missing = connection.execute(_COUNT, {"audit_id": audit_id}).fetchall()[0]
        return int(pictures), int(suspects - missing)
