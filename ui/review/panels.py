"""How a random check or a review with an end stands: in sentences, and what to do next. Texts for Review's client."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass

from gradattn_core.ranking.certainty import PAGE
from gradattn_core.store.proof import Checked, SpotCheck, Until, in_confidence, no_proof
from gradattn_core.store.store import Store
from gradattn_core.verdict import Rich
from gradattn_core.wording import count_of, full_name

FIRST_CHECK = 100
"""So many pictures are drawn for a random check."""
_SECONDS_EACH = 5
_CLASSES = 8


@dataclass(frozen=True, slots=True)
class Button:
    """What may be done next; ``name`` is what Review's client calls it."""

    name: str
    text: str
    primary: bool = False


@dataclass(frozen=True, slots=True)
class Panel:
    """What stands where nothing is left to show.

    Attributes:
        plot: there is one to be drawn of it; ``alt`` says what it shows.
    """

    title: str
    paragraphs: tuple[Rich, ...]
    buttons: tuple[Button, ...]
    plot: bool = False
    alt: str = ""


@dataclass(frozen=True, slots=True)
class Standing:
    """All that is said of a blind list.

    Attributes:
        why: a picture is shown blind; ``going``: how far it is to the end.
        panel: at the end of what there is to review now.
        count: how many pictures the next random check draws.
        clean: what is said of an audit that has no suspects.
    """

    why: Rich
    going: Rich
    panel: Panel
    count: int = FIRST_CHECK
    clean: str = ""


def standing(store: Store, audit: str, name: str, share: float) -> Standing:
    """How the list ``name`` of an audit stands; of ``until``, with what ``share`` of all labels may be left wrong.

    Raises:
        RankingError: for a share that is not between 0 and 1.
        StoreError: the audit is unknown.
    """
    if name == "spot check":
        return _check(store, audit)
    if name == "until":
        return _until(store.draws.until(audit, share))
    return Standing(
        _text("Somebody else has decided this picture; what they said is not shown."),
        (),
        Panel(
            "Every second look is given",
            (_text("How far reviewers agree stands on Decisions."),),
            (Button("suspects", "Review suspects"), Button("overview", "Overview")),
        ),
        clean=no_proof(store.candidates.count(audit, everything=True, decided="any")),
    )


def plot(store: Store, audit: str, share: float, *, dark: bool) -> bytes:
    """The review so far as a picture in PNG: what was found, and what may be left at most."""
    from gradattn_core.render.plots import review_figure

    until = store.draws.until(audit, share)
    picture = review_figure(
        until.history_reviewed,
        until.history_found,
        until.history_high,
        until.share,
        until.target,
        until.confidence,
        "dark" if dark else "light",
    )
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def _check(store: Store, audit: str) -> Standing:
    check = store.draws.checked(audit)
    # While a rule runs that may stop the review at any moment, only bounds that hold at every moment are said.
    rule = store.tally.rule_runs(audit)
    left = store.candidates.count(audit, everything=True, decided="no")
    count = min(FIRST_CHECK, left)
    why = _text(
        "Drawn at random from all pictures, so that we can say how many labels are wrong. "
        "No estimate is shown before the last of them."
    )
    panel = _offer(store, audit, count) if check is None else _measured(store, audit, check, count, rule)
    return Standing(why, (), panel, count)


def _offer(store: Store, audit: str, count: int) -> Panel:
    found = store.audits.one(audit)
    suspects = store.candidates.count(audit, decided="any")
    believed, low, high = found.estimated_errors, found.estimated_low, found.estimated_high
    minutes = max(1, round(count * _SECONDS_EACH / 60))
    draw = Button("draw", f"Check {count:,} at random, about {count_of(minutes, 'minute')}", primary=True)
    buttons = (draw, Button("suspects", "Review suspects")) if suspects else (draw,)
    if not suspects:
        return Panel("No suspects", (_text(no_proof(found.images)),), buttons)
    if math.isnan(believed):
        return Panel("How many labels are wrong?", (_text("Only a random check can tell."),), buttons)
    belief = ""
    if not math.isnan(low) and round(low) != round(high):
        belief = f"Depending on how people mislabel, it would be {low:,.0f} to {high:,.0f}. "
    about = f"About {count_of(round(believed), 'label')} may be wrong, the audit believes"
    return Panel(about, (((belief, ""), ("Only a random check can tell.", "strong")),), buttons)


