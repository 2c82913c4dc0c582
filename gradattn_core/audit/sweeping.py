"""Images through the model: the shards of a sweep as one stream of batches, each pass under way while others wait.

Decoding runs ahead of the model over the borders of shards, and the answer to a batch is put into rows while the model
is busy with the next one: on a GPU neither waits for the other.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn

from gradattn_core.audit.brought import lists_of
from gradattn_core.audit.loading import (
    Batch,
    LoadedImage,
    audit_model,
    read_facts,
    stream_batches,
    swept_at_once,
)
from gradattn_core.audit.plan import Plan
from gradattn_core.audit.reuse import swept_images
from gradattn_core.model.classes import Alignment, class_names, outside_names
from gradattn_core.model.device_memory import in_parts
from gradattn_core.model.forward import Forward, begun_forward, forward
from gradattn_core.model.half import release_half_copies
from gradattn_core.model.openvino_passes import begun_pass
from gradattn_core.model.preprocessing import Preprocessing
from gradattn_core.model.transit import rows_of, sent
from gradattn_core.progress import SWEEP, Progress
from gradattn_core.ranking.outside import Outside, outside_of
from gradattn_core.records import Failure, ImageRecord

_LARGEST = float(np.finfo(np.float16).max)
_TOLD = 64
SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("content_hash", pa.string()),
        ("given_label", pa.string()),
        ("size", pa.int64()),
        ("modified", pa.int64()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("readout", pa.list_(pa.float32())),
        ("features", pa.list_(pa.float16())),
        ("logits", pa.list_(pa.float32())),
        ("outside_label", pa.string()),
        ("outside_probability", pa.float32()),
        ("outside_log_odds", pa.float32()),
        ("outside_outputs", pa.list_(pa.int32())),
        ("outside_log_p", pa.list_(pa.float32())),
    ]
)


@dataclass(slots=True)
class Shard:
    """A shard on its way to its file.

    Attributes:
        taken, new: rows of the images that earlier audits saw, and of the others.
        unseen: these others.
        coming: how many batches of them have not been loaded yet.
        done: how many of its images are taken over, swept or found unreadable.
        widened: how many were computed in another precision than the plan's.
    """

    index: int
    images: list[ImageRecord]
    taken: pa.Table
    unseen: list[ImageRecord]
    done: int
    new: list[pa.Table] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    coming: int = 0
    widened: int = 0

    @property
    def is_whole(self) -> bool:
        return self.done == len(self.images)


def swept_shards(plan: Plan, indices: Iterable[int], progress: Progress) -> Iterator[Shard]:
    """Sweep the shards that have no file yet; each comes, in their order, as soon as all of its images are done.

    Args:
        progress: told about images of the whole audit, also of shards that have a file.
    """
    # What is taken over is in memory from when the first of a shard's images is loaded: such shards come one by one.
    groups = [indices] if plan.config.has_model and not plan.sources else ([index] for index in indices)
    for group in groups:
        begun = (_begun(plan, index) for index in group)
        for shard in begun:
            if not shard.unseen:
                yield from _ended(plan, shard, progress)
            elif plan.config.has_model:
                yield from _streamed(plan, chain([shard], begun), progress)
            else:
                _read(plan, shard, progress)
                yield shard


def _begun(plan: Plan, index: int) -> Shard:
    images = plan.shard(index)
    if plan.files.sweep(index).exists():
        return Shard(index, images, SCHEMA.empty_table(), [], len(images))
    taken = swept_images(plan.root, plan.sources).take(images, SCHEMA)
    paths = set(taken["path"].to_pylist())
    return Shard(index, images, taken, [image for image in images if image.path not in paths], len(taken))


def _ended(plan: Plan, shard: Shard, progress: Progress) -> Iterator[Shard]:
    """The shard, unless its file is there; one of which nothing had to be computed is told of here."""
    if not shard.unseen:
        _tell(plan, shard, progress)
    if not plan.files.sweep(shard.index).exists():
        yield shard


def _tell(plan: Plan, shard: Shard, progress: Progress) -> None:
    progress(SWEEP.name, shard.index * plan.shard_size + shard.done, plan.images)


def _streamed(plan: Plan, begun: Iterable[Shard], progress: Progress) -> Iterator[Shard]:
    """Sweep some shards with the model, of which the first has images that are to be swept."""
    pass_ = _Pass.of(plan)
    size, together = swept_at_once(plan.config, pass_.device)
    shards: deque[Shard] = deque()

    def wanted() -> Iterator[list[ImageRecord]]:
        for shard in begun:
            starts = range(0, len(shard.unseen), size)
            shard.coming = len(starts)
            shards.append(shard)
            yield from (shard.unseen[start : start + size] for start in starts)

    def whole() -> Iterator[Shard]:
        while shards and shards[0].is_whole:
            yield from _ended(plan, shards.popleft(), progress)

    loaded: list[Batch] = []
    finish: Callable[[], None] | None = None
    try:
        for batch in stream_batches(plan.root, wanted(), pass_.preprocessing, plan.config, pass_.device, plan.white):
            shard = next(each for each in shards if each.coming)
            shard.coming -= 1
            loaded.append(batch)
            if shard.coming and len(loaded) < together:
                continue
            before, finish = finish, pass_.begun(shard, loaded, progress)
            loaded = []
            if before is not None:
                before()
            yield from whole()
        if finish is not None:
            finish()
        yield from whole()
    finally:
        release_half_copies()


@dataclass(frozen=True, slots=True)
class _Pass:
    """What takes batches through an audit's model; ``names`` are those of its outputs that are no class of the data."""

    plan: Plan
    model: nn.Module
    device: torch.device
    preprocessing: Preprocessing
    names: Mapping[int, str]

    @classmethod
    def of(cls, plan: Plan) -> _Pass:
        model = audit_model(plan.config, len(plan.classes) if plan.config.from_scratch else None)
        names = outside_names(plan.classes, plan.alignment, class_names(model), int(getattr(model, "num_classes", 0)))
        return cls(plan, model, next(model.parameters()).device, Preprocessing.of(model), names)

    def begun(self, shard: Shard, batches: list[Batch], progress: Progress) -> Callable[[], None]:
        """Put some batches of a shard through the model at once, or as many of their images as fit.

        Returns:
            a function that waits for the answers, puts them into the shard and tells of it.
        """
        images = [image for batch in batches for image in batch.images]
        under_way: list[tuple[slice, Callable[[], Forward]]] = []

        def seen(part: slice) -> Tensor:
            pixels = sent(rows_of([batch.pixels for batch in batches], part), self.device)
            return self.preprocessing.normalised(pixels)

        def begin(part: slice) -> None:
            run = begun_pass if self.plan.config.engine == "openvino" else begun_forward
            under_way.append((part, run(self.model, seen(part), self.plan.precision)))

        def keep(part: slice, result: Forward) -> None:
            shard.widened += (part.stop - part.start) * (result.precision != self.plan.precision)
            shard.new.append(_table(images[part], result, self.plan.alignment, self.names))

        def finish() -> None:
            for part, answer in under_way:
                result = answer()
                if result.is_finite or result.precision == "float32":
                    keep(part, result)
                else:
                    self._in_parts(lambda rows: keep(rows, forward(self.model, seen(rows), self.plan.precision)), part)
            for batch in batches:
                shard.failures += batch.failed
            shard.done += sum(map(len, batches))
            _tell(self.plan, shard, progress)

        self._in_parts(begin, slice(0, len(images)))
        return finish

    def _in_parts(self, run: Callable[[slice], None], rows: slice) -> None:
        """:func:`in_parts` of these rows."""

        def moved(part: slice) -> None:
            run(slice(rows.start + part.start, rows.start + part.stop))

        in_parts(moved, rows.stop - rows.start, self.device, (SWEEP.name, self.plan.sweep_key))


