"""The list of suspects: filters, orders and paging as parameterised SQL.

A page is chosen first, from no more tables than its filters need, and only its few rows are joined with the wide facts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict, Unpack

import duckdb
import pandas as pd

from gradattn_core.errors import StoreError
from gradattn_core.store import images
from gradattn_core.store.database import Part, check_filters, check_page, value
from gradattn_core.store.log import DECISIONS, standing


class CandidateFilter(TypedDict, total=False):
    """Which images of an audit a list has: without any of these keywords, its suspects.

    Attributes:
        given, suggested: only this given label; only this suggested label, ``""`` for no class of the dataset.
        min_suspicion: the threshold over all images, instead of the audit's own choice of suspects.
        max_suspicion: nothing more suspect than this.
        decided: ``any``, ``yes``, ``no``, or the decision that stands (``keep``, ``relabel``, ``remove``, ``unsure``).
        path_contains: this text, literally, somewhere in the path.
        everything: all images, not only suspects.
        kind: only this kind of doubt.
        reviewer: only where the decision that stands is this reviewer's.
        paths: only these images, suspects or not.
        without: none of these images.
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
    without: Sequence[str] | None


ORDERS: dict[str, tuple[str, ...]] = {
    "rank": (),
    "pair": ("given_label", "suggested_label"),
    "similar": ("cluster < 0", "cluster"),
    "path": ("path",),
    "decided": ("sequence DESC NULLS LAST",),
}
"""The orders of a list, each with the columns it looks at before the rank."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One image of an audit's list; absent text is ``""``, absent numbers are NaN.

    Attributes:
        rank: 1 is the most suspect of all images.
        suspicion: probability in [0, 1] that the given label is wrong.
        margin: logit of the given label minus that of the other class, in the explained head.
        model_log_odds, log_odds_without_picture, red_log_odds, blue_log_odds: what the map adds up to, see
            :class:`gradattn_core.sums.Sums`: without picture + red + blue = model. NaN where it does not.
        top_region_box: ``left,top,right,bottom`` of the strongest region against the label, in whole pixels.
        top_region_log_odds, top_region_measured: of that region, see :class:`gradattn_core.records.Region`.
        decision, reviewer, note, new_label: what stands.
        width, height: of the original in pixels, 0 where they are not known.
        predicted_label: the class that the explained head names.
        suggested_label: the likeliest other class, ``""`` for none of the dataset's.
        outside_label: the model's best class where the dataset does not have it, and wherever none of the dataset's is
            suggested; ``outside_probability`` is the model's own for it.
        outside_suspicion: probability that the picture is of no class of the dataset; NaN where the head has no others.
        kind: of doubt, see :mod:`gradattn_core.kinds`.
        cluster: number of the suspects that look alike, -1 where there is none.
        hidden_label: what the head names with the evidence for the other class hidden.
        conflict: the last words of two reviewers about the image differ.
        kind_numbers: what the kind of doubt was told from; empty where there is no kind.
    """

    rank: int
    path: str
    given_label: str
    suggested_label: str
    suspicion: float
    given_probability: float
    suggested_probability: float
    margin: float
    model_log_odds: float
    log_odds_without_picture: float
    red_log_odds: float
    blue_log_odds: float
    top_region_box: str
    top_region_log_odds: float
    top_region_measured: float
    decision: str
    reviewer: str
    note: str
    outside_label: str
    new_label: str
    content_hash: str
    width: int
    height: int
    is_suspect: bool
    runner_up_label: str
    predicted_label: str
    outside_probability: float
    outside_suspicion: float
    runner_up_probability: float
    kind: str
    cluster: int
    hidden_label: str
    hidden_probability: float
    conflict: bool
    kind_numbers: Mapping[str, float]


class Candidates(Part):
    """The list of suspects, page by page."""

    def page(
        self,
        audit_id: str,
        *,
        order: str = "rank",
        top: int | None = None,
        offset: int = 0,
        **filters: Unpack[CandidateFilter],
    ) -> pd.DataFrame:
        """A page of suspects.

        Args:
            order: ``rank``; ``pair`` (given label, suggested label, rank); ``similar`` (cluster, rank); ``path``;
                ``decided`` (newest decision first, the undecided at the end).
            top: at most so many rows, after ``offset`` rows were passed over.
            filters: see :class:`CandidateFilter`.

        Returns:
            The attributes of :class:`Candidate` but for ``kind_numbers`` as columns, in their order; the first are
            those of candidates.csv.

        Raises:
            StoreError: for an unknown order or decision, or a negative number.
        """
        check_page(top, offset)
        if order not in ORDERS:
            raise StoreError(f"order={order!r} is unknown; choose {', '.join(ORDERS)}")
        with self._reading(audit_id) as connection:
            source, parameters = _selection(connection, audit_id, filters, order)
            chosen = connection.execute(
                f"SELECT rank FROM ({source}) ORDER BY {', '.join((*ORDERS[order], 'rank'))} LIMIT ? OFFSET ?",
                [*parameters, top, offset],
            )
            return _wide(connection, audit_id, [rank for (rank,) in chosen.fetchall()])

    def count(self, audit_id: str, **filters: Unpack[CandidateFilter]) -> int:
        """How many rows :meth:`page` has for the same filters on all its pages together."""
        with self._reading(audit_id) as connection:
            source, parameters = _selection(connection, audit_id, filters)
            return int(value(connection.execute(f"SELECT count(*) FROM ({source})", parameters)))

    def one(self, audit_id: str, path: str) -> Candidate | None:
        """One image, suspect or not; None where the audit ranked no such image."""
        with self._reading(audit_id) as connection:
            image = images.find(connection, audit_id, [path]).get(path)
            if image is None or image.rank is None:
                return None
            of_rank = "SELECT kind_numbers FROM scores WHERE audit_id = ? AND rank = ?"
            numbers = value(connection.execute(of_rank, [audit_id, image.rank]))
            [row] = _wide(connection, audit_id, [image.rank]).to_dict("records")
        return Candidate(**{str(name): cell for name, cell in row.items()}, kind_numbers=numbers or {})


