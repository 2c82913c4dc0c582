"""How likely each given label is wrong, and whether a model knows the labels by heart and so has no vote."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from gradattn_core.errors import RankingError
from gradattn_core.ranking import formulas
from gradattn_core.ranking.arguments import Arguments, in_order, numbers_of, read_arguments, row_names
from gradattn_core.ranking.arrays import Table, log_softmax
from gradattn_core.ranking.caller import (
    AXES,
    CentredLogarithms,
    caller_predictor,
    dealt,
    doubts_of_few,
    lone_predictor,
    spread,
    teaches,
)
from gradattn_core.ranking.copies import Copies, find_copies, judged_jointly, once_each
from gradattn_core.ranking.discriminant import fit_discriminant
from gradattn_core.ranking.few import cut_short, overlap_factor
from gradattn_core.ranking.folds import LISTED, dependent_groups, group_folds
from gradattn_core.ranking.fusion import TEMPER, Fusion, fuse, rarity, sharpened
from gradattn_core.ranking.inputs import check_folds, check_given, check_seed, values_of
from gradattn_core.ranking.likely import Judgement, Likely
from gradattn_core.ranking.linear import Basis, FoldClassifiers, make_basis
from gradattn_core.ranking.neighbours import Neighbours, find_neighbours, neighbour_probabilities
from gradattn_core.ranking.probe import ProbeFit, fit_probe
from gradattn_core.ranking.shortlist import Predictor, Shortlist, likeliest
from gradattn_core.ranking.verdicts import Known, check_known
from gradattn_core.records import FloatArray, IntArray

VOTING = 20
"""Neighbours that vote; twice as many are looked up, because near-duplicates do not vote."""
REFITS, REFITS_OF_RARE, REFITS_OF_HANDFULS = 2, 4, 1
"""How often the voters are fitted anew; what a rare class has lost to a common one takes longer to come out. Which of
thousands of classes of a handful of pictures are rare is chance."""
AGREEING = 0.95
"""Share of all labels that a model must name to be thought to know them by heart."""
DOUBTED, DOUBTED_SHARE = 30, 0.02
"""How many labels, and what share of all, must be in doubt to tell: of a few, or of the one or two that are among a
hundred clean labels, a fair model may name many."""
KNOWN = 0.9
"""Share of the labels in doubt that it must name besides: a model that was trained on the labels until it agreed
with nearly all of them names the wrong ones too (docs/ranking.md), a fair one can name most of what is clean."""


def rank_labels(
    given: Any,
    features: ArrayLike | None = None,
    logits: ArrayLike | None = None,
    probabilities: ArrayLike | None = None,
    classes: Any = None,
    folds: ArrayLike | None = None,
    seed: int = 0,
    copies: Any = None,
    device: str = "cpu",
) -> pd.DataFrame:
    """How suspect each given label is, and which label the image should have.

    Args:
        given: [N] labels, text or integers. A Series and frames with the same index are brought into its order.
        features: [N, D] of a frozen model; the more depths joined the better.
        logits: [N, K] out-of-sample logits, columns in the order of ``classes``; those of a frame by their names.
        probabilities: the same as probabilities, whose rows sum to 1 but for rounding; at most one of the two.
        classes: the K labels in column order; by default the sorted distinct given labels.
        folds: [N] integers; images of one number are judged together. When absent, stratified folds that keep
            near-duplicates together are made, which is worth much where errors come in near-duplicates.
        seed: shuffles the folds when ``folds`` is absent.
        copies: [N] the same value, such as a hash, for exact copies of one picture; by default images of the same
            features. Copies are evidence once. Under several labels at most one of these is right: their
            1 − ``suspicion`` add up to at most 1, and none of them teaches that these classes are confused.
        device: a GPU that comparisons and probe of many images may use, as torch calls it; ``auto`` is the first usable
            one. It compares each image with each; the rest differs by rounding alone.

    Returns:
        One row per image in input order, under the index of ``given`` or else of the tables if it has one:
        ``suspicion`` in [0, 1] (probability that the given label is wrong), ``rank``
        (1 = most suspect, ties by input order), ``suggested_label`` (likeliest other label),
        ``suggested_probability``, ``given_probability``, ``runner_up_label`` (second likeliest other label, or None
        with two classes), ``runner_up_probability`` (0 with two classes), the probability that the label is wrong if
        the label noise is as fitted (``class_noise_suspicion``) and if annotators err where the model doubts
        (``instance_noise_suspicion``: 1 − ``given_probability``), both in [0, 1], and the components, each higher =
        more suspect, of the fused prediction before the given label is looked at (see ``formulas``); neighbour and
        prototype columns only with ``features``. An image that is alone in its class, or whose class lies in one fold,
        can be neither confirmed nor refuted: its suspicion is the mean over the others.

    Raises:
        RankingError: an unusable argument, named in the message.
    """
    return judge_labels(given, features, logits, probabilities, classes, folds, seed, copies, device).frame


def judge_labels(
    given: Any,
    features: ArrayLike | None = None,
    logits: ArrayLike | None = None,
    probabilities: ArrayLike | None = None,
    classes: Any = None,
    folds: ArrayLike | None = None,
    seed: int = 0,
    copies: Any = None,
    device: str = "cpu",
) -> Judgement:
    """:func:`rank_labels`, and which classes its voters find likeliest."""
    seed = check_seed(seed)
    arguments = read_arguments(given, features, logits, probabilities, classes, folds, copies)
    judged = _judged(arguments, logits is not None, seed, device)
    frame = _frame(judged, arguments.names)
    if arguments.index is not None:
        frame = frame.set_axis(arguments.index, axis=0)
    return Judgement(frame, Likely(judged.shortlist, judged.fusion.log_clean, np.array(arguments.names, dtype=object)))


_BELIEFS = ("suspicion", "class_noise", "instance_noise")


@dataclass(frozen=True, slots=True)
class _Judged:
    """What is believed of each label.

    Attributes:
        suspicion, class_noise, instance_noise: [N] in [0, 1].
        order: [N] the most suspect has the greatest.
        shares, points: [N, C] votes of the neighbours and [N, d] principal axes, where there are features.
    """

    fusion: Fusion
    shortlist: Shortlist
    suspicion: NDArray[np.float64]
    class_noise: NDArray[np.float64]
    instance_noise: NDArray[np.float64]
    order: NDArray[np.float64]
    shares: FloatArray | None = None
    points: FloatArray | None = None


def _judged(arguments: Arguments, logits: bool, seed: int, device: str) -> _Judged:
    """Every picture once; one of several labels under that of these which is likeliest."""
    copies = find_copies(arguments)
    if copies is None:
        return _judged_once(arguments, logits, seed, device)
    labels = copies.labels(arguments.codes)
    if arguments.features is not None and (labels == labels[0]).all():
        # No two pictures of different labels, as where all are copies of one: nothing tells which label is right.
        judged, least = _judged_once(arguments, logits, seed, device), copies.least_doubt
        doubts = {name: np.maximum(getattr(judged, name), least) for name in _BELIEFS}
        return replace(judged, **doubts, order=doubts["suspicion"])
    judged = _judged_once(once_each(arguments, copies, labels), logits, seed, device)
    likelier = copies.likeliest(judged_jointly(judged.fusion, judged.shortlist, copies), judged.shortlist, labels)
    if (likelier != labels).any() and (likelier != likelier[0]).any():
        judged = _judged_once(once_each(arguments, copies, likelier), logits, seed, device)
    return _of_all_copies(judged, copies, arguments.codes)


def _judged_once(arguments: Arguments, logits: bool, seed: int, device: str) -> _Judged:
    codes, classes = arguments.codes, len(arguments.names)
    if arguments.features is None:
        return _judged_by_predictions(arguments, logits, seed, device)
    caller = None if arguments.predictions is None else caller_predictor(arguments.predictions, logits, codes)
    voters = prepare(arguments.features, codes, classes, caller, arguments.folds, seed, device=device)
    first = voters.first()
    fusion = denoise(voters, first).fusion
    shares = voters.neighbours_vote(fusion.posterior)
    unjudgeable = _unjudgeable(codes, voters.fold_index) & (caller is None)
    factor = overlap_factor(first.log_clean, voters.shortlist)
    judged = _believed(fusion, voters.shortlist, unjudgeable, factor)
    return replace(judged, shares=shares, points=voters.basis.points)


def _judged_by_predictions(arguments: Arguments, logits: bool, seed: int, device: str) -> _Judged:
    """Of the caller's predictions alone. Where there are enough, their logarithms are features of the images.

    What a model says of all classes tells more of an image than what it says of the given one: discriminant and probe
    learn from it how a class is usually seen, and vote beside the predictions. Neighbours have no vote: images of which
    a model says the same need not be alike, and of rounded numbers most distances are ties.
    """
    codes, classes, table = arguments.codes, len(arguments.names), arguments.predictions
    assert table is not None
    caller = lone_predictor(table, logits, codes)
    taught = teaches(codes, classes)
    if taught:
        seen, said = CentredLogarithms(caller, (len(codes), classes)), spread(caller, classes)
        voters = prepare(seen, codes, classes, said, arguments.folds, seed, AXES, False, device)
    shortlist = voters.shortlist if taught else likeliest(caller, codes, classes)
    fusion = fuse(shortlist.take_all(caller)[None], shortlist)
    if taught and voters.basis.points.shape[1]:
        lost = _unjudgeable(codes, voters.fold_index)
        fusion = denoise(voters, voters.first()).fusion.instead(fusion, lost)
    others = np.where(shortlist.index == shortlist.given[:, None], 0, fusion.posterior).sum(axis=1, dtype=np.float64)
    own = fusion.posterior[shortlist.rows, shortlist.own].astype(np.float64)
    order = doubts_of_few(_odds(others, own), caller, codes, classes)
    judged = _believed(fusion, shortlist, np.zeros(len(codes), dtype=bool))
    # As many are as suspect as before, but others.
    return replace(judged, suspicion=dealt(judged.suspicion, order), order=order)


def _odds(wrong: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.log(np.maximum(wrong, 1e-300)) - np.log(np.maximum(right, 1e-300)))


def _believed(
    fusion: Fusion,
    shortlist: Shortlist,
    unjudgeable: NDArray[np.bool_],
    factor: NDArray[np.float64] | None = None,
) -> _Judged:
    rows, own = shortlist.rows, shortlist.own
    wrong = fusion.posterior.sum(axis=1, dtype=np.float64) - fusion.posterior[rows, own]
    suspicion = np.clip(wrong, 0, 1)
    class_noise = np.clip(1 - fusion.trust.astype(np.float64), 0, 1)
    instance_noise = np.clip(1 - fusion.clean[rows, own].astype(np.float64), 0, 1)
    if factor is not None:
        suspicion, class_noise = suspicion * factor, class_noise * factor
    if unjudgeable.any():
        for belief in (suspicion, class_noise, instance_noise):
            belief[unjudgeable] = belief[~unjudgeable].mean() if not unjudgeable.all() else 0.5
    return _Judged(fusion, shortlist, suspicion, class_noise, instance_noise, suspicion)


def _of_all_copies(judged: _Judged, copies: Copies, codes: IntArray) -> _Judged:
    """What was found of every picture, said of all its copies: each label of a disputed one by itself."""
    place, rows = copies.place, np.arange(len(codes))
    by_share = judged.order is judged.suspicion
    index, fusion = judged.shortlist.index[place], judged.fusion
    posterior, fitted = (judged_jointly(fusion, judged.shortlist, copies, power)[place] for power in (TEMPER, 1.0))
    log_clean, clean = fusion.log_clean[place], fusion.clean[place]
    absent = np.flatnonzero((index != codes[:, None]).all(axis=1))
    if len(absent):
        # Another label of the picture is not even weighed: it takes the place of the least likely class.
        least = log_clean[absent].argmin(axis=1)
        index[absent, least] = codes[absent]
        for table in (posterior, fitted, clean):
            table[absent, least] = 0
    own = (index == codes[:, None]).argmax(axis=1)
    disputed = copies.in_dispute[place]

    def instead(belief: NDArray[np.float64], right: FloatArray) -> NDArray[np.float64]:
        return np.where(disputed, np.clip(1 - right.astype(np.float64), 0, 1), belief[place])

    suspicion = instead(judged.suspicion, posterior[rows, own])
    order = suspicion if by_share else np.where(disputed, _odds(suspicion, 1 - suspicion), judged.order[place])
    return _Judged(
        replace(fusion, log_clean=log_clean, clean=clean, posterior=posterior),
        Shortlist(index, own, judged.shortlist.classes),
        suspicion,
        instead(judged.class_noise, fitted[rows, own]),
        instead(judged.instance_noise, clean[rows, own]),
        order,
        None if judged.shares is None else judged.shares[place],
        None if judged.points is None else judged.points[place],
    )


def knows_by_heart(given: Any, predicted: Any, features: ArrayLike, classes: Any = None, seed: int = 0) -> bool:
    """Whether a model names the given label even where it is most likely wrong.

    A discriminant on ``features`` that has not seen an image's label tells which labels are more likely wrong than
    right. A fair model names few of those. One trained on these very labels names them all, and what it says of any
    label is worth nothing. A model that knows only part of them is not found out.

    Args:
        given: [N] labels; predicted: [N] the model's best class of each image.
        features: [N, D], of a depth that knows the labels least: the shallowest there is.
        classes: the labels in column order; by default the sorted distinct given ones.
        seed: shuffles the folds.

    Raises:
        RankingError: an unusable argument, named in the message.
    """
    seed = check_seed(seed)
    codes, names = check_given(given, classes)
    index = row_names(given, features=features, predicted=predicted)
    matrix = numbers_of(in_order(features, "features", index), "features", len(codes))
    named = values_of(in_order(predicted, "predicted", index), "predicted")
    if len(named) != len(codes):
        raise RankingError(f"predicted holds {len(named)} labels, but given has {len(codes)}: one for each image")
    agreeing = np.array([label == other for label, other in zip(values_of(given, "given"), named, strict=True)])
    if agreeing.mean() < AGREEING:
        return False
    points = make_basis(matrix).points
    folds = group_folds(codes, np.arange(len(codes)), seed)
    discriminant = fit_discriminant(points, codes, len(names), folds)
    shortlist = likeliest(discriminant.logits, codes, len(names))
    fusion = fuse(discriminant.log_p(shortlist)[None], shortlist)
    in_doubt = fusion.posterior[shortlist.rows, shortlist.own] < 0.5
    enough = in_doubt.sum() >= max(DOUBTED, DOUBTED_SHARE * len(codes))
    return bool(enough and agreeing[in_doubt].mean() >= KNOWN)


def _sum_log_p(discriminant: FoldClassifiers, caller: Predictor | None, rows: slice) -> FloatArray:
    table = log_softmax(discriminant.logits(rows))
    return table if caller is None else table + caller(rows)


@dataclass(frozen=True, slots=True)
class Voters:
    """What of the voters no trust in the labels changes: features, who is like whom, folds, and which classes count.

    Attributes:
        basis: of the features.
        neighbours, groups: of each image, if they vote, and its group of near-duplicates [N].
        fold_index: [N].
        shortlist: with the given labels, and what reviewers know.
        caller: [N, C] log p of the caller's own predictions, as a voter; empty where there are none.
        said: the labels that train.
        discriminant: fitted with every image weighing the same.
        device: a GPU that computes a dear probe.
    """

    basis: Basis
    neighbours: Neighbours | None
    groups: IntArray
    fold_index: IntArray
    shortlist: Shortlist
    caller: tuple[FloatArray, ...]
    said: Known
    discriminant: FoldClassifiers
    device: str = "cpu"

    def neighbours_vote(self, labels: FloatArray) -> FloatArray:
        """p(class) [N, C] by the ``labels`` [N, C] of the nearest images that are no near-duplicates."""
        assert self.neighbours is not None, "nobody knows the neighbours"
        return neighbour_probabilities(self.neighbours, labels, self.shortlist, self.groups, VOTING)

    def first(self) -> Fusion:
        """The discriminant alone (and the caller's predictions): it forgives wrong labels best."""
        votes = np.stack([*self.caller, self.discriminant.log_p(self.shortlist)])
        fusion = fuse(votes, self.shortlist)
        return sharpened(fusion, votes, self.shortlist) if rarity(self.shortlist).max() > 0 else fusion


@dataclass(frozen=True, slots=True)
class Denoised:
    """The fused judgement, and the probe that was part of it."""

    fusion: Fusion
    probe: ProbeFit


def prepare(
    features: Table,
    codes: IntArray,
    classes: int,
    caller: Predictor | None,
    folds: ArrayLike | None,
    seed: int,
    axes: int | None = None,
    alike: bool = True,
    device: str = "cpu",
) -> Voters:
    """The voters before they have been denoised; arguments as :func:`rank_labels` has checked them.

    Args:
        axes: how many principal axes are kept at most.
        alike: whether neighbours vote, and near-duplicates are kept together.
        device: a GPU for what is dear.
    """
    basis = make_basis(features, axes)
    neighbours, groups = None, np.arange(len(codes))
    if alike:
        neighbours = find_neighbours(basis.points, LISTED, device=device)
        groups = dependent_groups(basis.points, neighbours, codes, seed)
    fold_index = group_folds(codes, groups, seed) if folds is None else check_folds(folds, len(codes))[0]
    discriminant = fit_discriminant(basis.points, codes, classes, fold_index)
    shortlist = likeliest(partial(_sum_log_p, discriminant, caller), codes, classes)
    votes = () if caller is None else (shortlist.take_all(caller),)
    said = check_known(None, codes, classes)
    return Voters(basis, neighbours, groups, fold_index, shortlist, votes, said, discriminant, device)


def denoise(voters: Voters, fusion: Fusion, probe: ProbeFit | None = None, rounds: int | None = None) -> Denoised:
    """Discriminant, probe and neighbours, again and again with every image weighing what its label is trusted.

    Args:
        fusion: gives the first trust.
        probe: of an earlier call, whose penalty is kept.
        rounds: at least one; by default ``REFITS``, ``REFITS_OF_RARE`` where there is a rare class, or
            ``REFITS_OF_HANDFULS`` where fits are cut short.
    """
    said, shortlist = voters.said, voters.shortlist
    usual = REFITS_OF_RARE if rarity(shortlist).max() > 0 else REFITS
    if cut_short(len(shortlist.own), shortlist.classes, voters.basis.points.shape[1]):
        usual = REFITS_OF_HANDFULS
    for _ in range(usual if rounds is None else rounds):
        trust = said.weight(fusion.trust)
        discriminant = fit_discriminant(voters.basis.points, said.labels, shortlist.classes, voters.fold_index, trust)
        probe = fit_probe(voters.basis, said.labels, shortlist.classes, voters.fold_index, trust, probe, voters.device)
        votes = [*voters.caller, discriminant.log_p(shortlist), probe.classifiers.log_p(shortlist)]
        if voters.neighbours is not None:
            votes.append(np.log(np.maximum(voters.neighbours_vote(fusion.posterior), 1e-9)))
        together = np.stack(votes)
        # Of a million images each is hundreds of megabytes, and no more asked.
        del votes, fusion
        fusion = fuse(together, shortlist)
    assert probe is not None, "no round"
    return Denoised(fusion, probe)


def _unjudgeable(codes: IntArray, fold_index: IntArray) -> NDArray[np.bool_]:
    """Images whose class has no image in any other fold: nothing can confirm or refute their label."""
    table = np.zeros((int(fold_index.max()) + 1, int(codes.max()) + 1), dtype=np.int64)
    np.add.at(table, (fold_index, codes), 1)
    return np.asarray(table[fold_index, codes] == table.sum(axis=0)[codes])


def _frame(judged: _Judged, names: list[Any]) -> pd.DataFrame:
    fusion, shortlist = judged.fusion, judged.shortlist
    rows, own, classes = shortlist.rows, shortlist.own, shortlist.classes
    extra = {}
    if judged.shares is not None and judged.points is not None:
        extra = {
            "neighbour_vote": formulas.neighbour_vote(judged.shares, own),
            "neighbour_margin": formulas.neighbour_margin(judged.shares, own),
            "prototype_margin": formulas.prototype_margin(judged.points, shortlist.given.astype(np.int64), classes),
        }
    log_p = np.log(np.maximum(fusion.clean, 1e-12))
    rank = np.empty(len(rows), dtype=np.int64)
    rank[np.argsort(-judged.order, kind="stable")] = rows + 1
    others = fusion.log_clean.copy()
    others[rows, own] = -np.inf
    best = (-others).argsort(axis=1, kind="stable")
    labels = np.array(names, dtype=object)[shortlist.index[rows[:, None], best[:, :2]]]
    several = classes > 2
    runner_up = labels[:, 1] if several else np.full(len(rows), None, dtype=object)
    runner_up_probability = fusion.clean[rows, best[:, 1]] if several else np.zeros(len(rows))
    return pd.DataFrame(
        {
            "suspicion": judged.suspicion,
            "rank": rank,
            "suggested_label": labels[:, 0],
            "suggested_probability": fusion.clean[rows, best[:, 0]].astype(np.float64),
            "given_probability": fusion.clean[rows, own].astype(np.float64),
            "runner_up_label": runner_up,
            "runner_up_probability": runner_up_probability.astype(np.float64),
            "class_noise_suspicion": judged.class_noise,
            "instance_noise_suspicion": judged.instance_noise,
            "self_confidence": formulas.self_confidence(log_p, own),
            "log_margin": formulas.log_margin(log_p, own),
            "adjusted_margin": formulas.adjusted_margin(log_p, own, shortlist),
            "cwe": formulas.cwe(log_p, own, classes),
            "mistakenness": formulas.mistakenness(log_p, own, classes),
            **extra,
        }
    )
