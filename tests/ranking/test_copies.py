"""Exact copies: evidence once, and of several labels of one picture at most one is right."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits

from gradattn_core.errors import RankingError
from gradattn_core.ranking.suspicion import rank_labels
from gradattn_core.records import FloatArray, IntArray


def clusters(classes: int, each: int, seed: int) -> tuple[FloatArray, IntArray]:
    """Features of normal classes that are well apart, and which is which, mixed."""
    rng = np.random.default_rng(seed)
    true = np.arange(classes * each) % classes
    return (3 * rng.normal(size=(classes, 8))[true] + rng.normal(size=(len(true), 8))).astype(np.float32), true


def right(given: IntArray, ranked: pd.DataFrame, place: IntArray, row: int) -> float:
    """Sum over the distinct labels of the picture ``row`` of the probability that they are right."""
    frame = pd.DataFrame({"label": given, "right": 1 - ranked["suspicion"], "picture": place})
    of_picture = frame[frame["picture"] == row]
    assert (of_picture.groupby("label")["right"].nunique() == 1).all()
    return float(of_picture.groupby("label")["right"].first().sum())


def test_of_copies_under_several_labels_at_most_one_is_right_and_no_other_label_is_more_doubtful() -> None:
    features, true = clusters(3, 40, 0)
    wrong = np.arange(60, 120, 7)
    given = true.copy()
    given[wrong] = (given[wrong] + 1) % 3
    before = rank_labels(given, features)
    place = np.concatenate([np.arange(120), np.arange(30), np.arange(30)])
    said = np.concatenate([given, (given[:30] + 1) % 3, (given[:30] + 2) % 3])
    ranked = rank_labels(said, features[place])
    after = ranked["suspicion"].to_numpy()
    # The voters learn the same as if nobody had copied anything.
    np.testing.assert_array_equal(after[30:120], before["suspicion"][30:])
    for name in ("suspicion", "class_noise_suspicion", "instance_noise_suspicion"):
        sums = pd.Series(1 - ranked[name].to_numpy()).groupby(place).sum()
        assert sums[:30].max() <= 1 + 1e-6
    assert (said[(after < 0.5) & (place < 30)] == true[:30]).all()


def test_copies_under_the_same_label_are_evidence_once() -> None:
    features, given = clusters(3, 40, 3)
    before = rank_labels(given, features)
    place = np.concatenate([np.arange(120), np.repeat(np.arange(20), 3)])
    after = rank_labels(given[place], features[place])
    columns = ["suspicion", "suggested_label", "suggested_probability", "given_probability", "neighbour_vote"]
    expected = before[columns].iloc[place].reset_index(drop=True)
    pd.testing.assert_frame_equal(after[columns], expected)


def test_without_copies_the_groups_change_nothing() -> None:
    features, given = clusters(3, 40, 4)
    plain, grouped = rank_labels(given, features), rank_labels(given, features, copies=[f"{row}" for row in range(120)])
    pd.testing.assert_frame_equal(plain, grouped, check_exact=True)


def test_groups_are_copies_whatever_the_features_and_predictions_know_them_too() -> None:
    features, given = clusters(3, 40, 5)
    place = np.append(np.arange(120), [0, 1])
    said = np.append(given, (given[:2] + 1) % 3)
    logits = 4 * np.eye(3)[said] + np.random.default_rng(5).normal(size=(122, 3))
    for tables in ({"features": features[place]}, {"logits": logits}, {"features": features[place], "logits": logits}):
        ranked = rank_labels(said, **tables, copies=place)
        assert max(right(said, ranked, place, row) for row in (0, 1)) <= 1 + 1e-6
        assert sorted(ranked["rank"]) == list(range(1, 123))


def test_of_thousands_of_classes_a_label_that_is_not_weighed_is_wrong() -> None:
    rng = np.random.default_rng(6)
    true = np.repeat(np.arange(40), 6)
    features = (3 * rng.normal(size=(40, 20))[true] + rng.normal(size=(240, 20))).astype(np.float32)
    place = np.append(np.arange(240), np.arange(0, 240, 12))
    said = np.append(true, (true[::12] + rng.integers(1, 40, 20)) % 40)
    ranked = rank_labels(said, features[place])
    assert max(right(said, ranked, place, row) for row in range(0, 240, 12)) <= 1 + 1e-6
    assert ranked["suspicion"][240:].min() > 0.9 and ranked["suspicion"][:240].max() < 0.5
    assert (ranked["suggested_label"][240:].to_numpy() == true[::12]).all()


@pytest.mark.parametrize("pictures", [1, 2, 20])
def test_pictures_in_every_class_have_one_right_label_at_most(pictures: int) -> None:
    features = np.tile(load_digits().data[:pictures].astype(np.float32), (3, 1))
    given, place = np.repeat(np.arange(3), pictures), np.tile(np.arange(pictures), 3)
    ranked = rank_labels(given, features)
    assert max(right(given, ranked, place, row) for row in range(pictures)) <= 1 + 1e-6


def test_the_order_of_the_rows_changes_nothing() -> None:
    features, given = clusters(3, 40, 7)
    place = np.append(np.arange(120), np.arange(15))
    said = np.append(given, (given[:15] + 1) % 3)
    copies = rank_labels(said, features[place], folds=place % 5)["suspicion"].to_numpy()
    mixed = np.random.default_rng(7).permutation(135)
    again = rank_labels(said[mixed], features[place][mixed], folds=(place % 5)[mixed])["suspicion"].to_numpy()
    np.testing.assert_allclose(again, copies[mixed], atol=2e-3)


def test_groups_of_other_images_are_refused() -> None:
    features, given = clusters(3, 40, 8)
    with pytest.raises(RankingError, match="copies holds 2 groups, but given has 120 labels"):
        rank_labels(given, features, copies=["a", "b"])
