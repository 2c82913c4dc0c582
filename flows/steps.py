"""What every task of the audit flow shares: how it is retried, where its plan is, and who is told how far it is."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from functools import lru_cache
from typing import Any, ParamSpec, TypeVar

from prefect import State, Task, task
from prefect.cache_policies import NO_CACHE

from gradattn_core.audit import Plan, Progress, load_plan
from gradattn_core.audit.progress import silent
from gradattn_core.errors import GradattnError

P = ParamSpec("P")
R = TypeVar("R")

# Where the tasks tell how far they are: the terminal of run_as_flow, nobody in a served run.
listener: ContextVar[Progress] = ContextVar("listener", default=silent)


def step(name: str, run_name: str | None = None) -> Callable[[Callable[P, R]], Task[P, R]]:
    """A task of the audit: its result is a file, and Prefect keeps none of its own."""
    return task(
        name=name,
        task_run_name=run_name or name,
        retries=3,
        retry_delay_seconds=[1, 10, 60],
        retry_condition_fn=_worth_retrying,
        cache_policy=NO_CACHE,
        persist_result=False,
    )


@lru_cache(maxsize=1)
def opened(folder: str) -> Plan:
    """Tasks get the plan's folder, which any process can open; each process opens it once."""
    return load_plan(folder)


def _worth_retrying(_task: object, _run: object, state: State[Any]) -> bool:
    """A disk or a device may recover; what the user must change will not."""
    return not isinstance(state.data, GradattnError)
