"""What a map's numbers say: digits that add up, sentences against arithmetic done apart, parts that contradict."""

from __future__ import annotations

import math
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest

from gradattn_core.reasons import (
    account,
    contradicted,
    in_hundredths,
    percent_of_two,
    signed,
    strongest_parts,
    without_numbers,
)
from gradattn_core.records import Box, Evidence, MapStatistics, Region
from gradattn_core.sums import Sums

NAMES = ("tench", "springer")
SIZE = (300, 300)
# The numbers of the example that everybody has in mind: ln(3 / 97) and ln(60 / 40).
SUMS = Sums(log_odds=math.log(3 / 97), base=math.log(1.5), average=None, red=2.1, blue=math.log(3 / 97 / 1.5) - 2.1)


def region(sign: int, log_odds: float | None, measured: float | None = None, corner: int = 0) -> Region:
    box = Box(corner, corner, corner + 60, corner + 60)
    return Region(sign, 1, 0.5, 0.1, 0.5 * sign, box, log_odds=log_odds, measured=measured)


def evidence(
    sums: Sums | None = SUMS, *regions: Region, objective: str = "difference", numbers: str = "map"
) -> Evidence:
    return Evidence(
        for_label="tench",
        against_label="springer",
        for_logit=0.0,
        against_logit=0.0,
        scores=np.zeros((2, 2), np.float32),
        crop=Box(0, 0, *SIZE),
        objective=objective,
        correction="complete" if sums is None else "secant",
        statistics=MapStatistics(0.5, 0.1, tuple(regions)),
        sums=sums,
        numbers=numbers,
    )


def said(sums: Sums, **others: str) -> str:
    shown = account(evidence(sums, **others))
    assert shown is not None
    return shown.sentences(NAMES)


def test_the_digits_shown_add_up_and_each_is_the_nearest_that_can() -> None:
    rng = np.random.default_rng(0)
    for _ in range(5000):
        scale = 10.0 ** rng.integers(-3, 3)
        base, red, blue = (float(scale * draw) for draw in (rng.normal(), rng.exponential(), -rng.exponential()))
        red, blue = (red, blue) if rng.random() < 0.8 else ((red, 0.0) if rng.random() < 0.5 else (0.0, blue))
        exact = (base, red, blue, base + red + blue)
        shown = in_hundredths(Sums(exact[3], base, None, red, blue))
        # As they are read: in decimal digits, without binary fractions.
        first, second, third, last = (Decimal(f"{number:.2f}") for number in shown)
        assert first + second + third == last
        assert second >= 0 >= third
        assert [float(f"{number:.2f}") for number in shown] == list(shown), "nothing is left after the second digit"
        off = [abs(a - b) for a, b in zip(shown, exact, strict=True)]
        assert max(off[0], off[3]) <= 0.005 + 1e-9 and max(off[1], off[2]) <= 0.01 + 1e-9
        others = [
            max(abs(part - red), abs(shown[3] - shown[0] - part - blue)) for part in (shown[1] - 0.01, shown[1] + 0.01)
        ]
        if shown[1] > 0 > shown[2]:
            assert max(off[1], off[2]) <= min(others) + 1e-9, "no other pair of parts lies nearer"


def test_numbers_that_add_up_rounded_one_by_one_are_left_as_they_are() -> None:
    assert in_hundredths(Sums(-0.34, 0.04, None, 0.21, -0.59)) == (0.04, 0.21, -0.59, -0.34)
    # 0.044 + 0.214 − 0.594 is −0.336: one by one 0.04 + 0.21 − 0.59 would be −0.34, and is.
    assert in_hundredths(Sums(-0.336, 0.044, None, 0.214, -0.594)) == (0.04, 0.21, -0.59, -0.34)
    # 0.036 + 0.0355 − 0.0235 = 0.048: one by one 0.04 + 0.04 − 0.02 would be 0.06 beside 0.05.
    assert in_hundredths(Sums(0.048, 0.036, None, 0.0355, -0.0235)) == (0.04, 0.03, -0.02, 0.05)


def test_the_four_numbers_are_said_as_odds_of_two_classes_and_add_up() -> None:
    assert said(SUMS) == (
        "tench against springer: of these two, the model alone gives 3.0% to tench (log-odds −3.48). Without any "
        "picture it would give 60% (+0.41); the red patches add 2.10, the blue ones take away 5.99."
    )


def test_from_an_average_picture_the_same_answer_is_reached_on_another_way() -> None:
    sums = replace(SUMS, average=math.log(52 / 48))
    assert "For an average picture of this dataset it gives 52% (+0.08); the red patches add 2.19, the" in said(sums)
    shown = account(evidence(sums), "picture")
    assert shown is not None and shown.sums == sums and "Without any picture" in shown.sentences(NAMES)


def test_one_output_has_no_share_of_two_classes() -> None:
    sums = Sums(12.34, -1.0, None, 15.0, -1.66)
    assert said(sums, objective="logit") == (
        "tench: the model's output is +12.34. Without any picture it would be −1.00; the red patches add 15.00, the "
        "blue ones take away 1.66."
    )
    assert "%" not in said(sums, objective="callable")


