"""The picture of a suspect: its map and outlines on their pixels, plates, zoom, fingers, what it is compared with."""

from __future__ import annotations

import base64
import io
import json
import random
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page

from gradattn_core.records import Box
from gradattn_core.render.overlays import overlay
from tests.helpers.asking import to_json
from tests.helpers.view_alone import resize, scores_of, show, suspect

pytestmark = pytest.mark.browser


def test_the_map_is_interpolated_as_the_overlays_of_reports_are(view: Page) -> None:
    scores = scores_of(7, 9, seed=3)
    for smooth in (True, False):
        found = view.evaluate(
            "([scores, smooth]) => { const e = overlay.evidence(scores, smooth);"
            " return { width: e.width, height: e.height, values: [...e.values] }; }",
            [scores.tolist(), smooth],
        )
        white = Image.new("RGB", (found["width"], found["height"]), "white")
        drawn = overlay(white, scores, Box(0, 0, *white.size), opacity=1.0, smooth=smooth)
        # Over white, blue's share of a red tint and red's of a blue one tell how strong it is.
        pixels = np.asarray(drawn, dtype=float)
        red, blue = (255 - pixels[..., 2]) / (255 - 24), (255 - pixels[..., 0]) / (255 - 22)
        values = np.array(found["values"]).reshape(found["height"], found["width"])
        assert np.abs(np.where(values > 0, red, blue) - np.abs(values)).max() < 0.005


def test_evidence_tints_and_its_absence_dims_by_no_more_than_the_design_says(view: Page) -> None:
    tints = [[224, 36, 58], [38, 99, 255]]
    nothing, most, least = (view.evaluate("(a) => overlay.veil(...a)", [value, 0.6, tints]) for value in (0, 1, -1))
    assert nothing == pytest.approx([0, 0, 0, 0.38 * 255])
    assert most == pytest.approx([*tints[0], 0.46 * 255])
    assert least == pytest.approx([*tints[1], 0.46 * 255])
    # Whatever the strength, the picture's own colours keep more than half.
    for value in np.linspace(-1, 1, 41).tolist():
        for strength in (0.1, 0.6, 1.0):
            assert view.evaluate("(a) => overlay.veil(...a)", [value, strength, tints])[3] <= 0.4601 * 255


@pytest.mark.parametrize("zoomed", [False, True])
def test_patches_land_on_their_pixels(view: Page, zoomed: bool) -> None:
    shown = suspect(seed=5)
    assert shown.map is not None
    show(view, shown)
    view.evaluate("view.settings = { smooth: false, locked: true, strength: 1 }")
    if zoomed:
        view.evaluate("view.zoom(1); view.zoom(1)")
    encoded = view.evaluate("shadow.querySelector('.map').toDataURL()").partition(",")[2]
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGBA"), dtype=int)
    height, width = pixels.shape[:2]
    # Where each pixel's centre lies in the original, computed from the stage's own rule: fitted, centred, zoomed about
    # its middle.
    fit = min(width / 320, height / 240)
    scale = 2.25 if zoomed else 1.0

    def original(length: int, of: int) -> np.ndarray[Any, np.dtype[np.float64]]:
        centred = (np.arange(length) + 0.5 - length / 2) / scale + length / 2
        return np.asarray((centred - round((length - of * fit) / 2)) / fit)

    x, y = original(width, 320), original(height, 240)
    left, top, right, bottom = shown.map.crop
    column, row = (x - left) / (right - left) * 12, (y - top) / (bottom - top) * 10
    scores = np.array(shown.map.scores)
    inside = ((row >= 0) & (row < 10))[:, None] & ((column >= 0) & (column < 12))
    expected = scores[row.clip(0, 9).astype(int)][:, column.clip(0, 11).astype(int)]
    # Pixels that an edge between patches or the crop's own goes through may be either.
    near = [np.abs(place - np.round(place)) * fit * scale * 20 < 1.5 for place in (row, column)]
    sure = inside & ~near[0][:, None] & ~near[1] & (np.abs(expected) > 0.05 * np.abs(scores).max())
    assert sure.sum() > 0.3 * inside.sum()
    tinted = np.sign(pixels[..., 0] - pixels[..., 2])
    assert (tinted == np.sign(expected))[sure].all()


