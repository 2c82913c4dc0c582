"""How the most similar pictures of a suspect are filed, in a sentence that counts suspects among them apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from gradattn_core.belief import NONE, Belief

Pieces: TypeAlias = list[tuple[str, str]]
"""A text as it is put together: pieces and their roles."""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """One of the most similar pictures.

    Attributes:
        label: that it is filed as.
        suspect: it is a suspect itself, or a decision says its label is wrong.
        decision, new_label: what stands about it, ``""`` for nothing.
        similarity: cosine, -1 to 1.
    """

    label: str
    suspect: bool = False
    decision: str = ""
    new_label: str = ""
    similarity: float = 0.0

    @property
    def was_wrong(self) -> bool:
        """Whether a reviewer found its label wrong."""
        return self.decision in ("relabel", "remove")

    @property
    def in_doubt(self) -> bool:
        """Whether it supports nothing: it is wrong, or a suspect that nobody has found right."""
        return self.was_wrong or (self.suspect and self.decision != "keep")


def neighbourhood(neighbours: Sequence[Neighbour], belief: Belief, of: Callable[[str], tuple[str, str]]) -> Pieces:
    """How the most similar pictures are filed: the likelier class first, and what those of the other are worth.

    Args:
        of: from a label to its piece.
    """
    if not neighbours:
        return []
    first, second = belief.given, belief.other
    if belief.likeliest != belief.given:
        first, second = belief.other or belief.given, belief.given
    if first == NONE:
        first, second = belief.given, None
    pieces: Pieces = []
    filed = [each for each in neighbours if each.label == first]
    total = len(neighbours)
    if total == 1:
        pieces += [("The most similar picture is", ""), (" filed as " if filed else " not filed as ", ""), of(first)]
    elif len(filed) == total:
        pieces += [(f"All {total} most similar pictures are filed as ", ""), of(first)]
    else:
        verb = "is" if len(filed) in (0, 1) else "are"
        pieces += [(f"{len(filed) or 'None'} of the {total} most similar pictures {verb} filed as ", ""), of(first)]
    doubtful = sum(each.in_doubt for each in filed)
    if doubtful:
        pieces += [(_doubtful(filed, doubtful), "")]
    if second and not filed and total > 1 and not any(each.label == second for each in neighbours):
        return [*pieces, (" or ", ""), of(second), (".", "")]
    if second:
        pieces += _against([each for each in neighbours if each.label == second], of(second), total)
    return [*pieces, (".", "")]


def _doubtful(filed: Sequence[Neighbour], doubtful: int) -> str:
    wrong = sum(each.was_wrong for each in filed)
    if doubtful == len(filed):
        whom = "it" if doubtful == 1 else "both" if doubtful == 2 else "all of them"
    else:
        whom = "one of them" if doubtful == 1 else f"{doubtful} of them"
    many = doubtful > 1
    if wrong == doubtful:
        what = "were themselves wrong" if many else "was itself wrong"
    elif wrong:
        what = "are in doubt"
    else:
        what = "are suspects themselves" if many else "is a suspect itself"
    return f", but {whom} {what}"


def _against(filed: Sequence[Neighbour], name: tuple[str, str], total: int) -> Pieces:
    """What the neighbours of the less likely class are worth."""
    if not filed:
        return [("; none as ", ""), name] if total > 1 else []
    doubtful, wrong = sum(each.in_doubt for each in filed), sum(each.was_wrong for each in filed)
    if not doubtful:
        return [(f"; {len(filed)} as ", ""), name]
    if len(filed) == 1:
        what = "was itself wrong" if wrong else "is a suspect itself"
        return [("; the only ", ""), name, (f" among them {what}", "")]
    return [(f"; {len(filed)} as ", ""), name, (_doubtful(filed, doubtful), "")]
