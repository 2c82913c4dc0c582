"""The list of suspects: filters, orders and paging as parameterised SQL.

A page is chosen first, from no more tables than its filters need, and only its few rows are joined with the wide facts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import duckdb
import pandas as pd

from gradattn_core.errors import StoreError
from gradattn_core.store import images, log
from gradattn_core.store.decisions import DECISIONS
from gradattn_core.store.rows import check_page, rows, value


class Filters(TypedDict, total=False):
    """Which images are wanted: the keywords of ``Store.candidates.page`` and ``Store.candidates.count``.

    Attributes:
        given, suggested: only this given label; only this suggested label.
        min_suspicion: the threshold over all images, instead of the audit's own choice of suspects.
        max_suspicion: nothing more suspect than this.
        decided: ``any``, ``yes``, ``no``, or the decision that stands (``keep``, ``relabel``, ``remove``, ``unsure``).
        path_contains: this text, literally, somewhere in the path.
        everything: all images, not only suspects.
        kind: only this kind of doubt.
        reviewer: only where the decision that stands is this reviewer's.
        paths: only these images, suspects or not.
    """

    given: str | None
    suggested: str | None
    min_suspicion: float | None
    max_suspicion: float | None
    decided: str
    path_contains: str | None
    everything: bool
    kind: str | None
    reviewer: str | None
    paths: Sequence[str] | None


ORDERS: dict[str, tuple[str, ...]] = {
    "rank": (),
    "pair": ("given_label", "suggested_label"),
    "similar": ("cluster < 0", "cluster"),
    "path": ("path",),
    "decided": ("sequence DESC NULLS LAST",),
}
"""The orders of a list, each with the columns it looks at before the rank."""


@dataclass(frozen=True, slots=True)
class CandidateFilter:
    """Which images of an audit are wanted; the fields are those of :class:`Filters`."""

    given: str | None = None
    suggested: str | None = None
    min_suspicion: float | None = None
    max_suspicion: float | None = None
    decided: str = "any"
    path_contains: str | None = None
    everything: bool = False
    kind: str | None = None
    reviewer: str | None = None
    paths: Sequence[str] | None = None

    def __post_init__(self) -> None:
        if self.decided not in ("any", "yes", "no", *DECISIONS):
            raise StoreError(f"decided={self.decided!r} is unknown; choose any, yes, no, {', '.join(DECISIONS)}")

    def chosen(
        self, connection: duckdb.DuckDBPyConnection, audit_id: str, order: str = "rank"
    ) -> tuple[str, list[Any]]:
        """A SELECT of ``rank`` and the columns of ``order`` for the wanted images, and its parameters."""
        ranks = None
        if self.paths is not None:
            ranks = [image.rank for image in images.find(connection, audit_id, self.paths).values()]
        said, of_said = self._said()
        needs_decisions = bool(of_said) or self.decided != "any" or order == "decided"
        needs_images = needs_decisions or self.given is not None or order == "pair"
        wanted = [
            ("s.audit_id = ?", audit_id),
            # Constants on both sides, so that the join is one of numbers.
            ("i.audit_id = ?", audit_id if needs_images else None),
            ("i.given_label = ?", self.given),
            ("s.suggested_label = ?", self.suggested),
            ("s.suspicion >= ?", self.min_suspicion),
            ("s.suspicion <= ?", self.max_suspicion),
            ("s.kind = ?", self.kind),
            # Not LIKE: % and _ in the text are ordinary characters.
            ("contains(s.path, ?)", self.path_contains),
            ("s.rank IN (SELECT unnest(CAST(? AS BIGINT[])))", ranks),
        ]
        conditions = [condition for condition, value in wanted if value is not None]
        parameters = [value for _, value in wanted if value is not None]
        if self.min_suspicion is None and self.paths is None and not self.everything:
            conditions.append("s.is_suspect")
        columns = f"s.rank, s.path, s.suggested_label, {_CLUSTER}" + (", i.given_label" if needs_images else "")
        source = "scores s" + (" JOIN images i ON i.image_rank = s.rank" if needs_images else "")
        where = " AND ".join(conditions)
        if not needs_decisions:
            return f"SELECT {columns} FROM {source} WHERE {where}", parameters
        # Materialised, or DuckDB would look for the decided contents among all images instead of among the suspects.
        return (
            f"""WITH found AS MATERIALIZED (SELECT {columns}, i.content_hash FROM {source} WHERE {where})
                SELECT f.*, d.sequence FROM found f LEFT JOIN current_decisions d
                    ON d.content_hash = f.content_hash AND d.given_label = f.given_label
                WHERE {said}""",
            [*parameters, *of_said],
        )

    def _said(self) -> tuple[str, list[Any]]:
        """The condition on the decision that stands, and its parameters."""
        conditions, parameters = [], []
        if self.decided in ("yes", "no"):
            conditions.append(f"d.decision IS {'NOT ' if self.decided == 'yes' else ''}NULL")
        elif self.decided != "any":
            conditions.append("d.decision = ?")
            parameters.append(self.decided)
        if self.reviewer is not None:
            conditions.append("d.reviewer = ?")
            parameters.append(self.reviewer)
        return " AND ".join(conditions) or "true", parameters


def page(
    connection: duckdb.DuckDBPyConnection,
    audit_id: str,
    chosen: CandidateFilter,
    *,
    order: str,
    top: int | None,
    offset: int,
) -> pd.DataFrame:
    """One page in its order; see ``Store.candidates.page``."""
    check_page(top, offset)
    if order not in ORDERS:
        raise StoreError(f"order={order!r} is unknown; choose {', '.join(ORDERS)}")
    source, parameters = chosen.chosen(connection, audit_id, order)
    found = connection.execute(
        f"SELECT rank FROM ({source}) ORDER BY {', '.join((*ORDERS[order], 'rank'))} LIMIT ? OFFSET ?",
        [*parameters, top, offset],
    )
    return _wide(connection, audit_id, [row[0] for row in found.fetchall()])


def count(connection: duckdb.DuckDBPyConnection, audit_id: str, chosen: CandidateFilter) -> int:
    """How many rows all pages have together."""
    source, parameters = chosen.chosen(connection, audit_id)
    return int(value(connection.execute(f"SELECT count(*) FROM ({source})", parameters)))


def candidate(connection: duckdb.DuckDBPyConnection, audit_id: str, path: str) -> dict[str, Any] | None:
    """See ``Store.candidates.one``."""
    image = images.find(connection, audit_id, [path]).get(path)
    if image is None or image.rank is None:
        return None
    of_rank = "SELECT kind_numbers FROM scores WHERE audit_id = ? AND rank = ?"
    numbers = value(connection.execute(of_rank, [audit_id, image.rank]))
    row = _wide(connection, audit_id, [image.rank]).to_dict("records")[0]
    return {**{str(name): cell for name, cell in row.items()}, "kind_numbers": numbers or {}}


def prediction(connection: duckdb.DuckDBPyConnection, audit_id: str, path: str) -> dict[str, Any] | None:
    """See ``Store.images.prediction``."""
    image = images.find(connection, audit_id, [path]).get(path)
    if image is None:
        return None
    found = connection.execute(
        """SELECT i.* EXCLUDE (image_rank), p.* EXCLUDE (audit_id, image_rank, path, given_probability),
               p.given_probability AS head_given_probability, s.* EXCLUDE (audit_id, path)
           FROM (SELECT * FROM images
               WHERE audit_id = $audit_id AND path = $path AND (image_rank = $rank OR $rank IS NULL)) i
           LEFT JOIN predictions p ON p.audit_id = $audit_id AND p.image_rank = i.image_rank
           LEFT JOIN scores s ON s.audit_id = $audit_id AND s.rank = i.image_rank""",
        {"audit_id": audit_id, "path": path, "rank": image.rank},
    )
    return rows(found)[0]


def _wide(connection: duckdb.DuckDBPyConnection, audit_id: str, ranks: list[int]) -> pd.DataFrame:
    """All columns of the images with these ranks, in their order."""
    frame = connection.execute(_WIDE, {"audit_id": audit_id, "ranks": ranks}).df()
    keys = list(zip(frame["content_hash"], frame["given_label"], strict=True))
    stacks = log.stacks(connection, keys)
    standing = [log.standing(stacks.get(key, [])) for key in keys]
    at = list(frame.columns).index("top_region_box") + 1
    for shift, name in enumerate(("decision", "reviewer", "note", "new_label")):
        said = pd.Series([getattr(word, name) if word else "" for word in standing], frame.index, dtype="str")
        frame.insert(at + shift, name, said)
    disputed = {key for key, stack in stacks.items() if log.disputed(stack)}
    frame["conflict"] = pd.Series([key in disputed for key in keys], frame.index, dtype="bool")
    return frame


_CLUSTER = "coalesce(s.cluster, -1)::BIGINT AS cluster"

_WIDE = f"""
SELECT
    s.rank,
    s.path,
    i.given_label,
    s.suggested_label,
    s.suspicion,
    s.given_probability,
    s.suggested_probability,
    coalesce(e.for_logit::DOUBLE - e.against_logit::DOUBLE, p.margin::DOUBLE) AS margin,
    e.positive_mass,
    e.negative_mass,
    e.balance,
    CASE WHEN r.path IS NULL THEN '' ELSE concat_ws(',', round(r.box_left)::BIGINT, round(r.box_top)::BIGINT,
        round(r.box_right)::BIGINT, round(r.box_bottom)::BIGINT) END AS top_region_box,
    i.content_hash,
    coalesce(i.width, 0)::BIGINT AS width,
    coalesce(i.height, 0)::BIGINT AS height,
    s.is_suspect,
    coalesce(s.runner_up_label, '') AS runner_up_label,
    coalesce(p.predicted_label, '') AS predicted_label, coalesce(p.outside_label, '') AS outside_label,
    p.outside_probability::DOUBLE AS outside_probability,
    s.runner_up_probability,
    coalesce(s.kind, '') AS kind,
    {_CLUSTER},
    coalesce(e.hidden_label, '') AS hidden_label,
    e.hidden_probability::DOUBLE AS hidden_probability
FROM (SELECT unnest(CAST($ranks AS BIGINT[])) AS rank, generate_subscripts($ranks, 1) AS place) page
JOIN scores s ON s.audit_id = $audit_id AND s.rank = page.rank
JOIN images i ON i.audit_id = $audit_id AND i.image_rank = page.rank
LEFT JOIN predictions p ON p.audit_id = $audit_id AND p.image_rank = page.rank
LEFT JOIN interpretations e ON e.audit_id = $audit_id AND e.image_rank = page.rank
LEFT JOIN regions r ON r.audit_id = $audit_id AND r.image_rank = page.rank AND r.sign = -1 AND r.rank = 1
ORDER BY page.place
"""
