"""What an audit stores of its maps' numbers, each derived again from other files in another way."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from gradattn_core.audit.judge import Judge
from gradattn_core.audit.loading import audit_model
from gradattn_core.audit.origins import Origins, mean_by_fold, mean_row, probed
from gradattn_core.audit.run import audit_images
from gradattn_core.belief import of_row
from gradattn_core.config import MEASURED, AuditConfig, FineTuning
from gradattn_core.csv_tables import read_candidates
from gradattn_core.dataset.decoding import read_image
from gradattn_core.errors import GradattnError
from gradattn_core.interpret.regions import region_masks
from gradattn_core.model.preprocessing import Preprocessing
from gradattn_core.records import AuditSummary
from gradattn_core.store.store import Store
from tests.helpers.tiny import TINY_VIT, Tiny, make_tiny

SUMS = ("model_log_odds", "log_odds_without_picture", "average_log_odds", "red_log_odds", "blue_log_odds")


@dataclass(frozen=True)
class Audited:
    """A finished audit, its tables, and what judged its pictures."""

    config: AuditConfig
    summary: AuditSummary

    def table(self, name: str) -> pd.DataFrame:
        with duckdb.connect(self.summary.database, read_only=True) as connection:
            query = f"SELECT * FROM {name} WHERE audit_id = ? ORDER BY path"
            return connection.execute(query, [self.summary.audit_id]).df()

    @property
    def store(self) -> Store:
        return Store(self.config.out)

    @property
    def features(self) -> Path:
        return Path(self.config.out, "features", self.summary.audit_id)

    def swept(self, column: str) -> NDArray[np.float64]:
        tables = [pq.read_table(file) for file in sorted(self.features.glob("sweep-*.parquet"))]
        return np.array([row for table in tables for row in table[column].to_pylist()], dtype=np.float64)

    def head(self, fold: int) -> tuple[Tensor, Tensor]:
        """weight [K, D] and bias [K] of what judges the pictures of a fold."""
        if self.config.head == "as-is":
            assert self.config.checkpoint is not None
            weights = load_file(self.config.checkpoint)
            return weights["head.weight"].double(), weights["head.bias"].double()
        heads = load_file(self.features / "heads.safetensors")
        return heads["weights"][fold].double(), heads["bias"][fold].double()


def audited(config: AuditConfig) -> Audited:
    return Audited(config, audit_images(config))


def model_of(config: AuditConfig) -> nn.Module:
    return audit_model(config)


def features_of_some(model: nn.Module, pixels: Tensor | None, absent: NDArray[np.bool_] | None = None) -> Tensor:
    """[D] the class token's features where only some patches are there: those tokens gathered, the others gone."""
    blank = torch.zeros(1, 3, 32, 32) if pixels is None else pixels[None]
    tokens = model._pos_embed(model.patch_embed(blank))  # type: ignore[operator]
    gone = np.ones(tokens.shape[1] - 1, dtype=bool) if pixels is None else np.zeros(tokens.shape[1] - 1, dtype=bool)
    gone = gone if absent is None else absent.ravel()
    kept = torch.from_numpy(np.flatnonzero(np.concatenate([[True], ~gone])))
    with torch.no_grad():
        return model.norm(model.blocks(tokens[:, kept]))[0, 0].double()  # type: ignore[operator,no-any-return]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return make_tiny(tmp_path_factory.mktemp("small"), per_class=8, wrong_per_class=1)


