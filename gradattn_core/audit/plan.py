"""Plans an audit, or finds the interrupted one that the same command began."""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import timm
import torch

import gradattn_core
from gradattn_core.audit.config import AuditConfig
from gradattn_core.audit.files import write_parquet, write_text
from gradattn_core.audit.loading import audit_model
from gradattn_core.dataset import list_dataset
from gradattn_core.errors import ClassAlignmentError, StoreError
from gradattn_core.model import Alignment, align_classes, class_names
from gradattn_core.records import ImageRecord, Listing
from gradattn_core.store import Store

WORK, FEATURES = "work", "features"


@dataclass(frozen=True)
class Plan:
    """An audit as it is being made. It lives in ``folder``; every step reads it from there.

    Attributes:
        folder: ``OUT/work/<audit_id>``.
        root: the dataset's root.
        classes: sorted given labels.
        head: ``as-is``, ``probe`` or ``finetune``.
        alignment: the model's output of each class (``as-is``).
        notes: what the user should know about how the audit was set up.
    """

    config: AuditConfig
    audit_id: str
    fingerprint: str
    folder: Path
    root: str
    classes: tuple[str, ...]
    head: str
    alignment: Alignment | None
    shards: int
    images: int
    skipped: int
    list_failures: tuple[dict[str, str], ...]
    started_at: str
    versions: dict[str, str]
    notes: tuple[str, ...] = ()

    @property
    def out(self) -> Path:
        return self.folder.parent.parent

    @cached_property
    def listing(self) -> pd.DataFrame:
        """path, label, size of every image, ordered by path."""
        frame: pd.DataFrame = pq.read_table(self.folder / "listing.parquet").to_pandas()
        return frame

    def shard(self, index: int) -> list[ImageRecord]:
        """The images of one shard."""
        size = self.config.shard_size
        rows = self.listing.iloc[index * size : (index + 1) * size]
        return [ImageRecord(*row) for row in rows.itertuples(index=False, name=None)]


@dataclass(frozen=True)
class Survey:
    """What there is to audit. ``fingerprint`` names dataset, model and parameters: equal ones give equal results."""

    listing: Listing
    fingerprint: str


def survey_dataset(config: AuditConfig) -> Survey:
    """List the dataset.

    Raises:
        DatasetError: it cannot be audited.
        ModelError: the checkpoint is not there.
    """
    listing = list_dataset(
        config.dataset,
        path_column=config.path_column,
        label_column=config.label_column,
        split_column=config.split_column,
        split=config.split,
    )
    return Survey(listing, _fingerprint(config, listing))


def finished_audit(config: AuditConfig, survey: Survey) -> str | None:
    """The id of the newest finished audit with the same fingerprint.

    ``None`` without one, with ``restart``, and where a run of it was stopped while it cleared up.
    """
    out = output_folder(config.out)
    if config.restart or _unfinished(out / WORK, survey.fingerprint) is not None:
        return None
    return next((audit_id for audit_id, mark in stored_audits(out) if mark == survey.fingerprint), None)


def stored_audits(out: Path) -> list[tuple[str, str]]:
    """(audit_id, fingerprint) of every finished audit, newest first; empty before the first one."""
    store = Store(out)
    if not store.database.exists():
        return []
    audits = store.audits()
    return list(zip(audits["audit_id"], audits["fingerprint"], strict=True))


