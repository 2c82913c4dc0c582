"""What the terminal shows when an audit is done."""

from __future__ import annotations

import json
from dataclasses import asdict

from rich.console import Console
from rich.table import Table

from gradattn_core.cli.wording import escape
from gradattn_core.records import AuditSummary, News
from gradattn_core.wording import estimate

_PAIRS = 5


def show_summary(summary: AuditSummary, *, as_json: bool, quiet: bool, out: str) -> None:
    """The short table at the end of an audit, or one JSON object."""
    if as_json:
        print(json.dumps(asdict(summary), default=str))
        return
    if quiet:
        return
    console = Console()
    console.print(
        f"[bold]{summary.images:,}[/] images, [bold]{summary.suspects:,}[/] suspects, "
        f"{summary.failures:,} failures, {summary.skipped:,} files skipped"
    )
    console.print(
        estimate(
            summary.estimated_errors,
            summary.estimated_low,
            summary.estimated_high,
            images=summary.images,
            first=summary.first,
            found=summary.found,
        ),
        soft_wrap=True,
    )
    if summary.news is not None:
        console.print(news(summary.news), soft_wrap=True, highlight=False)
    if summary.class_pairs:
        console.print(_pair_table(summary))
    for warning in summary.warnings:
        console.print(f"[yellow]note[/] {escape(warning)}", soft_wrap=True)
    if summary.seconds:
        times = ", ".join(f"{stage} {seconds:,.0f} s" for stage, seconds in summary.seconds.items())
        console.print(f"[dim]{times}[/]", soft_wrap=True)
    console.print(f"candidates  {escape(str(summary.candidates))}", soft_wrap=True, highlight=False)
    console.print(f"database    {escape(str(summary.database))}", soft_wrap=True, highlight=False)
    console.print(f"next        gradattn ui --out {escape(out)}", soft_wrap=True, highlight=False)


def news(since: News) -> str:
    """One line on what has changed since the audit before."""
    return f"since audit {escape(since.since)}: {since.words} [dim](gradattn diff lists them)[/]"


def _pair_table(summary: AuditSummary) -> Table:
    table = Table("given", "looks like", box=None, title="worst class pairs", title_justify="left", pad_edge=False)
    for name in ("suspects", "expected wrong", "of its class"):
        table.add_column(name, justify="right")
    for pair in summary.class_pairs[:_PAIRS]:
        table.add_row(
            escape(str(pair["given_label"])),
            escape(str(pair["suggested_label"])),
            f"{pair['suspects']:,}",
            f"{pair['expected']:,.1f}",
            f"{pair['share']:.1%}",
        )
    return table
