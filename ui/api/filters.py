"""Which list a request is about: its parameters, parsed once, by the names that pages have in their addresses."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from gradattn_core.kinds import KINDS
from gradattn_core.store.candidates import ORDERS, CandidateFilter
from gradattn_core.store.choice import Place
from gradattn_core.store.log import DECISIONS
from ui.api.answers import Asked, AskedWrongly, is_text

LISTS = ("suspects", "spot check", "until", "second look")
"""What may be reviewed. The first is the default; all others are blind."""
MOST_SUSPECTS = 24
"""Of one answer."""
MOST_CARDS = 192

_DECIDED = ("any", "yes", "no", *DECISIONS)
_NAMES = {
    *("audit", "list", "left", "given", "suggested", "kind", "by", "decided", "least", "most", "contains", "tag"),
    *("part", "overlap", "nobody", "selection", "order", "after", "offset", "path", "count", "held", "as"),
    *("outlines", "reviewer"),
}


@dataclass(frozen=True)
class ListQuery:
    """A stretch of a list.

    Attributes:
        name: of the list, one of ``LISTS``.
        share: for ``until``: what may be left wrong of all labels, in (0, 1).
        filters: keywords of the store's questions. Of a blind list only those that hint at nothing.
        order: a key of ``ORDERS``; of a blind list one that says nothing.
        after: what was answered as the place of the last image held; None for the beginning.
        offset: images to pass over instead, for a pager.
        path: begin with this image, whatever the filters say.
        count: at most so many images.
        held: images not to be sent again.
        outlines: of cards, with the outlines of their strongest parts.
    """

    name: str = "suspects"
    share: float = 0.01
    filters: CandidateFilter = field(default_factory=lambda: CandidateFilter())
    order: str = "rank"
    after: Place | None = None
    offset: int = 0
    path: str | None = None
    count: int = MOST_SUSPECTS
    held: tuple[str, ...] = ()
    outlines: bool = False

    @property
    def blind(self) -> bool:
        """Whether nothing of a model may be told."""
        return self.name != "suspects"


def open_list(asked: Asked, *, also: frozenset[str] = frozenset()) -> ListQuery:
    """:func:`list_query` for an answer that says what a model thinks: a blind list is refused."""
    query = list_query(asked, also=also)
    if query.blind:
        raise AskedWrongly(f"list={_shown(query.name)} is blind: what a model thinks of its pictures is not told")
    return query


def list_query(asked: Asked, *, also: frozenset[str] = frozenset()) -> ListQuery:
    """The list that a request names.

    Args:
        also: names of parameters that a route has beside these.

    Raises:
        AskedWrongly: a parameter is unknown or broken; the message names it.
    """
    given = {name: value for name, value in asked.parameters.items() if value not in (None, "")}
    unknown = sorted(given.keys() - _NAMES - also)
    if unknown:
        raise AskedWrongly(f"{unknown[0]!r} is no parameter of a list")
    form, name = _choice(given, "as", ("suspect", "card"), "suspect"), _choice(given, "list", LISTS, LISTS[0])
    order = _choice(given, "order", tuple(ORDERS), "rank")
    return ListQuery(
        name=name,
        share=_number(given, "left", 1, 1e-4, 50) / 100,
        filters=_filters(given, asked) if name == "suspects" else _blind_filters(given, asked, name),
        order=order if name == "suspects" else "mixed",
        after=_place(given),
        offset=int(_number(given, "offset", 0, 0, 10**9)),
        path=_text(given, "path"),
        count=int(_number(given, "count", MOST_SUSPECTS, 1, MOST_CARDS if form == "card" else MOST_SUSPECTS)),
        held=_texts(given, "held"),
        outlines=asked.flag("outlines"),
    )


def _filters(given: Mapping[str, object], asked: Asked) -> CandidateFilter:
    """A label that is asked for as ``none`` is no class of the dataset."""
    suggested, selection = _text(given, "suggested"), _text(given, "selection")
    return {
        "given": _text(given, "given"),
        "suggested": "" if suggested == "none" else suggested,
        "kind": _choice(given, "kind", tuple(KINDS)) or None,
        "decided": _choice(given, "decided", _DECIDED, "no"),
        "reviewer": _text(given, "by"),
        "min_suspicion": _number(given, "least", 0, 0, 1) if "least" in given else None,
        "max_suspicion": _number(given, "most", 1, 0, 1) if "most" in given else None,
        "path_contains": _text(given, "contains"),
        "selection": selection,
        "everything": selection is not None,
        "tag": _text(given, "tag"),
        "nobody": asked.flag("nobody"),
        **_shared(given),
    }


def _blind_filters(given: Mapping[str, object], asked: Asked, name: str) -> CandidateFilter:
    """What a model thinks would be a hint, and so would be what others decided."""
    if name != "second look":
        return {}
    return {"second_look": asked.reviewer(), "everything": True, "given": _text(given, "given"), **_shared(given)}


def _shared(given: Mapping[str, object]) -> CandidateFilter:
    """``part=2/3``, and what ``overlap`` percent of all pictures everybody has."""
    part = _text(given, "part")
    if part is None:
        return {}
    number, _, of = part.partition("/")
    if not (number.isdecimal() and of.isdecimal() and len(part) < 9 and 1 <= int(number) <= int(of)):
        raise AskedWrongly(f"part={_shown(part)} is no part such as 2/3")
    return {"part": (int(number), int(of)), "overlap": _number(given, "overlap", 0, 0, 100) / 100}


def _choice(given: Mapping[str, object], name: str, choices: tuple[str, ...], default: str = "") -> str:
    value = given.get(name, default)
    if isinstance(value, str) and value in (default, *choices):
        return value
    raise AskedWrongly(f"{name}={_shown(value)} is unknown; choose one of {', '.join(choices)}")


def _text(given: Mapping[str, object], name: str) -> str | None:
    value = given.get(name)
    if value is None:
        return None
    if isinstance(value, str) and is_text(value) and len(value) <= 10_000:
        return value
    raise AskedWrongly(f"{name} is no text, or too long")


def _texts(given: Mapping[str, object], name: str) -> tuple[str, ...]:
    value = _read(given.get(name, []), name)
    if isinstance(value, list) and all(is_text(each) for each in value):
        return tuple(value)
    raise AskedWrongly(f"{name} is no list of texts")


def _number(given: Mapping[str, object], name: str, default: float, least: float, most: float) -> float:
    value = given.get(name, default)
    try:
        number = float(value) if isinstance(value, (str, int, float)) else math.inf
    except (ValueError, OverflowError):
        number = math.inf
    if value is default or least <= number <= most:
        return number
    raise AskedWrongly(f"{name}={_shown(value)} is no number from {least:g} to {most:g}")


def _place(given: Mapping[str, object]) -> Place | None:
    value = _read(given.get("after"), "after")
    if value is None:
        return None
    if isinstance(value, list) and value and all(is_text(each) or _is_number(each) for each in value):
        return tuple(value)
    raise AskedWrongly("after is no place that a list answered with")


def _is_number(value: object) -> bool:
    return isinstance(value, float) or (isinstance(value, int) and abs(value) < 2**63)


def _read(value: object, name: str) -> object:
    """A list, or in an address the JSON of one."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise AskedWrongly(f"{name} is no JSON") from None


def _shown(value: object) -> str:
    return repr(value if len(repr(value)) <= 60 else f"{str(value)[:57]}…")
