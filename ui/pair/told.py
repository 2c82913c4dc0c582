"""What the page of a class pair is told, as JSON: frozen dataclasses, made by :mod:`ui.api.pair`."""

from __future__ import annotations

from dataclasses import dataclass

from gradattn_core.verdict import Rich
from ui.api.cards import Card
from ui.api.threshold import Step


@dataclass(frozen=True, slots=True)
class PairName:
    """A pair to go to; ``left`` counts its undecided suspects."""

    given: str
    suggested: str
    text: str
    left: int


@dataclass(frozen=True, slots=True)
class Zone:
    """Undecided pictures that are thought the same of: ``given``, ``open`` or ``other``."""

    name: str
    title: str
    count: int
    cards: tuple[Card, ...]


@dataclass(frozen=True, slots=True)
class Dot:
    """An undecided picture on the line from the given class (0) to the other (1)."""

    path: str
    at: float
    zone: str


@dataclass(frozen=True, slots=True)
class Tiny:
    """A small picture with one line on it, or none."""

    path: str
    content_hash: str
    text: str


@dataclass(frozen=True, slots=True)
class Crop:
    """The strongest part of a picture for one class; ``box`` is left, top, right, bottom in pixels of the original."""

    path: str
    content_hash: str
    width: int
    height: int
    box: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Side:
    """A class of the pair: its name, how many pictures are filed as it, and the most certain of them.

    Attributes:
        labels: the model's own classes, where it is none of the dataset's.
    """

    label: str
    name: str
    note: str
    pictures: tuple[Tiny, ...]
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Pair:
    """All that the page of a pair shows.

    Attributes:
        number, of: its place among the audit's pairs, those with the most expected wrong labels first.
        remark: why it is not the pair that was asked for; empty where it is.
        headline, sentence: as rich text.
        undecided: how many suspects are left; ``step`` what a bulk of the surest would do, None where none is sure.
        gap: what is said between the zones where nothing lies there; else empty.
        decided: those that somebody has decided; ``decided_note`` counts them by what was said.
        reverse: the suspects of the other way round.
        blue, red: the strongest parts for the other class and for the given one.
        finished: somebody has called it finished; ``finished_note`` says who, or when it will be.
    """

    given: Side
    other: Side
    remark: str
    number: int
    of: int
    before: PairName | None
    after: PairName | None
    pairs: tuple[PairName, ...]
    headline: Rich
    sentence: Rich
    undecided: int
    zones: tuple[Zone, ...]
    dots: tuple[Dot, ...]
    gap: str
    decided: tuple[Tiny, ...]
    decided_count: int
    decided_note: str
    reverse: tuple[Tiny, ...]
    reverse_count: int
    reverse_note: str
    blue: tuple[Crop, ...]
    red: tuple[Crop, ...]
    step: Step | None
    above: int
    finished: bool
    finished_note: str
