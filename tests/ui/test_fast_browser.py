"""Review under fast fingers, on a slow network, and over a server that is killed: what is decided is what was seen."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from gradattn_core.store.store import Store
from tests.helpers import pictured_audit
from tests.helpers.browser import saved, sees
from tests.helpers.pictured_audit import AUDIT_ID, MISSING
from tests.helpers.restarted import Server, serving

pytestmark = [pytest.mark.browser, pytest.mark.slow]

# Writes down, for each key that somebody presses, which suspect was on the screen with its picture and labels.
_WITNESS = """
    window.pressed = [];
    const seen = () => {
        const look = (node) => {
            for (const each of node.querySelectorAll("*")) {
                if (each.dataset?.seen !== undefined) return each.dataset.seen;
                if (each.shadowRoot) { const found = look(each.shadowRoot); if (found !== undefined) return found; }
            }
        };
        return look(document) ?? null;
    };
    window.addEventListener("keydown", (event) => window.pressed.push([event.key, seen()]), true);
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = pictured_audit.copied_store(tmp_path, images=400, suspects=360)
    store.decisions.append(AUDIT_ID, MISSING, "unsure", reviewer="Zoe")
    return store


@pytest.fixture
def server(store: Store) -> Iterator[Server]:
    with serving(store.directory) as server:
        yield server


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(60_000)
    yield context
    context.close()


def opened(context: BrowserContext, server: Server, store: Store) -> Page:
    page = context.new_page()
    page.add_init_script(_WITNESS)
    page.goto(f"{server.url}/review")
    sees(page, undecided(store)[0])
    return page


def undecided(store: Store) -> list[str]:
    return list(store.candidates.page(AUDIT_ID, decided="no")["path"])


def log(store: Store) -> list[tuple[str, str]]:
    """Path and decision of every entry but the first, the oldest first."""
    return [tuple(row) for row in store.decisions.page()[["path", "decision"]][::-1].to_numpy().tolist()][1:]


def pressed(page: Page) -> list[tuple[str, str | None]]:
    """Key, and the suspect that was on the screen; None where there was none yet."""
    return [tuple(each) for each in page.evaluate("window.pressed")]


def press(page: Page, keys: str, per_second: float) -> None:
    begun = time.monotonic()
    for index, key in enumerate(keys):
        page.keyboard.press(key)
        time.sleep(max(0.0, begun + (index + 1) / per_second - time.monotonic()))


WORDS = {"k": "keep", "u": "unsure", "x": "remove"}


def decided_as_seen(page: Page, store: Store) -> list[tuple[str, str]]:
    """What must be in the log, from what was on the screen at each press."""
    return [(path, WORDS[key]) for key, path in pressed(page) if path is not None and key in WORDS]


def test_fast_presses_are_neither_lost_nor_doubled(context: BrowserContext, server: Server, store: Store) -> None:
    page = opened(context, server, store)
    order = undecided(store)
    press(page, "kux" * 15, per_second=8)
    saved(page)
    assert log(store) == decided_as_seen(page, store)
    # Each press that found nothing on the screen was said; all others decided one suspect after the other.
    assert [path for path, _ in log(store)] == order[: len(log(store))]
    assert len(log(store)) >= 40


