"""What a client hands over: decisions, the way back, tags and views. Each is stored once, however often it is sent."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from urllib.parse import parse_qsl, urlencode

from gradattn_core.store.outbox import Sent
from ui import background, candidates_file
from ui.api.answers import Asked, AskedWrongly, get, post
from ui.api.lists import progress_json
from ui.api.shapes import Said
from ui.api.suspect import said

MOST_DECISIONS = 1_000
"""Of one request."""
MOST_AHEAD = 100
SECONDS_BETWEEN_COUNTS = 2.0
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
    """``POST decisions``: of each decision what became of it, in their order, and how far the review is now.

    Of the pictures that are held ``ahead``, those about which something stands by now, whoever said it.
    """
    reviewer, store, audit = asked.writing().reviewer(), asked.store, asked.audit
    receipts = store.decisions.append_seen(
        audit,
        sent_by(asked, MOST_DECISIONS),
        reviewer=reviewer,
        outbox=asked.text("outbox", "", 100),
        batch=asked.text("batch", "", 100) or None,
    )
    stored = sum(receipt.status == "stored" for receipt in receipts)
    background.tell(store, audit, stored)
    if stored:
        candidates_file.follow(store, audit)
    results = [
        Result(
            receipt.id, receipt.status, receipt.reason, said(receipt.newest, reviewer), said(receipt.stands, reviewer)
        )
        for receipt in receipts
    ]
    ahead = asked.texts("ahead", MOST_AHEAD)
    decided = store.decisions.decided(audit, ahead) if ahead else []
    return {"results": results, "decided": decided, "progress": _progress(asked, reviewer)}


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
        exact=asked.flag("exact"),
    )
    if undone.status == "undone":
        candidates_file.follow(store, asked.audit)
    return {
        "status": undone.status,
        "path": undone.paths[0] if undone.paths else path,
        "paths": undone.paths,
        "count": len(undone.paths) if undone.status in ("undone", "known") else 0,
        "undone": said(undone.undone, reviewer),
        "stands": said(undone.stands, reviewer),
        "newest": said(undone.newest, reviewer),
        "progress": _progress(asked, reviewer),
    }


def change_tags(asked: Asked) -> Mapping[str, object]:
    """``POST tags``: give words to a picture, or to several at once, and take words away."""
    reviewer = asked.writing().reviewer()
    paths = asked.texts("paths") or (asked.text("path"),)
    tags = asked.store.tags.change(
        asked.audit, paths, add=asked.texts("add"), remove=asked.texts("remove"), reviewer=reviewer
    )
    return {"tags": tags[paths[0]], "of": tags}


def tags(asked: Asked) -> Sequence[Mapping[str, object]]:
    """``GET tags``: every tag, with how many images of the audit have it."""
    return [{"tag": tag, "count": count} for tag, count in asked.store.tags.counts(asked.audit).items()]


def views(asked: Asked) -> Sequence[Mapping[str, object]]:
    """``GET views``: lists that somebody keeps under a name, for everybody; ``query`` by the names of addresses."""
    return [asdict(view) | {"query": dict(parse_qsl(view.query))} for view in asked.store.views.all()]


def keep_view(asked: Asked) -> Sequence[Mapping[str, object]]:
    """``POST views``: keep a list under a name, or with ``remove`` no longer; returns all."""
    reviewer, store = asked.writing().reviewer(), asked.store
    page, name = asked.text("page", longest=20), asked.text("name", longest=100)
    if asked.flag("remove"):
        store.views.remove(page, name, reviewer=reviewer)
    else:
        query = asked.parameters.get("query")
        if not isinstance(query, dict) or not all(isinstance(each, str) for pair in query.items() for each in pair):
            raise AskedWrongly("query is no object of texts")
        store.views.save(page, name, urlencode(query, errors="replace"), reviewer=reviewer)
    return views(asked)


ROUTES = [
    post("decisions", decisions),
    post("undo", undo),
    get("tags", tags),
    post("tags", change_tags),
    get("views", views),
    post("views", keep_view),
]


# When the numbers of an audit were last told with an answer, by folder and audit.
_told: dict[tuple[str, str], float] = {}


def _progress(asked: Asked, reviewer: str) -> Mapping[str, object] | None:
    """How far the review is; null within seconds of the last time, as of a million images it takes longer to count than
    to store a decision. ``GET progress`` always counts."""
    place, now = (str(asked.store.directory), asked.audit), time.monotonic()
    if now - _told.get(place, -math.inf) < SECONDS_BETWEEN_COUNTS:
        return None
    found = progress_json(asked, reviewer)
    _told[place] = time.monotonic()
    return found


def sent_by(asked: Asked, most: int) -> Sequence[Sent]:
    """The decisions of a request, at most so many."""
    value = asked.parameters.get("decisions")
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise AskedWrongly("decisions is no list of objects")
    if len(value) > most:
        raise AskedWrongly(f"decisions are more than {most:,} at once")
    return [_sent(each) for each in value]


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
        copies=_copies(each.get("copies") or []),
    )


def _copies(value: object) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise AskedWrongly("copies of a decision are no list of objects")
    if len(value) > MOST_DECISIONS:
        raise AskedWrongly(f"copies of a decision are more than {MOST_DECISIONS:,}")
    return tuple((_field(each, "path"), _field(each, "seen", "")) for each in value)


def _field(each: Mapping[str, object], name: str, default: str | None = None) -> str:
    value = each.get(name)
    value = default if value is None else value
    if not isinstance(value, str) or len(value) > _LONGEST_NOTE:
        raise AskedWrongly(f"{name} of a decision is no text, or too long")
    return value
