"""Audits on a Ray cluster: of this machine alone, of two nodes one of which is killed, and what cannot be used."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import uuid4

import pytest
import timm
import torch
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.futures import PrefectConcurrentFuture
from prefect.settings import PREFECT_API_URL
from prefect.testing.utilities import prefect_test_harness
from safetensors.torch import save_file

from flows.audit import run_as_flow
from flows.cluster import Node, Share, for_runner, join_cluster, plan_on_node, require_reachable, share_of
from flows.tasks import audit_task, completed_parts, computing, interrupts_stay_interrupts
from gradattn_core.audit.findings import write_findings
from gradattn_core.audit.merge import merge
from gradattn_core.audit.plan import _write_plan, make_plan, survey_dataset
from gradattn_core.audit.rank import rank_images
from gradattn_core.audit.run import audit_images
from gradattn_core.audit.stages import INTERPRET, SWEEP
from gradattn_core.cli import main
from gradattn_core.config import AuditConfig, FineTuning
from gradattn_core.errors import GradattnError
from gradattn_core.progress import silent
from tests.helpers.prefect_runs import latest_run, tasks_of
from tests.helpers.signals import interrupt_once_there
from tests.helpers.tiny import TINY_VIT, Tiny, make_tiny

NODE = {"include_dashboard": False, "object_store_memory": 100 * 2**20}


@pytest.fixture(scope="module")
def ray() -> ModuleType:
    found: ModuleType = pytest.importorskip("ray")
    return found


@pytest.fixture(scope="module")
def client() -> Iterator[SyncPrefectClient]:
    with prefect_test_harness(server_startup_timeout=120), get_client(sync_client=True) as found:
        yield found


@pytest.fixture
def cluster(ray: ModuleType) -> Iterator[Any]:
    """Two nodes of one core each, as processes of this machine."""
    nodes = import_module("ray.cluster_utils").Cluster(initialize_head=True, head_node_args={"num_cpus": 1, **NODE})
    try:
        nodes.add_node(num_cpus=1, **NODE)
        yield nodes
    finally:
        ray.shutdown()
        nodes.shutdown()


def command(config: AuditConfig, *options: str) -> list[str]:
    model = ["--model", config.model, "--checkpoint", str(config.checkpoint)]
    model += [
        "--model-arguments",
        json.dumps(config.model_arguments),
        "--head",
        config.head,
        "--precision",
        config.precision,
    ]
    sizes = ["--batch-size", str(config.batch_size), "--shard-size", str(config.shard_size)]
    where = [config.dataset, "--out", config.out, "--runner", "ray"]
    return [sys.executable, "-m", "gradattn_core", "audit", *where, *model, *sizes, *options]


def listening(session: int) -> set[str]:
    """``address:port``, in the kernel's hexadecimal, of every socket that processes of this session listen at."""
    sockets = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if int((process / "stat").read_text().rsplit(")", 1)[1].split()[3]) == session:
                sockets |= {os.readlink(link) for link in (process / "fd").iterdir()}
        except OSError:
            continue
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:
                found.add(fields[1])
    return found


