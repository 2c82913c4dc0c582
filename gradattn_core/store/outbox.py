"""Decisions and undos as the page sends them: each with an id of its own and with what its author had seen.

An answer may be lost on its way, so everything may be sent again: the same id is stored once. Between what a reviewer
saw and what they decided somebody else may have decided: then nothing is stored, and both are shown to a person.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import duckdb

from gradattn_core.errors import StoreError
from gradattn_core.store import images
from gradattn_core.store.database import Part
from gradattn_core.store.images import ListedImage
from gradattn_core.store.log import Decision, Entry, Key, Row, Stack, entry_of, insert, stacks_about, verdict

Target: TypeAlias = tuple[str, Key, Entry]
"""An image's path and key, and the decision that is taken back there."""

_LONGEST_ID = 100
_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class Sent:
    """A decision as it was sent.

    Attributes:
        id: made by the sender, a UUID; whatever has it already in the log is not stored again.
        new_label: for ``relabel``, and only for it.
        seen: id of the newest entry about the picture that the author had seen, "" for none.
        force: store it also where there is a newer one.
        copies: path and ``seen`` of exact copies of the picture that are decided with it, whatever they are filed as:
            all to the same label, or none. Each gets a row of its own, and one undo takes back all.
    """

    id: str
    path: str
    decision: str
    new_label: str | None = None
    note: str = ""
    seen: str = ""
    force: bool = False
    copies: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a decision that was sent.

    Attributes:
        status: ``stored``; ``known``: it was before; ``newer``: not stored, as there is an entry that its author had
            not seen; ``refused``: never storable, for ``reason``, one sentence.
        newest: the newest entry about the picture after that, an undo perhaps, and ``stands`` what stands about it.
    """

    id: str
    status: Literal["stored", "known", "newer", "refused"]
    reason: str = ""
    newest: Entry | None = None
    stands: Entry | None = None


@dataclass(frozen=True, slots=True)
class Undone:
    """What became of an undo that was sent.

    Attributes:
        status: ``undone``; ``known``: it was before; ``none``: nothing of the reviewer's is to be taken back;
            ``theirs``: another's decision stands there, and nobody asked to take that back; ``newer``:
            somebody decided meanwhile.
        paths: what was taken back is about these images, of a bulk all.
        undone: the (newest) decision that was taken back.
        stands: what stands about the first of ``paths`` now; with ``theirs`` and ``newer``, what nobody touched.
        newest: the newest entry about that picture.
    """

    status: Literal["undone", "known", "none", "theirs", "newer"]
    paths: tuple[str, ...] = ()
    undone: Entry | None = None
    stands: Entry | None = None
    newest: Entry | None = None


class Outbox(Part):
    """What the page sends, each thing once."""

    def append_seen(
        self, audit_id: str, sent: Sequence[Sent], *, reviewer: str, outbox: str = "", batch: str | None = None
    ) -> tuple[Receipt, ...]:
        """Store decisions, each unless it is known, unusable or somebody was faster, in one transaction.

        Somebody was faster where the newest entry about the picture, by whomever, is not the one that the author had
        ``seen``; but entries from the same ``outbox`` and those of the same call are the author's own steps in the same
        order, which no answer had to confirm. So copies of one picture may be decided one after the other, and a
        decision may be changed before the first has arrived.

        Args:
            outbox: an id of the browser tab; "" for none.
            batch: an id of what is decided at one stroke; :meth:`undo_last` takes it back as one.

        Returns:
            One receipt for each, in their order; stored is stored when this returns.
        """
        texts = [each for each in sent if _is_text(each)]
        with self._writing(audit_id) as connection:
            known = _known(connection, [each.id for each in texts])
            paths = [path for each in texts for path in (each.path, *(path for path, _ in each.copies))]
            listed = images.find(connection, audit_id, paths)
            stacks = stacks_about(connection, [image.key for image in listed.values()])
            rows: list[Row] = []
            own: set[str] = set()
            receipts = []
            for each in sent:
                image = listed.get(each.path)
                stack = stacks[image.key] if image else Stack()
                receipt = Receipt(each.id, "known", "", stack.newest, stack.stands)
                if each.id not in known:
                    try:
                        of_it = _rows(each, listed, reviewer, outbox, batch)
                    except StoreError as error:
                        receipt = Receipt(each.id, "refused", str(error), stack.newest, stack.stands)
                    else:
                        seen = own.union([each.seen], (seen for _, seen in each.copies))
                        newer = [
                            stacks[row.key] for row in of_it if not _has_seen(stacks[row.key], row.seen, outbox, seen)
                        ]
                        if newer and not each.force:
                            receipt = Receipt(each.id, "newer", "", newer[0].newest, newer[0].stands)
                        else:
                            for row in of_it:
                                rows.append(row)
                                stacks[row.key].add(entry_of(row))
                                known.add(row.decision_id)
                                own.add(row.decision_id)
                            receipt = Receipt(each.id, "stored", "", stack.newest, stack.stands)
                receipts.append(receipt)
            insert(connection, audit_id, rows)
        return tuple(receipts)

    def undo_last(
        self,
        audit_id: str,
        reviewer: str,
        id: str,
        path: str | None = None,
        *,
        seen: str | None = None,
        others: bool = False,
        outbox: str = "",
        exact: bool = False,
    ) -> Undone:
        """Take back what the screen shows if that is the reviewer's, else their own last decision of this audit.

        What stands about ``path`` is taken back where it is the reviewer's own, or with ``others`` whosever it is. With
        nothing there, or with another's decision there that the screen does not show yet, it is the reviewer's newest
        decision of this audit that stands; one of a bulk takes the rest of its bulk along that still stands.

        Args:
            id: made by the sender; the same undo is done once.
            path: what the screen shows; None: only the reviewer's own last decision is meant.
            seen: the newest entry about ``path`` that the screen shows, "" for none; None: whatever there is.
            others: take another's decision back as well; somebody has asked.
            exact: nothing but what stands about ``path`` is meant; where that is not to be taken back, nothing is.
        """
        with self._writing(audit_id) as connection:
            if _known(connection, [id]):
                return _again(connection, id)
            targets: list[Target] = []
            stack = Stack()
            if path is not None:
                image = images.find(connection, audit_id, [path]).get(path)
                stack = stacks_about(connection, [image.key])[image.key] if image else Stack()
                stands = stack.stands
                if image is not None and stands is not None:
                    shown = seen is None or seen == stands.decision_id or _has_seen(stack, seen, outbox, set())
                    if stands.reviewer == reviewer or others:
                        if not shown:
                            return Undone("newer", (path,), None, stands, stack.newest)
                        targets = _with_copies(connection, audit_id, (path, image.key, stands))
                    elif shown:
                        return Undone("theirs", (path,), None, stands, stack.newest)
                    elif exact:
                        return Undone("newer", (path,), None, stands, stack.newest)
            if not targets and not exact:
                targets = _last(connection, audit_id, reviewer)
            if not targets:
                return Undone("none", (), None, stack.stands, stack.newest)
            undo, several = Decision("undo", reviewer), id if len(targets) > 1 else None
            rows = [
                Row(place, key, None, undo, "" if number else id, entry.decision_id, outbox or None, several)
                for number, (place, key, entry) in enumerate(targets)
            ]
            insert(connection, audit_id, rows)
            _, key, entry = targets[0]
            stack = stacks_about(connection, [key])[key]
        return Undone("undone", tuple(place for place, _, _ in targets), entry, stack.stands, stack.newest)


def _has_seen(stack: Stack, seen: str | None, outbox: str, own: set[str]) -> bool:
    """Whether the author knows the newest entry: had seen it, or made it in the same tab or call."""
    newest = stack.newest
    if newest is None or newest.decision_id == seen or newest.decision_id in own:
        return True
    return bool(outbox) and newest.outbox == outbox


def _is_text(sent: Sent) -> bool:
    """Whether it can be written: JSON may hold halves of characters, which no text has."""
    try:
        copies = "".join(text for copy in sent.copies for text in copy)
        "".join((sent.id, sent.path, sent.decision, sent.new_label or "", sent.note, sent.seen, copies)).encode()
    except UnicodeEncodeError:
        return False
    return True


def _rows(sent: Sent, listed: Mapping[str, ListedImage], reviewer: str, outbox: str, batch: str | None) -> list[Row]:
    """What is stored of a decision: one row, and one for each copy that is decided with it.

    Raises:
        StoreError: where it can never be stored.
    """
    image = listed.get(sent.path)
    others = {path: seen for path, seen in sent.copies if path != sent.path}
    first = _row(sent, image, reviewer, outbox, batch or (sent.id if others else None))
    rows = [first]
    for path, seen in others.items():
        copy = listed.get(path)
        if image is None or copy is None or copy.content_hash != image.content_hash:
            raise StoreError(f"{path!r} is no exact copy of this picture")
        rows.append(
            replace(
                first,
                path=path,
                key=copy.key,
                rank=copy.rank,
                decision=_for_copy(first.decision, image.given_label, copy.given_label),
                # The same one however often it is sent.
                decision_id=str(uuid.uuid5(uuid.NAMESPACE_OID, f"{sent.id}\n{path}")),
                seen=seen,
            )
        )
    return rows


def _for_copy(said: Decision, given: str, of_copy: str) -> Decision:
    """What a decision about a picture filed as ``given`` is about its copy that is filed as another label."""
    label = {"keep": given, "relabel": said.new_label}.get(said.decision)
    if label is None:
        return said
    return Decision(
        "keep" if label == of_copy else "relabel", said.reviewer, None if label == of_copy else label, said.note
    )


def _with_copies(connection: duckdb.DuckDBPyConnection, audit_id: str, target: Target) -> list[Target]:
    """What is taken back with a decision: that about the picture's copies, where they were decided at one stroke."""
    path, key, entry = target
    if not entry.batch:
        return [target]
    together = _of_batch(connection, audit_id, entry.batch)
    if any(content != key[0] for _, (content, _), _ in together) or target[0] not in {each[0] for each in together}:
        return [target]
    return sorted(together, key=lambda each: each[0] != path)


