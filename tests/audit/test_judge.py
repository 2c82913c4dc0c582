"""A finished audit's judge asked again: the numbers an audit would have measured, kept, or one sentence why not."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from gradattn_core.audit.judge import Judge
from gradattn_core.audit.run import audit_images
from gradattn_core.errors import GradattnError, InterpretError, ModelError, StoreError
from gradattn_core.model.backbone import load_model
from gradattn_core.records import Evidence
from gradattn_core.store.store import Store
from tests.helpers.tiny import Tiny, make_tiny


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return make_tiny(tmp_path_factory.mktemp("tiny"), per_class=8)


@pytest.fixture(scope="module", params=["probe", pytest.param("as-is", marks=pytest.mark.slow)])
def finished(tiny: Tiny, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The output folder of an audit, and its id."""
    out = tmp_path_factory.mktemp("judged")
    return out, audit_images(tiny.config(out, head=request.param)).audit_id


@pytest.fixture
def store(finished: tuple[Path, str], tmp_path: Path) -> Store:
    """A copy of the audit, to be written to."""
    shutil.copytree(finished[0], tmp_path / "out")
    return Store(tmp_path / "out")


def suspects(store: Store, audit: str) -> list[str]:
    return [str(path) for path in store.candidates.page(audit, top=3)["path"]]


def evidence_of(store: Store, audit: str, path: str) -> Evidence:
    found = store.images.evidence(audit, path)
    assert found is not None
    return found


def test_measuring_on_demand_says_what_an_audit_that_measures_all_says(
    finished: tuple[Path, str], store: Store, tiny: Tiny, tmp_path: Path
) -> None:
    audit = finished[1]
    head = store.audits.one(audit).head
    everything = audit_images(tiny.config(tmp_path / "all", head=head, measured="all"))
    judge = Judge.of(store, audit)
    for path in suspects(store, audit):
        before = evidence_of(store, audit, path)
        found = judge.measure(store, path)
        expected = evidence_of(Store(tmp_path / "all"), everything.audit_id, path)
        kept = evidence_of(store, audit, path)
        assert before.numbers == "map" and found.numbers == kept.numbers == expected.numbers == "measured"
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-4)
        assert np.abs(found.scores - before.scores).max() > 1e-3
        np.testing.assert_array_equal(kept.scores, found.scores)
        assert kept.sums == found.sums and kept.statistics == found.statistics and kept.hidden == before.hidden
        assert found.sums is not None
        assert found.sums.base + found.sums.red + found.sums.blue == pytest.approx(found.sums.log_odds, abs=1e-4)
        assert all(region.measured is not None for region in kept.statistics.regions)
        # Who asks again gets the same, without a second measurement upon the first.
        np.testing.assert_array_equal(judge.measure(store, path).scores, kept.scores)
    row = store.candidates.one(audit, path)
    [strongest] = [r for r in kept.statistics.regions if (r.sign, r.rank) == (-1, 1)]
    assert row is not None and row.top_region_measured == pytest.approx(strongest.measured)
    with duckdb.connect(store.database, read_only=True) as connection:
        ranks = connection.execute("SELECT DISTINCT image_rank FROM regions WHERE path = ?", [path]).fetchall()
    assert ranks == [(row.rank,)]


def test_a_cheap_method_is_drawn_for_the_two_classes_of_the_evidence(finished: tuple[Path, str], store: Store) -> None:
    [path, *_] = suspects(store, finished[1])
    judge = Judge.of(store, finished[1])
    evidence, first = judge.map(store, path, "centred")
    again, second = judge.map(store, path, "rollout")
    assert first.shape == second.shape == evidence.scores.shape == again.scores.shape
    assert first.min() < 0 < first.max() and second.min() >= 0
    with pytest.raises(InterpretError, match="no-such"):
        judge.map(store, path, "no-such")


@pytest.mark.slow
def test_two_processes_measure_the_same_suspect_at_once(finished: tuple[Path, str], store: Store, tiny: Tiny) -> None:
    [path, *_] = suspects(store, finished[1])
    before = evidence_of(store, finished[1], path)
    code = (
        "import sys; from gradattn_core.audit.judge import Judge; from gradattn_core.store.store import Store\n"
        "out, audit, path = sys.argv[1:]; store = Store(out); judge = Judge.of(store, audit)\n"
        "print('ready', flush=True); sys.stdin.readline(); print(judge.measure(store, path).sums.red)"
    )
    command = [sys.executable, "-c", code, str(store.directory), finished[1], path]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, **pipes) for _ in range(2)]  # type: ignore[call-overload]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    answers = [process.communicate("go\n")[0] for process in processes]
    kept = evidence_of(store, finished[1], path)
    assert kept.sums is not None and [float(answer) for answer in answers] == pytest.approx([kept.sums.red] * 2)
    keys = {(region.sign, region.rank) for region in kept.statistics.regions}
    assert len(keys) == len(kept.statistics.regions) == len(before.statistics.regions)


