"""``gradattn summary``, and the table at the end of an audit: what was found, in short."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from rich.table import Table

from gradattn_core.cli.options import CommandParser, Commands, command, open_audit, out_folder, which_audit
from gradattn_core.cli.terminal import console, escape, is_number, table, tell
from gradattn_core.errors import StoreError
from gradattn_core.estimates import agreement, percent
from gradattn_core.kinds import KINDS, suggestion

if TYPE_CHECKING:
    import pandas as pd

    from gradattn_core.health import Health
    from gradattn_core.records import AuditSummary, Difference, Unjudged
    from gradattn_core.store.proof import SpotCheck

_FACTS = (
    *("audit_id", "dataset", "model", "head", "finished_at", "images", "suspects"),
    *("failures", "skipped"),
    *("estimated_errors", "estimated_low", "estimated_high"),
)
_WORST_PAIRS = 5
# Of a table on the screen; a program gets all of them.
_CLASSES = 10
_KINDS_NOT_JUDGED = 5


def add(commands: Commands) -> None:
    summary = command(
        commands,
        "summary",
        run_summary,
        "How many labels are wrong, as the model believes or a random check measured, in total and per class, the "
        "kinds of doubt, and how far the review is.",
        "  gradattn summary\n  gradattn summary --top 5 --json",
    )
    source(summary)
    summary.add_argument(
        "--top", type=int, metavar="N", help=f"how many classes, worst first (default {_CLASSES}; all with --json)"
    )


def source(parser: CommandParser) -> None:
    out_folder(parser)
    which_audit(parser)
    parser.add_argument("--json", action="store_true", help="JSON on standard output")


def run_summary(options: argparse.Namespace) -> int:
    """Show the health of the audited dataset and how far its review is."""
    from gradattn_core.health import health_of

    top = rows_at_most(options, _CLASSES)
    store, audit_id = open_audit(options)
    health = health_of(store, audit_id)
    tell(options, _health_facts(health, top), partial(_show_health, health, top))
    return 0


def show_audit(summary: AuditSummary, out: str) -> None:
    """The short table at the end of an audit."""
    from gradattn_core.wording import estimate_of

    screen = console()
    screen.print(
        f"[bold]{summary.images:,}[/] images, [bold]{summary.suspects:,}[/] suspects, "
        f"{summary.failures:,} failures, {summary.skipped:,} files skipped"
    )
    screen.print(estimate_of(summary), soft_wrap=True)
    if summary.checked:
        screen.print(summary.checked, soft_wrap=True)
    if summary.measured:
        screen.print(agreement(summary.agreeing, summary.measured), soft_wrap=True)
    if summary.news is not None:
        screen.print(news(summary.news), soft_wrap=True, highlight=False)
    if summary.class_pairs:
        screen.print(_worst_pairs(summary))
    show_not_judged(summary.not_judged)
    for warning in summary.warnings:
        screen.print(f"[yellow]note[/] {escape(warning)}", soft_wrap=True)
    if summary.seconds:
        times = ", ".join(f"{stage} {seconds:,.0f} s" for stage, seconds in summary.seconds.items())
        screen.print(f"[dim]{times}[/]", soft_wrap=True)
    if summary.computed:
        screen.print(f"computed    {escape(summary.computed)}", soft_wrap=True, highlight=False)
    screen.print(f"candidates  {escape(str(summary.candidates))}", soft_wrap=True, highlight=False)
    screen.print(f"database    {escape(str(summary.database))}", soft_wrap=True, highlight=False)
    screen.print(f"next        gradattn ui --out {escape(out)}", soft_wrap=True, highlight=False)


def show_not_judged(groups: Sequence[Unjudged], everywhere: str = "gradattn export failures names each") -> None:
    """A line for each of the first groups of what was not judged, and where the others are."""
    screen = console()
    for group in groups[:_KINDS_NOT_JUDGED]:
        where = f" of {group.given_label}" if group.given_label else ""
        counted = f"{group.files:,} {group.ending or 'without an ending'}"
        screen.print(
            escape(f"not judged  {counted if group.files > 1 else group.example}{where}: {group.reason}"),
            soft_wrap=True,
            highlight=False,
        )
    if len(groups) > _KINDS_NOT_JUDGED:
        rest = sum(group.files for group in groups[_KINDS_NOT_JUDGED:])
        screen.print(f"[dim]and {rest:,} more files; {everywhere}[/]")


def news(since: Difference) -> str:
    """One line on what has changed since the audit before."""
    return f"since audit {escape(since.since)}: {since.words} [dim](gradattn diff lists them)[/]"


def rows_at_most(options: argparse.Namespace, default: int) -> int:
    """How many rows: as the option says, or of a table ``default``, and in JSON all."""
    if options.top is None:
        return sys.maxsize if options.json else default
    if options.top < 1:
        raise StoreError(f"--top {options.top} leaves nothing to show; give 1 or more")
    return int(options.top)


def _health_facts(health: Health, top: int) -> dict[str, object]:
    return {
        **{name: getattr(health.audit, name) for name in _FACTS},
        "first": health.first,
        "expected_found": health.expected_found,
        "spot_check": health.check,
        "classes": health.classes.head(top),
        "kinds": health.kinds,
        "measured_suspects": health.measured,
        "agreeing_suspects": health.agreeing,
        "review": health.review,
        "not_judged": list(health.not_judged),
        "warnings": health.audit.warnings,
    }


def _show_health(health: Health, top: int) -> None:
    from gradattn_core.dataset.subset import about_part
    from gradattn_core.health import review_sentence

    audit, screen = health.audit, console()
    screen.print(f"[bold]{escape(audit.dataset)}[/]  {escape(audit.audit_id)}", soft_wrap=True, highlight=False)
    for note in about_part(audit.warnings):
        screen.print(f"[yellow]note[/] {escape(note)}", soft_wrap=True, highlight=False)
    screen.print(health.believed, soft_wrap=True)
    if health.check is not None:
        screen.print(health.check.sentence, soft_wrap=True)
    if health.measured:
        screen.print(agreement(health.agreeing, health.measured), soft_wrap=True)
    screen.print(review_sentence(health.review), soft_wrap=True)
    if health.not_judged:
        screen.print(f"{audit.failures:,} failures, {audit.skipped:,} files skipped")
    show_not_judged(health.not_judged)
    for warning in audit.warnings:
        screen.print(f"[yellow]note[/] {escape(warning)}", soft_wrap=True)
    screen.print()
    screen.print(_class_table(health.classes.head(top), health.check))
    if len(health.classes) > top:
        screen.print(f"[dim]{len(health.classes) - top:,} more classes; --top {len(health.classes)} shows all[/]")
    if health.kinds:
        screen.print()
        screen.print(_kind_table(health.kinds))


def _class_table(classes: pd.DataFrame, check: SpotCheck | None) -> Table:
    measured = {} if check is None else {each.label: f"{each.low:,}–{each.high:,}" for each in check.classes}
    heads = ["images", "suspects", "believed wrong", "range", "of its class", "decided"]
    drawn = table(["class"], [*heads, *(["random check"] if measured else [])])
    row: Any
    for row in classes.itertuples():
        wrong = row.wrong if is_number(row.wrong) else 0.0
        drawn.add_row(
            escape(row.given_label),
            f"{row.images:,}",
            f"{row.suspects:,}",
            f"{wrong:,.1f}",
            f"{row.low:,.1f}–{row.high:,.1f}" if is_number(row.low) else "",
            percent(wrong / row.images, 1),
            f"{row.decided:,}",
            *([measured.get(row.given_label, "")] if measured else []),
        )
    return drawn


def _kind_table(kinds: dict[str, int]) -> Table:
    drawn = table(["kind of doubt"], ["suspects"])
    drawn.add_column("what it means", overflow="fold")
    for kind, suspects in kinds.items():
        drawn.add_row(escape(kind), f"{suspects:,}", KINDS.get(kind, ""))
    return drawn


def _worst_pairs(summary: AuditSummary) -> Table:
    drawn = table(
        ["given", "looks like"],
        ["suspects", "believed wrong", "of its class"],
        title="worst class pairs",
        title_justify="left",
    )
    for pair in summary.class_pairs[:_WORST_PAIRS]:
        drawn.add_row(
            escape(pair.given_label),
            escape(suggestion(pair.suggested_label)),
            f"{pair.suspects:,}",
            f"{pair.expected:,.1f}",
            percent(pair.share, 1),
        )
    return drawn
