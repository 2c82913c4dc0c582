"""The seven steps of an audit, who is told how far one is, and how far the files say that it is."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Protocol

from gradattn_core import outfolder
from gradattn_core.config import NO_MODEL
from gradattn_core.outfolder import AuditFolder

# The newest results tell how fast the running step is.
_TIMED = 10


class Progress(Protocol):
    """Called as ``progress(step, done, total)`` with counts of the step's own unit, mostly images."""

    def __call__(self, step: str, done: int, total: int, /) -> None: ...


def silent(step: str, done: int, total: int) -> None:
    """Says nothing."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of an audit.

    Attributes:
        name: of the step, of its module in ``gradattn_core.audit``, of its files and of its line of progress.
        title: as a page shows it.
        unit: what is counted; empty where a step is done or not.
    """

    name: str
    title: str
    unit: str = ""


PLAN = Step("plan", "Plan")
SWEEP = Step("sweep", "Sweep", "images")
FINETUNE = Step("finetune", "Fine-tune", "folds")
RANK = Step("rank", "Rank")
INTERPRET = Step("interpret", "Interpret", "images")
FINDINGS = Step("findings", "Findings")
MERGE = Step("merge", "Merge")
STEPS = (PLAN, SWEEP, FINETUNE, RANK, INTERPRET, FINDINGS, MERGE)
"""In their order; ``finetune`` only where the head is fine-tuned."""


def interpret_shard_size(shard_size: int) -> int:
    """Images of a shard of maps: interpreting costs several times what sweeping does, so a quarter of a shard."""
    return max(1, shard_size // 4)


@dataclass(frozen=True, slots=True)
class StepProgress:
    """How far a step is: ``done`` of ``total`` of its unit; it is over where they are equal."""

    step: Step
    done: int
    total: int

    @property
    def is_over(self) -> bool:
        return self.done >= self.total

    @property
    def share(self) -> float:
        """0 to 1."""
        return min(1.0, self.done / self.total) if self.total else 1.0


@dataclass(frozen=True, slots=True)
class UnfinishedAudit:
    """An audit that has a plan and no place in the database yet.

    Attributes:
        steps: from the sweep on; the first one that is not over is at work, or was when the audit stopped.
        seconds_left: of that step, by the pace of its last shards; None where there are too few to tell.
    """

    audit_id: str
    dataset: str
    model: str
    head: str
    images: int
    started_at: str
    steps: tuple[StepProgress, ...]
    seconds_left: float | None

    @property
    def current(self) -> StepProgress:
        """The step at work; the last one where all are over."""
        return next((step for step in self.steps if not step.is_over), self.steps[-1])


def unfinished_audits(out: Path) -> list[UnfinishedAudit]:
    """The audits that are at work in the output folder, or were when they were interrupted; the newest first."""
    audits = (_read(folder) for folder in outfolder.unfinished_folders(out))
    return [audit for audit in audits if audit is not None]


def _read(folder: AuditFolder) -> UnfinishedAudit | None:
    """None where the audit has just cleared up, or never wrote its plan to the end."""
    import pyarrow as pa

    try:
        plan = folder.read_plan()
        config, shard_size = plan["config"], int(plan["shard_size"])
        folds = int(config["folds"]) if plan["head"] == "finetune" else 0
        steps = _steps(folder, shard_size, int(plan["images"]), folds, maps=config["model"] != NO_MODEL)
        return UnfinishedAudit(
            audit_id=str(plan["audit_id"]),
            dataset=str(config["dataset"]),
            model=str(config["model"]),
            head=str(plan["head"]),
            images=int(plan["images"]),
            started_at=str(plan["started_at"]),
            steps=steps,
            seconds_left=_seconds_left(folder, steps, shard_size),
        )
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException):
        return None


def _steps(
    folder: AuditFolder, shard_size: int, images: int, folds: int, maps: bool = True
) -> tuple[StepProgress, ...]:
    """Every step from the sweep on; ``folds`` is 0 where none is fine-tuned."""
    import pyarrow.parquet as pq

    is_ranked = folder.rank.exists()
    suspects = pq.read_metadata(folder.suspects).num_rows if is_ranked else 1
    suspects = suspects if maps else 0
    # Whatever is ranked has been swept: the shards themselves may be on their way to the features already.
    done = {
        SWEEP: (images if is_ranked else min(images, shard_size * len(folder.sweep_files())), images),
        FINETUNE: (folds if is_ranked else len(folder.finetune_files()), folds),
        RANK: (int(is_ranked), 1),
        INTERPRET: (min(suspects, interpret_shard_size(shard_size) * len(folder.interpret_files())), suspects),
        FINDINGS: (int(folder.findings.exists()), 1),
        MERGE: (0, 1),
    }
    return tuple(StepProgress(step, *done[step]) for step in STEPS[1:] if folds or step is not FINETUNE)


def _seconds_left(folder: AuditFolder, steps: tuple[StepProgress, ...], shard_size: int) -> float | None:
    current = next(step for step in steps if not step.is_over)
    if current.step is SWEEP:
        files, size = folder.sweep_files(), shard_size
    elif current.step is INTERPRET:
        files, size = folder.interpret_files(), interpret_shard_size(shard_size)
    else:
        return None
    moments = sorted(path.stat().st_mtime for path in files)[-_TIMED:]
    if len(moments) < 3:
        return None
    # Where the audit was interrupted there is a gap between two of them, which says nothing about its pace.
    pace = median(later - earlier for earlier, later in pairwise(moments))
    return pace * (current.total - current.done) / size


def duration(seconds: float) -> str:
    """A length of time in its two largest units: ``45 s``, ``12 min``, ``3 h 5 min``."""
    minutes = round(seconds / 60)
    if minutes < 2:
        return f"{max(0, round(seconds))} s"
    hours, rest = divmod(minutes, 60)
    return f"{minutes} min" if not hours else f"{hours} h {rest} min"
