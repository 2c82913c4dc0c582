"""The maps of earlier audits of the same output folder: what one depends on, and those that a later audit can keep.

A map is kept with the numbers that it was drawn with: f, both origins, the head, and what was measured.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from gradattn_core.audit.reuse import Sweep, unless_damaged
from gradattn_core.evidence import INTERPRETATIONS, REGIONS
from gradattn_core.outfolder import AuditFolder, regions_beside

MAP_KEY = ["content_hash", "given_output", "other_output", "objective", "correction", "numbers"]
"""What a map of one classifier depends on; ``numbers`` is empty for one that does not add up."""
MAPS = pa.schema(
    [
        *INTERPRETATIONS,
        # Not stored: the kind of doubt is told from the first, and a map is known again by the others.
        pa.field("detail", pa.float64()),
        pa.field("content_hash", pa.string()),
        pa.field("given_output", pa.int32()),
        pa.field("other_output", pa.int32()),
        # Whether the strongest regions were measured; that there is no number may also be the measurement's result.
        pa.field("is_measured", pa.bool_()),
    ]
)
"""The columns of a shard of maps."""
_OUTPUTS = b"outputs"


def with_outputs(table: pa.Table, outputs: dict[str, int]) -> pa.Table:
    """The table, remembering the classes among which the head was asked again."""
    return table.replace_schema_metadata({_OUTPUTS: _text(outputs)})


def take_maps(sources: tuple[Sweep, ...], suspects: pd.DataFrame, outputs: dict[str, int]) -> tuple[pa.Table, pa.Table]:
    """The stored maps of those suspects that have one, and their regions, under the paths and labels of now.

    Args:
        sources: the sweeps of earlier audits, beside which their maps lie.
        suspects: path, label, other, to_measure, and the columns of ``MAP_KEY``. A map without measurements is none
            for a suspect whose strongest regions are to be measured.
        outputs: the classes of the dataset and the head's output of each.
    """
    files, index = _stored_maps(sources, _text(outputs))
    maps, regions = [MAPS.empty_table()], [REGIONS.empty_table()]
    found = suspects.merge(index, on=MAP_KEY)
    for number, rows in found[found["is_measured"] | ~found["to_measure"]].groupby("file"):
        file = files[int(str(number))]
        whole, beside = unless_damaged(file, MAPS), unless_damaged(regions_beside(file), REGIONS)
        if whole is None or beside is None:
            # What is damaged is not there, and is drawn again.
            continue
        stored = whole.take(pa.array(rows["row"]))
        paths = pd.DataFrame({"stored": stored["path"].to_pandas(), "path": rows["path"].to_numpy()})
        for name, values in (("path", "path"), ("for_label", "label"), ("against_label", "other")):
            stored = stored.set_column(MAPS.names.index(name), name, pa.array(rows[values], pa.string()))
        maps.append(stored)
        of_stored = beside.to_pandas().rename(columns={"path": "stored"})
        regions.append(pa.Table.from_pandas(paths.merge(of_stored, on="stored"), REGIONS, preserve_index=False))
    return pa.concat_tables(maps), pa.concat_tables(regions)


@lru_cache(maxsize=1)
def _stored_maps(sources: tuple[Sweep, ...], outputs: str) -> tuple[list[Path], pd.DataFrame]:
    """The files of maps, and for each map its key, its file and its row."""
    files = [path for sweep in sources for path in AuditFolder(sweep.folder).interpret_files()]
    files = [path for path in files if _outputs_of(path) == outputs.encode()]
    schema = pa.schema([MAPS.field(name) for name in (*MAP_KEY, "is_measured")])
    numbered = [
        table.to_pandas().assign(file=number, row=np.arange(len(table)))
        for number, path in enumerate(files)
        if (table := unless_damaged(path, schema)) is not None
    ]
    index = pd.concat([schema.empty_table().to_pandas().assign(file=0, row=0), *numbered], ignore_index=True)
    index["numbers"] = index["numbers"].fillna("")
    index["is_measured"] = index["is_measured"].eq(True)
    # Of the maps of one picture, a measured one can stand for the others.
    index = index.sort_values("is_measured", ascending=False, kind="stable")
    return files, index.drop_duplicates(MAP_KEY)


def _outputs_of(file: Path) -> bytes | None:
    try:
        found = pq.read_schema(file).metadata or {}
    except (OSError, ValueError):  # pyarrow's errors are among them
        return None
    return None if _OUTPUTS not in found else bytes(found[_OUTPUTS])


def _text(outputs: dict[str, int]) -> str:
    return json.dumps(sorted(outputs.items()))
