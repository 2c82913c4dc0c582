"""What is said of one picture: a verdict, one reason, and what a person must be warned of, as text with roles.

Every sentence follows from numbers that stand beside it. A text is a list of (text, role) pieces, so that whoever shows
it can colour and isolate names, which are strangers' strings; :func:`in_words` joins them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from gradattn_core.belief import NONE, PRIMARY, Belief, disagrees, in_percent, of_two, primary
from gradattn_core.neighbourhood import Neighbour, Pieces, neighbourhood
from gradattn_core.wording import count_of, names_of

Rich: TypeAlias = tuple[tuple[str, str], ...]
"""Pieces of a text, each with its role: ``""``, ``given``, ``other``, ``name`` (of a third class) or ``strong``."""

UNLIKELY = 0.1
"""Below this probability the given label is said not to be it."""
POSSIBLE = 0.05
"""From this probability a class is worth naming as a third one."""
BARELY = 0.001
"""Below this probability a picture does not even look a little like a class."""
HALF = 0.5
"""Of a class that has more, a picture is not said to be unlike every class."""
_NAMED = 4
LITTLE = 0.02
"""A part decides nothing if hiding it changes the model's share of the two classes by less."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A part of the map that is outlined, as far as sentences need it.

    Attributes:
        number: that stands on it.
        sign: +1 red, for the given label; -1 blue.
        log_odds: of the map; text: the same as shown.
        before, after: the given label's share of the two classes with the part seen and hidden, in [0, 1].
        told: both as shown: in per cent, or in log-odds where per cent cannot tell them apart.
    """

    number: int
    sign: int
    log_odds: float
    text: str
    before: float
    after: float
    told: tuple[str, str]

    @property
    def contradicted(self) -> bool:
        """Whether hiding it does the opposite of what the map says."""
        return (self.after - self.before) * self.log_odds > 0


@dataclass(frozen=True, slots=True)
class Facts:
    """What a verdict is told from.

    Attributes:
        alone: what the model alone gives to the given label against ``belief.other``, in [0, 1]; None if not known.
        kind, numbers: of doubt, and what it was told from; see :mod:`gradattn_core.ranking.rules`.
        neighbours: the most similar pictures, nearest first.
        parts: those that are outlined and measured.
        lifted: the given label's and the other class's model answer (log-odds) as it is and with the evidence for the
            other class hidden; None where it was not asked.
        size: width and height in pixels, 0 where not known.
        outside: the model's own class for a picture of none of the dataset's; ``""`` for none.
        filed: the labels of this very picture's copies, its own among them.
        mixed: how many suspects are filed as the given label and look like the other class, and the other way round.
    """

    belief: Belief
    alone: float | None = None
    kind: str = ""
    numbers: Mapping[str, float] = field(default_factory=dict)
    neighbours: tuple[Neighbour, ...] = ()
    parts: tuple[Measured, ...] = ()
    lifted: tuple[float, float] | None = None
    size: tuple[int, int] = (0, 0)
    outside: str = ""
    filed: tuple[str, ...] = ()
    mixed: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is said of a picture.

    Attributes:
        case: which one it is, a word for programs.
        primary: the label whose button is proposed, ``""`` for none of the classes; None for nothing.
        notice: a warning; empty for none.
        remark: what the map's parts do, where no single one decides; empty for nothing to remark.
    """

    case: str
    headline: Rich
    reason: Rich
    primary: str | None
    notice: Rich = ()
    remark: Rich = ()


def judge(facts: Facts) -> Verdict:
    """The verdict on a picture: the first case that applies."""
    belief = facts.belief
    say = _Names(belief, facts)
    proposed = primary(belief, facts.alone)
    if facts.kind == "nothing to see":
        # Whatever is likeliest of a picture that shows nothing is no proposal.
        proposed = None
    case, headline, reason = _case(facts, say, proposed)
    notice = _disagreement(facts, say) + _contradicted(facts, say)
    return Verdict(case, _joined(headline), _joined(reason), proposed, _joined(notice), _joined(_no_part(facts)))


def filed_as(given: str) -> Verdict:
    """What is said of a picture whose reviewer must not know what a model thinks."""
    name = names_of([given])[given]
    return Verdict("blind", (("Filed as ", ""), (name, "given"), (". Is that right?", "")), (), None)


