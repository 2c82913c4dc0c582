"""The goal of a review with an end: how much may be left, how far it is, its plot, and the next page."""

from __future__ import annotations

import math
from urllib.parse import quote

import numpy as np

from gradattn_core.ranking.certainty import PAGE, Doubles, target
from gradattn_core.store.proof import Until
from gradattn_core.wording import count_of
from ui.components import paper
from ui.launch import read_only
from ui.markup import Markup, join, link, tag
from ui.overview.how_many import axis

SHARES = (0.05, 0.02, 0.01, 0.005)
"""What may be left wrong, to choose from."""
COLOURS = {
    "light": {"found": "#0f766e", "most": "#8a5a00", "rule": "#dbe1df"},
    "dark": {"found": "#2bb8a6", "most": "#ffd27a", "rule": "#2c3735"},
}
"""Those of ``client/tokens.css``, which a picture cannot ask."""
_WIDTH, _HEIGHT = 600.0, 200.0
_NEXT = {
    "suspects": "Next: the most suspect.",
    "random": "Next: drawn at random; they show how much is left.",
    "done": "",
}


def panel(until: Until, *, runs: bool, a_minute: float) -> Markup:
    """The goal, its plot once the review has begun, and its next action.

    Args:
        runs: whether pictures were drawn for it.
    """
    goal = f"Goal: until at most {100 * until.share:g}% is left ({count_of(until.target, 'label')})"
    return tag(
        "section",
        tag(
            "div",
            tag("div", tag("p", goal, class_="over"), tag("h2", headline(until, runs=runs))),
            _action(until, runs),
        ),
        tag("p", _lead(until, runs, a_minute), class_="lead"),
        _plot(until) if runs else Markup(""),
        _shares(until),
        class_="panel goal",
    )


def offer(pictures: int, share: float) -> Markup:
    """The same panel where nothing was drawn and the forecast of a review of so many pictures is not worth the wait."""
    goal = f"Goal: until at most {100 * share:g}% is left ({count_of(target(share, pictures), 'label')})"
    return tag(
        "section",
        tag(
            "div",
            tag("div", tag("p", goal, class_="over"), tag("h2", "A review that ends")),
            link("review", "Begin", class_="button", list="until", left=f"{100 * share:g}"),
        ),
        tag(
            "p",
            "Suspects first, then pages drawn at random, which show how much is left, until that is proved with 95% "
            "confidence.",
            class_="lead",
        ),
        class_="panel goal",
    )


def headline(until: Until, *, runs: bool) -> str:
    """How far it is to the end."""
    if until.kind == "done":
        return f"You can stop: at most {until.high:,} left" if until.unseen else "All labels were reviewed"
    reviews = "" if math.isnan(until.expected) else f"about {until.expected:,.0f} "
    if not runs:
        return f"A review that ends: {reviews}reviews" if reviews else "A review that ends"
    least = until.low - until.wrong
    left = f"Between {least:,} and {until.high:,} left" if least else f"At most {until.high:,} left"
    return left + (f"; {reviews}more reviews" if reviews else "")


def _lead(until: Until, runs: bool, a_minute: float) -> str:
    unsure = f" {until.unsure:,} unsure {'is' if until.unsure == 1 else 'are'} left." if until.unsure else ""
    if not runs:
        return (
            "Suspects first, then pages drawn at random, which show how much is left, until that is proved with "
            f"{100 * until.confidence:g}% confidence. How many reviews it takes follows from the audit’s belief."
        )
    if until.kind == "done":
        return f"{until.sentence}. It holds however good the ranking is; only random draws count.{unsure}"
    minutes = "" if math.isnan(until.expected) else f"{_time(until.expected / a_minute)} at {a_minute:.0f} a minute. "
    sure = f"{100 * until.confidence:g}% confidence over the {until.unseen:,} unseen labels. "
    return f"{sure}{minutes}{_NEXT[until.kind]}{unsure}"


def _time(minutes: float) -> str:
    if minutes < 90:
        return f"About {count_of(max(1, round(minutes)), 'minute')}"
    return f"About {count_of(round(minutes / 60), 'hour')}"


def _action(until: Until, runs: bool) -> Markup:
    if until.kind == "done":
        return link("export", "Export the corrected labels", class_="button primary", what="Corrected labels")
    if read_only():
        return Markup("")
    words = f"Review the next {min(PAGE, until.unseen)}" if runs else "Begin"
    kind = "button primary" if runs else "button"
    return link("review", words, class_=kind, list="until", left=f"{100 * until.share:g}")


