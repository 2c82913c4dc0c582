"""Order images by how likely their given label is wrong."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from gradattn_core.errors import RankingError
from gradattn_core.ranking import formulas
from gradattn_core.ranking.blocks import row_blocks, sample_rows
from gradattn_core.ranking.discriminant import held_out_discriminant
from gradattn_core.ranking.folds import LISTED, dependent_groups, group_folds
from gradattn_core.ranking.fusion import Fusion, fuse
from gradattn_core.ranking.inputs import IntArray, check_folds, check_given, check_matrix
from gradattn_core.ranking.linear import Basis, HeldOut, log_softmax, make_basis, temperature
from gradattn_core.ranking.neighbours import find_neighbours, neighbour_probabilities
from gradattn_core.ranking.probe import held_out_probe
from gradattn_core.ranking.shortlist import Candidates, Opinion, likeliest
from gradattn_core.records import FloatArray

VOTING = 20
"""Neighbours that vote; twice as many are looked up, because near-duplicates do not vote."""
REFITS = 2


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
        folds: [N] integers; images of one number are judged together. When absent, stratified folds that keep
            near-duplicates together are made, which is worth much where errors come in near-duplicates.
        seed: shuffles the folds when ``folds`` is absent.

    Returns:
        One row per image in input order: ``suspicion`` in [0, 1] (probability that the given label is wrong), ``rank``
        (1 = most suspect, ties by input order), ``suggested_label`` (likeliest other label),
        ``suggested_probability``, ``given_probability``, ``runner_up_label`` (second likeliest other label, or None
        with two classes), ``runner_up_probability`` (0 with two classes) and the components, each higher = more
        suspect, of the fused prediction before the given label is looked at (see ``formulas``); neighbour and prototype
        columns only with ``features``. An image that is alone in its class, or whose class lies in one fold, can be
        neither confirmed nor refuted: its suspicion is the mean over the others.

    Raises:
        RankingError: an unusable argument, named in the message.
    """
    codes, names = check_given(given, classes)
    published = _published(logits, probabilities, codes, len(names))
    if features is None and published is None:
        raise RankingError("rank_labels needs features, logits or probabilities")
    if features is None:
        assert published is not None
        candidates = likeliest(published, codes, len(names))
        fusion = fuse(candidates.take_all(published)[None], candidates)
        return _frame(fusion, candidates, np.zeros(len(codes), dtype=bool), names, {})
    basis = make_basis(check_matrix(features, "features", len(codes)))
    neighbours = find_neighbours(basis.points, LISTED)
    groups = dependent_groups(basis.points, neighbours, codes, seed)
    index = group_folds(codes, groups, seed) if folds is None else check_folds(folds, len(codes))[0]
    opinion = held_out_discriminant(basis.points, codes, len(names), index)
    candidates = likeliest(partial(_mean_opinion, opinion, published), codes, len(names))
    votes = [] if published is None else [candidates.take_all(published)]

    def vote(labels: FloatArray) -> FloatArray:
        return neighbour_probabilities(neighbours, labels, candidates, groups, VOTING)

    fusion = _denoised(basis, codes, index, opinion, candidates, votes, vote)
    shares = vote(fusion.posterior)
    extra = {
        "neighbour_vote": formulas.neighbour_vote(shares, candidates.own),
        "neighbour_margin": formulas.neighbour_margin(shares, candidates.own),
        "prototype_margin": formulas.prototype_margin(basis.points, codes, len(names)),
    }
    return _frame(fusion, candidates, _unjudgeable(codes, index) & (published is None), names, extra)


def _published(
    logits: ArrayLike | None, probabilities: ArrayLike | None, codes: IntArray, classes: int
) -> Opinion | None:
    """The caller's predictions at the temperature under which the given labels are likeliest, a block at a time."""
    if logits is not None and probabilities is not None:
        raise RankingError("logits and probabilities were both given; pass only one of them")
    if logits is not None:
        table = check_matrix(logits, "logits", len(codes), classes)
        log_p = partial(formulas.log_probabilities, probabilities=None)
    elif probabilities is not None:
        table = check_matrix(probabilities, "probabilities", len(codes), classes)
        if any((table[rows] < 0).any() or (table[rows].sum(axis=1) <= 0).any() for rows in row_blocks(*table.shape)):
            raise RankingError("probabilities holds negative numbers or rows without any mass")
        log_p = partial(formulas.log_probabilities, None)
    else:
        return None
    drawn = sample_rows(len(codes), classes)
    factor = np.float32(temperature(log_p(table[drawn]), codes[drawn])[0])
    return lambda rows: log_softmax(log_p(table[rows]) * factor)


