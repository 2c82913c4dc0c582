"""Review under a reviewer's fingers: what a press does, and what it must never do."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, Route, expect

from gradattn_core.store.store import Store
from tests.helpers import pictured_audit
from tests.helpers.browser import saved, sees, served
from tests.helpers.pictured_audit import AUDIT_ID, MISSING

pytestmark = pytest.mark.browser

SUSPECTS = 60


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = pictured_audit.pictured_store(tmp_path_factory.mktemp("review"), images=80, suspects=SUSPECTS)
    # Without its file it can only be skipped.
    store.decisions.append(AUDIT_ID, MISSING, "unsure", reviewer="Zoe")
    return store


@pytest.fixture(scope="module")
def address(store: Store) -> Iterator[str]:
    with served(store.directory, environment={"GRADATTN_REVIEWER": "", "GRADATTN_LEARNING": "0"}) as url:
        yield url


@pytest.fixture
def context(browser: Browser, address: str) -> Iterator[BrowserContext]:
    """The browser of Ada, who has given her name before."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.add_cookies([{"name": "gradattn_reviewer", "value": "Ada", "url": address}])
    context.set_default_timeout(30_000)
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext, address: str, store: Store) -> Page:
    """Review at the first suspect that nobody has decided."""
    page = context.new_page()
    page.goto(f"{address}/review")
    sees(page, undecided(store)[0])
    return page


def undecided(store: Store) -> list[str]:
    return list(store.candidates.page(AUDIT_ID, decided="no")["path"])


def log(store: Store) -> list[tuple[str, str, str]]:
    """Path, decision and new label of every entry, the oldest first."""
    rows = store.decisions.page()[["path", "decision", "new_label"]][::-1]
    return [tuple(row) for row in rows.itertuples(index=False, name=None)]


def given(store: Store, path: str) -> str:
    return str(store.candidates.page(AUDIT_ID, paths=[path])["given_label"][0])


def dialog(page: Page) -> Locator:
    return page.locator("dialog[open]")


def test_a_key_decides_the_suspect_on_the_screen_and_says_so(page: Page, store: Store) -> None:
    first, second, third, *_ = undecided(store)
    before = log(store)
    page.locator(".thumb").first.click()
    expect(page.locator(".compared")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator(".compared")).to_be_hidden()
    page.keyboard.press("k")
    sees(page, second)
    expect(page.locator(".last-words")).to_contain_text("label is right")
    expect(page.locator("[role=status].heard")).to_contain_text("Saved: ")
    expect(page.locator("[role=status].heard")).to_contain_text("Now: ")
    page.keyboard.press("x")
    sees(page, third)
    saved(page)
    assert log(store) == [*before, (first, "keep", ""), (second, "remove", "")]


def test_escape_ends_one_thing_at_a_time_and_a_chip_shuts_what_it_opened(page: Page) -> None:
    page.locator(".thumb").first.click()
    compared, menu, chip = page.locator(".compared"), page.locator(".popover:popover-open"), page.locator(".chip").last
    chip.click()
    expect(menu).to_be_visible()
    page.keyboard.press("Escape")
    expect(menu).to_be_hidden()
    expect(compared).to_be_visible()
    page.keyboard.press("?")
    expect(dialog(page)).to_be_visible()
    page.keyboard.press("Escape")
    expect(dialog(page)).to_be_hidden()
    expect(compared).to_be_visible()
    page.keyboard.press("Escape")
    expect(compared).to_be_hidden()
    chip.click()
    expect(menu).to_be_visible()
    chip.click()
    expect(menu).to_be_hidden()


def test_of_a_file_that_is_another_by_now_that_is_said_beside_its_verdict_and_on_its_card(
    page: Page, store: Store, address: str
) -> None:
    path = undecided(store)[-1]
    store.images.file(AUDIT_ID, path).write_bytes(store.images.file(AUDIT_ID, undecided(store)[0]).read_bytes())
    page.goto(f"{address}/review?{urlencode({'path': path})}")
    sees(page, path)
    expect(page.locator(".review > .notice")).to_contain_text("This file has changed since the audit")
    page.keyboard.press("k")
    expect(page.locator("[role=status].heard")).to_contain_text("Saved: ")
    assert log(store)[-1] == (path, "keep", ""), "it may be decided"
    page.goto(f"{address}/grid?{urlencode({'decided': 'any', 'contains': path})}")
    expect(page.locator(".card .warning")).to_contain_text("This file has changed since the audit")


def test_a_held_key_decides_one_suspect(page: Page, store: Store) -> None:
    first, second, *_ = undecided(store)
    before = log(store)
    for _ in range(12):
        page.keyboard.down("k")
    page.keyboard.up("k")
    sees(page, second)
    saved(page)
    assert log(store) == [*before, (first, "keep", "")]


