"""The steps of an audit after its plan, in their order: how each is computed, and what files say that it is done.

Most fall into parts: any process may compute any part, in any order, and leaves its files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from gradattn_core import outfolder, progress
from gradattn_core.audit.findings import write_findings
from gradattn_core.audit.finetune import finetune_fold
from gradattn_core.audit.interpret import interpret_shard, interpret_shards
from gradattn_core.audit.merge import merge
from gradattn_core.audit.plan import Plan, is_stored
from gradattn_core.audit.previews import write_previews
from gradattn_core.audit.rank import count_suspects, rank_images
from gradattn_core.audit.repair import passed, unread
from gradattn_core.audit.sweep import sweep_shard, sweep_shards
from gradattn_core.files import is_whole
from gradattn_core.model.openvino_passes import release_conversions
from gradattn_core.outfolder import failures_beside
from gradattn_core.progress import Progress, Step


@dataclass(frozen=True)
class Stage:
    """One step and its parts.

    Attributes:
        step: its name.
        run: computes a part, unless its files are there.
        files: what a part writes; where the last of them is, the others are whole too. None for the merge, whose result
            is in the database.
        part: what one of its parts is called; empty where there is one part, which the audit's own process computes.
        parts: how many there are, once the stages before are done.
        total: how many units progress counts.
        needs: patterns of what a part reads in the plan's folder, beside the plan and the listing.
        together: computes all parts in one process where that is faster than one after the other.
    """

    step: Step
    run: Callable[[Plan, int, Progress], object]
    files: Callable[[Plan, int], tuple[Path, ...]]
    part: str = ""
    parts: Callable[[Plan], int] = lambda plan: 1
    total: Callable[[Plan], int] = lambda plan: plan.images
    needs: tuple[str, ...] = ()
    together: Callable[[Plan, Progress], object] | None = None

    @property
    def name(self) -> str:
        """Of the step."""
        return self.step.name

    def file(self, plan: Plan, index: int) -> Path:
        """The file of a part that is there once all of it is."""
        return self.files(plan, index)[-1]

    def missing(self, plan: Plan) -> list[int]:
        """The parts that are still to be computed, in order."""
        return [index for index in range(self.parts(plan)) if not self.file(plan, index).exists()]

    def tell(self, plan: Plan, missing: int, listener: Progress) -> None:
        """Tell how far the stage is while its parts are computed elsewhere; to the part, in its own unit."""
        total, parts = self.total(plan), self.parts(plan)
        listener(self.name, total * (parts - missing) // parts if parts else total, total)


def stages_left(plan: Plan) -> tuple[list[Stage], list[Stage]]:
    """What is to be done about an audit, in order; what a stage finds done costs it nothing.

    Returns:
        the stages up to the last one that falls into parts, and those after it, for which no other process is needed.
    """
    if plan.is_finished:
        return [], []
    if is_stored(plan.out, plan.audit_id):
        return [], [MERGE]
    stages = [stage for stage in STAGES.values() if plan.head == "finetune" or stage is not FINETUNE]
    _clear_unusable(plan, stages)
    shared = stages.index(INTERPRET) + 1
    return stages[:shared], stages[shared:]


def _clear_unusable(plan: Plan, stages: Iterable[Stage]) -> None:
    """Remove what an interrupted run left that cannot be used, so that it is computed again and the rest is not."""
    for stage in stages:
        for index in _shards_of_maps(plan) if stage is INTERPRET else range(stage.parts(plan)):
            files = stage.files(plan, index)
            if not files or not files[-1].exists():
                continue
            if not all(map(is_whole, files)) or (stage is SWEEP and _is_outdated(plan, index)):
                files[-1].unlink()


def _shards_of_maps(plan: Plan) -> list[int]:
    """Those that are there: how many there should be is known only once the images are ranked."""
    return [int(file.stem.rpartition("-")[2]) for file in plan.files.interpret_files()]


def _is_outdated(plan: Plan, shard: int) -> bool:
    """Whether a swept shard is another's, or what could not be read then can be now.

    Once the images are ranked, failures stay: the next audit of the dataset tries them again.
    """
    failures, file = _swept(plan, shard)
    listed = {image.path for image in plan.shard(shard)}
    if not listed.issuperset(pq.read_table(file, columns=["path"])["path"].to_pylist()):
        return True
    return not plan.files.rank.exists() and bool(passed(plan.root, unread(failures)))


def _swept(plan: Plan, shard: int) -> tuple[Path, ...]:
    file = plan.files.sweep(shard)
    return failures_beside(file), file


def _finetuned(plan: Plan, fold: int) -> tuple[Path, ...]:
    return plan.files.fold_weights(fold), plan.files.finetune(fold)


def _ranked(plan: Plan, part: int) -> tuple[Path, ...]:
    files = plan.files
    heads = (files.heads,) if plan.head == "probe" else ()
    return (*heads, files.origins, files.predictions, files.suspects, files.rank)


def _found(plan: Plan, part: int) -> tuple[Path, ...]:
    return plan.files.neighbours, plan.files.exemplars, plan.files.findings


def _interpreted(plan: Plan, shard: int) -> tuple[Path, ...]:
    file = plan.files.interpret(shard)
    return plan.files.regions(shard), failures_beside(file), file


def _find(plan: Plan, part: int, listener: Progress) -> None:
    write_findings(plan, listener)
    write_previews(plan, listener)


def _after_the_sweep(run: Callable[[Plan, int, Progress], object]) -> Callable[[Plan, int, Progress], object]:
    """A part of a stage that needs the memory for other things than what OpenVINO made of the model.

    At the end of a swept shard it would be too early: a process that sweeps one at a time would convert for each.
    """

    def part(plan: Plan, index: int, listener: Progress) -> object:
        release_conversions()
        return run(plan, index, listener)

    return part


SWEEP = Stage(
    *(progress.SWEEP, sweep_shard, _swept, "shard"),
    parts=lambda plan: plan.shards,
    together=lambda plan, listener: sweep_shards(plan, range(plan.shards), listener),
    needs=(outfolder.BROUGHT,),
)
FINETUNE = Stage(
    *(progress.FINETUNE, _after_the_sweep(finetune_fold), _finetuned, "fold"),
    parts=lambda plan: plan.config.folds,
    total=lambda plan: plan.config.folds,
    needs=(outfolder.SWEEPS,),
)
RANK = Stage(progress.RANK, _after_the_sweep(lambda plan, part, listener: rank_images(plan, listener)), _ranked)
INTERPRET = Stage(
    *(progress.INTERPRET, _after_the_sweep(interpret_shard), _interpreted, "shard"),
    parts=interpret_shards,
    total=count_suspects,
    needs=(outfolder.SUSPECTS, outfolder.ORIGINS, outfolder.HEADS, outfolder.FOLD_WEIGHTS),
)
FINDINGS = Stage(progress.FINDINGS, _find, _found)
MERGE = Stage(progress.MERGE, lambda plan, part, listener: merge(plan, listener), lambda plan, part: ())
STAGES = {stage.name: stage for stage in (SWEEP, FINETUNE, RANK, INTERPRET, FINDINGS, MERGE)}
"""By name, in their order."""
assert tuple(stage.step for stage in STAGES.values()) == progress.STEPS[1:]
