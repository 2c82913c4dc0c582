"""How long the page takes on an audit of a million images: ``python -m bench.page [--images N] [--suspects N]``.

Builds the synthetic audit of ``bench/store.py`` with a picture behind each suspect, serves the page over it, drives
chromium and prints tables: from the address to what is useful on each page, every visit with an empty browser, beside
an empty page of Streamlit's; from a key or click to its result on the screen; and what becomes of ten presses a second
(``bench/presses.py``). With ``--before CHECKOUT --before-audit FOLDER`` the same of an older page, which was built by
the same command in that checkout, one after the other in one run.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit
from urllib.request import Request, urlopen

import numpy as np
import pandas as pd
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, ViewportSize

from bench.presses import FIRST, HEAD, Server, hammer
from bench.store import populate
from gradattn_core.store.store import Store
from tests.helpers.browser import opened_browser, served_script, settle

_POOL = 200
_WAIT = 60_000
_SHOWN = 12
_PLACES = 50_000
_PAINT, _KEY, _ACTION, _STRETCH = 2.0, 0.1, 0.5, 0.03
_SIZE: ViewportSize = {"width": 1280, "height": 720}
# Pictures through every shadow root, looked for before each frame.
_PICTURES = """([place, count, before]) => {
    const found = [];
    const look = root => {
        found.push(...root.querySelectorAll(place));
        for (const each of root.querySelectorAll('*')) if (each.shadowRoot) look(each.shadowRoot);
    };
    look(document);
    const pictures = found.slice(0, count);
    return pictures.length === count && pictures[0].src !== before
        && pictures.every(picture => picture.complete && picture.naturalWidth > 0);
}"""


@dataclass(frozen=True)
class Row:
    """Times of one kind in seconds, and what their 95th percentile should stay below."""

    name: str
    seconds: list[float]
    goal: float | None = None


@dataclass(frozen=True)
class Site:
    """One version of the page.

    Attributes:
        folder: of its audit; ``code``: of its checkout.
        seen: a function in the browser from nothing to the path of the suspect on the screen with its picture, or null.
        useful: per page what a visit waits for.
        keys: of a reviewer, by what they do.
    """

    name: str
    folder: Path
    code: Path
    seen: str
    useful: dict[str, Callable[[Page], object]]
    keys: dict[str, str]


class Pictures:
    """Photographs of a small pool; each path has a file of its own all the same, by the comment in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        random = np.random.default_rng(3)
        self._pool = []
        for _ in range(_POOL):
            buffer = io.BytesIO()
            coarse = random.integers(0, 256, (12, 16, 3), dtype=np.uint8)
            Image.fromarray(coarse).resize((500, 375), Image.Resampling.BICUBIC).save(buffer, "JPEG")
            self._pool.append(buffer.getvalue())

    def draw(self, path: str) -> bytes:
        """Write the file at this path, and return it."""
        said = path.encode()
        drawn = self._pool[sum(said) % _POOL]
        content = drawn[:2] + b"\xff\xfe" + (len(said) + 2).to_bytes(2, "big") + said + drawn[2:]
        place = self.folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
        return content


def place(store: Store) -> None:
    """A place on the map for each suspect."""
    suspects = store.candidates.page("bench", top=_PLACES)["path"].tolist()
    places = np.random.default_rng(3).normal(size=(len(suspects), 2)).astype(np.float32)
    store.embeddings.write("bench", pd.DataFrame({"path": suspects, "x": places[:, 0], "y": places[:, 1]}))


def shown(place: Locator) -> None:
    """Wait until the first of these is on the screen."""
    place.first.wait_for(state="visible", timeout=_WAIT)


def pictures_shown(page: Page, place: str, before: str = "") -> str:
    """Wait until the first pictures at ``place`` are there, the first of them another than ``before``; its address."""
    page.wait_for_function(_PICTURES, arg=[place, _SHOWN, before], timeout=_WAIT)
    return str(page.locator(place).first.evaluate("picture => picture.src"))


