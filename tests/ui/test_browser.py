"""The pages as a reviewer has them: served by ``launch``, driven in headless chromium."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from playwright.sync_api import Browser, Page, expect

from gradattn_core import outfolder
from gradattn_core.errors import GradattnError
from gradattn_core.export import encode
from gradattn_core.store.store import Store
from tests.helpers.browser import sees, served, settle
from tests.helpers.pictured_audit import AUDIT_ID, copied_store, path_of, pictured_store
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
        page.wait_for_timeout(500)
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


@pytest.mark.slow
def test_with_an_older_audit_in_hand_the_menu_keeps_it_and_back_goes_one_step(page: Page, tmp_path: Path) -> None:
    older = "20261121-000000-older"
    pictured_store(tmp_path, audit_id=older, images=30, suspects=9)
    kept = pictured_store(tmp_path)
    with served(kept.directory, environment={"GRADATTN_REVIEWER": "Ada", "GRADATTN_LEARNING": "0"}) as url:
        page.goto(f"{url}/grid?audit={older}")
        expect(page.locator(".grid .board .card")).to_have_count(9)
        page.get_by_role("link", name="Overview").first.click()
        expect(page).to_have_title("Overview · gradattn")
        page.wait_for_url(f"{url}/?audit={older}")
        page.get_by_role("link", name="Decisions").first.click()
        page.wait_for_url(f"{url}/decisions?audit={older}")
        expect(page).to_have_title("Decisions · gradattn")
        settle(page)
        page.go_back()
        expect(page).to_have_title("Overview · gradattn")
        page.wait_for_url(f"{url}/?audit={older}")
        settle(page)
        page.go_back()
        expect(page.locator(".grid .board .card")).to_have_count(9)
        assert page.url == f"{url}/grid?audit={older}"
        # Chosen beside the menu, the newest is shown, and Back leads to where one was.
        page.get_by_role("button", name="Audit and reviewer").click()
        page.get_by_role("combobox", name="Audit").click()
        page.get_by_role("option").first.click()
        page.wait_for_url(f"{url}/grid?audit={AUDIT_ID}")
        expect(page.locator(".grid .board .card")).to_have_count(12)


@pytest.mark.slow
def test_an_audit_without_suspects_says_on_every_page_what_it_is_and_what_would_prove_it(
    page: Page, tmp_path: Path
) -> None:
    kept = pictured_store(tmp_path)
    with duckdb.connect(str(outfolder.database(kept.directory))) as connection:
        connection.execute("UPDATE scores SET is_suspect = false")
        connection.execute("UPDATE audits SET suspects = 0")
        for table in ("interpretations", "regions", "class_pairs"):
            connection.execute(f"DELETE FROM {table}")
    with served(kept.directory, environment={"GRADATTN_REVIEWER": "Ada", "GRADATTN_LEARNING": "0"}) as url:
        page.goto(url)
        proof = "That is no proof: only a look at all 40 pictures would be one."
        expect(page.get_by_role("heading", level=1)).to_have_text("No suspects")
        expect(page.get_by_role("main")).to_contain_text(proof)
        page.goto(f"{url}/review")
        expect(page.get_by_role("heading", name="No suspects")).to_be_visible()
        expect(page.get_by_text(proof)).to_be_visible()
        for name, said in {
            "grid": "No suspects. That is no proof",
            "pair": "No label of this audit is in doubt",
        }.items():
            page.goto(f"{url}/{name}")
            expect(page.get_by_text(said)).to_be_visible()
            assert page.get_by_text("0 of 0").count() == 0
