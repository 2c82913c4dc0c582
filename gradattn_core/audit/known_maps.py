"""The maps that earlier audits drew of the same pictures between the same classes.

Only the model's own classifier stays the same from audit to audit; a probe is another one as soon as an image or a
label has changed, and its maps are drawn anew.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from gradattn_core.audit.known import Sweep

MAP_KEY = ["content_hash", "given_output", "other_output", "objective", "correction"]
"""What a map of one classifier depends on."""

_OUTPUTS = b"outputs"


def with_outputs(table: pa.Table, outputs: dict[str, int]) -> pa.Table:
    """The table, remembering the classes among which the head was asked again."""
    return table.replace_schema_metadata({_OUTPUTS: _text(outputs)})


def take_maps(
    sources: tuple[Sweep, ...], suspects: pd.DataFrame, outputs: dict[str, int]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The stored maps of those suspects that have one, and their regions, under the paths and labels of now.

    Args:
        suspects: path, label, other, and the columns of ``MAP_KEY``.
        outputs: the classes of the dataset and the head's output of each.
    """
    files, index = _index(sources, _text(outputs))
    maps: list[dict[str, Any]] = []
    regions: list[dict[str, Any]] = []
    for number, found in suspects.merge(index, on=MAP_KEY).groupby("file"):
        file = files[int(str(number))]
        stored = pq.read_table(file).take(pa.array(found["row"])).to_pylist()
        beside = pq.read_table(regions_beside(file)).to_pandas()
        of_path = {path: rows.to_dict("records") for path, rows in beside.groupby("path")}
        for row, now in zip(stored, found.to_dict("records"), strict=True):
            regions += [{**region, "path": now["path"]} for region in of_path.get(row["path"], [])]
            maps.append({**row, "path": now["path"], "for_label": now["label"], "against_label": now["other"]})
    return maps, regions


def regions_beside(evidence: Path) -> Path:
    """The file of the regions that belong to a file of maps."""
    return evidence.with_name(evidence.name.replace("interpretations", "regions"))


@lru_cache(maxsize=1)
def _index(sources: tuple[Sweep, ...], outputs: str) -> tuple[list[Path], pd.DataFrame]:
    """The files of maps, and for each map its key, its file and its row."""
    files = [path for sweep in sources for path in sorted(sweep.folder.glob("interpretations-*.parquet"))]
    files = [path for path in files if (pq.read_schema(path).metadata or {}).get(_OUTPUTS) == outputs.encode()]
    tables = [pq.read_table(path, columns=MAP_KEY).to_pandas() for path in files]
    numbered = [table.assign(file=number, row=np.arange(len(table))) for number, table in enumerate(tables)]
    index = pd.concat(numbered, ignore_index=True) if numbered else pd.DataFrame(columns=[*MAP_KEY, "file", "row"])
    return files, index.drop_duplicates(MAP_KEY)


def _text(outputs: dict[str, int]) -> str:
    return json.dumps(sorted(outputs.items()))
