"""How many labels are wrong: what the audit believes, what random draws have shown, and what was found, on one axis."""

from __future__ import annotations

import math
from dataclasses import dataclass

from gradattn_core.store.proof import SpotCheck, Until, in_confidence, no_proof
from gradattn_core.store.tally import Tally
from gradattn_core.wording import count_of
from ui.launch import read_only
from ui.markup import Markup, link, tag

FIRST_CHECK = 100


@dataclass(frozen=True)
class HowMany:
    """All that is known of how many labels of an audit are wrong.

    Attributes:
        tally: what was found and what is believed.
        check: a random check, if one was drawn.
        until: the review with an end, if one runs: then its bound is the only one that is said.
        a_minute: decisions of whoever looks.
    """

    tally: Tally
    check: SpotCheck | None
    until: Until | None
    a_minute: float

    @property
    def bounds(self) -> tuple[int, int] | None:
        """Between how many and how many labels are wrong in all, with 95 % confidence; None before any draw."""
        if self.until is not None:
            return self.until.low, self.until.wrong + self.until.high
        if self.check is not None and self.check.total.checked:
            return max(self.check.total.low, self.found), self.check.total.high
        return None

    @property
    def found(self) -> int:
        """Wrong labels so far. Draws are of pictures, so beside their bound copies of one picture count once."""
        return self.tally.found if self.until is None else self.until.wrong

    @property
    def pictures(self) -> int:
        """Of how many."""
        if self.until is not None:
            return self.until.pictures
        return self.check.total.pictures if self.bounds is not None and self.check is not None else self.tally.images

    @property
    def headline(self) -> str:
        believed, found = round(self.tally.believed), self.found
        if self.bounds is not None:
            return f"{found:,} found; between {self.bounds[0]:,} and {self.bounds[1]:,} in all"
        if not self.tally.undecided and not self.tally.decided:
            return "No suspects"
        if found:
            return f"{found:,} found; about {believed:,} in all, the audit believes"
        return f"About {count_of(believed, 'label')} may be wrong"

    @property
    def lead(self) -> str:
        """What the headline rests on, and what the audit itself expects."""
        if self.bounds is not None:
            draws = "the random check" if self.until is None else "all random draws, at every moment"
            sure = "95% confidence" if self.until is None else in_confidence(self.until)
            of = f"of {self.pictures:,}, with {sure}, from {draws}. "
            return of + self._copies + self._expected
        if not self.tally.undecided and not self.tally.decided:
            return (
                f"The audit looked at {count_of(self.tally.images, 'picture')} and found no label it doubts. "
                f"{no_proof(self.tally.images)}"
            )
        assumed = ""
        if not math.isnan(self.tally.low) and round(self.tally.low) != round(self.tally.high):
            low, high = f"{self.tally.low:,.0f}", f"{self.tally.high:,.0f}"
            assumed = f"Depending on how people mislabel, it would be {low} to {high}. "
        return f"This is the audit’s own belief about {self.tally.images:,} labels. {assumed}{self._expected}"

    @property
    def _expected(self) -> str:
        tally = self.tally
        suspects = count_of(tally.undecided, "undecided suspect")
        # As they are printed, what was found and the parts add up to what the headline says: the last gives way.
        among = math.floor(tally.expected + 0.5)
        parts = among, max(round(tally.believed) - tally.found - among, 0)
        unsure = f" {tally.unsure:,} unsure {'is' if tally.unsure == 1 else 'are'} not counted." if tally.unsure else ""
        more = f"about {sum(parts):,}{' more' if tally.found else ''}"
        if not sum(parts):
            return f"The audit itself expects less than one more among the {suspects} and elsewhere.{unsure}"
        return f"The audit itself expects {more}: {parts[0]:,} among the {suspects}, {parts[1]:,} elsewhere.{unsure}"

    @property
    def _copies(self) -> str:
        """Where it matters: that a picture which is filed twice under one label is one picture."""
        return "" if self.pictures == self.tally.images else "Copies of one picture count once. "


def panel(facts: HowMany) -> Markup:
    """The heading of the page, the figure, and the way to the next random check."""
    figure = "" if facts.headline == "No suspects" else _figure(facts)
    return tag(
        "section",
        tag("p", "How many labels are wrong?", class_="over"),
        tag("h1", facts.headline),
        tag("p", facts.lead, class_="lead"),
        figure,
        _next_check(facts),
        class_="panel",
    )


