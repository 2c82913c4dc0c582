"""Plans an audit, or finds the interrupted one that the same command began."""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import uuid
import warnings
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import timm
import torch

import gradattn_core
from gradattn_core.audit.loading import audit_model
from gradattn_core.audit.reuse import MARK, Sweep, sweeps_like
from gradattn_core.config import AuditConfig
from gradattn_core.dataset.listing import list_dataset
from gradattn_core.errors import ClassAlignmentError, StoreError
from gradattn_core.files import remove_folder, write_parquet, write_text
from gradattn_core.model.backbone import pick_device, weights_digest
from gradattn_core.model.classes import Alignment, align_classes, class_names
from gradattn_core.model.forward import sweep_precision
from gradattn_core.records import ImageRecord, Listing
from gradattn_core.store.store import Store

# Raised when what the files of an audit hold changes its meaning: those of before are then not continued.
FORMAT = 2


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


def _fingerprint(config: AuditConfig, listing: Listing) -> str:
    digest = hashlib.blake2b(digest_size=16)
    digest.update(json.dumps([gradattn_core.__version__, FORMAT, config.identity()], sort_keys=True).encode())
    for image in listing.images:
        digest.update(json.dumps([image.path, image.label, image.size, image.modified]).encode())
    return digest.hexdigest()


# audit_id, root, parameters, whether it is finished
_Earlier = tuple[str, str, dict[str, Any], bool]


def tell_changes(config: AuditConfig, listing: Listing, out: Path) -> None:
    """Warn in one sentence of what differs from the last audit of the dataset, an unfinished one before a finished."""
    name = PurePath(config.dataset).name
    for audit_id, root, parameters, finished in [*_begun(out), *_stored(out)]:
        if root != listing.root or PurePath(parameters.get("dataset", "")).name != name:
            continue
        differences = config.differences(parameters)
        what = ", ".join(differences) or "the images, the labels or the checkpoint have changed"
        left = "" if finished else ", which was interrupted and stays as it is"
        warnings.warn(f"a new audit begins, other than {audit_id}{left}: {what}", UserWarning, stacklevel=2)
        return


def _begun(out: Path) -> list[_Earlier]:
    files = sorted(out.glob("work/*/plan.json"), reverse=True)
    plans = [json.loads(file.read_text("utf-8")) for file in files]
    return [(plan["audit_id"], plan["root"], plan["config"], False) for plan in plans]


def _stored(out: Path) -> list[_Earlier]:
    audits = Store(out).audits.all()
    columns = (audits[name] for name in ("audit_id", "root", "parameters"))
    return [(audit_id, root, json.loads(parameters), True) for audit_id, root, parameters in zip(*columns, strict=True)]


WORK, FEATURES, PLAN = "work", "features", "plan.json"
_SHARD_ON_CPU, _SHARD_ON_GPU = 1024, 16384


