"""Pictures drawn at random, what they prove about all the others, and when a review may stop.

A *picture* here is what decisions are kept by: one content under one given label, however many copies of it there are.
A draw is a picture taken at random from all that nobody had decided, suspects and others alike. It is stored before it
is shown, is valid for whoever answers it, and is never taken back or drawn again: after an undo it waits for another
verdict. Decisions about pictures that were not drawn before are *chosen* ones; they are known, and prove nothing about
the rest. The mathematics stand in :mod:`gradattn_core.ranking.certainty`.

Draws belong to the set of pictures they were taken from. An audit of the very same pictures, by whichever model,
inherits them; in an audit of a changed dataset what was decided is known, and drawing begins anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gradattn_core.records import FloatArray, IntArray
from gradattn_core.store.database import Part

PAGE = 25
"""How many pictures are reviewed before it is asked anew whether suspects or random ones come next."""

Purpose = Literal["spot check", "until"]
"""What a picture was drawn for: a sample of fixed size, or a page of the review that stops by itself."""


@dataclass(frozen=True, slots=True)
class Draw:
    """Pictures that were drawn together.

    Attributes:
        first: the number of the first of them; numbers go on by one, over all draws from these pictures.
        pool: how many pictures nobody had decided or drawn before: what was drawn from.
        paths: one path per picture, in the mixed order to review them in.
    """

    purpose: Purpose
    first: int
    pool: int
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Checked:
    """What a random sample says about the pictures of an audit, or of one class of it.

    Attributes:
        label: the given label, or ``""`` for all classes together.
        pictures: how many there are.
        checked: how many of them were drawn and have a clear verdict; ``wrong`` of these have a wrong label.
        low, high: exact interval of how many of ``pictures`` have a wrong label, those found by choice included.
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
        expected: how many reviews there are left in the mean, if every suspicion were a true probability; NaN where
            the audit has no suspicions.
        history_reviewed, history_found, history_high: [points] the review so far, for a plot: pictures with a verdict,
            wrong ones among them, and what ``high`` was then.
        sentence: where the review stands, or what it has proved.
    """

    kind: Literal["suspects", "random", "done"]
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
    confidence: float
    expected: float
    history_reviewed: IntArray
    history_found: IntArray
    history_high: FloatArray
    sentence: str


class Draws(Part):
    """What is drawn at random, and what follows from it."""

    def spot_check(self, audit_id: str, count: int, *, seed: int | None = None) -> Draw:
        """Draw ``count`` pictures at random from all that nobody has decided or drawn; they are stored on return.

        Args:
            seed: draws the same again from the same pictures, for tests; random where None.

        Raises:
            StoreError: for a count below 1 or beyond what is left; nothing is drawn then.
        """
        raise NotImplementedError

    def waiting(self, audit_id: str, purpose: Purpose | None = None) -> list[str]:
        """Drawn pictures (for ``purpose`` only, or for any) without a verdict, in the mixed order they were drawn in."""
        raise NotImplementedError

    def checked(self, audit_id: str, *, confidence: float = 0.95) -> SpotCheck | None:
        """What the spot checks say so far; None where none was drawn from the pictures of this audit."""
        raise NotImplementedError

    def until(self, audit_id: str, share: float, *, confidence: float = 0.95) -> Until:
        """How far the review is that stops when at most ``share`` of the labels is wrong; changes nothing.

        Raises:
            StoreError: for a share or confidence that is not between 0 and 1.
        """
        raise NotImplementedError

    def next_page(
        self, audit_id: str, share: float, *, confidence: float = 0.95, seed: int | None = None
    ) -> tuple[Literal["suspects", "random", "done"], tuple[str, ...]]:
        """``kind`` and ``paths`` of :meth:`until`, with random pictures drawn and stored where they come next.

        Draws that wait are given out first, to whoever asks, so that no drawn picture is passed over.

        Raises:
            StoreError: as :meth:`until`.
        """
        raise NotImplementedError
