"""How far unfinished audits are, read from the files they leave in their work folders.

The names of those files are ``gradattn_core.audit``'s. Importing that would import torch, which takes a page seconds.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

# Interpreting has shards of a quarter of the images that sweeping has.
_SHARD_DIVISOR = 4
# The newest results tell how fast the running stage is.
_TIMED = 10


@dataclass(frozen=True)
class Stage:
    """One step of an audit: ``done`` of ``total`` ``unit``; the step is over where they are equal."""

    name: str
    done: int
    total: int
    unit: str

    @property
    def share(self) -> float:
        """0 to 1."""
        return self.done / self.total if self.total else 1.0


@dataclass(frozen=True)
class Work:
    """An audit that has a plan and no place in the database yet.

    Attributes:
        stages: in their order; the first one that is not over is at work, or was when the audit stopped.
        seconds_left: of that stage, by the pace of its last shards; None where there are too few to tell.
    """

    audit_id: str
    dataset: str
    model: str
    head: str
    images: int
    started_at: str
    stages: tuple[Stage, ...]
    seconds_left: float | None

    @property
    def stage(self) -> Stage:
        """The one at work; the last one where all are over."""
        return next((stage for stage in self.stages if stage.done < stage.total), self.stages[-1])


def unfinished(out: Path) -> list[Work]:
    """The audits that are at work in the output folder, or were when they were interrupted; the newest first."""
    plans = sorted(out.glob("work/*/plan.json"), key=lambda path: path.parent.name, reverse=True)
    return [work for work in map(_read, plans) if work is not None]


def at_work(out: Path) -> bool:
    """Whether an audit holds the output folder's lock, be it of this page, a terminal or a Prefect worker."""
    lock = out / ".audit.lock"
    if not lock.exists():
        return False
    try:
        with FileLock(lock, timeout=0):
            return False
    except Timeout:
        return True
    except OSError:
        # A folder that cannot be written to from here, such as a read-only mount.
        return False


def _read(path: Path) -> Work | None:
    """None where the audit has just cleared up, or never wrote its plan to the end."""
    folder = path.parent
    try:
        plan: dict[str, Any] = json.loads(path.read_text("utf-8"))
        config = plan["config"]
        stages = tuple(_stages(folder, plan))
        return Work(
            audit_id=str(plan["audit_id"]),
            dataset=str(config["dataset"]),
            model=str(config["model"]),
            head=str(plan["head"]),
            images=int(plan["images"]),
            started_at=str(plan["started_at"]),
            stages=stages,
            seconds_left=_seconds_left(folder, stages, int(plan["shard_size"])),
        )
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException):
        return None


def _stages(folder: Path, plan: dict[str, Any]) -> list[Stage]:
    size, images = int(plan["shard_size"]), int(plan["images"])
    judged = (folder / "scores.parquet").exists()
    # Whoever has judged has swept: the shards themselves may be on their way to the features already.
    swept = images if judged else min(images, size * len(_results(folder, "sweep")))
    stages = [Stage("Sweep", swept, images, "images")]
    if plan["head"] == "finetune":
        folds = int(plan["config"]["folds"])
        stages.append(Stage("Fine-tune", folds if judged else len(_results(folder, "fold")), folds, "folds"))
    stages.append(Stage("Rank", int(judged), 1, ""))
    last = [Stage("Findings", int((folder / "doubts.parquet").exists()), 1, ""), Stage("Store", 0, 1, "")]
    if not judged:
        return [*stages, Stage("Interpret", 0, 1, ""), *last]
    suspects = pq.read_metadata(folder / "suspects.parquet").num_rows
    explained = min(suspects, _evidence_size(size) * len(_results(folder, "interpretations")))
    return [*stages, Stage("Interpret", explained, suspects, "images"), *last]


def _results(folder: Path, name: str) -> list[Path]:
    return list(folder.glob(f"{name}-*.parquet"))


def _evidence_size(shard_size: int) -> int:
    return max(1, shard_size // _SHARD_DIVISOR)


def _seconds_left(folder: Path, stages: tuple[Stage, ...], shard_size: int) -> float | None:
    stage = next(stage for stage in stages if stage.done < stage.total)
    files = {"Sweep": ("sweep", shard_size), "Interpret": ("interpretations", _evidence_size(shard_size))}
    if stage.name not in files:
        return None
    name, size = files[stage.name]
    moments = sorted(path.stat().st_mtime for path in _results(folder, name))[-_TIMED:]
    if len(moments) < 3:
        return None
    # Where the audit was interrupted there is a gap between two of them, which says nothing about its pace.
    pace = median(later - earlier for earlier, later in pairwise(moments))
    return pace * (stage.total - stage.done) / size
