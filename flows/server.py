"""The Prefect server that ``gradattn worker`` runs on this machine where none is set, and how other commands find it.

``python -m flows.server`` is that server, and the temporary one of a command that finds none. It ends when its standard
input does, so that it never outlives whoever started it, not even one that is killed.
"""

from __future__ import annotations

import functools
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import IO

import httpx
from filelock import FileLock, Timeout
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

from gradattn_core.errors import GradattnError

_ADDRESS, _LOCK = "gradattn-server", "gradattn-server.lock"
_PORT = 4200
"""Prefect's usual port, where people look for its page."""
_PATIENCE = 120.0
# By the page's own address, be it called localhost or 127.0.0.1; and its copy where it can be written: not everybody
# can write to where Prefect is installed.
_PAGE = {"PREFECT_SERVER_UI_API_URL": "/api"}
_temporary: list[subprocess.Popen[bytes]] = []


def local_address() -> str | None:
    """The address of the server that a worker runs here, such as ``http://127.0.0.1:4200/api``; None without one."""
    try:
        with FileLock(_file(_LOCK), timeout=0):
            # Nobody runs one: whatever answers at the address of the last one is somebody else's.
            return None
    except Timeout:
        pass
    try:
        address = _file(_ADDRESS).read_text("utf-8").strip()
    except OSError:
        return None
    return address if _answers(address) else None


@contextmanager
def use_server(*, start: bool = True) -> Iterator[None]:
    """Inside, Prefect uses the server that is set, else the one a worker runs here, else a temporary one.

    Args:
        start: start that where there is no other.

    Raises:
        GradattnError: it does not start.
    """
    address = None
    if not PREFECT_API_URL.value():
        address = local_address() or (_temporary_address() if start else None)
    with temporary_settings({PREFECT_API_URL: address}) if address else nullcontext():
        yield


@contextmanager
def connect() -> Iterator[SyncPrefectClient]:
    """A client of the server that :func:`use_server` chooses.

    Raises:
        GradattnError: the server does not answer, does not start, or refuses what it is asked.
    """
    with use_server():
        require_server()
        try:
            with get_client(sync_client=True) as client:
                yield client
        except httpx.HTTPStatusError as error:
            if error.response.is_server_error:
                raise GradattnError(
                    f"{_place()} cannot do this now (status {error.response.status_code}), as while its database is "
                    "away; try again when that is back"
                ) from error
            raise GradattnError(f"{_place()} refuses this ({_detail(error.response)})") from error
        except httpx.HTTPError as error:
            raise GradattnError(f"{_place()} does not answer ({error}); check PREFECT_API_URL") from error


def require_server(otherwise: str = "") -> None:
    """Reach the server that is in use, before anything else is asked of it.

    Args:
        otherwise: what else the user may do if that fails, such as ``, or run without --flow``.

    Raises:
        GradattnError: it does not answer.
    """
    try:
        with get_client(sync_client=True) as client:
            problem = client.api_healthcheck()
    except (OSError, RuntimeError, ValueError) as error:
        problem = error
    if problem is not None:
        raise GradattnError(f"{_place()} does not answer ({problem}); check PREFECT_API_URL{otherwise}") from problem


@contextmanager
def serve() -> Iterator[str]:
    """Run a server on this machine's own database while inside, and yield its address.

    Raises:
        GradattnError: another worker runs one already, or it does not start.
    """
    busy = (
        f"another worker is at work on Prefect's database in {PREFECT_HOME.value()} and serves new schedules too; "
        "stop it and start one with a greater --limit, or set PREFECT_API_URL to a server that several can share"
    )
    with only_process(_LOCK, busy), _file("gradattn-server.log").open("wb") as log:
        process, address = _start(_free_port(_PORT, 0), log, page=True)
        try:
            _wait_for(process, address, Path(log.name))
            _file(_ADDRESS).write_text(address, "utf-8")
            yield address
        finally:
            _file(_ADDRESS).unlink(missing_ok=True)
            _stop(process)


