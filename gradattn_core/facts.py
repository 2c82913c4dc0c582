"""From what is stored about a picture to what its verdict is told from; the page, the report and notebooks share it."""

from __future__ import annotations

from collections.abc import Mapping

from gradattn_core.belief import NONE, Belief, of_two
from gradattn_core.neighbourhood import Neighbour
from gradattn_core.reasons import Account, account, on_map, outlined, signed
from gradattn_core.records import Evidence
from gradattn_core.store.showing import Surroundings
from gradattn_core.verdict import Facts, Measured
from gradattn_core.wording import names_of, short_name

Row = Mapping[str, object]
"""One row of ``store.candidates.page``, by column."""


def facts_of(row: Row, around: Surroundings, belief: Belief) -> Facts:
    """What the verdict on a picture is told from.

    Args:
        around: of ``store.showing.surroundings``.
        belief: of ``belief.of_row``, of the same row.
    """
    outside = text_of(row, "outside_label")
    evidence = around.evidence
    lifted = None
    about_pair = _pair_of_map(around, belief, outside)
    if evidence is not None and evidence.hidden is not None and about_pair:
        answer = evidence.sums.log_odds if evidence.sums else evidence.for_logit - evidence.against_logit
        lifted = (answer, evidence.hidden.for_logit - evidence.hidden.against_logit)
    return Facts(
        belief=belief,
        alone=_alone(around, belief, about_pair),
        kind=text_of(row, "kind"),
        numbers=around.kind_numbers,
        neighbours=tuple(
            Neighbour(near.given_label, near.is_suspect, near.decision, near.new_label, near.similarity)
            for near in around.near
        ),
        parts=measured_parts(evidence) if evidence is not None else (),
        lifted=lifted,
        size=size_of(row),
        outside=short_name(outside) if outside else "",
        filed=around.filed,
        mixed=around.mixed,
    )


def measured_parts(evidence: Evidence) -> tuple[Measured, ...]:
    """The outlined parts whose hiding was measured, as far as sentences speak of them."""
    shown = account(evidence)
    if shown is None or evidence.sums is None or not shown.of_two:
        return ()
    answer = shown.sums.log_odds
    parts = []
    for number, region in enumerate(outlined(evidence), start=1):
        if region.measured is None:
            continue
        log_odds = on_map(region, shown, evidence.sums)
        left = answer - region.measured
        told = before_and_after(shown, answer, left)
        parts.append(Measured(number, region.sign, log_odds, signed(log_odds), of_two(answer), of_two(left), told))
    return tuple(parts)


def before_and_after(shown: Account, answer: float, left: float) -> tuple[str, str]:
    """The given label's share of the two classes; log-odds where per cent cannot tell them apart, or there is none."""
    before, after = shown.share(answer), shown.share(left)
    return (signed(answer), signed(left)) if before == after else (before, after)


def names_on_card(around: Surroundings, belief: Belief) -> dict[str, str]:
    """Names of every class that is spoken of beside one picture, told apart, by label."""
    labels = [label for label, _ in belief.with_keys] + [near.given_label for near in around.near]
    labels += [near.new_label for near in around.near if near.new_label]
    return names_of([belief.given, *(label for label in labels if label)]) | {NONE: "none of these classes"}


def size_of(row: Row) -> tuple[int, int]:
    """Width and height of the original in pixels, 0 where not known."""
    width, height = (row.get(name) for name in ("width", "height"))
    return int(str(width or 0)), int(str(height or 0))


def text_of(row: Row, name: str) -> str:
    """A text of the row, ``""`` where there is none."""
    cell = row.get(name)
    return cell if isinstance(cell, str) else ""


def _pair_of_map(around: Surroundings, belief: Belief, outside: str) -> bool:
    """Whether the map is of the given label against the class that is suggested."""
    evidence = around.evidence
    if evidence is None or evidence.objective != "difference" or evidence.for_label != belief.given:
        return False
    return evidence.against_label == (belief.other or outside)


def _alone(around: Surroundings, belief: Belief, about_pair: bool) -> float | None:
    """What the model alone gives to the given label against the suggested class: by the map's own pass, or the head."""
    evidence = around.evidence
    if evidence is not None and about_pair:
        return of_two(evidence.sums.log_odds if evidence.sums else evidence.for_logit - evidence.against_logit)
    own, rival = around.head.get(belief.given), around.head.get(belief.other or "")
    if own is None or rival is None or own + rival <= 0:
        return None
    return own / (own + rival)
