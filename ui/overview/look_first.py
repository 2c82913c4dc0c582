"""Where to look first: the classes with most wrong labels expected among their undecided suspects, and the kinds."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from gradattn_core.kinds import KINDS
from gradattn_core.store.tally import ClassTally, Tally
from gradattn_core.wording import names_of
from ui.markup import Markup, class_name, join, link, tag

_ROWS, _NAMED = 7, 12


def panel(tally: Tally, finished: Collection[str]) -> Markup:
    """A line for each of the first classes with the way into its suspects; the others, and the kinds, in words.

    Args:
        finished: classes that somebody has called finished: their suspects count, and nobody is sent there.
    """
    names = names_of(each.label for each in tally.classes)
    open_ = [each for each in tally.classes if each.undecided and each.label not in finished]
    body = [_table(open_[:_ROWS], names)] if open_ else [tag("p", "No suspect is undecided in any class that is open.")]
    return tag(
        "section",
        tag(
            "div",
            tag("h2", "Where to look first"),
            tag("p", "classes by wrong labels expected among the undecided", class_="over"),
            class_="headline",
        ),
        *body,
        tag("p", *_rest(open_, tally, names), class_="rest"),
        tag("p", *_finished(tally, finished, names), class_="rest"),
        tag("p", *_kinds(tally), class_="rest"),
        class_="panel look-first",
    )


def _table(rows: Sequence[ClassTally], names: dict[str, str]) -> Markup:
    most = max(each.expected for each in rows) or 1.0
    heads = ("filed as", "pictures", "found wrong", "undecided", "expected wrong among them")
    lines = [
        tag(
            "tr",
            tag("th", class_name(each.label, names[each.label], beside=names.values()), scope="row"),
            tag("td", f"{each.images:,}"),
            tag("td", f"{each.found:,}"),
            tag("td", f"{each.undecided:,}"),
            tag(
                "td",
                tag("span", tag("i", style=f"width:{100 * each.expected / most:.1f}%"), class_="amount"),
                tag("span", _tenths(each.expected)),
                class_="expected",
            ),
            tag(
                "td",
                link(
                    "review",
                    f"Review {each.undecided:,}",
                    tag("span", f" filed as {names[each.label]}", class_="heard"),
                    class_="button small",
                    given=each.label,
                ),
            ),
        )
        for each in rows
    ]
    head = tag("tr", *(tag("th", name, scope="col") for name in heads), tag("td"))
    return tag("table", tag("thead", head), tag("tbody", *lines))


def _rest(open_: Sequence[ClassTally], tally: Tally, names: dict[str, str]) -> list[Markup]:
    rest = open_[_ROWS:]
    parts = [tag("b", f"Together {_tenths(tally.expected)}")]
    if rest:
        named = [
            join([class_name(each.label, names[each.label], beside=names.values()), f" {_tenths(each.expected)} · "])
            for each in rest[:_NAMED]
        ]
        more = f"{len(rest):,} more: " if len(rest) <= _NAMED else f"{len(rest):,} more, such as: "
        parts = [join([more]), *named, *parts]
    return parts


def _tenths(expected: float) -> str:
    return f"{expected:,.1f}" if expected >= 0.05 or not expected else "<0.1"


def _finished(tally: Tally, finished: Collection[str], names: dict[str, str]) -> list[Markup]:
    closed = [each for each in tally.classes if each.label in finished]
    if not closed:
        return []
    left = sum(each.undecided for each in closed)
    return [
        join([f"{len(closed):,} finished: "]),
        *(join([class_name(each.label, names[each.label], beside=names.values()), " · "]) for each in closed[:_NAMED]),
        join([f"{left:,} undecided in them"]),
    ]


def _kinds(tally: Tally) -> list[Markup]:
    """The kinds of doubt among the undecided, each a way into the grid."""
    if not tally.kinds:
        return []
    kinds = [
        join([link("grid", kind, kind=kind, title=KINDS.get(kind)), f" {count:,}", ", "])
        for kind, count in tally.kinds.items()
    ]
    kinds[-1] = Markup(kinds[-1].removesuffix(", "))
    return [join(["Kinds of doubt among the undecided: "]), *kinds]
