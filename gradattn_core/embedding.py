"""Two numbers for each picture of an audit, so that pictures that the model sees alike lie near each other.

t-SNE (van der Maaten & Hinton 2008, JMLR 9) by openTSNE as Kobak & Berens advise (2019, Nature Communications 10): from
the principal components on, so that the outcome is no accident, over the same cosines that make "most similar
pictures". Only near distances mean something; the axes have no unit.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gradattn_core.config import NO_MODEL
from gradattn_core.errors import StoreError
from gradattn_core.learning import has_features, read_features
from gradattn_core.outfolder import AuditFolder
from gradattn_core.progress import Progress, silent
from gradattn_core.ranking.arrays import unit_rows
from gradattn_core.ranking.lookalikes import directions
from gradattn_core.ranking.neighbours import find_neighbours
from gradattn_core.records import FloatArray, IntArray
from gradattn_core.store.audits import Audit
from gradattn_core.store.store import Store

MOST = 50_000
"""Pictures on a map; of more a sample, all suspects among them."""
NEIGHBOURS, LAYOUT = "neighbours", "layout"
"""The two steps, as progress names them."""

_PERPLEXITY = 30
_ITERATIONS = 250 + 500  # the first with the attraction exaggerated; both as openTSNE has them
_TOLD = 25
_MANY = 5_000
_HELD = 2**29
# Fewer points have no neighbourhoods: their principal components are shown.
_FEWEST = 12


def obstacle(store: Store, audit: Audit) -> str:
    """Why there can be no map of an audit, in one sentence; ``""`` where there can."""
    if audit.parameters.get("from_scratch"):
        return "The features of this audit are those of a model that was never trained: likeness by them means nothing."
    if audit.parameters.get("model") == NO_MODEL and not audit.parameters.get("features"):
        return "This audit was made of predictions without features, so nothing says which pictures are alike."
    if not audit.features or not has_features(store.directory / audit.features):
        return "The features of this audit are gone (cleaned away, or of an older version); audit again to have a map."
    return ""


def make_embedding(store: Store, audit_id: str, progress: Progress = silent) -> int:
    """Lay out the pictures of a finished audit and store where each lies, in place of what was stored before.

    Depends on the features alone, but for digits that follow from the order of sums on another number of cores.

    Returns:
        how many pictures are on the map, at most ``MOST``.

    Raises:
        StoreError: there is no such audit, its features are gone, or the database cannot be written.
    """
    audit = store.audits.one(audit_id)
    problem = obstacle(store, audit)
    if problem:
        raise StoreError(problem)
    pictures = store.embeddings.pictures(audit_id)
    chosen = pictures["path"].iloc[sample(pictures["is_suspect"].to_numpy())]
    features = read_features(store.directory / audit.features, chosen)
    if features is None:
        raise StoreError(f"audit {audit_id}: its features are damaged or not those of its pictures; audit again")
    points = embed(features, progress)
    store.embeddings.write(audit_id, pd.DataFrame({"path": chosen.to_numpy(), "x": points[:, 0], "y": points[:, 1]}))
    return len(chosen)


def sample(suspects: NDArray[np.bool_], most: int = MOST) -> IntArray:
    """Rows of at most ``most`` pictures, ascending: first all ``suspects`` [N] as they come, then others at random."""
    first = np.flatnonzero(suspects)[:most]
    others = np.flatnonzero(~suspects)
    wanted = min(most - len(first), len(others))
    drawn = np.random.default_rng(0).choice(others, wanted, replace=False)
    return np.sort(np.concatenate([first, drawn]))


def embed(features: FloatArray, progress: Progress = silent) -> FloatArray:
    """``features`` [N, D] to places [N, 2], float32, without a unit, their mean 0; the same features, the same places.

    About 5 s for 1,200 pictures, and 2 minutes for 50,000, on two cores.
    """
    progress(NEIGHBOURS, 0, 1)
    unit = directions(features)
    points = _components(unit) if len(unit) < _FEWEST or not unit.any() else _layout(unit, progress)
    return np.asarray(points - points.mean(axis=0), dtype=np.float32)


def _layout(unit: FloatArray, progress: Progress) -> FloatArray:
    import openTSNE  # seconds of other libraries, which no other command needs
    from openTSNE.affinity import PerplexityBasedNN
    from openTSNE.nearest_neighbors import PrecomputedNeighbors

    perplexity = min(_PERPLEXITY, (len(unit) - 1) / 3)
    near = find_neighbours(unit, int(3 * perplexity))
    progress(NEIGHBOURS, 1, 1)
    # Threads that wait for each other on a busy machine cost more than few points take.
    cores = 1 if len(unit) < _MANY else os.cpu_count() or 1
    # Of unit vectors the squared distance is 2 − 2 cos.
    distances = np.sqrt(np.maximum(2 - 2 * near.similarity, 0))
    known = PerplexityBasedNN(
        perplexity=perplexity, knn_index=PrecomputedNeighbors(near.index, distances), n_jobs=cores, random_state=0
    )
    told = iter(range(_TOLD, _ITERATIONS + 1, _TOLD))

    def tell(*_: object) -> None:
        progress(LAYOUT, next(told, _ITERATIONS), _ITERATIONS)

    begun = _components(unit)
    begun = 1e-4 * begun / max(float(np.std(begun[:, 0])), 1e-12)
    begun += np.random.default_rng(0).normal(0, 1e-6, begun.shape)  # equal pictures must be able to part
    tsne = openTSNE.TSNE(n_jobs=cores, random_state=0, callbacks=tell, callbacks_every_iters=_TOLD)
    return np.asarray(tsne.fit(affinities=known, initialization=begun))


def _components(unit: FloatArray) -> FloatArray:
    """The first two principal components [N, 2], each with the sign that makes its largest loading positive."""
    centred = np.asarray(unit - unit.mean(axis=0), dtype=np.float64)
    _, axes = np.linalg.eigh(centred.T @ centred)
    axes = axes[:, -2:][:, ::-1]
    largest = axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])]
    places = centred @ (axes * np.where(largest < 0, -1, 1))
    return np.pad(places, ((0, 0), (0, 2 - places.shape[1])))


def similar_pictures(folder: Path, path: str, count: int) -> list[tuple[str, float]]:
    """The pictures of an audit that look most like one of them, by the features in its ``folder``.

    All features are read, a shard at a time; and held for the next question where they are at most ``_HELD`` bytes.

    Returns:
        at most ``count`` paths, each with the cosine of the standardised features (-1 to 1), the most alike first,
        ties by path, the picture itself left out. Empty where the features are gone or lack the picture.
    """
    files = tuple(AuditFolder(folder).sweep_files())
    try:
        # Hardly anything of a feature can be compressed, so that files are as large as what is in them.
        small = sum(file.stat().st_size for file in files) <= _HELD
        own = _own(files, path)
        if own is None:
            return []
        mean, scale = _spread(files)
        towards = unit_rows((own - mean) / scale)[0]
        best: list[tuple[float, str]] = []
        for paths, values in _held(files) if small else map(_features, files):
            if not len(values):
                continue
            cosines = unit_rows((values - mean) / scale) @ towards
            few = min(count + 1, len(cosines))
            nearest = np.argpartition(-cosines, few - 1)[:few]
            best += [(-min(float(cosines[row]), 1.0), paths[int(row)].as_py()) for row in nearest]
            best = sorted(best)[: count + 1]
    except (OSError, ValueError, pa.ArrowException):
        return []
    return [(each, -cosine) for cosine, each in best if each != path][:count]


def _own(files: tuple[Path, ...], path: str) -> FloatArray | None:
    """[1, D] of one picture; None where no file has it."""
    for file in files:
        # The names alone are read quickly.
        row = pc.index(pq.read_table(file, columns=["path"])["path"], path).as_py()
        if row >= 0:
            return np.asarray(_features(file)[1][row : row + 1], dtype=np.float32)
    return None


@functools.lru_cache(maxsize=4)
def _spread(files: tuple[Path, ...]) -> tuple[FloatArray, FloatArray]:
    """Mean and standard deviation [D] of the features in these files, infinite where a column is constant."""
    total, squares, rows = 0.0, 0.0, 0
    for file in files:
        _, values = _features(file)
        if len(values):
            exact = values.astype(np.float64)
            total, squares, rows = total + exact.sum(axis=0), squares + np.square(exact).sum(axis=0), rows + len(exact)
    mean = np.asarray(total / rows)
    scale = np.sqrt(np.maximum(squares / rows - np.square(mean), 0))
    scale[scale <= 1e-6 * np.maximum(np.abs(mean), 1e-30)] = np.inf
    return mean.astype(np.float32), scale.astype(np.float32)


def _features(file: Path) -> tuple[pa.ChunkedArray, NDArray[np.float16]]:
    """Paths and features [N, D] of one shard."""
    table = pq.read_table(file, columns=["path", "features"])
    column = table["features"].combine_chunks()
    if not len(column):
        return table["path"], np.empty((0, 0), np.float16)
    return table["path"], column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1)


@functools.lru_cache(maxsize=1)
def _held(files: tuple[Path, ...]) -> list[tuple[pa.ChunkedArray, NDArray[np.float16]]]:
    """The same of all shards, those of the audit that was asked about last."""
    return [_features(file) for file in files]