def decided(given: str, decision: str, new_label: str, who: str) -> Rich:
    """What stands about a picture: ``Decided by you: church instead of garbage truck``.

    Args:
        who: ``you``, or a reviewer's name.
    """
    names = names_of([given, new_label] if new_label else [given])
    by = [("Decided by ", ""), ("you", "") if who == "you" else (who, "name"), (": ", "")]
    said: dict[str, list[tuple[str, str]]] = {
        "keep": [(names[given], "given"), (" is right", "")],
        "relabel": [(names.get(new_label, new_label), "other"), (" instead of ", ""), (names[given], "given")],
        "remove": [("remove it", "")],
        "unsure": [("unsure", "")],
    }
    return _joined([*by, *said[decision]])


def in_words(text: Rich) -> str:
    """The pieces of a text joined."""
    return "".join(piece for piece, _ in text)


class _Names:
    """The names of a picture's classes as pieces: told apart from each other, each in its role."""

    def __init__(self, belief: Belief, facts: Facts) -> None:
        self.given_label, self.other_label = belief.given, belief.other
        third = [label for label, _ in belief.with_keys]
        labels = [belief.given, *third, *facts.filed, *([belief.other] if belief.other else [])]
        self._names = names_of([label for label in labels if label])

    def of(self, label: str | None) -> tuple[str, str]:
        """A class in its role; the label ``""`` as a phrase."""
        role = "given" if label == self.given_label else "other" if label == self.other_label else "name"
        if not label:
            return ("none of these classes", role)
        return (self._names.get(label, label), role)


def _case(facts: Facts, say: _Names, proposed: str | None) -> tuple[str, Pieces, Pieces]:
    belief = facts.belief
    given, other = say.of(belief.given), say.of(belief.other)
    if facts.kind == "nothing to see":
        return "nothing", [("Too dark, empty or too small to tell", "")], _size(facts)
    if facts.kind == "duplicate":
        headline, reason = _duplicate(facts, say)
        return "duplicate", headline, reason
    if facts.kind == "two spellings":
        are = "are" if facts.numbers.get("same_class") == 1 else "may be"
        spelt = [given, (" and ", ""), other, (f" {are} two spellings of one class", "")]
        return "two spellings", spelt, [("Decide for the spelling that stays.", "")]
    if proposed == NONE:
        named = [("The model’s own name for it: ", ""), (facts.outside, "name"), (". ", "")] if facts.outside else []
        return "none", [("None of this dataset’s classes", "")], [*named, ("X removes it.", "")]
    if facts.kind == "out of place" and belief.of(belief.likeliest) <= HALF:
        return "out of place", [("Unlike the pictures of every class", "")], _unusual(facts, say)
    if facts.kind == "two objects" and _both_possible(facts):
        return "two objects", [given, (" and ", ""), other, (" seem to be in the picture", "")], _both(facts, say)
    case, headline = _by_probability(facts, say, proposed)
    if facts.kind == "out of place":
        return case, headline, _unusual(facts, say)
    if case == "confusable":
        return case, headline, _mixed(facts, say) or _numbers(belief, say)
    if case in ("either", "several", "possible"):
        return case, headline, _numbers(belief, say)
    if case == "right" and facts.alone is not None and 1 - PRIMARY < facts.alone < PRIMARY:
        own = in_percent(belief.of(belief.given))
        unsure = f"The model alone is unsure ({in_percent(facts.alone)}); "
        who = (
            "neighbours and the other voters make"
            if _neighbours_say(facts, belief.given)
            else "all voters together make"
        )
        return case, headline, [(f"{unsure}{who} the label {own} likely.", "")]
    return case, headline, neighbourhood(facts.neighbours, belief, say.of) or _numbers(belief, say, proposed)


