"""A model that was trained on the labels it judges: found out, and left without a vote."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gradattn_core.audit.run import audit_images
from gradattn_core.errors import GradattnError, RankingError
from gradattn_core.ranking.suspicion import knows_by_heart, rank_labels
from gradattn_core.records import FloatArray
from gradattn_core.store.store import Store
from tests.helpers.tiny import Tiny, make_tiny

ROWS, CLASSES = 800, 5


def labelled(rate: float, seed: int = 0) -> tuple[FloatArray, np.ndarray, np.ndarray]:
    """Features of overlapping classes, given and true class numbers."""
    rng = np.random.default_rng(seed)
    true = rng.integers(0, CLASSES, ROWS)
    features = rng.normal(size=(CLASSES, 12))[true] + rng.normal(size=(ROWS, 12))
    wrong = rng.random(ROWS) < rate
    return features.astype(np.float32), np.where(wrong, (true + 1) % CLASSES, true), true


@pytest.mark.parametrize("rate", [0.06, 0.15, 0.4])
def test_who_names_the_wrong_labels_too_knows_them_by_heart(rate: float) -> None:
    features, given, true = labelled(rate)
    assert knows_by_heart(given, given, features)
    assert not knows_by_heart(given, true, features)


def test_who_names_nearly_all_of_clean_labels_is_fair() -> None:
    features, _, true = labelled(0)
    assert not knows_by_heart(true, true, features)


def test_who_knows_only_the_labels_that_are_easily_seen_is_fair() -> None:
    features, given, true = labelled(0.15)
    half = np.where(np.random.default_rng(1).random(ROWS) < 0.5, given, true)
    assert not knows_by_heart(given, half, features)


def test_of_a_few_doubtful_labels_nothing_is_told() -> None:
    features, given, _ = labelled(0.15)
    assert not knows_by_heart(given[:100], given[:100], features[:100])


def test_labels_may_be_text() -> None:
    features, given, true = labelled(0.15)
    names = np.array(["ant", "bee", "cat", "dog", "eel"])
    assert knows_by_heart(names[given].tolist(), names[given].tolist(), features)
    assert not knows_by_heart(names[given].tolist(), names[true].tolist(), features)


def test_features_of_other_images_are_refused() -> None:
    features, given, _ = labelled(0.15)
    with pytest.raises(RankingError, match="features"):
        knows_by_heart(given, given, features[:-1])


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return make_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.mark.parametrize("head", ["as-is", "probe"])
def test_a_model_said_to_be_trained_on_the_labels_has_no_vote(tiny: Tiny, tmp_path: Path, head: str) -> None:
    (tmp_path / "map.csv").write_text("label,output\nred,2\ngreen,0\nblue,1\n")
    class_map = str(tmp_path / "map.csv") if head == "as-is" else None
    config = tiny.config(tmp_path / "out", head=head, class_map=class_map, in_sample="yes")
    summary = audit_images(config)
    assert any("It had no vote" in warning for warning in summary.warnings)
    files = sorted((tmp_path / "out" / "features" / summary.audit_id).glob("sweep-*.parquet"))
    table = pa.concat_tables([pq.read_table(file) for file in files]).to_pandas()
    width = len(table["readout"][0])
    shallow = np.stack(table["features"].tolist()).astype(np.float32)[:, : 2 * width]
    expected = rank_labels(table["given_label"].tolist(), shallow).set_index(table["path"])["suspicion"]
    stored = Store(tmp_path / "out").candidates.page(summary.audit_id, min_suspicion=0.0).set_index("path")["suspicion"]
    assert len(stored)
    np.testing.assert_allclose(stored, expected[stored.index], atol=1e-5)


def test_a_fair_model_votes_and_nothing_is_said_of_it(tiny: Tiny, tmp_path: Path) -> None:
    summary = audit_images(tiny.config(tmp_path))
    assert not any("vote" in warning for warning in summary.warnings)


def test_another_answer_than_yes_no_and_auto_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    with pytest.raises(GradattnError, match="in_sample 'perhaps' is unknown; choose one of auto, yes, no"):
        tiny.config(tmp_path, in_sample="perhaps")
