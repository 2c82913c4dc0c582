"""Compare ``rank_labels`` with published ways on the same features, and with itself before, on real and planted errors.

    python -m bench.ranking [--cache FOLDER [--truth FOLDER] [--only NAME …] [--most 3000]] [--before CHECKOUT]
                            [--work FOLDER] [--turns 2] [--bootstrap 200] [--output FILE.md]

FOLDER holds what bench/features.py wrote. TRUTH (default: the cache) holds ``<name>.truth.csv`` with ``path``,
``given_label`` and either ``true_label`` or ``is_error``. Every large set that has ``true_label`` also gives planted
sets. Without --cache it runs on the sets bundled with scikit-learn. CHECKOUT is a working tree of an earlier commit:
its ranking and today's take turns, each in a process of its own. --work keeps what was measured, set by set, and is
not measured again. Prints Markdown: average precision of all, then before and after, then the estimates.
"""

from __future__ import annotations

import argparse
import csv
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.metrics import average_precision_score

from bench.published import CLEANLAB, published_scores
from gradattn_core.estimates import ASSUMPTIONS, assumed_range
from gradattn_core.ranking import formulas
from gradattn_core.ranking.arrays import log_softmax
from gradattn_core.ranking.probe import crossval_probe
from gradattn_core.records import FloatArray, IntArray