def test_measured_numbers_are_said_to_be_measured() -> None:
    assert said(SUMS, numbers="measured").endswith("Both were measured by leaving patches out.")
    [sentence] = strongest_parts(evidence(SUMS, region(-1, -2.4), numbers="measured"), SIZE, names=NAMES)
    # From the average they would be scaled: no number that anybody has measured.
    sums = replace(SUMS, average=math.log(52 / 48))
    assert said(sums, numbers="measured") == said(SUMS, numbers="measured")
    assert sentence.startswith(
        "The blue part that the map found strongest, upper left, takes away 2.40, measured with and without the others."
    )


def test_a_map_that_does_not_add_up_has_no_numbers_and_says_why() -> None:
    assert account(evidence(None)) is None
    assert "complete correction does not add up" in without_numbers(evidence(None))
    assert without_numbers(evidence()) == ""


@pytest.mark.parametrize("share", [0.0004, 0.004, 0.03, 0.1, 0.5, 0.71, 0.9, 0.96, 0.9996])
def test_per_cent_of_two_classes_is_the_logistic_function_of_the_log_odds(share: float) -> None:
    text = percent_of_two(math.log(share / (1 - share)))
    if text[0] in "<>":
        assert share < 0.001 or share > 0.999
    else:
        assert float(text[:-1]) == pytest.approx(100 * share, abs=0.5)


def test_per_cent_never_says_none_or_all_and_numbers_bear_their_sign() -> None:
    assert [percent_of_two(odds) for odds in (-1e6, -800, 0, 800, 1e6)] == ["<0.1%", "<0.1%", "50%", ">99.9%", ">99.9%"]
    assert [signed(number) for number in (2.131, -3.444, 0.004, -0.004, 0)] == [
        "+2.13",
        "−3.44",
        "0.00",
        "0.00",
        "0.00",
    ]


def test_a_strongest_part_is_said_with_its_number_and_what_hiding_it_was_measured_to_do() -> None:
    # Hidden, the log-odds go from ln(3/97) to ln(71/29).
    blue = region(-1, -2.4, math.log(3 / 97) - math.log(71 / 29))
    red = region(+1, 1.2, corner=200)
    assert strongest_parts(evidence(SUMS, red, blue), SIZE, names=NAMES) == [
        "The strongest blue part, upper left, takes away 2.40 by the map. Hide it, measured: 3.0% → 71% for tench.",
        "The strongest red part, lower right, adds 1.20 by the map. What hiding it does was not measured.",
    ]


def test_what_hiding_does_against_the_number_is_said_and_is_drawn_hatched() -> None:
    blue = region(-1, -0.4, math.log(3 / 97) - math.log(2 / 98))
    [sentence] = strongest_parts(evidence(SUMS, blue), SIZE, names=NAMES, colours=("orange", "purple"))
    assert sentence == (
        "The strongest purple part, upper left, takes away 0.40 by the map. Hide it, measured: 3.0% → 2.0% for tench, "
        "the opposite; it is drawn hatched."
    )
    assert contradicted(blue)
    for agreeing in (region(-1, -0.4, -1.0), region(1, 0.4, 1.0), region(1, 0.4), region(1, None, -1.0)):
        assert not contradicted(agreeing)


def test_weaker_parts_that_are_drawn_hatched_are_explained_in_one_sentence() -> None:
    strongest, weaker = region(-1, -2.4, -1.0), replace(region(1, 0.3, -0.1), rank=2)
    assert strongest_parts(evidence(SUMS, strongest, weaker), SIZE, names=NAMES)[1:] == [
        "Drawn hatched: a weaker part whose hiding, measured, does the opposite of what the map says."
    ]
    both = [weaker, replace(weaker, rank=3)]
    assert "hatched: 2 weaker parts whose" in strongest_parts(evidence(SUMS, strongest, *both), SIZE, names=NAMES)[1]


def test_where_per_cent_cannot_tell_two_answers_apart_log_odds_do() -> None:
    sums = Sums(-12.0, 0.0, None, 1.0, -13.0)
    [sentence] = strongest_parts(evidence(sums, region(-1, -2.0, -1.5)), SIZE, names=NAMES)
    assert sentence.endswith("Hide it, measured: −12.00 → −10.50 in log-odds for tench.")


def test_a_parts_number_is_scaled_as_the_patches_of_its_colour_are() -> None:
    sums = Sums(-2.0, 0.0, 1.0, 2.0, -4.0)
    blue = sums.from_average().blue / -4.0 * 1.5
    [sentence] = strongest_parts(evidence(sums, region(-1, -1.5)), SIZE, names=NAMES)
    assert f"takes away {blue:.2f} by the map" in sentence
    [sentence] = strongest_parts(evidence(sums, region(-1, -1.5)), SIZE, names=NAMES, origin="picture")
    assert "takes away 1.50 by the map" in sentence


def test_without_numbers_a_part_has_a_place_and_a_class_alone_and_an_empty_map_has_no_part() -> None:
    assert strongest_parts(evidence(None, region(1, None)), SIZE, names=NAMES) == [
        "The strongest red part, upper left, speaks for tench."
    ]
    assert strongest_parts(evidence(None), SIZE, names=NAMES) == []
