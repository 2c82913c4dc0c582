"""Start the review page as a process of its own."""

from __future__ import annotations

import getpass
import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from types import FrameType

from gradattn_core.config import DEFAULT_OUT
from gradattn_core.errors import GradattnError

OWN_MACHINE = ("localhost", "127.0.0.1", "::1")
"""The addresses that only this machine reaches."""

PATIENCE_AT_THE_END = 12.0
"""Seconds that the server may take to leave."""

_SERVER = Path(__file__).with_name("server.py")


def launch(
    directory: Path,
    *,
    port: int = 8501,
    address: str = "localhost",
    read_only: bool = False,
    data_root: Path | None = None,
    learning: bool = True,
) -> int:
    """Serve the review page over ``directory`` until it is stopped.

    Args:
        directory: an audit's output folder; it may still be empty.
        port: TCP port of the page.
        address: the interface to listen on; only this machine by default.
        read_only: show everything, store no decision.
        data_root: where the images are now, if not below the root that their audit stored.
        learning: whether the order of the images may learn from decisions while the page is open.

    Returns:
        The exit status of the server, 0 after Ctrl-C or SIGTERM.

    Raises:
        GradattnError: the port cannot be used.
    """
    _check_port(address, port)
    environment = _environment(directory, address, read_only)
    if data_root is not None:
        environment["GRADATTN_DATA_ROOT"] = str(data_root.absolute())
    if not learning:
        environment["GRADATTN_LEARNING"] = "0"
    process = subprocess.Popen(_command(port, address), env=environment)
    # The server waits for what its pages have asked; a page that never takes its answer must not hold it for ever.
    last_resort = threading.Timer(PATIENCE_AT_THE_END, process.kill)

    def stop(_signal: int, _frame: FrameType | None) -> None:
        process.terminate()
        with suppress(RuntimeError):  # it has been started before
            last_resort.start()

    before = signal.signal(signal.SIGTERM, stop)
    try:
        status = process.wait()
        return 0 if last_resort.is_alive() or last_resort.finished.is_set() else status
    except KeyboardInterrupt:
        # The terminal has sent the same signal to the server; it only needs the time to leave.
        with suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
            process.wait(PATIENCE_AT_THE_END)
        return 0
    finally:
        last_resort.cancel()
        signal.signal(signal.SIGTERM, before)
        if process.poll() is None:
            process.kill()


def directory() -> Path:
    """The output folder that this process's page serves."""
    return Path(os.environ.get("GRADATTN_OUT", DEFAULT_OUT))


def read_only() -> bool:
    """Whether this process's page stores nothing."""
    return os.environ.get("GRADATTN_READ_ONLY") == "1"


def child_environment(**variables: str) -> dict[str, str]:
    """The environment of a process that imports these packages from where they lie now, with ``variables``."""
    # Streamlit puts the app's own folder on the path; the app imports its package from the folder above.
    above = [str(_SERVER.parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(above), **variables}


def _command(port: int, address: str) -> list[str]:
    options = {
        "server.port": port,
        "server.address": address,
        "server.headless": "true",
        "browser.gatherUsageStats": "false",
        # Without one Streamlit asks the internet which address this machine has there, to print it.
        "browser.serverAddress": "localhost",
        # st.pagination has a default whether one is wanted or not, so each return to a first page would be a warning.
        "global.disableWidgetStateDuplicationWarning": "true",
    }
    # What the user says stands.
    if "STREAMLIT_BROWSER_SERVER_ADDRESS" in os.environ or address in OWN_MACHINE:
        del options["browser.serverAddress"]
    flags = [f"--{name}={value}" for name, value in options.items()]
    return [sys.executable, "-m", "streamlit", "run", str(_SERVER), *flags]


def _environment(directory: Path, address: str, read_only: bool) -> dict[str, str]:
    environment = child_environment(GRADATTN_OUT=str(directory.resolve()), GRADATTN_READ_ONLY=str(int(read_only)))
    if address in OWN_MACHINE and "GRADATTN_REVIEWER" not in environment:
        # Whoever sits at this machine is the reviewer; over the network the page asks for the name instead.
        environment["GRADATTN_REVIEWER"] = _user_name()
    return environment


def _user_name() -> str:
    try:
        name = getpass.getuser()
    except (OSError, KeyError):
        return ""
    return "" if name == "root" else name


def _check_port(address: str, port: int) -> None:
    try:
        socket.create_server((address, port)).close()
    except (OSError, OverflowError) as error:
        raise GradattnError(
            f"the page cannot listen on {address}:{port} ({error}); choose another port with --port"
        ) from error
