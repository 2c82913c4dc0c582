"""Evidence in its stored form, in files as in the database: a row of ``interpretations``, and rows of ``regions``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import astuple
from typing import Any

import numpy as np
import pyarrow as pa

from gradattn_core.records import Box, Evidence, Hidden, MapStatistics, Region
from gradattn_core.sums import Sums

_SIDES = ("left", "top", "right", "bottom")
STATISTICS = ("concentration", "overlap")
"""The columns with how the map is spread."""
SUMS = (
    *("model_log_odds", "log_odds_without_picture", "average_log_odds", "red_log_odds", "blue_log_odds"),
    "head",
)
"""The columns with what the map adds up to, in the order of :class:`~gradattn_core.sums.Sums`; empty where it does
not."""
MEASURES = ("log_odds", "measured")
"""The columns of a region in log-odds."""
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
    + [(name, pa.string() if name == "head" else pa.float64()) for name in SUMS]
    + [("numbers", pa.string())]
)
REGIONS = pa.schema(
    [("path", pa.string()), ("sign", pa.int8()), ("rank", pa.int32())]
    + [(name, pa.float64()) for name in ("mass_share", "area_share", "peak")]
    + [(f"box_{side}", pa.float64()) for side in _SIDES]
    + [(name, pa.float64()) for name in MEASURES]
)


def interpretation_row(path: str, evidence: Evidence) -> dict[str, object]:
    """The columns of ``INTERPRETATIONS`` for one image; the map is flattened row by row."""
    height, width = evidence.scores.shape
    answer = (None,) * len(HIDDEN) if evidence.hidden is None else astuple(evidence.hidden)
    sums = (None,) * len(SUMS) if evidence.sums is None else astuple(evidence.sums)
    return {
        "path": path,
        "for_label": evidence.for_label,
        "against_label": evidence.against_label,
        "for_logit": evidence.for_logit,
        "against_logit": evidence.against_logit,
        "objective": evidence.objective,
        "correction": evidence.correction,
        # How attention and gradient are joined, of which audits know one way; a secant map joins nothing.
        "aggregation": None if evidence.correction == "secant" else "product",
        "grid_height": height,
        "grid_width": width,
        **_box("crop", evidence.crop),
        "map": evidence.scores.ravel().tolist(),
        **{name: getattr(evidence.statistics, name) for name in STATISTICS},
        **dict(zip(HIDDEN, answer, strict=True)),
        **dict(zip(SUMS, sums, strict=True)),
        "numbers": None if evidence.sums is None else evidence.numbers,
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
            **{name: getattr(region, name) for name in MEASURES},
        }
        for region in evidence.statistics.regions
    ]


def from_rows(row: Mapping[str, Any], regions: Iterable[Mapping[str, Any]] = ()) -> Evidence:
    """What :func:`interpretation_row` and :func:`region_rows` were made of; the regions come in the order given."""
    answer, sums = ([row[name] for name in names] for names in (HIDDEN, SUMS))
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
                    **{name: region[name] for name in MEASURES},
                )
                for region in regions
            ),
        ),
        hidden=None if any(value is None for value in answer) else Hidden(*answer),
        sums=None if row["model_log_odds"] is None else Sums(*sums),
        numbers=row["numbers"] or "map",
    )


def _box(prefix: str, box: Box) -> dict[str, float]:
    return {f"{prefix}_{side}": getattr(box, side) for side in _SIDES}
