"""The stack of docker-compose.yml on a real engine, as its users run it: what a test does to it and asks of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from tests.helpers.browser import free_port
from tests.helpers.container_processes import ROOT
from tests.helpers.tiny import Tiny, make_tiny

PATIENCE = 600.0
ENGINE = Path(os.environ.get("GRADATTN_SHARED", ROOT.parent / "shared")) / "compose/engine"
OLD = "e64aeeb"
"""The commit whose image is upgraded from."""
_PROJECT = "gradattn-test"
_DISK = Path(os.environ.get("ENGINE_DIR", "/var/tmp/engine")) / "root/var/lib/docker/volumes"
WATCHER = Path(__file__).with_name("network_watch.py")


def why_not() -> str:
    """Why no engine can be had here; ``""`` where one can."""
    if not ENGINE.is_file():
        return f"{ENGINE} is not there: no container engine to bring the stack up with"
    if os.getuid() != 0:
        return "only root can start a container engine"
    if shutil.which("nsenter") is None:
        return "nsenter is missing, by which the containers' networks are watched"
    found = subprocess.run(["git", "cat-file", "-e", OLD], cwd=ROOT, capture_output=True, check=False)
    return "" if found.returncode == 0 else f"commit {OLD} is not in this clone, so there is nothing to upgrade from"


class Stack:
    """A project of Compose with ports and datasets of its own; ``old`` runs the file and the image of :data:`OLD`."""

    def __init__(self) -> None:
        # The engine sees this folder of the machine and no other.
        self.data = ROOT / "data" / f"stack-{os.getpid()}"  # below ./data, which is /data in the old stack, too
        self.data.mkdir(parents=True)
        self._ports = {"GRADATTN_PORT": free_port(), "GRADATTN_PREFECT_PORT": free_port()}
        self.page, self.prefect = (f"http://localhost:{port}" for port in self._ports.values())
        # On the engine's disk, which needs no container that lives.
        self.results = _DISK / f"{_PROJECT}_results/_data"
        self._watchers: list[subprocess.Popen[str]] = []
        self.old = False
        self.password = "of-then"
        """Which only the old stack asks for."""

    def dataset(self, per_class: int) -> Tiny:
        """Pictures and a model that the containers, which run as another user, may read."""
        tiny = make_tiny(self.data / "photos", per_class=per_class)
        subprocess.run(["chmod", "-R", "a+rX", str(self.data)], check=True)
        return tiny

    def build_old(self) -> None:
        """The image and the file of :data:`OLD`, as if they had been here first."""
        source = self.data / "source"
        source.mkdir()
        archive = subprocess.run(
            ["git", "-c", "tar.umask=0022", "archive", OLD], cwd=ROOT, check=True, capture_output=True
        ).stdout
        subprocess.run(["tar", "-x", "-C", str(source)], input=archive, check=True)
        # Before there was a variable for them, the ports were those that somebody else may have here.
        file = source / "docker-compose.yml"
        moved = file.read_text("utf-8")
        for usual, name in (("8501", "GRADATTN_PORT"), ("4200", "GRADATTN_PREFECT_PORT")):
            moved = moved.replace(f'"127.0.0.1:{usual}:', f'"127.0.0.1:{self._ports[name]}:')
        file.write_text(moved, "utf-8")
        _engine("docker", "build", "--quiet", "--tag", "gradattn:local", str(source))

    def compose(self, *arguments: str, check: bool = True) -> str:
        file = self.data / "source/docker-compose.yml" if self.old else ROOT / "docker-compose.yml"
        own = {name: str(port) for name, port in self._ports.items()} | {"GRADATTN_DATABASE_PASSWORD": self.password}
        project = ["--project-name", _PROJECT, "--project-directory", str(ROOT), "--file", str(file)]
        return _engine("docker", "compose", *project, *arguments, own=own, check=check)

    def gradattn(self, *arguments: str) -> str:
        return self.compose("exec", "-T", "worker", "gradattn", *arguments)

    def refused(self, *arguments: str) -> str:
        """What a command of gradattn says that cannot be carried out."""
        command = ["sh", "-c", 'gradattn "$@" 2>&1; test $? -eq 2', "sh", *arguments]
        return self.compose("exec", "-T", "worker", *command)

    def schedule(self, tiny: Tiny, name: str, out: str, *more: str) -> None:
        given = tiny.parameters() | {"checkpoint": seen(tiny.checkpoint)}
        options = [
            f"--{key.replace('_', '-')}={json.dumps(value) if isinstance(value, dict) else value}"
            for key, value in given.items()
            if key != "dataset"
        ]
        self.gradattn(
            "schedule", "add", seen(tiny.dataset), f"--name={name}", f"--out={out}", "--cron=0 3 1 1 *", *options, *more
        )

    def run(self, name: str) -> str:
        return str(json.loads(self.gradattn("schedule", "run", name, "--json"))["flow_run"])

    def ask(self, path: str, body: Mapping[str, object] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = Request(f"{self.prefect}/api/{path}", data, {"Content-Type": "application/json"})
        with urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def state_of(self, run: str) -> str:
        """The name of a run's state; ``""`` while nobody can say."""
        try:
            return str(self.ask(f"flow_runs/{run}")["state"]["name"])
        except OSError:
            return ""

    def candidates(self, out: str = "") -> Path:
        """What an audit into a folder of the volume of results has found."""
        return self.results / out / "candidates.csv"

    def wait_for_more(self, pattern: str, than: int = 0) -> int:
        """Until the volume of results has more files of a pattern; how many."""
        wait_until(lambda: len(list(self.results.glob(pattern))) > than)
        return len(list(self.results.glob(pattern)))

    def wait_for_end(self, run: str) -> str:
        final = ("Completed", "Failed", "Crashed", "Cancelled", "Skipped")
        wait_until(lambda: self.state_of(run) in final)
        return self.state_of(run)

    def watch(self) -> None:
        """Note from now on whom the containers ask, from the moment at which each has a network."""
        for service in ("server", "worker", "page"):
            pid = self._pid(service)
            command = ["nsenter", "--target", pid, "--net", "python3", str(WATCHER)]
            self._watchers.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))

    def asked(self) -> set[str]:
        """Names that were looked up and addresses that were sent to, but for those of the stack itself."""
        found: set[str] = set()
        for watcher in self._watchers:
            watcher.terminate()
            found |= set((watcher.communicate()[0] or "").split())
        self._watchers.clear()
        return found

    def remove(self) -> None:
        self.asked()
        self.compose("down", "--volumes", "--timeout", "5", check=False)
        shutil.rmtree(self.data)

    def _pid(self, service: str) -> str:
        found: list[str] = []

        def is_there() -> bool:
            identity = self.compose("ps", "--quiet", service, check=False).strip()
            pid = _engine("docker", "inspect", "--format", "{{.State.Pid}}", identity, check=False) if identity else ""
            found[:] = [pid.strip()]
            return pid.strip() not in ("", "0")

        wait_until(is_there)
        return found[0]


def seen(path: Path) -> str:
    """A file below ``./data`` as the containers see it."""
    return f"/data/{path.relative_to(ROOT / 'data')}"


def wait_until(is_so: Callable[[], bool], patience: float = PATIENCE) -> None:
    deadline = time.monotonic() + patience
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.5)


def _engine(*arguments: str, own: Mapping[str, str] | None = None, check: bool = True) -> str:
    done = subprocess.run(
        [str(ENGINE), *arguments],
        cwd=ROOT,
        env={**os.environ, **(own or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0 or not check, done.stderr[-3000:]
    return done.stdout
