"""Numbers that somebody else's model gave: a file of a row for each picture, and what names its rows and columns.

Nothing is unpickled: an array of objects is refused, whoever wrote it.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradattn_core.dataset.endings import is_image
from gradattn_core.dataset.tables import MANIFEST_SUFFIXES, open_table
from gradattn_core.dataset.text import as_text, cause, cell_text, file_problem, shown, shown_all
from gradattn_core.errors import DatasetError
from gradattn_core.files import user_path

PATHS = ("path", "filepath", "file_path", "file_name", "filename", "file", "image", "image_path", "paths", "id", "uid")
"""What columns and arrays are called that name the picture of each row."""
_CLASSES = ("classes", "class_names", "columns", "names")
_FORMS = "a .npy, .npz, .parquet or .csv file of numbers, a row for each picture"
_MOST_BYTES = 2**37


@dataclass(frozen=True, slots=True)
class Matrix:
    """What a file holds.

    Attributes:
        values: [N, D] of any kind of number; it may lie on disk.
        rows: [N] the picture of each row; None where nothing names it.
        columns: [D] their names; None where they have none.
    """

    values: NDArray[np.generic]
    rows: tuple[str, ...] | None = None
    columns: tuple[str, ...] | None = None


def read_matrix(file: str, path_column: str = "path") -> Matrix:
    """The numbers of a file; in a table the one column of lists, or else every column of numbers.

    Args:
        file: ``.npy``; ``.npz`` with one matrix and, if any, a vector of texts named as ``PATHS`` or ``classes``;
            Parquet, CSV, TSV, JSONL with a column of paths or none.
        path_column: of the paths in a table.

    Raises:
        DatasetError: it is not there, of no such form, or holds no matrix of numbers; the message names the file.
    """
    place = user_path(file)
    if not place.is_file():
        raise DatasetError(f"{shown(file)} is {_absent(place)}; give {_FORMS}.")
    name = place.name.lower()
    try:
        if name.endswith(".npy"):
            return Matrix(_matrix(np.load(place, mmap_mode="r", allow_pickle=False), file))
        if name.endswith(".npz"):
            return _archive(place, file)
        if name.endswith(MANIFEST_SUFFIXES):
            return _parquet(place, file, path_column) if name.endswith(".parquet") else _table(place, file, path_column)
    except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
        if "pickle" in str(error) or "Python objects" in str(error):
            raise DatasetError(
                f"{shown(file)} holds Python objects, which are never loaded: save the numbers as float32."
            ) from None
        raise DatasetError(f"{shown(file)} {file_problem(error)}; give {_FORMS}.") from None
    except MemoryError:
        raise DatasetError(f"{shown(file)} does not fit into memory; save it as .npy of float32.") from None
    raise DatasetError(f"{shown(file)} is of no known form; give {_FORMS}.")


def _absent(place: Path) -> str:
    return "a folder, not a file" if place.is_dir() else "not there"


def read_paths(file: str, path_column: str = "path") -> tuple[str, ...]:
    """The pictures that a file names, in its order: a line each, or the rows of a table with a column of paths.

    Raises:
        DatasetError: it is not there, or names none.
    """
    place = user_path(file)
    if not place.is_file():
        raise DatasetError(
            f"{shown(file)} is {_absent(place)}; give a text file of a path a line, or a table with paths."
        )
    name = place.name.lower()
    try:
        if name.endswith(".npy"):
            found = _texts(np.load(place, allow_pickle=False), file)
        elif name.endswith(MANIFEST_SUFFIXES) and not _begins_with_picture(place, name):
            table = open_table(str(place))
            column = _path_column(table.columns, path_column)
            if column is None and len(table.columns) > 1:
                raise DatasetError(
                    f"{shown(file)} has no column {shown(path_column)}; its columns are {shown_all(table.columns)}. "
                    "--path-column names another."
                )
            rows = table.read([column or table.columns[0]])
            found = [_named(cells if isinstance(cells, str) else cell_text(cells[0])) for _, cells in rows]
        else:
            text = place.read_text("utf-8-sig", "surrogateescape")
            found = [_named(line.rstrip("\r")) for line in text.split("\n") if line.strip()]
    except (OSError, ValueError) as error:
        raise DatasetError(f"{shown(file)} {file_problem(error)}.") from None
    if not found:
        raise DatasetError(f"{shown(file)} names no picture.")
    return tuple(found)


def as_float32(values: NDArray[np.generic], rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """[len(rows), D] float32 of these rows; what is too large for it is infinite."""
    with np.errstate(over="ignore"):
        return np.asarray(values[rows], dtype=np.float32)


def _begins_with_picture(place: Path, name: str) -> bool:
    """Whether a list has no header; one of paths that hold blanks is no ``path label`` list either."""
    if name.endswith((".parquet", ".gz", ".json", ".jsonl", ".ndjson")):
        return False
    with place.open(encoding="utf-8-sig", errors="surrogateescape") as lines:
        first = lines.readline().strip().strip('"')
    return name.endswith((".txt", ".lst")) or is_image(first)


def _named(text: str | None) -> str:
    return as_text(text or "")


def _matrix(values: Any, file: str) -> NDArray[np.generic]:
    array: NDArray[np.generic] = np.asanyarray(values)
    if array.dtype.kind not in "fiu" or array.ndim != 2 or 0 in array.shape:
        raise DatasetError(
            f"{shown(file)} holds {array.dtype} of shape {tuple(array.shape)}; a matrix of numbers is needed, a row "
            "for each picture."
        )
    return array


def _texts(values: Any, file: str) -> list[str]:
    array = np.asarray(values)
    if array.ndim != 1 or array.dtype.kind not in "USiu":
        raise DatasetError(f"{shown(file)} holds {array.dtype} of shape {tuple(array.shape)} where names are needed.")
    return [_named(cell_text(value)) for value in array.tolist()]


def _archive(place: Path, file: str) -> Matrix:
    with zipfile.ZipFile(place) as packed:
        if sum(each.file_size for each in packed.infolist()) > _MOST_BYTES:
            raise DatasetError(f"{shown(file)} unpacks to more than {_MOST_BYTES:,} bytes; save it as .npy.")
    with np.load(place, allow_pickle=False) as arrays:
        found = {name: arrays[name] for name in arrays.files}
    matrices = [name for name, values in found.items() if values.ndim == 2]
    if len(matrices) != 1:
        raise DatasetError(
            f"{shown(file)} holds {len(matrices)} matrices ({shown_all(found) or 'nothing'}); one is needed, a row for "
            "each picture."
        )
    rows = next((found[name] for name in PATHS if name in found), None)
    columns = next((found[name] for name in _CLASSES if name in found), None)
    values = _matrix(found[matrices[0]], file)
    return _checked(
        values,
        None if rows is None else _texts(rows, file),
        None if columns is None else _texts(columns, file),
        file,
    )


def _parquet(place: Path, file: str, path_column: str) -> Matrix:
    import pyarrow as pa
    import pyarrow.parquet as pq
    import pyarrow.types as types

    try:
        schema = pq.read_schema(place)
        lists = [each.name for each in schema if _is_list(each.type)]
        texts = [each.name for each in schema if types.is_string(each.type) or types.is_large_string(each.type)]
        numbers = [each.name for each in schema if types.is_integer(each.type) or types.is_floating(each.type)]
        path = _path_column(texts, path_column)
        if path is None and len(texts) == 1:
            path = texts[0]
        if len(lists) > 1:
            raise DatasetError(f"{shown(file)} has several columns of lists, {shown_all(lists)}; leave one in it.")
        chosen = lists or [name for name in numbers if not name.startswith("__index_level_")]
        if not chosen or len(set(schema.names)) != len(schema.names):
            raise DatasetError(
                f"{shown(file)} has no column of numbers, or two of one name: {shown_all(schema.names)}."
            )
        table = pq.read_table(place, columns=[*chosen, *([path] if path else [])])
    except pa.ArrowException as error:
        raise DatasetError(f"{shown(file)} cannot be read as Parquet: {cause(error)}.") from None
    rows = None if path is None else [_named(cell_text(value)) for value in table[path].to_pylist()]
    if lists:
        return _checked(_of_lists(table[lists[0]], file), rows, None, file)
    columns = [table[name].cast(pa.float32(), safe=False).to_numpy(zero_copy_only=False) for name in chosen]
    return _checked(_matrix(np.stack(columns, axis=1), file), rows, chosen, file)


def _is_list(kind: Any) -> bool:
    import pyarrow.types as types

    if not (types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)):
        return False
    return bool(types.is_floating(kind.value_type) or types.is_integer(kind.value_type))


def _of_lists(column: Any, file: str) -> NDArray[np.generic]:
    import pyarrow as pa
    import pyarrow.compute as pc

    lengths = pc.list_value_length(column)
    if column.null_count or len(column) == 0 or len(pc.unique(lengths)) != 1:
        raise DatasetError(f"{shown(file)} has rows without numbers, or of several lengths.")
    flat = pa.chunked_array([chunk.flatten() for chunk in column.chunks])
    values = flat.cast(pa.float32(), safe=False).to_numpy(zero_copy_only=False)
    return _matrix(values.reshape(len(column), -1), file)


def _table(place: Path, file: str, path_column: str) -> Matrix:
    table = open_table(str(place))
    path = _path_column(table.columns, path_column)
    if path is None and table.columns[:1] == ("",):
        path = ""  # the index of a frame, as pandas writes it
    wanted = [name for name in table.columns if name not in (path, "")]
    if not wanted or len(set(wanted)) != len(wanted):
        raise DatasetError(
            f"{shown(file)} has no column of numbers, or two of one name; its columns are {shown_all(table.columns)}."
        )
    rows: list[str] = []
    values: list[list[float]] = []
    for where, cells in table.read(wanted if path is None else [path, *wanted]):
        if isinstance(cells, str):
            raise DatasetError(f"{shown(file)}: {where}: {cells}.")
        numbers = cells if path is None else cells[1:]
        values.append([_number(cell, where, name) for cell, name in zip(numbers, wanted, strict=True)])
        if path is not None:
            rows.append(_named(cell_text(cells[0])))
    if path == "" and all(row.isdecimal() for row in rows):
        path = None  # it only counts
    matrix = _matrix(np.asarray(values, dtype=np.float32).reshape(len(values), len(wanted)), file)
    return _checked(matrix, None if path is None else rows, wanted, file)


def _number(cell: object, where: str, column: str) -> float:
    try:
        return float(str(cell))
    except ValueError:
        raise DatasetError(
            f"{where}: {shown(cell, 60)} in the column {shown(column, 60)} is no number; leave out columns that are "
            "neither paths nor numbers."
        ) from None


def _path_column(columns: Sequence[str], asked: str) -> str | None:
    return next((name for name in (asked, *PATHS) if name in columns), None)


def _checked(
    values: NDArray[np.generic], rows: Sequence[str] | None, columns: Sequence[str] | None, file: str
) -> Matrix:
    for what, names, count in (("rows", rows, values.shape[0]), ("columns", columns, values.shape[1])):
        if names is not None and len(names) != count:
            raise DatasetError(f"{shown(file)} has {count:,} {what} and {len(names):,} names for them.")
    return Matrix(values, None if rows is None else tuple(rows), None if columns is None else tuple(columns))
