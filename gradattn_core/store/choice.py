"""Which images of an audit a list has, in which order, and where in it one goes on: filters and orders as SQL.

A place in a list is a row's own keys in the list's order, not a number of rows before it: whatever is decided, tagged
or ranked anew meanwhile, what lies behind a place lies behind it still.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypedDict

import duckdb

from gradattn_core.errors import StoreError
from gradattn_core.store import images
from gradattn_core.store.database import PROPOSED, check_filters
from gradattn_core.store.log import DECISIONS

Place: TypeAlias = tuple[str | float, ...]
"""The keys of a row in an order, then its rank and its path: plain values, which JSON keeps."""


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
        selection: only the images of this selection, suspects or not.
        without: none of these images.
        tag: only images with this tag.
        part: (k, n), only the k-th of n parts: each picture is in one, its copies in the same, on every machine.
        overlap: this share of all pictures, in [0, 1], is in every part.
        nobody: only what nobody has ever decided, not even for a while.
        second_look: only what others have decided and this reviewer has not; ``looked_again``: and this reviewer too.
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
    selection: str | None
    without: Sequence[str] | None
    tag: str | None
    part: tuple[int, int] | None
    overlap: float | None
    nobody: bool
    second_look: str | None
    looked_again: str | None


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that an order looks at: an expression over scores ``s``, images ``i`` or the decision ``d``."""

    expression: str
    kind: type[str] | type[int] | type[float]
    descending: bool = False


_HASH = "md5_number_lower({0}) / 18446744073709551616.0"
_MIXED = _HASH.format("concat('mixed ', i.content_hash)")
# Other hashes, so that what is shared comes from all parts alike, and an order tells nothing of a part.
_SHARED = _HASH.format("concat('overlap ', i.content_hash)")

ORDERS: dict[str, tuple[Step, ...]] = {
    "rank": (),
    "surest": (Step(PROPOSED, float, descending=True),),
    "confusable": (Step(f"abs({PROPOSED} - (1 - s.suspicion))", float),),
    "pair": (Step("i.given_label", str), Step("s.suggested_label", str)),
    "similar": (Step("(coalesce(s.cluster, -1) < 0)::INTEGER", int), Step("coalesce(s.cluster, -1)::BIGINT", int)),
    "path": (Step("s.path", str),),
    "decided": (Step("coalesce(d.sequence, 0)", int, descending=True),),
    "mixed": (Step(_MIXED, float), Step("s.path", str)),
}
"""The orders of a list, each with what it looks at before the rank. ``surest``: by the probability of the likeliest
other class, the greatest first; ``confusable``: where it is nearest to that of the given label; ``decided``: newest
decision first, the undecided at the end; ``mixed``: says nothing of a picture and is the same on every machine."""
_NO_RANK = 2**62  # beyond every rank
# The ranks of the images that something is about.
_ABOUT = "(SELECT image_rank FROM pictures SEMI JOIN ({}) USING (content_hash, given_label))"
_DECIDED = {"any": "true", "yes": "decision <> ''", "no": "decision = ''"}


@dataclass(frozen=True, slots=True)
class Choice:
    """A SELECT of ``rank, path``, the keys ``key0, key1, …`` of an order and, if it is told, the ``decision``."""

    source: str
    parameters: Mapping[str, object]
    order: str

    @property
    def sorting(self) -> str:
        """For ORDER BY."""
        return ", ".join(
            [f"key{number}{' DESC' * step.descending}" for number, step in enumerate(ORDERS[self.order])] + ["rank"]
        )

    def decided(self, decided: str) -> tuple[str, dict[str, object]]:
        """The condition that this is decided, as the filter says it, and its parameters; of a choice with decisions."""
        _check_decided(decided)
        if decided in _DECIDED:
            return _DECIDED[decided], {}
        return "decision = $decided", {"decided": decided}

    def behind(self, place: Place) -> tuple[str, dict[str, object]]:
        """The condition that a row lies behind a place, and its parameters.

        Raises:
            StoreError: where it is no place of this order.
        """
        steps = [*ORDERS[self.order], Step("rank", int)]
        fits = len(place) == len(steps) + 1 and all(
            isinstance(key, (int, float) if step.kind is float else step.kind) and not isinstance(key, bool)
            for key, step in zip(place[:-1], steps, strict=True)
        )
        if not fits:
            raise StoreError(f"a list in the order {self.order!r} has no such place to go on from")
        names = [*(f"key{number}" for number in range(len(steps) - 1)), "rank"]
        later = [
            " AND ".join([*(f"{names[before]} = $place{before}" for before in range(at)), f"{name} {sign} $place{at}"])
            for at, (name, sign) in enumerate(
                (name, "<" if step.descending else ">") for name, step in zip(names, steps, strict=True)
            )
        ]
        return f"({' OR '.join(later)})", {f"place{at}": key for at, key in enumerate(place[:-1])}