@pytest.mark.slow
def test_a_cluster_of_this_machine_gives_the_list_of_the_plain_audit_and_listens_to_nobody_else(
    ray: ModuleType, tiny: Tiny, tmp_path: Path
) -> None:
    config = tiny.config(tmp_path / "ray", shard_size=8)
    audit_images(replace(config, out=str(tmp_path / "plain")))
    process = subprocess.Popen(
        command(config, "--json"),
        env={**os.environ, "PREFECT_HOME": str(tmp_path / "prefect"), "HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    heard: set[str] = set()
    try:
        while process.poll() is None:
            heard |= listening(process.pid)
            time.sleep(0.5)
        summary = json.loads(process.communicate()[0])
    finally:
        process.kill()
    assert process.returncode == 0 and summary["images"] == 42
    assert (tmp_path / "ray/candidates.csv").read_bytes() == (tmp_path / "plain/candidates.csv").read_bytes()
    assert len(heard) > 5, "Ray and Prefect listen somewhere"
    loopback = ("0100007F:", "00000000000000000000000001000000:", "0000000000000000FFFF00000100007F:")
    assert [address for address in heard if not address.startswith(loopback)] == []
    assert not listening(process.pid), "processes were left"


@pytest.mark.slow
def test_a_node_killed_in_the_middle_costs_its_part_only(
    ray: ModuleType, cluster: Any, client: SyncPrefectClient, tiny: Tiny, tmp_path: Path
) -> None:
    config = deep(tiny, tmp_path, head="finetune", folds=3, finetuning=FineTuning(epochs=1), shard_size=2, batch_size=1)
    audit_images(replace(config, out=str(tmp_path / "plain")))
    node = cluster.list_all_nodes()[1]
    raylet = node.all_processes["raylet"][0].process.pid
    killed_at: list[int] = []

    def kill(stage: str, done: int, total: int) -> None:
        if stage == "sweep" and done >= 16 and not killed_at and sweeping(raylet):
            cluster.remove_node(node, allow_graceful=False)
            killed_at.append(done)

    summary = run_as_flow(replace(config, runner="ray", ray_address=cluster.address), kill)
    assert killed_at and killed_at[0] < 42 and not sweeping(raylet)
    assert summary.images == 42 and summary.failures == 0
    assert (tmp_path / "out/candidates.csv").read_bytes() == (tmp_path / "plain/candidates.csv").read_bytes()
    assert not list((tmp_path / "out/work").iterdir())
    names = [task.name for task in client.read_task_runs() if task.name.startswith("sweep shard")]
    assert sorted(names) == sorted(f"sweep shard {index}" for index in range(21))


@pytest.mark.slow
def test_nodes_that_share_no_folder_exchange_files_over_a_url(
    ray: ModuleType, cluster: Any, client: SyncPrefectClient, tiny: Tiny, tmp_path: Path
) -> None:
    config = tiny.config(tmp_path / "out", shard_size=8)
    audit_images(replace(config, out=str(tmp_path / "plain")))
    storage = tmp_path / "storage"
    over = {"runner": "ray", "ray_address": cluster.address, "ray_storage": storage.as_uri()}
    assert run_as_flow(replace(config, **over)).images == 42
    assert (tmp_path / "out/candidates.csv").read_bytes() == (tmp_path / "plain/candidates.csv").read_bytes()
    assert list(storage.iterdir()) == []


def sweeping(raylet: int) -> bool:
    """Whether a worker of this node is at a shard right now: Ray gives its process the name of the task."""
    children = Path(f"/proc/{raylet}/task/{raylet}/children")
    pids = children.read_text().split() if children.exists() else []
    return any(Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"ray::sweep") for pid in pids)


def deep(tiny: Tiny, folder: Path, **changes: Any) -> AuditConfig:
    """An audit whose shards take a second: many layers, one picture at a time."""
    arguments = {**TINY_VIT, "depth": 60}
    torch.manual_seed(0)
    model = timm.create_model("vit_tiny_patch16_224", **arguments)
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, folder / "deep.safetensors")
    return tiny.config(
        folder / "out", model_arguments=arguments, checkpoint=str(folder / "deep.safetensors"), **changes
    )


@pytest.mark.slow
def test_shards_that_are_there_cost_no_task_and_a_part_that_kills_its_worker_is_one_sentence(
    ray: ModuleType, cluster: Any, client: SyncPrefectClient, tiny: Tiny, tmp_path: Path
) -> None:
    config = tiny.config(tmp_path / "out", shard_size=4, runner="ray", ray_address=cluster.address)
    plan = make_plan(for_runner(config), survey_dataset(for_runner(config)))
    for index in (0, 3, 4):
        SWEEP.run(plan, index, silent)
    run_as_flow(config)
    tasks = tasks_of(client, latest_run(client), {f"sweep shard {index}" for index in (1, 2, 5, 10)})
    assert not {f"sweep shard {index}" for index in (0, 3, 4)} & tasks.keys()

    with pytest.raises(GradattnError, match=r"Ray gave up on dying part 7 \(.*continues"):
        dying(config)


