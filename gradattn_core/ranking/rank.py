"""Order images by how likely their given label is wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from gradattn_core.errors import RankingError
from gradattn_core.ranking import components
from gradattn_core.ranking.discriminant import held_out_discriminant, tempered
from gradattn_core.ranking.fusion import Fusion, fuse
from gradattn_core.ranking.neighbours import find_neighbours, neighbour_probabilities
from gradattn_core.ranking.probe import held_out, log_softmax, make_basis
from gradattn_core.ranking.validate import IntArray, check_folds, check_given, check_matrix, make_folds
from gradattn_core.records import FloatArray

NEIGHBOURS = 20


def rank_labels(
    given: Any,
    features: ArrayLike | None = None,
    logits: ArrayLike | None = None,
    probabilities: ArrayLike | None = None,
    classes: Any = None,
    folds: ArrayLike | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """How suspect each given label is, and which label the image should have.

    Args:
        given: [N] labels, text or integers.
        features: [N, D] of a frozen model; the more depths joined the better.
        logits: [N, K] out-of-sample logits, columns in the order of ``classes``.
        probabilities: the same as probabilities; at most one of the two.
        classes: the K labels in column order; by default the sorted distinct given labels.
        folds: [N] integers; images of one number are judged together. Stratified by ``seed`` when absent.
        seed: shuffles the folds when ``folds`` is absent.

    Returns:
        One row per image in input order: ``suspicion`` in [0, 1] (probability that the given label is wrong), ``rank``
        (1 = most suspect, ties by input order), ``suggested`` (likeliest other label), ``suggested_probability``,
        ``given_probability``, ``runner_up`` (second likeliest other label, or None with two classes) and the components,
        each higher = more suspect (see ``components``); neighbour and prototype columns only with ``features``.

    Raises:
        RankingError: an unusable argument, named in the message.
    """
    codes, names = check_given(given, classes)
    if features is None and logits is None and probabilities is None:
        raise RankingError("rank_labels needs features, logits or probabilities")
    if logits is not None and probabilities is not None:
        raise RankingError("logits and probabilities were both given; pass only one of them")
    published: FloatArray | None = None
    if logits is not None:
        published = components.log_probabilities(check_matrix(logits, "logits", len(codes), len(names)), None)
    if probabilities is not None:
        table = check_matrix(probabilities, "probabilities", len(codes), len(names))
        if (table < 0).any() or (table.sum(axis=1) <= 0).any():
            raise RankingError("probabilities holds negative numbers or rows without any mass")
        published = components.log_probabilities(None, table)
    votes: list[FloatArray] = [] if published is None else [tempered(published, codes)[0]]
    extra: dict[str, FloatArray] = {}
    if features is not None:
        matrix = check_matrix(features, "features", len(codes))
        index = make_folds(codes, seed) if folds is None else check_folds(folds, len(codes))[0]
        votes += _feature_votes(matrix, codes, len(names), index, extra)
    fusion = fuse(np.stack(votes), codes)
    # The single scores describe one model: the caller's predictions if there are any, else the probe.
    return _frame(fusion, votes[0], codes, names, extra)


def _feature_votes(
    features: FloatArray, codes: IntArray, classes: int, folds: IntArray, extra: dict[str, FloatArray]
) -> list[FloatArray]:
    basis = make_basis(features)
    targets = np.eye(classes, dtype=np.float32)[codes]
    probe = log_softmax(held_out(basis, targets, targets, folds).logits)
    discriminant = held_out_discriminant(basis.points, codes, classes, folds)
    shares = neighbour_probabilities(find_neighbours(basis.points, NEIGHBOURS), targets)
    extra["neighbour_vote"] = components.neighbour_vote(shares, codes)
    extra["neighbour_margin"] = components.neighbour_margin(shares, codes)
    extra["prototype_margin"] = components.prototype_margin(basis.points, codes, classes)
    return [probe, discriminant, np.log(np.maximum(shares, 1e-9))]


def _frame(
    fusion: Fusion, log_p: FloatArray, codes: IntArray, names: list[Any], extra: dict[str, FloatArray]
) -> pd.DataFrame:
    rows = np.arange(len(codes))
    suspicion = 1 - fusion.posterior[rows, codes].astype(np.float64)
    order = np.argsort(-suspicion, kind="stable")
    rank = np.empty(len(codes), dtype=np.int64)
    rank[order] = rows + 1
    others = fusion.clean.copy()
    others[rows, codes] = -1
    best = others.argsort(axis=1, kind="stable")[:, ::-1]
    labels = np.array(names, dtype=object)
    runner_up = labels[best[:, 1]] if len(names) > 2 else np.full(len(codes), None, dtype=object)
    return pd.DataFrame(
        {
            "suspicion": suspicion,
            "rank": rank,
            "suggested": labels[best[:, 0]],
            "suggested_probability": fusion.clean[rows, best[:, 0]].astype(np.float64),
            "given_probability": fusion.clean[rows, codes].astype(np.float64),
            "runner_up": runner_up,
            "self_confidence": components.self_confidence(log_p, codes),
            "log_margin": components.log_margin(log_p, codes),
            "adjusted_margin": components.adjusted_margin(log_p, codes),
            "cwe": components.cwe(log_p, codes),
            "mistakenness": components.mistakenness(log_p, codes),
            **extra,
        }
    )
