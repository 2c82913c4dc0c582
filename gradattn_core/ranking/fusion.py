"""Fuse several held-out opinions into the posterior of the true class, learning from the given labels alone.

Noise model: p(given = g | x) = Σ_t T[t, g] · q_t(x) with q = softmax(Σ_v a_v · log p_v). The reliabilities a_v ≥ 0 and
the class-conditional noise T are those under which the given labels are likeliest (EM over the unknown true class).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import scipy
from numpy.typing import NDArray

from gradattn_core.ranking.arrays import sample_rows, softmax
from gradattn_core.ranking.shortlist import Shortlist
from gradattn_core.records import FloatArray, IntArray

ROUNDS = 100
TOLERANCE = 1e-5
"""EM ends when a round improves the mean log-likelihood by less."""
TEMPER = 0.7
"""Power of T in the reported posterior. Real annotators err where a picture is ambiguous, which a class-conditional T
cannot say: taken at full strength it trusts labels too much there. A tempered likelihood is the usual remedy for such a
misspecified model ("safe Bayes", Grünwald & van Ommen 2017); 1 would suit noise that ignores the picture. The value
was chosen by calibration on labelled development sets (docs/ranking.md)."""
LEAST = np.float32(1e-9)
"""Probability of a confusion that a reviewer has seen, however unlikely T finds it."""
PRIOR_CLASSES = 1.0
"""How strongly a class's share of wrong labels is drawn to the overall share, in average class sizes."""
RARE, USUAL, RARE_IMAGES = 0.55, 0.75, 0.5
"""A class of less than ``RARE`` average sizes is drawn by as much as ``RARE_IMAGES`` weigh, one of ``USUAL`` or more as
said above. As strong a prior as an average class hides that a third of a rare class was filed under a common one."""
SHARPER, SHARPER_ROUNDS = 2.0, 5
"""How much surer than fitted the voters are taken to be, and rounds of T, for the first trust where a class is rare."""
PRIOR_ERRORS = 5.0
"""How strongly the way a class's wrong labels spread is drawn to an even spread, in wrong labels. Where few labels seem
wrong, T would otherwise follow chance, and log T[t, given] would disturb an order that the voters alone get right."""
AGREEMENT = 0.05
"""Penalty, in nats per image, on the squared part of the reliabilities that is not in proportion to what each voter
alone knows. Errors that follow from the picture are predictable, so likelihood rewards the voter that learns them best
and silences the others."""


@dataclass(frozen=True, slots=True)
class Fusion:
    """The fused judgement, at the classes on each image's shortlist.

    Attributes:
        weights: [V] reliability a_v of each voter, >= 0.
        noise: [K, K] T[true, given], rows sum to 1.
        log_clean: [N, C] log q but for a constant per image: it still orders classes whose q is too small for a float.
        clean: [N, C] q: p(true class | x) before the given label is looked at.
        trust: [N] p(given label is right | x, given label) under T as fitted: the weight of the image in the next fit.
        posterior: [N, C] p(true class | x, given label) ∝ q · T[·, given] ** TEMPER.
        log_loss: mean −log p(given | x), in nats.
    """

    weights: FloatArray
    noise: FloatArray
    log_clean: FloatArray
    clean: FloatArray
    trust: FloatArray
    posterior: FloatArray
    log_loss: float

    def instead(self, other: Fusion, rows: NDArray[np.bool_]) -> Fusion:
        """This judgement, with that of ``other`` on the same shortlist where ``rows`` [N] is true."""
        if not rows.any():
            return self
        names = ("log_clean", "clean", "posterior")
        tables = {name: np.where(rows[:, None], getattr(other, name), getattr(self, name)) for name in names}
        return replace(self, **tables, trust=np.where(rows, other.trust, self.trust))


def _log_clean(votes: FloatArray, weights: NDArray[np.float64]) -> FloatArray:
    return np.asarray(np.tensordot(weights.astype(np.float32), votes, axes=1))


def _clean(votes: FloatArray, weights: NDArray[np.float64]) -> FloatArray:
    return softmax(_log_clean(votes, weights))


