"""Blocks stand where the layout says, pixel by pixel, and text stays on its line whatever it says."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageColor

from gradattn_core.render.layout import (
    INKS,
    MARGIN,
    Paper,
    column,
    drawn,
    fitted,
    heading,
    line_height,
    measured,
    one_line,
    picture,
    row,
    two_names,
    words,
)
from gradattn_core.render.plots import Line, Plot, charts
from tests.helpers.drawings import noise, places
from tests.helpers.hostile import HOSTILE_NAMES

pytestmark = pytest.mark.filterwarnings("error")  # matplotlib warns of what it cannot draw


@pytest.mark.parametrize("size", [(1, 1), (37, 53), (101, 7), (640, 479), (2003, 11)])
def test_a_picture_keeps_every_pixel_and_its_place(size: tuple[int, int]) -> None:
    image = noise(*size)
    figure = drawn(row([picture(image), column([picture(image), picture(image)], 5)], 9))
    right, below = MARGIN + size[0] + 9, MARGIN + size[1] + 5
    assert figure.size == (2 * MARGIN + 2 * size[0] + 9, 2 * MARGIN + 2 * size[1] + 5)
    if size != (1, 1):
        assert places(figure, image) == [(MARGIN, MARGIN), (MARGIN, right), (below, right)]


def test_an_empty_block_takes_no_room() -> None:
    image = picture(noise(30, 20))
    assert column([heading([], 30), image]).height == column([image]).height == 20


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_a_name_is_written_on_one_line_within_its_width(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib warns of letters that no font has
        letters = np.asarray(drawn(words(name, 120))).min(-1) < 250
    assert one_line(name).isprintable() and measured(fitted(name, 12, 120), 12) <= 120
    inside = np.zeros_like(letters)
    inside[MARGIN : MARGIN + line_height(12), MARGIN - 1 : MARGIN + 121] = True
    assert not (letters & ~inside).any()
    assert letters.any() == bool(name)


def test_markup_is_written_as_it_stands_and_unknown_letters_stay_distinguishable() -> None:
    assert one_line("<b>x</b> **y** $z_1$") == "<b>x</b> **y** $z_1$"
    assert one_line("\U000e0fff") == "\\U000e0fff" != one_line("\U000e0ffe")
    assert one_line("\u202eabc") == "\\u202eabc", "the direction of writing is not turned"
    formula, plain = (np.asarray(drawn(words(text, 200))) for text in ("$x^2$", "x2"))
    assert not np.array_equal(formula, plain)


def test_what_is_too_long_ends_in_an_ellipsis_and_what_fits_does_not() -> None:
    width = measured("an African elephant", 12)
    assert fitted("an African elephant", 12, width) == "an African elephant"
    shortened = fitted("an African elephant bull", 12, width)
    assert shortened.endswith("…") and "an African elephant bull".startswith(shortened[:-1]) and len(shortened) > 12


def test_of_two_names_a_long_one_takes_the_room_that_a_short_one_leaves() -> None:
    long, black = "an African elephant bull with long tusks", "#000000"
    ends = []
    for other in ("b", "b" * 200):
        letters = np.asarray(drawn(two_names((long, other), ("#c80000", black), 260), margin=0)).astype(int)
        ends.append(int(np.nonzero((letters[..., 0] - letters[..., 2]).max(0) > 60)[0].max()))
    assert 100 < ends[1] <= 130 < 200 < ends[0]


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2 defines it."""
    shares = np.array(ImageColor.getrgb(colour)) / 255
    linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("paper", list(INKS))
def test_text_stands_out_from_its_paper_and_so_do_lines_on_dark(paper: Paper) -> None:
    inks = INKS[paper]

    def contrast(colour: str) -> float:
        low, high = sorted((luminance(colour), luminance(inks.paper)))
        return (high + 0.05) / (low + 0.05)

    written = {name: ink for name, ink in vars(inks).items() if name not in ("paper", "rule", "lines")}
    assert {name for name, ink in written.items() if contrast(ink) < 4.5} == set() and len(written) == 8
    assert paper == "light" or min(contrast(line) for line in inks.lines) > 3
    figure = np.asarray(drawn(words("owl", 60), paper))
    assert figure[0, 0].tolist() == list(ImageColor.getrgb(inks.paper))
    assert np.abs(figure.astype(int) - ImageColor.getrgb(inks.text)).max(-1).min() < 40


def test_figures_drawn_at_the_same_time_are_the_same() -> None:
    def figure(number: int) -> bytes:
        return drawn(column([words(f"picture {number % 4}", 200), picture(noise(50 + number % 4, 40))])).tobytes()

    alone = [figure(number) for number in range(4)]
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(figure, range(32))) == alone * 8


def owl_and_line() -> Image.Image:
    line = Line("owl", *np.eye(2, dtype=np.float32))
    return drawn(column([words("owl", 60), charts([Plot([line], "steps", "logit")], 300, 200)]))


def test_letters_are_dark_on_white_whatever_the_users_settings_are(tmp_path: Path) -> None:
    (tmp_path / "matplotlibrc").write_text(
        "text.usetex: True\nfigure.facecolor: black\naxes.grid: True\nlines.linewidth: 9\nbackend: TkAgg\n"
    )
    program = (
        "import matplotlib; from tests.render.test_layout import owl_and_line\n"
        "print(owl_and_line().tobytes().hex()); assert matplotlib.rcParams['lines.linewidth'] == 9"
    )
    environment = {**os.environ, "MATPLOTLIBRC": str(tmp_path), "DISPLAY": ""}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    figure = owl_and_line()
    assert done.stdout.strip() == figure.tobytes().hex()
    assert np.asarray(figure).min() < 90 and figure.getpixel((0, 0)) == (255, 255, 255)


def test_matplotlib_is_not_imported_before_a_figure_is_drawn_and_never_its_windows() -> None:
    program = (
        "import sys, gradattn_core.render.films, gradattn_core.render.layout as layout, ui.server\n"
        "assert 'matplotlib' not in sys.modules\n"
        "layout.drawn(layout.words('owl', 60))\n"
        "assert 'matplotlib' in sys.modules and 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
