"""Features and predictions from outside: whose rows and columns they are, and an audit by them alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from PIL import Image

from gradattn_core.audit.plan import survey_dataset
from gradattn_core.audit.run import audit_images
from gradattn_core.config import AuditConfig
from gradattn_core.dataset.decoding import read_image
from gradattn_core.embedding import make_embedding, obstacle
from gradattn_core.errors import DatasetError, GradattnError, StoreError
from gradattn_core.learning import has_features
from gradattn_core.ranking.suspicion import rank_labels
from gradattn_core.records import AuditSummary
from gradattn_core.store.store import Store
from tests.helpers.tiny import COLOURS, Tiny, make_tiny

NAMES = sorted(COLOURS)


@dataclass(frozen=True)
class Given:
    """The tiny dataset and what somebody's model says of it, rows in the order of the sorted paths."""

    tiny: Tiny
    folder: Path
    paths: list[str]
    probabilities: NDArray[np.float64]
    features: NDArray[np.float64]

    def save(self, name: str, values: NDArray[np.float64]) -> str:
        np.save(self.folder / name, values)
        return str(self.folder / name)

    def config(self, out: str, **changes: object) -> AuditConfig:
        values = {"dataset": str(self.tiny.dataset), "out": str(self.folder / out), "workers": 1, **changes}
        return AuditConfig.of(values)

    def audit(self, out: str, **changes: object) -> tuple[Store, AuditSummary]:
        summary = audit_images(self.config(out, **changes))
        return Store(self.folder / out), summary

    def refusal(self, **changes: object) -> str:
        with pytest.raises(GradattnError) as refused:
            survey_dataset(self.config("refused", **changes))
        return str(refused.value)


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Given:
    folder = tmp_path_factory.mktemp("brought")
    tiny = make_tiny(folder)
    paths = sorted(file.relative_to(tiny.dataset).as_posix() for file in tiny.dataset.rglob("*.png"))
    rng = np.random.default_rng(0)
    shown = [path.split("/")[1].split("-")[0] for path in paths]
    logits = np.array([[3.0 * (name == colour) for name in NAMES] for colour in shown])
    logits += rng.normal(0, 0.7, logits.shape)
    odds = np.exp(logits)
    return Given(tiny, folder, paths, odds / odds.sum(axis=1, keepdims=True), np.c_[logits, rng.normal(0, 1, (72, 5))])


def labels_of(paths: list[str]) -> list[str]:
    return [path.split("/")[0] for path in paths]


def ranking(store: Store, audit: str) -> pd.DataFrame:
    return store.candidates.page(audit, min_suspicion=0.0).set_index("path")


def test_probabilities_alone_rank_as_the_ranking_itself_does_and_the_page_has_its_numbers(given: Given) -> None:
    store, summary = given.audit("alone", probabilities=given.save("p.npy", given.probabilities))
    hashes = [read_image(given.tiny.dataset / path).content_hash for path in given.paths]
    expected = rank_labels(labels_of(given.paths), probabilities=given.probabilities.astype(np.float32), copies=hashes)
    stored = ranking(store, summary.audit_id).loc[given.paths]
    np.testing.assert_allclose(stored["suspicion"], expected["suspicion"], atol=1e-12)
    assert stored["rank"].tolist() == expected["rank"].tolist()
    assert set(stored.index[stored["rank"] <= 6]) == given.tiny.wrong
    for path, row in zip(given.paths, given.probabilities, strict=True):
        told = store.images.prediction(summary.audit_id, path)
        assert told is not None and told.predicted_label == NAMES[int(row.argmax())] and told.fold is None
        assert told.head_given_probability == pytest.approx(row[NAMES.index(path.split("/")[0])], abs=1e-6)
    audit = store.audits.one(summary.audit_id)
    assert (audit.model, audit.head, summary.computed) == ("p.npy", "given", "no model")
    said = " ".join(audit.warnings)
    assert "No maps" in said and "sorted paths" in said and "agree with 92% of the labels" in said
    assert store.images.evidence(summary.audit_id, given.paths[0]) is None


def test_without_features_nothing_is_said_to_be_alike_and_the_page_can_still_learn(given: Given) -> None:
    store, summary = given.audit("alone", probabilities=given.save("p.npy", given.probabilities))
    audit = store.audits.one(summary.audit_id)
    assert not has_features(store.directory / audit.features)
    assert "which pictures are alike" in obstacle(store, audit)
    with pytest.raises(StoreError, match="predictions without features"):
        make_embedding(store, summary.audit_id)
    kinds = store.candidates.page(summary.audit_id)["kind"]
    assert kinds.notna().all()


