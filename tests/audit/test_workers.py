"""Parts of an audit spread over devices: real processes, on CPUs in place of GPUs."""

from __future__ import annotations

import gc
import os
import signal
import weakref
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gradattn_core import progress
from gradattn_core.audit.findings import write_findings
from gradattn_core.audit.loading import audit_model
from gradattn_core.audit.merge import merge
from gradattn_core.audit.plan import Plan, load_plan, make_plan, survey_dataset
from gradattn_core.audit.rank import rank_images
from gradattn_core.audit.run import audit_images
from gradattn_core.audit.stages import FINETUNE, INTERPRET, SWEEP, Stage
from gradattn_core.audit.workers import Workers, local_devices, local_workers, run_stage
from gradattn_core.config import FineTuning
from gradattn_core.errors import DatasetError, GradattnError, StoreError
from gradattn_core.files import write_bytes, write_whole
from gradattn_core.progress import silent
from tests.helpers.tiny import Tiny


def planned(tiny: Tiny, out: Path, **changes: object) -> Plan:
    config = tiny.config(out, **changes)
    return make_plan(config, survey_dataset(config))


def workers_now() -> list[int]:
    """Worker processes of this one, in the order of their start."""
    threads = Path("/proc/self/task").iterdir()
    children = [int(pid) for thread in threads for pid in (thread / "children").read_text().split()]
    return [pid for pid in sorted(children) if b"multiprocessing.spawn" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_two_processes_give_the_list_of_one_without_what_is_there_and_tell_how_far_they_are(
    tiny: Tiny, tmp_path: Path
) -> None:
    config = {"head": "finetune", "folds": 2, "finetuning": FineTuning(epochs=1), "shard_size": 8}
    audit_images(tiny.config(tmp_path / "one", **config))
    plan = planned(tiny, tmp_path / "two", **config)
    told: list[tuple[str, int, int]] = []
    SWEEP.run(plan, 3, silent)
    kept = SWEEP.file(plan, 3).stat().st_mtime_ns
    with Workers(plan, ["cpu", "cpu"]) as workers:
        run_stage(plan, SWEEP, workers, lambda *progress: told.append(progress))
        processes = workers_now()
        assert len(processes) == 2
        before = [cpu_seconds(pid) for pid in processes]
        run_stage(plan, FINETUNE, workers, lambda *progress: told.append(progress))
        assert all(cpu_seconds(pid) > start + 0.05 for pid, start in zip(processes, before, strict=True))
        rank_images(plan)
        run_stage(plan, INTERPRET, workers, lambda *progress: told.append(progress))
    assert not workers_now() and SWEEP.file(plan, 3).stat().st_mtime_ns == kept
    write_findings(plan)
    merge(plan)
    assert (tmp_path / "two/candidates.csv").read_bytes() == (tmp_path / "one/candidates.csv").read_bytes()
    swept = [done for stage, done, total in told if stage == "sweep"]
    assert swept == [8 * part for part in range(1, 10)]
    assert ("finetune", 2, 2) in told and told[-1][0] == "interpret" and told[-1][1] == told[-1][2]


def test_a_part_s_error_comes_out_as_it_is_and_a_killed_process_is_one_sentence(tiny: Tiny, tmp_path: Path) -> None:
    plan = planned(tiny, tmp_path, shard_size=4, head="finetune", folds=2)
    # A sweep of which no image could be read leaves nothing to train on.
    (tmp_path / "emptied").mkdir()
    for index in range(plan.shards):
        SWEEP.run(replace(plan, root=str(tmp_path / "emptied")), index, silent)
    with Workers(plan, ["cpu", "cpu"]) as workers:
        with pytest.raises(DatasetError, match="every image fell into one fold") as caught:
            workers.run(FINETUNE, 0)
        assert "in finetune_fold" in "".join(caught.value.__notes__)
        for index in range(plan.shards):
            SWEEP.file(plan, index).unlink()

        def kill(stage: str, done: int, total: int) -> None:
            if done == 8:
                os.kill(workers_now()[1], signal.SIGKILL)

        with pytest.raises(GradattnError, match=r"worker process on cpu was lost at sweep shard \d+ \(exit code -9"):
            run_stage(plan, SWEEP, workers, kill)
        assert not workers_now()
    left = SWEEP.missing(plan)
    assert 0 < len(left) <= 16
    run_stage(plan, SWEEP, None)
    assert not SWEEP.missing(plan)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_runs_nothing_gets_no_work_and_the_real_reason_is_told(tiny: Tiny, tmp_path: Path) -> None:
    plan = planned(tiny, tmp_path)
    told = pytest.warns(
        UserWarning, match=r"device 'cuda:0' is not usable here \(.+\).*; the other devices do its part"
    )
    with told, Workers(plan, ["cpu", "cuda:0"]) as workers:
        assert workers.devices == ("cpu",) and len(workers_now()) == 1
        run_stage(plan, SWEEP, workers)
    assert not SWEEP.missing(plan)
    assert any("cuda:0 did not take part: device 'cuda:0'" in note for note in load_plan(plan.folder).notes)
    with pytest.raises(GradattnError, match=r"'cuda:0' is not usable here .*; device 'cuda:1' is not usable here"):
        Workers(plan, ["cuda:0", "cuda:1"]).__enter__()
    assert not workers_now()


def test_a_worker_that_cannot_read_the_plan_says_that(tiny: Tiny, tmp_path: Path) -> None:
    plan = planned(tiny, tmp_path)
    plan.files.plan.write_text(plan.files.plan.read_text().replace('"format": ', '"format": 9'))
    with pytest.raises(StoreError, match="was begun by another version"):
        Workers(plan, ["cpu", "cpu"]).__enter__()
    assert not workers_now()


@pytest.mark.slow
def test_an_interrupt_ends_every_process_at_once_and_keeps_what_is_finished(tiny: Tiny, tmp_path: Path) -> None:
    plan = planned(tiny, tmp_path, shard_size=4)

    def interrupt(stage: str, done: int, total: int) -> None:
        if done == 8:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt), Workers(plan, ["cpu", "cpu"]) as workers:
        run_stage(plan, SWEEP, workers, interrupt)
    assert not workers_now()
    assert 2 <= plan.shards - len(SWEEP.missing(plan)) < plan.shards
    assert not list(plan.folder.glob(".*")), "half a file was left"


