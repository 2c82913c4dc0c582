"""Grid and Class pair as a person uses them, in headless chromium: nothing is spoilt in bulk, no selection is lost."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from urllib.parse import urlencode
from uuid import uuid4

import duckdb
import pytest
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, Route, expect

from gradattn_core import belief, outfolder
from gradattn_core.store.store import Store
from tests.helpers.axe import faults
from tests.helpers.believed import believed
from tests.helpers.browser import served, settle
from tests.helpers.pictured_audit import AUDIT_ID, copied_store, path_of

pytestmark = pytest.mark.browser

# The given label and what is suggested: the first eight suggestions are above 90 %, and the last six are below 50 %.
CHANCES = [
    *((0.001, 0.998), (0.002, 0.99), (0.01, 0.985), (0.02, 0.97), (0.03, 0.955), (0.05, 0.94), (0.06, 0.93)),
    *((0.08, 0.905), (0.1, 0.88), (0.15, 0.8), (0.2, 0.75), (0.25, 0.7), (0.3, 0.66), (0.4, 0.55), (0.45, 0.52)),
    *[(0.3, 0.6)] * 15,
    *((0.6, 0.3), (0.7, 0.25), (0.8, 0.1), (0.9, 0.05), (0.53, 0.47), (0.55, 0.4)),
]
SUSPECTS = len(CHANCES)
ABOVE_90 = CHANCES[:8]
LOST = 4  # its file is missing, so nobody can look at it


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return believed(copied_store(tmp_path_factory.mktemp("grid"), suspects=SUSPECTS), CHANCES)


@pytest.fixture(scope="module")
def url(kept: Store) -> Iterator[str]:
    with served(kept.directory, environment={"GRADATTN_REVIEWER": "Ada", "GRADATTN_LEARNING": "0"}) as url:
        yield url


@pytest.fixture
def store(kept: Store) -> Store:
    """The audit of all these tests, with nothing decided."""
    for _ in range(100):
        try:
            with duckdb.connect(str(outfolder.database(kept.directory))) as connection:
                for table in ("decisions", "tags", "finished"):
                    connection.execute(f"DELETE FROM {table}")
            return kept
        except duckdb.IOException:  # a page reads just now
            time.sleep(0.1)
    raise AssertionError("the page never lets go of its database")


@pytest.fixture
def window(browser: Browser, store: Store) -> Iterator[Page]:
    """A window in which nothing of ours fails: no error in the console, and no 404 but Streamlit's own probe."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    page.set_default_timeout(30_000)
    problems: list[str] = []

    def heard(message: ConsoleMessage) -> None:
        # Streamlit's own probe, and one test goes offline.
        said = message.location["url"] + message.text
        expected = "/_stcore/" in said or "INTERNET_DISCONNECTED" in said
        if message.type in ("error", "warning") and not expected:
            problems.append(message.text)

    page.on("console", heard)
    page.on("pageerror", lambda error: problems.append(str(error)))
    yield page
    context.close()
    assert problems == []


def pictures(page: Page) -> Locator:
    return page.locator(".grid .board button.box")


def opened(page: Page, address: str, count: int) -> Locator:
    """Grid with so many pictures on the page, the first of them there to see."""
    page.goto(address)
    boxes = pictures(page)
    expect(boxes).to_have_count(count)
    expect(page.locator(".bulk .above")).to_contain_text("undecided")
    return boxes


def ticked(page: Page) -> Locator:
    return page.locator(".grid .board button.box[aria-checked=true]")


def focused(page: Page) -> Locator:
    return page.locator(".grid .board button.box:focus")


def standing(store: Store) -> dict[str, str]:
    rows = store.candidates.page(AUDIT_ID, decided="yes")
    return dict(zip(rows["path"], rows["decision"] + rows["new_label"], strict=True))


def suggestions(store: Store) -> dict[str, str]:
    rows = store.candidates.page(AUDIT_ID)
    return {path: f"relabel{label}" for path, label in zip(rows["path"], rows["suggested_label"], strict=True)}


def numbers(place: Locator) -> list[float]:
    return [float(text.split()[0]) for text in place.locator(".strong, strong").all_inner_texts()]


