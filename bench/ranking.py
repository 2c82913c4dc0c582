"""Compare ``rank_labels`` with every published score on the same features, on real and on planted wrong labels.

    python bench/ranking.py --cache FOLDER [--truth FOLDER] [--only NAME …] [--bootstrap 200] [--output FILE.md]

FOLDER holds what bench/features.py wrote. TRUTH (default: the cache) holds ``<name>.truth.csv`` with ``path``,
``given_label`` and either ``true_label`` or ``is_error``. Every set that has ``true_label`` also gives planted sets.
Without --cache it runs on the sets bundled with scikit-learn.
All peers read the predictions of one plain K-fold probe; neighbours read the same features. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.metrics import average_precision_score, roc_auc_score

from gradattn_core.ranking import formulas
from gradattn_core.ranking.arrays import log_softmax
from gradattn_core.ranking.linear import make_basis
from gradattn_core.ranking.neighbours import find_neighbours
from gradattn_core.ranking.probe import crossval_probe
from gradattn_core.ranking.suspicion import rank_labels
from gradattn_core.records import FloatArray, IntArray

BoolArray = NDArray[np.bool_]
PLANTED = {"symmetric 20 %": 0.2, "symmetric 50 %": 0.5, "asymmetric 30 %": 0.3, "instance-dependent 25 %": 0.25}
BUNDLED = {"symmetric 10 %": 0.1, "asymmetric 20 %": 0.2, "instance-dependent 15 %": 0.15}
PLANTED_IMAGES = 4000


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


def sets(cache: Path, truth: Path, only: list[str]) -> Iterator[Labelled]:
    for path in sorted(cache.glob("*.npz")):
        if only and path.stem not in only:
            continue
        base, true = load(path, truth / f"{path.stem}.truth.csv")
        yield base
        if true is not None and len(true) >= PLANTED_IMAGES:
            for kind, rate in PLANTED.items():
                yield plant(base, true, kind, rate)


def bundled() -> Iterator[Labelled]:
    """Planted noise on the small sets that come with scikit-learn; raw columns as features, nothing to download."""
    for name, loader in (("digits", load_digits), ("breast cancer", load_breast_cancer), ("wine", load_wine)):
        features, target = loader(return_X_y=True)
        true = target.astype(np.int64)
        base = Labelled(name, features.astype(np.float32), true, np.zeros(len(true), dtype=bool))
        for kind, rate in BUNDLED.items():
            yield plant(base, true, kind, rate, seed=11)


def selfclean(features: FloatArray, given: IntArray) -> FloatArray:
    """d(nearest other image of the own label)² / (that + d(nearest image of another label)²): SelfClean's ratio."""
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    ratio = np.empty(len(given), dtype=np.float32)
    for start in range(0, len(given), 1000):
        distance = 1 - unit[start : start + 1000] @ unit.T
        own = np.arange(len(distance))
        distance[own, start + own] = np.inf
        same = given[start : start + 1000, None] == given
        inside = np.where(same, distance, np.inf).min(axis=1) ** 2
        outside = np.where(same, np.inf, distance).min(axis=1) ** 2
        ratio[start : start + 1000] = inside / np.maximum(inside + outside, 1e-12)
    return ratio


