"""The pages in headless chromium: what the browser tests, the benchmark of the page and the screenshots share."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, expect, sync_playwright

# Five seconds, the default, are too few where the suite shares its cores with other work.
expect.set_options(timeout=30_000)

ROOT = Path(__file__).resolve().parents[1]
_NAMES = ("chromium", "chromium-browser", "google-chrome")


def chromium() -> str | None:
    """The path of an installed chromium, None where there is none."""
    return next(filter(None, map(shutil.which, _NAMES)), None)


@contextmanager
def opened_browser() -> Iterator[Browser]:
    """A headless chromium of this machine.

    Raises:
        FileNotFoundError: there is none.
    """
    found = chromium()
    if found is None:
        raise FileNotFoundError(f"none of {', '.join(_NAMES)} is installed on this machine")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield browser
        browser.close()


@contextmanager
def served(directory: Path, *, environment: Mapping[str, str] | None = None) -> Iterator[str]:
    """The address of a page that ``ui.launch`` serves over ``directory`` on this machine, in a process of its own.

    Args:
        environment: added to this process's own.
    """
    code = "from pathlib import Path; from ui.launch import launch; launch(Path({!r}), port={})"
    with _served(lambda port: ["-c", code.format(str(directory), port)], environment or {}) as url:
        yield url


@contextmanager
def served_script(script: Path) -> Iterator[str]:
    """The address of one Streamlit script on this machine, in a process of its own."""

    def command(port: int) -> list[str]:
        options = {"server.port": port, "server.address": "localhost", "server.headless": "true"}
        flags = [f"--{name}={value}" for name, value in options.items()]
        return ["-m", "streamlit", "run", str(script), *flags, "--browser.gatherUsageStats=false"]

    with _served(command, {}) as url:
        yield url


@contextmanager
def _served(command: Callable[[int], list[str]], environment: Mapping[str, str]) -> Iterator[str]:
    port = free_port()
    server = subprocess.Popen([sys.executable, *command(port)], cwd=ROOT, env={**os.environ, **environment})
    try:
        url = f"http://localhost:{port}"
        wait_until_served(url)
        yield url
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=30)
    with socket.socket() as probe:
        assert probe.connect_ex(("localhost", port)) != 0, "launch left its server behind"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return int(probe.getsockname()[1])


def wait_until_served(url: str) -> None:
    for _ in range(300):
        try:
            with urllib.request.urlopen(f"{url}/_stcore/health", timeout=2):
                return
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f"nothing answers at {url}")


def settle(page: Page) -> None:
    """Wait until the page's script has run to its end."""
    expect(page.get_by_test_id("stApp")).to_have_attribute("data-test-script-state", "notRunning", timeout=30_000)
