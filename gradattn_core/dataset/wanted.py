"""What of a dataset is wanted: the columns of its table, and the split."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

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
