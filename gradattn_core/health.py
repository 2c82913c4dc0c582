"""How an audited dataset is, as the summary, the report and the class pairs say it: read from the store, once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pandas as pd

from gradattn_core.estimates import first_to_review, percent
from gradattn_core.records import FloatArray, Unjudged
from gradattn_core.store.audits import Audit
from gradattn_core.store.proof import SpotCheck
from gradattn_core.store.review import ReviewProgress
from gradattn_core.store.store import Store
from gradattn_core.store.unjudged import by_kind
from gradattn_core.wording import STANDS_OUT, belief, count_of, estimate, heaviest_ninth

_EXAMPLES = 3


@dataclass(frozen=True)
class Health:
    """How an audited dataset is.

    Attributes:
        first, expected_found: the ``first`` most suspect images hold this share, 0 to 1, of all that the model believes
            to be wrong.
        check: of ``Store.draws.checked``.
        classes: of ``Store.audits.class_health``.
        kinds: how many suspects there are of each kind of doubt.
        agreeing, measured: of ``Store.audits.measured_regions``.
        not_judged: what could not be used or was passed over.
    """

    audit: Audit
    first: int
    expected_found: float
    classes: pd.DataFrame
    kinds: dict[str, int]
    review: ReviewProgress
    agreeing: int
    measured: int
    not_judged: tuple[Unjudged, ...]
    check: SpotCheck | None

    @property
    def believed(self) -> str:
        """How many labels the model believes to be wrong, in words."""
        audit = self.audit
        return estimate(
            audit.estimated_errors,
            audit.estimated_low,
            audit.estimated_high,
            images=audit.images,
            first=self.first,
            found=self.expected_found,
        )


@dataclass(frozen=True)
class PairReport:
    """A given label, what suspects of it look like, and where to look.

    Attributes:
        expected: how many of the ``suspects`` the model believes to have a wrong label; ``share`` is the suspects' of
            all images of the class.
        lift: how many times more suspects there are than if the two classes had nothing to do with each other.
        where: most of the evidence for the suggested label lies, see :func:`place`.
        suggested_label: empty where the suspects are of no class of the dataset; ``outside_labels`` are then the
            model's own classes for them, the commonest first.
        most_suspect: paths of the most suspect images; ``exemplars`` of sure ones by label.
    """

    given_label: str
    suggested_label: str
    suspects: int
    decided: int
    expected: float
    lift: float
    share: float
    mean_suspicion: float
    where: str
    most_suspect: list[str]
    exemplars: dict[str, list[str]]
    outside_labels: list[str]


def health_of(store: Store, audit_id: str) -> Health:
    """The health of an audited dataset, and how far its review is."""
    audit = store.audits.one(audit_id)
    first = first_to_review(audit.suspects, audit.images)
    return Health(
        audit,
        first,
        store.audits.expected_found(audit_id, first),
        store.audits.class_health(audit_id),
        store.audits.kinds(audit_id),
        store.review.progress(audit_id),
        *store.audits.measured_regions(audit_id),
        by_kind(store.audits.failures(audit_id)),
        store.draws.checked(audit_id),
    )


def review_sentence(review: ReviewProgress) -> str:
    """How far the review is, as a clause that begins with ``review:``."""
    if not review.reviewed:
        return f"review: nothing decided yet, {review.suspects:,} suspects wait"
    sure = math.isfinite(review.precision)
    wrong = f" ({percent(review.precision, counted=True)} of the clear ones were wrong)" if sure else ""
    left = count_of(review.suspects - review.suspects_decided, "undecided suspect")
    return (
        f"review: {review.reviewed:,} decided{wrong}: {review.wrong:,} wrong, {review.right:,} right, "
        f"{review.unsure:,} unsure; {belief(review.estimated_left, review.left_low, review.left_high, of=left)}"
    )


def pair_report(store: Store, audit_id: str, row: Any) -> PairReport:
    """With what there is to see of a row of ``Store.audits.class_pairs``."""
    given, suggested = row.given_label, row.suggested_label
    evidence = store.audits.pair_map(audit_id, given, suggested)
    examples = store.candidates.page(audit_id, given=given, suggested=suggested, top=_EXAMPLES)
    return PairReport(
        given_label=given,
        suggested_label=suggested,
        suspects=row.suspects,
        decided=row.decided,
        expected=row.expected,
        lift=row.lift,
        share=row.share,
        mean_suspicion=row.mean_suspicion,
        where="" if evidence is None else place(evidence),
        most_suspect=list(examples["path"]),
        exemplars={
            label: list(store.images.exemplars(audit_id, label)["path"]) for label in (given, suggested) if label
        },
        outside_labels=[] if suggested else store.audits.outside_labels(audit_id, given)[:_EXAMPLES],
    )


def place(evidence: FloatArray) -> str:
    """Where most of the evidence for the other class lies, in words.

    Args:
        evidence: [grid height, grid width] signed map; negative speaks for the other class.

    Returns:
        ``upper left``, ``top``, ``middle`` …; ``all over`` where no ninth of the picture holds more than twice its
        share; empty where nothing speaks for the other class.
    """
    heaviest = heaviest_ninth((-evidence).clip(min=0))
    if heaviest is None:
        return ""
    ninth, share = heaviest
    return ninth.name if share >= STANDS_OUT else "all over"
