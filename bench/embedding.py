"""How long a map takes: ``python -m bench.embedding [--pictures N …] [--width D …]``.

Clusters of random features, laid out by ``gradattn_core.embedding`` and, each as it is by default, by openTSNE and, if
it is installed, by umap-learn. Each runs in a process of its own and tells its import, its time, its peak memory,
whether a second run gives the same, and how many points have a nearest neighbour of their own cluster.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import resource
import subprocess
import sys
import time

import numpy as np
from scipy.spatial import cKDTree

from gradattn_core.embedding import embed
from gradattn_core.records import FloatArray, IntArray

CLUSTERS = 20
METHODS = ("gradattn", "openTSNE", "umap")


def clustered(pictures: int, width: int) -> tuple[FloatArray, IntArray]:
    """Features [N, D] around ``CLUSTERS`` directions, and the number of each one's cluster."""
    random = np.random.default_rng(0)
    cluster = random.integers(CLUSTERS, size=pictures)
    middles = random.normal(size=(CLUSTERS, width)) * 0.7
    features = (middles[cluster] + random.normal(size=(pictures, width))).astype(np.float32)
    return features, cluster


def lay_out(method: str, features: FloatArray) -> FloatArray:
    """[N, 2] places by one of ``METHODS``."""
    if method == "gradattn":
        return embed(features)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    if method == "openTSNE":
        import openTSNE

        return np.asarray(openTSNE.TSNE(n_jobs=-1, random_state=0).fit(unit))
    umap = importlib.import_module("umap")
    # With a seed it runs on one core; without, no two runs are the same.
    return np.asarray(umap.UMAP(random_state=0, n_jobs=1).fit_transform(unit))


def measure(method: str, pictures: int, width: int) -> None:
    """Print what one method needs, as JSON."""
    begun = time.perf_counter()
    if method != "gradattn":
        importlib.import_module(method)
    imported = time.perf_counter() - begun
    features, cluster = clustered(pictures, width)
    times, digests = [], set()
    for _ in range(2 if pictures <= 2_000 else 1):
        begun = time.perf_counter()
        places = lay_out(method, features)
        times.append(time.perf_counter() - begun)
        digests.add(hashlib.sha256(places.tobytes()).hexdigest())
    nearest = cKDTree(places).query(places, k=2)[1][:, 1]
    print(
        json.dumps(
            {
                "import": imported,
                "seconds": times,
                "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
                "same": len(digests) == 1 if len(times) > 1 else None,
                "own cluster": float((cluster[nearest] == cluster).mean()),
            }
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, nargs="*", default=[1_200, 10_000, 50_000])
    parser.add_argument("--width", type=int, nargs="*", default=[192])
    parser.add_argument("--one", metavar="METHOD", choices=METHODS, help="measure this one here, and tell it as JSON")
    options = parser.parse_args()
    if options.one:
        measure(options.one, options.pictures[0], options.width[0])
        return
    print("| pictures × width | by | import | time | peak | twice the same | nearest point of the own cluster |")
    print("|---|---|---:|---:|---:|---|---:|")
    for pictures in options.pictures:
        for width in options.width:
            for method in METHODS:
                if method != "gradattn" and importlib.util.find_spec(method) is None:
                    continue
                command = ["-m", "bench.embedding", "--one", method, "--pictures", str(pictures), "--width", str(width)]
                said = json.loads(subprocess.run([sys.executable, *command], check=True, capture_output=True).stdout)
                same = {None: "", True: "yes", False: "no"}[said["same"]]
                seconds = " and ".join(f"{each:.1f}" for each in said["seconds"])
                print(
                    f"| {pictures:,} × {width} | {method} | {said['import']:.1f} s | {seconds} s "
                    f"| {said['peak']:.2f} GB | {same} | {said['own cluster']:.1%} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
