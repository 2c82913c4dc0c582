"""Audits a dataset whose wrong labels are known: what each stage costs, peak memory, and how well the errors are found.

    python -m bench.audit ROOT --truth ROOT.truth.csv --model vit_tiny_patch16_224 --checkpoint FILE
    python -m bench.audit ROOT … --before CHECKOUT --later 40

The truth is a CSV with ``path``, ``given_label``, and ``true_label`` or ``is_error`` (0 or 1). Each audit runs in a
process of its own on one thread, and time is processor time, as other work slows whatever waits for a core. The
float32 forward pass of plain torch that a whole audit is held against is measured in the same process before, between
and after its stages, ours beside it, and neither is counted. ``--before`` audits with another checkout's code too, in
turn, and gives ratios. ``--later`` holds so many images back from the first audit, adds them, and audits again.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import average_precision_score

from gradattn_core.audit.loading import audit_model, load_batches
from gradattn_core.audit.run import audit_images
from gradattn_core.config import AuditConfig
from gradattn_core.dataset.listing import list_dataset
from gradattn_core.model.forward import forward
from gradattn_core.model.preprocessing import Preprocessing
from gradattn_core.progress import STEPS
from gradattn_core.store.store import Store

try:
    from gradattn_core.attention.onednn import linear_by_torch as plain_torch
except ModuleNotFoundError:
    # A checkout of before has no other way.
    plain_torch = nullcontext  # type: ignore[assignment]

_CPU, _LOOKS = torch.device("cpu"), 4
_HERE = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Costs:
    """What one audit cost and found.

    Attributes:
        stages: processor seconds of each.
        forward_pass: processor seconds of a float32 forward pass of one image by plain torch, at the time.
        our_pass: the same as the product makes it.
        computed: device and precision.
        kept: what the audit says of the maps that it kept.
    """

    images: int
    suspects: int
    stages: dict[str, float]
    forward_pass: float
    our_pass: float
    peak: float
    average_precision: float
    recall: float
    computed: str
    kept: str = ""

    @property
    def total(self) -> float:
        return sum(self.stages.values())


class Clock:
    """Listens to an audit: the processor time of its stages, and after each quarter of one that of a forward pass."""

    def __init__(self, config: AuditConfig) -> None:
        model = audit_model(config)
        preprocessing, listing = Preprocessing.of(model), list_dataset(config.dataset)
        pixels = next(load_batches(listing.root, listing.images[:32], preprocessing, config, _CPU)).pixels
        self._model, self._images = model, preprocessing.normalised(pixels)
        self._stage, self.stages = "", dict.fromkeys((step.name for step in STEPS), 0.0)
        self._passes: list[list[float]] = []
        self._looks = dict.fromkeys(self.stages, 0)
        self._pass()
        self._since = time.process_time()

    def __call__(self, stage: str, done: int, total: int) -> None:
        # Told of nothing done is told at a stage's beginning: what was done until then is the one's before it.
        name = stage.split()[0]
        self._count(name if done else self._stage or name)
        self._stage = name
        if done and done * _LOOKS >= total * (self._looks[name] + 1):
            self._looks[name] += 1
            self._pass()
            self._since = time.process_time()

    def costs(self) -> tuple[dict[str, float], list[float]]:
        """Of each stage, and of a forward pass of one image by plain torch and by the product."""
        self._count(self._stage)
        self._pass()
        return {name: spent for name, spent in self.stages.items() if spent}, np.mean(self._passes[1:], axis=0).tolist()

    def _count(self, stage: str) -> None:
        now = time.process_time()
        self.stages[stage] += now - self._since
        self._since = now

    def _pass(self) -> None:
        spent = []
        for way in (plain_torch, nullcontext):
            start = time.process_time()
            with way():
                forward(self._model, self._images, "float32")
            spent.append((time.process_time() - start) / len(self._images))
        self._passes.append(spent)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", metavar="ROOT")
    parser.add_argument("--truth", type=Path, required=True, metavar="FILE")
    parser.add_argument("--model", required=True)
    parser.add_argument("--checkpoint", metavar="FILE")
    parser.add_argument("--head", default="auto")
    parser.add_argument("--precision", nargs="+", default=["auto"])
    parser.add_argument("--images", type=int, default=0, metavar="N", help="so many, drawn with a fixed seed; 0 is all")
    parser.add_argument("--later", type=int, default=0, metavar="N")
    parser.add_argument("--before", metavar="CHECKOUT")
    parser.add_argument("--one", metavar="JSON", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps([asdict(each) for each in audited(**json.loads(options.one))]))
        return 0
    checkouts = {**({"before": options.before} if options.before else {}), "now": str(_HERE)}
    columns: dict[str, list[Costs]] = {}
    for precision in options.precision:
        for name, checkout in checkouts.items():
            asked = {
                "dataset": options.dataset, "truth": str(options.truth), "model": options.model,
                "checkpoint": options.checkpoint, "head": options.head, "precision": precision,
                "images": options.images, "later": options.later,
            }  # fmt: skip
            command = [sys.executable, __file__, options.dataset, "--truth", str(options.truth)]
            command += ["--model", options.model, "--one", json.dumps(asked)]
            environment = {**os.environ, "PYTHONPATH": checkout, "OMP_NUM_THREADS": "1"}
            result = subprocess.run(command, env=environment, cwd=checkout, check=True, capture_output=True, text=True)
            found = [Costs(**each) for each in json.loads(result.stdout.splitlines()[-1])]
            columns[f"{name}, {found[0].computed}"] = found
    show(columns)
    return 0


def audited(
    dataset: str, truth: str, model: str, checkpoint: str | None, head: str, precision: str, images: int, later: int
) -> list[Costs]:
    """The costs of a first audit, and of a later one where images were held back from it."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        manifest, records = Path(folder) / "manifest.csv", list_dataset(dataset).images
        drawn = np.random.default_rng(0).permutation(len(records))[: images or len(records)]
        chosen = [(str(Path(dataset).resolve() / records[row].path), records[row].label) for row in drawn]
        paths = {str(Path(dataset).resolve() / records[row].path): records[row].path for row in drawn}
        config = AuditConfig(
            str(manifest), str(Path(folder) / "out"), model=model, checkpoint=checkpoint, head=head,
            precision=precision, device="cpu", workers=1,
        )  # fmt: skip
        found = []
        for count in [len(chosen) - later, len(chosen)] if later else [len(chosen)]:
            write_manifest(manifest, chosen[:count])
            found.append(one_audit(config, paths, Path(truth)))
        return found


