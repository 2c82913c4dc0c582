"""The pages as a reviewer has them: served by ``launch``, driven in headless chromium."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from gradattn_core.errors import GradattnError
from gradattn_core.export import encode
from gradattn_core.store.store import Store
from tests.helpers.browser import sees, settle
from tests.helpers.pictured_audit import AUDIT_ID, path_of
from ui.launch import launch

pytestmark = pytest.mark.browser


def shows(page: Page, index: int, decided: int) -> None:
    expect(page.get_by_text(f"{decided} of 12 decided")).to_be_visible(timeout=30_000)
    sees(page, path_of(index))


def log(store: Store) -> list[tuple[str, str, str, str]]:
    rows = store.decisions.page()[["path", "decision", "new_label", "note"]]
    return [tuple(row) for row in rows.itertuples(index=False, name=None)][::-1]


def test_a_reviewer_decides_by_keyboard_and_finds_everything_in_the_database(
    page: Page, address: str, store: Store
) -> None:
    page.goto(f"{address}/review")
    shows(page, 0, 0)
    for index, key in enumerate("kaxu"):
        page.keyboard.press(key)
        shows(page, index + 1, index + 1)
    page.keyboard.press("z")
    shows(page, 3, 3)
    page.get_by_role("textbox", name="Note").click()
    page.keyboard.type("zax skub")
    page.get_by_role("button", name="Unsure").click()
    shows(page, 4, 4)
    page.get_by_role("combobox", name="Another class").click()
    page.keyboard.type("kit")
    page.keyboard.press("Enter")
    shows(page, 5, 5)
    page.keyboard.press("s")
    shows(page, 6, 5)
    page.reload()
    shows(page, 6, 5)
    assert log(store) == [
        (path_of(0), "keep", "", ""),
        (path_of(1), "relabel", "<b>x</b>", ""),
        (path_of(2), "remove", "", ""),
        (path_of(3), "unsure", "", ""),
        (path_of(3), "undo", "", ""),
        (path_of(3), "unsure", "", "zax skub"),
        (path_of(4), "relabel", "kite", ""),
    ]


def test_a_key_pressed_three_times_at_once_decides_one_suspect_once(page: Page, address: str, store: Store) -> None:
    page.goto(f"{address}/review")
    shows(page, 0, 0)
    for _ in range(3):
        page.keyboard.press("k")
    expect(page.get_by_role("status").filter(has_text="Too early")).to_be_visible()
    shows(page, 1, 1)
    assert log(store) == [(path_of(0), "keep", "", "")]


def test_a_spot_check_is_blind_in_address_and_page_and_a_doubled_key_counts_once(
    page: Page, address: str, store: Store
) -> None:
    waiting = store.draws.spot_check(AUDIT_ID, 3, seed=1).paths
    page.goto(f"{address}/review?list=Spot+check&least=0.5&at=4&kind=mislabel")
    for place in range(3):
        expect(page.get_by_text(f"{place} of 3 decided")).to_be_visible()
        settle(page)
        page.wait_for_function(
            """() => document.body.dataset.seen
                && document.body.dataset.seen === document.querySelector('[class*="st-key-skip-"]')?.className"""
        )
        assert page.url.partition("?")[2] == "list=Spot+check"
        shown = page.get_by_test_id("stApp").inner_html().lower()
        assert [hint for hint in ("suspicion", "suggest", "relabel to owl", "looks like") if hint in shown] == []
        expect(
            page.locator(".st-key-path, .st-key-explanation, .st-key-waterfall, [class*=st-key-thumbs]")
        ).to_have_count(0)
        for _ in range(3 if place == 0 else 1):
            page.keyboard.press("k")
    expect(page.get_by_text("Of 3 pictures drawn at random 0 had a wrong label")).to_be_visible()
    # A key that is held down draws nothing.
    page.keyboard.press("s")
    settle(page)
    assert sorted(store.draws.drawn(AUDIT_ID)) == sorted(waiting)
    assert [path for path, *_ in log(store)] == list(waiting)


def test_nobody_decides_a_suspect_whose_picture_is_still_under_way(page: Page, address: str, store: Store) -> None:
    page.goto(f"{address}/review")
    shows(page, 0, 0)
    held: list[Route] = []
    page.route("**/media/**", lambda route: held.append(route))
    page.keyboard.press("k")
    expect(page.locator(".st-key-path")).to_have_text(path_of(1))
    settle(page)
    page.keyboard.press("k")
    expect(page.get_by_role("status").filter(has_text="Too early")).to_be_visible()
    assert held, "the next picture was there already"
    for request in held:
        request.continue_()
    page.unroute("**/media/**")
    shows(page, 1, 1)
    page.keyboard.press("k")
    shows(page, 2, 2)
    assert log(store) == [(path_of(0), "keep", "", ""), (path_of(1), "keep", "", "")]


def test_the_view_turns_as_often_as_its_key_is_pressed(page: Page, address: str) -> None:
    page.goto(f"{address}/review")
    shows(page, 0, 0)
    chosen = page.locator(".st-key-mode [role=radio][aria-checked=true]")
    expect(chosen).to_have_text("Side by side")
    page.keyboard.press("v")
    page.keyboard.press("v")
    expect(chosen).to_have_text("Overlay")
    settle(page)
    expect(page.locator(".st-key-pictures img")).to_have_count(1)
    expect(page.locator(".st-key-pictures img")).to_have_attribute("alt", re.compile("in grey"))


def test_a_field_of_the_map_opens_its_class_pair_and_filters_can_be_shared(
    page: Page, browser: Browser, address: str
) -> None:
    page.goto(address)
    field = page.get_by_test_id("stVegaLiteChart").locator("path[aria-label*='Filed under: kite; Looks like: owl']")
    expect(field).to_be_visible(timeout=30_000)
    settle(page)
    field.click()
    page.wait_for_url("**/pair?given=kite&suggested=owl", timeout=30_000)
    page.goto(f"{address}/review?given=kite&suggested=owl")
    expect(page.get_by_text("0 of 2 decided")).to_be_visible(timeout=30_000)
    settle(page)
    other = browser.new_context().new_page()
    other.goto(page.url)
    expect(other.get_by_text("0 of 2 decided")).to_be_visible(timeout=30_000)
    expect(other.locator(".st-key-name-given")).to_have_text("kite")
    other.context.close()
    page.get_by_test_id("stTopNavLink").filter(has_text="Decisions").click()
    expect(page.get_by_text("Nothing has been decided yet")).to_be_visible(timeout=30_000)
    page.get_by_test_id("stTopNavLink").filter(has_text="Review").click()
    expect(page.get_by_text("0 of 2 decided")).to_be_visible(timeout=30_000)


def test_what_the_map_says_about_a_hostile_label_is_text(page: Page, address: str) -> None:
    page.set_viewport_size({"width": 1280, "height": 1600})
    page.goto(address)
    field = page.get_by_test_id("stVegaLiteChart").locator("path[aria-label*='Filed under: <b>x</b>']")
    expect(field).to_be_visible(timeout=30_000)
    settle(page)
    field.hover()
    hint = page.locator("#vg-tooltip-element")
    expect(hint).to_contain_text("<b>x</b>", timeout=30_000)
    assert page.locator("b").count() == 0


def test_hostile_labels_are_shown_as_they_are_written(page: Page, address: str) -> None:
    page.goto(f"{address}/review?at=3")
    shows(page, 3, 0)
    expect(page.locator(".st-key-name-given")).to_have_text("=cmd()")
    expect(page.locator(".st-key-name-suggested")).to_have_text("**bold** [link](http://x) :smile:")
    button = page.get_by_role("button", name="Relabel to")
    written = button.inner_text().replace("\u2060", "")
    assert written.startswith("Relabel to **bold** [link](http://x) :smile:")
    page.goto(f"{address}/review?at=1")
    shows(page, 1, 0)
    expect(page.get_by_role("button", name="Relabel to <b>x</b>")).to_be_visible()
    assert page.locator("b").count() == 0


@pytest.mark.parametrize("index", [0, 1, 2, 7])
def test_picture_and_overlay_lie_side_by_side_at_one_size_on_every_screen(page: Page, address: str, index: int) -> None:
    for width, height in ((1280, 720), (390, 844)):
        page.set_viewport_size({"width": width, "height": height})
        page.goto(f"{address}/review?at={index}")
        shows(page, index, 0)
        expect(page.locator(".st-key-pictures img")).to_have_count(2)
        left, right = (image.bounding_box() for image in page.locator(".st-key-pictures img").all())
        assert left and right
        assert (left["width"], left["height"], left["y"]) == (right["width"], right["height"], right["y"])
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        button = page.get_by_role("button", name="Label is right").bounding_box()
        assert width < 1280 or (button and button["y"] + button["height"] <= height)


def test_the_downloaded_file_is_that_of_the_command_line(page: Page, address: str, store: Store) -> None:
    store.decisions.append(AUDIT_ID, path_of(0), "keep", reviewer="=Ada", note="@note")
    page.goto(f"{address}/export")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download 12 rows as CSV").click(timeout=30_000)
    expected = encode("candidates", store.candidates.page(AUDIT_ID), "csv")
    assert Path(download.value.path()).read_bytes() == expected


def test_the_page_asks_nothing_of_any_other_machine(page: Page, address: str) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    for name in ("", "review", "grid", "pair", "decisions", "export", "audits"):
        page.goto(f"{address}/{name}")
        settle(page)
        page.wait_for_timeout(500)
    assert [url for url in asked if not url.startswith((address, "blob:", "data:"))] == []


def test_a_port_in_use_is_one_clear_sentence(tmp_path: Path) -> None:
    with socket.create_server(("localhost", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(GradattnError, match=f"localhost:{port}.*choose another port"):
            launch(tmp_path, port=port)
