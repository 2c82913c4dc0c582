"""What a test asks of Prefect's server: its last flow run, and that run's tasks."""

from __future__ import annotations

import time

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun, TaskRun
from prefect.client.schemas.sorting import FlowRunSort


def latest_run(client: SyncPrefectClient) -> FlowRun:
    """The run that was begun last."""
    return client.read_flow_runs(sort=FlowRunSort.EXPECTED_START_TIME_DESC, limit=1)[0]


def tasks_of(client: SyncPrefectClient, run: FlowRun, names: set[str]) -> dict[str, TaskRun]:
    """The task runs by name, once Prefect has recorded those that are asked for: it does so a moment later."""
    deadline = time.monotonic() + 30
    while True:
        runs = {task.name: task for task in client.read_task_runs() if task.flow_run_id == run.id}
        recorded = {name for name, task in runs.items() if task.state is not None and task.state.is_final()}
        if names <= recorded:
            return runs
        assert time.monotonic() < deadline, f"{names - recorded} were not recorded"
        time.sleep(0.2)
