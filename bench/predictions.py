"""Rank wrong labels by predicted probabilities alone: today's way, the one before, and every published single score.

    python -m bench.predictions [--cache FOLDER --truth FOLDER --skip 0 --most 5000] [--seed 11]
                                [--only NAME …] [--networks NAME …] [--forms NAME …] [--work FILE]
    python -m bench.predictions --published CLONE [--forms NAME …]

FOLDER and TRUTH as for bench/ranking.py; without them, the sets bundled with scikit-learn with planted errors. Of a set
whose true labels are known, errors are planted too. Each *network* is a model of another kind on other features, asked
about images that it was not trained on (5 folds); each *form* is what people do to its probabilities before they store
them. Prints Markdown, network by network and set by set: average precision of the best single score (picked with the
truth in hand), and how much more or less our order has, before commit 75ce187 and now, with 95 % bootstrap
intervals over images. FILE keeps what was measured of one drawing of images and errors, and is not measured again.
CLONE is one of github.com/cleanlab/label-errors: others' cross-validated probabilities of known test sets, and what
five people said of each label that confident learning had found in doubt. All labels are ranked, and judged *among the
asked*, wrong being where fewer than three of the five said that it fits, and *all*, the others taken for right.
What was looked at while the ranking was made, and what is held out, stands in docs/ranking.md.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from cleanlab.rank import get_label_quality_scores
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import (
    BaggingClassifier,
    ExtraTreesClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.model_selection import StratifiedKFold
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from bench.ranking import PLANTED, BoolArray, Labelled, bundled, load, plant
from gradattn_core.ranking.arrays import log_softmax
from gradattn_core.ranking.formulas import log_margin, log_probabilities
from gradattn_core.ranking.fusion import fuse
from gradattn_core.ranking.linear import temperature
from gradattn_core.ranking.shortlist import likeliest
from gradattn_core.ranking.suspicion import rank_labels
from gradattn_core.records import IntArray

Table = NDArray[np.float64]
SHORT = 0.002
"""Average precision below the best single score from which a table counts as short of it."""


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
        "small perceptron": (
            columns(2 * depths - 1),
            MLPClassifier((32,), alpha=1e-2, early_stopping=True, max_iter=60, random_state=7),
        ),
        "five perceptrons": (
            columns(last),
            BaggingClassifier(MLPClassifier((64,), max_iter=25, random_state=1), 5, random_state=3),
        ),
        "two layers": (columns(middle), MLPClassifier((128, 64), alpha=1e-1, max_iter=40, random_state=5)),
        "long trained perceptron": (columns(last), MLPClassifier((64,), alpha=1e-4, max_iter=200, random_state=2)),
        "less penalised linear": (columns(last), LogisticRegression(C=1, max_iter=300)),
        "five neighbours": (columns(2 * depths - 1), KNeighborsClassifier(5)),
        "extra trees": (columns(last), ExtraTreesClassifier(100, random_state=4)),
        "boosted trees": (
            columns(last),
            make_pipeline(
                PCA(min(40, max(2, width // 2)), random_state=0),
                HistGradientBoostingClassifier(max_iter=40, random_state=0),
            ),
        ),
        "wide naive": (columns(middle), make_pipeline(PCA(min(100, width // 2), random_state=0), GaussianNB())),
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


def compared(scores: NDArray[Any], best: NDArray[Any], wrong: BoolArray, draws: int) -> list[float]:
    """How much more average precision than ``best``, and its interval: the same images drawn for both."""
    rng = np.random.default_rng(0)

    def more(pick: IntArray) -> float:
        return float(
            average_precision_score(wrong[pick], scores[pick]) - average_precision_score(wrong[pick], best[pick])
        )

    differences = [more(rng.integers(0, len(wrong), len(wrong))) for _ in range(draws)]
    low, high = np.quantile(differences, [0.025, 0.975]) if draws else (np.nan, np.nan)
    return [more(np.arange(len(wrong))), float(low), float(high)]


def sets(arguments: argparse.Namespace) -> Iterator[Labelled]:
    if arguments.cache is None:
        yield from bundled(arguments.seed)
        return
    for path in sorted(arguments.cache.glob("*.npz")):
        base, true = load(path, (arguments.truth or arguments.cache) / f"{path.stem}.truth.csv")
        rng = np.random.default_rng(5)
        part = np.sort(rng.permutation(len(base.given))[arguments.skip : arguments.skip + arguments.most])
        features, given, wrong = base.features[part], base.given[part], base.wrong[part]
        drawn = Labelled(base.name, features, given, wrong, base.depths)
        yield drawn
        if true is None:
            continue
        if wrong.mean() > 0.1:
            mended = wrong & (rng.random(len(part)) < 0.5)
            labels = np.where(mended, true[part], given)
            yield Labelled(f"{base.name}, half mended", features, labels, wrong & ~mended, base.depths)
        for kind, rate in PLANTED.items():
            yield plant(drawn, true[part], kind, rate, arguments.seed)


def published(clone: Path) -> Iterator[tuple[Labelled, Table, BoolArray]]:
    """Each test set of ``clone`` that people were asked about, its probabilities [N, K], and which they saw [N]."""
    for path in sorted(clone.glob("cross_validated_predicted_probabilities/*_test_set_pyx.npy")):
        name = path.name.removesuffix("_test_set_pyx.npy")
        given = np.load(clone / f"original_test_labels/{name}_test_set_original_labels.npy").astype(np.int64)
        verdicts = json.loads((clone / f"mturk/{name}_mturk.json").read_text())
        files = clone / f"dataset_indexing/{name}_test_set_index_to_filename.json"
        names = json.loads(files.read_text()) if files.exists() else []
        place = {f"test/{file.removesuffix('.txt')}": row for row, file in enumerate(names)}
        rows = [place.get(verdict["id"], verdict["id"]) for verdict in verdicts]
        wrong, asked = np.zeros((2, len(given)), dtype=bool)
        asked[rows] = True
        wrong[rows] = [verdict["mturk"]["given"] + verdict["mturk"].get("both", 0) < 3 for verdict in verdicts]
        yield Labelled(name, np.empty((len(given), 0), np.float32), given, wrong), np.load(path), asked


@dataclass(frozen=True, slots=True)
class Measured:
    """One table: which single score is best and its average precision; what we have more, with its interval."""

    set: str
    network: str
    form: str
    single: str
    best: float
    before: list[float]
    now: list[float]


def measured(
    data: Labelled, network: str, p: Table, forms: list[str], draws: int, among: BoolArray | slice = slice(None)
) -> Iterator[Measured]:
    """What is said of each form of the probabilities ``p`` [N, K] of one network on one set, ``among`` some of it."""
    wrong = data.wrong[among]
    for form in forms:
        shaped = FORMS[form](p)
        scores = singles(shaped, data.given)
        name = max(scores, key=lambda each: average_precision_score(wrong, scores[each][among]))
        ranked = rank_labels(data.given, probabilities=shaped, classes=list(range(p.shape[1])))
        best = scores[name][among]
        yield Measured(
            data.name,
            network,
            form,
            name,
            float(average_precision_score(wrong, best)),
            compared(before(shaped, data.given)[among], best, wrong, draws),
            compared(-ranked["rank"].to_numpy()[among], best, wrong, draws),
        )


def rows_of(tables: list[Measured]) -> Iterator[str]:
    yield "| set | network | form | best single score | before | now |\n|---|---|---|---|---:|---:|"
    for each in tables:
        gains = ["{:+.3f} ({:+.3f} to {:+.3f})".format(*turn) for turn in (each.before, each.now)]
        yield f"| {each.set} | {each.network} | {each.form} | {each.single} {each.best:.3f} | {' | '.join(gains)} |"


def summary(tables: list[Measured]) -> Iterator[str]:
    """Of each set the mean and the least gain over the best single score, and how many tables are short of it."""
    yield "\n| set | tables | best single score | before | now |\n|---|---:|---:|---:|---:|"
    for name in [*dict.fromkeys(each.set for each in tables), "all"]:
        members = [each for each in tables if name in (each.set, "all")]
        told = []
        for turns in ([each.before for each in members], [each.now for each in members]):
            gains = np.array([turn[0] for turn in turns])
            clear = sum(turn[2] < 0 for turn in turns)
            short = f"{(gains < -SHORT).sum()} short, {clear} beyond chance"
            told.append(f"{gains.mean():+.3f}, worst {gains.min():+.3f}, {short}")
        best = np.mean([each.best for each in members])
        yield f"| {name} | {len(members)} | {best:.3f} | {' | '.join(told)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description="Ranking by predicted probabilities alone")
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--truth", type=Path)
    parser.add_argument("--skip", type=int, default=0, help="images of a set that are not drawn, at random")
    parser.add_argument("--most", type=int, default=5000, help="images of a set at most, drawn after these")
    parser.add_argument("--seed", type=int, default=11, help="of the planted errors")
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--networks", nargs="*", default=[])
    parser.add_argument("--forms", nargs="*", default=["as it is"], choices=list(FORMS))
    parser.add_argument("--bootstrap", type=int, default=200)
    parser.add_argument("--published", type=Path, metavar="CLONE", help="others' probabilities, and what people said")
    parser.add_argument("--work", type=Path, help="keeps what was measured, a line of JSON each")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", module="sklearn")
    if arguments.published:
        told: list[Measured] = []
        for data, p, asked in published(arguments.published):
            for network, among in (("among the asked", asked), ("all", slice(None))):
                told += measured(data, network, p, arguments.forms, arguments.bootstrap, among)
        print("\n".join([*rows_of(told), *summary(told)]))
        return
    kept = arguments.work.read_text().splitlines() if arguments.work and arguments.work.exists() else []
    tables = [Measured(**json.loads(line)) for line in kept]
    done = {(each.set, each.network, each.form) for each in tables}
    for data in sets(arguments):
        if arguments.only and data.name not in arguments.only:
            continue
        for network, (columns, model) in networks(data.features.shape[1], data.depths).items():
            forms = [form for form in arguments.forms if (data.name, network, form) not in done]
            if not forms or (arguments.networks and network not in arguments.networks):
                continue
            p = held_out(data.features[:, columns], data.given, model)
            made = list(measured(data, network, p, forms, arguments.bootstrap))
            tables += made
            if arguments.work:
                with arguments.work.open("a") as file:
                    file.writelines(json.dumps(asdict(each)) + "\n" for each in made)
    print("\n".join([*rows_of(tables), *summary(tables)]))


if __name__ == "__main__":
    main()
