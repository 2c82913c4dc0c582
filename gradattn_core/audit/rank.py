"""Ranks every image: out-of-sample predictions of the head that the maps explain, and how suspect its label is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from scipy.special import log_softmax
from threadpoolctl import threadpool_limits

from gradattn_core.audit.brought import FEATURES, PREDICTIONS
from gradattn_core.audit.finetune import content_folds
from gradattn_core.audit.heads import LinearHeads
from gradattn_core.audit.origins import (
    Origins,
    fine_tuned,
    head_id,
    mean_by_fold,
    mean_row,
    own_classifier,
    probed,
    probes,
)
from gradattn_core.audit.plan import Plan
from gradattn_core.audit.repair import unread
from gradattn_core.audit.stored_maps import heads_of_kept_maps
from gradattn_core.audit.sweep import array_on_disk, brought_matrix, matrix, swept_matrix, swept_outside, swept_table
from gradattn_core.config import MEASURED
from gradattn_core.errors import DatasetError
from gradattn_core.estimates import ASSUMPTIONS
from gradattn_core.files import write_parquet
from gradattn_core.outfolder import failures_beside
from gradattn_core.progress import RANK, Progress, silent
from gradattn_core.ranking.arrays import row_blocks
from gradattn_core.ranking.likely import Judgement
from gradattn_core.ranking.outside import Outside, is_named, outside_suspicion, with_outside
from gradattn_core.ranking.probe import crossval_probe
from gradattn_core.ranking.suspicion import judge_labels, knows_by_heart
from gradattn_core.records import FloatArray, IntArray

_TOP = 5
# The class token and the mean patch token of the first depth, or the mean patch tokens of the first two.
_SHALLOW = 2
_IN_SAMPLE, _OUTPUTS = b"in_sample", b"outputs"
_SCORE_COLUMNS = (
    *("rank", "suspicion", "suggested_label", "suggested_probability", "given_probability"),
    *("runner_up_label", "runner_up_probability", *ASSUMPTIONS, "outside_suspicion"),
)


def rank_images(plan: Plan, progress: Progress = silent) -> Path:
    """Predict and rank every swept image, unless that is done.

    Returns:
        the scores' parquet file; the predictions and suspects lie beside it, and for a probe the heads too.

    Raises:
        DatasetError: fewer than two classes are left once unreadable images are gone.
    """
    target = plan.files.rank
    if target.exists():
        return target
    progress(RANK.name, 0, plan.images)
    table = swept_table(plan, ["path", "content_hash", "given_label", "size", "outside_label", "outside_probability"])
    outside = swept_outside(plan)
    paths, given = table["path"].to_pylist(), table["given_label"].to_pylist()
    if len(set(given)) < 2:
        unreadable = [
            why for shard in range(plan.shards) for _, why in unread(failures_beside(plan.files.sweep(shard)))
        ]
        raise DatasetError(
            f"{plan.config.dataset}: only {len(paths):,} of {plan.images:,} images could be read, of "
            f"{len(set(given))} {'class' if len(set(given)) == 1 else 'classes'}; at least two classes are needed"
            + (f". The first that could not: {unreadable[0]}" if unreadable else "")
        )
    classes = sorted(set(given))
    hashes = table["content_hash"].to_pylist()
    folds = content_folds(hashes, plan.config.folds)
    if plan.head == "probe" and len(set(folds.tolist())) == 1:
        different = "1 different picture" if len(set(hashes)) == 1 else f"{len(set(hashes)):,} different pictures"
        raise DatasetError(
            f"{plan.config.dataset}: its {len(paths):,} files hold {different} in all, and no model can learn from "
            "some to judge the others; give more pictures, or --head as-is"
        )
    # The fits are many small products, on which several threads wait for one another more than they work.
    with threadpool_limits(limits=1):
        logits, fold, origins = _explained_logits(plan, paths, given, classes, folds)
        judgement, in_sample = _ranked(plan, given, classes, logits, hashes)
        ranked = judgement.frame
        if outside is not None and not in_sample:
            ranked = with_outside(ranked, outside, outside_suspicion(given, outside))
    origins.save(plan.files.origins)
    predictions = _predictions(table, given, classes, logits, fold)
    write_parquet(plan.files.predictions, predictions)
    in_doubt = (ranked["suspicion"].to_numpy() >= plan.config.threshold) | _in_contradiction(plan, given, predictions)
    if outside is not None and "outside_suspicion" in ranked:
        in_doubt |= is_named(outside, ranked["outside_suspicion"].to_numpy())
    suspects = _suspects(plan, table, classes, ranked, in_doubt, predictions["fold"], outside)
    if plan.head == "probe" and plan.config.has_model:
        outputs = {name: place for place, name in enumerate(classes)}
        suspects = suspects.append_column("map_head", heads_of_kept_maps(plan, suspects, outputs, paths))
    write_parquet(plan.files.suspects, suspects)
    # The scores are renamed into place last: where they are, everything else is too.
    scores = _scores(paths, ranked, in_doubt, judgement)
    write_parquet(target, scores.replace_schema_metadata({_IN_SAMPLE: str(in_sample)}))
    progress(RANK.name, plan.images, plan.images)
    return target


def ranked_without_model(plan: Plan) -> bool:
    """Whether the ranking did without the model's head and deep features."""
    return (pq.read_schema(plan.files.rank).metadata or {}).get(_IN_SAMPLE) == b"True"