BoolArray = NDArray[np.bool_]
PLANTED = {"symmetric 20 %": 0.2, "symmetric 50 %": 0.5, "asymmetric 30 %": 0.3, "instance-dependent 25 %": 0.25}
BUNDLED = {"symmetric 10 %": 0.1, "asymmetric 20 %": 0.2, "instance-dependent 15 %": 0.15}
PLANTED_IMAGES = 3000
COLUMNS = 5
"""Sets beside one another in a table."""
OURS = "**ours**"
ROOT = Path(__file__).resolve().parents[1]
RANK = """
import os, resource, sys, time
import numpy as np
from gradattn_core.ranking.suspicion import rank_labels
for line in sys.stdin:
    source, made = line.rstrip().split(chr(9))
    if os.fork():
        os.wait()
        print(made, flush=True)
        continue
    data = np.load(source)
    given, features = data["given"].tolist(), data["features"]
    begun = time.process_time()
    ranked = rank_labels(given, features, classes=list(range(max(given) + 1)))
    seconds = time.process_time() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    columns = {name: ranked[name].to_numpy() for name in ranked if str(name).endswith("suspicion")}
    np.savez(made, seconds=seconds, peak=peak, **columns)
    os._exit(0)
"""
"""Ranks stored sets by the checkout that it runs in, each in a process of its own, and says the processor seconds and
the peak in MiB. It is started once: the imports take longer than most of the rankings."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """One set of the bench: features [N, D], given class numbers [N] and which are wrong [N].

    Of ``depths`` > 0 depths the features are the class tokens, then the patch means.
    """

    name: str
    features: FloatArray
    given: IntArray
    wrong: BoolArray
    depths: int = 0


def load(cache: Path, truth: Path) -> tuple[Labelled, IntArray | None]:
    """The set as it is, and its true class numbers where they are known."""
    data = np.load(cache)
    rows, depths = data["class_tokens"].shape[:2]
    features = np.concatenate([data["class_tokens"].reshape(rows, -1), data["patch_means"].reshape(rows, -1)], axis=1)
    with truth.open(newline="", encoding="utf-8") as file:
        facts = {row["path"]: row for row in csv.DictReader(file)}
    names, given = np.unique(data["given"], return_inverse=True)
    first = next(iter(facts.values()))
    if "is_error" in first:
        wrong = np.array([facts[path]["is_error"] in {"1", "True", "true"} for path in data["paths"]])
        return Labelled(cache.stem, features, given, wrong, depths), None
    true = np.searchsorted(names, [facts[path]["true_label"] for path in data["paths"]])
    return Labelled(cache.stem, features, given, true != given, depths), true


def plant(base: Labelled, true: IntArray, kind: str, rate: float, seed: int = 0) -> Labelled:
    """Wrong labels planted on the true ones of a random part of a set.

    Symmetric: any other class. Asymmetric: the next class. Instance-dependent: the class that a probe trained on the
    truth finds second best, where that probe is least sure (Gumbel noise on the margin).
    """
    rng = np.random.default_rng(seed)
    part = np.sort(rng.permutation(len(true))[:PLANTED_IMAGES])
    features, truth = base.features[part], true[part]
    rows, classes = np.arange(len(part)), int(true.max()) + 1
    if kind.startswith("instance"):
        log_p = log_softmax(crossval_probe(features[:, ::2], truth, rows % 5).logits)
        own, best = formulas.given_and_best_other(log_p, truth)
        doubt = best - own + 1.5 * rng.gumbel(size=len(part))
        log_p[rows, truth] = -np.inf
        other = log_p.argmax(axis=1)
        wrong = doubt >= np.quantile(doubt, 1 - rate)
    else:
        step = rng.integers(1, classes, len(part)) if kind.startswith("symmetric") else 1
        other = (truth + step) % classes
        wrong = rng.random(len(part)) < rate
    return Labelled(f"{base.name}, {kind}", features, np.where(wrong, other, truth), wrong, base.depths)


def sets(cache: Path, truth: Path, only: list[str], most: int = 0) -> Iterator[Labelled]:
    """The sets of a folder, planted ones after their own; of each at most ``most`` images (0: all), drawn at random."""
    for path in sorted(cache.glob("*.npz")):
        if only and path.stem not in only:
            continue
        base, true = load(path, truth / f"{path.stem}.truth.csv")
        if 0 < most < len(base.given):
            part = np.sort(np.random.default_rng(0).permutation(len(base.given))[:most])
            base = Labelled(base.name, base.features[part], base.given[part], base.wrong[part], base.depths)
            true = None if true is None else true[part]
        yield base
        if true is not None and len(true) >= PLANTED_IMAGES:
            for kind, rate in PLANTED.items():
                yield plant(base, true, kind, rate)


def bundled(seed: int = 11) -> Iterator[Labelled]:
    """Planted noise on the small sets that come with scikit-learn; raw columns as features, nothing to download."""
    for name, loader in (("digits", load_digits), ("breast cancer", load_breast_cancer), ("wine", load_wine)):
        features, target = loader(return_X_y=True)
        true = target.astype(np.int64)
        base = Labelled(name, features.astype(np.float32), true, np.zeros(len(true), dtype=bool))
        for kind, rate in BUNDLED.items():
            yield plant(base, true, kind, rate, seed)


@dataclass(frozen=True, slots=True)
class Ranked:
    """What one checkout's ranking says of a set.

    Attributes:
        suspicion: [N]; total, low, high: its sum, and the range of the assumptions (NaN before there was one).
        seconds: of the processor; peak: MiB.
    """

    suspicion: FloatArray
    total: float
    low: float
    high: float
    seconds: float
    peak: float


@dataclass(frozen=True, slots=True)
class Measured:
    """The scores of all on one set, [N] each, which labels are wrong [N], and the ranking before and after."""

    name: str
    wrong: BoolArray
    scores: dict[str, FloatArray]
    before: Ranked | None
    after: Ranked


class Checkout:
    """The ranking of one working tree, in processes of its own."""

    def __init__(self, root: Path) -> None:
        environment = {**os.environ, "PYTHONPATH": str(root)}
        self.process = subprocess.Popen(
            [sys.executable, "-c", RANK],
            cwd=root,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def rank(self, source: Path, made: Path) -> None:
        """Write what the ranking says of the stored set."""
        assert self.process.stdin is not None and self.process.stdout is not None
        print(source.resolve(), made.resolve(), sep="\t", file=self.process.stdin, flush=True)
        self.process.stdout.readline()

    def close(self) -> None:
        self.process.communicate()


def rank(data: Labelled, checkouts: list[Checkout], folder: Path, rounds: int) -> list[Path]:
    """A file per checkout with what its ranking says; they take turns, and the fastest counts."""
    stored = folder / "set.npz"
    np.savez(stored, features=data.features, given=data.given)
    turns: list[list[Path]] = [[] for _ in checkouts]
    for turn in range(rounds):
        for number, checkout in enumerate(checkouts):
            turns[number].append(folder / f"{number}-{turn}.npz")
            checkout.rank(stored, turns[number][-1])
    return [min(made, key=lambda path: float(np.load(path)["seconds"])) for made in turns]


def read_ranked(path: Path) -> Ranked:
    made = np.load(path)
    suspicion = made["suspicion"]
    sums = [float(made[name].sum()) if name in made else np.nan for name in ASSUMPTIONS]
    total = float(suspicion.sum())
    return Ranked(suspicion, total, *assumed_range(total, *sums), float(made["seconds"]), float(made["peak"]))


def measure(data: Labelled, checkouts: list[Checkout], work: Path, rounds: int) -> Measured:
    """All scores of a set; what ``work`` already holds is read. Today's checkout comes first, the one before next."""
    folder = work / re.sub(r"\W+", "-", data.name).strip("-")
    folder.mkdir(parents=True, exist_ok=True)
    peers = folder / "peers.npz"
    if not peers.exists():
        np.savez(peers, **published_scores(data.features, data.given))  # type: ignore[arg-type]
    kept = [folder / f"{name}.npz" for name in ("after", "before")[: len(checkouts)]]
    if not all(path.exists() for path in kept):
        with tempfile.TemporaryDirectory() as scratch:
            made = rank(data, checkouts, Path(scratch), rounds)
            for source, path in zip(made, kept, strict=True):
                path.write_bytes(source.read_bytes())
    ranked = [read_ranked(path) for path in kept]
    after = ranked[0]
    scores = {**dict(np.load(peers)), OURS: after.suspicion}
    return Measured(data.name, data.wrong, scores, ranked[1] if len(ranked) > 1 else None, after)


