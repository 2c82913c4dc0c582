"""Rare classes, tiny ones and clean ones: how many labels are believed to be wrong there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.stats import norm, spearmanr
from sklearn.datasets import load_digits
from sklearn.metrics import average_precision_score

from gradattn_core.audit.plan import survey_dataset
from gradattn_core.config import AuditConfig
from gradattn_core.errors import DatasetError
from gradattn_core.ranking import discriminant, few, probe
from gradattn_core.ranking.few import LEAST, overlap_factor, too_few
from gradattn_core.ranking.shortlist import every_class
from gradattn_core.ranking.suspicion import rank_labels
from gradattn_core.records import FloatArray, IntArray


def drawn(sizes: list[int], apart: float, seed: int, width: int = 30) -> tuple[FloatArray, IntArray]:
    """Features of normal classes and their true class numbers; centres are about ``apart`` · √(2 · width) apart."""
    rng = np.random.default_rng(seed)
    true = np.repeat(np.arange(len(sizes)), sizes)
    centres = apart * rng.normal(size=(len(sizes), width))
    return (centres[true] + rng.normal(size=(len(true), width))).astype(np.float32), true


def digits(sizes: list[int], seed: int) -> tuple[FloatArray, IntArray]:
    """Of so many digits as there are sizes, drawn at random, so many pictures each."""
    rng = np.random.default_rng(seed)
    data = load_digits()
    chosen = rng.permutation(10)[: len(sizes)]
    rows = [
        rng.permutation(np.flatnonzero(data.target == digit))[:size] for digit, size in zip(chosen, sizes, strict=True)
    ]
    return data.data[np.concatenate(rows)].astype(np.float32), np.repeat(np.arange(len(sizes)), sizes)


@pytest.mark.parametrize(("common", "rare"), [(240, 120), (300, 100), (300, 60), (400, 40), (400, 20)])
def test_a_third_of_a_rare_class_under_a_common_one_is_estimated_within_a_factor_of_two(common: int, rare: int) -> None:
    lost = np.arange(common, common + rare // 3)
    estimates = []
    for seed in (3, 4, 5):
        features, true = drawn([common, rare], 1.0, seed)
        given = true.copy()
        given[lost] = 0
        suspicion = rank_labels(given, features)["suspicion"].to_numpy()
        assert set(np.argsort(-suspicion)[: len(lost)]) == set(lost)
        estimates.append(suspicion.sum())
    # One set alone may say less at 20 : 1, where six labels are all there is to go by.
    assert len(lost) / 2 <= np.mean(estimates) <= 2 * len(lost)


@pytest.mark.parametrize("apart", [0.3, 0.45])
@pytest.mark.parametrize("classes", [2, 5, 10])
def test_small_overlapping_classes_whose_labels_are_right_are_not_called_wrong(classes: int, apart: float) -> None:
    sums, above = [], []
    for seed in range(3):
        sizes = np.random.default_rng(seed).integers(8, 31, classes).tolist()
        features, true = drawn(sizes, apart, seed)
        suspicion = rank_labels(true, features)["suspicion"].to_numpy()
        sums.append(suspicion.mean())
        above.append([(suspicion > 0.5).mean(), (suspicion > 0.9).mean()])
    assert np.mean(sums) <= 0.03
    assert (np.mean(above, axis=0) <= [0.02, 0.004]).all()


def test_rare_right_classes_among_noisy_common_ones_are_not_called_wrong() -> None:
    features, true = digits([9, 14, 20, 60, 60, 60, 60, 60], seed=1)
    rng = np.random.default_rng(1)
    wrong = (rng.random(len(true)) < 0.15) & (true > 2)
    given = np.where(wrong, 3 + (true - 3 + rng.integers(1, 5, len(true))) % 5, true)
    suspicion = rank_labels(given, features)["suspicion"].to_numpy()
    assert (suspicion[true <= 2] > 0.5).mean() <= 0.02
    assert suspicion.sum() == pytest.approx(wrong.sum(), rel=0.3)


def test_wrong_labels_of_small_classes_that_are_well_apart_are_still_found() -> None:
    features, true = drawn([30] * 5, 1.0, seed=2)
    rng = np.random.default_rng(2)
    wrong = rng.permutation(150) < 15
    given = np.where(wrong, (true + rng.integers(1, 5, 150)) % 5, true)
    suspicion = rank_labels(given, features)["suspicion"].to_numpy()
    assert ((suspicion > 0.5) == wrong).mean() > 0.98
    assert 8 <= suspicion.sum() <= 20


def factor_of_one_image_at_a_time(log_clean: FloatArray, given: IntArray) -> float:
    """What small classes keep, by the formula in the docstring, one image at a time."""
    margins: dict[int, list[float]] = {}
    for row, label in zip(log_clean.astype(float), given.tolist(), strict=True):
        margins.setdefault(label, []).append(row[label] - max(row[k] for k in range(len(row)) if k != label))
    c = e = 0.0
    for values in margins.values():
        middle, upper = np.median(values), np.percentile(values, 75)
        c += sum(value < 0 for value in values)
        mirrored = len(values) if middle <= 0 else sum(value > 2 * middle for value in values)
        e += (mirrored + len(values) * norm.cdf(-middle / ((upper - middle) / 0.6745))) / 2
    return float(min(max((c - e - e**0.5 / 2) / c, LEAST), 1.0))


@pytest.mark.parametrize(("shift", "scale"), [(0.2, 1.0), (3.0, 1.0), (3.0, 3.0)])
def test_the_share_that_overlap_does_not_explain_is_that_of_the_formula(shift: float, scale: float) -> None:
    rng = np.random.default_rng(4)
    given = np.repeat(np.arange(3), [10, 20, 30])
    log_clean = scale * rng.normal(size=(60, 3)).astype(np.float32)
    log_clean[np.arange(60), given] += shift
    log_clean[:4, 0] -= 20
    factor = overlap_factor(log_clean, every_class(given, 3))
    np.testing.assert_allclose(factor, factor_of_one_image_at_a_time(log_clean, given))


def test_large_classes_keep_their_suspicions_and_those_between_keep_part() -> None:
    rng = np.random.default_rng(5)
    given = np.repeat(np.arange(3), [200, 41, 10])
    factor = overlap_factor(rng.normal(size=(251, 3)).astype(np.float32), every_class(given, 3))
    assert (factor[given == 0] == 1).all()
    np.testing.assert_allclose(factor[given == 1], (1 + LEAST) / 2)
    np.testing.assert_allclose(factor[given == 2], LEAST)


def test_labels_of_one_picture_each_are_refused_and_of_a_handful_noted() -> None:
    refusal, note = too_few([str(number) for number in range(60)], "the column 'id'")
    assert refusal.startswith("60 labels for 60 pictures, one each") and "is the column 'id' the right" in refusal
    assert not note
    refusal, note = too_few([str(number // 2) for number in range(4000)], "the name of the folder")
    assert not refusal and note.startswith("2,000 labels for 4,000 pictures, most of them with 2 or fewer")
    fives = [str(number // 5) for number in range(10_000)]
    assert "most of them with 5 or fewer" in too_few(fives, "the name of the folder")[1]
    assert too_few([*fives, *map(str, range(2000))], "the name of the folder") == ("", "")
    assert too_few(["a"] * 30 + ["b"], "the name of the folder") == ("", "")
    assert too_few(["a"] * 30, "the name of the folder") == ("", "")


def test_an_audit_of_labels_of_one_picture_each_ends_before_the_sweep(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / "set" / str(number)).mkdir(parents=True)
        Image.new("RGB", (20, 20), (80 * number, 0, 0)).save(tmp_path / "set" / str(number) / "a.png")
    config = AuditConfig(dataset=str(tmp_path / "set"), out=str(tmp_path / "out"))
    with pytest.raises(DatasetError, match="3 labels for 3 pictures, one each"):
        survey_dataset(config)


def probe_work(given: IntArray, features: FloatArray, monkeypatch: pytest.MonkeyPatch) -> tuple[float, FloatArray]:
    """Images by classes by axes of all the probe's losses, and the suspicion."""
    work, usual = [0], probe._loss

    def counted(points: FloatArray, codes: IntArray, share: FloatArray) -> Callable[..., tuple[float, FloatArray]]:
        loss_of = usual(points, codes, share)

        def loss(coefficients: FloatArray) -> tuple[float, FloatArray]:
            work[0] += points.size * len(coefficients)
            return loss_of(coefficients)

        return loss

    with monkeypatch.context() as patch:
        patch.setattr(probe, "_loss", counted)
        suspicion = rank_labels(given, features)["suspicion"].to_numpy()
    return work[0], suspicion


def test_many_classes_of_a_handful_are_fitted_for_a_fraction_of_the_work_and_ranked_as_well(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(0)
    true = np.arange(750) % 150
    latent = rng.normal(size=(150, 24))[true] + 0.4 * rng.normal(size=(750, 24))
    features = np.maximum(latent @ rng.normal(size=(24, 96)), 0) + 0.3 * rng.normal(size=(750, 96))
    given = np.where(rng.random(750) < 0.08, (true + rng.integers(1, 150, 750)) % 150, true)
    for module in (probe, discriminant):
        monkeypatch.setattr(module, "DEAR", 0)
    before, slow = probe_work(given, features.astype(np.float32), monkeypatch)
    monkeypatch.setattr(few, "COSTLY", 0)
    after, fast = probe_work(given, features.astype(np.float32), monkeypatch)
    assert after < before / 2
    scores = [average_precision_score(given != true, suspicion) for suspicion in (slow, fast)]
    assert scores[1] > scores[0] - 0.002
    assert spearmanr(slow, fast)[0] > 0.9
    # Five and a half pictures a class are a handful, and ten none.
    assert few.cut_short(11_000, 2000, 1536) and not few.cut_short(20_000, 2000, 1536)
