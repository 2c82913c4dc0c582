"""What a GPU computes of a ranking, on torch's own CPU, against numpy; and what is done otherwise where it is dear."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gradattn_core.errors import ModelError
from gradattn_core.ranking import accelerator, discriminant, neighbours, probe
from gradattn_core.ranking.accelerator import SoftmaxLoss, graphics_card, nearest_others
from gradattn_core.ranking.discriminant import fit_discriminant
from gradattn_core.ranking.linear import make_basis
from gradattn_core.ranking.neighbours import find_neighbours
from gradattn_core.ranking.probe import fit_probe
from gradattn_core.ranking.suspicion import rank_labels
from gradattn_core.records import FloatArray, IntArray

CPU = torch.device("cpu")


def clouds(rows: int, width: int, classes: int, apart: float = 1.5) -> tuple[FloatArray, IntArray]:
    rng = np.random.default_rng(3)
    codes = np.arange(rows) % classes
    centres = apart * rng.normal(size=(classes, width))
    return (centres[codes] + rng.normal(size=(rows, width))).astype(np.float32), codes


@pytest.mark.parametrize("block", [2**26, 700])
def test_the_nearest_are_those_that_numpy_finds(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(accelerator, "BLOCK", block)
    features, _ = clouds(300, 12, 3)
    queries = np.array([5, 0, 299, 17])
    for rows in (np.arange(300), queries):
        index, similarity = nearest_others(features, rows, 40, CPU)
        expected = find_neighbours(features, 40, rows)
        np.testing.assert_array_equal(index, expected.index)
        np.testing.assert_allclose(similarity, expected.similarity, atol=1e-6)


def test_of_equals_the_earlier_rows_are_nearest_whichever_of_them_are_left_out() -> None:
    features = np.repeat(np.eye(4, dtype=np.float32), 10, axis=0)
    index, similarity = nearest_others(features, np.array([0, 12, 39]), 4, CPU)
    assert index.tolist() == [[1, 2, 3, 4], [10, 11, 13, 14], [30, 31, 32, 33]]
    assert (similarity == 1).all()
    index, _ = nearest_others(features, np.array([12]), 12, CPU)
    assert index.tolist() == [[10, 11, *range(13, 20), 0, 1, 2]]
    everyone, _ = nearest_others(features, np.array([3]), 39, CPU)
    assert sorted(everyone[0]) == [row for row in range(40) if row != 3]


def test_the_loss_and_its_gradient_are_those_of_numpy() -> None:
    features, codes = clouds(200, 9, 5)
    rng = np.random.default_rng(0)
    share = rng.random(200).astype(np.float32)
    share /= share.sum()
    coefficients = rng.normal(size=(5, 10)).astype(np.float32)
    loss, gradient = SoftmaxLoss(features, codes, share, CPU)(coefficients)
    expected, slope = probe._loss(features, codes, share)(coefficients)
    assert loss == pytest.approx(expected, rel=1e-6)
    np.testing.assert_allclose(gradient, slope, atol=1e-6)


def test_a_ranking_on_a_device_is_that_of_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch on the processor in the place of a GPU, for everything that one would do."""
    features, codes = clouds(240, 16, 4, apart=0.8)
    codes[::9] = (codes[::9] + 1) % 4
    for module in (neighbours, probe, discriminant):
        monkeypatch.setattr(module, "DEAR", 0)
    expected = rank_labels(codes, features)
    asked: list[str] = []

    def pretended(name: str) -> torch.device | None:
        asked.append(name)
        return CPU if name == "cuda" else None

    for module in (neighbours, probe):
        monkeypatch.setattr(module, "graphics_card", pretended)
    ranked = rank_labels(codes, features, device="cuda")
    assert set(asked) == {"cuda"}
    np.testing.assert_allclose(ranked["suspicion"], expected["suspicion"], atol=2e-3)
    assert np.corrcoef(ranked["rank"], expected["rank"])[0, 1] > 0.999


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_ranks_as_the_processor_does(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (neighbours, probe, discriminant):
        monkeypatch.setattr(module, "DEAR", 0)
    features, codes = clouds(3000, 64, 10, apart=0.5)
    codes[::9] = (codes[::9] + 1) % 10
    expected, ranked = (rank_labels(codes, features, device=device) for device in ("cpu", "cuda"))
    np.testing.assert_allclose(ranked["suspicion"], expected["suspicion"], atol=5e-3)
    assert np.corrcoef(ranked["rank"], expected["rank"])[0, 1] > 0.999


def test_which_device_is_asked_for() -> None:
    assert graphics_card("cpu") is None
    assert torch.cuda.is_available() or graphics_card("auto") is None
    with pytest.raises(ModelError, match="'cuda:77' is not usable here"):
        graphics_card("cuda:77")


def test_a_dear_probe_predicts_as_well_and_leaves_idle_axes_out(monkeypatch: pytest.MonkeyPatch) -> None:
    features, codes = clouds(900, 30, 30, apart=0.7)
    features[:, 20:] *= 0
    features[:, 20:] += 1e-2 * np.random.default_rng(0).normal(size=(900, 10)).astype(np.float32)
    basis = make_basis(features)
    folds = np.arange(900) // 30 % 5
    usual = fit_probe(basis, codes, 30, folds)
    monkeypatch.setattr(probe, "DEAR", 0)
    dear = fit_probe(basis, codes, 30, folds)
    places = [probe.PENALTIES.index(fit.penalty) for fit in (usual, dear)]
    assert abs(places[0] - places[1]) <= 1
    assert dear.log_loss < 1.03 * usual.log_loss
    assert not (dear.classifiers.coefficients == usual.classifiers.coefficients).all()
    # The labels of held-out images have no say but in the penalty.
    changed = codes.copy()
    few = np.flatnonzero(folds == 3)[:5]
    changed[few] = (codes[few] + 1) % 30
    again = fit_probe(basis, changed, 30, folds)
    assert again.penalty == dear.penalty
    np.testing.assert_array_equal(again.classifiers.coefficients[3], dear.classifiers.coefficients[3])
    # So strong a penalty leaves nothing of the least axes, which are not even asked.
    monkeypatch.setattr(probe, "PENALTIES", (1.0,))
    monkeypatch.setattr(probe, "IDLE", float(np.median(basis.variances)) / 30)
    strong = fit_probe(basis, codes, 30, folds).classifiers.coefficients
    assert strong[:, :, : basis.points.shape[1] // 2].any()
    assert not strong[:, :, basis.points.shape[1] // 2 + 1 : -1].any()


def test_a_dear_discriminant_is_the_same_where_one_fold_chooses_as_all_do(monkeypatch: pytest.MonkeyPatch) -> None:
    features, codes = clouds(600, 20, 6, apart=0.6)
    points, folds = make_basis(features).points, np.arange(600) // 6 % 5
    usual = fit_discriminant(points, codes, 6, folds)
    monkeypatch.setattr(discriminant, "DEAR", 0)
    dear = fit_discriminant(points, codes, 6, folds)
    monkeypatch.setattr(discriminant, "SHRINKAGES", (discriminant.SHRINKAGES[-1],))
    most = fit_discriminant(points, codes, 6, folds)
    np.testing.assert_array_equal(dear.coefficients, usual.coefficients)
    assert np.abs(dear.coefficients - most.coefficients).max() > 0.01
