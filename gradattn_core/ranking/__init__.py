"""Predictions and features in, suspicion scores, class pairs and a noise estimate out."""

from gradattn_core.ranking.findings import NoiseEstimate, class_pairs, first_to_review, noise_estimate
from gradattn_core.ranking.groups import make_folds
from gradattn_core.ranking.memory import knows_by_heart
from gradattn_core.ranking.probe import ProbeResult, crossval_probe
from gradattn_core.ranking.rank import rank_labels

__all__ = [
    "NoiseEstimate",
    "ProbeResult",
    "class_pairs",
    "crossval_probe",
    "first_to_review",
    "knows_by_heart",
    "make_folds",
    "noise_estimate",
    "rank_labels",
]
