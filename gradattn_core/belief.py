"""What is thought of a picture, as one probability per class, and what follows from it for one decision and for many.

With s the suspicion and v the voters' probabilities before they look at the given label g,

    P(g) = 1 − s,    P(c) = s · v_c / (1 − v_g) for every other class c.

It adds up to 1. A head with other outputs than the dataset's classes knows one more answer, *none of them*, whose
probability o is a part of s already (``ranking.outside``): P(none) = o, and the other classes share s − o. What
decisions have taught changes s alone; the shares of what may be right instead stay.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real

import numpy as np

from gradattn_core.estimates import percent

PRIMARY = 0.65
"""From this probability on a class is proposed, and the model alone is said to disagree."""
SUPPORTED = 0.95
"""What decisions at the same probabilities must prove of suggestions before many are decided as one: 59 of 59 do."""
DIGITS = 5
"""Classes that have a key."""
NONE = ""
"""The label of none of the dataset's classes."""
_DOUBT = 0.05


@dataclass(frozen=True, slots=True)
class Belief:
    """How likely each class is the right one of a picture, given its label and all that the voters say.

    Attributes:
        given: the given label.
        classes: (label, probability) of the classes that are known by name, the likeliest first, the given one always
            among them; the label ``""`` is none of the dataset's classes. Probabilities are in [0, 1].
        rest: the probability of all other classes together; all add up to 1.
    """

    given: str
    classes: tuple[tuple[str, float], ...]
    rest: float

    def of(self, label: str) -> float:
        """The probability of one class; 0 of one that is not known by name."""
        return next((probability for name, probability in self.classes if name == label), 0.0)

    @property
    def likeliest(self) -> str:
        """The likeliest class, the given one or another."""
        return self.classes[0][0]

    @property
    def others(self) -> tuple[tuple[str, float], ...]:
        """All but the given label, the likeliest first."""
        return tuple(each for each in self.classes if each[0] != self.given)

    @property
    def other(self) -> str | None:
        """The likeliest class but the given one: what is suggested; None where no other is known."""
        return self.others[0][0] if self.others else None

    @property
    def with_keys(self) -> tuple[tuple[str, float], ...]:
        """At most ``DIGITS`` classes, the likeliest first, the given one always among them."""
        first = self.classes[:DIGITS]
        if any(label == self.given for label, _ in first):
            return first
        return (*self.classes[: DIGITS - 1], (self.given, self.of(self.given)))


def believe(
    given: str,
    suspicion: float,
    labels: Sequence[str],
    probabilities: Sequence[float],
    *,
    outside: float = 0.0,
    before: float | None = None,
) -> Belief:
    """The probabilities of all classes from the suspicion and from what the voters say.

    Args:
        suspicion: that the given label is wrong, in [0, 1], as it is in force.
        labels, probabilities: what the voters think before they look at the given label, in any order; what is lacking
            from 1 is of other classes. ``given`` may be absent, its probability is 0 then; ``""`` counts as none.
        outside: o, the probability that the picture is of none of the dataset's classes; it is part of the suspicion.
        before: the suspicion that the audit itself found, where another is in force.
    """
    voters = {label: max(float(share), 0.0) for label, share in zip(labels, probabilities, strict=True)}
    first = suspicion if before is None else before
    none = min(outside / first, 1.0) if first > 0 else 0.0
    voters.pop(NONE, None)
    own = voters.pop(given, 0.0)
    # What the voters leave to other classes than the given one; their sum where rounding has made it the greater.
    wrong = max(1 - outside - own, math.fsum(voters.values()))
    shares = {label: (1 - none) * share / wrong for label, share in voters.items()} if wrong > 0 else {}
    if outside > 0:
        shares[NONE] = none
    parts = {given: 1 - suspicion} | {label: suspicion * share for label, share in shares.items()}
    # Ties keep the voters' order, and of equals the given label comes first.
    classes = sorted(parts.items(), key=lambda each: -each[1])
    return Belief(given, tuple(classes), max(0.0, suspicion * (1 - math.fsum(shares.values()))))


def of_row(row: Mapping[str, object]) -> Belief:
    """The belief about an image from a row of ``Store.candidates.page``, of this version's audits and of earlier ones.

    Args:
        row: ``given_label, suspicion``, the voters' ``likely_labels, likely_probabilities`` or, where an older audit
            has none, ``suggested_…, given_probability`` and ``runner_up_…``; if there are any, ``outside_suspicion``
            and ``audit_suspicion``.
    """
    given, suspicion = str(row["given_label"]), _number(row.get("suspicion"))
    labels, probabilities = row.get("likely_labels"), row.get("likely_probabilities")
    said: dict[str, float] = {}
    if isinstance(labels, Iterable) and isinstance(probabilities, Iterable) and not isinstance(labels, str):
        said = {str(label): float(share) for label, share in zip(labels, probabilities, strict=True)}
    if not said:
        said[given] = _number(row.get("given_probability"))
        for name in ("suggested", "runner_up"):
            label = row.get(f"{name}_label")
            if isinstance(label, str) and (label or name == "suggested"):
                said[label] = _number(row.get(f"{name}_probability"))
    before = row.get("audit_suspicion")
    return believe(
        given,
        suspicion,
        list(said),
        list(said.values()),
        outside=_number(row.get("outside_suspicion")),
        before=None if _absent(before) else _number(before),
    )