@audit_task("die")
def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@flow
def dying(config: AuditConfig) -> None:
    with join_cluster(config, PREFECT_API_URL.value()) as share:
        options = import_module("prefect_ray.context").remote_options
        with import_module("prefect_ray.task_runners").RayTaskRunner() as runner, options(**share.options):
            list(completed_parts("dying part", [7], lambda _: runner.submit(die, {}), lambda: 1))


@pytest.mark.slow
def test_a_flow_spreads_its_tasks_over_the_processes_of_this_machine_s_devices(
    client: SyncPrefectClient, tiny: Tiny, tmp_path: Path
) -> None:
    config = tiny.config(tmp_path / "spread", shard_size=4)
    audit_images(replace(config, out=str(tmp_path / "plain")))
    plan = make_plan(config, survey_dataset(config))

    @flow
    def spread() -> None:
        with computing(plan, ["cpu", "cpu"]) as compute:
            compute(SWEEP)
            rank_images(plan)
            compute(INTERPRET)

    spread()
    write_findings(plan)
    merge(plan)
    assert (tmp_path / "spread/candidates.csv").read_bytes() == (tmp_path / "plain/candidates.csv").read_bytes()
    names = {task.name for task in client.read_task_runs()}
    assert {f"sweep shard {index}" for index in range(11)} <= names


@pytest.mark.slow
def test_ctrl_c_on_a_cluster_leaves_what_the_next_run_continues(ray: ModuleType, tiny: Tiny, tmp_path: Path) -> None:
    config = deep(tiny, tmp_path, shard_size=2, batch_size=1)
    process = subprocess.Popen(
        command(config),
        env={**os.environ, "PREFECT_HOME": str(tmp_path / "prefect")},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    complaint = interrupt_once_there(process, tmp_path, "out/work/*/sweep-00003.parquet")
    assert process.returncode == 130, complaint
    assert "Traceback" not in complaint and "continues where it stopped" in complaint
    assert not listening(process.pid), "processes were left"
    kept = list(tmp_path.glob("out/work/*/sweep-*.parquet"))
    assert kept and not list(tmp_path.glob("out/candidates.csv"))
    moments = {path.name: path.stat().st_mtime_ns for path in kept}
    summary = audit_images(config)
    assert summary.images == 42
    continued = tmp_path / "out/features" / summary.audit_id
    assert {name: (continued / name).stat().st_mtime_ns for name in moments} == moments


def test_an_interrupt_that_a_library_takes_for_an_error_is_an_interrupt_again() -> None:
    # What a shell begins in the background has interrupts ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with pytest.raises(KeyboardInterrupt), interrupts_stay_interrupts():
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)
        except KeyboardInterrupt:
            raise ValueError("as pydantic does") from None
    with pytest.raises(ValueError, match="of its own"), interrupts_stay_interrupts():
        raise ValueError("of its own")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_no_more_parts_are_submitted_than_there_is_room_for_and_the_first_done_is_the_first_told() -> None:
    running: set[int] = set()
    most: list[int] = []
    release = threading.Event()

    def part(index: int) -> None:
        if index == 0:
            release.wait(30)

    with ThreadPoolExecutor(8) as pool:

        def submit(index: int) -> PrefectConcurrentFuture[None]:
            running.add(index)
            most.append(len(running))
            return PrefectConcurrentFuture(uuid4(), pool.submit(part, index))

        told: list[int] = []
        for index in completed_parts("part", range(100), submit, lambda: 3):
            running.remove(index)
            told.append(index)
            if len(told) == 90:
                release.set()
    assert max(most) == 3 and sorted(told) == list(range(100)) and 0 not in told[:90]


def test_the_first_part_that_fails_ends_the_stage_with_its_own_error() -> None:
    def part(index: int) -> None:
        if index == 2:
            raise GradattnError("what the user must change")

    submitted: list[int] = []
    with ThreadPoolExecutor(1) as pool:

        def submit(index: int) -> PrefectConcurrentFuture[None]:
            submitted.append(index)
            return PrefectConcurrentFuture(uuid4(), pool.submit(part, index))

        with pytest.raises(GradattnError, match="what the user must change"):
            list(completed_parts("part", range(100), submit, lambda: 2))
    assert len(submitted) <= 5