def count_suspects(plan: Plan) -> int:
    """How many images are to be interpreted."""
    return int(pq.read_metadata(plan.files.suspects).num_rows)


def explained_outputs(plan: Plan) -> dict[str, int]:
    """Every class of which an image could be read, and its output of the explained head."""
    metadata = pq.read_schema(plan.files.suspects).metadata
    return {str(name): int(place) for name, place in json.loads(metadata[_OUTPUTS]).items()}


def agreement(plan: Plan) -> float:
    """Share of images whose given label is the explained head's answer among all its classes, in [0, 1]."""
    table = pq.read_table(plan.files.predictions, columns=["predicted_label", "outside_label"])
    given = swept_table(plan, ["given_label"])["given_label"].to_pylist()
    answers = zip(table["predicted_label"].to_pylist(), table["outside_label"].to_pylist(), given, strict=True)
    return float(np.mean([predicted == label and outside is None for predicted, outside, label in answers]))


def _ranked(
    plan: Plan, given: list[str], classes: list[str], logits: FloatArray, contents: list[str]
) -> tuple[Judgement, bool]:
    """The ranking, and whether it did without the model's head and deep features because they know the labels."""
    seed, device = plan.config.seed, plan.config.device
    if plan.config.brings:
        return _ranked_by_brought(plan, given, contents), False
    if plan.config.from_scratch:
        return judge_labels(given, logits=logits, classes=classes, seed=seed, copies=contents, device=device), False
    features = swept_matrix(plan, "features")
    if plan.head != "finetune" and plan.config.in_sample != "no":
        shallow = features[:, : _SHALLOW * _width(plan)]
        predicted = [classes[code] for block in row_blocks(*logits.shape) for code in logits[block].argmax(axis=1)]
        if plan.config.in_sample == "yes" or knows_by_heart(given, predicted, shallow, classes, seed):
            return judge_labels(given, shallow, classes=classes, seed=seed, copies=contents, device=device), True
    votes = None if plan.head == "probe" else logits
    return judge_labels(given, features, votes, classes=classes, seed=seed, copies=contents, device=device), False


def _ranked_by_brought(plan: Plan, given: list[str], contents: list[str]) -> Judgement:
    """By what was brought, and where those are predictions alone, by the features of a model that is there too."""
    config = plan.config
    features = None
    if config.features is not None:
        features = brought_matrix(plan, FEATURES)
    elif config.has_model:
        features = swept_matrix(plan, "features")
    said = None if config.probabilities is None and config.logits is None else brought_matrix(plan, PREDICTIONS)
    logits, probabilities = (None, said) if config.probabilities is not None else (said, None)
    classes = list(plan.classes) if said is not None else sorted(set(given))
    return judge_labels(
        given, features, logits, probabilities, classes, seed=config.seed, copies=contents, device=config.device
    )


def _width(plan: Plan) -> int:
    """Numbers of a token, told from the first image that was swept."""
    shards = (pq.read_table(plan.files.sweep(index), columns=["readout"]) for index in range(plan.shards))
    return next(len(shard["readout"][0]) for shard in shards if len(shard))


def _in_contradiction(plan: Plan, given: list[str], predictions: pa.Table) -> NDArray[np.bool_]:
    """Where whoever judges names another class: the predictions that were brought, else the explained head."""
    if plan.head == "given" or (plan.config.probabilities is None and plan.config.logits is None):
        return _contradicted(given, predictions)
    said = brought_matrix(plan, PREDICTIONS)
    codes = _codes(given, list(plan.classes))
    best = [said[block].argmax(axis=1) for block in row_blocks(*said.shape)]
    return np.asarray(np.concatenate(best) != codes)


