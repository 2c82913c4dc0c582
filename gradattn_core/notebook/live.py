"""Datasets that a program has in memory, of torch or Hugging Face, as files that an audit and its page can read later.

Where the pictures are files, a table names these. All others are written into one Parquet file in the output folder
without loss: bytes that are encoded already as they are, decoded pixels as PNG (TIFF where PNG cannot hold them). The
file stays as it is while its content does, so that the next call finds the finished audit.
"""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from gradattn_core import outfolder
from gradattn_core.dataset.endings import is_image
from gradattn_core.dataset.text import shown
from gradattn_core.errors import DatasetError
from gradattn_core.files import digest, new_draft
from gradattn_core.progress import Progress

_STEP = "pictures"
_GROUP = 256
"""Pictures of a row group: so many are unpacked to show one."""
_TOLD = 50
_ASKED_TWICE = 8
_DEEPEST = 10
"""Datasets within datasets that are asked for the names of classes."""
_PNG = frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "I", "I;16"})
_INDEX = "index"
_USUAL_PICTURES = ("image", "img", "picture", "pixel_values", "photo")
_USUAL_LABELS = ("label", "labels", "fine_label", "target", "class", "y")
_MADE_BY = b"gradattn"


@dataclass(frozen=True, slots=True)
class Live:
    """A dataset as it was written: ``paths`` are those of its pictures as the audit lists them, by index."""

    file: Path
    paths: list[str]


@dataclass(frozen=True, slots=True)
class _Rows:
    """The pictures and labels of a dataset.

    Attributes:
        count: how many.
        read: the picture of a row (bytes, or whatever :func:`_encoded` takes) and its label.
        files: their paths, where they are files of this machine.
        labels: of all rows, where they are known without their pictures.
    """

    count: int
    read: Callable[[int], tuple[object, str | None]]
    name: str
    files: list[str] | None = None
    labels: list[str | None] | None = None


def is_live(dataset: object) -> bool:
    """Whether it is a dataset in memory, or wants to be one."""
    return not isinstance(dataset, str | bytes | Path) and not hasattr(dataset, "__fspath__") and dataset is not None


def written(
    dataset: object,
    out: Path,
    name: str | None,
    ids: Sequence[object] | None,
    label_column: object,
    progress: Progress,
) -> Live:
    """Write a dataset into the output folder, unless it lies there as it is.

    Raises:
        DatasetError: it is no dataset of pictures with one label each; the sentence says which row.
    """
    rows = _rows(dataset, label_column)
    if ids is not None and len(ids) != rows.count:
        raise DatasetError(f"ids holds {len(ids):,} names, and the dataset has {rows.count:,} pictures")
    name = re.sub(r"[^\w.-]+", "-", name or rows.name).strip("-.") or "dataset"
    folder = outfolder.live(out)
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{name[:100]}.parquet"
    facts: dict[str, list[Any]] = {_INDEX: list(range(rows.count))}
    if ids is not None:
        facts["id"] = [str(each) for each in ids]
    draft = new_draft(target)
    try:
        if rows.files is not None and rows.labels is not None:
            _write(draft, pa.table({"path": rows.files, "label": pa.array(rows.labels, pa.string()), **facts}))
            paths = rows.files
        else:
            _write_pictures(draft, rows, facts, progress)
            width = len(str(max(rows.count - 1, 0)))
            paths = [f"{target.name}#{number:0{width}d}" for number in range(rows.count)]
        if not target.is_file() or digest(target) != digest(draft):
            draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
    return Live(target, paths)


def with_index(frame: pd.DataFrame, dataset: Path) -> pd.DataFrame:
    """The frame with ``index`` (and ``id``) of each ``path``, where the dataset that was audited was written here."""
    if dataset.suffix != ".parquet" or not _is_ours(dataset):
        return frame
    names = pq.read_schema(dataset).names
    table = pq.read_table(dataset, columns=[each for each in (_INDEX, "path", "id") if each in names]).to_pydict()
    width = len(str(max(len(table[_INDEX]) - 1, 0)))
    paths = table.get("path") or [f"{dataset.name}#{number:0{width}d}" for number in table[_INDEX]]
    place = {path: row for row, path in enumerate(paths)}
    if not frame["path"].map(place.__contains__).all():
        return frame  # it is in another state by now
    rows = [place[path] for path in frame["path"]]
    frame = frame.assign(index=[table[_INDEX][row] for row in rows])
    return frame.assign(id=[table["id"][row] for row in rows]) if "id" in table else frame


