"""Work done block by block on every core: no table is copied whole, no sum depends on how many cores there are."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

NUMBERS = 2**24
"""Numbers of a block, 64 MB as float32."""
SAMPLED = 2**23
"""Numbers, rows by classes, of which a single parameter is chosen: more of them would not tell it better."""
_WORKERS = 16

Item = TypeVar("Item")
Result = TypeVar("Result")


def row_blocks(rows: int, width: int) -> list[slice]:
    """Slices that cover ``rows`` rows of ``width`` numbers, each about ``NUMBERS`` in all."""
    step = max(1, NUMBERS // max(width, 1))
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


def sample_rows(rows: int, width: int) -> NDArray[np.int64]:
    """All rows where ``rows`` × ``width`` numbers are few, else so many at random, ascending; always the same ones."""
    wanted = max(SAMPLED // max(width, 1), 1)
    if rows <= wanted:
        return np.arange(rows)
    return np.sort(np.random.default_rng(0).choice(rows, wanted, replace=False))