def expected(chances: list[tuple[float, float]]) -> list[float]:
    thoughts = [belief.Belief("a", (("a", own), ("b", other)), 1 - own - other) for own, other in chances]
    told = belief.expected(thoughts)
    return [told.right, told.spoilt, told.neither]


def seeable(count: int) -> list[tuple[float, float]]:
    """The chances of the first so many that have a picture."""
    return [each for index, each in enumerate(CHANCES[:count]) if index != LOST]


def test_many_are_relabelled_only_above_a_threshold_after_a_look_at_each_and_taken_back_at_once(
    window: Page, url: str, store: Store
) -> None:
    opened(window, f"{url}/grid", SUSPECTS)
    bar = window.locator(".bulk")
    expect(bar.locator(".above")).to_have_text("30 undecided above 50%; the other 6 are not for bulk")
    assert numbers(bar.locator(".expected")) == pytest.approx(expected(ABOVE_90), abs=0.11)
    relabel = bar.get_by_role("button", name="Relabel the 8 above 90%…")
    review = bar.get_by_role("button", name="Review one by one")
    expect(review).to_have_class("review primary")
    expect(relabel).not_to_have_class("primary")
    # The threshold moves by the keyboard too, and every number follows it.
    bar.get_by_role("slider").focus()
    for _ in range(5):
        window.keyboard.press("ArrowLeft")
    bar.get_by_role("button", name="Relabel the 9 above 85%…").click()
    dialog = window.get_by_role("dialog")
    # What cannot be looked at is not relabelled, and that is known once it was asked for.
    look = dialog.get_by_role("button", name="Look at 1 more")
    expect(look).to_be_visible()
    dialog.locator(".card").nth(8 - LOST).scroll_into_view_if_needed()
    expect(dialog.get_by_role("heading", name="Relabel 8 of 9?")).to_be_visible()
    expect(dialog.get_by_text("Cannot be shown: 1, it stays undecided.")).to_be_visible()
    chances = dialog.locator(".chance")
    expect(chances.first).to_have_text("88%")
    expect(chances.last).to_have_text("99.8%")
    assert numbers(dialog.locator(".sums")) == pytest.approx(expected(seeable(9)), abs=0.11)
    # The least sure have the focus; Enter takes them out.
    for _ in range(2):
        window.keyboard.press("Enter")
        window.keyboard.press("ArrowRight")
    expect(dialog.get_by_role("heading", name="Relabel 6 of 9?")).to_be_visible()
    expect(dialog.get_by_text("Taken out: 2, they stay undecided.")).to_be_visible()
    assert numbers(dialog.locator(".sums")) == pytest.approx(expected(seeable(7)), abs=0.11)
    surprise = dialog.get_by_text("You took out")
    expect(surprise).to_be_hidden()
    window.keyboard.press("Enter")
    expect(surprise).to_have_text("You took out 3 of 9; fewer than 1 was expected.")
    expect(dialog.get_by_role("button", name="Review the 9 one by one")).to_have_class("primary")
    window.keyboard.press("Enter")
    # Nothing is stored before the last one was in sight: until then the button leads there, and a second press at once
    # is none.
    look.focus()
    window.keyboard.press("Enter")
    yes = dialog.get_by_role("button", name="Relabel 6")
    expect(yes).to_be_focused()
    window.keyboard.press("Enter")
    assert standing(store) == {}
    expect(yes).to_be_enabled()
    window.keyboard.press("Enter")
    expect(dialog).to_be_hidden()
    expect(bar.get_by_text("6 pictures: decided as suggested.")).to_be_visible()
    told = suggestions(store)
    assert standing(store) == {path_of(index): told[path_of(index)] for index in range(7) if index != LOST}
    expect(pictures(window)).to_have_count(SUSPECTS - 6)
    # The focus is on the pictures again, and what was decided at one stroke is no evidence for the next.
    expect(focused(window)).to_have_count(1)
    expect(bar).to_contain_text("Nothing was decided at these probabilities so far.")
    window.keyboard.press("z")
    expect(bar.get_by_text("Taken back for 6 pictures.")).to_be_visible()
    assert standing(store) == {}
    expect(pictures(window)).to_have_count(SUSPECTS)


