"""Ranking by predictions alone: in whatever form they come, and where pictures are few."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from gradattn_core.ranking import arrays
from gradattn_core.ranking.arrays import log_softmax, softmax
from gradattn_core.ranking.caller import (
    ASTRAY,
    EACH,
    FEW,
    CentredLogarithms,
    dealt,
    doubts_of_few,
    lone_predictor,
    spread,
    teaches,
)
from gradattn_core.ranking.formulas import cwe, log_margin, self_confidence
from gradattn_core.ranking.linear import make_basis
from gradattn_core.ranking.suspicion import rank_labels
from gradattn_core.records import FloatArray


def network(rows: int = 500, classes: int = 5, seed: int = 0) -> tuple[FloatArray, np.ndarray, np.ndarray]:
    """Logits of a model that takes some classes for others in ways of its own; given labels, and which are wrong."""
    rng = np.random.default_rng(seed)
    true = rng.integers(0, classes, rows)
    habits = rng.normal(size=(classes, classes)) + 1.2 * np.eye(classes)
    logits = habits[true] + 0.7 * rng.normal(size=(rows, classes))
    wrong = rng.random(rows) < 0.1
    given = np.where(wrong, (true + rng.integers(1, classes, rows)) % classes, true)
    return logits.astype(np.float32), given, wrong


def normed(p: FloatArray) -> FloatArray:
    return np.asarray(p / p.sum(axis=1, keepdims=True))


FORMS: dict[str, Callable[[FloatArray], FloatArray]] = {
    "as it is": lambda p: p,
    "two digits": lambda p: np.round(p, 2),
    "sharpened": lambda p: normed(p**3),
    "flattened": lambda p: normed(p**0.3),
    "zeros": lambda p: normed(np.where(p < 0.02, 0, p)),
}


@pytest.mark.parametrize("form", sorted(FORMS))
def test_what_a_model_says_of_all_classes_tells_more_than_any_score_of_the_given_one(form: str) -> None:
    logits, given, wrong = network()
    p = FORMS[form](softmax(logits))
    log_p = np.log(np.maximum(p, 1e-12))
    singles = [average_precision_score(wrong, score(log_p, given)) for score in (self_confidence, log_margin, cwe)]
    ranked = rank_labels(given, probabilities=p)
    assert average_precision_score(wrong, ranked["suspicion"]) > max(singles) + 0.1
    assert ranked["suspicion"].sum() == pytest.approx(wrong.sum(), rel=0.4)


def test_a_zero_is_half_the_least_that_its_row_or_the_table_tells_apart() -> None:
    rng = np.random.default_rng(1)
    p = np.round(rng.dirichlet([0.2] * 6, 200), 2).astype(np.float32)
    p[0] = [1, 0, 0, 0, 0, 0]
    given = rng.integers(0, 6, 200)
    said = lone_predictor(p, False, given)(slice(None))
    usual = np.quantile([min(row[row > 0]) for row in p if (row == 0).any() and (row > 0).sum() > 1], 0.05)
    filled = np.array([[each if each else min(min(row[row > 0]), usual) / 2 for each in row] for row in p])
    # One temperature for all: what is left of two logarithms' difference is the same factor everywhere.
    expected = np.log(filled) - np.log(filled).max(axis=1, keepdims=True)
    found = said - said.max(axis=1, keepdims=True)
    factor = found.sum() / expected.sum()
    np.testing.assert_allclose(found, factor * expected, rtol=1e-3, atol=1e-4)


def test_logits_of_any_scale_are_told_apart_to_the_last() -> None:
    logits, given, _ = network()
    plain = rank_labels(given, logits=logits)
    steep = rank_labels(given, logits=40 * logits)
    assert np.corrcoef(plain["rank"], steep["rank"])[0, 1] > 0.999
    np.testing.assert_allclose(steep["suspicion"], plain["suspicion"], atol=0.02)


def test_a_vote_has_a_share_for_every_class() -> None:
    logits, _, _ = network()
    log_p = log_softmax(5 * logits)
    voted = np.exp(spread(lambda rows: log_p[rows], 5)(slice(0, 9)))
    np.testing.assert_allclose(voted, (1 - ASTRAY) * softmax(5 * logits)[:9] + ASTRAY / 5, rtol=1e-4)


def test_centred_logarithms_are_read_in_blocks_as_an_array_is(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, _, _ = network()
    table = CentredLogarithms(lambda rows: log_softmax(logits[rows]), logits.shape)
    centred = log_softmax(logits) - log_softmax(logits).mean(axis=1, keepdims=True)
    whole = make_basis(centred)
    monkeypatch.setattr(arrays, "NUMBERS", 50 * logits.shape[1])
    monkeypatch.setattr(arrays, "MANY", 50 * logits.shape[1])
    blocks = make_basis(table)
    np.testing.assert_allclose(blocks.points @ blocks.axes.T, whole.points @ whole.axes.T, atol=1e-3)
    two = make_basis(table, 2)
    assert two.points.shape == (500, 2) and two.variances[0] >= two.variances[1] >= whole.variances[2] - 1e-6


def test_classifiers_learn_from_predictions_where_every_class_has_pictures() -> None:
    enough = np.repeat(np.arange(3), EACH)
    assert teaches(enough, 3)
    assert not teaches(enough[:-1], 3)
    assert not teaches(enough, 4)


def doubted(odds: FloatArray, p: FloatArray, given: np.ndarray) -> Any:
    return doubts_of_few(odds.astype(np.float64), lambda rows: np.log(p[rows]), given, p.shape[1])


def test_where_pictures_are_few_the_doubt_of_the_model_itself_counts_once_more() -> None:
    rng = np.random.default_rng(2)
    p = rng.dirichlet([1.0] * 3, 40).astype(np.float32)
    given = np.array([0] * 25 + [1] * 10 + [2] * 5)
    odds = rng.normal(size=40).astype(np.float32)
    few = FEW * (1 / 25 + 1 / 10 + 1 / 5) / 3
    twin = [odd + few * np.log((1 - row[label]) / row[label]) for odd, row, label in zip(odds, p, given, strict=True)]
    np.testing.assert_allclose(doubted(odds, p, given), twin, rtol=1e-4, atol=1e-4)
    sure = np.where(np.arange(40) % 2 == 0, 700.0, -700.0).astype(np.float32)
    assert np.abs(doubted(sure, p, given)).max() < 30 + few * 20


def test_another_order_leaves_as_many_as_suspect() -> None:
    values, order = np.array([0.1, 0.9, 0.5, 0.2]), np.array([3.0, 1.0, 3.0, 2.0])
    assert dealt(values, order).tolist() == [0.9, 0.1, 0.5, 0.2]


def test_a_handful_of_pictures_of_each_of_many_classes_are_in_a_fair_order() -> None:
    rng = np.random.default_rng(3)
    true = np.repeat(np.arange(80), 3)
    logits = rng.normal(size=(240, 80)) + 4 * np.eye(80)[true]
    wrong = rng.random(240) < 0.1
    p = softmax(logits.astype(np.float32))
    given = np.where(wrong, (true + 1) % 80, true)
    ranked = rank_labels(given, probabilities=p, classes=range(80))
    by_hand = average_precision_score(wrong, 1 - p[np.arange(240), given])
    assert average_precision_score(wrong, ranked["suspicion"]) > by_hand - 0.05


def test_a_picture_that_a_class_has_alone_is_judged_by_the_predictions() -> None:
    logits, given, _ = network()
    p = np.column_stack([0.9 * softmax(logits), np.full(500, 0.1)]).astype(np.float32)
    p[7] = [0.01, 0.01, 0.01, 0.01, 0.01, 0.95]
    p[8] = [0.95, 0.01, 0.01, 0.01, 0.01, 0.01]
    labels = given.copy()
    for row in (7, 8):
        labels[row] = 5
        ranked = rank_labels(labels, probabilities=p, classes=range(6))
        labels[row] = given[row]
        assert (ranked["suspicion"].iloc[row] > 0.5) == (row == 8)


@pytest.mark.parametrize("rows", [2, 3, 200])
def test_predictions_that_say_the_same_of_every_picture_are_ranked_without_a_verdict(rows: int) -> None:
    given = ["a", "b"] * (rows // 2) + ["a"] * (rows % 2)
    ranked = rank_labels(given, probabilities=np.tile([[0.5, 0.5]], (rows, 1)))
    assert np.isfinite(ranked.select_dtypes("number").to_numpy()).all()
    assert ranked["suspicion"].between(0, 1).all()
    assert ranked.groupby(np.array(given))["suspicion"].nunique().max() == 1 or rows == 3


def test_two_rows_are_judged_by_what_is_said_of_them() -> None:
    ranked = rank_labels(["a", "b"], probabilities=[[0.1, 0.9], [0.05, 0.95]])
    assert ranked["suspicion"].iloc[0] > ranked["suspicion"].iloc[1]
    assert ranked["rank"].tolist() == [1, 2]


@pytest.mark.slow
@pytest.mark.parametrize("network", ["linear", "perceptron", "neighbours", "discriminant"])
def test_errors_that_go_one_way_are_found_better_than_by_any_score_of_the_same_predictions(network: str) -> None:
    predictions = pytest.importorskip("bench.predictions", reason="needs cleanlab and scikit-learn")
    data = next(each for each in predictions.bundled(12) if each.name == "digits, asymmetric 20 %")
    columns, model = predictions.networks(data.features.shape[1], 0)[network]
    p = predictions.held_out(data.features[:, columns], data.given, model)
    forms = ["as it is", "two digits", "sharpened", "below 2 % zero"]
    tables = list(predictions.measured(data, network, p, forms, 0))
    assert [table.form for table in tables] == forms
    assert min(table.now[0] for table in tables) > 0


def test_the_verdicts_of_people_are_brought_to_the_rows_that_they_saw(tmp_path: Path) -> None:
    predictions = pytest.importorskip("bench.predictions", reason="needs cleanlab and scikit-learn")
    for folder in ("cross_validated_predicted_probabilities", "original_test_labels", "mturk", "dataset_indexing"):
        (tmp_path / folder).mkdir()
    p, given = np.full((4, 2), 0.5), np.array([0, 1, 1, 0], dtype=np.uint16)
    votes = {"given": 1, "guessed": 4}, {"given": 1, "guessed": 2, "neither": 0, "both": 2}
    for name, ids in {"digits": (2, 0), "texts": ("test/neg/7_1", "test/pos/3_9")}.items():
        np.save(tmp_path / f"cross_validated_predicted_probabilities/{name}_test_set_pyx.npy", p)
        np.save(tmp_path / f"original_test_labels/{name}_test_set_original_labels.npy", given)
        verdicts = [{"id": row, "mturk": said} for row, said in zip(ids, votes, strict=True)]
        (tmp_path / f"mturk/{name}_mturk.json").write_text(json.dumps(verdicts))
    files = ["pos/3_9.txt", "pos/4_9.txt", "neg/7_1.txt", "neg/8_1.txt"]
    (tmp_path / "dataset_indexing/texts_test_set_index_to_filename.json").write_text(json.dumps(files))
    for (data, table, asked), name in zip(predictions.published(tmp_path), ("digits", "texts"), strict=True):
        assert data.name == name and (table == p).all() and (data.given == given).all()
        assert asked.tolist() == [True, False, True, False]
        assert data.wrong.tolist() == [False, False, True, False]
