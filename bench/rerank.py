"""What the first decisions of a review are worth to the rest of it.

    python bench/rerank.py OUT --truth FILE.csv [--decisions 50 100 200 400] [--bootstrap 1000] [--sample SEED]

OUT is the output folder of an audit, FILE a CSV with ``path``, ``given_label`` and ``true_label`` or ``is_error``. A
reviewer who knows the truth decides the first suspects in order of suspicion; the others are then ranked anew. Prints a
Markdown table: average precision over the undecided suspects before and after, with a 95 % bootstrap interval of the
difference over suspects, and how many wrong labels are among the next 100. With ``--sample`` the list is a random four
fifths of the suspects: other lists from the same audit.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from gradattn_core.ranking.folds import NEAR_DUPLICATE
from gradattn_core.ranking.recalibration import Recalibration
from gradattn_core.rerank import learn
from gradattn_core.store.store import Store

NEXT = 100
_COLUMNS = ("decisions", "of them wrong", "undecided", "wrong", "before", "after", "difference", "in the next 100")


def wrong_labels(paths: pd.Series, truth: Path) -> NDArray[np.float64]:
    """[N] 1 where the truth says that the label is wrong; a path may be given relative to any folder."""
    facts = pd.read_csv(truth, dtype=str)
    wrong = facts["is_error"] == "1" if "is_error" in facts else facts["given_label"] != facts["true_label"]
    known = dict(zip(facts["path"], wrong, strict=True))
    return np.array([float(known["/".join(path.split("/")[-2:])]) for path in paths])


def simulate(
    suspects: pd.DataFrame, pairs: pd.DataFrame, wrong: NDArray[np.float64], decisions: int
) -> tuple[Recalibration, NDArray[np.bool_]]:
    """What the first ``decisions`` teach, and which suspects are undecided then: copies are decided with the first."""
    first = suspects.index < decisions
    keys = pd.MultiIndex.from_frame(suspects[["content_hash", "given_label"]])
    decided = keys.isin(keys[first])
    said = np.where(decided, np.where(wrong > 0, "remove", "keep"), "")
    return learn(suspects.assign(decision=said), pairs), ~decided


def row(
    result: Recalibration, undecided: NDArray[np.bool_], before: pd.Series, wrong: NDArray[np.float64], draws: int
) -> str:
    """One line of the table."""
    truth, old, new = wrong[undecided], before[undecided].to_numpy(), result.suspicion[undecided]
    found = [int(truth[np.argsort(-order, kind="stable")[:NEXT]].sum()) for order in (old, new)]
    first = average_precision_score(truth, old)
    after = difference = ""
    if result.used:
        low, high = np.quantile(_differences(truth, old, new, draws), (0.025, 0.975))
        after = f"{average_precision_score(truth, new):.3f}"
        difference = f"{average_precision_score(truth, new) - first:+.3f} ({low:+.3f} to {high:+.3f})"
    counts = (result.decisions, result.wrong, len(truth), int(truth.sum()))
    cells = (*map(str, counts), f"{first:.3f}", after or "not used", difference, f"{found[0]} → {found[1]}")
    return f"| {' | '.join(cells)} |"


def _differences(
    truth: NDArray[np.float64], old: NDArray[np.float64], new: NDArray[np.float64], draws: int
) -> list[float]:
    """Differences of average precision over draws of suspects, those with a wrong label among them."""
    picks = np.random.default_rng(0).integers(0, len(truth), (draws, len(truth)))
    return [
        average_precision_score(truth[pick], new[pick]) - average_precision_score(truth[pick], old[pick])
        for pick in picks
        if truth[pick].any()
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", metavar="OUT")
    parser.add_argument("--truth", type=Path, required=True, metavar="FILE")
    parser.add_argument("--decisions", type=int, nargs="+", default=[50, 100, 200, 400])
    parser.add_argument("--bootstrap", type=int, default=1000, metavar="N")
    parser.add_argument("--sample", type=int, metavar="SEED")
    options = parser.parse_args()
    store = Store(options.out)
    suspects, pairs = store.review.suspects(store.audits.latest_id(), NEAR_DUPLICATE)
    if options.sample is not None:
        suspects = suspects.sample(frac=0.8, random_state=options.sample).sort_index().reset_index(drop=True)
    wrong = wrong_labels(suspects["path"], options.truth)
    for line in (_COLUMNS, ["---"] * len(_COLUMNS)):
        print(f"| {' | '.join(line)} |")
    for decisions in options.decisions:
        result, undecided = simulate(suspects, pairs, wrong, decisions)
        if not wrong[undecided].any():
            break
        print(row(result, undecided, suspects["suspicion"], wrong, options.bootstrap), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
