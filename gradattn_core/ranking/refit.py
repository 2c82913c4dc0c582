"""Learn from reviewers by fitting the voters again, with what was decided taken as known.

Two things are added to an image's log-odds of being wrong: what the refitted voters say more or less than they said
before anything was known, and a local term that spreads each verdict's surprise over like images of the same label.
Both are 0 where nothing is known, so no verdicts leave the audit's order as it is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit

from gradattn_core.ranking.arrays import standardisation, unit_rows
from gradattn_core.ranking.fusion import TEMPER, Fusion
from gradattn_core.ranking.inputs import check_given, check_matrix
from gradattn_core.ranking.shortlist import Shortlist
from gradattn_core.ranking.suspicion import Denoised, Voters, denoise, prepare
from gradattn_core.ranking.verdicts import check_known
from gradattn_core.records import FloatArray, IntArray

Array = NDArray[np.float64]

STRENGTH, POWER, SOFTENING = 3.0, 4, 0.3
"""Of the local term: its bound in log-odds, the power of the cosine, and the likeness that half of the bound takes."""
SUREST = 1e-6
"""Suspicions are taken as at least this and at most 1 minus this."""


@dataclass(frozen=True, slots=True)
class Refit:
    """The voters of a dataset and their judgement before anything was known, ready to be asked what verdicts change."""

    voters: Voters
    before: Denoised

    def shift(self, known: ArrayLike) -> Array:
        """[N] by how much the voters' log-odds of a wrong label change once ``known`` is known.

        Of a known image it is what the others have taught, which never saw it: as if it were not known itself. One
        round of fits, which starts from the trust of before: it orders as well as all rounds from the beginning.

        Args:
            known: [N] column of the true class, ``UNKNOWN`` or ``NONE``.

        Raises:
            RankingError: it is not one such integer per image.
        """
        shortlist = self.voters.shortlist
        said = check_known(known, shortlist.given.astype(np.int64), shortlist.classes)
        if not said.anything:
            return np.zeros(len(said.true))
        restricted = said.restrict(shortlist)
        assert restricted.possible is not None
        posterior = np.maximum(self.before.fusion.posterior, np.float32(SUREST)) * restricted.possible
        start = replace(self.before.fusion, posterior=posterior / posterior.sum(axis=1, keepdims=True))
        after = denoise(replace(self.voters, said=said, shortlist=restricted), start, self.before.probe, rounds=1)
        return _log_odds(after.fusion, shortlist) - _log_odds(self.before.fusion, shortlist)


def prepare_refit(given: Any, features: ArrayLike, classes: Any = None, seed: int = 0) -> Refit:
    """Fit the voters to labels and features as ``rank_labels`` does, which arguments see, and keep them.

    Raises:
        RankingError: an unusable argument, named in the message.
    """
    codes, names = check_given(given, classes)
    voters = prepare(check_matrix(features, "features", len(codes)), codes, len(names), None, None, seed)
    return Refit(voters, denoise(voters, voters.first()))


def local_shift(features: FloatArray, codes: IntArray, surprise: Array) -> Array:
    """[N] what verdicts on like images of the same given label add to an image's log-odds of being wrong.

    STRENGTH · Σ_j s_ij⁴ · surprise_j / (Σ_j s_ij⁴ + SOFTENING) over the reviewed images j ≠ i of the label of i, with
    s_ij the cosine of the centred, standardised features where it is positive, else 0. It lies in ±STRENGTH.

    Args:
        features: [N, D], finite.
        codes: [N] number of the given label.
        surprise: [N] verdict (1 wrong, 0 right) − suspicion; NaN where there is no verdict to learn from.
    """
    mean, scale = standardisation(features)
    unit = unit_rows((features - mean) / scale)
    shift = np.zeros(len(codes))
    judged = ~np.isnan(surprise)
    for code in np.unique(codes[judged]):
        rows = np.flatnonzero(codes == code)
        verdicts = rows[judged[rows]]
        for part in np.array_split(rows, len(rows) // 4096 + 1):
            likeness = np.maximum(unit[part] @ unit[verdicts].T, 0).astype(np.float64) ** POWER
            likeness[part[:, None] == verdicts] = 0
            shift[part] = STRENGTH * (likeness @ surprise[verdicts]) / (likeness.sum(axis=1) + SOFTENING)
    return shift


def moved(suspicion: Array, shift: Array) -> Array:
    """``suspicion`` in [0, 1] with log-odds changed by ``shift``; a shift of 0 leaves it exactly as it is."""
    odds = expit(logit(np.clip(suspicion, SUREST, 1 - SUREST)) + shift)
    return np.where(shift == 0, suspicion, odds)


def _log_odds(fusion: Fusion, shortlist: Shortlist) -> Array:
    """[N] of the given label being wrong, whatever is known of it."""
    joint = fusion.clean * fusion.noise[shortlist.index, shortlist.given[:, None]] ** TEMPER
    own = joint[shortlist.rows, shortlist.own].astype(np.float64) / np.maximum(joint.sum(axis=1), 1e-30)
    return np.asarray(logit(np.clip(1 - own, SUREST, 1 - SUREST)))