def _is_ours(file: Path) -> bool:
    try:
        schema = pq.read_schema(file)
    except (OSError, pa.ArrowException):
        return False
    return _MADE_BY in (schema.metadata or {}) and _INDEX in schema.names


def _write(draft: Path, table: pa.Table) -> None:
    pq.write_table(table.replace_schema_metadata({_MADE_BY: "live"}), draft, compression="zstd")


def _write_pictures(draft: Path, rows: _Rows, facts: Mapping[str, list[Any]], progress: Progress) -> None:
    kinds = [("image", pa.struct([("bytes", pa.binary())])), ("label", pa.string())]
    kinds += [(name, pa.int64() if name == _INDEX else pa.string()) for name in facts]
    schema = pa.schema(kinds, metadata={_MADE_BY: "live"})
    # Pictures are packed already.
    with pq.ParquetWriter(draft, schema, compression="none", use_dictionary=False) as writer:
        for start in range(0, rows.count, _GROUP):
            stop = min(start + _GROUP, rows.count)
            pictures, labels = [], []
            for index in range(start, stop):
                picture, label = rows.read(index)
                pictures.append({"bytes": _encoded(picture, index)})
                labels.append(label)
                if (index + 1) % _TOLD == 0 or index + 1 == rows.count:
                    progress(_STEP, index + 1, rows.count)
            columns = {"image": pictures, "label": labels}
            columns |= {name: values[start:stop] for name, values in facts.items()}
            writer.write_table(pa.table(columns, schema=schema), row_group_size=_GROUP)


def _rows(dataset: Any, label_column: object) -> _Rows:
    kind = type(dataset).__name__
    if hasattr(dataset, "cast_column") and hasattr(dataset, "features"):
        return _of_hugging_face(dataset, label_column)
    if isinstance(dataset, pd.DataFrame):
        raise DatasetError(
            "the dataset is a DataFrame; write it as a CSV with the columns path and label beside the pictures, and "
            "give that file"
        )
    if isinstance(dataset, Mapping):
        raise DatasetError(
            f"the dataset is a {kind} of {', '.join(map(shown, list(dataset)[:5]))}; give one of these, such as "
            "dataset['train']"
        )
    if not hasattr(dataset, "__getitem__") or not hasattr(dataset, "__len__"):
        inner = getattr(dataset, "dataset", None)
        instead = " Its attribute dataset may be one." if inner is not None else ""
        raise DatasetError(
            f"the dataset is a {kind}, which has no length or no pictures by index; give a path, or a map-style "
            f"dataset of (picture, label) pairs.{instead}"
        )
    count = len(dataset)
    if not count:
        raise DatasetError(f"the dataset is a {kind} of no pictures")
    names = _class_names(dataset)
    files = _files_of(dataset, names)
    if files is not None:
        paths, labels = files
        return _Rows(count, lambda index: _pair(dataset, index, names), _name(dataset), paths, labels)
    _refuse_random(dataset)
    return _Rows(count, lambda index: _pair(dataset, index, names), _name(dataset))


def _name(dataset: Any) -> str:
    inner = _wrapped(dataset)[-1]
    split = getattr(inner, "split", None)
    train = {True: "train", False: "test"}.get(getattr(inner, "train", None))  # type: ignore[arg-type]
    return "-".join(str(part) for part in (type(inner).__name__.lower(), split or train) if part)


def _class_names(dataset: Any) -> list[str] | None:
    """What the numbers of the labels stand for, as torchvision's datasets say, wrapped or not."""
    for inner in _wrapped(dataset):
        names = getattr(inner, "classes", None)
        if isinstance(names, list | tuple) and all(isinstance(each, str) for each in names):
            return list(names)
    return None


def _wrapped(dataset: Any) -> list[Any]:
    """The dataset, and those within it, as a ``Subset`` has one."""
    found = [dataset]
    while len(found) < _DEEPEST and hasattr(found[-1], "dataset") and not isinstance(found[-1].dataset, str):
        found.append(found[-1].dataset)
    return found