def _by_probability(facts: Facts, say: _Names, proposed: str | None) -> tuple[str, Pieces]:
    belief = facts.belief
    given, other = say.of(belief.given), say.of(belief.other)
    own = belief.of(belief.given)
    rival = 0.0 if belief.other is None else belief.of(belief.other)
    a_little: Pieces = [(". Looks a little like ", ""), other] if rival >= BARELY and belief.other else []
    if proposed == belief.given:
        return "right", [("Probably right: ", ""), given, *a_little]
    if proposed is not None:
        return "mislabel", [("Probably ", ""), other, (", filed as ", ""), given]
    if disagrees(belief, facts.alone) and max(own, rival) >= PRIMARY:
        if belief.likeliest == belief.given:
            return "disagreement", [("Perhaps right: ", ""), given, *a_little]
        return "disagreement", [("Perhaps ", ""), other, (", filed as ", ""), given]
    third = _third(belief)
    if own < UNLIKELY and belief.other is not None:
        if third is None:
            return "several", [("Perhaps ", ""), other, (", filed as ", ""), given]
        return "several", [("Not ", ""), given, (". Perhaps ", ""), other, (", perhaps ", ""), say.of(third[0])]
    if third is not None and third[1] > own:
        return "several", [other, (", ", ""), say.of(third[0]), (" or ", ""), given, (": all are possible", "")]
    if rival < UNLIKELY:
        return "possible", [("Perhaps right: ", ""), given, *a_little]
    if facts.kind == "confusable":
        return "confusable", [given, (" and ", ""), other, (" are hard to tell apart here", "")]
    return "either", [given, (" or ", ""), other, (": both are possible", "")]


def _third(belief: Belief) -> tuple[str, float] | None:
    """A class beside the given and the suggested one that is worth naming."""
    return next((each for each in belief.others[1:] if each[1] >= POSSIBLE), None)


def _numbers(belief: Belief, say: _Names, proposed: str | None = None) -> Pieces:
    own, rival = belief.of(belief.given), 0.0 if belief.other is None else belief.of(belief.other)
    third = _third(belief)
    # Something is where nothing says which pictures are alike, as of predictions that were brought alone.
    end = "." if proposed is not None else ". Nothing is proposed."
    if belief.other is not None and (own < UNLIKELY or (third is not None and third[1] > own)):
        pieces: Pieces = [say.of(belief.other), (f" {in_percent(rival)}", "")]
        if third is not None:
            pieces += [(", ", ""), say.of(third[0]), (f" {in_percent(third[1])}", "")]
        return [*pieces, (", ", ""), say.of(belief.given), (f" {in_percent(own)}{end}", "")]
    if rival < UNLIKELY:
        return [(f"The label is {in_percent(own)} likely and no other class is near{end}", "")]
    return [(f"{in_percent(own)} to {in_percent(rival)}{end}", "")]


def _mixed(facts: Facts, say: _Names) -> Pieces:
    there, back = facts.mixed
    if not there and not back:
        return []
    given, other = say.of(facts.belief.given), say.of(facts.belief.other)
    look = "looks" if there == 1 else "look"
    return [
        (f"{count_of(there, 'suspect')} filed as ", ""),
        given,
        (f" {look} like ", ""),
        other,
        (f", {back or 'none'} the other way round.", ""),
    ]


def _both_possible(facts: Facts) -> bool:
    """Whether no number says that one of the two is not there, and the model saw the other class at first."""
    belief = facts.belief
    likely = min(belief.of(belief.given), belief.of(belief.other or NONE)) >= POSSIBLE
    return likely and facts.lifted is not None and of_two(-facts.lifted[0]) > 1 - PRIMARY


def _both(facts: Facts, say: _Names) -> Pieces:
    assert facts.lifted is not None, "not asked"
    given, other = say.of(facts.belief.given), say.of(facts.belief.other)
    # The other class's share of the two.
    before, after = (in_percent(of_two(-log_odds)) for log_odds in facts.lifted)
    return [
        ("With the part for ", ""),
        other,
        (" hidden, the model alone goes from ", ""),
        (f"{before} to {after}", "strong"),
        (" for it; ", ""),
        given,
        (" is left. Keep the label if ", ""),
        given,
        (" is the subject.", ""),
    ]


def _unusual(facts: Facts, say: _Names) -> Pieces:
    belief = facts.belief
    likeliest = belief.of(belief.likeliest)
    share = facts.numbers.get("more_unlike")
    far = "the nearest is far away"
    if share is not None:
        few = in_percent(share)
        how_many = f"fewer than {few[1:]}" if few.startswith("<") else f"only {few}"
        far = f"{how_many} of the unsuspicious ones lie as far from every class"
    if likeliest > HALF:
        pieces: Pieces = [
            say.of(belief.likeliest),
            (f" is likeliest ({in_percent(likeliest)}), but the picture is ", ""),
        ]
        return [*pieces, (f"unusual: {far}.", "")]
    return [("The likeliest class has ", ""), (in_percent(likeliest), ""), (f"; {far}.", "")]


