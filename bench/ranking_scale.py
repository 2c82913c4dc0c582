"""Rank a million generated images: how long, how much memory, and how good next to the same ranking of fewer.

    python bench/ranking_scale.py [--images 1300000 …] [--classes 1000] [--width 384] [--before CHECKOUT]
        [--folder FOLDER] [--output FILE.md]
    OMP_NUM_THREADS=1 python bench/ranking_scale.py --images 10000 --classes 2000 --width 1536   # a handful a class

Features are drawn from classes of three modes each, ten kindred classes near one another, and bent by a layer of
rectified units, so that no linear model is right. Eight in a hundred labels are wrong, half of them under a kindred
class. The features lie in a file that is read as a memory map. Each size is ranked in a process of its own; the peak is
that process's largest resident set, mapped pages included. With CHECKOUT, the folder of another commit, that one ranks
the same features too. Prints a Markdown table; where other work goes on, read processor time.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

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


def rank(folder: Path) -> None:
    """Rank what ``folder`` holds by the gradattn that is found first, and print the end of a row of the table."""
    from gradattn_core.ranking.suspicion import rank_labels

    features = np.load(folder / "features.npy", mmap_mode="r")
    given: NDArray[np.int64] = np.load(folder / "given.npy")
    wrong: NDArray[np.bool_] = np.load(folder / "wrong.npy")
    started, busy = time.perf_counter(), time.process_time()
    ranked = rank_labels(given, features, classes=np.arange(int(given.max()) + 1))
    taken, busy = time.perf_counter() - started, time.process_time() - busy
    suspicion = ranked["suspicion"].to_numpy()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{taken:,.0f} s | {busy:,.0f} s | {peak:.2f} GiB | {average_precision_score(wrong, -ranked['rank']):.3f} "
        f"| {roc_auc_score(wrong, -ranked['rank']):.3f} | {wrong.sum():,} | {suspicion.sum():,.0f} |"
    )


def ranked_by(checkout: Path, folder: Path) -> str:
    """The same in a process of its own, by the gradattn of ``checkout``."""
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    command = [sys.executable, __file__, "--rank", str(folder)]
    return subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description="Rank a million generated images")
    parser.add_argument("--images", type=int, nargs="*", default=[13_000, 130_000, 1_300_000])
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--before", type=Path, help="checkout of another commit, which ranks the same")
    parser.add_argument("--folder", type=Path, help="where the generated features go (2 GB); default: a temporary one")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--rank", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.rank:
        rank(arguments.rank)
        return
    table = [
        f"{os.cpu_count()} cores.",
        "",
        "| images | classes | features | commit | time | processor time | peak memory | average precision | AUROC "
        "| wrong | estimated |",
        "|---:|---:|---:|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    commits = {"now": Path(__file__).parents[1]}
    if arguments.before:
        commits = {"before": arguments.before.resolve(), **commits}
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        for images in arguments.images:
            generate(Path(name), images, arguments.classes, arguments.width)
            for commit, checkout in commits.items():
                shape = f"| {images:,} | {arguments.classes:,} | {arguments.width} | {commit} "
                table.append(f"{shape}| {ranked_by(checkout, Path(name))}")
                print(table[-1], flush=True)
    print("\n".join(table))
    if arguments.output:
        arguments.output.write_text("\n".join(table) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
