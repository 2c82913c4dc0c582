"""What one audit of a dataset has that another had not: images, labels, suspects.

An image is its content with its given label; copies of one picture under one label are one image. What only one of the
two audits has is explained by the other's where that can be: the same content under another label is *relabelled*, the
same path with another content is *changed*. What both have, but nowhere at the same path, is *moved*.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd

from gradattn_core.errors import StoreError
from gradattn_core.records import Difference
from gradattn_core.store.database import Part, check_page, rows, value

NEWEST_FIRST = "a.finished_at DESC NULLS LAST, a.audit_id DESC"
"""The order of the rows of ``audits a``."""

# Contents by number: two of a million share one with a probability of 3e-8.
_KEY = "hash(i.content_hash, i.given_label)"
_IMAGES = f"""
    SELECT {_KEY} AS key, hash(any_value(i.content_hash)) AS content, any_value(i.content_hash) AS content_hash,
        any_value(i.given_label) AS label, min(i.path) AS path, min(s.rank) AS rank,
        coalesce(bool_or(s.is_suspect), false) AS suspect
    FROM images i LEFT JOIN scores s ON s.audit_id = {{0}} AND s.rank = i.image_rank
    WHERE i.audit_id = {{0}} GROUP BY key"""
_COLUMNS = "what, old_label, given_label, old_path, path, old_rank, rank, was_suspect, is_suspect, old_content_hash"
_BOTH = "b.label, a.label, b.path, a.path, b.rank, a.rank, b.suspect, a.suspect, b.content_hash"
_CHANGES = f"""
CREATE OR REPLACE TEMP TABLE changes ({_COLUMNS}) AS
WITH b AS MATERIALIZED ({_IMAGES.format("$before")}),
    a AS MATERIALIZED ({_IMAGES.format("$after")}),
    fresh AS MATERIALIZED (SELECT *, row_number() OVER (PARTITION BY content ORDER BY label) AS nth FROM a ANTI JOIN b
        USING (key)),
    lost AS MATERIALIZED (SELECT *, row_number() OVER (PARTITION BY content ORDER BY label) AS nth FROM b ANTI JOIN a
        USING (key)),
    relabelled AS MATERIALIZED (SELECT b.key AS old, a.key AS new FROM lost b JOIN fresh a USING (content, nth)),
    same_path AS (
        SELECT lost.key AS old, fresh.key AS new, now.path
        FROM fresh JOIN (SELECT {_KEY} AS key, path FROM images i WHERE audit_id = $after) now ON now.key = fresh.key
        JOIN (SELECT {_KEY} AS key, path FROM images i WHERE audit_id = $before) was ON was.path = now.path
        JOIN lost ON lost.key = was.key
        WHERE fresh.key NOT IN (SELECT new FROM relabelled) AND lost.key NOT IN (SELECT old FROM relabelled)),
    -- One picture that several replace, or that replaces several, explains one of them.
    of_new AS (SELECT * FROM same_path QUALIFY row_number() OVER (PARTITION BY new ORDER BY path) = 1),
    changed AS MATERIALIZED (SELECT * FROM of_new QUALIFY row_number() OVER (PARTITION BY old ORDER BY path) = 1),
    elsewhere AS (SELECT a.key FROM a JOIN b USING (key) WHERE a.path <> b.path),
    stayed AS (
        SELECT DISTINCT now.key
        FROM (SELECT {_KEY} AS key, path FROM images i WHERE audit_id = $after) now SEMI JOIN elsewhere USING (key)
        JOIN (SELECT {_KEY} AS key, path FROM images i WHERE audit_id = $before) was
            ON was.key = now.key AND was.path = now.path),
    moved AS MATERIALIZED (SELECT key FROM elsewhere ANTI JOIN stayed USING (key))
SELECT 'relabelled' AS what, {_BOTH}
    FROM relabelled r JOIN b ON b.key = r.old JOIN a ON a.key = r.new
UNION ALL SELECT 'changed', {_BOTH.replace("b.path, a.path", "c.path, c.path")}
    FROM changed c JOIN b ON b.key = c.old JOIN a ON a.key = c.new
UNION ALL SELECT 'moved', {_BOTH} FROM moved JOIN b USING (key) JOIN a USING (key)
UNION ALL SELECT 'judged', {_BOTH} FROM b JOIN a USING (key) ANTI JOIN moved USING (key) WHERE a.suspect <> b.suspect
UNION ALL SELECT 'new', NULL, a.label, NULL, a.path, NULL, a.rank, false, a.suspect, NULL
    FROM fresh a WHERE key NOT IN (SELECT new FROM relabelled) AND key NOT IN (SELECT new FROM changed)
