"""From a folder of pictures to a ranked list, by what people would use instead: time, memory, and errors found.

    python -m bench.peers ROOT --truth ROOT.truth.csv --model vit_tiny_patch16_224 --checkpoint FILE
                          [--only NAME …] [--beside PYTHON …] [--turns 2] [--output FILE.md]

Every way has the same pictures and weights and ranks all of them by how suspect their label is. Each runs in a process
of its own, start included, one after the other, ``--turns`` times; the turn of fewest processor seconds counts, and
ratios of those are to the first way. Where other work goes on, wall time is longer than it need be. The truth is a CSV
with ``path`` below ROOT, ``given_label``, and ``true_label`` or ``is_error`` (0 or 1). Prints a Markdown table.

The recipe of cleanlab's tutorials: features of a pretrained network, logistic regression in five folds for
out-of-sample probabilities, then its scores of label quality. The others get the same features, or the same
probabilities. Their packages pin versions that fit neither ours nor each other: each wants a virtual environment of its
own (with torch and timm), named by ``--beside``; a way takes the first Python that has its package. SelfClean's own
pretraining by DINO on the pictures, its paper's way, takes a GPU; it is not part of this.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

if TYPE_CHECKING:
    from gradattn_core.config import AuditConfig

Scores = dict[str, float]
"""Of each picture, by its path below the root: the greater, the more suspect."""


@dataclass(frozen=True)
class Task:
    root: Path
    model: str
    checkpoint: Path


@dataclass(frozen=True)
class Turn:
    """Wall and processor seconds, GiB of the largest process, and what was found."""

    wall: float
    processor: float
    peak: float
    average_precision: float


def _listed(task: Task) -> tuple[list[str], NDArray[np.int64]]:
    paths = sorted(path for path in task.root.rglob("*") if path.is_file())
    labels = [path.relative_to(task.root).parts[0] for path in paths]
    return [str(path) for path in paths], np.unique(labels, return_inverse=True)[1]


def _timm_features(task: Task, paths: list[str]) -> NDArray[np.float32]:
    import timm
    import torch
    from PIL import Image
    from timm.data import create_transform, resolve_model_data_config
    from torch.utils.data import DataLoader, Dataset

    model = timm.create_model(task.model, checkpoint_path=str(task.checkpoint), num_classes=1000).eval()
    transform = create_transform(**resolve_model_data_config(model), is_training=False)

    class Pictures(Dataset[torch.Tensor]):
        def __len__(self) -> int:
            return len(paths)

        def __getitem__(self, index: int) -> torch.Tensor:
            with Image.open(paths[index]) as picture:
                transformed: torch.Tensor = transform(picture.convert("RGB"))
            return transformed

    loader = DataLoader(Pictures(), batch_size=32, num_workers=os.cpu_count() or 1)
    with torch.inference_mode():
        found = [model.forward_head(model.forward_features(batch), pre_logits=True).numpy() for batch in loader]
    return np.concatenate(found)


def _probabilities(features: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    return np.asarray(cross_val_predict(model, features, labels, cv=5, method="predict_proba"))


def _by_path(task: Task, paths: list[str], scores: NDArray[np.float64]) -> Scores:
    return {Path(path).relative_to(task.root).as_posix(): float(s) for path, s in zip(paths, scores, strict=True)}


def cleanlab_filter(task: Task) -> Scores:
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    paths, labels = _listed(task)
    said = _probabilities(_timm_features(task, paths), labels)
    issues = find_label_issues(labels, said)
    # Its issues first, the others behind them, each by self-confidence.
    return _by_path(task, paths, issues.astype(float) + 1 - get_label_quality_scores(labels, said))


def datalab(task: Task) -> Scores:
    from cleanlab import Datalab

    paths, labels = _listed(task)
    features = _timm_features(task, paths)
    lab = Datalab(data={"label": labels}, label_name="label", verbosity=0)
    lab.find_issues(pred_probs=_probabilities(features, labels), features=features)
    return _by_path(task, paths, 1 - lab.get_issues("label")["label_score"].to_numpy())


def fiftyone_mistakenness(task: Task) -> Scores:
    """``compute_mistakenness(use_logits=True)``: its own function of each picture; its fields want a MongoDB."""
    from fiftyone.brain.internal.core.mistakenness import _compute_mistakenness_class

    paths, labels = _listed(task)
    said = _probabilities(_timm_features(task, paths), labels)
    logits, same = np.log(said.clip(1e-30)), said.argmax(1) == labels
    found = [float(_compute_mistakenness_class(row, float(hit))) for row, hit in zip(logits, same, strict=True)]
    return _by_path(task, paths, np.array(found))


def fiftyone_hardness(task: Task) -> Scores:
    """``compute_hardness``: the entropy of the softmax of the logits, whatever the label."""
    import fiftyone.brain.internal.core.hardness as brain

    paths, labels = _listed(task)
    said = _probabilities(_timm_features(task, paths), labels)
    return _by_path(
        task, paths, np.array([float(brain.entropy(brain.softmax(np.log(row.clip(1e-30))))) for row in said])
    )


def selfclean(task: Task) -> Scores:
    """Its score of label errors, intra- against extra-class distances, on the given features."""
    from selfclean.cleaner.issue_manager import IssueTypes
    from selfclean.cleaner.selfclean_cleaner import SelfCleanCleaner

    paths, labels = _listed(task)
    cleaner = SelfCleanCleaner(memmap=False, log_level="ERROR")
    features = _timm_features(task, paths)
    cleaner.fit(emb_space=features / np.linalg.norm(features, axis=1, keepdims=True), labels=labels)
    found = cleaner.predict(issues_to_detect=[IssueTypes.LABEL_ERRORS])["label_errors"]
    scores = np.empty(len(paths))
    scores[np.asarray(found["indices"])] = -np.asarray(found["scores"])
    return _by_path(task, paths, scores)


def fastdup_neighbours(task: Task) -> Scores:
    """What its similarity gallery sorts by: the share of the nearest pictures that have the same label."""
    import fastdup

    paths, labels = _listed(task)
    label = dict(zip(paths, labels, strict=True))
    with tempfile.TemporaryDirectory() as work:
        run = fastdup.create(work_dir=f"{work}/work", input_dir=str(task.root))
        run.run(
            annotations=pd.DataFrame({"filename": paths, "label": labels.astype(str)}),
            embeddings=_timm_features(task, paths),
            nearest_neighbors_k=20,
            threshold=0.0,
            overwrite=True,
            print_summary=False,
        )
        pairs = run.similarity()
    differs = pairs["filename_from"].map(label) != pairs["filename_to"].map(label)
    shares = differs.groupby(pairs["filename_from"]).mean()
    return _by_path(task, paths, shares.reindex(paths).fillna(0).to_numpy(float))


def _config(task: Task, out: str) -> AuditConfig:
    from gradattn_core.config import AuditConfig

    return AuditConfig(str(task.root), out=out, model=task.model, checkpoint=str(task.checkpoint), head="probe")


def ours_list(task: Task) -> Scores:
    """The list alone: the steps of an audit up to its ranking."""
    from gradattn_core.audit.plan import plan_audit
    from gradattn_core.audit.rank import rank_images
    from gradattn_core.audit.sweep import sweep_shards

    with tempfile.TemporaryDirectory() as out:
        plan = plan_audit(_config(task, out))
        sweep_shards(plan, range(plan.shards))
        ranked = pd.read_parquet(rank_images(plan), columns=["path", "suspicion"])
        return dict(zip(ranked["path"], ranked["suspicion"].astype(float), strict=True))


def ours_audit(task: Task) -> Scores:
    """The whole audit: list, maps, hidings that are measured, findings, database."""
    from gradattn_core.audit.run import audit_images
    from gradattn_core.store.store import Store

    with tempfile.TemporaryDirectory() as out:
        audit = audit_images(_config(task, out)).audit_id
        ranked = Store(out).candidates.page(audit, everything=True)
        return dict(zip(ranked["path"], ranked["suspicion"].astype(float), strict=True))


@dataclass(frozen=True)
class Way:
    scores: Callable[[Task], Scores]
    packages: tuple[str, ...]


WAYS = {
    "gradattn, the list": Way(ours_list, ("gradattn_core",)),
    "gradattn, with maps and database": Way(ours_audit, ("gradattn_core",)),
    "timm + scikit-learn + cleanlab's find_label_issues": Way(cleanlab_filter, ("cleanlab",)),
    "timm + scikit-learn + cleanlab's Datalab": Way(datalab, ("cleanlab", "datasets")),
    "timm + scikit-learn + FiftyOne's mistakenness": Way(fiftyone_mistakenness, ("fiftyone",)),
    "timm + scikit-learn + FiftyOne's hardness": Way(fiftyone_hardness, ("fiftyone",)),
    "timm + SelfClean's label errors": Way(selfclean, ("selfclean",)),
    "timm + fastdup's neighbours": Way(fastdup_neighbours, ("fastdup",)),
}


def _python_for(way: Way, pythons: list[str]) -> str:
    """The first Python that has the way's packages, or the first of all, whose error then tells what is missing."""
    asked = "import importlib.util as u, sys; sys.exit(not all(u.find_spec(name) for name in sys.argv[1:]))"
    having = (p for p in pythons if not subprocess.run([p, "-c", asked, *way.packages], check=False).returncode)
    return next(having, pythons[0])


