"""Rank a million generated images: how long, how much memory, and how good next to the same ranking of fewer.

    python bench/ranking_scale.py [--images 1300000] [--classes 1000] [--width 384] [--folder FOLDER] [--output FILE.md]

Features are drawn from classes of three modes each, ten kindred classes near one another, and bent by a layer of
rectified units, so that no linear model is right. Eight in a hundred labels are wrong, half of them under a kindred
class. The features lie in a file that is read as a memory map. Each size is ranked in a process of its own; the peak is
that process's largest resident set, mapped pages included. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from gradattn_core.ranking.suspicion import rank_labels

KINDRED = 10
MODES = 3
LATENT = 24
WRONG = 0.08
BLOCK = 20_000


def generate(folder: Path, images: int, classes: int, width: int) -> None:
    """Write features.npy [N, D] float32, given.npy and wrong.npy [N] into ``folder``."""
    rng = np.random.default_rng(0)
    families = 1.0 * rng.normal(size=(-(-classes // KINDRED), LATENT))
    middles = families[np.arange(classes) // KINDRED] + 0.8 * rng.normal(size=(classes, LATENT))
    modes = (middles[:, None] + 0.4 * rng.normal(size=(classes, MODES, LATENT))).reshape(-1, LATENT)
    layer, bias = rng.normal(size=(LATENT, width)) / np.sqrt(LATENT), 0.5 * rng.normal(size=width)
    true = rng.integers(0, classes, images)
    wrong = rng.random(images) < WRONG
    kin = true // KINDRED * KINDRED + (true + rng.integers(1, KINDRED, images)) % KINDRED
    other = np.where(rng.random(images) < 0.5, np.minimum(kin, classes - 1), rng.integers(0, classes, images))
    given = np.where(wrong, other, true)
    features = np.lib.format.open_memmap(folder / "features.npy", "w+", np.float32, (images, width))
    for start in range(0, images, BLOCK):
        rows = slice(start, start + BLOCK)
        count = len(true[rows])
        latent = modes[true[rows] * MODES + rng.integers(0, MODES, count)] + 0.9 * rng.normal(size=(count, LATENT))
        features[rows] = np.maximum(latent @ layer + bias, 0) + 0.2 * rng.normal(size=(count, width))
    features.flush()
    np.save(folder / "given.npy", given)
    np.save(folder / "wrong.npy", given != true)


def rank(folder: Path, images: int, classes: int, width: int, lines: multiprocessing.SimpleQueue[str]) -> None:
    """Rank what ``folder`` holds and tell one row of the table."""
    features = np.load(folder / "features.npy", mmap_mode="r")
    given: NDArray[np.int64] = np.load(folder / "given.npy")
    wrong: NDArray[np.bool_] = np.load(folder / "wrong.npy")
    started = time.perf_counter()
    ranked = rank_labels(given, features, classes=np.arange(classes))
    minutes = (time.perf_counter() - started) / 60
    suspicion = ranked["suspicion"].to_numpy()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    lines.put(
        f"| {images:,} | {classes:,} | {width} | {minutes:.1f} min | {peak:.1f} GiB "
        f"| {average_precision_score(wrong, suspicion):.3f} | {roc_auc_score(wrong, suspicion):.3f} "
        f"| {wrong.sum():,} | {suspicion.sum():,.0f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Rank a million generated images")
    parser.add_argument("--images", type=int, nargs="*", default=[13_000, 130_000, 1_300_000])
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--folder", type=Path, help="where the generated features go (2 GB); default: a temporary one")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    told: multiprocessing.SimpleQueue[str] = context.SimpleQueue()
    table = [
        f"{os.cpu_count()} cores.",
        "",
        "| images | classes | features | time | peak memory | average precision | AUROC | wrong | estimated |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        for images in arguments.images:
            for work, more in ((generate, ()), (rank, (told,))):
                process = context.Process(
                    target=work, args=(Path(name), images, arguments.classes, arguments.width, *more)
                )
                process.start()
                process.join()
                if process.exitcode:
                    raise SystemExit(f"{work.__name__} of {images:,} images ended with {process.exitcode}")
            table.append(told.get())
            print(table[-1], flush=True)
    print("\n".join(table))
    if arguments.output:
        arguments.output.write_text("\n".join(table) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
