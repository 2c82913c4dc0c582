"""Labels as names of folders, and image paths as names below them.

A label that can name a folder does, to the letter. In any other, what cannot stand in a name is written as ``%`` and
hexadecimal bytes of its UTF-8, as in a URL; so is ``%`` itself then. ``label_of`` gives every label back.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from urllib.parse import unquote

from gradattn_core.dataset.endings import passed_over
from gradattn_core.dataset.text import shown
from gradattn_core.errors import ApplyError

LONGEST_NAME = 255
"""Bytes of a name, on every file system in use."""

_LONGEST_ENDING = 20
_WINDOWS_DEVICE = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\.|$)")


@dataclass(frozen=True, slots=True)
class TreePath:
    """Where an image goes, below the corrected dataset's root."""

    folder: str
    name: str

    def __str__(self) -> str:
        return f"{self.folder}/{self.name}"


def folder_name(label: str, *, windows: bool = os.name == "nt") -> str:
    """The label's folder.

    Args:
        windows: also mind what Windows refuses in a name.

    Raises:
        ApplyError: the label is empty, or too long for a name.
    """
    where = _unsafe(label, windows)
    if where or unquote(label) != label:
        where |= {index for index, character in enumerate(label) if character == "%"}
    name = _escaped(label, where)
    if not name:
        raise ApplyError("an empty label names no folder; give --manifest FILE instead")
    if len(name.encode()) > LONGEST_NAME:
        raise ApplyError(
            f"the label {shown(label, 60)} is too long for the name of a folder ({len(name.encode())} bytes, "
            f"{LONGEST_NAME} at most); give --manifest FILE instead"
        )
    return name


def label_of(folder: str) -> str:
    """The label that a folder made by ``folder_name`` stands for."""
    return unquote(folder)


def below_class(path: str, given_label: str) -> str:
    """What an image is called below its class: its path in a class folder, else the name of its file.

    Hidden names are made visible, or no listing would have them.
    """
    tail = path.removeprefix(f"{given_label}/")
    parts = tail.split("/")
    if tail == path or any(part in ("", ".", "..") for part in parts):
        parts = parts[-1:]
    return "/".join(_short(_escaped(part, _unsafe(part, os.name == "nt"))) for part in parts)


def tree_paths(names: Iterable[tuple[str, str, str]]) -> list[TreePath]:
    """Where each image goes, no two at one place, whether or not the file system tells upper from lower case.

    Every one of several that would collide gets ``~`` and a hash of its own path behind its name, so that a name does
    not depend on the order.

    Args:
        names: (path, folder, name below it) of each image; the paths are distinct.
    """
    every = list(names)
    uses = Counter(_same(folder, name) for _, folder, name in every)
    paths = []
    for path, folder, name in every:
        if uses[_same(folder, name)] > 1:
            name = next(other for other in alternatives(path, name) if _same(folder, other) not in uses)
            uses[_same(folder, name)] = 1
        paths.append(TreePath(folder, name))
    return paths


def alternatives(path: str, name: str) -> Iterator[str]:
    """Other names for where ``name`` is uses: ``b~1f0c….jpg``, with more and more of the path's hash."""
    digest = blake2b(path.encode(), digest_size=16).hexdigest()
    folder, slash, last = name.rpartition("/")
    for length in range(8, 33):
        yield f"{folder}{slash}{_short(last, f'~{digest[:length]}')}"


def _unsafe(text: str, windows: bool) -> set[int]:
    """Where in the text stand characters that cannot stand there in a name that a listing shows."""
    unsafe = {index for index, character in enumerate(text) if character in "/\0"}
    if passed_over(text, folder=True):  # hidden, "." and ".." too, and what no listing takes for a class
        unsafe.add(0)
    if windows:
        unsafe |= {index for index, character in enumerate(text) if character in '<>:"\\|?*' or character < " "}
        if text.endswith((".", " ")):
            unsafe.add(len(text) - 1)
        if _WINDOWS_DEVICE.match(text):
            unsafe.add(0)
    return unsafe


def _escaped(text: str, where: set[int]) -> str:
    return "".join(
        "".join(f"%{byte:02X}" for byte in character.encode()) if index in where else character
        for index, character in enumerate(text)
    )


def _short(name: str, mark: str = "") -> str:
    """The name with the mark before its ending, at most ``LONGEST_NAME`` bytes."""
    stem, ending = os.path.splitext(name)
    if len(ending) > _LONGEST_ENDING:
        stem, ending = name, ""
    room = LONGEST_NAME - len(f"{mark}{ending}".encode())
    return stem.encode()[:room].decode(errors="ignore") + mark + ending


def _same(folder: str, name: str) -> tuple[str, str]:
    """Equal for names that some file system takes for one."""
    return folder, unicodedata.normalize("NFC", name).casefold()
