"""A manifest corrected in place: the label of some rows, fewer rows, and nothing else about the file."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from gradattn_core import outfolder
from gradattn_core.apply.corrections import ApplyResult, Corrections, Progress, UntouchedFile, check_changes
from gradattn_core.apply.journal import Application, Journal, ManifestChange, new_name
from gradattn_core.dataset.address import is_url, listed_path
from gradattn_core.dataset.decoding import content_hash
from gradattn_core.dataset.manifest import Correspondence, correspondence
from gradattn_core.dataset.parquet import label_text
from gradattn_core.dataset.table_text import encoding_of
from gradattn_core.dataset.tables import LINES_BEFORE, layout
from gradattn_core.dataset.text import cell_text, shown_all
from gradattn_core.errors import ApplyError, DatasetError
from gradattn_core.files import clear_drafts, write_output


@dataclass(slots=True)
class _Rows:
    """Which rows of a manifest change, and which were met.

    Attributes:
        columns: those of path and label, then that of the split where there is one.
        labels: by path and given label: the new label, None for a row that goes.
        cells: how cells stand for what the listing says.
        changes, keys: path and given label of the rows that changed; those of all rows of the audited split.
    """

    root: str
    columns: tuple[str, ...]
    split: str | None
    cells: Correspondence
    labels: Mapping[tuple[str, str], str | None]
    changes: set[tuple[str, str]] = field(default_factory=set)
    keys: set[tuple[str, str]] = field(default_factory=set)

    def changed(self, cells: Sequence[object]) -> bool:
        """Whether the row with these cells changes; ``new_label`` says to what."""
        path, label = cell_text(cells[0]), label_text(cells[1], self.cells.names)
        if path is None or (self.split is not None and cell_text(cells[2]) != self.split):
            return False
        key = self._key(path, label or "")
        self.keys.add(key)
        if key not in self.labels:
            return False
        self.changes.add(key)
        return True

    def new_label(self, cells: Sequence[object]) -> str | None:
        return self.labels[self._key(cell_text(cells[0]) or "", label_text(cells[1], self.cells.names) or "")]

    def _key(self, path: str, label: str) -> tuple[str, str]:
        """As the listing spells it; what is no path, as it is."""
        if (path, label) in self.labels:
            return path, label
        return self.cells.paths.get(path) or listed_path(self.root, path.removeprefix("file://")) or path, label


def rewrite_manifest(corrections: Corrections, file: Path, out: Path, progress: Progress) -> ApplyResult:
    """Write the standing labels into the manifest that was audited, and take out the rows of removed images.

    Every other row, column and byte stays. The original is kept below ``out/manifests``.

    Raises:
        ApplyError: the manifest cannot be read, or its column cannot hold a new label.
    """
    sound, untouched = check_changes(corrections, progress)
    audited = corrections.selection
    labels = {(image.path, image.given_label): image.label for image in sound}
    file = file.resolve()
    root = corrections.root if is_url(corrections.root) else str(Path(corrections.root).resolve())
    editor = _EDITORS.get(file.suffix.lower())
    if editor is None:
        raise ApplyError(
            f"{file} cannot be corrected in place, as only {', '.join(_EDITORS)} can; --manifest writes a new table"
        )
    try:
        clear_drafts(file)
        before = file.read_bytes()
        if before.startswith(b"\x1f\x8b"):
            raise ValueError("it is gzipped, whatever its name says; --manifest writes a new table")
        elsewhere = None if audited.image_root is None else root
        cells = correspondence(str(file), root, replace(audited, image_root=elsewhere))
        if len(cells.labels) > 1:
            raise ValueError("it has a column for each class and none of labels; --manifest writes a new table")
        rows = _Rows(root, (cells.path, *cells.labels, *cells.split), audited.split, cells, labels)
        after = editor(before, rows)
    except DatasetError as error:
        raise ApplyError(f"{file} cannot be rewritten: {str(error).rstrip('.')}") from error
    except (OSError, ValueError, TypeError, csv.Error) as error:  # pyarrow's errors are among them
        raise ApplyError(f"{file} cannot be rewritten: {' '.join(str(error).split())}") from error
    done = [image for image in sound if (image.path, image.given_label) in rows.changes]
    missed = [image for image in sound if (image.path, image.given_label) not in rows.changes]
    paths = {path for path, _ in rows.keys}
    already = {
        image
        for image in missed
        if (image.path not in paths if image.label is None else (image.path, image.label) in rows.keys)
    }
    reason = "the manifest has no row with this path and label any more"
    untouched += [UntouchedFile(image.path, reason) for image in missed if image not in already]
    if after != before:
        _replace(corrections, file, before, after, out)
    removed = sum(image.label is None for image in done)
    return ApplyResult(len(done) - removed, removed, already=len(already), left_alone=tuple(untouched))


def _replace(corrections: Corrections, file: Path, before: bytes, after: bytes, out: Path) -> None:
    journal = Journal(out)
    for earlier in journal.applications():
        step = earlier.rewrite
        if step is not None and not earlier.ended and (step.file, step.before) == (str(file), content_hash(before)):
            journal.record_undo(earlier, [], rewrite=True)  # a kill came before it was done
    application = Application(new_name(), corrections.audit_id, corrections.root)
    kept = outfolder.manifests(out) / f"{application.name}-{file.name}"
    kept.parent.mkdir(exist_ok=True)
    write_output(kept, before)
    journal.begin(application)
    step = ManifestChange(str(file), str(kept), content_hash(before), content_hash(after))
    journal.intend(application, steps=[step])
    write_output(file, after)
    journal.end(application)


def _delimited(content: bytes, rows: _Rows) -> bytes:
    """CSV and TSV, row by row: one that does not change keeps its bytes."""
    encoding = encoding_of(content[:4])
    text = content.decode(encoding, "surrogateescape")
    mark, text = ("\ufeff", text[1:]) if text.startswith("\ufeff") else ("", text)
    head = list(islice(io.StringIO(text, newline=""), LINES_BEFORE))
    lines, delimiter = layout(head)
    before = "".join(head[:lines])
    records = _records(text[len(before) :], delimiter)
    written = [mark, before]
    raw, fields = next(records, ("", list[str]()))
    at = [_position(fields, name) for name in rows.columns]
    written.append(raw)
    for raw, fields in records:
        cells = [fields[index] if index < len(fields) else None for index in at]
        if not rows.changed(cells):
            written.append(raw)
        elif (label := rows.new_label(cells)) is not None:
            fields[at[1]] = label
            written.append(_record(fields, delimiter) + raw[len(raw.rstrip("\r\n")) :])
    return "".join(written).encode(encoding, "surrogateescape")


def _records(text: str, delimiter: str) -> Iterator[tuple[str, list[str]]]:
    """Each record as it is written and as its fields."""
    lines: list[str] = []

    def source() -> Iterator[str]:
        for line in io.StringIO(text, newline=""):
            lines.append(line)
            yield line

    for fields in csv.reader(source(), delimiter=delimiter, strict=True):
        yield "".join(lines), fields
        lines.clear()


def _record(fields: Sequence[str], delimiter: str) -> str:
    written = io.StringIO(newline="")
    csv.writer(written, delimiter=delimiter, lineterminator="\r\n").writerow(fields)
    return written.getvalue().removesuffix("\r\n")


def _position(columns: Sequence[str], name: str) -> int:
    if name not in columns:
        raise ValueError(f"it has no column {name!r} any more")
    return list(columns).index(name)


def _json_lines(content: bytes, rows: _Rows) -> bytes:
    """JSONL, line by line: one that does not change keeps its bytes."""
    lines, encoding = [], encoding_of(content[:4])
    text = content.decode(encoding, "surrogateescape")
    mark, text = ("\ufeff", text[1:]) if text.startswith("\ufeff") else ("", text)
    for name in rows.columns[:2]:
        if "." in name and json.dumps(name) not in text:
            raise ValueError(f"its column {name!r} lies within another; --manifest writes a new table")
    for line in io.StringIO(text, newline=""):
        row = _json_object(line)
        cells = [row.get(name) for name in rows.columns]
        if not rows.changed(cells):
            lines.append(line)
        elif (label := rows.new_label(cells)) is not None:
            row[rows.columns[1]] = int(label) if isinstance(cells[1], int) and label.isdecimal() else label
            lines.append(json.dumps(row, ensure_ascii=False) + line[len(line.rstrip("\r\n")) :])
    return "".join([mark, *lines]).encode(encoding, "surrogateescape")


def _json_object(line: str) -> dict[str, object]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return row if isinstance(row, dict) else {}


def _parquet(content: bytes, rows: _Rows) -> bytes:
    """Parquet: the other columns, the schema and its metadata stay, and the compression where all columns have one."""
    import pyarrow as pa  # only a Parquet manifest needs it
    import pyarrow.parquet as pq

    file = pq.ParquetFile(pa.BufferReader(content))
    table = file.read()
    for name in rows.columns:
        _position(table.schema.names, name)
    columns = [table[name].to_pylist() for name in rows.columns]
    given = table.schema.field(rows.columns[1])
    labels: list[object] = columns[1]
    keep, new = [], list(labels)
    for index, cells in enumerate(zip(*columns, strict=True)):
        label = rows.new_label(cells) if rows.changed(cells) else ""
        keep.append(label is not None)
        if label:
            new[index] = _as_stored(label, labels[index], given.name, rows.cells.names)
    if new == labels and all(keep):
        return content
    table = table.set_column(table.schema.get_field_index(given.name), given, pa.array(new, given.type))
    written = io.BytesIO()
    pq.write_table(table.filter(pa.array(keep)), written, compression=_compression(file))
    return written.getvalue()


def _compression(file: Any) -> str:
    used = {file.metadata.row_group(0).column(index).compression for index in range(file.metadata.num_columns)}
    codec = used.pop() if len(used) == 1 else "SNAPPY"
    return "none" if codec == "UNCOMPRESSED" else str(codec).lower()


def _as_stored(label: str, old: object, column: str, names: Sequence[str]) -> object:
    """The label as the column's cells are: numbers stay numbers, and those that stand for names stand for its name."""
    if names and isinstance(old, int):
        if label not in names:
            raise ValueError(
                f"its column {column!r} has a number for each of {shown_all(names)}, and {label!r} is none"
            )
        return names.index(label)
    if isinstance(old, (int, float)):
        try:
            return type(old)(label)
        except ValueError:
            raise ValueError(f"its column {column!r} holds numbers, and {label!r} is none") from None
    return label.encode() if isinstance(old, bytes) else label


_EDITORS: dict[str, Callable[[bytes, _Rows], bytes]] = {
    ".csv": _delimited,
    ".tsv": _delimited,
    ".jsonl": _json_lines,
    ".parquet": _parquet,
}
