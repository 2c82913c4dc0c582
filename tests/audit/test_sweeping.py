"""A sweep as one stream: the model is busy with a batch while the one before it is put into rows, over all shards."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor

from gradattn_core.audit.loading import (
    audit_model,
    load_batches,
    stream_batches,
    swept_at_once,
)
from gradattn_core.audit.plan import Plan, make_plan, survey_dataset
from gradattn_core.audit.sweep import sweep_shards
from gradattn_core.audit.sweeping import SCHEMA, Shard, _Pass
from gradattn_core.model import device_memory
from gradattn_core.model.preprocessing import Preprocessing
from gradattn_core.progress import silent
from gradattn_core.records import ImageRecord
from tests.helpers.tiny import Tiny

CPU, GPU, MPS = (torch.device(name) for name in ("cpu", "cuda", "mps"))


def planned(tiny: Tiny, out: Path, **changes: Any) -> Plan:
    config = tiny.config(out, **{"shard_size": 8, "batch_size": 4, **changes})
    return make_plan(config, survey_dataset(config))


def rows_of(tables: list[pa.Table]) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = pa.concat_tables(tables).to_pylist()
    return rows


@pytest.mark.parametrize(
    ("asked", "device", "expected"),
    [
        *[(0, CPU, (32, 1)), (200, CPU, (200, 1)), (0, GPU, (64, 4)), (0, MPS, (64, 1))],
        *[(8, GPU, (8, 1)), (64, GPU, (64, 1)), (100, GPU, (50, 2)), (512, GPU, (64, 8)), (100, MPS, (50, 2))],
    ],
)
def test_a_gpu_takes_several_loaded_batches_at_once_and_no_more_than_is_asked_for(
    tiny: Tiny, tmp_path: Path, asked: int, device: torch.device, expected: tuple[int, int]
) -> None:
    size, together = swept_at_once(tiny.config(tmp_path, batch_size=asked), device)
    assert (size, together) == expected and (not asked or size * together <= asked + together - 1)


def test_a_pass_begins_before_the_batch_before_it_is_told_of_also_over_the_border_of_shards(
    tiny: Tiny, tmp_path: Path
) -> None:
    plan = planned(tiny, tmp_path)
    # In the middle of what is to be done: told of in its turn, although it is looked at ahead.
    sweep_shards(plan, [2])
    happened: list[str | int] = []
    model = audit_model(plan.config)
    hook = model.get_submodule("patch_embed").register_forward_pre_hook(lambda *_: happened.append("pass"))
    try:
        sweep_shards(plan, range(4), lambda step, done, total: happened.append(done))
    finally:
        hook.remove()
    assert happened == ["pass", "pass", 4, "pass", 8, "pass", 12, "pass", 16, 24, "pass", 28, 32]


def test_batches_are_asked_for_as_they_are_loaded_and_no_further_ahead(tiny: Tiny, tmp_path: Path) -> None:
    config = tiny.config(tmp_path)
    images = list(survey_dataset(config).listing.images)[:20]
    asked = 0

    def batches() -> Iterator[list[ImageRecord]]:
        nonlocal asked
        for start in range(0, 20, 2):
            asked += 1
            yield images[start : start + 2]

    root, preprocessing = str(tiny.dataset), Preprocessing.of(audit_model(config))
    ahead, streamed = [], []
    for batch in stream_batches(root, batches(), preprocessing, config, CPU):
        streamed.append(batch)
        ahead.append(asked - len(streamed))
    assert max(ahead) == 3 and ahead[-1] == 0 and asked == 10
    assert [image.record for batch in streamed for image in batch.images] == images, "in their order"


def test_batches_that_are_joined_give_the_rows_of_each_and_are_halved_over_their_borders(
    tiny: Tiny, tmp_path: Path
) -> None:
    plan = planned(tiny, tmp_path)
    pass_ = _Pass.of(plan)
    images = plan.shard(0)[:7]
    broken = [*images[:5], ImageRecord("nowhere.png", "red", 1), *images[5:]]
    config = replace(plan.config, batch_size=3)
    batches = list(load_batches(plan.root, broken, pass_.preprocessing, config, CPU, plan.white))
    assert [len(batch.images) for batch in batches] == [3, 2, 2]

    def shard() -> Shard:
        return Shard(0, broken, SCHEMA.empty_table(), broken, 0)

    apart, joined, halved, told = shard(), shard(), shard(), []
    for batch in batches:
        pass_.begun(apart, [batch], silent)()
    pass_.begun(joined, batches, lambda *progress: told.append(progress))()
    sizes: list[int] = []

    def run_out(_: object, images: tuple[Tensor]) -> None:
        sizes.append(len(images[0]))
        if len(images[0]) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    hook = pass_.model.get_submodule("patch_embed").register_forward_pre_hook(run_out)
    try:
        pass_.begun(halved, batches, silent)()
    finally:
        hook.remove()
        device_memory._fits.clear()
    assert sizes == [7, 4, 2, 2, 2, 1]
    assert told == [("sweep", 8, plan.images)] and joined.is_whole and joined.failures == apart.failures != []
    expected = rows_of(apart.new)
    for found in (joined, halved):
        rows = rows_of(found.new)
        assert [row["path"] for row in rows] == [image.path for image in images]
        assert [row["content_hash"] for row in rows] == [row["content_hash"] for row in expected]
        one, other = (np.array([row["readout"] for row in each]) for each in (rows, expected))
        assert np.allclose(one, other, rtol=1e-4, atol=1e-5)


def test_a_batch_of_which_nothing_can_be_read_is_told_of_in_its_turn(tiny: Tiny, tmp_path: Path) -> None:
    plan = planned(tiny, tmp_path)
    root = tmp_path / "emptied"
    root.mkdir()
    told: list[int] = []
    sweep_shards(replace(plan, root=str(root)), range(2), lambda step, done, total: told.append(done))
    assert told == [4, 8, 12, 16]
    assert pq.read_metadata(plan.files.sweep(1)).num_rows == 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["float16", "float32"])
def test_a_gpu_s_stream_gives_every_image_its_own_numbers(tiny: Tiny, tmp_path: Path, precision: str) -> None:
    expected = planned(tiny, tmp_path / "cpu")
    sweep_shards(expected, range(expected.shards))
    plan = planned(tiny, tmp_path / "cuda", device="cuda", precision=precision, batch_size=0, workers=2)
    sweep_shards(plan, range(plan.shards))
    for index in range(plan.shards):
        one, other = (pq.read_table(each.files.sweep(index)) for each in (plan, expected))
        assert one["content_hash"].equals(other["content_hash"])
        found, right = (np.stack(table["readout"].to_pylist()) for table in (one, other))
        error = np.linalg.norm(found - right, axis=1) / np.linalg.norm(right, axis=1)
        assert error.max() < (0.02 if precision == "float16" else 1e-3)
