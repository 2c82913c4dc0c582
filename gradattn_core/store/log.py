"""The log of decisions as rows: how one is written, what it is about, and what of it stands.

A decision is about an image content and a given label: all images of an audit, and of every audit, that have both.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TypeAlias

import duckdb

from gradattn_core.errors import StoreError
from gradattn_core.store import images
from gradattn_core.store.database import PROPOSED, TIME
from gradattn_core.store.images import ListedImage

DECISIONS = ("keep", "relabel", "remove", "unsure")

Key: TypeAlias = tuple[str, str]
"""Image content and given label."""


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


@dataclass(frozen=True, slots=True)
class Row:
    """What is added to the log: a decision about one image, or an undo.

    Attributes:
        rank: of the image, None where it was not ranked.
        seen: id of the newest entry about the picture that the author had seen, "" for none; of an undo, the entry
            that it takes back. None where it is not known.
        outbox: the browser tab it came from; ``batch`` is shared by what is decided at one stroke.
    """

    path: str
    key: Key
    rank: int | None
    decision: Decision
    decision_id: str = ""
    seen: str | None = None
    outbox: str | None = None
    batch: str | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of the log; absent text is ``""``. ``decision`` may be ``undo``; ``seen`` then is what it takes back."""

    decision_id: str
    path: str
    decision: str
    new_label: str
    reviewer: str
    note: str
    decided_at: str
    seen: str
    outbox: str
    batch: str


@dataclass(slots=True)
class Stack:
    """What was said about one picture: every entry, and of these the decisions that no undo has taken back."""

    log: list[Entry] = field(default_factory=list)
    words: list[Entry] = field(default_factory=list)

    @property
    def newest(self) -> Entry | None:
        """The newest entry, an undo perhaps."""
        return self.log[-1] if self.log else None

    @property
    def stands(self) -> Entry | None:
        """The decision that stands."""
        return self.words[-1] if self.words else None

    @property
    def dispute(self) -> tuple[Entry, ...]:
        """The last words of reviewers who differ in decision or new label, newest first; empty where they do not."""
        last: dict[str, Entry] = {}
        for word in reversed(self.words):
            last.setdefault(word.reviewer, word)
        differ = len({(word.decision, word.new_label) for word in last.values()}) > 1
        return tuple(last.values()) if differ else ()

    def add(self, entry: Entry) -> None:
        """What an entry makes of the stack; an undo of nothing does nothing."""
        self.log.append(entry)
        if entry.decision != "undo":
            self.words.append(entry)
        elif self.words:
            self.words.pop()

    def pop(self) -> Entry:
        """Take back what stands, before the log has the undo."""
        return self.words.pop()


def verdict(decision: Decision) -> Decision:
    """The decision itself, which says something about a label.

    Raises:
        StoreError: where it is none of ``DECISIONS``.
    """
    if decision.decision not in DECISIONS:
        raise StoreError(f"{decision.decision!r} is no decision; choose one of {', '.join(DECISIONS)}")
    return decision


def about(contents: Sequence[str]) -> tuple[str, dict[str, Sequence[str]]]:
    """The condition that lets the view ``words`` read no more of the log than what is about these contents.

    It is a condition on one column because nothing else is pushed below the view's windows.
    """
    # Beyond so many it is quicker to read the whole log.
    if len(contents) > 2_000:
        return "true", {}
    return "list_contains(CAST($contents AS TEXT[]), content_hash)", {"contents": contents}


def stacks_about(connection: duckdb.DuckDBPyConnection, keys: Iterable[Key]) -> dict[Key, Stack]:
    """What was said about each of these pictures, read entry by entry."""
    stacks = {key: Stack() for key in keys}
    log = connection.execute(
        f"""SELECT content_hash, given_label, decision_id, path, decision, coalesce(new_label, ''), reviewer, note,
                {TIME.format("decided_at")}, coalesce(seen, ''), coalesce(outbox, ''), coalesce(batch, '')
            FROM decisions WHERE content_hash IN (SELECT unnest(CAST(? AS TEXT[]))) ORDER BY sequence""",
        [[content_hash for content_hash, _ in stacks]],
    )
    for content_hash, given_label, *entry in log.fetchall():
        if (content_hash, given_label) in stacks:
            stacks[content_hash, given_label].add(Entry(*entry))
    return stacks


def find_all(connection: duckdb.DuckDBPyConnection, audit_id: str, paths: Sequence[str]) -> dict[str, ListedImage]:
    """The images with these paths, in the order of the paths, each once.

    Raises:
        StoreError: where the audit lacks one.
    """
    listed = images.find(connection, audit_id, paths)
    for path in paths:
        if path not in listed:
            raise StoreError(f"audit {audit_id} has no image {path!r}; a decision needs a path as the audit lists it")
    return {path: listed[path] for path in paths}


def entry_of(row: Row) -> Entry:
    """A row as the log will have it, but for its time."""
    said = row.decision
    return Entry(
        *(row.decision_id, row.path, said.decision, said.new_label or "", said.reviewer, said.note, ""),
        *(row.seen or "", row.outbox or "", row.batch or ""),
    )


def insert(connection: duckdb.DuckDBPyConnection, audit_id: str, rows: Sequence[Row]) -> list[str]:
    """Append rows in their order, each with what was thought of its picture, and return their ids."""
    rows = [row if row.decision_id else replace(row, decision_id=str(uuid.uuid4())) for row in rows]
    if not rows:
        return []
    ids = [row.decision_id for row in rows]
    # The transaction holds the only writing connection there is, so the next numbers are free.
    connection.execute(
        f"""INSERT INTO decisions BY NAME
            SELECT r.* EXCLUDE (number, rank), (SELECT coalesce(max(sequence), 0) FROM decisions) + number AS sequence,
                $now AS decided_at, $audit_id AS audit_id,
                CASE WHEN decision <> 'undo' THEN s.suggested_label END AS proposed_label,
                CASE WHEN decision <> 'undo' THEN {PROPOSED} END AS proposed_probability
            FROM (SELECT unnest(range(1, len($ids) + 1)) AS number, unnest(CAST($ids AS TEXT[])) AS decision_id,
                unnest(CAST($ranks AS BIGINT[])) AS rank, unnest(CAST($hashes AS TEXT[])) AS content_hash,
                unnest(CAST($labels AS TEXT[])) AS given_label, unnest(CAST($paths AS TEXT[])) AS path,
                unnest(CAST($decisions AS TEXT[])) AS decision, unnest(CAST($new_labels AS TEXT[])) AS new_label,
                unnest(CAST($reviewers AS TEXT[])) AS reviewer, unnest(CAST($notes AS TEXT[])) AS note,
                unnest(CAST($seen AS TEXT[])) AS seen, unnest(CAST($outboxes AS TEXT[])) AS outbox,
                unnest(CAST($batches AS TEXT[])) AS batch) r
            LEFT JOIN scores s ON s.audit_id = $audit_id AND s.rank = r.rank ORDER BY number""",
        {
            "ids": ids,
            "ranks": [row.rank for row in rows],
            "hashes": [row.key[0] for row in rows],
            "labels": [row.key[1] for row in rows],
            "paths": [row.path for row in rows],
            "decisions": [row.decision.decision for row in rows],
            "new_labels": [row.decision.new_label for row in rows],
            "reviewers": [row.decision.reviewer for row in rows],
            "notes": [row.decision.note for row in rows],
            "seen": [row.seen for row in rows],
            "outboxes": [row.outbox for row in rows],
            "batches": [row.batch for row in rows],
            "now": datetime.now(UTC),
            "audit_id": audit_id,
        },
    )
    return ids
