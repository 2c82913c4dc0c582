"""The kinds of doubt in words. ``gradattn_core.ranking.rules`` decides which kind a suspect is."""

from __future__ import annotations

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
