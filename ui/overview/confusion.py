"""Which labels are confused: a table of what was found and what is undecided, small enough to be read at any size."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from gradattn_core.kinds import NONE_OF_THESE
from gradattn_core.store.tally import PairTally, Tally
from gradattn_core.wording import names_of, short_name
from ui.markup import Markup, class_name, join, link, tag

CLASSES = 20
"""Up to so many classes the table has all; of more, those between which most is confused."""
_LISTED = 12


def panel(tally: Tally, classes: Sequence[str]) -> Markup:
    """The table; beyond ``CLASSES`` classes the pairs come first as a list, then the densest part of the table."""
    names = names_of(classes)
    head = tag(
        "div",
        tag("h2", "Which labels are confused"),
        tag("p", "row: filed as · column: what it is or looks like", class_="over"),
        tag(
            "p",
            tag("b", f"{tally.found:,}"),
            " found ",
            tag("b", f"+{tally.undecided:,}", class_="amber"),
            " undecided",
        ),
        class_="headline",
    )
    if not tally.pairs:
        return tag("section", head, tag("p", "Nothing is found, and nothing is in doubt."), class_="panel confusion")
    if len(classes) <= CLASSES:
        shown = sorted(classes, key=lambda label: names[label].casefold())
        return tag("section", head, table(tally.pairs, shown, shown, names), class_="panel confusion")
    rows, columns = densest(tally.pairs)
    order = {label: names.get(label, short_name(label)).casefold() for label in [*rows, *columns]}
    inside = sum(pair.found + pair.undecided for pair in tally.pairs if pair.given in rows and pair.other in columns)
    caption = f"The {len(rows)} by {len(columns)} classes between which most is confused: {inside:,} of "
    caption += f"{tally.found + tally.undecided:,} labels."
    return tag(
        "section",
        head,
        _list(tally.pairs[:_LISTED], names),
        tag("p", caption, class_="over"),
        table(tally.pairs, sorted(rows, key=order.__getitem__), sorted(columns - {""}, key=order.__getitem__), names),
        class_="panel confusion",
    )


def densest(pairs: Sequence[PairTally]) -> tuple[set[str], set[str]]:
    """At most ``CLASSES`` given and as many other labels, taken from the pairs with most as long as there is room."""
    rows: set[str] = set()
    columns: set[str] = set()
    for pair in pairs:
        if len(rows | {pair.given}) <= CLASSES and len(columns | {pair.other}) <= CLASSES:
            rows.add(pair.given)
            columns.add(pair.other)
        if len(rows) == len(columns) == CLASSES:
            break
    return rows, columns


def table(pairs: Sequence[PairTally], rows: Sequence[str], columns: Sequence[str], names: dict[str, str]) -> Markup:
    """What lies between those classes, "none of these" behind them, and each row's total over *all* classes."""
    cells = {(pair.given, pair.other): pair for pair in pairs}
    totals: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0])
    for pair in pairs:
        totals[pair.given][0] += pair.found
        totals[pair.given][1] += pair.undecided
    most = max((pair.found for pair in pairs), default=0) or 1
    every = [*columns, *([""] if any(not pair.other for pair in pairs) else [])]
    head = [
        tag("th", class_name(label, names.get(label, "") or "none of these", 18, names.values()), scope="col")
        for label in every
    ]
    lines = [
        tag(
            "tr",
            tag("th", class_name(label, names.get(label, ""), beside=names.values()), scope="row"),
            *(_cell(cells.get((label, other)), label == other, most, names) for other in every),
            tag("td", *_counts(*totals[label]), class_="total"),
        )
        for label in rows
    ]
    return tag(
        "div",
        tag(
            "table",
            tag("caption", "Wrong labels found and labels in doubt, by given label and other class", class_="heard"),
            tag("thead", tag("tr", tag("td"), *head, tag("th", "total", scope="col", class_="total"))),
            tag("tbody", *lines),
            class_="many" if len(every) > 12 else "some" if len(every) > 6 else "",
        ),
        class_="scroll",
        tabindex="0",
        role="region",
        aria_label="Which labels are confused",
    )


def _cell(pair: PairTally | None, same: bool, most: int, names: dict[str, str]) -> Markup:
    if pair is None:
        return tag("td", "·" if same else "", class_="same" if same else "none")
    share = round(100 * (0.15 + 0.4 * pair.found / most)) if pair.found else 0
    return tag(
        "td",
        link(
            "pair",
            *_counts(pair.found, pair.undecided),
            tag("span", f" filed as {names.get(pair.given, pair.given)}, ", class_="heard"),
            tag("span", names.get(pair.other, "") or NONE_OF_THESE, class_="heard"),
            given=pair.given,
            suggested=pair.other,
        ),
        style=f"--share:{share}%",
    )


def _counts(found: int, undecided: int) -> list[Markup]:
    parts = [tag("b", f"{found:,}", tag("span", " found", class_="heard"))] if found else []
    if undecided:
        parts.append(tag("i", f"+{undecided:,}", tag("span", " undecided", class_="heard")))
    return [join([part, " "]) for part in parts]


def _list(pairs: Sequence[PairTally], names: dict[str, str]) -> Markup:
    """The pairs in words, each with its counts."""
    lines = [
        tag(
            "li",
            link(
                "pair",
                class_name(pair.given, names.get(pair.given, pair.given), beside=names.values()),
                " → ",
                class_name(pair.other, names.get(pair.other, "") or NONE_OF_THESE, beside=names.values()),
                given=pair.given,
                suggested=pair.other,
            ),
            tag("span", *_counts(pair.found, pair.undecided)),
        )
        for pair in pairs
    ]
    return tag("ol", *lines, class_="pairs")