def choose(
    connection: duckdb.DuckDBPyConnection,
    audit_id: str,
    filters: CandidateFilter,
    order: str = "rank",
    *,
    told: bool = False,
) -> Choice:
    """The images of an audit that pass the filters, to be put in an order.

    Args:
        told: the choice is to have the decision that stands, ``""`` for none.

    Raises:
        StoreError: for an unknown order or decision, or a part that is none.
        TypeError: for an unknown filter.
    """
    check_filters(filters, CandidateFilter)
    if order not in ORDERS:
        raise StoreError(f"order={order!r} is unknown; choose {', '.join(ORDERS)}")
    ranks = _ranks(connection, audit_id, filters)
    shared, of_share = _share(filters)
    said, of_said = _said(filters)
    needs_decisions = told or order == "decided" or said != "true"
    needs_images = shared != "true" or filters.get("given") is not None or order in ("pair", "mixed")
    limits = [
        ("s.audit_id = $audit_id", "audit_id", audit_id),
        # Constants on both sides, so that the join is one of numbers.
        ("i.audit_id = $audit_id", "audit_id", audit_id if needs_images else None),
        ("i.given_label = $given", "given", filters.get("given")),
        ("s.suggested_label = $suggested", "suggested", filters.get("suggested")),
        ("s.suspicion >= $least", "least", filters.get("min_suspicion")),
        ("s.suspicion <= $most", "most", filters.get("max_suspicion")),
        ("s.kind = $kind", "kind", filters.get("kind")),
        # Not LIKE: % and _ in the text are ordinary characters.
        ("contains(s.path, $contains)", "contains", filters.get("path_contains")),
        ("s.rank IN (SELECT unnest(CAST($ranks AS BIGINT[])))", "ranks", ranks),
        ("NOT list_contains(CAST($without AS TEXT[]), s.path)", "without", filters.get("without") or None),
    ]
    conditions = [condition for condition, _, limit in limits if limit is not None]
    parameters = {name: limit for _, name, limit in limits if limit is not None} | of_share
    last = _NO_RANK if ranks is None else max(ranks, default=0)
    if filters.get("min_suspicion") is None and ranks is None and not filters.get("everything", False):
        conditions.append("s.is_suspect")
        last = images.last_suspect(connection, audit_id)
    conditions += [each for each in (shared, said) if each != "true"]
    keys = "".join(f", {step.expression} AS key{number}" for number, step in enumerate(ORDERS[order]))
    source = "scores s" + (" JOIN images i ON i.image_rank = s.rank" if needs_images else "")
    where = " AND ".join(conditions)
    if not needs_decisions:
        return Choice(f"SELECT s.rank, s.path{keys} FROM {source} WHERE {where}", parameters, order)
    # What is decided is found by rank first: to carry contents and labels of all images to a join takes longer.
    return Choice(
        f"""WITH pictures AS (SELECT * FROM images WHERE audit_id = $audit_id AND image_rank <= $last),
            decided AS MATERIALIZED (
                SELECT p.image_rank AS rank, c.decision, c.reviewer, c.sequence
                FROM pictures p JOIN current_decisions c USING (content_hash, given_label))
            SELECT s.rank, s.path, coalesce(d.decision, '') AS decision{keys}
            FROM {source} LEFT JOIN decided d ON d.rank = s.rank WHERE {where}""",
        parameters | of_said | {"last": last},
        order,
    )


