"""The output folder: what every file in it is called, and the one lock that an audit or a correction holds.

OUT/gradattn.duckdb             audits, evidence and decisions
OUT/candidates.csv              the suspects of the newest audit
OUT/work/AUDIT/                 an audit that is being made, or was interrupted
OUT/features/AUDIT/             what a later audit can take over from a finished one
OUT/listed.parquet              by what a file is seen to have changed
OUT/previews/  OUT/cache/       pictures for the page
OUT/logs/                       of audits that the page has started
OUT/applied.jsonl  OUT/removed/  OUT/manifests/     what was done to the dataset in place, and the way back
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from gradattn_core.errors import OutputBusyError, StoreError
from gradattn_core.files import is_whole, user_path

# Of an audit's folder, by name or pattern, for whoever copies files without having them yet.
PLAN, LISTING, SUSPECTS, HEADS = "plan.json", "listing.parquet", "suspects.parquet", "heads.safetensors"
BROUGHT, ORIGINS = "brought.parquet", "origins.parquet"
SWEEPS, FOLD_WEIGHTS = "sweep-*.parquet", "finetune-*.safetensors"
FORMAT = 6
"""Of the files of an unfinished audit: those of another one are not continued, but their sweeps are taken over."""
_LOCK = ".audit.lock"
DATABASE = "gradattn.duckdb"


def database(out: Path) -> Path:
    return out / DATABASE


def candidates(out: Path) -> Path:
    return out / "candidates.csv"


def listed(out: Path) -> Path:
    """How the files of each dataset looked from outside when they were last listed."""
    return out / "listed.parquet"


def work(out: Path) -> Path:
    """Of all audits that are not finished, a folder each."""
    return out / "work"


def features(out: Path) -> Path:
    """Of all finished audits, a folder each."""
    return out / "features"


def previews(out: Path) -> Path:
    return out / "previews"


def preview(out: Path, content_hash: str) -> Path:
    """A smaller copy of a picture that is no plain file of this machine."""
    return previews(out) / content_hash[:2] / f"{content_hash}.webp"


def thumbnails(out: Path) -> Path:
    return out / "cache" / "thumbnails"


def live(out: Path) -> Path:
    """Datasets and arrays that a program had in memory, as files."""
    return out / "live"


def logs(out: Path) -> Path:
    return out / "logs"


def journal(out: Path) -> Path:
    """What was done to the dataset in place, a JSON object a line."""
    return out / "applied.jsonl"


def removed(out: Path) -> Path:
    """Pictures that were taken out of the dataset in place."""
    return out / "removed"


def manifests(out: Path) -> Path:
    """Manifests as they were before they were corrected in place."""
    return out / "manifests"


@dataclass(frozen=True, slots=True)
class AuditFolder:
    """The files of one audit, in ``work`` while it is made; what a later audit can use moves to ``features``.

    The files of a stage bear its name. Each is whole or not there, and of those that a part leaves the one with the
    stage's own name comes last: where it is, the others are too.
    """

    path: Path

    @property
    def plan(self) -> Path:
        return self.path / PLAN

    def read_plan(self) -> dict[str, Any]:
        """What the plan says, as it was written. Raises OSError and ValueError."""
        return dict(json.loads(self.plan.read_text("utf-8")))

    def read_mark(self) -> dict[str, str]:
        """What the mark says: key, root and dataset of the sweep. Raises OSError and ValueError."""
        return dict(json.loads(self.mark.read_text("utf-8")))

    def is_current(self) -> bool:
        """Whether the plan is there, with its listing, and this version of gradattn can continue it."""
        try:
            return self.read_plan().get("format") == FORMAT and is_whole(self.listing)
        except (OSError, ValueError):
            return False

    @property
    def listing(self) -> Path:
        """path, label, size and time of every image."""
        return self.path / LISTING

    @property
    def brought(self) -> Path:
        """features and predictions of one's own of every image of the listing, a row group for each shard."""
        return self.path / BROUGHT

    @property
    def mark(self) -> Path:
        """Says what the swept shards beside it depend on; it comes last, a folder without it is never taken over."""
        return self.path / "sweep.json"

    def sweep(self, shard: int) -> Path:
        return self.path / f"sweep-{shard:05d}.parquet"

    def finetune(self, fold: int) -> Path:
        """path and logits of the images of one fold, by the model that has not seen them."""
        return self.path / f"finetune-{fold}.parquet"

    def fold_weights(self, fold: int) -> Path:
        """The model of one fold."""
        return self.path / f"finetune-{fold}.safetensors"

    @property
    def heads(self) -> Path:
        """The probe of each fold."""
        return self.path / HEADS

    @property
    def origins(self) -> Path:
        """The average answer of each explained head."""
        return self.path / ORIGINS

    @property
    def predictions(self) -> Path:
        return self.path / "predictions.parquet"

    @property
    def suspects(self) -> Path:
        """What is to be interpreted: path, label, content_hash, size, other, fold, the head's output of either, and
        whether its strongest regions are to be measured."""
        return self.path / SUSPECTS

    @property
    def rank(self) -> Path:
        """The score of every image."""
        return self.path / "rank.parquet"

    def interpret(self, shard: int) -> Path:
        """The maps of a shard of suspects."""
        return self.path / f"interpret-{shard:05d}.parquet"

    def regions(self, shard: int) -> Path:
        return regions_beside(self.interpret(shard))

    @property
    def neighbours(self) -> Path:
        return self.path / "neighbours.parquet"

    @property
    def exemplars(self) -> Path:
        return self.path / "exemplars.parquet"

    @property
    def findings(self) -> Path:
        """The scores with kind of doubt, its numbers and cluster added."""
        return self.path / "findings.parquet"

    def sweep_files(self) -> list[Path]:
        """The shards that are there, in order."""
        return sorted(self.path.glob(SWEEPS))

    def finetune_files(self) -> list[Path]:
        return sorted(self.path.glob("finetune-*.parquet"))

    def interpret_files(self) -> list[Path]:
        """The shards of maps that are there, in order; audits of version 0.1 called theirs otherwise."""
        return sorted([*self.path.glob("interpret-*.parquet"), *self.path.glob("interpretations-*.parquet")])


