"""Rows of ``interpretations`` and ``regions`` as the record that travels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gradattn_core.records import Box, Evidence, MapStatistics, Region


def evidence_of(row: Mapping[str, Any], regions: Sequence[Mapping[str, Any]]) -> Evidence:
    """One row of ``interpretations`` and its rows of ``regions``, in their order."""
    shape = (row["grid_height"], row["grid_width"])
    return Evidence(
        for_label=row["for_label"],
        against_label=row["against_label"],
        for_logit=row["for_logit"],
        against_logit=row["against_logit"],
        scores=np.asarray(row["map"], dtype=np.float32).reshape(shape),
        crop=Box(row["crop_left"], row["crop_top"], row["crop_right"], row["crop_bottom"]),
        objective=row["objective"],
        correction=row["correction"],
        statistics=MapStatistics(
            positive_mass=row["positive_mass"],
            negative_mass=row["negative_mass"],
            balance=row["balance"],
            concentration=row["concentration"],
            overlap=row["overlap"],
            regions=tuple(_region(region) for region in regions),
        ),
    )


def _region(row: Mapping[str, Any]) -> Region:
    return Region(
        sign=row["sign"],
        rank=row["rank"],
        mass_share=row["mass_share"],
        area_share=row["area_share"],
        peak=row["peak"],
        box=Box(row["box_left"], row["box_top"], row["box_right"], row["box_bottom"]),
    )
