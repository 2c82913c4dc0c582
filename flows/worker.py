"""Serves schedules: takes due runs from a work pool and runs each in a process of its own."""

from __future__ import annotations

import asyncio
import re
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from contextvars import copy_context
from datetime import UTC, datetime

import httpx
from prefect.client.orchestration import get_client
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_UI_URL,
    PREFECT_WORKER_WEBSERVER_HOST,
    PREFECT_WORKER_WEBSERVER_PORT,
    temporary_settings,
)
from prefect.workers.process import ProcessWorker

from flows.recovery import lost_runs, orphaned_runs, skip_missed_runs, watch_runs
from flows.schedules import make_pool
from flows.server import connect, is_held, only_process, serve
from gradattn_core.errors import GradattnError

_MOST_NUMBERED = 16


def default_name() -> str:
    """The worker of this machine; the same after a restart, so that it knows which runs it left."""
    return f"gradattn on {socket.gethostname()}"


def work(
    pool: str,
    *,
    name: str,
    limit: int,
    numbered: bool = False,
    health_port: int | None = None,
    started: Callable[[str, bool], None] = lambda page, own: None,
) -> None:
    """Serve until stopped, on the Prefect server that is set, else on one of its own.

    Args:
        limit: how many audits at a time.
        numbered: where a worker of this name runs on this machine, be called ``NAME 2`` and so on; and continue what
            those of such names left that are gone.
        health_port: where ``/health`` tells this machine whether the worker still asks for work; None for nowhere.
        started: told the address of Prefect's page, and whether the server is the worker's own.

    Raises:
        GradattnError: another worker has this name here, or no server can be reached or started.
    """
    if limit < 1:
        raise GradattnError(f"--limit {limit} leaves nothing to do; at least 1 works")
    own = not PREFECT_API_URL.value()
    # It continues the runs that one of its name left.
    with _only_one_called(name, numbered) as name, _health(health_port), _own_server() if own else nullcontext():
        began = datetime.now(UTC)
        with connect() as client:
            make_pool(client, pool)
            orphans = [run for each in _names(name, numbered) for run in orphaned_runs(client, pool, each)]
            skip_missed_runs(client, pool)
        started(PREFECT_UI_URL.value() or str(PREFECT_API_URL.value()), own)
        ended = threading.Event()

        def watch() -> None:
            with get_client(sync_client=True) as client:
                watch_runs(client, orphans, lambda: lost_runs(client, pool, _names(name, numbered), began), ended)

        threading.Thread(target=copy_context().run, args=(watch,), daemon=True).start()
        try:
            _run(pool, name, limit, health=health_port is not None)
        finally:
            ended.set()


def _run(pool: str, name: str, limit: int, *, health: bool) -> None:
    try:
        asyncio.run(_serve(pool, name, limit, health=health))
    except (KeyboardInterrupt, asyncio.CancelledError):
        pass
    except (ExceptionGroup, httpx.HTTPError) as errors:
        # Prefect's loops end with a group of RuntimeErrors after many attempts.
        if isinstance(errors, ExceptionGroup) and errors.subgroup((RuntimeError, httpx.HTTPError)) is None:
            raise
        raise GradattnError(
            f"Prefect's server at {PREFECT_API_URL.value()} has not answered for long; "
            "start the worker again once it does, and it continues what it left"
        ) from errors


async def _serve(pool: str, name: str, limit: int, *, health: bool) -> None:
    worker = ProcessWorker(work_pool_name=pool, name=name, limit=limit)
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        # Also where whoever started this had it ignore Ctrl-C, as shells do in the background.
        with suppress(NotImplementedError):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    await worker.start(with_healthcheck=health, printer=_silent)


@contextmanager
def _only_one_called(name: str, numbered: bool) -> Iterator[str]:
    """The name, or the first with a number, that no other worker of this machine has."""
    busy = f"a worker called {name!r} runs on this machine; give this one another --name, or --numbered"
    with ExitStack() as stack:
        for each in _family(name) if numbered else [name]:
            with suppress(GradattnError):
                stack.enter_context(only_process(_lock(each), busy))
                break
        else:
            raise GradattnError(busy if not numbered else f"{_MOST_NUMBERED} workers called {name!r} run here already")
        yield each


def _names(name: str, numbered: bool) -> list[str]:
    """Whose runs a worker looks after: its own, and those of numbered ones that are gone."""
    if not numbered:
        return [name]
    first = re.sub(r" \d+$", "", name)
    return [each for each in _family(first) if each == name or not is_held(_lock(each))]


def _family(name: str) -> list[str]:
    return [name, *(f"{name} {number}" for number in range(2, _MOST_NUMBERED + 1))]


def _lock(name: str) -> str:
    return f"gradattn-worker-{re.sub(r'[^0-9A-Za-z.-]', '-', name)}.lock"


def _silent(*_: object, **__: object) -> None:
    """What Prefect would print here, its log says too."""


@contextmanager
def _own_server() -> Iterator[None]:
    with serve() as address, temporary_settings({PREFECT_API_URL: address}):
        yield


@contextmanager
def _health(port: int | None) -> Iterator[None]:
    if port is None:
        yield
        return
    try:
        socket.create_server((PREFECT_WORKER_WEBSERVER_HOST.value(), port)).close()
    except (OSError, OverflowError) as error:
        raise GradattnError(f"--health-port {port} cannot be used ({error}); choose another port") from error
    with temporary_settings({PREFECT_WORKER_WEBSERVER_PORT: port}):
        yield
