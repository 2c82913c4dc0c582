"""Plans an audit: what there is to do, or that it was done, or how far an interrupted run of the same command came."""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import timm
import torch
from torch import nn

from gradattn_core import outfolder
from gradattn_core.audit.alignment import settled_alignment
from gradattn_core.audit.appearance import appearance_of
from gradattn_core.audit.brought import WITHOUT_MODEL, Brought, bring
from gradattn_core.audit.changes import keep_files, settled
from gradattn_core.audit.computing import (
    computing_on,
    continued_precision,
    exact_anyway,
    fitting_precision,
    require_engine,
    swept_by,
)
from gradattn_core.audit.loading import audit_model
from gradattn_core.audit.repair import DECODE, passed
from gradattn_core.audit.reuse import (
    RESULT_FORMAT,
    Sweep,
    sweep_key,
    sweeps_below,
    sweeps_like,
    swept_before,
    swept_otherwise,
    tell_changes,
)
from gradattn_core.config import AuditConfig
from gradattn_core.dataset.listing import list_dataset
from gradattn_core.dataset.pixels import FULL_WHITE
from gradattn_core.dataset.text import shown
from gradattn_core.errors import ClassAlignmentError, DatasetError, StoreError
from gradattn_core.face import __version__
from gradattn_core.files import remove_folder, user_path, write_parquet, write_text
from gradattn_core.model.backbone import fetch_weights
from gradattn_core.model.classes import Alignment, align_classes, class_names, mostly_named
from gradattn_core.model.device import pick_device
from gradattn_core.outfolder import AuditFolder, failures_beside
from gradattn_core.progress import PLAN, Progress, silent
from gradattn_core.ranking.few import too_few
from gradattn_core.records import Failure, ImageRecord, Listing
from gradattn_core.store.store import Store

_SHARD_ON_CPU, _SHARD_ON_GPU = 1024, 16384
_FAILURES = pa.schema([(name, pa.string()) for name in ("path", "stage", "reason", "given_label")])


@dataclass(frozen=True)
class Survey:
    """What there is to audit.

    Attributes:
        listing: in which a file whose content is another than an audit in the output folder has seen is another one.
        fingerprint: names dataset, model and parameters: equal ones give equal results.
        files: the listing as the files' own sizes and times say it.
        brought: features and predictions from outside, of these very images.
    """

    listing: Listing
    fingerprint: str
    files: Listing
    brought: Brought | None = None


@dataclass(frozen=True)
class Plan:
    """An audit as it is being made. It lives in ``folder``; every step reads it from there.

    Attributes:
        folder: ``OUT/work/<audit_id>``.
        root: the dataset's root.
        classes: sorted given labels.
        head: ``as-is``, ``probe``, ``finetune``, or ``given`` where predictions were brought without a model.
        alignment: the model's output of each class (``as-is``); ``outputs`` is how many it has in all then.
        shards, shard_size: how many there are, and of how many images.
        precision: of the sweep, ``auto`` resolved for the device that computes now.
        sweep_key: digest of what the numbers of the sweep depend on but the images.
        own_key: takes its place in the mark of a sweep whose parts differ in precision: no other is like it.
        takes_from: folders below the output folder with sweeps of the same key, newest first.
        white: the value of 16 bits that is white in these pictures.
        notes: what the user should know about how the audit was set up.
        is_finished: the audit has been made before and nothing is left to do; there is no work folder then.
    """

    config: AuditConfig
    audit_id: str
    fingerprint: str
    folder: Path
    root: str
    classes: tuple[str, ...]
    head: str
    alignment: Alignment | None = None
    outputs: int = 0
    shards: int = 0
    shard_size: int = _SHARD_ON_CPU
    images: int = 0
    started_at: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    precision: str = ""
    sweep_key: str = ""
    own_key: str = ""
    takes_from: tuple[str, ...] = ()
    white: int = FULL_WHITE
    notes: tuple[str, ...] = ()
    is_finished: bool = False

    @property
    def out(self) -> Path:
        return self.folder.parent.parent

    @property
    def files(self) -> AuditFolder:
        return AuditFolder(self.folder)

    @property
    def sweep(self) -> Sweep:
        """The sweep that this audit makes."""
        return Sweep(self.folder, self.own_key or self.sweep_key, self.root, self.config.listing_key())

    @cached_property
    def sources(self) -> tuple[Sweep, ...]:
        """The sweeps from which images are taken over."""
        return tuple(sweeps_like(self.sweep_key, [self.out / name for name in self.takes_from]))

    @cached_property
    def listing(self) -> pd.DataFrame:
        """path, label, size, modified of every image, ordered by path."""
        frame: pd.DataFrame = pq.read_table(self.files.listing).to_pandas()
        return frame

    def shard(self, index: int) -> list[ImageRecord]:
        """The images of one shard."""
        size = self.shard_size
        rows = self.listing.iloc[index * size : (index + 1) * size]
        return [ImageRecord(*row) for row in rows.itertuples(index=False, name=None)]


