"""One probability per class: it adds up, proposes and forecasts as an independent reckoning does."""

from __future__ import annotations

import itertools
import math

import pytest
from scipy.stats import beta

from gradattn_core.belief import (
    Belief,
    at_least,
    believe,
    disagrees,
    expected,
    in_percent,
    is_supported,
    most_taken_out,
    of_row,
    of_two,
    primary,
    support,
)

VOTERS = {"kite": 0.10, "eagle": 0.60, "owl": 0.25}


def total(belief: Belief) -> float:
    return sum(probability for _, probability in belief.classes) + belief.rest


def test_the_given_label_has_what_the_suspicion_leaves_and_the_others_share_it_as_the_voters_do() -> None:
    belief = believe("kite", 0.8, list(VOTERS), list(VOTERS.values()))
    assert belief.of("kite") == pytest.approx(0.2)
    assert belief.of("eagle") == pytest.approx(0.8 * 0.60 / 0.90)
    assert belief.of("owl") == pytest.approx(0.8 * 0.25 / 0.90)
    assert belief.rest == pytest.approx(0.8 * 0.05 / 0.90)
    assert [label for label, _ in belief.classes] == ["eagle", "owl", "kite"]
    assert (belief.likeliest, belief.other) == ("eagle", "eagle")


@pytest.mark.parametrize("suspicion", [0.0, 1e-9, 0.3, 0.999, 1.0])
@pytest.mark.parametrize("own", [0.0, 0.4, 0.9999999, 1.0])
@pytest.mark.parametrize("outside", [0.0, 0.2])
def test_it_adds_up_to_one_whatever_is_said(suspicion: float, own: float, outside: float) -> None:
    suspicion = max(suspicion, outside)
    shares = [own * (1 - outside), 0.7 * (1 - own) * (1 - outside)]
    belief = believe("kite", suspicion, ["kite", "eagle"], shares, outside=outside)
    assert total(belief) == pytest.approx(1)
    assert all(0 <= probability <= 1 for _, probability in belief.classes) and 0 <= belief.rest <= 1


def test_none_of_the_classes_has_its_own_probability_and_the_others_share_the_rest_of_the_doubt() -> None:
    # As ranking.outside makes them: s = 1 - (1 - s_in)(1 - o), and every probability inside times 1 - o.
    inside, outside, clean = 0.5, 0.4, {"kite": 0.3, "eagle": 0.6, "owl": 0.1}
    suspicion = 1 - (1 - inside) * (1 - outside)
    shares = [share * (1 - outside) for share in clean.values()]
    belief = believe("kite", suspicion, list(clean), shares, outside=outside)
    assert belief.of("") == pytest.approx(outside)
    assert belief.of("kite") == pytest.approx((1 - outside) * (1 - inside))
    assert belief.of("eagle") == pytest.approx((1 - outside) * inside * 0.6 / 0.7)
    assert belief.rest == pytest.approx(0) and total(belief) == pytest.approx(1)
    learnt = believe("kite", 0.35, list(clean), shares, outside=outside, before=suspicion)
    assert learnt.of("") == pytest.approx(0.35 * outside / suspicion) and total(learnt) == pytest.approx(1)
    assert learnt.of("eagle") / learnt.of("") == pytest.approx(belief.of("eagle") / belief.of(""))


def test_a_row_of_an_older_audit_tells_three_classes_and_one_of_now_tells_more() -> None:
    row = {
        "given_label": "kite",
        "suspicion": 0.8,
        "given_probability": 0.10,
        "suggested_label": "eagle",
        "suggested_probability": 0.60,
        "runner_up_label": "owl",
        "runner_up_probability": 0.25,
        "outside_suspicion": math.nan,
        "likely_labels": None,
    }
    assert of_row(row) == believe("kite", 0.8, list(VOTERS), list(VOTERS.values()))
    more = row | {"likely_labels": ["eagle", "crow", "kite"], "likely_probabilities": [0.6, 0.3, 0.1]}
    assert of_row(more).of("crow") == pytest.approx(0.8 * 0.3 / 0.9)
    two = row | {"runner_up_label": "", "runner_up_probability": math.nan}
    assert [label for label, _ in of_row(two).classes] == ["eagle", "kite"]


