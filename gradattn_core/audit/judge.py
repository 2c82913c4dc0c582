"""Judges every image: out-of-sample predictions of the head that the maps explain, and the ranking."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from scipy.special import log_softmax

from gradattn_core.audit.files import write_parquet, write_whole
from gradattn_core.audit.folds import content_folds, fold_file, swept
from gradattn_core.audit.plan import Plan
from gradattn_core.audit.progress import Progress, silent
from gradattn_core.errors import DatasetError
from gradattn_core.ranking import crossval_probe, rank_labels
from gradattn_core.records import FloatArray

_TOP = 5


@dataclass(frozen=True)
class LinearHeads:
    """The probe of each fold: logits = features @ weights[fold].T + bias[fold]; [F, K, D] and [F, K]."""

    weights: FloatArray
    bias: FloatArray

    def save(self, path: Path) -> None:
        write_whole(path, lambda temporary: save_file({"weights": self.weights, "bias": self.bias}, temporary))

    @classmethod
    def load(cls, path: Path) -> LinearHeads:
        arrays = load_file(path)
        return cls(arrays["weights"], arrays["bias"])


def predictions_file(plan: Plan) -> Path:
    return plan.folder / "predictions.parquet"


def scores_file(plan: Plan) -> Path:
    return plan.folder / "scores.parquet"


def heads_file(plan: Plan) -> Path:
    return plan.folder / "heads.safetensors"


def judge(plan: Plan, progress: Progress = silent) -> Path:
    """Predict and rank every swept image, unless that is done.

    Returns:
        the scores' parquet file; the predictions lie beside it, and for a probe the heads too.

    Raises:
        DatasetError: fewer than two classes are left once unreadable images are gone.
    """
    target = scores_file(plan)
    if target.exists():
        return target
    progress("rank", 0, plan.images)
    table = swept(plan, ["path", "content_hash", "given_label"])
    paths, given = table["path"].to_pylist(), table["given_label"].to_pylist()
    if len(set(given)) < 2:
        raise DatasetError(
            f"{plan.config.dataset}: only {len(paths)} of {plan.images} images could be read, of {len(set(given))} "
            "class; at least two classes are needed"
        )
    classes = sorted(set(given))
    folds = content_folds(table["content_hash"].to_pylist(), plan.config.folds)
    logits, fold = _explained_logits(plan, given, classes, folds)
    ranked = rank_labels(
        given,
        features=None if plan.config.from_scratch else _matrix(swept(plan, ["features"])["features"]),
        logits=None if plan.head == "probe" else logits,
        classes=classes,
        seed=plan.config.seed,
    )
    predictions = _predictions(
        paths, given, classes, logits, fold, swept(plan, ["outside_label", "outside_probability"])
    )
    write_parquet(predictions_file(plan), predictions)
    in_doubt = (ranked["suspicion"].to_numpy() >= plan.config.threshold) | (
        np.array(predictions["predicted_label"].to_pylist(), dtype=object) != np.array(given, dtype=object)
    )
    write_parquet(target, _scores(paths, ranked, in_doubt))
    progress("rank", plan.images, plan.images)
    return target


def agreement(plan: Plan) -> float:
    """Share of images whose given label is the explained head's prediction, in [0, 1]."""
    table = pq.read_table(predictions_file(plan), columns=["path", "predicted_label"])
    given = swept(plan, ["given_label"])["given_label"].to_pylist()
    return float(np.mean([a == b for a, b in zip(table["predicted_label"].to_pylist(), given, strict=True)]))


