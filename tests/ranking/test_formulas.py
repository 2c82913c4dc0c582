"""The published single scores against naive twins, one image at a time."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gradattn_core.ranking import arrays, formulas, neighbours
from gradattn_core.ranking.folds import dependent_groups, doubt_correlation, group_folds, near_duplicate_groups
from gradattn_core.ranking.neighbours import find_neighbours, neighbour_probabilities
from gradattn_core.ranking.shortlist import LENGTH, Shortlist, every_class, likeliest
from gradattn_core.records import FloatArray


@pytest.fixture
def predictions() -> tuple[FloatArray, np.ndarray]:
    rng = np.random.default_rng(3)
    p = rng.dirichlet(np.full(4, 0.6), size=60)
    return np.log(np.maximum(p, 1e-7)).astype(np.float32), rng.integers(0, 4, 60)


def naive_others(row: np.ndarray, given: int) -> list[float]:
    return [float(value) for k, value in enumerate(row) if k != given]


def test_self_confidence_and_log_margin_match_their_formulas(predictions: tuple[FloatArray, np.ndarray]) -> None:
    log_p, codes = predictions
    for n, given in enumerate(codes):
        assert formulas.self_confidence(log_p, codes)[n] == pytest.approx(1 - math.exp(log_p[n, given]), abs=1e-6)
        margin = max(naive_others(log_p[n], given)) - float(log_p[n, given])
        assert formulas.log_margin(log_p, codes)[n] == pytest.approx(margin, abs=1e-5)


def test_adjusted_margin_subtracts_the_class_mean_first(predictions: tuple[FloatArray, np.ndarray]) -> None:
    log_p, codes = predictions
    p = np.exp(log_p)
    mean = [float(np.mean([p[n, k] for n in range(60) if codes[n] == k])) for k in range(4)]
    scores = formulas.adjusted_margin(log_p, codes)
    for n, given in enumerate(codes):
        adjusted = [float(p[n, k]) - mean[k] for k in range(4)]
        assert scores[n] == pytest.approx(max(naive_others(np.array(adjusted), given)) - adjusted[given], abs=1e-6)


def test_cwe_and_mistakenness_match_their_formulas(predictions: tuple[FloatArray, np.ndarray]) -> None:
    log_p, codes = predictions
    cwe, mistaken = formulas.cwe(log_p, codes), formulas.mistakenness(log_p, codes)
    for n, given in enumerate(codes):
        p = [math.exp(v) for v in log_p[n]]
        entropy = -sum(v * math.log(v) for v in p) / math.log(4)
        assert cwe[n] == pytest.approx(entropy / p[given], rel=1e-4)
        sign = -1 if int(np.argmax(p)) == given else 1
        assert mistaken[n] == pytest.approx((1 + sign * (1 - entropy)) / 2, abs=1e-5)


def test_neighbours_are_the_closest_others_best_first_with_ties_to_the_earlier_row() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(50, 6)).astype(np.float32)
    features[7] = features[20] = features[3]
    found = find_neighbours(features, 5)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    for n in range(50):
        cosines = unit @ unit[n]
        cosines[n] = -2
        np.testing.assert_allclose(found.similarity[n], np.sort(cosines)[::-1][:5], atol=1e-6)
    assert found.index[3, :2].tolist() == [7, 20]
    assert all(n not in found.index[n] for n in range(50))


def test_beyond_what_can_be_compared_most_true_neighbours_are_found_and_never_the_image_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(5)
    centres = rng.normal(size=(150, 24))
    features = (centres[rng.integers(0, 150, 4000)] + 0.4 * rng.normal(size=(4000, 24))).astype(np.float32)
    wanted = np.sort(rng.choice(4000, 500, replace=False))
    exact = find_neighbours(features, 10, wanted)
    monkeypatch.setattr(neighbours, "EXACT", 0)
    near = find_neighbours(features, 10, wanted)
    common = [len(set(a) & set(b)) / 10 for a, b in zip(exact.index, near.index, strict=True)]
    assert np.mean(common) > 0.9
    assert (near.index != wanted[:, None]).all()
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    cosines = np.einsum("wd,wcd->wc", unit[wanted], unit[near.index])
    np.testing.assert_allclose(near.similarity, cosines, atol=2e-3)
    assert (np.diff(near.similarity, axis=1) <= 0).all()


def test_within_the_cells_that_are_asked_the_nearest_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(6)
    centres = rng.normal(size=(60, 16))
    features = (centres[rng.integers(0, 60, 3000)] + 0.4 * rng.normal(size=(3000, 16))).astype(np.float32)
    monkeypatch.setattr(neighbours, "LEADING", 8)
    own = np.arange(0, 3000, 3)
    cells = neighbours._cells(features)
    found, cosines = neighbours._search(cells, features, own, 12)
    unit = arrays.unit_rows(features)
    for n, row in enumerate(own):
        met = np.flatnonzero(np.isin(cells.nearest[:, 0], cells.nearest[row]))
        met = met[met != row]
        best = np.sort(unit[met] @ unit[row])[::-1][:12]
        np.testing.assert_allclose(cosines[n], best, atol=2e-3)
        np.testing.assert_allclose(unit[found[n]] @ unit[row], best, atol=2e-3)


def test_where_too_few_are_met_the_image_itself_fills_the_row_and_so_has_no_vote(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    features = np.vstack([np.eye(3), np.eye(3)]).astype(np.float32)
    monkeypatch.setattr(neighbours, "EXACT", 0)
    found = find_neighbours(features, 5)
    assert found.index.shape == (6, 5)
    for n in range(6):
        others = found.index[n][found.index[n] != n]
        assert len(set(others)) == len(others)
        assert (found.similarity[n][found.index[n] == n] == -1).all()


def test_the_shortlist_has_the_likeliest_classes_and_always_the_given_one() -> None:
    rng = np.random.default_rng(7)
    log_p = rng.normal(size=(50, 60)).astype(np.float32)
    codes = rng.integers(0, 60, 50)
    found = likeliest(lambda rows: log_p[rows], codes, 60)
    for n in range(50):
        best = [k for k in np.argsort(-log_p[n]) if k != codes[n]][: LENGTH - 1]
        assert found.index[n].tolist() == sorted([*best, int(codes[n])])
        assert found.index[n, found.own[n]] == codes[n]
    np.testing.assert_array_equal(found.take(log_p[3:5], slice(3, 5))[1], log_p[4][found.index[4]])


def test_votes_and_margins_of_a_shortlist_are_those_over_all_classes() -> None:
    rng = np.random.default_rng(8)
    features = rng.normal(size=(40, 4)).astype(np.float32)
    codes = rng.integers(0, 5, 40)
    whole = every_class(codes, 5)
    index = np.sort(np.argsort(rng.random((40, 5)), axis=1)[:, :3], axis=1).astype(np.int32)
    index[:, 0] = np.where((index == codes[:, None]).any(axis=1), index[:, 0], codes)
    index.sort(axis=1)
    some = Shortlist(index, (index == codes[:, None]).argmax(axis=1), 5)
    neighbours, groups = find_neighbours(features, 8), np.arange(40)
    hard = np.eye(5, dtype=np.float32)[codes]
    full = neighbour_probabilities(neighbours, hard, whole, groups, 6)
    part = neighbour_probabilities(neighbours, some.take(hard, slice(None)), some, groups, 6)
    np.testing.assert_allclose(part, np.take_along_axis(full, index, axis=1), atol=1e-6)
    p = rng.dirichlet(np.ones(3), size=40).astype(np.float32)
    margin = formulas.adjusted_margin(np.log(p), some.own, some)
    own = p[np.arange(40), some.own]
    mean = [own[codes == k].mean() if (codes == k).any() else 0 for k in range(5)]
    for n in range(40):
        adjusted = {int(k): p[n, column] - mean[k] for column, k in enumerate(index[n])}
        given = adjusted.pop(int(codes[n]))
        assert margin[n] == pytest.approx(max(adjusted.values()) - given, abs=1e-5)


def test_neighbour_votes_leave_out_the_own_group_and_count_soft_labels() -> None:
    rng = np.random.default_rng(1)
    features = rng.normal(size=(30, 4)).astype(np.float32)
    targets = rng.dirichlet(np.ones(3), size=30).astype(np.float32)
    groups = np.repeat(np.arange(15), 2)
    neighbours = find_neighbours(features, 8)
    codes = targets.argmax(axis=1)
    shares = neighbour_probabilities(neighbours, targets, every_class(codes, 3), groups, 4)
    for n in range(30):
        voters = [m for m in neighbours.index[n] if groups[m] != groups[n]][:4]
        expected = (sum(targets[m] for m in voters) + targets.mean(axis=0)) / (len(voters) + 1)
        np.testing.assert_allclose(shares[n], expected, atol=1e-5)
    vote, margin = formulas.neighbour_vote(shares, codes), formulas.neighbour_margin(shares, codes)
    for n, given in enumerate(codes):
        assert vote[n] == pytest.approx(1 - shares[n, given], abs=1e-6)
        assert margin[n] == pytest.approx(max(naive_others(shares[n], given)) - shares[n, given], abs=1e-6)


def test_prototype_margin_leaves_the_image_out_of_its_own_class_mean() -> None:
    rng = np.random.default_rng(2)
    features = rng.normal(size=(20, 5)).astype(np.float32)
    codes = np.array([0] * 9 + [1] * 10 + [2])
    scores = formulas.prototype_margin(features, codes, 3)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)

    def cosine(vector: np.ndarray, members: list[int]) -> float:
        mean = unit[members].sum(axis=0)
        return float(vector @ mean / np.linalg.norm(mean))

    for n in range(19):
        own = cosine(unit[n], [m for m in range(20) if codes[m] == codes[n] and m != n])
        other = max(cosine(unit[n], [m for m in range(20) if codes[m] == k]) for k in range(3) if k != codes[n])
        assert scores[n] == pytest.approx(other - own, abs=1e-5)
    assert scores[19] == 0


def test_near_duplicates_share_a_fold_and_every_class_keeps_training_images() -> None:
    rng = np.random.default_rng(4)
    centres = rng.normal(size=(40, 16)).astype(np.float32)
    features = np.repeat(centres, 3, axis=0) + 0.01 * rng.normal(size=(120, 16)).astype(np.float32)
    codes = np.repeat(np.arange(2), 60)
    groups = near_duplicate_groups(find_neighbours(features, 10), codes)
    folds = group_folds(codes, groups, seed=0)
    for start in range(0, 120, 3):
        assert len(set(folds[start : start + 3])) == 1
    assert len(np.unique(groups)) == 40
    for code in range(2):
        assert np.bincount(folds[codes == code], minlength=5).max() <= 15


def test_a_class_of_nothing_but_duplicates_is_still_spread_over_folds() -> None:
    features = np.vstack([np.tile([[1.0, 0.0]], (10, 1)), np.tile([[0.0, 1.0]], (10, 1))]).astype(np.float32)
    codes = np.repeat(np.arange(2), 10)
    groups = near_duplicate_groups(find_neighbours(features, 10), codes)
    folds = group_folds(codes, groups, seed=0)
    assert np.bincount(groups).max() <= 2
    assert (np.bincount(folds[:10], minlength=5) > 0).all()


def test_images_of_their_own_go_where_the_rule_for_groups_sends_them() -> None:
    rng = np.random.default_rng(8)
    codes = rng.choice(7, 400, p=[0.5, 0.2, 0.1, 0.1, 0.05, 0.03, 0.02])
    groups = np.unique(
        np.where(rng.random(400) < 0.3, rng.integers(0, 40, 400), 100 + np.arange(400)), return_inverse=True
    )[1]
    sizes, share = np.bincount(groups), 1 / np.bincount(codes)
    shuffled = np.random.default_rng(3).permutation(len(sizes))
    load, total, expected = np.zeros((5, 7)), np.zeros(5), np.empty(400, dtype=np.int64)
    for group in shuffled[np.argsort(-sizes[shuffled], kind="stable")]:
        present = codes[groups == group]
        fold = int(((load[:, present] * share[present]).sum(axis=1) + total / 400).argmin())
        expected[groups == group] = fold
        np.add.at(load[fold], present, 1)
        total[fold] += len(present)
    assert (sizes == 1).sum() > 200 and (sizes > 1).sum() > 20
    assert group_folds(codes, groups, seed=3).tolist() == expected.tolist()


def test_doubt_correlation_is_one_for_equal_and_small_for_independent_members() -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(300), 2)
    assert doubt_correlation(np.repeat(rng.random(300), 2).astype(np.float32), groups) > 0.99
    assert abs(doubt_correlation(rng.random(600).astype(np.float32), groups)) < 0.15
    assert doubt_correlation(rng.random(5).astype(np.float32), np.arange(5)) == 0


def test_similar_images_that_err_apart_stay_witnesses_for_one_another() -> None:
    rng = np.random.default_rng(6)
    true = np.repeat(np.arange(2), 100)
    features = (rng.normal(size=(2, 8)) * 6)[true] + rng.normal(size=(200, 8))
    codes = np.where(rng.random(200) < 0.2, 1 - true, true)
    points = (features - features.mean(axis=0)).astype(np.float32)
    neighbours = find_neighbours(points, 20)
    assert np.bincount(near_duplicate_groups(neighbours, codes)).max() > 1
    assert np.bincount(dependent_groups(points, neighbours, codes, seed=0)).max() == 1
