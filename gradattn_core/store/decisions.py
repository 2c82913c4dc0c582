"""What reviewers said: an append-only log, keyed by image content and given label so that it outlives an audit.

Decisions push and undos pop, one stack per image content and given label. A *word* is a decision that no undo has taken
back. The newest word of a stack stands. A reviewer's last word is the newest of their own; where the last words of two
reviewers differ (in the decision or in the new label), there is a conflict. The view ``words`` of the schema says all
of it, and ``current_decisions`` is what of it stands.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict, Unpack

import pandas as pd

from gradattn_core.errors import StoreError
from gradattn_core.store import images
from gradattn_core.store.database import TIME, check_filters, check_page, value
from gradattn_core.store.log import DECISIONS, Row, about, find_all, insert, stacks_about, verdict
from gradattn_core.store.log import Decision as Decision
from gradattn_core.store.outbox import Outbox

# Drawn from the very pictures of the audit in which it was decided, whichever audit it was drawn in.
_DRAWN = """EXISTS (
    SELECT 1 FROM draws JOIN audits a USING (population) WHERE a.audit_id = d.audit_id AND draws.after < d.sequence
        AND draws.content_hash = d.content_hash AND draws.given_label = d.given_label)"""


class DecisionFilter(TypedDict, total=False):
    """Which rows of the log a list has: without any of these keywords, all.

    Attributes:
        audit_id: only what was said while this audit was reviewed.
        reviewer: only what this reviewer said.
        decision: only this decision, or ``undo``.
        path_contains: this text, literally, somewhere in the path.
        content_hash: only about pictures with this content; ``contents`` the same for any of these.
        tag: only about pictures with this tag.
        latest: only the newest row about each picture, the undo of a decision too.
        standing: only what stands.
        conflicts: only the last words of reviewers who differ.
    """

    audit_id: str | None
    reviewer: str | None
    decision: str | None
    path_contains: str | None
    content_hash: str | None
    contents: Sequence[str] | None
    tag: str | None
    latest: bool
    standing: bool
    conflicts: bool


class Decisions(Outbox):
    """The log, and what is added to it."""

    def append(
        self,
        audit_id: str,
        path: str,
        decision: str,
        *,
        new_label: str | None = None,
        reviewer: str,
        note: str = "",
    ) -> str:
        """Append a decision about an image's given label; it is on disk when this returns.

        It holds for every image of the same content and given label, in this and every other audit. The newest stands;
        what other reviewers said before stays in the log.

        Args:
            decision: ``keep`` (the label is right), ``relabel``, ``remove`` or ``unsure``.
            new_label: for ``relabel``, and only for it.

        Returns:
            The decision's id.

        Raises:
            StoreError: where the audit has no such image, or an argument is unusable; nothing is written then.
        """
        return self._append(audit_id, [path], Decision(decision, reviewer, new_label, note))[0]

    def append_many(
        self,
        audit_id: str,
        paths: Sequence[str],
        decision: str,
        *,
        new_label: str | None = None,
        reviewer: str,
        note: str = "",
        batch: str | None = None,
    ) -> int:
        """:meth:`append` for many images in one transaction, all or none, one row each; returns how many.

        Args:
            batch: an id of what is decided at one stroke; :meth:`undo_last` takes it back as one.
        """
        return len(self._append(audit_id, paths, Decision(decision, reviewer, new_label, note), batch))

    def decided(self, audit_id: str, paths: Sequence[str]) -> list[str]:
        """Those of the images about which a decision stands, in their order."""
        with self._reading(audit_id) as connection:
            listed = images.find(connection, audit_id, paths)
            stacks = stacks_about(connection, [image.key for image in listed.values()])
        return [path for path in paths if path in listed and stacks[listed[path].key].stands]

    def append_each(self, audit_id: str, said: Mapping[str, Decision]) -> int:
        """:meth:`append` of a decision of its own for every path, in one transaction, all or none; returns how many."""
        paths: dict[Decision, list[str]] = {}
        for path, decision in said.items():
            paths.setdefault(verdict(decision), []).append(path)
        with self._writing(audit_id) as connection:
            listed = find_all(connection, audit_id, list(said))
            for decision, of_it in paths.items():
                insert(
                    connection, audit_id, [Row(path, listed[path].key, listed[path].rank, decision) for path in of_it]
                )
        return len(said)

    def undo(self, audit_id: str, path: str, *, reviewer: str) -> str | None:
        """Take back the decision that stands, whoever made it; the one before it stands again.

        Returns:
            The id of the undo's own row, or None where no decision stood and nothing was written.
        """
        return next(iter(self._undo(audit_id, [path], reviewer)), None)

    def undo_many(self, audit_id: str, paths: Sequence[str], *, reviewer: str) -> int:
        """:meth:`undo` for many images in one transaction; returns how many decisions were taken back."""
        return len(self._undo(audit_id, paths, reviewer))

    def page(self, *, top: int | None = None, offset: int = 0, **filters: Unpack[DecisionFilter]) -> pd.DataFrame:
        """A page of the log of all audits, newest first, undos included.

        Args:
            top: at most so many rows, after ``offset`` rows were passed over.
            filters: see :class:`DecisionFilter`.

        Returns:
            ``decision_id, path, given_label, decision, new_label, reviewer, note, decided_at, audit_id, content_hash,
            drawn, stands, conflict``; ``drawn`` marks what was said about a picture after it had been drawn at random
            in the same audit, all else was chosen; ``conflict`` the last words of reviewers who differ about an image.
        """
        check_page(top, offset)
        with self._reading() as connection:
            where, parameters = _condition(filters)
            frame = connection.execute(
                f"""SELECT decision_id, path, given_label, decision, coalesce(new_label, '') AS new_label, reviewer,
                        note, {TIME.format("decided_at")}, audit_id, content_hash, {_DRAWN} AS drawn, sequence
                    FROM decisions d WHERE {where} ORDER BY sequence DESC LIMIT $top OFFSET $offset""",
                parameters | {"top": top, "offset": offset},
            ).df()
            few, of_few = about(frame["content_hash"].tolist())
            words = connection.execute(f"SELECT sequence, stands, conflict FROM words WHERE {few}", of_few).df()
        sequence = frame.pop("sequence")
        return frame.assign(
            stands=sequence.isin(words["sequence"][words["stands"]]),
            conflict=sequence.isin(words["sequence"][words["conflict"]]),
        )

    def count(self, **filters: Unpack[DecisionFilter]) -> int:
        """How many rows :meth:`page` has for the same filters on all its pages together."""
        with self._reading() as connection:
            where, parameters = _condition(filters)
            return int(value(connection.execute(f"SELECT count(*) FROM decisions WHERE {where}", parameters)))

    def reviewers(self) -> list[str]:
        """Everybody who ever decided or undid something, in sorted order."""
        with self._reading() as connection:
            return sorted(name for (name,) in connection.execute("SELECT DISTINCT reviewer FROM decisions").fetchall())

    def agreement(self) -> pd.DataFrame:
        """How often two reviewers' last words about the same image agree in decision and new label.

        Columns: ``reviewer_a, reviewer_b, both`` (images both have a word about), ``agree``, ``share`` (agree / both)
        and ``kappa``, Cohen's: the part of the agreement beyond what two with these habits would come to by chance, 1
        at most, 0 for no more than chance; NaN where both always said one and the same thing, which tells nothing of
        them. One row per pair of reviewers with common images, those with the most first.

        Source: Cohen, "A coefficient of agreement for nominal scales", Educational and Psychological Measurement 20
        (1960).
        """
        with self._reading() as connection:
            return connection.execute(
                """WITH last AS MATERIALIZED (
                        SELECT content_hash, given_label, reviewer, (decision, new_label) AS said FROM words
                        WHERE newest),
                    looks AS MATERIALIZED (
                        SELECT a.reviewer AS reviewer_a, b.reviewer AS reviewer_b, a.said AS said_a, b.said AS said_b
                        FROM last a JOIN last b ON a.content_hash = b.content_hash AND a.given_label = b.given_label
                            AND a.reviewer < b.reviewer),
                    habits_a AS (SELECT reviewer_a, reviewer_b, said_a AS said, count(*) AS times FROM looks
                        GROUP BY ALL),
                    habits_b AS (SELECT reviewer_a, reviewer_b, said_b AS said, count(*) AS times FROM looks
                        GROUP BY ALL),
                    chances AS (
                        SELECT reviewer_a, reviewer_b, sum(a.times * b.times)::BIGINT AS pairs
                        FROM habits_a a JOIN habits_b b USING (reviewer_a, reviewer_b, said) GROUP BY ALL),
                    counts AS (
                        SELECT reviewer_a, reviewer_b, count(*) AS "both", count(*) FILTER (said_a = said_b) AS agree
                        FROM looks GROUP BY ALL)
                   SELECT reviewer_a, reviewer_b, "both", agree, agree / "both" AS share,
                       CASE WHEN coalesce(pairs, 0) = "both" * "both" THEN 'nan'::DOUBLE
                           ELSE (agree * "both" - coalesce(pairs, 0)) / ("both" * "both" - coalesce(pairs, 0)) END
                           AS kappa
                   FROM counts LEFT JOIN chances USING (reviewer_a, reviewer_b)
                   ORDER BY "both" DESC, reviewer_a, reviewer_b"""
            ).df()

    def _append(self, audit_id: str, paths: Sequence[str], decision: Decision, batch: str | None = None) -> list[str]:
        with self._writing(audit_id) as connection:
            listed = find_all(connection, audit_id, paths)
            said = verdict(decision)
            rows = [Row(path, image.key, image.rank, said, batch=batch) for path, image in listed.items()]
            return insert(connection, audit_id, rows)

    def _undo(self, audit_id: str, paths: Sequence[str], reviewer: str) -> list[str]:
        undo = Decision("undo", reviewer)
        with self._writing(audit_id) as connection:
            listed = find_all(connection, audit_id, paths)
            stacks = stacks_about(connection, [image.key for image in listed.values()])
            rows = []
            for path, image in listed.items():
                # Copies of one picture share a stack: each takes back one decision, as long as there are any.
                if stacks[image.key].words:
                    taken = stacks[image.key].pop().decision_id
                    rows.append(Row(path, image.key, image.rank, undo, seen=taken))
            return insert(connection, audit_id, rows)


def _condition(filters: DecisionFilter) -> tuple[str, dict[str, object]]:
    """The condition over rows of ``decisions`` that the filters are, and its parameters."""
    check_filters(filters, DecisionFilter)
    decision = filters.get("decision")
    if decision is not None and decision not in (*DECISIONS, "undo"):
        raise StoreError(f"decision={decision!r} is unknown; choose {', '.join(DECISIONS)} or undo")
    limits = {
        "audit_id": "audit_id = $audit_id",
        "reviewer": "reviewer = $reviewer",
        "decision": "decision = $decision",
        "content_hash": "content_hash = $content_hash",
        # Not LIKE: % and _ in the text are ordinary characters.
        "path_contains": "contains(path, $path_contains)",
        "contents": "content_hash IN (SELECT unnest($contents))",
        "tag": "(content_hash, given_label) IN (SELECT (content_hash, given_label) FROM tags WHERE tag = $tag)",
    }
    parameters = {name: limit for name, limit in filters.items() if name in limits and limit is not None}
    conditions = [limits[name] for name in parameters]
    same = f" AND {limits['content_hash']}" if "content_hash" in parameters else ""
    if filters.get("latest"):
        conditions.append("sequence IN (SELECT max(sequence) FROM decisions GROUP BY content_hash, given_label)")
    for flag, column in (("standing", "stands"), ("conflicts", "conflict")):
        if filters.get(flag):
            conditions.append(f"sequence IN (SELECT sequence FROM words WHERE {column}{same})")
    return " AND ".join(conditions) or "true", parameters