def _contradicted(given: list[str], predictions: pa.Table) -> NDArray[np.bool_]:
    """Where the explained head names another class, unless the head of that fold had no image of the given one."""
    labels = np.array(given, dtype=object)
    differs: NDArray[np.bool_] = np.array(predictions["predicted_label"].to_pylist(), dtype=object) != labels
    frame = pd.DataFrame({"label": labels, "fold": predictions["fold"].to_pandas()})
    if frame["fold"].isna().all():
        return differs
    in_class = frame.groupby("label")["label"].transform("size")
    in_fold = frame.groupby(["label", "fold"])["label"].transform("size")
    seen: NDArray[np.bool_] = (in_class > in_fold).to_numpy()
    return np.logical_and(differs, seen)


def _suspects(
    plan: Plan,
    table: pa.Table,
    classes: list[str],
    ranked: pd.DataFrame,
    in_doubt: NDArray[np.bool_],
    fold: pa.ChunkedArray,
    outside: Outside | None,
) -> pa.Table:
    # A probe has no output for a class none of whose images could be read; the other heads keep theirs.
    output = {name: position for position, name in enumerate(classes if plan.head == "probe" else plan.classes)}
    if plan.alignment is not None:
        output = dict(zip(plan.classes, plan.alignment.indices, strict=True))
    output = {name: output[name] for name in classes}
    other = ranked["suggested_label"].to_numpy(dtype=object).copy()
    other_output = np.array([output.get(name, -1) for name in other], dtype=np.int64)
    if outside is not None:
        # The map of a picture of no class here is drawn against the model's own class for it.
        foreign = other == ""
        other[foreign] = np.array(table["outside_label"].to_pylist(), dtype=object)[foreign]
        other_output[foreign] = outside.outputs[foreign, 0]
    suspects = pa.table(
        {
            "path": table["path"],
            "label": table["given_label"],
            "content_hash": table["content_hash"],
            "size": table["size"],
            "other": pa.array(other, pa.string()),
            "fold": fold,
            "given_output": pa.array([output[name] for name in table["given_label"].to_pylist()], pa.int32()),
            "other_output": pa.array(other_output, pa.int32()),
            "to_measure": pa.array(_first(ranked["rank"].to_numpy(), in_doubt) & plan.config.adds_up),
        }
    )
    if plan.config.interpret == "suspects":
        suspects = suspects.filter(pa.array(in_doubt))
    if plan.head == "finetune":
        # These folds have a model each: images of one fold side by side load it once.
        suspects = suspects.sort_by([("fold", "ascending"), ("path", "ascending")])
    return suspects.replace_schema_metadata({_OUTPUTS: json.dumps(output)})