def calibration_error(scores: FloatArray, wrong: BoolArray, bins: int = 15) -> float:
    """Expected calibration error with equally wide bins."""
    bin_of = np.minimum((scores * bins).astype(int), bins - 1)
    parts = [bin_of == number for number in range(bins) if (bin_of == number).any()]
    return float(sum(abs(scores[part].mean() - wrong[part].mean()) * part.mean() for part in parts))


def interval(value: Callable[[IntArray], float], wrong: BoolArray, draws: int) -> tuple[float, float]:
    """95 % percentile bootstrap over images of ``value`` of their rows, the same draws for every score."""
    rng = np.random.default_rng(0)
    picks = [rng.integers(0, len(wrong), len(wrong)) for _ in range(draws)]
    low, high = np.quantile([value(pick) for pick in picks if wrong[pick].any()], [0.025, 0.975])
    return float(low), float(high)


def plain(value: float) -> str:
    """Three digits without the leading zero."""
    return f"{value:.3f}".replace("0.", ".", 1)


def precisions(measured: Measured, draws: int) -> dict[str, tuple[float, str]]:
    """Average precision of each score, as a number and with its interval; of cleanlab's the best only."""
    wrong = measured.wrong
    values = {name: float(average_precision_score(wrong, score)) for name, score in measured.scores.items()}
    cleanlab = max((name for name in values if name.startswith(CLEANLAB)), key=values.__getitem__)
    told: dict[str, tuple[float, str]] = {}
    for name, score in measured.scores.items():
        if name.startswith(CLEANLAB) and name != cleanlab:
            continue

        def of_rows(pick: IntArray, score: FloatArray = score) -> float:
            return float(average_precision_score(wrong[pick], score[pick]))

        low, high = interval(of_rows, wrong, draws)
        text = f"{plain(values[name])} ({plain(low)}–{plain(high)})"
        told[f"{CLEANLAB}best of 8" if name == cleanlab else name] = values[name], text
    return told


