"""Review's two buttons that ask the model anew: numbers measured in place, another method's map in ours' place."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Request, expect

from gradattn_core.audit.run import audit_images
from gradattn_core.reasons import account
from gradattn_core.store.store import Store
from tests.helpers.browser import saved, sees, served
from tests.helpers.tiny import make_tiny

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """An audit whose model is still there."""
    folder = tmp_path_factory.mktemp("measuring")
    out = folder / "out"
    audit_images(make_tiny(folder, per_class=8).config(out))
    return Store(out)


@pytest.fixture(scope="module")
def address(store: Store) -> Iterator[str]:
    with served(store.directory, environment={"GRADATTN_REVIEWER": "Ada", "GRADATTN_LEARNING": "0"}) as url:
        yield url


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(60_000)
    page = context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(f"{address}/review")
    yield page
    context.close()
    assert problems == []


def undecided(store: Store) -> list[str]:
    return list(store.candidates.page(store.audits.latest_id(), decided="no")["path"])


def numbers(store: Store, path: str) -> str:
    evidence = store.images.evidence(store.audits.latest_id(), path)
    assert evidence is not None
    return evidence.numbers


def map_pixels(page: Page) -> str:
    """What the stage lays over the picture, empty where nothing is shown."""
    canvas = page.locator(".stage canvas.map.shown")
    return str(canvas.evaluate("(canvas) => canvas.toDataURL()")) if canvas.count() else ""


def waterfall_on_screen(page: Page) -> list[Decimal]:
    """The four numbers as they are drawn: they add up digit by digit, and so do the places of dots and bars."""
    drawn, heard, dots, bars = page.locator(".chart").evaluate("""(chart) => {
        const all = (names, read) => [...chart.querySelectorAll(names)].map(read);
        const ends = ({ x, width }) => [x.baseVal.value, x.baseVal.value + width.baseVal.value];
        return [all(".waterfall text.value", (one) => one.textContent),
                all("table tbody td:nth-child(2)", (one) => one.textContent),
                all(".waterfall circle", (one) => one.cx.baseVal.value), all(".waterfall rect.bar", ends)];
    }""")
    assert drawn == heard, "whoever hears the page is told the same"
    origin, red, blue, answer = numbers = [Decimal(text.replace("−", "-")) for text in drawn]
    assert origin + red + blue == answer and red >= 0 >= blue
    (begin, end), ((first, top), (last, again)) = dots, bars
    # A bar of nothing is still a pixel wide.
    assert (first, again, last) == pytest.approx((begin, top, end), abs=1)
    assert (top - begin) * float(answer - origin) == pytest.approx((end - begin) * float(red), rel=0.01, abs=2)
    return numbers


def in_database(store: Store, path: str) -> list[Decimal]:
    """The same four of the stored sums."""
    evidence = store.images.evidence(store.audits.latest_id(), path)
    assert evidence is not None
    told = account(evidence)
    assert told is not None
    return [Decimal(f"{number:.2f}") for number in (told.base, told.red, told.blue, told.answer)]


def test_all_parts_are_measured_by_one_press_and_the_numbers_change_in_place(page: Page, store: Store) -> None:
    first, *_ = undecided(store)
    sees(page, first)
    row, press = page.locator(".measuring"), page.locator("[data-act=measure]")
    expect(press).to_contain_text("passes")
    before = page.locator(".waterfall").inner_html()
    was = waterfall_on_screen(page)
    assert was == in_database(store, first)
    picture = page.locator(".strips img").first.element_handle()
    press.click()
    expect(row).to_contain_text("are measured", timeout=60_000)
    expect(press).to_be_hidden()
    assert numbers(store, first) == "measured"
    assert page.locator(".waterfall").inner_html() != before
    became = waterfall_on_screen(page)
    assert became == in_database(store, first) and became[3] == was[3], "the answer is the same, by measured steps"
    expect(page.locator(".heard[role=status]")).to_contain_text("Measured.")
    # Same suspect, same pictures; the focus is where keys decide.
    assert picture is not None and picture.evaluate("(image) => image.isConnected")
    sees(page, first)
    page.reload()
    sees(page, first)
    expect(press).to_be_hidden()


def test_who_goes_on_meanwhile_decides_the_next_and_what_was_measured_is_kept(page: Page, store: Store) -> None:
    unmeasured = [path for path in undecided(store) if numbers(store, path) == "map"]
    first = unmeasured[0]
    while page.locator(f'.client[data-seen="{first}"]').count() == 0:
        page.keyboard.press("ArrowRight")
        page.wait_for_timeout(200)
    with page.expect_response(lambda answer: answer.url.endswith("/measure")) as answered:
        page.locator("[data-act=measure]").click()
        page.keyboard.press("k")
        expect(page.locator(".client[data-seen]")).not_to_have_attribute("data-seen", first)
        headline = page.locator("h1").inner_text()
    assert answered.value.status == 200
    saved(page)
    assert page.locator("h1").inner_text() == headline
    assert numbers(store, first) == "measured"
    assert first not in undecided(store)
    page.keyboard.press("ArrowLeft")
    sees(page, first)
    expect(page.locator(".measuring")).to_contain_text("are measured")
    expect(page.locator("h1")).to_contain_text("you")


def test_a_map_by_another_method_stands_in_ours_place_until_the_next_picture(page: Page, store: Store) -> None:
    first, second, *_ = undecided(store)
    sees(page, first)
    assert map_pixels(page) == ""
    press = page.locator("[data-act=methods]")

    def choose(title: str) -> None:
        press.click()
        page.locator(".methods button", has=page.get_by_text(title, exact=True)).click()

    choose("rollout")
    plate = page.locator(".legend.shown")
    expect(plate).to_contain_text("Map by rollout: unsigned")
    expect(page.locator(".measuring")).to_contain_text("the same map for every class")
    expect(page.locator(".stage .outlines")).to_have_class("outlines hidden")
    theirs = map_pixels(page)
    # Ours to compare with, while it is held.
    page.keyboard.down(" ")
    expect(plate).to_contain_text("map shown")
    expect(page.locator(".stage .outlines")).not_to_have_class("outlines hidden")
    ours = map_pixels(page)
    page.keyboard.up(" ")
    expect(plate).to_contain_text("Map by rollout")
    assert theirs and ours and theirs != ours and map_pixels(page) == theirs
    page.keyboard.press("Escape")
    expect(plate).to_have_count(0)
    expect(page.locator(".stage .outlines")).not_to_have_class("outlines hidden")
    choose("GAE")
    expect(plate).to_contain_text("Map by GAE")
    expect(press).to_have_text("Back to our map")
    page.keyboard.press("ArrowRight")
    sees(page, second)
    expect(plate).to_have_count(0)
    expect(press).to_have_text("Other methods…")


def test_what_cannot_be_had_any_more_is_said_and_the_page_goes_on(page: Page, store: Store) -> None:
    first, second, *_ = undecided(store)
    sees(page, first)
    asked: list[Request] = []
    page.on("request", lambda request: asked.append(request) if request.url.endswith("/method") else None)
    page.locator("[data-act=methods]").click()
    # A picture that is gone: it cannot be read anew.
    place = store.images.places(store.audits.latest_id(), [first])[0]
    file = Path(str(place.address))
    content = file.read_bytes()
    try:
        file.unlink()
        page.locator(".methods button", has=page.get_by_text("GAE", exact=True)).click()
        expect(page.locator(".measuring .amber")).to_contain_text("That map cannot be drawn.")
    finally:
        file.write_bytes(content)
    assert len(asked) == 1
    page.keyboard.press("ArrowRight")
    sees(page, second)
    expect(page.locator(".measuring .amber")).to_have_count(0)