# Of the page before there were clients.
_SEEN_BEFORE = """() => {
    const path = document.querySelector('.st-key-path')?.innerText;
    const pictures = [...document.querySelectorAll('.st-key-pictures img')];
    return path && pictures.length > 0 && pictures.every(picture => picture.complete && picture.naturalWidth > 0)
        ? path : null;
}"""
_SEEN = """() => {
    const reach = root => {
        const found = root.querySelector('.client');
        if (found) return found;
        for (const each of root.querySelectorAll('*')) {
            const inside = each.shadowRoot && reach(each.shadowRoot);
            if (inside) return inside;
        }
        return null;
    };
    if (!window.benchClient?.isConnected) window.benchClient = reach(document);
    return window.benchClient?.dataset.seen ?? null;
}"""


def suspect_shown(seen: str) -> Callable[[Page], object]:
    """Wait until a suspect is on the screen with its picture."""
    return lambda page: page.wait_for_function(seen, timeout=_WAIT)


def new_site(folder: Path) -> Site:
    """The page of this checkout."""
    cards = ".cards .card img"
    return Site(
        "now", folder, Path(__file__).resolve().parents[1], _SEEN,
        {
            "overview": lambda page: shown(page.locator("h1")),
            "review": suspect_shown(_SEEN),
            "grid": lambda page: pictures_shown(page, cards),
            "map": lambda page: shown(page.locator(".client[data-ready]")),
            "decisions": lambda page: shown(page.locator("h1")),
            "export": lambda page: shown(page.locator(".gradattn-table")),
            "audits": lambda page: shown(page.locator("h1")),
        },
        {"keep": "k", "relabel as suggested": "a", "skip": "ArrowRight", "back": "ArrowLeft", "undo": "z"},
    )  # fmt: skip


def old_site(folder: Path, code: Path) -> Site:
    """The page of a commit before there were clients, such as a8f8ac8."""
    return Site(
        "before", folder, code, _SEEN_BEFORE,
        {
            "overview": lambda page: shown(page.get_by_test_id("stMetric")),
            "review": suspect_shown(_SEEN_BEFORE),
            "grid": lambda page: pictures_shown(page, ".gallery .card img"),
            "decisions": lambda page: shown(page.locator(".st-key-log input")),
            "export": lambda page: shown(page.locator(".gradattn-table")),
            "audits": lambda page: shown(page.get_by_role("heading", name="Audits", exact=True)),
        },
        {"keep": "k", "relabel as suggested": "a", "skip": "s", "back": "b", "undo": "z"},
    )  # fmt: skip


def visits(browser: Browser, site: Site, address: str, repeats: int) -> Iterator[Row]:
    """Per page the seconds to what is useful, the first visit of all left out."""
    for name, useful in site.useful.items():
        _, *others = arrivals(browser, f"{address}/{'' if name == 'overview' else name}", useful, repeats + 1)
        yield Row(name, others, _PAINT)


def arrivals(browser: Browser, url: str, useful: Callable[[Page], object], visits: int) -> Iterator[float]:
    """Seconds from asking for ``url`` to what is useful there, each with a browser that keeps nothing."""
    for _ in range(visits):
        page = browser.new_context(viewport=_SIZE).new_page()
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


# From the key's own event to the next suspect on the screen, by the browser's clock.
_PRESSED = """seen => {
    const now = eval(`(${seen})`), before = now();
    window.benchWait = new Promise((done, fail) => {
        let begun = 0;
        window.benchPress = () => { begun ||= performance.now(); };
        const look = () => {
            const path = now();
            if (begun && path && path !== before) done(performance.now() - begun);
            else if (begun && performance.now() - begun > 60000) fail(new Error('no other suspect came'));
            else requestAnimationFrame(look);
        };
        look();
    });
}"""


