"""Every page for everybody: axe-core and the console say nothing, each page has one heading and a title of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from gradattn_core.store.store import Store
from tests.helpers.axe import console, faults
from tests.helpers.browser import served, settle
from tests.helpers.pictured_audit import AUDIT_ID, copied_store, path_of
from ui.components import PAGES

pytestmark = pytest.mark.browser

# 200 % zoom is a window half as wide and half as high.
SIZES = {"wide": (1280, 800), "phone": (400, 800), "zoomed": (640, 400), "landscape": (844, 390)}


@pytest.fixture(scope="module")
def reviewed(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """An audit of which something was decided, by two reviewers, after a random check."""
    store = copied_store(tmp_path_factory.mktemp("axe"))
    store.decisions.append_many(AUDIT_ID, store.draws.spot_check(AUDIT_ID, 5, seed=3).paths, "keep", reviewer="Ada")
    store.decisions.append(AUDIT_ID, path_of(6), "relabel", new_label="owl", reviewer="Ada", note="<b>n</b>")
    store.decisions.append(AUDIT_ID, path_of(6), "keep", reviewer="Bob")
    return store


@pytest.fixture(scope="module")
def site(reviewed: Store) -> Iterator[str]:
    with served(reviewed.directory, environment={"GRADATTN_REVIEWER": "Ada"}) as url:
        yield url


def opened(browser: Browser, scheme: str, size: str, *, forced: bool = False) -> Iterator[Page]:
    """A window; ``forced``: with the colours of a system's high contrast, and motion reduced."""
    width, height = SIZES[size]
    context = browser.new_context(viewport={"width": width, "height": height})
    page = context.new_page()
    page.emulate_media(
        color_scheme="dark" if scheme == "dark" else "light",
        forced_colors="active" if forced else "none",
        reduced_motion="reduce" if forced else "no-preference",
    )
    page.set_default_timeout(30_000)
    yield page
    context.close()


def go(page: Page, site: str, address: str) -> None:
    page.goto(f"{site}/{'' if address == 'overview' else address}")
    settle(page)
    expect(page.locator("h1").first).to_be_visible()
    page.wait_for_timeout(700)  # Pictures and their frames are drawn after the heading.


def check(page: Page, site: str, address: str) -> list[str]:
    """All that is wrong with a page."""
    with console(page) as said:
        go(page, site, address)
        found = [*faults(page), *said]
    title = page.title()
    if title != f"{PAGES[address].title} · gradattn":
        found.append(f"its title is {title!r}")
    if page.locator("h1").count() != 1:
        found.append(f"it has {page.locator('h1').count()} first headings: {page.locator('h1').all_inner_texts()}")
    width = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    if width > 0:
        found.append(f"it is {width} px wider than the window")
    return [f"{address}: {each}" for each in found]


def test_overview_and_review_are_clean(browser: Browser, site: str) -> None:
    for page in opened(browser, "light", "wide"):
        assert [each for address in ("overview", "review") for each in check(page, site, address)] == []


@pytest.mark.slow
@pytest.mark.parametrize(("scheme", "size"), [("light", "zoomed"), ("dark", "landscape")])
def test_every_page_is_clean_when_enlarged_and_in_forced_colours(
    browser: Browser, site: str, scheme: str, size: str
) -> None:
    for page in opened(browser, scheme, size, forced=scheme == "light"):
        assert [each for address in PAGES for each in check(page, site, address)] == []


@pytest.mark.slow
@pytest.mark.parametrize("size", ["wide", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_is_clean(browser: Browser, site: str, scheme: str, size: str) -> None:
    for page in opened(browser, scheme, size):
        assert [each for address in PAGES for each in check(page, site, address)] == []