def failures_beside(result: Path) -> Path:
    """The failures that belong to a part's result."""
    return result.with_name(f"failures-{result.name}")


def regions_beside(maps: Path) -> Path:
    """The regions that belong to a shard of maps."""
    return maps.with_name(f"regions-{maps.name.rpartition('-')[2]}")


def unfinished_folders(out: Path) -> list[AuditFolder]:
    """The audits that have a plan and are not finished, the newest first."""
    plans = work(out).glob(f"*/{PLAN}")
    return [AuditFolder(plan.parent) for plan in sorted(plans, key=lambda plan: plan.parent.name, reverse=True)]


def prepare(out: str) -> Path:
    """The output folder as an absolute path, made if need be.

    Raises:
        StoreError: it cannot be made or written to.
    """
    if "://" in out:
        raise StoreError(f"output folder {out}: a database cannot lie behind a URL; give a folder on this machine")
    place = user_path(out)
    if place.parts[:1] and place.parts[0].startswith("~"):
        raise StoreError(f"output folder {out}: there is no user {place.parts[0][1:]!r} here; give a whole path")
    try:
        folder = place.resolve()
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except (OSError, ValueError, RuntimeError) as error:  # pathlib raises the last one for links in a circle
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise StoreError(f"output folder {out}: cannot be written ({reason}); give another with --out") from error
    return folder


@contextmanager
def lock(out: str | Path) -> Iterator[None]:
    """One process at a time works on an output folder or corrects its dataset.

    Raises:
        OutputBusyError: another one does.
        StoreError: the folder cannot be made, written to or locked.
    """
    held = FileLock(prepare(str(out)) / _LOCK)
    try:
        held.acquire(timeout=0)
    except Timeout as error:
        raise OutputBusyError(
            f"output folder {out}: another audit is at work there, or its dataset is being corrected; wait, or give "
            "another --out"
        ) from error
    except OSError as error:
        raise StoreError(f"output folder {out}: {_LOCK} cannot be locked ({error.strerror}); move it away") from error
    try:
        yield
    finally:
        held.release()


def is_locked(out: Path) -> bool:
    """Whether somebody holds :func:`lock`, be it this page, a terminal or a Prefect worker."""
    file = out / _LOCK
    if not file.exists():
        return False
    try:
        with FileLock(file, timeout=0):
            return False
    except Timeout:
        return True
    except OSError:
        # A folder that cannot be written to from here, such as a read-only mount.
        return False
