"""What axe-core finds on a page, and what the browser's console says of it: shared by the tests of every page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import ConsoleMessage, Page, Response

STREAMLIT = {
    "list": '<ul data-testid="stSidebarNavItems"',
    "listitem": '<li class="st-emotion-cache-',
}
"""What is Streamlit's own and cannot be changed from a page, by rule: how the element at fault begins. Where the window
is narrow the menu is a list in the sidebar, in which what stands below "More" is no direct child of its list."""
# Streamlit looks below a page's address before it finds its server above it.
_PROBE = re.compile(r"/[\w-]+/_stcore/(health|host-config)$")


def faults(page: Page) -> list[str]:
    """Each violation as one line: the rule, the element, what is wrong; nothing where the page is clean."""
    found = Axe().run(page).response["violations"]
    return [
        f"{rule['id']}: {target(node)}: {node['html'][:120]}: {node.get('failureSummary', '')[-160:]}"
        for rule in found
        for node in rule["nodes"]
        if not node["html"].startswith(STREAMLIT.get(rule["id"], "\0"))
    ]


def target(node: dict[str, list[object]]) -> str:
    return " ".join(str(each) for each in node["target"])


@contextmanager
def console(page: Page) -> Iterator[list[str]]:
    """What the console has warned of, and what was not found, while the block runs, without Streamlit's probe."""
    said: list[str] = []

    def hear(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and "404" not in message.text:
            said.append(f"{message.type}: {message.text}")

    def see(response: Response) -> None:
        if response.status >= 400 and not _PROBE.search(response.url.partition("?")[0]):
            said.append(f"{response.status}: {response.url.partition('?')[0]}")

    page.on("console", hear)
    page.on("response", see)
    page.on("pageerror", lambda error: said.append(f"thrown: {error}"))
    yield said
    page.remove_listener("console", hear)
    page.remove_listener("response", see)