@pytest.fixture(scope="module", params=["probe", "as-is"])
def one(tiny: Tiny, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Audited:
    return audited(tiny.config(tmp_path_factory.mktemp("numbers"), head=request.param))


def test_suspects_have_their_likeliest_classes_and_a_belief_that_adds_up(one: Audited) -> None:
    scores, images = one.table("scores"), one.table("images").set_index("path")
    assert scores["is_suspect"].any() and not scores["is_suspect"].all()
    for row in scores.to_dict("records"):
        if not row["is_suspect"]:
            assert not isinstance(row["likely_labels"], np.ndarray)
            continue
        said = dict(zip(row["likely_labels"], row["likely_probabilities"], strict=True))
        given = images.loc[row["path"], "given_label"]
        assert said[given] == pytest.approx(row["given_probability"], abs=1e-5)
        assert said[row["suggested_label"]] == pytest.approx(row["suggested_probability"], abs=1e-5)
        belief = of_row({"given_label": given, **{str(name): value for name, value in row.items()}})
        assert belief.of(given) == pytest.approx(1 - row["suspicion"])
        assert sum(dict(belief.classes).values()) + belief.rest == pytest.approx(1)


def test_the_sums_are_those_of_the_stored_map_and_lead_from_the_origin_to_the_answer(one: Audited) -> None:
    table = one.table("interpretations")
    assert len(table) == one.summary.suspects and (table["numbers"] == "map").all()
    for row in table.to_dict("records"):
        scores = np.array(row["map"], dtype=np.float64)
        assert row["red_log_odds"] == pytest.approx(scores[scores > 0].sum(), rel=1e-9)
        assert row["blue_log_odds"] == pytest.approx(scores[scores < 0].sum(), rel=1e-9)
        total = row["log_odds_without_picture"] + row["red_log_odds"] + row["blue_log_odds"]
        assert total == pytest.approx(row["model_log_odds"], abs=1e-5)
        assert row["model_log_odds"] == pytest.approx(row["for_logit"] - row["against_logit"], abs=1e-5)


def test_the_origins_are_the_answer_to_no_picture_and_the_mean_of_the_answers(one: Audited) -> None:
    classes = one.store.audits.classes(one.summary.audit_id)
    folds = one.table("predictions").set_index("path")["fold"]
    features = features_of_some(model_of(one.config), None)
    # Of a probe's head every picture's answer is made anew; the model's own answers were swept.
    swept = one.swept("logits") if one.config.head == "as-is" else None
    heads: dict[str, set[float]] = {}
    for row in one.table("interpretations").to_dict("records"):
        fold = 0 if swept is not None else int(folds[row["path"]])
        weight, bias = one.head(fold)
        given, other = classes.index(row["for_label"]), classes.index(row["against_label"])
        nothing = weight @ features + bias
        assert row["log_odds_without_picture"] == pytest.approx(float(nothing[given] - nothing[other]), abs=1e-4)
        answers = one.swept("readout") @ weight.numpy().T + bias.numpy() if swept is None else swept
        mean = (answers[:, given] - answers[:, other]).mean()
        assert row["average_log_odds"] == pytest.approx(mean, abs=1e-5)
        heads.setdefault(row["head"], set()).add(fold)
    assert all(len(folds) == 1 for folds in heads.values()) and len(heads) == len(set().union(*heads.values()))


def test_the_strongest_regions_are_measured_by_gathering_the_other_tokens(one: Audited) -> None:
    model, classes = model_of(one.config), one.store.audits.classes(one.summary.audit_id)
    preprocessing = Preprocessing.of(model)
    folds, regions = one.table("predictions").set_index("path")["fold"], one.table("regions")
    assert regions[regions["rank"] > 1]["measured"].isna().all() and (regions["log_odds"] * regions["sign"] > 0).all()
    for row in one.table("interpretations").head(6).to_dict("records"):
        pixels = preprocessing(read_image(Path(one.config.dataset, row["path"])).image)
        weight, bias = one.head(0 if one.config.head == "as-is" else int(folds[row["path"]]))
        given, other = classes.index(row["for_label"]), classes.index(row["against_label"])
        scores = np.array(row["map"], dtype=np.float32).reshape(row["grid_height"], row["grid_width"])
        for (sign, rank_), mask in region_masks(scores).items():
            of = (regions["path"] == row["path"]) & (regions["sign"] == sign) & (regions["rank"] == rank_)
            if rank_ > 5:
                continue
            [region] = regions[of].to_dict("records")
            assert region["log_odds"] == pytest.approx(float(scores[mask].sum(dtype=np.float64)), rel=1e-6)
            if rank_ == 1:
                answer = weight @ features_of_some(model, pixels, mask) + bias
                effect = row["model_log_odds"] - float(answer[given] - answer[other])
                assert region["measured"] == pytest.approx(effect, abs=2e-4)


def test_the_candidates_have_the_numbers_of_the_map_and_of_the_region_of_the_box(one: Audited) -> None:
    frame = read_candidates(one.summary.candidates).set_index("path")
    maps, regions = one.table("interpretations").set_index("path"), one.table("regions")
    strongest = regions[(regions["sign"] == -1) & (regions["rank"] == 1)].set_index("path")
    assert len(frame) == one.summary.suspects
    for name in ("model_log_odds", "log_odds_without_picture", "red_log_odds", "blue_log_odds"):
        np.testing.assert_allclose(frame[name], maps.loc[frame.index, name], rtol=1e-5)
    boxed = frame[frame["top_region_box"] != ""]
    assert len(boxed) and boxed.index.symmetric_difference(strongest.index).empty
    for name, column in (("top_region_log_odds", "log_odds"), ("top_region_measured", "measured")):
        np.testing.assert_allclose(boxed[name], strongest.loc[boxed.index, column], rtol=1e-5)


def test_fine_tuned_folds_have_origins_of_their_own(small: Tiny, tmp_path: Path) -> None:
    tuning = FineTuning(epochs=2, learning_rate=2e-3, batch_size=16)
    tuned = audited(small.config(tmp_path, head="finetune", folds=2, finetuning=tuning, interpret="all"))
    table = tuned.table("interpretations").merge(tuned.table("predictions")[["path", "fold"]], on="path")
    pairs = ["head", "for_label", "against_label"]
    assert table.groupby("fold")["head"].nunique().tolist() == [1, 1] and table["head"].nunique() == 2
    assert (table.groupby(pairs)[["log_odds_without_picture", "average_log_odds"]].nunique() == 1).all(axis=None)
    # Of the pictures of one fold and pair all are interpreted, but what the mean is of is all pictures of the fold.
    gap = table["log_odds_without_picture"] + table["red_log_odds"] + table["blue_log_odds"] - table["model_log_odds"]
    assert gap.abs().max() < 1e-5
    assert table["average_log_odds"].between(table["model_log_odds"].min(), table["model_log_odds"].max()).all()


def test_means_are_those_of_a_plain_loop(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    features, weights = random.normal(size=(40, 7)).astype(np.float32), random.normal(size=(3, 4, 7)).astype(np.float32)
    bias, folds = random.normal(size=(3, 4)).astype(np.float32), random.integers(0, 2, 40)
    answers = np.stack([features.astype(float) @ weights[fold].T + bias[fold] for fold in range(3)])
    np.testing.assert_allclose(probed(weights, bias, mean_row(features)), answers.mean(axis=1), rtol=1e-6)
    means = mean_by_fold(features, folds, 3)
    for fold in range(2):
        rows = [features[row].astype(float) for row in range(40) if folds[row] == fold]
        np.testing.assert_allclose(means[fold], sum(rows) / len(rows), rtol=1e-9)
    origins = Origins(("a", "b", "c"), ("x", "y", "z", "ü"), np.stack([*answers.mean(axis=1)[:2], np.full(4, np.nan)]))
    origins.save(tmp_path / "origins.parquet")
    again = Origins.load(tmp_path / "origins.parquet")
    assert (again.heads, again.classes) == (origins.heads, origins.classes)
    np.testing.assert_array_equal(again.answers, origins.answers)
    mean = float((answers[1, :, 3] - answers[1, :, 0]).mean())
    assert again.average(1, "ü", "x") == pytest.approx(mean) and again.average(2, "x", "y") is None


def test_all_numbers_are_measured_on_demand_and_still_add_up(small: Tiny, tmp_path: Path) -> None:
    everything = audited(small.config(tmp_path, measured="all"))
    table = everything.table("interpretations")
    assert len(table) and (table["numbers"] == "measured").all()
    total = table["log_odds_without_picture"] + table["red_log_odds"] + table["blue_log_odds"]
    np.testing.assert_allclose(total, table["model_log_odds"], atol=1e-5)
    evidence = everything.store.images.evidence(everything.summary.audit_id, table["path"][0])
    assert evidence is not None and evidence.numbers == "measured"


def test_the_strongest_regions_of_the_first_suspects_are_measured_and_of_the_others_on_demand(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MEASURED == 500
    monkeypatch.setattr("gradattn_core.audit.rank.MEASURED", 3)
    # Maps of all images: whoever is no suspect has one too, and nothing measured.
    few = audited(tiny.config(tmp_path, interpret="all"))
    assert few.summary.suspects > 3
    of_image = few.table("scores").rename(columns={"rank": "place"})[["path", "place", "is_suspect"]]
    table = few.table("regions").merge(of_image, on="path")
    first = table["place"].isin(sorted(table.loc[table["is_suspect"], "place"].unique())[:3])
    assert (table["measured"].notna() == (first & (table["rank"] == 1))).all()
    assert table.loc[first & (table["rank"] == 1)].groupby("path")["sign"].apply(set).map(len).tolist() == [2, 2, 2]
    frame = read_candidates(few.summary.candidates).sort_values("rank")
    boxed = frame["top_region_box"].ne("").tolist()
    assert boxed[:4] == [True] * 4 and frame["top_region_log_odds"].notna().tolist() == boxed
    assert frame["top_region_measured"].notna().tolist() == [True] * 3 + [False] * (len(frame) - 3)
    # What the summary counts is what these rows say.
    strongest = table[table["measured"].notna()].sort_values("log_odds", key=abs).groupby("path").tail(1)
    agreeing = int((strongest["log_odds"] * strongest["measured"] > 0).sum())
    assert few.store.audits.measured_regions(few.summary.audit_id) == (agreeing, 3)
    asked = frame["path"].iloc[3]
    before = few.store.images.evidence(few.summary.audit_id, asked)
    assert before is not None and all(region.measured is None for region in before.statistics.regions)
    Judge.of(few.store, few.summary.audit_id).measure(few.store, asked)
    again = few.table("regions")
    assert again.loc[again["path"] == asked, "measured"].notna().all()
    assert again.loc[again["path"] != asked, "measured"].notna().sum() == 6, "nobody else's"


@pytest.mark.parametrize(
    ("changes", "correction", "sentence"),
    [
        ({"correction": "complete"}, "complete", "Maps of correction complete do not add up to the model's log-odds"),
        ({"objective": "normalised"}, "complete", "Maps of objective normalised and correction complete do not add up"),
    ],
)
def test_maps_that_do_not_add_up_have_no_numbers_and_one_sentence_says_why(
    small: Tiny, tmp_path: Path, changes: dict[str, Any], correction: str, sentence: str
) -> None:
    plain = audited(small.config(tmp_path, **changes))
    assert plain.config.correction == correction
    assert sum(sentence in warning for warning in plain.summary.warnings) == 1
    maps, regions = plain.table("interpretations"), plain.table("regions")
    assert len(maps) and maps[[*SUMS, "head", "numbers"]].isna().all(axis=None)
    assert regions[["log_odds", "measured"]].isna().all(axis=None)
    frame = read_candidates(plain.summary.candidates)
    assert frame["top_region_box"].ne("").any() and frame["red_log_odds"].isna().all()


def test_what_cannot_be_measured_is_refused_before_the_audit() -> None:
    with pytest.raises(GradattnError, match=r"measured 'all' needs maps .*; choose objective 'difference'"):
        AuditConfig("data", measured="all", objective="quotient")


def changed_weights(small: Tiny, folder: Path, factors: dict[str, float]) -> str:
    """A checkpoint with the weights of these names multiplied."""
    state = load_file(small.checkpoint)
    for name, value in state.items():
        for part, factor in factors.items():
            if part in name:
                state[name] = value * factor
    save_file(state, folder / "changed.safetensors")
    return str(folder / "changed.safetensors")


@pytest.mark.parametrize(
    ("factors", "reason"),
    [({"attn.proj": 0.0}, "it is answered as without any picture"), ({"head.weight": 1e38}, "not finite")],
)
def test_a_suspect_of_which_no_map_can_be_made_stays_and_the_reason_is_said(
    small: Tiny, tmp_path: Path, factors: dict[str, float], reason: str
) -> None:
    # The first model sees nothing of a picture, the second's gradients are too large for a number.
    changed = changed_weights(small, tmp_path, factors)
    lost = audited(small.config(tmp_path / "out", head="as-is", checkpoint=changed, interpret="all"))
    page = lost.store.candidates.page(lost.summary.audit_id, everything=True)
    missing = page[page["model_log_odds"].isna()]
    assert len(missing) and len(page) == lost.summary.images == 24
    around = lost.store.showing.surroundings(lost.summary.audit_id, list(page["path"]))
    for path in page["path"]:
        said = around[path].no_map
        assert (reason in said) if path in set(missing["path"]) else said == ""
    failures = lost.store.audits.failures(lost.summary.audit_id)
    assert set(failures[failures["stage"] == "interpret"]["path"]) == set(missing["path"])
    assert sum("no map; the commonest reason" in warning for warning in lost.summary.warnings) == 1


def test_where_nothing_can_be_left_out_of_a_model_the_audit_goes_on_without_maps(small: Tiny, tmp_path: Path) -> None:
    pooled = {**TINY_VIT, "global_pool": "max", "fc_norm": False}
    lost = audited(small.config(tmp_path, head="as-is", model_arguments=pooled, interpret="all"))
    page = lost.store.candidates.page(lost.summary.audit_id, everything=True)
    assert len(page) == lost.summary.images == 24 and page["model_log_odds"].isna().all()
    failures = lost.store.audits.failures(lost.summary.audit_id)
    assert sorted(failures["path"]) == sorted(page["path"])
    assert set(failures["stage"]) == {"interpret"}
    around = lost.store.showing.surroundings(lost.summary.audit_id, list(page["path"]))
    assert all("pooling 'max'" in around[path].no_map for path in page["path"])
    said = [warning for warning in lost.summary.warnings if "pooling 'max'" in warning]
    assert [line[:22] for line in said].count("No map can be drawn, l") == 1, said
    assert sum("no map; the commonest reason" in line for line in said) == 1, said
