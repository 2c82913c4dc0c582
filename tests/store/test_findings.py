"""What the store says about classes, pairs, kinds, examples and the progress of a review, against a naive count."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gradattn_core.errors import StoreError
from gradattn_core.evidence import SUMS
from gradattn_core.ranking.noise import noise_estimate
from gradattn_core.records import Difference
from gradattn_core.store.review import ReviewProgress
from gradattn_core.store.store import Store
from tests.helpers.hostile import HOSTILE
from tests.helpers.sample_audit import PATHS, Tables, audit_row, sample_store, tables

COUNT, SUSPECTS = 240, 90


@pytest.fixture(scope="module")
def frames() -> Tables:
    """A larger audit in random order, with labels and contents that repeat."""
    random = np.random.default_rng(4)
    labels = ["kite", "bald eagle", HOSTILE[12]]
    frames = tables([f"{row:03d}.jpg" for row in range(COUNT)], suspects=SUSPECTS)
    frames["images"]["given_label"] = [labels[number] for number in random.integers(0, 3, COUNT)]
    frames["images"]["content_hash"] = [f"content {number}" for number in random.integers(0, COUNT // 2, COUNT)]
    frames["scores"]["suspicion"] = np.sort(random.random(COUNT))[::-1]
    frames["scores"]["suggested_label"] = [labels[number] for number in random.integers(0, 3, COUNT)]
    frames["class_pairs"]["given_label"] = [HOSTILE[12], "kite"]
    return frames


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, frames: Tables) -> Store:
    store = Store(tmp_path_factory.mktemp("findings"))
    store.audits.merge(audit_row("other"), tables(PATHS, suspects=6))
    store.audits.merge(audit_row(), frames)
    random = np.random.default_rng(5)
    paths = frames["images"]["path"]
    for decision in ("keep", "remove", "unsure", "keep"):
        store.decisions.append_many("first", list(random.choice(paths, 25, replace=False)), decision, reviewer="ann")
    store.decisions.undo_many("first", list(random.choice(paths, 60, replace=False)), reviewer="ann")
    return store


@pytest.fixture(scope="module")
def facts(frames: Tables, store: Store) -> pd.DataFrame:
    """Everything about each image in one frame; the decision is that of the page, tested elsewhere."""
    said = store.candidates.page("first", everything=True)[["path", "decision"]]
    assert 20 < (said["decision"] != "").sum() < COUNT
    return frames["images"].merge(frames["scores"], on="path").merge(said, on="path")


def test_progress_counts_all_decided_images_and_what_is_left_among_the_suspects(
    store: Store, facts: pd.DataFrame
) -> None:
    decided = facts[facts["decision"] != ""]
    wrong, right = decided["decision"].isin(["relabel", "remove"]).sum(), (decided["decision"] == "keep").sum()
    of_suspects = decided[decided["is_suspect"]].drop_duplicates(["content_hash", "given_label"])
    progress = store.review.progress("first")
    left = facts[facts["is_suspect"] & (facts["decision"] == "")]
    beliefs = [left[name].sum() for name in ("suspicion", "class_noise_suspicion", "instance_noise_suspicion")]
    estimated = [progress.estimated_left, progress.left_low, progress.left_high]
    assert estimated == pytest.approx([beliefs[0], min(beliefs), max(beliefs)])
    assert progress.left_low < progress.estimated_left < progress.left_high
    assert progress.precision_low < progress.precision == wrong / (wrong + right) < progress.precision_high
    assert counts(progress) == {
        "reviewed": len(decided), "wrong": wrong, "removed": (decided["decision"] == "remove").sum(), "right": right,
        "unsure": (decided["decision"] == "unsure").sum(),
        "suspects": SUSPECTS, "suspects_decided": decided["is_suspect"].sum(),
        "learnt_wrong": (of_suspects["decision"].isin(["relabel", "remove"])).sum(),
        "learnt_right": (of_suspects["decision"] == "keep").sum(), "reranked": 0,
    }  # fmt: skip


def counts(progress: ReviewProgress) -> dict[str, int]:
    return {name: number for name, number in asdict(progress).items() if isinstance(number, int)}


def test_before_the_review_nothing_is_known_of_the_precision_and_all_is_left(tmp_path: Path) -> None:
    progress = sample_store(tmp_path).review.progress("first")
    assert all(math.isnan(getattr(progress, name)) for name in ("precision", "precision_low", "precision_high"))
    assert {name for name, number in counts(progress).items() if number} == {"suspects"} and progress.suspects == 6
    # Of the suspicions 1, 8/9 … 0 the suspects have the first six.
    assert progress.estimated_left == pytest.approx(39 / 9)
    # If the noise is as fitted 1, 64/81 … 16/81; if the label tells nothing 1, 11/12 … 7/12.
    assert progress.left_low == pytest.approx((81 + 64 + 49 + 36 + 25 + 16) / 81)
    assert progress.left_high == pytest.approx((12 + 11 + 10 + 9 + 8 + 7) / 12)


def test_classes_have_the_estimate_of_the_ranking_and_their_decided_suspects(store: Store, facts: pd.DataFrame) -> None:
    expected = noise_estimate(facts["given_label"], facts).classes
    health = store.audits.class_health("first")
    assert list(health.columns) == ["given_label", "images", "suspects", "wrong", "low", "high", "decided"]
    pd.testing.assert_frame_equal(health[list(expected.columns)], expected, check_dtype=False)
    by_class = facts[facts["is_suspect"]].groupby("given_label")
    for row in health.to_dict("records"):
        suspects = by_class.get_group(row["given_label"])
        assert (row["suspects"], row["decided"]) == (len(suspects), (suspects["decision"] != "").sum())


def test_pairs_count_their_decided_suspects(store: Store, frames: Tables, facts: pd.DataFrame) -> None:
    pairs = store.audits.class_pairs("first")
    assert list(pairs.columns) == [*frames["class_pairs"].columns, "decided"]
    assert list(pairs["lift"]) == [2.5, 0.75]
    decided = facts[facts["is_suspect"] & (facts["decision"] != "")]
    expected = Counter(zip(decided["given_label"], decided["suggested_label"], strict=True))
    found = dict(zip(zip(pairs["given_label"], pairs["suggested_label"], strict=True), pairs["decided"], strict=True))
    assert found == {pair: expected[pair] for pair in found}
    assert sum(found.values()) > 0


def test_kinds_count_the_suspects(store: Store, facts: pd.DataFrame) -> None:
    assert store.audits.kinds("first") == dict(Counter(facts[facts["is_suspect"]]["kind"]))


@pytest.mark.parametrize("first", [0, 1, 17, COUNT, COUNT * 2])
def test_expected_found_is_the_share_of_all_suspicion_up_to_a_rank(
    store: Store, facts: pd.DataFrame, first: int
) -> None:
    suspicion = np.sort(facts["suspicion"])[::-1]
    assert store.audits.expected_found("first", first) == pytest.approx(suspicion[:first].sum() / suspicion.sum())


def test_one_candidate_is_its_row_of_the_list_with_the_numbers_of_its_kind(store: Store, facts: pd.DataFrame) -> None:
    listed = store.candidates.page("first", everything=True)
    for rank in (1, 2, SUSPECTS, SUSPECTS + 1):
        row = listed.iloc[rank - 1].to_dict()
        one = store.candidates.one("first", row["path"])
        assert one is not None
        facts_of_one = asdict(one)
        numbers = facts_of_one.pop("kind_numbers")
        assert numbers == ({"hidden_margin": 0.25, "row": rank - 1.0} if rank <= SUSPECTS else {})
        pd.testing.assert_series_equal(pd.Series(facts_of_one), pd.Series(row))
    assert store.candidates.one("first", PATHS[0]) is None


def test_examples_come_in_their_order(store: Store, frames: Tables) -> None:
    path = frames["scores"]["path"][3]
    near = frames["neighbours"][frames["neighbours"]["path"] == path]
    found = store.images.neighbours("first", path)
    assert list(found.columns) == ["position", "path", "given_label", "similarity"]
    assert list(found["position"]) == [1, 2, 3, 4, 5, 6]
    assert list(found["path"]) == list(near["neighbour_path"])
    assert list(found["similarity"]) == list(near["similarity"])
    sure = frames["exemplars"][frames["exemplars"]["label"] == "kite"]
    examples = store.images.exemplars("first", "kite")
    pd.testing.assert_frame_equal(examples, sure.drop(columns="label").reset_index(drop=True), check_dtype=False)
    assert store.images.neighbours("first", "unknown").empty and store.images.exemplars("first", "unknown").empty


def pair_frames(shapes: list[tuple[int, int]]) -> Tables:
    """An audit whose suspects have random maps of these shapes; the last is of another pair, all zeros before it."""
    random = np.random.default_rng(6)
    frames = tables([f"{row}.jpg" for row in range(len(shapes))], suspects=len(shapes))
    maps = [random.normal(0, 10**row, height * width) for row, (height, width) in enumerate(shapes)]
    maps[-2] *= 0
    found = frames["interpretations"]
    found["map"] = pd.Series(maps, dtype=object)
    found[["grid_height", "grid_width"]] = shapes
    found.loc[len(shapes) - 1, "against_label"] = "albatross"
    return frames


def test_a_pair_s_map_is_the_mean_of_its_normalised_maps_of_the_commonest_grid(tmp_path: Path) -> None:
    frames = pair_frames([(3, 2), (2, 3), (3, 2), (2, 3), (3, 2), (1, 6), (3, 2), (3, 2)])
    frames["interpretations"][list(SUMS)] = None
    store = Store(tmp_path)
    store.audits.merge(audit_row(), frames)
    maps = [np.reshape(frames["interpretations"]["map"][row], (3, 2)) for row in (0, 2, 4)]
    expected = sum(each / np.abs(each).max() for each in maps) / 4
    found = store.audits.pair_map("first", "kite", "bald eagle")
    assert found is not None and found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert store.audits.pair_map("first", "bald eagle", "kite") is None


def test_the_mean_map_of_maps_that_add_up_is_in_log_odds(tmp_path: Path) -> None:
    frames = pair_frames([(3, 2)] * 4)
    maps = frames["interpretations"]
    maps["model_log_odds"] = [-2.5, -4.5, 1.5, -2.5]
    maps["log_odds_without_picture"] = maps["model_log_odds"] - 3.0
    store = Store(tmp_path)
    store.audits.merge(audit_row(), frames)
    # The last one speaks against another class.
    expected = np.mean([np.reshape(maps["map"][row], (3, 2)) for row in range(3)], axis=0)
    found = store.audits.pair_map("first", "kite", "bald eagle")
    assert found is not None
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_measured_suspects_are_counted_and_how_often_their_strongest_region_does_what_it_says(tmp_path: Path) -> None:
    frames = tables(PATHS, suspects=6, interpreted=8)
    regions = frames["regions"].set_index(["path", "sign", "rank"])
    # Of the first the blue region is the stronger one and does the opposite; of the second only the weaker one does.
    regions.loc[(PATHS[0], -1, 1), ["log_odds", "measured"]] = [-5.0, 0.5]
    regions.loc[(PATHS[1], -1, 1), ["log_odds", "measured"]] = [-2.0, 0.5]
    # Of the third nothing was measured, of the fourth only a region that is not the strongest of all.
    regions.loc[[(PATHS[2], sign, 1) for sign in (1, -1)], "measured"] = None
    regions.loc[(PATHS[3], -1, 1), ["log_odds", "measured"]] = [-9.0, None]
    frames["regions"] = regions.reset_index()
    store = Store(tmp_path)
    store.audits.merge(audit_row(), frames)
    assert store.audits.measured_regions("first") == (4, 5)


def test_a_difference_counts_contents_with_their_labels(store: Store, frames: Tables, facts: pd.DataFrame) -> None:
    later = {name: frame.copy() for name, frame in frames.items()}
    later["images"].loc[:19, "content_hash"] = [f"new {row}" for row in range(20)]
    later["scores"]["is_suspect"] = later["scores"]["rank"] % 3 == 0
    later["images"].loc[200:, "given_label"] = "osprey"
    store.audits.merge(audit_row("later"), later)

    def contents(frames: Tables, only_suspects: bool) -> set[tuple[str, str]]:
        joined = frames["images"].merge(frames["scores"], on="path")
        joined = joined[joined["is_suspect"]] if only_suspects else joined
        return set(zip(joined["content_hash"], joined["given_label"], strict=True))

    was, now = contents(frames, False), contents(later, False)
    were_suspects, are_suspects = contents(frames, True), contents(later, True)
    found = store.audits.difference("first", "later")
    assert found.since == "first"
    assert found.new_suspects == len(are_suspects - were_suspects)
    assert found.gone_suspects == len(were_suspects - are_suspects)
    assert (found.new_images, found.gone_images) == (len(now - was), len(was - now))
    assert store.audits.difference("later", "later") == Difference("later", 0, 0, 0, 0, 0, 0, 0)
    with pytest.raises(StoreError, match="no audit 'never'"):
        store.audits.difference("first", "never")


def test_the_estimate_s_interval_is_stored_with_the_audit(store: Store) -> None:
    audit = store.audits.one("first")
    assert (audit.estimated_low, audit.estimated_high) == (2.5, 7.0)


def test_images_are_looked_for_below_the_data_root(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert store.images.file("first", "000.jpg") == Path("/data/birds/000.jpg")
    assert Store(store.directory, data_root=tmp_path).images.file("first", "000.jpg") == tmp_path / "000.jpg"
    monkeypatch.setenv("GRADATTN_DATA_ROOT", "/moved")
    assert Store(store.directory).images.file("first", "000.jpg") == Path("/moved/000.jpg")
    assert Store(store.directory, data_root=tmp_path).images.file("first", "000.jpg") == tmp_path / "000.jpg"
