"""Suspects as they are handed to other tools: what is known of each, and its picture under a name that all can take.

A picture's name ends in a digest of its path, and a label that a tool could not write is written with ``%`` and
hexadecimal bytes. So whatever the tool does with its files, each path and each label is found again to the letter.
"""

from __future__ import annotations

import functools
import io
import os
import re
import shutil
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path, PurePosixPath
from uuid import uuid4

import pandas as pd

from gradattn_core.belief import of_row
from gradattn_core.dataset.boxes import part_of
from gradattn_core.dataset.decoding import content_hash, decode_image, read_address
from gradattn_core.dataset.text import shown
from gradattn_core.errors import GradattnError, StoreError
from gradattn_core.facts import Row, size_of, text_of
from gradattn_core.store.images import Place
from gradattn_core.store.store import Store

_DIGEST = re.compile(r"~([0-9a-f]{16})(?![0-9a-f])")
_KEPT_AS_THEY_ARE = {b"\xff\xd8\xff": ".jpg", b"\x89PNG": ".png"}
_LONGEST_STEM, _LONGEST_LABEL = 60, 120
_FACTS = (
    *("path", "given_label", "suggested_label", "suspicion", "given_probability", "suggested_probability"),
    *("kind", "rank", "decision", "new_label", "reviewer", "note"),
)


@dataclass(frozen=True, slots=True)
class Handed:
    """One image for another tool.

    Attributes:
        path: as the audit lists it; ``name`` of its picture elsewhere: ASCII, unique.
        suggested_label: the likeliest other class, ``""`` for none of the dataset's.
        given_probability, suggested_probability: in [0, 1], as the page says them.
        decision, new_label, reviewer, note: what stands, ``""`` for nothing.
    """

    path: str
    name: str
    rank: int
    given_label: str
    suggested_label: str
    suspicion: float
    given_probability: float
    suggested_probability: float
    kind: str
    decision: str
    new_label: str
    reviewer: str
    note: str
    width: int
    height: int
    place: Place

    def facts(self) -> dict[str, str | int | float]:
        """What other tools show beside a picture, and what comes back with it."""
        return {name: getattr(self, name) for name in _FACTS}


@dataclass(frozen=True, slots=True)
class Left:
    """An image that could not be handed out, and why."""

    path: str
    reason: str


def handed(store: Store, audit_id: str, frame: pd.DataFrame) -> list[Handed]:
    """The images of rows of ``store.candidates.page``, in their order."""
    places = store.images.places(audit_id, frame["path"].tolist())
    rows = [{str(name): cell for name, cell in row.items()} for row in frame.to_dict("records")]
    return [_handed(row, place) for row, place in zip(rows, places, strict=True)]


def _handed(row: Row, place: Place) -> Handed:
    belief, path, size = of_row(row), text_of(row, "path"), size_of(row)
    other = belief.other or ""
    return Handed(
        path=path,
        name=f"{_stem(path)}~{digest_of(path)}",
        rank=int(str(row["rank"])),
        given_label=belief.given,
        suggested_label=other,
        suspicion=float(str(row["suspicion"])),
        given_probability=belief.of(belief.given),
        suggested_probability=belief.of(other),
        kind=text_of(row, "kind"),
        decision=text_of(row, "decision"),
        new_label=text_of(row, "new_label"),
        reviewer=text_of(row, "reviewer"),
        note=text_of(row, "note"),
        width=size[0],
        height=size[1],
        place=place,
    )


class Known:
    """The images of an audit as a tool's file may name them."""

    def __init__(self, store: Store, audit_id: str) -> None:
        every = store.review.corrections(audit_id, everything=True)
        self.labels: Mapping[str, str] = dict(zip(every["path"], every["given_label"], strict=True))
        self.classes = store.audits.classes(audit_id)

    def path_of(self, name: str) -> str | None:
        """The path of a picture that has this path, or was handed out under this name; None where there is none."""
        if name in self.labels:
            return name
        found = _DIGEST.findall(PurePosixPath(name).name)
        return self._digests.get(found[-1]) if found else None

    def read_by(self, write: Callable[[str], str]) -> Mapping[str, str]:
        """The label of each class by what ``write`` makes of it."""
        return {write(label): label for label in self.classes}

    @functools.cached_property
    def _digests(self) -> Mapping[str, str]:
        return {digest_of(path): path for path in self.labels}