def test_features_alone_are_probed_fold_by_fold_and_find_neighbours(given: Given) -> None:
    store, summary = given.audit("features", features=given.save("f.npy", given.features))
    audit = store.audits.one(summary.audit_id)
    assert (audit.head, audit.model) == ("probe", "f.npy") and has_features(store.directory / audit.features)
    hashes = [read_image(given.tiny.dataset / path).content_hash for path in given.paths]
    expected = rank_labels(labels_of(given.paths), given.features.astype(np.float32), copies=hashes)
    stored = ranking(store, summary.audit_id).loc[given.paths]
    np.testing.assert_allclose(stored["suspicion"], expected["suspicion"], atol=1e-12)
    worst = stored.sort_values("rank").index[0]
    near = store.images.neighbours(summary.audit_id, worst)["path"].tolist()
    centred = (given.features - given.features.mean(axis=0)) / given.features.std(axis=0)
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    likeness = unit @ unit[given.paths.index(worst)]
    nearest = [given.paths[at] for at in np.argsort(-likeness) if given.paths[at] != worst][: len(near)]
    assert near and len(set(near) & set(nearest)) >= len(near) - 1
    assert make_embedding(store, summary.audit_id) == 72


def test_a_model_beside_them_draws_the_maps_and_the_brought_numbers_judge(given: Given) -> None:
    model = {name: value for name, value in given.tiny.parameters().items() if name not in ("dataset", "workers")}
    store, summary = given.audit("both", probabilities=given.save("p.npy", given.probabilities), **model)
    page = store.candidates.page(summary.audit_id)
    assert set(page["path"].head(6)) == given.tiny.wrong
    assert all(store.images.evidence(summary.audit_id, path) is not None for path in page["path"])
    assert "No maps" not in " ".join(summary.warnings) and store.audits.one(summary.audit_id).head == "probe"
    named = dict(zip(given.paths, given.probabilities.argmax(axis=1), strict=True))
    doubted = {path for path in given.paths if NAMES[named[path]] != path.split("/")[0]}
    assert doubted <= set(page["path"])


def _csv(given: Given, order: NDArray[np.int64]) -> str:
    table = pd.DataFrame(given.probabilities, columns=NAMES, index=pd.Index(given.paths, name="path"))
    table.iloc[order][NAMES[::-1]].to_csv(given.folder / "named.csv")
    return str(given.folder / "named.csv")


def _parquet(given: Given, order: NDArray[np.int64]) -> str:
    table = pd.DataFrame(given.probabilities, columns=NAMES).assign(filepath=given.paths, note="x").iloc[order]
    table[["note", "red", "filepath", "blue", "green"]].to_parquet(given.folder / "named.parquet")
    return str(given.folder / "named.parquet")


def _indexed(given: Given, order: NDArray[np.int64]) -> str:
    table = pd.DataFrame(given.probabilities, columns=NAMES, index=[f"./{path}" for path in given.paths])
    table.iloc[order].to_parquet(given.folder / "indexed.parquet")
    return str(given.folder / "indexed.parquet")


def _npz(given: Given, order: NDArray[np.int64]) -> str:
    whole = [str(given.tiny.dataset / given.paths[row]) for row in order]
    names = np.array(["red", "blue", "green"])
    table = given.probabilities[order][:, [2, 0, 1]].astype(np.float16)
    np.savez(given.folder / "named.npz", pred_probs=table, paths=np.array(whole), classes=names)
    return str(given.folder / "named.npz")


def _fiftyone(given: Given, order: NDArray[np.int64]) -> str:
    """As ``dataset.values(…)`` gives them: whole paths and a vector each, here of logits in the order of the names."""
    whole = [str(given.tiny.dataset / given.paths[row]) for row in order]
    vectors = [row.tolist() for row in given.probabilities[order]]
    pd.DataFrame({"filepath": whole, "probabilities": vectors}).to_parquet(given.folder / "lists.parquet")
    return str(given.folder / "lists.parquet")


