"""What is read has a contrast of 4.5, what is operated of 3 (WCAG 2.2), in both themes and palettes."""

import re
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

TOKENS = (Path(__file__).parents[2] / "ui/client/tokens.css").read_text(encoding="utf-8")
TEXT = [
    *[(text, ground) for text in ("ink", "quiet", "red", "blue", "amber", "primary") for ground in ("ground", "panel")],
    *[("ink", "primary-soft"), ("amber", "amber-ground"), ("on-primary", "primary"), ("on-band", "band")],
    *[("on-mark", "mark-k"), ("on-mark", "mark-x"), ("on-edge", "edge-red"), ("on-edge", "edge-blue")],
    *[("on-plate", "plate"), ("on-plate-quiet", "plate")],
]
PARTS = [
    *[(part, "ground") for part in ("line-2", "primary", "focus")],
    *[("focus", "panel"), ("red", "line"), ("blue", "line")],
]


def declared(selector: str) -> dict[str, str]:
    """The colours of the first rule with this selector."""
    found = re.search(rf"^{re.escape(selector)} \{{(.*?)\}}", TOKENS, re.S | re.M)
    assert found is not None, selector
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", found[1]))


LIGHT = declared(":root, :host")
DARK = LIGHT | declared(":root.dark, :host(.dark)")
THEMES = {
    "light": LIGHT,
    "dark": DARK,
    "light orange": LIGHT | declared(".orange"),
    "dark orange": DARK | declared(".orange") | declared(":root.dark .orange, :host(.dark) .orange"),
}


def luminance(colour: str) -> float:
    """Relative luminance of a #rrggbb, 0 to 1, after WCAG 2.2."""
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_the_contrast_is_that_of_wcag() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)


@pytest.mark.parametrize("theme", THEMES)
def test_text_is_readable_and_parts_of_controls_are_visible(theme: str) -> None:
    colours = THEMES[theme]
    least = {(a, b): 4.5 for a, b in TEXT} | {(a, b): 3.0 for a, b in PARTS}
    faults = {pair: round(contrast(colours[pair[0]], colours[pair[1]]), 2) for pair in least}
    assert {pair: was for pair, was in faults.items() if was < least[pair]} == {}


def test_the_two_sides_differ_in_grey_so_little_that_they_are_hatched() -> None:
    """Red and blue are told apart by hatching and dashes as well: in grey they look alike."""
    for colours in THEMES.values():
        assert contrast(colours["red"], colours["blue"]) < 1.5


# What people without one kind of cone see, of linear RGB (Machado, Oliveira & Fernandes 2009, severity 1).
DEFICIENCIES = {
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)


def linear(colour: str) -> NDArray[np.float64]:
    values = np.array([int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)])
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def lab(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    """CIELAB (D65) of linear RGB."""
    t = XYZ @ rgb.clip(0, 1) / np.array([0.95047, 1.0, 1.08883])
    x, y, z = np.where(t > 216 / 24389, np.cbrt(t), (24389 / 27 * t + 16) / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("deficiency", DEFICIENCIES)
@pytest.mark.parametrize("theme", THEMES)
def test_the_two_sides_are_told_apart_whatever_cone_is_missing(theme: str, deficiency: str) -> None:
    sight = np.array(DEFICIENCIES[deficiency])
    red, blue = (lab(sight @ linear(THEMES[theme][side])) for side in ("red", "blue"))
    assert np.linalg.norm(red - blue) >= (35 if "orange" in theme else 48)
