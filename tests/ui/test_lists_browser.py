"""Review's lists to their ends: tags and saved views, what others took back, second looks, an end that is proved."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Generator, Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from gradattn_core.store.store import Store
from tests.helpers import pictured_audit
from tests.helpers.browser import saved, sees, served
from tests.helpers.pictured_audit import AUDIT_ID, MISSING

pytestmark = [pytest.mark.browser, pytest.mark.slow]

SUSPECTS = 60


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Each test's own, as what was drawn at random stays drawn; nothing is decided but the picture without a file."""
    store = pictured_audit.copied_store(tmp_path, images=80, suspects=SUSPECTS)
    store.decisions.append(AUDIT_ID, MISSING, "unsure", reviewer="Zoe")
    return store


@pytest.fixture
def address(store: Store) -> Iterator[str]:
    with served(store.directory, environment={"GRADATTN_REVIEWER": "", "GRADATTN_LEARNING": "0"}) as url:
        yield url


@pytest.fixture
def page(browser: Browser, address: str, store: Store) -> Iterator[Page]:
    yield from opened(browser, address, "Ada", "")


def opened(browser: Browser, address: str, reviewer: str, query: str) -> Generator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.add_cookies([{"name": "gradattn_reviewer", "value": reviewer, "url": address}])
    context.set_default_timeout(30_000)
    page = context.new_page()
    page.goto(f"{address}/review{query}")
    expect(page.locator(".client[data-seen]")).to_have_count(1)
    yield page
    context.close()


def undecided(store: Store) -> list[str]:
    return list(store.candidates.page(AUDIT_ID, decided="no")["path"])


def newest(store: Store, count: int) -> list[tuple[str, str, str]]:
    """Path, decision and reviewer of the last entries of the log, the newest first."""
    rows = store.decisions.page(top=count)[["path", "decision", "reviewer"]]
    return [tuple(row) for row in rows.itertuples(index=False, name=None)]


def field(page: Page, words: str) -> Locator:
    return page.locator(".filters label.field", has_text=words).locator("select, input")


def everything(page: Page, key: str, most: int) -> list[str]:
    """Press a key for each suspect until there is none; their headlines."""
    end, seen = page.locator(".panel.whole:not([hidden])"), ""
    headlines: list[str] = []
    while len(headlines) < most:
        other = f".client[data-seen]:not([data-seen={json.dumps(seen, ensure_ascii=False)}])"
        expect(page.locator(other).or_(end)).to_have_count(1)
        if end.count():
            break
        seen = page.locator(".client").get_attribute("data-seen") or ""
        headlines.append(page.get_by_role("heading", level=1).inner_text())
        page.keyboard.press(key)
    expect(end).to_be_visible()
    return headlines


def alternately(pages: dict[str, Page], key: str, most: int) -> list[tuple[str, str]]:
    """Each presses a key for the suspect that they see, in turns, until nobody has one: who decided what."""
    said: list[tuple[str, str]] = []
    left = dict(pages)
    before = dict.fromkeys(pages, "")
    while left and len(said) < most:
        for name, page in list(left.items()):
            end = page.locator(".panel.whole:not([hidden])")
            other = f".client[data-seen]:not([data-seen={json.dumps(before[name], ensure_ascii=False)}])"
            expect(page.locator(other).or_(end)).to_have_count(1)
            if end.count():
                del left[name]
                continue
            before[name] = page.locator(".client").get_attribute("data-seen") or ""
            said.append((name, before[name]))
            page.keyboard.press(key)
            page.wait_for_timeout(100)
            saved(page)
    assert not left
    return said


