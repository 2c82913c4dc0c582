"""Runs that nobody is at work on any more, and runs that fell due while there was no worker.

Prefect notices neither that a worker died nor that a run could not report how it ended, because its database was away:
such runs stay Running for ever. The worker of their name continues them: the next one, and the one that lives.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter, TaskRunFilter, WorkPoolFilter
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectNotFound
from prefect.logging import get_logger
from prefect.states import Cancelled, Crashed, Scheduled

from flows.status import OF_AUDITS
from gradattn_core import outfolder
from gradattn_core.errors import GradattnError, OutputBusyError

_WORKER = "prefect.worker.name"
_BY_SCHEDULE = "auto-scheduled"
_MOST_RUNS = 200
# An audit that takes its machine down with it would do so for ever.
_TRIES = 3
_IN_FLIGHT = (StateType.PENDING, StateType.RUNNING, StateType.CANCELLING)
_PROCESSES = Path("/proc")
_BETWEEN_LOOKS = 30.0
_logger = get_logger("gradattn.worker")


def orphaned_runs(client: SyncPrefectClient, pool: str, name: str) -> list[FlowRun]:
    """The runs that were in flight when the worker of this name was last heard of; ask before it starts again."""
    last_heartbeat = max(
        (
            each.last_heartbeat_time
            for each in client.read_workers_for_work_pool(pool)
            if each.name == name and each.last_heartbeat_time
        ),
        default=None,
    )
    if last_heartbeat is None:
        return []
    runs = _runs(client, pool, {"state": {"type": {"any_": [*_IN_FLIGHT, StateType.CRASHED]}}})
    return [run for run in runs if run.labels.get(_WORKER, name) == name and _is_orphan(run, last_heartbeat)]


def skip_missed_runs(client: SyncPrefectClient, pool: str) -> int:
    """Of the runs of a schedule that fell due while no worker ran, leave only the last; how many were skipped."""
    late = {
        "state": {"type": {"any_": [StateType.SCHEDULED]}},
        "expected_start_time": {"before_": datetime.now(UTC)},
        "tags": {"all_": [_BY_SCHEDULE]},
    }
    caught_up: set[UUID | None] = set()
    skipped = 0
    for run in _runs(client, pool, late):
        # One that was begun is not missed.
        if run.run_count == 0 and run.deployment_id in caught_up:
            message = "no worker ran when this was due; a later run makes up for it"
            client.set_flow_run_state(run.id, Cancelled(name="Skipped", message=message))
            skipped += 1
        caught_up.add(run.deployment_id)
    return skipped


def lost_runs(client: SyncPrefectClient, pool: str, names: Collection[str], since: datetime) -> list[FlowRun]:
    """The runs of workers of these names that are in flight, or have crashed since and may be tried again."""
    runs = _runs(client, pool, {"state": {"type": {"any_": [*_IN_FLIGHT, StateType.CRASHED]}}})
    return [run for run in runs if run.labels.get(_WORKER) in names and _may_be_lost(run, since)]


def watch_runs(
    client: SyncPrefectClient,
    orphans: Collection[FlowRun],
    look: Callable[[], Collection[FlowRun]],
    ended: threading.Event,
    *,
    pause: float = 5.0,
    between_looks: float = _BETWEEN_LOOKS,
    starting: timedelta = timedelta(seconds=90),
) -> None:
    """Have each run that is seen to be dead run again, until ``ended`` is set.

    Args:
        orphans: runs that an earlier worker left.
        look: finds further ones, such as :func:`lost_runs`.
        pause: seconds from one look at each of them to the next.
        between_looks: seconds from one look for further ones to the next.
        starting: how long it may take from the taking of a run to its process's first word.
    """
    times_dead = {run.id: 0 for run in orphans}
    looked, silent = time.monotonic(), False
    while not ended.is_set():
        try:
            if time.monotonic() - looked >= between_looks:
                times_dead = {run.id: 0 for run in look()} | times_dead
                looked = time.monotonic()
            for identity in list(times_dead):
                _look_at(client, identity, times_dead, starting)
            silent = False
        except httpx.HTTPError as error:
            # Away for an hour it is told of once.
            if not silent:
                _logger.warning("Prefect's server does not answer: %s", error)
            silent = True
        ended.wait(pause)


def _look_at(client: SyncPrefectClient, identity: UUID, times_dead: dict[UUID, int], starting: timedelta) -> None:
    """Count how often in turn a run was seen to be dead, and settle it; forget one that needs no watching."""
    try:
        run = client.read_flow_run(identity)
        times_dead[identity] = times_dead[identity] + 1 if _is_dead(run, starting) else 0
        # Between its states a living run holds no lock for a moment.
        if times_dead[identity] > 1 or not _is_in_flight(run):
            _settle(client, run)
            del times_dead[identity]
    except ObjectNotFound:
        del times_dead[identity]


def _runs(client: SyncPrefectClient, pool: str, conditions: Mapping[str, object]) -> list[FlowRun]:
    """Of audits, from a work pool, under the conditions of a ``FlowRunFilter``; the last one due comes first."""
    return client.read_flow_runs(
        flow_filter=OF_AUDITS,
        flow_run_filter=FlowRunFilter.model_validate(conditions),
        work_pool_filter=WorkPoolFilter.model_validate({"name": {"any_": [pool]}}),
        sort=FlowRunSort.EXPECTED_START_TIME_DESC,
        limit=_MOST_RUNS,
    )


def _is_orphan(run: FlowRun, last_heartbeat: datetime) -> bool:
    """In flight, or crashed after the last sign of life of its worker, and so together with it."""
    return run.state is not None and (run.state.type in _IN_FLIGHT or run.state.timestamp >= last_heartbeat)


def _may_be_lost(run: FlowRun, since: datetime) -> bool:
    if run.state is None or run.state.type != StateType.CRASHED:
        return True
    return run.state.timestamp >= since and run.run_count < _TRIES


def _is_in_flight(run: FlowRun) -> bool:
    return run.state is not None and run.state.type in _IN_FLIGHT


def _is_dead(run: FlowRun, starting: timedelta) -> bool:
    """Whether no process is at work on a run in flight: none here is its own, and none locks its output folder."""
    if run.state is None or _has_process(run):
        return False
    if run.state.type == StateType.PENDING:
        return datetime.now(UTC) - run.state.timestamp > starting
    out = run.parameters.get("out")
    if not out:
        return True
    try:
        with outfolder.lock(str(out)):
            return True
    except OutputBusyError:
        return False
    except GradattnError:
        return True


def _has_process(run: FlowRun) -> bool:
    """Whether a process of this machine or container says in its environment that it is this run's.

    Its number alone would say nothing: after a restart another process may have it. Where processes cannot be looked
    at, False.
    """
    wanted = f"PREFECT__FLOW_RUN_ID={run.id}".encode()
    for environment in _PROCESSES.glob("[0-9]*/environ"):
        try:
            if wanted in environment.read_bytes():
                return True
        except OSError:
            continue
    return False


def _settle(client: SyncPrefectClient, run: FlowRun) -> None:
    state: State[None]
    if run.state is None or run.state.type not in (*_IN_FLIGHT, StateType.CRASHED):
        return
    if run.state.type == StateType.CANCELLING:
        state = Cancelled(message="its process was killed")
    elif run.run_count >= _TRIES:
        state = Crashed(message=f"its process ended {run.run_count} times during this run, so it is not tried again")
    else:
        state = Scheduled(name="Continued", message="its process ended; what it had finished is kept")
    _end_tasks(client, run)
    client.set_flow_run_state(run.id, state, force=True)
    _logger.info("Run %r was left by a process that ended: now %s", run.name, state.name)


def _end_tasks(client: SyncPrefectClient, run: FlowRun) -> None:
    """What its process was at work on when it ended is not at work any more."""
    tasks = client.read_task_runs(
        flow_run_filter=FlowRunFilter.model_validate({"id": {"any_": [run.id]}}),
        task_run_filter=TaskRunFilter.model_validate({"state": {"type": {"any_": list(_IN_FLIGHT)}}}),
        limit=_MOST_RUNS,
    )
    for task in tasks:
        client.set_task_run_state(task.id, Crashed(message="its process ended"), force=True)
