"""A client on its page in a browser: below a path, in two tabs, over a server that dies, comes back and is ended."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from gradattn_core.store.store import Store
from tests.helpers.browser import ROOT, free_port, saved, sees, served
from tests.helpers.pictured_audit import AUDIT_ID, path_of, pictured_store
from tests.helpers.stripping_proxy import below_a_path
from ui.components import PAGES

pytestmark = pytest.mark.browser

PATH = "labels"
# The module that the page's client has, not another copy of it.
API = "import(performance.getEntriesByType('resource').find(({ name }) => name.endsWith('/api.js')).name)"
LIST = f"get('list', {{ audit: '{AUDIT_ID}', count: 2 }})"
ASK = f"async () => (await (await {API}).{LIST}).suspects.length"
REFUSED = f"async () => (await {API}).{LIST}.then(() => '', (error) => error.constructor.name)"
TOKEN = f"async () => new URL((await {API}).picture('small', 'a', 'b', 'c')).searchParams.get('token')"


class Server:
    """``gradattn ui`` below a path, at one port for all its lives."""

    def __init__(self, store: Store) -> None:
        self.store, self.port = store, free_port()
        self.log = store.directory.parent / "log"
        self.code = store.directory.parent / "installed"
        shutil.copytree(ROOT / "ui", self.code / "ui")
        self.url = f"http://localhost:{self.port}/{PATH}"

    process: subprocess.Popen[bytes]

    def start(self) -> None:
        command = [sys.executable, "-m", "gradattn_core", "ui", "--out", str(self.store.directory)]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, (self.code, ROOT))),
            "GRADATTN_REVIEWER": "Ada",
            "STREAMLIT_SERVER_BASE_URL_PATH": PATH,
        }
        with self.log.open("ab") as log:
            command += ["--port", str(self.port)]
            self.process = subprocess.Popen(
                command, cwd=self.code, env=environment, stdout=log, stderr=subprocess.STDOUT
            )
        for _ in range(300):
            try:
                with urllib.request.urlopen(f"{self.url}/_stcore/health", timeout=2):
                    return
            except OSError:
                time.sleep(0.2)
        raise AssertionError("the server does not answer")

    def kill(self) -> None:
        """As a machine does that runs out of memory."""
        [server] = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        os.kill(int(server), signal.SIGKILL)
        self.process.wait(20)

    def end(self) -> float:
        """Seconds that it takes to leave."""
        begun = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(20) == 0
        return time.monotonic() - begun


@contextmanager
def watched(context: BrowserContext) -> Iterator[tuple[Page, list[str]]]:
    """A tab, and what it complains of: errors on its console, and answers that are errors."""
    page = context.new_page()
    complaints: list[str] = []
    page.set_default_timeout(30_000)
    page.on("console", lambda line: complaints.append(line.text) if line.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("response", lambda answer: complaints.append(answer.url) if answer.status >= 400 else None)
    yield page, complaints
    page.close()


def mounted(page: Page) -> None:
    """Wait until the client is there with its first picture, and mark its root."""
    expect(page.locator(".gradattn-client img:visible").first).to_be_visible()
    page.evaluate("document.querySelector('.gradattn-client').shadowRoot.querySelector('.client').mine = true")


def is_the_same(page: Page) -> bool:
    root = "document.querySelector('.gradattn-client').shadowRoot.querySelector('.client')"
    return bool(page.evaluate(f"{root}.mine === true && !document.querySelector('#root').inert"))


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the server's process in /proc")
def test_a_client_outlives_its_server_and_its_server_does_not_wait_for_it(browser: Browser, store: Store) -> None:
    server = Server(store)
    server.start()
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    with watched(context) as (first, complaints), watched(context) as (second, _):
        first.goto(f"{server.url}/grid")
        mounted(first)
        second.goto(f"{server.url}/grid?decided=any")
        mounted(second)
        assert first.evaluate(ASK) == second.evaluate(ASK) == 2
        # Streamlit looks for its server below a page's own address first.
        assert [line for line in complaints if "grid/_stcore" not in line and "404" not in line] == []
        token = first.evaluate(TOKEN)
        assert token and token not in first.url

        server.kill()
        for page in (first, second):
            assert page.evaluate(REFUSED) == "Offline"
        # Streamlit's dialog comes after some attempts; it is gone before anybody sees it.
        first.wait_for_timeout(3_000)
        assert is_the_same(first) and first.get_by_role("dialog").count() == 0
        # Newer code leaves what is open as it is.
        with (server.code / "ui" / "client" / "dom.js").open("a") as newer:
            newer.write("// newer\n")
        server.start()
        for page in (first, second):
            assert page.evaluate(ASK) == 2 and is_the_same(page)
        assert first.evaluate(TOKEN) != token
        assert first.evaluate("document.querySelectorAll('.gradattn-client').length") == 1

        # To another page and back, which mounts it anew.
        first.goto("about:blank")
        first.go_back()
        mounted(first)
        assert server.end() < 20
    said = server.log.read_text()
    assert "Traceback" not in said and token not in said, said
    context.close()


@pytest.mark.slow
def test_all_of_a_page_works_below_a_path_that_a_proxy_takes_away(browser: Browser, store: Store, address: str) -> None:
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    with below_a_path(int(address.rsplit(":", 1)[1])) as url, watched(context) as (page, complaints):
        for name in PAGES:
            page.goto(f"{url}/{'' if name == 'overview' else name}")
            expect(page).to_have_title(f"{PAGES[name].title} · gradattn")
            expect(page.locator("h1").first).to_be_attached()
        page.goto(f"{url}/review")
        sees(page, path_of(0))
        page.keyboard.press("k")
        saved(page)
        page.keyboard.press("g")
        page.wait_for_url(f"{url}/grid")
        expect(page.locator(".grid .board img").first).to_be_visible()
        # Away from the site and back: a token that still holds, and what was decided stays decided once.
        page.goto(f"{url}/review")
        sees(page, path_of(1))
        page.keyboard.press("u")
        page.goto("about:blank")
        page.go_back()
        sees(page, path_of(2))
        page.keyboard.press("x")
        saved(page)
        # Streamlit looks for its server below a page's own address first.
        assert [line for line in complaints if "_stcore" not in line and "404" not in line] == []
    context.close()
    rows = store.decisions.page()[::-1][["path", "decision"]].to_numpy().tolist()
    assert rows == [[path_of(0), "keep"], [path_of(1), "unsure"], [path_of(2), "remove"]]


@pytest.mark.slow
def test_pictures_that_have_moved_are_shown_from_the_folder_that_somebody_names(
    browser: Browser, tmp_path: Path
) -> None:
    store = pictured_store(tmp_path)
    (tmp_path / "pictures").rename(tmp_path / "moved")
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    with (
        served(store.directory, environment={"GRADATTN_REVIEWER": "Ada"}) as url,
        watched(context) as (page, complaints),
    ):
        page.goto(f"{url}/review")
        expect(page.get_by_text("This file is missing:")).to_be_visible()
        folder = page.get_by_label("The folder where the pictures are now")
        folder.fill(str(tmp_path))
        folder.press("Enter")
        expect(page.get_by_text("That folder does not have this picture")).to_be_visible()
        refused = len(complaints)
        folder.fill(str(tmp_path / "moved"))
        folder.press("Enter")
        sees(page, path_of(0))
        page.wait_for_timeout(500)
        # For the rest of this visit, on all pages.
        page.goto(f"{url}/grid")
        expect(page.locator(".gradattn-client img:visible").first).to_be_visible()
        assert [line for line in complaints[refused:] if "_stcore" not in line and "404" not in line] == []
    context.close()
