"""Writing names on pictures, whatever characters they are made of."""

from __future__ import annotations

import unicodedata
from functools import lru_cache

from PIL import ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

# Pillow's own font comes first, so that ordinary names look the same on every machine.
_SYSTEM_FONTS = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "Arial Unicode.ttf",
    "arial.ttf",
    "NotoSansCJK-Regular.ttc",
    "DroidSansFallbackFull.ttf",
    "wqy-microhei.ttc",
    "PingFang.ttc",
    "msyh.ttc",
)
_LONGEST = 400


def fitted(text: str, size: int, width: float) -> tuple[str, Font]:
    """``text`` on one line no wider than ``width`` pixels, and the font that can write it.

    Line breaks become spaces. Control characters, and characters that no font here has, are written as escapes such
    as ``\\u9ce5``: two names that differ stay different on the picture. What is too long ends in an ellipsis.
    """
    line = _one_line(text)
    fonts = _fonts(size)
    best = max(range(len(fonts)), key=lambda index: (sum(_has(index, letter) for letter in line), -index))
    line = "".join(letter if _has(best, letter) else _escaped(letter) for letter in line)
    return _elided(line, fonts[best], width), fonts[best]


def _one_line(text: str) -> str:
    collapsed = " ".join(unicodedata.normalize("NFC", text[: _LONGEST + 1]).split())
    return "".join(letter if unicodedata.category(letter)[0] != "C" else _escaped(letter) for letter in collapsed)


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")


def _elided(line: str, font: Font, width: float) -> str:
    if len(line) <= _LONGEST and font.getlength(line) <= width:
        return line
    fits, too_long = 0, len(line)
    while too_long - fits > 1:
        middle = (fits + too_long) // 2
        if font.getlength(line[:middle] + "…") <= width:
            fits = middle
        else:
            too_long = middle
    return line[:fits].rstrip() + "…"


@lru_cache(maxsize=16)
def _fonts(size: int) -> tuple[Font, ...]:
    found: list[Font] = [ImageFont.load_default(size)]
    for name in _SYSTEM_FONTS:
        try:
            found.append(ImageFont.truetype(name, size))
        except OSError:
            continue
    return tuple(found)


@lru_cache(maxsize=8192)
def _has(font_index: int, letter: str) -> bool:
    """Whether the font draws the letter as something other than its sign for a missing one."""
    font = _fonts(16)[font_index]
    return letter.isspace() or bytes(font.getmask(letter)) != bytes(font.getmask("\U0010fffe"))
