"""What reviewers said: an append-only log, keyed by image content and given label so that it outlives an audit.

Decisions push and undos pop, one stack per image content and given label. A *word* is a decision that no undo has taken
back. The newest word of a stack stands. A reviewer's last word is the newest of their own; where the last words of two
reviewers differ (in the decision or in the new label), there is a conflict.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import combinations
from typing import Any, TypeAlias, TypedDict, Unpack

import duckdb
import pandas as pd

from gradattn_core.errors import StoreError
from gradattn_core.store import images
from gradattn_core.store.database import TIME, Part, check_filters, check_page, value

DECISIONS = ("keep", "relabel", "remove", "unsure")

Key: TypeAlias = tuple[str, str]
"""Image content and given label."""

# Beyond so many keys it is quicker to read the whole log than to ask for its part.
_FEW = 2_000


class DecisionFilter(TypedDict, total=False):
    """Which rows of the log a list has: without any of these keywords, all.

    Attributes:
        audit_id: only what was said while this audit was reviewed.
        reviewer: only what this reviewer said.
        decision: only this decision, or ``undo``.
        path_contains: this text, literally, somewhere in the path.
        standing: only what stands.
        conflicts: only the last words of reviewers who differ.
    """

    audit_id: str | None
    reviewer: str | None
    decision: str | None
    path_contains: str | None
    standing: bool
    conflicts: bool


@dataclass(frozen=True, slots=True)
class Decision:
    """What one reviewer says about one image's given label, or ``undo``.

    Raises:
        StoreError: for a relabel without a new label, a new label without relabel, a nameless reviewer.
    """

    decision: str
    reviewer: str
    new_label: str | None = None
    note: str = ""

    def __post_init__(self) -> None:
        if self.decision == "relabel" and not (isinstance(self.new_label, str) and self.new_label.strip()):
            raise StoreError("a relabel decision needs the new label")
        if self.decision != "relabel" and self.new_label is not None:
            raise StoreError(
                f"a new label ({self.new_label!r}) belongs to a relabel decision, not to {self.decision!r}"
            )
        if not isinstance(self.reviewer, str) or not self.reviewer.strip():
            raise StoreError("a decision needs the reviewer's name")


class Decisions(Part):
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
        return self._append(audit_id, [path], decision, reviewer, new_label, note)[0]

    def append_many(
        self,
        audit_id: str,
        paths: Sequence[str],
        decision: str,
        *,
        new_label: str | None = None,
        reviewer: str,
        note: str = "",
    ) -> int:
        """:meth:`append` for many images in one transaction, all or none, one row each; returns how many."""
        return len(self._append(audit_id, paths, decision, reviewer, new_label, note))

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
            stands, conflict``; ``conflict`` marks the last words of reviewers who differ about the same image.
        """
        check_page(top, offset)
        with self._reading() as connection:
            where, parameters = _condition(connection, filters)
            frame = connection.execute(
                f"""SELECT decision_id, path, given_label, decision, coalesce(new_label, '') AS new_label, reviewer,
                        note, {TIME.format("decided_at")}, audit_id, content_hash, sequence
                    FROM decisions WHERE {where} ORDER BY sequence DESC LIMIT ? OFFSET ?""",
                [*parameters, top, offset],
            ).df()
            found = stacks(connection, list(zip(frame["content_hash"], frame["given_label"], strict=True))).values()
        stand = {stack[-1].sequence for stack in found if stack}
        differ = {word.sequence for stack in found for word in disputed(stack)}
        sequence = frame.pop("sequence")
        return frame.assign(stands=sequence.isin(stand), conflict=sequence.isin(differ))

    def count(self, **filters: Unpack[DecisionFilter]) -> int:
        """How many rows :meth:`page` has for the same filters on all its pages together."""
        with self._reading() as connection:
            where, parameters = _condition(connection, filters)
            return int(value(connection.execute(f"SELECT count(*) FROM decisions WHERE {where}", parameters)))

    def reviewers(self) -> list[str]:
        """Everybody who ever decided or undid something, in sorted order."""
        with self._reading() as connection:
            return sorted(name for (name,) in connection.execute("SELECT DISTINCT reviewer FROM decisions").fetchall())

    def agreement(self) -> pd.DataFrame:
        """How often two reviewers' last words about the same image agree in decision and new label.

        Columns: ``reviewer_a, reviewer_b, both`` (images both have a word about), ``agree``, ``share`` (agree / both).
        One row per pair of reviewers with common images, those with the most first.
        """
        with self._reading() as connection:
            found = _shared_stacks(connection)
        both: Counter[tuple[str, str]] = Counter()
        agree: Counter[tuple[str, str]] = Counter()
        for stack in found:
            last = {word.reviewer: _said(word) for word in stack}
            for pair in combinations(sorted(last), 2):
                both[pair] += 1
                agree[pair] += last[pair[0]] == last[pair[1]]
        counted = sorted(both.items(), key=lambda entry: (-entry[1], entry[0]))
        rows = [(*pair, number, agree[pair], agree[pair] / number) for pair, number in counted]
        columns = {"reviewer_a": "str", "reviewer_b": "str", "both": "int64", "agree": "int64", "share": "float64"}
        return pd.DataFrame(rows, columns=list(columns)).astype(columns)

    def _append(
        self, audit_id: str, paths: Sequence[str], decision: str, reviewer: str, new_label: str | None, note: str
    ) -> list[str]:
        if decision not in DECISIONS:
            raise StoreError(f"{decision!r} is no decision; choose one of {', '.join(DECISIONS)}")
        said = Decision(decision, reviewer, new_label, note)
        with self._writing(audit_id) as connection:
            return _insert(connection, audit_id, _keys(connection, audit_id, paths), said)

    def _undo(self, audit_id: str, paths: Sequence[str], reviewer: str) -> list[str]:
        said = Decision("undo", reviewer)
        with self._writing(audit_id) as connection:
            keys = _keys(connection, audit_id, paths)
            words = {key: len(stack) for key, stack in stacks(connection, list(keys.values())).items()}
            undone = {}
            for path, key in keys.items():
                # Copies of one picture share a stack: each takes back one decision, as long as there are any.
                if words.get(key, 0) > 0:
                    words[key] -= 1
                    undone[path] = key
            return _insert(connection, audit_id, undone, said)


