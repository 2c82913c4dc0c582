"""Ten presses a second on the review page and what the log says of them; also while the server is killed."""

from __future__ import annotations

import atexit
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
from playwright.sync_api import Page

from gradattn_core import outfolder
from tests.helpers.browser import free_port, wait_until_served

EVERY = 0.1
"""Seconds between two presses."""
_KILLED, _BACK = 0.35, 0.45  # shares of the time
_SAVED = 60.0
FIRST = """window.addEventListener('keydown', event => window.benchPress?.(event), { capture: true });"""
"""Before anything of the page, which may keep its keys to itself."""
# Presses with what was on the screen, and each suspect that came, by the browser's clock.
_WATCH = """(seen) => {
    const now = eval(`(${seen})`), log = window.benchLog = [];
    let before = now();
    window.benchPress = event => { if (!event.repeat) log.push(['press', performance.now(), now()]); };
    const look = () => {
        const path = now();
        if (path && path !== before) log.push(['seen', performance.now(), path]);
        before = path ?? before;
        requestAnimationFrame(look);
    };
    look();
}"""


# Whether a client says that decisions are on their way; nothing before there were clients.
_UNSENT = "() => /Sending \\d|not sent yet/.test(window.benchClient?.innerText ?? '')"


class Server:
    """A page over an audit's folder, by the code of a checkout, that can be killed and started again at its port."""

    def __init__(self, folder: Path, code: Path, reviewer: str = "Ada") -> None:
        self.folder, self.code, self.reviewer, self.port = folder, code, reviewer, free_port()
        self.address = f"http://localhost:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        atexit.register(self.kill)

    def start(self) -> None:
        code = "from pathlib import Path; from ui.launch import launch; launch(Path({!r}), port={})"
        said = {"GRADATTN_REVIEWER": self.reviewer, "STREAMLIT_LOGGER_HIDE_WELCOME_MESSAGE": "true"}
        self._process = subprocess.Popen(
            [sys.executable, "-c", code.format(str(self.folder), self.port)],
            cwd=self.code,
            env={**os.environ, **said, "PYTHONPATH": str(self.code)},
            start_new_session=True,
        )
        wait_until_served(self.address)

    def kill(self, how: signal.Signals = signal.SIGKILL) -> None:
        """End it with all its children."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, how)
            try:
                self._process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process = None


@dataclass(frozen=True)
class Tally:
    """What became of presses.

    Attributes:
        presses: in ``seconds``; ``decided``: decisions in the log.
        lost: suspects on the screen when a key was pressed that the log lacks; ``unseen``: decided ones that were not.
        doubled: suspects decided more than once.
        waits: seconds from a press to the next suspect on the screen.
    """

    name: str
    seconds: float
    presses: int
    decided: int
    lost: int
    unseen: int
    doubled: int
    waits: list[float]

    @property
    def row(self) -> str:
        half, most = (1000 * float(part) for part in np.quantile(self.waits or [np.nan], [0.5, 0.95]))
        counts = f"{self.presses} | {self.decided} | {self.lost} | {self.unseen} | {self.doubled}"
        return f"| {self.name} | {counts} | {half:,.0f} ms | {most:,.0f} ms |"


HEAD = """| ten presses a second | presses | decided | lost | unseen | doubled | next suspect, p50 | p95 |
|---|---:|---:|---:|---:|---:|---:|---:|"""


def hammer(page: Page, server: Server, seen: str, name: str, seconds: float, *, key: str, killed: bool) -> Tally:
    """Press a key ten times a second for so long; ``killed``: the server dies in the middle and comes back."""
    server.reviewer = f"presses {name}"
    server.start()
    try:
        page.add_init_script(FIRST)
        page.goto(f"{server.address}/review")
        page.wait_for_function(seen, timeout=60_000)
        page.wait_for_timeout(1_000)
        page.evaluate(_WATCH, seen)
        begun = due = time.perf_counter()
        dead = back = not killed
        while due - begun < seconds:
            page.keyboard.press(key)
            share = (time.perf_counter() - begun) / seconds
            if not dead and share > _KILLED:
                server.kill()
                dead = True
            elif not back and share > _BACK:
                back = True
                server.start()
            due += EVERY
            time.sleep(max(0.0, due - time.perf_counter()))
        log = page.evaluate("window.benchLog")
        decided = _settled(page, server)
    finally:
        server.kill(signal.SIGTERM)
    presses = [(moment, path) for kind, moment, path in log if kind == "press"]
    came = [(moment, path) for kind, moment, path in log if kind == "seen"]
    expected = {path for _, path in presses if path}
    return Tally(
        name=name,
        seconds=seconds,
        presses=len(presses),
        decided=sum(decided.values()),
        lost=len(expected - decided.keys()),
        unseen=len(decided.keys() - expected),
        doubled=sum(count > 1 for count in decided.values()),
        waits=_waits(presses, came),
    )


def _waits(presses: list[tuple[float, str | None]], came: list[tuple[float, str]]) -> list[float]:
    """Of each suspect that was decided, the seconds from its first press to the next one on the screen."""
    first: dict[str, float] = {}
    for moment, path in presses:
        if path:
            first.setdefault(path, moment)
    waits = []
    for path, moment in first.items():
        later = next((at for at, other in came if at > moment and other != path), None)
        if later is not None:
            waits.append((later - moment) / 1000)
    return waits


def _settled(page: Page, server: Server) -> Counter[str]:
    """Decisions by path, once no more come."""
    before, since, begun = Counter[str](), time.perf_counter(), time.perf_counter()
    while time.perf_counter() - since < 5 and time.perf_counter() - begun < _SAVED:
        page.wait_for_timeout(500)
        now = _logged(server)
        if now != before or page.evaluate(_UNSENT):
            before, since = now, time.perf_counter()
    return before


def _logged(server: Server) -> Counter[str]:
    """Decisions of this reviewer by path; asked of the file itself, whichever version has made it."""
    question = "SELECT path, count(*) FROM decisions WHERE reviewer = ? AND decision <> 'undo' GROUP BY path"
    for _ in range(200):
        try:
            with duckdb.connect(str(outfolder.database(server.folder)), read_only=True) as connection:
                return Counter(dict(connection.execute(question, [server.reviewer]).fetchall()))
        except (duckdb.IOException, duckdb.ConnectionException):
            time.sleep(0.05)  # the page writes just now
    raise AssertionError("the database is never free")
