"""The list of suspects, page by page or from a place on.

What a page has is chosen first, from no more tables than its filters need, and only its few rows are joined with the
wide facts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Unpack

import duckdb
import pandas as pd

from gradattn_core.store import images
from gradattn_core.store.choice import ORDERS as ORDERS
from gradattn_core.store.choice import CandidateFilter as CandidateFilter
from gradattn_core.store.choice import Choice, Place, choose
from gradattn_core.store.database import Part, check_page, value
from gradattn_core.store.kept import tags_of
from gradattn_core.store.log import stacks_about


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
        likely_labels, likely_probabilities: the likeliest classes and the given one, likeliest first, with the voters'
            probabilities of them, which know nothing of the given label; empty in audits of versions before.
        audit_suspicion: as the audit found it, where what was learnt has changed it; else NaN.
        seen: id of the newest entry about the image in the log, an undo perhaps; ``""`` where there is none.
        tags: in sorted order.
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
    kind: str
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
    cluster: int
    hidden_label: str
    hidden_probability: float
    conflict: bool
    likely_labels: Sequence[str]
    likely_probabilities: Sequence[float]
    audit_suspicion: float
    seen: str
    tags: Sequence[str]
    kind_numbers: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Stretch:
    """The next images of a list.

    Attributes:
        rows: as :meth:`Candidates.page` has them.
        places: of each row, its place in the order; that of the last is where the list goes on.
        more: whether there are others behind these.
        total: how many images the list has, decided or not; ``decided`` of them are, ``left`` are not. Of a second
            look, whether the reviewer who looks has decided.
        outside: undecided suspects that are not in the list; told only where nothing is left in it, else 0.
    """

    rows: pd.DataFrame
    places: tuple[Place, ...]
    more: bool
    total: int
    decided: int
    left: int
    outside: int


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
            order: of :data:`gradattn_core.store.choice.ORDERS`.
            top: at most so many rows, after ``offset`` rows were passed over.
            filters: see :class:`gradattn_core.store.choice.CandidateFilter`.

        Returns:
            The attributes of :class:`Candidate` but for ``kind_numbers`` as columns, in their order; the first are
            those of candidates.csv.

        Raises:
            StoreError: for an unknown order or decision, a part or selection that is none, or a negative number.
        """
        check_page(top, offset)
        with self._reading(audit_id) as connection:
            choice = choose(connection, audit_id, filters, order)
            chosen = connection.execute(
                f"SELECT rank FROM ({choice.source}) ORDER BY {choice.sorting} LIMIT $top OFFSET $offset",
                {**choice.parameters, "top": top, "offset": offset},
            )
            return _wide(connection, audit_id, [rank for (rank,) in chosen.fetchall()])

    def stretch(
        self,
        audit_id: str,
        *,
        order: str = "rank",
        after: Place | None = None,
        at: str | None = None,
        count: int = 24,
        held: Sequence[str] = (),
        **filters: Unpack[CandidateFilter],
    ) -> Stretch:
        """The next images of a list, from a place on; no image that keeps its place is missed or comes twice.

        Args:
            order: of :data:`gradattn_core.store.choice.ORDERS`.
            after: a place of an earlier stretch in the same order; None: from the beginning.
            at: instead of that, begin with this image, whatever the filters say, and go on behind its place; an image
                that the audit did not rank is passed over.
            count: at most so many rows.
            held: images that are not wanted again; they count as part of the list.
            filters: see :class:`gradattn_core.store.choice.CandidateFilter`.

        Raises:
            StoreError: as :meth:`page`, and for a place that is none of this order.
        """
        check_page(count, 0)
        with self._reading(audit_id) as connection:
            first: list[Place] = []
            if at is not None:
                itself = choose(connection, audit_id, {"paths": [at]}, order, told=True)
                first = _places(connection, audit_id, itself, "true", {}, 1)
                after = first[0] if first else None
            choice = choose(connection, audit_id, filters | CandidateFilter(decided="any"), order, told=True)
            said = filters.get("decided", "any")
            condition, parameters = choice.decided(said)
            # Once for the rows and for their counts, and without what takes longest to copy.
            connection.execute(
                f"CREATE OR REPLACE TEMP TABLE listed AS SELECT * EXCLUDE (path) FROM ({choice.source})",
                choice.parameters,
            )
            choice = replace(choice, source="FROM listed", parameters={})
            passed: list[object] = [place[-2] for place in first]
            if held:
                passed += [image.rank for image in images.find(connection, audit_id, held).values()]
            if passed:
                condition += " AND NOT list_contains(CAST($passed AS BIGINT[]), rank)"
                parameters = parameters | {"passed": passed}
            if after is not None:
                behind, of_place = choice.behind(after)
                condition, parameters = f"{condition} AND {behind}", parameters | of_place
            places = _places(connection, audit_id, choice, condition, parameters, count + 1 - len(first))
            total, decided = connection.execute(
                "SELECT count(*), count(*) FILTER (decision <> '') FROM listed"
            ).fetchall()[0]
            outside = 0
            if filters.get("second_look") is not None:
                # Others have decided all of it; what counts is what this reviewer has looked at again.
                again: CandidateFilter = {**filters, "second_look": None, "looked_again": filters["second_look"]}
                looked = choose(connection, audit_id, again)
                decided = int(value(connection.execute(f"SELECT count(*) FROM ({looked.source})", looked.parameters)))
                total += decided
            elif total == decided:
                every = choose(connection, audit_id, {"decided": "no"})
                outside = int(value(connection.execute(f"SELECT count(*) FROM ({every.source})", every.parameters)))
            more = len(first) + len(places) > count
            places = [*first, *places][:count]
            rows = _wide(connection, audit_id, [int(place[-2]) for place in places])
        return Stretch(rows, tuple(places), more, total, decided, total - decided, outside)

    def count(self, audit_id: str, **filters: Unpack[CandidateFilter]) -> int:
        """How many rows :meth:`page` has for the same filters on all its pages together."""
        with self._reading(audit_id) as connection:
            choice = choose(connection, audit_id, filters)
            return int(value(connection.execute(f"SELECT count(*) FROM ({choice.source})", choice.parameters)))

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