def table(title: list[str], rows: list[list[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (title, ["---"] + ["---:"] * (len(title) - 1), *rows)] + [""]


def peers_tables(all_measured: list[Measured], draws: int) -> list[str]:
    """Average precision of everyone, ours first, the best of a set in bold."""
    lines: list[str] = []
    for start in range(0, len(all_measured), COLUMNS):
        columns = [precisions(measured, draws) for measured in all_measured[start : start + COLUMNS]]
        best = [max(value for value, _ in column.values()) for column in columns]
        names = sorted(columns[0], key=lambda name: (name != OURS, -np.mean([column[name][0] for column in columns])))
        rows = []
        for name in names:
            cells = [column[name] for column in columns]
            texts = [f"**{text}**" if value == top else text for (value, text), top in zip(cells, best, strict=True)]
            rows.append([name, *texts])
        lines += table(["", *(measured.name for measured in all_measured[start : start + COLUMNS])], rows)
    return lines


def changes_table(all_measured: list[Measured], draws: int) -> list[str]:
    """Before and after: average precision and the interval of its change, rank correlation, time and memory."""
    rows = []
    for measured in all_measured:
        before, after, wrong = measured.before, measured.after, measured.wrong
        if before is None:
            continue
        old, new = before.suspicion, after.suspicion

        def change(pick: IntArray, old: FloatArray = old, new: FloatArray = new, wrong: BoolArray = wrong) -> float:
            scores = [float(average_precision_score(wrong[pick], score[pick])) for score in (old, new)]
            return scores[1] - scores[0]

        low, high = interval(change, wrong, draws)
        precision = [plain(float(average_precision_score(wrong, score))) for score in (old, new)]
        rows.append(
            [
                measured.name,
                *precision,
                f"{change(np.arange(len(wrong))):+.4f} ({low:+.4f} to {high:+.4f})",
                f"{spearmanr(old, new).statistic:.5f}",
                f"{before.seconds:.1f} → {after.seconds:.1f}",
                f"{before.peak:.0f} → {after.peak:.0f}",
            ]
        )
    title = ["", "before", "after", "change", "rank correlation", "processor seconds", "peak MiB"]
    return table(title, rows) if rows else []


def estimates_table(all_measured: list[Measured]) -> list[str]:
    rows = []
    for measured in all_measured:
        after, wrong = measured.after, int(measured.wrong.sum())
        holds = "yes" if after.low <= wrong <= after.high else "no"
        error = calibration_error(after.suspicion, measured.wrong)
        span = f"{after.low:.0f} to {after.high:.0f}"
        size = f"{wrong} of {len(measured.wrong)}"
        rows.append([measured.name, size, f"{after.total:.0f}", span, holds, plain(error)])
    return table(["", "wrong", "estimated", "range", "holds it", "calibration error"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare the ranking with published ways and with before")
    parser.add_argument("--cache", type=Path, help="without it, the sets bundled with scikit-learn")
    parser.add_argument("--truth", type=Path)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--most", type=int, default=0, help="images of a set at most")
    parser.add_argument("--before", type=Path, help="a checkout of an earlier commit")
    parser.add_argument("--work", type=Path, help="keeps what was measured")
    parser.add_argument("--turns", type=int, default=2, help="how often each ranks; the shortest time counts")
    parser.add_argument("--bootstrap", type=int, default=200)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    cache = arguments.cache
    found = sets(cache, arguments.truth or cache, arguments.only, arguments.most) if cache else bundled()
    checkouts = [Checkout(root) for root in (ROOT, arguments.before) if root]
    all_measured = []
    with tempfile.TemporaryDirectory() as scratch:
        for data in found:
            all_measured.append(measure(data, checkouts, arguments.work or Path(scratch), arguments.turns))
            print(data.name, flush=True)
    for checkout in checkouts:
        checkout.close()
    lines = peers_tables(all_measured, arguments.bootstrap)
    lines += changes_table(all_measured, arguments.bootstrap) + estimates_table(all_measured)
    print("\n".join(lines))
    if arguments.output:
        arguments.output.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