def test_a_selection_survives_pages_and_reloads_and_is_told_apart_from_the_threshold(
    window: Page, url: str, store: Store
) -> None:
    boxes = opened(window, f"{url}/grid?size=24", 24)
    boxes.nth(1).click()
    boxes.nth(3).click(modifiers=["Shift"])
    expect(ticked(window)).to_have_count(3)
    window.get_by_role("button", name="Next page").click()
    expect(window.locator(".tools")).to_contain_text("25–36 of 36")
    expect(pictures(window)).to_have_count(12)
    expect(ticked(window)).to_have_count(0)
    pictures(window).last.click()
    bar = window.locator(".bulk")
    expect(bar.get_by_role("button", name="Review the 4 one by one")).to_be_visible()
    # The last of the list is more likely right than wrong: it is not one of many, and the number says so.
    expect(bar.get_by_role("button", name="Relabel the 3 selected…")).to_be_visible()
    assert numbers(bar.locator(".expected")) == pytest.approx(expected(CHANCES[1:4]), abs=0.11)
    window.reload()
    expect(window.locator(".tools")).to_contain_text("25–36 of 36")
    expect(ticked(window)).to_have_count(1)
    window.get_by_role("button", name="Page before").click()
    expect(ticked(window)).to_have_count(3)
    bar.get_by_role("button", name="Label is right…").click()
    dialog = window.get_by_role("dialog")
    expect(dialog.get_by_role("heading", name="Keep 4?")).to_be_visible()
    window.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(ticked(window)).to_have_count(3)
    window.get_by_role("button", name="+ Filter").click()
    window.keyboard.press("Escape")
    expect(window.locator(".popover:popover-open")).to_have_count(0)
    expect(ticked(window)).to_have_count(3)
    window.locator(".card").first.focus()
    window.keyboard.press("Escape")
    expect(ticked(window)).to_have_count(0)
    window.get_by_role("button", name="Select those above 90%").click()
    expect(ticked(window)).to_have_count(8)
    expect(bar.get_by_role("button", name="Relabel the 8 above 90%…")).to_be_visible()
    assert standing(store) == {}


@pytest.mark.slow
def test_the_keyboard_alone_reaches_selects_enlarges_and_opens_and_back_leads_back(
    window: Page, url: str, store: Store
) -> None:
    boxes = opened(window, f"{url}/grid?size=24&page=2&order=path", 12)
    for _ in range(8):
        if focused(window).count():
            break
        window.keyboard.press("Tab")
    expect(boxes.first).to_be_focused()
    window.keyboard.press("ArrowRight")
    window.keyboard.press("Space")
    expect(ticked(window)).to_have_count(1)
    expect(boxes.nth(1)).to_be_focused()
    window.keyboard.down("Space")
    large = window.locator(".grid > .large")
    expect(large).to_be_visible()
    window.keyboard.up("Space")
    expect(large).to_be_hidden()
    expect(ticked(window)).to_have_count(1)
    window.keyboard.press("Shift+ArrowRight")
    expect(ticked(window)).to_have_count(2)
    window.keyboard.press("Enter")
    window.wait_for_url("**/review?*")
    assert "order=path" in window.url and "path=" in window.url
    settle(window)
    window.go_back()
    expect(window.locator(".tools")).to_contain_text("25–36 of 36")
    expect(ticked(window)).to_have_count(2)
    expect(boxes.nth(2)).to_be_focused()
    path = store.candidates.page(AUDIT_ID, order="path")["path"][26]
    assert window.locator(".card .near").nth(2).get_attribute("href") == f"map?{urlencode({'near': path})}"
    window.keyboard.press("s")
    window.wait_for_url("**/map?near=*")


