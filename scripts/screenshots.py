"""Makes the pictures of the documentation from the demo audit: `make screenshots`."""

from __future__ import annotations

import argparse
import io
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from PIL import Image
from playwright.sync_api import Browser, Page

from gradattn_core import outfolder
from gradattn_core.cli.demo import draw
from gradattn_core.render.layout import Paper
from gradattn_core.store.store import Store
from tests.helpers.browser import opened_browser, served, settle

PAGES = {
    "overview": "",
    "review": "review",
    "grid": "grid",
    "pair": "pair",
    "map": "map",
    "decisions": "decisions",
    "export": "export",
    "audits": "audits",
}
ON_A_PHONE = ("review", "grid")
SCREEN, PHONE = (1280, 800), (390, 844)
# The first ones stay undecided, so that Review and Grid begin with the clearest cases.
DECIDED = slice(4, 46)
LARGEST = 150_000
_FLAT, _NEAR = 12, 6


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--demo", type=Path, default=Path("demo"), help="output folder of gradattn demo")
    parser.add_argument("--images", type=Path, default=Path("docs/images"), help="where the pictures go")
    parser.add_argument("--pages", nargs="*", choices=PAGES, default=list(PAGES), help="only these")
    options = parser.parse_args(arguments)
    for command in ("demo", "embed"):
        subprocess.run(
            [sys.executable, "-m", "gradattn_core", command, "--out", str(options.demo), "--quiet"], check=True
        )
    options.images.mkdir(parents=True, exist_ok=True)
    audit = Store(options.demo).audits.latest_id()
    for paper in get_args(Paper):
        _save(Image.open(draw(options.demo, audit, paper)).convert("RGB"), options.images / f"demo-{paper}.png")
    with tempfile.TemporaryDirectory() as folder:
        # A copy: the decisions are for show, and whoever made some of their own in the demo keeps them.
        copy = Path(folder) / "gradattn-out"
        copy.mkdir()
        shutil.copy(outfolder.database(options.demo), outfolder.database(copy))
        decide(Store(copy))
        with served(copy, environment={"GRADATTN_REVIEWER": "Ada"}) as address, opened_browser() as browser:
            shoot(browser, address, options.pages, options.images)
    return 0


def decide(store: Store) -> None:
    """What two reviewers might say about some suspects: mostly the same as the suggestion, and not always the same."""
    audit = store.audits.latest_id()
    for position, row in enumerate(store.candidates.page(audit, decided="no").iloc[DECIDED].to_dict("records")):
        reviewer = "Grace" if position % 5 == 4 else "Ada"
        path, suggested = str(row["path"]), str(row["suggested_label"])
        if position % 11 == 6:
            store.decisions.append(audit, path, "keep", reviewer=reviewer, note="odd, but right")
        elif position % 17 == 9:
            store.decisions.append(audit, path, "unsure", reviewer=reviewer)
        elif position % 19 == 12:
            store.decisions.append(audit, path, "remove", reviewer=reviewer, note="cannot be read")
        else:
            store.decisions.append(audit, path, "relabel", new_label=suggested, reviewer=reviewer)
        if position in (7, 23):
            store.decisions.append(audit, path, "keep", reviewer="Grace" if reviewer == "Ada" else "Ada")


def shoot(browser: Browser, address: str, pages: Sequence[str], folder: Path) -> None:
    """Every page in light and dark, and some as a phone has them."""
    for scheme in ("light", "dark"):
        for name in pages:
            _shoot(browser, f"{address}/{PAGES[name]}", scheme, SCREEN, folder / f"{name}-{scheme}.png")
            if name in ON_A_PHONE:
                _shoot(browser, f"{address}/{PAGES[name]}", scheme, PHONE, folder / f"{name}-phone-{scheme}.png")


def _shoot(browser: Browser, url: str, scheme: str, size: tuple[int, int], target: Path) -> None:
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]}, color_scheme="dark" if scheme == "dark" else "light"
    )
    page = context.new_page()
    page.goto(url)
    page.wait_for_selector("h1, h2, h3, img", state="attached", timeout=60_000)
    settle(page)
    page.wait_for_load_state("networkidle")
    # What lies below the screen is not asked for.
    page.wait_for_function(
        "[...document.images].every(image => image.complete || image.getBoundingClientRect().top > innerHeight)"
    )
    if url.endswith("/map"):
        _draw_around(page)
    # Charts and pictures are drawn, and fade in, after everything has arrived.
    page.wait_for_timeout(1500)
    _save(Image.open(io.BytesIO(page.screenshot())).convert("RGB"), target)
    context.close()


def _draw_around(page: Page) -> None:
    """A lasso on the map, as somebody draws it."""
    page.locator(".client[data-ready]").wait_for()
    area = page.locator(".area").bounding_box()
    assert area is not None
    corners = [(0.3, 0.28), (0.52, 0.2), (0.66, 0.38), (0.6, 0.62), (0.4, 0.68), (0.28, 0.5)]
    places = [(area["x"] + x * area["width"], area["y"] + y * area["height"]) for x, y in corners]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in [*places[1:], places[0]]:
        page.mouse.move(*place, steps=6)
    page.mouse.up()
    page.mouse.move(1, 1)


def _save(picture: Image.Image, target: Path) -> None:
    """As a PNG of 256 colours; if that is too large, of fewer."""
    for colours in (256, 128, 64):
        file = io.BytesIO()
        picture.quantize(palette=_palette(picture, colours)).save(file, "PNG", optimize=True)
        if file.tell() <= LARGEST:
            break
    target.write_bytes(file.getvalue())
    print(f"{target}  {file.tell() / 1000:,.0f} kB, {colours} colours")


def _palette(picture: Image.Image, colours: int) -> Image.Image:
    """A palette for shades of evidence, in which the page's own flat colours are exact."""
    counted = picture.getcolors(picture.width * picture.height) or []
    flat = [colour for _, colour in sorted(counted, reverse=True)[:_FLAT] if isinstance(colour, tuple)]
    shades = picture.quantize(colours - len(flat), method=Image.Quantize.MAXCOVERAGE, kmeans=2).getpalette() or []
    triples = zip(shades[::3], shades[1::3], shades[2::3], strict=True)
    # A shade next to a flat colour would be taken in its place.
    kept = [shade for shade in triples if all(_apart(shade, colour) > _NEAR for colour in flat)]
    palette = Image.new("P", (1, 1))
    palette.putpalette([part for colour in (*flat, *kept[: colours - len(flat)]) for part in colour])
    return palette


def _apart(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    return max(abs(first - second) for first, second in zip(one, other, strict=True))


if __name__ == "__main__":
    sys.exit(main())
