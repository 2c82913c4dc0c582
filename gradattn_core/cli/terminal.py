"""What commands say: one JSON object, or sentences and tables, or nothing; and on the way, how far they are."""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime
from typing import Any, TypeGuard

from rich.console import Console
from rich.markup import escape as escape_markup
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from gradattn_core.progress import Progress as Report
from gradattn_core.progress import duration, silent

PATIENCE = 2.0
# A label or a path may hold any of them, and a terminal obeys most; the tabulator and the end of a line stay. The
# last two rows turn what stands after them the other way round.
_CONTROLS = {
    code: None
    for code in (*range(32), *range(127, 160), 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
    if chr(code) not in "\t\n"
}
# A table for a file or a pipe is as wide as its cells are: whoever reads it there looks for whole paths.
_UNBOUNDED = 100_000
_log_format = "text"


def log_as(form: str) -> None:
    """From now on what is said on the way, on standard error, is ``text`` or ``json``, an object a line."""
    global _log_format
    _log_format = form


def log(event: str, message: str, text: str, **facts: object) -> None:
    """Say something on standard error: ``text``, or an object with time, event, message and facts."""
    if _log_format == "json":
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        entry = {"time": now, "event": event, "message": harmless(message), **facts}
        print(json.dumps(_json_value(entry)), file=sys.stderr, flush=True)
    else:
        print(harmless(text), file=sys.stderr, flush=True)


def tell(options: argparse.Namespace, facts: object, text: Iterable[str] | Callable[[], object]) -> None:
    """Answer in the style that was asked for: ``facts`` with ``--json``, nothing with ``--quiet``, else ``text``.

    Args:
        options: with ``json``, and with ``quiet`` where the command has it.
        facts: a record, a mapping, a frame, or a list of them; what is absent, NaN or infinite in it becomes null.
        text: sentences, or what shows a longer text.
    """
    if options.json:
        print_json(facts)
    elif getattr(options, "quiet", False):
        return
    elif callable(text):
        text()
    else:
        for sentence in text:
            print(harmless(sentence))


def print_json(facts: object) -> None:
    """One line of JSON; letters of other alphabets as they are, or escaped where standard output cannot hold them."""
    value = _json_value(facts)
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(value)
    print(text)


def print_bytes(content: bytes) -> None:
    """A file on standard output: the same bytes as on the disk, whatever the terminal's encoding."""
    sys.stdout.flush()
    stream = getattr(sys.stdout, "buffer", None)
    if stream is None:  # a stand-in, as a notebook has
        sys.stdout.write(content.decode())
    else:
        stream.write(content)


def _json_value(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return _json_value(asdict(value))
    if hasattr(value, "tolist"):  # a number of numpy
        return _json_value(value.tolist())
    if hasattr(value, "to_dict"):  # a frame
        return _json_value(value.to_dict("records"))
    if isinstance(value, dict):
        return {str(name): _json_value(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_json_value(entry) for entry in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | int) else str(value)


def is_number(value: float | None) -> TypeGuard[float]:
    """Whether it is one: None and NaN stand for numbers that older audits lack."""
    return value is not None and not math.isnan(value)


def harmless(text: str) -> str:
    """A text without the characters that a terminal takes for commands."""
    return text.translate(_CONTROLS)


def escape(text: str) -> str:
    """A label or path for :func:`console`: neither markup nor a terminal's commands."""
    return escape_markup(harmless(text))


def console() -> Console:
    """Standard output for tables and colours; ``:car:`` in a label stays as it is."""
    screen = Console(emoji=False)
    return screen if screen.is_terminal else Console(emoji=False, width=_UNBOUNDED)


def table(texts: Iterable[str], numbers: Iterable[str] = (), **how: Any) -> Table:
    """An empty table with its columns of text and, to the right of them, of numbers."""
    drawn = Table(*texts, box=None, pad_edge=False, **how)
    for name in numbers:
        drawn.add_column(name, justify="right", no_wrap=True)
    return drawn


class _Speed(ProgressColumn):
    """Units per second of the running stage."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None or task.total == 1 else f"{speed:,.1f}/s", style="progress.data.speed")


@contextmanager
def progress_display(*, quiet: bool) -> Iterator[Report]:
    """One bar per stage on a terminal, one line per tenth of a stage elsewhere or in JSON, nothing when quiet."""
    errors = Console(stderr=True)
    if quiet:
        yield silent
    elif not errors.is_terminal or _log_format == "json":
        yield _lines()
    else:
        columns = (
            TextColumn("{task.description:<10}"),
            BarColumn(),
            MofNCompleteColumn(),
            _Speed(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=errors) as bars:
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


def _bars(bars: Progress) -> Report:
    tasks: dict[str, int] = {}

    def report(stage: str, done: int, total: int) -> None:
        if stage not in tasks:
            tasks[stage] = bars.add_task(escape(stage), total=total)
        bars.update(bars.task_ids[tasks[stage]], completed=done, total=total)

    return report


def _lines() -> Report:
    shown: dict[str, int] = {}
    begun: dict[str, tuple[float, int]] = {}

    def report(stage: str, done: int, total: int) -> None:
        tenth = 10 if total == 0 else 10 * done // total
        # What an interrupted audit had done already says nothing about the pace.
        since, before = begun.setdefault(stage, (time.monotonic(), done))
        # A step without units of its own tells only that it is done: what refuses to begin is said in one sentence.
        if tenth != shown.get(stage) and (done, total) != (0, 1):
            shown[stage] = tenth
            elapsed = time.monotonic() - since
            left = elapsed * (total - done) / (done - before) if done > before and elapsed > PATIENCE else None
            soon = "" if not left else f", about {duration(left)} left"
            counted = f"{stage}: {done:,} of {total:,}"
            log("progress", counted, f"{counted}{soon}", step=stage, done=done, total=total, seconds_left=left)

    return report