def test_on_a_slow_network_nothing_is_decided_before_it_is_seen(
    context: BrowserContext, server: Server, store: Store
) -> None:
    page = opened(context, server, store)
    session = context.new_cdp_session(page)
    session.send("Network.enable")
    slow = {"offline": False, "latency": 700, "downloadThroughput": 12_000, "uploadThroughput": 12_000}
    session.send("Network.emulateNetworkConditions", slow)
    page.reload(wait_until="commit")
    expect(page.locator(".review.loading")).to_be_visible()
    press(page, "kkkk", per_second=4)
    assert log(store) == []
    expect(page.locator(".client[data-seen]")).to_have_count(1)
    press(page, "kux" * 8, per_second=5)
    session.send(
        "Network.emulateNetworkConditions", slow | {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    )
    saved(page)
    assert log(store) == decided_as_seen(page, store)


def test_what_is_decided_while_the_server_is_killed_and_restarted_is_stored_once(
    context: BrowserContext, server: Server, store: Store
) -> None:
    page = opened(context, server, store)
    press(page, "kux" * 4, per_second=5)
    server.kill()
    press(page, "kux" * 2, per_second=5)
    expect(page.locator(".saved-state")).to_contain_text("not sent yet")
    server.start()
    press(page, "kux" * 3, per_second=3)
    saved(page)
    assert log(store) == decided_as_seen(page, store)
    assert len({path for path, _ in log(store)}) == len(log(store)) >= 20


def test_a_reviewers_hour_is_in_the_log_press_by_press(context: BrowserContext, server: Server, store: Store) -> None:
    """300 decisions at 5 a second, with undos and a reload, the server killed and started again in the middle."""
    page = opened(context, server, store)
    keys = "kkuxkzkukx" * 16
    press(page, keys, per_second=5)
    server.kill()
    press(page, "kuxku", per_second=2)
    server.start()
    press(page, keys, per_second=5)
    saved(page)
    written = log(store)
    assert [each for each in written if each[1] != "undo"] == decided_as_seen(page, store)
    assert len(written) >= 300
    page.reload()
    expect(page.locator(".client[data-seen]")).to_have_attribute("data-seen", undecided(store)[0])
    # By the plainest reading of the log each picture has one word or none.
    stacks: dict[str, list[str]] = {}
    for path, decision in written:
        if decision == "undo":
            stacks[path].pop()
        else:
            stacks.setdefault(path, []).append(decision)
    assert all(len(stack) <= 1 for stack in stacks.values())
    standing = {path: stack[0] for path, stack in stacks.items() if stack}
    rows = store.candidates.page(AUDIT_ID, decided="yes")[["path", "decision"]].to_numpy().tolist()
    assert {path: decision for path, decision in rows if path != MISSING} == standing


# What waits for a person in this browser: the pictures about which somebody else was faster.
_ASKED = """Object.keys(localStorage).sort().map((key) => localStorage.getItem(key)).flatMap((text) => {
    try {
        const { path, decision, answer } = JSON.parse(text);
        return answer ? [[path, decision, answer.status]] : [];
    } catch { return []; }
})"""


def test_two_reviewers_hours_are_in_the_log_press_by_press_and_where_they_meet_each_is_asked(
    browser: Browser, context: BrowserContext, server: Server, store: Store
) -> None:
    """150 decisions each, together three a second, of one list; the server is killed once, one is cut off thrice."""
    other = browser.new_context(viewport={"width": 1280, "height": 800})
    other.set_default_timeout(60_000)
    other.add_cookies([{"name": "gradattn_reviewer", "value": "Grace", "url": server.url}])
    pages = {"Ada": opened(context, server, store), "Grace": other.new_page()}
    pages["Grace"].add_init_script(_WITNESS)
    pages["Grace"].goto(f"{server.url}/review")
    sees(pages["Grace"], undecided(store)[0])

    def together(keys: str) -> None:
        begun = time.monotonic()
        for index, key in enumerate(keys):
            for reviewer, page in pages.items():
                page.keyboard.press(key if reviewer == "Ada" else "xku"["kux".index(key)])
            time.sleep(max(0.0, begun + (index + 1) / 1.5 - time.monotonic()))

    together("kux" * 25)
    server.kill()
    together("kux" * 2)
    server.start()
    for _ in range(3):
        # Who hears of what the other decides passes it over; they meet where one of them does not.
        other.set_offline(True)
        together("kux" * 2)
        other.set_offline(False)
        together("kux" * 5)
    together("kux" * 2)
    for page in pages.values():  # a press that finds nothing on the screen decides nothing
        while (missing := 150 - len(decided_as_seen(page, store))) > 0:
            press(page, ("kux" * 50)[:missing], per_second=3)
    said = {name: decided_as_seen(page, store) for name, page in pages.items()}
    met = {path for path, _ in said["Ada"]} & {path for path, _ in said["Grace"]}
    # Whoever was slower is asked about each picture of both, and nothing of it is stored before an answer.
    left: list[tuple[str, str, str]] = []
    for name, page in pages.items():
        page.wait_for_function(
            "document.querySelector('.gradattn-client').shadowRoot.querySelector('.saved-state:is(.saved, .choice)')"
        )
        asked = [tuple(each) for each in page.evaluate(_ASKED)]
        assert {status for _, _, status in asked} <= {"newer"}
        for turn, (path, decision, _) in enumerate(asked):
            assert (path, decision) in said[name]
            page.get_by_role("button", name="Mine:" if turn % 2 else "Theirs:").click()
            if not turn % 2:
                left.append((name, path, decision))
            expect(page.locator(".saved-state.choice")).to_have_count(1 if turn + 1 < len(asked) else 0)
        saved(page)
    rows = store.decisions.page()[["reviewer", "path", "decision", "decision_id"]][::-1]
    written = [tuple(row) for row in rows.to_numpy().tolist()][1:]
    assert len({row[3] for row in written}) == len(written)
    for name, each in said.items():
        kept = [pair for pair in each if (name, *pair) not in left]
        assert sorted(pair for who, *pair, _ in map(list, written) if who == name) == sorted(map(list, kept))
    assert len(met) >= 10 and {path for _, path, _ in left} <= met
    other.close()
