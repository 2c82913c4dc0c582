"""What a client hands over: decisions, the way back, and tags. Each is stored once, however often it is sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gradattn_core.store.log import Entry
from gradattn_core.store.outbox import Sent
from gradattn_core.wording import short_name
from ui import background
from ui.api.answers import Asked, AskedWrongly, post
from ui.api.lists import progress_json
from ui.api.shapes import Said

MOST_DECISIONS = 1_000
"""Of one request."""
_LONGEST_NOTE = 10_000


@dataclass(frozen=True)
class Result:
    """What became of one decision, see :class:`gradattn_core.store.outbox.Receipt`."""

    id: str
    status: str
    reason: str
    newest: Said | None
    stands: Said | None


def decisions(asked: Asked) -> Mapping[str, object]:
    """``POST decisions``: of each decision what became of it, in their order, and how far the review is now."""
    reviewer, store, audit = asked.writing().reviewer(), asked.store, asked.audit
    receipts = store.decisions.append_seen(
        audit,
        [_sent(each) for each in _objects(asked, "decisions")],
        reviewer=reviewer,
        outbox=asked.text("outbox", "", 100),
        batch=asked.text("batch", "", 100) or None,
    )
    background.tell(store, audit, sum(receipt.status == "stored" for receipt in receipts))
    results = [
        Result(
            receipt.id, receipt.status, receipt.reason, said(receipt.newest, reviewer), said(receipt.stands, reviewer)
        )
        for receipt in receipts
    ]
    return {"results": results, "progress": progress_json(asked)}


def undo(asked: Asked) -> Mapping[str, object]:
    """``POST undo``: take back what the screen shows, or one's own last decision; of a bulk, all."""
    reviewer, store = asked.writing().reviewer(), asked.store
    path, seen = (None if asked.parameters.get(name) is None else asked.text(name) for name in ("path", "seen"))
    undone = store.decisions.undo_last(
        asked.audit,
        reviewer,
        asked.text("id", longest=100),
        path,
        seen=seen,
        others=asked.flag("others"),
        outbox=asked.text("outbox", "", 100),
    )
    return {
        "status": undone.status,
        "path": undone.paths[0] if undone.paths else path,
        "paths": undone.paths,
        "count": len(undone.paths) if undone.status in ("undone", "known") else 0,
        "undone": said(undone.undone, reviewer),
        "stands": said(undone.stands, reviewer),
        "newest": said(undone.newest, reviewer),
        "progress": progress_json(asked),
    }


def said(entry: Entry | None, reviewer: str) -> Said | None:
    """An entry of the log for a client; ``decision`` may be ``undo``."""
    if entry is None:
        return None
    return Said(
        id=entry.decision_id,
        decision=entry.decision,
        new_label=entry.new_label or None,
        name=short_name(entry.new_label) if entry.new_label else "",
        reviewer=entry.reviewer,
        mine=entry.reviewer == reviewer,
        at=entry.decided_at,
        note=entry.note,
    )


ROUTES = [post("decisions", decisions), post("undo", undo)]


def _sent(each: Mapping[str, object]) -> Sent:
    force = each.get("force", False)
    if not isinstance(force, bool):
        raise AskedWrongly("force is either true or false")
    return Sent(
        id=_field(each, "id"),
        path=_field(each, "path"),
        decision=_field(each, "decision"),
        new_label=_field(each, "new_label", "") or None,
        note=_field(each, "note", ""),
        seen=_field(each, "seen", ""),
        force=force,
    )


def _field(each: Mapping[str, object], name: str, default: str | None = None) -> str:
    value = each.get(name)
    value = default if value is None else value
    if not isinstance(value, str) or len(value) > _LONGEST_NOTE:
        raise AskedWrongly(f"{name} of a decision is no text, or too long")
    return value


def _objects(asked: Asked, name: str) -> Sequence[Mapping[str, object]]:
    value = asked.parameters.get(name)
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise AskedWrongly(f"{name} is no list of objects")
    if len(value) > MOST_DECISIONS:
        raise AskedWrongly(f"{name} are more than {MOST_DECISIONS} at once")
    return value
