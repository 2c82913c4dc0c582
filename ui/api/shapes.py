"""What Review's client is told of a picture, as JSON: frozen dataclasses, written by name.

Texts are made here and in the core, never in the browser. Rich text is a list of (text, role): role ``""`` plain,
``"given"`` and ``"other"`` a name in the colour of its evidence, ``"name"`` any other name, ``"strong"`` stressed.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass

from gradattn_core.verdict import Rich


@dataclass(frozen=True, slots=True)
class Name:
    """A class: its label, as decisions keep it, and what people call it."""

    label: str
    name: str


@dataclass(frozen=True, slots=True)
class Likely:
    """One class of the card, with the digit of its place.

    Attributes:
        label: ``""`` for none of the dataset's classes.
        probability: in [0, 1]; ``text`` is what is shown of it.
        role: ``given``, ``other`` for the one that is suggested, or ``""``.
        decision, new_label: what its digit decides.
    """

    label: str
    name: str
    probability: float
    text: str
    role: str
    decision: str
    new_label: str | None


@dataclass(frozen=True, slots=True)
class Action:
    """What a button decides, and its text."""

    decision: str
    new_label: str | None
    text: str


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the map that is outlined.

    Attributes:
        number: 1 is the strongest.
        sign: +1 red, for the given label; -1 blue, for the other class.
        place: where it lies, such as ``middle left``.
        box: left, top, right, bottom in pixels of the original; cells: its patches, [row, column].
        log_odds: as the map has it, and measured, what hiding it takes away; None where unknown.
        text: ``hide this: garbage truck``; before, after: its probability of the two classes, empty if not measured.
        on_map: the log-odds as shown; hidden: log-odds before and after as shown, empty if not measured.
        contradicted: hiding it does the opposite of what the map says.
    """

    number: int
    sign: int
    place: str
    box: tuple[float, float, float, float]
    cells: tuple[tuple[int, int], ...]
    log_odds: float | None
    measured: float | None
    text: str
    before: str
    after: str
    on_map: str
    hidden: tuple[str, ...]
    contradicted: bool


@dataclass(frozen=True, slots=True)
class Bar:
    """One row of the waterfall: from ``start`` to ``end`` on the axis in log-odds; a point where they are equal.

    Attributes:
        value: as ``text`` shows it; those of the first three rows add up to the last.
        share: in per cent of the two classes, of a point.
    """

    name: str
    start: float
    end: float
    value: float
    text: str
    share: str


