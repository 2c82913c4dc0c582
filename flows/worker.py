"""Serves schedules: takes due runs from a work pool and runs each in a process of its own."""

from __future__ import annotations

import asyncio
import re
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from contextvars import copy_context

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_UI_URL,
    PREFECT_WORKER_WEBSERVER_HOST,
    PREFECT_WORKER_WEBSERVER_PORT,
    temporary_settings,
)
from prefect.workers.process import ProcessWorker

from flows.recovery import continue_runs, orphaned_runs, skip_missed_runs
from flows.schedules import make_pool
from flows.server import connect, only_process, serve
from gradattn_core.errors import GradattnError


def default_name() -> str:
    """The worker of this machine; the same after a restart, so that it knows which runs it left."""
    return f"gradattn on {socket.gethostname()}"


def work(
    pool: str,
    *,
    name: str,
    limit: int,
    health_port: int | None = None,
    started: Callable[[str, bool], None] = lambda page, own: None,
) -> None:
    """Serve until stopped, on the Prefect server that is set, else on one of its own.

    Args:
        limit: how many audits at a time.
        health_port: where ``/health`` tells this machine whether the worker still asks for work; None for nowhere.
        started: told the address of Prefect's page, and whether the server is the worker's own.

    Raises:
        GradattnError: another worker has this name here, or no server can be reached or started.
    """
    if limit < 1:
        raise GradattnError(f"--limit {limit} leaves nothing to do; at least 1 works")
    own = not PREFECT_API_URL.value()
    # It continues the runs that one of its name left.
    lock = f"gradattn-worker-{re.sub(r'[^0-9A-Za-z.-]', '-', name)}.lock"
    busy = f"a worker called {name!r} runs on this machine; give this one another --name"
    with only_process(lock, busy), _health(health_port), _own_server() if own else nullcontext():
        with connect() as client:
            make_pool(client, pool)
            orphans = orphaned_runs(client, pool, name)
            skip_missed_runs(client, pool)
        started(PREFECT_UI_URL.value() or str(PREFECT_API_URL.value()), own)
        ended = threading.Event()
        threading.Thread(target=copy_context().run, args=(_continue, orphans, ended), daemon=True).start()
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


def _continue(orphans: list[FlowRun], ended: threading.Event) -> None:
    with get_client(sync_client=True) as client:
        continue_runs(client, orphans, ended)


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