def test_the_second_half_of_a_double_click_decides_nothing(page: Page, store: Store) -> None:
    first, second, *_ = undecided(store)
    before = log(store)
    page.get_by_role("button", name="Unsure", exact=True).dblclick()
    sees(page, second)
    saved(page)
    assert log(store) == [*before, (first, "unsure", "")]


@pytest.mark.slow
def test_fields_keep_their_letters_and_give_the_focus_back(page: Page, store: Store) -> None:
    first, second, *_ = undecided(store)
    before = log(store)
    page.keyboard.press("n")
    page.keyboard.type("kax1")
    page.keyboard.press("Escape")
    page.keyboard.press("n")
    page.keyboard.type("too dark, k?")
    page.keyboard.press("Enter")
    expect(dialog(page)).to_have_count(0)
    page.keyboard.press("?")
    expect(dialog(page)).to_contain_text("Keys")
    page.keyboard.press("k")
    page.keyboard.press("Escape")
    sees(page, first)
    assert log(store) == before, "a key decided behind a dialog"
    page.keyboard.press("u")
    sees(page, second)
    saved(page)
    assert log(store) == [*before, (first, "unsure", "")]
    assert store.decisions.page(top=1)["note"].tolist() == ["too dark, k?"]


@pytest.mark.slow
def test_the_search_stores_nothing_that_was_not_shown_and_chosen(page: Page, store: Store) -> None:
    first, second, third, *_ = undecided(store)
    if given(store, first) == "🦅 eagle":
        page.keyboard.press("k")
        first, second, third, *_ = [path for path in undecided(store) if path != first]
        sees(page, first)
        saved(page)
    before = log(store)
    page.keyboard.press("/")
    page.keyboard.type("eagl")
    expect(dialog(page)).to_contain_text("Given label:")
    page.keyboard.press("Enter")
    expect(dialog(page)).to_contain_text("Nothing was stored")
    assert log(store) == before
    page.keyboard.press("ArrowDown")
    expect(dialog(page)).to_contain_text("Enter: file it as 🦅 eagle")
    page.keyboard.press("Enter")
    sees(page, second)
    # The given label is there too, and says what it is.
    page.keyboard.press("/")
    page.keyboard.type(given(store, second))
    expect(dialog(page)).to_contain_text("Enter: the label is right")
    page.keyboard.press("Enter")
    sees(page, third)
    saved(page)
    assert log(store) == [*before, (first, "relabel", "🦅 eagle"), (second, "keep", "")]


def test_undo_takes_back_what_is_shown_else_the_last_also_after_a_reload(page: Page, store: Store) -> None:
    first, second, third, fourth, *_ = undecided(store)
    before = log(store)
    for key, then in (("k", second), ("u", third), ("x", fourth)):
        page.keyboard.press(key)
        sees(page, then)
    page.keyboard.press("ArrowLeft")
    sees(page, third)
    page.keyboard.press("ArrowLeft")
    sees(page, second)
    page.keyboard.press("z")
    sees(page, second)
    saved(page)
    said = [*before, (first, "keep", ""), (second, "unsure", ""), (third, "remove", "")]
    assert log(store) == [*said, (second, "undo", "")]
    page.reload()
    sees(page, second)
    page.keyboard.press("z")
    sees(page, third)
    # Also where this tab does not know what was last: the log does.
    page.evaluate("sessionStorage.clear()")
    page.goto(page.url.split("?")[0])
    sees(page, second)
    page.keyboard.press("z")
    sees(page, first)
    saved(page)
    assert log(store)[-2:] == [(third, "undo", ""), (first, "undo", "")]
    decided = len(store.candidates.page(AUDIT_ID, decided="yes"))
    expect(page.locator(".head .at")).to_contain_text(f"{decided + 1} of")


def test_what_is_taken_back_is_not_shown_as_decided_by_an_answer_that_was_asked_for_before(
    page: Page, store: Store
) -> None:
    first, second, *_ = undecided(store)
    page.keyboard.press("k")
    sees(page, second)
    saved(page)
    page.reload()
    sees(page, second)
    sent: list[Route] = []

    def late(route: Route) -> None:
        answer = route.fetch()  # The server has not heard of the undo yet.
        if sent:
            sent.pop().continue_()
            page.wait_for_timeout(400)
        route.fulfill(response=answer)

    page.route("**/gradattn/undo", lambda route: sent.append(route))
    page.route("**/gradattn/suspect?**", late)
    page.keyboard.press("z")
    sees(page, first)
    saved(page)
    page.wait_for_timeout(300)
    assert "Decided by" not in page.locator("h1").inner_text()
    assert log(store)[-1][1] == "undo" and first in undecided(store)


