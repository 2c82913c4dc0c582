"""Selecting and deciding in the grid with mouse and keyboard, in headless chromium."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from gradattn_core.store.store import Store
from tests.helpers.browser import settle
from tests.helpers.pictured_audit import AUDIT_ID, path_of

pytestmark = pytest.mark.browser


def selected(page: Page, count: int, of: int = 12) -> None:
    expect(page.get_by_text(f"{count} of {of} selected")).to_be_visible(timeout=30_000)
    ticked = page.get_by_role("checkbox", checked=True).and_(page.locator("button.box"))
    expect(ticked).to_have_count(count)
    settle(page)
    if count:
        # Keys do what the buttons do, and those wait until the page knows the selection.
        expect(page.get_by_role("button", name="Remove")).to_be_enabled()


def standing(store: Store) -> dict[str, str]:
    rows = store.candidates.page(AUDIT_ID, decided="yes")
    return dict(zip(rows["path"], rows["decision"] + rows["new_label"], strict=True))


def test_images_are_selected_by_mouse_and_keyboard_decided_together_and_undone(
    page: Page, address: str, store: Store
) -> None:
    page.goto(f"{address}/grid?size=24")
    box = page.locator("button.box")
    expect(box).to_have_count(12, timeout=30_000)
    expect(box.nth(0).locator("img")).to_be_visible(timeout=30_000)
    remove = page.get_by_role("button", name="Remove")
    expect(remove).to_be_disabled()
    box.nth(1).click()
    box.nth(3).click(modifiers=["Shift"])
    selected(page, 3)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    page.keyboard.press("Shift+ArrowRight")
    selected(page, 5)
    page.keyboard.press("x")
    expect(page.get_by_text("5 images: marked for removal")).to_be_visible()
    selected(page, 0, of=7)
    assert standing(store) == {path_of(index): "remove" for index in (1, 2, 3, 4, 5)}
    box.nth(0).focus()
    page.keyboard.press("Control+a")
    selected(page, 7, of=7)
    page.keyboard.press("Escape")
    selected(page, 0, of=7)
    box.nth(0).click()
    selected(page, 1, of=7)
    page.get_by_role("combobox", name="Relabel all to").click()
    page.keyboard.type("eagle")
    page.keyboard.press("Enter")
    expect(page.get_by_text("1 image: relabelled to 🦅 eagle")).to_be_visible()
    assert standing(store)[path_of(0)] == "relabel🦅 eagle"
    settle(page)
    page.keyboard.press("z")
    expect(page.get_by_text("Taken back for 1 image")).to_be_visible()
    settle(page)
    page.keyboard.press("z")
    expect(page.get_by_text("Taken back for 5 images")).to_be_visible()
    selected(page, 0)
    assert standing(store) == {}


def test_labels_and_paths_are_text_and_a_title_opens_the_image_in_review(page: Page, address: str) -> None:
    page.goto(f"{address}/grid?order=Class+pair&decided-undecided=All")
    title = page.get_by_role("link", name="0001 'a' & b.png")
    expect(title).to_be_visible(timeout=30_000)
    expect(page.get_by_role("heading", name="owl → <b>x</b>")).to_be_visible()
    assert page.locator(".gallery b").count() == 0
    assert (title.get_attribute("href") or "").startswith("review?path=class+1%2F0001+%27a%27+%26+b.png&")
    page.get_by_role("button", name="Select 2: kite → owl").click()
    selected(page, 2)
    title.click()
    expect(page.locator(".st-key-path")).to_have_text(path_of(1), timeout=30_000)


def test_page_order_and_size_are_in_the_address_and_a_phone_shows_it_without_scrolling_sideways(
    page: Page, address: str
) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(f"{address}/grid")
    expect(page.locator("button.box")).to_have_count(12, timeout=30_000)
    settle(page)
    page.get_by_role("radio", name="24").or_(page.get_by_role("button", name="24", exact=True)).first.click()
    page.get_by_text("Evidence", exact=True).click()
    page.wait_for_url("**/grid?*size=24*", timeout=30_000)
    settle(page)
    assert "evidence=true" in page.url
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.goto(f"{address}/pair?given=kite&suggested=owl")
    expect(page.locator("button.box")).to_have_count(2, timeout=30_000)
    settle(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