def test_two_at_once_go_through_a_random_check_and_meet_at_its_end_only(
    browser: Browser, address: str, store: Store
) -> None:
    drawn = store.draws.spot_check(AUDIT_ID, 12, seed=4).paths
    both = {name: opened(browser, address, name, "?list=spot+check") for name in ("Ada", "Grace")}
    pages = {name: next(each) for name, each in both.items()}
    said = alternately(pages, "k", 20)
    assert {path for _, path in said} == set(drawn), "none is lost"
    # One starts in the middle. Where they meet each hears a step later what the other has decided; there both say it.
    assert len(said) <= len(drawn) + 3 and len({path for _, path in said[:10]}) == 10
    assert Counter(name for name, _ in said)["Grace"] >= 5
    assert sorted((name, path) for path, _, name in newest(store, len(said))) == sorted(said)
    for page in pages.values():
        expect(page.get_by_text("0 of 12 were wrong.")).to_be_visible()
    # The review that has an end, by the same two: no page of it is missed, and none drawn anew while one waits.
    for page in pages.values():
        page.goto(f"{address}/review?list=until&left=25")
    said = alternately(pages, "k", 150)
    until = store.draws.until(AUDIT_ID, 0.25)
    assert until.kind == "done"
    twice = [path for path, count in Counter(path for _, path in said).items() if count > 1]
    assert len(twice) <= 3 * (len(said) // 25 + 1)
    assert sorted((name, path) for path, _, name in newest(store, len(said))) == sorted(said)
    for each in both.values():
        each.close()


def test_two_tabs_of_one_reviewer_who_says_the_same_ask_nothing(page: Page, address: str, store: Store) -> None:
    first, second, third, *_ = undecided(store)
    other = page.context.new_page()
    other.goto(f"{address}/review")
    sees(other, first)
    page.keyboard.press("k")
    sees(page, second)
    saved(page)
    other.keyboard.press("k")
    sees(other, second)
    saved(other)
    assert [path for path, *_ in newest(store, 2)].count(first) == 1
    # Another word of one's own is another matter: a person says which one stands.
    page.keyboard.press("x")
    sees(page, third)
    saved(page)
    other.keyboard.press("k")
    expect(other.locator(".saved-state.choice")).to_be_visible()
    expect(other.get_by_text("You, elsewhere, just now")).to_be_visible()
    other.get_by_role("button", name="Other: remove").click()
    saved(other)
    assert newest(store, 1) == [(second, "remove", "Ada")]


def test_all_copies_are_decided_by_one_key_and_taken_back_by_one(browser: Browser, tmp_path: Path) -> None:
    store = pictured_audit.copied_store(tmp_path)
    paths = pictured_audit.make_copies(store)
    with served(store.directory, environment={"GRADATTN_REVIEWER": "Ada", "GRADATTN_LEARNING": "0"}) as url:
        page = browser.new_page()
        page.goto(f"{url}/review?{urlencode({'path': paths[0]})}")
        sees(page, paths[0])
        page.keyboard.press("d")
        expect(page.locator(".toast")).to_have_text("What you decide is said of all copies.")
        page.keyboard.press("k")
        expect(page.locator(".client[data-seen]")).not_to_have_attribute("data-seen", paths[0])
        saved(page)
        assert {(path, decision) for path, decision, _ in newest(store, 3)} == {
            (paths[0], "keep"),
            (paths[1], "relabel"),
            (paths[2], "keep"),
        }
        page.keyboard.press("z")
        sees(page, paths[0])
        saved(page)
        assert [decision for _, decision, _ in newest(store, 3)] == ["undo"] * 3
        page.close()


def test_a_tag_is_given_found_again_and_taken_away_and_a_view_kept_opened_and_deleted(page: Page, store: Store) -> None:
    first, second, *_ = undecided(store)
    page.keyboard.press("t")
    page.keyboard.type("<b>ask</b> k")
    page.keyboard.press("Enter")
    expect(page.locator("[data-act=tag]")).to_contain_text("Tag 1")
    page.keyboard.press("s")
    sees(page, second)
    page.get_by_role("button", name="+ Filter").click()
    field(page, "Tag").select_option("<b>ask</b> k")
    sees(page, first)
    expect(page.locator(".head .at")).to_contain_text("1 of 1")
    # In sight, and with a cross.
    expect(page.get_by_role("button", name="Clear filter: tag <b>ask</b> k")).to_be_in_viewport(ratio=0.9)
    page.get_by_role("button", name="+ Filter").click()
    name = page.get_by_label("Name of this view")
    name.fill("never kept")
    name.press("Escape")
    # In the very moment when it opens: what was typed at once went into what was there the last time.
    at_once = "chip => { chip.click(); return chip.getRootNode().querySelector('.views input').value; }"
    assert page.get_by_role("button", name="+ Filter").evaluate(at_once) == ""
    name.fill("<i>to ask</i>")
    name.press("Enter")
    expect(name).to_be_hidden()
    assert [view.name for view in store.views.all()] == ["<i>to ask</i>"]
    page.get_by_role("button", name="Clear filter: tag").click()
    # Of a list that holds what is decided too, the first is the first.
    page.get_by_role("button", name="+ Filter").click()
    field(page, "Decided").first.select_option("any")
    expect(page.locator(".head .at")).to_contain_text(f"1 of {SUSPECTS}")
    page.get_by_role("button", name="Clear filter: Decided or not").click()
    expect(page.locator(".head .at")).to_contain_text(f"of {SUSPECTS}")
    page.get_by_role("button", name="+ Filter").click()
    page.get_by_role("button", name="<i>to ask</i>", exact=True).click()
    expect(page.locator(".head .at")).to_contain_text("1 of 1")
    sees(page, first)
    page.get_by_role("button", name="+ Filter").click()
    page.get_by_role("button", name="Delete the view <i>to ask</i>").click()
    assert store.views.all()
    page.get_by_text("Delete for everybody?").click()
    expect(name).to_be_hidden()
    assert not store.views.all()
    page.keyboard.press("t")
    page.locator("dialog[open] input[type=checkbox]").uncheck()
    expect(page.locator("[data-act=tag]")).not_to_contain_text("1")
    assert store.tags.counts(AUDIT_ID) == {}


def test_grid_keeps_views_too(page: Page, address: str, store: Store) -> None:
    page.goto(f"{address}/grid?decided=any")
    page.get_by_role("button", name="+ Filter").click()
    page.get_by_label("Name of this view").fill("all")
    page.keyboard.press("Enter")
    expect(page.get_by_label("Name of this view")).to_be_hidden()
    (view,) = store.views.all()
    assert (view.page, view.name, view.query) == ("grid", "all", "decided=any&order=surest")


def test_what_is_decided_and_on_its_way_is_not_asked_again(page: Page, store: Store) -> None:
    first, second, third, *_ = undecided(store)
    sees(page, first)
    page.route("**/gradattn/decisions", lambda route: route.abort())
    page.keyboard.press("k")
    sees(page, second)
    page.goto(page.url.split("?")[0])
    sees(page, second)
    page.keyboard.press("k")
    sees(page, third)
    page.unroute("**/gradattn/decisions")
    saved(page)
    assert newest(store, 2) == [(second, "keep", "Ada"), (first, "keep", "Ada")]


def test_undo_of_what_somebody_else_took_back_takes_back_nothing_else(page: Page, store: Store) -> None:
    _, second, third, *_ = undecided(store)
    for then in (second, third):
        page.keyboard.press("k")
        sees(page, then)
    saved(page)
    store.decisions.undo(AUDIT_ID, second, reviewer="Grace")
    page.keyboard.press("z")
    sees(page, second)
    expect(page.locator(".toast")).to_have_text("There is nothing of yours to take back.")
    saved(page)
    assert newest(store, 2) == [(second, "undo", "Grace"), (second, "keep", "Ada")]
    expect(page.locator(".head .rate")).to_contain_text("2 decided")


def test_unsure_between_an_undo_and_a_newer_word_is_unsure(page: Page, store: Store) -> None:
    first, second, *_ = undecided(store)
    page.keyboard.press("k")
    sees(page, second)
    saved(page)
    store.decisions.append(AUDIT_ID, first, "remove", reviewer="Grace")
    page.keyboard.press("z")
    expect(page.get_by_text("Somebody was faster")).to_be_visible()
    page.get_by_role("button", name="Unsure", exact=True).last.click()
    saved(page)
    assert newest(store, 2) == [(first, "unsure", "Ada"), (first, "remove", "Grace")]


def test_what_was_skipped_long_ago_is_not_called_decided(page: Page, store: Store) -> None:
    first, second, *_ = undecided(store)
    sees(page, first)
    page.keyboard.press("s")
    sees(page, second)
    everything(page, "k", SUSPECTS)
    expect(page.get_by_text("1 picture is still undecided.")).to_be_visible()
    page.get_by_role("button", name="Review the 1 left").click()
    sees(page, first)
    page.keyboard.press("k")
    expect(page.get_by_text(f"All {SUSPECTS} suspects are decided")).to_be_visible()


def test_a_second_look_is_blind_and_comes_to_its_end(browser: Browser, address: str, store: Store) -> None:
    # A picture without its file can only be skipped.
    store.decisions.undo(AUDIT_ID, MISSING, reviewer="Zoe")
    looked = [path for path in undecided(store) if path != MISSING][:6]
    for path in looked:
        store.decisions.append(AUDIT_ID, path, "remove", reviewer="Ada")
    for page in opened(browser, address, "Grace", "?list=second+look"):
        expect(page.get_by_text("what they said is not shown")).to_be_visible()
        expect(page.locator(".head .at")).to_have_text(re.compile(r"1 of 6$"))
        seen = page.locator(".client").get_attribute("data-seen")
        page.keyboard.press("k")
        expect(page.locator(".client[data-seen]")).not_to_have_attribute("data-seen", seen or "")
        saved(page)
        # What others have decided is what one looks at: none of it is passed over, or counted as seen.
        expect(page.locator(".head .at")).to_have_text(re.compile(r"2 of 6$"))
        headlines = everything(page, "k", 20)
        expect(page.get_by_text("Every second look is given")).to_be_visible()
        saved(page)
    assert len(headlines) == len(looked) - 1 and all("Is that right?" in headline for headline in headlines)
    assert {(path, "keep", "Grace") for path in looked} == set(newest(store, 6))


def test_the_review_with_an_end_goes_from_suspects_to_random_pictures_to_its_end(page: Page, store: Store) -> None:
    page.get_by_role("button", name="Queue: suspects").click()
    share = page.get_by_label("Left wrong at most, %")
    share.fill("20")
    share.press("Enter")
    expect(page.get_by_role("button", name="Queue: until at most 20% is left")).to_be_visible()
    assert urlencode({"list": "until"}) in page.url
    expect(page.locator(".head .at")).to_contain_text("Review 1 of")
    headlines = everything(page, "k", 80)
    blind = ["Is that right?" in headline for headline in headlines]
    assert blind == sorted(blind) and 0 < sum(blind) < len(blind), "suspects first, then random ones"
    expect(page.get_by_text("You can stop: at most 20% is left")).to_be_visible()
    until = store.draws.until(AUDIT_ID, 0.2)
    assert until.kind == "done"
    expect(page.locator(".panel.whole")).to_contain_text(f"{until.reviewed} of {until.pictures} reviewed")