def _read(plan: Plan, shard: Shard, progress: Progress) -> None:
    """What is known of the pictures themselves, where no model looks at them."""
    loaded: list[LoadedImage] = []
    for number, each in enumerate(read_facts(plan.root, shard.unseen, plan.config.workers, plan.white), 1):
        if isinstance(each, Failure):
            shard.failures.append(each)
        else:
            loaded.append(each)
        shard.done += 1
        if number % _TOLD == 0 or number == len(shard.unseen):
            _tell(plan, shard, progress)
    facts = _facts(loaded)
    missing = {field.name: pa.nulls(len(loaded), field.type) for field in SCHEMA if field.name not in facts}
    shard.new.append(pa.table({**facts, **missing}, schema=SCHEMA))


def _table(
    images: list[LoadedImage], result: Forward, alignment: Alignment | None, names: Mapping[int, str]
) -> pa.Table:
    count = len(images)
    columns: dict[str, pa.Array | list[object]] = {
        **_facts(images),
        "readout": lists_of(result.readout.numpy()),
        # Half precision: these only feed the ranking, and they are the largest column by far.
        "features": lists_of(result.features.numpy().clip(-_LARGEST, _LARGEST).astype(np.float16)),
    }
    if alignment is not None:
        columns["logits"] = lists_of(result.logits[:, list(alignment.indices)].numpy())
        if names:
            columns |= _outside(outside_of(result.logits.numpy(), alignment.indices), names)
    missing = {field.name: pa.nulls(count, field.type) for field in SCHEMA if field.name not in columns}
    return pa.table(columns | missing, schema=SCHEMA)


def _facts(images: list[LoadedImage]) -> dict[str, pa.Array | list[object]]:
    return {
        "path": [image.record.path for image in images],
        "content_hash": [image.content_hash for image in images],
        "given_label": [image.record.label for image in images],
        "size": [image.record.size for image in images],
        "modified": [image.record.modified for image in images],
        "width": [image.width for image in images],
        "height": [image.height for image in images],
    }


def _outside(outside: Outside, names: Mapping[int, str]) -> dict[str, pa.Array | list[object]]:
    """The columns of what the model says beyond the dataset's classes; of its best one where that leads them all."""
    best = [code if leads else None for code, leads in zip(outside.outputs[:, 0].tolist(), outside.leads, strict=True)]
    return {
        "outside_label": [None if code is None else names[code] for code in best],
        "outside_probability": pa.array(np.exp(outside.log_p[:, 0]), mask=~outside.leads),
        "outside_log_odds": outside.log_odds.tolist(),
        "outside_outputs": lists_of(outside.outputs.astype(np.int32)),
        "outside_log_p": lists_of(outside.log_p),
    }