def _shares(until: Until) -> Markup:
    """Other goals to choose from."""
    others = [
        tag("b", f"{100 * share:g}%", aria_current="true")
        if math.isclose(share, until.share)
        else link("overview", f"{100 * share:g}%", left=f"{100 * share:g}")
        for share in SHARES
    ]
    return tag("p", "May be left: ", *(join([each, " "]) for each in others), class_="shares")


def _plot(until: Until) -> Markup:
    """What was found and what there may be in all, against pictures reviewed; dashed what the audit believes of both.

    The first bounds are so wide that beside them nothing else could be seen; what lies above the axis is left out.
    """
    reviewed, found = until.history_reviewed.astype(float), until.history_found.astype(float)
    most = found + until.history_high.astype(float)
    ends = not math.isnan(until.expected) and until.kind != "done"
    last = reviewed[-1] + (until.expected if ends else 0.0)
    right, top = axis(max(last, 1))[-1], axis(max(most[-1] * 1.15, 3 * found[-1], 5))[-1]
    # What the audit believes is found among those: no more than all of it.
    at_end = found[-1] + max(min(until.believed, until.high) - until.target, 0.0)
    inside = np.flatnonzero(most <= top)
    lines = [_line("found", reviewed, found, right, top), _line("most", reviewed[inside], most[inside], right, top)]
    if ends:
        way = np.array([reviewed[-1], last])
        lines.append(_line("found forecast", way, np.array([found[-1], at_end]), right, top))
        lines.append(_line("most forecast", way, np.array([most[-1], at_end + until.target]), right, top))
    labels = [
        _label(f"at most {most[-1]:,.0f} in all", reviewed[-1], most[-1], right, top, "most"),
        _label(f"{found[-1]:,.0f} found", reviewed[-1], found[-1], right, top, "found"),
    ]
    sides = [tag("span", f"{tick:,}", style=f"bottom:{100 * tick / top:.2f}%") for tick in axis(top)]
    below = [tag("span", f"{tick:,}", style=f"left:{100 * tick / right:.2f}%") for tick in axis(right)]
    grid = [_shape("line", "rule", x1=0.0, x2=_WIDTH, y1=_y(tick, top), y2=_y(tick, top)) for tick in axis(top)]
    words = (
        f"After {reviewed[-1]:,.0f} reviews {found[-1]:,.0f} wrong labels were found, and with "
        f"{100 * until.confidence:g}% confidence there are at most {most[-1]:,.0f} in all."
    )
    return tag(
        "figure",
        tag("div", _picture([*grid, *lines], words), *labels, tag("div", *sides, aria_hidden="true", class_="sides")),
        tag("div", *below, tag("em", "reviewed"), class_="scale", aria_hidden="true"),
        class_="review-plot",
    )


def _picture(shapes: list[Markup], words: str) -> Markup:
    """The lines as a picture that is stretched to its place; of text there is none in it."""
    drawn = tag(
        "svg",
        *shapes,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {_WIDTH:g} {_HEIGHT:g}",
        preserveAspectRatio="none",
    )
    return tag("img", src=f"data:image/svg+xml,{quote(drawn)}", alt=words)


def _line(kind: str, across: Doubles, up: Doubles, right: float, top: float) -> Markup:
    points = " ".join(f"{_WIDTH * x / right:.1f},{_y(y, top):.1f}" for x, y in zip(across, up, strict=True))
    return _shape("polyline", kind, points=points)


def _shape(form: str, kind: str, **attributes: str | float) -> Markup:
    """One line in the colour of the page's theme; a forecast is dotted."""
    name, _, forecast = kind.partition(" ")
    return tag(
        form,
        **attributes,
        fill="none",
        stroke=COLOURS[paper()][name],
        stroke_width=1 if name == "rule" else 2 if forecast else 3,
        stroke_dasharray="3 5" if forecast else None,
        stroke_linejoin="round",
        vector_effect="non-scaling-stroke",
    )


def _label(words: str, across: float, up: float, right: float, top: float, kind: str) -> Markup:
    place = f"left:{100 * across / right:.2f}%;bottom:{100 * min(up / top, 1):.2f}%"
    return tag("b", words, class_=f"label {kind}{' leftwards' if across > 0.6 * right else ''}", style=place)


def _y(number: float, top: float) -> float:
    return _HEIGHT * (1 - number / top)