@dataclass(frozen=True, slots=True)
class _Pairs:
    """The pairs of a true and a given class that T is asked for: all K², or those that occur where these are fewer.

    Of thousands of classes a handful of images each, nearly none of all pairs is on a shortlist; going over all of them
    in every round would take most of the time.

    Attributes:
        true, given: [P] of each pair, ascending.
        place: [N, C] the pair of each shortlisted class with the given one; None where all K² are numbered in order.
    """

    true: NDArray[np.int32]
    given: NDArray[np.int32]
    place: IntArray | None

    @staticmethod
    def of(shortlist: Shortlist) -> _Pairs:
        classes = shortlist.classes
        if classes**2 <= shortlist.index.size:
            every = np.arange(classes, dtype=np.int32)
            return _Pairs(np.repeat(every, classes), np.tile(every, classes), None)
        occurring, place = np.unique(_numbers(shortlist.index, shortlist.given[:, None], classes), return_inverse=True)
        true, given = (part.astype(np.int32) for part in np.divmod(occurring, classes))
        return _Pairs(true, given, place.reshape(shortlist.index.shape))

    def counts(self, table: FloatArray, shortlist: Shortlist) -> NDArray[np.float64]:
        """[P] the sums of ``table`` [N, C]."""
        counts, given = np.zeros(len(self.true)), shortlist.given
        for column, share in enumerate(table.T):
            if self.place is None:
                pairs = _numbers(shortlist.index[:, column], given, shortlist.classes)
            else:
                pairs = self.place[:, column]
            counts += np.bincount(pairs, share, minlength=len(counts))
        return counts

    def by_true(self, counts: NDArray[np.float64], classes: int) -> NDArray[np.float64]:
        """[K] the sums of ``counts`` [P] over the given classes."""
        if self.place is None:
            return np.asarray(counts.reshape(classes, classes).sum(axis=1))
        return np.bincount(self.true, counts, minlength=classes).astype(np.float64, copy=False)


def _numbers(true: NDArray[np.int32], given: NDArray[np.int32], classes: int) -> IntArray:
    return np.asarray(true.astype(np.int64) * classes + given)


@dataclass(frozen=True, slots=True)
class _Noise:
    """T[true, given] ``at`` the pairs [P]; of each class [K] its ``rate`` of errors, and its T ``elsewhere``."""

    pairs: _Pairs
    at: FloatArray
    rate: NDArray[np.float64]
    elsewhere: NDArray[np.float64]

    def matrix(self) -> FloatArray:
        """[K, K], rows sum to 1."""
        classes = len(self.rate)
        if self.pairs.place is None:
            return self.at.reshape(classes, classes)
        table = np.repeat(self.elsewhere.astype(np.float32)[:, None], classes, axis=1)
        np.fill_diagonal(table, 1 - self.rate)
        table[self.pairs.true, self.pairs.given] = self.at
        return table

    def likelihood(self, shortlist: Shortlist, power: float = 1.0) -> FloatArray:
        """T[t, given] ** ``power`` of the classes t on each image's shortlist, [N, C]; 0 where reviewers know that it
        is not t."""
        at = self.at if power == 1 else self.at**power
        if self.pairs.place is None:
            classes = shortlist.classes
            likelihood = at.reshape(classes, classes)[shortlist.index, shortlist.given[:, None]]
        else:
            likelihood = at[self.pairs.place]
        return likelihood if shortlist.possible is None else np.maximum(likelihood, LEAST) * shortlist.possible


def _posterior(clean: FloatArray, likelihood: FloatArray) -> tuple[FloatArray, float]:
    joint = clean * likelihood
    evidence = joint.sum(axis=1, keepdims=True)
    if not evidence.all():
        # The voters leave no probability to anything that reviewers, or T, allow.
        lost = evidence[:, 0] == 0
        joint[lost] = likelihood[lost]
        evidence[lost] = joint[lost].sum(axis=1, keepdims=True)
    joint /= evidence
    return joint, -float(np.log(evidence).mean(dtype=np.float64))


def _estimate_noise(posterior: FloatArray, pairs: _Pairs, shortlist: Shortlist) -> _Noise:
    """T from the expected counts, its error rates and its error profiles each under their own prior."""
    classes, true = shortlist.classes, pairs.true
    counts = pairs.counts(posterior, shortlist)
    images = pairs.by_true(counts, classes)
    right = true == pairs.given
    counts[right] = 0
    errors = pairs.by_true(counts, classes)
    strength = _prior_strength(shortlist)
    rate = np.clip((errors + strength * errors.sum() / images.sum()) / (images + strength), 0, 1)
    profile = (counts + PRIOR_ERRORS / (classes - 1)) / (errors + PRIOR_ERRORS)[true]
    at = rate[true] * profile
    at[right] = 1 - rate[true[right]]
    elsewhere = rate * (PRIOR_ERRORS / (classes - 1)) / (errors + PRIOR_ERRORS)
    return _Noise(pairs, at.astype(np.float32), rate, elsewhere)