def _row(sent: Sent, image: ListedImage | None, reviewer: str, outbox: str, batch: str | None) -> Row:
    """Raises:
    StoreError: where it can never be stored.
    """
    if not _is_text(sent):
        raise StoreError("half a character cannot be stored")
    if not sent.id or len(sent.id) > _LONGEST_ID:
        raise StoreError("a decision that is sent needs an id of its own")
    if image is None:
        raise StoreError("this audit has no such picture")
    decision = verdict(Decision(sent.decision, reviewer, sent.new_label, sent.note))
    if decision.new_label == image.given_label:
        raise StoreError("that is the label it has; decide that the label is right")
    return Row(sent.path, image.key, image.rank, decision, sent.id, sent.seen, outbox or None, batch)


def _known(connection: duckdb.DuckDBPyConnection, ids: Sequence[str]) -> set[str]:
    found = connection.execute(
        "SELECT decision_id FROM decisions WHERE decision_id IN (SELECT unnest(CAST(? AS TEXT[])))", [list(ids)]
    )
    return {name for (name,) in found.fetchall()}


def _again(connection: duckdb.DuckDBPyConnection, id: str) -> Undone:
    """The answer to an undo that was done before, from the log."""
    rows = connection.execute(
        """SELECT path, content_hash, given_label, seen FROM decisions
           WHERE decision_id = $id OR (batch = $id AND decision = 'undo') ORDER BY sequence""",
        {"id": id},
    ).fetchall()
    _, content_hash, given_label, taken = rows[0]
    key: Key = (content_hash, given_label)
    stack = stacks_about(connection, [key])[key]
    undone = next((entry for entry in stack.log if entry.decision_id == taken), None)
    return Undone("known", tuple(row[0] for row in rows), undone, stack.stands, stack.newest)