def test_outlines_enclose_exactly_the_patches(view: Page) -> None:
    for seed in range(6):
        cells = np.argwhere(scores_of(8, 8, seed) > 0.3).tolist()
        loops = view.evaluate("(cells) => outline.loops(cells)", cells)
        # By the sum of the areas under the edges: holes take away.
        area = sum(
            (one[1] + two[1]) * (two[0] - one[0]) / 2 for loop in loops for one, two in pairwise([*loop, loop[0]])
        )
        assert abs(area) == len(cells)
        turns = [
            loop for loop in loops for one, two in pairwise([*loop, loop[0]]) if one[0] != two[0] == one[1] != two[1]
        ]
        assert turns == []
        edges = {(tuple(one), tuple(two)) for loop in loops for one, two in pairwise([*loop, loop[0]])}
        assert all((one[0] == two[0]) != (one[1] == two[1]) for one, two in edges)


def test_plates_cover_neither_each_other_nor_leave_the_stage(view: Page) -> None:
    dice = random.Random(4)
    for _ in range(60):
        stage = {"width": dice.choice([320, 376, 516, 796]), "height": dice.choice([320, 376, 516, 796])}
        wanted = []
        for _ in range(2):
            left, top = dice.uniform(0, stage["width"] - 40), dice.uniform(0, stage["height"] - 40)
            part = {"left": left, "top": top, "width": dice.uniform(20, 300), "height": dice.uniform(20, 300)}
            wanted.append({"part": part, "width": dice.uniform(120, 300), "height": 34})
        spots = view.evaluate("([wanted, stage]) => plates.placed(wanted, stage)", [wanted, stage])
        (a, b) = ({**spot, **plate} for spot, plate in zip(spots, wanted, strict=True))
        for one in (a, b):
            assert 0 <= one["left"] <= stage["width"] - one["width"]
            assert 0 <= one["top"] <= stage["height"] - one["height"]
        across = min(a["left"] + a["width"], b["left"] + b["width"]) - max(a["left"], b["left"])
        down = min(a["top"] + a["height"], b["top"] + b["height"]) - max(a["top"], b["top"])
        assert min(across, down) <= 0


def test_the_stage_is_as_large_as_the_window_allows(view: Page) -> None:
    show(view, suspect())
    for (width, height), side in {(1600, 1000): 796, (1280, 720): 508, (1920, 1080): 876, (2560, 1440): 1236}.items():
        resize(view, width, height)
        stage = view.evaluate("box(shadow.querySelector('.stage'))")
        assert (stage["width"], stage["height"]) == (side, side) == (min(height - 204, width - 772),) * 2


def test_a_missing_picture_asks_for_its_folder_and_is_not_decided(view: Page) -> None:
    gone = replace(suspect(), problem="This file is missing: <i>church</i>/1.png. You can skip it or name the folder.")
    view.evaluate("(suspect) => view.show(suspect, null, { keys })", json.loads(to_json(gone)))
    assert "<i>church</i>/1.png" in view.locator(".told").inner_text()
    view.get_by_label("The folder where the pictures are now").fill("/new/place")
    view.keyboard.press("Enter")
    view.get_by_text("No such folder.").wait_for()
    assert view.evaluate("acts") == ["/new/place"]
    assert view.locator(".decision.primary").count() == 0
    assert {view.locator(f"[data-act={name}]").get_attribute("aria-disabled") for name in "AKUX"} == {"true"}
    assert view.locator("[data-act=skip]").get_attribute("aria-disabled") == "false"


def test_small_pictures_are_drawn_in_whole_pixels(view: Page) -> None:
    show(view, suspect(size=(32, 32), crop=(0, 0, 32, 32)))
    colours, shown = view.evaluate("""(() => {
        const c = shadow.querySelector('.picture');
        const data = new Uint32Array(c.getContext('2d').getImageData(0, 0, c.width, c.height).data.buffer);
        return [new Set(data).size, shadow.querySelector('.size').textContent];
    })()""")
    assert shown == "32 × 32, shown at 2400%"
    assert colours <= 32 * 32 + 1


def test_zoom_moves_picture_outlines_and_map_together_and_ends_with_the_next_suspect(view: Page) -> None:
    show(view, suspect())
    before = view.evaluate("box(shadow.querySelector('.outlines .line'))")
    stage = view.evaluate("box(shadow.querySelector('.stage'))")
    view.mouse.move(stage["x"] + 100, stage["y"] + 100)
    view.mouse.wheel(0, -400)
    after = view.evaluate("box(shadow.querySelector('.outlines .line'))")
    grown = after["width"] / before["width"]
    assert grown == pytest.approx(1.0022**400, rel=0.02)
    # What lies under the pointer stays there.
    for axis, origin in (("x", stage["x"] + 100), ("y", stage["y"] + 100)):
        assert after[axis] - origin == pytest.approx(grown * (before[axis] - origin), abs=4)
    view.mouse.dblclick(stage["x"] + 300, stage["y"] + 300)
    assert view.evaluate("box(shadow.querySelector('.outlines .line'))") == before
    view.evaluate("view.zoom(1)")
    show(view, suspect(seed=1))
    assert "shown at 249%" in view.locator(".size").inner_text()


