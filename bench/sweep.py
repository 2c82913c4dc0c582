"""How near the whole audit comes to what the machine can do, and whether memory stays flat as the dataset grows.

    python bench/sweep.py ROOT --model vit_tiny_patch16_224 --checkpoint FILE [--images 2000]

Three ceilings are measured in the same run, half of each before the audit and half after it, for a machine's speed
drifts: decoding alone, the model's forward pass alone, and forward pass plus interpretation of as many suspects as the
audit has. A later audit of the same dataset, to which one image in a hundred
was added, shows what is taken over. Memory is that of the sweep, in a process of its own, over a tenth of the images
and over all of them.
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
import torch
from numpy.typing import NDArray
from torch import nn

from gradattn_core.audit import AuditConfig, make_plan, run_audit, survey_dataset, sweep_shard
from gradattn_core.audit.loading import audit_model, load_batches
from gradattn_core.dataset import list_dataset
from gradattn_core.interpret import interpret
from gradattn_core.interpret.hiding import ask_again
from gradattn_core.model import Preprocessing, forward, sweep_precision
from gradattn_core.records import AuditSummary

_SECONDS = 12.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", metavar="ROOT")
    parser.add_argument("--model", required=True)
    parser.add_argument("--checkpoint", metavar="FILE")
    parser.add_argument("--head", default="auto")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--images", type=int, default=2000, metavar="N")
    parser.add_argument("--memory", action="store_true", help="measure the memory of the sweep only")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)

        def config(images: int) -> AuditConfig:
            manifest = subset(options.dataset, images, place / f"{images}.csv")
            return AuditConfig(
                str(manifest), str(place / str(images)), model=options.model, checkpoint=options.checkpoint,
                head=options.head, device=options.device,
            )  # fmt: skip

        few, all_of_them = config(options.images // 10), config(options.images)
        memory = [sweep_memory(one, place / "memory") for one in (few, all_of_them)]
        print(
            f"Peak memory of the sweep: {memory[0]:.2f} GB at {options.images // 10:,} images, {memory[1]:.2f} GB at "
            f"{options.images:,}.\n",
            flush=True,
        )
        if options.memory:
            return 0
        model = audit_model(all_of_them)  # loaded before the clock starts
        before = ceilings(all_of_them, model)
        start = time.perf_counter()
        summary = run_audit(all_of_them)
        taken = time.perf_counter() - start
        after = ceilings(all_of_them, model)
        added = options.images // 100
        subset(options.dataset, options.images + added, Path(all_of_them.dataset))
        start = time.perf_counter()
        later = run_audit(all_of_them)
        again = time.perf_counter() - start
        subset(options.dataset, options.images, Path(all_of_them.dataset))
        show(all_of_them, summary, taken, (before + after) / 2)
        print(f"\nA later audit with {added:,} more images: {again:.1f} s, {again / taken:.0%} of the first's")
        print("\n| stage | first, s | later, s |\n|---|---:|---:|")
        for stage, of_first in summary.seconds.items():
            print(f"| {stage} | {of_first:.1f} | {later.seconds[stage]:.1f} |")
    return 0


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


def show(config: AuditConfig, summary: AuditSummary, taken: float, ceiling: NDArray[np.float64]) -> None:
    model = audit_model(config)
    decode, pass_forward, explain = ceiling
    images, suspects = summary.images, summary.suspects
    both = pass_forward + explain * suspects / images
    audit = taken / images
    device = next(model.parameters()).device
    name = (
        torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else f"{torch.get_num_threads()} cores, {platform.machine()}"
    )
    print(f"{config.model} on {name}, torch {torch.__version__}, {images:,} images, {suspects:,} suspects\n")
    print("| what | images/s | the audit reaches |\n|---|---:|---:|")
    rows = (("decode only", decode), ("forward only", pass_forward), ("forward + interpretation of the suspects", both))
    for what, needed in rows:
        print(f"| {what} | {1 / needed:,.1f} | {needed / audit:.0%} |")
    print(f"| the whole audit | {1 / audit:,.1f} | |")


def ceilings(config: AuditConfig, model: nn.Module) -> NDArray[np.float64]:
    """Seconds per image of decoding, of the forward pass, and of interpreting (with hiding and asking again)."""
    device = next(model.parameters()).device
    listing = list_dataset(config.dataset)
    preprocessing = Preprocessing.of(model)
    batches = load_batches(listing.root, listing.images, preprocessing, config, device)
    start = time.perf_counter()
    pixels = next(batches).pixels
    count = len(pixels) + sum(len(batch) for batch in batches)
    decode = (time.perf_counter() - start) / count
    images = preprocessing.normalised(pixels.to(device))
    given = torch.zeros(len(images), dtype=torch.long, device=device)

    def explain() -> None:
        maps = interpret(model, images, given, given + 1, objective=config.objective, correction=config.correction)
        ask_again(model, images, maps.scores)

    precision = sweep_precision(config.precision, device)
    passed = seconds(lambda: forward(model, images, precision))
    return np.array([decode, passed / len(images), seconds(explain) / len(images)])


def seconds(work: Callable[[], object]) -> float:
    """The mean of as many runs as take twelve seconds, the first apart."""
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
