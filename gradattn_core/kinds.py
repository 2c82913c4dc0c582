"""The kinds of doubt in words. ``gradattn_core.ranking.rules`` decides which kind a suspect is."""

from __future__ import annotations

from collections.abc import Mapping

from gradattn_core.estimates import percent

KINDS: dict[str, str] = {
    "mislabel": "The picture shows another class than its label says.",
    "two spellings": "The two labels are spellings of one class.",
    "two objects": "Both classes seem to be in the picture, and the label names only one.",
    "confusable": "The two classes are hard to tell apart here; either label may be right.",
    "out of place": "The picture is unlike the pictures of every class, or shows something else.",
    "duplicate": "The same picture, or nearly the same, is in the dataset under another label.",
    "nothing to see": "There is next to nothing in the picture.",
}
"""Every kind of doubt, with one sentence for people."""


NONE_OF_THESE = "none of these classes"
"""What a suggestion is called that is no class of the dataset: the empty label."""


def suggestion(label: str, outside: str = "") -> str:
    """A suggested label as it is said: the empty one as ``none of these classes``.

    Args:
        outside: the model's own class for a picture of none of the dataset's, if it is to be named.
    """
    if label:
        return label
    return f"{NONE_OF_THESE}; the model says {outside}" if outside else NONE_OF_THESE


def describe(kind: str, numbers: Mapping[str, float], given: str, suggested: str) -> str:
    """One plain sentence on a suspect's kind of doubt with its numbers in it; labels stand in it as they are.

    ``suggested`` is the model's own class where no class of the dataset is suggested.
    Where a number is missing, the kind's own sentence; empty for no kind.
    """
    try:
        return _SENTENCES[kind](numbers, given, suggested)
    except KeyError:
        return KINDS.get(kind, "")


def _mislabel(numbers: Mapping[str, float], given: str, suggested: str) -> str:
    sure = percent(numbers["suggested_probability"])
    return f"It looks like {suggested} ({sure}) and not like {given} ({percent(numbers['given_probability'])})."


def _two_spellings(numbers: Mapping[str, float], given: str, suggested: str) -> str:
    are = "are" if numbers["same_class"] == 1 else "may be"
    return f"{given!r} and {suggested!r} {are} two spellings of one class; --merge-spellings makes them one."


def _two_objects(numbers: Mapping[str, float], given: str, suggested: str) -> str:
    sure = percent(numbers["hidden_probability"])
    hidden = f"With the part that speaks for {suggested} hidden, the model says {given} ({sure})"
    return f"{hidden}: both may be in the picture."


def _confusable(numbers: Mapping[str, float], given: str, suggested: str) -> str:
    first, second = percent(numbers["given_probability"]), percent(numbers["suggested_probability"])
    if numbers["given_probability"] >= numbers["suggested_probability"]:
        return f"{given} ({first}) is still likelier than {suggested} ({second}), but the judges do not agree."
    return f"{given} ({first}) and {suggested} ({second}) are hard to tell apart here."


def _out_of_place(numbers: Mapping[str, float], given: str, suggested: str) -> str:
    if "outside_suspicion" in numbers:
        sure = percent(numbers["outside_suspicion"])
        return f"It looks like none of this dataset's classes ({sure}); the model says {suggested}."
    share = percent(numbers["more_unlike"])
    return f"It is unlike every class, {suggested} included: only {share} of the unsuspicious pictures lie as far out."


def _duplicate(numbers: Mapping[str, float], given: str, suggested: str) -> str:
    if numbers.get("identical") == 1:
        return f"The very same file is in the dataset under another label than {given}."
    return (
        f"Nearly the same picture (similarity {numbers['similarity']:.2f}) is in the dataset under another label than "
        f"{given}."
    )


def _nothing(numbers: Mapping[str, float], given: str, suggested: str) -> str:
    detail = percent(numbers["detail"])
    return f"Next to nothing is in it: its busiest parts have a contrast of {detail} of black to white."


_SENTENCES = {
    "mislabel": _mislabel,
    "two spellings": _two_spellings,
    "two objects": _two_objects,
    "confusable": _confusable,
    "out of place": _out_of_place,
    "duplicate": _duplicate,
    "nothing to see": _nothing,
}
