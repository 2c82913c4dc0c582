"""The maps of earlier audits of the same output folder: what one depends on, and those that a later audit can keep.

A map is kept with the numbers that it was drawn with: f, both origins, the head, and what was measured. The head is the
model's own classifier, or a probe that has hardly moved since, see :mod:`gradattn_core.audit.heads`.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import SafetensorError

from gradattn_core.audit.heads import LinearHeads, most_used, stands
from gradattn_core.audit.origins import own_classifier, probes
from gradattn_core.audit.plan import Plan
from gradattn_core.audit.reuse import Sweep, unless_damaged
from gradattn_core.audit.sweep import swept_matrix
from gradattn_core.evidence import INTERPRETATIONS, REGIONS
from gradattn_core.model.device import map_precision, pick_device
from gradattn_core.outfolder import AuditFolder, regions_beside
from gradattn_core.records import FloatArray

MAP_KEY = ["content_hash", "given_output", "other_output", "objective", "correction", "numbers", "head"]
"""What a map depends on; ``numbers`` and ``head`` are empty for one that does not add up."""
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
_OUTPUTS, _KEPT, _PRECISION = b"outputs", b"kept", b"precision"
_NO_HEAD = "none"


def with_facts(table: pa.Table, outputs: dict[str, int], kept: int, precision: str) -> pa.Table:
    """The table, remembering the classes among which the head was asked again, how many maps are kept ones, and the
    precision of the others, which is the least that any of them has."""
    return table.replace_schema_metadata({_OUTPUTS: _text(outputs), _KEPT: str(kept), _PRECISION: precision})


def precision_here(plan: Plan) -> str:
    """In which precision this process draws the audit's maps."""
    return map_precision(plan.config.map_precision, pick_device(plan.config.device))


def precisions_of_maps(plan: Plan) -> str:
    """In which precisions an interpreted audit's maps were drawn, with commas between; empty without one."""
    files = AuditFolder(plan.folder).interpret_files()
    return ", ".join(sorted({_precision_of(pq.read_schema(file)) for file in files}))


def _precision_of(schema: pa.Schema) -> str:
    # Before there was a choice, all were exact.
    return bytes((schema.metadata or {}).get(_PRECISION, b"float32")).decode()


def count_kept_maps(plan: Plan) -> int:
    """How many maps of an interpreted audit are those of earlier ones."""
    return sum(
        int((pq.read_schema(file).metadata or {}).get(_KEPT, 0)) for file in AuditFolder(plan.folder).interpret_files()
    )


def wanted_maps(plan: Plan, suspects: pd.DataFrame) -> pd.DataFrame:
    """The suspects with the columns of ``MAP_KEY``, as the audit would have their maps.

    Args:
        suspects: path, label, other, to_measure and content_hash, both outputs, and in an audit with a probe
            ``map_head``, what :func:`heads_of_kept_maps` has found.
    """
    config = plan.config
    numbers = ("measured" if config.measured == "all" else "map") if config.adds_up else ""
    if plan.head == "as-is":
        found = suspects.assign(head=own_classifier(plan.sweep_key)[0] if config.adds_up else "")
    elif "map_head" in suspects:
        # Without one no stored map is meant.
        found = suspects.assign(head=suspects["map_head"].fillna(_NO_HEAD))
    else:
        found = suspects.assign(head=_NO_HEAD)
    return found.assign(objective=config.objective, correction=config.correction, numbers=numbers)


