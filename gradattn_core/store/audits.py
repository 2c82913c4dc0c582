"""What finished audits found, class by class and pair by pair."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from gradattn_core.errors import StoreError
from gradattn_core.estimates import assumed_range
from gradattn_core.records import FloatArray
from gradattn_core.store.comparison import NEWEST_FIRST, Comparison
from gradattn_core.store.database import BELIEFS, TIME, rows, value
from gradattn_core.store.merge import Source, check_sources, merge
from gradattn_core.store.schema import OF_AUDIT

_SUSPECTS = """
    SELECT s.rank, s.suspicion, i.given_label, s.suggested_label, i.content_hash
    FROM scores s JOIN images i ON i.image_rank = s.rank
    WHERE s.audit_id = $audit_id AND i.audit_id = $audit_id AND s.is_suspect"""
_OF_PAIR = """
    FROM interpretations e JOIN scores s ON s.rank = e.image_rank
    WHERE e.audit_id = ? AND s.audit_id = ? AND e.for_label = ? AND s.is_suspect
        AND CASE s.suggested_label WHEN '' THEN '' ELSE e.against_label END = ?"""
# Where no class of the dataset is suggested, the map is against the model's own class, another one for each picture.
_OF_SAME = "ON d.content_hash = s.content_hash AND d.given_label = s.given_label"


@dataclass(frozen=True, slots=True)
class Audit:
    """A finished audit, as :meth:`Audits.all` lists it: absent text is ``""``, absent numbers are NaN.

    Attributes:
        dataset: as it was typed; ``root`` is what the paths of its images are relative to.
        started_at, finished_at: ISO 8601 in UTC.
        images: how many were ranked; ``failures`` could not be read, ``skipped`` are no pictures or left out.
        estimated_errors: how many labels the model believes to be wrong; ``estimated_low`` to ``estimated_high`` is the
            range of :func:`gradattn_core.estimates.assumed_range`.
        features: the folder with what a later audit can take over, below the output folder.
        parameters: of the audit by name; ``versions`` of what it ran with.
    """

    audit_id: str
    dataset: str
    root: str
    model: str
    checkpoint: str
    head: str
    fingerprint: str
    started_at: str
    finished_at: str
    state: str
    images: int
    failures: int
    skipped: int
    suspects: int
    estimated_errors: float
    estimated_low: float
    estimated_high: float
    features: str
    parameters: Mapping[str, Any]
    versions: Mapping[str, str]
    warnings: tuple[str, ...]


class Audits(Comparison):
    """What finished audits found, and how one differs from another."""

    def merge(self, audit: Mapping[str, Any], tables: Mapping[str, Source]) -> None:
        """Put one finished audit into the database in one transaction; readers see all of it or none.

        What the same ``audit_id`` left before is replaced. Decisions are never touched.

        Args:
            audit: columns of ``audits`` by name; ``audit_id``, ``dataset``, ``root``, ``model`` and ``classes`` are
                needed, ``parameters`` and ``versions`` may be mappings.
            tables: rows for any of ``schema.UNIQUE_KEYS``, as parquet files or as a frame. Columns are taken by name
                and others ignored; ``audit_id`` and ``image_rank`` are filled in.

        Raises:
            StoreError: for an unknown table, an unreadable file, a missing column, a value that does not fit, a path or
                rank twice, a path that ``images`` lacks; nothing is written then.
        """
        check_sources(tables)
        with self._writing() as connection:
            merge(connection, audit, tables)

    def all(self) -> pd.DataFrame:
        """One row per audit, newest first; ``parameters`` and ``versions`` as JSON text, ``warnings`` as lists."""
        with self._reading() as connection:
            frame = connection.execute(_AUDITS).df()
        frame["warnings"] = frame["warnings"].map(list)
        return frame

    def remove(self, audit_id: str) -> None:
        """Take a finished audit out of the database. Decisions and draws stay: they belong to pictures, not to it."""
        with self._writing(audit_id) as connection:
            for table in OF_AUDIT:
                connection.execute(f"DELETE FROM {table} WHERE audit_id = ?", [audit_id])

    def decided(self) -> dict[str, int]:
        """Of how many of its images a standing decision speaks, by audit."""
        with self._reading() as connection:
            counts = connection.execute(
                """SELECT audit_id, count(*) FROM images SEMI JOIN current_decisions USING (content_hash, given_label)
                   GROUP BY audit_id"""
            ).fetchall()
        return dict(counts)

    def contents(self) -> set[str]:
        """The content hashes of all images of all audits."""
        with self._reading() as connection:
            return {content for (content,) in connection.execute("SELECT DISTINCT content_hash FROM images").fetchall()}

    def latest_id(self) -> str:
        """The audit that finished last.

        Raises:
            StoreError: where no audit has finished yet.
        """
        with self._reading() as connection:
            newest = connection.execute(f"SELECT audit_id FROM audits a ORDER BY {NEWEST_FIRST} LIMIT 1").fetchone()
        if newest is None:
            raise StoreError(
                f"no audit has finished in {self.directory} yet; "
                f"`gradattn audit DATASET --out {self.directory}` makes one"
            )
        return str(newest[0])

    def one(self, audit_id: str) -> Audit:
        """One finished audit."""
        with self._reading(audit_id) as connection:
            [row] = rows(connection.execute(f"SELECT * FROM ({_AUDITS}) WHERE audit_id = ?", [audit_id]))
        parsed = {name: json.loads(row[name]) for name in ("parameters", "versions")}
        return Audit(**{**row, **parsed, "warnings": tuple(row["warnings"])})

    def failures(self, audit_id: str) -> pd.DataFrame:
        """What could not be used or was passed over: ``path, given_label, stage, reason``, ordered by path.

        ``given_label`` is ``""`` where nothing says it, as in audits of versions before.
        """
        with self._reading(audit_id) as connection:
            return connection.execute(
                """SELECT path, coalesce(given_label, '') AS given_label, stage, reason
                   FROM failures WHERE audit_id = ? ORDER BY path, stage""",
                [audit_id],
            ).df()

    def classes(self, audit_id: str) -> list[str]:
        """The dataset's classes in sorted order."""
        with self._reading(audit_id) as connection:
            return sorted(value(connection.execute("SELECT classes FROM audits WHERE audit_id = ?", [audit_id])))

    def class_pairs(self, audit_id: str) -> pd.DataFrame:
        """The (given, suggested) pairs with suspects, most expected errors first.

        Columns: ``given_label, suggested_label, suspects, class_size, share, mean_suspicion, expected, lift,
        decided``; ``decided`` counts the pair's suspects with a standing decision.
        """
        with self._reading(audit_id) as connection:
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

    def class_health(self, audit_id: str) -> pd.DataFrame:
        """How many labels of each class are wrong by estimate, most first, and how many suspects are decided.

        Columns: ``given_label, images, suspects, wrong, low, high, decided``; ``wrong`` is the sum of the suspicions of
        the class's images, ``low`` and ``high`` are the range of what may be assumed, as in ``ranking.noise_estimate``.
        """
        with self._reading(audit_id) as connection:
            frame = connection.execute(
                f"""WITH suspects AS MATERIALIZED ({_SUSPECTS}),
                    decided AS (SELECT s.given_label, count(*) AS decided
                        FROM suspects s SEMI JOIN current_decisions d {_OF_SAME} GROUP BY ALL),
                    classes AS (
                        SELECT i.given_label, count(*) AS images, count(*) FILTER (s.is_suspect) AS suspects,
                            sum(s.suspicion) AS wrong,
                            sum(s.class_noise_suspicion) AS class_noise,
                            sum(s.instance_noise_suspicion) AS instance_noise
                        FROM images i JOIN {BELIEFS} s ON s.rank = i.image_rank
                        WHERE i.audit_id = $audit_id AND s.audit_id = $audit_id GROUP BY i.given_label)
                    SELECT given_label, images, suspects, wrong, class_noise, instance_noise,
                        coalesce(decided, 0) AS decided
                    FROM classes LEFT JOIN decided USING (given_label) ORDER BY wrong DESC, given_label""",
                {"audit_id": audit_id},
            ).df()
        sums = zip(frame["wrong"], frame.pop("class_noise"), frame.pop("instance_noise"), strict=True)
        ranges = np.array([assumed_range(*each) for each in sums], dtype=np.float64).reshape(-1, 2)
        frame.insert(4, "low", ranges[:, 0])
        frame.insert(5, "high", ranges[:, 1])
        return frame

    def kinds(self, audit_id: str) -> dict[str, int]:
        """How many suspects there are of each kind of doubt, the commonest first."""
        with self._reading(audit_id) as connection:
            counts = connection.execute(
                """SELECT kind, count(*) AS suspects FROM scores WHERE audit_id = ? AND is_suspect AND kind IS NOT NULL
                   GROUP BY kind ORDER BY suspects DESC, kind""",
                [audit_id],
            ).fetchall()
        return dict(counts)

    def expected_found(self, audit_id: str, first: int) -> float:
        """Share, 0 to 1, of all expected wrong labels that is among the ``first`` most suspect images."""
        with self._reading(audit_id) as connection:
            share = value(
                connection.execute(
                    """SELECT coalesce(sum(suspicion) FILTER (rank <= ?), 0) / sum(suspicion)
                       FROM scores WHERE audit_id = ?""",
                    [first, audit_id],
                )
            )
        return math.nan if share is None else float(share)

    def measured_regions(self, audit_id: str) -> tuple[int, int]:
        """Of how many suspects a region was measured, and in how many the strongest of these does what it says.

        The strongest has the greatest number of either sign among the measured ones; it does what it says where the
        measured effect of leaving it out has the number's sign.

        Returns:
            (agreeing, measured)
        """
        with self._reading(audit_id) as connection:
            agreeing, measured = connection.execute(
                """SELECT count(*) FILTER (log_odds * measured > 0), count(*) FROM (
                       SELECT r.log_odds, r.measured FROM regions r JOIN scores s ON s.rank = r.image_rank
                       WHERE r.audit_id = $audit_id AND s.audit_id = $audit_id AND s.is_suspect
                           AND r.measured IS NOT NULL AND r.log_odds IS NOT NULL
                       QUALIFY row_number() OVER (PARTITION BY r.image_rank ORDER BY abs(r.log_odds) DESC, r.sign) = 1
                   )""",
                {"audit_id": audit_id},
            ).fetchall()[0]
        return int(agreeing), int(measured)

    def outside_labels(self, audit_id: str, given: str) -> list[str]:
        """The model's own classes for suspects of ``given`` that are of no class of the dataset, commonest first."""
        with self._reading(audit_id) as connection:
            found = connection.execute(
                f"""SELECT p.outside_label FROM ({_SUSPECTS}) s
                    JOIN predictions p ON p.audit_id = $audit_id AND p.image_rank = s.rank
                    WHERE s.given_label = $given AND s.suggested_label = '' AND p.outside_label IS NOT NULL
                    GROUP BY ALL ORDER BY count(*) DESC, p.outside_label""",
                {"audit_id": audit_id, "given": given},
            ).fetchall()
        return [label for (label,) in found]

    def pair_map(self, audit_id: str, given: str, suggested: str) -> FloatArray | None:
        """The mean map [grid height, grid width] of a pair's suspects; positive speaks for ``given``.

        Maps that add up are in log-odds, and so is their mean. Where one does not, each is divided by its largest
        absolute score first, and the mean is from -1 to 1. Where the grids differ, those of the commonest shape are
        taken. None where no suspect of the pair was interpreted.
        """
        with self._reading(audit_id) as connection:
            table: pa.Table = connection.sql(
                f"SELECT e.grid_height, e.grid_width, e.map, e.model_log_odds IS NOT NULL AS adds_up {_OF_PAIR}",
                params=[audit_id, audit_id, given, suggested],
            ).to_arrow_table()
        if table.num_rows == 0:
            return None
        shapes = np.stack([table["grid_height"].to_numpy(), table["grid_width"].to_numpy()], axis=1)
        grids, counts = np.unique(shapes, axis=0, return_counts=True)
        height, width = grids[counts.argmax()]
        same = (shapes == (height, width)).all(axis=1)
        maps = np.concatenate([chunk.flatten().to_numpy() for chunk in table.filter(same)["map"].chunks])
        maps = maps.reshape(-1, height, width).astype(np.float32)
        if table["adds_up"].to_numpy().all():
            return np.asarray(maps.mean(axis=0))
        largest = np.abs(maps).max(axis=(1, 2), keepdims=True)
        mean: FloatArray = np.divide(maps, largest, out=np.zeros_like(maps), where=largest > 0).mean(axis=0)
        return mean


_AUDITS = f"""
SELECT audit_id, dataset, root, model, coalesce(checkpoint, '') AS checkpoint,
    coalesce(head, '') AS head, coalesce(fingerprint, '') AS fingerprint,
    {TIME.format("started_at")}, {TIME.format("finished_at")}, state,
    coalesce(images, 0) AS images, coalesce(failures, 0) AS failures,
    coalesce(skipped, 0) AS skipped, coalesce(suspects, 0) AS suspects,
    coalesce(estimated_errors, 'nan') AS estimated_errors, coalesce(estimated_low, 'nan') AS estimated_low,
    coalesce(estimated_high, 'nan') AS estimated_high,
    coalesce(features, '') AS features, coalesce(parameters::TEXT, '{{}}') AS parameters,
    coalesce(versions::TEXT, '{{}}') AS versions, coalesce(warnings, []) AS warnings
FROM audits a ORDER BY {NEWEST_FIRST}
"""
