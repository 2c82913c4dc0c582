"""The map of an audit: pictures that look alike lie near each other, the same every time, and what it says of each."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from gradattn_core.cli import main
from gradattn_core.embedding import embed, make_embedding, sample, similar_pictures
from gradattn_core.errors import StoreError
from gradattn_core.learning import read_features
from gradattn_core.ranking.lookalikes import directions
from tests.test_learning import COUNT, store_of


def test_classes_of_features_are_neighbourhoods_of_points_and_the_same_twice() -> None:
    rng = np.random.default_rng(4)
    classes = np.arange(300) % 3
    features = (rng.normal(size=(3, 24))[classes] * 2 + rng.normal(size=(300, 24))).astype(np.float32)
    told: list[tuple[str, int, int]] = []
    points = embed(features, lambda step, done, total: told.append((step, done, total)))
    assert points.shape == (300, 2) and points.dtype == np.float32
    assert np.allclose(points.mean(axis=0), 0, atol=1e-3)
    distances = np.linalg.norm(points[:, None] - points[None], axis=-1) + np.diag(np.full(300, np.inf))
    assert (classes[distances.argmin(axis=1)] == classes).mean() > 0.98
    assert told[0] == ("neighbours", 0, 1) and told[-1] == ("layout", 750, 750)
    assert np.array_equal(points, embed(features))


@pytest.mark.parametrize("count", [1, 2, 3, 11, 12, 13, 40])
def test_few_pictures_and_equal_ones_have_finite_places(count: int) -> None:
    features = np.random.default_rng(count).normal(size=(count, 6)).astype(np.float32)
    features[count // 2 :] = features[0]
    points = embed(features)
    assert points.shape == (count, 2) and np.isfinite(points).all()
    assert np.isfinite(embed(np.ones((count, 6), np.float32))).all()
    assert embed(features[:, :1]).shape == (count, 2)


def test_a_sample_has_all_suspects_and_the_most_suspect_where_they_are_too_many() -> None:
    suspects = np.random.default_rng(1).random(5_000) < 0.04
    rows = sample(suspects, most=1_000)
    assert len(rows) == len(set(rows)) == 1_000 and (np.diff(rows) > 0).all()
    assert suspects[rows].sum() == suspects.sum() > 100
    assert np.array_equal(rows, sample(suspects, most=1_000))
    assert 2_000 < np.median(rows) < 3_000
    assert np.array_equal(sample(suspects, most=50), np.flatnonzero(suspects)[:50])
    assert np.array_equal(sample(suspects), np.arange(5_000))


def test_places_are_stored_once_follow_a_new_order_and_go_with_their_features(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, _ = store_of(tmp_path)
    store.embeddings.write("first", store.embeddings.points("first")[:0])
    assert store.embeddings.points("first").empty and store.embeddings.count("first")[0] == 0
    assert main(["embed", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"all {COUNT} pictures\n"
    points = store.embeddings.points("first")
    ranked = store.candidates.page("first", everything=True).set_index("path")
    assert sorted(points["path"]) == sorted(ranked.index) and store.embeddings.count("first") == (COUNT, 0)
    assert main(["embed", str(tmp_path)]) == 0
    assert "already" in capsys.readouterr().out

    paths = ranked.index[:60].tolist()
    store.decisions.append_many("first", paths[::2], "keep", reviewer="ann")
    store.decisions.append_many("first", paths[1::2], "relabel", new_label="bald eagle", reviewer="ann")
    assert main(["rerank", str(tmp_path), "--quiet"]) == 0
    after = store.embeddings.points("first")
    ranked = store.candidates.page("first", everything=True).set_index("path").loc[after["path"]]
    for name in ("rank", "suspicion", "is_suspect", "given_label", "decision"):
        assert after[name].tolist() == ranked[name].tolist(), name
    assert (after["decision"] != "").sum() == 60 and after["rank"].tolist() != points["rank"].tolist()
    assert after[["path", "x", "y"]].equals(points[["path", "x", "y"]])

    with pytest.raises(StoreError, match="lacks 1 of the pictures"):
        store.embeddings.write("first", after[["path", "x", "y"]].replace({"path": {after["path"][0]: "elsewhere"}}))
    assert store.embeddings.points("first").equals(after)
    shutil.rmtree(tmp_path / "features")
    assert main(["embed", str(tmp_path), "--anew"]) == 2
    assert "features of this audit are gone" in capsys.readouterr().err
    store.audits.remove("first")
    with pytest.raises(StoreError, match="no audit"):
        make_embedding(store, "first")


def test_similar_pictures_are_those_of_a_comparison_with_all(tmp_path: Path) -> None:
    store, _ = store_of(tmp_path)
    folder = tmp_path / "features/first"
    paths = store.embeddings.pictures("first")["path"]
    features = read_features(folder, paths)
    assert features is not None
    unit = directions(features)
    for row in (0, 17, COUNT - 1):
        cosines = unit @ unit[row]
        cosines[row] = -2
        nearest = np.argsort(-cosines)[:10]
        found = similar_pictures(folder, paths[row], 10)
        assert [path for path, _ in found] == paths[nearest].tolist()
        assert np.allclose([cosine for _, cosine in found], cosines[nearest], atol=1e-4)
    assert similar_pictures(folder, "elsewhere.jpg", 10) == []
    assert similar_pictures(tmp_path / "gone", paths[0], 10) == []
    assert len(similar_pictures(folder, paths[0], 10_000)) == COUNT - 1