@pytest.mark.slow
def test_back_and_forward_of_the_browser_go_one_step(page: Page, store: Store) -> None:
    first, second, third, *_ = undecided(store)
    page.keyboard.press("s")
    sees(page, second)
    page.keyboard.press("ArrowRight")
    sees(page, third)
    page.go_back()
    sees(page, second)
    page.go_back()
    sees(page, first)
    page.go_forward()
    sees(page, second)
    page.reload()
    sees(page, second)


@pytest.mark.slow
def test_back_from_grid_leads_to_the_suspect_however_late_the_page_hears_of_the_steps_before(
    page: Page, store: Store
) -> None:
    first, second, third, *_ = undecided(store)
    # Streamlit's answers come late, as on a slow network, in their order.
    page.add_init_script(
        """const listen = WebSocket.prototype.addEventListener;
        WebSocket.prototype.addEventListener = function (type, heard, ...rest) {
            const late = (event) => setTimeout(() => heard.call(this, event), window.late ?? 0);
            return listen.call(this, type, type === "message" ? late : heard, ...rest);
        };"""
    )
    page.reload()
    sees(page, first)
    page.keyboard.press("s")
    sees(page, second)
    page.keyboard.press("s")
    sees(page, third)
    page.evaluate("window.late = 1500")
    page.evaluate("history.back()")
    sees(page, second)
    page.keyboard.press("g")
    page.wait_for_url(re.compile(r"/grid"))
    expect(page.locator(".grid .card").first).to_be_visible()
    page.wait_for_timeout(2000)
    page.go_back()
    sees(page, second)
    assert urlencode({"path": second}) in page.url
    # Gone back before Grid has come: it is not shown any more, and Forward leads to it.
    page.keyboard.press("g")
    page.wait_for_url(re.compile(r"/grid"))
    page.go_back()
    page.wait_for_timeout(4000)
    sees(page, second)
    page.go_forward()
    expect(page.locator(".grid .card").first).to_be_visible()
    assert "/grid" in page.url


@pytest.mark.slow
def test_who_has_gone_on_is_not_brought_back_by_what_comes_late(page: Page, store: Store) -> None:
    _, second, third, *_ = undecided(store)
    page.keyboard.press("k")
    sees(page, second)
    saved(page)
    page.reload()
    sees(page, second)

    def slowly(route: Route) -> None:
        page.wait_for_timeout(1500)
        route.continue_()

    page.route("**/gradattn/suspect?**", slowly)
    with page.expect_response("**/gradattn/suspect?**") as late:
        page.locator(".last-small").first.click()
        page.keyboard.press("ArrowRight")
        sees(page, third)
    assert late.value.ok
    page.wait_for_timeout(500)
    sees(page, third)
    assert urlencode({"path": third}) in page.url


@pytest.mark.slow
def test_keys_can_be_changed_and_switched_off(page: Page, store: Store) -> None:
    first, second, *_ = undecided(store)
    page.keyboard.press("?")
    page.get_by_role("button", name="Settings: change keys").click()
    page.get_by_role("button", name="Change: The label is right").click()
    page.keyboard.press("r")
    page.get_by_role("button", name="Off: Unsure").click()
    page.keyboard.press("Escape")
    for key in ("k", "u"):
        page.keyboard.press(key)
    sees(page, first)
    page.keyboard.press("r")
    sees(page, second)
    saved(page)
    assert log(store)[-1] == (first, "keep", "")


def test_what_is_decided_without_a_connection_is_kept_and_sent_once(page: Page, store: Store) -> None:
    first, second, third, *_ = undecided(store)
    before = log(store)
    page.context.set_offline(True)
    page.keyboard.press("k")
    sees(page, second)
    page.keyboard.press("u")
    sees(page, third)
    expect(page.locator(".saved-state")).to_contain_text("2 not sent yet")
    expect(page.get_by_text("2 decisions are kept in this browser")).to_be_visible()
    assert log(store) == before
    page.context.set_offline(False)
    saved(page)
    assert log(store) == [*before, (first, "keep", ""), (second, "unsure", "")]


