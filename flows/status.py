"""What Prefect knows of the audit flow: its deployments, their schedules, and when each runs next.

``python -m flows.status`` prints it as JSON, for programs that do not want Prefect in their own process.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import DeploymentFilter, FlowFilter, FlowRunFilter
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import SCHEDULE_TYPES, CronSchedule, IntervalSchedule, RRuleSchedule
from prefect.client.schemas.sorting import FlowRunSort
from prefect.settings import PREFECT_API_URL

from flows.server import connect, use_server
from gradattn_core.errors import GradattnError

FLOW = "audit"
OF_AUDITS = FlowFilter.model_validate({"name": {"any_": [FLOW]}})
_UNITS = (("w", 604_800), ("d", 86_400), ("h", 3_600), ("m", 60))
_ENDED = [StateType.COMPLETED, StateType.FAILED, StateType.CRASHED, StateType.CANCELLED]


@dataclass(frozen=True, slots=True)
class ScheduleStatus:
    """A schedule of a deployment of the audit flow, or a deployment without one.

    Attributes:
        deployment: ``audit/NAME``.
        dataset, out: parameters; ``""`` where a run has to name them.
        schedule: in words; ``""`` without one.
        active: neither the schedule nor the deployment is paused.
        state: ``running``, ``ready``, or ``no_worker`` where none is there for its pool.
        next_run: of the deployment, ISO 8601 in UTC, by its schedule where Prefect has made no run yet; ``""`` where
            none is due.
        last_run: name of the state in which its last run ended, such as ``Completed`` or ``Skipped``; ``""`` before the
            first.
    """

    deployment: str
    dataset: str
    out: str
    schedule: str
    active: bool
    state: str
    next_run: str
    last_run: str


def schedules(*, start: bool = False) -> list[ScheduleStatus]:
    """Every schedule that Prefect knows, ordered by deployment.

    Args:
        start: start a temporary server where none is set and no worker runs one here.

    Raises:
        GradattnError: there is no Prefect server, or it does not answer.
    """
    with use_server(start=start):
        if not PREFECT_API_URL.value():
            raise GradattnError(
                "no Prefect server is set and none runs here; start gradattn worker, or set PREFECT_API_URL"
            )
        with connect() as client:
            deployments = client.read_deployments(flow_filter=OF_AUDITS)
            listed = [status for deployment in deployments for status in _statuses(client, deployment)]
            return sorted(listed, key=lambda status: (status.deployment, status.schedule))


def has_worker(client: SyncPrefectClient, deployment: DeploymentResponse) -> bool:
    """Whether a worker that was heard of lately serves the deployment's pool."""
    if not deployment.work_pool_name:
        return False
    workers = client.read_workers_for_work_pool(deployment.work_pool_name)
    return any(str(worker.status.value) == "ONLINE" for worker in workers if worker.status)


def words(schedule: SCHEDULE_TYPES) -> str:
    """A schedule as a person reads it, such as ``0 3 * * 1 (Europe/Berlin)`` or ``every 6h (UTC)``."""
    if isinstance(schedule, CronSchedule):
        text = schedule.cron
    elif isinstance(schedule, IntervalSchedule):
        text = f"every {_span(schedule.interval)}"
    elif isinstance(schedule, RRuleSchedule):
        text = schedule.rrule
    else:
        return ""
    return f"{text} ({schedule.timezone})" if schedule.timezone else text


def next_time(schedule: SCHEDULE_TYPES) -> datetime | None:
    """When it falls due next, whether or not anybody is there to make runs of it; None for never.

    Raises:
        ValueError: it is no schedule that Prefect's server reads.
    """
    # The server's own forms know their dates, and are heavy to import.
    from prefect._vendor.croniter.croniter import CroniterError
    from prefect.server.schemas.schedules import CronSchedule as Cron
    from prefect.server.schemas.schedules import IntervalSchedule as Interval
    from prefect.server.schemas.schedules import RRuleSchedule as RRule

    forms: dict[type, type[Cron | Interval | RRule]] = {CronSchedule: Cron, IntervalSchedule: Interval}
    form = forms.get(type(schedule), RRule)
    if not isinstance(schedule, CronSchedule | IntervalSchedule | RRuleSchedule):
        return None
    try:
        dates = asyncio.run(form(**schedule.model_dump()).get_dates(n=1, start=datetime.now(UTC)))
    except CroniterError:
        return None
    return dates[0].astimezone(UTC) if dates else None


def main() -> int:
    """Print :func:`schedules` as JSON records; one sentence on stderr and 2 where there is nothing to ask."""
    try:
        print(json.dumps([asdict(status) for status in schedules()]))
    except GradattnError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _statuses(client: SyncPrefectClient, deployment: DeploymentResponse) -> list[ScheduleStatus]:
    next_run = _first(client, deployment, [StateType.SCHEDULED], FlowRunSort.EXPECTED_START_TIME_ASC)
    made = next_run.expected_start_time if next_run is not None else None
    last_run = _first(client, deployment, _ENDED, FlowRunSort.END_TIME_DESC)
    schedules: list[tuple[SCHEDULE_TYPES | None, bool, Mapping[str, object]]] = [
        (each.schedule, each.active, each.parameters) for each in deployment.schedules
    ]
    return [
        ScheduleStatus(
            deployment=f"{FLOW}/{deployment.name}",
            dataset=str({**deployment.parameters, **parameters}.get("dataset", "")),
            out=str({**deployment.parameters, **parameters}.get("out", "")),
            schedule="" if schedule is None else words(schedule),
            active=active and not deployment.paused,
            state=_state(client, deployment),
            next_run=_due(schedule, made) if active and not deployment.paused else "",
            last_run=str(last_run.state.name) if last_run is not None and last_run.state is not None else "",
        )
        for schedule, active, parameters in schedules or [(None, False, {})]
    ]


def _due(schedule: SCHEDULE_TYPES | None, made: datetime | None) -> str:
    due = made or (None if schedule is None else next_time(schedule))
    return "" if due is None else due.isoformat()


def _state(client: SyncPrefectClient, deployment: DeploymentResponse) -> str:
    if _first(client, deployment, [StateType.RUNNING], FlowRunSort.EXPECTED_START_TIME_ASC) is not None:
        return "running"
    # What Prefect itself says of a deployment follows its workers by up to a minute.
    return "ready" if has_worker(client, deployment) else "no_worker"


def _first(
    client: SyncPrefectClient, deployment: DeploymentResponse, states: list[StateType], order: FlowRunSort
) -> FlowRun | None:
    runs = client.read_flow_runs(
        deployment_filter=DeploymentFilter.model_validate({"id": {"any_": [deployment.id]}}),
        flow_run_filter=FlowRunFilter.model_validate({"state": {"type": {"any_": states}}}),
        sort=order,
        limit=1,
    )
    return runs[0] if runs else None


def _span(interval: timedelta) -> str:
    seconds = int(interval.total_seconds())
    unit, size = next(((unit, size) for unit, size in _UNITS if seconds % size == 0), ("s", 1))
    return f"{seconds // size}{unit}"


if __name__ == "__main__":
    sys.exit(main())