def peers(data: Labelled) -> dict[str, FloatArray]:
    """Every published score, all from one plain stratified 5-fold probe and the same features."""
    classes = int(data.given.max()) + 1
    order = np.argsort(np.random.default_rng(0).permutation(len(data.given)))
    by_class = np.lexsort((order, data.given))
    folds = np.empty(len(data.given), dtype=np.int64)
    folds[by_class] = np.arange(len(by_class)) % 5
    probe = crossval_probe(data.features, data.given, folds, classes=classes)
    log_p = log_softmax(probe.logits)
    p = np.exp(log_p.astype(np.float64))
    p /= p.sum(axis=1, keepdims=True)
    scores: dict[str, FloatArray] = {}
    for method in ("self_confidence", "normalized_margin", "confidence_weighted_entropy"):
        for adjusted in (False, True):
            if adjusted and method == "confidence_weighted_entropy":
                continue  # cleanlab refuses this pair
            quality = get_label_quality_scores(data.given, p, method=method, adjust_pred_probs=adjusted)
            scores[f"cleanlab {method}{', adjusted' if adjusted else ''}"] = -quality
    for flagged in ("prune_by_noise_rate", "confident_learning", "both"):
        issues = find_label_issues(data.given, p, filter_by=flagged, n_jobs=1)
        scores[f"cleanlab filter {flagged}"] = issues + 1e-3 * formulas.self_confidence(log_p, data.given)
    logits = probe.logits
    given, best = formulas.given_and_best_other(logits, data.given)
    scores["logit margin (AUM, one epoch)"] = best - given
    scores["FiftyOne mistakenness"] = formulas.mistakenness(log_p, data.given)
    basis = make_basis(data.features)
    neighbours = find_neighbours(basis.points, 20)
    scores["kNN vote (20)"] = (data.given[neighbours.index] != data.given[:, None]).mean(axis=1)
    scores["SelfClean ratio"] = selfclean(basis.points, data.given)
    only_probabilities = rank_labels(data.given.tolist(), probabilities=p, classes=list(range(classes)))
    scores["suspicion, probabilities only"] = only_probabilities["suspicion"].to_numpy()
    return scores


def calibration_error(scores: FloatArray, wrong: BoolArray, bins: int = 15) -> float:
    """Expected calibration error with equally wide bins."""
    bin_of = np.minimum((scores * bins).astype(int), bins - 1)
    parts = [bin_of == number for number in range(bins) if (bin_of == number).any()]
    return float(sum(abs(scores[part].mean() - wrong[part].mean()) * part.mean() for part in parts))


def interval(metric: Callable[[BoolArray, FloatArray], float], scores: FloatArray, wrong: BoolArray, draws: int) -> str:
    """``value (low–high)``, 95 % percentile bootstrap over images, the same draws for every score."""
    rng = np.random.default_rng(0)
    picks = [rng.integers(0, len(wrong), len(wrong)) for _ in range(draws)]
    values = [metric(wrong[pick], scores[pick]) for pick in picks if wrong[pick].any()]
    low, high = np.quantile(values, [0.025, 0.975])
    return f"{metric(wrong, scores):.3f} ({low:.3f}–{high:.3f})"


def report(data: Labelled, draws: int) -> list[str]:
    """The Markdown table of one set, best average precision first."""
    scores = peers(data)
    started = time.perf_counter()
    ranked = rank_labels(data.given.tolist(), data.features, classes=list(range(int(data.given.max()) + 1)))
    seconds = time.perf_counter() - started
    suspicion = ranked["suspicion"].to_numpy()
    scores["**suspicion**"] = suspicion
    errors = int(data.wrong.sum())
    lines = [
        f"### {data.name}: {errors} wrong of {len(data.given)}",
        "",
        f"Estimated {suspicion.sum():.0f} wrong, calibration error {calibration_error(suspicion, data.wrong):.3f}, "
        f"{seconds:.0f} s.",
        "",
        "| score | average precision | AUROC | missed when flagging as many as are wrong | precision at 100 |",
        "|---|---|---|---|---|",
    ]
    for name, score in sorted(scores.items(), key=lambda item: -average_precision_score(data.wrong, item[1])):
        order = np.argsort(-score, kind="stable")
        precision = interval(average_precision_score, score, data.wrong, draws)
        area = roc_auc_score(data.wrong, score)
        missed, at_100 = 1 - data.wrong[order[:errors]].mean(), data.wrong[order[:100]].mean()
        lines.append(f"| {name} | {precision} | {area:.3f} | {missed:.3f} | {at_100:.2f} |")
    return [*lines, ""]


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare the ranking with published scores")
    parser.add_argument("--cache", type=Path, help="without it, the sets bundled with scikit-learn")
    parser.add_argument("--truth", type=Path)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--bootstrap", type=int, default=200)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    lines: list[str] = []
    cache = arguments.cache
    for data in sets(cache, arguments.truth or cache, arguments.only) if cache else bundled():
        lines += report(data, arguments.bootstrap)
        print("\n".join(lines[-30:]), flush=True)
        if arguments.output:
            arguments.output.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
