"""The stages of an audit that fall into parts: any process may compute any part, in any order, and leaves its file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from gradattn_core.audit.evidence import evidence_file, evidence_shards, interpret_shard
from gradattn_core.audit.folds import finetune_fold, fold_file
from gradattn_core.audit.judge import suspects_file
from gradattn_core.audit.plan import Plan
from gradattn_core.audit.progress import Progress
from gradattn_core.audit.sweep import sweep_file, sweep_shard


@dataclass(frozen=True)
class Stage:
    """One stage and its parts.

    Attributes:
        name: as progress tells it, and the key of ``STAGES``.
        part: what one of its parts is called.
        run: computes a part, unless its file is there.
        file: where a part's result lies once it is whole, with everything that belongs to it.
        parts: how many there are, once the stages before are done.
        total: how many units progress counts.
    """

    name: str
    part: str
    run: Callable[[Plan, int, Progress], Path]
    file: Callable[[Plan, int], Path]
    parts: Callable[[Plan], int]
    total: Callable[[Plan], int]

    def missing(self, plan: Plan) -> list[int]:
        """The parts that are still to be computed, in order."""
        return [index for index in range(self.parts(plan)) if not self.file(plan, index).exists()]

    def tell(self, plan: Plan, left: int, progress: Progress) -> None:
        """Tell how far the stage is while its parts are computed elsewhere; to the part, in its own unit."""
        total, parts = self.total(plan), self.parts(plan)
        progress(self.name, total * (parts - left) // parts if parts else total, total)


SWEEP = Stage("sweep", "shard", sweep_shard, sweep_file, lambda plan: plan.shards, lambda plan: plan.images)
FINETUNE = Stage(
    "fine-tune", "fold", finetune_fold, fold_file, lambda plan: plan.config.folds, lambda plan: plan.config.folds
)
INTERPRET = Stage(
    "interpret",
    "shard",
    interpret_shard,
    evidence_file,
    evidence_shards,
    lambda plan: int(pq.read_metadata(suspects_file(plan)).num_rows),
)
STAGES = {stage.name: stage for stage in (SWEEP, FINETUNE, INTERPRET)}
