"""The whole audit in one call."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from filelock import FileLock, Timeout

from gradattn_core.audit.findings import tell_doubts
from gradattn_core.audit.merge import finish, is_stored, merge
from gradattn_core.audit.plan import Plan, finished_audit, make_plan, output_folder, survey_dataset
from gradattn_core.audit.previews import write_previews
from gradattn_core.audit.rank import judge
from gradattn_core.audit.stages import FINETUNE, INTERPRET, SWEEP
from gradattn_core.audit.workers import local_workers, run_stage
from gradattn_core.config import AuditConfig
from gradattn_core.errors import GradattnError, OutputBusyError
from gradattn_core.progress import Progress, silent
from gradattn_core.records import AuditSummary


def run_audit(config: AuditConfig, progress: Progress = silent) -> AuditSummary:
    """Audit a dataset from listing to candidates.csv, continuing where an interrupted run of the same audit stopped.

    Every GPU of this machine is used where the device is ``auto`` or ``cuda``, see
    :class:`~gradattn_core.audit.workers.Workers`.

    Args:
        config: what to audit and how.
        progress: told ``(stage, done, total)``.

    Returns:
        counts, worst class pairs, and where the files are.

    Raises:
        GradattnError: with one sentence on what cannot be used and what would work.
    """
    if config.runner != "local":
        raise GradattnError(f"runner {config.runner!r} spreads the tasks of a flow; run the audit as one")
    with output_lock(config.out):
        seconds: dict[str, float] = {}
        with _timed(seconds, "plan"):
            plan = plan_audit(config, progress)
            if isinstance(plan, str):
                return finish(output_folder(config.out), plan)
        if not is_stored(plan):
            _compute(plan, progress, seconds)
        with _timed(seconds, "store"):
            summary = merge(plan, progress)
        return replace(summary, seconds=seconds)


def plan_audit(config: AuditConfig, progress: Progress = silent) -> Plan | str:
    """The plan to work on, or the id of the finished audit that this one would repeat.

    Raises:
        GradattnError: the dataset, the model or the output folder cannot be used.
    """
    progress("plan", 0, 1)
    survey = survey_dataset(config)
    finished = finished_audit(config, survey)
    if finished is not None:
        return finished
    plan = make_plan(config, survey)
    progress("plan", 1, 1)
    return plan


def _compute(plan: Plan, progress: Progress, seconds: dict[str, float]) -> None:
    """Every step between plan and merge; a step whose result is there returns at once."""
    with local_workers(plan) as workers:
        with _timed(seconds, "sweep"):
            run_stage(plan, SWEEP, workers, progress)
        if plan.head == "finetune":
            with _timed(seconds, "fine-tune"):
                run_stage(plan, FINETUNE, workers, progress)
        with _timed(seconds, "rank"):
            judge(plan, progress)
        with _timed(seconds, "interpret"):
            run_stage(plan, INTERPRET, workers, progress)
    with _timed(seconds, "findings"):
        tell_doubts(plan, progress)
        write_previews(plan, progress)


@contextmanager
def output_lock(out: str) -> Iterator[None]:
    """One audit at a time writes to an output folder.

    Raises:
        OutputBusyError: another one is at work there.
    """
    lock = FileLock(output_folder(out) / ".audit.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise OutputBusyError(
            f"output folder {out}: another audit is at work there; wait, or give another --out"
        ) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    start = time.monotonic()
    yield
    seconds[stage] = time.monotonic() - start
