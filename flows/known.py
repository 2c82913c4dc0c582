"""What Prefect knows of the audit flow: its deployments, their schedules, and when each runs next.

``python -m flows.known`` prints it as JSON, for programs that do not want Prefect in their own process.
"""

from __future__ import annotations

import sys
from datetime import datetime
from typing import Any

import pandas as pd
from httpx import HTTPError
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowFilter, FlowFilterName, FlowRunFilter, FlowRunFilterState
from prefect.client.schemas.filters import FlowRunFilterStateType as StateType
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.objects import StateType as State
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import SCHEDULE_TYPES, CronSchedule, IntervalSchedule, RRuleSchedule
from prefect.client.schemas.sorting import FlowRunSort
from prefect.settings import PREFECT_API_URL

from gradattn_core.errors import GradattnError

_FLOW = "audit"
_MOST_RUNS = 200
_COLUMNS = ("deployment", "dataset", "out", "schedule", "active", "state", "next_run")


def schedules() -> pd.DataFrame:
    """One row per deployment of the audit flow and schedule of it; a deployment without a schedule is one row too.

    Returns:
        ``deployment, dataset, out`` (parameters, ``""`` where a run has to name them), ``schedule`` (``""`` without
        one), ``active`` (neither the schedule nor the deployment is paused), ``state`` (``running``, else what Prefect
        says of the deployment, such as ``ready`` or ``not_ready``), ``next_run`` (of the deployment, ISO 8601; ``""``
        where none is due).

    Raises:
        GradattnError: no Prefect server is set, or it does not answer.
    """
    address = PREFECT_API_URL.value()
    if not address:
        # Asking without an address would start a server of its own.
        raise GradattnError("no Prefect server is set; set PREFECT_API_URL to the address of one")
    try:
        with get_client(sync_client=True) as client:
            return _read(client)
    except (HTTPError, OSError, RuntimeError, ValueError) as error:
        raise GradattnError(
            f"Prefect's server at {address} does not answer ({error}); check PREFECT_API_URL"
        ) from error


def _read(client: SyncPrefectClient) -> pd.DataFrame:
    audits = FlowFilter(name=FlowFilterName(any_=[_FLOW]))
    coming = _runs(client, audits, State.SCHEDULED)
    running = {run.deployment_id for run in _runs(client, audits, State.RUNNING)}
    rows: list[dict[str, Any]] = []
    for deployment in client.read_deployments(flow_filter=audits):
        due = [run.expected_start_time for run in coming if run.deployment_id == deployment.id]
        state = "running" if deployment.id in running else str(deployment.status.value if deployment.status else "")
        rows += _rows(deployment, state.lower(), min(filter(None, due), default=None))
    return pd.DataFrame(rows, columns=list(_COLUMNS)).sort_values(["deployment", "schedule"], ignore_index=True)


def _runs(client: SyncPrefectClient, flow: FlowFilter, state: State) -> list[FlowRun]:
    wanted = FlowRunFilter(state=FlowRunFilterState(type=StateType(any_=[state])))
    return client.read_flow_runs(
        flow_filter=flow, flow_run_filter=wanted, sort=FlowRunSort.EXPECTED_START_TIME_ASC, limit=_MOST_RUNS
    )


def _rows(deployment: DeploymentResponse, state: str, due: datetime | None) -> list[dict[str, Any]]:
    schedules = [(_words(each.schedule), each.active, each.parameters) for each in deployment.schedules]
    return [
        {
            "deployment": f"{_FLOW}/{deployment.name}",
            "dataset": str({**deployment.parameters, **parameters}.get("dataset", "")),
            "out": str({**deployment.parameters, **parameters}.get("out", "")),
            "schedule": words,
            "active": active and not deployment.paused,
            "state": state,
            "next_run": due.isoformat() if due is not None and active else "",
        }
        for words, active, parameters in schedules or [("", False, {})]
    ]


def _words(schedule: SCHEDULE_TYPES) -> str:
    if isinstance(schedule, CronSchedule):
        text = schedule.cron
    elif isinstance(schedule, IntervalSchedule):
        text = f"every {schedule.interval}"
    elif isinstance(schedule, RRuleSchedule):
        text = schedule.rrule
    else:
        return ""
    return f"{text} ({schedule.timezone})" if schedule.timezone else text


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