def test_keys_belong_to_five_classes_with_the_given_one_among_them() -> None:
    labels, shares = list("abcdefgh"), [0.3, 0.2, 0.15, 0.12, 0.1, 0.08, 0.04, 0.01]
    belief = believe("h", 0.99, labels, shares)
    assert [label for label, _ in belief.with_keys] == ["a", "b", "c", "d", "h"]
    assert [label for label, _ in believe("b", 0.1, labels, shares).with_keys] == ["b", "a", "c", "d", "e"]


@pytest.mark.parametrize(
    ("suspicion", "alone", "proposed"),
    [
        (0.30, None, "kite"),
        (0.36, None, None),
        (0.64, None, None),
        (0.66, None, "eagle"),
        (0.66, 0.64, "eagle"),
        (0.66, 0.65, None),
        (0.99, 0.81, None),
        (0.10, 0.40, "kite"),
        (0.10, 0.35, None),
    ],
)
def test_a_class_is_proposed_from_65_percent_on_unless_the_model_alone_names_the_other(
    suspicion: float, alone: float | None, proposed: str | None
) -> None:
    belief = believe("kite", suspicion, ["kite", "eagle"], [0.2, 0.8])
    assert primary(belief, alone) == proposed
    assert disagrees(belief, alone) == (proposed is None and not 0.35 < suspicion < 0.65)


def test_a_bulk_is_forecast_as_the_sum_of_its_pictures() -> None:
    beliefs = [believe("kite", s, list(VOTERS), list(VOTERS.values())) for s in (0.9, 0.5, 0.99)]
    forecast = expected(beliefs)
    assert forecast.spoilt == pytest.approx(0.1 + 0.5 + 0.01)
    assert forecast.right == pytest.approx((0.9 + 0.5 + 0.99) * 0.60 / 0.90)
    assert forecast.right + forecast.spoilt + forecast.neither == pytest.approx(3)


@pytest.mark.parametrize(("right", "of"), [(0, 5), (1, 1), (10, 10), (58, 58), (59, 59), (92, 93), (93, 93), (70, 99)])
def test_the_lower_bound_is_that_of_clopper_and_pearson(right: int, of: int) -> None:
    bound = float(beta.ppf(0.05, right, of - right + 1)) if right else 0.0
    assert at_least(right, of) == pytest.approx(bound, abs=1e-6)
    assert is_supported(right, of) == (bound >= 0.95)


def test_59_of_59_support_a_bulk_and_58_do_not() -> None:
    assert is_supported(59, 59) and not is_supported(58, 58)
    assert is_supported(92, 93) and not is_supported(91, 92)


def test_what_past_decisions_say_is_one_true_sentence() -> None:
    said = support(10, 10, 0.91, 0.997, 9)
    assert "10 were decided so far at 91.0% to 99.7%, all as suggested: so up to 2 of the 9 may still be wrong" in said
    assert "Nothing was decided" in support(0, 0, math.nan, math.nan, 9)
    assert "1 was decided so far at 91.0%, otherwise: so up to 9 of the 9" in support(0, 1, 0.91, 0.91, 9)
    assert "60 were decided so far at 91.0%, 59 of them as suggested" in support(59, 60, 0.91, 0.91, 9)


def test_more_are_taken_out_than_expected_by_the_exact_distribution() -> None:
    chances = [0.087, 0.085, 0.051, 0.042, 0.04, 0.029, 0.02, 0.006, 0.003]
    counts = [0.0] * (len(chances) + 1)
    for outcome in itertools.product((0, 1), repeat=len(chances)):
        chance = math.prod(p if out else 1 - p for p, out in zip(chances, outcome, strict=True))
        counts[sum(outcome)] += chance
    limit = next(count for count in range(len(counts)) if sum(counts[count + 1 :]) < 0.05)
    assert most_taken_out(chances) == limit == 1


@pytest.mark.parametrize(
    ("probability", "text"),
    [(0.0, "<0.1%"), (0.0004, "<0.1%"), (0.026, "2.6%"), (0.36, "36%"), (0.9, "90%"), (0.96, "96.0%"), (1.0, ">99.9%")],
)
def test_probabilities_are_never_none_or_all(probability: float, text: str) -> None:
    assert in_percent(probability) == text


def test_log_odds_of_any_size_become_a_share_of_two() -> None:
    for log_odds in (-2.12, 0.0, 3.4):
        assert of_two(log_odds) == pytest.approx(1 / (1 + math.exp(-log_odds)))
    assert (of_two(-1000.0), of_two(1000.0)) == (0.0, 1.0)
