"""Where evidence lies and how many labels are wrong, in words."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from gradattn_core.records import FloatArray
from gradattn_core.wording import STANDS_OUT, Ninth, estimate, heaviest_ninth, ninth_of

NINTHS = [
    (0, 0, "upper left", "at the upper left"), (0, 1, "top", "at the top"), (0, 2, "upper right", "at the upper right"),
    (1, 0, "left", "on the left"), (1, 1, "middle", "in the middle"), (1, 2, "right", "on the right"),
    (2, 0, "lower left", "at the lower left"), (2, 1, "bottom", "at the bottom"),
    (2, 2, "lower right", "at the lower right"),
]  # fmt: skip


def heaviest(mass: FloatArray) -> tuple[Ninth, float]:
    """The ninth and its share, to three digits, where there is one."""
    found = heaviest_ninth(mass)
    assert found is not None
    return found[0], round(found[1], 3)


@pytest.mark.parametrize(("row", "column", "name", "phrase"), NINTHS)
def test_a_ninth_is_found_by_a_point_and_by_mass_and_has_a_name(row: int, column: int, name: str, phrase: str) -> None:
    assert ninth_of((column + 0.5) / 3, (row + 0.5) / 3) == Ninth(row, column)
    mass = np.full((9, 9), 0.01, np.float32)
    mass[3 * row + 1, 3 * column + 1] = 1
    assert heaviest(mass) == (Ninth(row, column), round((1 + 8 * 0.01) / (1 + 80 * 0.01), 3))
    assert (Ninth(row, column).name, Ninth(row, column).phrase) == (name, phrase)


@pytest.mark.parametrize(
    ("share", "third"), [(0.0, 0), (0.333, 0), (0.334, 1), (0.5, 1), (2 / 3, 1), (0.667, 2), (1.0, 2)]
)
def test_the_thirds_are_of_equal_width(share: float, third: int) -> None:
    assert ninth_of(share, 0.5) == Ninth(1, third) and ninth_of(0.5, share) == Ninth(third, 1)


def test_a_patch_on_the_border_of_two_ninths_counts_for_both_in_proportion() -> None:
    # Of five rows the second lies to two thirds in the upper third, and the third one wholly in the middle one.
    mass = np.zeros((5, 5), np.float32)
    mass[1, 2] = 1
    assert heaviest(mass) == (Ninth(0, 1), 0.667)
    mass[2, 2] = 1
    assert heaviest(mass) == (Ninth(1, 1), 0.667)
    mass[0, 2] = 1
    assert heaviest(mass) == (Ninth(0, 1), 0.556)


def test_mass_that_lies_everywhere_stands_out_nowhere_and_no_mass_has_no_place() -> None:
    assert heaviest(np.full((14, 14), 0.1, np.float32))[1] == 0.111 < STANDS_OUT
    assert heaviest_ninth(np.zeros((14, 14), np.float32)) is None
    assert heaviest_ninth(np.full((14, 14), np.nan, np.float32)) is None


def test_the_estimate_is_one_sentence_with_what_is_known() -> None:
    assert estimate(1700.4, 1580.2, 1820.0, images=10_000, first=2_000, found=0.853) == (
        "about 1,700 (1,580 to 1,820) of 10,000 labels are wrong; reviewing the first 2,000 finds 85% of them"
    )
    older = estimate(1700, None, None, images=10_000, first=2_000, found=0.853)
    assert older.startswith("about 1,700 of 10,000 labels are wrong;")
    assert estimate(0.2, 0.0, 1.1, images=50, first=0, found=0.0) == "about 0 (0 to 1) of 50 labels are wrong"
    assert estimate(3, 2, 4, images=50, first=20, found=1.0).endswith("finds >99% of them")


def test_it_imports_nothing_that_is_slow() -> None:
    check = "import sys; import gradattn_core.wording; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", check], check=True, capture_output=True, text=True).stdout.split()
    assert not {"torch", "pandas", "duckdb", "streamlit", "prefect", "rich"} & set(modules)
