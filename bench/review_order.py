"""How many wrong labels a reviewer finds with the first reviews, in orders that learn and in the audit's own.

    python -m bench.review_order --cache FOLDER [--truth FOLDER] [--only NAME …] [--methods audit near refit]
        [--reviews 100 300 600 1000] [--every 50] [--images 3000] [--seed 0]

FOLDER and TRUTH as for bench/ranking.py; without --cache, the digits of scikit-learn with planted errors. A reviewer
who knows the truth decides the first undecided images of all, in order of suspicion; after every 50 decisions the rest
is ordered anew by the functions that ``gradattn rerank`` calls. Of larger sets a random part of ``--images`` is
reviewed. Prints a Markdown table: wrong labels found, all methods in one run on the same images.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from bench.ranking import BUNDLED, Labelled, load, plant
from gradattn_core.ranking.refit import Refit, local_shift, moved, prepare_refit
from gradattn_core.ranking.verdicts import NONE, UNKNOWN
from gradattn_core.records import IntArray

PLANTED = {"symmetric 20 %": 0.2, "instance-dependent 25 %": 0.25}


def bundled(seed: int) -> Iterator[tuple[Labelled, IntArray]]:
    """The digits with every kind of planted error, and their true classes."""
    features, target = load_digits(return_X_y=True)
    true = target.astype(np.int64)
    base = Labelled("digits", features.astype(np.float32), true, np.zeros(len(true), dtype=bool))
    for kind, rate in BUNDLED.items():
        yield plant(base, true, kind, rate, seed), _part(true, seed, 4000)


def cached(
    cache: Path, truth: Path, only: list[str], images: int, seed: int
) -> Iterator[tuple[Labelled, IntArray | None]]:
    """Each set, at most ``images`` of it, as it is and with planted errors where the true classes are known."""
    for path in sorted(cache.glob("*.npz")):
        if only and path.stem not in only:
            continue
        base, true = load(path, truth / f"{path.stem}.truth.csv")
        part = np.sort(np.random.default_rng(seed).permutation(len(base.given))[:images])
        base = Labelled(base.name, base.features[part], base.given[part], base.wrong[part], base.depths)
        true = None if true is None else true[part]
        yield base, true
        if true is not None:
            for kind, rate in PLANTED.items():
                yield plant(base, true, kind, rate, seed), _part(true, seed, 4000)


def _part(true: IntArray, seed: int, count: int) -> IntArray:
    """The true classes of the images that ``plant`` takes."""
    return true[np.sort(np.random.default_rng(seed).permutation(len(true))[:count])]


def review(
    data: Labelled,
    true: IntArray | None,
    refit: Refit,
    suspicion: NDArray[np.float64],
    method: str,
    every: int,
    most: int,
) -> list[int]:
    """Wrong labels found after 0, ``every``, 2 · ``every``, … reviews."""
    known = np.full(len(data.given), UNKNOWN)
    answers = np.where(data.wrong, NONE if true is None else true, data.given)
    order, found = suspicion, [0]
    for _ in range(0, most, every):
        undecided = np.flatnonzero(known == UNKNOWN)
        first = undecided[np.argsort(-order[undecided], kind="stable")[:every]]
        known[first] = answers[first]
        found.append(int(data.wrong[known != UNKNOWN].sum()))
        if method != "audit":
            surprise = np.where(known == UNKNOWN, np.nan, data.wrong - suspicion)
            shift = local_shift(data.features, data.given.astype(np.int64), surprise)
            order = moved(suspicion, shift + refit.shift(known) if method == "refit" else shift)
    return found


def row(data: Labelled, true: IntArray | None, options: argparse.Namespace) -> str:
    """One line of the table."""
    started = time.perf_counter()
    refit = prepare_refit(data.given.tolist(), data.features, classes=list(range(int(data.given.max()) + 1)))
    fusion, shortlist = refit.before.fusion, refit.voters.shortlist
    suspicion = 1 - fusion.posterior[shortlist.rows, shortlist.own].astype(np.float64)
    counts = [count for count in options.reviews if count <= len(data.given)]
    found = {
        method: review(data, true, refit, suspicion, method, options.every, max(counts)) for method in options.methods
    }
    cells = [" / ".join(str(found[method][count // options.every]) for count in counts) for method in options.methods]
    wrong = f"{int(data.wrong.sum())} of {len(data.given):,}"
    return f"| {data.name} | {wrong} | {' | '.join(cells)} | {time.perf_counter() - started:.0f} s |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--truth", type=Path)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--methods", nargs="+", choices=("audit", "near", "refit"), default=["audit", "near", "refit"])
    parser.add_argument("--reviews", type=int, nargs="+", default=[100, 300, 600, 1000])
    parser.add_argument("--every", type=int, default=50)
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(f"| set | wrong | {' | '.join(options.methods)} | time |")
    print("|---" * (len(options.methods) + 3) + "|")
    if options.cache is None:
        for data, true in bundled(options.seed):
            print(row(data, true, options), flush=True)
        return
    truth = options.truth or options.cache
    for data, known in cached(options.cache, truth, options.only, options.images, options.seed):
        print(row(data, known, options), flush=True)


if __name__ == "__main__":
    main()