def plan_audit(config: AuditConfig, progress: Progress = silent) -> Plan:
    """The plan to work on; one that ``is_finished`` where the same audit was made before and is not to be restarted.

    Raises:
        GradattnError: the dataset, the model or the output folder cannot be used.
    """
    progress(PLAN.name, 0, 1)
    survey = survey_dataset(config)
    plan, why = _finished_plan(config, survey)
    if plan is None:
        if config.has_model:
            fetch_weights(config.spec, progress)
        plan = make_plan(config, survey, why)
    keep_files(survey.files, survey.listing, plan.out)
    progress(PLAN.name, 1, 1)
    return plan


def survey_dataset(config: AuditConfig) -> Survey:
    """List the dataset.

    Raises:
        DatasetError: it cannot be audited.
        ModelError: the checkpoint is not there.
    """
    listing = list_images(config)
    seen = settled(listing, user_path(config.out).resolve())
    judged, brought = bring(config, seen)
    if len(judged.images) < len(seen.images):
        paths = {image.path for image in judged.images}
        listing = replace(listing, images=tuple(image for image in listing.images if image.path in paths))
    return Survey(judged, _fingerprint(config, judged, brought.lacking if brought else ()), listing, brought)


def list_images(config: AuditConfig, **changes: Any) -> Listing:
    """List the dataset as the parameters say, or with some of them changed; see ``list_dataset``.

    Raises:
        DatasetError: it cannot be listed, or every label has one picture only.
    """
    selection: dict[str, Any] = {
        "path_column": config.path_column,
        "label_column": config.label_column,
        "split_column": config.split_column,
        "split": config.split,
        "image_root": config.image_root,
        "image_ending": config.image_ending,
        "label_depth": config.label_depth,
        "exclude_labels": config.exclude_label,
        "classes": config.classes,
        "limit": config.limit,
        "sample": config.sample,
        "seed": config.seed,
        "box_margin": config.box_margin,
        "min_box": config.min_box,
        "merge_spellings": config.merge_spellings,
    }
    listing = list_dataset(config.dataset, **{**selection, **changes})
    named = config.label_column != AuditConfig.label_column
    column = f"the column {config.label_column!r}" if named else "where these were read"
    refusal, note = too_few([image.label for image in listing.images], column)
    if refusal:
        raise DatasetError(f"{config.dataset}: {refusal}")
    return replace(listing, notes=(*listing.notes, note)) if note else listing


def make_plan(config: AuditConfig, survey: Survey, why: str = "") -> Plan:
    """Check the model against the dataset and write the plan; or continue the one that an interrupted run left.

    Args:
        why: this dataset is audited again although it is as it was.

    Raises:
        GradattnError: the model or the output folder cannot be used; nothing has been written then.
    """
    out = outfolder.prepare(config.out)
    unfinished = _unfinished(out, survey.fingerprint)
    if unfinished is not None:
        if not config.restart:
            return _continue(unfinished, config)
        remove_audit(unfinished)
    return _begin(config, survey, out, why)