def _last(connection: duckdb.DuckDBPyConnection, audit_id: str, reviewer: str) -> list[Target]:
    """The reviewer's newest decision of the audit that stands, and what of its batch does, the newest first."""
    before = 2**62
    while True:
        # From the end of the log: mostly the first is the one.
        own = connection.execute(
            """SELECT sequence, decision_id, batch, path, content_hash, given_label FROM decisions
               WHERE audit_id = $audit AND reviewer = $reviewer AND decision <> 'undo'
                   AND sequence < $before ORDER BY sequence DESC LIMIT $count""",
            {"audit": audit_id, "reviewer": reviewer, "before": before, "count": _AT_ONCE},
        ).fetchall()
        if not own:
            return []
        stacks = stacks_about(connection, [(row[4], row[5]) for row in own])
        for _, decision_id, batch, path, content_hash, given_label in own:
            stack = stacks[content_hash, given_label]
            if stack.stands is not None and stack.stands.decision_id == decision_id:
                if batch is not None:
                    return _of_batch(connection, audit_id, batch)
                return [(path, (content_hash, given_label), stack.stands)]
        before = own[-1][0]


def _of_batch(connection: duckdb.DuckDBPyConnection, audit_id: str, batch: str) -> list[Target]:
    own = connection.execute(
        """SELECT path, content_hash, given_label FROM decisions
           WHERE audit_id = ? AND batch = ? AND decision <> 'undo' ORDER BY sequence DESC""",
        [audit_id, batch],
    ).fetchall()
    stacks = stacks_about(connection, [(content_hash, label) for _, content_hash, label in own])
    targets = []
    for path, content_hash, given_label in own:
        stack = stacks[content_hash, given_label]
        if stack.stands is not None and stack.stands.batch == batch:
            targets.append((path, (content_hash, given_label), stack.pop()))
    return targets
