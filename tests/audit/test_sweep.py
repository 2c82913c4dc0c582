"""Shards on their way to their files: written while the next is swept, whole or not there, in parts or at once."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from gradattn_core.audit.plan import Plan, make_plan, survey_dataset
from gradattn_core.audit.stages import SWEEP
from gradattn_core.audit.sweep import sweep_shard, sweep_shards
from gradattn_core.audit.workers import run_stage
from gradattn_core.outfolder import failures_beside
from tests.helpers.tiny import Tiny


def planned(tiny: Tiny, out: Path, shard_size: int = 8) -> Plan:
    config = tiny.config(out, shard_size=shard_size, batch_size=4)
    return make_plan(config, survey_dataset(config))


def contents(plan: Plan) -> list[bytes]:
    return [plan.files.sweep(index).read_bytes() for index in range(plan.shards)]


def test_shards_swept_together_are_those_swept_one_by_one_to_the_byte(tiny: Tiny, tmp_path: Path) -> None:
    one, together = planned(tiny, tmp_path / "one"), planned(tiny, tmp_path / "together")
    for index in reversed(range(one.shards)):
        sweep_shard(one, index)
    told: list[tuple[str, int, int]] = []
    run_stage(together, SWEEP, None, lambda *progress: told.append(progress))
    assert contents(one) == contents(together) and together.shards > 3
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told), "progress never goes back"
    assert told[-1] == ("sweep", together.images, together.images)


def test_a_shard_is_written_while_the_next_one_is_swept(tiny: Tiny, tmp_path: Path) -> None:
    plan, sweeping = planned(tiny, tmp_path), threading.current_thread()
    seen: list[int] = []

    def listen(step: str, done: int, total: int) -> None:
        """Hold up the sweep in the first batch of a shard until the shard before it is there."""
        assert threading.current_thread() is sweeping
        before, rest = done // plan.shard_size - 1, done % plan.shard_size
        if rest and before >= 0 and before not in seen:
            end = time.monotonic() + 30
            while not plan.files.sweep(before).exists():
                assert time.monotonic() < end, f"shard {before} is not written while the next one is swept"
                time.sleep(0.01)
            seen.append(before)

    sweep_shards(plan, range(plan.shards), listen)
    assert seen == list(range(plan.shards - 1)) and all(plan.files.sweep(index).exists() for index in seen)


def test_what_stops_the_sweep_leaves_whole_shards_and_the_same_command_goes_on(tiny: Tiny, tmp_path: Path) -> None:
    whole, stopped = planned(tiny, tmp_path / "whole"), planned(tiny, tmp_path / "stopped")
    sweep_shards(whole, range(whole.shards))

    def stop(step: str, done: int, total: int) -> None:
        if done > 2 * stopped.shard_size:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep_shards(stopped, range(stopped.shards), stop)
    there = [index for index in range(stopped.shards) if stopped.files.sweep(index).exists()]
    assert there == [0, 1], "the one that was being written when the sweep was stopped is there too"
    sweep_shards(stopped, range(stopped.shards))
    assert contents(stopped) == contents(whole)


def test_a_shard_that_cannot_be_written_ends_the_sweep_and_those_before_it_are_kept(tiny: Tiny, tmp_path: Path) -> None:
    plan = planned(tiny, tmp_path)
    in_the_way = failures_beside(plan.files.sweep(1))
    in_the_way.mkdir()
    with pytest.raises(OSError):
        sweep_shards(plan, range(plan.shards))
    assert [plan.files.sweep(index).exists() for index in range(3)] == [True, False, False]
    in_the_way.rmdir()
    sweep_shards(plan, range(plan.shards))
    rows = sum(pq.read_metadata(plan.files.sweep(index)).num_rows for index in range(plan.shards))
    assert rows == plan.images


def test_the_last_shard_that_cannot_be_written_is_no_success(tiny: Tiny, tmp_path: Path) -> None:
    plan = planned(tiny, tmp_path, shard_size=1000)
    failures_beside(plan.files.sweep(0)).mkdir()
    with pytest.raises(OSError):
        sweep_shards(plan, [0])
    assert not plan.files.sweep(0).exists()