def test_only_what_belongs_to_a_stored_map_is_kept(finished: tuple[Path, str], store: Store) -> None:
    [path, other, *_] = suspects(store, finished[1])
    evidence = Judge.of(store, finished[1]).measure(store, path)
    before = evidence_of(store, finished[1], other)
    with pytest.raises(StoreError, match="has no map of 'nowhere'"):
        store.images.keep_measured(finished[1], "nowhere", evidence)
    with pytest.raises(StoreError, match="with 4 x 8 patches"):
        store.images.keep_measured(finished[1], path, replace(evidence, scores=evidence.scores[:4]))
    after = evidence_of(store, finished[1], other)
    np.testing.assert_array_equal(after.scores, before.scores)
    assert (after.sums, after.statistics, after.numbers) == (before.sums, before.statistics, before.numbers)


def test_a_database_that_somebody_holds_is_one_sentence(finished: tuple[Path, str], store: Store) -> None:
    [path, *_] = suspects(store, finished[1])
    judge = Judge.of(store, finished[1])
    with duckdb.connect(store.database), pytest.raises(StoreError, match="has held"):
        judge.measure(Store(store.directory, patience=0.2), path)
    assert judge.measure(store, path).numbers == "measured"


def test_what_was_measured_is_not_kept_where_nothing_may_be_written(finished: tuple[Path, str], store: Store) -> None:
    [path, *_] = suspects(store, finished[1])
    shown = Store(store.directory, read_only=True)
    assert Judge.of(shown, finished[1]).measure(shown, path).numbers == "measured"
    assert evidence_of(store, finished[1], path).numbers == "map"


def test_pictures_weights_and_audits_that_are_not_what_they_were_are_refused_by_name(
    finished: tuple[Path, str], store: Store, tiny: Tiny, tmp_path: Path
) -> None:
    audit, [path, *_] = finished[1], suspects(store, finished[1])
    judge = Judge.of(store, audit)
    with pytest.raises(StoreError, match="no evidence was computed for nowhere"):
        judge.case(store, "nowhere.png")
    moved = tmp_path / "dataset"
    shutil.copytree(tiny.dataset, moved)
    elsewhere = Store(store.directory, data_root=moved)
    assert judge.case(elsewhere, path).evidence.numbers == "map"
    other = next(file for file in sorted(moved.rglob("*.png")) if file != moved / path)
    shutil.copy(other, moved / path)
    with pytest.raises(GradattnError, match="has changed since it was audited"):
        judge.measure(elsewhere, path)
    (moved / path).unlink()
    with pytest.raises(GradattnError, match="does not exist"):
        judge.measure(elsewhere, path)
    state = {name: value * 1.5 for name, value in load_file(tiny.checkpoint).items()}
    save_file(state, tmp_path / "other.safetensors")
    stronger = load_model(replace(judge.config, checkpoint=str(tmp_path / "other.safetensors")).spec)
    with pytest.raises(GradattnError, match=r"the model's log-odds were .* the weights of .* have changed"):
        replace(judge, model=stronger).measure(store, path)
    assert evidence_of(store, audit, path).numbers == "map"


@pytest.mark.parametrize(
    ("change", "error", "sentence"),
    [
        ("UPDATE audits SET head = 'finetune'", StoreError, "each fold had a fine-tuned model of its own"),
        (
            'UPDATE audits SET parameters = json_merge_patch(parameters, \'{"checkpoint": "/gone.safetensors"}\')',
            ModelError,
            "/gone.safetensors",
        ),
        ("UPDATE audits SET parameters = '{}'", StoreError, "are not stored as this version reads them"),
    ],
)
def test_a_judge_that_cannot_be_had_any_more_is_refused(
    finished: tuple[Path, str], store: Store, change: str, error: type[GradattnError], sentence: str
) -> None:
    with duckdb.connect(store.database) as connection:
        connection.execute(change)
    with pytest.raises(error, match=sentence):
        Judge.of(store, finished[1])


def test_a_probe_that_is_gone_and_a_map_without_sums_are_refused(tiny: Tiny, tmp_path: Path) -> None:
    config = tiny.config(tmp_path, correction="centred")
    audit = audit_images(config).audit_id
    store = Store(tmp_path)
    [path, *_] = suspects(store, audit)
    judge = Judge.of(store, audit)
    with pytest.raises(StoreError, match="does not add up to log-odds"):
        judge.measure(store, path)
    np.testing.assert_allclose(judge.map(store, path, "centred")[1], evidence_of(store, audit, path).scores, atol=1e-4)
    (tmp_path / "features" / audit / "heads.safetensors").unlink()
    with pytest.raises(StoreError, match="its probe is gone"):
        Judge.of(store, audit)