def test_space_shows_the_map_and_its_words(view: Page) -> None:
    show(view, suspect())
    assert not view.locator(".legend").is_visible()
    view.evaluate("view.map(true)")
    assert "Bright red: for church. Bright blue: for garbage truck." in view.locator(".legend").inner_text()
    assert "Hatched border" in view.locator(".legend").inner_text()
    view.evaluate("view.map(false)")
    assert not view.locator(".legend").is_visible()
    # Where the model saw everything, there is no border to speak of.
    show(view, suspect(seed=1, crop=(0, 0, 320, 240)))
    view.evaluate("view.map(true)")
    assert "Hatched" not in view.locator(".legend").inner_text()
    view.evaluate("view.map(false)")


def test_settings_that_nothing_knows_are_the_usual_ones(view: Page) -> None:
    show(view, suspect())
    view.evaluate("view.settings = { palette: 'toString', strength: 'x', shape: 7 }")
    found = view.evaluate("view.settings")
    assert (found["palette"], found["strength"], found["shape"]) == ("red", 0.6, "outlines")
    assert view.locator(".outlines .line").count() == 2


def test_what_hiding_contradicts_is_hatched(view: Page) -> None:
    show(view, suspect())
    assert view.locator(".outlines .hatched").count() == 0
    show(view, suspect(seed=1, contradicted=True))
    assert view.locator(".outlines .hatched").count() == 2


def test_a_small_picture_is_large_beside_the_suspect_until_it_is_closed(view: Page) -> None:
    show(view, suspect())
    view.locator(".thumb").first.click()
    view.locator(".compared .close").wait_for()
    assert view.locator(".beside").is_visible() and not view.locator(".plates .plate").first.is_visible()
    chosen = view.locator(".thumb[aria-pressed=true]")
    # Both strips of this suspect show the same pictures.
    assert {one.get_attribute("data-path") for one in chosen.all()} == {"small/0/0"}
    # One zoom for both: what is looked at stays in its place when they change.
    drawn = "shadow.querySelector('.picture').toDataURL()"
    whole = view.evaluate(drawn)
    view.evaluate("view.zoom(1)")
    assert view.evaluate(drawn) != whole
    view.evaluate("view.zoom(0)")
    assert view.evaluate(drawn) == whole
    view.locator(".compared .close").click()
    assert chosen.count() == 0
    assert not view.locator(".beside").is_visible() and view.locator(".plates .plate").first.is_visible()


def test_two_fingers_zoom_and_one_steps(view: Page) -> None:
    show(view, suspect())
    session = view.context.new_cdp_session(view)
    session.send("Emulation.setTouchEmulationEnabled", {"enabled": True})
    stage = view.evaluate("box(shadow.querySelector('.stage'))")
    middle = (stage["x"] + stage["width"] / 2, stage["y"] + stage["height"] / 2)

    def touch(kind: str, *points: tuple[float, float]) -> None:
        places = [{"x": middle[0] + x, "y": middle[1] + y, "id": at} for at, (x, y) in enumerate(points)]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": places})

    def drag(*places: float) -> None:
        touch("touchStart", (places[0], 0))
        for place in places[1:]:
            touch("touchMove", (place, 0))
        touch("touchEnd")

    drag(120, 60, -20, -60)
    drag(-120, -60, 20, 60)
    drag(0, 10, 20)
    assert view.evaluate("acts") == ["skip", "back"]
    before = view.evaluate("box(shadow.querySelector('.outlines .line'))")["width"]
    touch("touchStart", (-50, 0))
    touch("touchStart", (-50, 0), (50, 0))
    for apart in (60, 80, 100):
        touch("touchMove", (-apart, 0), (apart, 0))
    touch("touchEnd")
    after = view.evaluate("box(shadow.querySelector('.outlines .line'))")["width"]
    assert after / before == pytest.approx(2, rel=0.05)
    # Of a picture that is zoomed, one finger shows another part.
    drag(100, 0, -100)
    assert view.evaluate("acts") == ["skip", "back"]
    session.send("Emulation.setTouchEmulationEnabled", {"enabled": False})


def test_the_original_is_asked_for_once_zoom_needs_it(view: Page) -> None:
    """Of a picture of 3200 pixels that came as 320."""
    show(view, replace(suspect(seed=9), width=3200, height=2400))
    assert view.evaluate("originals") == 0
    view.evaluate("view.zoom(1)")
    view.evaluate("view.zoom(1)")
    assert view.evaluate("originals") == 1
    show(view, suspect())
    view.evaluate("view.zoom(1)")
    assert view.evaluate("originals") == 1