def _keys(connection: duckdb.DuckDBPyConnection, audit_id: str, paths: Sequence[str]) -> dict[str, Key]:
    """What decisions about these images are kept under, in the order of the paths, each once."""
    listed = images.find(connection, audit_id, paths)
    for path in paths:
        if path not in listed:
            raise StoreError(f"audit {audit_id} has no image {path!r}; a decision needs a path as the audit lists it")
    return {path: (listed[path].content_hash, listed[path].given_label) for path in paths}


def _insert(connection: duckdb.DuckDBPyConnection, audit_id: str, keys: dict[str, Key], said: Decision) -> list[str]:
    """Append one row per path, in their order, and return the rows' ids."""
    ids = [str(uuid.uuid4()) for _ in keys]
    # The transaction holds the only writing connection there is, so the next numbers are free.
    connection.execute(
        """INSERT INTO decisions (decision_id, sequence, content_hash, given_label, decision, new_label,
               reviewer, note, decided_at, audit_id, path)
           SELECT id, (SELECT coalesce(max(sequence), 0) FROM decisions) + number, content_hash, given_label,
               $decision, $new_label, $reviewer, $note, $now, $audit_id, path
           FROM (SELECT unnest(CAST($ids AS TEXT[])) AS id, unnest(range(1, len($ids) + 1)) AS number,
               unnest(CAST($hashes AS TEXT[])) AS content_hash, unnest(CAST($labels AS TEXT[])) AS given_label,
               unnest(CAST($paths AS TEXT[])) AS path)
           ORDER BY number""",
        {
            **asdict(said),
            "ids": ids,
            "hashes": [content_hash for content_hash, _ in keys.values()],
            "labels": [given_label for _, given_label in keys.values()],
            "paths": list(keys),
            "now": datetime.now(UTC),
            "audit_id": audit_id,
        },
    )
    return ids