def _duplicate(facts: Facts, say: _Names) -> tuple[Pieces, Pieces]:
    belief = facts.belief
    labels = list(dict.fromkeys(facts.filed))
    others = [label for label in labels if label != belief.given]
    if len(labels) > 1:
        headline: Pieces = [("The same picture is also filed as ", ""), say.of(others[0])]
        headline += [piece for label in others[1:] for piece in ((" and ", ""), say.of(label))]
        return headline, [*_copies(facts.filed, say), (": at most one label is right.", "")]
    near = next((each for each in facts.neighbours if each.label != belief.given), None)
    if near is None:
        return [("Nearly the same picture has another label", "")], _numbers(belief, say)
    headline = [("Nearly the same picture is filed as ", ""), say.of(near.label)]
    return headline, [(f"Similarity {near.similarity:.2f}. A decision here is about this one only.", "")]


def _copies(filed: tuple[str, ...], say: _Names) -> Pieces:
    """``3 exact copies, filed as church, church, tench``; of many how often each."""
    pieces: Pieces = [(f"{len(filed):,} exact copies, filed as ", "")]
    if len(filed) <= _NAMED:
        named = [(label, "") for label in filed]
    else:
        named = [(label, f" ({times:,})") for label, times in Counter(filed).items()]
    for place, (label, times) in enumerate(named):
        pieces += [*([(", ", "")] if place else []), say.of(label), (times, "")]
    return pieces


def _size(facts: Facts) -> Pieces:
    width, height = facts.size
    return [(f"{width} × {height} pixels. Unsure or remove?" if width else "Unsure or remove?", "")]


def _disagreement(facts: Facts, say: _Names) -> Pieces:
    belief = facts.belief
    if facts.alone is None or belief.of(belief.likeliest) < PRIMARY or not disagrees(belief, facts.alone):
        return []
    given, other = say.of(belief.given), say.of(belief.other)
    by_model, by_all, share = (
        (other, given, 1 - facts.alone)
        if belief.likeliest == belief.given
        else (
            given,
            other,
            facts.alone,
        )
    )
    who = "Neighbours and the other voters" if _neighbours_say(facts, belief.likeliest) else "All voters together"
    return [
        ("The model alone says ", "strong"),
        by_model,
        (f" ({in_percent(share)} against ", "strong"),
        by_all,
        (").", "strong"),
        (f" {who} say ", ""),
        by_all,
        (".", ""),
    ]


def _neighbours_say(facts: Facts, label: str) -> bool:
    """Whether more of the most similar pictures are filed as this one of the two classes than as the other one."""
    belief = facts.belief
    against = belief.other if label == belief.given else belief.given
    sound = [each.label for each in facts.neighbours if not each.in_doubt]
    return sound.count(label) > sound.count(against or NONE)


def _contradicted(facts: Facts, say: _Names) -> Pieces:
    pieces: Pieces = []
    given = say.of(facts.belief.given)
    for part in facts.parts:
        if not part.contradicted:
            continue
        colour, does = ("red", "raises") if part.sign > 0 else ("blue", "lowers")
        if pieces or _disagreement(facts, say):
            pieces += [(" ", "")]
        pieces += [(f"Part {part.number} is {colour} on the map ({part.text}), but hiding it {does} ", ""), given]
        pieces += [(f": {part.told[0]} → {part.told[1]}. The measured number stands.", "")]
    return pieces


def _no_part(facts: Facts) -> Pieces:
    if not facts.parts or any(abs(part.after - part.before) >= LITTLE for part in facts.parts):
        return []
    return [("No single part decides: hiding the strongest changes less than 2 points.", "")]


def _joined(pieces: Pieces) -> Rich:
    """Neighbouring pieces of one role as one, but for names."""
    joined: Pieces = []
    for text, role in pieces:
        if joined and role == joined[-1][1] and role in ("", "strong"):
            joined[-1] = (joined[-1][0] + text, role)
        elif text:
            joined.append((text, role))
    return tuple(joined)
