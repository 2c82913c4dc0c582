"""Rows of ``interpretations`` and ``regions`` as the record that travels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import duckdb
import numpy as np

from gradattn_core.records import Box, Evidence, Hidden, MapStatistics, Region
from gradattn_core.store.rows import PATHS, rows


def evidence(connection: duckdb.DuckDBPyConnection, audit_id: str, path: str) -> Evidence | None:
    """See ``Store.images.evidence``."""
    where = "WHERE audit_id = ? AND path = ?"
    found = rows(connection.execute(f"SELECT * FROM interpretations {where}", [audit_id, path]))
    if not found:
        return None
    regions = connection.execute(f"SELECT * FROM regions {where} ORDER BY sign DESC, rank", [audit_id, path])
    return evidence_of(found[0], rows(regions))


def evidences(connection: duckdb.DuckDBPyConnection, audit_id: str, paths: Sequence[str]) -> dict[str, Evidence]:
    """See ``Store.images.evidences``."""
    found = connection.execute(
        f"SELECT * FROM interpretations WHERE audit_id = ? AND path IN {PATHS}", [audit_id, list(paths)]
    )
    return {row["path"]: evidence_of(row, ()) for row in rows(found)}


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
        hidden=_hidden(row),
    )


def _hidden(row: Mapping[str, Any]) -> Hidden | None:
    values = [row[f"hidden_{name}"] for name in ("for_logit", "against_logit", "label", "probability")]
    return None if any(value is None for value in values) else Hidden(*values)


def _region(row: Mapping[str, Any]) -> Region:
    return Region(
        sign=row["sign"],
        rank=row["rank"],
        mass_share=row["mass_share"],
        area_share=row["area_share"],
        peak=row["peak"],
        box=Box(row["box_left"], row["box_top"], row["box_right"], row["box_bottom"]),
    )
