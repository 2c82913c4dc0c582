"""Predictions and features in, suspicion scores, class pairs and a noise estimate out."""

from typing import TYPE_CHECKING

from gradattn_core.face import lazily

if TYPE_CHECKING:
    from gradattn_core.ranking.noise import class_pairs as class_pairs
    from gradattn_core.ranking.noise import noise_estimate as noise_estimate
    from gradattn_core.ranking.suspicion import rank_labels as rank_labels

__all__ = ["class_pairs", "noise_estimate", "rank_labels"]
__getattr__ = lazily(
    __name__,
    {
        "class_pairs": "gradattn_core.ranking.noise",
        "noise_estimate": "gradattn_core.ranking.noise",
        "rank_labels": "gradattn_core.ranking.suspicion",
    },
)
