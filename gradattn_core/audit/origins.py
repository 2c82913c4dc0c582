"""What each explained head says of an average picture of the audit: one of the two origins that maps add up from.

The average answer of a head is the mean of its logits over the audited pictures, and so, as the log-odds of two classes
are a difference of logits, the mean of every pair's log-odds at once. It is computed once, when the images are ranked,
and frozen in the audit's files: whichever process draws a map reads the same numbers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gradattn_core.files import digest, write_parquet
from gradattn_core.ranking.arrays import row_blocks
from gradattn_core.records import FloatArray, IntArray

_CLASSES = b"classes"
_ID_BYTES = 8


@dataclass(frozen=True)
class Origins:
    """The average answers of an audit's heads.

    Attributes:
        heads: the id of each head: the model's own classifier alone, or the one of each fold.
        classes: of the answers, in their order.
        answers: [F, K] float64 mean logits; NaN for a head that judged no picture.
    """

    heads: tuple[str, ...]
    classes: tuple[str, ...]
    answers: NDArray[np.float64]

    def average(self, head: int, given: str, other: str) -> float | None:
        """The mean log-odds of ``given`` against ``other`` under a head, by its position; None where it has none.

        There is none against a class that the dataset does not have: only the dataset's outputs are kept of all images.
        """
        if other not in self.classes:
            return None
        row = self.answers[head]
        value = float(row[self.classes.index(given)] - row[self.classes.index(other)])
        return value if np.isfinite(value) else None

    def save(self, path: Path) -> None:
        table = pa.table({"head": pa.array(self.heads, pa.string()), "answers": list(self.answers)})
        write_parquet(path, table.replace_schema_metadata({_CLASSES: json.dumps(self.classes)}))

    @classmethod
    def load(cls, path: Path) -> Origins:
        table = pq.read_table(path)
        answers = np.array(table["answers"].to_pylist(), dtype=np.float64)
        return cls(tuple(table["head"].to_pylist()), tuple(json.loads(table.schema.metadata[_CLASSES])), answers)


def mean_row(matrix: FloatArray, rows: NDArray[np.bool_] | None = None) -> NDArray[np.float64]:
    """[K] float64 mean of the rows of [N, K], or of the chosen ones; NaN where there are none."""
    total, count = np.zeros(matrix.shape[1]), 0
    for block in row_blocks(*matrix.shape):
        part = matrix[block] if rows is None else matrix[block][rows[block]]
        total += part.sum(axis=0, dtype=np.float64)
        count += len(part)
    return total / count if count else np.full(matrix.shape[1], np.nan)


def mean_by_fold(logits: FloatArray, folds: IntArray, count: int) -> NDArray[np.float64]:
    """[F, K] float64 mean of the rows of each fold."""
    return np.stack([mean_row(logits, folds == fold) for fold in range(count)])


def probed(weights: FloatArray, bias: FloatArray, mean: NDArray[np.float64]) -> NDArray[np.float64]:
    """[F, K] float64: what linear heads say on average, which is what they say of the mean features [D].

    Args:
        weights, bias: [F, K, D] and [F, K], of each fold's probe.
    """
    answers: NDArray[np.float64] = weights.astype(np.float64) @ mean + bias
    return answers


def head_id(*facts: object) -> str:
    """A short digest of what determines a head's answers."""
    text = json.dumps([_as_text(fact) for fact in facts])
    return hashlib.blake2b(text.encode(), digest_size=_ID_BYTES).hexdigest()


def _as_text(fact: object) -> object:
    if isinstance(fact, np.ndarray):
        return hashlib.blake2b(np.ascontiguousarray(fact).data, digest_size=16).hexdigest()
    return digest(fact) if isinstance(fact, Path) else fact


def own_classifier(key: str) -> tuple[str, ...]:
    """The id of the model's own classifier, of the key of its sweep: weights and the output of each class."""
    return (head_id("as-is", key),)


def probes(key: str, weights: FloatArray, bias: FloatArray) -> tuple[str, ...]:
    """The id of each fold's probe on the features of a sweep."""
    return tuple(head_id("probe", key, *fold) for fold in zip(weights, bias, strict=True))


def fine_tuned(files: Sequence[Path]) -> tuple[str, ...]:
    """The id of each fold's model, of the files of their weights."""
    return tuple(head_id("finetune", file) for file in files)
