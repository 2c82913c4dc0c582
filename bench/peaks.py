"""Peak memory of an audit, stage by stage: this tree beside an older one.

    python bench/peaks.py ROOT --model vit_tiny_patch16_224 --checkpoint FILE --before CHECKOUT [--images 400]

Each audit is a process of its own on one thread. The kernel is told to forget the highest at the start of each stage,
so a stage has what it needs beside what those before it have kept.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import warnings
from itertools import chain
from pathlib import Path

_HERE = Path(__file__).resolve().parents[1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", metavar="ROOT", type=Path)
    parser.add_argument("--model", required=True)
    parser.add_argument("--checkpoint", metavar="FILE")
    parser.add_argument("--head", nargs="+", default=["probe"])
    parser.add_argument("--before", metavar="CHECKOUT", type=Path)
    parser.add_argument("--images", type=int, default=400, metavar="N", help="the first ones of each class in turn")
    parser.add_argument("--precision", nargs="+", default=["bfloat16", "float32"])
    parser.add_argument("--one", metavar="JSON", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(_peaks(json.loads(options.one))))
        return 0
    sides = {**({"before": options.before} if options.before else {}), "now": _HERE}
    stages: list[str] = []
    for head in options.head:
        for precision in options.precision:
            for side, checkout in sides.items():
                found = _apart(options, checkout, head, precision)
                if not stages:
                    stages = list(found)
                    print(f"| head | precision | code | {' | '.join(stages)} | the audit |")
                    print(f"|---|---|---|{'---:|' * (len(stages) + 1)}")
                cells = [f"{each:.2f}" for each in (*(found[stage] for stage in stages), max(found.values()))]
                print(f"| {head} | {precision} | {side} | {' | '.join(cells)} |", flush=True)
    return 0


def _apart(options: argparse.Namespace, checkout: Path, head: str, precision: str) -> dict[str, float]:
    """:func:`_peaks` in a process that imports the product from a checkout."""
    with tempfile.TemporaryDirectory() as folder:
        dataset = _subset(options.dataset, options.images, Path(folder) / "manifest.csv")
        asked = {
            "dataset": str(dataset), "out": f"{folder}/out",
            "model": options.model, "checkpoint": options.checkpoint, "head": head, "precision": precision,
            "device": "cpu",
        }  # fmt: skip
        environment = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, __file__, str(options.dataset), "--model", options.model, "--one", json.dumps(asked)]
        run = subprocess.run(command, env=environment, cwd=checkout, stdout=subprocess.PIPE, text=True, check=True)
    answer: dict[str, float] = json.loads(run.stdout.splitlines()[-1])
    return answer


def _subset(root: Path, images: int, manifest: Path) -> Path:
    """A manifest of as many images, the first ones of each class in turn."""
    classes = [sorted(file for file in each.rglob("*") if file.is_file()) for each in sorted(root.iterdir())]
    turns = [each[turn] for turn in range(max(map(len, classes))) for each in classes if turn < len(each)]
    with manifest.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label"])
        writer.writerows([str(each.resolve()), each.relative_to(root).parts[0]] for each in turns[:images])
    return manifest


def _peaks(asked: dict[str, str]) -> dict[str, float]:
    """GB of each stage of an audit, by its name."""
    from gradattn_core.audit.plan import plan_audit
    from gradattn_core.audit.stages import stages_left
    from gradattn_core.audit.workers import run_stage
    from gradattn_core.config import AuditConfig

    warnings.simplefilter("ignore")
    plan = plan_audit(AuditConfig(**asked))  # type: ignore[arg-type]
    peaks = {"plan": _highest()}
    for stage in chain(*stages_left(plan)):
        _forget()
        run_stage(plan, stage, None)
        peaks[stage.name] = _highest()
    return peaks


def _highest() -> float:
    """Of this process's memory since it was last forgotten, in GB."""
    status = Path("/proc/self/status").read_text("ascii")
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1e6


def _forget() -> None:
    Path("/proc/self/clear_refs").write_text("5", "ascii")


if __name__ == "__main__":
    sys.exit(main())
