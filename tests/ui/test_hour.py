"""A reviewer's hour on one audit, played in a minute: what two people say on the pages is in the database and the file.

Everything is asked for as a person would: keys, clicks, searches, a reload, a second browser. What was said is written
down here beside it, and in the end compared with the log, with what stands, and with the exported file, row by row.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from gradattn_core.export import encode, read_candidates
from gradattn_core.store.store import Store
from tests.helpers import pictured_audit
from tests.helpers.browser import sees, served, settle
from tests.helpers.pictured_audit import AUDIT_ID, CLASSES, path_of

pytestmark = pytest.mark.browser

EACH = 31
SUSPECTS = EACH * len(CLASSES)
KITES = [path_of(len(CLASSES) * position) for position in range(EACH)]
EAGLE = "🦅 eagle"
WAIT = 30_000

Said = tuple[str, str, str, str, str]
"""Reviewer, path, decision, new label, note."""


@dataclass
class Hour:
    """What is said, as it is said."""

    store: Store
    said: list[Said] = field(default_factory=list)

    def say(self, reviewer: str, path: str, decision: str, new_label: str = "", note: str = "") -> None:
        self.said.append((reviewer, path, decision, new_label, note))

    def undecided(self, **filters: str) -> list[str]:
        return list(self.store.candidates.page(AUDIT_ID, decided="no", given=filters.get("given"))["path"])


@pytest.fixture
def hour(tmp_path: Path) -> Hour:
    return Hour(pictured_audit.pictured_store(tmp_path, images=SUSPECTS + 10, suspects=SUSPECTS))


def opened(browser: Browser) -> tuple[BrowserContext, Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 800}, accept_downloads=True)
    context.set_default_timeout(WAIT)
    return context, context.new_page()


def press(page: Page, key: str, following: str) -> None:
    """One key, and the suspect that is to be there after it."""
    page.keyboard.press(key)
    sees(page, following)


def to_the_pair(page: Page, address: str) -> None:
    """From the overview by the map to the pair, and on to its suspects one by one."""
    page.goto(address)
    kites = page.get_by_test_id("stVegaLiteChart").locator("path[aria-label*='Filed under: kite; Looks like: owl']")
    expect(kites).to_be_visible(timeout=WAIT)
    settle(page)
    kites.click()
    page.get_by_role("button", name="Review one by one").click()
    sees(page, KITES[0])
    expect(page.get_by_text(f"0 of {EACH} decided")).to_be_visible()


def decide_thirty_by_keyboard(page: Page, hour: Hour) -> None:
    words = {"a": ("relabel", "owl"), "k": ("keep", ""), "u": ("unsure", ""), "x": ("remove", "")}
    for position in range(30):
        key = "aaakaaauax"[position % 10]
        press(page, key, KITES[position + 1])
        hour.say("Ada", KITES[position], *words[key])
    expect(page.get_by_text(f"30 of {EACH} decided")).to_be_visible()


def undo_three(page: Page, hour: Hour) -> None:
    for position in (29, 28, 27):
        press(page, "z", KITES[position])
        hour.say("Ada", KITES[position], "undo")
    expect(page.get_by_text(f"27 of {EACH} decided")).to_be_visible()


def relabel_by_search_and_reload(page: Page, hour: Hour) -> None:
    page.keyboard.press("/")
    page.keyboard.type("eagl")
    page.keyboard.press("Enter")
    sees(page, KITES[28])
    hour.say("Ada", KITES[27], "relabel", EAGLE)
    page.reload()
    sees(page, KITES[28])
    expect(page.get_by_text(f"28 of {EACH} decided")).to_be_visible()
    page.keyboard.press("n")
    page.keyboard.type("=too dark, 'x'")
    page.keyboard.press("Tab")
    settle(page)
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Remove").click()
    sees(page, KITES[29])
    hour.say("Ada", KITES[28], "remove", "", "=too dark, 'x'")


def keep_forty_in_the_grid(page: Page, address: str, hour: Hour) -> None:
    chosen = hour.undecided()[:40]
    page.goto(f"{address}/grid?size=48&order=rank")
    boxes = page.locator(".grid .board button.box")
    expect(boxes).to_have_count(48, timeout=WAIT)
    boxes.nth(0).click()
    boxes.nth(39).click(modifiers=["Shift"])
    page.get_by_role("button", name="Label is right…").click()
    page.get_by_role("dialog").get_by_role("button", name="Keep 40").click()
    expect(page.get_by_text("40 pictures: the label is right.")).to_be_visible()
    expect(page.locator(".grid .board button.box[aria-checked=true]")).to_have_count(0)
    for path in chosen:
        hour.say("Ada", path, "keep")


def differ_at_the_same_time(ada: Page, grace: Page, address: str, hour: Hour) -> list[str]:
    """Both go down one list, and press at the same moment: Ada keeps, Grace removes, and five times neither waits."""
    suggested = CLASSES[2]
    owls = hour.undecided(given="owl")
    place = f"{address}/review?{urlencode({'given': 'owl', 'suggested': suggested})}"
    for page in (ada, grace):
        page.goto(place)
        sees(page, owls[0])
    grace.get_by_role("textbox", name="Reviewer").fill("Grace")
    grace.keyboard.press("Enter")
    grace.keyboard.press("Escape")
    grace.wait_for_function("document.cookie.includes('Grace')")
    settle(grace)
    for path, following in pairwise(owls[:6]):
        ada.keyboard.press("k")
        grace.keyboard.press("x")
        sees(ada, following)
        sees(grace, following)
        hour.say("Ada", path, "keep")
        hour.say("Grace", path, "remove")
    return owls[:5]


def exported(page: Page, address: str, target: Path) -> Path:
    page.goto(f"{address}/export")
    with page.expect_download() as download:
        page.get_by_role("button", name=f"Download {SUSPECTS} rows as CSV").click()
    download.value.save_as(target)
    return target


def test_what_two_reviewers_say_in_an_hour_is_all_there_in_the_end(
    browser: Browser, hour: Hour, tmp_path: Path
) -> None:
    # The order that learns has tests of its own; here each next suspect is known beforehand.
    environment = {"GRADATTN_REVIEWER": "Ada", "GRADATTN_LEARNING": "0"}
    with served(hour.store.directory, environment=environment) as address:
        context, ada = opened(browser)
        to_the_pair(ada, address)
        decide_thirty_by_keyboard(ada, hour)
        undo_three(ada, hour)
        relabel_by_search_and_reload(ada, hour)
        keep_forty_in_the_grid(ada, address, hour)
        alone = len(hour.said)
        other_context, grace = opened(browser)
        disputed = differ_at_the_same_time(ada, grace, address, hour)
        csv = exported(ada, address, tmp_path / "candidates.csv")
        ada.goto(f"{address}/decisions")
        expect(ada.get_by_text(f"of {len(hour.said)} entries")).to_be_visible()
        context.close()
        other_context.close()

    log = hour.store.decisions.page()[["reviewer", "path", "decision", "new_label", "note"]][::-1]
    written: list[Said] = [tuple(row) for row in log.itertuples(index=False, name=None)]
    assert written[:alone] == hour.said[:alone]
    assert sorted(written[alone:]) == sorted(hour.said[alone:])
    differing = hour.store.decisions.page(conflicts=True)
    assert sorted(differing["path"]) == sorted(disputed * 2)

    assert csv.read_bytes() == encode("candidates", hour.store.candidates.page(AUDIT_ID), "csv")
    rows = read_candidates(csv)[["path", "decision", "reviewer", "note"]]
    assert {row[0]: row[1:] for row in rows.itertuples(index=False, name=None)} == outcome(written)
    assert (rows["decision"] != "").sum() == 29 + 40 + 5


def outcome(log: list[Said]) -> dict[str, tuple[str, str, str]]:
    """Decision, reviewer and note of every suspect as the file has them, by the plainest reading of the log."""
    stacks: dict[str, list[Said]] = {path_of(index): [] for index in range(SUSPECTS)}
    suggested = {path_of(index): CLASSES[(index + 1) % len(CLASSES)] for index in range(SUSPECTS)}
    for entry in log:
        if entry[2] == "undo":
            stacks[entry[1]].pop()
        else:
            stacks[entry[1]].append(entry)
    standing = {}
    for path, stack in stacks.items():
        if not stack:
            standing[path] = ("", "", "")
            continue
        reviewer, _, decision, new_label, note = stack[-1]
        chosen = decision == "relabel" and new_label != suggested[path]
        standing[path] = (f"relabel:{new_label}" if chosen else decision, reviewer, note)
    return standing
