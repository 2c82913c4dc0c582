"""The list of suspects: filters and paging as parameterised SQL.

A page is chosen first, from no more tables than its filters need, and only its few rows are joined with the wide facts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gradattn_core.errors import StoreError
from gradattn_core.store.decisions import DECISIONS


@dataclass(frozen=True, slots=True)
class CandidateFilter:
    """Which images of an audit are wanted; the fields are the keywords of ``Store.candidates``."""

    given: str | None = None
    suggested: str | None = None
    min_suspicion: float | None = None
    decided: str = "any"
    path_contains: str | None = None
    everything: bool = False

    def __post_init__(self) -> None:
        if self.decided not in ("any", "yes", "no", *DECISIONS):
            raise StoreError(f"decided={self.decided!r} is unknown; choose any, yes, no, {', '.join(DECISIONS)}")

    def chosen(self, audit_id: str) -> tuple[str, list[Any]]:
        """A table expression with ``audit_id`` and ``rank`` of the wanted images, and its parameters."""
        wanted = [
            ("s.audit_id = ?", audit_id),
            ("i.given_label = ?", self.given),
            ("s.suggested_label = ?", self.suggested),
            ("s.suspicion >= ?", self.min_suspicion),
            # Not LIKE: % and _ in the text are ordinary characters.
            ("contains(s.path, ?)", self.path_contains),
        ]
        conditions = [condition for condition, value in wanted if value is not None]
        parameters = [value for _, value in wanted if value is not None]
        if self.min_suspicion is None and not self.everything:
            conditions.append("s.is_suspect")
        where = " AND ".join(conditions)
        images = "JOIN images i ON i.audit_id = s.audit_id AND i.image_rank = s.rank"
        if self.decided == "any":
            source = f"scores s {images}" if self.given is not None else "scores s"
            return f"(SELECT s.audit_id, s.rank FROM {source} WHERE {where})", parameters
        if self.decided in ("yes", "no"):
            said = f"d.decision IS {'NOT ' if self.decided == 'yes' else ''}NULL"
        else:
            said = "d.decision = ?"
            parameters.append(self.decided)
        # Materialised, or DuckDB would look for the decided contents among all images instead of among the suspects.
        return (
            f"""(WITH found AS MATERIALIZED (
                    SELECT s.audit_id, s.rank, i.content_hash, i.given_label FROM scores s {images} WHERE {where})
                SELECT f.audit_id, f.rank FROM found f LEFT JOIN current_decisions d
                    ON d.content_hash = f.content_hash AND d.given_label = f.given_label
                WHERE {said})""",
            parameters,
        )


def page_query(audit_id: str, chosen: CandidateFilter, *, top: int | None, offset: int) -> tuple[str, list[Any]]:
    """The statement for one page in order of rank, and its parameters."""
    for name, number in (("top", top), ("offset", offset)):
        if number is not None and number < 0:
            raise StoreError(f"{name}={number} is negative; give 0 or more")
    source, parameters = chosen.chosen(audit_id)
    page = f"SELECT * FROM {source} ORDER BY rank LIMIT ? OFFSET ?"
    return f"WITH page AS MATERIALIZED ({page}) {_WIDE}", [*parameters, top, offset]


def count_query(audit_id: str, chosen: CandidateFilter) -> tuple[str, list[Any]]:
    """The statement that counts all pages together, and its parameters."""
    source, parameters = chosen.chosen(audit_id)
    return f"SELECT count(*) FROM {source}", parameters


_WIDE = """
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
    coalesce(d.decision, '') AS decision,
    coalesce(d.reviewer, '') AS reviewer,
    coalesce(d.note, '') AS note,
    coalesce(d.new_label, '') AS new_label,
    i.content_hash,
    coalesce(i.width, 0)::BIGINT AS width,
    coalesce(i.height, 0)::BIGINT AS height,
    s.is_suspect,
    coalesce(s.runner_up_label, '') AS runner_up_label,
    coalesce(p.predicted_label, '') AS predicted_label, coalesce(p.outside_label, '') AS outside_label,
    p.outside_probability::DOUBLE AS outside_probability
FROM page
JOIN scores s ON s.audit_id = page.audit_id AND s.rank = page.rank
JOIN images i ON i.audit_id = page.audit_id AND i.image_rank = page.rank
LEFT JOIN predictions p ON p.audit_id = page.audit_id AND p.image_rank = page.rank
LEFT JOIN interpretations e ON e.audit_id = page.audit_id AND e.image_rank = page.rank
LEFT JOIN regions r ON r.audit_id = page.audit_id AND r.image_rank = page.rank AND r.sign = -1 AND r.rank = 1
LEFT JOIN current_decisions d ON d.content_hash = i.content_hash AND d.given_label = i.given_label
ORDER BY s.rank
"""
