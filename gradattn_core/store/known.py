"""What was known when: the log of decisions and the numbered draws, as the sample that the mathematics ask for.

A draw counts once it has a verdict and so has all that was outside its pool: whatever stood when it was drawn, and the
draws before it. So the sample is the longest beginning of the draws of which all this is known. It may be looked at
after any of them, in whatever order they were answered, because their order is that of the numbers, which is fixed
before anybody answers. Verdicts are those that stand now. What was taken back before a draw was in its pool; what was
taken back after it, and not said again, keeps that draw and the later ones waiting.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from gradattn_core.ranking.certainty import Kind, Sample
from gradattn_core.records import IntArray
from gradattn_core.store.log import Key

Purpose = Literal["spot check", "until"]
"""What a picture was drawn for: a sample of fixed size, or a page of the review that stops by itself."""
WRONG = ("relabel", "remove")


@dataclass(frozen=True, slots=True)
class Drawn:
    """A draw as it is stored: its batch was drawn at once, after decision ``after``, and it itself from ``pool``.

    Attributes:
        expected: the mean suspicion of what the batch was drawn from.
    """

    key: Key
    number: int
    batch: int
    purpose: Purpose
    pool: int
    expected: float
    after: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """When something stood about a picture, and what stands now.

    Attributes:
        spans: (first decision, the undo after which nothing stood) of each time; the last may be open: None.
        decision: that stands, None where none does.
    """

    spans: tuple[tuple[int, int | None], ...]
    decision: str | None

    @property
    def since(self) -> int:
        """The decision since which the picture counts as reviewed, without a break."""
        return self.spans[-1][0]

    def stood(self, after: int) -> bool:
        """Whether something stood right after that decision of the log."""
        return any(begun <= after and (ended is None or after < ended) for begun, ended in self.spans)


def replay(log: Iterable[tuple[str, str, int, str]]) -> dict[Key, Verdict]:
    """The verdicts of a log: ``content_hash, given_label, sequence, decision``, in the order of the sequence."""
    stacks: dict[Key, list[str]] = {}
    spans: dict[Key, list[tuple[int, int | None]]] = {}
    for content_hash, given_label, sequence, decision in log:
        key = (content_hash, given_label)
        stack = stacks.setdefault(key, [])
        if decision != "undo":
            if not stack:
                spans.setdefault(key, []).append((sequence, None))
            stack.append(decision)
        elif stack:
            stack.pop()
            if not stack:
                spans[key][-1] = (spans[key][-1][0], sequence)
    return {
        key: Verdict(tuple(spans[key]), stack[-1] if stack else None) for key, stack in stacks.items() if key in spans
    }


@dataclass(frozen=True)
class Known:
    """All that was drawn from an audit's pictures or decided about them.

    Attributes:
        verdicts: by picture; nothing was ever decided about any other.
        draws: in the order of their numbers.
    """

    verdicts: dict[Key, Verdict]
    draws: Sequence[Drawn]

    @cached_property
    def standing(self) -> dict[Key, str]:
        """The decisions that stand, in the order in which the pictures were reviewed."""
        decided = [(verdict.since, key, verdict.decision) for key, verdict in self.verdicts.items() if verdict.decision]
        return {key: decision for _, key, decision in sorted(decided)}

    @cached_property
    def chosen(self) -> list[Key]:
        """The pictures with a verdict that were never drawn, in the order in which they were reviewed."""
        drawn = {draw.key for draw in self.draws}
        return [key for key in self.standing if key not in drawn]

    @property
    def waiting(self) -> list[Drawn]:
        """The draws without a verdict."""
        return [draw for draw in self.draws if draw.key not in self.standing]

    def wrong(self, keys: Iterable[Key]) -> int:
        """How many of these pictures are to be relabelled or removed."""
        return sum(self.standing.get(key) in WRONG for key in keys)

    @cached_property
    def taken_back(self) -> list[Key]:
        """Pictures without a verdict that had one when something was drawn: the draws since then wait for them."""
        marks = sorted({draw.after for draw in self.draws})
        undone = [key for key, verdict in self.verdicts.items() if verdict.decision is None]
        drawn = {draw.key for draw in self.draws}
        return [key for key in undone if key not in drawn and any(map(self.verdicts[key].stood, marks))]

    @cached_property
    def sample(self) -> Sample:
        """The longest beginning of the draws of which all is known; *unsure* counts as wrong."""
        return self._sample(("keep",))

    @cached_property
    def clear_sample(self) -> Sample:
        """The same, but *unsure* counts as right."""
        return self._sample(("keep", "unsure"))

    def _sample(self, right: Sequence[str]) -> Sample:
        answers = [self.standing.get(draw.key) for draw in self.draws]
        wrong = np.array([answer is not None and answer not in right for answer in answers], bool)
        after = np.array([draw.after for draw in self.draws], np.int64)
        mistaken, unknown = self._outside(after, right)
        open_ = np.array([answer is None for answer in answers], bool)
        known = mistaken + np.cumsum(wrong) - wrong
        waits = np.flatnonzero(open_ | (unknown > 0))
        end = int(waits[0]) if len(waits) else len(wrong)
        pool = np.array([draw.pool for draw in self.draws], np.int64)
        expected = np.array([draw.expected for draw in self.draws], float)
        return Sample(wrong[:end], pool[:end], known[:end], expected[:end])

    def _outside(self, after: IntArray, right: Sequence[str]) -> tuple[IntArray, IntArray]:
        """[draws] how many pictures that stood then, by choice, are wrong, and of how many it is not known now."""
        drawn = {draw.key: draw.after for draw in self.draws}
        begins, ends = [], []
        for key, verdict in self.verdicts.items():
            weight = (int(verdict.decision not in (None, *right)), int(verdict.decision is None))
            for begun, ended in verdict.spans:
                if key not in drawn or begun <= drawn[key]:
                    begins.append((begun, *weight))
                    if ended is not None:
                        ends.append((ended, *weight))
        begun_, ended_ = _counted(begins, after), _counted(ends, after)
        return begun_[0] - ended_[0], begun_[1] - ended_[1]

    def last_page(self, size: int) -> tuple[Kind, int]:
        """Where the last page of a review came from, and how many of it were wrong.

        Suspects, until so many pictures were chosen since the last random page was drawn; before any, a page of which
        all were wrong.
        """
        pages = [draw for draw in self.draws if draw.purpose == "until"]
        newest = [draw for draw in pages if draw.batch == pages[-1].batch]
        chosen = [key for key in self.chosen if not newest or self.verdicts[key].since > newest[0].after]
        if len(chosen) >= size:
            return "suspects", self.wrong(chosen[-size:])
        if newest:
            return "random", self.wrong(draw.key for draw in newest)
        return "suspects", size

    def history(self, points: int) -> list[tuple[int, Sample, int, int, int]]:
        """The review so far, at so many moments at most, the last one now.

        Returns:
            of each: how many pictures were reviewed, the sample as it was then, and how many of the reviewed are
            wrong, unsure and right.
        """
        answered = np.array([self.verdicts[draw.key].since for draw in self.draws[: len(self.sample)]], np.int64)
        latest = np.maximum.accumulate(answered) if len(answered) else answered
        keys = list(self.standing)
        moments = np.unique(np.linspace(0, len(keys), min(points, len(keys) + 1)).round().astype(int))
        said: Counter[str] = Counter()
        result, before = [], 0
        for moment in moments.tolist():
            said.update(self.standing[key] for key in keys[before:moment])
            before = moment
            now = self.verdicts[keys[moment - 1]].since if moment else 0
            drawn = int(np.searchsorted(latest, now, side="right"))
            wrong = sum(said[each] for each in WRONG)
            result.append((moment, self.sample.first(drawn), wrong, said["unsure"], said["keep"]))
        return result


def _counted(events: Sequence[tuple[int, int, int]], moments: IntArray) -> tuple[IntArray, IntArray]:
    """[moments] the sums of both weights of the events ``(when, weight, weight)`` up to each moment."""
    table = np.array(sorted(events), np.int64).reshape(-1, 3)
    sums = np.vstack([np.zeros((1, 2), np.int64), np.cumsum(table[:, 1:], axis=0)])
    place = np.searchsorted(table[:, 0], moments, side="right")
    return sums[place, 0], sums[place, 1]
