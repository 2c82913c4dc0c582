"""An annotated box as a picture of its own: cut out of the picture that it lies in, with a margin.

Its bytes are those of the picture and a line behind them that says which part is meant: so two boxes of one picture
have different content, whoever reads bytes needs to know nothing of boxes, and whoever decodes them gets the part.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Generic, TypeVar

from PIL import Image

T = TypeVar("T")

_MARK = b"\n\0gradattn part "
_PART = re.compile(rb"([0-9.e+-]{1,24})/(\d{1,9}),(\d{1,9}),(\d{1,9}),(\d{1,9})")
_LONGEST = 128
_WIDEST = 4.0
# A picture of so many pixels or more is kept for its other boxes alone, smaller ones together.
_MOST_PIXELS = 48_000_000


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a picture.

    Attributes:
        data: the bytes of the picture.
        left, top, width, height: of the box in pixels of the upright picture.
        margin: that is added on each side, in parts of the width and the height.
    """

    data: bytes
    left: int
    top: int
    width: int
    height: int
    margin: float

    def of(self, width: int, height: int) -> tuple[int, int, int, int] | None:
        """left, top, right and bottom of what is cut out of a picture of this size, the margin included.

        None where the box does not lie in it.
        """
        right, bottom = self.left + self.width, self.top + self.height
        if not (self.width and self.height) or right > width or bottom > height:
            return None
        across, down = round(self.margin * self.width), round(self.margin * self.height)
        return (
            max(0, self.left - across),
            max(0, self.top - down),
            min(width, right + across),
            min(height, bottom + down),
        )


def mark(data: bytes, inside: str) -> bytes:
    """The bytes of a picture with the part that is meant, as an address writes it: ``0.1/12,40,300,220``."""
    return data + _MARK + inside.encode("ascii", "replace") if data else data


def part_of(data: bytes) -> Part | None:
    """The part that bytes say; None where they are those of a whole file."""
    at = data.rfind(_MARK, max(0, len(data) - _LONGEST))
    found = _PART.fullmatch(data, at + len(_MARK)) if at >= 0 else None
    if found is None:
        return None
    try:
        margin = float(found[1])
    except ValueError:
        return None
    if not 0 <= margin <= _WIDEST:  # whoever's bytes these are
        return None
    left, top, width, height = (int(found[number]) for number in range(2, 6))
    return Part(data[:at], left, top, width, height, margin)


class Kept(Generic[T]):
    """The last pictures that boxes were cut from: those of one picture come one after the other, or at once."""

    def __init__(self, size: Callable[[T], int]) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._known: OrderedDict[object, Future[T]] = OrderedDict()

    def of(self, key: object, make: Callable[[], T]) -> T:
        """What was made under this key, or is being made by another thread; else it is made now."""
        with self._lock:
            work = self._known.get(key)
            if work is None:
                mine = self._known[key] = Future()
            else:
                self._known.move_to_end(key)
        if work is not None:
            return work.result()
        try:
            made = make()
        except BaseException as error:
            with self._lock:
                self._known.pop(key, None)
            mine.set_exception(error)
            raise
        mine.set_result(made)
        self._forget()
        return made

    def _forget(self) -> None:
        with self._lock:
            total = 0
            for key, work in reversed(list(self._known.items())):
                if work.done() and work.exception() is None:
                    total += self._size(work.result())
                    if total > _MOST_PIXELS and key != next(reversed(self._known)):
                        del self._known[key]


def framed(image: Image.Image, part: Part, size: tuple[int, int]) -> Image.Image:
    """A copy of a whole picture with its box drawn, light on dark so that it is seen on any ground.

    Args:
        image: perhaps smaller than the picture.
        size: width and height of the picture, in whose pixels the box is.
    """
    from PIL import ImageDraw  # pages only

    across, down = image.width / max(size[0], 1), image.height / max(size[1], 1)
    left, top = part.left * across, part.top * down
    right, bottom = left + part.width * across, top + part.height * down
    drawn = image.copy()
    pen, line = ImageDraw.Draw(drawn), max(2, round(max(image.size) / 300))
    for width, outset, colour in ((3 * line, line, (17, 22, 21)), (line, 0, (255, 255, 255))):
        corners = [left - line - outset, top - line - outset, right + line + outset, bottom + line + outset]
        pen.rectangle(corners, outline=colour, width=width)
    return drawn
