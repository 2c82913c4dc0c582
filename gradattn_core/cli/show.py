"""What the terminal shows: progress on stderr, results on stdout."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from gradattn_core.audit.progress import Progress as Report
from gradattn_core.audit.progress import silent
from gradattn_core.cli.wording import escape, estimate
from gradattn_core.records import AuditSummary

_PAIRS = 5


class _Speed(ProgressColumn):
    """Units per second of the running stage."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None or task.total == 1 else f"{speed:,.1f}/s", style="progress.data.speed")


@contextmanager
def progress_display(*, quiet: bool) -> Iterator[Report]:
    """One bar per stage on a terminal, one line per tenth of a stage elsewhere, nothing when quiet."""
    console = Console(stderr=True)
    if quiet:
        yield silent
    elif not console.is_terminal:
        yield _lines()
    else:
        columns = (
            TextColumn("{task.description:<10}"),
            BarColumn(),
            MofNCompleteColumn(),
            _Speed(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=console) as bars:
            yield _bars(bars)


def _bars(bars: Progress) -> Report:
    tasks: dict[str, int] = {}

    def report(stage: str, done: int, total: int) -> None:
        if stage not in tasks:
            tasks[stage] = bars.add_task(escape(stage), total=total)
        bars.update(bars.task_ids[tasks[stage]], completed=done, total=total)

    return report


def _lines() -> Report:
    shown: dict[str, int] = {}

    def report(stage: str, done: int, total: int) -> None:
        tenth = 10 if total == 0 else 10 * done // total
        if tenth != shown.get(stage):
            shown[stage] = tenth
            print(f"{stage}: {done:,} of {total:,}", file=sys.stderr, flush=True)

    return report


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
