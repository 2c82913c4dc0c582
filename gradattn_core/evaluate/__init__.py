"""How faithful maps are: what the model says while patches are masked in the order of a map."""

from gradattn_core.evaluate.perturbation import (
    MEASURES,
    ORDERS,
    REPLACEMENTS,
    SHARES,
    Curve,
    perturbation_curve,
    random_maps,
)
from gradattn_core.evaluate.statistics import Interval, area, bootstrap, paired_difference

__all__ = [
    "MEASURES",
    "ORDERS",
    "REPLACEMENTS",
    "SHARES",
    "Curve",
    "Interval",
    "area",
    "bootstrap",
    "paired_difference",
    "perturbation_curve",
    "random_maps",
]
