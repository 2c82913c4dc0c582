"""Neighbours, clusters and exemplars against brute force, and the numbers that go with class pairs."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from gradattn_core.ranking import arrays, lookalikes
from gradattn_core.ranking.lookalikes import ALIKE, clusters, directions, exemplars, similar_images, unlikeness
from gradattn_core.ranking.noise import class_pairs
from gradattn_core.records import FloatArray


def blobs(rows: int, classes: int, seed: int = 0) -> tuple[FloatArray, np.ndarray]:
    """Unit directions in ``classes`` bundles, and the bundle of each row."""
    random = np.random.default_rng(seed)
    codes = np.sort(random.integers(0, classes, rows))
    features = 2 * random.standard_normal((classes, 16))[codes] + random.standard_normal((rows, 16))
    return directions(features.astype(np.float32)), codes


def test_directions_are_standardised_rows_of_length_one() -> None:
    random = np.random.default_rng(1)
    features = (random.standard_normal((50, 4)) * [1, 10, 100, 0] + [0, 5, 1000, 3]).astype(np.float32)
    wanted = (features[:, :3] - features[:, :3].mean(0)) / features[:, :3].std(0)
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    unit = directions(features)
    np.testing.assert_allclose(unit[:, :3], wanted, atol=1e-4)
    assert (unit[:, 3] == 0).all() and unit.dtype == np.float32
    assert (directions(np.ones((3, 2), np.float32)) == 0).all()
    assert directions(features, out=features) is features
    np.testing.assert_array_equal(features, unit)


@pytest.mark.parametrize("block", [1, 10_000, 64 * 2**20])
def test_the_neighbours_are_those_of_brute_force(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(arrays, "NUMBERS", block)
    monkeypatch.setattr(arrays, "MANY", block)
    unit, _ = blobs(80, 4)
    unit[7] = unit[3]
    wanted = np.array([3, 50, 0, 79, 7])
    found = similar_images(unit, wanted)
    for row, index, similarity in zip(wanted, found.index, found.similarity, strict=True):
        cosines = {other: float(unit[row] @ unit[other]) for other in range(80) if other != row}
        best = sorted(cosines, key=lambda other: (-round(cosines[other], 5), other))[:6]
        assert index.tolist() == best
        np.testing.assert_allclose(similarity, [cosines[other] for other in best], atol=1e-5)
    assert found.index[0, 0] == 7 and found.index[4, 0] == 3


@pytest.mark.parametrize(("rows", "wanted"), [(1, [0]), (2, [1]), (4, [0, 3]), (9, [])])
def test_few_images_have_few_neighbours(rows: int, wanted: list[int]) -> None:
    unit, _ = blobs(max(rows, 2), 2)
    found = similar_images(unit[:rows], np.array(wanted, dtype=np.int64))
    assert found.index.shape == found.similarity.shape == (len(wanted), min(6, rows - 1))


@pytest.mark.parametrize("block", [1, 2_000, 64 * 2**20])
def test_clusters_are_founded_by_the_most_suspect_that_is_left(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(lookalikes, "MANY", block)
    unit, _ = blobs(120, 6, seed=3)
    suspects = np.random.default_rng(2).permutation(120)[:70]
    founders: list[int] = []
    wanted = []
    for suspect in suspects:
        alike = [number for number, founder in enumerate(founders) if unit[founder] @ unit[suspect] >= ALIKE]
        if not alike:
            founders.append(suspect)
        wanted.append(alike[0] if alike else len(founders) - 1)
    number = clusters(unit, suspects)
    assert number.tolist() == wanted
    assert number[0] == 0 and 1 < number.max() + 1 < 70
    assert clusters(unit, suspects[:0]).tolist() == []


def test_exemplars_are_sure_typical_and_distinct() -> None:
    unit, codes = blobs(200, 3, seed=5)
    random = np.random.default_rng(6)
    suspicion = random.uniform(0, 0.2, 200)
    suspects = random.random(200) < 0.2
    contents = [f"{row // 2}" for row in range(200)]
    chosen = exemplars(unit, codes, suspicion, suspects, contents, near_duplicate=0.97)
    for code, rows in enumerate(chosen):
        assert len(rows) == 8 and (codes[rows] == code).all() and not suspects[rows].any()
        assert (suspicion[rows] <= np.median(suspicion[codes == code])).all()
        assert len({contents[row] for row in rows}) == 8
        assert (unit[rows] @ unit[rows].T - np.eye(8)).max() < 0.97
        members = codes == code
        centre = ((1 - suspicion[members])[:, None] * unit[members]).sum(0)
        assert (np.diff(unit[rows] @ centre) <= 1e-5).all()
    least = exemplars(None, codes, suspicion, suspects, contents, near_duplicate=0.97)
    assert all((np.diff(suspicion[rows]) >= 0).all() for rows in least)


def test_a_class_of_suspects_only_has_no_exemplar() -> None:
    unit, _ = blobs(6, 2)
    codes = np.array([0, 0, 0, 1, 1, 1])
    chosen = exemplars(unit, codes, np.full(6, 0.5), codes == 0, list("abcdef"), 2.0)
    assert [len(rows) for rows in chosen] == [0, 3]


def test_unlikeness_is_the_distance_to_the_nearest_class_in_its_own_spread() -> None:
    unit, codes = blobs(150, 3, seed=9)
    trust = np.random.default_rng(1).uniform(0.5, 1, 150).astype(np.float32)
    sure, rows = np.arange(0, 150, 2), np.arange(1, 150, 2)

    def slow(row: int) -> float:
        values = []
        for code in range(3):
            members = np.flatnonzero(codes == code)
            centre = (trust[members, None] * unit[members]).sum(0)
            centre /= np.linalg.norm(centre)
            own = np.array([unit[other] @ centre for other in sure if codes[other] == code])
            spread = 1.4826 * np.median(np.abs(own - np.median(own)))
            values.append((np.median(own) - unit[row] @ centre) / spread)
        return float(min(values))

    value, farther = unlikeness(unit, codes, trust, rows, sure)
    assert value.tolist() == pytest.approx([slow(int(row)) for row in rows], rel=1e-3, abs=1e-3)
    usual = np.array([slow(int(row)) for row in sure])
    shares = [float((usual >= slow(int(row))).mean()) for row in rows]
    assert farther.tolist() == pytest.approx(shares, abs=1.5 / len(sure))
    # At a right angle to every class.
    strange = np.vstack([unit, np.linalg.svd([unit[codes == code].mean(0) for code in range(3)])[2][-1:]])
    far = unlikeness(strange.astype(np.float32), np.append(codes, 0), np.append(trust, 0), np.array([150]), sure)
    assert far[1][0] == 0


def test_without_sure_images_unlikeness_is_not_known() -> None:
    unit, codes = blobs(10, 2)
    value, farther = unlikeness(unit, codes, np.ones(10, np.float32), np.arange(10), np.arange(0))
    assert np.isnan(value).all() and np.isnan(farther).all()


def ranked(suggested: list[str]) -> pd.DataFrame:
    return pd.DataFrame({"suggested_label": suggested, "suspicion": 0.9})


def test_lift_is_observed_over_expected_under_independence() -> None:
    given = ["a"] * 6 + ["b"] * 3 + ["c"] * 3
    suggested = ["b"] * 4 + ["c"] * 2 + ["a", "c", "c"] + ["a", "a", "b"]
    pairs = class_pairs(given, ranked(suggested))
    for row in pairs.to_dict("records"):
        of_given = sum(label == row["given_label"] for label in given)
        foreign = [label for label in suggested if label != row["given_label"]]
        share = sum(label == row["suggested_label"] for label in foreign) / len(foreign)
        assert row["lift"] == pytest.approx(row["suspects"] / (of_given * share))


def test_with_two_classes_every_lift_is_one() -> None:
    pairs = class_pairs(["a"] * 5 + ["b"] * 2, ranked(["b"] * 5 + ["a"] * 2))
    assert pairs["lift"].tolist() == [1.0, 1.0]
    assert class_pairs(["a", "b"], ranked(["b", "a"]), threshold=1.0)["lift"].empty