def load_plan(folder: Path | str) -> Plan:
    """Read a plan back from its folder.

    Raises:
        StoreError: another version of gradattn has begun the audit.
    """
    files = AuditFolder(Path(folder))
    values = files.read_plan()
    if values.pop("format", None) != outfolder.FORMAT:
        raise StoreError(
            f"{folder} was begun by another version of gradattn and can only be continued by that one; the audit's "
            "command begins anew and uses what was swept there"
        )
    alignment = values.pop("alignment")
    return Plan(
        **{
            **values,
            "config": AuditConfig.from_json(json.dumps(values["config"])),
            "folder": files.path,
            "classes": tuple(values["classes"]),
            "alignment": alignment and Alignment(tuple(alignment["indices"]), alignment["method"]),
            "takes_from": tuple(values["takes_from"]),
            "notes": tuple(values["notes"]),
        }
    )


def add_note(folder: Path, sentence: str) -> None:
    """Have an audit that is being made say this with its other notes, once."""
    plan = load_plan(folder)
    if sentence not in plan.notes:
        _write_plan(replace(plan, notes=(*plan.notes, sentence)))


def can_be_continued(folder: Path, listing: pd.DataFrame) -> bool:
    """Whether an unfinished audit of these very images and labels lies in ``folder``."""
    return AuditFolder(folder).is_current() and load_plan(folder).listing.equals(listing)


def failures_table(failures: Iterable[Failure]) -> pa.Table:
    """path, stage, reason, given_label."""
    return pa.Table.from_pylist([asdict(failure) for failure in failures], schema=_FAILURES)


def remove_audit(folder: Path) -> None:
    """Remove an audit's work folder, or what it has left for later ones."""
    files = AuditFolder(folder)
    # Killed in between, what is left must not be taken for an audit or for a sweep.
    remove_folder(folder, (files.plan.name, files.mark.name))


def is_stored(out: Path, audit_id: str) -> bool:
    """Whether the database has this audit; with its work folder there too, a run was stopped while it cleared up."""
    return any(stored == audit_id for stored, _, _ in _stored_audits(out))


def _has_folder(out: Path, audit_id: str) -> bool:
    return (outfolder.work(out) / audit_id).exists() or (outfolder.features(out) / audit_id).exists()


def _fingerprint(config: AuditConfig, listing: Listing, lacking: Sequence[str] = ()) -> str:
    digest = hashlib.blake2b(digest_size=16)
    digest.update(json.dumps([__version__, RESULT_FORMAT, config.identity()], sort_keys=True).encode())
    for image in listing.images:
        digest.update(json.dumps([image.path, image.label, image.size, image.modified]).encode())
    for path in lacking:
        digest.update(json.dumps(path).encode())
    return digest.hexdigest()


def _finished_plan(config: AuditConfig, survey: Survey) -> tuple[Plan | None, str]:
    """The newest finished audit with the same fingerprint, or why that is not good enough any more.

    Nothing without one, with ``restart``, and where a run of it was stopped while it cleared up.
    """
    out = outfolder.prepare(config.out)
    if config.restart or _unfinished(out, survey.fingerprint) is not None:
        return None, ""
    for audit_id, fingerprint, head in _stored_audits(out):
        if fingerprint == survey.fingerprint:
            failures = Store(out).audits.failures(audit_id)
            unread = failures[failures["stage"] == DECODE]
            path = passed(survey.listing.root, zip(unread["path"], unread["reason"], strict=True))
            if path:
                return None, f"pictures that could not be read then can be now, {shown(path)} among them"
            folder, classes = outfolder.work(out) / audit_id, tuple(survey.listing.classes)
            plan = Plan(config, audit_id, fingerprint, folder, survey.listing.root, classes, head, is_finished=True)
            return plan, ""
    return None, ""


def _stored_audits(out: Path) -> list[tuple[str, str, str]]:
    """(audit_id, fingerprint, head) of every finished audit, newest first; empty before the first one."""
    store = Store(out)
    if not store.database.exists():
        return []
    audits = store.audits.all()
    return list(zip(audits["audit_id"], audits["fingerprint"], audits["head"], strict=True))