def _ranks(connection: duckdb.DuckDBPyConnection, audit_id: str, filters: CandidateFilter) -> list[int] | None:
    """Of the images that are named one by one; None where none are."""
    paths, selection = filters.get("paths"), filters.get("selection")
    if selection is not None:
        chosen = set(selected(connection, audit_id, selection))
        paths = sorted(chosen if paths is None else chosen.intersection(paths))
    if paths is None:
        return None
    listed = images.find(connection, audit_id, paths).values()
    return [image.rank for image in listed if image.rank is not None]


def selected(connection: duckdb.DuckDBPyConnection, audit_id: str, selection: str) -> Sequence[str]:
    """The images of a selection.

    Raises:
        StoreError: where the audit has no such selection.
    """
    kept = connection.execute(
        "SELECT paths FROM selections WHERE audit_id = ? AND selection_id = ?", [audit_id, selection]
    ).fetchone()
    if kept is None:
        raise StoreError("this selection is not kept here any more; choose the pictures again")
    paths: Sequence[str] = kept[0]
    return paths


def _share(filters: CandidateFilter) -> tuple[str, dict[str, object]]:
    """The condition that an image is in a part, and its parameters."""
    part, overlap = filters.get("part"), filters.get("overlap") or 0.0
    if part is None:
        return "true", {}
    number, parts = part
    if not 1 <= number <= parts:
        raise StoreError(f"there is no part {number} of {parts}")
    if not 0 <= overlap <= 1:
        raise StoreError(f"an overlap of {overlap:g} is no share; give 0 to 1")
    own = f"floor({_HASH.format('i.content_hash')} * $parts) = $part - 1"
    common = f"{_SHARED} < $overlap"
    limits: dict[str, object] = {"part": number, "parts": parts}
    return (f"({own} OR {common})", limits | {"overlap": overlap}) if overlap else (own, limits)


def _said(filters: CandidateFilter) -> tuple[str, dict[str, object]]:
    """The condition on what was said about an image ``s``, of which ``d`` stands, and its parameters."""
    decided, reviewer, tag = filters.get("decided", "any"), filters.get("reviewer"), filters.get("tag")
    _check_decided(decided)
    conditions: list[str] = []
    parameters: dict[str, object] = {}
    if decided in ("yes", "no"):
        conditions.append(f"d.decision IS {'NOT ' if decided == 'yes' else ''}NULL")
    elif decided != "any":
        conditions.append("d.decision = $decided")
        parameters["decided"] = decided
    if reviewer is not None:
        conditions.append("d.reviewer = $reviewer")
        parameters["reviewer"] = reviewer
    if tag is not None:
        conditions.append(f"s.rank IN {_ABOUT.format('SELECT * FROM tags WHERE tag = $tag')}")
        parameters["tag"] = tag
    if filters.get("nobody"):
        conditions.append(f"s.rank NOT IN {_ABOUT.format('SELECT * FROM decisions')}")
    for name, of_all in (
        ("second_look", "NOT bool_or(reviewer = $second_look)"),
        ("looked_again", "bool_or(reviewer = $looked_again) AND bool_or(reviewer <> $looked_again)"),
    ):
        who = filters.get(name)
        if who is not None:
            said = f"SELECT content_hash, given_label FROM words GROUP BY content_hash, given_label HAVING {of_all}"
            conditions.append(f"s.rank IN {_ABOUT.format(said)}")
            parameters[name] = who
    return " AND ".join(conditions) or "true", parameters


def _check_decided(decided: str) -> None:
    if decided not in (*_DECIDED, *DECISIONS):
        raise StoreError(f"decided={decided!r} is unknown; choose {', '.join((*_DECIDED, *DECISIONS))}")
