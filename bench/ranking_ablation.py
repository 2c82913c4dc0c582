"""What each part of the ranking adds: the default against itself with one part taken away.

    python -m bench.ranking_ablation [--cache FOLDER [--truth FOLDER] [--only SET …]] [--output FILE.md]

Reads the same sets as bench/ranking.py. Average precision, one row per part, one column per set; ``all voters`` to
``probe only`` tell who votes, the rest what is done with the votes. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from unittest.mock import patch

import numpy as np
from sklearn.metrics import average_precision_score

from bench.ranking import Labelled, bundled, sets
from gradattn_core.ranking import folds, fusion, suspicion
from gradattn_core.ranking.shortlist import Shortlist
from gradattn_core.ranking.suspicion import rank_labels
from gradattn_core.records import FloatArray

VOTERS = ("discriminant", "probe", "neighbours")
"""The order in which the refits stack their votes; the first round has the discriminant alone."""


def voting(*names: str) -> Callable[[FloatArray, Shortlist], fusion.Fusion]:
    """``fuse`` that hears only the voters ``names``, once all of them vote."""
    chosen = [VOTERS.index(name) for name in names]

    def fuse(votes: FloatArray, shortlist: Shortlist) -> fusion.Fusion:
        return fusion.fuse(votes[chosen] if len(votes) == len(VOTERS) else votes, shortlist)

    return fuse


def average(votes: FloatArray, shortlist: Shortlist) -> fusion.Fusion:
    """``fuse`` without learning: all voters count alike, no noise matrix."""
    with (
        patch.object(fusion, "_fit_weights", lambda *arguments: arguments[-1]),
        patch.object(fusion, "_estimate_noise", lambda *arguments: even(arguments[1], shortlist.classes)),
    ):
        return fusion.fuse(votes, shortlist)


def even(pairs: fusion._Pairs, classes: int) -> fusion._Noise:
    """Every tenth label wrong, under any other class alike."""
    rate, elsewhere = np.full(classes, 0.1), np.full(classes, 0.1 / max(classes - 1, 1))
    at = np.where(pairs.true == pairs.given, 0.9, elsewhere[0]).astype(np.float32)
    return fusion._Noise(pairs, at, rate, elsewhere)


PARTS: dict[str, list[tuple[object, str, object]]] = {
    "everything": [],
    "without the neighbours": [(suspicion, "fuse", voting("discriminant", "probe"))],
    "without the probe": [(suspicion, "fuse", voting("discriminant", "neighbours"))],
    "without the discriminant": [(suspicion, "fuse", voting("probe", "neighbours"))],
    "one refit": [(suspicion, "REFITS", 1)],
    "no learned reliabilities and noise": [(suspicion, "fuse", average)],
    "noise matrix at full strength": [(fusion, "TEMPER", 1.0)],
    "near-duplicates never together": [(folds, "ERRING_TOGETHER", 2.0)],
    "near-duplicates always together": [(folds, "ERRING_TOGETHER", -2.0)],
}


def row(data: Labelled, changed: list[tuple[object, str, object]], features: FloatArray) -> str:
    """The average precision with the parts ``changed``."""
    with ExitStack() as stack:
        for module, name, value in changed:
            stack.enter_context(patch.object(module, name, value))
        ranked = rank_labels(data.given.tolist(), features, classes=list(range(int(data.given.max()) + 1)))
    return f"{average_precision_score(data.wrong, ranked['suspicion']):.3f}"


def columns(data: Labelled) -> Iterator[str]:
    """One set's numbers, in the order of ``PARTS`` and then the last class token alone where there are depths."""
    for changed in PARTS.values():
        yield row(data, changed, data.features)
    if data.depths:
        width = data.features.shape[1] // (2 * data.depths)
        last = slice((data.depths - 1) * width, data.depths * width)
        yield row(data, [], data.features[:, last])
    else:
        yield "–"


def main() -> None:
    parser = argparse.ArgumentParser(description="What each part of the ranking adds")
    parser.add_argument("--cache", type=Path, help="without it, the sets bundled with scikit-learn")
    parser.add_argument("--truth", type=Path)
    parser.add_argument("--only", nargs="*", default=[], metavar="SET")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    cache = arguments.cache
    found: dict[str, list[str]] = {}
    for data in sets(cache, arguments.truth or cache, []) if cache else bundled():
        if arguments.only and data.name not in arguments.only:
            continue
        found[data.name] = list(columns(data))
        print(data.name, *found[data.name], flush=True)
    lines = ["| | " + " | ".join(found) + " |", "|---|" + "---:|" * len(found)]
    for number, name in enumerate([*PARTS, "the last class token alone"]):
        lines.append(f"| {name} | " + " | ".join(values[number] for values in found.values()) + " |")
    print("\n".join(lines))
    if arguments.output:
        arguments.output.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
