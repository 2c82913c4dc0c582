"""Sweeps one shard: decode, one forward pass, features and logits to one parquet file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from gradattn_core.audit.files import write_parquet
from gradattn_core.audit.loading import LoadedImage, audit_model, load_batches, stack
from gradattn_core.audit.plan import Plan
from gradattn_core.audit.progress import Progress, silent
from gradattn_core.model import Alignment, Forward, Preprocessing, class_names, forward
from gradattn_core.model.classes import ClassNames
from gradattn_core.records import Failure


def sweep_file(plan: Plan, index: int) -> Path:
    """Where the shard's result lies once it is whole."""
    return plan.folder / f"sweep-{index:05d}.parquet"


def failures_file(path: Path) -> Path:
    """The failures that belong to a shard's result."""
    return path.with_name(f"failures-{path.name}")


def sweep_shard(plan: Plan, index: int, progress: Progress = silent) -> Path:
    """Run the frozen model over one shard, unless its result is there.

    Args:
        plan: the audit.
        index: of the shard, in [0, plan.shards).
        progress: told about images of the whole audit.

    Returns:
        the parquet file: path, content_hash, given_label, size, width, height, readout, features, and for the as-is
        head logits of the dataset's classes and the model's best class outside them.
    """
    target = sweep_file(plan, index)
    images = plan.shard(index)
    done = index * plan.config.shard_size
    if target.exists():
        progress("sweep", done + len(images), plan.images)
        return target
    model = audit_model(plan.config, len(plan.classes) if plan.config.from_scratch else None)
    preprocessing = Preprocessing.of(model)
    device = next(model.parameters()).device
    names = class_names(model)
    columns: list[pa.Table] = []
    failures: list[Failure] = []
    for loaded, failed in load_batches(plan.root, images, preprocessing, plan.config):
        failures += failed
        if loaded:
            columns.append(_table(loaded, forward(model, stack(loaded, device)), plan.alignment, names))
        done += len(loaded) + len(failed)
        progress("sweep", done, plan.images)
    write_parquet(failures_file(target), failures_table(failures))
    # The result is renamed into place last: where it is, its failures are too.
    write_parquet(target, pa.concat_tables(columns) if columns else _SCHEMA.empty_table())
    return target


def failures_table(failures: list[Failure]) -> pa.Table:
    """path, stage, reason."""
    return pa.table(
        {name: pa.array([getattr(failure, name) for failure in failures], pa.string()) for name in _FAILURE_COLUMNS}
    )


_FAILURE_COLUMNS = ("path", "stage", "reason")
_SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("content_hash", pa.string()),
        ("given_label", pa.string()),
        ("size", pa.int64()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("readout", pa.list_(pa.float32())),
        ("features", pa.list_(pa.float16())),
        ("logits", pa.list_(pa.float32())),
        ("outside_label", pa.string()),
        ("outside_probability", pa.float32()),
    ]
)


def _table(images: list[LoadedImage], result: Forward, alignment: Alignment | None, names: ClassNames) -> pa.Table:
    outside: list[tuple[str | None, float | None]] = [(None, None)] * len(images)
    logits: list[np.ndarray] | None = None
    if alignment is not None:
        logits = list(result.logits[:, list(alignment.indices)].numpy())
        outside = [_outside(row, alignment, names) for row in result.logits.softmax(dim=1)]
    return pa.table(
        {
            "path": [image.record.path for image in images],
            "content_hash": [image.content_hash for image in images],
            "given_label": [image.record.label for image in images],
            "size": [image.record.size for image in images],
            "width": [image.width for image in images],
            "height": [image.height for image in images],
            "readout": list(result.readout.numpy()),
            # Half precision: these only feed the ranking, and they are the largest column by far.
            "features": list(result.features.numpy().astype(np.float16)),
            "logits": logits if logits is not None else [None] * len(images),
            "outside_label": [label for label, _ in outside],
            "outside_probability": [probability for _, probability in outside],
        },
        schema=_SCHEMA,
    )


def _outside(probabilities: torch.Tensor, alignment: Alignment, names: ClassNames) -> tuple[str | None, float | None]:
    """The model's best class if it is none of the dataset's: a hint, never a suggestion."""
    best = int(probabilities.argmax())
    if best in alignment.indices:
        return None, None
    return names.display(best), float(probabilities[best])
