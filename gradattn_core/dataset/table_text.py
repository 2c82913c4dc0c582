"""A table of pictures as it is handed about, and the text of one: unpacked, and in whatever Unicode it is written."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO

from gradattn_core.dataset.address import is_url
from gradattn_core.dataset.decoding import MAX_FILE_BYTES, read_address

# A field of base64 or of a mask is long, and nobody may have asked for it.
csv.field_size_limit(2**27)

Row = tuple[str, Sequence[object] | str]
"""Where a row stands in the file, and the values of the chosen columns, or why they cannot be read."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table of pictures.

    Attributes:
        columns: their names in the order of the file; of nested ones ``data.image``.
        read: the rows, from the first, with the values of the columns that it is given.
        names: of a column, what its numbers stand for (a ``ClassLabel``); empty where they stand for themselves.
    """

    columns: tuple[str, ...]
    read: Callable[[Sequence[str]], Iterator[Row]]
    names: Callable[[str], Sequence[str]] = lambda column: ()


def open_bytes(file: str) -> IO[bytes]:
    """The file at an address, unpacked where it is gzipped.

    Raises:
        OSError: it cannot be read, or unpacks to too much.
    """
    stream: IO[bytes] = io.BytesIO(read_address(file)) if is_url(file) else open(file, "rb")  # noqa: SIM115 - returned
    # Programs unpack .csv.gz and leave the name, or pack and leave it: the content says it.
    is_packed = stream.read(2) == b"\x1f\x8b"
    stream.seek(0)
    if not is_packed:
        return stream
    with stream, gzip.GzipFile(fileobj=stream) as packed:
        content = packed.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise OSError(f"unpacks to more than {MAX_FILE_BYTES:,} bytes")
    return io.BytesIO(content)


def as_lines(stream: IO[bytes], newline: str | None = None) -> io.TextIOWrapper:
    """The text of a file that has not been read yet; bytes of no letter come as surrogates."""
    start = stream.read(4)
    stream.seek(0)
    encoding = encoding_of(start)
    if encoding == "utf-8":
        # Bytes in another encoding spoil their own row only.
        return io.TextIOWrapper(stream, newline=newline, encoding="utf-8-sig", errors="surrogateescape")
    is_marked = start.decode(encoding, "ignore").startswith("\ufeff")
    encoding = encoding.rpartition("-")[0] if is_marked else encoding
    return io.TextIOWrapper(stream, newline=newline, encoding=encoding, errors="surrogateescape")


def encoding_of(start: bytes) -> str:
    """How a table's text is written, by its first four bytes: UTF-8, or what Excel calls "Unicode text" and its kin."""
    for mark, encoding in (
        (codecs.BOM_UTF32_LE, "utf-32-le"),
        (codecs.BOM_UTF32_BE, "utf-32-be"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
    ):
        if start.startswith(mark):
            return encoding
    # Without a mark the zeros beside the first letters tell it.
    zeros = [each == 0 for each in start]
    if zeros in ([False, True, False, True], [True, False, True, False]):
        return "utf-16-be" if zeros[0] else "utf-16-le"
    return "utf-8"
