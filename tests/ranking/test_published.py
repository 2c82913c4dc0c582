"""The published ways of the bench against twins that take one image at a time, or against what defines them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from bench import published
from gradattn_core.ranking.arrays import unit_rows
from gradattn_core.ranking.linear import make_basis
from gradattn_core.records import FloatArray, IntArray

ROWS, CLASSES = 60, 3


@pytest.fixture
def images() -> tuple[FloatArray, IntArray]:
    """Standardised features of length one about three middles, and labels of which some are wrong."""
    rng = np.random.default_rng(5)
    given = np.arange(ROWS) % CLASSES
    features = 1.2 * rng.normal(size=(CLASSES, 8))[given] + rng.normal(size=(ROWS, 8))
    given[:6] = (given[:6] + 1) % CLASSES
    return unit_rows(make_basis(features.astype(np.float32)).points), given


def cosine(unit: FloatArray, n: int, m: int) -> float:
    return float(np.dot(unit[n].astype(float), unit[m].astype(float)))


def nearest_others(unit: FloatArray, n: int, count: int) -> list[int]:
    return sorted((m for m in range(len(unit)) if m != n), key=lambda m: -cosine(unit, n, m))[:count]


def test_selfclean_is_the_ratio_of_squared_distances(images: tuple[FloatArray, IntArray]) -> None:
    unit, given = images
    scores = published.selfclean(unit, given)
    for n in range(ROWS):
        others = [m for m in range(ROWS) if m != n]
        inside = min(1 - cosine(unit, n, m) for m in others if given[m] == given[n]) ** 2
        outside = min(1 - cosine(unit, n, m) for m in others if given[m] != given[n]) ** 2
        assert scores[n] == pytest.approx(inside / (inside + outside), abs=1e-4)
    lonely = given.copy()
    lonely[0] = CLASSES
    assert published.selfclean(unit, lonely)[0] == 1


def test_class_similarity_is_the_mean_of_the_nearest_of_each_class(images: tuple[FloatArray, IntArray]) -> None:
    unit, given = images
    given = given.copy()
    given[np.flatnonzero(given == 2)[4:]] = 0  # a class of four: the other three count
    scores = published.class_similarity(unit, given, nearest=5)
    for n in range(ROWS):
        means = []
        for k in range(CLASSES):
            members = [cosine(unit, n, m) for m in range(ROWS) if m != n and given[m] == k]
            count = min(5, int((given == k).sum()) - 1)
            means.append(sum(sorted(members)[-count:]) / count)
        other = max(mean for k, mean in enumerate(means) if k != given[n])
        assert scores[n] == pytest.approx(other - means[given[n]], abs=1e-5)


def test_local_vote_counts_the_image_itself_and_flags_what_is_outvoted(images: tuple[FloatArray, IntArray]) -> None:
    unit, given = images
    scores = published.local_vote(unit, given, nearest=5)
    flagged = 0
    for n in range(ROWS):
        found = nearest_others(unit, n, 5)
        votes = [0.0] * CLASSES
        for m in found:
            votes[given[m]] += max(cosine(unit, n, m), 0)
        votes[given[n]] += 2 * cosine(unit, n, found[0]) - cosine(unit, n, found[1])
        outvoted = max(range(CLASSES), key=votes.__getitem__) != given[n]
        length = math.sqrt(sum(vote**2 for vote in votes))
        assert scores[n] == pytest.approx(outvoted + 1 - votes[given[n]] / length, abs=1e-4)
        flagged += outvoted
    assert 0 < flagged < ROWS


def test_relations_are_signed_and_those_to_wrong_labels_turn_round(images: tuple[FloatArray, IntArray]) -> None:
    unit, given = images
    p = np.random.default_rng(2).dirichlet(np.ones(CLASSES), ROWS).astype(np.float32)
    p[np.arange(ROWS), (np.arange(ROWS) % CLASSES)] += 2
    p /= p.sum(axis=1, keepdims=True)

    def relation(n: int, m: int) -> float:
        strength = max(cosine(unit, n, m), 0) * float(p[n] @ p[m])
        return (1 if given[n] == given[m] else -1) * (strength**4 if strength > 0.03 else 0)

    table = [[relation(n, m) if n != m else 0.0 for m in range(ROWS)] for n in range(ROWS)]
    first = [sum(row) for row in table]
    wrong = {n for n in range(ROWS) if first[n] < -0.05 * max(map(abs, first))}
    assert wrong
    scores = published.relation_graph(unit, given, p)
    for n in range(ROWS):
        assert scores[n] == pytest.approx(-sum(-r if m in wrong else r for m, r in enumerate(table[n])), abs=1e-4)


def test_lemon_without_text_is_the_sum_of_its_three_distances(images: tuple[FloatArray, IntArray]) -> None:
    unit, given = images
    members = [[m for m in range(ROWS) if m != n and given[m] == given[n]] for n in range(ROWS)]
    text = []
    for n in range(ROWS):
        middle = sum(unit[m].astype(float) for m in members[n])
        text.append(1 - float(unit[n] @ middle / np.linalg.norm(middle)))
    scores = published.lemon(unit, given, nearest=7, weight=2, near=0.3, sure=4)
    for n in range(ROWS):
        by_images = sum(
            math.exp(-0.3 * (1 - cosine(unit, n, m)) - 4 * text[m])
            for m in nearest_others(unit, n, 7)
            if given[m] != given[n]
        )
        by_texts = sum((1 - cosine(unit, n, m)) * math.exp(-4 * text[m]) for m in members[n])
        expected = text[n] + 2 * (by_images / 7 + by_texts / len(members[n]))
        assert scores[n] == pytest.approx(expected, abs=1e-4)


def test_a_smooth_step_has_flat_ends_and_the_middle_in_the_middle() -> None:
    steps = published.smooth_step(np.array([-1, 0, 1e-3, 0.5, 1 - 1e-3, 1, 3], dtype=np.float32))
    assert steps == pytest.approx([0, 0, 0, 0.5, 1, 1, 1], abs=1e-5)
    assert (np.diff(published.smooth_step(np.linspace(0, 1, 50, dtype=np.float32))) >= 0).all()


def test_the_curves_of_planted_copies_draw_what_is_like_them() -> None:
    rng = np.random.default_rng(0)
    rising, flat = np.linspace(-1, 3, 10), np.full(10, -1.0)
    wrong = np.arange(100) < 20
    curves = np.where(wrong[:, None], flat, rising) + 0.1 * rng.normal(size=(100, 10))
    copies = flat + 0.1 * rng.normal(size=(10, 10))
    originals = np.arange(90, 100)
    share = published.two_clusters(np.concatenate([curves, copies]).astype(np.float32), np.arange(100, 110), originals)
    assert (share[:100][wrong] > 0.5).all() and (share[:100][~wrong] < 0.5).all()
    assert (share[100:] > 0.5).all()


def test_all_published_scores_find_planted_errors_and_are_named_once() -> None:
    rng = np.random.default_rng(1)
    true = np.arange(240) % 4
    features = (3 * rng.normal(size=(4, 12))[true] + rng.normal(size=(240, 12))).astype(np.float32)
    wrong = rng.random(240) < 0.1
    given = np.where(wrong, (true + rng.integers(1, 4, 240)) % 4, true)
    scores = published.published_scores(features, given)
    assert sum(name.startswith(published.CLEANLAB) for name in scores) == 8
    assert {"CYFLOD", "DynaCor", "neural relation graph", "LEMoN without text", "SimiFeat-V / Docta"} <= scores.keys()
    for name, score in scores.items():
        assert score.shape == (240,) and np.isfinite(score).all(), name
        assert roc_auc_score(wrong, score) > 0.9, name


def test_folds_are_stratified() -> None:
    given = np.repeat(np.arange(3), [10, 15, 6])
    folds = published.stratified_folds(given)
    for k in range(3):
        counts = np.bincount(folds[given == k], minlength=5)
        assert counts.max() - counts.min() <= 1
