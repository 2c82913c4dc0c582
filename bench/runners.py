"""What spreading costs: seconds until the first shard is done, and seconds per further shard of one tiny picture each.

    python -m bench.runners --shards 60

The work of a shard is next to nothing, so what is left is the overhead of getting it done: in this process, in two
processes, as Prefect tasks, as Prefect tasks in two processes, and as Prefect tasks on a Ray cluster of this machine.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import timm
import torch
from PIL import Image
from prefect import flow
from prefect.logging.configuration import setup_logging
from safetensors.torch import save_file

from flows.tasks import computing, listener
from gradattn_core.audit.plan import Plan, load_plan, make_plan, survey_dataset
from gradattn_core.audit.stages import SWEEP
from gradattn_core.audit.workers import Workers, run_stage
from gradattn_core.config import AuditConfig
from gradattn_core.progress import Progress

_MODEL = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 1, "num_heads": 2, "num_classes": 2}
_OVERLAY = {"pretrained_cfg_overlay": {"input_size": [3, 32, 32], "num_classes": 2}}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=int, default=60)
    shards = parser.parse_args().shards
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    setup_logging()
    print("| runner | first shard | each further shard |\n|---|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        config = _audit(Path(folder), shards)
        for name, sweep in _RUNNERS.items():
            first, further = _timed(replace(config, out=f"{folder}/{name}"), sweep, ray="Ray" in name)
            print(f"| {name} | {first:.1f} s | {1000 * further:,.0f} ms |", flush=True)
    return 0


@flow
def sweeping(folder: str, devices: list[str]) -> None:
    """The sweep of an audit as a flow of its own."""
    with computing(load_plan(folder), devices) as compute:
        compute(SWEEP)


def _audit(folder: Path, images: int) -> AuditConfig:
    """Grey pictures in two classes, one per shard, and a model of one layer."""
    for index in range(images):
        path = folder / "dataset" / "ab"[index % 2] / f"{index:05d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (32, 32), index % 256).save(path)
    torch.manual_seed(0)
    state = timm.create_model("vit_tiny_patch16_224", **_MODEL).state_dict()
    save_file({name: value.contiguous() for name, value in state.items()}, folder / "model.safetensors")
    return AuditConfig(
        str(folder / "dataset"),
        model="vit_tiny_patch16_224",
        checkpoint=str(folder / "model.safetensors"),
        model_arguments={**_MODEL, **_OVERLAY},
        head="probe",
        shard_size=1,
        workers=1,
        device="cpu",
    )


def _timed(config: AuditConfig, sweep: Callable[[Plan, Progress], None], *, ray: bool) -> tuple[float, float]:
    """Seconds until the first shard is done, and per shard after it."""
    plan = make_plan(replace(config, runner="ray") if ray else config, survey_dataset(config))
    moments: list[float] = []

    def progress(stage: str, done: int, total: int) -> None:
        if done > len(moments):
            moments.append(time.monotonic())

    start = time.monotonic()
    sweep(plan, progress)
    return moments[0] - start, (moments[-1] - moments[0]) / (plan.shards - 1)


def _in_two_processes(plan: Plan, progress: Progress) -> None:
    with Workers(plan, ["cpu", "cpu"]) as workers:
        run_stage(plan, SWEEP, workers, progress)


def _as_flow(*devices: str) -> Callable[[Plan, Progress], None]:
    def sweep(plan: Plan, progress: Progress) -> None:
        token = listener.set(progress)
        try:
            sweeping(str(plan.folder), list(devices))
        finally:
            listener.reset(token)

    return sweep


_RUNNERS: dict[str, Callable[[Plan, Progress], None]] = {
    "this process": lambda plan, progress: run_stage(plan, SWEEP, None, progress),
    "two processes": _in_two_processes,
    "Prefect, this process": _as_flow("cpu"),
    "Prefect, two processes": _as_flow("cpu", "cpu"),
    "Prefect and Ray, two processes": _as_flow("cpu"),
}

if __name__ == "__main__":
    sys.exit(main())