def heads_of_kept_maps(plan: Plan, suspects: pa.Table, outputs: dict[str, int], paths: list[str]) -> pa.Array:
    """Of each suspect of an audit with a probe the id of the head whose stored map can stand for its own, or null.

    Those heads are added to the audit's, of which the file is there.

    Args:
        suspects: path, content_hash, fold, both outputs and to_measure.
        outputs: as for :func:`take_maps`.
        paths: of all the audit's pictures, in the order of the sweep.
    """
    none = pa.nulls(len(suspects), pa.string())
    if not plan.config.adds_up:
        return none
    index = _stored_maps(plan.sources, _text(outputs), precision_here(plan))[1]
    wanted = wanted_maps(plan, suspects.to_pandas()).drop(columns="head").rename_axis("suspect").reset_index()
    found = wanted.merge(index, on=[name for name in MAP_KEY if name != "head"])
    found = found[found["is_measured"] | ~found["to_measure"]]
    if found.empty:
        return none
    heads, before = LinearHeads.load(plan.files.heads), _earlier_heads(plan, set(found["head"]))
    rows = pd.Index(paths, dtype=object).get_indexer(pd.Index(found["path"], dtype=object))
    found = found[stands(found, heads.joined, before, swept_matrix(plan, "readout"), rows)]
    # Of several the newest, a measured one first.
    found = found.sort_values(["is_measured", "file"], ascending=[False, True], kind="stable")
    chosen = found.drop_duplicates("suspect").set_index("suspect")["head"]
    own = set(probes(plan.sweep_key, heads.weights, heads.bias))
    names = most_used(chosen[~chosen.isin(own)], heads.joined[0].nbytes)
    chosen = chosen[chosen.isin(own) | chosen.isin(names)]
    kept = {name: before[name] for name in names}
    LinearHeads(heads.weights, heads.bias, kept).save(plan.files.heads)
    return pa.array(
        chosen.reindex(range(len(suspects))).astype(object).where(lambda each: each.notna(), None), pa.string()
    )


def _earlier_heads(plan: Plan, wanted: set[str]) -> dict[str, FloatArray]:
    """Of the probes of earlier audits with this sweep, and those whose maps these had kept, the wanted ones by id."""
    found: dict[str, FloatArray] = {}
    for sweep in plan.sources:
        try:
            heads = LinearHeads.load(AuditFolder(sweep.folder).heads)
        except (OSError, ValueError, KeyError, SafetensorError):
            # Without its head a map is drawn again.
            continue
        every = heads.kept | dict(zip(probes(plan.sweep_key, heads.weights, heads.bias), heads.joined, strict=True))
        found |= {name: head for name, head in every.items() if name in wanted}
    return found


def take_maps(
    sources: tuple[Sweep, ...], suspects: pd.DataFrame, outputs: dict[str, int], precision: str
) -> tuple[pa.Table, pa.Table]:
    """The stored maps of those suspects that have one, and their regions, under the paths and labels of now.

    Args:
        sources: the sweeps of earlier audits, beside which their maps lie.
        suspects: path, label, other, to_measure, and the columns of ``MAP_KEY``. A map without measurements is none
            for a suspect whose strongest regions are to be measured.
        outputs: the classes of the dataset and the head's output of each.
        precision: ``float32``, for which none in TF32 stands, or ``tf32``.
    """
    files, index = _stored_maps(sources, _text(outputs), precision)
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
def _stored_maps(sources: tuple[Sweep, ...], outputs: str, precision: str) -> tuple[list[Path], pd.DataFrame]:
    """The files of maps, and for each map its key, its file and its row."""
    files = [path for sweep in sources for path in AuditFolder(sweep.folder).interpret_files()]
    files = [path for path in files if _can_stand(path, outputs, precision)]
    schema = pa.schema([MAPS.field(name) for name in (*MAP_KEY, "is_measured")])
    numbered = [
        table.to_pandas().assign(file=number, row=np.arange(len(table)))
        for number, path in enumerate(files)
        if (table := unless_damaged(path, schema)) is not None
    ]
    index = pd.concat([schema.empty_table().to_pandas().assign(file=0, row=0), *numbered], ignore_index=True)
    index["numbers"], index["head"] = index["numbers"].fillna(""), index["head"].fillna("")
    index["is_measured"] = index["is_measured"].eq(True)
    # Of the maps of one picture, a measured one can stand for the others.
    index = index.sort_values("is_measured", ascending=False, kind="stable")
    return files, index.drop_duplicates(MAP_KEY)


def _can_stand(file: Path, outputs: str, precision: str) -> bool:
    """Whether a file's maps are of these classes and at least as exact as what is asked for."""
    try:
        schema = pq.read_schema(file)
    except (OSError, ValueError):  # pyarrow's errors are among them
        return False
    same = (schema.metadata or {}).get(_OUTPUTS) == outputs.encode()
    return same and _precision_of(schema) in ("float32", precision)


def _text(outputs: dict[str, int]) -> str:
    return json.dumps(sorted(outputs.items()))