def _condition(connection: duckdb.DuckDBPyConnection, filters: DecisionFilter) -> tuple[str, list[Any]]:
    """The condition over rows of ``decisions`` that the filters are, and its parameters."""
    check_filters(filters, DecisionFilter)
    decision = filters.get("decision")
    if decision is not None and decision not in (*DECISIONS, "undo"):
        raise StoreError(f"decision={decision!r} is unknown; choose {', '.join(DECISIONS)} or undo")
    differing = None
    if filters.get("conflicts", False):
        differing = [word.sequence for stack in _shared_stacks(connection) for word in disputed(stack)]
    limits = [
        ("audit_id = ?", filters.get("audit_id")),
        ("reviewer = ?", filters.get("reviewer")),
        ("decision = ?", decision),
        # Not LIKE: % and _ in the text are ordinary characters.
        ("contains(path, ?)", filters.get("path_contains")),
        ("sequence IN (SELECT unnest(CAST(? AS BIGINT[])))", differing),
    ]
    conditions = [condition for condition, limit in limits if limit is not None]
    if filters.get("standing", False):
        conditions.append("sequence IN (SELECT sequence FROM current_decisions)")
    return " AND ".join(conditions) or "true", [limit for _, limit in limits if limit is not None]


@dataclass(frozen=True, slots=True)
class Word:
    """A decision that no undo has taken back."""

    sequence: int
    decision: str
    new_label: str
    reviewer: str
    note: str


def stacks(connection: duckdb.DuckDBPyConnection, keys: Sequence[Key]) -> dict[Key, list[Word]]:
    """The words about each key, oldest first; keys about which nothing was said are absent, others may be there."""
    if len(keys) > _FEW:
        return _stacks(connection, "decisions", {})
    wanted = "(SELECT unnest(CAST($hashes AS TEXT[])) AS content_hash, unnest(CAST($labels AS TEXT[])) AS given_label)"
    hashes, labels = [key[0] for key in keys], [key[1] for key in keys]
    return _stacks(connection, wanted, {"hashes": hashes, "labels": labels})


def standing(stack: Sequence[Word]) -> Word | None:
    """The word that stands."""
    return stack[-1] if stack else None


def disputed(stack: Sequence[Word]) -> list[Word]:
    """The reviewers' last words, where they differ; else nothing."""
    last = {word.reviewer: word for word in stack}
    return list(last.values()) if len({_said(word) for word in last.values()}) > 1 else []


def _said(word: Word) -> tuple[str, str]:
    return word.decision, word.new_label


def _stacks(connection: duckdb.DuckDBPyConnection, wanted: str, parameters: dict[str, Any]) -> dict[Key, list[Word]]:
    said = connection.execute(
        f"""SELECT d.content_hash, d.given_label, d.sequence, d.decision, coalesce(d.new_label, ''), d.reviewer, d.note
            FROM decisions d SEMI JOIN {wanted} w
                ON w.content_hash = d.content_hash AND w.given_label = d.given_label ORDER BY d.sequence""",
        parameters,
    ).fetchall()
    found: dict[Key, list[Word]] = {}
    for content_hash, given_label, *rest in said:
        stack, word = found.setdefault((content_hash, given_label), []), Word(*rest)
        if word.decision == "undo":
            del stack[-1:]
        else:
            stack.append(word)
    return found


def _shared_stacks(connection: duckdb.DuckDBPyConnection) -> list[list[Word]]:
    """The words about everything that more than one reviewer has touched."""
    several = """(SELECT content_hash, given_label FROM decisions
        GROUP BY content_hash, given_label HAVING min(reviewer) < max(reviewer))"""
    return list(_stacks(connection, several, {}).values())