def _first(rank: IntArray, in_doubt: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which images are the first suspects, whose strongest regions are measured."""
    ranks = np.sort(rank[in_doubt])[:MEASURED]
    return in_doubt & (rank <= (ranks[-1] if len(ranks) else 0))


def _explained_logits(
    plan: Plan, paths: list[str], given: list[str], classes: list[str], folds: IntArray
) -> tuple[FloatArray, IntArray | None, Origins]:
    """[N, K] logits of the explained head, the position of each image's head among the folds', and their origins."""
    position = {name: place for place, name in enumerate(plan.classes)}
    kept = [position[name] for name in classes]
    if plan.head == "given":
        logits = swept_matrix(plan, "logits", kept)
        return logits, None, Origins((head_id("given", plan.fingerprint),), tuple(classes), mean_row(logits)[None])
    if plan.head == "as-is":
        logits = swept_matrix(plan, "logits", kept)
        return logits, None, Origins(own_classifier(plan.sweep_key), tuple(classes), mean_row(logits)[None])
    if plan.head == "finetune":
        logits = array_on_disk(plan.folder, len(paths), len(classes))
        place = {path: row for row, path in enumerate(paths)}
        for fold in range(plan.config.folds):
            table = pq.read_table(plan.files.finetune(fold))
            logits[[place[path] for path in table["path"].to_pylist()]] = matrix(table["logits"])[:, kept]
        files = [plan.files.fold_weights(fold) for fold in range(plan.config.folds)]
        means = mean_by_fold(logits, folds, plan.config.folds)
        return logits, folds, Origins(fine_tuned(files), tuple(classes), means)
    codes = _codes(given, classes)
    logits = array_on_disk(plan.folder, len(paths), len(classes))
    readout = swept_matrix(plan, "readout") if plan.config.has_model else brought_matrix(plan, FEATURES)
    probe = crossval_probe(readout, codes, folds, out=logits, device=plan.config.device)
    LinearHeads(probe.weights, probe.bias).save(plan.files.heads)
    answers = probed(probe.weights, probe.bias, mean_row(readout))
    origins = Origins(probes(plan.sweep_key, probe.weights, probe.bias), tuple(classes), answers)
    return probe.logits, np.asarray(probe.fold_index), origins


def _codes(given: list[str], classes: list[str]) -> IntArray:
    code = {name: position for position, name in enumerate(classes)}
    return np.array([code[label] for label in given], dtype=np.int64)


def _predictions(
    table: pa.Table, given: list[str], classes: list[str], logits: FloatArray, fold: IntArray | None
) -> pa.Table:
    codes = _codes(given, classes)
    parts = [_top_classes(logits[block], codes[block], classes) for block in row_blocks(*logits.shape)]
    predictions = pa.concat_tables(parts)
    predictions = predictions.add_column(0, "path", table["path"])
    predictions = predictions.add_column(
        1, "fold", pa.array(fold if fold is not None else [None] * len(given), pa.int32())
    )
    for name in ("outside_label", "outside_probability"):
        predictions = predictions.append_column(name, table[name])
    return predictions


def _top_classes(logits: FloatArray, codes: IntArray, classes: list[str]) -> pa.Table:
    """What the head says of some images: the given class, the best ones, and how sure it is."""
    rows = np.arange(len(codes))
    log_probabilities = log_softmax(logits.astype(np.float64), axis=1)
    probabilities = np.exp(log_probabilities)
    others = logits.copy()
    others[rows, codes] = -np.inf
    top = np.argsort(-logits, axis=1, kind="stable")[:, :_TOP]
    best = top[:, 0]
    return pa.table(
        {
            "predicted_label": [classes[code] for code in best],
            "given_logit": pa.array(logits[rows, codes], pa.float32()),
            "predicted_logit": pa.array(logits[rows, best], pa.float32()),
            "given_probability": pa.array(probabilities[rows, codes], pa.float32()),
            "predicted_probability": pa.array(probabilities[rows, best], pa.float32()),
            "margin": pa.array(logits[rows, codes] - others.max(axis=1), pa.float32()),
            "entropy": pa.array(-(probabilities * log_probabilities).sum(axis=1), pa.float32()),
            "top_labels": [[classes[code] for code in row] for row in top],
            "top_probabilities": pa.array(list(np.take_along_axis(probabilities, top, axis=1)), pa.list_(pa.float32())),
        }
    )


def _scores(paths: Sequence[str], ranked: pd.DataFrame, in_doubt: NDArray[np.bool_], judgement: Judgement) -> pa.Table:
    names = [name for name in ranked.columns if name not in _SCORE_COLUMNS and ranked[name].dtype.kind == "f"]
    components = [list(zip(names, row, strict=True)) for row in ranked[names].to_numpy(dtype=float).tolist()]
    return pa.table(
        {
            "path": list(paths),
            "rank": pa.array(ranked["rank"], pa.int64()),
            "suspicion": pa.array(ranked["suspicion"], pa.float64()),
            "is_suspect": pa.array(in_doubt, pa.bool_()),
            "suggested_label": pa.array(ranked["suggested_label"].tolist(), pa.string()),
            "suggested_probability": pa.array(ranked["suggested_probability"], pa.float64()),
            "given_probability": pa.array(ranked["given_probability"], pa.float64()),
            "runner_up_label": pa.array(ranked["runner_up_label"].tolist(), pa.string()),
            "runner_up_probability": pa.array(
                ranked["runner_up_probability"], pa.float64(), mask=ranked["runner_up_label"].isna().to_numpy()
            ),
            **{name: pa.array(ranked[name], pa.float64()) for name in ASSUMPTIONS},
            "outside_suspicion": pa.array(ranked.get("outside_suspicion", [None] * len(ranked)), pa.float64()),
            "components": pa.array(components, pa.map_(pa.string(), pa.float64())),
            **_likely(ranked, in_doubt, judgement),
        }
    )


def _likely(ranked: pd.DataFrame, in_doubt: NDArray[np.bool_], judgement: Judgement) -> dict[str, pa.Array]:
    """The likeliest classes of the suspects; of the others nobody asks, and NULL weighs nothing."""
    outside = ranked["outside_suspicion"].to_numpy(dtype=float) if "outside_suspicion" in ranked else None
    suspects = np.flatnonzero(in_doubt)
    labels, probabilities = judgement.likely.of(suspects, outside)
    place = np.full(len(ranked), -1)
    place[suspects] = np.arange(len(suspects))
    taken = pa.array(place, mask=place < 0)
    columns = {
        "likely_labels": pa.array(labels, pa.list_(pa.string())),
        "likely_probabilities": pa.array(probabilities, pa.list_(pa.float32())),
    }
    return {name: column.take(taken) for name, column in columns.items()}
