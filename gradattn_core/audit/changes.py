"""Which files are others than they were although size and time are the same.

A picture is known by path, size and time. But archives unpack with one time, and pictures without compression have one
size: two of them that change places differ from before in change time or inode only. Those are read, and their content
decides. So are, at each audit, files that could have changed places on a file system that makes both numbers up.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gradattn_core import outfolder
from gradattn_core.audit.reuse import sweep_of
from gradattn_core.dataset.address import is_local, join, outermost
from gradattn_core.dataset.decoding import content_hash, read_bytes
from gradattn_core.dataset.storage import digest
from gradattn_core.errors import UnreadableImageError
from gradattn_core.files import write_parquet
from gradattn_core.outfolder import AuditFolder
from gradattn_core.records import ImageRecord, Listing

_MOUNTS = "/proc/self/mountinfo"
# Their inodes or change times are made up by this machine or are those of creation.
_MADE_UP = (
    *("nfs", "cifs", "smb", "fuse.", "9p", "afs", "ceph", "lustre", "gpfs", "beegfs", "davfs", "ncpfs"),
    *("vboxsf", "prl_fs", "virtiofs", "drvfs", "vfat", "msdos", "exfat"),
)
_SCHEMA = pa.schema(
    [("root", pa.string()), ("path", pa.string())]
    + [(name, pa.int64()) for name in ("size", "time", "changed", "modified")]
)
"""A file as it was last listed: ``time`` is its own, ``modified`` what its record said then."""


def settled(listing: Listing, out: Path) -> Listing:
    """The listing with another ``modified`` for each file whose content is another than when an audit listed it.

    Files that no audit in the output folder has listed keep theirs, as do those that an audit of an older version has
    listed, which knew no more of them. Only files in doubt are read.
    """
    known = _known(out)
    known = known.filter(pc.equal(known["root"], listing.root))
    if not known.num_rows:
        return listing
    images = list(listing.images)
    at = pd.Index(known["path"].to_pandas()).get_indexer(pd.Index([image.path for image in images], dtype=object))
    size, time, changed, modified = (known[name].to_numpy()[at] for name in ("size", "time", "changed", "modified"))
    same = (at >= 0) & (size == [image.size for image in images]) & (time == [image.modified for image in images])
    certain = same & (changed == [image.changed for image in images])
    if _can_lie(listing.root):
        alike = Counter((image.size, image.modified) for image in images)
        certain &= np.array([alike[image.size, image.modified] < 2 for image in images], bool)
    for position in np.flatnonzero(certain & (modified != time)).tolist():
        images[position] = replace(images[position], modified=int(modified[position]))
    doubtful = np.flatnonzero(same & ~certain).tolist()
    contents = _contents(out, listing.root) if doubtful else {}
    with ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="changes") as pool:
        hashes = pool.map(lambda position: _content(listing.root, images[position]), doubtful)
        for position, now in zip(doubtful, hashes, strict=True):
            image = images[position]
            told = _modified(image, int(modified[position]), now, contents.get(image.path, {}))
            images[position] = replace(image, modified=told)
    return replace(listing, images=tuple(images))


def keep_files(listing: Listing, settled_listing: Listing, out: Path) -> None:
    """Write down for later audits how the files of a listing are known, beside what is known of others."""
    pairs = [
        (image, settled_image.modified)
        for image, settled_image in zip(listing.images, settled_listing.images, strict=True)
        if image.changed
    ]
    columns = {
        "root": [listing.root] * len(pairs),
        "path": [image.path for image, _ in pairs],
        "size": [image.size for image, _ in pairs],
        "time": [image.modified for image, _ in pairs],
        "changed": [image.changed for image, _ in pairs],
        "modified": [modified for _, modified in pairs],
    }
    now = pa.table(columns, schema=_SCHEMA)
    known = _known(out)
    others = pc.or_(
        pc.not_equal(known["root"], listing.root), pc.invert(pc.is_in(known["path"], value_set=now["path"]))
    )
    every = pa.concat_tables([known.filter(others), now])
    if every.num_rows and not every.equals(known):
        write_parquet(outfolder.listed(out), every)


def _modified(image: ImageRecord, told: int, now: str | None, known: dict[int, str]) -> int:
    """What a record says of a file with this content: the same number for the same content.

    Args:
        told: what it said before.
        now: hash of the content; None where it cannot be read, which whoever decodes it will say.
        known: of this path, the content that sweeps have read by what its record said.
    """
    if now is None or known.get(told) == now:
        return told
    earlier = (modified for modified, content in known.items() if content == now)
    return next(earlier, digest(image.modified, now))


def _known(out: Path) -> pa.Table:
    """The files of all roots; nothing where the file of earlier audits is not there or damaged."""
    try:
        return pq.read_table(outfolder.listed(out), schema=_SCHEMA)
    except (OSError, ValueError):  # pyarrow's errors are among them
        return _SCHEMA.empty_table()


def _contents(out: Path, root: str) -> dict[str, dict[int, str]]:
    """Of each path of a dataset: content hash by ``modified``, of all that sweeps in the output folder have read."""
    contents: dict[str, dict[int, str]] = {}
    for shard in _shards(out, root):
        try:
            table = pq.read_table(shard, columns=["path", "modified", "content_hash"])
        except (OSError, ValueError):
            continue
        for path, modified, content in zip(*(table[name].to_pylist() for name in table.column_names), strict=True):
            contents.setdefault(path, {})[modified] = content
    return contents


def _shards(out: Path, root: str) -> Iterator[Path]:
    for place in (outfolder.features(out), outfolder.work(out)):
        for folder in sorted(place.glob("*")):
            sweep = sweep_of(folder)
            if sweep is not None and sweep.root == root:
                yield from AuditFolder(folder).sweep_files()


def _content(root: str, image: ImageRecord) -> str | None:
    try:
        return content_hash(read_bytes(root, image.path))
    except UnreadableImageError:
        return None


def _can_lie(root: str, mounts: Sequence[str] | None = None) -> bool:
    """Whether change time and inode of files below a root may stay the same when these change places.

    Args:
        mounts: the lines of ``/proc/self/mountinfo``.
    """
    if not is_local(root):
        return False  # what tells of remote files is made from their content by whoever stores them
    if os.name == "nt":
        return True  # the change time is that of creation there
    place = os.path.realpath(outermost(root))
    if mounts is None:
        try:
            mounts = Path(_MOUNTS).read_text("utf-8", "surrogateescape").splitlines()
        except OSError:
            return False
    below = []
    for line in mounts:
        fields, _, kind = line.partition(" - ")
        point = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), fields.split(" ")[4])
        if place == point or place.startswith(join(point, "")):
            below.append((len(point), kind.split(" ")[0]))
    return max(below, default=(0, ""))[1].startswith(_MADE_UP)
