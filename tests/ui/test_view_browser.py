"""How Review looks: what stands where at each size, what is said in words, what it waits for."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest
from playwright.sync_api import Page, Route

from tests.helpers.asking import to_json
from tests.helpers.view_alone import HOSTILE, resize, show, suspect
from ui.api.shapes import Small
from ui.shorten import apart

pytestmark = pytest.mark.browser

SIZES = [(1600, 1000), (1280, 720), (700, 900), (400, 860)]
# Beyond the four ways that it is laid out.
MORE = [(1920, 1080), (2560, 1440), (1024, 768), (800, 500), (844, 390), (640, 400), (960, 540), (900, 600), (360, 640)]
SLOW = [pytest.param(size, marks=pytest.mark.slow) for size in MORE]


@pytest.mark.parametrize("size", [*SIZES, *SLOW], ids=lambda size: f"{size[0]}x{size[1]}")
def test_nothing_leaves_the_window_and_decisions_stay_in_their_places(view: Page, size: tuple[int, int]) -> None:
    """Whatever the names and sentences are: a thumb that rests on a button decides the same of the next suspect."""
    resize(view, *size)
    variants = [
        suspect(),
        suspect(seed=1, given="G" * 60, other="wide as can be, with commas and many words in it " * 3),
        suspect(seed=2, given=HOSTILE, other=HOSTILE[::-1], classes=5, notice="The model alone says so. " * 4),
        suspect(seed=3, classes=2, primary="K", contradicted=True),
        suspect(seed=4, size=(100, 300), crop=(0, 0, 100, 300), primary=None),
    ]
    places = []
    for variant in variants:
        show(view, variant)
        places.append(
            view.evaluate("['A', 'K', 'U', 'X'].map((name) => box(shadow.querySelector(`[data-act=${name}]`)))")
        )
        wide = view.evaluate("[document.documentElement.scrollWidth, shadow.querySelector('.proof').scrollWidth -"
                             " shadow.querySelector('.proof').clientWidth]")  # fmt: skip
        assert wide == [size[0], 0]
        # What stands in a row neither touches nor leaves it.
        crowded = view.evaluate("""['.tools', '.head', '.decide', '.others'].filter((row) => {
            const whole = shadow.querySelector(row).getBoundingClientRect();
            const parts = [...shadow.querySelector(row).children].map((one) => one.getBoundingClientRect());
            const seen = parts.filter((one) => one.width && one.height);
            return seen.some((one, at) => (whole.width && one.right > whole.right + 0.5)
                || seen.slice(at + 1).some((next) => next.left < one.right - 0.5 && next.right > one.left + 0.5
                    && next.top < one.bottom - 0.5 && next.bottom > one.top + 0.5));
        })""")
        assert crowded == []
        least, scale = view.evaluate("""(() => {
            const said = [...shadow.querySelectorAll('.review *')].filter((one) =>
                [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim()));
            const drawn = shadow.querySelector('svg.waterfall');
            return [Math.min(...said.map((one) => parseFloat(getComputedStyle(one).fontSize))),
                    (drawn.getBoundingClientRect().width || drawn.viewBox.baseVal.width) / drawn.viewBox.baseVal.width];
        })()""")
        assert least >= 12 and 14 * scale >= 12
        # In the sum no word lies over another one, and what it is a sum of is said whole.
        over = view.evaluate("""(() => {
            const words = [...shadow.querySelectorAll('svg.waterfall text')];
            const boxes = words.map((one) => [one.textContent, one.getBoundingClientRect()])
                .filter(([, at]) => at.width);
            const touches = (one, next) => next.left < one.right - 1 && next.right > one.left + 1
                && next.top < one.bottom - 3 && next.bottom > one.top + 3;
            const notes = [...shadow.querySelectorAll('.how-head .note')];
            const cut = notes.filter((one) => one.scrollWidth > one.clientWidth).map((one) => one.textContent);
            return [...cut, ...boxes.flatMap(([text, one], at) => boxes.slice(at + 1)
                .filter(([, next]) => touches(one, next)).map(([other]) => [text, other]))];
        })()""")
        assert over == []
    assert all(place == places[0] for place in places)
    for place in places[0]:
        assert place["x"] >= 0 and place["x"] + place["width"] <= size[0]
        assert place["y"] >= 0 and place["y"] + place["height"] <= size[1]
        assert place["height"] >= (50 if size[0] <= 640 and place["width"] > 120 else 44)


def test_names_are_text(view: Page) -> None:
    show(view, suspect(given=HOSTILE, other="<b>bold</b>"))
    assert view.evaluate("shadow.querySelectorAll('h1 img, h1 b, .classes img').length") == 0
    title = view.locator("h1")
    assert "<b>bold</b>" in title.inner_text()
    given = view.locator("h1 bdi.given")
    assert given.get_attribute("title") == HOSTILE
    assert len(given.locator("[aria-hidden]").inner_text()) < 60


def test_the_skeleton_says_nothing_of_the_old_suspect_and_decides_nothing(view: Page) -> None:
    show(view, suspect())
    view.evaluate("view.loading()")
    assert not view.locator("h1").is_visible()
    assert not view.locator(".plates .plate").first.is_visible()
    assert view.locator(".waiting").is_visible()
    assert "Keys count from when you see it" in view.locator(".waiting").inner_text()
    assert view.locator(".decision.primary").count() == 0
    texts = view.locator(".decision .text")
    assert [text for text in texts.all_inner_texts() if text] == ["Relabel…", "Label is right", "Unsure", "Remove"]
    assert {view.locator(f"[data-act={name}]").get_attribute("aria-disabled") for name in "AKUX"} == {"true"}
    # Presses reach who says aloud that they do not count; notes, tags and undo are shut.
    for name in ("A", "undo", "note"):
        view.locator(f"[data-act={name}]").click(force=True)
    assert view.evaluate("acts") == ["A"]
    view.evaluate("acts.length = 0")
    blank = view.evaluate("""(() => {
        const c = shadow.querySelector('.picture');
        return c.getContext('2d').getImageData(0, 0, c.width, c.height).data.every((value) => !value);
    })()""")
    assert blank
    show(view, suspect())
    view.locator("[data-act=A]").click()
    assert view.evaluate("acts") == ["A"]


def test_a_step_shifts_nothing_and_takes_less_than_a_frame_or_two(view: Page) -> None:
    names = ["tench", "garbage truck", "church"] * 2
    shown = [json.loads(to_json(suspect(seed=seed, other=name))) for seed, name in enumerate(names)]
    view.evaluate("async (all) => { for (const one of all) images[one.path] ??= await load(one); }", shown)
    show(view, suspect())  # The keys of the buttons come with the first.
    # Of the processor, not of the clock: on a busy machine others have the core meanwhile.
    session = view.context.new_cdp_session(view)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})

    def spent() -> float:
        metrics = {each["name"]: each["value"] for each in session.send("Performance.getMetrics")["metrics"]}
        return float(metrics["TaskDuration"])

    before = spent()
    moved, steps = view.evaluate(
        """async (all) => {
            const frame = () => new Promise((next) => requestAnimationFrame(() => setTimeout(next)));
            let moved = 0;
            const watched = new PerformanceObserver((list) => list.getEntries().forEach((one) => (moved += one.value)));
            watched.observe({ type: "layout-shift" });
            performance.clearMeasures();
            for (let at = 0; at < 18; at++) {
                if (at % 3 === 0) { view.loading(); await frame(); }
                view.show(all[at % all.length], images[all[at % all.length].path], { keys, measuring });
                await frame();
            }
            watched.disconnect();
            return [moved, performance.getEntriesByName("gradattn.show").length];
        }""",
        shown,
    )
    assert moved == 0
    assert steps == 18
    took = (spent() - before) / steps
    session.detach()
    assert took < 0.05


def test_the_picture_and_the_waterfall_are_told_in_words(view: Page) -> None:
    show(view, suspect())
    words = view.locator(".picture").get_attribute("aria-label")
    assert words is not None and words.startswith(
        "Suspect 88, filed as church. Part 1, middle left, blue: hidden, church"
    )
    assert view.locator(".chart table tr").count() == 5
    assert view.locator(".chart table").inner_text().split("\n")[-1].split("\t") == [
        "The model's answer",
        "−2.12",
        "11%",
    ]


def test_the_focus_goes_from_the_picture_to_decisions_then_tools_then_comparisons(view: Page) -> None:
    show(view, suspect())
    view.evaluate("view.focus()")
    order = []
    for _ in range(30):
        view.keyboard.press("Tab")
        order.append(view.evaluate("(({ dataset, className }) => dataset.act || className)(shadow.activeElement)"))
    decisions = ["A", "K", "U", "X", "other", "note", "tag", "back", "skip", "undo"]
    at = order.index("A")
    assert order[at : at + 10] == decisions
    first = next(at for at, name in enumerate(order) if name.startswith("bare thumb"))
    assert order.index("bare tool strong") < first
    outline = view.evaluate("getComputedStyle(shadow.activeElement).outlineWidth")
    assert outline == "3px"


@pytest.mark.slow
def test_small_pictures_that_did_not_come_come_later(view: Page) -> None:
    failed: list[str] = []

    def once(route: Route) -> None:
        if len(failed) < 3:
            failed.append(route.request.url)
            route.abort()
        else:
            route.fallback()

    view.route("**/picture/small/small%2F12%2F*", once)
    late = suspect(seed=12)
    show(view, replace(late, typical=late.typical[:1], similar=None))
    view.locator(".thumb").first.wait_for()
    view.wait_for_function("shadow.querySelectorAll('.thumb.here').length === 5")
    assert len(failed) == 3
    view.unroute("**/picture/small/small%2F12%2F*")


@pytest.mark.slow
def test_small_pictures_of_a_suspect_that_is_passed_are_not_asked_for(view: Page) -> None:
    """They would stand before the next large ones and before the decisions."""
    asked: list[str] = []
    view.on("request", lambda request: asked.append(request.url))
    shown = [json.loads(to_json(suspect(seed=seed))) for seed in range(20, 26)]
    view.evaluate("async (all) => { for (const one of all) images[one.path] = await load(one); }", shown)
    # One after the other in one task: on a busy machine any wait between them may be as long as a rest.
    view.evaluate("(all) => { for (const one of all) view.show(one, images[one.path], { keys }); }", shown)
    view.wait_for_function("shadow.querySelectorAll('.thumb.here').length === 15")
    small = {url.split("/small%2F")[1].split("%2F")[0] for url in asked if "/picture/small/" in url}
    assert small == {"25"}


def test_the_sheet_of_a_phone_never_hides_the_next_picture(view: Page) -> None:
    """Keys decide also while it is open."""
    resize(view, 400, 860)
    show(view, suspect())
    view.evaluate("shadow.querySelector('.peek').click()")
    open_now = "shadow.querySelector('.review.sheet') !== null"
    assert view.evaluate(open_now)
    show(view, suspect(), note="the same one")
    assert view.evaluate(open_now), "what is said of the suspect on the screen leaves it open"
    show(view, suspect(seed=1))
    assert not view.evaluate(open_now)
    assert view.evaluate("shadow.querySelector('.peek').getAttribute('aria-expanded')") == "false"


def test_what_is_not_stored_is_amber(view: Page) -> None:
    for state, colour in (("saved", "rgb(85, 98, 95)"), ("unsent", "rgb(138, 90, 0)"), ("choice", "rgb(138, 90, 0)")):
        saved = {"state": state, "count": 2, "text": "2 of them"}
        view.evaluate("(saved) => view.head({ list: 'Suspect', at: 1, total: 9, decided: 0, text: '', saved })", saved)
        assert view.evaluate("getComputedStyle(shadow.querySelector('.saved-state')).color") == colour


def test_forced_colours_leave_borders_and_numbers(view: Page) -> None:
    view.emulate_media(forced_colors="active")
    show(view, suspect())
    assert view.evaluate("getComputedStyle(shadow.querySelector('.class .bar')).borderTopWidth") == "1px"
    assert view.locator(".class .share").all_inner_texts() == ["60%", "20%", "7%"]
    assert (
        view.evaluate("getComputedStyle(shadow.querySelector('.waterfall rect.against')).strokeDasharray") == "4px, 3px"
    )


def test_panels_stand_instead_of_a_suspect_or_above_one(view: Page) -> None:
    show(view, suspect())
    newer = {
        "title": "Somebody was faster",
        "paragraphs": [[["Reviewer B", "name"], [": label is right", ""]]],
        "buttons": [{"name": "theirs", "text": "Theirs: church"}, {"name": "mine", "text": "Mine: garbage truck"}],
        "picture": asdict(Small("a", "h", "church", "given", False, "")),
    }
    places = "['h1', '[data-act=A]', '.stage'].map((one) => box(shadow.querySelector(one)))"
    before = view.evaluate(places)
    view.evaluate("(shown) => view.notice(shown)", newer)
    assert view.evaluate(places) == before
    view.get_by_role("button", name="Mine: garbage truck").click()
    view.evaluate("view.notice(null)")
    view.evaluate(
        "(shown) => view.panel(shown)",
        {
            "title": "All 128 suspects are decided",
            "buttons": [{"name": "check", "text": "Next: the random check", "primary": True}],
        },
    )
    assert view.locator("h1:visible").inner_text() == "All 128 suspects are decided"
    assert not view.locator(".stage").is_visible()
    view.get_by_role("button", name="Next: the random check").click()
    assert view.evaluate("acts") == ["mine", "check"]
    show(view, suspect())
    assert view.locator(".stage").is_visible()


def test_a_wide_picture_stands_above_the_card_and_a_tall_one_beside_it(view: Page) -> None:
    for size, above in (((900, 300), True), (((300, 900)), False), (((400, 300)), False)):
        show(view, suspect(size=size, crop=(0, 0, *size)))
        stage, title = (view.evaluate(f"box(shadow.querySelector('{one}'))") for one in (".stage", "h1"))
        assert (title["y"] >= stage["y"] + stage["height"]) == above
        assert (title["x"] >= stage["x"] + stage["width"]) != above
        buttons = view.evaluate("['A', 'X'].map((name) => box(shadow.querySelector(`[data-act=${name}]`)))")
        assert all(one["y"] + one["height"] <= 1000 and one["x"] + one["width"] <= 1600 for one in buttons)
    picture = view.evaluate("box(shadow.querySelector('.picture'))")
    assert picture["width"] == 796
    # What stands instead of it begins where it always does.
    show(view, suspect(size=(900, 300), crop=(0, 0, 900, 300)))
    view.evaluate("view.panel({ title: 'All decided', buttons: [] })")
    assert view.evaluate("box(shadow.querySelector('.panel.whole'))")["y"] < 200


def test_keys_are_written_as_they_are_set(view: Page) -> None:
    show(view, suspect(), keys={"flicker": "Q", "help": "H", "map": "P", "lock": "L", "A": "W"})
    assert view.locator(".strip .hint").first.inner_text() == "click: large · hold Q: flicker with the suspect"
    assert view.locator("button.help").inner_text() == "H"
    assert view.locator(".legend kbd").text_content() == "P"
    assert view.locator("[data-act=A] kbd").inner_text() == "W"
    # One that is switched off is not spoken of.
    show(view, suspect(), keys={})
    assert view.locator(".strip .hint").first.inner_text() == "click: large"
    assert view.locator(".legend kbd").count() == 0
    show(view, suspect())


def test_names_that_differ_only_in_their_middle_are_told_apart_and_whole_for_those_who_hear_them(view: Page) -> None:
    given, other = (f"Felis silvestris lybica of the {part}ern plains, adult" for part in ("north", "south"))
    show(view, suspect(given=given, other=other))
    names = """(place) => [...shadow.querySelectorAll(`${place} bdi.short`)].map((one) =>
        [one.title, one.lastChild.textContent, one.firstChild.textContent])"""
    for place in ("h1", ".classes .name", ".strip.typical h3", ".legend"):
        told = {tuple(each) for each in view.evaluate(names, place)}
        # Both typical strips of this suspect are of the other class.
        shown = {other} if "typical" in place else {given, other}
        assert {(title, heard) for title, heard, _ in told} == {(name, name) for name in shown}, place
        assert all("…" in short and title[31:34] in short for title, _, short in told), place
    relabel = view.locator("[data-act=A]")
    assert relabel.get_attribute("aria-label") == f"Relabel to {other}"
    assert "south" in relabel.locator(".text").inner_text()
    # Pages that the server draws write them in the same way.
    every = [
        given,
        other,
        *(f"a class of a dataset with number {at} of one hundred" for at in range(30)),
        "x" * 40,
        "x" * 41,
    ]
    for longest in (15, 20, 24, 28, 34):
        written = view.evaluate("([names, longest]) => [...shorten.apart(names, longest)]", [every, longest])
        assert dict(written) == dict(apart(tuple(every), longest))
