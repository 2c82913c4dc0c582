"""Names that stand for many files: ``train-{000..012}.tar``, ``{a,b}``, ``*``, ``?`` and ``[…]``."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from gradattn_core.dataset import storage
from gradattn_core.dataset.address import is_url, is_web
from gradattn_core.dataset.text import shown
from gradattn_core.errors import DatasetError

PATH_COLUMN, LABEL_COLUMN, SPLIT_COLUMN = "path", "label", "split"
SPLIT_NAMES = frozenset({"train", "training", "val", "valid", "validation", "dev", "test", "testing"})


@dataclass(frozen=True, slots=True)
class Wanted:
    """The columns by name, and the one split that is listed; None lists all."""

    path_column: str = PATH_COLUMN
    label_column: str = LABEL_COLUMN
    split_column: str = SPLIT_COLUMN
    split: str | None = None

    def without_split(self) -> Wanted:
        """What is left to choose once the files of the split were chosen."""
        return replace(self, split=None)


def of_split(names: Sequence[str], split: str) -> list[str]:
    """The files whose folder is the split, or whose name begins with it, such as ``train-00000-of-00007.parquet``."""
    begins = re.compile(rf"{re.escape(split)}([-_.]|$)")
    return [name for name in names if split in name.split("/")[:-1] or begins.match(name.rpartition("/")[2])]


_BRACES = re.compile(r"\{([^{}]*,[^{}]*|\d+\.\.\d+)\}")
_MOST = 100_000


def is_pattern(address: str) -> bool:
    """Whether the text may stand for several files; in a web address ``?`` begins a query and stars mean nothing."""
    wild = "" if is_web(address) else "*[" if is_url(address) else "*?["
    return _BRACES.search(address) is not None or any(sign in address for sign in wild)


def expand(pattern: str) -> list[str]:
    """The addresses of the files that a pattern stands for, in its order; whoever is named in braces need not be there.

    Raises:
        DatasetError: it stands for none, or for too many.
        OSError: a folder cannot be listed.
    """
    found: list[str] = []
    for name in _braces(pattern):
        wild = any(sign in name for sign in ("*[" if is_url(name) else "*?["))
        if not wild or is_web(name) or os.path.exists(name):
            found.append(name)
        else:
            found += storage.glob(name) if is_url(name) else sorted(glob.glob(name, recursive=True))
        if len(found) > _MOST:
            raise DatasetError(f"{shown(pattern)} stands for more than {_MOST:,} files: name a folder of them.")
    if not found:
        raise DatasetError(f"No file matches {shown(pattern)}.")
    return list(dict.fromkeys(found))


def _braces(pattern: str) -> Iterator[str]:
    found = _BRACES.search(pattern)
    if found is None:
        yield pattern
        return
    inside = found[1]
    if ".." in inside and "," not in inside:
        first, last = inside.split("..")
        width = len(first) if first.startswith("0") else 0
        choices: Iterator[str] = (f"{number:0{width}d}" for number in range(int(first), int(last) + 1))
    else:
        choices = iter(inside.split(","))
    for choice in choices:
        yield from _braces(f"{pattern[: found.start()]}{choice}{pattern[found.end() :]}")