@pytest.mark.slow
def test_a_list_that_is_empty_says_why_and_its_link_leads_on(window: Page, url: str, store: Store) -> None:
    window.goto(f"{url}/grid?given=kite&suggested=kite")
    expect(window.get_by_text(f"Nothing matches. {SUSPECTS} undecided are outside this filter.")).to_be_visible()
    window.get_by_role("link", name="Clear filter").click()
    expect(pictures(window)).to_have_count(SUSPECTS)
    assert "kite" not in window.url
    # Nothing has been decided: that is not called all.
    window.goto(f"{url}/grid?decided=keep")
    expect(window.locator(".empty")).to_have_text(
        f"Nothing matches. {SUSPECTS} undecided are outside this filter. Clear filter"
    )
    expect(window.locator(".bulk .chart")).to_be_hidden()
    store.decisions.append_many(AUDIT_ID, store.candidates.page(AUDIT_ID)["path"].tolist(), "keep", reviewer="Ada")
    window.goto(f"{url}/grid")
    expect(window.locator(".empty")).to_have_text(f"All {SUSPECTS} suspects are decided. Overview")
    window.get_by_role("main").get_by_role("link", name="Overview").click()
    expect(window.get_by_role("heading", level=1)).to_contain_text("may be wrong")


@pytest.mark.slow
def test_what_another_reviewer_decided_meanwhile_is_not_overwritten(window: Page, url: str, store: Store) -> None:
    opened(window, f"{url}/grid", SUSPECTS)
    window.get_by_role("button", name="Select those above 90%").click()
    expect(ticked(window)).to_have_count(8)
    window.get_by_role("button", name="Relabel the 8 above 90%…").click()
    dialog = window.get_by_role("dialog")
    expect(dialog).to_be_visible()
    store.decisions.append(AUDIT_ID, path_of(2), "keep", reviewer="<i>Bob</i>")
    # What was decided and taken back is newer too.
    store.decisions.append(AUDIT_ID, path_of(3), "keep", reviewer="Bob")
    store.decisions.undo_last(AUDIT_ID, "Bob", str(uuid4()))
    expect(dialog.get_by_role("heading", name="Relabel 7 of 8?")).to_be_visible()
    dialog.get_by_role("button", name="Relabel 7").click()
    expect(window.locator(".bulk .told")).to_contain_text(
        "5 pictures: decided as suggested. Bob decided 1 meanwhile and took it back: it stays undecided. "
        "<i>Bob</i> decided 1 meanwhile: it stays as it is."
    )
    now = standing(store)
    assert now[path_of(2)] == "keep" and path_of(3) not in now and path_of(LOST) not in now and len(now) == 6
    # What was decided is selected no more.
    expect(window.get_by_role("button", name="Review the 1 one by one")).to_be_visible()
    window.reload()
    expect(pictures(window)).to_have_count(SUSPECTS - 6)
    # What could not be shown is selected still.
    expect(ticked(window)).to_have_count(1)


def test_a_held_key_decides_nothing_and_without_a_connection_nothing_is_lost_or_doubled(
    window: Page, url: str, store: Store
) -> None:
    opened(window, f"{url}/grid?order=Class+pair&decided-undecided=All", SUSPECTS)  # as addresses were before
    window.get_by_role("button", name="Relabel the 8 above 90%…").focus()
    dialog = window.get_by_role("dialog")
    for _ in range(5):  # the first opens the dialog, all others are repeats
        window.keyboard.down("Enter")
        window.wait_for_timeout(150)
    expect(dialog.get_by_role("heading", name="Relabel 7 of 8?")).to_be_visible()
    assert faults(window) == []
    yes = dialog.get_by_role("button", name="Relabel 7")
    expect(yes).to_be_enabled()
    yes.focus()
    window.keyboard.down("Enter")
    window.wait_for_timeout(300)
    window.keyboard.up("Enter")
    assert standing(store) == {}
    window.context.set_offline(True)
    window.keyboard.press("Enter")
    expect(dialog.get_by_role("alert")).to_contain_text("No connection. Nothing is lost: try again")
    window.context.set_offline(False)
    window.keyboard.press("Enter")
    expect(dialog).to_be_hidden()
    expect(window.locator(".bulk .told")).to_contain_text("7 pictures: decided as suggested.")
    assert store.decisions.count() == 7


