"""The whole audit in one call."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace

from gradattn_core import outfolder
from gradattn_core.audit.merge import summarise
from gradattn_core.audit.plan import plan_audit
from gradattn_core.audit.stages import stages_left
from gradattn_core.audit.workers import local_workers, run_stage
from gradattn_core.config import AuditConfig
from gradattn_core.errors import GradattnError
from gradattn_core.progress import PLAN, Progress, silent
from gradattn_core.records import AuditSummary


def audit_images(config: AuditConfig, progress: Progress = silent) -> AuditSummary:
    """Audit a dataset from listing to candidates.csv, continuing where an interrupted run of the same audit stopped.

    Every GPU of this machine is used where the device is ``auto`` or ``cuda``, see
    :class:`~gradattn_core.audit.workers.Workers`.

    Args:
        config: what to audit and how.
        progress: told ``(step, done, total)``.

    Returns:
        counts, worst class pairs, where the files are, and the seconds of each step.

    Raises:
        GradattnError: with one sentence on what cannot be used and what would work.
    """
    if config.runner != "local":
        raise GradattnError(f"runner {config.runner!r} spreads the tasks of a flow; run the audit as one")
    with outfolder.lock(config.out):
        seconds: dict[str, float] = {}
        with _timed(seconds, PLAN.name):
            plan = plan_audit(config, progress)
        shared, others = stages_left(plan)
        with local_workers(plan) if shared else nullcontext() as workers:
            for stage in shared:
                with _timed(seconds, stage.name):
                    run_stage(plan, stage, workers, progress)
        for stage in others:
            with _timed(seconds, stage.name):
                run_stage(plan, stage, None, progress)
        return replace(summarise(plan.out, plan.audit_id), seconds={} if plan.is_finished else seconds)


@contextmanager
def _timed(seconds: dict[str, float], step: str) -> Iterator[None]:
    start = time.monotonic()
    yield
    seconds[step] = time.monotonic() - start