@pytest.mark.parametrize("write", [_csv, _parquet, _indexed, _npz, _fiftyone])
def test_rows_go_by_their_paths_and_columns_by_their_names(
    given: Given, write: Callable[[Given, NDArray[np.int64]], str]
) -> None:
    file = write(given, np.random.default_rng(1).permutation(72))
    brought = survey_dataset(given.config("seen", probabilities=file)).brought
    assert brought is not None and brought.predictions is not None
    np.testing.assert_allclose(brought.predictions.of(slice(None)), given.probabilities, atol=2e-3)


@pytest.mark.parametrize("name", ["order.txt", "order.csv", "table.csv", "order.npy"])
def test_paths_say_whose_rows_they_are(given: Given, name: str) -> None:
    order = np.random.default_rng(2).permutation(72)
    names = [given.paths[row] for row in order]
    file = given.folder / name
    if name == "order.npy":
        np.save(file, np.array(names))
    elif name == "table.csv":
        pd.DataFrame({"label": "x", "path": names}).to_csv(file, index=False)
    else:
        file.write_text("\n".join(names) + "\n")
    saved = given.save("shuffled.npy", given.probabilities[order])
    brought = survey_dataset(given.config("seen", probabilities=saved, paths=str(file))).brought
    assert brought is not None and brought.predictions is not None
    np.testing.assert_allclose(brought.predictions.of(slice(None)), given.probabilities, atol=1e-6)


def test_a_manifest_says_the_order_of_its_rows(given: Given) -> None:
    order = np.random.default_rng(3).permutation(72)
    names = [given.paths[row] for row in order]
    table = given.folder / "labels.csv"
    pd.DataFrame({"path": [f"dataset/{path}" for path in names], "label": labels_of(names)}).to_csv(table, index=False)
    saved = given.save("of-table.npy", given.probabilities[order])
    survey = survey_dataset(given.config("seen", dataset=str(table), probabilities=saved))
    assert survey.brought is not None and survey.brought.predictions is not None
    listed = [given.paths.index(image.path.removeprefix("dataset/")) for image in survey.listing.images]
    np.testing.assert_allclose(survey.brought.predictions.of(slice(None)), given.probabilities[listed], atol=1e-6)


