"""Fixtures of the pages' tests: the audit with pictures, shown in this process or served to a browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from gradattn_core.store.store import Store
from tests.helpers.browser import served
from tests.helpers.pictured_audit import copied_store
from tests.helpers.view_alone import as_at_first, view_alone


@pytest.fixture
def show(monkeypatch: pytest.MonkeyPatch) -> Callable[[Store], Store]:
    """Has the pages of this process show a store, to the reviewer Ada."""

    def set_environment(store: Store) -> Store:
        monkeypatch.setenv("GRADATTN_OUT", str(store.directory))
        monkeypatch.setenv("GRADATTN_REVIEWER", "Ada")
        return store

    return set_environment


@pytest.fixture
def store(tmp_path: Path, show: Callable[[Store], Store]) -> Store:
    """The audit with pictures; its pictures are all tests', so leave them as they are."""
    return show(copied_store(tmp_path))


@pytest.fixture
def address(store: Store) -> Iterator[str]:
    """The address of a page that ``launch`` serves over the store, for the reviewer Ada."""
    with served(store.directory, environment={"GRADATTN_REVIEWER": "Ada"}) as url:
        yield url


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A window of a browser."""
    context = browser.new_context(viewport={"width": 1280, "height": 720})
    page = context.new_page()
    page.set_default_timeout(30_000)
    yield page
    context.close()


@pytest.fixture(scope="module")
def alone(browser: Browser) -> Iterator[Page]:
    """Review's view without a server, one for all tests of a file."""
    with view_alone(browser) as page:
        yield page


@pytest.fixture
def view(alone: Page) -> Page:
    """The view as it is when nothing was shown in it yet."""
    as_at_first(alone)
    return alone