def primary(belief: Belief, alone: float | None = None) -> str | None:
    """The class that a picture's primary button stands for; None where nothing is proposed.

    Args:
        alone: what the model alone gives to the given label against ``belief.other``, in [0, 1]; None if not known.
    """
    label = belief.likeliest
    if belief.of(label) < PRIMARY or disagrees(belief, alone):
        return None
    return label


def disagrees(belief: Belief, alone: float | None) -> bool:
    """Whether the model alone says, with ``PRIMARY`` or more, the other one of the given label and ``belief.other``."""
    if alone is None:
        return False
    return (1 - alone if belief.likeliest == belief.given else alone) >= PRIMARY


@dataclass(frozen=True, slots=True)
class Expected:
    """What comes of relabelling pictures each to its own suggestion, if the beliefs are true.

    Attributes:
        right: labels that are wrong now and right then.
        spoilt: labels that are right now and wrong then.
        neither: labels that are wrong either way.
    """

    right: float
    spoilt: float
    neither: float


def expected(beliefs: Iterable[Belief]) -> Expected:
    """What comes of relabelling these pictures to ``other``; their number is the sum of the three."""
    right, spoilt, neither = [], [], []
    for belief in beliefs:
        as_suggested = 0.0 if belief.other is None else belief.of(belief.other)
        own = belief.of(belief.given)
        right.append(as_suggested)
        spoilt.append(own)
        neither.append(max(0.0, 1 - as_suggested - own))
    return Expected(math.fsum(right), math.fsum(spoilt), math.fsum(neither))


@functools.lru_cache(1024)
def at_least(as_suggested: int, decided: int) -> float:
    """The share that suggestions are right at least, with 95 % confidence (Clopper and Pearson's lower bound).

    Args:
        as_suggested: how many of ``decided`` were decided as suggested. 0 for none of none.
    """
    if not as_suggested:
        return 0.0
    # Logarithms of the ways in which at least so many are; only the chance changes below.
    factorials = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, decided + 1)))])
    right = np.arange(as_suggested, decided + 1)
    ways = factorials[decided] - factorials[right] - factorials[decided - right]
    low, high = 0.0, 1.0
    while high - low > 1e-9:
        middle = (low + high) / 2
        so_many = float(np.exp(ways + right * math.log(middle) + (decided - right) * math.log1p(-middle)).sum())
        low, high = (middle, high) if so_many <= _DOUBT else (low, middle)
    return low


def is_supported(as_suggested: int, decided: int) -> bool:
    """Whether decisions at the same probabilities allow that many are decided as one."""
    # 59 of 59 give 95.05 %.
    return at_least(as_suggested, decided) >= SUPPORTED


def support(as_suggested: int, decided: int, low: float, high: float, count: int) -> str:
    """What past decisions at the same probabilities say about relabelling ``count`` pictures, as sentences.

    Args:
        low, high: the least and the greatest probability of the decided suggestions.
    """
    if not decided:
        return "By the audit's own probabilities. Nothing was decided at these probabilities so far."
    ends = [in_percent(end) for end in (low, high)]
    where = f"at {ends[0]}" if ends[0] == ends[1] else f"at {ends[0]} to {ends[1]}"
    were = "was" if decided == 1 else "were"
    said = f"{'all' if decided == as_suggested else f'{as_suggested:,} of them'} as suggested"
    if decided == 1:
        said = "as suggested" if as_suggested else "otherwise"
    wrong = max(1, math.floor((1 - at_least(as_suggested, decided)) * count + 1e-9))
    pictures = f"of the {count:,}" if count != 1 else "of this one"
    return (
        f"By the audit's own probabilities. {decided:,} {were} decided so far {where}, {said}: "
        f"so up to {wrong:,} {pictures} may still be wrong (95%)."
    )


def most_taken_out(wrong: Iterable[float]) -> int:
    """How many of a bulk may be found wrong without a surprise: that more are has a probability below 5 %.

    Args:
        wrong: of each picture the probability that what it is to be decided is wrong, in [0, 1].
    """
    chances = [1.0]
    for chance in wrong:
        shifted = [0.0, *(before * chance for before in chances)]
        chances = [stay * (1 - chance) + come for stay, come in zip([*chances, 0.0], shifted, strict=True)]
    more = 1.0
    for count, chance in enumerate(chances):
        more -= chance
        if more < _DOUBT:
            return count
    return len(chances) - 1


def in_percent(probability: float) -> str:
    """A probability as it is shown: ``<0.1%``, ``2.6%``, ``36%``, ``96.0%``, ``>99.9%``; a dash for NaN."""
    return percent(probability, 0 if 0.1 <= probability <= 0.9 else 1)


def of_two(log_odds: float) -> float:
    """1 / (1 + e^−f), the probability of the first of two classes, without overflow."""
    small = math.exp(-abs(log_odds))
    return 1 / (1 + small) if log_odds > 0 else small / (1 + small)


def _absent(cell: object) -> bool:
    return not isinstance(cell, Real) or math.isnan(cell)


def _number(cell: object) -> float:
    return 0.0 if not isinstance(cell, Real) or math.isnan(cell) else float(cell)