def _begin(config: AuditConfig, survey: Survey, out: Path, why: str) -> Plan:
    require_engine(config)
    listing, fingerprint = survey.listing, survey.fingerprint
    looks = appearance_of(listing)
    head, alignment, notes = choose_head(config, listing, white=looks.white)
    brought = survey.brought
    notes += brought.notes if brought else ()
    # A database that cannot be written must be noticed before hours of work, not after.
    Store(out).prepare()
    now = datetime.now(UTC)
    while is_stored(out, audit_id := f"{now:%Y%m%dT%H%M%S}-{fingerprint[:8]}") or _has_folder(out, audit_id):
        now += timedelta(seconds=1)
    device = pick_device(config.device)
    if config.has_model:
        precision, overflow = fitting_precision(config, listing, device, looks.white)
        overflow += exact_anyway(config, device)
        swept = swept_by(config, precision)
        own = [brought.key] if brought is not None and brought.features is not None else []
        looks_and_own = [*looks.facts, *own]
        key = sweep_key(config, precision, listing.classes, alignment, looks_and_own)
    else:
        precision, overflow, swept, key = "", (), "", WITHOUT_MODEL
    takes_from: tuple[str, ...] = ()
    if not config.restart:
        takes_from = sweeps_below(out, key)
        notes += tell_changes(config, listing, out, why, bool(takes_from))
        if config.has_model and not takes_from:
            asked = (config, out, listing.classes, alignment, looks_and_own)
            notes += swept_before(*asked) or swept_otherwise(precision, *asked)
    size = config.shard_size or _shard_size(len(listing.images), device)
    plan = Plan(
        config=config,
        audit_id=audit_id,
        fingerprint=fingerprint,
        folder=outfolder.work(out) / audit_id,
        root=listing.root,
        classes=tuple(listing.classes),
        head=head,
        alignment=alignment,
        outputs=0 if alignment is None else int(audit_model(config).num_classes),  # type: ignore[arg-type]
        shards=-(-len(listing.images) // size),
        shard_size=size,
        images=len(listing.images),
        started_at=now.isoformat(),
        versions={**_versions(), "device": computing_on(config), "precision": swept},
        precision=precision,
        sweep_key=key,
        takes_from=takes_from,
        white=looks.white,
        notes=(*listing.notes, *looks.notes, *notes, *overflow),
    )
    _write(plan, listing, brought)
    return plan


def _unfinished(out: Path, fingerprint: str) -> Path | None:
    """The work folder of an unfinished audit that this version can continue."""
    for folder in sorted(outfolder.work(out).glob(f"*-{fingerprint[:8]}")):
        files = AuditFolder(folder)
        if files.is_current():
            return folder
        if not files.plan.is_file():
            shutil.rmtree(folder)
    return None


def _continue(folder: Path, config: AuditConfig) -> Plan:
    # What may differ (device, batch size, where the checkpoint lies) is what this command says.
    plan = _on_this_device(replace(load_plan(folder), config=config))
    if plan.takes_from:
        # Those of then may have been taken over by another audit meanwhile.
        plan = replace(plan, takes_from=sweeps_below(plan.out, plan.sweep_key))
    _write_plan(plan)
    return plan


def _on_this_device(plan: Plan) -> Plan:
    """A plan that another device may have begun, to go on as this one computes; where that differs the user is told."""
    if not plan.config.has_model:
        return plan
    before, now = plan.versions.get("device", ""), computing_on(plan.config)
    devices = _then(before, now)
    moved = devices != before
    precision = continued_precision(plan.config, plan.precision, moved)
    left = sum(not plan.files.sweep(index).exists() for index in range(plan.shards))
    versions = {**plan.versions, "device": devices}
    if left:
        # Also in the same precision: what computes may be another version, or gone.
        swept = swept_by(plan.config, precision)
        versions["precision"] = _then(plan.versions.get("precision", plan.precision), swept)
    if precision == plan.precision or not left:
        return replace(plan, versions=versions)
    mixed = (
        f"{plan.shards - left:,} of {plan.shards:,} shards were swept on {before or 'another device'} in "
        f"{plan.precision}, the others on {now} in {precision}; no later audit takes them over."
    )
    warnings.warn(mixed, stacklevel=2)
    key = hashlib.blake2b(f"{plan.own_key or plan.sweep_key} {precision}".encode(), digest_size=16).hexdigest()
    plan = replace(plan, precision=precision, own_key=key, versions=versions, notes=(*plan.notes, mixed))
    plan.sweep.mark()
    return plan


def _then(before: str, now: str) -> str:
    """What an audit was computed by so far, and from now on."""
    if before.split(", then ")[-1] == now:
        return before
    return f"{before}, then {now}" if before else now


def _write(plan: Plan, listing: Listing, brought: Brought | None) -> None:
    plan.folder.mkdir(parents=True)
    if brought is not None:
        brought.write(plan.files.brought, plan.shard_size)
    images = listing.images
    table = pa.table(
        {
            "path": pa.array([image.path for image in images], pa.string()),
            "label": pa.array([image.label for image in images], pa.string()),
            "size": pa.array([image.size for image in images], pa.int64()),
            "modified": pa.array([image.modified for image in images], pa.int64()),
        }
    )
    write_parquet(plan.files.listing, table)
    write_parquet(failures_beside(plan.files.listing), failures_table((*listing.failures, *listing.skipped)))
    plan.sweep.mark()
    # The plan is written last: a folder without it was never begun.
    _write_plan(plan)


def _write_plan(plan: Plan) -> None:
    values = {**asdict(plan), "folder": None, "format": outfolder.FORMAT}
    write_text(plan.files.plan, json.dumps(values, ensure_ascii=True))


def _shard_size(images: int, device: torch.device) -> int:
    """Seconds of work, and on a GPU enough shards that each of several has some."""
    if device.type == "cpu":
        return _SHARD_ON_CPU
    share = -(-images // (4 * max(1, torch.cuda.device_count())))
    return min(max(share, _SHARD_ON_CPU), _SHARD_ON_GPU)


def choose_head(
    config: AuditConfig, listing: Listing, model: nn.Module | None = None, white: int = FULL_WHITE
) -> tuple[str, Alignment | None, tuple[str, ...]]:
    """Decide the head and prove that the model can be built, before anything is written or swept.

    Args:
        model: the audit's, with or without its weights; it is built where it is not given.
        white: as in ``decode_image``.

    Returns:
        the head, the model's output of each class where it judges as it is, and notes for the user.

    Raises:
        GradattnError: the model cannot be built, or its classes cannot be matched where they must be.
    """
    if not config.has_model:
        return ("probe" if config.probabilities is None and config.logits is None else "given"), None, ()
    classes, has_weights = listing.classes, model is None
    if config.head == "finetune":
        if model is None:
            model = audit_model(config, len(classes) if config.from_scratch else None)
        return "finetune", None, _notes(model)
    model = audit_model(config) if model is None else model
    notes = _notes(model)
    if config.head == "probe":
        return "probe", None, notes
    outputs = int(getattr(model, "num_classes", 0))
    try:
        alignment = align_classes(classes, outputs, class_names(model), config.class_map)
    except ClassAlignmentError as error:
        if config.head == "as-is" or config.class_map is not None:
            raise
        why = "The model's classes are not the dataset's: a K-fold probe on its features judges."
        if mostly_named(classes, class_names(model)):
            why = f"A K-fold probe on the model's features judges, not its own classifier: {error}."
        return "probe", None, (*notes, why)
    if config.head == "auto" and alignment.method == "index order":
        # The same number of classes proves nothing about their meaning; a person must say so.
        why = (
            f"The model has {outputs:,} outputs for as many classes, but no names say which is which: a K-fold probe "
            "on its features judges. If it was trained on these classes, --head as-is takes its own answers."
        )
        return "probe", None, (*notes, why)
    if has_weights:
        alignment, doubts = settled_alignment(config, listing, model, alignment, white)
        notes += doubts
    return "as-is", alignment, (*notes, f"The model's classes were aligned by {alignment.method}.")


def _notes(model: nn.Module) -> tuple[str, ...]:
    """What was chosen among what its checkpoint holds."""
    return tuple(getattr(model, "notes", ()))


def _versions() -> dict[str, str]:
    return {
        "gradattn": __version__,
        "torch": torch.__version__,
        "timm": timm.__version__,
        "duckdb": duckdb.__version__,
        "python": platform.python_version(),
    }