@pytest.mark.slow
def test_on_a_phone_names_are_text_and_never_cut_and_nothing_scrolls_sideways(window: Page, url: str) -> None:
    window.set_viewport_size({"width": 400, "height": 800})
    opened(window, f"{url}/grid?order=pair&decided=any&outlines=1", SUSPECTS)
    expect(window.get_by_role("heading", name="owl → <b>x</b>").first).to_be_visible()
    assert window.locator(".grid b").count() == 0
    assert window.locator(".outlines").count() > 10
    assert window.evaluate("document.documentElement.scrollWidth") <= 400
    clipped = window.locator(".grid .name").evaluate_all(
        "names => names.filter(name => name.scrollWidth > name.clientWidth + 1).map(name => name.textContent)"
    )
    assert clipped == []
    window.get_by_role("button", name="Select", exact=False).first.click()
    window.goto(f"{url}/pair?given=kite&suggested=owl")
    expect(window.get_by_role("heading", level=1)).to_contain_text("filed as kite look like owl")
    assert window.evaluate("document.documentElement.scrollWidth") <= 400


@pytest.mark.slow
def test_a_class_pair_tells_what_it_found_and_its_numbers_follow_the_decisions(
    window: Page, url: str, store: Store
) -> None:
    window.goto(f"{url}/pair?given=kite&suggested=owl")
    rows = store.candidates.page(AUDIT_ID, given="kite", suggested="owl")
    title = f"{len(rows)} pictures filed as kite look like owl"
    expect(window.get_by_role("heading", level=1)).to_have_text(title)
    lead = window.locator(".lead")
    expect(lead).to_contain_text(f"Of the {len(rows)} undecided")
    expect(lead).to_contain_text(f"({rows['suspicion'].sum():.1f} expected wrong)")
    expect(window.locator(".dot")).to_have_count(len(rows))
    expect(window.locator(".acts .primary")).to_contain_text(f"Review the {len(rows)} one by one")
    store.decisions.append(AUDIT_ID, str(rows["path"][0]), "relabel", new_label="owl", reviewer="Bob")
    window.reload()
    expect(lead).to_contain_text("1 was relabelled.")
    expect(lead).to_contain_text(f"({rows['suspicion'][1:].sum():.1f} expected wrong)")
    expect(window.get_by_text("now owl")).to_be_visible()
    # What is relabelled together is told beside the buttons, and taken back there.
    window.locator(".acts").get_by_role("button", name="Relabel", exact=False).click()
    dialog = window.get_by_role("dialog")
    expect(dialog).to_be_visible()
    count = dialog.locator(".card").count()
    dialog.get_by_role("button", name=f"Relabel {count}").click()
    expect(window.locator(".pair-bar .told")).to_be_in_viewport()
    expect(window.locator(".pair-bar .told")).to_contain_text(f"{count} picture")
    window.locator(".pair-bar").get_by_role("button", name="Undo").click()
    expect(window.locator(".pair-bar .told")).to_contain_text("Taken back")
    window.get_by_role("button", name="Mark as finished anyway").click()
    expect(window.get_by_text("Called finished by Ada.")).to_be_visible()
    window.get_by_role("link", name="next").or_(window.get_by_role("link", name="previous")).first.click()
    expect(window.get_by_role("heading", level=1)).not_to_have_text(title)
    window.go_back()
    expect(window.get_by_role("heading", level=1)).to_have_text(title)
    window.keyboard.press("g")
    window.wait_for_url("**/grid?*given=kite*")


def test_a_page_that_is_turned_to_is_at_hand_and_asks_for_no_histogram(window: Page, url: str) -> None:
    with window.expect_response(lambda answer: "/cards?" in answer.url and "offset=12" in answer.url) as ahead:
        opened(window, f"{url}/grid?size=12", 12)
    ahead.value.finished()
    window.wait_for_timeout(200)
    asked: list[str] = []
    window.on("request", lambda request: asked.append(request.url))
    window.get_by_role("button", name="Next page").click()
    expect(window.locator(".tools")).to_contain_text("13–24 of 36")
    # One that is on its way is waited for, and not asked for once more.
    waiting: list[Route] = []
    with window.expect_request(lambda request: "/cards?" in request.url and "offset=24" in request.url):
        window.route(re.compile(r"/cards\?.*offset=24"), lambda route: waiting.append(route))
    window.get_by_role("button", name="Next page").click()
    window.wait_for_timeout(300)
    [late] = waiting
    late.continue_()
    expect(window.locator(".tools")).to_contain_text("25–36 of 36")
    assert len(waiting) == 1 and not any("/histogram" in address or "offset=12" in address for address in asked)
