"""The services of docker-compose.yml started as processes of this machine, as there may be no container engine."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
import yaml

from tests.helpers.tiny import Tiny

ROOT = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
BIN = Path(sys.executable).parent
FROM_OUTSIDE = re.compile(r"\$\{(\w+):-([^${}]*)\}")
"""What a user may set, with what it is otherwise."""
_SPECIAL = ("dataset", "model_arguments")


class Processes:
    """The services of docker-compose.yml, each as a process with its folders and ports moved to this test's own."""

    def __init__(self, folder: Path, database: Path) -> None:
        self.results = folder / "results"
        self.results.mkdir()
        self._folder = folder
        self._database = database
        self._ports = {port: free_port() for port in ("4200", "5432", "8080", "8501")}
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str) -> None:
        if name == "database":
            self._running[name] = self._start_database()
            return
        program, *arguments = (self._moved(part) for part in SERVICES[name]["command"])
        with (self._folder / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                [str(BIN / program), *arguments],
                cwd=self.results,
                env=self._environment(name),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def schedule(self, tiny: Tiny, *timing: str) -> None:
        """``docker compose exec worker gradattn schedule add …``."""
        given = tiny.parameters()
        options = [f"--{name.replace('_', '-')}={value}" for name, value in given.items() if name not in _SPECIAL]
        model_arguments = f"--model-arguments={json.dumps(given['model_arguments'])}"
        self._in_worker("add", given["dataset"], f"--out={self.results}", *options, model_arguments, *timing)

    def run_now(self) -> None:
        """Ask for a run of the schedule."""
        self._in_worker("run", "dataset")

    def pause(self) -> None:
        """Let no further run fall due."""
        self._in_worker("pause", "dataset")

    def wait_until_healthy(self, name: str) -> None:
        """Until the service's own health check passes."""
        kind, *check = (self._moved(part) for part in SERVICES[name]["healthcheck"]["test"])
        assert kind == "CMD"
        check[0] = str(sys.executable if check[0] == "python" else postgres_tool(check[0]))
        deadline = time.monotonic() + 150
        while subprocess.run(check, capture_output=True, check=False).returncode:
            alive = self._running[name].poll() is None
            if not alive or time.monotonic() > deadline:
                pytest.fail((self._folder / f"{name}.log").read_text("utf-8")[-3000:])
            time.sleep(0.5)
        if name == "database":
            self._make_database()

    def wait_for_run(self, wanted: str) -> dict[str, Any]:
        """Until the first run that was begun or is to begin is in this state."""
        deadline = time.monotonic() + 240
        while True:
            runs = self.ask("flow_runs/filter", {"sort": "EXPECTED_START_TIME_ASC", "limit": 1})
            state = runs[0]["state"] if runs else {"type": "not there", "message": ""}
            if state["type"] == wanted:
                found: dict[str, Any] = runs[0]
                return found
            assert state["type"] in ("not there", "SCHEDULED", "PENDING", "RUNNING"), state["message"]
            assert time.monotonic() < deadline, state
            time.sleep(0.5)

    def wait_for_shard(self, number: int) -> None:
        deadline = time.monotonic() + 240
        while not list(self.results.glob(f"work/*/sweep-{number:05}.parquet")):
            assert time.monotonic() < deadline and self._running["worker"].poll() is None
            time.sleep(0.05)

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """Read from Prefect's server, or with a body ask it."""
        data = None if body is None else json.dumps(body).encode()
        address = f"http://127.0.0.1:{self._ports['4200']}/api/{path}"
        with urlopen(Request(address, data, {"Content-Type": "application/json"}), timeout=30) as answer:
            return json.load(answer)

    def kill(self, name: str, *others: int) -> None:
        """As the end of a container does: every process of it at once, without a chance to report."""
        for number in (self._running[name].pid, *others):
            os.kill(number, signal.SIGKILL)
        self._running[name].wait()

    def stop(self) -> None:
        for name in ("worker", "page", "server", "database"):
            process = self._running.get(name)
            if process is None or process.poll() is not None:
                continue
            process.send_signal(signal.SIGINT if name == "database" else signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def _in_worker(self, *arguments: str) -> None:
        command = [str(BIN / "gradattn"), "schedule", *arguments]
        subprocess.run(command, env=self._environment("worker"), check=True, capture_output=True, timeout=120)

    def _environment(self, name: str) -> dict[str, str]:
        """What the service gets; a worker that asks more often than by default is waited for less."""
        given = SERVICES[name].get("environment", {})
        # A name without a value is handed on from here, as Compose does.
        settings = {key: self._moved(value) for key, value in given.items() if value is not None}
        own = {"PREFECT_HOME": str(self._folder / "prefect"), "PREFECT_WORKER_QUERY_SECONDS": "2"}
        return {
            **os.environ,
            **dict(re.findall(r"(DO_NOT_TRACK|PREFECT_\w+_ENABLED)=(\w+)", DOCKERFILE)),
            "PREFECT_SERVER_UI_STATIC_DIRECTORY": str(self._folder / "prefect/ui"),
            **own,
            **settings,
        }

    def _start_database(self) -> subprocess.Popen[bytes]:
        """What the image's entry point does, by the distribution's own programs and an account without rights."""
        settings = {key: self._moved(value) for key, value in SERVICES["database"]["environment"].items()}
        password = self._database / "password"
        password.write_text(settings["POSTGRES_PASSWORD"], "utf-8")
        data = self._database / "data"
        account = postgres_account(self._database)
        made = ["--pgdata", str(data), "--username", settings["POSTGRES_USER"], "--pwfile", str(password)]
        subprocess.run(
            [postgres_tool("initdb"), *made, "--auth-local=trust", "--auth-host=scram-sha-256", "--no-sync"],
            **account,
            check=True,
            capture_output=True,
        )
        options = ["-p", str(self._ports["5432"]), "-c", "listen_addresses=127.0.0.1", "-k", str(self._database)]
        with (self._folder / "database.log").open("wb") as log:
            return subprocess.Popen(
                [postgres_tool("postgres"), "-D", str(data), *options],
                **account,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _make_database(self) -> None:
        settings = {key: self._moved(value) for key, value in SERVICES["database"]["environment"].items()}
        place = ["--host=127.0.0.1", f"--port={self._ports['5432']}", f"--username={settings['POSTGRES_USER']}"]
        subprocess.run(
            [postgres_tool("createdb"), *place, settings["POSTGRES_DB"]],
            env={**os.environ, "PGPASSWORD": settings["POSTGRES_PASSWORD"]},
            check=True,
            capture_output=True,
        )

    def _moved(self, text: str) -> str:
        while FROM_OUTSIDE.search(text):
            text = FROM_OUTSIDE.sub(r"\2", text)
        text = text.replace("/results", str(self.results)).replace("://server:", "://127.0.0.1:")
        text = text.replace("host=/run/postgresql", f"host={self._database}&port={self._ports['5432']}")
        text = re.sub("^/prefect$", str(self._folder / "prefect"), text)
        text = text.replace("0.0.0.0", "127.0.0.1")
        for port, own in self._ports.items():
            text = re.sub(rf"\b{port}\b", str(own), text)
        return text


def postgres_tool(name: str) -> str:
    """Debian keeps the programs of each version apart, and links only some of them."""
    versions = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]))
    found = str(versions[-1]) if versions else shutil.which(name)
    if found is None:
        raise FileNotFoundError(f"no PostgreSQL on this machine: {name} is missing")
    return found


def postgres_account(folder: Path) -> dict[str, Any]:
    """Arguments of Popen: PostgreSQL refuses to run as root."""
    if os.getuid() != 0:
        return {}
    for path in (folder, *folder.iterdir()):
        shutil.chown(path, "postgres", "postgres")
    return {"user": "postgres", "group": "postgres", "extra_groups": [], "cwd": folder}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
