"""An as-is audit whose model has more outputs than the dataset has classes: from the pictures to tables and files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
import torch

from gradattn_core.audit.judge import Judge
from gradattn_core.audit.loading import audit_model
from gradattn_core.audit.run import audit_images
from gradattn_core.cli import main
from gradattn_core.csv_tables import read_candidates
from gradattn_core.dataset.decoding import read_image
from gradattn_core.model.forward import answer
from gradattn_core.model.preprocessing import Preprocessing
from gradattn_core.ranking.outside import KEPT
from gradattn_core.records import AuditSummary, FloatArray
from gradattn_core.store.store import Store
from tests.helpers.explicit_outside import outside_by_hand
from tests.helpers.many_outputs import CLASSES, OUTPUT, ManyOutputs, make_many_outputs

INSIDE = [OUTPUT[CLASSES[name]] for name in sorted(CLASSES)]
YELLOW = OUTPUT["yellow"]


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> ManyOutputs:
    return make_many_outputs(tmp_path_factory.mktemp("colours"))


@pytest.fixture(scope="module")
def audited(colours: ManyOutputs, tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, AuditSummary]:
    summary = audit_images(colours.config(tmp_path_factory.mktemp("out")))
    return Store(summary.database.parent), summary


@pytest.fixture(scope="module")
def logits(colours: ManyOutputs, audited: tuple[Store, AuditSummary]) -> dict[str, FloatArray]:
    """All outputs for each picture, each asked alone."""
    model = audit_model(colours.config(colours.dataset))
    preprocessing = Preprocessing.of(model)
    found = {}
    for file in sorted(colours.dataset.glob("*/*.png")):
        pixels = torch.from_numpy(np.array(read_image(file).image.resize((32, 32)))).permute(2, 0, 1)[None]
        path = file.relative_to(colours.dataset).as_posix()
        found[path] = answer(model, preprocessing.normalised(pixels))[0].numpy()
    return found


def rows(store: Store, audit: str, **filters: Any) -> Iterator[Any]:
    return store.candidates.page(audit, everything=True, **filters).itertuples()


def test_every_suspicion_has_what_the_other_outputs_say(
    audited: tuple[Store, AuditSummary], logits: dict[str, FloatArray]
) -> None:
    store, summary = audited
    paths = sorted(logits)
    given = [path.split("/")[0] for path in paths]
    by_hand = outside_by_hand(given, [logits[path].tolist() for path in paths], INSIDE, KEPT)
    o = dict(zip(paths, by_hand, strict=True))
    for row in rows(store, summary.audit_id):
        assert row.outside_suspicion == pytest.approx(o[row.path], rel=1e-3, abs=1e-7), row.path
        assert row.suspicion >= row.outside_suspicion
        best = int(logits[row.path].argmax())
        assert row.outside_label == ("" if best in INSIDE else f"class {best}")
        if row.outside_label:
            p = np.exp(logits[row.path] - logits[row.path].max())
            assert row.outside_probability == pytest.approx(float(p[best] / p.sum()), rel=1e-3)


def test_a_foreign_picture_is_suggested_for_removal_and_a_wrong_one_for_its_class(
    colours: ManyOutputs, audited: tuple[Store, AuditSummary]
) -> None:
    store, summary = audited
    found = {row.path: row for row in rows(store, summary.audit_id)}
    for path in colours.foreign:
        row = found[path]
        assert row.is_suspect and row.rank <= 5
        assert (row.suggested_label, row.outside_label, row.kind) == ("", f"class {YELLOW}", "out of place")
        assert row.suggested_probability == row.outside_suspicion > 0.5
        assert row.given_probability + row.suggested_probability <= 1
    [wrong] = colours.wrong
    assert (found[wrong].suggested_label, found[wrong].outside_label) == ("green", "")
    clean = [row for path, row in found.items() if path not in colours.foreign | colours.wrong]
    assert np.mean([row.suspicion for row in clean]) < 0.1
    # The number of wrong labels is the sum of all of it.
    assert summary.estimated_errors == pytest.approx(sum(row.suspicion for row in found.values()))


def test_its_map_is_drawn_against_the_models_own_class(
    colours: ManyOutputs, audited: tuple[Store, AuditSummary], logits: dict[str, FloatArray]
) -> None:
    store, summary = audited
    for path in sorted(colours.foreign):
        evidence = store.images.evidence(summary.audit_id, path)
        assert evidence is not None and evidence.sums is not None
        assert (evidence.for_label, evidence.against_label) == ("red", f"class {YELLOW}")
        own = logits[path]
        assert evidence.for_logit == pytest.approx(own[OUTPUT["red"]], abs=1e-3)
        assert evidence.against_logit == pytest.approx(own[YELLOW], abs=1e-3)
        assert evidence.sums.log_odds == pytest.approx(own[OUTPUT["red"]] - own[YELLOW], abs=1e-3)
        assert evidence.sums.base + evidence.sums.red + evidence.sums.blue == pytest.approx(
            evidence.sums.log_odds, abs=1e-3
        )
        assert evidence.hidden is not None and evidence.hidden.label in {*CLASSES, f"class {YELLOW}"}
    pair = store.audits.pair_map(summary.audit_id, "red", "")
    stored = [store.images.evidence(summary.audit_id, path) for path in sorted(colours.foreign)]
    maps = [each.scores for each in stored if each is not None]
    assert pair is not None
    np.testing.assert_allclose(pair, np.mean(maps, axis=0), atol=1e-5)


def test_files_and_commands_name_it(
    colours: ManyOutputs, audited: tuple[Store, AuditSummary], capsys: pytest.CaptureFixture[str]
) -> None:
    store, summary = audited
    out = str(store.directory)
    table = read_candidates(summary.candidates).set_index("path")
    assert list(table.columns[-2:]) == ["outside_label", "kind"]
    for path in colours.foreign:
        assert (table["suggested_label"][path], table["outside_label"][path]) == ("", f"class {YELLOW}")
    assert main(["export", "--suggested", "", "--out", out, "--json"]) == 0
    assert {row["path"] for row in json.loads(capsys.readouterr().out)} >= colours.foreign
    assert main(["pairs", "--suggested", "", "--given", "red", "--out", out, "--json"]) == 0
    [pair] = json.loads(capsys.readouterr().out)
    assert (pair["suggested_label"], pair["outside_labels"][0]) == ("", f"class {YELLOW}")
    assert pair["suspects"] == int(((table["suggested_label"] == "") & (table["given_label"] == "red")).sum())
    assert main(["pairs", "--out", out]) == 0
    assert "none of these classes" in capsys.readouterr().out
    assert main(["summary", "--out", out, "--json"]) == 0
    [sentence] = [each for each in json.loads(capsys.readouterr().out)["warnings"] if "none of the dataset" in each]
    assert sentence.startswith(f"{int((table['suggested_label'] == '').sum())} suspects")


def test_the_model_can_be_asked_again(colours: ManyOutputs, audited: tuple[Store, AuditSummary]) -> None:
    store, summary = audited
    path = min(colours.foreign)
    before = store.images.evidence(summary.audit_id, path)
    measured = Judge.of(store, summary.audit_id).measure(store, path)
    assert before is not None and before.sums is not None and measured.sums is not None
    assert (measured.numbers, measured.against_label) == ("measured", f"class {YELLOW}")
    assert measured.sums.log_odds == pytest.approx(before.sums.log_odds, abs=1e-3)


@pytest.mark.parametrize("changes", [{"in_sample": "yes"}, {"head": "probe", "class_map": None}])
def test_where_the_head_has_no_vote_or_no_other_outputs_nothing_changes(
    colours: ManyOutputs, tmp_path: Path, changes: dict[str, Any]
) -> None:
    summary = audit_images(colours.config(tmp_path, **changes))
    with duckdb.connect(summary.database, read_only=True) as connection:
        found = connection.execute(
            "SELECT count(outside_suspicion), count(*) FILTER (suggested_label = '') FROM scores"
        ).fetchone()
    assert found == (0, 0)


def test_another_audit_takes_sweep_and_maps_over(colours: ManyOutputs, tmp_path: Path) -> None:
    first = audit_images(colours.config(tmp_path))
    (extra := colours.dataset / "red/again.png").write_bytes((colours.dataset / "red/00.png").read_bytes())
    try:
        second = audit_images(colours.config(tmp_path))
    finally:
        extra.unlink()
    assert any(f"{first.images + 1:,} images were taken over" in warning for warning in second.warnings)
    store = Store(tmp_path)
    for path in colours.foreign:
        before, after = (store.images.evidence(each.audit_id, path) for each in (first, second))
        assert before is not None and after is not None
        np.testing.assert_array_equal(before.scores, after.scores)
        assert replace(after, scores=before.scores).against_label == f"class {YELLOW}"