def _mean_opinion(discriminant: HeldOut, published: Opinion | None, rows: slice) -> FloatArray:
    table = log_softmax(discriminant.logits(rows))
    return table if published is None else table + published(rows)


def _denoised(
    basis: Basis,
    codes: IntArray,
    folds: IntArray,
    opinion: HeldOut,
    candidates: Candidates,
    votes: list[FloatArray],
    vote: Callable[[FloatArray], FloatArray],
) -> Fusion:
    """Discriminant, probe and neighbours, again and again with every image weighing what its label is trusted.

    The discriminant alone (and the caller's predictions) give the first trust: it forgives wrong labels best.
    """
    fusion = fuse(np.stack([*votes, opinion.log_p(candidates)]), candidates)
    probe = None
    for _ in range(REFITS):
        trust = fusion.trust
        opinion = held_out_discriminant(basis.points, codes, candidates.classes, folds, trust)
        probe = held_out_probe(basis, codes, candidates.classes, folds, trust, start=probe)
        shares = np.log(np.maximum(vote(fusion.posterior), 1e-9))
        fusion = fuse(np.stack([*votes, opinion.log_p(candidates), probe.probe.log_p(candidates), shares]), candidates)
    return fusion


def _unjudgeable(codes: IntArray, folds: IntArray) -> NDArray[np.bool_]:
    """Images whose class has no image in any other fold: nothing can confirm or refute their label."""
    table = np.zeros((int(folds.max()) + 1, int(codes.max()) + 1), dtype=np.int64)
    np.add.at(table, (folds, codes), 1)
    return np.asarray(table[folds, codes] == table.sum(axis=0)[codes])


def _frame(
    fusion: Fusion,
    candidates: Candidates,
    unjudgeable: NDArray[np.bool_],
    names: list[Any],
    extra: dict[str, FloatArray],
) -> pd.DataFrame:
    rows, own, classes = candidates.rows, candidates.own, candidates.classes
    wrong = fusion.posterior.sum(axis=1, dtype=np.float64) - fusion.posterior[rows, own]
    suspicion = np.clip(wrong, 0, 1)
    if unjudgeable.any():
        suspicion[unjudgeable] = suspicion[~unjudgeable].mean() if not unjudgeable.all() else 0.5
    log_p = np.log(np.maximum(fusion.clean, 1e-12))
    order = np.argsort(-suspicion, kind="stable")
    rank = np.empty(len(rows), dtype=np.int64)
    rank[order] = rows + 1
    others = fusion.log_clean.copy()
    others[rows, own] = -np.inf
    best = (-others).argsort(axis=1, kind="stable")
    labels = np.array(names, dtype=object)[candidates.index[rows[:, None], best[:, :2]]]
    several = classes > 2
    runner_up = labels[:, 1] if several else np.full(len(rows), None, dtype=object)
    runner_up_probability = fusion.clean[rows, best[:, 1]] if several else np.zeros(len(rows))
    return pd.DataFrame(
        {
            "suspicion": suspicion,
            "rank": rank,
            "suggested_label": labels[:, 0],
            "suggested_probability": fusion.clean[rows, best[:, 0]].astype(np.float64),
            "given_probability": fusion.clean[rows, own].astype(np.float64),
            "runner_up_label": runner_up,
            "runner_up_probability": runner_up_probability.astype(np.float64),
            "self_confidence": formulas.self_confidence(log_p, own),
            "log_margin": formulas.log_margin(log_p, own),
            "adjusted_margin": formulas.adjusted_margin(log_p, own, candidates),
            "cwe": formulas.cwe(log_p, own, classes),
            "mistakenness": formulas.mistakenness(log_p, own, classes),
            **extra,
        }
    )