def make_plan(config: AuditConfig, survey: Survey) -> Plan:
    """Check the model against the dataset and write the plan; or continue the one that an interrupted run left.

    Raises:
        GradattnError: the model or the output folder cannot be used; nothing has been written then.
    """
    listing, fingerprint = survey.listing, survey.fingerprint
    work = output_folder(config.out) / WORK
    found = _unfinished(work, fingerprint)
    if found is not None:
        if not config.restart:
            # What may differ (device, batch size, where the checkpoint lies) is what this command says.
            plan = replace(load_plan(found), config=config)
            _write_plan(plan)
            return plan
        shutil.rmtree(found)
    head, alignment, notes = _choose_head(config, listing)
    # A database that cannot be written must be noticed before hours of work, not after.
    Store(work.parent).prepare()
    now = datetime.now(UTC)
    audit_id = f"{now:%Y%m%dT%H%M%S}-{fingerprint[:8]}"
    plan = Plan(
        config=config,
        audit_id=audit_id,
        fingerprint=fingerprint,
        folder=work / audit_id,
        root=listing.root,
        classes=tuple(listing.classes),
        head=head,
        alignment=alignment,
        shards=-(-len(listing.images) // config.shard_size),
        images=len(listing.images),
        skipped=listing.skipped,
        list_failures=tuple(asdict(failure) for failure in listing.failures),
        started_at=now.isoformat(),
        versions=_versions(),
        notes=notes,
    )
    _write(plan, listing)
    return plan


def load_plan(folder: Path | str) -> Plan:
    """Read a plan back from its folder."""
    folder = Path(folder)
    values: dict[str, Any] = json.loads((folder / "plan.json").read_text("utf-8"))
    alignment = values.pop("alignment")
    return Plan(
        **{
            **values,
            "config": AuditConfig.from_json(json.dumps(values["config"])),
            "folder": folder,
            "classes": tuple(values["classes"]),
            "alignment": alignment and Alignment(tuple(alignment["indices"]), alignment["method"]),
            "list_failures": tuple(values["list_failures"]),
            "notes": tuple(values["notes"]),
        }
    )


def output_folder(out: str) -> Path:
    """The output folder, made if need be.

    Raises:
        StoreError: it cannot be made or written to.
    """
    folder = Path(out).expanduser().resolve()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise StoreError(
            f"output folder {out}: cannot be written ({error.strerror}); give another with --out"
        ) from error
    return folder


def _write(plan: Plan, listing: Listing) -> None:
    plan.folder.mkdir(parents=True)
    images = listing.images
    table = pa.table(
        {
            "path": pa.array([image.path for image in images], pa.string()),
            "label": pa.array([image.label for image in images], pa.string()),
            "size": pa.array([image.size for image in images], pa.int64()),
        }
    )
    write_parquet(plan.folder / "listing.parquet", table)
    # The plan is written last: a folder without it was never begun.
    _write_plan(plan)


def _write_plan(plan: Plan) -> None:
    values = {**asdict(plan), "folder": None}
    write_text(plan.folder / "plan.json", json.dumps(values, ensure_ascii=True))


def _fingerprint(config: AuditConfig, listing: Listing) -> str:
    digest = hashlib.blake2b(digest_size=16)
    digest.update(json.dumps([gradattn_core.__version__, config.identity()], sort_keys=True).encode())
    for image in listing.images:
        digest.update(json.dumps([image.path, image.label, image.size, image.modified]).encode())
    return digest.hexdigest()


def _unfinished(work: Path, fingerprint: str) -> Path | None:
    for folder in sorted(work.glob(f"*-{fingerprint[:8]}")):
        if (folder / "plan.json").is_file():
            return folder
        shutil.rmtree(folder)
    return None


def _choose_head(config: AuditConfig, listing: Listing) -> tuple[str, Alignment | None, tuple[str, ...]]:
    """Decide the head and prove that the model can be built, before anything is written or swept."""
    classes = listing.classes
    if config.head == "finetune":
        audit_model(config, len(classes) if config.from_scratch else None)
        return "finetune", None, ()
    model = audit_model(config)
    if config.head == "probe":
        return "probe", None, ()
    outputs = int(getattr(model, "num_classes", 0))
    try:
        alignment = align_classes(classes, outputs, class_names(model), config.class_map)
    except ClassAlignmentError:
        if config.head == "as-is" or config.class_map is not None:
            raise
        return "probe", None, ("The model's classes are not the dataset's: a K-fold probe on its features judges.",)
    if config.head == "auto" and alignment.method == "index order":
        # The same number of classes proves nothing about their meaning; a person must say so.
        return "probe", None, ()
    return "as-is", alignment, (f"The model's classes were aligned by {alignment.method}.",)


def _versions() -> dict[str, str]:
    return {
        "gradattn": gradattn_core.__version__,
        "torch": torch.__version__,
        "timm": timm.__version__,
        "duckdb": duckdb.__version__,
        "python": platform.python_version(),
    }