def write_manifest(file: Path, rows: Sequence[tuple[str, str]]) -> None:
    with file.open("w", newline="", encoding="utf-8") as opened:
        writer = csv.writer(opened)
        writer.writerow(["path", "label"])
        writer.writerows(sorted(rows))


def one_audit(config: AuditConfig, paths: dict[str, str], truth: Path) -> Costs:
    clock = Clock(config)
    summary = audit_images(config, clock)
    stages, (forward_pass, our_pass) = clock.costs()
    ranked = Store(Path(config.out)).candidates.page(summary.audit_id, everything=True)
    root = Path(Store(Path(config.out)).audits.one(summary.audit_id).root)
    ranked["path"] = [paths[str((root / path).resolve())] for path in ranked["path"]]
    found = ranked.merge(pd.read_csv(truth, dtype=str), on="path", suffixes=("", "_truth"))
    wrong = found["is_error"] == "1" if "is_error" in found else found["given_label"] != found["true_label"]
    errors = int(wrong.sum())
    return Costs(
        images=summary.images,
        suspects=summary.suspects,
        stages=stages,
        forward_pass=forward_pass,
        our_pass=our_pass,
        peak=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
        average_precision=float(average_precision_score(wrong, found["suspicion"])),
        recall=float(wrong.head(round(1.2 * errors)).sum() / errors),
        computed=summary.computed,
        kept=next((said for said in summary.warnings if "maps were" in said and "kept" in said), ""),
    )


def show(columns: dict[str, list[Costs]]) -> None:
    """A column for each way, a row for each number; ratios are to the column's own forward pass and first audit."""
    first = {name: costs[0] for name, costs in columns.items()}
    rows: dict[str, list[str]] = {
        "images, suspects": [f"{one.images:,}, {one.suspects:,}" for one in first.values()],
        "float32 forward pass of plain torch, ms an image": [f"{one.forward_pass * 1e3:.1f}" for one in first.values()],
        "the same as it is made here": [f"{one.our_pass * 1e3:.1f}" for one in first.values()],
    }
    for step in STEPS:
        rows[step.name] = [f"{one.stages.get(step.name, 0):.1f} s" for one in first.values()]
    rows["the whole audit"] = [f"{one.total:.1f} s" for one in first.values()]
    rows["of its float32 forward passes of plain torch"] = [
        f"{one.total / one.images / one.forward_pass:.2f} x" for one in first.values()
    ]
    rows["of those that are made here"] = [f"{one.total / one.images / one.our_pass:.2f} x" for one in first.values()]
    rows["average precision"] = [f"{one.average_precision:.4f}" for one in first.values()]
    rows["of the wrong in the first 1.2 x"] = [f"{one.recall:.1%}" for one in first.values()]
    rows["peak memory"] = [f"{one.peak:.2f} GB" for one in first.values()]
    if any(len(costs) > 1 for costs in columns.values()):
        last = [costs[-1] for costs in columns.values()]
        for step in STEPS:
            rows[f"later: {step.name}"] = [f"{one.stages.get(step.name, 0):.1f} s" for one in last]
        rows["later: the whole audit"] = [f"{one.total:.1f} s" for one in last]
        rows["later, of the first"] = [f"{costs[-1].total / costs[0].total:.0%}" for costs in columns.values()]
        rows["later, maps"] = [one.kept or "all drawn" for one in last]
    print(f"| processor time, one thread | {' | '.join(columns)} |\n|---|{'---:|' * len(columns)}")
    for name, values in rows.items():
        print(f"| {name} | {' | '.join(values)} |")


if __name__ == "__main__":
    sys.exit(main())
