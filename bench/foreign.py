"""What all outputs of an as-is model are worth: pictures of classes that the dataset does not have, filed under it.

    python -m bench.foreign --cache FOLDER --truth FOLDER [--only NAME] [--from SEED] [--sets N]

FOLDER holds what bench/features.py wrote of sets whose folders are ImageNet ids, and ``<name>.truth.csv``. First the
set as it is, whose planted errors all lie inside its classes: nothing may get worse. Then random halves of its classes,
100 pictures of each at most, with pictures of the other half filed under the class that the model finds likeliest:

- *clear*: ten pictures under any class;
- *doubtful*: ten of those that the model itself gives less than .4 to their true class;
- *mixed*: the logits and features of ten foreign pictures (55 %) mixed with those of one of the class (45 %), as where
  both are in the picture;
- *many*: forty pictures of one foreign class under one label.

Prints average precision with its standard error over the sets: of the suspicion from the dataset's classes alone, of
the margin over all outputs, of s = 1 − (1 − s_in)(1 − o) with o by EM alone and without habits, and of the suspicion.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score
from timm.data import ImageNetInfo

from bench.ranking import Labelled, load
from gradattn_core.ranking.outside import outside_of, outside_suspicion, with_outside
from gradattn_core.ranking.suspicion import rank_labels
from gradattn_core.records import FloatArray, IntArray

KINDS = ("clear", "doubtful", "mixed", "many")
_PER_CLASS, _FOREIGN, _MANY, _SURE, _SHARE = 100, 10, 40, 0.4, 0.55


@dataclass(frozen=True)
class Photographs:
    """A set with all outputs of its model; ``output`` is that of each of its classes."""

    base: Labelled
    true: IntArray
    logits: FloatArray
    output: IntArray

    def chosen(self, rows: IntArray, given: IntArray, wrong: NDArray[np.bool_]) -> Photographs:
        """Some pictures under other labels; classes that are no label any more are gone."""
        names, codes = np.unique(given, return_inverse=True)
        base = replace(self.base, features=self.base.features[rows], given=codes, wrong=wrong)
        return Photographs(base, self.true[rows], self.logits[rows], self.output[names])


def photographs(cache: Path, truth: Path) -> Photographs:
    base, true = load(cache, truth)
    assert true is not None, "the bench needs true labels"
    wnids = ImageNetInfo().label_names()
    names = np.unique(np.load(cache)["given"])
    return Photographs(base, true, np.load(cache)["logits"], np.array([wnids.index(name) for name in names]))


def planted(photos: Photographs, kind: str, seed: int) -> Photographs:
    """A random half of the classes with foreign pictures under them."""
    rng = np.random.default_rng(seed)
    classes = rng.permutation(len(photos.output))
    inside, true = np.sort(classes[: len(classes) // 2]), photos.true
    kept = np.concatenate([rng.permutation(np.flatnonzero(true == c))[:_PER_CLASS] for c in inside])
    foreign = np.flatnonzero(~np.isin(true, inside))
    if kind == "many":
        foreign = np.flatnonzero(true == classes[-1])
    elif kind == "doubtful":
        mass = np.exp(photos.logits - photos.logits.max(axis=1, keepdims=True))
        own = mass[np.arange(len(true)), photos.output[true]] / mass.sum(axis=1)
        foreign = foreign[own[foreign] < _SURE]
    rows = rng.permutation(foreign)[: _MANY if kind == "many" else _FOREIGN]
    given = rng.choice(inside, len(rows)) if kind == "clear" else np.full(len(rows), inside[0])
    if kind in ("doubtful", "mixed"):
        given = inside[photos.logits[rows][:, photos.output[inside]].argmax(axis=1)]
    wrong = np.r_[np.zeros(len(kept), bool), np.ones(len(rows), bool)]
    found = photos.chosen(np.r_[kept, rows], np.r_[true[kept], given], wrong)
    if kind == "mixed":
        partners = np.array([rng.choice(np.flatnonzero(true == label)) for label in given])
        for table, source in ((found.logits, photos.logits), (found.base.features, photos.base.features)):
            table[len(kept) :] = _SHARE * source[rows] + (1 - _SHARE) * source[partners]
    return found


def measured(photos: Photographs) -> dict[str, float]:
    """Average precision of each way to order the pictures, how many are wrong, and the estimate."""
    base, logits = photos.base, photos.logits
    given = base.given.tolist()
    inside = rank_labels(given, base.features, logits[:, photos.output])
    outside = outside_of(logits, photos.output.tolist())
    after = with_outside(inside, outside, outside_suspicion(given, outside))
    # Without pictures of the same label nothing is a habit.
    alone = with_outside(inside, outside, outside_suspicion(list(range(len(given))), outside))
    own = logits[np.arange(len(given)), photos.output[base.given]]
    others = logits.copy()
    others[np.arange(len(given)), photos.output[base.given]] = -np.inf
    scores = {
        "the dataset's classes": inside["suspicion"],
        "margin over all": others.max(axis=1) - own,
        "EM alone": alone["suspicion"],
        "suspicion": after["suspicion"],
    }
    found = {name: float(average_precision_score(base.wrong, score)) for name, score in scores.items()}
    return found | {"wrong": float(base.wrong.sum()), "estimated": float(after["suspicion"].sum())}


def main() -> None:
    parser = argparse.ArgumentParser(description="What all outputs of an as-is model are worth")
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--truth", type=Path, required=True)
    parser.add_argument("--only", default="imagenette")
    parser.add_argument("--from", dest="first", type=int, default=0, help="the seed of the first set")
    parser.add_argument("--sets", type=int, default=6)
    options = parser.parse_args()
    photos = photographs(options.cache / f"{options.only}.npz", options.truth / f"{options.only}.truth.csv")
    rows = {"as planted": [measured(photos)]}
    for kind in KINDS:
        seeds = range(options.first, options.first + options.sets)
        rows[kind] = [measured(planted(photos, kind, seed)) for seed in seeds]
    print("|  | " + " | ".join(rows["as planted"][0]) + " |\n|---|" + "---:|" * len(rows["as planted"][0]))
    for kind, results in rows.items():
        cells = []
        for name in results[0]:
            values = np.array([result[name] for result in results])
            error = f" ± {values.std(ddof=1) / len(values) ** 0.5:.3f}" if len(values) > 1 else ""
            cells.append(f"{values.mean():.1f}" if name in ("wrong", "estimated") else f"{values.mean():.3f}{error}")
        print(f"| {kind} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
