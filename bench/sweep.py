"""How near the whole audit comes to what the machine can do, and whether memory stays flat as the dataset grows.

    python -m bench.sweep ROOT --model vit_tiny_patch16_224 --checkpoint FILE [--images 2000]
    python -m bench.sweep ROOT --model vit_small_patch16_224 --untrained

Ceilings are measured in the same run: decoding alone, the model's forward pass alone, and interpretation. Of a sweep
it is the slower of the first two where they have cores of their own, as on a GPU, and their sum where they share
them; of an audit that and the interpretation of as many suspects as it has. A machine's speed drifts within minutes,
so the forward pass and the interpretation are measured while the audit stands still after each quarter of a stage; the
time it stands still is not counted. Decoding fills its queue meanwhile, which is full anyway where the model binds.
Each stage is held against its own ceiling too. What can be told beside other work on the machine is in
``bench/feeding.py``. A later audit of the same dataset, to which one image in a hundred was added, shows what is
taken over. Memory (``--memory``, alone) is that of the sweep, in a process of its own, over a tenth of the images and
over all of them.
"""

from __future__ import annotations

import argparse
import csv
import multiprocessing
import platform
import resource
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from gradattn_core.audit.loading import audit_model, load_batches
from gradattn_core.audit.plan import make_plan, survey_dataset
from gradattn_core.audit.run import audit_images
from gradattn_core.audit.sweep import sweep_shard
from gradattn_core.config import AuditConfig
from gradattn_core.dataset.listing import list_dataset
from gradattn_core.interpret.hiding import ask_again
from gradattn_core.interpret.maps import interpret
from gradattn_core.model.forward import forward, sweep_precision
from gradattn_core.model.preprocessing import Preprocessing
from gradattn_core.records import AuditSummary

