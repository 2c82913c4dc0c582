"""Predictions and features in, suspicion scores, class pairs and a noise estimate out."""

from gradattn_core.ranking.findings import class_pairs
from gradattn_core.ranking.probe import ProbeResult, crossval_probe
from gradattn_core.ranking.rank import rank_labels

__all__ = ["ProbeResult", "class_pairs", "crossval_probe", "rank_labels"]
