"""Verdicts taken as known: in the fits, and spread over like images of the same label."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gradattn_core.errors import RankingError
from gradattn_core.ranking.arrays import unit_rows
from gradattn_core.ranking.fusion import fuse
from gradattn_core.ranking.linear import make_basis
from gradattn_core.ranking.refit import POWER, SOFTENING, STRENGTH, Refit, local_shift, moved, prepare_refit
from gradattn_core.ranking.shortlist import every_class
from gradattn_core.ranking.verdicts import NONE, UNKNOWN, check_known
from gradattn_core.records import FloatArray, IntArray

CLASSES = 3


@pytest.fixture(scope="module")
def labelled() -> tuple[FloatArray, IntArray, IntArray]:
    """Features of three clusters, given and true class numbers; half of a fourth, which looks like class 0, is given
    label 1."""
    rng = np.random.default_rng(4)
    true = rng.integers(0, CLASSES, 240)
    features = rng.normal(size=(CLASSES, 8))[true] * 1.5 + rng.normal(size=(240, 8))
    odd = np.flatnonzero(true == 0)[:40]
    features[odd, 0] += 4
    given = true.copy()
    given[odd] = 1
    return features.astype(np.float32), given, true


@pytest.fixture(scope="module")
def refit(labelled: tuple[FloatArray, IntArray, IntArray]) -> Refit:
    return prepare_refit(labelled[1].tolist(), labelled[0])


def known_of(labelled: tuple[FloatArray, IntArray, IntArray], rows: IntArray) -> IntArray:
    known = np.full(len(labelled[1]), UNKNOWN)
    known[rows] = labelled[2][rows]
    return known


def test_nothing_known_moves_nothing(refit: Refit) -> None:
    assert not refit.shift(np.full(240, UNKNOWN)).any()


def test_what_is_known_of_some_moves_those_that_are_like_them(
    refit: Refit, labelled: tuple[FloatArray, IntArray, IntArray]
) -> None:
    _, given, true = labelled
    wrong = np.flatnonzero(given != true)
    shift = refit.shift(known_of(labelled, wrong[:20]))
    right_of_class = np.flatnonzero((given == 1) & (true == 1))
    assert np.median(shift[wrong[20:]]) > max(0, np.median(shift[right_of_class]))


def test_an_image_of_none_of_the_classes_counts_against_its_label(
    refit: Refit, labelled: tuple[FloatArray, IntArray, IntArray]
) -> None:
    _, given, true = labelled
    wrong = np.flatnonzero(given != true)
    known = np.full(len(given), UNKNOWN)
    known[wrong[:20]] = NONE
    assert np.median(refit.shift(known)[wrong[20:]]) > 0


def test_the_posterior_of_a_known_image_is_certain_even_where_no_voter_allows_it() -> None:
    votes = np.log(np.array([[[1 - 2e-30, 1e-30, 1e-30], [0.4, 0.3, 0.3], [0.2, 0.6, 0.2]]], dtype=np.float32))
    given = np.array([0, 0, 1])
    said = check_known([2, NONE, UNKNOWN], given, CLASSES)
    shortlist = said.restrict(every_class(given, CLASSES))
    posterior = fuse(votes, shortlist).posterior
    assert posterior[0] == pytest.approx([0, 0, 1])
    assert posterior[1, 0] == 0 and posterior[1].sum() == pytest.approx(1)
    assert (posterior[2] > 0).all()
    assert said.labels.tolist() == [2, 0, 1]
    weight = said.weight(np.array([0.1, 0.2, 0.3], dtype=np.float32))
    assert weight is not None and weight == pytest.approx([1, 0, 0.3])


def test_a_class_off_the_shortlist_is_any_other() -> None:
    given = np.array([0, 1])
    shortlist = replace(every_class(given, 2), classes=3)
    possible = check_known([2, 1], given, 3).restrict(shortlist).possible
    assert possible is not None and possible.tolist() == [[False, True], [False, True]]


def test_known_that_is_no_class_is_refused(refit: Refit) -> None:
    with pytest.raises(RankingError, match=r"known\[1\] is 3"):
        check_known([0, 3], np.array([0, 1]), CLASSES)
    with pytest.raises(RankingError, match="240 integers"):
        refit.shift([0.5])


def test_the_local_term_is_its_formula(labelled: tuple[FloatArray, IntArray, IntArray]) -> None:
    features, given, _ = labelled
    rng = np.random.default_rng(1)
    surprise = np.where(rng.random(len(given)) < 0.2, rng.uniform(-1, 1, len(given)), np.nan)
    unit = unit_rows(make_basis(features).points)
    shift = local_shift(features, given, surprise)
    for row in range(0, len(given), 7):
        top = bottom = 0.0
        for other in np.flatnonzero(~np.isnan(surprise)):
            if other != row and given[other] == given[row]:
                likeness = max(float(unit[row] @ unit[other]), 0.0) ** POWER
                top, bottom = top + likeness * surprise[other], bottom + likeness
        assert shift[row] == pytest.approx(STRENGTH * top / (bottom + SOFTENING), abs=1e-5)


def test_without_a_shift_a_suspicion_is_the_very_same() -> None:
    suspicion = np.array([0.0, 1e-9, 0.3, 1.0])
    assert moved(suspicion, np.zeros(4)).tolist() == suspicion.tolist()
    assert (np.diff(moved(np.full(3, 0.3), np.array([-1.0, 0.0, 1.0]))) > 0).all()
