"""What an audit computes on: said at once and kept, and gone on with as this device should where another began it."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file

from gradattn_core.audit import computing, plan, workers
from gradattn_core.audit.computing import computing_on, continued_precision
from gradattn_core.audit.plan import Plan, add_note, load_plan, make_plan, survey_dataset
from gradattn_core.audit.reuse import sweep_of, sweeps_below
from gradattn_core.audit.run import audit_images
from gradattn_core.audit.stages import SWEEP
from gradattn_core.audit.sweep import count_widened
from gradattn_core.audit.workers import local_devices
from gradattn_core.config import AuditConfig
from gradattn_core.model.device import Choice, computes_bfloat16
from gradattn_core.model.forward import sweep_precision
from gradattn_core.progress import silent
from gradattn_core.store.store import Store
from tests.helpers.tiny import Tiny

TOO_OLD = "The NVIDIA driver on your system is too old (found version 12040)"
CPU, GPU = torch.device("cpu"), torch.device("cuda")
HERE = sweep_precision("auto", CPU)


def planned(config: AuditConfig) -> Plan:
    return make_plan(config, survey_dataset(config))


def test_an_audit_that_a_gpu_began_goes_on_as_a_cpu_computes_and_says_so(tiny: Tiny, tmp_path: Path) -> None:
    config = tiny.config(tmp_path, precision="auto")
    begun = planned(config)
    assert (begun.versions["device"], begun.versions["precision"], begun.own_key) == ("CPU", HERE, "")
    SWEEP.run(begun, 0, silent)
    # As a GPU would have left it.
    told = {**begun.versions, "device": "card", "precision": "float16"}
    plan._write_plan(replace(begun, versions=told, precision="float16"))
    with pytest.warns(UserWarning, match=f"1 of 4 shards were swept on card in float16, the others on CPU in {HERE}"):
        summary = audit_images(config)
    assert summary.computed == f"card, then CPU, float16, then {HERE}"
    audit = Store(tmp_path).audits.one(summary.audit_id)
    assert (audit.versions["device"], audit.versions["precision"]) == ("card, then CPU", f"float16, then {HERE}")
    assert any("no later audit takes them over" in warning for warning in audit.warnings)
    mark = sweep_of(tmp_path / audit.features)
    assert mark is not None and mark.key != begun.sweep_key and not sweeps_below(tmp_path, begun.sweep_key)


def test_what_is_swept_already_keeps_its_key_whatever_device_goes_on(tiny: Tiny, tmp_path: Path) -> None:
    config = tiny.config(tmp_path, precision="auto")
    begun = planned(config)
    for index in range(begun.shards):
        SWEEP.run(begun, index, silent)
    plan._write_plan(replace(begun, versions={**begun.versions, "device": "card"}, precision="float16"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = planned(config)
    assert (found.versions["device"], found.precision, found.own_key) == ("card, then CPU", "float16", "")
    # Told once: the next command goes on where this one stopped, on the same device.
    assert planned(config).versions["device"] == "card, then CPU"


def test_a_work_folder_of_before_goes_on_under_its_key(tiny: Tiny, tmp_path: Path) -> None:
    config = tiny.config(tmp_path, precision="auto")
    begun = planned(config)
    values = json.loads(begun.files.plan.read_text())
    del values["own_key"], values["versions"]["device"], values["versions"]["precision"]
    begun.files.plan.write_text(json.dumps(values))
    found = planned(config)
    assert (found.audit_id, found.sweep.key, found.precision) == (begun.audit_id, begun.sweep_key, HERE)
    assert found.versions["device"] == "CPU"


def test_a_precision_changes_with_the_device_only_where_nobody_chose_it(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    auto = tiny.config(tmp_path, precision="auto")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(major=9))
    for device, here in ((CPU, HERE), (GPU, "float16")):
        monkeypatch.setattr(computing, "pick_device", lambda name, device=device: device)
        assert continued_precision(auto, "float16") == here
        # One device's float32 is no other's, and an audit that stays where it is keeps it.
        assert (continued_precision(auto, "float32"), continued_precision(auto, "float32", False)) == (here, "float32")
        for asked in ("float32", "float16", "bfloat16"):
            assert continued_precision(replace(auto, precision=asked), asked) == asked
    # What took the place of a float16 that was too narrow stays where there are units for it.
    assert continued_precision(auto, "bfloat16") == "bfloat16"


@pytest.mark.parametrize(
    ("units", "found"),
    [
        ({"avx512_f": True, "avx512_bf16": True}, "bfloat16"),
        ({"avx512_f": True, "amx_tile": True, "amx_bf16": True}, "bfloat16"),
        ({"avx512_f": True, "avx512_bf16": False, "amx_tile": True}, "float32"),
        ({"avx2": True}, "float32"),
        ({"neon": True, "bf16": True}, "bfloat16"),
        ({"neon": True, "bf16": False}, "float32"),
    ],
)
def test_a_cpu_sweeps_in_bfloat16_where_it_has_units_for_it(
    units: dict[str, bool], found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: units)
    # Of a processor without them oneDNN may say that it can, and emulates.
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    assert sweep_precision("auto", CPU) == found
    assert {sweep_precision(name, CPU) for name in ("float32", "float16", "bfloat16")} == {
        "float32", "float16", "bfloat16",
    }  # fmt: skip
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    assert sweep_precision("auto", CPU) == "float32" and not computes_bfloat16(torch.device("meta"))


def test_a_processor_without_its_units_does_not_go_on_in_bfloat16(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny.config(tmp_path, precision="auto")
    begun = planned(config)
    SWEEP.run(begun, 0, silent)
    plan._write_plan(replace(begun, versions={**begun.versions, "precision": "bfloat16"}, precision="bfloat16"))
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True})
    with pytest.warns(UserWarning, match="1 of 4 shards were swept on CPU in bfloat16, the others on CPU in float32"):
        found = planned(config)
    assert (found.versions["device"], found.versions["precision"]) == ("CPU", "bfloat16, then float32")
    assert found.own_key and found.precision == "float32" and planned(config).own_key == found.own_key


@pytest.fixture
def loud(tiny: Tiny, tmp_path: Path) -> AuditConfig:
    """An audit with a model whose numbers are too large for float16."""
    state = load_file(tiny.checkpoint)
    state["blocks.0.mlp.fc2.weight"] = state["blocks.0.mlp.fc2.weight"] * 1e7
    save_file(state, tmp_path / "loud.safetensors")
    return tiny.config(tmp_path / "out", checkpoint=str(tmp_path / "loud.safetensors"), precision="float16")


def test_a_full_sweep_in_another_precision_is_told_once_with_what_would_take_the_old_one_over(
    tiny: Tiny, tmp_path: Path
) -> None:
    def notes(precision: str, threshold: float = 0.5) -> list[str]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            summary = audit_images(tiny.config(tmp_path, precision=precision, threshold=threshold))
        return [said for said in summary.warnings if said.startswith("Every image is swept anew")]

    assert notes("float32") == []
    [said] = notes("bfloat16")
    assert "in bfloat16" in said and "--precision float32 takes those sweeps over" in said
    # Whoever follows it finds them, and then both are there.
    assert notes("float32", 0.4) == notes("bfloat16", 0.4) == []


def test_a_model_too_large_for_float16_is_found_out_before_the_sweep_and_told(
    loud: AuditConfig, tmp_path: Path
) -> None:
    with pytest.warns(UserWarning, match="numbers become too large for float16: it is swept in float32"):
        found = planned(loud)
    exact = planned(replace(loud, precision="float32", out=str(tmp_path / "exact")))
    assert (found.precision, found.sweep_key) == ("float32", exact.sweep_key)
    assert any("too large for float16" in note for note in found.notes) and "float32" in found.versions["precision"]


def test_a_model_that_overflows_in_the_middle_is_counted(loud: AuditConfig, tmp_path: Path) -> None:
    exact = planned(replace(loud, precision="float32"))
    SWEEP.run(exact, 0, silent)
    assert b"widened" not in pq.read_schema(SWEEP.file(exact, 0)).metadata
    whole = pq.read_table(SWEEP.file(exact, 0))
    SWEEP.file(exact, 0).unlink()
    narrow = replace(exact, precision="float16")
    for index in range(narrow.shards):
        SWEEP.run(narrow, index, silent)
    assert count_widened(narrow) == len(narrow.listing)
    assert pq.read_table(SWEEP.file(narrow, 0)).equals(whole)


def test_a_gpu_that_is_there_but_idle_is_told_at_once_with_the_reason(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(computing, "automatic", lambda: Choice(CPU, TOO_OLD))
    monkeypatch.setattr(computing, "pick_device", lambda name: CPU)
    with pytest.warns(UserWarning, match="a GPU is not used: The NVIDIA driver"):
        assert computing_on(tiny.config(tmp_path, device="auto")) == f"CPU (a GPU is not used: {TOO_OLD})"
    with warnings.catch_warnings():
        # Whoever asks for the CPU has no GPU in mind.
        warnings.simplefilter("error")
        assert computing_on(tiny.config(tmp_path, device="cpu")) == "CPU"
        assert computing_on(replace(tiny.config(tmp_path), runner="ray")) == "a Ray cluster"


def test_gpus_that_only_the_driver_sees_get_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(workers, "pick_device", lambda name: CPU)
    assert local_devices("auto") == ("auto",)
    monkeypatch.setattr(workers, "pick_device", lambda name: GPU)
    assert local_devices("auto") == local_devices("cuda") == ("cuda:0", "cuda:1") and local_devices("cpu") == ("cpu",)


def test_a_note_is_kept_with_the_others_once(tiny: Tiny, tmp_path: Path) -> None:
    found = planned(tiny.config(tmp_path))
    for _ in range(2):
        add_note(found.folder, "cuda:1 did not take part.")
    assert load_plan(found.folder).notes == (*found.notes, "cuda:1 did not take part.")
