"""What the chips of Review and Grid offer: lists, orders, and the values of filters."""

from __future__ import annotations

from dataclasses import dataclass

from gradattn_core.kinds import KINDS
from gradattn_core.store.candidates import ORDERS
from gradattn_core.store.store import Store

Options = tuple[tuple[str, str], ...]
"""Key, as in the address, and name for people."""

LISTS: Options = (
    ("", "Suspects"),
    ("spot check", "Random check"),
    ("until", "Until at most a share is left"),
    ("second look", "Second look, blind"),
)
_ORDERS = {
    "rank": "Most suspect first",
    "surest": "Surest first",
    "confusable": "Hardest to tell apart first",
    "pair": "By the two classes",
    "similar": "By likeness",
    "path": "By path",
    "decided": "Last decided first",
}
_DECIDED: Options = (
    ("", "Undecided"),
    ("any", "Decided or not"),
    ("yes", "Decided"),
    ("keep", "Label is right"),
    ("relabel", "Relabelled"),
    ("remove", "Removed"),
    ("unsure", "Unsure"),
)


@dataclass(frozen=True, slots=True)
class Choices:
    """What there is to choose from; each by its key in the address and its name.

    Attributes:
        reviewers: everybody who has decided something.
        foreign: something is suggested to be of none of the classes.
    """

    lists: Options
    orders: Options
    kinds: Options
    decided: Options
    reviewers: tuple[str, ...]
    foreign: bool


def choices(store: Store, audit: str) -> Choices:
    """The choices for an audit; ``dataclasses.asdict`` of it is what ``chips.js`` is given."""
    pairs = store.audits.class_pairs(audit)
    return Choices(
        LISTS,
        tuple((key, _ORDERS.get(key, key.capitalize())) for key in ORDERS),
        tuple((kind, kind.capitalize()) for kind in KINDS),
        _DECIDED,
        tuple(store.decisions.reviewers()),
        bool((pairs["suggested_label"] == "").any()),
    )