def _explained_logits(
    plan: Plan, given: list[str], classes: list[str], folds: NDArray[np.int64]
) -> tuple[FloatArray, NDArray[np.int64] | None]:
    """[N, K] logits of the head that the maps explain, and the position of each image's head among the folds'."""
    kept = [plan.classes.index(name) for name in classes]
    if plan.head == "as-is":
        return _matrix(swept(plan, ["logits"])["logits"])[:, kept], None
    if plan.head == "finetune":
        tables = [pq.read_table(fold_file(plan, fold)) for fold in range(plan.config.folds)]
        table = pa.concat_tables(tables)
        place = {path: row for row, path in enumerate(table["path"].to_pylist())}
        order = [place[path] for path in swept(plan, ["path"])["path"].to_pylist()]
        return _matrix(table["logits"])[order][:, kept], folds
    codes = np.array([classes.index(label) for label in given])
    probe = crossval_probe(_matrix(swept(plan, ["readout"])["readout"]), codes, folds)
    LinearHeads(probe.weights, probe.bias).save(heads_file(plan))
    return probe.logits, np.asarray(probe.fold_index)


def _matrix(column: pa.ChunkedArray) -> FloatArray:
    """A list column as [N, D] float32."""
    flat = pa.concat_arrays([chunk.flatten() for chunk in column.chunks]) if column.num_chunks else pa.array([])
    values: FloatArray = flat.to_numpy(zero_copy_only=False).astype(np.float32).reshape(len(column), -1)
    return values


def _predictions(
    paths: list[str],
    given: list[str],
    classes: list[str],
    logits: FloatArray,
    fold: NDArray[np.int64] | None,
    outside: pa.Table,
) -> pa.Table:
    rows = np.arange(len(paths))
    codes = np.array([classes.index(label) for label in given])
    log_probabilities = log_softmax(logits.astype(np.float64), axis=1)
    probabilities = np.exp(log_probabilities)
    others = logits.copy()
    others[rows, codes] = -np.inf
    top = np.argsort(-logits, axis=1, kind="stable")[:, :_TOP]
    best = top[:, 0]
    return pa.table(
        {
            "path": paths,
            "fold": pa.array(fold if fold is not None else [None] * len(paths), pa.int32()),
            "predicted_label": [classes[code] for code in best],
            "given_logit": pa.array(logits[rows, codes], pa.float32()),
            "predicted_logit": pa.array(logits[rows, best], pa.float32()),
            "given_probability": pa.array(probabilities[rows, codes], pa.float32()),
            "predicted_probability": pa.array(probabilities[rows, best], pa.float32()),
            "margin": pa.array(logits[rows, codes] - others.max(axis=1), pa.float32()),
            "entropy": pa.array(-(probabilities * log_probabilities).sum(axis=1), pa.float32()),
            "top_labels": [[classes[code] for code in row] for row in top],
            "top_probabilities": pa.array(list(np.take_along_axis(probabilities, top, axis=1)), pa.list_(pa.float32())),
            "outside_label": outside["outside_label"],
            "outside_probability": outside["outside_probability"],
        }
    )


_SCORE_COLUMNS = ("rank", "suspicion", "suggested", "suggested_probability", "given_probability", "runner_up")


def _scores(paths: Sequence[str], ranked: pd.DataFrame, in_doubt: NDArray[np.bool_]) -> pa.Table:
    names = [name for name in ranked.columns if name not in _SCORE_COLUMNS and ranked[name].dtype.kind == "f"]
    components = [list(zip(names, row, strict=True)) for row in ranked[names].to_numpy(dtype=float).tolist()]
    return pa.table(
        {
            "path": list(paths),
            "rank": pa.array(ranked["rank"], pa.int64()),
            "suspicion": pa.array(ranked["suspicion"], pa.float64()),
            "is_suspect": pa.array(in_doubt, pa.bool_()),
            "suggested_label": pa.array(ranked["suggested"].tolist(), pa.string()),
            "suggested_probability": pa.array(ranked["suggested_probability"], pa.float64()),
            "given_probability": pa.array(ranked["given_probability"], pa.float64()),
            "runner_up_label": pa.array(ranked["runner_up"].tolist(), pa.string()),
            "components": pa.array(components, pa.map_(pa.string(), pa.float64())),
        }
    )