@dataclass(frozen=True)
class Plan:
    """An audit as it is being made. It lives in ``folder``; every step reads it from there.

    Attributes:
        folder: ``OUT/work/<audit_id>``.
        root: the dataset's root.
        classes: sorted given labels.
        head: ``as-is``, ``probe`` or ``finetune``.
        alignment: the model's output of each class (``as-is``).
        shards, shard_size: how many there are, and of how many images.
        precision: of the sweep, ``auto`` resolved for the device it began on.
        sweep_key: digest of what the numbers of the sweep depend on but the images.
        takes_from: folders below the output folder with sweeps of the same key, newest first.
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
    shard_size: int
    images: int
    skipped: int
    list_failures: tuple[dict[str, str], ...]
    started_at: str
    versions: dict[str, str]
    precision: str
    sweep_key: str
    takes_from: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def out(self) -> Path:
        return self.folder.parent.parent

    @property
    def sweep(self) -> Sweep:
        """The sweep that this audit makes."""
        return Sweep(self.folder, self.sweep_key, self.root, self.config.listed())

    @cached_property
    def sources(self) -> tuple[Sweep, ...]:
        """The sweeps from which images are taken over."""
        return tuple(sweeps_like(self.sweep_key, [self.out / name for name in self.takes_from]))

    @cached_property
    def listing(self) -> pd.DataFrame:
        """path, label, size, modified of every image, ordered by path."""
        frame: pd.DataFrame = pq.read_table(self.folder / "listing.parquet").to_pandas()
        return frame

    def shard(self, index: int) -> list[ImageRecord]:
        """The images of one shard."""
        size = self.shard_size
        rows = self.listing.iloc[index * size : (index + 1) * size]
        return [ImageRecord(*row) for row in rows.itertuples(index=False, name=None)]


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
    audits = store.audits.all()
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
            if plan.takes_from:
                # Those of then may have been taken over by another audit meanwhile.
                plan = replace(plan, takes_from=_below(work.parent, sweeps_of(work.parent, plan.sweep_key)))
            _write_plan(plan)
            return plan
        remove_folder(found, (PLAN, MARK))
    head, alignment, notes = _choose_head(config, listing)
    # A database that cannot be written must be noticed before hours of work, not after.
    Store(work.parent).prepare()
    if not config.restart:
        tell_changes(config, listing, work.parent)
    now = datetime.now(UTC)
    audit_id = f"{now:%Y%m%dT%H%M%S}-{fingerprint[:8]}"
    device = pick_device(config.device)
    precision = sweep_precision(config.precision, device)
    key = _sweep_key(config, precision, listing.classes, alignment)
    size = config.shard_size or _shard_size(len(listing.images), device)
    plan = Plan(
        config=config,
        audit_id=audit_id,
        fingerprint=fingerprint,
        folder=work / audit_id,
        root=listing.root,
        classes=tuple(listing.classes),
        head=head,
        alignment=alignment,
        shards=-(-len(listing.images) // size),
        shard_size=size,
        images=len(listing.images),
        skipped=listing.skipped,
        list_failures=tuple(asdict(failure) for failure in listing.failures),
        started_at=now.isoformat(),
        versions=_versions(),
        precision=precision,
        sweep_key=key,
        takes_from=() if config.restart else _below(work.parent, sweeps_of(work.parent, key)),
        notes=notes,
    )
    _write(plan, listing)
    return plan


def load_plan(folder: Path | str) -> Plan:
    """Read a plan back from its folder."""
    folder = Path(folder)
    values: dict[str, Any] = json.loads((folder / PLAN).read_text("utf-8"))
    alignment = values.pop("alignment")
    return Plan(
        **{
            **values,
            "config": AuditConfig.from_json(json.dumps(values["config"])),
            "folder": folder,
            "classes": tuple(values["classes"]),
            "alignment": alignment and Alignment(tuple(alignment["indices"]), alignment["method"]),
            "list_failures": tuple(values["list_failures"]),
            "takes_from": tuple(values["takes_from"]),
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


def sweeps_of(out: Path, key: str) -> list[Sweep]:
    """The sweeps with this key in an output folder, of finished and unfinished audits, newest first."""
    folders = [folder for place in (FEATURES, WORK) for folder in (out / place).glob("*")]
    return sweeps_like(key, sorted(folders, key=lambda folder: folder.name, reverse=True))


def _write(plan: Plan, listing: Listing) -> None:
    plan.folder.mkdir(parents=True)
    images = listing.images
    table = pa.table(
        {
            "path": pa.array([image.path for image in images], pa.string()),
            "label": pa.array([image.label for image in images], pa.string()),
            "size": pa.array([image.size for image in images], pa.int64()),
            "modified": pa.array([image.modified for image in images], pa.int64()),
        }
    )
    write_parquet(plan.folder / "listing.parquet", table)
    plan.sweep.mark()
    # The plan is written last: a folder without it was never begun.
    _write_plan(plan)


def _write_plan(plan: Plan) -> None:
    values = {**asdict(plan), "folder": None}
    write_text(plan.folder / PLAN, json.dumps(values, ensure_ascii=True))


def _below(out: Path, sweeps: list[Sweep]) -> tuple[str, ...]:
    return tuple(sweep.folder.relative_to(out).as_posix() for sweep in sweeps)


def _shard_size(images: int, device: torch.device) -> int:
    """Seconds of work, and on a GPU enough shards that each of several has some."""
    if device.type == "cpu":
        return _SHARD_ON_CPU
    share = -(-images // (4 * max(1, torch.cuda.device_count())))
    return min(max(share, _SHARD_ON_CPU), _SHARD_ON_GPU)


def _sweep_key(config: AuditConfig, precision: str, classes: list[str], alignment: Alignment | None) -> str:
    if config.from_scratch:
        # Random features are nobody else's.
        return uuid.uuid4().hex
    outputs = None if alignment is None else list(zip(classes, alignment.indices, strict=True))
    facts = [
        FORMAT,
        timm.__version__,
        config.model,
        config.model_arguments,
        # The name alone does not say which weights a hub or a folder had today.
        weights_digest(audit_model(config)),
        precision,
        outputs,
    ]
    return hashlib.blake2b(json.dumps(facts, sort_keys=True).encode(), digest_size=16).hexdigest()


def _unfinished(work: Path, fingerprint: str) -> Path | None:
    for folder in sorted(work.glob(f"*-{fingerprint[:8]}")):
        if (folder / PLAN).is_file():
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
