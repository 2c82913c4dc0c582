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
from gradattn_core.sums import Sums

EVIDENCE = Evidence(
    for_label="kite",
    against_label="bald eagle",
    for_logit=1.5,
    against_logit=4.0,
    scores=np.array([[1, -2, 3], [-4, 5, 0.25]], dtype=np.float32),
    crop=Box(80, 0, 560, 480),
    objective="difference",
    correction="secant",
    statistics=MapStatistics(
        concentration=0.5,
        overlap=0.75,
        regions=(
            Region(1, 1, 0.5, 0.25, 5.0, Box(10.4, 20.6, 100, 120), log_odds=7.5, measured=-1.25),
            Region(-1, 1, 0.4, 0.2, -4.0, Box(0, 1, 2, 3), log_odds=-6.0),
        ),
    ),
    hidden=Hidden(3.5, 0.5, "kite", 0.625),
    sums=Sums(log_odds=-2.5, base=-5.75, average=0.1, red=9.25, blue=-6.0, head="probe 2"),
    numbers="measured",
)


PLAIN = replace(EVIDENCE, correction="complete", sums=None, numbers="map", statistics=MapStatistics(0.5, 0.75))
NO_AVERAGE = replace(EVIDENCE, sums=replace(EVIDENCE.sums, average=None) if EVIDENCE.sums else None)


@pytest.mark.parametrize("evidence", [EVIDENCE, replace(EVIDENCE, hidden=None), PLAIN, NO_AVERAGE])
def test_evidence_comes_back_from_its_rows(tmp_path: Path, evidence: Evidence) -> None:
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
