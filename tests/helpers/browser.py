"""The pages in headless chromium: what the browser tests, the benchmark of the page and the screenshots share."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, expect, sync_playwright

# Five seconds, the default, are too few where the suite shares its cores with other work.
expect.set_options(timeout=30_000)

ROOT = Path(__file__).resolve().parents[2]
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
def served(
    directory: Path, *, environment: Mapping[str, str] | None = None, started_in: Path = ROOT, port: int | None = None
) -> Iterator[str]:
    """The address of a page that ``ui.launch`` serves over ``directory`` on this machine, in a process of its own.

    Args:
        environment: added to this process's own.
        started_in: where Streamlit looks for its secrets.
        port: a free one where none is named.
    """
    port = port or free_port()
    code = "from pathlib import Path; from ui.launch import launch; launch(Path({!r}), port={})"
    above = {"PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])}
    command = ["-c", code.format(str(directory), port)]
    with _served(command, port, above | dict(environment or {}), started_in) as url:
        yield url


@contextmanager
def served_script(script: Path) -> Iterator[str]:
    """The address of one Streamlit script on this machine, in a process of its own."""

    port = free_port()
    options = {"server.port": port, "server.address": "localhost", "server.headless": "true"}
    flags = [f"--{name}={value}" for name, value in options.items()]
    command = ["-m", "streamlit", "run", str(script), *flags, "--browser.gatherUsageStats=false"]
    with _served(command, port, {}, ROOT) as url:
        yield url


@contextmanager
def _served(command: list[str], port: int, environment: Mapping[str, str], started_in: Path) -> Iterator[str]:
    server = subprocess.Popen([sys.executable, *command], cwd=started_in, env={**os.environ, **environment})
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


def sees(page: Page, path: str) -> None:
    """Wait until the suspect at ``path`` is on the review page and painted, as keys count only from then on."""
    expect(page.locator(".client[data-seen]")).to_have_attribute("data-seen", path)


def saved(page: Page) -> None:
    """Wait until the database has all that was decided on the review page."""
    expect(page.locator(".saved-state.saved")).to_have_text(re.compile("All [0-9,]+ saved"))
