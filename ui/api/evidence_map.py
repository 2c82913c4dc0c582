"""A signed map as the client draws it: its numbers, the outlined parts with what hiding them does, its waterfall."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from gradattn_core.facts import before_and_after
from gradattn_core.interpret.groups import measuring_passes
from gradattn_core.interpret.regions import region_masks
from gradattn_core.reasons import Account, account, contradicted, on_map, outlined, signed, without_numbers
from gradattn_core.records import Evidence, FloatArray, Region
from gradattn_core.verdict import Rich
from gradattn_core.wording import part_name
from ui.api.shapes import Bar, Map, Measuring, Part, Tick

_DIGITS = 4
_TICKS = {"0.1%": 0.001, "1%": 0.01, "10%": 0.1, "50%": 0.5, "90%": 0.9, "99%": 0.99, "99.9%": 0.999}
_MOST_TICKS = 5
_MARGIN = 0.5
"""Log-odds beyond the outermost bars in which a tick still helps."""


def drawn(evidence: Evidence, names: tuple[str, str], size: tuple[int, int], probability: str, remark: Rich) -> Map:
    """The map of one picture.

    Args:
        names: what (the given label, the other class) are called.
        size: (width, height) of the upright original in pixels.
        probability: the given label's among all classes, as it is shown.
        remark: of the verdict.
    """
    shown = account(evidence)
    rows, columns = evidence.scores.shape
    masks = region_masks(evidence.scores)
    regions = outlined(evidence)
    bars = () if shown is None else _waterfall(shown)
    note = without_numbers(evidence)
    if shown is not None:
        note = f"{names[0]} against {names[1]} only, in log-odds; with all voters and classes {probability}"
        if not shown.of_two:
            note = f"the model’s output for {names[0]}; with all voters and classes {probability}"
    return Map(
        scores=in_digits(evidence.scores),
        crop=(evidence.crop.left, evidence.crop.top, evidence.crop.right, evidence.crop.bottom),
        for_name=names[0],
        against_name=names[1],
        rows=rows,
        columns=columns,
        regions=tuple(
            _part(number, region, evidence, shown, names, size, masks.get((region.sign, region.rank)))
            for number, region in enumerate(regions, start=1)
        ),
        waterfall=bars,
        ticks=_ticks(bars) if shown is not None and shown.of_two else (),
        title="How the model alone decides",
        title_note=note,
        remark=remark,
        measuring=_measuring(evidence, masks),
    )


def in_digits(scores: FloatArray) -> tuple[tuple[float, ...], ...]:
    """A map [rows, columns] as it is sent."""
    values = scores.astype(np.float64)
    # A power of ten and a whole number are exact, so their quotient is the number that is meant.
    power = 10.0 ** (_DIGITS - 1 - np.floor(np.log10(np.abs(values), where=values != 0, out=np.zeros_like(values))))
    return tuple(map(tuple, (np.round(values * power) / power).tolist()))


def _measuring(evidence: Evidence, masks: Mapping[tuple[int, int], NDArray[np.bool_]]) -> Measuring | None:
    if evidence.sums is None:
        return None
    regions = evidence.statistics.regions
    known = sum(region.measured is not None for region in regions)
    if evidence.numbers == "measured":
        # An answer that is no number leaves a part without one.
        return Measuring(f"{known} of {len(regions)} parts of this picture, and both colours, are measured", "")
    passes = measuring_passes(evidence, masks)
    return Measuring(f"{known} of {len(regions)} parts of this picture are measured", f"{passes} passes")


def _part(
    number: int,
    region: Region,
    evidence: Evidence,
    shown: Account | None,
    names: tuple[str, str],
    size: tuple[int, int],
    inside: np.ndarray[tuple[int, ...], np.dtype[np.bool_]] | None,
) -> Part:
    before, after, number_on_map = "", "", ""
    hidden: tuple[str, ...] = ()
    if shown is not None and evidence.sums is not None and region.log_odds is not None:
        number_on_map = signed(on_map(region, shown, evidence.sums))
        if region.measured is not None:
            answer, left = shown.sums.log_odds, shown.sums.log_odds - region.measured
            hidden = signed(answer), signed(left)
            before, after = before_and_after(shown, answer, left)
    spoken = names[0 if region.sign > 0 else 1]
    box = region.box
    return Part(
        number=number,
        sign=region.sign,
        place=part_name(box, size),
        box=(box.left, box.top, box.right, box.bottom),
        cells=() if inside is None else tuple((int(row), int(column)) for row, column in np.argwhere(inside)),
        log_odds=region.log_odds,
        measured=region.measured,
        text=f"hide this: {names[0]}" if before else f"speaks for {spoken}",
        before=before,
        after=after,
        on_map=number_on_map,
        hidden=hidden,
        contradicted=contradicted(region),
    )


def _waterfall(shown: Account) -> tuple[Bar, ...]:
    top = round(shown.base + shown.red, 2)
    ends = (shown.base, shown.base), (shown.base, top), (top, shown.answer), (shown.answer, shown.answer)
    return tuple(
        Bar(step.name, begin, end, step.value, step.text, step.share)
        for step, (begin, end) in zip(shown.steps(("red", "blue")), ends, strict=True)
    )


def _ticks(bars: tuple[Bar, ...]) -> tuple[Tick, ...]:
    """Shares of two classes between the ends of the bars; the middle ones where there are too many."""
    places = [place for bar in bars for place in (bar.start, bar.end)]
    low, high = min(places) - _MARGIN, max(places) + _MARGIN
    all_ticks = [Tick(float(np.log(share / (1 - share))), text) for text, share in _TICKS.items()]
    ticks = [tick for tick in all_ticks if low <= tick.at <= high]
    if not ticks:
        middle = (low + high) / 2
        ticks = [min(all_ticks, key=lambda tick: abs(tick.at - middle))]
    while len(ticks) > _MOST_TICKS:
        # Every other one, the fifty-fifty among them.
        ticks = [tick for place, tick in enumerate(all_ticks) if tick in ticks and place % 2 == 1]
    return tuple(ticks)
