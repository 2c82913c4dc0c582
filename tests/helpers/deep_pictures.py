"""Pictures that Pillow reads and does not write: 16 bits a channel in colour, any transparency beside any colours."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def deep_png(values: NDArray[np.uint16]) -> bytes:
    """[H, W, 1 to 4] as a PNG of 16 bits, which Pillow itself does not write in colour."""
    height, width, bands = values.shape
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[bands]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)), (b"IDAT", zlib.compress(rows)))
    packed = (
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed) + b"\0\0\0\0IEND" + struct.pack(">I", zlib.crc32(b"IEND"))


def deep_tiff(values: NDArray[np.uint16], order: str) -> bytes:
    """[H, W, 3] as an uncompressed TIFF of 16 bits; ``order`` of its bytes is < or >."""
    height, width, bands = values.shape
    pixels = values.astype(f"{order}u2").tobytes()
    at = 8 + len(pixels)
    entries = [(256, 3, 1, width), (257, 3, 1, height), (258, 3, 3, at), (259, 3, 1, 1), (262, 3, 1, 2)]
    entries += [(273, 4, 1, 8), (277, 3, 1, bands), (278, 3, 1, height), (279, 4, 1, len(pixels))]
    written = b"II*\0" if order == "<" else b"MM\0*"
    written += struct.pack(f"{order}I", at + 8) + pixels + struct.pack(f"{order}4H", 16, 16, 16, 0)
    written += struct.pack(f"{order}H", len(entries))
    for tag, kind, count, value in entries:
        written += struct.pack(f"{order}HHI", tag, kind, count)
        written += struct.pack(f"{order}HH", value, 0) if kind == 3 and count == 1 else struct.pack(f"{order}I", value)
    return written + b"\0\0\0\0"


def rgba(colours: NDArray[np.uint8], alpha: NDArray[np.uint8] | int) -> bytes:
    whole = np.dstack([colours, np.broadcast_to(np.asarray(alpha, np.uint8), colours.shape[:2])])
    file = BytesIO()
    Image.fromarray(whole).save(file, "PNG")
    return file.getvalue()
