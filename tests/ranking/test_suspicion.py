"""rank_labels, class_pairs and noise_estimate on generated clusters with known wrong labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score

from gradattn_core.errors import RankingError
from gradattn_core.ranking import arrays, neighbours, shortlist
from gradattn_core.ranking.arrays import log_softmax
from gradattn_core.ranking.caller import lone_predictor
from gradattn_core.ranking.folds import LISTED, dependent_groups, group_folds
from gradattn_core.ranking.fusion import fuse
from gradattn_core.ranking.linear import make_basis
from gradattn_core.ranking.neighbours import find_neighbours
from gradattn_core.ranking.noise import class_pairs, noise_estimate, shifted
from gradattn_core.ranking.probe import crossval_probe
from gradattn_core.ranking.shortlist import every_class
from gradattn_core.ranking.suspicion import rank_labels
from gradattn_core.records import FloatArray


def noisy_clusters(
    rate: float, rows: int = 600, width: int = 20, classes: int = 4, seed: int = 0
) -> tuple[FloatArray, np.ndarray, np.ndarray]:
    """Features, given class numbers and which of them are wrong."""
    rng = np.random.default_rng(seed)
    true = rng.integers(0, classes, rows)
    features = rng.normal(size=(classes, width))[true] * 1.2 + rng.normal(size=(rows, width))
    wrong = rng.random(rows) < rate
    given = np.where(wrong, (true + rng.integers(1, classes, rows)) % classes, true)
    return features.astype(np.float32), given, wrong


@pytest.mark.parametrize("rate", [0.05, 0.2, 0.5])
def test_planted_errors_come_first_and_are_counted(rate: float) -> None:
    features, given, wrong = noisy_clusters(rate)
    ranked = rank_labels(given, features)
    assert average_precision_score(wrong, ranked["suspicion"]) > 0.9
    assert ranked["suspicion"].sum() == pytest.approx(wrong.sum(), rel=0.3)
    assert ranked["suspicion"].between(0, 1).all()


def test_clean_labels_stay_unsuspected() -> None:
    features, given, _ = noisy_clusters(0.0)
    ranked = rank_labels(given, features)
    assert (ranked["suspicion"] >= 0.5).mean() < 0.02
    assert ranked["suspicion"].mean() < 0.04


def test_asymmetric_noise_is_undone_by_the_noise_matrix() -> None:
    rng = np.random.default_rng(5)
    features, true, _ = noisy_clusters(0.0, rows=900)
    wrong = rng.random(900) < 0.3
    given = np.where(wrong, (true + 1) % 4, true)
    ranked = rank_labels(given, features)
    assert average_precision_score(wrong, ranked["suspicion"]) > 0.9
    pairs = class_pairs(given, ranked)
    top = {(row.given_label, row.suggested_label) for row in pairs.head(4).itertuples()}
    assert top == {(0, 3), (1, 0), (2, 1), (3, 2)}


def test_ranks_follow_the_suspicion_and_ties_the_input_order() -> None:
    features, given, _ = noisy_clusters(0.2, rows=200)
    features = np.vstack([features, features])
    given = np.concatenate([given, given])
    ranked = rank_labels(given, features)
    by_rank = ranked.sort_values("rank")
    assert by_rank["rank"].tolist() == list(range(1, 401))
    assert by_rank["suspicion"].is_monotonic_decreasing
    tied = rank_labels(["a", "b", "a", "b"], probabilities=np.full((4, 2), 0.5))
    assert tied["rank"].tolist() == [1, 2, 3, 4]


def test_the_suggestion_is_another_class_and_the_runner_up_a_third() -> None:
    features, given, wrong = noisy_clusters(0.2)
    names = np.array(["zebra", "ape", "yak", "bee"])
    ranked = rank_labels(names[given].tolist(), features)
    assert (ranked["suggested_label"] != names[given]).all()
    assert (ranked["runner_up_label"] != names[given]).all()
    assert (ranked["runner_up_label"] != ranked["suggested_label"]).all()
    assert (ranked["suggested_probability"] + ranked["given_probability"] <= 1 + 1e-5).all()
    assert (ranked["runner_up_probability"] <= ranked["suggested_probability"]).all()
    third = ranked[["given_probability", "suggested_probability", "runner_up_probability"]].sum(axis=1)
    assert third[wrong].between(0.9, 1 + 1e-5).all()
    true = names[rank_labels(given, features)["suggested_label"].to_numpy(dtype=int)]
    assert (ranked["suggested_label"].to_numpy() == true).mean() > 0.99
    assert ranked.loc[wrong, "suspicion"].mean() > 0.7


def test_the_same_input_gives_the_same_bits_and_leaves_the_input_alone() -> None:
    features, given, _ = noisy_clusters(0.2, rows=300)
    copy = features.copy()
    first, second = rank_labels(given, features), rank_labels(given, features)
    pd.testing.assert_frame_equal(first, second, check_exact=True)
    np.testing.assert_array_equal(features, copy)


def test_the_column_order_is_that_of_classes() -> None:
    rng = np.random.default_rng(1)
    given = rng.choice(["b", "a", "c"], 90).tolist()
    logits = rng.normal(size=(90, 3)).astype(np.float32)
    plain = rank_labels(given, logits=logits)
    turned = rank_labels(given, logits=logits[:, [2, 0, 1]], classes=["c", "a", "b"])
    np.testing.assert_allclose(plain["suspicion"], turned["suspicion"], atol=1e-4)
    assert (plain["suggested_label"] == turned["suggested_label"]).all()


def test_logits_and_their_probabilities_rank_alike() -> None:
    features, given, _ = noisy_clusters(0.2)
    logits = crossval_probe(features, given, np.arange(600) % 5).logits
    one = rank_labels(given, logits=logits)
    two = rank_labels(given, probabilities=np.exp(log_softmax(logits)))
    np.testing.assert_allclose(one["suspicion"], two["suspicion"], atol=2e-3)


def test_near_duplicates_that_share_a_wrong_label_do_not_vouch_for_each_other() -> None:
    rng = np.random.default_rng(8)
    features, given, wrong = noisy_clusters(0.1, rows=400, width=60)
    features = np.repeat(features, 3, axis=0) + 0.02 * rng.normal(size=(1200, 60)).astype(np.float32)
    given, wrong = np.repeat(given, 3), np.repeat(wrong, 3)
    points = make_basis(features).points
    folds = group_folds(given, dependent_groups(points, find_neighbours(points, LISTED), given, seed=0), seed=0)
    assert all(len(set(folds[start : start + 3])) == 1 for start in range(0, 1200, 3))
    split = np.arange(1200) % 5
    kept_together = average_precision_score(wrong, rank_labels(given, features)["suspicion"])
    torn_apart = average_precision_score(wrong, rank_labels(given, features, folds=split)["suspicion"])
    assert kept_together > 0.95
    assert kept_together > torn_apart


@pytest.mark.parametrize("size", [1, 2, 5])
def test_a_tiny_class_is_neither_condemned_nor_fatal(size: int) -> None:
    features, given, _ = noisy_clusters(0.1, rows=300, classes=3)
    rng = np.random.default_rng(2)
    tiny = (6 + rng.normal(size=(size, 20))).astype(np.float32)
    ranked = rank_labels(np.concatenate([given, np.full(size, 3)]), np.vstack([features, tiny]))
    assert np.isfinite(ranked["suspicion"]).all()
    assert ranked["suspicion"].iloc[300:].mean() < 0.5


def test_strong_imbalance_keeps_the_small_class_alive() -> None:
    rng = np.random.default_rng(9)
    given = np.array([0] * 960 + [1] * 40)
    features = (rng.normal(size=(2, 10))[given] * 1.5 + rng.normal(size=(1000, 10))).astype(np.float32)
    wrong = np.zeros(1000, dtype=bool)
    wrong[:10] = True
    labels = np.where(wrong, 1, given)
    ranked = rank_labels(labels, features)
    assert average_precision_score(wrong, ranked["suspicion"]) > 0.7
    assert (ranked["suspicion"].iloc[960:] < 0.5).mean() > 0.8


@pytest.mark.parametrize("features", [np.full((40, 3), 7.0), np.tile([[1.0, 2.0], [3.0, 5.0]], (20, 1))])
def test_constant_and_duplicate_features_give_finite_scores(features: FloatArray) -> None:
    ranked = rank_labels(["a", "b"] * 20, features)
    assert np.isfinite(ranked.select_dtypes("number").to_numpy()).all()
    assert ranked["runner_up_label"].isna().all() and (ranked["runner_up_probability"] == 0).all()


def test_two_images_of_two_classes_are_ranked_without_a_verdict() -> None:
    ranked = rank_labels(["a", "b"], np.eye(2))
    assert ranked["suspicion"].tolist() == [0.5, 0.5]


def test_a_useless_voter_gets_less_weight_than_a_good_one() -> None:
    features, given, _ = noisy_clusters(0.2)
    good = log_softmax(crossval_probe(features, given, np.arange(600) % 5).logits)
    noise = log_softmax(np.random.default_rng(0).normal(size=good.shape).astype(np.float32))
    fusion = fuse(np.stack([good, noise]), every_class(given, 4))
    assert fusion.weights[0] > 5 * fusion.weights[1]
    np.testing.assert_allclose(fusion.noise.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(np.diag(fusion.noise), 0.8, atol=0.07)


def test_weighing_only_the_likeliest_classes_changes_next_to_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    features, given, wrong = noisy_clusters(0.15, rows=1600, classes=40)
    few = rank_labels(given, features)
    monkeypatch.setattr(shortlist, "LENGTH", 40)
    every = rank_labels(given, features)
    assert not np.array_equal(few["suspicion"], every["suspicion"])
    assert np.corrcoef(few["rank"], every["rank"])[0, 1] > 0.99
    assert (few["suggested_label"] == every["suggested_label"]).mean() > 0.97
    assert average_precision_score(wrong, few["suspicion"]) > average_precision_score(wrong, every["suspicion"]) - 0.01
    assert few["suspicion"].sum() == pytest.approx(every["suspicion"].sum(), rel=0.1)


def test_a_table_read_from_a_file_in_small_blocks_is_ranked_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    features, given, _ = noisy_clusters(0.15)
    whole = rank_labels(given, features)
    np.save(tmp_path / "features.npy", features)
    monkeypatch.setattr(arrays, "NUMBERS", 100 * features.shape[1])
    monkeypatch.setattr(arrays, "MANY", 100 * features.shape[1])
    mapped = rank_labels(given, np.load(tmp_path / "features.npy", mmap_mode="r"))
    np.testing.assert_allclose(mapped["suspicion"], whole["suspicion"], atol=1e-3)


def test_neighbours_found_by_cells_rank_nearly_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    features, given, wrong = noisy_clusters(0.2, rows=3000)
    exact = rank_labels(given, features)["suspicion"]
    monkeypatch.setattr(neighbours, "EXACT", 0)
    near = rank_labels(given, features)["suspicion"]
    assert average_precision_score(wrong, near) > average_precision_score(wrong, exact) - 0.01


def test_noise_estimate_adds_up_and_its_range_is_that_of_the_assumptions() -> None:
    features, given, wrong = noisy_clusters(0.2)
    ranked = rank_labels(given, features)
    estimate = noise_estimate(given, ranked)
    assert estimate.images == 600
    assert estimate.classes["wrong"].sum() == pytest.approx(estimate.total)
    assert estimate.classes["images"].sum() == 600
    sums = [ranked[name].sum() for name in ("suspicion", "class_noise_suspicion", "instance_noise_suspicion")]
    assert (estimate.low, estimate.high) == pytest.approx((min(sums), max(sums)))
    for row in estimate.classes.itertuples():
        mine = ranked[given == row.given_label]
        sums = [mine[name].sum() for name in ("suspicion", "class_noise_suspicion", "instance_noise_suspicion")]
        assert (row.wrong, row.low, row.high) == pytest.approx((sums[0], min(sums), max(sums)))
    # These labels were drawn without a look at the picture, as the first assumption has it.
    assert ranked["class_noise_suspicion"].sum() == pytest.approx(wrong.sum(), rel=0.1)


def test_both_assumptions_are_what_they_say() -> None:
    rng = np.random.default_rng(3)
    p = rng.dirichlet([0.4] * 3, 50)
    given = np.array([rng.choice(3, p=row) for row in p])
    ranked = rank_labels(given, probabilities=p)
    assert ranked["instance_noise_suspicion"].to_numpy() == pytest.approx(1 - ranked["given_probability"].to_numpy())
    caller = lone_predictor(p.astype(np.float32), False, given)
    weighed = every_class(given, 3)
    fusion = fuse(weighed.take_all(caller)[None], weighed)
    for q, label, wrong in zip(fusion.clean, given, ranked["class_noise_suspicion"], strict=True):
        joint = [float(q[true]) * float(fusion.noise[true, label]) for true in range(3)]
        assert wrong == pytest.approx(1 - joint[label] / sum(joint), abs=1e-5)


def test_without_the_assumptions_there_is_an_estimate_and_no_range() -> None:
    ranked = pd.DataFrame({"suspicion": [0.9, 0.8, 0.2], "suggested_label": ["b", "b", "a"]}, index=[7, 8, 9])
    estimate = noise_estimate(["a", "a", "b"], ranked)
    assert estimate.total == pytest.approx(1.9) and np.isnan([estimate.low, estimate.high]).all()
    assert list(estimate.classes["wrong"]) == pytest.approx([1.7, 0.2])
    assert estimate.classes[["low", "high"]].isna().all(axis=None)


def test_evidence_moves_the_odds_under_any_assumption_alike() -> None:
    rng = np.random.default_rng(0)
    belief, before, after = rng.uniform(0.01, 0.99, (3, 50))
    odds = {name: each / (1 - each) for name, each in (("belief", belief), ("before", before), ("after", after))}
    moved = shifted(belief, before, after)
    assert moved / (1 - moved) == pytest.approx(odds["belief"] * odds["after"] / odds["before"])
    assert shifted(belief, before, before) == pytest.approx(belief)
    ends = shifted(np.array([0.0, 1.0, 0.5, 0.5]), np.array([0.0, 1.0, 1.0, 0.0]), np.array([1.0, 0.0, 1.0, 0.0]))
    assert list(ends) == [0.0, 1.0, 0.5, 0.5]


def test_class_pairs_count_what_the_ranking_says() -> None:
    ranked = pd.DataFrame({"suspicion": [0.9, 0.8, 0.2, 0.6], "suggested_label": ["b", "b", "b", "a"]})
    pairs = class_pairs(["a", "a", "a", "c"], ranked)
    first = pairs.iloc[0]
    assert (first.given_label, first.suggested_label, first.suspects, first.class_size) == ("a", "b", 2, 3)
    assert first.share == pytest.approx(2 / 3)
    assert first.expected == pytest.approx(1.7)
    assert first.mean_suspicion == pytest.approx(0.85)
    assert len(pairs) == 2
    assert class_pairs(["a", "a", "a", "c"], ranked, threshold=0.95).empty


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"given": ["a", "b"]}, "features, logits or probabilities"),
        ({"given": [], "features": np.ones((0, 2))}, "given"),
        ({"given": ["a", "a"], "features": np.ones((2, 2))}, "single class"),
        ({"given": ["a", None], "features": np.ones((2, 2))}, "missing"),
        ({"given": ["a", 1], "features": np.ones((2, 2))}, "mixes"),
        ({"given": ["a", "b"], "features": np.array([[np.nan], [1]])}, "features"),
        ({"given": ["a", "b"], "logits": np.array([[np.inf, 0], [1, 2]])}, "logits"),
        ({"given": ["a", "b"], "logits": np.ones((2, 3))}, "logits"),
        ({"given": ["a", "b"], "logits": np.ones((2, 2)), "classes": ["a", "z"]}, "classes"),
        ({"given": ["a", "b"], "logits": np.ones((2, 3)), "classes": ["a", "b", "b"]}, "twice"),
        ({"given": ["a", "b"], "probabilities": np.array([[-1, 2], [0.5, 0.5]])}, "probabilities"),
        ({"given": ["a", "b"], "probabilities": np.ones((2, 2)), "logits": np.ones((2, 2))}, "only one"),
        ({"given": ["a", "b"], "features": np.eye(2), "folds": [0, 0]}, "folds"),
    ],
)
def test_bad_input_is_refused_by_the_name_of_the_argument(arguments: dict[str, Any], word: str) -> None:
    with pytest.raises(RankingError, match=word):
        rank_labels(**arguments)


def test_findings_refuse_a_ranking_of_other_images() -> None:
    ranked = rank_labels(["a", "b"] * 5, np.random.default_rng(0).normal(size=(10, 3)))
    with pytest.raises(RankingError, match="given"):
        class_pairs(["a"], ranked)
    with pytest.raises(RankingError, match="given"):
        noise_estimate(["a"], ranked)
