"""What an audit finds beyond its list: kinds of doubt, neighbours, clusters, exemplars, and the second answer."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from gradattn_core.audit.run import audit_images
from gradattn_core.config import AuditConfig, FineTuning
from gradattn_core.dataset.decoding import read_image
from gradattn_core.estimates import ASSUMPTIONS
from gradattn_core.interpret.hiding import ask_again
from gradattn_core.kinds import KINDS
from gradattn_core.model.backbone import load_model
from gradattn_core.model.preprocessing import Preprocessing
from gradattn_core.store.store import Store
from tests.helpers.tiny import Tiny, make_tiny

COPY = "red/blue copy.png"
EMPTY = "green/empty.png"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """With the same file in two classes and a picture of one grey among the others."""
    tiny = make_tiny(tmp_path_factory.mktemp("tiny"))
    shutil.copy(tiny.dataset / "blue" / "blue-10.png", tiny.dataset / COPY)
    Image.new("RGB", (48, 36), (128, 128, 128)).save(tiny.dataset / EMPTY)
    return tiny


@pytest.fixture(scope="module")
def store(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Store:
    out = tmp_path_factory.mktemp("audited")
    audit_images(tiny.config(out, threshold=0.05))
    return Store(out)


@pytest.fixture(scope="module")
def audit_id(store: Store) -> str:
    return store.audits.latest_id()


def rows(store: Store, query: str) -> pd.DataFrame:
    with duckdb.connect(store.database, read_only=True) as connection:
        return connection.execute(query).df()


def test_only_suspects_have_a_kind_and_a_cluster(store: Store) -> None:
    scores = rows(store, "SELECT is_suspect, kind, kind_numbers, cluster, rank FROM scores ORDER BY rank")
    for column in ("kind", "kind_numbers", "cluster"):
        assert (scores[column].notna() == scores["is_suspect"]).all(), column
    suspects = scores[scores["is_suspect"]]
    assert set(suspects["kind"]) <= set(KINDS)
    assert suspects["cluster"].iloc[0] == 0
    # A number is first taken when all lower ones are.
    assert (suspects["cluster"].cummax().diff().dropna() <= 1).all()


def kind_of(store: Store, audit_id: str, path: str) -> str | None:
    prediction = store.images.prediction(audit_id, path)
    assert prediction is not None
    return prediction.kind


def test_a_file_in_two_classes_is_a_duplicate_and_a_grey_picture_is_nothing_to_see(store: Store, audit_id: str) -> None:
    kinds = [kind_of(store, audit_id, path) for path in (COPY, EMPTY)]
    assert kinds == ["duplicate", "nothing to see"]


def test_planted_errors_are_mislabels_most_of_all(tiny: Tiny, store: Store, audit_id: str) -> None:
    told = [kind_of(store, audit_id, path) for path in tiny.wrong]
    assert told.count("mislabel") >= len(told) - 2


def test_each_suspect_has_its_six_nearest_other_images(store: Store, audit_id: str) -> None:
    found = rows(store, "SELECT * FROM neighbours ORDER BY image_rank, position")
    images = rows(store, "SELECT path, given_label FROM images").set_index("path")["given_label"]
    suspects = store.candidates.page(audit_id)["path"]
    assert found.groupby("path", sort=False)["position"].apply(list).to_dict() == {
        path: [1, 2, 3, 4, 5, 6] for path in suspects
    }
    assert (found["path"] != found["neighbour_path"]).all()
    assert (found["neighbour_label"].to_numpy() == images[found["neighbour_path"]].to_numpy()).all()
    assert (found.groupby("path")["similarity"].diff().dropna() <= 0).all()
    first = store.images.neighbours(audit_id, COPY).iloc[0]
    assert first["path"] == "blue/blue-10.png" and first["similarity"] == pytest.approx(1, abs=1e-4)


def test_exemplars_carry_the_label_that_their_colour_says(store: Store, audit_id: str) -> None:
    for label in store.audits.classes(audit_id):
        found = store.images.exemplars(audit_id, label)
        assert 1 <= len(found) <= 8
        assert all(Path(path).name.startswith(label) for path in found["path"])


def test_the_stored_answer_is_that_of_the_explained_head_to_the_hidden_picture(
    tiny: Tiny, store: Store, audit_id: str
) -> None:
    model = load_model(tiny.config(store.directory).spec, device=torch.device("cpu"))
    heads = load_file(store.directory / "features" / audit_id / "heads.safetensors")
    preprocessing, classes = Preprocessing.of(model), store.audits.classes(audit_id)
    for path in sorted(tiny.wrong):
        evidence, prediction = store.images.evidence(audit_id, path), store.images.prediction(audit_id, path)
        assert evidence is not None and evidence.hidden is not None and prediction is not None
        assert prediction.fold is not None and prediction.kind_numbers is not None
        fold = prediction.fold

        def head(features: torch.Tensor, fold: int = fold) -> torch.Tensor:
            return features @ heads["weights"][fold].T + heads["bias"][fold]

        image = preprocessing(read_image(tiny.dataset / path).image)[None]
        logits = ask_again(model, image, torch.from_numpy(evidence.scores.copy())[None], head)[0]
        answers = [float(logits[classes.index(name)]) for name in (evidence.for_label, evidence.against_label)]
        assert [evidence.hidden.for_logit, evidence.hidden.against_logit] == pytest.approx(answers, abs=1e-3)
        best = int(logits.argmax())
        assert evidence.hidden.label == classes[best]
        assert evidence.hidden.probability == pytest.approx(float(logits.softmax(0)[best]), abs=1e-3)
        numbers = prediction.kind_numbers
        assert numbers["hidden_margin"] == pytest.approx(evidence.hidden.for_logit - evidence.hidden.against_logit)
        assert numbers["hidden_is_given"] == (evidence.hidden.label == evidence.for_label)


def test_the_estimate_has_an_interval_and_says_what_the_first_hold(store: Store, audit_id: str) -> None:
    audit = store.audits.one(audit_id)
    with duckdb.connect(store.database, read_only=True) as connection:
        scores = connection.execute("SELECT * FROM scores WHERE audit_id = ?", [audit_id]).df()
    beliefs = [scores[name].sum() for name in ("suspicion", "class_noise_suspicion", "instance_noise_suspicion")]
    estimated = [audit.estimated_errors, audit.estimated_low, audit.estimated_high]
    assert estimated == pytest.approx([beliefs[0], min(beliefs), max(beliefs)])
    assert scores["instance_noise_suspicion"].to_numpy() == pytest.approx(1 - scores["given_probability"].to_numpy())
    assert 0 <= audit.estimated_low < audit.estimated_high <= audit.images
    assert not any(ASSUMPTIONS[0] in components for components in scores["components"])
    summary = audit_images(AuditConfig(**{**facts_of(store, audit_id), "out": str(store.directory)}))
    assert summary.audit_id == audit_id
    assert (summary.estimated_low, summary.estimated_high) == (audit.estimated_low, audit.estimated_high)
    assert (
        summary.found == pytest.approx(store.audits.expected_found(audit_id, summary.first))
        and 0.5 < summary.found <= 1
    )


def facts_of(store: Store, audit_id: str) -> dict[str, Any]:
    parameters = store.audits.one(audit_id).parameters
    return {**parameters} | {"finetuning": FineTuning(**parameters["finetuning"])}


def test_without_meaningful_features_there_are_kinds_but_no_neighbours(tiny: Tiny, tmp_path: Path) -> None:
    tuning = FineTuning(epochs=1, batch_size=16)
    config = tiny.config(
        tmp_path, head="finetune", folds=2, finetuning=tuning, from_scratch=True, checkpoint=None, threshold=0.01
    )
    audit_images(config)
    store = Store(tmp_path)
    scores = rows(store, "SELECT is_suspect, kind, cluster FROM scores")
    assert scores["is_suspect"].any() and (scores["kind"].notna() == scores["is_suspect"]).all()
    assert scores["cluster"].isna().all() and rows(store, "SELECT * FROM neighbours").empty
    assert len(rows(store, "SELECT * FROM exemplars")) > 0


def test_an_audit_without_suspects_says_so_everywhere(tmp_path: Path, tiny: Tiny) -> None:
    for label, colour in (("blue", (0, 0, 255)), ("red", (255, 0, 0))):
        (tmp_path / "dataset" / label).mkdir(parents=True)
        for row in range(12):
            blotches = np.random.default_rng(row).normal(0, 5, (6, 8, 3)).repeat(6, 0).repeat(6, 1)
            pixels = np.clip(np.array(colour) + blotches, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "dataset" / label / f"{row}.png")
    summary = audit_images(tiny.config(tmp_path / "out", dataset=str(tmp_path / "dataset"), threshold=1.0))
    store = Store(tmp_path / "out")
    assert (summary.suspects, summary.first) == (0, 0)
    assert store.audits.kinds(summary.audit_id) == {} and store.audits.class_pairs(summary.audit_id).empty
    assert rows(store, "SELECT * FROM neighbours").empty
    assert len(store.images.exemplars(summary.audit_id, "red")) > 0
