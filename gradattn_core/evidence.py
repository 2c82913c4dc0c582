"""Evidence in its stored form, in files as in the database: a row of ``interpretations``, and rows of ``regions``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import astuple
from typing import Any

import numpy as np
import pyarrow as pa

from gradattn_core.records import Box, Evidence, Hidden, MapStatistics, Region

_SIDES = ("left", "top", "right", "bottom")
STATISTICS = ("positive_mass", "negative_mass", "balance", "concentration", "overlap")
"""The columns with what the map says in numbers."""
HIDDEN = ("hidden_for_logit", "hidden_against_logit", "hidden_label", "hidden_probability")
"""The columns with the answer once the evidence for the other class is hidden; all of them are empty without one."""

INTERPRETATIONS = pa.schema(
    [(name, pa.string()) for name in ("path", "for_label", "against_label")]
    + [(name, pa.float32()) for name in ("for_logit", "against_logit")]
    + [(name, pa.string()) for name in ("objective", "correction", "aggregation")]
    + [(name, pa.int32()) for name in ("grid_height", "grid_width")]
    + [(f"crop_{side}", pa.float32()) for side in _SIDES]
    + [("map", pa.list_(pa.float32()))]
    + [(name, pa.float64()) for name in STATISTICS]
    + [(name, pa.string() if name == "hidden_label" else pa.float32()) for name in HIDDEN]
)
REGIONS = pa.schema(
    [("path", pa.string()), ("sign", pa.int8()), ("rank", pa.int32())]
    + [(name, pa.float64()) for name in ("mass_share", "area_share", "peak")]
    + [(f"box_{side}", pa.float64()) for side in _SIDES]
)


def interpretation_row(path: str, evidence: Evidence) -> dict[str, object]:
    """The columns of ``INTERPRETATIONS`` for one image; the map is flattened row by row."""
    height, width = evidence.scores.shape
    answer = (None,) * len(HIDDEN) if evidence.hidden is None else astuple(evidence.hidden)
    return {
        "path": path,
        "for_label": evidence.for_label,
        "against_label": evidence.against_label,
        "for_logit": evidence.for_logit,
        "against_logit": evidence.against_logit,
        "objective": evidence.objective,
        "correction": evidence.correction,
        # How attention and gradient are joined, of which audits know one way.
        "aggregation": "product",
        "grid_height": height,
        "grid_width": width,
        **_box("crop", evidence.crop),
        "map": evidence.scores.ravel().tolist(),
        **{name: getattr(evidence.statistics, name) for name in STATISTICS},
        **dict(zip(HIDDEN, answer, strict=True)),
    }


def region_rows(path: str, evidence: Evidence) -> list[dict[str, object]]:
    """The columns of ``REGIONS`` for each region of one image's map."""
    return [
        {
            "path": path,
            "sign": region.sign,
            "rank": region.rank,
            "mass_share": region.mass_share,
            "area_share": region.area_share,
            "peak": region.peak,
            **_box("box", region.box),
        }
        for region in evidence.statistics.regions
    ]


def from_rows(row: Mapping[str, Any], regions: Iterable[Mapping[str, Any]] = ()) -> Evidence:
    """What :func:`interpretation_row` and :func:`region_rows` were made of; the regions come in the order given."""
    answer = [row[name] for name in HIDDEN]
    return Evidence(
        for_label=row["for_label"],
        against_label=row["against_label"],
        for_logit=row["for_logit"],
        against_logit=row["against_logit"],
        scores=np.asarray(row["map"], dtype=np.float32).reshape(row["grid_height"], row["grid_width"]),
        crop=Box(*(row[f"crop_{side}"] for side in _SIDES)),
        objective=row["objective"],
        correction=row["correction"],
        statistics=MapStatistics(
            **{name: row[name] for name in STATISTICS},
            regions=tuple(
                Region(
                    sign=region["sign"],
                    rank=region["rank"],
                    mass_share=region["mass_share"],
                    area_share=region["area_share"],
                    peak=region["peak"],
                    box=Box(*(region[f"box_{side}"] for side in _SIDES)),
                )
                for region in regions
            ),
        ),
        hidden=None if any(value is None for value in answer) else Hidden(*answer),
    )


def _box(prefix: str, box: Box) -> dict[str, float]:
    return {f"{prefix}_{side}": getattr(box, side) for side in _SIDES}