def rarity(shortlist: Shortlist) -> NDArray[np.float64]:
    """[K] from 0, a class of usual size, to 1, a rare one or one without images."""
    sizes = np.bincount(shortlist.given, minlength=shortlist.classes)
    average = len(shortlist.own) / max(int((sizes > 0).sum()), 1)
    return np.asarray(np.clip((USUAL - sizes / average) / (USUAL - RARE), 0, 1))


def _prior_strength(shortlist: Shortlist) -> NDArray[np.float64]:
    """[K] in images. Where many classes are rare the others are drawn less too: there is no overall share then."""
    usual = PRIOR_CLASSES * len(shortlist.own) / shortlist.classes
    rare = rarity(shortlist)
    degree = np.maximum(rare, rare.mean())
    return np.asarray(usual ** (1 - degree) * min(RARE_IMAGES, usual) ** degree)


def _knowledge(votes: FloatArray, shortlist: Shortlist) -> NDArray[np.float64]:
    """The direction [V], of length one, of the nats by which each voter alone beats the class sizes; >= 0."""
    given = shortlist.given
    share = np.bincount(given, minlength=shortlist.classes) / len(given)
    entropy = -float(np.log(share[given]).mean())
    gain = entropy + votes[:, shortlist.rows, shortlist.own].mean(axis=1, dtype=np.float64)
    gain = np.maximum(gain, 1e-6)
    return np.asarray(gain / np.linalg.norm(gain))


def _fit_weights(
    votes: FloatArray, likelihood: FloatArray, knowledge: NDArray[np.float64], start: NDArray[np.float64]
) -> NDArray[np.float64]:
    def objective(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        clean = _clean(votes, weights)
        posterior, loss = _posterior(clean, likelihood)
        gradient = np.einsum("nk,vnk->v", clean - posterior, votes, dtype=np.float64) / len(clean)
        apart = weights - (weights @ knowledge) * knowledge
        return loss + AGREEMENT * float(apart @ apart), gradient + 2 * AGREEMENT * apart

    bounds = [(0, None)] * len(votes)
    best = scipy.optimize.minimize(
        objective, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 20}
    )
    return np.asarray(best.x)


def fuse(votes: FloatArray, shortlist: Shortlist) -> Fusion:
    """Fuse ``votes`` [V, N, C] (held-out log-probabilities at the shortlist), judged against the given labels."""
    weights = np.full(len(votes), 1 / len(votes))
    knowledge = _knowledge(votes, shortlist)
    sample = sample_rows(len(shortlist.own), votes.shape[2])
    few_votes = votes[:, sample] if len(sample) < votes.shape[1] else votes
    pairs = _Pairs.of(shortlist)
    clean = _clean(votes, weights)
    noise = _estimate_noise(clean, pairs, shortlist)
    likelihood, previous = noise.likelihood(shortlist), np.inf
    for _ in range(ROUNDS):
        posterior, loss = _posterior(clean, likelihood)
        if previous - loss < TOLERANCE:
            break
        previous = loss
        noise = _estimate_noise(posterior, pairs, shortlist)
        likelihood = noise.likelihood(shortlist)
        weights = _fit_weights(few_votes, likelihood[sample], knowledge, weights)
        clean = _clean(votes, weights)
    posterior, loss = _posterior(clean, likelihood)
    trust = posterior[shortlist.rows, shortlist.own]
    # Of a million images each table is a hundred megabytes.
    del posterior, likelihood, few_votes
    posterior = _posterior(clean, noise.likelihood(shortlist, TEMPER))[0]
    return Fusion(
        weights=weights.astype(np.float32),
        noise=noise.matrix(),
        log_clean=_log_clean(votes, weights),
        clean=clean,
        trust=trust,
        posterior=posterior,
        log_loss=loss,
    )


def sharpened(fusion: Fusion, votes: FloatArray, shortlist: Shortlist) -> Fusion:
    """``fusion`` of ``votes`` with the trust and the posterior of voters ``SHARPER`` times as sure.

    Voters have learnt from the given labels that a picture of a rare class may bear the label of a common one, and
    explain its wrong labels by doubt. So doubt is left out of the trust that they are fitted to next; T follows.
    """
    clean = _clean(votes, fusion.weights.astype(np.float64) * SHARPER)
    posterior, pairs = clean, _Pairs.of(shortlist)
    for _ in range(SHARPER_ROUNDS):
        noise = _estimate_noise(posterior, pairs, shortlist)
        posterior = _posterior(clean, noise.likelihood(shortlist))[0]
    return replace(fusion, trust=posterior[shortlist.rows, shortlist.own], posterior=posterior)
