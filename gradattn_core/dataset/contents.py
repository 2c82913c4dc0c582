"""What a file is by its first bytes, for the sentence about one that is not what its name or its user says."""

from __future__ import annotations

import os

HEAD = 512
"""Bytes that suffice."""

_POINTERS = (
    (b"version https://git-lfs", "a Git LFS pointer and not the file itself: run git lfs pull"),
    (b"version https://hawser", "a Git LFS pointer and not the file itself: run git lfs pull"),
    (b"/annex/objects/", "a git-annex pointer and not the file itself: run git annex get"),
    (b"../.git/annex/objects/", "a git-annex pointer and not the file itself: run git annex get"),
)
_PAGES = (b"<!doctype html", b"<html", b"<head")
_PAGE = "a web page, which servers send instead of a file that is gone or needs a login"
_ERRORS = (b"<error>", b"404 not found", b"404: not found", b"access denied")
_ERROR = "what a server answered instead of the file"
EMPTY, ZIP, GZIP, TAR, ARCHIVE = "empty", "a zip", "packed with gzip", "a tar", "an archive of another kind"
_SIGNATURES = (
    (b"PK\x03\x04", ZIP),
    (b"\x1f\x8b", GZIP),
    (b"BZh", "packed with bzip2"),
    (b"\xfd7zXZ\0", "packed with xz"),
    (b"\x28\xb5\x2f\xfd", "packed with zstd"),
    (b"7z\xbc\xaf\x27\x1c", ARCHIVE),
    (b"Rar!", ARCHIVE),
    (b"PAR1", "Parquet"),
    (b"ARROW1", "Arrow"),
    (b"FEA1", "Feather"),
    (b"SQLite format 3\0", "an SQLite database"),
    (b"\x89HDF", "HDF5"),
    (b"\x93NUMPY", "an array of NumPy"),
    (b"GGUF", "GGUF"),
    (b"%PDF", "a PDF"),
    (b"\xd0\xcf\x11\xe0", "a document of an old Office"),
)
_TAR_AT = 257


def stand_in(head: bytes) -> str:
    """What lies in the place of a file that was not fetched, as it may stand after "is"; "" where nothing says so.

    Args:
        head: the first ``HEAD`` bytes, or all there are.
    """
    for sign, what in _POINTERS:
        if head.startswith(sign):
            return what
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if start.startswith(_PAGES):
        return _PAGE
    if start.startswith(_ERRORS) or (start.startswith(b"<?xml") and b"<error>" in start):
        return _ERROR
    return ""


def what_it_is(head: bytes) -> str:
    """What the first bytes of a file say, as it may stand after "is"; "" where they say nothing."""
    if not head:
        return EMPTY
    if other := stand_in(head):
        return other
    if head[_TAR_AT : _TAR_AT + 5] == b"ustar":
        return TAR
    return next((what for sign, what in _SIGNATURES if head.startswith(sign)), "")


def head_of(file: str) -> bytes:
    """The first bytes of a file of this machine; none of one that cannot be read, nor of a pipe, which would wait."""
    if not os.path.isfile(file):
        return b""
    try:
        with open(file, "rb") as stream:
            return stream.read(HEAD)
    except OSError:
        return b""
