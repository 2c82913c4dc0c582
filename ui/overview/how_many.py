"""How many labels are wrong: what the model believes, what was measured, and how far the review is."""

from __future__ import annotations

import math

import streamlit as st

from gradattn_core.estimates import percent
from gradattn_core.store.audits import Audit
from gradattn_core.store.proof import SpotCheck, Until
from gradattn_core.store.review import ReviewProgress
from gradattn_core.wording import estimate, interval, rough_number, sentence
from ui import components
from ui.components import plain

_SHARE = 0.01


def show(summary: Audit, review: ReviewProgress) -> None:
    """The numbers in a row, and below them in sentences which of them are belief and which were measured."""
    audit, store = summary.audit_id, components.store()
    check = store.draws.checked(audit)
    drawn = store.draws.count(audit)
    said = (review.reviewed, review.wrong, review.unsure, drawn)
    until = _until(str(components.directory()), audit, said) if drawn else None
    verdicts = review.wrong + review.right
    precision, low, high = (
        percent(getattr(review, name), counted=True) for name in ("precision", "precision_low", "precision_high")
    )
    believed = (summary.estimated_errors, summary.estimated_low, summary.estimated_high)
    components.numbers(
        {
            "Images": (f"{summary.images:,}", f"{summary.failures:,} unreadable"),
            "Wrong, the model believes": _believed(*believed, "by what is assumed of annotators"),
            **_measured(check),
            "Reviewed": (
                f"{review.reviewed:,}",
                f"{review.suspects_decided:,} of {review.suspects:,} suspects",
            ),
            "Precision so far": (
                precision,
                f"{review.wrong:,} of {verdicts:,} ({low}–{high})" if verdicts else "nothing decided yet",
            ),
            "Left, the model believes": _believed(
                review.estimated_left, review.left_low, review.left_high, "among undecided suspects"
            ),
            **_proved(until),
        }
    )
    plain(sentence(estimate(*believed, images=summary.images, first=0, found=0.0)), "quiet-belief")
    if check is not None:
        plain(sentence(check.sentence), "quiet-check")
    if until is not None:
        plain(sentence(until.sentence), "quiet-proved")


@st.cache_data(ttl=60, max_entries=16, show_spinner=False)
def _until(folder: str, audit: str, said: tuple[int, ...]) -> Until:
    """What is proved of the unseen; ``said`` changes with what it follows from."""
    return components.store().draws.until(audit, _SHARE)


def _believed(wrong: float, low: float, high: float, what: str) -> tuple[str, str]:
    known = math.isfinite(low) and math.isfinite(high)
    return f"about {rough_number(wrong)}", f"{interval(low, high)} {what}" if known else what


def _measured(check: SpotCheck | None) -> dict[str, tuple[str, str]]:
    """What a random check measured, once something was checked."""
    if check is None or not check.total.checked:
        return {}
    total = check.total
    below = f"{total.wrong:,} of {total.checked:,} checked, {100 * check.confidence:g}%"
    return {"Wrong, a random check says": (interval(total.low, total.high), below)}


def _proved(until: Until | None) -> dict[str, tuple[str, str]]:
    """How many are left at most, once drawn pictures have verdicts."""
    if until is None or until.drawn == until.waiting:
        return {}
    below = f"of {until.unseen:,} unseen, {100 * until.confidence:g}%"
    return {"Left at most, proved": (f"{until.high:,}", below)}
