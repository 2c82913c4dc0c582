"""``gradattn pairs``: which class is polluted by which, and where to look."""

from __future__ import annotations

import argparse
from functools import partial
from typing import TYPE_CHECKING

from gradattn_core.cli.options import Commands, command, open_audit, require_one_of
from gradattn_core.cli.summary import rows_at_most, source
from gradattn_core.cli.terminal import console, escape, is_number, table, tell
from gradattn_core.estimates import percent
from gradattn_core.kinds import suggestion

if TYPE_CHECKING:
    from gradattn_core.health import PairReport

_PAIRS = 20
# Of so many pairs the files are named in the text; --json names those of all.
_PAIRS_WITH_EXAMPLES = 3
_EXAMPLES = 3


def add(commands: Commands) -> None:
    pairs = command(
        commands,
        "pairs",
        run_pairs,
        "Which class is polluted by which: given label, what its suspects look like, how many, and where to look.",
        "  gradattn pairs\n  gradattn pairs --given kite --top 3\n  gradattn pairs --json",
    )
    source(pairs)
    pairs.add_argument("--given", metavar="LABEL", help="only this given label")
    pairs.add_argument("--suggested", metavar="LABEL", help="only this suggested label; '' for none of the classes")
    pairs.add_argument(
        "--top", type=int, metavar="N", help=f"how many pairs, worst first (default {_PAIRS}; all with --json)"
    )


def run_pairs(options: argparse.Namespace) -> int:
    """Show the class pairs with suspects, those with most labels believed wrong first."""
    from gradattn_core.health import pair_report

    top = rows_at_most(options, _PAIRS)
    store, audit_id = open_audit(options)
    frame = store.audits.class_pairs(audit_id)
    for column, label in (("given_label", options.given), ("suggested_label", options.suggested)):
        # The empty one is no class: it is suggested where a picture is of none.
        if label is not None and (label or column == "given_label"):
            require_one_of(f"audit {audit_id} has no class {label!r}", label, store.audits.classes(audit_id))
            frame = frame[frame[column] == label]
    pairs = [pair_report(store, audit_id, row) for row in frame.head(top).itertuples()]
    nothing = "no suspects" if options.given is None and options.suggested is None else "no suspects of this pair"
    tell(options, pairs, partial(_show_pairs, pairs, len(frame)) if pairs else [nothing])
    return 0


def _show_pairs(pairs: list[PairReport], count: int) -> None:
    drawn = table(["given", "looks like"], ["suspects", "believed wrong", "lift", "of its class"])
    drawn.add_column("where it shows", no_wrap=True)
    for pair in pairs:
        drawn.add_row(
            escape(pair.given_label),
            escape(suggestion(pair.suggested_label)),
            f"{pair.suspects:,}",
            f"{pair.expected:,.1f}" if is_number(pair.expected) else "",
            f"{pair.lift:.1f}×" if is_number(pair.lift) else "",
            percent(pair.share, 1) if is_number(pair.share) else "",
            pair.where,
        )
    screen = console()
    screen.print(drawn)
    if count > len(pairs):
        screen.print(f"[dim]{count - len(pairs):,} more pairs; --top {count} shows them all[/]")
    for pair in pairs[:_PAIRS_WITH_EXAMPLES]:
        names = (escape(pair.given_label), escape(suggestion(pair.suggested_label, "; ".join(pair.outside_labels))))
        screen.print(f"\n{' → '.join(names)}", soft_wrap=True, highlight=False)
        examples = {"most suspect": pair.most_suspect}
        examples |= {f"a sure {label}": paths for label, paths in pair.exemplars.items()}
        for what, paths in examples.items():
            for path in paths[:_EXAMPLES]:
                screen.print(f"  {escape(what)}: {escape(path)}", soft_wrap=True, highlight=False)
