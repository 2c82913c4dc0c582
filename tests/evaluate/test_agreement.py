"""Maps against what is known: made-up maps whose scores can be told in the head, and pictures made of two."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from gradattn_core.errors import EvaluateError
from gradattn_core.evaluate.agreement import explained, half_values, localisation, sides, strongest
from gradattn_core.evaluate.composites import LAYOUTS, composite

PART, DISTRACTORS = np.zeros((4, 4), bool), np.zeros((4, 4), bool)
PART[1, 1:3] = DISTRACTORS[3, :] = True


def test_a_map_is_scored_on_the_part_that_counts() -> None:
    scores = np.zeros((4, 4))
    scores[1, 1], scores[1, 2], scores[3, 0], scores[0, 0] = 3, -1, 2, -2
    found = localisation(scores, PART, DISTRACTORS)
    assert (found.energy, found.right, found.pointing, found.sign) == (4 / 8, 3 / 8, 1, 1)
    assert found.leak == 2 / 6
    assert found.auroc == roc_auc_score(PART.ravel(), scores.ravel())
    turned = localisation(-scores, PART, DISTRACTORS, sign=-1)
    assert turned == found
    against = localisation(scores, PART, DISTRACTORS, sign=-1)
    assert (against.energy, against.right, against.pointing, against.sign) == (4 / 8, 1 / 8, 0, 0)


def test_an_empty_map_finds_nothing() -> None:
    found = localisation(np.zeros((4, 4)), PART, DISTRACTORS)
    assert (found.energy, found.right, found.pointing, found.auroc, found.sign) == (0, 0, 0, 0.5, 0)
    assert np.isnan(found.leak)


def test_two_sides_are_parted_by_sign() -> None:
    own = np.zeros((2, 4), bool)
    own[:, :2] = True
    perfect = sides(np.where(own, 1.0, -2.0), own)
    assert (perfect.share, perfect.auroc, perfect.sums) == (1, 1, (4, -8))
    half = sides(np.ones((2, 4)), own)
    assert (half.share, half.auroc) == (0.5, 0.5)
    assert sides(np.zeros((2, 4)), own).share == 0.5


def test_halves_are_worth_their_shapley_values() -> None:
    first, second = half_values(whole=5.0, nothing=1.0, first=4.0, second=-1.0)
    assert first + second == 5.0 - 1.0
    assert first == (4 - 1 + 5 + 1) / 2


def test_the_strongest_region_of_each_sign_is_found() -> None:
    scores = np.zeros((5, 5))
    scores[0, :2], scores[4, 4], scores[2, 2] = 2, 3, -1
    found = strongest(scores)
    assert found[1].nonzero()[0].tolist() == [0, 0] and found[1].nonzero()[1].tolist() == [0, 1]
    assert found[-1].sum() == 1 and found[-1][2, 2]
    assert strongest(np.abs(scores)).keys() == {1}


def test_any_unit_explains_but_the_wrong_sign_does_not() -> None:
    measured = np.array([1.0, -2.0, 3.0, 0.5])
    assert explained(7 * measured, measured) == pytest.approx(1)
    assert explained(-measured, measured) == 0 == explained(np.zeros(4), measured)
    p = np.array([1.0, 0, 0, 0])
    assert explained(p, measured) == pytest.approx(1 - (4 + 9 + 0.25) / np.square(measured).sum())


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("grid", [(4, 4), (7, 7), (4, 6)])
def test_every_patch_of_a_composite_shows_one_picture(layout: str, grid: tuple[int, int]) -> None:
    size = grid[0] * 8, grid[1] * 8
    first, second = torch.full((3, *size), 2.0), torch.full((3, *size), -1.0)
    picture, own = composite(first, second, layout, grid)
    shown = picture.view(3, grid[0], 8, grid[1], 8)
    assert picture.shape == (3, *size) and own.shape == grid
    torch.testing.assert_close(shown.amax((0, 2, 4)), torch.where(own, 2.0, -1.0))
    torch.testing.assert_close(shown.amin((0, 2, 4)), torch.where(own, 2.0, -1.0))
    assert 0.15 < own.float().mean() < 0.6


def test_an_inset_shows_the_whole_first_picture_and_leaves_the_second_as_it_was() -> None:
    first, second = torch.linspace(-1, 1, 32).expand(3, 32, 32), torch.randn(3, 32, 32)
    picture, own = composite(first, second, "inset", (4, 4))
    assert own.nonzero().tolist() == [[1, 1], [1, 2], [2, 1], [2, 2]]
    around = ~own.repeat_interleave(8, 0).repeat_interleave(8, 1)
    torch.testing.assert_close(picture[:, around], second[:, around])
    inside = picture[0, 16, 8:24]
    assert inside[0] < -0.9 and inside[-1] > 0.9 and bool((inside.diff() > 0).all())


def test_what_cannot_be_joined_is_refused() -> None:
    picture = torch.zeros(3, 32, 32)
    with pytest.raises(EvaluateError, match="layout='diagonal' is unknown; choose one of beside"):
        composite(picture, picture, "diagonal", (4, 4))
    with pytest.raises(EvaluateError, match="expected two pictures of one size"):
        composite(picture, torch.zeros(3, 32, 40), "beside", (4, 4))
    with pytest.raises(EvaluateError, match=r"grid=\(5, 4\)"):
        composite(picture, picture, "beside", (5, 4))
