"""Evidence goes into rows, through Parquet, and comes back the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gradattn_core.evidence import INTERPRETATIONS, REGIONS, from_rows, interpretation_row, region_rows
from gradattn_core.records import Box, Evidence, Hidden, MapStatistics, Region

EVIDENCE = Evidence(
    for_label="kite",
    against_label="bald eagle",
    for_logit=1.5,
    against_logit=4.0,
    scores=np.array([[1, -2, 3], [-4, 5, 0.25]], dtype=np.float32),
    crop=Box(80, 0, 560, 480),
    objective="difference",
    correction="complete",
    statistics=MapStatistics(
        positive_mass=9.25,
        negative_mass=6.0,
        balance=0.2,
        concentration=0.5,
        overlap=0.75,
        regions=(
            Region(1, 1, 0.5, 0.25, 5.0, Box(10.4, 20.6, 100, 120)),
            Region(-1, 1, 0.4, 0.2, -4.0, Box(0, 1, 2, 3)),
        ),
    ),
    hidden=Hidden(3.5, 0.5, "kite", 0.625),
)


@pytest.mark.parametrize("hidden", [EVIDENCE.hidden, None])
def test_evidence_comes_back_from_its_rows(tmp_path: Path, hidden: Hidden | None) -> None:
    evidence = replace(EVIDENCE, hidden=hidden)
    maps = pa.Table.from_pylist([interpretation_row("kite/a.jpg", evidence)], schema=INTERPRETATIONS)
    regions = pa.Table.from_pylist(region_rows("kite/a.jpg", evidence), schema=REGIONS)
    for name, table in (("maps", maps), ("regions", regions)):
        pq.write_table(table, tmp_path / name)
    [row] = pq.read_table(tmp_path / "maps").to_pylist()
    again = from_rows(row, pq.read_table(tmp_path / "regions").to_pylist())
    np.testing.assert_array_equal(again.scores, evidence.scores)
    assert again.scores.dtype == np.float32
    assert replace(again, scores=evidence.scores) == evidence
    assert row["path"] == "kite/a.jpg" and from_rows(row).statistics.regions == ()


def test_a_row_has_every_column_of_its_table() -> None:
    assert list(interpretation_row("a.jpg", EVIDENCE)) == INTERPRETATIONS.names
    assert [list(row) for row in region_rows("a.jpg", EVIDENCE)] == [REGIONS.names] * 2
