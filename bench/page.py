"""How long the page takes on an audit of a million images: ``python -m bench.page [--images N] [--suspects N]``.

Builds the synthetic audit of ``bench/store.py`` with a picture behind each suspect, serves the page over it, drives
Debian's chromium and prints one table with the goal of each row: the time from the address to what is useful on each
page (every visit with an empty browser), beside that of an empty page of Streamlit's, and the time from a key or click
to its result on the screen.
"""

from __future__ import annotations

import argparse
import itertools
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, Locator, Page

from bench.store import CLASSES, populate
from gradattn_core.store.store import Store
from tests.helpers.browser import opened_browser, served, served_script, settle

_POOL = 200
_WAIT = 60_000
_SHOWN = 12
# Asked by the browser before each frame; Playwright's own expectations look only every now and then.
_SUSPECT = """before => {
    const path = document.querySelector('.st-key-path')?.innerText;
    const pictures = [...document.querySelectorAll('.st-key-pictures img')];
    return path && path !== before && pictures.length > 0
        && pictures.every(picture => picture.complete && picture.naturalWidth > 0);
}"""
_PICTURES = """([place, count, before]) => {
    const roots = [document, ...[...document.querySelectorAll('*')].map(each => each.shadowRoot).filter(Boolean)];
    const pictures = roots.flatMap(root => [...root.querySelectorAll(place)]).slice(0, count);
    return pictures.length === count && pictures[0].alt !== before
        && pictures.every(picture => picture.complete && picture.naturalWidth > 0);
}"""
_PAINT, _ACTION = 2.0, 0.5
_CARDS, _PAIR_MAP = ".gallery .card img", ".st-key-pair-map img"


@dataclass(frozen=True)
class Row:
    """Times of one kind, and what their 95th percentile should stay below, in seconds."""

    name: str
    seconds: list[float]
    goal: float | None = None


def draw(folder: Path, store: Store) -> None:
    """A picture for every suspect and every typical image: links into a small pool of random ones."""
    random = np.random.default_rng(3)
    pool = folder / "pool"
    pool.mkdir()
    for number in range(_POOL):
        coarse = random.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((500, 375), Image.Resampling.BICUBIC).save(pool / f"{number}.jpg")
    paths = store.candidates.page("bench")["path"].tolist()
    for label in CLASSES:
        paths += store.images.exemplars("bench", label)["path"].tolist()
    for number, path in enumerate(dict.fromkeys(paths)):
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(pool / f"{number % _POOL}.jpg")


def suspect_shown(page: Page, before: str = "") -> None:
    """Wait until another suspect than ``before`` is on the screen with its pictures."""
    page.wait_for_function(_SUSPECT, arg=before, timeout=_WAIT)


def pictures_shown(page: Page, place: str, count: int, before: str = "") -> None:
    """Wait until the first pictures at ``place`` are on the screen, the first of them not called ``before``."""
    page.wait_for_function(_PICTURES, arg=[place, count, before], timeout=_WAIT)


def shown(place: Locator) -> None:
    """Wait until the first of these is on the screen."""
    place.first.wait_for(state="visible", timeout=_WAIT)


PAGES: dict[str, Callable[[Page], object]] = {
    "overview": lambda page: shown(page.get_by_test_id("stMetric")),
    "review": suspect_shown,
    "grid": lambda page: pictures_shown(page, _CARDS, _SHOWN),
    "pair": lambda page: pictures_shown(page, _PAIR_MAP, 1),
    "decisions": lambda page: shown(page.locator(".st-key-log input")),
    "export": lambda page: shown(page.locator(".gradattn-table")),
    "audits": lambda page: shown(page.get_by_role("heading", name="Audits", exact=True)),
}
"""What is useful on each page: its numbers, its pictures, its table."""


def visits(browser: Browser, address: str, repeats: int) -> Iterator[Row]:
    """Per page the seconds to what is useful, the very first visit apart."""
    for name, useful in PAGES.items():
        first, *others = arrivals(browser, f"{address}/{'' if name == 'overview' else name}", useful, repeats + 1)
        yield Row(f"{name}, first visit of all", [first])
        yield Row(name, others, _PAINT)


def arrivals(browser: Browser, url: str, useful: Callable[[Page], object], visits: int) -> Iterator[float]:
    """Seconds from asking for ``url`` to what is useful there, each with a browser that keeps nothing."""
    for _ in range(visits):
        page = browser.new_context(viewport={"width": 1280, "height": 720}).new_page()
        start = time.perf_counter()
        page.goto(url)
        useful(page)
        yield time.perf_counter() - start
        settle(page)
        page.context.close()


