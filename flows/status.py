"""What Prefect knows of the audit flow: its deployments, their schedules, and when each runs next.

``python -m flows.status`` prints it as JSON, for programs that do not want Prefect in their own process.
"""

from __future__ import annotations

import sys
from datetime import timedelta
from typing import Any

import pandas as pd
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterState,
)
from prefect.client.schemas.filters import FlowRunFilterStateType as StateType
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.objects import StateType as State
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import SCHEDULE_TYPES, CronSchedule, IntervalSchedule, RRuleSchedule
from prefect.client.schemas.sorting import FlowRunSort
from prefect.settings import PREFECT_API_URL

from flows.server import connected, preferred
from gradattn_core.errors import GradattnError

FLOW = "audit"
_UNITS = (("w", 604_800), ("d", 86_400), ("h", 3_600), ("m", 60))
_ENDED = [State.COMPLETED, State.FAILED, State.CRASHED, State.CANCELLED]
_COLUMNS = ("deployment", "dataset", "out", "schedule", "active", "state", "next_run", "last_run")


def schedules(*, start: bool = False) -> pd.DataFrame:
    """One row per deployment of the audit flow and schedule of it; a deployment without a schedule is one row too.

    Args:
        start: start a temporary server where none is set and no worker runs one here.

    Returns:
        ``deployment, dataset, out`` (parameters, ``""`` where a run has to name them), ``schedule`` (``""`` without
        one), ``active`` (neither the schedule nor the deployment is paused), ``state`` (``running``, else what Prefect
        says of the deployment, such as ``ready`` or ``not_ready``), ``next_run`` (of the deployment, ISO 8601; ``""``
        where none is due), ``last_run`` (name of the state in which its last run ended, such as ``Completed`` or
        ``Skipped``; ``""`` before the first).

    Raises:
        GradattnError: there is no Prefect server, or it does not answer.
    """
    with preferred():
        if not (start or PREFECT_API_URL.value()):
            raise GradattnError(
                "no Prefect server is set and none runs here; start gradattn worker, or set PREFECT_API_URL"
            )
        with connected() as client:
            return _read(client)


def _read(client: SyncPrefectClient) -> pd.DataFrame:
    audits = FlowFilter(name=FlowFilterName(any_=[FLOW]))
    rows = [row for deployment in client.read_deployments(flow_filter=audits) for row in _rows(client, deployment)]
    return pd.DataFrame(rows, columns=list(_COLUMNS)).sort_values(["deployment", "schedule"], ignore_index=True)


def _rows(client: SyncPrefectClient, deployment: DeploymentResponse) -> list[dict[str, Any]]:
    schedules = [(words(each.schedule), each.active, each.parameters) for each in deployment.schedules]
    coming = _first(client, deployment, [State.SCHEDULED], FlowRunSort.EXPECTED_START_TIME_ASC)
    due = coming.expected_start_time if coming is not None else None
    last = _first(client, deployment, _ENDED, FlowRunSort.END_TIME_DESC)
    return [
        {
            "deployment": f"{FLOW}/{deployment.name}",
            "dataset": str({**deployment.parameters, **parameters}.get("dataset", "")),
            "out": str({**deployment.parameters, **parameters}.get("out", "")),
            "schedule": text,
            "active": active and not deployment.paused,
            "state": _state(client, deployment),
            "next_run": due.isoformat() if due is not None and active else "",
            "last_run": str(last.state.name) if last is not None and last.state is not None else "",
        }
        for text, active, parameters in schedules or [("", False, {})]
    ]


def _state(client: SyncPrefectClient, deployment: DeploymentResponse) -> str:
    if _first(client, deployment, [State.RUNNING], FlowRunSort.EXPECTED_START_TIME_ASC) is not None:
        return "running"
    return str(deployment.status.value).lower() if deployment.status else ""


def _first(
    client: SyncPrefectClient, deployment: DeploymentResponse, states: list[State], order: FlowRunSort
) -> FlowRun | None:
    runs = client.read_flow_runs(
        deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[deployment.id])),
        flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=StateType(any_=states))),
        sort=order,
        limit=1,
    )
    return runs[0] if runs else None


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


def _span(interval: timedelta) -> str:
    seconds = int(interval.total_seconds())
    unit, size = next(((unit, size) for unit, size in _UNITS if seconds % size == 0), ("s", 1))
    return f"{seconds // size}{unit}"


def main() -> int:
    """Print :func:`schedules` as JSON records; one sentence on stderr and 2 where there is nothing to ask."""
    try:
        print(schedules().to_json(orient="records"))
    except GradattnError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