def axis(most: float) -> list[int]:
    """Five to eight round numbers from 0 to ``most`` or a little beyond."""
    unit = 10.0 ** math.floor(math.log10(max(most, 5) / 5))
    step = next(max(int(unit * each), 1) for each in (1, 2, 5, 10) if 5 * unit * each >= most - 1e-9)
    return list(range(0, math.ceil(most / step) * step + 1, step))


def _figure(facts: HowMany) -> Markup:
    tally, bounds = facts.tally, facts.bounds
    low, high = (tally.believed if math.isnan(end) else end for end in (tally.low, tally.high))
    ticks = axis(max(high, tally.believed, bounds[1] if bounds else 0, 1))
    end = ticks[-1]
    rows = [
        _row(
            "The audit’s belief",
            "no check: not an interval",
            _bar("believed", low, high, end, ends=round(low) != round(high)),
            tag(
                "span",
                tag("b", f"about {tally.believed:,.0f}"),
                class_="tick",
                style=f"left:{_at(tally.believed, end)}",
            ),
        )
    ]
    if bounds is not None and facts.until is None and facts.check is not None:
        total = facts.check.total
        below = f"{total.wrong:,} of {total.checked:,} wrong"
        rows.append(_row("Random check", below, _bar("left", total.low, total.high, end, ends=True)))
    of_draws = f", {facts.until.drawn - facts.until.waiting:,} at random" if facts.until else ""
    reviewed = facts.until.reviewed if facts.until else tally.decided
    rows.append(_row("Now", f"{reviewed:,} of {facts.pictures:,} reviewed{of_draws}", *_now(facts, end)))
    scale = [tag("span", f"{tick:,}", style=f"left:{_at(tick, end)}") for tick in ticks]
    grid = [tag("i", style=f"left:{_at(tick, end)}") for tick in ticks]
    return tag(
        "figure",
        tag("div", tag("div", *grid, class_="grid", aria_hidden="true"), *rows, class_="rows"),
        tag("div", *scale, class_="scale", aria_hidden="true"),
        class_="how-many",
        aria_label="Wrong labels, from 0 on: what is believed, measured and found",
    )


def _now(facts: HowMany, end: int) -> list[Markup]:
    """What was found, and what there may be beside it."""
    found, most = facts.found, facts.bounds[1] if facts.bounds else None
    parts = [_bar("found", 0, found, end)] if found else []
    if most is not None and most > found:
        parts.append(_bar("left", found, most, end))
    words = f"{found:,} found" + (
        "" if most is None else f", {max(facts.bounds[0] - found, 0) if facts.bounds else 0:,}"
    )
    words += "" if most is None else f" to {most - found:,} left"
    return [*parts, tag("b", words, class_="end")]


def _row(name: str, below: str, *parts: Markup) -> Markup:
    return tag("div", tag("div", tag("b", name), tag("span", below)), tag("div", *parts, class_="track"), class_="row")


def _bar(kind: str, low: float, high: float, end: int, *, ends: bool = False) -> Markup:
    words = (tag("b", f"{low:,.0f}"), tag("b", f"{high:,.0f}")) if ends else ()
    return tag("span", *words, class_=f"bar {kind}", style=f"left:{_at(low, end)};width:{_at(high - low, end)}")


def _at(number: float, end: int) -> str:
    return f"{100 * number / end:.2f}%"


def _next_check(facts: HowMany) -> Markup:
    """A random check, or another one; while a review with an end runs, it draws by itself."""
    if facts.until is not None:
        return Markup("")
    left = facts.tally.images - facts.tally.decided
    count = min(FIRST_CHECK, left)
    suspects = link("review", "Review suspects", class_="button") if facts.tally.undecided else Markup("")
    if read_only():
        return tag("p", suspects, class_="next") if suspects else Markup("")
    if not count:
        return Markup("")
    first = facts.bounds is None
    minutes = count_of(max(1, round(count / facts.a_minute)), "minute")
    why = "only a random check can tell" if first else "narrows the interval, whatever the ranking is worth"
    button = link(
        "review",
        f"Check {count:,} {'at random' if first else 'more at random'}",
        class_="button primary" if first and not facts.tally.found else "button",
        list="spot check",
    )
    return tag("p", button, suspects, tag("span", f"about {minutes}; {why}"), class_="next")
