"""What random draws prove: the result of a spot check, and how far a review is that stops by itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeAlias

import numpy as np

from gradattn_core.estimates import percent
from gradattn_core.ranking.certainty import (
    LEAST_CHECKED,
    PAGE,
    Doubles,
    check_share,
    hypergeometric_interval,
    least_wrong,
    most_wrong,
    simulate,
    suspects_next,
    target,
)
from gradattn_core.records import IntArray
from gradattn_core.store.known import WRONG, Drawn, Known
from gradattn_core.store.log import Key

Next: TypeAlias = Literal["suspects", "random", "done"]

_POINTS = 60  # of a history, at most
_NO_PROOF = 150  # Reviews that are named where an audit has found nothing.
# Reviews that are simulated: of more pictures fewer, as chance evens out and one takes long.
_FUTURES, _FUTURES_OF_MANY, _MANY = 8, 2, 100_000


@dataclass(frozen=True, slots=True)
class Checked:
    """What a random sample says about the pictures of an audit, or of one class of it.

    Attributes:
        label: the given label, or ``""`` for all classes together.
        pictures: how many there are.
        checked: how many of them were drawn and have a clear verdict; ``wrong`` of these have a wrong label.
        low, high: exact interval of how many of ``pictures`` have a wrong label, those found by choice included. What
            was decided since narrows it, or, where it refutes the sample, takes its place.
    """

    label: str
    pictures: int
    checked: int
    wrong: int
    low: int
    high: int


@dataclass(frozen=True, slots=True)
class SpotCheck:
    """What was measured by a random check.

    Attributes:
        drawn: how many pictures were drawn for spot checks; ``waiting`` of them have no verdict yet, and about
            ``unsure`` of them nobody knows: both count as not checked.
        total: of all classes together.
        classes: of each class with enough checked pictures (``certainty.LEAST_CHECKED``), those with most first; each
            interval holds by itself with the same confidence.
        confidence: with which an interval holds.
        sentence: all this in one sentence.
    """

    drawn: int
    waiting: int
    unsure: int
    total: Checked
    classes: tuple[Checked, ...]
    confidence: float
    sentence: str


@dataclass(frozen=True, slots=True)
class Until:
    """How far a review is that goes on until at most a share of the labels is wrong.

    Attributes:
        kind: where the next page comes from: the most ``suspects`` of the undecided, ``random`` ones, or nowhere, as it
            is ``done``.
        paths: of the next page as far as it is known without drawing: the suspects, or the drawn pictures that wait.
            Empty where the next page is still to be drawn (:meth:`Draws.next_page`), and where it is done.
        share: of all pictures that may be left with a wrong label, in (0, 1); these are ``target`` pictures.
        pictures: how many there are; ``reviewed`` have a verdict, of which ``wrong`` are wrong and ``unsure`` unsure.
        unseen: pictures - reviewed.
        drawn: how many of all were ever drawn at random; ``waiting`` of them have no verdict.
        believed: how many of the unseen are wrong as the model believes: the sum of their suspicions.
        high: how many of the unseen are wrong at most, with ``confidence`` at all times together, whatever the
            suspicions are worth. It is done where high + unsure <= target, or where nothing is unseen.
        low: how many of all pictures are wrong at least, in the same sense; ``wrong + high`` is the other end. Both
            ends hold together with ``confidence`` where nothing is unsure; else each does, as one end counts what
            reviewers are unsure of as right and the other as wrong.
        expected: how many reviews there are left in the mean, if every suspicion were a true probability; NaN where
            the audit has no suspicions.
        history_reviewed, history_found, history_high: [points] the review so far, for a plot: pictures with a verdict,
            wrong ones among them, and what ``high`` was then.
        sentence: where the review stands, or what it has proved.
    """

    kind: Next
    paths: tuple[str, ...]
    share: float
    target: int
    pictures: int
    reviewed: int
    wrong: int
    unsure: int
    unseen: int
    drawn: int
    waiting: int
    believed: float
    high: int
    low: int
    confidence: float
    expected: float
    history_reviewed: IntArray
    history_found: IntArray
    history_high: IntArray
    sentence: str


@dataclass(frozen=True)
class Bound:
    """What is proved about the pictures that nobody has reviewed, and what comes next.

    Attributes:
        known: all that was decided about the pictures of the audit and drawn from them.
        pictures: how many there are.
        share: that may be left wrong, in (0, 1).
        confidence: of the bound, at all times together.

    Raises:
        RankingError: for a share or confidence that is not between 0 and 1.
    """

    known: Known
    pictures: int
    share: float
    confidence: float

    def __post_init__(self) -> None:
        check_share("share", self.share)
        check_share("confidence", self.confidence)

    @cached_property
    def said(self) -> Counter[str]:
        """How many pictures have each decision."""
        return Counter(self.known.standing.values())

    @property
    def wrong(self) -> int:
        return sum(self.said[each] for each in WRONG)

    @property
    def unseen(self) -> int:
        return self.pictures - len(self.known.standing)

    @cached_property
    def high(self) -> int:
        """How many unseen pictures are wrong at most."""
        bad = self.wrong + self.said["unsure"]
        return most_wrong(self.known.sample, bad, self.pictures - self.said["keep"], self.confidence) - bad

    @cached_property
    def low(self) -> int:
        """How many of all pictures are wrong at least."""
        most = self.pictures - self.said["keep"] - self.said["unsure"]
        return least_wrong(self.known.clear_sample, self.wrong, most, self.confidence)

    @cached_property
    def owed(self) -> list[Key]:
        """What has to be answered before anything else is drawn: the draws that wait, and what they wait for."""
        return [draw.key for draw in self.known.waiting] + self.known.taken_back

    @cached_property
    def kind(self) -> Next:
        """Where the next page comes from; random pictures that wait come before all others."""
        if self.unseen == 0 or self.high + self.said["unsure"] <= target(self.share, self.pictures):
            return "done"
        if self.owed or not suspects_next(*self.known.last_page(PAGE), self.share):
            return "random"
        return "suspects"

    def told(self, kind: Next, paths: tuple[str, ...], suspicion: Doubles) -> Until:
        """All of it, with the next page and the suspicions of the unseen."""
        moments = self.known.history(_POINTS)
        history = [
            (moment, wrong, most_wrong(sample, wrong + unsure, self.pictures - right, self.confidence) - wrong - unsure)
            for moment, sample, wrong, unsure, right in moments
        ]
        reviewed, found, high = np.array(history, np.int64).T
        return Until(
            kind=kind,
            paths=paths,
            share=self.share,
            target=target(self.share, self.pictures),
            pictures=self.pictures,
            reviewed=len(self.known.standing),
            wrong=self.wrong,
            unsure=self.said["unsure"],
            unseen=self.unseen,
            drawn=len(self.known.draws),
            waiting=len(self.known.waiting),
            believed=float(suspicion.sum()),
            high=self.high,
            low=self.low,
            confidence=self.confidence,
            expected=self._expected(kind, suspicion),
            history_reviewed=reviewed,
            history_found=found,
            history_high=high,
            sentence=self._sentence(),
        )

    def _expected(self, kind: Next, suspicion: Doubles) -> float:
        """Reviews left in the mean of simulated ones, in which every suspicion is the chance to be wrong."""
        if kind == "done":
            return 0.0
        reviews = []
        for future in range(_FUTURES if len(suspicion) < _MANY else _FUTURES_OF_MANY):
            random = np.random.default_rng(future)
            review = simulate(
                suspicion,
                random.random(len(suspicion)) < suspicion,
                self.share,
                random,
                confidence=self.confidence,
                first=kind,
                seen=len(self.known.standing),
                known=self.wrong + self.said["unsure"],
                unsure=self.said["unsure"],
                sample=self.known.sample,
            )
            reviews.append(review.reviews)
        return float(np.mean(reviews))

    def _sentence(self) -> str:
        unsure = self.said["unsure"]
        doubt = f"; reviewers are unsure of {unsure:,} more" if unsure else ""
        if self.unseen == 0:
            return f"All {self.pictures:,} labels were reviewed: {self.wrong:,} were wrong{doubt}"
        if not len(self.known.sample):
            if self.kind == "done":
                all_ = f"all {self.unseen:,} unseen labels" if self.unseen > 1 else "the one unseen label"
                most = target(self.share, self.pictures)
                return f"Even if {all_} were wrong, no more than {most:,} would be left{doubt}"
            return (
                f"No picture that was drawn at random has been reviewed yet, "
                f"so nothing is proved about the {self.unseen:,} unseen labels{doubt}"
            )
        return (
            f"With {100 * self.confidence:g}% confidence at most {self.high:,} of the {self.unseen:,} unseen labels "
            f"{'is' if self.high == 1 else 'are'} wrong{doubt}"
        )


def in_confidence(until: Until) -> str:
    """With which confidence both ends hold: ``95% confidence``, of each by itself where reviewers are unsure."""
    return f"{100 * until.confidence:g}% confidence{' for each end' if until.unsure and until.low else ''}"


def no_proof(pictures: int) -> str:
    """What an audit of so many pictures that has found nothing would need to prove something."""
    if not pictures:
        return "There is no picture to check."
    if pictures <= _NO_PROOF:
        every = "a look at the one picture" if pictures == 1 else f"a look at all {pictures:,} pictures"
        return f"That is no proof: only {every} would be one."
    most = percent(hypergeometric_interval(pictures, _NO_PROOF, 0)[1] / pictures, 1, counted=True)
    words = f"{_NO_PROOF:,} random reviews would show that at most {most} of the labels are wrong"
    return f"That is no proof: {words}, if none of them is."


def spot_check(known: Known, sizes: Mapping[str, int], confidence: float) -> SpotCheck:
    """What the spot checks among the draws say; there is at least one.

    Args:
        sizes: how many pictures each given label has.
    """
    sample = _largest_sample(known)
    clear = [draw.key for draw in sample if known.standing.get(draw.key, "unsure") != "unsure"]
    outside = _outside(known, sample[0])
    answered = Counter(key[1] for key in clear)
    told = [
        _checked(known, label, {label: sizes[label]}, clear, outside, confidence)
        for label, count in answered.most_common()
        if count >= LEAST_CHECKED
    ]
    total = _checked(known, "", sizes, clear, outside, confidence)
    unsure = sum(known.standing.get(draw.key) == "unsure" for draw in sample)
    waiting = len(sample) - len(clear) - unsure
    return SpotCheck(
        len(sample), waiting, unsure, total, tuple(told), confidence, _measured(total, waiting, confidence)
    )


def _checked(
    known: Known, label: str, sizes: Mapping[str, int], clear: Sequence[Key], outside: Sequence[Key], confidence: float
) -> Checked:
    """The exact interval of the classes in ``sizes``: what was in the pool by the draws, all else as it is known."""
    pictures = sum(sizes.values())
    drawn, others = ([key for key in keys if key[1] in sizes] for keys in (clear, outside))
    wrong = known.wrong(drawn)
    low, high = hypergeometric_interval(pictures - len(others), len(drawn), wrong, confidence)
    unclear = sum(known.standing.get(key, "unsure") == "unsure" for key in others)
    found = known.wrong(others)
    # What was decided since is known too.
    by_now = Counter(decision for key, decision in known.standing.items() if key[1] in sizes)
    least, most = sum(by_now[each] for each in WRONG), pictures - by_now["keep"]
    low, high = max(low + found, least), min(high + found + unclear, most)
    # Where it is refuted by now, the sample was one of the few that miss, and only what was found is left to say.
    return Checked(label, pictures, len(drawn), wrong, *((low, high) if low <= high else (least, most)))


def _largest_sample(known: Known) -> list[Drawn]:
    """The spot checks between which nothing was decided by choice; of several such samples the most answered one."""
    drawn = {draw.key: draw.after for draw in known.draws}
    moments = [
        moment
        for key, verdict in known.verdicts.items()
        for span in verdict.spans
        if key not in drawn or span[0] <= drawn[key]
        for moment in span
        if moment is not None
    ]
    order = np.sort(np.array(moments, np.int64))
    samples: dict[int, list[Drawn]] = {}
    for draw in known.draws:
        if draw.purpose == "spot check":
            samples.setdefault(int(np.searchsorted(order, draw.after, side="right")), []).append(draw)

    def answers(sample: Sequence[Drawn]) -> int:
        return sum(known.standing.get(draw.key, "unsure") != "unsure" for draw in sample)

    # Of equals max takes the first, and the newest come last.
    return max(reversed(samples.values()), key=answers)


def _outside(known: Known, first: Drawn) -> list[Key]:
    """The pictures that were not in the pool of a draw: those that had a verdict, and those that were drawn before."""
    drawn = {draw.key for draw in known.draws if draw.number < first.number}
    stood = {key for key, verdict in known.verdicts.items() if verdict.stood(first.after)}
    return [*(drawn | stood)]


def _measured(total: Checked, waiting: int, confidence: float) -> str:
    rest = f"; {waiting:,} of the drawn pictures still wait for a verdict" if waiting else ""
    if not total.checked:
        return f"No drawn picture has a clear verdict yet{rest}"
    low, high = (percent(end / total.pictures, 1, counted=True) for end in (total.low, total.high))
    return (
        f"Of {total.checked:,} pictures drawn at random {total.wrong:,} had a wrong label: with {100 * confidence:g}% "
        f"confidence {total.low:,} to {total.high:,} of all {total.pictures:,} labels are wrong ({low} to {high}){rest}"
    )
