"""Turns suspects into findings: what kind of doubt each is, which images look like it, and what sure ones look like."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from threadpoolctl import threadpool_limits

from gradattn_core.audit.interpret import interpret_shards
from gradattn_core.audit.plan import Plan
from gradattn_core.audit.sweep import has_features, swept_matrix, swept_table
from gradattn_core.dataset.labels import spelling
from gradattn_core.evidence import HIDDEN
from gradattn_core.files import write_parquet
from gradattn_core.progress import FINDINGS, Progress, silent
from gradattn_core.ranking.folds import NEAR_DUPLICATE
from gradattn_core.ranking.lookalikes import clusters, directions, exemplars, similar_images, unlikeness
from gradattn_core.ranking.neighbours import Neighbours
from gradattn_core.ranking.noise import class_pairs
from gradattn_core.ranking.rules import kinds_of
from gradattn_core.records import FloatArray, IntArray


def write_findings(plan: Plan, progress: Progress = silent) -> Path:
    """Tell the kind of each suspect's doubt, its neighbours and cluster, and each class's exemplars, unless done.

    Comes after the last shard was interpreted. Where features mean nothing (``from_scratch``), or there are none, there
    are no neighbours and no clusters, and the kinds are told from the rest.
    """
    target = plan.files.findings
    if target.exists():
        return target
    scores = pq.read_table(plan.files.rank)
    progress(FINDINGS.name, 0, len(scores))
    lists = [name for name in scores.column_names if name == "components" or name.startswith("likely_")]
    table = scores.drop_columns(lists).to_pandas()
    images = swept_table(plan, ["content_hash", "given_label"]).to_pandas()
    table = table.assign(content_hash=images["content_hash"], given_label=images["given_label"])
    # By rank, so that the most suspect image founds the first cluster.
    ranks = table["rank"].to_numpy()
    suspects = np.flatnonzero(table["is_suspect"].to_numpy())
    suspects = suspects[np.argsort(ranks[suspects], kind="stable")]
    # Without it the order of sums, and with it the last digit, would depend on the number of cores.
    with threadpool_limits(limits=1):
        unit = None if plan.config.from_scratch or not has_features(plan) else _directions(plan)
        neighbours = _no_neighbours(len(suspects)) if unit is None else similar_images(unit, suspects)
        facts = _facts(plan, table, suspects, unit, neighbours)
        cluster = None if unit is None else clusters(unit, suspects)
        _write_exemplars(plan, table, unit)
    _write_neighbours(plan, table, suspects, neighbours)
    write_parquet(target, _with_kinds(scores, suspects, kinds_of(facts), cluster))
    progress(FINDINGS.name, len(scores), len(scores))
    return target


def _directions(plan: Plan) -> FloatArray:
    """The features of all images as unit vectors, on disk."""
    features = swept_matrix(plan, "features")
    return directions(features, out=features)


def _no_neighbours(suspects: int) -> Neighbours:
    return Neighbours(np.zeros((suspects, 0), np.int64), np.zeros((suspects, 0), np.float32))


def _facts(
    plan: Plan, table: pd.DataFrame, suspects: IntArray, unit: FloatArray | None, neighbours: Neighbours
) -> pd.DataFrame:
    """What :func:`~gradattn_core.ranking.rules.kinds_of` wants to know, one row per suspect."""
    columns = ["path", "given_label", "suggested_label"]
    columns += ["given_probability", "suggested_probability", "runner_up_probability"]
    facts = table.iloc[suspects][columns].reset_index(drop=True)
    labels = table.groupby("content_hash")["given_label"].transform("nunique").to_numpy()
    if "outside_suspicion" in table:
        foreign = facts["suggested_label"] == ""
        facts["outside_suspicion"] = table["outside_suspicion"].to_numpy(dtype=float)[suspects]
        facts["outside_suspicion"] = facts["outside_suspicion"].where(foreign)
    facts["identical"] = labels[suspects] > 1
    pairs = zip(facts["given_label"], facts["suggested_label"], strict=True)
    facts["same_class"] = [bool(suggested) and spelling(given) == spelling(suggested) for given, suggested in pairs]
    if unit is not None:
        given = table["given_label"].to_numpy()
        other = given[neighbours.index] != given[suspects][:, None]
        # NaN where all the neighbours have the same label.
        facts["similarity"] = pd.DataFrame(np.where(other, neighbours.similarity, np.nan)).max(axis=1).to_numpy()
        facts["usual_similarity"] = neighbours.similarity.min(axis=1, initial=1)
        codes = pd.factorize(table["given_label"], sort=True)[0]
        sure = np.flatnonzero(~table["is_suspect"].to_numpy())
        trust = 1 - table["suspicion"].to_numpy()
        facts["unlikeness"], facts["more_unlike"] = unlikeness(unit, codes, trust, suspects, sure)
    return facts.merge(_pair_lifts(table), how="left").merge(_answers(plan), on="path", how="left")


def _pair_lifts(table: pd.DataFrame) -> pd.DataFrame:
    """given_label, suggested_label, lift of the pair, and lift of the reverse pair (NaN where it has no suspect)."""
    pairs = class_pairs(table["given_label"], table, suspects=table["is_suspect"])
    pairs = pairs[["given_label", "suggested_label", "lift"]]
    back = pairs.rename(
        columns={"given_label": "suggested_label", "suggested_label": "given_label", "lift": "reverse_lift"}
    )
    return pairs.merge(back, how="left")


def _answers(plan: Plan) -> pd.DataFrame:
    """What the head said with the evidence for the other class hidden, of every interpreted image."""
    files = [plan.files.interpret(index) for index in range(interpret_shards(plan))]
    parts = [pq.read_table(file, columns=["path", "for_label", *HIDDEN, "detail"]) for file in files]
    if not parts:
        return pd.DataFrame({"path": pd.Series(dtype=str)})
    frame = pa.concat_tables(parts).to_pandas()
    return pd.DataFrame(
        {
            "path": frame["path"],
            "hidden_margin": frame["hidden_for_logit"].astype(float) - frame["hidden_against_logit"],
            "hidden_is_given": frame["hidden_label"] == frame["for_label"],
            "hidden_probability": frame["hidden_probability"].astype(float),
            "detail": frame["detail"].astype(float),
        }
    )


def _with_kinds(scores: pa.Table, suspects: IntArray, kinds: pd.DataFrame, cluster: IntArray | None) -> pa.Table:
    rows = len(scores)
    kind = np.full(rows, None, dtype=object)
    numbers = np.full(rows, None, dtype=object)
    kind[suspects] = kinds["kind"].to_numpy()
    numbers[suspects] = [list(values.items()) for values in kinds["kind_numbers"]]
    number = pd.array([None] * rows, dtype="Int32")
    if cluster is not None:
        number[suspects] = cluster
    return (
        scores.append_column("kind", pa.array(kind, pa.string()))
        .append_column("kind_numbers", pa.array(numbers, pa.map_(pa.string(), pa.float64())))
        .append_column("cluster", pa.array(number, pa.int32()))
    )


def _write_neighbours(plan: Plan, table: pd.DataFrame, suspects: IntArray, neighbours: Neighbours) -> None:
    count = neighbours.index.shape[1]
    index = neighbours.index.ravel()
    paths, labels = table["path"].to_numpy(), table["given_label"].to_numpy()
    write_parquet(
        plan.files.neighbours,
        pa.table(
            {
                "path": pa.array(np.repeat(paths[suspects], count), pa.string()),
                "position": pa.array(np.tile(np.arange(1, count + 1), len(suspects)), pa.int32()),
                "neighbour_path": pa.array(paths[index], pa.string()),
                "neighbour_label": pa.array(labels[index], pa.string()),
                "similarity": pa.array(neighbours.similarity.ravel(), pa.float64()),
            }
        ),
    )


def _write_exemplars(plan: Plan, table: pd.DataFrame, unit: FloatArray | None) -> None:
    codes, names = pd.factorize(table["given_label"], sort=True)
    suspicion = table["suspicion"].to_numpy()
    contents = table["content_hash"].tolist()
    chosen = exemplars(unit, codes, suspicion, table["is_suspect"].to_numpy(), contents, NEAR_DUPLICATE)
    rows = np.concatenate(chosen)
    sizes = [len(part) for part in chosen]
    write_parquet(
        plan.files.exemplars,
        pa.table(
            {
                "label": pa.array(np.repeat(np.asarray(names, dtype=object), sizes), pa.string()),
                "position": pa.array([place + 1 for size in sizes for place in range(size)], pa.int32()),
                "path": pa.array(table["path"].to_numpy()[rows], pa.string()),
                "suspicion": pa.array(suspicion[rows], pa.float64()),
            }
        ),
    )