_SECONDS, _LOOKS = 4.0, 4


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", metavar="ROOT")
    parser.add_argument("--model", required=True)
    weights = parser.add_mutually_exclusive_group()
    weights.add_argument("--checkpoint", metavar="FILE")
    weights.add_argument("--untrained", action="store_true", help="random weights: as fast, and nothing is found")
    parser.add_argument("--head", default="auto")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--images", type=int, default=2000, metavar="N")
    parser.add_argument("--shard-size", type=int, default=1024, metavar="N")
    parser.add_argument("--memory", action="store_true", help="measure the memory of the sweep only")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        checkpoint = (
            untrained(options.model, place / "untrained.safetensors") if options.untrained else options.checkpoint
        )

        def config(images: int) -> AuditConfig:
            manifest = subset(options.dataset, images, place / f"{images}.csv")
            return AuditConfig(
                str(manifest), str(place / str(images)), model=options.model, checkpoint=checkpoint,
                head=options.head, device=options.device, shard_size=options.shard_size,
            )  # fmt: skip

        everything = config(options.images)
        if options.memory:
            for one in (config(options.images // 10), everything):
                peak = sweep_memory(one, place / "memory")
                print(f"Peak memory of the sweep of {Path(one.out).name} images: {peak:.2f} GB", flush=True)
            return 0
        model = audit_model(everything)  # loaded before the clock starts
        ceilings = Ceilings(everything, model)
        start = time.perf_counter()
        summary = audit_images(everything, ceilings)
        taken = time.perf_counter() - start - sum(ceilings.stood_still.values())
        show(everything, model, summary, taken, ceilings)
        added = options.images // 100
        subset(options.dataset, options.images + added, Path(everything.dataset))
        start = time.perf_counter()
        later = audit_images(everything)
        again = time.perf_counter() - start
        print(f"\nA later audit with {added:,} more images: {again:.1f} s, {again / taken:.0%} of the first's")
        print("\n| stage | later, s |\n|---|---:|")
        for stage, of_stage in later.seconds.items():
            print(f"| {stage} | {of_stage:.1f} |")
    return 0


def untrained(model: str, file: Path) -> str:
    """A checkpoint of random weights."""
    torch.manual_seed(0)
    save_file(timm.create_model(model, num_classes=10).state_dict(), file)
    return str(file)


def subset(root: str, images: int, manifest: Path) -> Path:
    """A manifest of so many of the dataset's images, drawn with a fixed seed; repeated under other names never."""
    records = list_dataset(root).images
    chosen = np.sort(np.random.default_rng(0).permutation(len(records))[:images])
    with manifest.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label"])
        writer.writerows([str(Path(root).resolve() / records[row].path), records[row].label] for row in chosen)
    return manifest


def sweep_memory(config: AuditConfig, out: Path) -> float:
    """Peak memory, in GB, of a process that sweeps the dataset and does nothing else."""
    context = multiprocessing.get_context("spawn")
    queue = context.SimpleQueue()
    process = context.Process(target=_sweep, args=(config, str(out / Path(config.out).name), queue))
    process.start()
    peak = float(queue.get())
    process.join()
    return peak


def _sweep(config: AuditConfig, out: str, queue: multiprocessing.SimpleQueue[float]) -> None:
    config = replace(config, out=out)
    plan = make_plan(config, survey_dataset(config))
    for index in range(plan.shards):
        sweep_shard(plan, index)
    queue.put(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)


class Ceilings:
    """Listens to an audit and measures, after each quarter of a stage, what the machine can do at that time.

    Attributes:
        decode, forward_pass, explain: seconds per image, the last of an interpretation with hiding and asking again.
        stood_still: seconds that the audit stood still, by stage.
    """

    def __init__(self, config: AuditConfig, model: nn.Module) -> None:
        self._config, self._model = config, model
        self._found: dict[str, list[float]] = {"sweep": [], "interpret": []}
        self._looks = dict.fromkeys(self._found, 0)
        self.stood_still = dict.fromkeys(self._found, 0.0)
        device = next(model.parameters()).device
        self._is_shared = device.type == "cpu"
        preprocessing = Preprocessing.of(model)
        listing = list_dataset(config.dataset)
        # The processes that feed a GPU start once, in seconds, and stay: their start is no part of the rate.
        few = listing.images[: config.batch_size or (256 if device.type == "cuda" else 64)]
        pixels = torch.cat([each.pixels for each in load_batches(listing.root, few, preprocessing, config, device)])
        start = time.perf_counter()
        count = sum(len(batch) for batch in load_batches(listing.root, listing.images, preprocessing, config, device))
        self.decode = (time.perf_counter() - start) / count
        self._images = preprocessing.normalised(pixels.to(device))
        precision = sweep_precision(config.precision, device)
        self._work: dict[str, Callable[[], object]] = {
            "sweep": lambda: forward(model, self._images, precision),
            "interpret": self._interpret,
        }

    def __call__(self, stage: str, done: int, total: int) -> None:
        if stage not in self._work or done * _LOOKS < total * (self._looks[stage] + 1):
            return
        self._looks[stage] += 1
        start = time.perf_counter()
        self._found[stage].append(seconds(self._work[stage]) / len(self._images))
        self.stood_still[stage] += time.perf_counter() - start

    @property
    def forward_pass(self) -> float:
        return float(np.mean(self._found["sweep"]))

    @property
    def sweep(self) -> float:
        """Seconds an image that decoding and the model need at least."""
        return self.decode + self.forward_pass if self._is_shared else max(self.decode, self.forward_pass)

    @property
    def explain(self) -> float:
        return float(np.mean(self._found["interpret"]))

    def spread(self, stage: str) -> str:
        """How much the machine's speed changed meanwhile, and how often it was looked at."""
        found = self._found[stage]
        return f"{len(found)} times, {(max(found) - min(found)) / float(np.mean(found)):.0%} between least and greatest"

    def _interpret(self) -> None:
        config, given = self._config, torch.zeros(len(self._images), dtype=torch.long, device=self._images.device)
        maps = interpret(
            self._model, self._images, given, given + 1, objective=config.objective, correction=config.correction
        )
        ask_again(self._model, self._images, maps.scores)


def show(config: AuditConfig, model: nn.Module, summary: AuditSummary, taken: float, ceilings: Ceilings) -> None:
    images, suspects = summary.images, summary.suspects
    both = ceilings.sweep + ceilings.explain * suspects / images
    audit = taken / images
    device = next(model.parameters()).device
    name = (
        torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else f"{torch.get_num_threads()} cores, {platform.machine()}"
    )
    print(f"{config.model} on {name}, torch {torch.__version__}, {images:,} images, {suspects:,} suspects\n")
    print("| what | images/s | the audit reaches |\n|---|---:|---:|")
    rows = (
        ("decode only", ceilings.decode),
        ("forward only", ceilings.forward_pass),
        ("the sweep's ceiling", ceilings.sweep),
        ("the sweep's ceiling + interpretation of the suspects", both),
    )
    for what, needed in rows:
        print(f"| {what} | {1 / needed:,.1f} | {needed / audit:.0%} |")
    print(f"| the whole audit | {1 / audit:,.1f} | |")
    print("\n| stage | s | its ceiling alone, s | reaches | the ceiling was measured |\n|---|---:|---:|---:|---|")
    alone = {"sweep": ceilings.sweep * images, "interpret": ceilings.explain * suspects}
    for stage, of_stage in summary.seconds.items():
        spent = of_stage - ceilings.stood_still.get(stage, 0.0)
        least = alone.get(stage)
        rest = " | | |" if least is None else f" {least:.1f} | {least / spent:.0%} | {ceilings.spread(stage)} |"
        print(f"| {stage} | {spent:.1f} |{rest}")


def seconds(work: Callable[[], object]) -> float:
    """The mean of as many runs as take four seconds, the first apart."""
    work()
    start, runs = time.perf_counter(), 0
    while time.perf_counter() - start < _SECONDS:
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        runs += 1
    return (time.perf_counter() - start) / runs


if __name__ == "__main__":
    raise SystemExit(main())