def _selection(
    connection: duckdb.DuckDBPyConnection, audit_id: str, filters: CandidateFilter, order: str = "rank"
) -> tuple[str, list[Any]]:
    """A SELECT of ``rank`` and the columns of ``order`` for the images that pass the filters, and its parameters."""
    check_filters(filters, CandidateFilter)
    paths, ranks = filters.get("paths"), None
    if paths is not None:
        ranks = [image.rank for image in images.find(connection, audit_id, paths).values()]
    said, of_said = _condition(filters.get("decided", "any"), filters.get("reviewer"))
    needs_decisions = said != "true" or order == "decided"
    needs_images = needs_decisions or filters.get("given") is not None or order == "pair"
    limits = [
        ("s.audit_id = ?", audit_id),
        # Constants on both sides, so that the join is one of numbers.
        ("i.audit_id = ?", audit_id if needs_images else None),
        ("i.given_label = ?", filters.get("given")),
        ("s.suggested_label = ?", filters.get("suggested")),
        ("s.suspicion >= ?", filters.get("min_suspicion")),
        ("s.suspicion <= ?", filters.get("max_suspicion")),
        ("s.kind = ?", filters.get("kind")),
        # Not LIKE: % and _ in the text are ordinary characters.
        ("contains(s.path, ?)", filters.get("path_contains")),
        ("s.rank IN (SELECT unnest(CAST(? AS BIGINT[])))", ranks),
        ("NOT list_contains(CAST(? AS TEXT[]), s.path)", filters.get("without") or None),
    ]
    conditions = [condition for condition, limit in limits if limit is not None]
    parameters = [limit for _, limit in limits if limit is not None]
    if filters.get("min_suspicion") is None and paths is None and not filters.get("everything", False):
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


def _condition(decided: str, reviewer: str | None) -> tuple[str, list[str]]:
    """The condition on the decision ``d`` that stands, and its parameters."""
    if decided not in ("any", "yes", "no", *DECISIONS):
        raise StoreError(f"decided={decided!r} is unknown; choose any, yes, no, {', '.join(DECISIONS)}")
    conditions, parameters = [], []
    if decided in ("yes", "no"):
        conditions.append(f"d.decision IS {'NOT ' if decided == 'yes' else ''}NULL")
    elif decided != "any":
        conditions.append("d.decision = ?")
        parameters.append(decided)
    if reviewer is not None:
        conditions.append("d.reviewer = ?")
        parameters.append(reviewer)
    return " AND ".join(conditions) or "true", parameters


def _wide(connection: duckdb.DuckDBPyConnection, audit_id: str, ranks: list[int]) -> pd.DataFrame:
    """All columns of the images with these ranks, in their order."""
    frame = connection.execute(_WIDE, {"audit_id": audit_id, "ranks": ranks}).df()
    words = standing(connection, frame["content_hash"].tolist())
    said = [words.get(key) for key in zip(frame["content_hash"], frame["given_label"], strict=True)]
    at = list(frame.columns).index("top_region_measured") + 1
    for shift, name in enumerate(("decision", "reviewer", "note", "", "new_label")):
        # The model's own class stands between the note and the new label.
        if name:
            texts = pd.Series([getattr(word, name) if word else "" for word in said], frame.index, dtype="str")
            frame.insert(at + shift, name, texts)
    return frame.assign(conflict=pd.Series([bool(word and word.conflict) for word in said], frame.index, dtype="bool"))


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
    e.model_log_odds,
    e.log_odds_without_picture,
    e.red_log_odds,
    e.blue_log_odds,
    CASE WHEN r.path IS NULL THEN '' ELSE concat_ws(',', round(r.box_left)::BIGINT, round(r.box_top)::BIGINT,
        round(r.box_right)::BIGINT, round(r.box_bottom)::BIGINT) END AS top_region_box,
    r.log_odds AS top_region_log_odds,
    r.measured AS top_region_measured,
    coalesce(p.outside_label, '') AS outside_label,
    i.content_hash,
    coalesce(i.width, 0)::BIGINT AS width,
    coalesce(i.height, 0)::BIGINT AS height,
    s.is_suspect,
    coalesce(s.runner_up_label, '') AS runner_up_label,
    coalesce(p.predicted_label, '') AS predicted_label,
    p.outside_probability::DOUBLE AS outside_probability,
    s.outside_suspicion,
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