UNION ALL SELECT 'gone', b.label, NULL, b.path, NULL, b.rank, NULL, b.suspect, false, b.content_hash
    FROM lost b WHERE key NOT IN (SELECT old FROM relabelled) AND key NOT IN (SELECT old FROM changed)
"""
# An image whose label or content is another than before is another image: its suspicion is not the old one's.
_REPLACED = "c.what IN ('relabelled', 'changed')"
_NEW_SUSPECT = f"c.is_suspect AND ({_REPLACED} OR NOT c.was_suspect)"
_GONE_SUSPECT = f"c.was_suspect AND ({_REPLACED} OR NOT c.is_suspect)"

_LISTS = {
    "new_suspects": f"""
        SELECT c.rank, s.path, c.given_label, s.suggested_label, s.suspicion,
            CASE what WHEN 'new' THEN 'new image' WHEN 'relabelled' THEN 'relabelled' WHEN 'changed' THEN 'changed'
                ELSE 'judged anew' END AS why
        FROM changes c JOIN scores s ON s.audit_id = $after AND s.rank = c.rank
        WHERE {_NEW_SUSPECT} ORDER BY c.rank LIMIT $top""",
    "gone_suspects": f"""
        SELECT c.old_rank AS rank, s.path, c.old_label AS given_label, s.suggested_label, s.suspicion,
            CASE what WHEN 'gone' THEN 'removed' WHEN 'relabelled' THEN 'relabelled' WHEN 'changed' THEN 'changed'
                ELSE 'judged anew' END AS why,
            coalesce(c.given_label, '') AS label_now, coalesce(d.decision, '') AS decision,
            coalesce(d.new_label, '') AS new_label
        FROM changes c JOIN scores s ON s.audit_id = $before AND s.rank = c.old_rank
        LEFT JOIN current_decisions d ON d.content_hash = c.old_content_hash AND d.given_label = c.old_label
        WHERE {_GONE_SUSPECT} ORDER BY c.old_rank LIMIT $top""",
    "new_images": "SELECT path, given_label FROM changes WHERE what = 'new' ORDER BY path LIMIT $top",
    "gone_images": """
        SELECT old_path AS path, old_label AS given_label FROM changes WHERE what = 'gone' ORDER BY path LIMIT $top""",
    "changed_images": """
        SELECT path, given_label, old_label FROM changes WHERE what = 'changed' ORDER BY path LIMIT $top""",
    "relabelled_images": """
        SELECT path, given_label, old_path, old_label FROM changes WHERE what = 'relabelled'
        ORDER BY path, old_path LIMIT $top""",
    "moved_images": """
        SELECT path, given_label, old_path FROM changes WHERE what = 'moved' ORDER BY path LIMIT $top""",
}


class Comparison(Part):
    """Two audits beside one another."""

    def previous_id(self, audit_id: str) -> str:
        """The audit of the same dataset (root, manifest and split) that finished before this one.

        Where there is none, as for a corrected tree or a dataset that was moved, the newest one before it that has a
        picture in common.

        Raises:
            StoreError: where there is none of either.
        """
        with self._reading(audit_id) as connection:
            before = _previous(connection, audit_id) or _previous_alike(connection, audit_id)
            dataset = value(connection.execute("SELECT dataset FROM audits WHERE audit_id = ?", [audit_id]))
        if before is None:
            raise StoreError(
                f"{self.directory} has no audit of {dataset}, or of any of its pictures, before {audit_id}; "
                "audit it again after a change, or name two audits"
            )
        return before

    def are_of_one_dataset(self, one: str, other: str) -> bool:
        """Whether two audits are of the same dataset (root, manifest and split)."""
        with self._reading(one, other) as connection:
            return len({_dataset(audit) for audit in _audits(connection) if audit["audit_id"] in (one, other)}) == 1

    def news(self, audit_id: str) -> Difference | None:
        """What the audit found that the one of the same dataset before it had not; None where it is the first."""
        with self._reading(audit_id) as connection:
            before = _previous(connection, audit_id)
            return None if before is None else _difference(connection, before, audit_id)

    def difference(self, before: str, after: str) -> Difference:
        """What the audit ``after`` has that ``before`` had not, and the reverse, by image content and given label."""
        with self._reading(before, after) as connection:
            return _difference(connection, before, after)

    def changes(self, before: str, after: str, *, top: int | None = None) -> dict[str, pd.DataFrame]:
        """The images that :meth:`difference` counts, at most ``top`` of each kind, each in one list.

        ``new_suspects``: ``rank, path, given_label, suggested_label, suspicion, why`` of the audit ``after``, the most
        suspect first; ``why`` is ``new image``, ``relabelled``, ``changed`` or ``judged anew``. ``gone_suspects``: the
        same of ``before``, where ``why`` is ``removed``, ``relabelled``, ``changed`` or ``judged anew``, and
        ``label_now`` (of what replaced it, or is no longer suspect), ``decision, new_label`` (what stands about it).

        ``new_images`` and ``gone_images`` (``path, given_label``) are those that are neither in ``changed_images``
        (``path, given_label, old_label``) nor in ``relabelled_images`` (``path, given_label, old_path, old_label``).
        ``moved_images``: ``path, given_label, old_path``. Of copies of one picture the first path is named.
        """
        check_page(top, 0)
        with self._reading(before, after) as connection:
            _compare(connection, before, after)
            parameters = {"before": before, "after": after, "top": top}
            return {
                name: connection.execute(query, {key: parameters[key] for key in parameters if f"${key}" in query}).df()
                for name, query in _LISTS.items()
            }


def _previous(connection: duckdb.DuckDBPyConnection, audit_id: str) -> str | None:
    """The audit of the same dataset that finished before this one; None where there is none."""
    audits = _audits(connection)
    position = [audit["audit_id"] for audit in audits].index(audit_id)
    same = _dataset(audits[position])
    return next((audit["audit_id"] for audit in audits[position + 1 :] if _dataset(audit) == same), None)


def _previous_alike(connection: duckdb.DuckDBPyConnection, audit_id: str) -> str | None:
    """The newest audit before this one that has a picture of it, by content; None where there is none."""
    names = [audit["audit_id"] for audit in _audits(connection)]
    earlier = names[names.index(audit_id) + 1 :]
    found = connection.execute(
        """SELECT DISTINCT audit_id FROM images SEMI JOIN
               (SELECT content_hash FROM images WHERE audit_id = ?) now USING (content_hash)""",
        [audit_id],
    ).fetchall()
    return next((name for name in earlier if (name,) in found), None)


def _audits(connection: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """Of every finished audit what tells its dataset, the newest first."""
    return rows(
        connection.execute(
            f"""SELECT audit_id, dataset, root, coalesce(parameters::TEXT, '{{}}') AS parameters
                FROM audits a ORDER BY {NEWEST_FIRST}"""
        )
    )


def _dataset(audit: Mapping[str, Any]) -> tuple[object, ...]:
    """What makes two audits ones of the same dataset, or of the same part of it, however its name was typed."""
    name = Path(audit["dataset"]).name
    manifest = "" if Path(audit["root"]).name == name else name
    parameters = json.loads(audit["parameters"])
    part = [parameters.get(name) or None for name in ("classes", "limit", "sample")]
    drawn = [parameters.get("seed")] if parameters.get("sample") else []
    return audit["root"], manifest, parameters.get("split"), json.dumps([*part, *drawn])


def _difference(connection: duckdb.DuckDBPyConnection, before: str, after: str) -> Difference:
    _compare(connection, before, after)
    result = connection.execute(
        f"""SELECT count(*) FILTER ({_NEW_SUSPECT}) AS new_suspects, count(*) FILTER ({_GONE_SUSPECT}) AS gone_suspects,
                count(*) FILTER (what = 'new' OR {_REPLACED}) AS new_images,
                count(*) FILTER (what = 'gone' OR {_REPLACED}) AS gone_images,
                count(*) FILTER (what = 'changed') AS changed_images,
                count(*) FILTER (what = 'relabelled') AS relabelled_images,
                count(*) FILTER (what = 'moved') AS moved_images
            FROM changes c"""
    )
    [counts] = rows(result)
    return Difference(before, **counts)


def _compare(connection: duckdb.DuckDBPyConnection, before: str, after: str) -> None:
    """Fill the table ``changes``, which only this connection sees and which ends with it."""
    connection.execute(_CHANGES, {"before": before, "after": after})
