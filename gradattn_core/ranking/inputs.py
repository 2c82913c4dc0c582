"""Checks of what the caller hands in; every refusal names the argument and says what would have worked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from gradattn_core.errors import RankingError
from gradattn_core.ranking.arrays import row_blocks
from gradattn_core.records import FloatArray, IntArray

_SHOWN = 60
"""Characters of a foreign name in a sentence."""
_ALLOWED, _DIGITS = 0.01, 4
"""How far any sum of probabilities may be from one, and the digits from which numbers do not count as rounded."""


def shown(label: object) -> str:
    """A name that came from outside, as it may stand in a sentence: quoted, in one line and not long."""
    text = repr(label.item() if isinstance(label, np.generic) else label)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def check_matrix(
    values: ArrayLike, name: str, rows: int, columns: int | None = None, classes: Sequence[Any] | None = None
) -> FloatArray:
    """``values`` as a finite float32 matrix of ``rows`` rows (and ``columns`` columns, those of ``classes``).

    Raises:
        RankingError: it is not numeric, has another shape, or holds NaN or infinity.
    """
    try:
        with np.errstate(over="ignore"):
            matrix = np.asarray(values, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise RankingError(f"{name} must be a numeric matrix with one row per label: {error}") from error
    if matrix.ndim != 2 or matrix.shape[0] != rows or matrix.shape[1] == 0:
        raise RankingError(
            f"{name} has shape {matrix.shape}, but {rows} labels need {rows} rows of at least one column"
        )
    if columns is not None and matrix.shape[1] != columns:
        raise RankingError(
            f"{name} has {matrix.shape[1]} columns, but there are {columns} classes: one column per class; if it has "
            "some for classes that no label names, pass all of them as classes"
        )
    # Some rows at a time: of a large table even what is finite would be a large table.
    bad = np.concatenate([~np.isfinite(matrix[block]).all(axis=1) for block in row_blocks(*matrix.shape)])
    if bad.any():
        row = int(bad.argmax())
        raise RankingError(
            f"{name} holds NaN, infinity or numbers beyond float32 in {int(bad.sum())} rows (first: "
            f"{_place(row, int((~np.isfinite(matrix[row])).argmax()), classes)}); drop those images or repair the "
            "numbers"
        )
    return matrix


def _place(row: int, column: int, classes: Sequence[Any] | None) -> str:
    named = "" if classes is None else f", the class {shown(classes[column])}"
    return f"row {row}, column {column}{named}"


def check_probabilities(table: FloatArray, classes: Sequence[Any]) -> None:
    """That each row of ``table`` [N, K] is a distribution, but for what rounding and cutting off take from its sum.

    Numbers that are all multiples of a tenth, hundredth … may each be half of that off, and where zeros stand each may
    have been as much as the smallest number of the table; a hundredth is allowed in any case.

    Raises:
        RankingError: a negative number, a row of zeros, or one whose sum is off by more; row and column are named.
    """
    blocks = row_blocks(*table.shape)
    least, unit = np.inf, _unit(table, blocks)
    for block in blocks:
        part = table[block]
        low = part.min(axis=1)
        if (low < 0).any():
            row = int((low < 0).argmax())
            raise RankingError(
                f"probabilities holds {low[row]:.3g} in {_place(block.start + row, int(part[row].argmin()), classes)}; "
                "none can be negative (if these are scores of a model before its softmax, pass them as logits)"
            )
        least = min(least, float(np.min(part, where=part > 0, initial=np.inf)))
    for block in blocks:
        part = table[block]
        sums = part.sum(axis=1, dtype=np.float64)
        zeros = (part == 0).sum(axis=1)
        most = 1 + _ALLOWED + unit / 2 * (table.shape[1] - zeros)
        bad = (sums <= 0) | (sums > most) | (sums < 1 - _ALLOWED - unit / 2 * table.shape[1] - least * zeros)
        if bad.any():
            row = int(bad.argmax())
            raise RankingError(
                f"probabilities must sum to 1 in each row, but row {block.start + row} sums to {sums[row]:.4g} (its "
                f"largest number is {part[row].max():.3g}, the class {shown(classes[int(part[row].argmax())])}); "
                "divide each row by its sum if these are shares, or pass what a model says before its softmax as logits"
            )


def _unit(table: FloatArray, blocks: list[slice]) -> float:
    """The largest of a tenth, a hundredth … of which all numbers are multiples; 0 where they are whole or unrounded."""
    for digits in range(_DIGITS + 1):
        scale = np.float32(10**digits)
        if all(np.allclose(part := table[block] * scale, np.rint(part), rtol=0, atol=1e-3) for block in blocks):
            return float(1 / scale) if digits else 0.0
    return 0.0


def check_codes(given: ArrayLike) -> IntArray:
    """``given`` as class numbers: a vector of integers >= 0.

    Raises:
        RankingError: it is empty, not a vector, or not of non-negative integers.
    """
    codes = np.asarray(given)
    if codes.ndim != 1 or codes.size == 0 or codes.dtype.kind not in "iu" or codes.min() < 0:
        raise RankingError(
            f"given must be a non-empty vector of class numbers 0, 1, …; got {codes.dtype} {codes.shape}"
        )
    return codes.astype(np.int64)


def check_folds(folds: ArrayLike, rows: int) -> tuple[IntArray, IntArray]:
    """``folds`` renumbered 0 … F-1, and the caller's number of each, ascending.

    Raises:
        RankingError: not one integer per label, or fewer than two different folds.
    """
    numbers = np.asarray(folds)
    if numbers.shape != (rows,) or numbers.dtype.kind not in "iu":
        raise RankingError(f"folds must be {rows} integers, one per label; got {numbers.dtype} {numbers.shape}")
    names, codes = np.unique(numbers.astype(np.int64), return_inverse=True)
    if names.size < 2:
        raise RankingError("folds holds a single fold; at least two are needed to judge an image out of sample")
    return codes.astype(np.int64), names


def values_of(labels: Any, name: str) -> list[Any]:
    """A vector of labels as a list: the values of a list, a tuple or pandas as they are, else what NumPy makes of them.

    Raises:
        RankingError: it is no vector, or holds what can be no label.
    """
    if isinstance(labels, pd.DataFrame):
        raise RankingError(f"{name} must be a list of labels, but it is a frame; pass one of its columns")
    if isinstance(labels, list | tuple | pd.Series | pd.Index | pd.api.extensions.ExtensionArray):
        values = list(cast(Iterable[Any], labels))
    else:
        values = np.asarray(labels).tolist()
    if not isinstance(values, list):
        raise RankingError(f"{name} must be a list of labels; got {shown(labels)}")
    for row, value in enumerate(values):
        try:
            hash(value)
        except TypeError as error:
            raise RankingError(f"{name} must hold one label each, but row {row} is {shown(value)}") from error
    return values


def check_given(given: Any, classes: Any) -> tuple[IntArray, list[Any]]:
    """Class number of every given label, and the classes in column order (``classes``, else sorted).

    Raises:
        RankingError: empty, one class only, a missing label, mixed types, or a label that ``classes`` lacks.
    """
    labels = values_of(given, "given")
    passed = None if classes is None else values_of(classes, "classes")
    if not labels:
        raise RankingError("given must be a non-empty list of labels")
    missing = [row for row, label in enumerate(labels) if _absent(label)]
    if missing:
        raise RankingError(
            f"given must be one label per image, but {len(missing)} of them are missing (first: row {missing[0]}); "
            "drop these images"
        )
    try:
        names = sorted(set(labels)) if passed is None else passed
    except TypeError as error:
        raise RankingError("given mixes text and numbers; make all labels one type or pass classes") from error
    if any(_absent(name) for name in names):
        raise RankingError("classes holds a missing value; each column needs a class")
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise RankingError(f"classes names the class {shown(twice)} twice; each column needs its own class")
    if len(names) < 2:
        raise RankingError("given holds a single class; a label can only be doubted where there is another class")
    numbers = {name: number for number, name in enumerate(names)}
    unknown = dict.fromkeys(label for label in labels if label not in numbers)
    if unknown:
        first = next(iter(unknown))
        rest = f", and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        raise RankingError(f"given holds labels that classes lacks: {shown(first)} in row {labels.index(first)}{rest}")
    return np.array([numbers[label] for label in labels], dtype=np.int64), names


def _absent(label: Any) -> bool:
    """None, NaN and what pandas writes for them; the last is not even equal to something else."""
    return label is None or type(label).__name__ in {"NAType", "NaTType"} or bool(label != label)


def check_seed(seed: Any) -> int:
    """``seed`` as a number that can start a sequence.

    Raises:
        RankingError: it is negative or no integer.
    """
    if not isinstance(seed, int | np.integer) or seed < 0:
        raise RankingError(f"seed must be a whole number of at least 0; got {shown(seed)}")
    return int(seed)


def check_class_count(codes: IntArray, classes: int | None) -> int:
    """Number of classes: ``classes``, else one more than the highest code; raises RankingError below two."""
    count = int(codes.max()) + 1 if classes is None else classes
    if count <= codes.max():
        raise RankingError(f"classes is {count}, but given holds class number {int(codes.max())}")
    if np.unique(codes).size < 2:
        raise RankingError("given holds a single class; a label can only be doubted where there is another class")
    return count
