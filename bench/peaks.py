"""Peak memory of an audit, stage by stage: this tree beside an older one, and whether it stays flat as a dataset grows.

    python bench/peaks.py ROOT --model vit_tiny_patch16_224 --checkpoint FILE [--before CHECKOUT] [--images 400 4000]

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
from pathlib import Path

_HERE = Path(__file__).resolve().parents[1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", metavar="ROOT", type=Path)
    parser.add_argument("--model", required=True)
    parser.add_argument("--checkpoint", metavar="FILE")
    parser.add_argument("--head", default="auto")
    parser.add_argument("--before", metavar="CHECKOUT", type=Path)
    parser.add_argument("--images", type=int, nargs="+", default=[400], metavar="N", help="the first of each class")
    parser.add_argument("--precision", nargs="+", default=["bfloat16", "float32"])
    parser.add_argument("--rounds", type=int, default=1, metavar="N", help="the lowest of so many counts")
    parser.add_argument("--one", metavar="JSON", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(_peaks(json.loads(options.one))))
        return 0
    sides = {**({"before": options.before} if options.before else {}), "now": _HERE}
    head = "| images | precision | code | {} | whole |"
    titled = False
    for images in options.images:
        for precision in options.precision:
            rounds: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
            for _ in range(options.rounds):
                for side, checkout in sides.items():
                    rounds[side].append(_apart(options, checkout, images, precision))
            for side, found in rounds.items():
                if not titled:
                    print(f"{head.format(' | '.join(found[0]))}\n|---:|---|---|{'---:|' * (len(found[0]) + 1)}")
                    titled = True
                lowest = {stage: min(each[stage] for each in found) for stage in found[0]}
                cells = [f"{each:.2f}" for each in (*lowest.values(), max(lowest.values()))]
                print(f"| {images:,} | {precision} | {side} | {' | '.join(cells)} |", flush=True)
    return 0


def _apart(options: argparse.Namespace, checkout: Path, images: int, precision: str) -> dict[str, float]:
    """:func:`_peaks` in a process that imports the product from a checkout."""
    with tempfile.TemporaryDirectory() as folder:
        asked = {
            "dataset": str(_subset(options.dataset, images, Path(folder) / "manifest.csv")), "out": f"{folder}/out",
            "model": options.model, "checkpoint": options.checkpoint, "head": options.head, "precision": precision,
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
    from gradattn_core.audit.run import audit_images
    from gradattn_core.config import AuditConfig

    warnings.simplefilter("ignore")
    peaks: dict[str, float] = {}
    current = "plan"

    def listen(step: str, done: int, total: int) -> None:
        nonlocal current
        if step != current:
            peaks[current] = _highest()
            current = step
            _forget()

    audit_images(AuditConfig(**asked), listen)  # type: ignore[arg-type]
    peaks[current] = _highest()
    return peaks


def _highest() -> float:
    """Of this process's memory since it was last forgotten, in GB."""
    status = Path("/proc/self/status").read_text("ascii")
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1e6


def _forget() -> None:
    Path("/proc/self/clear_refs").write_text("5", "ascii")


if __name__ == "__main__":
    sys.exit(main())