def _measured(store: Store, audit: str, check: SpotCheck, count: int, rule: bool) -> Panel:
    total = check.total
    sure = f"{100 * check.confidence:g}%"
    were = "was" if total.wrong == 1 else "were"
    if not total.checked:
        words = "No drawn picture has a clear verdict yet."
    elif rule:
        until = store.draws.until(audit, 0.01, confidence=check.confidence)
        words = (
            f"{total.wrong:,} of {total.checked:,} {were} wrong. So {_between(until)} of the "
            f"{total.pictures:,} labels are wrong ({in_confidence(until)})."
        )
    else:
        words = (
            f"{total.wrong:,} of {total.checked:,} {were} wrong. So between {total.low:,} and {total.high:,} of the "
            f"{total.pictures:,} labels are wrong ({sure} confidence)."
        )
    paragraphs = [_text(words, "strong")]
    if check.unsure:
        paragraphs.append(_text(f"{check.unsure:,} unsure {'is' if check.unsure == 1 else 'are'} left."))
    if not rule:
        paragraphs += [_of_class(each) for each in check.classes[:_CLASSES]]
    buttons = [Button("suspects", "Review suspects", primary=True)]
    if count:
        buttons.append(Button("draw", f"Check {count:,} more at random"))
    return Panel("The random check is answered", tuple(paragraphs), (*buttons, Button("overview", "Overview")))


def _of_class(each: Checked) -> Rich:
    words = f": {each.low:,} to {each.high:,} of {each.pictures:,} wrong ({each.wrong:,} of {each.checked:,} checked)"
    return ((full_name(each.label), "name"), (words, ""))


def _until(until: Until) -> Standing:
    goal = f"Go on until at most {100 * until.share:g}% ({count_of(until.target, 'label')}) is left. "
    least = until.low - until.wrong
    going = goal + (f"Between {least:,} and {until.high:,} left" if least else f"At most {until.high:,} left")
    if until.kind != "done" and not math.isnan(until.expected):
        going += f"; about {count_of(round(until.expected), 'more review')}"
    why = (
        f"The suspects no longer yield much. The next {PAGE} are drawn at random: they show how much is left."
        if until.reviewed
        else "Drawn at random: they show how much is left."
    )
    return Standing(_text(why), _text(going + "."), _end(until))


def _end(until: Until) -> Panel:
    chosen = max(0, until.reviewed - (until.drawn - until.waiting))
    counted = (
        f"{until.reviewed:,} of {until.pictures:,} reviewed, {count_of(until.wrong, 'wrong label')} found. "
        f"{until.drawn - until.waiting:,} were drawn at random, {chosen:,} chosen."
    )
    if until.low > until.wrong:
        counted += f" In all {_between(until)} labels are wrong ({in_confidence(until)})."
    holds = _text("It holds however good the ranking is; only random draws count.")
    alt = (
        f"Of {until.reviewed:,} pictures reviewed {until.wrong:,} were wrong; "
        f"with {100 * until.confidence:g}% confidence at most {until.wrong + until.high:,} are wrong in all."
    )
    if until.kind != "done":
        return Panel(
            "Nothing to show just now",
            (_text(f"{until.sentence}."), _text("Random pictures come next, and this page may not draw them.")),
            (Button("again", "Look again"), Button("suspects", "Review suspects")),
            plot=True,
            alt=alt,
        )
    half = f"{50 * until.share:g}"
    return Panel(
        f"You can stop: at most {100 * until.share:g}% is left",
        (_text(f"{until.sentence}.", "strong"), _text(counted), holds),
        (
            Button("export", "Export the corrected labels", primary=True),
            Button(f"until-{half}", f"Go on until {half}%"),
            Button("overview", "Overview"),
        ),
        plot=True,
        alt=alt,
    )


def _between(until: Until) -> str:
    """How many of all labels are wrong, by what the draws prove."""
    most = until.wrong + until.high
    return f"between {until.low:,} and {most:,}" if until.low else f"at most {most:,}"


def _text(words: str, role: str = "") -> Rich:
    return ((words, role),)