def reviewing(page: Page, site: Site, address: str, repeats: int) -> Iterator[Row]:
    """Keys on the review page, each from a page at rest to the next suspect on the screen."""
    page.add_init_script(FIRST)
    page.goto(f"{address}/review")
    page.wait_for_function(site.seen, timeout=_WAIT)
    for name, key in site.keys.items():
        seconds = []
        for _ in range(repeats):
            settle(page)
            page.wait_for_timeout(200)
            page.evaluate(_PRESSED, site.seen)
            page.keyboard.press(key)
            seconds.append(float(page.evaluate("window.benchWait")) / 1000)
        yield Row(f"review: {name}, next suspect shown", seconds, _KEY)


def stretches(page: Page, address: str, repeats: int) -> Iterator[Row]:
    """The answers with the next suspects of the list, one stretch after the other, as the client asks for them."""
    with page.expect_request("**/gradattn/list?*") as asked:
        page.goto(f"{address}/review")
    url, headers = urlsplit(asked.value.url), {**asked.value.all_headers(), "accept-encoding": "gzip"}
    query, seconds = dict(parse_qsl(url.query)), []
    for _ in range(repeats + 1):
        request = Request(url._replace(query=urlencode(query)).geturl(), headers=headers)
        start = time.perf_counter()
        with urlopen(request) as answer:
            packed = answer.read()
        seconds.append(time.perf_counter() - start)
        suspects = json.loads(gzip.decompress(packed))["suspects"]
        query["after"] = json.dumps(suspects[-1]["order"])
    yield Row(f"review: {len(suspects)} more suspects, answered", seconds[1:], _STRETCH)


def turning(page: Page, site: Site, address: str, repeats: int) -> Iterator[Row]:
    """The grid: the next page."""
    cards = ".gallery .card img" if site.name == "before" else ".cards .card img"
    page.goto(f"{address}/grid")
    before = pictures_shown(page, cards)
    seconds = []
    for _ in range(repeats):
        settle(page)
        page.wait_for_timeout(150)
        start = time.perf_counter()
        page.get_by_role("button", name="Next page").click()
        before = pictures_shown(page, cards, before)
        seconds.append(time.perf_counter() - start)
    yield Row("grid: next page", seconds, _ACTION)


def measure(site: Site, repeats: int, minute: float) -> None:
    """Print the tables of one page."""
    server = Server(site.folder, site.code)
    with opened_browser() as browser:
        print(f"\n| {site.name} | p50 | p95 | goal | met |\n|---|---:|---:|---:|---|", flush=True)
        show([floor(browser, site.folder, repeats)])
        server.start()
        try:
            show(visits(browser, site, server.address, repeats))
            page = browser.new_context(viewport=_SIZE).new_page()
            show(reviewing(page, site, server.address, 3 * repeats))
            show(turning(page, site, server.address, repeats))
            if site.name == "now":
                show(stretches(page, server.address, repeats))
            page.context.close()
        finally:
            server.kill(signal.SIGTERM)
        print(f"\n{HEAD}", flush=True)
        for killed in (False, True):
            page = browser.new_context(viewport=_SIZE).new_page()
            name = f"{site.name}, {'server killed and restarted' if killed else 'undisturbed'}"
            print(hammer(page, server, site.seen, name, minute, key=site.keys["keep"], killed=killed).row, flush=True)
            page.context.close()


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
    parser.add_argument("--seconds", type=float, default=60, help="of ten presses a second")
    parser.add_argument("--keep", type=Path, help="make the audit here, or use the one that is here")
    parser.add_argument("--before", type=Path, metavar="CHECKOUT", help="an older page to measure too, first")
    parser.add_argument("--before-audit", type=Path, metavar="FOLDER", help="what --keep of that checkout has made")
    options = parser.parse_args()
    if options.before:
        measure(old_site(options.before_audit.absolute(), options.before.absolute()), options.repeats, options.seconds)
    folder = (options.keep or Path(tempfile.mkdtemp(prefix="gradattn-bench-"))).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        if not Store(folder).database.exists():
            decisions = min(5_000, options.suspects // 4)
            store, _ = populate(folder, options.images, options.suspects, decisions, Pictures(folder).draw)
            place(store)
        measure(new_site(folder), options.repeats, options.seconds)
    finally:
        if options.keep is None:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
