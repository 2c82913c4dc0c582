"""docker-compose.yml and Dockerfile: what they say is sound, and the commands they start work together."""

from __future__ import annotations

import importlib
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest
import yaml

from gradattn_core.audit import run_audit
from gradattn_core.cli.arguments import build_parser
from tests.tiny import make_tiny

ROOT = Path(__file__).resolve().parents[1]
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))["services"]
VOLUMES = set(yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))["volumes"])
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
BIN = Path(sys.executable).parent


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_can_be_started_checked_and_started_again(name: str) -> None:
    service = SERVICES[name]
    assert service["restart"] == "unless-stopped"
    check = service["healthcheck"]
    assert check["test"][:3] == ["CMD", "python", "-c"] and check["interval"] and check["timeout"]
    compile(check["test"][3], name, "exec")
    match service["command"]:
        case ["gradattn", *arguments]:
            build_parser().parse_args(arguments)
        case ["python", "-m", module, *arguments]:
            importlib.import_module(module).build_parser().parse_args(arguments)
        case ["prefect", "server", "start", *_]:
            assert (BIN / "prefect").is_file()
        case other:
            pytest.fail(f"{other} is no command of this project")


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_writes_to_named_volumes_only_and_is_no_door_into_the_machine(name: str) -> None:
    service = SERVICES[name]
    for volume in service["volumes"]:
        source, target, *mode = volume.split(":")
        assert f" {target} " in f" {DOCKERFILE.replace(chr(10), ' ')} ", f"the image has no folder {target}"
        assert source in VOLUMES or (source.startswith("./") and mode == ["ro"])
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    assert service["cap_drop"] == ["ALL"] and not service.get("privileged")


def test_nothing_secret_is_written_down_and_what_is_built_on_is_pinned() -> None:
    text = (ROOT / "docker-compose.yml").read_text("utf-8") + DOCKERFILE
    assert not re.search(r"(?i)(secret|token|api_key|passw\w*)\s*[:=]", text)
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert bases and all(re.fullmatch(r"[\w./-]+:\d+\.\d+\.\d+[\w.-]*", base) for base in bases)
    assert all(service["image"] == "gradattn:local" and service["build"] == "." for service in SERVICES.values())
    assert "--constraint constraints.txt" in DOCKERFILE
    user = DOCKERFILE.index("\nUSER ")
    assert DOCKERFILE[user:].split()[1] != "root" and user < DOCKERFILE.index("\nCMD ")


def test_all_that_the_image_copies_is_there_and_not_ignored() -> None:
    rules = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    assert "*" in rules
    for line in re.findall(r"^COPY (.+)$", DOCKERFILE, re.MULTILINE):
        *sources, _ = shlex.split(line)
        for source in sources:
            assert (ROOT / source).exists() and f"!{source}" in rules


def test_the_containers_commands_as_processes_carry_an_audit_to_its_csv(processes: Processes, tmp_path: Path) -> None:
    tiny = make_tiny(tmp_path / "data", per_class=14)
    processes.start("server")
    processes.wait_until_healthy("server")
    processes.start("worker")
    processes.start("page")
    processes.wait_until_healthy("worker")
    deployment = processes.ask("deployments/name/audit/audit")
    run = processes.ask(f"deployments/{deployment['id']}/create_flow_run", {"parameters": tiny.parameters()})
    deadline = time.monotonic() + 200
    while (state := processes.ask(f"flow_runs/{run['id']}")["state"])["type"] != "COMPLETED":
        assert state["type"] in ("SCHEDULED", "PENDING", "RUNNING"), state["message"]
        assert time.monotonic() < deadline, state
        time.sleep(0.5)
    processes.wait_until_healthy("page")
    run_audit(tiny.config(tmp_path / "plain"))
    assert (processes.results / "candidates.csv").read_bytes() == (tmp_path / "plain/candidates.csv").read_bytes()


class Processes:
    """The services of docker-compose.yml, each as a process with its folders and ports moved to this test's own."""

    def __init__(self, folder: Path) -> None:
        self.results = folder / "results"
        self.results.mkdir()
        self._folder = folder
        self._ports = {"4200": free_port(), "8080": free_port(), "8501": free_port()}
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str) -> None:
        service = SERVICES[name]
        program, *arguments = (self._moved(part) for part in service["command"])
        settings = {key: self._moved(value) for key, value in service.get("environment", {}).items()}
        own = {"PREFECT_HOME": str(self._folder / "prefect"), "PREFECT_RUNNER_SERVER_PORT": str(self._ports["8080"])}
        with (self._folder / f"{name}.log").open("wb") as log:
            self._running[name] = subprocess.Popen(
                [str(BIN / program), *arguments],
                cwd=self.results,
                env={**os.environ, **own, **settings},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait_until_healthy(self, name: str) -> None:
        """Until the service's own health check passes."""
        check = self._moved(SERVICES[name]["healthcheck"]["test"][3])
        deadline = time.monotonic() + 150
        while True:
            try:
                exec(check, {})
                return
            except (URLError, OSError):
                alive = self._running[name].poll() is None
                if not alive or time.monotonic() > deadline:
                    pytest.fail((self._folder / f"{name}.log").read_text("utf-8")[-3000:])
                time.sleep(0.5)

    def ask(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Read from Prefect's server, or with a body write to it."""
        data = None if body is None else json.dumps(body).encode()
        address = f"http://127.0.0.1:{self._ports['4200']}/api/{path}"
        with urlopen(Request(address, data, {"Content-Type": "application/json"}), timeout=30) as answer:
            found: dict[str, Any] = json.load(answer)
        return found

    def stop(self) -> None:
        for name in ("worker", "page", "server"):
            if name in self._running and self._running[name].poll() is None:
                self._running[name].terminate()
        for process in self._running.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def _moved(self, text: str) -> str:
        text = text.replace("/results", str(self.results)).replace("://server:", "://127.0.0.1:")
        text = text.replace("0.0.0.0", "127.0.0.1")
        for port, own in self._ports.items():
            text = re.sub(rf"\b{port}\b", str(own), text)
        return text


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    found = Processes(tmp_path)
    yield found
    found.stop()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
