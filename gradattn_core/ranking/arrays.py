"""Large arrays, a block of rows at a time and on every core: none is copied whole, no sum depends on how many cores."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

import numpy as np
from threadpoolctl import threadpool_limits

from gradattn_core.records import FloatArray, IntArray

NUMBERS, MANY = 2**20, 2**24
"""Numbers of a block of a large array, and numbers of an array that is none: 4 MB as float32, so that what is gone over
several times stays in the processor's own memory, and 64 MB. As many make a block where it is held against all images
or all classes, which are read anew for each."""
SAMPLED = 2**23
"""Numbers, rows by classes, from which a single parameter is chosen: more of them would not tell it better."""
_WORKERS = 16

Item = TypeVar("Item")
Result = TypeVar("Result")


class Table(Protocol):
    """What is read as an array [N, D] is, some rows at a time."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice, /) -> FloatArray: ...


def row_blocks(rows: int, width: int, *, coarse: bool = False) -> list[slice]:
    """Slices that cover ``rows`` rows of ``width`` numbers, of ``NUMBERS`` each; where ``coarse``, and where there
    are no more, of ``MANY``.
    """
    step = max(1, (MANY if coarse or rows * width <= MANY else NUMBERS) // max(width, 1))
    return [slice(start, min(start + step, rows)) for start in range(0, rows, step)]


def side_by_side(work: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """``work`` of each of ``items`` in order, as many at a time as there are cores, each of them on one.

    Fits are many small products, on which the threads of one product would wait for one another more than they work.
    """
    workers = min(max(len(items), 1), os.cpu_count() or 1, _WORKERS)
    with threadpool_limits(limits=1), ThreadPoolExecutor(workers) as pool:
        yield from pool.map(work, items)


def for_each(work: Callable[[Item], None], items: Sequence[Item]) -> None:
    """The same for work that leaves its result where it belongs."""
    for _ in side_by_side(work, items):
        pass


def sample_rows(rows: int, width: int) -> IntArray:
    """All rows where ``rows`` × ``width`` numbers are few, else so many at random, ascending; always the same ones."""
    most = max(SAMPLED // max(width, 1), 1)
    if rows <= most:
        return np.arange(rows)
    return np.sort(np.random.default_rng(0).choice(rows, most, replace=False))


def softmax(logits: FloatArray) -> FloatArray:
    """Row-wise softmax of [N, K] logits."""
    table = logits - logits.max(axis=1, keepdims=True)
    np.exp(table, out=table)
    table /= table.sum(axis=1, keepdims=True)
    return np.asarray(table, dtype=np.float32)


def log_softmax(logits: FloatArray) -> FloatArray:
    """Row-wise log-softmax of [N, K] logits."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)), dtype=np.float32)


def unit_rows(features: FloatArray) -> FloatArray:
    """The rows of [N, D] as unit vectors; a row of zeros stays one."""
    return np.asarray(features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12))


def standardisation(features: Table) -> tuple[FloatArray, FloatArray]:
    """Mean and standard deviation [D] of ``features`` [N, D]; the latter infinite where a column is constant."""
    blocks = row_blocks(*features.shape)
    mean = sum(features[block].sum(axis=0, dtype=np.float64) for block in blocks) / len(features)
    squares = sum(np.square(features[block] - mean).sum(axis=0) for block in blocks)
    scale = np.sqrt(squares / len(features)).astype(np.float32)
    mean = np.asarray(mean, dtype=np.float32)
    scale[scale <= 1e-6 * np.maximum(np.abs(mean), 1e-30)] = np.inf
    return mean, scale
