"""The numbers of a map that adds up."""

import math
import random

import pytest

from gradattn_core.sums import Sums, two_scales


def test_two_scales_reach_the_total() -> None:
    draw = random.Random(0)
    for _ in range(500):
        positive, negative = (10 ** draw.uniform(-6, 3) for _ in range(2))
        total = draw.choice((-1, 1)) * 10 ** draw.uniform(-6, 3)
        up, down = two_scales(positive, negative, total)
        assert up > 0 and down > 0 and up * down == pytest.approx(1)
        assert math.isclose(positive * up - negative * down, total, rel_tol=1e-6, abs_tol=1e-9)


def test_the_scales_of_the_negative_map_are_swapped() -> None:
    up, down = two_scales(2.0, 5.0, -1.5)
    assert two_scales(5.0, 2.0, 1.5) == pytest.approx((down, up))


def test_one_sign_alone_has_no_scales() -> None:
    assert two_scales(3.0, 0.0, -1.0) == (1.0, 1.0)
    assert two_scales(0.0, 0.0, 0.0) == (1.0, 1.0)


@pytest.mark.parametrize("average", [-4.0, 0.0, 0.3, 9.0])
@pytest.mark.parametrize(("red", "blue"), [(2.1, -5.9), (0.0, -3.8), (3.0, 0.0)])
def test_either_origin_adds_up_and_keeps_the_answer(average: float, red: float, blue: float) -> None:
    sums = Sums(log_odds=0.4 + red + blue, base=0.4, average=average, red=red, blue=blue)
    other = sums.from_average()
    assert other.base == average
    assert other.base + other.red + other.blue == pytest.approx(sums.log_odds)
    assert other.red >= 0 >= other.blue


def test_outside_an_audit_there_is_no_average() -> None:
    with pytest.raises(ValueError, match="average"):
        Sums(1.0, 0.0, None, 1.0, 0.0).from_average()


def test_sums_begin_at_the_origin_that_is_asked_for_and_without_a_picture_where_there_is_no_average() -> None:
    sums = Sums(log_odds=-2.0, base=0.5, average=-0.25, red=1.5, blue=-4.0)

    assert sums.seen_from("picture") == sums
    assert sums.seen_from("average").base == -0.25
    alone = Sums(log_odds=-2.0, base=0.5, average=None, red=1.5, blue=-4.0)
    assert alone.seen_from() == alone
