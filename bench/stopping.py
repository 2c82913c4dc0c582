"""When a review stops, and what a spot check says, where the truth is known.

    python bench/stopping.py [--cache FOLDER] [--truth FOLDER] [--only NAME …] [--runs 200]

FOLDER and TRUTH as in bench/ranking.py; digits with planted errors and a clean set are always there. Each run is one
review of the set by somebody who knows the truth, from the audit's own suspicions, and from some that are of no use.
Prints two Markdown tables: reviews until at most 3 % and 1 % are left, beside those of somebody who knew when to stop,
how often it stopped too early, and how often the bound was ever broken; and of spot checks how often the exact interval
held the truth, and how wide it was.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from bench.ranking import BoolArray, Labelled, bundled, load
from gradattn_core.ranking.certainty import (
    PAGE,
    Doubles,
    hypergeometric_interval,
    refuted,
    simulate,
    target,
)
from gradattn_core.ranking.suspicion import rank_labels

SHARES = (0.03, 0.01)
CHECKS = (100, 300)
USELESS = ("constant", "reversed", "random", "all 0", "all 1")


def suspicion(data: Labelled) -> Doubles:
    """As ``rank_labels`` finds it from the features alone."""
    ranked = rank_labels(data.given.tolist(), data.features, classes=list(range(int(data.given.max()) + 1)))
    return ranked["suspicion"].to_numpy(np.float64)


def useless(suspicion: Doubles, kind: str, random: np.random.Generator) -> Doubles:
    made = {
        "constant": np.full(len(suspicion), suspicion.mean()),
        "reversed": 1 - suspicion,
        "random": random.random(len(suspicion)),
        "all 0": np.zeros(len(suspicion)),
        "all 1": np.ones(len(suspicion)),
    }
    return made[kind]


def knowing(suspicion: Doubles, wrong: BoolArray, share: float) -> int:
    """Reviews, the most suspect first, until so few are left, by somebody who knows when that is."""
    left = wrong.sum() - np.cumsum(wrong[np.argsort(-suspicion, kind="stable")])
    return 0 if wrong.sum() <= target(share, len(wrong)) else int(np.argmax(left <= target(share, len(wrong)))) + 1


def reviews(suspicion: Doubles, wrong: BoolArray, share: float, runs: int, kind: str | None = None) -> str:
    """Mean reviews of the runs, and in how many it stopped too early or the bound was ever below the truth."""
    counts, early, broken = [], 0, 0
    for run in range(runs):
        random = np.random.default_rng(run)
        believed = suspicion if kind is None else useless(suspicion, kind, random)
        review = simulate(believed, wrong, share, random)
        counts.append(review.reviews)
        early += review.left > target(share, len(wrong))
        if wrong.any() and len(review.sample):
            broken += bool(refuted(review.sample, int(wrong.sum()))[-1])
    return f"{np.mean(counts):,.0f} | {100 * early / runs:.1f} % | {100 * broken / runs:.1f} %"


def checks(wrong: BoolArray, count: int, draws: int = 2_000) -> str:
    """How often the interval of ``count`` pictures held, and its mean width in points of the set."""
    many, pictures = int(wrong.sum()), len(wrong)
    random = np.random.default_rng(count)
    found = random.hypergeometric(many, pictures - many, count, draws)
    intervals = {each: hypergeometric_interval(pictures, count, each) for each in np.unique(found).tolist()}
    ends = np.array([intervals[each] for each in found.tolist()])
    held = ((ends[:, 0] <= many) & (many <= ends[:, 1])).mean()
    return f"{100 * held:.1f} % | {100 * (ends[:, 1] - ends[:, 0]).mean() / pictures:.1f}"


def every(cache: Path | None, truth: Path | None, only: list[str]) -> Iterator[tuple[str, Doubles, BoolArray]]:
    """Each set with its suspicions and its truth."""
    found = [each for each in bundled() if each.name.startswith("digits")]
    if cache is not None:
        files = [file for file in sorted(cache.glob("*.npz")) if not only or file.stem in only]
        found += [load(file, (truth or cache) / f"{file.stem}.truth.csv")[0] for file in files]
    for data in found:
        yield data.name, suspicion(data), data.wrong
    features, true = load_digits(return_X_y=True)
    clean = Labelled(
        "digits, nothing wrong", features.astype(np.float32), true.astype(np.int64), np.zeros(len(true), bool)
    )
    yield clean.name, suspicion(clean), clean.wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--truth", type=Path)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--runs", type=int, default=200)
    options = parser.parse_args()
    print(f"Pages of {PAGE}, {options.runs} reviews each.\n")
    print("| set (wrong) | share left | suspicion | reviews | too early | bound broken | knowing when |")
    print("|---|---|---|---:|---:|---:|---:|")
    second = ["| set | pictures checked | held | width, points |", "|---|---:|---:|---:|"]
    for name, believed, wrong in every(options.cache, options.truth, options.only):
        facts = f"{name} ({int(wrong.sum()):,} of {len(wrong):,})"
        for share in SHARES:
            best = knowing(believed, wrong, share)
            told = reviews(believed, wrong, share, options.runs)
            print(f"| {facts} | {100 * share:g} % | its own | {told} | {best:,} |", flush=True)
        for kind in USELESS:
            told = reviews(believed, wrong, SHARES[0], options.runs, kind)
            print(f"| {facts} | {100 * SHARES[0]:g} % | {kind} | {told} | |", flush=True)
        second += [f"| {name} | {count} | {checks(wrong, count)} |" for count in CHECKS]
    print("\n" + "\n".join(second))


if __name__ == "__main__":
    main()
