"""Who computes the sweep: asked for by one option, said with the result, and never another in its place."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from gradattn_core.audit import computing
from gradattn_core.audit.plan import Plan, _write_plan, make_plan, survey_dataset
from gradattn_core.audit.run import audit_images
from gradattn_core.audit.stages import RANK, SWEEP
from gradattn_core.audit.sweep import sweep_shard, sweep_shards
from gradattn_core.config import AuditConfig
from gradattn_core.errors import GradattnError, ModelError
from gradattn_core.model import openvino_passes
from gradattn_core.outfolder import AuditFolder
from gradattn_core.progress import silent
from gradattn_core.store.store import Store
from tests.audit.test_computing import GPU, HERE
from tests.helpers.command_line import gradattn
from tests.helpers.tiny import Tiny, model_options
from tests.model.test_openvino_passes import installed


def planned(config: AuditConfig) -> Plan:
    return make_plan(config, survey_dataset(config))


def test_without_the_package_an_audit_says_what_brings_it_and_begins_nothing(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In the way of one that is installed.
    (tmp_path / "openvino.py").write_text("raise ModuleNotFoundError('No module named openvino')")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    asked = ("audit", tiny.dataset, *model_options(tiny), "--device", "cpu", "--engine", "openvino")
    result = gradattn(*asked, out=tmp_path / "out")
    assert result.returncode == 2 and "Traceback" not in result.stderr
    assert "engine 'openvino' needs a package" in result.stderr
    assert "pip install 'gradattn[openvino]' brings it" in " ".join(result.stderr.split())
    assert not list((tmp_path / "out").glob("work/*"))


def test_on_a_gpu_and_without_a_model_it_is_refused(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(computing, "pick_device", lambda name: GPU)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "card")
    with pytest.raises(ModelError, match="computes on a CPU, not on card; choose device 'cpu'"):
        planned(tiny.config(tmp_path, engine="openvino"))
    with pytest.raises(GradattnError, match="engine 'openvino' has nothing to compute with model 'none'"):
        AuditConfig("photos", probabilities="p.npy", engine="openvino")


def test_an_audit_by_torch_keeps_its_name_and_what_was_listed_is_the_same_whatever_computes() -> None:
    by_torch, by_openvino = AuditConfig("photos"), AuditConfig("photos", engine="openvino", map_precision="float32")
    assert "engine" not in by_torch.identity() and by_openvino.identity()["engine"] == "openvino"
    assert by_torch.listing_key() == by_openvino.listing_key() != AuditConfig("photos", limit=5).listing_key()


@installed
def test_an_audit_says_who_swept_finds_the_same_and_takes_over_only_what_openvino_swept(
    tiny: Tiny, tmp_path: Path
) -> None:
    by_torch = audit_images(tiny.config(tmp_path))
    summary = audit_images(tiny.config(tmp_path, engine="openvino"))
    assert summary.computed.startswith("CPU, float32 by OpenVINO 20")
    # What follows the sweep has the memory for itself.
    assert not openvino_passes._compiled._made
    assert "0 were swept anew" not in " ".join(summary.warnings)
    assert (
        "Every image is swept anew, in float32 by openvino: earlier audits were swept in float32 by torch, and "
        "--engine torch takes those sweeps over." in summary.warnings
    )
    ranked = [
        Store(tmp_path).candidates.page(each.audit_id, everything=True).set_index("path")["suspicion"].sort_index()
        for each in (by_torch, summary)
    ]
    assert (ranked[0] - ranked[1]).abs().max() < 1e-3
    later = planned(tiny.config(tmp_path, engine="openvino", folds=3))
    sweep_shard(later, 0)
    assert count_of(later) == (20, 0)


@pytest.mark.usefixtures("without_openvino")
def test_where_it_is_gone_an_audit_that_it_began_says_so_before_the_sweep_and_not_after(
    tiny: Tiny, tmp_path: Path
) -> None:
    config = tiny.config(tmp_path)
    begun = planned(config)
    sweep_shards(begun, range(3))
    # As one that was swept by OpenVINO so far.
    by_openvino = tiny.config(tmp_path, engine="openvino")
    fingerprint = survey_dataset(by_openvino).fingerprint
    folder = begun.folder.with_name(f"20260101T000000-{fingerprint[:8]}")
    begun.folder.rename(folder)
    begun = replace(begun, config=by_openvino, fingerprint=fingerprint, folder=folder, audit_id=folder.name)
    _write_plan(begun)
    with pytest.raises(ModelError, match="engine 'openvino' needs a package"):
        audit_images(by_openvino)
    assert not begun.files.sweep(3).exists()
    sweep_shard(replace(begun, config=config), 3)
    assert audit_images(by_openvino).audit_id == begun.audit_id


@installed
def test_an_audit_that_another_version_began_says_both(tiny: Tiny, tmp_path: Path) -> None:
    config = tiny.config(tmp_path, engine="openvino")
    begun = planned(config)
    now = begun.versions["precision"]
    sweep_shard(begun, 0)
    _write_plan(replace(begun, versions={**begun.versions, "precision": "float32 by OpenVINO 2026.1.0"}))
    assert audit_images(config).computed == f"CPU, float32 by OpenVINO 2026.1.0, then {now}"


@installed
def test_what_was_converted_stays_for_the_next_shard_and_is_let_go_of_after_the_sweep(
    tiny: Tiny, tmp_path: Path
) -> None:
    """In a process that is handed one part at a time, as on a cluster."""
    plan, made = planned(tiny.config(tmp_path, engine="openvino")), openvino_passes._compiled._made
    SWEEP.run(plan, 0, silent)
    (first,) = made.values()
    SWEEP.run(plan, 1, silent)
    assert list(made.values()) == [first]
    sweep_shards(plan, range(plan.shards))
    RANK.run(plan, 0, silent)
    assert not made


@installed
def test_an_audit_that_was_stopped_goes_on_by_openvino(tiny: Tiny, tmp_path: Path) -> None:
    config = tiny.config(tmp_path, engine="openvino", precision="auto")
    begun = planned(config)
    sweep_shard(begun, 0)
    swept = begun.files.sweep(0).read_bytes()
    summary = audit_images(config)
    assert summary.audit_id == begun.audit_id and summary.computed.startswith(f"CPU, {HERE} by OpenVINO")
    folder = AuditFolder(tmp_path / Store(tmp_path).audits.one(summary.audit_id).features)
    assert folder.sweep_files()[0].read_bytes() == swept


def count_of(plan: Plan) -> tuple[int, int]:
    """Images of the first shard that were taken over, and that were computed in another precision."""
    facts = pq.read_schema(plan.files.sweep(0)).metadata
    return int(facts[b"taken_over"]), int(facts.get(b"widened", 0))
