"""What a client hands over: decisions, the way back from them, and tags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ui import background
from ui.api.answers import Asked, AskedWrongly, post
from ui.api.lists import progress_json

MOST_DECISIONS = 1_000
"""Of one request."""


def decisions(asked: Asked) -> Mapping[str, object]:
    """``POST decisions``: each is stored once, in their order."""
    reviewer, store, audit = asked.writing().reviewer(), asked.store, asked.audit
    results = []
    for each in _objects(asked, "decisions"):
        store.decisions.append(
            audit,
            str(each["path"]),
            str(each["decision"]),
            new_label=None if each.get("new_label") is None else str(each["new_label"]),
            reviewer=reviewer,
            note=str(each.get("note", "")),
        )
        results.append({"id": each["id"], "status": "stored", "reason": "", "newest": None})
    background.tell(store, audit, len(results))
    return {"results": results, "progress": progress_json(asked)}


def undo(asked: Asked) -> Mapping[str, object]:
    """``POST undo``: take back what stands about a picture, or one's own last decision."""
    reviewer, store, audit, path = asked.writing().reviewer(), asked.store, asked.audit, asked.text("path")
    undone = store.decisions.undo(audit, path, reviewer=reviewer)
    status = "none" if undone is None else "undone"
    return {"status": status, "path": path, "undone": None, "stands": None, "progress": progress_json(asked)}


ROUTES = [post("decisions", decisions), post("undo", undo)]


def _objects(asked: Asked, name: str) -> Sequence[Mapping[str, object]]:
    value = asked.parameters.get(name)
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise AskedWrongly(f"{name} is no list of objects")
    if len(value) > MOST_DECISIONS:
        raise AskedWrongly(f"{name} are more than {MOST_DECISIONS} at once")
    return value
