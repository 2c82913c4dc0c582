"""Progress on the terminal. Imports no model, so that commands without one answer soon."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from gradattn_core.cli.wording import escape

if TYPE_CHECKING:  # the package of audits imports torch
    from gradattn_core.progress import Progress as Report

PATIENCE = 2.0


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
        yield _silent
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
            try:
                yield _bars(bars)
            finally:
                # Nothing of a stage that came to nothing stands above the sentence that says why.
                for task in bars.tasks:
                    bars.update(task.id, visible=task.completed > 0)


@contextmanager
def late_progress(stage: str, *, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """A progress display that appears only when the work has lasted two seconds and is not done."""
    begun = time.monotonic()
    shown: list[Report] = []
    with ExitStack() as stack:

        def told(done: int, total: int) -> None:
            if not quiet and not shown and done < total and time.monotonic() - begun > PATIENCE:
                shown.append(stack.enter_context(progress_display(quiet=False)))
            for report in shown:
                report(stage, done, total)

        yield told


def _silent(stage: str, done: int, total: int) -> None:
    pass


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
        # A step without units of its own tells only that it is done: what refuses to begin is said in one sentence.
        if tenth != shown.get(stage) and (done, total) != (0, 1):
            shown[stage] = tenth
            print(f"{stage}: {done:,} of {total:,}", file=sys.stderr, flush=True)

    return report
