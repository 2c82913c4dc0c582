"""Any labels on any features: the ranking ends with numbers that make sense, or with one RankingError."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np
import pytest
from sklearn.datasets import load_digits

from gradattn_core.errors import RankingError
from gradattn_core.ranking.noise import class_pairs, noise_estimate
from gradattn_core.ranking.probe import crossval_probe
from gradattn_core.ranking.suspicion import knows_by_heart, rank_labels
from gradattn_core.records import FloatArray, IntArray

FEATURES = ("clusters", "constant", "copies", "huge and tiny", "bits", "one column beyond all", "the same again")
LABELS = ("right", "one each", "random", "all but one alike", "all but one alone", "all wrong", "in order")


def features_of(kind: str, true: IntArray, width: int, rng: np.random.Generator) -> FloatArray:
    rows, classes = len(true), int(true.max()) + 1
    centres = rng.normal(size=(classes, width)) * rng.choice([0, 0.3, 1, 5])
    features = centres[true] + rng.normal(size=(rows, width))
    match kind:
        case "constant":
            features = np.full((rows, width), rng.choice([0, 1, 1e30, -3]))
        case "copies":
            features = features[rng.integers(0, max(rows // 4, 1), rows)]
        case "huge and tiny":
            features *= 10.0 ** rng.integers(-30, 30, width)
        case "bits":
            features = rng.integers(0, 2, (rows, width))
        case "one column beyond all":
            features[:, 0] = 1e37
        case "the same again":
            features = features[np.arange(rows) % max(rows // 3, 1)]
    return np.asarray(features, dtype=np.float32)


def labels_of(kind: str, true: IntArray, classes: int, rng: np.random.Generator) -> IntArray:
    rows = np.arange(len(true))
    match kind:
        case "one each":
            return np.asarray(rows)
        case "random":
            return np.asarray(rng.integers(0, classes, len(true)))
        case "all but one alike":
            return np.asarray(rows == rows[-1], dtype=np.int64)
        case "all but one alone":
            return np.minimum(rows, max(len(rows) - 3, 1))
        case "all wrong":
            return (true + 1) % classes
        case "in order":
            return rows * classes // len(rows)
    return np.asarray(true)


def odd_sets(seeds: range, sizes: list[int]) -> Iterator[tuple[str, FloatArray, IntArray]]:
    """One set a seed: its name, features and given class numbers."""
    for seed in seeds:
        rng = np.random.default_rng(seed)
        rows, width = int(rng.choice(sizes)), int(rng.choice([1, 2, 3, 8, 30, 100]))
        classes = min(rows, int(rng.choice([2, 3, 4, 10, 58, rows // 2 + 1, max(rows - 1, 2), rows])))
        true = rng.integers(0, classes, rows)
        seen, said = str(rng.choice(FEATURES)), str(rng.choice(LABELS))
        given = labels_of(said, true, classes, rng)
        name = f"seed {seed}: {rows} x {width}, {classes} classes, features {seen}, labels {said}"
        yield name, features_of(seen, true, width, rng), given


def rank_every_way(features: FloatArray, given: IntArray, seed: int) -> None:
    """Everything that an audit asks of the ranking, and whether the numbers can be."""
    rng = np.random.default_rng(seed)
    codes = np.unique(given, return_inverse=True)[1]
    classes = int(codes.max()) + 1
    logits = rng.normal(size=(len(given), classes)) * 10.0 ** rng.integers(-3, 8)
    for arguments in ({"features": features}, {"logits": logits}, {"features": features, "logits": logits}):
        ranked = rank_labels(given, **arguments)
        assert np.isfinite(ranked.select_dtypes("number").to_numpy()).all()
        shares = ranked[["suspicion", "given_probability", "suggested_probability"]].to_numpy()
        assert shares.min() >= 0 and shares.max() <= 1 + 1e-6
        assert sorted(ranked["rank"]) == list(range(1, len(given) + 1))
        assert (ranked["suggested_label"].to_numpy() != given).all()
        estimate = noise_estimate(given, ranked)
        assert 0 <= estimate.total <= len(given)
        class_pairs(given, ranked)
    knows_by_heart(given, given, features)
    folds = np.append([0, 1], rng.integers(0, 5, len(given) - 2))
    assert np.isfinite(crossval_probe(features, codes, folds).logits).all()


def check_odd_sets(seeds: range, sizes: list[int]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name, features, given in odd_sets(seeds, sizes):
            try:
                rank_every_way(features, given, seeds.start)
            except RankingError as error:
                assert len(set(given.tolist())) < 2 and "single class" in str(error), f"{name}: {error}"
            except Exception as error:
                raise AssertionError(f"{name}: {type(error).__name__}: {error}") from error


def test_no_labels_on_no_features_end_in_a_traceback() -> None:
    check_odd_sets(range(16), [2, 3, 4, 5, 6, 8, 10, 16, 24])


@pytest.mark.slow
def test_no_labels_on_any_features_end_in_a_traceback() -> None:
    check_odd_sets(range(1000, 1600), [2, 3, 4, 5, 6, 8, 10, 16, 24, 40, 60, 100, 200, 400])


@pytest.mark.parametrize("labels", ["one each", "each picture in three classes", "two of each, unrelated"])
def test_digits_under_labels_that_mean_nothing_are_ranked(labels: str) -> None:
    features = load_digits().data[:60].astype(np.float32)
    given = np.arange(60)
    if labels == "each picture in three classes":
        features, given = np.tile(features[:20], (3, 1)), np.repeat(np.arange(3), 20)
    elif labels == "two of each, unrelated":
        given = np.arange(60) // 2
    rank_every_way(features, given, 0)
