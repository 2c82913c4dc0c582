"""Rank wrong labels by predicted probabilities alone: today's way, the one before, and every published single score.

    python -m bench.predictions [--cache FOLDER --truth FOLDER] [--only NAME …] [--networks NAME …] [--forms NAME …]

FOLDER and TRUTH as for bench/ranking.py; without them, the sets bundled with scikit-learn with planted errors. Each
*network* is a model of another kind on other features, asked about images that it was not trained on (5 folds); each
*form* is what people do to its probabilities before they store them. Prints a Markdown table: average precision of the
best single score (picked with the truth in hand), and how much more or less the suspicion has, before and after commit
75ce187, with 95 % bootstrap intervals over images.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from cleanlab.rank import get_label_quality_scores
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.model_selection import StratifiedKFold
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from bench.ranking import BoolArray, Labelled, bundled, load
from gradattn_core.ranking.arrays import log_softmax
from gradattn_core.ranking.formulas import log_margin, log_probabilities
from gradattn_core.ranking.fusion import fuse
from gradattn_core.ranking.linear import temperature
from gradattn_core.ranking.shortlist import likeliest
from gradattn_core.ranking.suspicion import rank_labels
from gradattn_core.records import IntArray

Table = NDArray[np.float64]
MOST = 5000
"""Images of a set at most, drawn at random."""
DEVELOPMENT: dict[str, tuple[str, ...]] = {
    "roman": (),
    "digits, symmetric 10 %": (),
    "digits, asymmetric 20 %": (),
    "cifar10n, half mended": ("linear", "neighbours", "discriminant", "forest"),
}
"""What was looked at while voters and constants were chosen, beside 1,500 pictures of cifar10n; an empty tuple: all
networks."""


def networks(width: int, depths: int) -> dict[str, tuple[slice, Any]]:
    """Of each network the columns of the features that it sees, and the untrained model."""
    part = width // (2 * depths) if depths else 0

    def columns(place: int) -> slice:
        return slice(place * part, (place + 1) * part) if depths else slice(None)

    last, middle = depths - 1, 2 * depths - 2
    return {
        "linear": (columns(last), LogisticRegression(C=0.02, max_iter=200)),
        "shallow linear": (columns(depths), LogisticRegression(C=0.1, max_iter=200)),
        "overfitted linear": (columns(middle - depths), LogisticRegression(C=100, max_iter=300)),
        "neighbours": (columns(last), KNeighborsClassifier(20, weights="distance")),
        "discriminant": (
            slice(None, None, 2) if depths else slice(None),
            make_pipeline(PCA(min(200, width // 2), random_state=0), LinearDiscriminantAnalysis()),
        ),
        "perceptron": (
            columns(2 * depths - 1),
            MLPClassifier((64,), alpha=1e-3, early_stopping=True, max_iter=60, random_state=0),
        ),
        "overfitted perceptron": (columns(1), MLPClassifier((128,), alpha=1e-5, max_iter=40, random_state=0)),
        "forest": (columns(middle), RandomForestClassifier(100, min_samples_leaf=2, random_state=0)),
        "naive": (columns(last), make_pipeline(PCA(min(40, width // 2), random_state=0), GaussianNB())),
    }


def held_out(features: NDArray[np.float32], given: IntArray, model: Any) -> Table:
    """[N, K] probabilities of each image by the model that was trained on the other four fifths."""
    table = np.zeros((len(given), int(given.max()) + 1))
    folds = StratifiedKFold(5, shuffle=True, random_state=1)
    for training, asked in folds.split(features, given):
        fitted = make_pipeline(StandardScaler(), model).fit(features[training], given[training])
        table[np.ix_(asked, fitted.classes_)] = fitted.predict_proba(features[asked])
    return table


def _rows_to_one(table: Table) -> Table:
    return np.asarray(table / table.sum(axis=1, keepdims=True))


FORMS: dict[str, Callable[[Table], Table]] = {
    "as it is": lambda p: p,
    "two digits": lambda p: np.round(p, 2),
    "sharpened": lambda p: _rows_to_one(p**3),
    "flattened": lambda p: _rows_to_one(np.maximum(p, 1e-12) ** 0.3),
    "below 2 % zero": lambda p: _rows_to_one(np.where(p < 0.02, 0, p)),
    "best three": lambda p: _rows_to_one(np.where(p >= np.sort(p, axis=1)[:, [-min(3, p.shape[1])]], p, 0)),
}


def singles(p: Table, given: IntArray) -> dict[str, NDArray[Any]]:
    """Every published score of one table of probabilities."""
    p = _rows_to_one(p)
    scores: dict[str, NDArray[Any]] = {"log margin": log_margin(np.log(np.maximum(p, 1e-30)), given)}
    for name in ("self_confidence", "normalized_margin", "confidence_weighted_entropy"):
        scores[name] = -get_label_quality_scores(given, p, method=name)
        if name != "confidence_weighted_entropy":
            scores[f"{name}, adjusted"] = -get_label_quality_scores(given, p, method=name, adjust_pred_probs=True)
    return scores


def before(p: Table, given: IntArray) -> NDArray[Any]:
    """``rank_labels`` of probabilities as it was: they alone, at one temperature, under the fitted noise matrix."""
    classes = p.shape[1]
    log_p = log_probabilities(_rows_to_one(p).astype(np.float32))
    table = log_softmax(log_p * np.float32(temperature(log_p, given)[0]))
    shortlist = likeliest(lambda rows: table[rows], given, classes)
    fusion = fuse(shortlist.take_all(lambda rows: table[rows])[None], shortlist)
    return np.asarray(fusion.posterior.sum(axis=1) - fusion.posterior[shortlist.rows, shortlist.own])


def compared(scores: NDArray[Any], best: NDArray[Any], wrong: BoolArray, draws: int) -> str:
    """How much more average precision than ``best``, with its interval: the same images drawn for both."""
    rng = np.random.default_rng(0)
    differences = []
    for _ in range(draws):
        pick = rng.integers(0, len(wrong), len(wrong))
        differences.append(
            average_precision_score(wrong[pick], scores[pick]) - average_precision_score(wrong[pick], best[pick])
        )
    value = average_precision_score(wrong, scores) - average_precision_score(wrong, best)
    low, high = np.quantile(differences, [0.025, 0.975])
    return f"{value:+.3f} ({low:+.3f} to {high:+.3f})"


def sets(arguments: argparse.Namespace) -> Iterator[Labelled]:
    if arguments.cache is None:
        yield from bundled()
        return
    for path in sorted(arguments.cache.glob("*.npz")):
        base, true = load(path, (arguments.truth or arguments.cache) / f"{path.stem}.truth.csv")
        rng = np.random.default_rng(5)
        part = np.sort(rng.permutation(len(base.given))[:MOST])
        features, given, wrong = base.features[part], base.given[part], base.wrong[part]
        yield Labelled(base.name, features, given, wrong, base.depths)
        if true is not None and wrong.mean() > 0.1:
            mended = wrong & (rng.random(len(part)) < 0.5)
            yield Labelled(
                f"{base.name}, half mended", features, np.where(mended, true[part], given), wrong & ~mended, base.depths
            )


def main() -> None:
    parser = argparse.ArgumentParser(description="Ranking by predicted probabilities alone")
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--truth", type=Path)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--networks", nargs="*", default=[])
    parser.add_argument("--forms", nargs="*", default=["as it is"], choices=list(FORMS))
    parser.add_argument("--bootstrap", type=int, default=200)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", module="sklearn")
    print("| set | network | form | best single score | before | after |\n|---|---|---|---|---:|---:|")
    for data in sets(arguments):
        if arguments.only and data.name not in arguments.only:
            continue
        for network, (columns, model) in networks(data.features.shape[1], data.depths).items():
            if arguments.networks and network not in arguments.networks:
                continue
            p = held_out(data.features[:, columns], data.given, model)
            seen = data.name in DEVELOPMENT and network in (DEVELOPMENT[data.name] or (network,))
            for form in arguments.forms:
                shaped = FORMS[form](p)
                scores = singles(shaped, data.given)
                name = max(scores, key=lambda each: average_precision_score(data.wrong, scores[each]))
                best = scores[name]
                classes = list(range(p.shape[1]))
                after = rank_labels(data.given, probabilities=shaped, classes=classes)["suspicion"].to_numpy()
                columns_shown = [
                    f"{data.name}{' (development)' if seen else ''}",
                    network,
                    form,
                    f"{name} {average_precision_score(data.wrong, best):.3f}",
                    compared(before(shaped, data.given), best, data.wrong, arguments.bootstrap),
                    compared(after, best, data.wrong, arguments.bootstrap),
                ]
                print(f"| {' | '.join(columns_shown)} |", flush=True)


if __name__ == "__main__":
    main()
