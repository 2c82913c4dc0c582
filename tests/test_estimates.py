"""Intervals of shares and of numbers of wrong labels."""

from __future__ import annotations

import math

import pytest
from scipy.stats import binomtest

from gradattn_core.estimates import share, wrong_labels


@pytest.mark.parametrize(("part", "whole"), [(0, 7), (1, 7), (7, 7), (30, 40), (999, 1000)])
def test_a_share_has_wilsons_interval(part: int, whole: int) -> None:
    expected = binomtest(part, whole).proportion_ci(method="wilson")
    assert share(part, whole) == pytest.approx((expected.low, expected.high), abs=1e-5)


def test_none_of_none_is_no_share() -> None:
    assert all(math.isnan(end) for end in share(0, 0))


def test_a_number_of_wrong_labels_stays_among_the_images() -> None:
    assert wrong_labels(2.0, 0.5, 3) == pytest.approx((2 - math.hypot(1.96 * math.sqrt(0.5), 0.4), 3.0))
    assert wrong_labels(0.5, 0.5, 3)[0] == 0.0
    assert wrong_labels(0.0, 0.0, 0) == (0.0, 0.0)
