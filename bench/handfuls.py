"""A whole audit of thousands of classes of a handful of pictures: what each step takes, and what is said of it.

    python -m bench.handfuls --model vit_tiny_patch16_224 --checkpoint FILE [--classes 2000] [--each 5]

A class is a mosaic of colours, its pictures are that mosaic moved, faded and grained, 64 pixels wide; eight labels in a
hundred are drawn anew. The audit ends before its maps, which cost what they cost elsewhere.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow.parquet as pq
from PIL import Image
from sklearn.metrics import average_precision_score

from gradattn_core.audit.plan import plan_audit
from gradattn_core.audit.rank import rank_images
from gradattn_core.audit.sweep import sweep_shards
from gradattn_core.config import AuditConfig
from gradattn_core.progress import RANK, SWEEP, silent

Result = TypeVar("Result")

SIDE, TILES, WRONG = 64, 4, 0.08


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--checkpoint", required=True, metavar="FILE")
    parser.add_argument("--classes", type=int, default=2000)
    parser.add_argument("--each", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        paint(Path(folder) / "photos", options.classes, options.each)
        config = AuditConfig(
            str(Path(folder) / "photos"), str(Path(folder) / "out"), model=options.model, checkpoint=options.checkpoint
        )
        print("| step | time | processor time |\n|---|---:|---:|")
        plan = timed("plan", lambda: plan_audit(config, silent))
        timed(SWEEP.name, lambda: sweep_shards(plan, range(plan.shards), silent))
        timed(RANK.name, lambda: rank_images(plan, silent))
        print("", *plan.notes, sep="\n")
        print(found(plan.files.rank))


def timed(name: str, step: Callable[[], Result]) -> Result:
    """What a step gives; it prints its row."""
    started, busy = time.perf_counter(), time.process_time()
    result = step()
    taken, spent = time.perf_counter() - started, time.process_time() - busy
    print(f"| {name} | {taken:.1f} s | {spent:.1f} s |", flush=True)
    return result


def found(scores: Path) -> str:
    """What the ranking makes of the labels: a picture's own class begins its name."""
    table = pq.read_table(scores)
    paths = [Path(path) for path in table["path"].to_pylist()]
    wrong = np.array([not path.name.startswith(f"{path.parent.name}-") for path in paths])
    precision = average_precision_score(wrong, -table["rank"].to_numpy())
    believed, suspects = (table[name].to_numpy().sum() for name in ("suspicion", "is_suspect"))
    return (
        f"\n{wrong.sum():,} wrong, {believed:,.0f} believed, {suspects:,} suspects; average precision {precision:.3f}"
    )


def paint(root: Path, classes: int, each: int) -> None:
    """Write the pictures of every class, some of them into another's folder."""
    rng = np.random.default_rng(0)
    for code in range(classes):
        (root / f"{code:05d}").mkdir(parents=True)
    for code in range(classes):
        mosaic = rng.uniform(0, 255, (TILES, TILES, 3))
        for number in range(each):
            label = rng.integers(classes) if rng.random() < WRONG else code
            wide = np.kron(np.roll(mosaic, rng.integers(2), axis=1), np.ones((SIDE // TILES, SIDE // TILES, 1)))
            moved = np.roll(wide, rng.integers(-8, 9, 2), axis=(0, 1))
            seen = rng.uniform(0.7, 1) * moved + rng.normal(0, 12, wide.shape)
            picture = Image.fromarray(seen.clip(0, 255).astype(np.uint8))
            picture.save(root / f"{label:05d}" / f"{code:05d}-{number}.jpg", quality=90)


if __name__ == "__main__":
    main()