def written(label: str) -> str:
    """A label as any tool can write it: as the name of a folder, in an attribute, on a line of its own.

    One that is so already stays. In any other each character that could not stand there is ``%`` and hexadecimal bytes
    of its UTF-8, ``%`` itself among them; a long one ends in a digest.
    """
    inner = label.strip(" .")
    begins = label.index(inner) if inner else len(label)
    name = "".join(
        character
        if _is_plain(character) and begins <= at < begins + len(inner)
        else "".join(f"%{byte:02X}" for byte in character.encode())
        for at, character in enumerate(label)
    )
    if name and len(name.encode()) <= _LONGEST_LABEL:
        return name
    return f"{_stem(inner)[:_LONGEST_STEM]}~{digest_of(label)}"


def digest_of(text: str) -> str:
    """16 hexadecimal digits that tell one path, or label, from all others."""
    return blake2b(text.encode(), digest_size=8).hexdigest()


def picture_of(image: Handed) -> tuple[bytes, str]:
    """The picture as it is where every tool reads it, else upright as PNG; and the ending of its name.

    Raises:
        GradattnError: where it is not there, cannot be read, or is no longer what the audit saw.
    """
    data = unchanged(image.place)
    # The bytes of a box are those of the picture it lies in.
    if part_of(data) is None:
        for begins, ending in _KEPT_AS_THEY_ARE.items():
            if data.startswith(begins):
                return data, ending
    decoded = decode_image(data, PurePosixPath(image.place.address).name, white=image.place.white)
    content = io.BytesIO()
    decoded.image.save(content, "PNG")
    return content.getvalue(), ".png"


def unchanged(place: Place) -> bytes:
    """The bytes of a picture as the audit saw it.

    Raises:
        GradattnError: where it is not there, or is another one now.
    """
    data = read_address(place.address)
    if content_hash(data) != place.content_hash:
        raise StoreError("the file has changed since the audit")
    return data


def with_pictures(
    images: Iterable[Handed], keep: Callable[[Handed, str, bytes], object]
) -> tuple[list[tuple[Handed, str]], list[Left]]:
    """Hand the file name and bytes of each picture to ``keep``.

    Returns:
        the images with the names of their files, and what is left out.
    """
    there, left = [], []
    for image in images:
        try:
            content, ending = picture_of(image)
        except (GradattnError, OSError) as error:
            left.append(Left(image.path, str(error)))
            continue
        file = f"{image.name}{ending}"
        keep(image, file, content)
        there.append((image, file))
    return there, left


def new_folder(target: Path, fill: Callable[[Path], None]) -> None:
    """Make a folder that is whole or not there.

    Raises:
        StoreError: something is there already, or it cannot be written.
    """
    if not target.name:
        raise StoreError(f"{target} is a folder that is in use; name a new one in it")
    draft = target.with_name(f".{target.name}.{uuid4().hex}")
    try:
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise StoreError(f"{target} is there already and not empty; name a new folder")
        draft.mkdir()
        fill(draft)
        with suppress(FileNotFoundError):
            target.rmdir()
        draft.rename(target)
    except OSError as error:
        raise StoreError(f"cannot write {target}: {error.strerror}; choose another folder or make room") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def said_left(left: Sequence[Left]) -> str:
    """What could not be handed out, as a sentence; empty for nothing."""
    if not left:
        return ""
    first = f"{shown(left[0].path, 80)}: {left[0].reason}"
    return f"left out     {len(left):,} pictures, the first is {first}" if left[1:] else f"left out     {first}"


def _stem(path: str) -> str:
    """The beginning of a picture's name that a person knows it by, in letters and digits of ASCII."""
    name = os.path.splitext(PurePosixPath(path).name)[0]
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9]+", "-", plain).strip("-")[:_LONGEST_STEM] or "picture"


def _is_plain(character: str) -> bool:
    """Whether a character may stand in a name for any tool: letters, marks, digits, blanks and a few signs."""
    category = unicodedata.category(character)
    return character in " _-.()&+,'#!" or category[0] in "LMN" or category == "So"