@dataclass(frozen=True, slots=True)
class Tick:
    """A line of the waterfall's axis: at these log-odds, called by its share of two classes."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Measuring:
    """What measuring all parts of a picture would take, or has taken.

    Attributes:
        parts: how many of them were measured, as a sentence.
        passes: what the rest costs; empty where nothing is left to measure.
        took: how long it took just now, as ``1.2 s``; empty else.
    """

    parts: str
    passes: str
    took: str = ""


@dataclass(frozen=True, slots=True)
class Map:
    """The signed map as numbers.

    Attributes:
        scores: [rows][columns], positive speaks for the given label; to 4 digits.
        crop: left, top, right, bottom of what the model saw, in pixels of the original.
        for_name, against_name: what its two signs speak for.
        waterfall: empty where the map does not add up; then ``title_note`` says why.
        remark: a sentence on what its parts do, quiet; may be empty.
        measuring: None where the map does not add up, so that no part of it has a number to measure.
    """

    scores: tuple[tuple[float, ...], ...]
    crop: tuple[float, float, float, float]
    for_name: str
    against_name: str
    rows: int
    columns: int
    regions: tuple[Part, ...]
    waterfall: tuple[Bar, ...]
    ticks: tuple[Tick, ...]
    title: str
    title_note: str
    remark: Rich
    measuring: Measuring | None = None


@dataclass(frozen=True, slots=True)
class OtherMap:
    """A map of the same picture by another method, for the same two classes.

    Attributes:
        scores: [rows][columns] to 4 digits; of one that is not signed, none is negative.
        signed: its signs speak for the two classes; else it only says how much a patch matters.
        crop: as of ``Map``; each map has a scale of its own.
        note: publication, properties and cost.
    """

    scores: tuple[tuple[float, ...], ...]
    signed: bool
    crop: tuple[float, float, float, float]
    for_name: str
    against_name: str
    title: str
    note: str


@dataclass(frozen=True, slots=True)
class Small:
    """A small picture.

    Attributes:
        name: of the class it is filed as, with its role.
        suspect: it is a suspect itself; ``state`` is the text of its band then.
    """

    path: str
    content_hash: str
    name: str
    role: str
    suspect: bool
    state: str


@dataclass(frozen=True, slots=True)
class Strip:
    """Typical pictures of a class."""

    name: str
    role: str
    note: str
    pictures: tuple[Small, ...]


@dataclass(frozen=True, slots=True)
class Similar:
    """The pictures most like it, those filed as the given label first; ``more`` of them are beyond the first five."""

    note: str
    pictures: tuple[Small, ...]
    more: int


@dataclass(frozen=True, slots=True)
class Said:
    """The decision that stands.

    Attributes:
        id: of its entry in the log.
        name: of the new label.
        mine: it is that of who asks.
        at: ISO 8601 in UTC.
    """

    id: str
    decision: str
    new_label: str | None
    name: str
    reviewer: str
    mine: bool
    at: str
    note: str


@dataclass(frozen=True, slots=True)
class Copy:
    """An exact copy of a picture that may be decided with it; ``seen`` as of the suspect."""

    path: str
    seen: str


@dataclass(frozen=True, slots=True)
class Suspect:
    """All that Review shows of one picture; of a blind one, nothing that a model says.

    Attributes:
        order: the keys of its place in the list, for ``after``.
        width, height: of the original in pixels, 0 where not known.
        problem: why the picture cannot be shown; empty while nothing is known to be wrong.
        changed: a sentence where its file is not the one that the audit saw, empty else.
        copies: its other exact copies, where one of all is filed under another label; of a blind one, none.
        check: only the file's content tells whether it is: ``changed`` is to be asked once the picture is fetched.
        case: of ``gradattn_core.verdict``.
        primary: ``A``, ``K``, ``X`` or None.
        classes: at most five, the likeliest first, the given one among them; digit n decides for the n-th.
        actions: what the keys ``A``, ``K``, ``U`` and ``X`` decide; without ``A`` where no other class is known.
        notice: an amber sentence, or nothing.
        no_map: why there is no map.
        seen: id of the newest entry of the log about this picture, ``""`` for none.
        conflict: who said what where reviewers differ.
        facts: rank, path and size on one line.
        annotation: id of the box that the picture is of another one, ``""`` where it is a whole one.
    """

    path: str
    rank: int
    content_hash: str
    order: tuple[object, ...]
    width: int
    height: int
    blind: bool
    problem: str
    given: Name
    headline: Rich
    reason: Rich
    case: str
    primary: str | None
    classes: tuple[Likely, ...]
    actions: dict[str, Action]
    notice: Rich
    map: Map | None
    no_map: str
    typical: tuple[Strip, ...]
    similar: Similar | None
    decision: Said | None
    seen: str
    conflict: str
    tags: tuple[str, ...]
    facts: str
    changed: str = ""
    check: bool = False
    copies: tuple[Copy, ...] = ()
    annotation: str = ""


# `for` is a word of Python's.
_NAMES = {"for_name": "for", "against_name": "against"}


def plain(shape: object) -> dict[str, object]:
    """The fields of a dataclass by the names that the client knows.

    Raises:
        TypeError: it is none.
    """
    kind = type(shape)
    if kind not in _named:
        _named[kind] = _names(kind)
    return {name: getattr(shape, field) for name, field in _named[kind]}


# An answer holds thousands of a few kinds.
_named: dict[type, tuple[tuple[str, str], ...]] = {}


def _names(shape: type) -> tuple[tuple[str, str], ...]:
    """The fields of a dataclass as the client knows them, and their own names."""
    if not is_dataclass(shape):
        raise TypeError(f"{shape.__name__} is no shape of an answer")
    return tuple((_NAMES.get(field.name, field.name), field.name) for field in fields(shape))
