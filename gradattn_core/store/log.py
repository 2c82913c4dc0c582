"""What the log of decisions says: which row of it stands, what each reviewer's last word is, and where two differ.

Decisions push and undos pop, one stack per image content and given label. A *word* is a decision that no undo has taken
back. The newest word of a stack stands. A reviewer's last word is the newest of their own; where the last words of two
reviewers differ (in the decision or in the new label), there is a conflict.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, TypeAlias, TypedDict

import duckdb
import pandas as pd

from gradattn_core.errors import StoreError
from gradattn_core.store.decisions import DECISIONS
from gradattn_core.store.rows import TIME, check_page, value


class LogFilters(TypedDict, total=False):
    """Which rows of the log are wanted: the keywords of ``Store.decisions.page`` and ``Store.decisions.count``.

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
class LogFilter:
    """The same with the defaults."""

    audit_id: str | None = None
    reviewer: str | None = None
    decision: str | None = None
    path_contains: str | None = None
    standing: bool = False
    conflicts: bool = False

    def __post_init__(self) -> None:
        if self.decision is not None and self.decision not in (*DECISIONS, "undo"):
            raise StoreError(f"decision={self.decision!r} is unknown; choose {', '.join(DECISIONS)} or undo")

    def where(self) -> tuple[str, list[Any]]:
        """The condition over rows of ``decisions``, but for ``conflicts``, and its parameters."""
        wanted = [
            ("audit_id = ?", self.audit_id),
            ("reviewer = ?", self.reviewer),
            ("decision = ?", self.decision),
            # Not LIKE: % and _ in the text are ordinary characters.
            ("contains(path, ?)", self.path_contains),
        ]
        conditions = [condition for condition, value in wanted if value is not None]
        if self.standing:
            conditions.append("sequence IN (SELECT sequence FROM current_decisions)")
        return " AND ".join(conditions) or "true", [value for _, value in wanted if value is not None]


@dataclass(frozen=True, slots=True)
class Word:
    """A decision that no undo has taken back."""

    sequence: int
    decision: str
    new_label: str
    reviewer: str
    note: str


# Beyond so many keys it is quicker to read the whole log than to ask for its part.
_FEW = 2_000

Key: TypeAlias = tuple[str, str]
"""Image content and given label."""


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


def _filtered(connection: duckdb.DuckDBPyConnection, chosen: LogFilter) -> tuple[str, list[Any]]:
    where, parameters = chosen.where()
    if not chosen.conflicts:
        return where, parameters
    differing = [word.sequence for stack in _shared_stacks(connection) for word in disputed(stack)]
    return f"{where} AND sequence IN (SELECT unnest(CAST(? AS BIGINT[])))", [*parameters, differing]


def decisions(
    connection: duckdb.DuckDBPyConnection, chosen: LogFilter, *, top: int | None, offset: int
) -> pd.DataFrame:
    """A page of the log, newest first; see ``Store.decisions.page``."""
    check_page(top, offset)
    where, parameters = _filtered(connection, chosen)
    frame = connection.execute(
        f"""SELECT decision_id, path, given_label, decision, coalesce(new_label, '') AS new_label, reviewer, note,
                {TIME.format("decided_at")}, audit_id, content_hash, sequence
            FROM decisions WHERE {where} ORDER BY sequence DESC LIMIT ? OFFSET ?""",
        [*parameters, top, offset],
    ).df()
    found = stacks(connection, list(zip(frame["content_hash"], frame["given_label"], strict=True))).values()
    stand = {stack[-1].sequence for stack in found if stack}
    differ = {word.sequence for stack in found for word in disputed(stack)}
    sequence = frame.pop("sequence")
    return frame.assign(stands=sequence.isin(stand), conflict=sequence.isin(differ))


def count_decisions(connection: duckdb.DuckDBPyConnection, chosen: LogFilter) -> int:
    """How many rows all pages have together."""
    where, parameters = _filtered(connection, chosen)
    return int(value(connection.execute(f"SELECT count(*) FROM decisions WHERE {where}", parameters)))


def reviewers(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """Everybody who has a row in the log, in sorted order."""
    return sorted(row[0] for row in connection.execute("SELECT DISTINCT reviewer FROM decisions").fetchall())


def agreement(connection: duckdb.DuckDBPyConnection) -> pd.DataFrame:
    """How often two reviewers say the same; see ``Store.decisions.agreement``."""
    both: Counter[tuple[str, str]] = Counter()
    agree: Counter[tuple[str, str]] = Counter()
    for stack in _shared_stacks(connection):
        last = {word.reviewer: _said(word) for word in stack}
        for pair in combinations(sorted(last), 2):
            both[pair] += 1
            agree[pair] += last[pair[0]] == last[pair[1]]
    counted = sorted(both.items(), key=lambda entry: (-entry[1], entry[0]))
    rows = [(*pair, number, agree[pair], agree[pair] / number) for pair, number in counted]
    columns = {"reviewer_a": "str", "reviewer_b": "str", "both": "int64", "agree": "int64", "share": "float64"}
    return pd.DataFrame(rows, columns=list(columns)).astype(columns)
