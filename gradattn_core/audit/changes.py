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
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from gradattn_core import outfolder
from gradattn_core.audit.reuse import sweep_of
from gradattn_core.dataset.address import is_local, join, member
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
_COLUMNS = ("root", "path", "size", "time", "changed", "modified")


@dataclass(frozen=True, slots=True)
class _File:
    """A file as it was last listed: ``time`` is its own, ``modified`` what its record said then."""

    size: int
    time: int
    changed: int
    modified: int


def settled(listing: Listing, out: Path) -> Listing:
    """The listing with another ``modified`` for each file whose content is another than when an audit listed it.

    Files that no audit in the output folder has listed keep theirs, as do those that an audit of an older version has
    listed, which knew no more of them. Only files in doubt are read.
    """
    before = _known(out, listing.root)
    lies = _can_lie(listing.root)
    alike = Counter((image.size, image.modified) for image in listing.images) if lies else Counter[tuple[int, int]]()
    images = list(listing.images)
    doubtful = []
    for position, image in enumerate(images):
        was = before.get(image.path)
        if was is None or (was.size, was.time) != (image.size, image.modified):
            continue
        if was.changed == image.changed and alike[image.size, image.modified] < 2:
            images[position] = replace(image, modified=was.modified)
        else:
            doubtful.append(position)
    if doubtful:
        contents = _contents(out, listing.root)
        with ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="changes") as pool:
            hashes = pool.map(lambda position: _content(listing.root, images[position]), doubtful)
            for position, now in zip(doubtful, hashes, strict=True):
                image, was = images[position], before[images[position].path]
                images[position] = replace(image, modified=_modified(image, was, now, contents.get(image.path, {})))
    return replace(listing, images=tuple(images))


def keep_files(listing: Listing, settled_listing: Listing, out: Path) -> None:
    """Write down for later audits how the files of a listing are known, beside what is known of others."""
    files = {(root, path): file for root, known in _all_known(out).items() for path, file in known.items()}
    for image, settled_image in zip(listing.images, settled_listing.images, strict=True):
        if image.changed:
            key = listing.root, image.path
            files[key] = _File(image.size, image.modified, image.changed, settled_image.modified)
    if not files:
        return
    rows = [(*key, file.size, file.time, file.changed, file.modified) for key, file in files.items()]
    columns = dict(zip(_COLUMNS, map(list, zip(*rows, strict=True)), strict=True))
    write_parquet(outfolder.listed(out), pa.table(columns))


def _modified(image: ImageRecord, was: _File, now: str | None, known: dict[int, str]) -> int:
    """What a record says of a file with this content: the same number for the same content.

    Args:
        now: hash of the content; None where it cannot be read, which whoever decodes it will say.
        known: of this path, the content that sweeps have read by what its record said.
    """
    if now is None or known.get(was.modified) == now:
        return was.modified
    earlier = (modified for modified, content in known.items() if content == now)
    return next(earlier, digest(image.modified, now))


def _known(out: Path, root: str) -> dict[str, _File]:
    return _all_known(out).get(root, {})


def _all_known(out: Path) -> dict[str, dict[str, _File]]:
    """Of each root, the files by path; nothing where the file of earlier audits is not there or damaged."""
    known: dict[str, dict[str, _File]] = {}
    try:
        table = pq.read_table(outfolder.listed(out), columns=list(_COLUMNS))
    except (OSError, ValueError):  # pyarrow's errors are among them
        return known
    for root, path, *numbers in zip(*(table[name].to_pylist() for name in _COLUMNS), strict=True):
        known.setdefault(root, {})[path] = _File(*numbers)
    return known


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
    inner = member(root)
    place = os.path.realpath(inner.outer if inner else root)
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
