"""From a signed map to numbers: checked against a flood fill written out, and against arithmetic done by hand."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from gradattn_core.interpret.regions import map_statistics, region_masks
from gradattn_core.records import Box, FloatArray, MapStatistics

WHOLE = Box(0.0, 0.0, 80.0, 60.0)


def statistics(values: list[list[float]], crop: Box = WHOLE, width: int = 80, height: int = 60) -> MapStatistics:
    return map_statistics(np.array(values, dtype=np.float32), crop, width, height)


def random_map(seed: int, shape: tuple[int, int] = (9, 13)) -> FloatArray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def flood_fill(mass: NDArray[np.float64]) -> list[set[tuple[int, int]]]:
    """Sets of patches above a tenth of the maximum that touch by a side or a corner."""
    left = {(r, c) for r, c in np.ndindex(*mass.shape) if mass[r, c] >= 0.2 * mass.max()}
    found = []
    while left:
        region, edge = set(), [left.pop()]
        while edge:
            r, c = edge.pop()
            region.add((r, c))
            near = {(r + i, c + j) for i in (-1, 0, 1) for j in (-1, 0, 1)} & left
            left -= near
            edge += near
        found.append(region)
    return found


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("sign", [1, -1])
def test_regions_are_those_of_a_flood_fill(seed: int, sign: int) -> None:
    scores = random_map(seed)
    mass = np.clip(sign * scores.astype(np.float64), 0, None)
    total = np.abs(scores.astype(np.float64)).sum()
    expected = sorted(
        (
            (sum(mass[p] for p in region) / total, len(region) / mass.size, sign * max(mass[p] for p in region))
            for region in flood_fill(mass)
        ),
        reverse=True,
    )[:5]
    regions = [r for r in map_statistics(scores, WHOLE, 80, 60).regions if r.sign == sign]
    assert [r.rank for r in regions] == list(range(1, len(expected) + 1))
    np.testing.assert_allclose([(r.mass_share, r.area_share, r.peak) for r in regions], expected, rtol=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_masks_are_those_of_the_regions(seed: int) -> None:
    scores = random_map(seed)
    masks = region_masks(scores)
    regions = {(region.sign, region.rank): region for region in map_statistics(scores, WHOLE, 80, 60).regions}
    assert list(masks) == list(regions)
    for key, mask in masks.items():
        assert mask.sum() / mask.size == regions[key].area_share
        assert float(np.abs(scores[mask]).max()) == abs(regions[key].peak)
        assert (np.sign(scores[mask]) == key[0]).all()


def test_patches_that_touch_by_a_corner_are_one_region_and_weak_ones_are_left_out() -> None:
    found = statistics([[1.0, 0.0, 0.0, 0.05], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
    assert [r.area_share for r in found.regions] == [2 / 12, 1 / 12]
    assert found.regions[0].mass_share == pytest.approx(2 / 3.05)


def test_boxes_lie_in_pixels_of_the_original_picture() -> None:
    # A 4 x 4 grid over a crop of 40 x 40 pixels that begins at (20, 10): patches are 10 pixels wide.
    values = np.zeros((4, 4), dtype=np.float32)
    values[1, 2] = values[2, 2] = 3.0
    values[0, 0] = -1.0
    found = map_statistics(values, Box(20.0, 10.0, 60.0, 50.0), 80, 60)
    assert [r.box for r in found.regions] == [Box(40.0, 20.0, 50.0, 40.0), Box(20.0, 10.0, 30.0, 20.0)]
    assert [r.sign for r in found.regions] == [1, -1]


def test_patches_need_not_be_square_in_the_original() -> None:
    values = np.zeros((2, 4), dtype=np.float32)
    values[1, 3] = -2.0
    assert map_statistics(values, Box(0.0, 0.0, 100.0, 30.0), 100, 30).regions[0].box == Box(75.0, 15.0, 100.0, 30.0)


def test_boxes_are_cut_to_the_picture_where_the_model_saw_padding() -> None:
    values = np.full((2, 2), 1.0, dtype=np.float32)
    assert map_statistics(values, Box(-10.0, -5.0, 90.0, 65.0), 80, 60).regions[0].box == Box(0.0, 0.0, 80.0, 60.0)


@pytest.mark.parametrize("seed", range(3))
def test_the_number_of_a_region_is_the_signed_sum_of_its_patches(seed: int) -> None:
    scores = random_map(seed)
    regions = map_statistics(scores, WHOLE, 80, 60, adds_up=True).regions
    for sign in (1, -1):
        mass = np.clip(sign * scores.astype(np.float64), 0, None)
        sums = sorted((sum(scores[p].astype(float) for p in patches) for patches in flood_fill(mass)), key=abs)[::-1]
        found = [region.log_odds for region in regions if region.sign == sign]
        np.testing.assert_allclose(np.array(found, dtype=float), sums[:5], rtol=1e-9)
    assert all(region.log_odds is None for region in map_statistics(scores, WHOLE, 80, 60).regions)


def test_concentration_is_the_share_of_the_strongest_tenth() -> None:
    values = np.zeros((5, 4), dtype=np.float32)
    values[0, 0], values[4, 3], values[2, 2] = 5.0, -3.0, 2.0
    assert map_statistics(values, WHOLE, 80, 60).concentration == pytest.approx(8 / 10)
    assert map_statistics(np.ones((5, 4), dtype=np.float32), WHOLE, 80, 60).concentration == pytest.approx(0.1)


def test_overlap_is_one_for_interleaved_and_zero_for_far_evidence() -> None:
    board = (np.indices((12, 12)).sum(0) % 2 * 2 - 1).astype(np.float32)
    apart = np.zeros((12, 12), dtype=np.float32)
    apart[:, 0], apart[:, -1] = 1.0, -1.0
    assert map_statistics(board, WHOLE, 80, 60).overlap > 0.98
    assert map_statistics(apart, WHOLE, 80, 60).overlap == 0.0


def test_overlap_of_neighbours_is_what_the_blur_makes_it() -> None:
    # After a 3 x 3 box blur each single patch of an empty surrounding is nine equal patches; they share six of nine.
    values = np.zeros((5, 6), dtype=np.float32)
    values[2, 2], values[2, 3] = 1.0, -4.0
    assert map_statistics(values, WHOLE, 80, 60).overlap == pytest.approx(6 / 9)


@pytest.mark.parametrize("seed", range(6))
def test_statistics_stay_in_their_ranges_and_do_not_depend_on_the_scale(seed: int) -> None:
    scores = random_map(seed, (14, 14))
    found, louder = (map_statistics(values, WHOLE, 80, 60) for values in (scores, scores * np.float32(1024)))
    assert 0 <= found.overlap <= 1 and 0 < found.concentration <= 1
    assert sum(r.mass_share for r in found.regions) <= 1
    assert (louder.overlap, louder.concentration) == pytest.approx((found.overlap, found.concentration))
    assert [r.box for r in louder.regions] == [r.box for r in found.regions]


@pytest.mark.parametrize("seed", range(3))
def test_swapping_the_signs_swaps_the_sides(seed: int) -> None:
    scores = random_map(seed)
    found, swapped = map_statistics(scores, WHOLE, 80, 60), map_statistics(-scores, WHOLE, 80, 60)
    assert swapped.overlap == pytest.approx(found.overlap)
    assert {(r.sign, r.rank, r.box) for r in swapped.regions} == {(-r.sign, r.rank, r.box) for r in found.regions}


def test_an_empty_map_has_no_regions_and_no_mass() -> None:
    assert statistics([[0.0, 0.0], [0.0, 0.0]]) == MapStatistics(0.0, 0.0)


def test_regions_of_equal_mass_come_from_the_top_left() -> None:
    values = np.zeros((5, 5), dtype=np.float32)
    values[4, 0] = values[0, 4] = values[0, 0] = values[4, 4] = 1.0
    lefts = [(r.box.top, r.box.left) for r in map_statistics(values, WHOLE, 80, 60).regions]
    assert lefts == sorted(lefts) and len(lefts) == 4


def test_at_most_five_regions_of_a_sign_are_kept() -> None:
    values = np.zeros((9, 9), dtype=np.float32)
    values[::2, ::2] = np.arange(1.0, 26.0).reshape(5, 5)
    regions = map_statistics(values, WHOLE, 80, 60).regions
    assert [r.peak for r in regions] == [25.0, 24.0, 23.0, 22.0, 21.0]