@pytest.mark.parametrize(
    ("nodes", "device", "share"),
    [
        ([(16, 0), (8, 0), (0, 0)], "auto", Share("cpu", 8, 12)),
        ([(64, 0), (64, 0)], "cpu", Share("cpu", 12, 12)),
        ([(64, 8), (32, 8), (16, 0)], "auto", Share("cuda", 4, 12)),
        ([(2, 8)], "cuda", Share("cuda", 1, 12)),
        ([(16, 8)], "cpu", Share("cpu", 12, 12)),
    ],
)
def test_a_task_gets_a_gpu_and_its_part_of_the_cores_or_the_cores_of_the_smallest_node(
    nodes: list[tuple[float, float]], device: str, share: Share
) -> None:
    assert (
        share_of([node(*resources) for resources in nodes], AuditConfig("photos", device=device), threads=12) == share
    )


def test_a_process_is_kept_for_the_next_part_on_cores_and_not_on_a_gpu() -> None:
    """It sees the GPU that it began with for good, and Ray may give its next task another."""
    assert Share("cpu", 4, 4).options["max_calls"] == 0 and Share("cuda", 4, 4).options["max_calls"] == 1


@pytest.mark.slow
def test_every_part_runs_in_a_process_that_began_on_the_gpu_that_ray_gives_it(ray: ModuleType) -> None:
    """Pretended GPUs, bursts of parts with pauses between them, and a process that is lost."""

    def part(seconds: float) -> tuple[int, str, str, float, float]:
        begun, visible = time.time(), os.environ["CUDA_VISIBLE_DEVICES"]
        # What CUDA would have read once; sys is one for all tasks of a process.
        first = sys.__dict__.setdefault("_first_gpu", visible)
        if seconds < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(seconds)
        return os.getpid(), first, visible, begun, time.time()

    ray.init(num_cpus=3, num_gpus=3, log_to_driver=False, **NODE)
    try:
        remote = ray.remote(**Share("cuda", 1, 1).options)(part)
        found: list[tuple[int, str, str, float, float]] = []
        for burst in (3, 1, 2, 3):
            found += ray.get([remote.remote(0.2) for _ in range(burst)])
            if burst == 1:
                with pytest.raises(ray.exceptions.RayError):
                    ray.get(remote.options(max_retries=0).remote(-1.0))
    finally:
        ray.shutdown()
    assert len(found) == 9 and all(first == given for _, first, given, _, _ in found)
    for one in found:
        for other in found:
            together = one is not other and one[3] < other[4] and other[3] < one[4]
            assert not (together and one[1] == other[1]), "two parts shared a GPU"


def node(cpus: float, gpus: float) -> Node:
    return Node("a-host", "10.0.0.5", cpus, gpus)


def test_a_gpu_that_no_node_has_is_refused() -> None:
    with pytest.raises(GradattnError, match="no node of the Ray cluster has a GPU"):
        share_of([node(8, 0)], AuditConfig("photos", device="cuda"), threads=8)


def test_gpus_that_the_engine_does_not_compute_on_are_refused_before_any_task() -> None:
    nodes, here = [node(16, 8)], AuditConfig("photos", engine="openvino")
    with pytest.raises(GradattnError, match="computes on a CPU, not on the GPUs of the Ray cluster; choose device"):
        share_of(nodes, here, threads=8)
    assert share_of(nodes, replace(here, device="cpu"), threads=8).device == "cpu"


