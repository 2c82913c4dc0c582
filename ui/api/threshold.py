"""What a threshold would take of a list's undecided pictures, and what is to be expected of relabelling those."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from gradattn_core import belief
from gradattn_core.store.candidates import CandidateFilter
from gradattn_core.store.chances import Chances, Followed
from gradattn_core.store.proof import SpotCheck
from gradattn_core.verdict import Rich
from gradattn_core.wording import count_of
from ui.api.answers import Asked, get
from ui.api.filters import open_list

LEAST = 50
"""Percent: a suggestion that is less likely than this is never one of many."""
NOTHING_DECIDED = Followed(np.empty(0), np.empty(0, bool))
Sums: TypeAlias = tuple[float, float, float]
"""What chances add up to: suggestions that are right, labels that are spoilt, and what is wrong either way."""
_BIN = 2
_COMPARED = (65, 90)


@dataclass(frozen=True, slots=True)
class Step:
    """What relabelling all pictures above a threshold would do.

    Attributes:
        at: the threshold in percent; ``text`` as it is said.
        count: undecided pictures whose suggestion is at least so likely.
        share: the count in words; ``expected`` what is to be expected, as segments, and ``belief`` how far that is
            known.
        relabel: the text of the button.
        supported: past decisions at these probabilities allow that many are decided as one.
    """

    at: int
    text: str
    count: int
    share: str
    expected: Rich
    belief: str
    relabel: str
    supported: bool


@dataclass(frozen=True, slots=True)
class Histogram:
    """The undecided pictures of a list by the probability of their suggestion.

    Attributes:
        bins: counts of 2 percent each, the first from 50 to 52 %.
        steps: one for each percent from 50 to 99.
        above: how many there are, in words.
        undecided: of the list, below 50 % too.
        check: whether a random check has tested what the audit believes, as a sentence.
    """

    bins: tuple[int, ...]
    steps: tuple[Step, ...]
    above: str
    undecided: int
    check: str


def histogram(asked: Asked) -> object:
    """``GET histogram``: the undecided of a list, and what each threshold would do."""
    filters = undecided(open_list(asked).filters)
    store, audit = asked.store, asked.audit
    chances, evidence = store.proposals.of(audit, **filters), store.proposals.followed(audit)
    return asdict(by_threshold(chances, evidence, _tested(store.draws.checked(audit))))


def undecided(filters: CandidateFilter) -> CandidateFilter:
    """What of a list is undecided: nothing of one that shows decided pictures alone."""
    if filters.get("decided", "no") in ("no", "any"):
        return filters | CandidateFilter(decided="no")
    return filters | CandidateFilter(decided="no", paths=())


def by_threshold(chances: Chances, evidence: Followed, check: str = "") -> Histogram:
    """The histogram of undecided pictures, and what relabelling those above each threshold would do."""
    order = np.argsort(-chances.suggested, kind="stable")
    right, own = chances.suggested[order], chances.given[order]
    # From the most likely suggestion down: what the first so many of them add up to.
    sums = np.zeros((len(right) + 1, 3))
    np.cumsum(np.stack([right, own, np.clip(1 - right - own, 0, None)], axis=1), axis=0, out=sums[1:])
    above = {at: int((right >= at / 100).sum()) for at in range(LEAST, 100)}
    expected = {at: _three(sums[count]) for at, count in above.items()}
    counts, _ = np.histogram(right, np.arange(LEAST, 101, _BIN) / 100)
    rest = len(right) - above[LEAST]
    words = f"{above[LEAST]:,} undecided above {LEAST}%"
    if rest:
        words += f"; the other {rest:,} {'is' if rest == 1 else 'are'} not for bulk"
    steps = (
        step_of(at, count, expected[at], evidence, f"above {at}%", _compared(at, above, expected))
        for at, count in above.items()
    )
    return Histogram(tuple(int(count) for count in counts), tuple(steps), words, len(right), check)


def step_of(at: int, count: int, sums: Sums, evidence: Followed, of: str, compared: str) -> Step:
    right, spoilt, neither = in_tenths(sums, count)
    followed, decided, low, high = _above(evidence, at / 100)
    said = (("Expected: ", ""), (f"{right} right", "strong"), (" · ", ""), (spoilt, "strong"))
    rest = ((" right labels spoilt · ", ""), (neither, "strong"), (" wrong either way", ""))
    support = belief.support(followed, decided, low, high, count) if count else ""
    return Step(
        at=at,
        text=f"{at}%",
        count=count,
        share=f"{count_of(count, 'picture')} {of}",
        expected=(*said, *rest),
        belief=f"{support} {compared}".strip(),
        relabel=f"Relabel the {count:,} {of}…",
        supported=belief.is_supported(followed, decided),
    )


def _tested(check: SpotCheck | None) -> str:
    """What a random check says of the audit's own probabilities."""
    if check is None or not check.total.checked:
        return "No random check has tested them yet."
    return f"A random check found {check.total.wrong:,} of {check.total.checked:,} labels wrong."


def _three(sums: NDArray[np.float64]) -> Sums:
    return float(sums[0]), float(sums[1]), float(sums[2])


def _above(evidence: Followed, least: float) -> tuple[int, int, float, float]:
    """(followed, decided, least, greatest chance) of the decisions whose suggestion was at least so likely."""
    at = evidence.chances >= least
    chances = evidence.chances[at]
    ends = (float(chances.min()), float(chances.max())) if chances.size else (math.nan, math.nan)
    return int(evidence.followed[at].sum()), int(at.sum()), *ends


def _compared(at: int, above: Mapping[int, int], expected: Mapping[int, Sums]) -> str:
    """What another threshold would do: ``At 65% it would be 14: 12.4 right, 1.1 spoilt.``"""
    other = next(each for each in _COMPARED if each != at)
    count = above[other]
    if count in (0, above[at]):
        return ""
    right, spoilt, _ = in_tenths(expected[other], count)
    return f"At {other}% it would be {count:,}: {right} right, {spoilt} spoilt."


def in_tenths(sums: Sequence[float], whole: int) -> tuple[str, ...]:
    """Numbers that add up to ``whole``, to one decimal: as they are printed they add up too."""
    *first, last = (max(0, math.floor(10 * total + 0.5)) for total in sums)
    *first, last = *first, 10 * whole - sum(first)
    if last < 0:
        largest = first.index(max(first))
        first[largest], last = first[largest] + last, 0
    return tuple(f"{tenths / 10:,.1f}" for tenths in (*first, last))


ROUTES = [get("histogram", histogram)]
