"""The stages of an audit that fall into parts: any process may compute any part, in any order, and leaves its file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gradattn_core.audit.finetune import finetune_fold, fold_file, weights_file
from gradattn_core.audit.interpret import evidence_file, evidence_shards, interpret_shard
from gradattn_core.audit.plan import Plan
from gradattn_core.audit.rank import count_suspects
from gradattn_core.audit.reuse import regions_beside
from gradattn_core.audit.sweep import failures_file, sweep_file, sweep_shard
from gradattn_core.progress import Progress


@dataclass(frozen=True)
class Stage:
    """One stage and its parts.

    Attributes:
        name: as progress tells it, and the key of ``STAGES``.
        part: what one of its parts is called.
        run: computes a part, unless its file is there.
        files: what a part writes into the plan's folder; where the last of them is, the others are whole too.
        parts: how many there are, once the stages before are done.
        total: how many units progress counts.
        needs: patterns of what a part reads in the plan's folder, beside the plan and the listing.
    """

    name: str
    part: str
    run: Callable[[Plan, int, Progress], Path]
    files: Callable[[Plan, int], tuple[Path, ...]]
    parts: Callable[[Plan], int]
    total: Callable[[Plan], int]
    needs: tuple[str, ...] = ()

    def file(self, plan: Plan, index: int) -> Path:
        """The file of a part that is there once all of it is."""
        return self.files(plan, index)[-1]

    def missing(self, plan: Plan) -> list[int]:
        """The parts that are still to be computed, in order."""
        return [index for index in range(self.parts(plan)) if not self.file(plan, index).exists()]

    def tell(self, plan: Plan, left: int, progress: Progress) -> None:
        """Tell how far the stage is while its parts are computed elsewhere; to the part, in its own unit."""
        total, parts = self.total(plan), self.parts(plan)
        progress(self.name, total * (parts - left) // parts if parts else total, total)


def _swept(plan: Plan, index: int) -> tuple[Path, ...]:
    file = sweep_file(plan, index)
    return failures_file(file), file


def _finetuned(plan: Plan, fold: int) -> tuple[Path, ...]:
    return weights_file(plan, fold), fold_file(plan, fold)


def _interpreted(plan: Plan, index: int) -> tuple[Path, ...]:
    file = evidence_file(plan, index)
    return regions_beside(file), failures_file(file), file


SWEEP = Stage("sweep", "shard", sweep_shard, _swept, lambda plan: plan.shards, lambda plan: plan.images)
FINETUNE = Stage(
    *("fine-tune", "fold", finetune_fold, _finetuned),
    parts=lambda plan: plan.config.folds,
    total=lambda plan: plan.config.folds,
    needs=("sweep-*.parquet",),
)
INTERPRET = Stage(
    *("interpret", "shard", interpret_shard, _interpreted),
    parts=evidence_shards,
    total=count_suspects,
    needs=("suspects.parquet", "heads.safetensors", "fold-*.safetensors"),
)
STAGES = {stage.name: stage for stage in (SWEEP, FINETUNE, INTERPRET)}
