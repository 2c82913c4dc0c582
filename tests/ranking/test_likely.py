"""The likeliest classes of an image are those of its ranking, in their order, with the same probabilities."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from gradattn_core.ranking.likely import KEPT, Judgement
from gradattn_core.ranking.suspicion import judge_labels, rank_labels


@pytest.fixture(scope="module")
def judged() -> tuple[Judgement, list[str]]:
    rng = np.random.default_rng(3)
    true = rng.integers(0, 12, 900)
    features = (rng.normal(size=(12, 20))[true] + rng.normal(size=(900, 20))).astype(np.float32)
    wrong = rng.random(900) < 0.15
    given = [f"class {code:02}" for code in np.where(wrong, (true + rng.integers(1, 12, 900)) % 12, true)]
    # Copies under two labels, of which one is right at most.
    features[1], given[0], given[1] = features[0], "class 00", "class 05"
    return judge_labels(given, features, seed=1), given


def test_the_ranking_is_the_same_to_the_bit(judged: tuple[Judgement, list[str]]) -> None:
    judgement, given = judged
    rng = np.random.default_rng(3)
    true = rng.integers(0, 12, 900)
    features = (rng.normal(size=(12, 20))[true] + rng.normal(size=(900, 20))).astype(np.float32)
    features[1] = features[0]
    pd.testing.assert_frame_equal(rank_labels(given, features, seed=1), judgement.frame)


def test_given_suggested_and_runner_up_have_the_probabilities_of_the_ranking(
    judged: tuple[Judgement, list[str]],
) -> None:
    judgement, given = judged
    labels, probabilities = judgement.likely.of(np.arange(len(given)))
    for label, row, names, shares in zip(given, judgement.frame.to_dict("records"), labels, probabilities, strict=True):
        said = dict(zip(names, shares, strict=True))
        assert len(said) == len(names) <= KEPT + 1 and sum(shares) <= 1 + 1e-9
        assert list(shares) == sorted(shares, reverse=True)
        assert said[label] == pytest.approx(row["given_probability"], abs=1e-5)
        others = [name for name in names if name != label]
        assert others[:2] == [row["suggested_label"], row["runner_up_label"]] and len(others) == KEPT
        assert said[row["suggested_label"]] == pytest.approx(row["suggested_probability"], abs=1e-5)
        assert said[row["runner_up_label"]] == pytest.approx(row["runner_up_probability"], abs=1e-5)


def test_none_of_the_classes_takes_its_part_and_leaves_the_rest_to_the_others(
    judged: tuple[Judgement, list[str]],
) -> None:
    judgement, given = judged
    outside = np.random.default_rng(0).random(len(given))
    rows = np.array([5, 17, 400])
    plain, shares = judgement.likely.of(rows)
    labels, probabilities = judgement.likely.of(rows, outside)
    for place, row in enumerate(rows):
        said = dict(zip(labels[place], probabilities[place], strict=True))
        assert said.pop("") == pytest.approx(outside[row])
        assert list(said) == plain[place]
        assert list(said.values()) == pytest.approx(list(shares[place] * (1 - outside[row])))
        assert list(probabilities[place]) == sorted(probabilities[place], reverse=True)


def test_of_two_classes_both_are_named() -> None:
    rng = np.random.default_rng(0)
    features = np.concatenate([rng.normal(size=(60, 4)), rng.normal(size=(60, 4)) + 3]).astype(np.float32)
    judgement = judge_labels(["owl"] * 60 + ["kite"] * 60, features)
    [labels], [probabilities] = judgement.likely.of(np.array([0]))
    assert labels == ["owl", "kite"] and probabilities.sum() == pytest.approx(1)
