"""Pictures of a list as Review shows them: what is thought of each, why, and what to compare it with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gradattn_core.belief import NONE, Belief, in_percent, of_row
from gradattn_core.dataset.address import box_path, whole_picture
from gradattn_core.facts import Row, facts_of, names_on_card, size_of
from gradattn_core.store.images import Place
from gradattn_core.store.log import Entry
from gradattn_core.store.showing import Surroundings
from gradattn_core.store.store import Store
from gradattn_core.verdict import Verdict, decided, filed_as, judge
from gradattn_core.wording import disagreement, names_of, short_name
from ui.api import freshness
from ui.api.companions import similar, typical
from ui.api.evidence_map import drawn
from ui.api.renditions import is_kept, missing
from ui.api.shapes import Action, Copy, Likely, Map, Name, Said, Suspect

_TYPICAL = 6

_KEYS = {
    "K": Action("keep", None, "Label is right"),
    "U": Action("unsure", None, "Unsure"),
    "X": Action("remove", None, "Remove"),
}


@dataclass(frozen=True, slots=True)
class _Audit:
    """What all pictures of an audit share: typical pictures and sizes of its classes."""

    typical: Mapping[str, Sequence[tuple[str, str]]]
    sizes: Mapping[str, int]


# Of finished audits, which never change, by database and audit.
_shared: dict[tuple[str, str], _Audit] = {}


def suspects(
    store: Store,
    audit: str,
    rows: Sequence[Row],
    reviewer: str,
    *,
    blind: bool = False,
    orders: Sequence[tuple[object, ...]] | None = None,
) -> list[Suspect]:
    """The pictures of a stretch of a list.

    Args:
        rows: of ``store.candidates.page``.
        reviewer: who looks; their own decisions are theirs.
        blind: say nothing that a model thinks, or that another reviewer decided.
        orders: the keys of each row's place in the list; by default its rank and its path, of a blind list its path.
    """
    if orders is None:
        orders = [(row["path"],) if blind else (row["rank"], row["path"]) for row in rows]
    ranks = [int(str(row["rank"])) for row in rows]
    found = store.showing.surroundings(audit, [str(row["path"]) for row in rows], ranks)
    pairs = [
        (row, found[str(row["path"])], order) for row, order in zip(rows, orders, strict=True) if row["path"] in found
    ]
    if blind:
        return [_blind(row, around, reviewer, order) for row, around, order in pairs]
    beliefs = [of_row(row) for row, _, _ in pairs]
    shared = _shared_by_all(store, audit)
    return [
        _seen(row, around, belief, reviewer, order, shared)
        for (row, around, order), belief in zip(pairs, beliefs, strict=True)
    ]


def _shared_by_all(store: Store, audit: str) -> _Audit:
    where = str(store.directory), audit
    if where not in _shared:
        _shared[where] = _Audit(store.showing.exemplars(audit, _TYPICAL), store.showing.class_sizes(audit))
    return _shared[where]


def _seen(
    row: Row, around: Surroundings, belief: Belief, reviewer: str, order: tuple[object, ...], shared: _Audit
) -> Suspect:
    given = belief.given
    verdict = judge(facts_of(row, around, belief))
    names = names_on_card(around, belief)
    own = in_percent(belief.of(given))
    size = size_of(row)
    drawing: Map | None = None
    if around.evidence is not None:
        ends = (around.evidence.for_label, around.evidence.against_label)
        # Named as on the rest of the card; the model's own class for a picture of none of these has no other name.
        of_map = names_of([end for end in ends if end]) | dict(names)
        called = (of_map[ends[0]], of_map[ends[1]])
        drawing = drawn(around.evidence, called, size, own, verdict.remark)
    headline, reason = verdict.headline, verdict.reason
    case = verdict.case
    if around.stands is not None:
        who = "you" if around.stands.reviewer == reviewer else around.stands.reviewer
        headline = decided(given, around.stands.decision, around.stands.new_label, who)
        case, reason = "decided", (("Another key changes it.", ""),)
    rank = int(str(row["rank"]))
    problem, changed, check = _file(around.place)
    return Suspect(
        path=str(row["path"]),
        rank=rank,
        content_hash=str(row["content_hash"]),
        order=order,
        width=size[0],
        height=size[1],
        blind=False,
        problem=problem,
        given=Name(given, names[given]),
        headline=headline,
        reason=reason,
        case=case,
        primary=_letter(verdict, belief),
        classes=tuple(_likely(label, probability, belief, names) for label, probability in belief.with_keys),
        actions=_actions(belief, names),
        notice=verdict.notice,
        map=drawing,
        no_map="" if drawing else _no_map(around.no_map),
        typical=typical(belief, names, shared.typical, shared.sizes),
        similar=similar(around.near, belief, names),
        decision=said(around.stands, reviewer),
        seen=around.seen,
        conflict=_conflict(around.dispute),
        tags=around.tags,
        facts=" · ".join([f"Rank {rank:,}", f"label wrong: {in_percent(1 - belief.of(given))}", *_pixels(size)]),
        changed=changed,
        check=check,
        copies=tuple(Copy(copy.path, copy.seen) for copy in around.copies),
        annotation=_annotation(str(row["path"]), around.place),
    )


def _blind(row: Row, around: Surroundings, reviewer: str, order: tuple[object, ...]) -> Suspect:
    given = str(row["given_label"])
    name = names_of([given])[given]
    mine = around.stands if around.stands is not None and around.stands.reviewer == reviewer else None
    verdict = filed_as(given)
    headline = verdict.headline if mine is None else decided(given, mine.decision, mine.new_label, "you")
    size = size_of(row)
    problem, changed, check = _file(around.place)
    return Suspect(
        path=str(row["path"]),
        rank=0,
        content_hash=str(row["content_hash"]),
        order=order,
        width=size[0],
        height=size[1],
        blind=True,
        problem=problem,
        given=Name(given, name),
        headline=headline,
        reason=(),
        case=verdict.case,
        primary=None,
        classes=(),
        actions={**_KEYS, "K": Action("keep", None, "It is right")},
        notice=(),
        map=None,
        no_map="",
        typical=(),
        similar=None,
        decision=said(mine, reviewer),
        seen=around.seen,
        conflict="",
        tags=(),
        facts=" · ".join(_pixels(size)),
        annotation=_annotation(str(row["path"]), around.place),
        changed=changed,
        check=check,
    )


def _letter(verdict: Verdict, belief: Belief) -> str | None:
    if verdict.primary is None:
        return None
    return {belief.given: "K", NONE: "X"}.get(verdict.primary, "A")


def _likely(label: str, probability: float, belief: Belief, names: Mapping[str, str]) -> Likely:
    role = "given" if label == belief.given else "other" if label == belief.other else ""
    decision, new_label = "relabel", label
    if label == belief.given:
        return Likely(label, names[label], probability, in_percent(probability), role, "keep", None)
    if label == NONE:
        return Likely(label, names[label], probability, in_percent(probability), role, "remove", None)
    return Likely(label, names[label], probability, in_percent(probability), role, decision, new_label)


def _actions(belief: Belief, names: Mapping[str, str]) -> dict[str, Action]:
    other = next((label for label, _ in belief.others if label), None)
    if other is None:
        return dict(_KEYS)
    return {"A": Action("relabel", other, f"Relabel to {names.get(other, short_name(other))}"), **_KEYS}


def said(entry: Entry | None, reviewer: str) -> Said | None:
    """An entry of the log for a client; ``decision`` may be ``undo``."""
    if entry is None:
        return None
    name = short_name(entry.new_label) if entry.new_label else ""
    mine = entry.reviewer == reviewer
    new_label = entry.new_label or None
    return Said(entry.decision_id, entry.decision, new_label, name, entry.reviewer, mine, entry.decided_at, entry.note)


def _conflict(words: Sequence[Entry]) -> str:
    if not words:
        return ""
    return disagreement(
        [(word.reviewer, word.decision, short_name(word.new_label) if word.new_label else "") for word in words]
    )


def _no_map(reason: str) -> str:
    if not reason:
        return "No map was made of this picture. The probability does not need it."
    return f"No map for this picture: {reason.rstrip('.')}. The probability does not need it."


def _file(place: Place | None) -> tuple[str, str, bool]:
    """Of a picture's file why it cannot be shown, a sentence where it is another by now, and whether that is open."""
    if place is None:
        return "", "", False
    state = freshness.state(place)
    problem = missing(place) if state == "gone" and not is_kept(place.content_hash) else ""
    return problem, freshness.SENTENCES[state], state == "unknown"


def _annotation(path: str, place: Place | None) -> str:
    """The id of the box that a picture is; "" where it is a whole one."""
    part = box_path(path) if place is not None and whole_picture(place.address) != place.address else None
    return "" if part is None else part.annotation


def _pixels(size: tuple[int, int]) -> list[str]:
    return [f"{size[0]:,} × {size[1]:,} pixels"] if all(size) else []
