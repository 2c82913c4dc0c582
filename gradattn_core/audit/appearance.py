"""What the pictures of a dataset have in common that no single one tells: the range they use, an alpha that hides them.

A camera of 12 bits writes its values into files of 16, where white is 65,535 and the pictures would be black; only many
of them tell whether one is dark or of such a camera. A few are looked at before the sweep, the same whoever looks.
"""

from __future__ import annotations

import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from gradattn_core.dataset.decoding import decode_image, deepest_value, read_bytes
from gradattn_core.dataset.endings import IMAGE_SUFFIXES, suffix
from gradattn_core.dataset.pixels import FULL_WHITE, Alpha, white_of
from gradattn_core.dataset.selection import evenly
from gradattn_core.errors import UnreadableImageError
from gradattn_core.records import ImageRecord, Listing

LOOKED_AT = 64
_PLAIN = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".bmp", ".dib", ".ras", ".pcx", ".fits", ".fit"})
"""Endings of pictures that have neither 16 bits of unknown range nor transparency."""


@dataclass(frozen=True, slots=True)
class Appearance:
    """How the pictures are decoded.

    Attributes:
        white: the value of 16 bits that is white.
        notes: sentences on what is done otherwise than the files say.
    """

    white: int = FULL_WHITE
    notes: tuple[str, ...] = ()

    @property
    def facts(self) -> tuple[object, ...]:
        """What the numbers of a sweep depend on; nothing where all is as the files say."""
        return (self.white, len(self.notes)) if self.notes else ()


def appearance_of(listing: Listing) -> Appearance:
    """Look at some pictures that may have 16 bits or transparency; those of a dataset of JPEGs are not opened."""
    candidates = [image for image in listing.images if _may_be_special(image.path)]
    chosen = evenly(candidates, LOOKED_AT)
    with ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="look") as pool:
        seen = [each for each in pool.map(lambda image: _look(listing.root, image), chosen) if each is not None]
    maxima = [deepest for deepest, _ in seen if deepest is not None]
    white = white_of(maxima)
    notes = []
    if white < FULL_WHITE:
        notes.append(
            f"The pictures have 16 bits and use fewer: of {len(maxima):,} that were looked at none passes {white:,}, "
            "which is taken for white."
        )
    alphas = Counter(alpha for _, alpha in seen)
    looked = f"of {len(seen):,} pictures that were looked at"
    if alphas["ignored"]:
        notes.append(
            f"Some pictures are transparent everywhere, {alphas['ignored']:,} {looked}: their colours are shown as "
            "if they were not."
        )
    if alphas["on black"]:
        notes.append(
            f"Some pictures are white where they are not transparent, {alphas['on black']:,} {looked}: they are shown "
            "on black."
        )
    return Appearance(white, tuple(notes))


def _may_be_special(path: str) -> bool:
    ending = suffix(path)
    # A row of a Parquet file has no ending that says what is in it.
    return ending not in _PLAIN if ending in IMAGE_SUFFIXES else "#" in path


def _look(root: str, image: ImageRecord) -> tuple[int | None, Alpha] | None:
    """The greatest value of 16 bits and what is done about transparency; None where the picture cannot be read."""
    name = os.path.basename(image.path)
    try:
        data = read_bytes(root, image.path)
        deepest = deepest_value(data, name)
        return deepest, "" if deepest is not None else decode_image(data, name).alpha
    except UnreadableImageError:
        return None