def test_two_reviewers_who_meet_are_asked_which_word_stands(
    page: Page, browser: Browser, address: str, store: Store
) -> None:
    first, second, *_ = undecided(store)
    other = browser.new_context(viewport={"width": 1280, "height": 800})
    other.add_cookies([{"name": "gradattn_reviewer", "value": "Grace", "url": address}])
    theirs = other.new_page()
    theirs.goto(f"{address}/review")
    sees(theirs, first)
    page.keyboard.press("k")
    sees(page, second)
    saved(page)
    theirs.keyboard.press("x")
    expect(theirs.get_by_text("Somebody was faster")).to_be_visible()
    expect(theirs.locator(".saved-state.choice")).to_be_visible()
    assert log(store)[-1] == (first, "keep", "")
    theirs.get_by_role("button", name="Mine: remove").click()
    saved(theirs)
    assert log(store)[-2:] == [(first, "keep", ""), (first, "remove", "")]
    # Z asks before it takes back what somebody else said.
    page.goto(f"{address}/review?{urlencode({'decided': 'yes', 'path': first})}")
    sees(page, first)
    page.keyboard.press("z")
    expect(dialog(page)).to_contain_text("Grace decided this. Take back their decision?")
    page.keyboard.press("Escape")
    assert log(store)[-1] == (first, "remove", "")
    other.close()


@pytest.mark.slow
def test_a_random_check_is_blind_counts_each_key_once_and_says_what_it_proved(
    page: Page, address: str, store: Store
) -> None:
    page.get_by_role("button", name="Queue: suspects").click()
    page.get_by_label("Random check").click()
    expect(page.get_by_text("Only a random check can tell.")).to_be_visible()
    waiting = store.draws.spot_check(AUDIT_ID, 3, seed=1).paths
    answers: list[str] = []
    page.on("response", lambda answer: answers.append(answer.text()) if "/list?" in answer.url else None)
    page.goto(f"{address}/review?list=spot+check&kind=mislabel")
    for path in waiting:
        sees(page, path)
        # One class has a very long name, cut in its middle.
        expect(page.get_by_role("heading", level=1)).to_have_text(re.compile("Filed as .+. Is that right[?]"))
        shown = page.locator(".client .review").inner_text().lower()
        assert not [hint for hint in ("suspicion", "relabel to", "typical", "most similar") if hint in shown]
        page.keyboard.down("k")
        page.keyboard.down("k")
        page.keyboard.up("k")
    expect(page.get_by_text("0 of 3 were wrong.")).to_be_visible()
    assert sorted(store.draws.drawn(AUDIT_ID)) == sorted(waiting)
    assert [path for path, *_ in log(store)[-3:]] == list(waiting)
    hints = ("probability", "log_odds", "mislabel", "confusable")
    assert answers and not [hint for answer in answers for hint in hints if hint in answer]


@pytest.mark.slow
def test_where_nothing_can_be_kept_nothing_more_is_decided(page: Page, store: Store) -> None:
    first, second, *_ = undecided(store)
    before = log(store)
    page.evaluate("() => { Storage.prototype.setItem = () => { throw new Error('full') }; }")
    page.context.set_offline(True)
    page.keyboard.press("k")
    sees(page, second)
    expect(page.locator(".saved-state.unsent")).to_be_visible()
    page.keyboard.press("x")
    expect(page.get_by_text("This browser cannot keep more")).to_be_visible()
    sees(page, second)
    with page.expect_download() as download:
        page.get_by_role("button", name="Save the 1 as a file").click()
    kept = Path(download.value.path()).read_text("utf-8")
    assert json.loads(kept)["decisions"][0]["path"] == first
    page.context.set_offline(False)
    saved(page)
    assert log(store) == [*before, (first, "keep", "")]
    # The file may be sent too, by whomever and how often: nothing is stored twice.
    page.keyboard.press("?")
    page.get_by_role("button", name="Settings: change keys").click()
    field = page.get_by_label("Send decisions that were saved as a file")
    field.set_input_files({"name": "kept.json", "mimeType": "application/json", "buffer": kept.encode()})
    expect(dialog(page)).to_contain_text("Sending 1 decisions")
    saved(page)
    assert log(store) == [*before, (first, "keep", "")]


@pytest.mark.slow
def test_who_has_no_name_yet_is_asked_once(browser: Browser, address: str, store: Store) -> None:
    first, second, third, *_ = undecided(store)
    page = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
    page.goto(f"{address}/review")
    sees(page, first)
    page.keyboard.press("k")
    expect(dialog(page)).to_contain_text("Who is reviewing?")
    page.keyboard.type('Bo "; <b>')
    page.keyboard.press("Enter")
    sees(page, second)
    saved(page)
    page.reload()
    sees(page, second)
    page.keyboard.press("u")
    sees(page, third)
    saved(page)
    assert store.decisions.page(top=2)[["path", "reviewer"]].to_numpy().tolist() == [
        [second, 'Bo "; <b>'],
        [first, 'Bo "; <b>'],
    ]
    page.context.close()