def test_the_driver_holds_no_model_while_others_compute(tiny: Tiny, tmp_path: Path) -> None:
    plan = planned(tiny, tmp_path)
    model = weakref.ref(audit_model(plan.config))
    with local_workers(plan, ["cpu"]):
        assert model() is not None
    with local_workers(plan, ["cpu", "cpu"]):
        gc.collect()
        assert model() is None


def test_one_device_needs_no_other_process() -> None:
    assert local_devices("cpu") == ("cpu",) and local_devices("cuda:1") == ("cuda:1",)


@pytest.mark.gpu
def test_every_gpu_is_used_where_none_is_named() -> None:
    count = torch.cuda.device_count()
    if count < 2:
        pytest.skip("one GPU or none")
    assert local_devices("auto") == local_devices("cuda") == tuple(f"cuda:{index}" for index in range(count))


def test_two_writers_of_one_file_do_not_disturb_each_other(tmp_path: Path) -> None:
    """As when a process of another machine, with the same number, was given up and lives."""
    target = tmp_path / "shard"

    def write(temporary: Path) -> None:
        temporary.write_bytes(b"first")
        write_bytes(target, b"second")
        assert temporary.read_bytes() == b"first"

    write_whole(target, write)
    assert target.read_bytes() == b"first" and [path.name for path in tmp_path.iterdir()] == ["shard"]


@pytest.mark.parametrize(("parts", "told"), [(4, [0, 25, 50, 75, 100]), (3, [0, 33, 66, 100]), (0, [100])])
def test_progress_is_told_in_the_unit_of_the_stage(tiny: Tiny, tmp_path: Path, parts: int, told: list[int]) -> None:
    plan = planned(tiny, tmp_path)
    stage = Stage(progress.SWEEP, SWEEP.run, SWEEP.files, "shard", lambda _: parts, lambda _: 100)
    heard: list[int] = []
    for left in range(parts, -1, -1):
        stage.tell(plan, left, lambda _stage, done, _total: heard.append(done))
    assert heard == told