def test_pictures_are_sorted_as_torchvision_does_where_that_agrees_with_the_labels(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    # By path "cat-2/…" comes before "cat/…", among the names of classes after it.
    for label in ("cat", "cat-2", "dog"):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for number in range(4):
            pixels = rng.integers(0, 255, (8, 8, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / label / f"{number}.png")
    table = np.repeat(np.eye(3), 4, axis=0) * 0.7 + 0.1
    np.save(tmp_path / "p.npy", table)
    config = AuditConfig(str(tmp_path / "photos"), str(tmp_path / "out"), probabilities=str(tmp_path / "p.npy"))
    survey = survey_dataset(config)
    assert survey.brought is not None and survey.brought.predictions is not None
    found = survey.brought.predictions.of(slice(None)).argmax(axis=1)
    assert [("cat", "cat-2", "dog")[at] for at in found] == [image.label for image in survey.listing.images]
    assert "folder by folder" in survey.brought.notes[0] and "100%" in survey.brought.notes[0]
    np.save(tmp_path / "f.npy", table)
    with pytest.raises(DatasetError, match="different orders"):
        survey_dataset(replace(config, probabilities=None, features=str(tmp_path / "f.npy")))


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("part", [{"limit": 30}, {"sample": 30, "seed": 3}, {"exclude_label": ["blue"]}])
def test_numbers_of_the_whole_dataset_do_for_a_part_of_it(given: Given, part: dict[str, object], named: bool) -> None:
    whole = given.save("whole.npy", given.probabilities)
    listed = given.folder / "listed.txt"
    listed.write_text("\n".join(given.paths))
    paths = {"paths": str(listed)} if named else {}
    survey = survey_dataset(given.config("part", probabilities=whole, **paths, **part))
    assert survey.brought is not None and survey.brought.predictions is not None and not survey.brought.lacking
    rows = [given.paths.index(image.path) for image in survey.listing.images]
    columns = [NAMES.index(name) for name in survey.listing.classes]
    assert 0 < len(rows) < len(given.paths) and len(columns) == (3 if "exclude_label" not in part else 2)
    expected = given.probabilities[rows][:, columns]
    np.testing.assert_allclose(survey.brought.predictions.of(slice(None)), expected, atol=1e-6)
    said = " ".join(survey.brought.notes)
    assert "of no picture" not in said and "no picture is filed under" not in said
    turned = given.save("turned.npy", given.probabilities[:, [1, 2, 0]])
    assert "name its columns" in given.refusal(probabilities=turned, **paths, **part)
    few = given.refusal(probabilities=given.save("few.npy", given.probabilities[:9]), **part)
    assert f"has 9 rows without names, and {str(given.tiny.dataset)!r} has 72 pictures, of which" in few


def test_columns_in_another_order_than_the_labels_say_are_refused(given: Given) -> None:
    said = given.refusal(probabilities=given.save("turned.npy", given.probabilities[:, [1, 2, 0]]))
    assert "in another order with 92%" in said and "name its columns" in said


def test_columns_of_numbers_are_taken_as_2_before_10_where_the_labels_say_so(tmp_path: Path) -> None:
    labels = [str(number) for number in range(12)]
    for label in labels:
        (tmp_path / "photos" / label).mkdir(parents=True)
        for number in range(2):
            Image.new("RGB", (8, 8), (int(label), number, 0)).save(tmp_path / "photos" / label / f"{number}.png")
    paths = sorted(f"{label}/{number}.png" for label in labels for number in range(2))
    np.save(tmp_path / "p.npy", np.eye(12)[[int(path.split("/")[0]) for path in paths]])
    config = AuditConfig(str(tmp_path / "photos"), str(tmp_path / "out"), probabilities=str(tmp_path / "p.npy"))
    brought = survey_dataset(config).brought
    assert brought is not None and any("number, in which they agree with 100%" in note for note in brought.notes)


def test_new_pictures_without_a_row_are_named_and_the_others_are_not_read_again(given: Given) -> None:
    folder = given.folder / "weekly"
    tiny = make_tiny(folder, per_class=12, wrong_per_class=1)
    paths = sorted(file.relative_to(tiny.dataset).as_posix() for file in tiny.dataset.rglob("*.png"))
    said = {path: row for path, row in zip(given.paths, given.probabilities, strict=True)}
    table = pd.DataFrame([said.get(path, np.ones(3) / 3) for path in paths], columns=NAMES, index=paths)
    table.to_csv(folder / "p.csv", index_label="path")
    config = AuditConfig(str(tiny.dataset), str(folder / "out"), probabilities=str(folder / "p.csv"), workers=1)
    first = audit_images(config)
    assert audit_images(config).audit_id == first.audit_id
    Image.new("RGB", (32, 32), (40, 60, 200)).save(tiny.dataset / "blue" / "new.png")
    second = audit_images(config)
    assert second.audit_id != first.audit_id and second.images == first.images
    assert any(
        "1 picture is not judged: 'p.csv' has no row for it ('blue/new.png')" in each for each in second.warnings
    )
    failures = Store(folder / "out").audits.failures(second.audit_id)
    assert failures[["path", "stage", "given_label"]].to_numpy().tolist() == [["blue/new.png", "skip", "blue"]]
    table.loc["blue/new.png"] = [0.9, 0.05, 0.05]
    table.to_csv(folder / "p.csv", index_label="path")
    third = audit_images(config)
    assert third.images == first.images + 1 and third.news is not None and third.news.added_images == 1


def test_an_audit_by_brought_numbers_goes_on_where_it_stopped(given: Given, monkeypatch: pytest.MonkeyPatch) -> None:
    from gradattn_core.audit import stages

    file = given.save("p.npy", given.probabilities)
    changes = {"probabilities": file, "shard_size": 20}
    whole, summary = given.audit("whole", **changes)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    rank = stages.STAGES["rank"]
    monkeypatch.setitem(stages.STAGES, "rank", replace(rank, run=stop))
    with pytest.raises(KeyboardInterrupt):
        given.audit("stopped", **changes)
    monkeypatch.setitem(stages.STAGES, "rank", rank)
    plans = list((given.folder / "stopped" / "work").glob("*/plan.json"))
    store, again = given.audit("stopped", **changes)
    assert [json.loads(plan.read_text())["audit_id"] for plan in plans if plan.exists()] == []
    assert again.audit_id == store.audits.latest_id()
    pd.testing.assert_frame_equal(
        ranking(store, again.audit_id)[["rank", "suspicion"]], ranking(whole, summary.audit_id)[["rank", "suspicion"]]
    )


def test_what_is_in_the_files_is_part_of_the_audits_name_and_what_nobody_brings_is_not(given: Given) -> None:
    before = survey_dataset(given.config("key", probabilities=given.save("k.npy", given.probabilities))).fingerprint
    assert survey_dataset(given.config("key", probabilities=str(given.folder / "k.npy"))).fingerprint == before
    changed = given.probabilities[:, :].copy()
    changed[0] = [0.2, 0.3, 0.5]
    assert survey_dataset(given.config("key", probabilities=given.save("k.npy", changed))).fingerprint != before
    names = set(given.config("key", head="probe", model="vit_tiny_patch16_224").identity())
    assert not names & {"features", "probabilities", "logits", "paths"}
    stored = AuditConfig.from_json(json.dumps({**json.loads(_as_json(given.config("key"))), "features": None}))
    assert stored == given.config("key")


def _as_json(config: AuditConfig) -> str:
    from dataclasses import asdict

    return json.dumps(asdict(config))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("objects.npy", np.array([{"a": 1}], dtype=object), "never loaded"),
        ("flat.npy", np.zeros(72), "shape (72,)"),
        ("text.npy", np.array([["a"] * 3] * 72), "a matrix of numbers is needed"),
        ("short.npy", np.full((71, 3), 1 / 3), "71 rows without names"),
        ("wide.npy", np.full((72, 4), 0.25), "4 columns without names"),
        ("scores.npy", np.full((72, 3), 0.9), "must sum to 1"),
        ("minus.npy", np.tile([1.5, -0.25, -0.25], (72, 1)), "none can be negative"),
        ("nan.npy", np.vstack([np.full((71, 3), 1 / 3), [[np.nan, 0.5, 0.5]]]), "'red/red-23.png'"),
    ],
)
def test_numbers_that_cannot_be_are_refused_in_one_sentence(
    given: Given, name: str, content: NDArray[np.generic], words: str
) -> None:
    np.save(given.folder / name, content, allow_pickle=True)
    said = given.refusal(probabilities=str(given.folder / name))
    assert words in said and name in said and "\n" not in said


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("no.npy", b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'shape': (9999999999999, 3), }", "cannot be read"),
        ("no.npz", b"PK\x03\x04", "cannot be read"),
        ("no.parquet", b"PAR1", "cannot be read as Parquet"),
        ("no.pt", b"x", "of no known form"),
        ("no.csv", b"path,blue,green,red\nblue/red-00.png,a,0,1\n", "'a' in the column 'blue' is no number"),
        ("lacks.csv", b"path,blue,green\nblue/red-00.png,1,0\nred/red-05.png,1,0\n", "no column for the class 'red'"),
        ("strange.csv", b"path,blue,green,red\nelsewhere.png,1,0,0\n", "names none of the pictures"),
        ("twice.csv", b"path,blue,green,red\nblue/red-00.png,1,0,0\nblue/red-00.png,1,0,0\n", "in row 1 and in row 2"),
    ],
)
def test_files_of_strangers_are_refused_in_one_sentence(given: Given, name: str, content: bytes, words: str) -> None:
    (given.folder / name).write_bytes(content)
    said = given.refusal(probabilities=str(given.folder / name))
    assert words in said and "\n" not in said


def test_labels_among_the_features_are_refused(given: Given) -> None:
    table = (
        pd.DataFrame(given.features)
        .add_prefix("f")
        .assign(label=[NAMES.index(each) for each in labels_of(given.paths)])
    )
    table.to_parquet(given.folder / "leak.parquet")
    assert "labels are what is judged" in given.refusal(features=str(given.folder / "leak.parquet"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"probabilities": "p.npy", "logits": "l.npy"}, "give one of them"),
        ({"paths": "p.txt"}, "says nothing without"),
        ({"model": "none"}, "needs features"),
        ({"probabilities": "p.npy", "head": "finetune"}, "leave it out"),
        ({"probabilities": "p.npy", "head": "probe"}, "needs a model"),
        ({"probabilities": "p.npy", "model": "none", "checkpoint": "x"}, "neither checkpoint"),
    ],
)
def test_parameters_that_do_not_go_together_are_refused(options: dict[str, str], words: str) -> None:
    with pytest.raises(GradattnError, match=words):
        AuditConfig.of({"dataset": "photos", **options})