def _files_of(dataset: Any, names: list[str] | None) -> tuple[list[str], list[str | None]] | None:
    """Paths and labels of an ``ImageFolder``, or a ``Subset`` of one, whose pictures are files of this machine."""
    chosen, inner = range(len(dataset)), dataset
    while hasattr(inner, "dataset") and hasattr(inner, "indices"):
        chosen, inner = [int(inner.indices[index]) for index in chosen], inner.dataset  # type: ignore[assignment]
    samples = getattr(inner, "samples", None)
    if (
        type(inner).__name__ != "ImageFolder"
        or not isinstance(samples, list)
        or getattr(inner, "target_transform", None)
    ):
        return None
    paths: list[str] = []
    labels: list[str | None] = []
    for index in chosen:
        path, code = samples[index]
        whole = Path(path).resolve()
        if not is_image(whole.name) or not whole.is_file():
            return None
        paths.append(str(whole))
        labels.append(_label(code, names, index))
    return (paths, labels) if len(set(paths)) == len(paths) else None


def _refuse_random(dataset: Any) -> None:
    """A transform that draws anew each time would leave another picture in the file than the model is trained on."""
    count = len(dataset)
    # Several, as one that mirrors half of the pictures often leaves one alone.
    for index in dict.fromkeys(at * count // _ASKED_TWICE for at in range(_ASKED_TWICE)):
        first, again = (_encoded(_pair(dataset, index, None, raw=True)[0], index) for _ in range(2))
        if first != again:
            raise DatasetError(
                f"the dataset gives another picture each time that it is asked for picture {index}, so its transform "
                "is random; audit it without transform, or with one that is not"
            )


def _pair(dataset: Any, index: int, names: list[str] | None, raw: bool = False) -> tuple[object, str | None]:
    try:
        item = dataset[index]
    except DatasetError:
        raise
    except Exception as error:
        raise DatasetError(f"picture {index} of the dataset cannot be had: {type(error).__name__}: {error}") from error
    if isinstance(item, Mapping):
        picture, label = (next((key for key in keys if key in item), None) for keys in (_USUAL_PICTURES, _USUAL_LABELS))
        if picture is None or label is None:
            raise DatasetError(
                f"row {index} of the dataset has {', '.join(map(shown, list(item)[:9]))}; one of "
                f"{', '.join(_USUAL_PICTURES)} and one of {', '.join(_USUAL_LABELS)} are needed"
            )
        item = (item[picture], item[label])
    if not isinstance(item, tuple | list) or len(item) < 2:
        raise DatasetError(
            f"row {index} of the dataset is a {type(item).__name__}; a pair of picture and label is needed"
        )
    return item[0], None if raw else _label(item[1], names, index)


def _label(value: Any, names: Sequence[str] | None, index: int) -> str | None:
    """The class of a label: its name where the numbers have some; None where there is none."""
    if hasattr(value, "item") and getattr(value, "size", 1) is not None:
        try:
            value = value.item()
        except (ValueError, RuntimeError):
            raise DatasetError(
                f"the label of picture {index} is {type(value).__name__} of several numbers; one label a picture is "
                "needed"
            ) from None
    if value is None or isinstance(value, str):
        return value or None
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value or int(value) != value:
        raise DatasetError(
            f"the label of picture {index} is {shown(value, 60)}, a {type(value).__name__}; a whole number or a text "
            "is needed"
        )
    code = int(value)
    if names is None:
        return str(code)
    return names[code] if 0 <= code < len(names) else None


def _encoded(picture: Any, index: int) -> bytes:
    """A picture as the bytes of a file, without loss."""
    if isinstance(picture, bytes | bytearray):
        return bytes(picture)
    if not isinstance(picture, Image.Image):
        picture = _from_array(picture, index)
    buffer = io.BytesIO()
    if picture.mode in _PNG:
        # Only pixels: what else the file said (a rotation, a profile) is applied or gone already.
        picture.save(buffer, "PNG", compress_level=1)
    else:
        try:
            picture.save(buffer, "TIFF")
        except (OSError, ValueError, KeyError) as error:
            raise DatasetError(f"picture {index} has mode {picture.mode}, which no file holds; convert it") from error
    return buffer.getvalue()


def _from_array(picture: Any, index: int) -> Image.Image:
    """A tensor [C, H, W] or array [H, W, C] of 8 bits, or of floats in [0, 1] that stand for these."""
    is_tensor = hasattr(picture, "detach")
    values = picture.detach().cpu().numpy() if is_tensor else picture
    if not isinstance(values, np.ndarray) or values.ndim not in (2, 3) or 0 in values.shape:
        raise DatasetError(
            f"picture {index} is a {type(picture).__name__}; a PIL image, a tensor [C, H, W] or an array [H, W, C] is "
            "needed"
        )
    if values.ndim == 3 and (is_tensor or (values.shape[0] in (1, 3, 4) and values.shape[2] not in (1, 3, 4))):
        values = np.moveaxis(values, 0, 2)
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[:, :, 0]
    if values.dtype.kind == "f":
        low, high = float(values.min()), float(values.max())
        if not (low >= -1e-6 and high <= 1 + 1e-6):
            raise DatasetError(
                f"picture {index} has numbers from {low:.3g} to {high:.3g}, so it is normalised; audit the dataset "
                "without its normalisation: the model brings its own"
            )
        values = np.rint(values.astype(np.float64) * 255)
    elif values.dtype == np.bool_:
        values = values * 255
    elif values.dtype.kind not in "iu" or values.min() < 0 or values.max() > 255:
        raise DatasetError(
            f"picture {index} holds {values.dtype} beyond 0 to 255; 8 bits or floats in [0, 1] are needed"
        )
    if values.ndim == 3 and values.shape[2] not in (3, 4):
        raise DatasetError(f"picture {index} has {values.shape[2]} channels; 1, 3 or 4 are needed")
    return Image.fromarray(values.astype(np.uint8))


def _of_hugging_face(dataset: Any, label_column: object) -> _Rows:
    """A ``datasets.Dataset``: files and encoded bytes as they are, never decoded."""
    library = sys.modules["datasets"]
    kinds = dataset.features
    pictures = [name for name, kind in kinds.items() if type(kind).__name__ == "Image"]
    picture = next((name for name in _USUAL_PICTURES if name in pictures), pictures[0] if len(pictures) == 1 else None)
    if picture is None:
        raise DatasetError(
            f"the dataset has {len(pictures)} columns of pictures among {', '.join(map(shown, kinds))}; one of the "
            "type Image is needed"
        )
    label = _label_column(kinds, label_column)
    if not hasattr(dataset, "__len__"):
        raise DatasetError("the dataset is streamed; load it without streaming=True")
    names = getattr(kinds[label], "names", None)
    plain = dataset.with_format(None).select_columns([picture, label])
    plain = plain.cast_column(picture, library.Image(decode=False))
    info = getattr(dataset, "info", None)
    parts = (getattr(info, "dataset_name", None), getattr(info, "config_name", None), getattr(dataset, "split", None))
    named = "-".join(str(part) for part in parts if part and str(part) != "default")

    def read(index: int) -> tuple[object, str | None]:
        row = plain[index]
        cell = row[picture] or {}
        data = cell.get("bytes")
        if data is None and cell.get("path"):
            try:
                data = Path(cell["path"]).read_bytes()
            except OSError as error:
                raise DatasetError(f"picture {index} of the dataset: {cell['path']}: {error.strerror}") from error
        return data or b"", _label(row[label], names, index)

    return _Rows(len(dataset), read, named or "hugging-face")


def _label_column(kinds: Mapping[str, Any], asked: object) -> str:
    if isinstance(asked, str):
        if asked in kinds:
            return asked
        raise DatasetError(f"the dataset has no column {shown(asked)}; its columns are {', '.join(map(shown, kinds))}")
    classes = [name for name, kind in kinds.items() if type(kind).__name__ == "ClassLabel"]
    for found in (
        [name for name in _USUAL_LABELS if name in classes],
        classes,
        [n for n in _USUAL_LABELS if n in kinds],
    ):
        if len(found) == 1 or (found and found[0] == "label"):
            return found[0]
    raise DatasetError(
        f"the dataset has several columns that may be its labels, or none: {json.dumps(list(kinds))}; choose one with "
        "label_column="
    )
