"""Checks of what the caller hands in; every refusal names the argument and says what would have worked."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from gradattn_core.errors import RankingError
from gradattn_core.ranking.arrays import row_blocks
from gradattn_core.records import FloatArray, IntArray


def check_matrix(values: ArrayLike, name: str, rows: int, columns: int | None = None) -> FloatArray:
    """``values`` as a finite float32 matrix of ``rows`` rows (and ``columns`` columns).

    Raises:
        RankingError: it is not numeric, has another shape, or holds NaN or infinity.
    """
    try:
        matrix = np.asarray(values, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise RankingError(f"{name} must be a numeric matrix with one row per label: {error}") from error
    if matrix.ndim != 2 or matrix.shape[0] != rows or matrix.shape[1] == 0:
        raise RankingError(
            f"{name} has shape {matrix.shape}, but {rows} labels need {rows} rows of at least one column"
        )
    if columns is not None and matrix.shape[1] != columns:
        raise RankingError(
            f"{name} has {matrix.shape[1]} columns, but there are {columns} classes: one column per class"
        )
    # Some rows at a time: of a large table even what is finite would be a large table.
    bad = np.concatenate([~np.isfinite(matrix[block]).all(axis=1) for block in row_blocks(*matrix.shape)])
    if bad.any():
        raise RankingError(
            f"{name} holds NaN, infinity or numbers beyond float32 in {int(bad.sum())} rows (first: row "
            f"{int(bad.argmax())}); drop those images or repair the numbers"
        )
    return matrix


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


def check_given(given: Any, classes: Any) -> tuple[IntArray, list[Any]]:
    """Class number of every given label, and the classes in column order (``classes``, else sorted).

    Raises:
        RankingError: empty, one class only, a missing label, mixed types, or a label that ``classes`` lacks.
    """
    labels = np.asarray(given).tolist() if not isinstance(given, list | tuple) else list(given)
    if not isinstance(labels, list) or not labels:
        raise RankingError("given must be a non-empty list of labels")
    if any(isinstance(label, list) or label is None or label != label for label in labels):
        raise RankingError("given must be one label per image, none of them missing")
    try:
        names = sorted(set(labels)) if classes is None else list(np.asarray(classes).tolist())
    except TypeError as error:
        raise RankingError("given mixes text and numbers; make all labels one type or pass classes") from error
    if len(set(names)) != len(names):
        raise RankingError("classes names a class twice; each column needs its own class")
    if len(names) < 2:
        raise RankingError("given holds a single class; a label can only be doubted where there is another class")
    numbers = {name: number for number, name in enumerate(names)}
    unknown = sorted({str(label) for label in labels if label not in numbers})
    if unknown:
        raise RankingError(f"given holds labels that classes lacks: {', '.join(unknown[:5])}")
    return np.array([numbers[label] for label in labels], dtype=np.int64), names


def check_class_count(codes: IntArray, classes: int | None) -> int:
    """Number of classes: ``classes``, else one more than the highest code; raises RankingError below two."""
    count = int(codes.max()) + 1 if classes is None else classes
    if count <= codes.max():
        raise RankingError(f"classes is {count}, but given holds class number {int(codes.max())}")
    if np.unique(codes).size < 2:
        raise RankingError("given holds a single class; a label can only be doubted where there is another class")
    return count