@pytest.mark.parametrize("server", [None, "http://127.0.0.1:4200/api", "http://localhost:4200/api", "http://[::1]/api"])
def test_nodes_that_cannot_reach_prefect_s_server_are_refused(server: str | None) -> None:
    with pytest.raises(GradattnError, match=r"other machines \(node-1, node-2\).*PREFECT_API_URL"):
        require_reachable(server, ["node-1", "node-2"])
    require_reachable(server, [])
    require_reachable("http://prefect.example:4200/api", ["node-1"])
    require_reachable("http://10.0.0.7:4200/api", ["node-1"])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"device": "cuda:1"}, "device 'cuda:1'"),
        ({"ray_address": "ray://10.0.0.5:10001"}, "ray://10.0.0.5:10001"),
        ({"ray_address": "somewhere"}, "'somewhere'"),
    ],
)
def test_what_a_cluster_cannot_use_is_said_with_what_would_work(
    ray: ModuleType, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(GradattnError, match=words):
        for_runner(AuditConfig("photos", runner="ray", **changes))


def test_a_checkpoint_is_found_from_the_folder_of_every_node(ray: ModuleType, tmp_path: Path) -> None:
    config = AuditConfig("photos", runner="ray", checkpoint="weights.safetensors")
    assert for_runner(config).checkpoint == str(Path("weights.safetensors").resolve())


def test_an_address_without_an_audit_on_ray_is_refused() -> None:
    with pytest.raises(GradattnError, match=r"ray_address '10\.0\.0\.5:6379'.*runner 'ray'"):
        AuditConfig("photos", ray_address="10.0.0.5:6379")
    with pytest.raises(GradattnError, match="runner 'dask' is unknown; choose one of local, ray"):
        AuditConfig("photos", runner="dask")


def test_where_an_audit_runs_does_not_make_it_another_audit() -> None:
    plain = AuditConfig("photos")
    assert replace(plain, runner="ray", ray_address="auto").identity() == plain.identity()


def test_a_cluster_that_does_not_answer_is_one_sentence(ray: ModuleType) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    config = AuditConfig("photos", runner="ray", ray_address=f"127.0.0.1:{port}")
    with pytest.raises(GradattnError, match=rf"127\.0\.0\.1:{port}: nobody answers there"), join_cluster(config, None):
        pass


@pytest.mark.parametrize(
    "lose",
    [
        lambda tiny, plan: shutil.rmtree(plan.folder),
        lambda tiny, plan: shutil.rmtree(tiny.dataset),
        lambda tiny, plan: tiny.checkpoint.unlink(),
    ],
    ids=["output", "images", "checkpoint"],
)
def test_a_node_that_cannot_see_the_files_says_which(tmp_path: Path, lose: Callable[[Tiny, Any], None]) -> None:
    tiny = make_tiny(tmp_path, per_class=3, wrong_per_class=1)
    config = tiny.config(tmp_path / "out")
    plan = make_plan(config, survey_dataset(config))
    share = Share("cpu", 1, torch.get_num_threads())
    assert plan_on_node(str(plan.folder), share).root == plan.root
    plan_on_node.cache_clear()
    lose(tiny, plan)
    with pytest.raises(GradattnError, match=rf"node {socket.gethostname()} cannot see {tmp_path}.* storage that every"):
        plan_on_node(str(plan.folder), share)


@pytest.mark.usefixtures("without_openvino")
def test_a_node_that_lacks_what_computes_the_sweep_says_which(tiny: Tiny, tmp_path: Path) -> None:
    config = tiny.config(tmp_path / "out")
    plan = make_plan(config, survey_dataset(config))
    # As a node that has it would have begun.
    _write_plan(replace(plan, config=replace(config, engine="openvino")))
    with pytest.raises(GradattnError, match=rf"node {socket.gethostname()}: engine 'openvino' needs a package"):
        plan_on_node(str(plan.folder), Share("cpu", 1, torch.get_num_threads()))


@pytest.mark.parametrize("package", ["ray", "prefect_ray"])
def test_without_ray_the_command_says_how_to_get_it_before_anything_is_done(
    package: str, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    assert main(command(tiny.config(tmp_path / "out"))[3:]) == 2
    assert capsys.readouterr().err == (
        "gradattn: runner 'ray' needs packages that are not installed; pip install 'gradattn[ray]' adds them\n"
    )
    assert not (tmp_path / "out").exists()


def test_the_core_runs_an_audit_of_another_runner_as_a_flow_only(tmp_path: Path) -> None:
    with pytest.raises(GradattnError, match="runner 'ray' spreads the tasks of a flow"):
        audit_images(AuditConfig(str(tmp_path), out=str(tmp_path / "out"), runner="ray"))
    assert not (tmp_path / "out").exists()
