"""Review's view alone in a browser: without a server, with suspects that are made here."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, Page, Route

from gradattn_core.interpret.regions import region_masks
from tests.helpers.asking import to_json
from ui.api.shapes import Action, Bar, Likely, Map, Measuring, Name, Part, Similar, Small, Strip, Suspect, Tick

CLIENT = Path(__file__).parents[2] / "ui/client"
KINDS = {".js": "text/javascript", ".css": "text/css"}
HARNESS = """<!doctype html><html lang="en"><title>View</title>
<body style="margin:0"><header style="height:52px"></header>
<div id="host"></div><script type="module">
import { createView } from "./client/view.js";
import * as overlay from "./client/overlay.js";
import * as outline from "./client/outline.js";
import * as plates from "./client/plates.js";
import * as shorten from "./client/shorten.js";
const shadow = host.attachShadow({ mode: "open" });
const root = Object.assign(document.createElement("div"), { className: "client" });
const style = Object.assign(document.createElement("link"), { rel: "stylesheet", href: "./client/tokens.css" });
const styled = new Promise((done) => (style.onload = done));
shadow.append(style, root);
window.acts = [];
window.originals = 0;
window.picture = (kind, small) => `/picture/${kind}/${encodeURIComponent(small.path)}`;
window.view = createView(root, {
  act: (name) => acts.push(name),
  picture,
  original: async () => (originals++, null),
  folder: async (folder) => {
    acts.push(folder);
    throw new Error("No such folder.");
  },
});
window.load = async (suspect) => {
  const image = new Image();
  image.src = picture("stage", suspect);
  await image.decode();
  return image;
};
Object.assign(window, { overlay, outline, plates, shorten, shadow, images: {} });
window.show = async (suspect, state = {}) => {
  images[suspect.path] ??= await load(suspect);
  view.show(suspect, images[suspect.path], { keys, measuring, ...state });
};
window.keys = { A: "A", K: "K", U: "U", X: "X", other: "/", note: "N", tag: "T", back: "←", skip: "→", undo: "Z" };
window.measuring = { busy: false, problem: "", took: "1.2 s", drawing: false, method: "" };
window.box = (node) => {
  const { x, y, width, height } = node.getBoundingClientRect();
  return { x, y, width, height };
};
await styled;
while (shadow.querySelector(".review").hidden) await new Promise((next) => setTimeout(next, 10));
window.ready = true;
</script>"""

HOSTILE = "<img src=x onerror=alert(1)> قطة טקסט \u202e" + "Donaudampfschifffahrtsgesellschaft" * 4 + " 👩‍👩‍👧"


def scores_of(rows: int, columns: int, seed: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """A smooth signed map with parts of both signs."""
    noise = np.random.default_rng(seed).normal(size=(rows + 4, columns + 4))
    smooth = sum(noise[down : down + rows, across : across + columns] for down in range(5) for across in range(5))
    return np.asarray(smooth / 8, dtype=np.float32)


def suspect(
    *,
    seed: int = 0,
    size: tuple[int, int] = (320, 240),
    crop: tuple[float, float, float, float] = (40, 20, 280, 220),
    given: str = "church",
    other: str = "garbage truck",
    classes: int = 3,
    notice: str = "",
    primary: str | None = "A",
    contradicted: bool = False,
) -> Suspect:
    """A suspect as ``ui.api.suspect`` makes them, of made-up numbers."""
    scores = scores_of(10, 12, seed)
    regions = []
    across, down = (crop[2] - crop[0]) / 12, (crop[3] - crop[1]) / 10
    for number, sign in enumerate((-1, +1), start=1):
        cells = np.argwhere(region_masks(scores)[sign, 1])
        (top, left), (bottom, right) = cells.min(0), cells.max(0) + 1
        box = (crop[0] + left * across, crop[1] + top * down, crop[0] + right * across, crop[1] + bottom * down)
        patches = tuple((row, column) for row, column in cells.tolist())
        hide = f"hide this: {given}"
        regions.append(
            Part(number, sign, "middle left", box, patches, -sign * 2.0, 0.5, hide,
                 "11%", "37%", "−2.28", ("−2.12", "−0.52"), contradicted)
        )  # fmt: skip
    bars = (
        Bar("Without any picture", -0.57, -0.57, -0.57, "−0.57", "36%"),
        Bar("Red patches add", -0.57, 2.8, 3.37, "+3.37", ""),
        Bar("Blue patches take", 2.8, -2.12, -4.92, "−4.92", ""),
        Bar("The model's answer", -2.12, -2.12, -2.12, "−2.12", "11%"),
    )
    names = [other, given, *(f"class {number}" for number in range(3, 6))][:classes]
    likely = tuple(
        Likely(name, name, 0.6 / 3**at, f"{60 / 3**at:.0f}%", ("other", "given", "", "", "")[at], "relabel", name)
        for at, name in enumerate(names)
    )
    small = [
        Small(f"small/{seed}/{at}", "h", given, "given", at == 0, "suspect: now church" * (at == 0)) for at in range(5)
    ]
    return Suspect(
        path=f"{seed}-{size[0]}x{size[1]}", rank=88, content_hash="h", order=(), width=size[0], height=size[1],
        blind=False, problem="", given=Name(given, given),
        headline=(("Probably ", ""), (other, "other"), (", filed as ", ""), (given, "given")),
        reason=(("4 of the 6 most similar pictures are filed as ", ""), (other, "other"), (".", "")),
        case="mislabel", primary=primary, classes=likely,
        actions={
            "A": Action("relabel", other, f"Relabel to {other}"), "K": Action("keep", None, "Label is right"),
            "U": Action("unsure", None, "Unsure"), "X": Action("remove", None, "Remove"),
        },
        notice=((notice, ""),) if notice else (),
        map=Map(tuple(map(tuple, scores.tolist())), crop, given, other, 10, 12, tuple(regions), bars,
                (Tick(-2.2, "10%"), Tick(0.0, "50%"), Tick(2.2, "90%")), "How the model alone decides",
                f"{given} against {other}", (),
                Measuring("2 of 7 parts of this picture are measured", "20 passes")),
        no_map="",
        typical=(Strip(other, "other", "most certain of 120", tuple(small)),) * 2,
        similar=Similar("4 filed as church", tuple(small), 1),
        decision=None, seen="", conflict="", tags=(), facts="Rank 88",
    )  # fmt: skip


def answer(route: Route) -> None:
    """The files of the client, and any picture in its own size, from this process."""
    path = route.request.url.split("view.test", 1)[1]
    if path.startswith("/client/"):
        file = CLIENT / path.removeprefix("/client/")
        route.fulfill(body=file.read_bytes(), content_type=KINDS[file.suffix])
    elif path.startswith("/picture/"):
        last = path.rsplit("/", 1)[1]
        width, height = (int(side) for side in last.split("-")[1].split("x")) if "x" in last else (64, 64)
        pixels = np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "PNG")
        route.fulfill(body=stream.getvalue(), content_type="image/png")
    elif path == "/":
        route.fulfill(body=HARNESS, content_type="text/html")
    else:
        route.fulfill(status=204)


@contextmanager
def view_alone(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1600, "height": 1000})
    page = context.new_page()
    page.set_default_timeout(30_000)
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.route("http://view.test/**", answer)
    page.goto("http://view.test/")
    page.wait_for_function("window.ready")
    yield page
    context.close()
    # The first is the tests' own reading of pixels, the second the network that one of them takes away.
    expected = ("Canvas2D: Multiple readback", "Failed to load resource: net::ERR_FAILED")
    assert [words for words in said if not words.startswith(expected)] == []


def as_at_first(page: Page) -> None:
    """The view at 1600 x 1000, in light, with its first settings."""
    page.emulate_media(forced_colors="none")
    resize(page, 1600, 1000)
    page.evaluate("view.settings = { strength: .6, smooth: true, palette: 'red', shape: 'outlines', locked: false }")
    page.evaluate("acts.length = 0")


def show(page: Page, shown: Suspect, **state: object) -> None:
    page.evaluate("([suspect, state]) => show(suspect, state)", [json.loads(to_json(shown)), state])


def resize(page: Page, width: int, height: int) -> None:
    page.set_viewport_size({"width": width, "height": height})
    page.evaluate("new Promise((next) => requestAnimationFrame(() => requestAnimationFrame(next)))")
