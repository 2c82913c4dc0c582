"""What earlier audits of the same output folder have computed already, so that only new and changed images cost time.

An image is known again by its place (root, path, size and time of modification) without being opened, else by its
content, wherever it has been moved to. Its given label plays no part: features do not depend on it.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import chain, product
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import timm

from gradattn_core import outfolder
from gradattn_core.audit.loading import audit_model
from gradattn_core.config import AuditConfig
from gradattn_core.dataset.address import join, member
from gradattn_core.dataset.decoding import content_hash, read_bytes
from gradattn_core.errors import UnreadableImageError
from gradattn_core.files import write_text
from gradattn_core.methods import ENGINES
from gradattn_core.model.backbone import weights_digest
from gradattn_core.model.classes import Alignment
from gradattn_core.outfolder import AuditFolder
from gradattn_core.records import ImageRecord, IntArray, Listing
from gradattn_core.store.store import Store

# Raised when the numbers of an audit change their meaning, so that the same command makes another audit.
RESULT_FORMAT = 3
# Raised when the numbers of a sweep do, in a precision or of the as-is head: those of before are swept again.
_SWEEP_FORMATS, _AS_IS_FORMAT = {"float32": 3, "float16": 3, "bfloat16": 5}, 1
# Why, by the format of before.
_CHANGED = {
    2: "they are resized faster now, which moves their pixels by up to two grey levels of 256",
    3: "attention is faster in bfloat16 now, which moves features by no more than bfloat16 itself does",
    4: "layers are faster in bfloat16 now, which moves features by no more than bfloat16 itself does",
}
_FACTS = pa.schema(
    [("path", pa.string()), ("size", pa.int64()), ("modified", pa.int64()), ("content_hash", pa.string())]
)


@dataclass(frozen=True, slots=True)
class Sweep:
    """A folder of swept shards.

    Attributes:
        key: digest of everything their numbers depend on but the images; equal ones can stand for one another.
        root: of the dataset.
        dataset: what was listed (manifest, columns, split), the same for an earlier and a later state of a dataset.
    """

    folder: Path
    key: str
    root: str
    dataset: str

    def mark(self) -> None:
        """Write key, root and dataset into the folder; they stay with the shards wherever they are moved."""
        facts = {"key": self.key, "root": self.root, "dataset": self.dataset}
        write_text(AuditFolder(self.folder).mark, json.dumps(facts))


def sweep_of(folder: Path) -> Sweep | None:
    """The sweep in a folder; None where there is none, or its mark is damaged."""
    try:
        return Sweep(folder, **AuditFolder(folder).read_mark())
    except (OSError, ValueError, TypeError):
        return None


def sweeps_like(key: str, folders: Sequence[Path]) -> list[Sweep]:
    """Those of the folders that hold a sweep with this key."""
    return [sweep for sweep in map(sweep_of, folders) if sweep is not None and sweep.key == key]


def sweeps_below(out: Path, key: str) -> tuple[str, ...]:
    """The folders with sweeps of this key, of finished and unfinished audits, newest first, from ``out`` on."""
    sweeps = sweeps_like(key, sorted(_swept_folders(out), key=lambda folder: folder.name, reverse=True))
    return tuple(sweep.folder.relative_to(out).as_posix() for sweep in sweeps)


def _swept_folders(out: Path) -> list[Path]:
    """Of finished and unfinished audits, whether or not there is a sweep in them."""
    return [folder for place in (outfolder.features(out), outfolder.work(out)) for folder in place.glob("*")]


def sweep_key(
    config: AuditConfig, precision: str, classes: list[str], alignment: Alignment | None, looks: Sequence[object] = ()
) -> str:
    """Digest of what the numbers of a sweep depend on but the images; ``precision`` is resolved.

    Args:
        looks: how pictures are decoded otherwise than their files say.
        alignment: the model's output of each class, where its logits are kept.
    """
    if config.from_scratch:
        # Random features are nobody else's.
        return uuid.uuid4().hex
    # The name alone does not say which weights a hub or a folder had today.
    return _key(config, weights_digest(audit_model(config)), precision, classes, alignment, looks)


def swept_before(
    config: AuditConfig, out: Path, classes: list[str], alignment: Alignment | None, looks: Sequence[object] = ()
) -> tuple[str, ...]:
    """Why nothing is taken over, where an earlier version has swept below ``out`` with the same model; else nothing."""
    marks = [sweep for folder in _swept_folders(out) if (sweep := sweep_of(folder)) is not None]
    if config.from_scratch or not marks:
        return ()
    weights = weights_digest(audit_model(config))
    forms = {
        _key(config, weights, precision, classes, alignment, looks, form): form
        for precision, now in _SWEEP_FORMATS.items()
        for form in _CHANGED
        if form < now
    }
    found = [forms[mark.key] for mark in marks if mark.key in forms]
    if not found:
        return ()
    said = (
        "All pictures are swept once more, though an earlier version of gradattn had swept them: "
        f"{_CHANGED[max(found)]}. Later audits take over what this one has."
    )
    warnings.warn(said, stacklevel=2)
    return (said,)


def swept_otherwise(
    precision: str,
    config: AuditConfig,
    out: Path,
    classes: list[str],
    alignment: Alignment | None,
    looks: Sequence[object] = (),
) -> tuple[str, ...]:
    """That nothing is taken over of what was swept below ``out`` in another precision or by another engine, and how it
    would be."""
    marks = [sweep for folder in _swept_folders(out) if (sweep := sweep_of(folder)) is not None]
    if config.from_scratch or not marks:
        return ()
    weights, here = weights_digest(audit_model(config)), (precision, config.engine)
    others = [each for each in product(_SWEEP_FORMATS, ENGINES) if each != here]
    keys = {
        _key(replace(config, engine=engine), weights, other, classes, alignment, looks): (other, engine)
        for other, engine in others
    }
    found = next((keys[mark.key] for mark in marks if mark.key in keys), None)
    if found is None:
        return ()
    options = ("--precision", "--engine")
    asked = " ".join(f"{option} {was}" for option, was, now in zip(options, found, here, strict=True) if was != now)
    now, then = (" by ".join(way) if found[1] != here[1] else way[0] for way in (here, found))
    return (
        f"Every image is swept anew, in {now}: earlier audits were swept in {then}, and {asked} takes those sweeps "
        "over.",
    )


def _key(
    config: AuditConfig,
    weights: str,
    precision: str,
    classes: list[str],
    alignment: Alignment | None,
    looks: Sequence[object],
    form: int | None = None,
) -> str:
    outputs = None if alignment is None else [_AS_IS_FORMAT, *zip(classes, alignment.indices, strict=True)]
    facts = [
        _SWEEP_FORMATS[precision] if form is None else form,
        timm.__version__,
        config.model,
        config.model_arguments,
        weights,
        precision,
        outputs,
        *looks,
        # Only where it is not torch: sweeps of before there was a choice keep their key.
        *([] if config.engine == "torch" else [config.engine]),
    ]
    return hashlib.blake2b(json.dumps(facts, sort_keys=True).encode(), digest_size=16).hexdigest()


@dataclass(frozen=True, eq=False)
class SweptImages:
    """The images of some sweeps, as a dataset of now can use them.

    Attributes:
        root: of that dataset.
        files: the shards and the roots of their datasets.
        rows: path, size, modified and content_hash of each image, and file and row where it lies.
    """

    root: str
    files: tuple[tuple[Path, str], ...]
    rows: pd.DataFrame

    def take(self, images: Sequence[ImageRecord], schema: pa.Schema) -> pa.Table:
        """The columns of ``schema`` of those images that were swept, with path, label, size and time as listed now.

        Images that are not known by their place are read and hashed.
        """
        if self.rows.empty:
            return schema.empty_table()
        rows = self._by_place(images)
        elsewhere = np.flatnonzero(rows < 0)
        rows[elsewhere] = self._by_content([images[position] for position in elsewhere.tolist()])
        listed = [image for image, row in zip(images, rows.tolist(), strict=True) if row >= 0]
        if not listed:
            return schema.empty_table()
        table, whole = self._read(rows[rows >= 0], schema)
        listed = [listed[position] for position in whole.tolist()]
        for name, values in {
            "path": [image.path for image in listed],
            "given_label": [image.label for image in listed],
            "size": [image.size for image in listed],
            "modified": [image.modified for image in listed],
        }.items():
            field = schema.field(name)
            table = table.set_column(schema.get_field_index(name), field, pa.array(values, field.type))
        return table

    def _by_place(self, images: Sequence[ImageRecord]) -> IntArray:
        """[N] the row of each image that lies where it lay and has not changed, -1 for others."""
        places = self._places
        at = places.index.get_indexer(pd.Index([image.path for image in images], dtype=object))
        if not len(places):
            return at
        numbers = places.to_numpy()[at]
        rows = self.rows.iloc[numbers]
        same = (
            (at >= 0)
            & (rows["size"].to_numpy() == [image.size for image in images])
            & (rows["modified"].to_numpy() == [image.modified for image in images])
            # Nothing is known of the time of what a server without validators sends.
            & (rows["modified"].to_numpy() != 0)
        )
        return np.where(same, numbers, -1)

    def _by_content(self, images: Sequence[ImageRecord]) -> IntArray:
        """[N] the first row of each image's content, -1 where there is none."""
        # To read an image only for its hash is worth it where one of its size is known.
        may_be = [image.size in self._sizes or _in_table(self.root, image) for image in images]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            hashes = list(pool.map(lambda image, read: _hash(self.root, image) if read else None, images, may_be))
        at = self._contents.index.get_indexer(pd.Index(hashes, dtype=object))
        return np.where(at >= 0, self._contents.to_numpy()[at], -1)

    @cached_property
    def _places(self) -> pd.Series[int]:
        """path → the first row of that path in the dataset."""
        numbers = [number for number, (_, root) in enumerate(self.files) if root == self.root]
        paths = self.rows.loc[self.rows["file"].isin(numbers), "path"].drop_duplicates()
        return pd.Series(paths.index.to_numpy(), index=pd.Index(paths, dtype=object))

    @cached_property
    def _sizes(self) -> set[int]:
        return set(self.rows["size"].tolist())

    @cached_property
    def _contents(self) -> pd.Series[int]:
        """content_hash → the first row that has it."""
        hashes = self.rows["content_hash"].drop_duplicates()
        return pd.Series(hashes.index.to_numpy(), index=pd.Index(hashes, dtype=object))

    def _read(self, rows: IntArray, schema: pa.Schema) -> tuple[pa.Table, IntArray]:
        """These rows but for those of damaged files, and the places of what is left among them."""
        places = self.rows.iloc[rows]
        parts, order = [schema.empty_table()], [np.empty(0, np.int64)]
        for file in sorted(places["file"].unique()):
            here = np.flatnonzero(places["file"].to_numpy() == file)
            table = unless_damaged(self.files[file][0], schema)
            if table is not None:
                parts.append(table.take(pa.array(places["row"].to_numpy()[here])))
                order.append(here)
        at = np.concatenate(order)
        return pa.concat_tables(parts).take(pa.array(np.argsort(at))), np.sort(at)


