"""Lists of suspects, one suspect, how far the review is, and the classes of a dataset: what a client asks."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby

from gradattn_core.store.store import Store
from gradattn_core.wording import gloss, short_name
from ui.api.answers import Absent, Asked, get, post
from ui.api.cards import rows_of
from ui.api.filters import ListQuery, list_query
from ui.api.shapes import Suspect
from ui.api.suspect import suspects
from ui.api.whereabouts import whereabouts

# Who goes through what was drawn, in the order in which they came to this process.
_turns: dict[tuple[str, str, str], dict[str, int]] = {}
_MOST_TURNS = 1_000
_NO_RANK = 2**53 - 1  # beyond every rank, and a whole number in JavaScript too


@dataclass(frozen=True)
class Stretch:
    """Some images of a list in its order, and how many it has.

    Attributes:
        total: images of the list, of which ``decided`` have a standing decision and ``left`` have none.
        more: whether there are images after the last of these.
        outside: undecided suspects that the filters leave out; told only where nothing is left inside, else 0.
    """

    suspects: Sequence[Suspect]
    total: int
    decided: int
    left: int
    more: bool
    outside: int


def stretch(asked: Asked) -> Stretch:
    """``GET`` or ``POST list``: the next images of a list."""
    query, reviewer = list_query(asked), asked.text("reviewer", "")
    if query.name in ("spot check", "until"):
        return _drawn(asked, query, reviewer)
    store, audit = asked.store, asked.audit
    found = store.candidates.stretch(
        audit,
        order=query.order,
        after=query.after,
        at=query.path if query.after is None else None,
        count=query.count,
        held=query.held,
        **query.filters,
    )
    # Their rank would be a hint, and in the order of a blind list nothing hangs on it.
    places = [(*place[:-2], _NO_RANK, place[-1]) for place in found.places] if query.blind else found.places
    shown = suspects(store, audit, rows_of(found.rows), reviewer, blind=query.blind, orders=places)
    whereabouts.expect(store, audit, _pictures(shown))
    return Stretch(shown, found.total, found.decided, found.left, found.more, found.outside)


def one(asked: Asked) -> Suspect:
    """``GET suspect``: one image, whatever list it is in; blind where the list is, or once was, drawn at random."""
    store, audit, path, reviewer = asked.store, asked.audit, asked.text("path"), asked.text("reviewer", "")
    rows = rows_of(store.candidates.page(audit, paths=[path]))
    if not rows:
        raise Absent("This audit ranked no such picture.")
    name = asked.text("list", "suspects") or "suspects"
    blind = name in ("spot check", "second look") or (name == "until" and path in store.draws.drawn(audit))
    found = suspects(store, audit, rows, reviewer, blind=blind)
    whereabouts.expect(store, audit, _pictures(found))
    return found[0]


def progress(asked: Asked) -> Mapping[str, object]:
    """``GET progress``: how far the review of an audit is, and how fast the reviewer is who asks."""
    return progress_json(asked, asked.text("reviewer", ""))


def progress_json(asked: Asked, reviewer: str) -> Mapping[str, object]:
    """The numbers that follow each decision; a number that is not known is null.

    Beside those of :class:`gradattn_core.store.review.ReviewProgress` stand ``today``, the reviewer's decisions since
    midnight in UTC, and ``rate``, the pace of the newest in words, empty where there are too few.
    """
    facts = asdict(asked.store.review.progress(asked.audit))
    own = [pace for pace in asked.store.tally.pace() if pace.reviewer == reviewer]
    today, rate = (own[0].today, own[0].a_minute) if own else (0, None)
    numbers = {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in facts.items()}
    return {**numbers, "today": today, "rate": "" if rate is None else _rate(rate)}


def _rate(a_minute: float) -> str:
    return f"{a_minute:,.0f} a minute" if a_minute >= 1 else "less than one a minute"


def classes(asked: Asked) -> Sequence[Mapping[str, str]]:
    """``GET classes``: label, name for people, and what tells classes of one name apart."""
    labels = asked.store.audits.classes(asked.audit)
    names = {label: short_name(label) for label in labels}
    often = Counter(names.values())
    return [
        {"label": label, "name": name, "group": gloss(label) if often[name] > 1 else ""}
        for label, name in names.items()
    ]


ROUTES = [
    get("list", stretch),
    post("list", stretch),
    get("suspect", one),
    get("progress", progress),
    get("classes", classes),
]


def _pictures(shown: Sequence[Suspect]) -> Iterator[str]:
    """The paths of all pictures that come with suspects."""
    for suspect in shown:
        yield suspect.path
        strips = [strip.pictures for strip in suspect.typical] + ([suspect.similar.pictures] if suspect.similar else [])
        yield from (small.path for strip in strips for small in strip)


def _drawn(asked: Asked, query: ListQuery, reviewer: str) -> Stretch:
    """Pictures that the store names, in its order; what was drawn at random is blind.

    Of ``until`` it is the page that comes next now: what waits for a verdict, else what is drawn or most suspect.
    """
    store, audit = asked.store, asked.audit
    order: Sequence[str]
    if query.name == "spot check":
        paths, blind = store.draws.waiting(audit, "spot check"), True
        order = store.draws.drawn(audit, "spot check")
        total, left = len(order), len(paths)
    else:
        kind, order = _page_of_until(store, audit, query.share)
        undecided = {row["path"] for row in rows_of(store.candidates.page(audit, paths=order, decided="no"))}
        paths, blind = [path for path in order if path in undecided], kind == "random"
        total, left = len(order), len(paths)
    begin = _begin((str(store.directory), audit, query.name), reviewer, len(order))
    at = {path: (number - begin) % len(order) for number, path in enumerate(order)}
    after = at.get(str(query.after[-1]), -1) if query.after else -1
    ahead = sorted((path for path in paths if at[path] > after and path not in query.held), key=at.__getitem__)
    if query.path is not None and query.after is None:
        ahead = [query.path, *(path for path in ahead if path != query.path)]
    some = ahead[: query.count]
    rows = {str(row["path"]): row for row in rows_of(store.candidates.page(audit, paths=some))}
    # Once drawn at random, always blind: one may come back to it, and change what was said.
    once = set(store.draws.drawn(audit)) if query.path in some else set()
    found = [
        suspect
        for hidden, same in groupby((path for path in some if path in rows), lambda path: blind or path in once)
        for suspect in suspects(store, audit, [rows[path] for path in same], reviewer, blind=hidden)
    ]
    # Whoever decided while this was read has been seen by nobody here: what a blind reviewer says must not replace it.
    still = {row["path"] for row in rows_of(store.candidates.page(audit, paths=some, decided="no"))}
    found = [suspect for suspect in found if suspect.path in still or suspect.path == query.path]
    whereabouts.expect(store, audit, _pictures(found))
    return Stretch(found, total, total - left, left, len(ahead) > len(some), 0)


def _begin(where: tuple[str, str, str], reviewer: str, drawn: int) -> int:
    """Where in what was drawn a reviewer begins: the second in its middle, two more between them, and so on."""
    turns = _turns.setdefault(where, {})
    turn = turns.setdefault(reviewer, len(turns)) if reviewer and len(turns) < _MOST_TURNS else 0
    # The digits of the turn backwards, as a share: 0, 1/2, 1/4, 3/4, 1/8 …
    share = sum(0.5 ** (digit + 1) for digit in range(turn.bit_length()) if turn >> digit & 1)
    return int(share * drawn)


def _page_of_until(store: Store, audit: str, share: float) -> tuple[str, Sequence[str]]:
    if store.read_only:
        until = store.draws.until(audit, share)
        return until.kind, until.paths
    return store.draws.next_page(audit, share)
