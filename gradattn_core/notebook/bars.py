"""How far a call is: a bar in the cell of a notebook, the terminal's bars, or nothing."""

from __future__ import annotations

import html
import importlib
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from gradattn_core.cli.terminal import progress_display
from gradattn_core.errors import GradattnError
from gradattn_core.progress import Progress, silent

_EVERY = 0.2
"""Seconds between two drawings of a bar."""


def progress_bars(wanted: Progress | bool | None) -> AbstractContextManager[Progress]:
    """What is told of an audit's steps: the caller's own function, bars (True), nothing (False), or what suits (None).

    Raises:
        GradattnError: it is none of these.
    """
    if wanted is False:
        return nullcontext(silent)
    if callable(wanted):
        return nullcontext(wanted)
    if wanted is not None and wanted is not True:
        raise GradattnError(
            f"progress is a {type(wanted).__name__}; give True, False, or a function of (step, done, total)"
        )
    if in_notebook():
        return _bar_of_cell()
    return progress_display(quiet=wanted is None and not sys.stderr.isatty())


def in_notebook() -> bool:
    """Whether this runs in a kernel whose cells show HTML."""
    shell = sys.modules.get("IPython")
    current = None if shell is None else shell.get_ipython()
    return current is not None and getattr(current, "kernel", None) is not None


@contextmanager
def _bar_of_cell() -> Iterator[Progress]:
    """One bar, drawn over and over in its place, that goes when the audit is done."""
    shown: Any = importlib.import_module("IPython.display")
    handle = shown.display(shown.HTML(""), display_id=True)
    drawn = 0.0

    def report(step: str, done: int, total: int) -> None:
        nonlocal drawn
        now = time.monotonic()
        if now - drawn >= _EVERY or done >= total:
            drawn = now
            handle.update(shown.HTML(_bar(step, done, total)))

    try:
        yield report
    finally:
        handle.update(shown.HTML(""))


def _bar(step: str, done: int, total: int) -> str:
    counted = f"{done:,} of {total:,}" if total > 1 else ""
    return (
        f'<div style="font:13px system-ui,sans-serif"><span style="display:inline-block;width:6em">{html.escape(step)}'
        f'</span> <progress max="{max(total, 1)}" value="{done}"></progress> {counted}</div>'
    )
