"""The waterfall: bars and dots read back from its pixels stand where the numbers say, on either paper."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageColor

from gradattn_core.reasons import Account, in_hundredths
from gradattn_core.render.layout import INKS, Paper, drawn
from gradattn_core.render.overlays import Palette
from gradattn_core.render.waterfall import waterfall, waterfall_picture
from gradattn_core.sums import Sums
from tests.helpers.hostile import HOSTILE_NAMES

pytestmark = pytest.mark.filterwarnings("error")  # matplotlib warns of what it cannot draw

NAMES = ("tench", "springer")
NUMBERS = [(-3.4, 0.4, 2.1), (12.3, -2.0, 18.5), (-15.0, 3.0, 0.0), (4.0, -4.0, 8.0)]  # answer, origin, red


def of(answer: float, base: float, red: float, *, of_two: bool = True) -> Account:
    sums = Sums(answer, base, None, red, answer - base - red)
    return Account(sums, *in_hundredths(sums), "picture", of_two, False)


def on_paper(picture: Image.Image, paper: Paper) -> Image.Image:
    ground = Image.new("RGBA", picture.size, INKS[paper].paper)
    ground.alpha_composite(picture)
    return ground.convert("RGB")


def columns(picture: Image.Image, ink: str) -> NDArray[np.int64]:
    """The columns of the widest run of pixels of an ink: text is narrower than any bar."""
    same = np.all(np.abs(np.asarray(picture).astype(int) - ImageColor.getrgb(ink)) <= 2, axis=-1)
    return np.flatnonzero(same[same.sum(1).argmax()])


@pytest.mark.parametrize(("numbers", "paper"), list(product(NUMBERS, INKS)))
def test_bars_are_as_long_as_their_numbers_and_begin_where_the_one_before_ends(
    numbers: tuple[float, float, float], paper: Paper
) -> None:
    account = of(*numbers)
    picture = on_paper(waterfall_picture(account, NAMES, width=600, paper=paper, scale=2), paper)
    assert picture.width == 1200
    chart = picture.crop((300, 0, 1200 - 96, picture.height))
    red, blue = (columns(chart, getattr(INKS[paper], ink)) for ink in ("red", "blue"))
    # Pixels of one unit of log-odds, from the longer bar; the other one and its place then follow.
    unit = max(len(red), len(blue)) / max(account.red, -account.blue)
    assert len(red) == pytest.approx(account.red * unit, abs=2.5)
    assert len(blue) == pytest.approx(-account.blue * unit, abs=2.5)
    if account.red and account.blue:
        assert red[-1] == pytest.approx(blue[-1], abs=1.5), "blue takes away from where red has led"
        assert blue[0] - red[0] == pytest.approx((account.answer - account.base) * unit, abs=2.5)


@pytest.mark.parametrize("palette", ["red-blue", "orange-purple"])
def test_the_bars_have_the_inks_of_the_maps_colours(palette: Palette) -> None:
    picture = on_paper(waterfall_picture(of(-3.4, 0.4, 2.1), NAMES, width=400, palette=palette, scale=1), "light")
    shown = {tuple(pixel) for pixel in np.asarray(picture).reshape(-1, 3).tolist()}
    for name in ("red", "blue", "orange", "purple"):
        assert (ImageColor.getrgb(getattr(INKS["light"], name)) in shown) == (name in palette)


def test_no_name_changes_the_size_and_a_map_of_one_output_has_no_per_cent() -> None:
    plain = waterfall_picture(of(-3.4, 0.4, 2.1), NAMES, width=288, scale=1)
    for name in HOSTILE_NAMES:
        assert waterfall_picture(of(-3.4, 0.4, 2.1), (name, name), width=288, scale=1).size == plain.size
    assert waterfall_picture(of(-3.4, 0.4, 2.1, of_two=False), NAMES, width=288, scale=1) != plain


@pytest.mark.parametrize("names", [("very long " * 30, "عقاب"), ("kite " * 30, "owl " * 30), ("owl", "kite " * 30)])
def test_long_names_end_within_the_picture_at_twice_the_size_too(names: tuple[str, str]) -> None:
    title = np.asarray(waterfall_picture(of(-3.4, 0.4, 2.1), names, scale=2))[:40, :, 3]
    assert title[:, -60:].any() and not title[:, -2:].any()


@pytest.mark.parametrize("paper", INKS)
def test_in_a_figure_it_is_the_same_on_its_paper(paper: Paper) -> None:
    account = of(-3.4, 0.4, 2.1)
    whole = drawn(waterfall(account, NAMES, 400), paper, margin=0)
    alone = waterfall_picture(account, NAMES, width=400, paper=paper, scale=1)
    assert alone.mode == "RGBA" and np.asarray(alone)[..., 3].mean() < 100, "most of it is clear"
    difference = np.abs(np.asarray(whole).astype(int) - np.asarray(on_paper(alone, paper)).astype(int))
    assert difference.max() <= 3


def test_a_map_of_nothing_and_one_of_great_numbers_are_drawn() -> None:
    for numbers in ((0.0, 0.0, 0.0), (400.0, -300.0, 1000.0), (0.04, -0.04, 0.1)):
        assert waterfall_picture(of(*numbers), NAMES, scale=1).width == 480
