"""The K-fold probe and the discriminant against scikit-learn and against hand-made data."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression

from gradattn_core.errors import RankingError
from gradattn_core.ranking import discriminant, linear
from gradattn_core.ranking import probe as probe_module
from gradattn_core.ranking.arrays import log_softmax, softmax
from gradattn_core.ranking.discriminant import fit_discriminant
from gradattn_core.ranking.linear import make_basis
from gradattn_core.ranking.probe import crossval_probe, fit_probe, fit_softmax
from gradattn_core.ranking.shortlist import every_class, likeliest
from gradattn_core.records import FloatArray


def clusters(rows: int, width: int, classes: int, seed: int = 0) -> tuple[FloatArray, np.ndarray]:
    rng = np.random.default_rng(seed)
    codes = np.arange(rows) % classes
    centres = 1.5 * rng.normal(size=(classes, width))
    return (centres[codes] + rng.normal(size=(rows, width))).astype(np.float32), codes


@pytest.mark.parametrize(("rows", "width"), [(200, 12), (60, 90)])
def test_logits_are_exactly_the_returned_linear_map_of_the_raw_features(rows: int, width: int) -> None:
    features, codes = clusters(rows, width, 3)
    features = features * 7 + 100
    folds = np.arange(rows) // 3 % 4 * 10
    result = crossval_probe(features, codes, folds)
    assert result.weights.shape == (4, 3, width)
    assert result.folds.tolist() == [0, 10, 20, 30]
    for n in range(rows):
        fold = result.fold_index[n]
        expected = features[n].astype(np.float64) @ result.weights[fold].T.astype(np.float64) + result.bias[fold]
        np.testing.assert_allclose(result.logits[n], expected, atol=2e-3)
    out = np.zeros_like(result.logits)
    assert crossval_probe(features, codes, folds, out=out).logits is out
    np.testing.assert_array_equal(out, result.logits)


def test_the_fit_is_the_ridge_penalised_logistic_regression_of_scikit_learn() -> None:
    features, codes = clusters(150, 6, 3)
    basis = make_basis(features)
    weight = np.random.default_rng(1).random(150).astype(np.float32)
    ours = fit_softmax(basis.points, codes, weight, 3, basis.variances, penalty=0.05)
    theirs = LogisticRegression(C=1 / (0.05 * weight.sum()), tol=1e-8, max_iter=2000)
    theirs.fit(basis.points, codes, sample_weight=weight)
    logits = basis.points @ ours[:, :-1].T + ours[:, -1]
    np.testing.assert_allclose(softmax(logits), theirs.predict_proba(basis.points), atol=0.005)


def test_the_basis_keeps_all_distances_of_the_standardised_features() -> None:
    for features in (clusters(80, 10, 2)[0], clusters(20, 50, 2)[0]):
        basis = make_basis(features)
        standard = (features - features.mean(axis=0)) / features.std(axis=0)
        np.testing.assert_allclose(basis.points @ basis.points.T, standard @ standard.T, atol=2e-3)


def test_a_basis_of_too_many_numbers_keeps_the_axes_of_most_variance(monkeypatch: pytest.MonkeyPatch) -> None:
    shared = clusters(80, 10, 2)[0] @ np.ones((10, 10), dtype=np.float32)
    features = (shared + clusters(80, 10, 3, seed=1)[0]).astype(np.float32)
    whole = make_basis(features)
    monkeypatch.setattr(linear, "POINTS", 80 * 4)
    part = make_basis(features)
    assert part.points.shape == (80, 4)
    np.testing.assert_allclose(np.abs(part.points), np.abs(whole.points[:, :4]), atol=1e-4)
    assert (np.diff(whole.variances) <= 0).all()


def test_an_image_is_judged_without_its_own_label(monkeypatch: pytest.MonkeyPatch) -> None:
    features, codes = clusters(100, 5, 2)
    folds = np.arange(100) // 2 % 5
    changed = codes.copy()
    changed[folds == 0] = 1 - changed[folds == 0]
    monkeypatch.setattr(probe_module, "PENALTIES", (0.1,))
    before = crossval_probe(features, codes, folds).logits
    after = crossval_probe(features, changed, folds).logits
    np.testing.assert_array_equal(before[folds == 0], after[folds == 0])
    assert np.abs(before[folds != 0] - after[folds != 0]).max() > 0.1


def test_a_class_absent_from_a_training_part_gets_a_small_constant_probability() -> None:
    features, codes = clusters(61, 5, 2)
    codes[60] = 2
    result = crossval_probe(features, codes, np.arange(61) % 5)
    fold = result.fold_index[60]
    assert not result.weights[fold, 2].any()
    assert 0 < softmax(result.logits)[60, 2] < 0.2


def test_constant_features_give_the_class_shares() -> None:
    codes = np.array([0, 0, 0, 1] * 20)
    result = crossval_probe(np.full((80, 3), 4.0), codes, np.arange(80) // 4 % 5)
    np.testing.assert_allclose(softmax(result.logits)[:, 1], 0.25, atol=0.01)


def test_the_discriminant_is_shrunk_lda_up_to_one_temperature() -> None:
    features, codes = clusters(120, 4, 3)
    points = make_basis(features).points
    folds = np.arange(120) // 3 % 5
    ours = fit_discriminant(points, codes, 3, folds).log_p(every_class(codes, 3))
    agreement = []
    for fold in range(5):
        held = folds == fold
        lda = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.05).fit(points[~held], codes[~held])
        agreement.append(np.mean(lda.predict(points[held]) == ours[held].argmax(axis=1)))
    assert np.mean(agreement) > 0.97
    np.testing.assert_allclose(np.exp(ours).sum(axis=1), 1, atol=1e-4)


def test_the_discriminant_is_its_formula_on_each_training_part(monkeypatch: pytest.MonkeyPatch) -> None:
    features, codes = clusters(90, 4, 3)
    points = make_basis(features).points
    folds = np.arange(90) // 3 % 3
    trust = np.random.default_rng(2).random(90).astype(np.float32)
    monkeypatch.setattr(discriminant, "SHRINKAGES", (0.3,))
    ours = fit_discriminant(points, codes, 3, folds, trust).logits(slice(None))
    expected = np.empty((90, 3))
    for fold in range(3):
        held = folds == fold
        x, y, w = points[~held].astype(float), codes[~held], trust[~held].astype(float)
        means = np.stack([np.average(x[y == k], axis=0, weights=w[y == k]) for k in range(3)])
        within = ((x - means[y]).T * w) @ (x - means[y]) / w.sum()
        precision = np.linalg.inv(within + 0.3 * np.trace(within) / 4 * np.eye(4))
        for k in range(3):
            constant = np.log(w[y == k].sum() / w.sum()) - 0.5 * means[k] @ precision @ means[k]
            expected[held, k] = points[held] @ precision @ means[k] + constant
    factor = np.sum(ours * expected) / np.sum(expected**2)
    assert factor > 0
    np.testing.assert_allclose(ours, factor * expected, rtol=1e-3, atol=1e-3)


def test_an_untrusted_image_does_not_move_the_discriminant() -> None:
    features, codes = clusters(90, 4, 3)
    points = make_basis(features).points
    folds = np.arange(90) // 3 % 3
    wrong = codes.copy()
    wrong[0] = (codes[0] + 1) % 3
    trust = np.ones(90, dtype=np.float32)
    trust[0] = 0
    clean = fit_discriminant(points, codes, 3, folds, trust).logits(slice(None))
    dirty = fit_discriminant(points, wrong, 3, folds, trust).logits(slice(None))
    np.testing.assert_allclose(clean, dirty, atol=1e-4)


def test_of_too_many_images_each_class_gives_equally_many_that_stand_for_the_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    codes = np.repeat(np.arange(3), [200, 50, 4])
    training, represented = probe_module._training_rows(codes, 90)
    assert np.bincount(codes[training]).tolist() == [30, 30, 4]
    assert represented[training].sum() == pytest.approx(254)
    features, codes = clusters(400, 6, 4)
    basis, folds = make_basis(features), np.arange(400) // 4 % 5
    whole = fit_probe(basis, codes, 4, folds)
    monkeypatch.setattr(probe_module, "OUTPUTS", 4 * 240)
    part = fit_probe(basis, codes, 4, folds)
    agreement = part.classifiers.logits(slice(None)).argmax(1) == whole.classifiers.logits(slice(None)).argmax(1)
    assert not np.array_equal(part.classifiers.coefficients, whole.classifiers.coefficients)
    assert agreement.mean() > 0.95


def test_what_is_said_at_the_shortlist_is_what_is_said_of_all_classes_there() -> None:
    features, codes = clusters(300, 6, 40)
    said = fit_discriminant(make_basis(features).points, codes, 40, np.arange(300) % 5)
    shortlist = likeliest(lambda rows: log_softmax(said.logits(rows)), codes, 40)
    everything = log_softmax(said.logits(slice(None)))
    assert shortlist.index.shape == (300, 24)
    assert (said.log_p(shortlist) == np.take_along_axis(everything, shortlist.index, axis=1)).all()
    every = every_class(codes, 40)
    assert (said.log_p(every) == everything).all()


def test_log_softmax_stays_finite_for_huge_logits() -> None:
    assert np.isfinite(log_softmax(np.array([[1e4, -1e4], [0, 0]], dtype=np.float32))).all()


@pytest.mark.parametrize(
    ("features", "given", "folds", "word"),
    [
        (np.array([[np.nan], [1], [2], [3]]), [0, 1, 0, 1], [0, 0, 1, 1], "features"),
        (np.ones((3, 2)), [0, 1, 0, 1], [0, 0, 1, 1], "features"),
        (np.ones((4, 2)), [0, 0, 0, 0], [0, 0, 1, 1], "given"),
        (np.ones((4, 2)), ["a", "b", "a", "b"], [0, 0, 1, 1], "given"),
        (np.ones((4, 2)), [0, 1, 0, 1], [5, 5, 5, 5], "folds"),
        (np.ones((4, 2)), [0, 1, 0, 1], [0, 1], "folds"),
    ],
)
def test_bad_input_is_refused_by_the_name_of_the_argument(
    features: object, given: object, folds: object, word: str
) -> None:
    with pytest.raises(RankingError, match=word):
        crossval_probe(features, given, folds)  # type: ignore[arg-type]
