"""Words for the terminal. Imports no model, so that commands that only read the store answer soon."""

from __future__ import annotations

from rich.control import strip_control_codes
from rich.markup import escape as escape_markup


def escape(text: str) -> str:
    """A label or path as plain text: neither markup nor, with the escape character gone, a terminal's commands."""
    return escape_markup(strip_control_codes(text).replace("\x1b", ""))


def estimate(errors: float, low: float | None, high: float | None, *, images: int, first: int, found: float) -> str:
    """How many labels are wrong, as a sentence: ``about 12 (8 to 16) of 100 labels are wrong; …``.

    Args:
        errors, low, high: the estimate and its interval; None where an older audit has none.
        first, found: reviewing the ``first`` most suspect images finds this share of all wrong labels, 0 to 1.
    """
    interval = "" if low is None or high is None else f" ({low:,.0f} to {high:,.0f})"
    sentence = f"about {errors:,.0f}{interval} of {images:,} labels are wrong"
    return (
        f"{sentence}; reviewing the first {first:,} finds {found:.0%} of them" if first and errors >= 0.5 else sentence
    )