@contextmanager
def only_process(lock: str, sentence: str) -> Iterator[None]:
    """One process of this machine at a time holds a lock in Prefect's folder.

    Raises:
        GradattnError: ``sentence``, where another one holds it.
    """
    held = FileLock(_file(lock))
    try:
        # Longer than it takes another command to see whether it is free.
        held.acquire(timeout=1)
    except Timeout:
        raise GradattnError(sentence) from None
    try:
        yield
    finally:
        held.release()


def is_held(lock: str) -> bool:
    """Whether some process of this machine holds a lock in Prefect's folder."""
    if not _file(lock).exists():
        return False
    try:
        with FileLock(_file(lock), timeout=0):
            return False
    except Timeout:
        return True


@functools.cache
def _temporary_address() -> str:
    """Of a server for this process alone. Prefect would start one too, but that lives on where we are killed."""
    with tempfile.NamedTemporaryFile("wb", prefix="gradattn-server-", suffix=".log") as log:
        process, address = _start(_free_port(0), log, page=False)
        try:
            _wait_for(process, address, Path(log.name))
        except BaseException:
            _stop(process)
            raise
    # Its input stays open for as long as this process lives, and it ends with it: what Prefect still has to report
    # when the interpreter shuts down, it can.
    _temporary.append(process)
    return address


def _start(port: int, log: IO[bytes], *, page: bool) -> tuple[subprocess.Popen[bytes], str]:
    """Begin a server; one that nobody is told the address of needs no page."""
    settings = {
        "PREFECT_SERVER_API_HOST": "127.0.0.1",
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_SERVER_UI_ENABLED": str(page).lower(),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.server"],
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=log,
        env={**_PAGE, "PREFECT_SERVER_UI_STATIC_DIRECTORY": str(_file("ui")), **os.environ, **settings},
        # Ctrl-C is for us, who have to report to this server before we leave.
        start_new_session=True,
    )
    return process, f"http://127.0.0.1:{port}/api"


def _place() -> str:
    return f"Prefect's server at {PREFECT_API_URL.value()}"


def _file(name: str) -> Path:
    """In Prefect's folder."""
    home = Path(PREFECT_HOME.value())
    home.mkdir(parents=True, exist_ok=True)
    return home / name


def _free_port(*wanted: int) -> int:
    """The first of these ports that is free; 0 stands for any."""
    for port in wanted:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise GradattnError("no port of this machine is free for Prefect's server; set PREFECT_API_URL to one that runs")


def _wait_for(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not _answers(address):
        if process.poll() is not None or time.monotonic() > deadline:
            said = log.read_text("utf-8", "replace").strip().splitlines() or ["it said nothing"]
            raise GradattnError(f"Prefect's server did not start ({said[-1]}); its log is {log}")
        time.sleep(0.2)


def _answers(address: str) -> bool:
    try:
        return httpx.get(f"{address}/health", timeout=3).status_code == httpx.codes.OK
    except (httpx.HTTPError, httpx.InvalidURL):
        return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None:
        process.stdin.close()
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _detail(response: httpx.Response) -> str:
    try:
        return str(response.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return f"status {response.status_code}"


def _end_with_input() -> None:
    """Stop this process once nobody holds the other end of its standard input."""

    def wait() -> None:
        sys.stdin.buffer.read()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)
        # Requests that never end, such as a browser's subscriptions, do not hold it.
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()


def main() -> None:
    """Serve at PREFECT_SERVER_API_HOST and PREFECT_SERVER_API_PORT until standard input ends."""
    import prefect
    from prefect.cli import app

    _end_with_input()
    if os.environ.get("PREFECT_SERVER_UI_V2_ENABLED", "").lower() in ("", "0", "false"):
        # It is served even where it is not the first one, and it loads a tracker into the browser.
        prefect.__ui_v2_static_path__ = _file("no-such-page")
    sys.argv = ["prefect", "server", "start"]
    app()


if __name__ == "__main__":
    main()