def _wide(connection: duckdb.DuckDBPyConnection, audit_id: str, ranks: list[int]) -> pd.DataFrame:
    """All columns of the images with these ranks, in their order."""
    frame = connection.execute(_WIDE, {"audit_id": audit_id, "ranks": ranks}).df()
    keys = list(zip(frame["content_hash"], frame["given_label"], strict=True))
    said, tags = stacks_about(connection, keys), tags_of(connection, frame["content_hash"].tolist())
    stacks = [said[key] for key in keys]

    def texts(name: str) -> pd.Series[str]:
        cells = [getattr(stack.stands, name) if stack.stands else "" for stack in stacks]
        return pd.Series(cells, frame.index, dtype="str")

    def lists(cells: list[list[object]]) -> pd.Series[Any]:
        return pd.Series(cells, frame.index, dtype=object)

    newest = [stack.newest.decision_id if stack.newest else "" for stack in stacks]
    told = {name: texts(name) for name in ("decision", "reviewer", "note", "new_label")} | {
        "conflict": pd.Series([bool(stack.dispute) for stack in stacks], frame.index, dtype="bool"),
        **{name: lists([cell.tolist() for cell in frame[name]]) for name in ("likely_labels", "likely_probabilities")},
        "seen": pd.Series(newest, frame.index, dtype="str"),
        "tags": lists([[*tags.get(key, [])] for key in keys]),
    }
    # All at once: a frame that grows column by column takes longer than the query.
    names = [field.name for field in fields(Candidate) if field.name != "kind_numbers"]
    return pd.DataFrame({name: told[name] if name in told else frame[name] for name in names}, frame.index)


def _places(
    connection: duckdb.DuckDBPyConnection,
    audit_id: str,
    choice: Choice,
    condition: str,
    parameters: Mapping[str, object],
    count: int,
) -> list[Place]:
    """The first places of a choice that meet a condition."""
    keys = "".join(f"key{number}, " for number in range(len(ORDERS[choice.order])))
    return connection.execute(
        f"""SELECT {keys}f.rank, s.path FROM (
                SELECT {keys}rank FROM ({choice.source}) WHERE {condition} ORDER BY {choice.sorting} LIMIT $count) f
            JOIN scores s ON s.audit_id = $audit_id AND s.rank = f.rank
            ORDER BY {choice.sorting.removesuffix("rank")}f.rank""",
        {**choice.parameters, **parameters, "count": count, "audit_id": audit_id},
    ).fetchall()


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
    coalesce(s.kind, '') AS kind,
    i.content_hash,
    coalesce(i.width, 0)::BIGINT AS width,
    coalesce(i.height, 0)::BIGINT AS height,
    s.is_suspect,
    coalesce(s.runner_up_label, '') AS runner_up_label,
    coalesce(p.predicted_label, '') AS predicted_label,
    p.outside_probability::DOUBLE AS outside_probability,
    s.outside_suspicion,
    s.runner_up_probability,
    {_CLUSTER},
    coalesce(e.hidden_label, '') AS hidden_label,
    e.hidden_probability::DOUBLE AS hidden_probability,
    coalesce(s.likely_labels, CAST([] AS TEXT[])) AS likely_labels,
    coalesce(s.likely_probabilities, CAST([] AS FLOAT[])) AS likely_probabilities,
    s.audit_suspicion
FROM (SELECT unnest(CAST($ranks AS BIGINT[])) AS rank, generate_subscripts($ranks, 1) AS place) page
JOIN scores s ON s.audit_id = $audit_id AND s.rank = page.rank
JOIN images i ON i.audit_id = $audit_id AND i.image_rank = page.rank
LEFT JOIN predictions p ON p.audit_id = $audit_id AND p.image_rank = page.rank
LEFT JOIN interpretations e ON e.audit_id = $audit_id AND e.image_rank = page.rank
LEFT JOIN regions r ON r.audit_id = $audit_id AND r.image_rank = page.rank AND r.sign = -1 AND r.rank = 1
ORDER BY page.place
"""
