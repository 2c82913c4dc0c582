"""A worker as a process and what it is given to do; what a test asks of Prefect's server; who listens for notices."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun, TaskRun
from prefect.client.schemas.sorting import FlowRunSort

from tests.helpers.tiny import Tiny

PATIENCE = 180.0


def environment(home: Path) -> dict[str, str]:
    own = {"PREFECT_HOME": str(home), "PREFECT_WORKER_QUERY_SECONDS": "1"}
    return {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"} | own


@contextmanager
def work(home: Path) -> Iterator[subprocess.Popen[bytes]]:
    """``gradattn worker`` until the end, from the moment at which it says that it serves."""
    with (home / "worker.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "gradattn_core", "worker", "--json"],
            env=environment(home),
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, (home / "worker.log").read_text("utf-8")
        assert json.loads(line)["own_server"] and json.loads(line)["page"].startswith("http://127.0.0.1:")
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(60)


def options(tiny: Tiny, out: Path, **changes: Any) -> list[str]:
    given = {**tiny.parameters(), "out": str(out), **changes}
    del given["dataset"]
    return [
        f"--{name.replace('_', '-')}={json.dumps(value) if isinstance(value, dict) else value}"
        for name, value in given.items()
    ]


def ended(client: SyncPrefectClient, identity: str) -> FlowRun:
    deadline = time.monotonic() + PATIENCE
    while True:
        run = client.read_flow_run(UUID(identity))
        if run.state is not None and run.state.is_final():
            return run
        assert time.monotonic() < deadline, run.state
        time.sleep(0.3)


def one_sentence(text: str) -> str:
    lines = [line for line in text.splitlines() if line != "asking Prefect …"]
    assert len(lines) == 1 and lines[0].startswith("gradattn: "), text
    return lines[0]


def state_of(client: SyncPrefectClient, identity: UUID) -> str:
    found = client.read_flow_run(identity).state
    assert found is not None
    return str(found.name)


@contextmanager
def receiver() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A web address on this machine, and the JSON objects that were posted there."""
    received: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.headers["Content-Type"] == "application/json"
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/hook", received
        finally:
            server.shutdown()


@contextmanager
def away() -> Iterator[str]:
    """The address of a server of Prefect's that answers, but whose database does not."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, answer = (200, b"true") if self.path.endswith("/health") else (503, b"{}")
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_POST = do_PATCH = do_GET

        def log_message(self, *_: object) -> None:
            """Nothing on the terminal."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/api"
        finally:
            server.shutdown()


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