def measured(name: str, python: str, task: Task, wrong: dict[str, bool]) -> Turn | str:
    """What a way took and found, or why it does not run here."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile("w+") as said:
        file = Path(folder) / "scores.csv"
        command = [python, "-m", "bench.peers", str(task.root), "--model", task.model]
        command += ["--checkpoint", str(task.checkpoint), "--way", name, "--output", str(file)]
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=said)
        _, status, used = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
        if status:
            said.seek(0)
            return (said.read().strip().splitlines() or [f"it ended with {os.waitstatus_to_exitcode(status)}"])[-1]
        scores = pd.read_csv(file).set_index("path")["score"]
    truth = pd.Series(wrong)
    both = truth.index.intersection(scores.index)
    found = float(average_precision_score(truth[both], scores[both]))
    return Turn(wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 2**20, found)


def truths(file: Path) -> dict[str, bool]:
    rows = pd.read_csv(file, dtype=str)
    wrong = rows["is_error"] == "1" if "is_error" in rows else rows["given_label"] != rows["true_label"]
    return dict(zip(rows["path"], wrong, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description="A ranked list from a folder, by other ways too")
    parser.add_argument("root", type=Path)
    parser.add_argument("--truth", type=Path)
    parser.add_argument("--model", required=True)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--only", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--beside", nargs="+", default=[], metavar="PYTHON", help="other environments, for the peers")
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    task = Task(options.root, options.model, options.checkpoint)
    if options.way:
        scores = WAYS[options.way].scores(task)
        pd.DataFrame({"path": list(scores), "score": list(scores.values())}).to_csv(options.output, index=False)
        return
    wrong = truths(options.truth)
    pythons = {name: _python_for(WAYS[name], [sys.executable, *options.beside]) for name in options.only}
    best: dict[str, Turn] = {}
    failed: dict[str, str] = {}
    for _ in range(options.turns):
        for name in options.only:
            turn = measured(name, pythons[name], task, wrong)
            if isinstance(turn, str):
                failed[name] = turn
            elif name not in best or turn.processor < best[name].processor:
                best[name] = turn
    first = next(iter(best.values()))
    lines = [
        "| way | wall | processor | to the first | peak memory | average precision |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, turn in best.items():
        lines.append(
            f"| {name} | {turn.wall:.0f} s | {turn.processor:.0f} s | {turn.processor / first.processor:.2f} "
            f"| {turn.peak:.2f} GiB | {turn.average_precision:.3f} |"
        )
    lines += [f"| {name} | did not run: {why} | | | | |" for name, why in failed.items()]
    table = "\n".join(lines)
    print(table)
    if options.output:
        options.output.write_text(table + "\n")


if __name__ == "__main__":
    main()
