"""What of a dataset is listed: its columns by name, one split of it, and the files that a pattern stands for.

Patterns are ``train-{000..012}.tar``, ``{a,b}``, ``*``, ``?`` and ``[…]``.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from gradattn_core.config import BOX_MARGIN, MIN_BOX
from gradattn_core.dataset import storage
from gradattn_core.dataset.address import is_url, is_web
from gradattn_core.dataset.text import shown
from gradattn_core.errors import DatasetError

T = TypeVar("T")

PATH_COLUMN, LABEL_COLUMN, SPLIT_COLUMN = "path", "label", "split"
SPLIT_NAMES = frozenset({"train", "training", "val", "valid", "validation", "dev", "test", "testing"})

_BRACES = re.compile(r"\{([^{}]*,[^{}]*|\d+\.\.\d+)\}")
_MAX_FILES = 100_000


@dataclass(frozen=True, slots=True)
class Subset:
    """Which part of a dataset is audited.

    Attributes:
        exclude_labels: pictures of these are passed over.
        classes: only pictures of these; all where empty. One text may name several, with commas between.
        limit: at most so many pictures, evenly from the whole order of the listing; 0 takes all.
        sample: so many pictures at random, each as likely as any other; 0 takes all.
        seed: of the sample. A picture is drawn by a digest of the seed and its path, so a dataset that has grown keeps
            most of the pictures that were drawn before.
    """

    exclude_labels: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    limit: int = 0
    sample: int = 0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class DatasetSelection:
    """What of a dataset is listed, and how.

    Attributes:
        path_column, label_column, split_column: of a table, by name.
        split: the one that is listed; None lists all.
        image_root: address of the folder or container where relative paths start; of the table's folder where None.
        image_ending: of the pictures' names where the paths have none, with its dot.
        label_depth: which level of folders is the label, see ``levels.check_level``; None leaves it to the signs.
        merge_spellings: labels that differ by nothing one can see are one, in the spelling that most pictures have.
        subset: which part of it.
        box_margin: around an annotated box, in parts of its sides.
        min_box: pixels that the shorter side of an annotated box has at least.
    """

    path_column: str = PATH_COLUMN
    label_column: str = LABEL_COLUMN
    split_column: str = SPLIT_COLUMN
    split: str | None = None
    image_root: str | None = None
    image_ending: str | None = None
    label_depth: str | None = None
    merge_spellings: bool = False
    subset: Subset = Subset()
    box_margin: float = BOX_MARGIN
    min_box: int = MIN_BOX

    def without_split(self) -> DatasetSelection:
        """What remains to be selected once the files of the split are."""
        return replace(self, split=None)


def of_split(names: Sequence[str], split: str) -> list[str]:
    """The files whose folder is the split, or whose name begins with it, such as ``train-00000-of-00007.parquet``."""
    begins = re.compile(rf"{re.escape(split)}([-_.]|$)")
    return [name for name in names if split in name.split("/")[:-1] or begins.match(name.rpartition("/")[2])]


def evenly(items: Sequence[T], most: int) -> list[T]:
    """At most so many of the items, from all over their order, the same whenever it is asked."""
    step = max(len(items) / most, 1.0)
    return [items[int(number * step)] for number in range(min(most, len(items)))]


def is_pattern(address: str) -> bool:
    """Whether the text may stand for several files; in a web address ``?`` begins a query and stars mean nothing."""
    return _BRACES.search(address) is not None or (not is_web(address) and _has_wildcard(address))


def expand(pattern: str) -> list[str]:
    """The addresses of the files that a pattern stands for, in its order; what braces name need not exist.

    Raises:
        DatasetError: it stands for none, or for too many.
        OSError: a folder cannot be listed.
    """
    found: list[str] = []
    for name in _without_braces(pattern):
        if not _has_wildcard(name) or is_web(name) or os.path.exists(name):
            found.append(name)
        else:
            found += storage.glob(name) if is_url(name) else sorted(glob.glob(name, recursive=True))
        if len(found) > _MAX_FILES:
            raise DatasetError(f"{shown(pattern)} stands for more than {_MAX_FILES:,} files: name a folder of them.")
    if not found:
        raise DatasetError(f"No file matches {shown(pattern)}.")
    return list(dict.fromkeys(found))


def _has_wildcard(address: str) -> bool:
    return any(sign in address for sign in ("*[" if is_url(address) else "*?["))


def _without_braces(pattern: str) -> Iterator[str]:
    """The patterns that a pattern with braces stands for, one after the other."""
    braces = _BRACES.search(pattern)
    if braces is None:
        yield pattern
        return
    inside = braces[1]
    if ".." in inside and "," not in inside:
        first, last = inside.split("..")
        width = len(first) if first.startswith("0") else 0
        choices: Iterator[str] = (f"{number:0{width}d}" for number in range(int(first), int(last) + 1))
    else:
        choices = iter(inside.split(","))
    for choice in choices:
        yield from _without_braces(f"{pattern[: braces.start()]}{choice}{pattern[braces.end() :]}")
