"""What there is in a dataset, before anything is audited: splits, formats, copies, pictures that cannot be read."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

from gradattn_core.dataset.address import file_name, is_local, join, member, whole_picture
from gradattn_core.dataset.decoding import content_hash, decode_image, read_address
from gradattn_core.dataset.endings import suffix
from gradattn_core.dataset.levels import is_split, words
from gradattn_core.errors import DatasetError, UnreadableImageError
from gradattn_core.records import Listing

_TRIED = 200
_AT_ONCE = 10_000
_THREADS = 8
_EXAMPLES = 10
# The splits of a dataset are told from all that it has, whatever part of it would be audited.
_AS_MANY: Mapping[str, int] = {"limit": 0, "sample": 0}
_EVERYTHING: Mapping[str, object] = {"exclude_labels": (), "classes": (), **_AS_MANY}

List = Callable[..., Listing]
"""``list_dataset`` of the dataset and its columns, with ``split``, ``label_column`` and ``label_depth`` to choose."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture by its whole address, with its label, its split ("" where there are none) and its size in bytes."""

    address: str
    label: str
    split: str
    size: int


@dataclass(frozen=True, slots=True)
class Split:
    """How many pictures and classes a split has."""

    name: str
    images: int
    classes: int


@dataclass(frozen=True, slots=True)
class Copies:
    """Pictures that are there more than once, byte for byte.

    Attributes:
        groups: distinct contents that several pictures have; ``pictures`` counts these pictures.
        under_several_labels: groups whose labels differ: all labels of such a group but one are wrong, or the pictures
            have several labels.
        across_splits: groups in more than one split.
        examples: addresses of the pictures of a few groups, those with several labels first, then those across splits.
    """

    groups: int
    pictures: int
    under_several_labels: int
    across_splits: int
    examples: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A picture that was tried and cannot be read."""

    path: str
    reason: str


def pictures_of(listing: Listing, split: str = "", split_of: dict[str, str] | None = None) -> list[Picture]:
    """The pictures of a listing, all of one split or each of its own."""
    every = split_of or {}
    return [
        Picture(join(listing.root, image.path), image.label, every.get(image.path, split), image.size)
        for image in listing.images
    ]


def pictures_by_split(list_one: List, split_column: str) -> list[Picture]:
    """Every picture of a dataset with its split; none where the dataset has no splits.

    Splits are folders around the classes, files named after them, or values of the column for it.
    """
    try:
        firsts = list_one(label_depth="1", split=None, **_EVERYTHING).classes
    except DatasetError:
        return _by_column(list_one, split_column) or _by_file(list_one)
    found: list[Picture] = []
    splits = [first for first in firsts if is_split(first)]
    for split in splits if len(splits) > 1 else []:
        try:
            found += pictures_of(list_one(split=split, **_AS_MANY), split)
        except DatasetError:  # a split without labels, for example
            continue
    return found


def splits_of(pictures: Iterable[Picture]) -> tuple[Split, ...]:
    """The splits in order, with how much is in each."""
    labels: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for picture in pictures:
        labels[picture.split][picture.label] += 1
    return tuple(Split(name, sum(counts.values()), len(counts)) for name, counts in sorted(labels.items()))


def formats_of(listing: Listing) -> dict[str, int]:
    """How many pictures have each ending; "" counts those in cells of a table."""
    return dict(Counter(suffix(image.path.rpartition("/")[2]) for image in listing.images).most_common())


def find_copies(pictures: Sequence[Picture], told: Callable[[int, int], None]) -> Copies | None:
    """The pictures that are there more than once; only those of equal size are read.

    Returns:
        None where they lie on other machines, from which all of them would have to be fetched.
    """
    if not all(is_local(picture.address) for picture in pictures):
        return None
    by_size: defaultdict[int, list[Picture]] = defaultdict(list)
    # Of boxes it is their pictures that may be there twice; these have no one label.
    whole = (
        replace(each, address=place, label="") if (place := whole_picture(each.address)) != each.address else each
        for each in pictures
    )
    for picture in {picture.address: picture for picture in whole}.values():
        by_size[picture.size].append(picture)
    doubtful = [picture for group in by_size.values() if len(group) > 1 for picture in group]
    by_content: defaultdict[str, list[Picture]] = defaultdict(list)
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="check") as pool:
        # Not all at once: of a million pictures each would wait as an object of its own.
        for start in range(0, len(doubtful), _AT_ONCE):
            some = doubtful[start : start + _AT_ONCE]
            for number, (picture, content) in enumerate(zip(some, pool.map(_content, some), strict=True), start + 1):
                if content:
                    by_content[content].append(picture)
                told(number, len(doubtful))
    groups = [group for group in by_content.values() if len(group) > 1]
    mixed = [group for group in groups if len({picture.label for picture in group}) > 1]
    across = [group for group in groups if len({picture.split for picture in group}) > 1]
    first = [*mixed, *across, *groups]
    examples = list(dict.fromkeys(tuple(sorted(picture.address for picture in group)) for group in first))
    return Copies(len(groups), sum(map(len, groups)), len(mixed), len(across), tuple(examples[:_EXAMPLES]))


def try_pictures(listing: Listing, told: Callable[[int, int], None]) -> tuple[int, tuple[Unreadable, ...]]:
    """Decode some pictures, evenly over the listing: how many were tried, and which of them cannot be read."""
    step = max(1, -(-len(listing.images) // _TRIED))
    tried = [image.path for image in listing.images[::step]]
    unreadable = []
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="check") as pool:
        reasons = pool.map(partial(_problem, listing.root), tried)
        for number, (path, reason) in enumerate(zip(tried, reasons, strict=True), 1):
            if reason is not None:
                unreadable.append(Unreadable(path, reason))
            told(number, len(tried))
    return len(tried), tuple(unreadable)


def _by_column(list_one: List, split_column: str) -> list[Picture]:
    try:
        splits = list_one(label_column=split_column, split=None, label_depth=None, **_EVERYTHING)
        listing = list_one(split=None, **_AS_MANY)
    except DatasetError:
        return []
    return pictures_of(listing, split_of={image.path: image.label for image in splits.images})


def _by_file(list_one: List) -> list[Picture]:
    """Of tars and tables that are named after their splits, such as ``train-00000-of-00007.parquet``."""
    try:
        listing = list_one(split=None, **_AS_MANY)
    except DatasetError:
        return []
    inner = member(listing.root)
    if inner is None or inner.kind not in ("webdataset", "parquet"):
        return []
    file_ends = ".tar" if inner.kind == "webdataset" else "#"
    files = {image.path: file_name(image.path[: image.path.lower().find(file_ends)]) for image in listing.images}
    names = {path: (words(file) or [""])[0] for path, file in files.items()}
    return pictures_of(listing, split_of=names) if all(is_split(name) for name in set(names.values())) else []


def _content(picture: Picture) -> str:
    try:
        return content_hash(read_address(picture.address))
    except (UnreadableImageError, DatasetError):
        return ""


def _problem(root: str, path: str) -> str | None:
    try:
        decode_image(read_address(join(root, path)), os.path.basename(path), suffices=lambda width, height: (32, 32))
    except (UnreadableImageError, DatasetError) as error:
        return str(error)
    return None