@lru_cache(maxsize=1)
def swept_images(root: str, sweeps: tuple[Sweep, ...]) -> SweptImages:
    """What these sweeps hold, the first of several where an image is in several; a process reads them once."""
    files = [(path, sweep.root) for sweep in sweeps for path in AuditFolder(sweep.folder).sweep_files()]
    frames = [
        facts.to_pandas().assign(file=number).rename_axis("row").reset_index()
        for number, (path, _) in enumerate(files)
        if (facts := unless_damaged(path, _FACTS)) is not None
    ]
    return SweptImages(
        root, tuple(files), pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=_FACTS.names)
    )


def whole(file: Path, schema: pa.Schema) -> pa.Table:
    """The columns of ``schema`` of a file; those that a file of an earlier version lacks are empty."""
    names = [name for name in pq.read_schema(file).names if name in schema.names]
    table = pq.read_table(file, columns=names, page_checksum_verification=True)
    columns = [
        table[field.name].cast(field.type) if field.name in names else pa.nulls(len(table), field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)


def unless_damaged(file: Path, schema: pa.Schema) -> pa.Table | None:
    """:func:`whole`; None where the file is damaged: what cannot be read is not there, so it is swept again."""
    try:
        table = whole(file, schema)
    except (OSError, ValueError, pa.ArrowException):
        return None
    # Shards of older versions have no checksums.
    matrices = table["features"].chunks if "features" in schema.names else []
    return table if all(np.isfinite(matrix.flatten().to_numpy(False)).all() for matrix in matrices) else None


def tell_changes(
    config: AuditConfig, listing: Listing, out: Path, why: str = "", taken: bool = True
) -> tuple[str, ...]:
    """Warn why an audit begins anew although one of the same dataset lies in the output folder, in one sentence.

    Args:
        why: where it is known; else it is told from what differs.
        taken: whether anything that was swept can be taken over.

    Returns:
        that all maps are drawn anew, where the audit before had maps of another kind; else nothing.
    """
    earlier = _audit_before(config, listing, out)
    if earlier is None:
        return ()
    what = why or ", ".join(config.differences(earlier.parameters))
    what = what or "the images, the labels, the checkpoint or gradattn itself have changed"
    if not earlier.is_current:
        what = f"another version of gradattn has begun it{'; what it had swept is used' if taken else ''}"
    interrupted = "" if earlier.is_finished else ", which was interrupted and stays as it is"
    if not earlier.is_finished and earlier.is_current:
        what += f"; `gradattn clean --audit {earlier.audit_id}` frees its space"
    warnings.warn(f"a new audit begins, other than {earlier.audit_id}{interrupted}: {what}", stacklevel=2)
    was = earlier.parameters.get("correction", config.correction)
    if was == config.correction:
        return ()
    return (f"All maps are drawn anew, with correction {config.correction}: the audit before had {was} ones.",)


def _audit_before(config: AuditConfig, listing: Listing, out: Path) -> _EarlierAudit | None:
    """Of the same dataset in the output folder, the newest that is not finished, else the newest finished one."""
    for earlier in chain(_begun_audits(out), _finished_audits(out)):
        dataset = PurePath(earlier.parameters.get("dataset", ""))
        if earlier.root == listing.root and dataset.name == PurePath(config.dataset).name:
            return earlier
    return None


def _in_table(root: str, image: ImageRecord) -> bool:
    """Whether the image lies in a Parquet file, whose size and time are all that is known of its own."""
    try:
        inner = member(join(root, image.path))
    except UnreadableImageError:
        return False
    return inner is not None and inner.kind == "parquet"


def _hash(root: str, image: ImageRecord) -> str | None:
    """Of the file's content; None where it cannot be read, which whoever decodes it will say."""
    try:
        return content_hash(read_bytes(root, image.path))
    except UnreadableImageError:
        return None


@dataclass(frozen=True, slots=True)
class _EarlierAudit:
    audit_id: str
    root: str
    parameters: Mapping[str, Any]
    is_finished: bool
    is_current: bool = True


def _begun_audits(out: Path) -> Iterator[_EarlierAudit]:
    for files in outfolder.unfinished_folders(out):
        try:
            plan = files.read_plan()
            yield _EarlierAudit(plan["audit_id"], plan["root"], plan["config"], False, files.is_current())
        except (OSError, ValueError, KeyError, TypeError):
            # A damaged plan says nothing of its audit; what was swept there is used all the same.
            continue


def _finished_audits(out: Path) -> Iterator[_EarlierAudit]:
    audits = Store(out).audits.all()
    columns = (audits[name] for name in ("audit_id", "root", "parameters"))
    for audit_id, root, parameters in zip(*columns, strict=True):
        yield _EarlierAudit(audit_id, root, json.loads(parameters), True)
