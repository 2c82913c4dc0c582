"""What an audit that is at work has done so far, for pages that are about something else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import streamlit as st

from gradattn_core.outfolder import is_locked
from gradattn_core.progress import StepProgress, UnfinishedAudit, duration, unfinished_audits

_SECONDS = 5
"""Between two looks."""


def step_text(progress: StepProgress, audit: UnfinishedAudit) -> str:
    """How far a step is, in words."""
    step = progress.step
    if progress.is_over:
        return f"{step.title}: done"
    if progress is not audit.current:
        return step.title
    counts = f"{progress.done:,} of {progress.total:,} {step.unit}" if step.unit else "at work"
    rest = f", about {duration(audit.seconds_left)} left" if audit.seconds_left is not None else ""
    return f"{step.title}: {counts}{rest}"


def sentence(out: Path) -> str:
    """What is at work in an output folder, or was interrupted before anything finished; ``""`` where nothing is."""
    audits = unfinished_audits(out)
    if not is_locked(out):
        if not audits:
            return ""
        name, current = Path(audits[0].dataset).name, audits[0].current
        place = f"in step {current.step.name}, {current.share:.0%} done"
        return f"An audit of {name} was interrupted {place}. The same command goes on from there."
    if not audits:
        return "An audit has begun: it is looking through the dataset."
    audit = audits[0]
    step = step_text(audit.current, audit)
    share = f" ({audit.current.share:.0%})" if audit.current.step.unit else ""
    return f"An audit of {Path(audit.dataset).name} is at work. {step}{share}."


def line(out: Path, finished: Callable[[], object]) -> None:
    """The sentence while an audit is at work, looked at again every few seconds.

    Args:
        finished: is called once it has ended, before the page is drawn anew.
    """
    locked = is_locked(out)
    # Whether one begins while the page is open is asked too, but less often.
    st.fragment(_line, run_every=_SECONDS if locked else 4 * _SECONDS)(out, locked, finished)


def first(out: Path, arrived: Callable[[], bool]) -> bool:
    """The page of a folder in which no audit has finished, where one is at work or was interrupted; else False.

    Args:
        arrived: whether one has finished by now.
    """
    said = sentence(out)
    if said:
        st.title("The first audit is at work" if is_locked(out) else "No audit here yet", anchor=False)
        st.fragment(_first, run_every=_SECONDS)(out, arrived)
    return bool(said)


def _line(out: Path, was_locked: bool, finished: Callable[[], object]) -> None:
    locked = is_locked(out)
    if was_locked != locked:
        finished()
        st.rerun()
    if locked:
        with st.container(key="quiet-at-work-now"):
            st.text(sentence(out))


def _first(out: Path, arrived: Callable[[], bool]) -> None:
    if arrived():
        st.rerun()
    st.text(sentence(out) or "It has ended without a result; the Audits page says why.")
    audits = unfinished_audits(out)
    if audits:
        current = audits[0].current
        st.progress(current.share, step_text(current, audits[0]))
