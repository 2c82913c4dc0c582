"""Features and predictions that somebody brings: whose picture each row is, which class each column, and whether both
can be true.

Rows go by their paths where the file or ``--paths`` names them, else in the order of the manifest or of the sorted
paths; columns by the names of the classes, else in the order of the sorted names. What nothing names is compared with
the labels, as numbers in another order would judge other pictures without a trace.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import scipy
from numpy.typing import NDArray

from gradattn_core.audit.alignment import FAR_BETTER
from gradattn_core.config import AuditConfig
from gradattn_core.dataset.address import listed_path
from gradattn_core.dataset.matrices import Matrix, as_float32, read_matrix, read_paths
from gradattn_core.dataset.subset import is_wanted
from gradattn_core.dataset.tables import MANIFEST_SUFFIXES
from gradattn_core.dataset.text import shown, shown_all
from gradattn_core.errors import DatasetError, RankingError
from gradattn_core.files import digest, user_path, write_whole
from gradattn_core.model.classes import possible_orders
from gradattn_core.ranking.arrays import row_blocks
from gradattn_core.ranking.inputs import check_probabilities
from gradattn_core.records import Failure, FloatArray, IntArray, Listing

FEATURES, PREDICTIONS = "features", "predictions"
_LABELS = frozenset({"label", "labels", "target", "targets", "class", "y", "given_label", "true_label"})
WITHOUT_MODEL = hashlib.blake2b(b"sweep without a model", digest_size=16).hexdigest()
"""The key of sweeps that only read the pictures: whatever was brought, the next audit takes those facts over."""
_LEAST = np.float32(1e-30)
_KNOWN_SHARE = 0.5
"""So much better than chance an order must be for others to be refused."""
_MANY_CLASSES = 2_000
"""Beyond them no other order of the columns is looked for among all there are."""


@dataclass(frozen=True, eq=False)
class _Part:
    """One file: its numbers, and the row of each image and the column of each class in it."""

    file: str
    values: NDArray[np.generic]
    rows: IntArray
    columns: IntArray | None = None

    def of(self, images: slice) -> FloatArray:
        """[B, D] float32 of some images."""
        block = as_float32(self.values, self.rows[images])
        return block if self.columns is None else block[:, self.columns]

    def blocks(self) -> Iterator[tuple[slice, FloatArray]]:
        for block in row_blocks(len(self.rows), self.values.shape[1]):
            yield block, self.of(block)


@dataclass(frozen=True, eq=False)
class Brought:
    """What was brought, a row for each image of the listing.

    Attributes:
        features, predictions: of the files; at least one of them.
        is_logits: of the predictions, else they are probabilities.
        key: names what the numbers depend on but the images.
        notes: sentences on how rows and columns were understood.
        lacking: pictures of the dataset that have no row.
    """

    features: _Part | None
    predictions: _Part | None
    is_logits: bool
    key: str
    notes: tuple[str, ...] = ()
    lacking: tuple[str, ...] = ()

    @cached_property
    def whole(self) -> bool:
        """Whether the columns are all that the file has: else what probabilities leave is shared by the others."""
        part = self.predictions
        return part is None or part.columns is None or len(part.columns) == part.values.shape[1]

    def write(self, file: Path, shard_size: int) -> None:
        """A row group for each shard, so that a process reads no more than its own."""
        part = self.features or self.predictions
        assert part is not None
        kinds = {FEATURES: self.features, PREDICTIONS: self.predictions}
        schema = pa.schema([(name, pa.list_(pa.float32())) for name, each in kinds.items() if each is not None])

        def fill(draft: Path) -> None:
            with pq.ParquetWriter(draft, schema, compression="zstd", write_page_checksum=True) as writer:
                for start in range(0, len(part.rows), shard_size):
                    images = slice(start, start + shard_size)
                    columns = {}
                    if self.features is not None:
                        columns[FEATURES] = lists_of(self.features.of(images))
                    if self.predictions is not None:
                        table = self.predictions.of(images)
                        if not self.is_logits and not self.whole:
                            table = table / table.sum(axis=1, keepdims=True)
                        columns[PREDICTIONS] = lists_of(table)
                    writer.write_table(pa.table(columns, schema=schema), row_group_size=shard_size)

        write_whole(file, fill)


def bring(config: AuditConfig, listing: Listing) -> tuple[Listing, Brought | None]:
    """The images that the brought files speak of, and what they say; the others are passed over by name.

    Raises:
        DatasetError: a file cannot be used, or its rows or columns are not these pictures and classes.
    """
    if not config.brings:
        return listing, None
    features = None if config.features is None else read_matrix(config.features, config.path_column)
    said = config.probabilities or config.logits
    predictions = None if said is None else read_matrix(said, config.path_column)
    files = [(config.features, features), (said, predictions)]
    notes: list[str] = []
    found: list[tuple[str, Matrix, IntArray]] = []
    for file, matrix in files:
        if file is not None and matrix is not None:
            labels = predictions is not None and matrix is predictions
            rows, sentences = _rows(config, listing, file, matrix, labels)
            found.append((file, matrix, rows))
            notes += sentences
    judged = np.logical_and.reduce([rows >= 0 for _, _, rows in found])
    lacking = [image for image, is_judged in zip(listing.images, judged, strict=True) if not is_judged]
    if lacking:
        names = " and ".join(shown(Path(file).name) for file, _, _ in found)
        why = f"there is no row for it in {names}"
        listing = replace(
            listing,
            images=tuple(image for image, is_judged in zip(listing.images, judged, strict=True) if is_judged),
            skipped=(*listing.skipped, *(Failure(image.path, "skip", why, image.label) for image in lacking)),
        )
        notes.append(
            f"{_pictures(len(lacking))} not judged: {names} {'has' if len(found) == 1 else 'have'} no row for "
            f"{'it' if len(lacking) == 1 else 'them'} ({shown(lacking[0].path, 120)}"
            f"{' and others' if len(lacking) > 1 else ''})."
        )
    if len(listing.classes) < 2:
        raise DatasetError(f"{shown(found[0][0])} speaks of pictures of one class only; two or more are needed.")
    parts = {file: _Part(file, matrix.values, rows[judged]) for file, matrix, rows in found}
    of_features = None if config.features is None else _checked_features(parts[config.features], features, listing)
    of_classes = None
    if said is not None and predictions is not None:
        of_classes, sentences = _columns(parts[said], predictions, listing)
        _check(of_classes, parts[said], listing, config.logits is None, predictions)
        notes += sentences
    if not config.has_model:
        notes.append(
            "No maps: features and predictions were brought without the model that they are of. --model, with "
            "--checkpoint, draws them for a timm Vision Transformer."
        )
    key = _key(config, listing, found)
    without = tuple(image.path for image in lacking)
    return listing, Brought(of_features, of_classes, config.logits is not None, key, tuple(notes), without)


def brought_of_shard(written: Path, index: int, name: str) -> FloatArray:
    """[B, D] ``features`` or ``predictions`` of the images of one shard, in the order of the listing."""
    with pq.ParquetFile(written, page_checksum_verification=True) as file:
        column = file.read_row_group(index, columns=[name])[name].combine_chunks()
    values: FloatArray = column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1)
    return values


def log_of(predictions: FloatArray, is_logits: bool) -> FloatArray:
    """Logits as they are, of probabilities their logarithms."""
    return predictions if is_logits else np.log(np.maximum(predictions, _LEAST))


def lists_of(values: NDArray[np.floating]) -> pa.ListArray:
    """[B, D] as a column of lists."""
    count, width = values.shape
    return pa.ListArray.from_arrays(np.arange(count + 1, dtype=np.int32) * width, np.ascontiguousarray(values).ravel())


def _pictures(count: int) -> str:
    return "1 picture is" if count == 1 else f"{count:,} pictures are"


def _key(config: AuditConfig, listing: Listing, found: Sequence[tuple[str, Matrix, IntArray]]) -> str:
    told = hashlib.blake2b(digest_size=16)
    for file, matrix, rows in found:
        told.update(f"{digest(user_path(file))} {config.logits is None} ".encode())
        if matrix.rows is None:
            told.update(rows.tobytes())
    told.update(repr(listing.classes).encode())
    return told.hexdigest()


def _rows(
    config: AuditConfig, listing: Listing, file: str, matrix: Matrix, is_prediction: bool
) -> tuple[IntArray, list[str]]:
    """[N] the row of each image, -1 without one, and what is to be said of it.

    Raises:
        DatasetError: nobody can tell, or the rows are not of these pictures.
    """
    count, names, source = len(matrix.values), matrix.rows, shown(file)
    if names is None and config.paths is not None:
        names, source = read_paths(config.paths, config.path_column), shown(config.paths)
        if len(names) != count:
            raise DatasetError(
                f"{shown(file)} has {count:,} rows, and {shown(config.paths)} names {len(names):,} pictures; one is "
                "needed for each row."
            )
    if names is None and (table := _manifest(config)) is not None and config.split is None:
        names, source = read_paths(str(table), config.path_column), shown(table)
        if len(names) != count:
            names = None
    if names is not None:
        return _by_name(config, listing, names, source)
    paths, whole = [image.path for image in listing.images], sorted(_paths(listing))
    if count not in (len(paths), len(whole)):
        part = f", of which {len(paths):,} are audited" if len(paths) < len(whole) else ""
        raise DatasetError(
            f"{shown(file)} has {count:,} rows without names, and {shown(config.dataset)} has {len(whole):,} "
            f"pictures{part}; --paths FILE says which picture each row is of."
        )
    orders = _orders(paths if count == len(paths) else whole, paths)
    if len(orders) == 1:
        return orders["by path"], [f"The rows of {shown(Path(file).name)} were taken in the order of the sorted paths."]
    if not is_prediction or (matrix.columns is None and matrix.values.shape[1] != len(listing.classes)):
        at = int(np.flatnonzero(orders["by path"] != orders["folder by folder"])[0])
        raise DatasetError(
            f"{shown(file)} has no names of its rows, and programs sort these pictures in different orders, from "
            f"{shown(listing.images[at].path, 120)} on; --paths FILE says which picture each row is of."
        )
    columns = None
    if matrix.columns is not None and set(listing.classes) <= set(matrix.columns):
        columns = np.array([matrix.columns.index(name) for name in listing.classes])
    shares = {}
    for name, rows in orders.items():
        counts = _confusion(_Part(file, matrix.values, rows, columns), listing)
        shares[name] = float(np.trace(counts) / counts.sum())
    best = max(shares, key=lambda name: shares[name])
    return orders[best], [
        f"The rows of {shown(Path(file).name)} were taken in the order of the paths sorted {best}, in which they agree "
        f"with {shares[best]:.0%} of the labels (sorted {_other(shares, best)} with {min(shares.values()):.0%})."
    ]


def _other(shares: dict[str, float], best: str) -> str:
    return next(name for name in shares if name != best)


def _manifest(config: AuditConfig) -> Path | None:
    """The table of paths that was audited, whose rows have an order of their own."""
    file = user_path(config.dataset)
    return file if file.name.lower().endswith(MANIFEST_SUFFIXES) and file.is_file() else None


def _paths(listing: Listing) -> list[str]:
    """Of the images, and behind them of those that were asked to be left out: a file may have rows for these too."""
    left_out = [each.path for each in listing.skipped if is_wanted(each.reason)]
    return [*(image.path for image in listing.images), *left_out]


def _orders(every: Sequence[str], paths: Sequence[str]) -> dict[str, IntArray]:
    """The row of each path, as a list of every picture may be sorted: by path, and folder by folder as torchvision."""
    by_folder = {path: row for row, path in enumerate(sorted(every, key=lambda path: path.split("/")))}
    by_path = {path: row for row, path in enumerate(every)}
    plain, foldered = (np.array([rows[path] for path in paths], np.int64) for rows in (by_path, by_folder))
    return {"by path": plain} if (foldered == plain).all() else {"by path": plain, "folder by folder": foldered}


def _by_name(config: AuditConfig, listing: Listing, names: Sequence[str], source: str) -> tuple[IntArray, list[str]]:
    paths = _paths(listing)
    place = {path: number for number, path in enumerate(paths)}
    whole = Path(os.path.abspath(user_path(config.dataset))).as_posix()
    found = [_place(name, place, listing.root, (config.dataset.rstrip("/"), whole)) for name in names]
    if all(each is None for each in found):
        # Tables travel further than pictures: by the names of the files, where each has its own.
        alone = {path.rpartition("/")[2]: number for path, number in place.items()}
        if len(alone) == len(place):
            found = [alone.get(name.replace("\\", "/").rpartition("/")[2]) for name in names]
    if all(each is None for each in found):
        raise DatasetError(
            f"{source} names none of the pictures of {shown(config.dataset)}: its first row is {shown(names[0], 120)}, "
            f"and the first picture {shown(paths[0], 120)}."
        )
    rows = np.full(len(place), -1, np.int64)
    for row, at in enumerate(found):
        if at is None:
            continue
        if rows[at] >= 0:
            raise DatasetError(
                f"{source} names {shown(paths[at], 120)} in row {rows[at] + 1:,} and in row {row + 1:,}; "
                "leave one of them."
            )
        rows[at] = row
    rows = rows[: len(listing.images)]
    strange = [name for name, at in zip(names, found, strict=True) if at is None]
    if not strange:
        return rows, []
    return rows, [
        f"{len(strange):,} of {len(names):,} rows of {source} are of no picture of the dataset "
        f"({shown(strange[0], 120)}{' and others' if len(strange) > 1 else ''})."
    ]


def _place(name: str, place: dict[str, int], root: str, prefixes: Sequence[str]) -> int | None:
    at = place.get(name)
    if at is not None:
        return at
    text = name.replace("\\", "/")
    for prefix in prefixes:
        if text.startswith(f"{prefix}/"):
            at = place.get(os.path.normpath(text.removeprefix(f"{prefix}/")))
            if at is not None:
                return at
    path = listed_path(root, text) if text else None
    return None if path is None else place.get(path)


def _checked_features(part: _Part, matrix: Matrix | None, listing: Listing) -> _Part:
    assert matrix is not None
    labels = [name for name in matrix.columns or () if name.casefold() in _LABELS]
    if labels:
        raise DatasetError(
            f"{shown(part.file)} has the column {shown(labels[0])} among its features; leave it out, since labels are "
            "what is judged."
        )
    _check_finite(part, listing)
    return part


def _check_finite(part: _Part, listing: Listing) -> None:
    for block, values in part.blocks():
        bad = ~np.isfinite(values).all(axis=1)
        if bad.any():
            row = int(bad.argmax())
            raise DatasetError(
                f"{shown(part.file)} holds NaN, infinity or numbers beyond float32 in row "
                f"{int(part.rows[block.start + row]) + 1:,}, of {shown(listing.images[block.start + row].path, 120)}; "
                "leave such rows out, or repair them."
            )


def _columns(part: _Part, matrix: Matrix, listing: Listing) -> tuple[_Part, list[str]]:
    """The predictions with a column for each class of the dataset, and how the columns were understood.

    Raises:
        DatasetError: the columns are not these classes, or the labels speak for another order.
    """
    classes, file = listing.classes, shown(Path(part.file).name)
    columns, notes = matrix.columns, []
    has_names = columns is not None
    whole = sorted({*classes, *(each.given_label for each in listing.skipped if is_wanted(each.reason))})
    if columns is not None and not set(classes) & set(columns) and len(columns) == len(classes):
        # The places 0, 1, …, as a frame without names of its own has them in a file.
        columns = None if [*columns] == [str(number) for number in range(len(columns))] else columns
    if columns is None and part.values.shape[1] == len(whole) > len(classes):
        columns = tuple(whole)  # those of the whole dataset, of which a part is audited
    if columns is not None:
        lacking = [name for name in classes if name not in set(columns)]
        if lacking:
            raise DatasetError(
                f"{shown(part.file)} has no column for {'the class' if len(lacking) == 1 else 'the classes'} "
                f"{shown_all(lacking)}; its columns are {shown_all(columns)}."
            )
        strange = [name for name in columns if name not in set(classes)]
        if strange and has_names:
            notes.append(
                f"{file} has columns of classes that no picture is filed under, which were left out: "
                f"{shown_all(strange)}."
            )
        part = replace(part, columns=np.array([columns.index(name) for name in classes], dtype=np.int64))
    elif part.values.shape[1] != len(classes):
        raise DatasetError(
            f"{shown(part.file)} has {part.values.shape[1]:,} columns without names, and the dataset has "
            f"{len(classes):,} classes ({shown_all(classes)}); one is needed for each, or columns named after them in "
            "Parquet or CSV."
        )
    counts = _confusion(part, listing)
    total = counts.sum()
    share = float(np.trace(counts)) / total
    if columns is None:
        for order in possible_orders(classes, len(classes)):
            other = float(counts[np.arange(len(classes)), list(order.indices)].sum()) / total
            if other >= share + FAR_BETTER:
                notes.append(
                    f"The columns of {file} were taken in {order.method}, in which they agree with {other:.0%} of the "
                    f"labels; in the order of the sorted names it were {share:.0%}."
                )
                return replace(part, columns=np.array(order.indices, dtype=np.int64)), notes
    if len(classes) <= _MANY_CLASSES:
        given, named = scipy.optimize.linear_sum_assignment(counts, maximize=True)
        other = float(counts[given, named].sum()) / total
        if other >= share + FAR_BETTER and other >= _KNOWN_SHARE:
            first = next(int(code) for code in given if named[code] != code)
            told = f"column {int(named[first]) + 1} names pictures filed under {shown(classes[first], 60)}"
            if not has_names:
                raise DatasetError(
                    f"{shown(part.file)}: with its columns in the order of the sorted class names it agrees with "
                    f"{share:.0%} of the labels, in another order with {other:.0%} ({told}); name its columns, in "
                    "Parquet or CSV, or as classes= in .npz."
                )
            notes.append(
                f"The columns of {file} go by their names and agree with {share:.0%} of the labels, in another order "
                f"with {other:.0%}: are the names right?"
            )
    if not has_names:
        of_whole = f" of the whole dataset, {len(whole):,}" if columns is not None else ""
        notes.append(
            f"The columns of {file} were taken in the order of the sorted class names{of_whole}, in which they agree "
            f"with {share:.0%} of the labels."
        )
    return part, notes


def _confusion(part: _Part, listing: Listing) -> IntArray:
    """[K, D] how many pictures filed under a class have their greatest number in each column."""
    place = {name: code for code, name in enumerate(listing.classes)}
    given = np.array([place[image.label] for image in listing.images])
    width = part.values.shape[1] if part.columns is None else len(part.columns)
    counts = np.zeros((len(place), width), np.int64)
    for block, values in part.blocks():
        np.add.at(counts, (given[block], np.nan_to_num(values, nan=-np.inf).argmax(axis=1)), 1)
    return counts


def _check(taken: _Part, part: _Part, listing: Listing, probabilities: bool, matrix: Matrix) -> None:
    """Raises:
    DatasetError: numbers that are none, or probabilities that cannot be.
    """
    _check_finite(part, listing)
    if not probabilities:
        return
    width = part.values.shape[1]
    names = matrix.columns or (listing.classes if width == len(listing.classes) else tuple(map(str, range(width))))
    try:
        # Of all columns: what the dataset has no class for belongs to the sum.
        check_probabilities(as_float32(part.values, part.rows), names)
    except RankingError as error:
        raise DatasetError(f"{shown(part.file)}: {error}") from None
    for block, values in taken.blocks():
        nothing = values.sum(axis=1) <= 0
        if nothing.any():
            path = listing.images[block.start + int(nothing.argmax())].path
            raise DatasetError(
                f"{shown(part.file)} gives {shown(path, 120)} to classes that the dataset does not have, and nothing "
                "to those it has; leave that row out."
            )
