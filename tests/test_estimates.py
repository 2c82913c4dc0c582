"""The range of a belief, intervals of shares, and how a share is written."""

from __future__ import annotations

import math

import pytest
from scipy.stats import binomtest

from gradattn_core.estimates import agreement, assumed_range, first_to_review, percent, share


@pytest.mark.parametrize(("part", "whole"), [(0, 7), (1, 7), (7, 7), (30, 40), (999, 1000)])
def test_a_share_has_wilsons_interval(part: int, whole: int) -> None:
    expected = binomtest(part, whole).proportion_ci(method="wilson")
    assert share(part, whole) == pytest.approx((expected.low, expected.high), abs=1e-5)


def test_none_of_none_is_no_share() -> None:
    assert all(math.isnan(end) for end in share(0, 0))


def test_the_range_goes_from_the_least_to_the_greatest_belief() -> None:
    assert assumed_range(2.0, 0.5, 3.0) == (0.5, 3.0)
    assert assumed_range(4.0, 4.5, 4.25) == (4.0, 4.5)
    assert assumed_range(0.0, 0.0, 0.0) == (0.0, 0.0)


@pytest.mark.parametrize("sums", [(2.0, math.nan, 3.0), (2.0, 1.0, math.nan), (2.0, math.nan, math.nan)])
def test_where_an_assumption_was_not_kept_there_is_no_range(sums: tuple[float, float, float]) -> None:
    assert all(math.isnan(end) for end in assumed_range(*sums))


def test_an_estimate_never_claims_certainty() -> None:
    assert [percent(share) for share in (0.0, 0.001, 0.01, 0.374, 0.99, 0.999, 1.0, math.nan)] == [
        "<1%", "<1%", "1%", "37%", "99%", ">99%", ">99%", "–",
    ]  # fmt: skip
    assert [percent(share, 1) for share in (0.0, 0.0004, 0.001, 0.5, 0.999, 0.9996, 1.0, math.nan)] == [
        "<0.1%", "<0.1%", "0.1%", "50.0%", "99.9%", ">99.9%", ">99.9%", "–",
    ]  # fmt: skip


def test_a_counted_share_is_none_or_all_only_where_it_is() -> None:
    assert [percent(share, counted=True) for share in (0.0, 0.001, 0.374, 0.999, 1.0, math.nan)] == [
        "0%", "<1%", "37%", ">99%", "100%", "–",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("suspects", "images", "first"),
    [(0, 9, 0), (7, 9, 7), (99, 500, 99), (101, 500, 110), (1931, 10_000, 2000), (101, 105, 105)],
)
def test_suspects_are_spoken_of_in_round_numbers(suspects: int, images: int, first: int) -> None:
    assert first_to_review(suspects, images) == first


def test_how_often_numbers_hold_is_said_only_where_something_was_measured() -> None:
    assert agreement(97, 100) == (
        "in 97 of 100 measured suspects the strongest region does what its number says (97.0%)"
    )
    assert agreement(0, 0) == ""