def floor(browser: Browser, folder: Path, repeats: int) -> Row:
    """How long a page of one word takes, which is what Streamlit and the browser need before any page of ours."""
    script = folder / "empty.py"
    script.write_text("import streamlit\nstreamlit.text('empty')\n", encoding="utf-8")
    with served_script(script) as address:
        _, *others = arrivals(browser, address, lambda page: shown(page.get_by_test_id("stText")), repeats + 1)
    return Row("an empty page of Streamlit's", others)


def timed(page: Page, act: Callable[[], object], done: Callable[[], object], repeats: int) -> list[float]:
    """Seconds from ``act`` to ``done``, each time from a page at rest."""
    seconds = []
    for _ in range(repeats):
        settle(page)
        start = time.perf_counter()
        act()
        done()
        seconds.append(time.perf_counter() - start)
    settle(page)
    return seconds


def reviewing(page: Page, address: str, repeats: int) -> Iterator[Row]:
    """Keys on the review page, each to the next suspect's pictures."""
    page.goto(f"{address}/review")
    suspect_shown(page)
    before = ""

    def pressing(key: str) -> Callable[[], None]:
        def press() -> None:
            nonlocal before
            before = page.locator(".st-key-path").inner_text()
            page.keyboard.press(key)

        return press

    keys = {"keep": "k", "relabel as suggested": "a", "skip": "s", "back": "b", "undo": "z"}
    for name, key in keys.items():
        seconds = timed(page, pressing(key), lambda: suspect_shown(page, before), repeats)
        yield Row(f"review: {name}, next suspect shown", seconds, _ACTION)


def browsing(page: Page, address: str, repeats: int) -> Iterator[Row]:
    """The grid: turn pages, change a filter, decide about all that is shown, take it back."""
    page.goto(f"{address}/grid")
    pictures_shown(page, _CARDS, _SHOWN)
    settle(page)
    before = ""
    kinds = itertools.cycle(["confusable", "duplicate", "mislabel", "two objects"])

    def click(name: str) -> Callable[[], None]:
        button = page.get_by_role("button", name=name)

        def clicking() -> None:
            nonlocal before
            before = str(page.locator(_CARDS).first.get_attribute("alt"))
            button.click()

        return clicking

    def other_kind() -> None:
        nonlocal before
        before = str(page.locator(_CARDS).first.get_attribute("alt"))
        page.get_by_role("combobox", name="Kind").fill(next(kinds))
        page.keyboard.press("Enter")

    def changed() -> None:
        pictures_shown(page, _CARDS, _SHOWN, before)

    def selected() -> None:
        page.wait_for_function("!document.querySelector('.st-key-bulk-keep button').disabled", timeout=_WAIT)

    yield Row("grid: next page of 48", timed(page, click("Next page"), changed, repeats), _ACTION)
    yield Row("grid: another kind of doubt", timed(page, other_kind, changed, repeats), _ACTION)
    selecting: list[float] = []
    deciding: list[float] = []
    for _ in range(repeats):
        selecting += timed(page, click("Select all"), selected, 1)
        deciding += timed(page, click("Label is right"), changed, 1)
    yield Row("grid: select 48", selecting, _ACTION)
    yield Row("grid: decide 48", deciding, _ACTION)
    yield Row("grid: undo 48", timed(page, click("Undo"), changed, repeats), _ACTION)


def measure(folder: Path, images: int, suspects: int, repeats: int) -> None:
    """Build what is not there, and print the tables."""
    if not Store(folder).database.exists():
        store, _ = populate(folder, images, suspects, min(5_000, suspects // 4))
        draw(folder, store)
    environment = {"GRADATTN_REVIEWER": "Ada", "STREAMLIT_LOGGER_HIDE_WELCOME_MESSAGE": "true"}
    with served(folder, environment=environment) as address, opened_browser() as browser:
        print(f"| {images:,} images, {suspects:,} suspects | p50 | p95 | goal | met |\n|---|---:|---:|---:|---|")
        show([floor(browser, folder, repeats)])
        show(visits(browser, address, repeats))
        page = browser.new_context(viewport={"width": 1280, "height": 720}).new_page()
        show(reviewing(page, address, repeats))
        show(browsing(page, address, repeats))


def show(rows: Iterable[Row]) -> None:
    """Print rows of a table in milliseconds."""
    for row in rows:
        half, most = (1000 * float(part) for part in np.quantile(row.seconds, [0.5, 0.95]))
        goal = (
            "– | –" if row.goal is None else f"{1000 * row.goal:,.0f} ms | {'yes' if most < 1000 * row.goal else 'no'}"
        )
        print(f"| {row.name} | {half:,.0f} ms | {most:,.0f} ms | {goal} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--suspects", type=int, default=50_000)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--keep", type=Path, help="make the audit here, or use the one that is here")
    options = parser.parse_args()
    folder = (options.keep or Path(tempfile.mkdtemp(prefix="gradattn-bench-"))).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        measure(folder, options.images, options.suspects, options.repeats)
    finally:
        if options.keep is None:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
