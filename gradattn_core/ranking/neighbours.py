"""The images most like others, and what their labels say; an image never votes on itself."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from gradattn_core.ranking.accelerator import graphics_card, nearest_others
from gradattn_core.ranking.arrays import for_each, row_blocks, unit_rows
from gradattn_core.ranking.shortlist import Shortlist
from gradattn_core.records import FloatArray, IntArray

EXACT = 2**31
"""Pairs of images up to which each is compared with each, about 46,000 images among themselves."""
DEAR = 2**26
"""Pairs of images from which a GPU compares them where there is one: all of them, however many."""
LEADING = 96
"""Axes by which cells are told, else most of the work: by 96 of 384 principal axes of generated features as many true
neighbours are found (.90 of 40, .95 of 10) as by all, by 96 of 1,531 of photographs too (.91, .94)."""
_CELLS_SEARCHED = 16
_TRAINING_PER_CELL = 40


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The ``count`` images most like each of Q: ``index`` and ``similarity`` (cosine) are [Q, count], best first."""

    index: IntArray
    similarity: FloatArray


def find_neighbours(
    features: FloatArray, count: int, queries: IntArray | None = None, device: str = "cpu"
) -> Neighbours:
    """Cosine neighbours of the rows ``queries`` [Q] (default: all) of ``features`` [N, D] among the others.

    At most N − 1 of them; ties go to the earlier row. Beyond ``EXACT`` comparisons only images of
    the nearest cells of a partition of the data are compared: most of the true neighbours are found. Not so where
    ``device`` is a GPU: beyond ``DEAR`` comparisons that one compares each with each.
    """
    rows = np.arange(len(features)) if queries is None else queries
    count = min(count, len(features) - 1)
    index = np.zeros((len(rows), count), dtype=np.int64)
    similarity = np.zeros((len(rows), count), dtype=np.float32)
    if not count or not len(rows):
        return Neighbours(index, similarity)
    card = graphics_card(device) if len(rows) * len(features) > DEAR else None
    if card is not None:
        return Neighbours(*nearest_others(features, rows, count, card))
    approximate = len(rows) * len(features) > EXACT
    cells = _cells(features) if approximate else None
    unit = None if approximate else unit_rows(features)
    blocks = row_blocks(len(rows), features.shape[1] if approximate else len(features), coarse=True)

    def search(block: slice) -> None:
        own = rows[block]
        if cells is not None:
            nearest, values = _search(cells, features, own, count)
        else:
            assert unit is not None
            nearest, values = _compare(unit, own, count)
        order = np.argsort(-values, axis=1, kind="stable")
        index[block] = np.take_along_axis(nearest, order, axis=1)
        similarity[block] = np.take_along_axis(values, order, axis=1)

    if approximate:
        # The library spreads a search over the cores by itself.
        for block in blocks:
            search(block)
    else:
        for_each(search, blocks)
    return Neighbours(index, similarity)


def _compare(unit: FloatArray, own: IntArray, count: int) -> tuple[IntArray, FloatArray]:
    """Rows, ascending, and cosines of the ``count`` nearest others of ``own``."""
    block = unit[own] @ unit.T
    block[np.arange(len(own)), own] = -np.inf
    nearest = np.sort(np.argpartition(-block, count - 1, axis=1)[:, :count], axis=1)
    return nearest, np.take_along_axis(block, nearest, axis=1)


@dataclass(frozen=True, slots=True)
class _Cells:
    """An inverted file over unit rows, and of each row the nearest cells [N, cells] with their cosines, best first."""

    file: Any
    nearest: NDArray[np.int32]
    cosines: FloatArray


def _cells(features: FloatArray) -> _Cells:
    """An inverted file over the unit rows, in half precision; its cells are told by a sample and the first axes.

    Which cells a row is near is asked once: the nearest is where it lies, and all of them are where it is looked for.
    """
    import faiss  # a fifth of a second, which only a large dataset needs to spend

    rows, width = features.shape
    cells = min(int(4 * np.sqrt(rows)), max(rows // _TRAINING_PER_CELL, 1))
    faiss.omp_set_num_threads(os.cpu_count() or 1)
    index: Any = faiss.IndexIVFScalarQuantizer(
        faiss.IndexFlatIP(width), width, cells, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT, False
    )
    index.is_trained = True
    index.nprobe = min(_CELLS_SEARCHED, cells)
    sample = np.sort(np.random.default_rng(0).permutation(rows)[: cells * _TRAINING_PER_CELL])
    drawn = unit_rows(features[sample])
    axes = np.ascontiguousarray(np.linalg.eigh(drawn.T @ drawn)[1][:, : -LEADING - 1 : -1])
    middles: Any = faiss.Kmeans(
        axes.shape[1],
        cells,
        niter=10,
        spherical=True,
        max_points_per_centroid=_TRAINING_PER_CELL,
        min_points_per_centroid=1,
    )
    middles.train(drawn @ axes)
    found = _Cells(
        index, np.empty((rows, index.nprobe), dtype=np.int32), np.empty((rows, index.nprobe), dtype=np.float32)
    )
    for block in row_blocks(rows, width):
        unit = unit_rows(features[block])
        cosines, nearest = middles.index.search(unit @ axes, index.nprobe)
        found.nearest[block], found.cosines[block] = nearest, cosines
        lies_in = np.ascontiguousarray(nearest[:, 0])
        index.add_core(len(unit), faiss.swig_ptr(unit), None, faiss.swig_ptr(lies_in))
    return found


def _search(cells: _Cells, features: FloatArray, own: IntArray, count: int) -> tuple[IntArray, FloatArray]:
    """Rows and cosines of ``count`` near others of ``own``, best first; itself, of cosine −1, where fewer are met."""
    values, found = cells.file.search_preassigned(
        unit_rows(features[own]), count + 1, cells.nearest[own], cells.cosines[own]
    )
    itself = own[:, None]
    absent = (found < 0) | (found == itself)
    values, found = np.where(absent, -1, values), np.where(absent, itself, found)
    order = np.argsort(absent, axis=1, kind="stable")[:, :count]
    return np.take_along_axis(found, order, axis=1), np.take_along_axis(values, order, axis=1)


def neighbour_probabilities(
    neighbours: Neighbours, targets: FloatArray, shortlist: Shortlist, groups: IntArray, count: int
) -> FloatArray:
    """p(class) [N, C] by the labels ``targets`` [N, C] of the ``count`` nearest neighbours outside the own group.

    Both at the shortlisted classes, of the neighbour and of the image. One further vote is shared out by the class
    sizes, so that no class gets probability zero.
    """
    rows, classes = len(targets), shortlist.classes
    columns = np.ascontiguousarray(shortlist.index).ravel()
    starts = np.arange(rows + 1) * shortlist.index.shape[1]
    labels = csr_matrix((np.ascontiguousarray(targets).ravel(), columns, starts), shape=(rows, classes))
    prior = np.asarray(labels.sum(axis=0), dtype=np.float64).ravel() / rows
    shares = np.empty_like(targets)

    def tally(block: slice) -> None:
        near = neighbours.index[block]
        foreign = groups[near] != groups[block, None]
        chosen = foreign & (np.cumsum(foreign, axis=1) <= count)
        each = chosen.sum(axis=1)
        ends = np.append(0, np.cumsum(each))
        voters = near[chosen]
        votes = csr_matrix((np.ones(len(voters), np.float32), voters, ends), shape=(len(chosen), rows)) @ labels
        table = ((votes.toarray() + prior) / (each + 1)[:, None]).astype(np.float32)
        shares[block] = shortlist.take(table, block)

    for_each(tally, row_blocks(rows, classes))
    return shares
