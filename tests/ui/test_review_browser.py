"""The review page under a reviewer's fingers: keyboard only, on a desk and on a phone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from gradattn_core.store.store import Store
from tests.helpers import pictured_audit
from tests.helpers.browser import sees, served, settle
from tests.helpers.pictured_audit import path_of

pytestmark = pytest.mark.browser

_WAIT = 30_000


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("review")


@pytest.fixture(scope="module")
def store(place: Path) -> Store:
    return pictured_audit.pictured_store(place)


@pytest.fixture(scope="module")
def address(store: Store) -> Iterator[str]:
    with served(store.directory, environment={"GRADATTN_REVIEWER": ""}) as url:
        yield url


def shows(page: Page, index: int) -> None:
    sees(page, path_of(index))


def large(page: Page) -> Locator:
    return page.locator(".st-key-pictures img")


def test_a_suspect_is_named_toggled_searched_relabelled_and_undone_without_a_mouse(
    browser: Browser, address: str, store: Store
) -> None:
    page = browser.new_context(viewport={"width": 1280, "height": 720}).new_page()
    page.goto(f"{address}/review")
    shows(page, 0)
    # Asked once: the browser keeps the name.
    expect(page.get_by_role("button", name="Label is right")).to_be_disabled()
    page.get_by_role("textbox", name="Who is reviewing?").focus()
    page.keyboard.type('Ada "; alert(1); <b>')
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Label is right")).to_be_enabled(timeout=_WAIT)
    settle(page)
    page.reload()
    shows(page, 0)
    expect(page.get_by_role("textbox", name="Reviewer")).to_have_value('Ada "; alert(1); <b>')

    expect(large(page)).to_have_count(2, timeout=_WAIT)
    for count, first in ((1, "The suspect, filed"), (1, "The suspect in grey"), (2, "The suspect, filed")):
        page.keyboard.press("v")
        expect(large(page)).to_have_count(count, timeout=_WAIT)
        expect(large(page).first).to_have_attribute("alt", re.compile(first), timeout=_WAIT)
        settle(page)
    dialog = page.get_by_role("dialog")
    for leave in ("Escape", "?"):
        page.keyboard.press("?")
        expect(dialog.get_by_text("Accept the suggested label")).to_be_visible(timeout=_WAIT)
        settle(page)
        page.keyboard.press("k")
        page.keyboard.press(leave)
        expect(dialog).to_have_count(0, timeout=_WAIT)
        expect(page.get_by_role("button", name="Label is right")).to_be_enabled(timeout=_WAIT)
        shows(page, 0)
    assert store.decisions.page().empty, "a key decided behind the list of keys"

    page.keyboard.press("n")
    page.keyboard.type("kax")
    page.keyboard.press("Escape")
    settle(page)
    page.keyboard.press("/")
    page.keyboard.type("eagl")
    expect(page.get_by_role("option", name="eagle")).to_be_visible(timeout=_WAIT)
    page.keyboard.press("Enter")
    shows(page, 1)
    page.keyboard.press("z")
    shows(page, 0)
    log = store.decisions.page()[["decision", "new_label", "reviewer", "note"]].values.tolist()
    name = 'Ada "; alert(1); <b>'
    assert log == [["undo", "", name, ""], ["relabel", "🦅 eagle", name, "kax"]]
    page.context.close()


def test_everything_that_decides_is_on_the_screen_on_a_desk_and_on_a_phone(browser: Browser, address: str) -> None:
    for width, height in ((1280, 720), (390, 844)):
        page = browser.new_context(viewport={"width": width, "height": height}).new_page()
        page.goto(f"{address}/review?at=1")
        shows(page, 1)
        for name in ("Relabel to", "Label is right", "Unsure", "Remove"):
            box = page.get_by_role("button", name=name).bounding_box()
            assert box and box["y"] >= 0 and box["y"] + box["height"] <= height
            assert box["x"] >= 0 and box["x"] + box["width"] <= width
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert all(image.get_attribute("alt") for image in page.locator("img").all())
        page.context.close()


def test_pictures_that_have_moved_are_shown_again_from_the_folder_that_is_named(
    browser: Browser, address: str, store: Store, place: Path
) -> None:
    moved = (place / "pictures").rename(place / "moved pictures")
    page = browser.new_context(viewport={"width": 1280, "height": 720}).new_page()
    page.goto(f"{address}/review?at=9")
    shows(page, 9)
    field = page.get_by_role("textbox", name="Were the pictures moved?")
    expect(field).to_be_visible(timeout=_WAIT)
    field.fill(str(place))
    field.press("Enter")
    expect(page.get_by_text("That folder does not have this picture")).to_be_visible(timeout=_WAIT)
    field.fill(str(moved))
    field.press("Enter")
    expect(large(page)).to_have_count(2, timeout=_WAIT)
    shows(page, 9)
    page.context.close()
