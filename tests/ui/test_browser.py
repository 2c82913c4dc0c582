"""The pages as a reviewer has them: served by ``launch``, driven in headless chromium."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from gradattn_core.errors import GradattnError
from gradattn_core.export import encode
from gradattn_core.store.store import Store
from tests.helpers.browser import sees, served, settle
from tests.helpers.pictured_audit import AUDIT_ID, copied_store, path_of
from ui.launch import launch

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """One for all tests of this file, of which only the last decides anything."""
    return copied_store(tmp_path_factory.mktemp("pages"))


@pytest.fixture(scope="module")
def address(store: Store) -> Iterator[str]:
    with served(store.directory, environment={"GRADATTN_REVIEWER": "Ada"}) as url:
        yield url


def test_a_field_of_the_map_opens_its_class_pair_and_filters_can_be_shared(
    page: Page, browser: Browser, address: str
) -> None:
    page.goto(address)
    field = page.locator("a[href='pair?given=kite&suggested=owl']").first
    expect(field).to_be_visible(timeout=30_000)
    settle(page)
    field.click()
    page.wait_for_url("**/pair?given=kite&suggested=owl", timeout=30_000)
    page.goto(f"{address}/review?given=kite&suggested=owl")
    sees(page, path_of(0))
    other = browser.new_context().new_page()
    other.goto(page.url)
    sees(other, path_of(0))
    expect(other.get_by_text("0 decided · 2 left")).to_be_visible()
    other.context.close()


def test_what_the_map_says_about_a_hostile_label_is_text(page: Page, address: str) -> None:
    page.set_viewport_size({"width": 1280, "height": 1600})
    page.goto(address)
    confused = page.get_by_label("Which labels are confused")
    expect(confused).to_contain_text("<b>x</b>", timeout=30_000)
    settle(page)
    assert confused.locator("b").count() == 0


def test_the_page_asks_nothing_of_any_other_machine(page: Page, address: str) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    for name in ("", "review", "grid", "pair", "decisions", "export", "audits"):
        page.goto(f"{address}/{name}")
        settle(page)
        page.wait_for_load_state("networkidle")
    assert [url for url in asked if not url.startswith((address, "blob:", "data:"))] == []


def test_the_downloaded_file_is_that_of_the_command_line(page: Page, address: str, store: Store) -> None:
    store.decisions.append(AUDIT_ID, path_of(0), "keep", reviewer="=Ada", note="@note")
    page.goto(f"{address}/export")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download 12 rows as CSV").click(timeout=30_000)
    expected = encode("candidates", store.candidates.page(AUDIT_ID), "csv")
    assert Path(download.value.path()).read_bytes() == expected


def test_a_port_in_use_is_one_clear_sentence(tmp_path: Path) -> None:
    with socket.create_server(("localhost", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(GradattnError, match=f"localhost:{port}.*choose another port"):
            launch(tmp_path, port=port)
