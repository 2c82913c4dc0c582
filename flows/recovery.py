"""Runs that a worker left behind when it was killed, and runs that fell due while there was none.

Prefect does not notice that a worker died: its runs stay Running for ever, unless their processes lived to report.
The next worker of the same name continues them.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter, WorkPoolFilter
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


def continue_runs(
    client: SyncPrefectClient,
    runs: list[FlowRun],
    ended: threading.Event,
    *,
    pause: float = 5.0,
    starting: timedelta = timedelta(seconds=90),
) -> None:
    """Watch these runs until each has ended by itself or is seen to be dead, and have the dead ones run again.

    Args:
        ended: set it to stop watching.
        pause: seconds from one look at them to the next.
        starting: how long it may take from the taking of a run to its process's first word.
    """
    times_dead = {run.id: 0 for run in runs}
    while times_dead and not ended.is_set():
        for identity in list(times_dead):
            try:
                run = client.read_flow_run(identity)
                times_dead[identity] = times_dead[identity] + 1 if _is_dead(run, starting) else 0
                # Between its states a living run holds no lock for a moment.
                if times_dead[identity] > 1 or not _is_in_flight(run):
                    _settle(client, run)
                    del times_dead[identity]
            except ObjectNotFound:
                del times_dead[identity]
            except httpx.HTTPError as error:
                _logger.warning("Prefect's server does not answer: %s", error)
        ended.wait(pause)


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


def _is_in_flight(run: FlowRun) -> bool:
    return run.state is not None and run.state.type in _IN_FLIGHT


def _is_dead(run: FlowRun, starting: timedelta) -> bool:
    """Whether no process is at work on a run in flight: a living one holds the lock of its output folder."""
    if run.state is None:
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


def _settle(client: SyncPrefectClient, run: FlowRun) -> None:
    state: State[None]
    if run.state is None or run.state.type not in (*_IN_FLIGHT, StateType.CRASHED):
        return
    if run.state.type == StateType.CANCELLING:
        state = Cancelled(message="its worker was killed")
    elif run.run_count >= _TRIES:
        state = Crashed(message=f"its worker ended {run.run_count} times during this run, so it is not tried again")
    else:
        state = Scheduled(name="Continued", message="its worker ended; what it had finished is kept")
    client.set_flow_run_state(run.id, state, force=True)
    _logger.info("Run %r was left by a worker that ended: now %s", run.name, state.name)
